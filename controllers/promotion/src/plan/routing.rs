//! A worker that is given routes: from when on they lead to it, and what happens if it never answers on them.

use fm_api::rollout::Rollout;

use super::draft::Draft;
use super::gates::Moment;
use super::rollout::{Move, missing, switch};
use super::why::{Scaling, Why};
use super::{adoption, failing, gates, traffic};

/// Routes that a worker was given: what of stable's tasks is waited for before they lead to it.
pub(super) fn not_yet(draft: &Draft<'_>) -> Option<Why> {
    let stable = draft.target.stable.as_ref()?;
    if !draft.routed() || draft.target.traffic.is_some() {
        return None;
    }
    if draft.no_agent() {
        return Some(Why::NoAgent);
    }
    Some(Why::Scaling(Scaling {
        revision: draft.name(stable),
        needed: draft.replicas(),
        ready: draft.ready(stable),
        healthy: draft.healthy(stable),
        says: failing::says(draft, stable),
        no_node: failing::no_node(draft, stable),
        deadline: None,
    }))
}

/// The canary takes the place of a stable revision that does not answer on the routes it was given.
pub(super) fn instead(draft: &mut Draft<'_>, why: Why) -> Move {
    let Some(rollout) = draft.target.rollout.clone() else {
        return Move::Wait(why);
    };
    if !outdoes(draft, &rollout) {
        return Move::Wait(why);
    }
    if !draft.complete(&rollout.revision, draft.replicas()) {
        return Move::Wait(missing(draft, &rollout));
    }
    if let Some(frozen) = traffic::frozen(draft) {
        return Move::Wait(frozen);
    }
    if let Some(stopped) = gates::pass(draft, Moment::Promotion) {
        return stopped;
    }
    // It does not wait for its group: nobody is served until then.
    switch(draft);
    Move::Again
}

/// Whether the canary answers on routes on which stable never has: a worker was given them, and does not. Nobody is
/// served, so there is nothing to compare with and nothing to share; whole, it takes stable's place.
pub(super) fn outdoes(draft: &Draft<'_>, rollout: &Rollout) -> bool {
    let stable = draft.target.stable.as_ref();
    // With little room stable would have to go before anybody knows that the canary lasts.
    let room = rollout.plan.max_surge.is_none();
    let unserved = draft.routed() && draft.target.traffic.is_none();
    room && unserved
        && stable.is_some_and(|stable| {
            draft.healthy_somewhere(stable) == 0 && !adoption::reached(draft, stable)
        })
        && draft.healthy(&rollout.revision).is_some_and(|n| n > 0)
}
