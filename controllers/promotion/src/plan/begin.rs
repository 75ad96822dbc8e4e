//! How a rollout begins: which revision, from which step, in which of the routes' backends; and the first of all.

use fm_api::event::Severity;
use fm_api::keys::RevisionId;
use fm_api::loosening::Kept;
use fm_api::quantity::Span;
use fm_api::rollout::{Leaving, Progress, Rollout, Settings, Stage};
use fm_api::strategy::Course;
use fm_api::target::{RevisionTarget, Slot};

use super::draft::Draft;
use super::gates::Moment;
use super::rollout::{Move, missing, switch};
use super::why::Why;
use super::{
    adoption, dependencies, experiment, failing, gates, group, preview, removal, routing,
    taking_back,
};

/// No rollout runs: begins the one that the spec wants, if any.
pub(super) fn idle(draft: &mut Draft<'_>) -> Move {
    let Some(wanted) = draft.target.wanted.clone() else {
        return Move::Wait(Why::Resolving {
            image: draft
                .target
                .resolve
                .as_ref()
                .map(|resolve| resolve.workload.image.clone())
                .unwrap_or_default(),
        });
    };
    if draft.target.stable.as_ref() == Some(&wanted) {
        if draft.target.resolve.is_none() {
            // Nothing begins: what was asked for serves already.
            draft.target.words.clear();
        }
        if let Some(why) = adoption::unserved(draft, None).or_else(|| routing::not_yet(draft)) {
            return Move::Wait(why);
        }
        if let Some(why) = experiment::why(draft).filter(|_| draft.ready(&wanted) > 0) {
            return Move::Wait(why);
        }
        return Move::Wait(Why::Serving {
            revision: draft.name(&wanted),
            ready: draft.ready(&wanted),
            replicas: draft.replicas(),
        });
    }
    if let Some(failed) = draft.target.failed.get(&wanted) {
        return Move::Wait(Why::Failed {
            revision: draft.name(&wanted),
            reason: failed.reason.clone(),
            why: failed.why.clone(),
            stable: draft.stable(),
            unbegun: failed.unbegun,
        });
    }
    // It serves already, whatever the strategy is.
    if adoption::is_first(draft, &wanted) {
        adoption::begin(draft, &wanted);
        return Move::Again;
    }
    if preview::asked_for(draft) {
        if preview::crowded(draft, &wanted) {
            return Move::Wait(Why::NoSlot {
                revision: draft.name(&wanted),
            });
        }
        return preview::wanted(draft, &wanted);
    }
    // What the database has become does not fit an older revision: somebody must have said that it may begin.
    if let Some(job) = gates::behind(draft, &wanted)
        && draft.target.let_back.as_ref() != Some(&wanted)
    {
        return Move::Wait(Why::Behind {
            revision: draft.name(&wanted),
            job,
            stable: draft.stable(),
        });
    }
    if let Some(experiment) = draft.target.experimenting().cloned() {
        if !warm(draft, &wanted) {
            return Move::Wait(Why::ExperimentRuns {
                revision: draft.name(&wanted),
                until: experiment::until(&experiment),
            });
        }
        // Whoever goes back is in a hurry, and its tasks are there.
        let why = format!("the release goes back to {}", draft.name(&wanted));
        experiment::end(draft, &why);
    }
    begin(draft, &wanted)
}

/// Whether its tasks are there since it served last: going back to it is one change of weight.
fn warm(draft: &Draft<'_>, wanted: &RevisionId) -> bool {
    let leaving = draft.target.leaving.get(wanted);
    leaving.is_some_and(|leaving| {
        !leaving.inspected && leaving.warm_until.is_some_and(|until| draft.now < until)
    })
}

fn begin(draft: &mut Draft<'_>, wanted: &RevisionId) -> Move {
    let Some((course, settings)) = draft
        .settings()
        .and_then(|settings| Some((settings.course.clone()?, settings.clone())))
    else {
        return Move::Wait(Why::SpecMissing);
    };
    if let Some(why) = adoption::unserved(draft, Some(wanted)) {
        return Move::Wait(why);
    }
    let warm = warm(draft, wanted);
    if draft.target.orphans.contains(wanted) {
        return Move::Wait(Why::StillLeaving {
            revision: draft.name(wanted),
        });
    }
    let leaving = draft.target.leaving.get(wanted);
    let stands = |leaving: &Leaving| leaving.warm_until.is_some_and(|until| draft.now < until);
    if leaving.is_some_and(|leaving| !stands(leaving)) {
        return Move::Wait(Why::StillLeaving {
            revision: draft.name(wanted),
        });
    }
    if !warm && let Some(why) = dependencies::unmet(draft).or_else(|| group::unmet(draft)) {
        return Move::Wait(why);
    }
    let slot = match place(draft, wanted) {
        Ok(slot) => slot,
        Err(why) => return Move::Wait(why),
    };
    draft.target.leaving.remove(wanted);
    // What was a preview before is one no more.
    draft.target.previews.remove(wanted);
    draft.target.expired.remove(wanted);
    let mut rollout = rollout(draft, wanted, course, settings, warm);
    rollout.words = std::mem::take(&mut draft.target.words);
    let entry = draft.target.revisions.entry(wanted.clone());
    // As many tasks as there is room for: that is decided where both sides are known.
    let target = entry.or_insert(RevisionTarget::new(0, slot));
    target.slot = slot;
    target.cut = false;
    draft.target.let_back = None;
    draft.target.canary = Some(wanted.clone());
    draft.target.rollout = Some(rollout);
    let message = format!("{} begins", draft.name(wanted));
    draft.note(Severity::Normal, "RolloutStarted", message);
    Move::Again
}

