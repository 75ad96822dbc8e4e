//! A service that was there before its release: what has become of it, and what is given back.

use std::collections::BTreeSet;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::keys::RevisionId;
use crate::target::Target;

/// The revisions; a single one as it was stored when there was never more than one.
pub(crate) fn one_or_more<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<BTreeSet<RevisionId>, D::Error> {
    struct Either;
    impl<'de> Visitor<'de> for Either {
        type Value = BTreeSet<RevisionId>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a revision, or a list of revisions")
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            let id = RevisionId::deserialize(de::value::StrDeserializer::new(text))?;
            Ok(BTreeSet::from([id]))
        }
        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(BTreeSet::new())
        }
        fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
            BTreeSet::deserialize(de::value::SeqAccessDeserializer::new(seq))
        }
    }
    from.deserialize_any(Either)
}

/// A service that was there before the release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Adoption {
    /// The revision that runs in it.
    pub revision: RevisionId,
    /// Its name.
    pub service: String,
    /// When it was taken in.
    pub at: Timestamp,
    /// What has become of it.
    pub state: AdoptionState,
}

/// What has become of a service that was there before the release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum AdoptionState {
    /// It serves: nothing but a person's word removes it.
    Serves,
    /// A rollout was promoted in its place: it leaves like any other revision.
    Replaced,
    /// It was given back, and is nobody's.
    GivenBack,
    /// It was removed.
    Gone,
}

impl Target {
    /// The service that was there before, while it is the release's: a deletion must be told what becomes of it.
    #[must_use]
    pub fn keeps_adopted(&self) -> Option<&Adoption> {
        self.adoption.as_ref().filter(|adoption| {
            let held = match adoption.state {
                AdoptionState::Serves | AdoptionState::Replaced => true,
                AdoptionState::GivenBack | AdoptionState::Gone => false,
            };
            held && self.revisions.contains_key(&adoption.revision)
        })
    }
}
