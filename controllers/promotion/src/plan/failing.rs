//! What shows that a revision on trial must not serve: harm, tasks that crash or do not come up, another one of its group.

use fm_api::criteria::OnInconclusive;
use fm_api::keys::RevisionId;
use fm_api::observed::FailureKind;
use fm_api::quantity::Span;
use fm_api::rollout::{BothDown, Ending, Outcome, Progress, Rollout, Stage};
use fm_api::status::{Impaired, reasons};
use fm_api::verdict::Decision;
use jiff::Timestamp;

use super::draft::{Draft, after};
use super::{group, intake};

/// So many tasks that fail before the revision ever serves are a crash loop, and so many within [`WINDOW`] are one at any
/// time.
const CRASH_LOOP: u32 = 3;

/// The time in which [`CRASH_LOOP`] failures of tasks are a restart loop.
const WINDOW: Span = Span::secs(300);

/// Keeps the time since tasks last made progress; time in which nothing could be seen does not count.
pub(super) fn watch_progress(draft: &mut Draft<'_>) {
    let Some(mut rollout) = draft.target.rollout.clone() else {
        return;
    };
    let now = draft.now;
    if blind(draft) || rollout.both_down.is_some() {
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
                    .any(|(_, seen)| seen.is_some_and(|seen| seen.problem.is_some()))
                || edges_differ(draft)))
}

/// Whether an edge finds none of the revision's tasks healthy and another finds all that are needed: that says something about
/// the edge, and nothing about the tasks.
fn edges_differ(draft: &Draft<'_>) -> bool {
    let Some(rollout) = &draft.target.rollout else {
        return false;
    };
    let needed = draft.needed(rollout);
    needed > 0
        && draft.ready(&rollout.revision) >= needed
        && draft.healthy(&rollout.revision) == Some(0)
        && draft.healthy_somewhere(&rollout.revision) >= needed
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

/// Tasks that fail again and again: so many before the revision ever serves, or so many in a short time whenever that is.
/// Where stable's fail as often, what both work on is broken.
fn crash_loop(draft: &mut Draft<'_>, rollout: &Rollout) -> Option<Ending> {
    let revision = &rollout.revision;
    let serves = draft
        .target
        .traffic
        .as_ref()
        .is_some_and(|split| split.canary.as_ref() == Some(revision));
    let missing = draft.ready(revision) < draft.needed(rollout);
    let ends = |outcome, why| Ending {
        outcome,
        reason: reasons::CRASH_LOOP.to_owned(),
        why,
    };
    if (serves || !draft.routed()) && stable_crashes_too(draft, rollout) {
        return None;
    }
    if !serves && missing {
        let why = crashes(draft, revision, rollout.failed_before)?;
        return Some(ends(Outcome::Failed, why));
    }
    if failed_tasks(draft, revision, rollout.failed_before) < CRASH_LOOP {
        return None;
    }
    let says = restart_loop(draft, revision)?;
    let outcome = if serves {
        Outcome::RolledBack
    } else {
        Outcome::Failed
    };
    Some(ends(outcome, format!("its tasks {says}")))
}

/// Whether the revision's tasks die again and again now, traffic or not, in a sentence that follows "its tasks". Counted
/// by Docker's own times of the newest failures, so that no restart of ours forgets one.
pub(super) fn restart_loop(draft: &mut Draft<'_>, revision: &RevisionId) -> Option<String> {
    if draft.swarm_problem().is_some() {
        return None;
    }
    let seen = draft.service(revision)?;
    let ended = |kind| match kind {
        FailureKind::Crashed | FailureKind::Unhealthy => true,
        FailureKind::ImageMissing | FailureKind::NoSuitableNode | FailureKind::Rejected => false,
    };
    let failures: Vec<_> = (seen.failures.iter())
        .filter(|failure| ended(failure.kind))
        .collect();
    let first = failures.len().checked_sub(CRASH_LOOP as usize)?;
    let until = after(failures.get(first)?.at, WINDOW);
    let says = failures.last().map(|failure| failure.message.clone());
    if draft.now >= until {
        return None;
    }
    draft.wake(until);
    Some(format!(
        "die again and again ({CRASH_LOOP} or more within {WINDOW}); Docker says: {}",
        says.unwrap_or_default()
    ))
}

/// Keeps whether stable and the canary are both down. What was measured and counted meanwhile is no evidence.
pub(super) fn watch_both(draft: &mut Draft<'_>) {
    let (Some(mut rollout), Some(stable)) =
        (draft.target.rollout.clone(), draft.target.stable.clone())
    else {
        return;
    };
    let now = draft.now;
    let stable_down = down(draft, &stable);
    // One that never came up beside a stable that does not serve either is its own fault, and may be stable's cure.
    let split = draft.target.traffic.as_ref();
    let was_up = if draft.routed() {
        split.is_some_and(|split| split.canary.as_ref() == Some(&rollout.revision))
    } else {
        matches!(rollout.stage, Stage::Shifting | Stage::Holding)
    };
    let both = was_up && stable_down && down(draft, &rollout.revision);
    let began = rollout.both_down.is_none() && both;
    if began {
        rollout.both_down = Some(BothDown {
            since: now,
            back_since: None,
        });
    }
    let Some(both) = &mut rollout.both_down else {
        return;
    };
    if stable_down {
        both.back_since = None;
        draft.target.rollout = Some(rollout);
        return;
    }
    let over = after(*both.back_since.get_or_insert(now), Impaired::STEADY);
    if now < over {
        draft.wake(over);
    } else {
        rollout.both_down = None;
        rollout.trials = rollout.trials.saturating_add(1);
        rollout.failed_before = draft.failed_tasks(&rollout.revision);
        rollout.stable_failed_before = draft.failed_tasks(&stable);
        draft.target.rollout = Some(rollout);
        intake::refresh_analysis(draft);
        if let Some(analysis) = &mut draft.target.analysis {
            analysis.since = analysis.since.map(|_| now);
        }
        return;
    }
    draft.target.rollout = Some(rollout);
}

/// Whether tasks are wanted of the revision and none serves anywhere, as far as can be seen.
fn down(draft: &Draft<'_>, revision: &RevisionId) -> bool {
    let wanted = draft.target.revisions.get(revision);
    if wanted.is_none_or(|wanted| wanted.replicas == 0) || draft.swarm_problem().is_some() {
        return false;
    }
    if draft.service(revision).is_some() && draft.ready(revision) == 0 {
        return true;
    }
    let mut seen = draft
        .live()
        .filter_map(|(_, seen)| {
            seen.filter(|seen| seen.problem.is_none())?
                .revisions
                .get(revision)
        })
        .peekable();
    draft.routed() && seen.peek().is_some() && seen.all(|servers| servers.healthy == 0)
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
    let seen: Vec<_> = draft
        .live()
        .filter_map(|(instance, seen)| Some((instance, seen?.revisions.get(revision)?)))
        .collect();
    // Where one edge finds them healthy, it matters which one does not.
    let differ = seen.iter().any(|(_, servers)| servers.down.is_empty());
    let says = seen.iter().filter(|(_, servers)| !servers.down.is_empty());
    let down: Vec<String> = says
        .map(
            |(instance, servers)| match (differ, servers.down.join(", ")) {
                (true, words) => format!("{words} (at {instance} alone)"),
                (false, words) => words,
            },
        )
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
