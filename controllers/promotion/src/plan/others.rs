//! Other releases, as far as this one looks at them. They are only read: each moves by itself.

use fm_api::keys::{ReleaseKey, RevisionId};
use fm_api::quantity::Span;
use fm_api::rollout::Failed;
use fm_api::target::{Resolve, Target};

use super::draft::{Draft, after};

/// How soon they are looked at again: another release's change wakes only that one.
const AGAIN: Span = Span::secs(1);

/// Another release.
#[derive(Debug, Clone, PartialEq)]
pub struct Other {
    /// Which.
    pub key: ReleaseKey,
    /// The generation of its spec; absent: there is none.
    pub generation: Option<u64>,
    /// Its spec cannot be used: promotion said so in its status.
    pub invalid: bool,
    /// Its target.
    pub target: Option<Target>,
}

impl Other {
    /// What it is now by what its manifest says; or what of it is waited for.
    pub(super) fn taken_in(&self) -> Result<&Target, String> {
        let key = &self.key;
        let Some(generation) = self.generation else {
            let what = if self.invalid {
                "whose stored spec cannot be used"
            } else {
                "which is not there"
            };
            return Err(format!("{key}, {what}"));
        };
        let target = self.target.as_ref();
        let new = target.filter(|target| target.spec_generation >= generation);
        let Some(target) = new else {
            let held = target.and_then(|target| target.held.as_ref());
            return Err(match held {
                _ if self.invalid => format!("{key}, whose stored spec cannot be used"),
                Some(held) => format!("{key}, whose change waits, for {} holds it", held.by),
                None => format!("{key}, whose change was not looked at yet"),
            });
        };
        let spec = |resolve: &&Resolve| resolve.side.is_none();
        match target.resolve.as_ref().filter(spec) {
            Some(resolve) if resolve.aborted.is_some() => {
                Err(format!("{key}, whose change somebody kept from beginning"))
            }
            // What is wanted until then is what the manifest asked for before.
            Some(_) => Err(format!("{key}, whose image is being resolved")),
            None => Ok(target),
        }
    }

    /// The revision that its manifest asks for and that failed, if it did.
    pub(super) fn failed(&self) -> Option<(&RevisionId, &Failed)> {
        let target = self.taken_in().ok()?;
        target.failed.get_key_value(target.wanted.as_ref()?)
    }

    /// What is waited for until the revision that its manifest asks for serves; no rollout of it runs.
    pub(super) fn unsettled(&self, target: &Target) -> Option<String> {
        let key = &self.key;
        let preview = target
            .wanted
            .as_ref()
            .and_then(|id| target.previews.get(id));
        let preview = preview.filter(|preview| preview.side.is_none());
        match (&target.wanted, &target.stable) {
            (Some(wanted), Some(stable)) if wanted == stable => None,
            // All that its manifest asks for is that it is up.
            (Some(_), _) if preview.is_some_and(|up| up.came_up && !up.closed) => None,
            (Some(wanted), _) if target.expired.contains_key(wanted) => Some(format!(
                "{key}, whose preview is over (retry brings it back)"
            )),
            (Some(wanted), _) if target.failed.get(wanted).is_some_and(|f| f.unbegun) => Some(
                format!("{key}, whose revision {wanted} somebody kept from beginning"),
            ),
            (Some(wanted), _) if target.failed.contains_key(wanted) => Some(format!(
                "{key}, whose revision {wanted} was taken back or failed"
            )),
            (Some(wanted), _) => Some(format!("{key}, to serve its revision {wanted}")),
            (None, _) => Some(format!("{key}, whose image is being resolved")),
        }
    }
}

/// They are looked at again soon.
pub(super) fn look_again(draft: &mut Draft<'_>) {
    let again = after(draft.now, AGAIN);
    draft.wake(again);
}
