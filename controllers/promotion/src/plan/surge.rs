//! How many tasks both sides have: stable all of its own, or with `maxSurge` what its share needs and the room leaves.
//!
//! What must never happen: fewer tasks of stable than the share that it serves needs, or, with `maxSurge`, more tasks of both
//! than it lets there be while a rollout goes on.

use fm_api::keys::RevisionId;
use fm_api::quantity::Weight;
use fm_api::rollout::{Rollout, Stage};
use fm_api::strategy::Course;
use jiff::Timestamp;

use super::draft::{Draft, after};
use super::{edges, hold, traffic};

/// Tasks of stable; and the canary with its own, while it is on its way.
pub(super) fn tasks(draft: &Draft<'_>, stable: &RevisionId) -> (u32, Option<(RevisionId, u32)>) {
    let replicas = draft.replicas();
    let Some(rollout) = draft.target.rollout.as_ref() else {
        return (replicas, None);
    };
    let moving = match rollout.stage {
        Stage::Preparing | Stage::Scaling | Stage::Shifting | Stage::Holding => true,
        Stage::RollingBack => false,
        Stage::Draining => return (replicas, None),
    };
    let canary = rollout.revision.clone();
    let needed = draft.needed(rollout);
    let Some(room) = room(rollout, replicas).filter(|_| *stable != canary) else {
        return (replicas, moving.then_some((canary, needed)));
    };
    let wanted = |revision| {
        draft
            .target
            .revisions
            .get(revision)
            .map_or(0, |r| r.replicas)
    };
    if moving && hold::holds(draft) {
        return (wanted(stable), Some((canary.clone(), wanted(&canary))));
    }
    let (serves, settled) = serves(draft);
    let now = wanted(stable).min(replicas);
    let carries = if draft.routed() {
        Course::carries(serves, replicas)
    } else {
        // A worker's tasks do what the canary's do not do yet; where those fail again, only as far as there is room.
        let free = room.saturating_sub(draft.present(&canary, wanted(&canary)));
        let missing = replicas.saturating_sub(draft.ready(&canary));
        missing.min(now.max(free))
    };
    if moving {
        // Nobody knows what an agent that has gone serves.
        let settled = settled && traffic::frozen(draft).is_none();
        let least = if settled { carries } else { carries.max(now) };
        let has = room.saturating_sub(needed).clamp(least, replicas);
        let free = room.saturating_sub(draft.present(stable, has));
        // What serves is not stopped on the way up.
        return (
            has,
            Some((canary.clone(), wanted(&canary).max(free).min(needed))),
        );
    }
    if !draft.routed() {
        return (replicas, None);
    }
    // On the way back stable grows as the canary's tasks go, and those go as its share falls, on every edge.
    let settled = settled && edges::gone_naming(draft, &canary).is_empty();
    let keeps = if settled {
        wanted(&canary).min(Course::carries(serves.rest(), replicas))
    } else {
        wanted(&canary)
    };
    let free = room.saturating_sub(draft.present(&canary, keeps));
    (
        free.clamp(carries.max(now).min(replicas), replicas),
        Some((canary, keeps)),
    )
}

/// The share that the canary keeps on the way back, for stable has no tasks for it yet, and until when at most; `None`: all
/// of it goes.
pub(super) fn share(draft: &mut Draft<'_>, rollout: &Rollout) -> Option<(Weight, Timestamp)> {
    let replicas = draft.replicas();
    room(rollout, replicas)?;
    let stable = draft.target.stable.clone()?;
    let split = draft.target.traffic.as_ref()?;
    split
        .canary
        .as_ref()
        .filter(|canary| **canary == rollout.revision)?;
    let weight = split.weight;
    let serves =
        draft.ready(&rollout.revision) > 0 && draft.healthy_somewhere(&rollout.revision) > 0;
    let until = after(rollout.stage_since, rollout.progress_deadline);
    if !serves || draft.now >= until || draft.swarm_problem().is_some() {
        return None;
    }
    let ready = draft
        .ready(&stable)
        .min(draft.healthy(&stable).unwrap_or(0));
    let missing = replicas.saturating_sub(ready);
    let points = (u64::from(missing) * 10_000).checked_div(u64::from(replicas))?;
    let points = u16::try_from(points).unwrap_or(10_000);
    let keeps = Weight::from_basis_points(points).min(weight);
    if keeps == Weight::ZERO {
        return None;
    }
    draft.wake(until);
    Some((keeps, until))
}

/// Tasks that both sides may have together; `None`: as many as they need.
fn room(rollout: &Rollout, replicas: u32) -> Option<u32> {
    // Back to a revision that served before, all at once: both sides need all their tasks.
    let surge = rollout.plan.max_surge.filter(|_| !rollout.warm)?;
    Some(replicas.saturating_add(surge.of(replicas)))
}

/// The canary's share that is wanted, and whether it is in force everywhere.
fn serves(draft: &Draft<'_>) -> (Weight, bool) {
    let split = draft.target.traffic.as_ref();
    let split = split.filter(|split| split.canary.is_some());
    // Routes that a release gave up lead to stable until every agent has taken that in.
    let unled = draft.routed() || !traffic::leads(draft);
    let settled = unled && traffic::not_in_force(draft).is_none();
    (split.map_or(Weight::ZERO, |split| split.weight), settled)
}
