//! What serves nothing any more: warm for a while, then drained, then gone; and records that nobody needs.
//!
//! Every revision that goes comes through here, but for a deleted release's, which follow the same rule
//! ([`super::edges`]): its tasks stay while any HAProxy that we know of may still send them requests.

use std::collections::BTreeSet;

use fm_api::keys::RevisionId;
use fm_api::rollout::{Leaving, Ran};
use fm_api::target::{RevisionRecord, Target};

use super::draft::{Draft, after};
use super::{adoption, edges};

/// Sends a revision on its way out.
pub(super) fn leave(draft: &mut Draft<'_>, revision: &RevisionId, warm: fm_api::quantity::Span) {
    let now = draft.now;
    // Nothing leads to a worker: while its tasks run they work, so they stop now. Its service stays as long as asked.
    if !draft.target.previews.contains_key(revision)
        && let Some(target) = draft.target.revisions.get_mut(revision)
        && target.slot.is_none()
    {
        target.replicas = 0;
    }
    let warm_until = (warm > fm_api::quantity::Span::ZERO).then(|| after(now, warm));
    draft.target.leaving.insert(
        revision.clone(),
        Leaving {
            since: now,
            warm_until,
            inspected: false,
            draining_since: None,
            generation: 0,
            unled: unled(draft),
        },
    );
}

/// The generation of the split that first does not name a revision that leaves now.
fn unled(draft: &Draft<'_>) -> u64 {
    draft
        .target
        .traffic
        .as_ref()
        .map_or(0, |split| split.generation)
}

/// The same for one that failed: its tasks stay for a while, to be looked at.
pub(super) fn leave_inspected(draft: &mut Draft<'_>, revision: &RevisionId) {
    let keep = draft.settings().map(|s| s.keep_failed).unwrap_or_default();
    leave(draft, revision, keep);
    if let Some(leaving) = draft.target.leaving.get_mut(revision) {
        leaving.inspected = leaving.warm_until.is_some();
    }
}

/// Moves everything that leaves one step on.
pub(super) fn step(draft: &mut Draft<'_>) {
    adoption::let_go(draft);
    let leaving: Vec<(RevisionId, Leaving)> = draft
        .target
        .leaving
        .iter()
        .map(|(revision, leaving)| (revision.clone(), leaving.clone()))
        .collect();
    for (revision, leaving) in leaving {
        one(draft, &revision, &leaving);
    }
}

fn one(draft: &mut Draft<'_>, revision: &RevisionId, leaving: &Leaving) {
    if let Some(until) = leaving.warm_until
        && draft.now < until
    {
        draft.wake(until);
        return;
    }
    let beside = draft.target.previews.contains_key(revision);
    let slot = draft.target.revisions.get(revision).and_then(|r| r.slot);
    if !beside && slot.is_none() {
        // Nothing has ever led to it.
        remove(draft, revision);
        return;
    }
    // An agent that was away comes back with what it last had in force: so this is asked each time.
    if edges::may_lead_anywhere(draft, revision, leaving) {
        return;
    }
    let Some(since) = leaving.draining_since else {
        drain(draft, revision);
        return;
    };
    let limit = after(since, draft.drain_limit());
    if edges::drained(draft, revision, leaving.generation) || draft.now >= limit {
        remove(draft, revision);
    } else {
        draft.wake(limit);
    }
}

/// Its servers take no new connections from now on.
pub(super) fn drain(draft: &mut Draft<'_>, revision: &RevisionId) {
    let (now, next) = (draft.now, draft.next);
    if let Some(target) = draft.target.revisions.get_mut(revision) {
        target.draining = true;
    }
    let leaving = draft
        .target
        .leaving
        .entry(revision.clone())
        .or_insert(Leaving {
            since: now,
            warm_until: None,
            inspected: false,
            draining_since: None,
            generation: next,
            unled: 0,
        });
    leaving.draining_since = Some(now);
    leaving.generation = next;
}

fn remove(draft: &mut Draft<'_>, revision: &RevisionId) {
    if !adoption::spared(draft, revision) {
        draft.target.revisions.remove(revision);
    }
    draft.target.leaving.remove(revision);
    draft.target.previews.remove(revision);
}

/// So many forgotten revisions are remembered by the time they were first asked for.
const MOST_FORGOTTEN: usize = 64;

/// Bounds the history; names the records that nothing refers to any more.
pub(super) fn forget(draft: &mut Draft<'_>) -> Vec<RevisionId> {
    let limit = draft
        .settings()
        .map_or(usize::MAX, |settings| settings.history_limit as usize);
    let target = &mut draft.target;
    let excess = target.history.len().saturating_sub(limit);
    target.history.drain(..excess);
    let kept: BTreeSet<RevisionId> = target
        .history
        .iter()
        .map(|entry| entry.revision.clone())
        .chain(target.revisions.keys().cloned())
        .chain(target.leaving.keys().cloned())
        .chain(target.stable.clone())
        .chain(target.canary.clone())
        .chain(target.wanted.clone())
        .chain(
            (target.experiment.iter())
                .flat_map(|experiment| &experiment.sides)
                .filter_map(|side| side.revision.clone()),
        )
        .collect();
    target.failed.retain(|revision, _| kept.contains(revision));
    // What was last done for good stays done, however long ago.
    let last = (target.ran.iter())
        .filter(|(_, ran)| ran.irreversible.is_some())
        .max_by_key(|(_, ran)| ran.since)
        .map(|(revision, _)| revision.clone());
    target
        .ran
        .retain(|revision, _| kept.contains(revision) || last.as_ref() == Some(revision));
    target.expired.retain(|revision, _| kept.contains(revision));
    let gone: Vec<&RevisionRecord> = (draft.world.records.values())
        .filter(|record| !kept.contains(&record.id))
        .collect();
    remember(target, &gone);
    gone.into_iter().map(|record| record.id.clone()).collect()
}

/// A job that is not reversible has run: what is forgotten and comes back must not look newer than it.
fn remember(target: &mut Target, gone: &[&RevisionRecord]) {
    let lasting = |ran: &&Ran| ran.irreversible.is_some();
    let Some(since) = target
        .ran
        .values()
        .filter(lasting)
        .map(|ran| ran.since)
        .max()
    else {
        target.forgotten.clear();
        return;
    };
    // What is younger than the job may look younger still.
    let behind = |record: &&&RevisionRecord| since.is_none_or(|since| record.created_at < since);
    for record in gone.iter().filter(behind) {
        target
            .forgotten
            .insert(record.id.clone(), record.created_at);
    }
    while target.forgotten.len() > MOST_FORGOTTEN {
        let oldest = target.forgotten.iter().min_by_key(|(_, at)| **at);
        let Some(oldest) = oldest.map(|(revision, _)| revision.clone()) else {
            return;
        };
        target.forgotten.remove(&oldest);
    }
}
