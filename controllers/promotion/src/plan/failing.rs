//! What shows that a revision on trial must not serve: harm, tasks that crash or do not come up, another one of its group.

use fm_api::criteria::OnInconclusive;
use fm_api::keys::RevisionId;
use fm_api::observed::FailureKind;
use fm_api::rollout::{Ending, Outcome, Progress, Rollout};
use fm_api::status::reasons;
use fm_api::verdict::Decision;
use jiff::Timestamp;

use super::draft::{Draft, after};
use super::group;

/// So many tasks that fail before the revision ever serves are a crash loop.
const CRASH_LOOP: u32 = 3;

/// Keeps the time since tasks last made progress; time in which nothing could be seen does not count.
pub(super) fn watch_progress(draft: &mut Draft<'_>) {
    let Some(mut rollout) = draft.target.rollout.clone() else {
        return;
    };
    let now = draft.now;
    if blind(draft) {
        rollout.blind_since.get_or_insert(now);
        draft.target.rollout = Some(rollout);
        return;
    }
    if let Some(since) = rollout.blind_since.take() {
        let unseen = now.duration_since(since);
        rollout.progress.at = rollout.progress.at.checked_add(unseen).unwrap_or(now);
    }
    let needed = draft.needed(&rollout);
    let ready = draft.ready(&rollout.revision);
    let healthy = draft.healthy(&rollout.revision).unwrap_or(ready);
    let short = !draft.complete(&rollout.revision, needed);
    rollout.progress = progressed(&rollout.progress, now, ready, healthy, short);
    draft.target.rollout = Some(rollout);
}

/// What was seen last of tasks that come up; the time moves where there is progress, or something to wait for anew.
pub(super) fn progressed(
    old: &Progress,
    now: Timestamp,
    ready: u32,
    healthy: u32,
    short: bool,
) -> Progress {
    let grew = ready > old.ready || healthy > old.healthy;
    match (old.short, short) {
        (false, true) => Progress {
            at: now,
            ready,
            healthy,
            short,
        },
        (true, true) if grew => Progress {
            at: now,
            ready: ready.max(old.ready),
            healthy: healthy.max(old.healthy),
            short,
        },
        (true, false) => Progress {
            at: now,
            ready,
            healthy,
            short,
        },
        (true, true) | (false, false) => old.clone(),
    }
}

/// Whether what must be seen of tasks cannot be seen now.
fn blind(draft: &Draft<'_>) -> bool {
    draft.swarm_problem().is_some()
        || (draft.routed()
            && (draft.no_agent()
                || draft
                    .live()
                    .any(|(_, seen)| seen.is_some_and(|seen| seen.problem.is_some()))))
}

/// What shows that the revision must not serve, if anything does.
pub(super) fn failure(draft: &mut Draft<'_>) -> Option<Ending> {
    let rollout = draft.target.rollout.clone()?;
    harm(draft)
        .or_else(|| crash_loop(draft, &rollout))
        .or_else(|| group::failed(draft))
        .or_else(|| overdue(draft, &rollout))
}

/// Its tasks fail, or do not come up.
pub(super) fn of_tasks(draft: &mut Draft<'_>) -> Option<Ending> {
    let rollout = draft.target.rollout.clone()?;
    crash_loop(draft, &rollout).or_else(|| overdue(draft, &rollout))
}

/// What analysis shows.
fn harm(draft: &Draft<'_>) -> Option<Ending> {
    let verdict = draft.verdict()?;
    let inconclusive = draft.settings().map(|s| s.analysis.on_inconclusive);
    let harm = verdict.decision == Decision::Rollback
        || (verdict.decision == Decision::Inconclusive
            && inconclusive == Some(OnInconclusive::Rollback));
    harm.then(|| Ending {
        outcome: Outcome::RolledBack,
        reason: format!("{:?}", verdict.reason),
        why: verdict.sentence.clone(),
    })
}

