//! The way back of a canary that harm was shown of, where stable has to warm up: its share falls little by little.
//!
//! What must never happen: a share that rises on the way back, or a way back that waits for anything.

use fm_api::keys::RevisionId;
use fm_api::quantity::Weight;
use fm_api::release::Connections;
use fm_api::rollout::{Outcome, Rollout};
use jiff::Timestamp;

use super::draft::{Draft, after};
use super::surge;

/// The share falls in so many even falls; the first is at once, the last at the end of the time.
const FALLS: u64 = 10;

/// The share that a rollout begins to give back little by little; `None`: all of it goes at once.
pub(super) fn begins(draft: &Draft<'_>, outcome: Outcome) -> Option<Weight> {
    let over = draft.settings()?.rollback.over;
    let split = draft.target.traffic.as_ref()?;
    let serves = split.canary.is_some() && split.weight > Weight::ZERO;
    (outcome == Outcome::RolledBack && over.as_millis() > 0 && serves).then_some(split.weight)
}

/// The share that the canary keeps for now, and until when at most: for stable warms up, or has no tasks for it yet.
/// `None`: none.
pub(super) fn keeps(draft: &mut Draft<'_>, rollout: &Rollout) -> Option<(Weight, Timestamp)> {
    let (slowly, waits) = (share(draft, rollout), surge::share(draft, rollout));
    let split = draft.target.traffic.as_ref()?;
    let has = split.weight;
    let longest = slowly.into_iter().chain(waits).max()?;
    Some((longest.0.min(has), longest.1))
}

/// The share that the canary still has now, and when it has none; `None`: none.
fn share(draft: &mut Draft<'_>, rollout: &Rollout) -> Option<(Weight, Timestamp)> {
    let from = rollout.returns_from?;
    let over = draft.settings()?.rollback.over;
    // Nobody waits for tasks that do not serve, nor for a revision that somebody wants instead.
    let serves = draft.ready(&rollout.revision) > 0
        && draft.healthy_somewhere(&rollout.revision) > 0
        && draft.swarm_problem().is_none();
    if !serves || draft.target.wanted.as_ref() != Some(&rollout.revision) {
        return None;
    }
    let gone = draft.now.duration_since(rollout.stage_since).as_millis();
    let gone = u64::try_from(gone).unwrap_or(0);
    let pause = (over.as_millis() / (FALLS - 1)).max(1);
    let left = FALLS.saturating_sub(gone / pause + 1);
    let points = u64::from(from.basis_points()) * left / FALLS;
    let weight = Weight::from_basis_points(u16::try_from(points).unwrap_or(0));
    if weight == Weight::ZERO {
        return None;
    }
    let next = fm_api::quantity::Span::millis((gone / pause + 1) * pause);
    draft.wake(after(rollout.stage_since, next));
    Some((weight, after(rollout.stage_since, over)))
}

/// Closes the upgraded connections of a revision that was taken back, if the manifest says so.
pub(super) fn cut(draft: &mut Draft<'_>, revision: &RevisionId) {
    let asked = draft
        .settings()
        .map(|settings| settings.rollback.connections);
    if asked == Some(Connections::Close)
        && let Some(target) = draft.target.revisions.get_mut(revision)
    {
        target.cut = true;
    }
}
