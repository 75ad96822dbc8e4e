//! Other releases that must serve what their manifests say before a rollout of this one begins.
//!
//! Only a beginning waits: a rollout that runs goes on, and a way back, or a revision whose tasks are still warm, waits
//! for nobody. What must never happen: releases that wait for each other and hold up more than themselves.

use fm_api::keys::ReleaseKey;
use fm_api::quantity::Span;
use fm_api::target::Target;

use super::draft::{Draft, after};
use super::why::Why;

/// How soon it is looked again: another release's change wakes only that one.
const AGAIN: Span = Span::secs(1);

/// Another release, as far as others wait for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Upstream {
    /// Which.
    pub key: ReleaseKey,
    /// The generation of its spec; absent: there is none.
    pub generation: Option<u64>,
    /// Its target.
    pub target: Option<Target>,
}

impl Upstream {
    /// What is waited for, if anything.
    fn waits(&self) -> Option<String> {
        let key = &self.key;
        let Some(generation) = self.generation else {
            return Some(format!("{key}, which is not there"));
        };
        let taken_in = (self.target.as_ref()).filter(|target| target.spec_generation >= generation);
        let Some(target) = taken_in else {
            return Some(format!("{key}, whose change was not looked at yet"));
        };
        if target.rollout.is_some() {
            return Some(format!("{key}, whose rollout runs"));
        }
        match (&target.wanted, &target.stable) {
            (Some(wanted), Some(stable)) if wanted == stable => None,
            (Some(wanted), _) if target.failed.contains_key(wanted) => Some(format!(
                "{key}, whose revision {wanted} was taken back or failed"
            )),
            (Some(wanted), _) => Some(format!("{key}, to serve its revision {wanted}")),
            (None, _) => Some(format!("{key}, whose image is being resolved")),
        }
    }
}

/// Why a rollout does not begin yet.
pub(super) fn unmet(draft: &mut Draft<'_>) -> Option<Why> {
    let upstreams = draft.world.upstreams.iter();
    let waits: Vec<String> = upstreams.filter_map(Upstream::waits).collect();
    if waits.is_empty() {
        return None;
    }
    let again = after(draft.now, AGAIN);
    draft.wake(again);
    Some(Why::Depends { waits })
}