/// Tasks are missing, and there was no progress for too long.
fn overdue(draft: &mut Draft<'_>, rollout: &Rollout) -> Option<Ending> {
    if !rollout.progress.short || rollout.blind_since.is_some() {
        return None;
    }
    let deadline = after(rollout.progress.at, rollout.progress_deadline);
    if draft.now < deadline {
        draft.wake(deadline);
        return None;
    }
    let says = says(draft, &rollout.revision);
    Some(Ending {
        outcome: Outcome::Failed,
        reason: reasons::PROGRESS_DEADLINE.to_owned(),
        why: format!(
            "no progress of tasks for {}: {}",
            rollout.progress_deadline,
            says.unwrap_or_else(|| "neither Docker nor HAProxy says why".to_owned())
        ),
    })
}

/// Tasks that fail again and again: before the revision ever serves, or at any time where no request tells of it.
fn crash_loop(draft: &Draft<'_>, rollout: &Rollout) -> Option<Ending> {
    let revision = &rollout.revision;
    let serves = draft
        .target
        .traffic
        .as_ref()
        .is_some_and(|split| split.canary.as_ref() == Some(revision));
    let missing = draft.ready(revision) < draft.needed(rollout);
    if serves || !missing || (!draft.routed() && stable_crashes_too(draft, rollout)) {
        return None;
    }
    Some(Ending {
        outcome: Outcome::Failed,
        reason: reasons::CRASH_LOOP.to_owned(),
        why: crashes(draft, revision, rollout.failed_before)?,
    })
}

/// Whether stable's tasks have failed as often meanwhile, task by task: then what both work on is broken, not the canary.
fn stable_crashes_too(draft: &Draft<'_>, rollout: &Rollout) -> bool {
    let Some(stable) = &draft.target.stable else {
        return false;
    };
    let wanted = |revision| {
        let target = draft.target.revisions.get(revision);
        u64::from(target.map_or(0, |target| target.replicas))
    };
    let canary = failed_tasks(draft, &rollout.revision, rollout.failed_before);
    let both = failed_tasks(draft, stable, rollout.stable_failed_before);
    both > 0 && u64::from(both) * wanted(&rollout.revision) >= u64::from(canary) * wanted(stable)
}

/// So many tasks have failed since then that more would fail, too.
pub(super) fn crashes(draft: &Draft<'_>, revision: &RevisionId, before: u32) -> Option<String> {
    let failed = failed_tasks(draft, revision, before);
    if failed < CRASH_LOOP || draft.swarm_problem().is_some() {
        return None;
    }
    let says = draft.docker_says(revision);
    Some(format!(
        "{failed} tasks failed {}; Docker says: {}",
        if draft.routed() {
            "before it ever served"
        } else {
            "since it began"
        },
        says.as_deref().unwrap_or("nothing")
    ))
}

/// Tasks that failed in this rollout. A count below the one before it is of a new service.
fn failed_tasks(draft: &Draft<'_>, revision: &RevisionId, before: u32) -> u32 {
    let seen = draft.failed_tasks(revision);
    seen.checked_sub(before).unwrap_or(seen)
}

/// Docker's own words on the revision's tasks, or HAProxy's.
pub(super) fn says(draft: &Draft<'_>, revision: &RevisionId) -> Option<String> {
    if let Some(says) = draft.docker_says(revision) {
        return Some(format!("Docker says: {says}"));
    }
    let down: Vec<&str> = draft
        .live()
        .filter_map(|(_, seen)| seen?.revisions.get(revision))
        .flat_map(|servers| servers.down.iter().map(String::as_str))
        .collect();
    (!down.is_empty()).then(|| format!("HAProxy says: {}", down.join(", ")))
}

/// Whether no node can take the revision's tasks.
pub(super) fn no_node(draft: &Draft<'_>, revision: &RevisionId) -> bool {
    draft
        .service(revision)
        .and_then(|seen| seen.failures.last())
        .is_some_and(|failure| failure.kind == FailureKind::NoSuitableNode)
}
