//! Other releases that must serve what their manifests say before a rollout of this one begins.
//!
//! Only a beginning waits: a rollout that runs goes on, and a way back, or a revision whose tasks are still warm, waits
//! for nobody. What must never happen: releases that wait for each other and hold up more than themselves.

use super::draft::Draft;
use super::others::{Other, look_again};
use super::why::Why;

/// What is waited for, if anything.
fn waits(other: &Other) -> Option<String> {
    match other.taken_in() {
        Err(wait) => Some(wait),
        Ok(target) if target.rollout.is_some() => {
            Some(format!("{}, whose rollout runs", other.key))
        }
        Ok(target) => other.unsettled(target),
    }
}

/// Why a rollout does not begin yet.
pub(super) fn unmet(draft: &mut Draft<'_>) -> Option<Why> {
    let waits: Vec<String> = draft.world.upstreams.iter().filter_map(waits).collect();
    if waits.is_empty() {
        return None;
    }
    look_again(draft);
    Some(Why::Depends { waits })
}
