//! What an edge keeps although the store says otherwise: absence of knowledge is no reason to empty a HAProxy. Pure, but for
//! the file that remembers what was followed.
//!
//! A store carries a mark, given once. One with another mark, or none where there was one, is not followed. A target that is
//! gone is believed only where its release was being deleted, or its deletion left a trace in the store; otherwise its routes
//! stay. Both last until the store is as before or a person accepts them. What must never happen: a route that goes because
//! somebody lost, emptied or exchanged a store.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use fm_api::keys::ReleaseKey;
use serde::{Deserialize, Serialize};

use crate::names::hash10;

/// What was followed, as it is remembered on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Followed {
    /// The store's mark.
    store: Option<String>,
    /// Releases whose targets were followed and not being deleted.
    releases: BTreeSet<String>,
}

/// What is kept, and against what.
#[derive(Debug)]
pub(crate) struct Hold {
    path: PathBuf,
    followed: Followed,
    kept: Option<Followed>,
    /// The mark of the store that is not followed: `Some(None)` has none.
    other: Option<Option<String>>,
    /// Releases whose targets are gone without a trace.
    vanished: BTreeMap<ReleaseKey, jiff::Timestamp>,
}

/// Something that is kept until a person accepts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    /// What a person accepts.
    pub(crate) word: String,
    /// What is wrong and what to do.
    pub(crate) message: String,
}

/// How many names a sentence holds.
const NAMED: usize = 5;
/// A deletion leaves its trace within moments.
const PATIENCE: jiff::SignedDuration = jiff::SignedDuration::from_secs(2);

/// The file by which an agent's folder shows that it has followed a store.
#[must_use]
pub fn trace(dir: &Path) -> PathBuf {
    dir.join("followed.json")
}

impl Hold {
    /// With what is remembered in this folder.
    pub(crate) fn new(dir: &Path) -> Self {
        let path = trace(dir);
        let kept: Option<Followed> = std::fs::read(&path)
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok());
        Self {
            path,
            followed: kept.clone().unwrap_or_default(),
            kept,
            other: None,
            vanished: BTreeMap::new(),
        }
    }

    /// Releases that were followed when this was last remembered.
    pub(crate) fn releases(&self) -> impl Iterator<Item = &String> {
        self.followed.releases.iter()
    }

    /// Takes in the mark of the store as it is now; tells whether that store is followed.
    pub(crate) fn see_store(&mut self, mark: Option<&str>) -> bool {
        self.other = None;
        match (&self.followed.store, mark) {
            (None, None) => {}
            (None, Some(mark)) => self.followed.store = Some(mark.to_owned()),
            (Some(known), Some(mark)) if known == mark => {}
            (Some(_), other) => self.other = Some(other.map(str::to_owned)),
        }
        self.other.is_none()
    }

    /// Whether the store that is there is not followed.
    pub(crate) fn holds_store(&self) -> bool {
        self.other.is_some()
    }

    /// Whether this release is kept although its target is gone.
    pub(crate) fn keeps(&self, key: &ReleaseKey) -> bool {
        self.vanished.contains_key(key)
    }

    /// Releases that are kept although their targets are gone.
    pub(crate) fn vanished(&self) -> Vec<ReleaseKey> {
        self.vanished.keys().cloned().collect()
    }

    /// The release is followed, or deleted as it should be.
    pub(crate) fn settle(&mut self, key: &ReleaseKey, followed: bool) {
        self.vanished.remove(key);
        let name = key.to_string();
        match followed {
            true => self.followed.releases.insert(name),
            false => self.followed.releases.remove(&name),
        };
    }

    /// The release's target is gone without a trace.
    pub(crate) fn vanish(&mut self, key: &ReleaseKey, now: jiff::Timestamp) {
        self.vanished.entry(key.clone()).or_insert(now);
    }

    /// What is kept, for people.
    pub(crate) fn held(&self, instance: &str, now: jiff::Timestamp) -> Vec<Held> {
        let mut all = Vec::new();
        if let Some(word) = self.store_word() {
            let what = match &self.other {
                Some(None) => "the store has lost its mark: it was emptied, or is another one",
                Some(Some(_)) | None => "the store is another one than before",
            };
            all.push(Held {
                word,
                message: format!(
                    "{what}; all routes and shares stay as they were and nothing of it is followed. Bring the right store back \
                     (address, mount, backup), or, where this one is meant to be: `frctl edge accept {instance}`"
                ),
            });
        }
        let gone: Vec<String> = (self.vanished.iter())
            .filter(|(_, since)| now.duration_since(**since) >= PATIENCE)
            .map(|(key, _)| key.to_string())
            .collect();
        if !gone.is_empty() && self.other.is_none() {
            all.push(Held {
                word: routes_word(&gone),
                message: format!(
                    "{} of {} releases are gone from the store and nobody deleted them ({}); their routes and shares stay as \
                     they were. Bring them back (backup, `frctl apply`), or, where they are meant to be gone: \
                     `frctl edge accept {instance}`",
                    gone.len(),
                    self.followed.releases.len().max(gone.len()),
                    named(&gone)
                ),
            });
        }
        all
    }

    fn store_word(&self) -> Option<String> {
        let other = self.other.as_ref()?;
        let known = self.followed.store.as_deref().unwrap_or("");
        let parts = [known, other.as_deref().unwrap_or("")];
        Some(format!("store-{}", hash10(&parts)))
    }

    /// A person accepted the store that is there: it is followed from now on, and nothing of the old one is known.
    pub(crate) fn accept_store(&mut self, accepted: &[String]) -> bool {
        if !self
            .store_word()
            .is_some_and(|word| accepted.contains(&word))
        {
            return false;
        }
        self.followed = Followed {
            store: self.other.take().flatten(),
            releases: BTreeSet::new(),
        };
        self.vanished.clear();
        true
    }

    /// A person accepted that the releases which are gone are gone: which.
    pub(crate) fn accept_vanished(&mut self, accepted: &[String]) -> Vec<ReleaseKey> {
        let gone: Vec<String> = self.vanished.keys().map(ReleaseKey::to_string).collect();
        if gone.is_empty() || !accepted.contains(&routes_word(&gone)) {
            return Vec::new();
        }
        let all = self.vanished();
        for key in &all {
            self.settle(key, false);
        }
        all
    }

    /// Remembers it on disk, if it changed.
    pub(crate) fn keep(&mut self) {
        if self.kept.as_ref() != Some(&self.followed)
            && let Ok(text) = serde_json::to_vec(&self.followed)
            && crate::files::replace(&self.path, text).is_ok()
        {
            self.kept = Some(self.followed.clone());
        }
    }
}