/// The rollout of `wanted` as it begins.
fn rollout(
    draft: &Draft<'_>,
    wanted: &RevisionId,
    course: Course,
    settings: Settings,
    warm: bool,
) -> Rollout {
    let steps = course.steps.len();
    let first = draft.target.stable.is_none();
    let stage = if !warm && gates::prepares(draft, wanted) {
        Stage::Preparing
    } else {
        Stage::Scaling
    };
    Rollout {
        revision: wanted.clone(),
        generation: draft.target.spec_generation,
        started_at: draft.now,
        by: settings.changed_by,
        plan: course,
        // The first has nothing to be compared with; a warm one has served before: going back is one change of weight.
        step: if first || warm { steps } else { 0 },
        stage,
        stage_since: draft.now,
        paused: None,
        passed: Vec::new(),
        full: warm,
        progress: Progress::begins(draft.now),
        progress_deadline: settings.progress_deadline,
        ending: None,
        returns_from: None,
        overruled: false,
        blind_since: None,
        both_down: None,
        trials: 0,
        failed_before: draft.failed_tasks(wanted),
        stable_failed_before: (draft.target.stable.as_ref())
            .map_or(0, |stable| draft.failed_tasks(stable)),
        seed: format!("{:08x}", draft.world.fresh_seed),
        warm,
        meets: None,
        gates: Vec::new(),
        gate_seed: None,
        thawed: None,
        kept: Kept::default(),
        words: Vec::new(),
    }
}

/// Without routes nothing but this bounds how many revisions have tasks at once: as many as have a place in HAProxy.
fn room(draft: &Draft<'_>, wanted: &RevisionId) -> bool {
    let previews = &draft.target.previews;
    let others = draft.target.revisions.keys();
    let others = others.filter(|id| *id != wanted && !previews.contains_key(*id));
    others.count() < Slot::ALL.len()
}

/// A place in HAProxy for a revision; one that stays for a while gives its own up early where none is free.
fn place(draft: &mut Draft<'_>, wanted: &RevisionId) -> Result<Option<Slot>, Why> {
    let own = draft.target.revisions.get(wanted).and_then(|r| r.slot);
    if own.is_some() {
        return Ok(own);
    }
    if draft.routed() {
        if let Some(slot) = draft.free_slot() {
            return Ok(Some(slot));
        }
    } else if room(draft, wanted) {
        return Ok(None);
    }
    make_room(draft);
    Err(Why::NoSlot {
        revision: draft.name(wanted),
    })
}

/// Sends one revision on its way, unless one is: first what only stays to be looked at, then what served the longest ago.
fn make_room(draft: &mut Draft<'_>) {
    let now = draft.now;
    let routed = draft.routed();
    let target = &mut draft.target;
    let (revisions, previews) = (&target.revisions, &target.previews);
    let takes_room = |revision: &RevisionId| {
        let there = revisions.get(revision);
        let has = there.is_some_and(|there| !routed || there.slot.is_some());
        has && !previews.contains_key(revision)
    };
    let leaving = target.leaving.iter_mut();
    let mut leaving: Vec<&mut Leaving> = leaving
        .filter(|(revision, _)| takes_room(revision))
        .map(|(_, leaving)| leaving)
        .collect();
    if leaving
        .iter()
        .any(|one| one.warm_until.is_none_or(|at| at <= now))
    {
        return;
    }
    leaving.sort_by_key(|one| (!one.inspected, one.since));
    if let Some(first) = leaving.into_iter().next() {
        first.warm_until = Some(now);
    }
}

/// The first revision: it becomes stable as soon as it can serve. It is never taken back, for there is nothing else.
pub(super) fn first(draft: &mut Draft<'_>) -> Move {
    // One that an earlier version has begun.
    let adopted = draft
        .target
        .rollout
        .as_ref()
        .map(|run| run.revision.clone());
    if let Some(adopted) = adopted.filter(|revision| adoption::is_first(draft, revision)) {
        adoption::begin(draft, &adopted);
        return Move::Again;
    }
    let at_it = draft.target.rollout.as_ref().map(|run| &run.revision);
    let at_it = at_it.and_then(|revision| gates::under_way(draft, revision));
    if at_it.is_none() && (taking_back::superseded(draft).is_some() || preview::asked_for(draft)) {
        let revision = draft.target.rollout.take().map(|rollout| rollout.revision);
        draft.target.canary = None;
        if let Some(revision) = revision {
            removal::leave(draft, &revision, Span::ZERO);
        }
        return Move::Again;
    }
    let Some(rollout) = draft.target.rollout.clone() else {
        return Move::Again;
    };
    if rollout.stage == Stage::Preparing {
        return gates::preparing(draft);
    }
    if draft.routed() && draft.no_agent() {
        return Move::Wait(Why::NoAgent);
    }
    // On every live agent, as at each step: one edge that answers is no help to the users of another.
    if draft.complete(&rollout.revision, draft.replicas()) {
        if let Some(stopped) = gates::pass(draft, Moment::Promotion) {
            return stopped;
        }
        switch(draft);
        return Move::Again;
    }
    match failing::failure(draft) {
        Some(ending) => Move::Wait(Why::FirstFails {
            reason: ending.reason,
            why: ending.why,
            asked: false,
        }),
        None => Move::Wait(missing(draft, &rollout)),
    }
}