fn routes_word(gone: &[String]) -> String {
    let parts: Vec<&str> = gone.iter().map(String::as_str).collect();
    format!("routes-{}", hash10(&parts))
}

fn named(all: &[String]) -> String {
    match all.get(NAMED..).map(<[String]>::len) {
        Some(more) if more > 0 => {
            let some = all.get(..NAMED).unwrap_or_default().join(", ");
            format!("{some} and {more} more")
        }
        Some(_) | None => all.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> jiff::Timestamp {
        jiff::Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn another_store_is_not_followed_until_a_person_accepts_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut hold = Hold::new(folder.path());
        assert!(hold.see_store(None), "before stores had marks");
        assert!(hold.see_store(Some("one")));
        hold.settle(&ReleaseKey::new("default", "shop"), true);
        hold.keep();
        let mut hold = Hold::new(folder.path());
        assert!(hold.see_store(Some("one")));
        assert!(!hold.see_store(None), "emptied");
        assert!(!hold.see_store(Some("two")));
        let held = hold.held("edge", at(0));
        let [one] = held.as_slice() else {
            panic!("{held:?}")
        };
        assert!(
            one.message.contains("frctl edge accept edge"),
            "{}",
            one.message
        );
        assert!(!hold.accept_store(&["store-other".to_owned()]));
        assert!(hold.accept_store(std::slice::from_ref(&one.word)));
        assert!(hold.see_store(Some("two")));
        assert!(
            !hold.see_store(Some("one")),
            "the word was for that store alone"
        );
        // The right one is back: nothing waits any more.
        assert!(hold.see_store(Some("two")));
        assert!(hold.held("edge", at(0)).is_empty());
    }

    #[test]
    fn what_vanished_is_told_after_a_moment_and_accepted_by_its_own_word() {
        let folder = tempfile::tempdir().unwrap();
        let mut hold = Hold::new(folder.path());
        let (a, b) = (ReleaseKey::new("n", "a"), ReleaseKey::new("n", "b"));
        hold.settle(&a, true);
        hold.settle(&b, true);
        hold.vanish(&a, at(10));
        assert!(hold.keeps(&a) && hold.held("edge", at(11)).is_empty());
        let first = hold.held("edge", at(12));
        assert!(
            first[0].message.starts_with("1 of 2 releases are gone"),
            "{first:?}"
        );
        hold.vanish(&b, at(12));
        assert!(hold.accept_vanished(&[first[0].word.clone()]).is_empty());
        let both = hold.held("edge", at(20));
        assert_eq!(hold.accept_vanished(&[both[0].word.clone()]), [a, b]);
        assert!(hold.held("edge", at(30)).is_empty());
    }
}
