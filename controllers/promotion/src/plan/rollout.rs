//! A revision on its way to serve: Scaling, Shifting, Holding for each step, then the switch of the pointers.
//!
//! The first revision takes the same way with nothing to compare it with: it scales, and becomes stable.

use fm_api::event::Severity;
use fm_api::keys::RevisionId;
use fm_api::quantity::{Span, Weight};
use fm_api::release::Approval;
use fm_api::rollout::{Rollout, Stage, Wait};
use fm_api::status::reasons;
use fm_api::strategy::Kind;
use fm_api::target::{AnalysisTarget, StepNow};

use super::draft::{Draft, after};
use super::gates::Moment;
use super::why::{At, Scaling, Why};
use super::{
    adoption, begin, evidence, failing, gates, group, hold, intake, removal, routing, surge,
    taking_back, traffic,
};

/// Whether there is more to decide with what is seen now.
pub(super) enum Move {
    /// Something changed: decide on.
    Again,
    /// This is waited for.
    Wait(Why),
}

/// More moves than any rollout has in one look; a guard against deciding in a circle.
const MOVES: usize = 1000;

/// Moves the rollout as far as it goes now.
pub(super) fn run(draft: &mut Draft<'_>) -> Why {
    group::parts(draft);
    for _ in 0..MOVES {
        serve(draft);
        match one(draft) {
            Move::Again => {}
            Move::Wait(why) => {
                keep_capacity(draft);
                return why;
            }
        }
    }
    draft.wake(after(draft.now, Span::secs(1)));
    Why::StillLeaving {
        revision: "the rollout".to_owned(),
    }
}

fn one(draft: &mut Draft<'_>) -> Move {
    // Held, and back at stable by somebody's word: nothing else begins.
    if hold::holds(draft)
        && let Some(why) = hold::why(draft)
    {
        return Move::Wait(why);
    }
    let Some(stage) = draft.target.rollout.as_ref().map(|rollout| rollout.stage) else {
        return begin::idle(draft);
    };
    match stage {
        Stage::RollingBack => return taking_back::step(draft),
        Stage::Draining => return switching(draft),
        Stage::Preparing | Stage::Scaling | Stage::Shifting | Stage::Holding => {}
    }
    keep_capacity(draft);
    failing::watch_both(draft);
    failing::watch_progress(draft);
    if draft.target.stable.is_none() {
        return begin::first(draft);
    }
    let overruled = draft.target.rollout.as_ref().is_some_and(|r| r.overruled);
    let both = draft
        .target
        .rollout
        .as_ref()
        .is_some_and(|r| r.both_down.is_some());
    let failure = if both {
        group::failed(draft)
    } else {
        failing::failure(draft)
    };
    if let Some(ending) = failure
        && !overruled
    {
        return taking_back::fail(draft, ending, None);
    }
    if let Some(ending) = taking_back::superseded(draft) {
        let revision = draft.target.rollout.as_ref().map(|r| r.revision.clone());
        let locked = revision.and_then(|revision| gates::irreversible(draft, &revision));
        if locked.is_none() {
            taking_back::begin(draft, ending);
            return Move::Again;
        }
        // A newer one waits until this one is stable; stable itself would be a way back.
        if ending.reason == reasons::STABLE_REAPPLIED && !overruled {
            return taking_back::fail(draft, ending, None);
        }
    }
    if let Some(pause) = draft.target.rollout.as_ref().and_then(|r| r.paused.clone()) {
        return Move::Wait(Why::Paused {
            by: pause.by,
            why: pause.why,
            gate: pause.gate,
        });
    }
    if both {
        return Move::Wait(both_down(draft));
    }
    if stage != Stage::Preparing
        && let Some(why) = routing::not_yet(draft)
    {
        return routing::instead(draft, why);
    }
    let moves = match stage {
        Stage::Preparing => gates::preparing(draft),
        Stage::Scaling => scaling(draft),
        Stage::Shifting => shifting(draft),
        Stage::Holding | Stage::Draining | Stage::RollingBack => holding(draft),
    };
    match moves {
        // Nothing will come of waiting, and nothing takes it back: a person must know.
        Move::Wait(Why::Scaling(_)) if overruled => spared(draft, moves),
        Move::Wait(_) | Move::Again => moves,
    }
}

fn both_down(draft: &Draft<'_>) -> Why {
    let stable = draft.target.stable.as_ref();
    Why::BothDown {
        stable: stable.map(|id| draft.name(id)).unwrap_or_default(),
        says: stable.and_then(|id| failing::says(draft, id)),
    }
}

fn spared(draft: &mut Draft<'_>, moves: Move) -> Move {
    match failing::of_tasks(draft) {
        Some(ending) => Move::Wait(Why::Spared {
            reason: ending.reason,
            why: ending.why,
        }),
        None => moves,
    }
}

/// Stable has its full capacity, or with `maxSurge` what its share needs; the canary what its step needs; both have a place
/// in HAProxy.
fn keep_capacity(draft: &mut Draft<'_>) {
    let routed = draft.routed();
    let Some(stable) = draft.target.stable.clone() else {
        if let Some(rollout) = &draft.target.rollout {
            let (first, needed) = (rollout.revision.clone(), draft.needed(rollout));
            give(draft, routed, &first, needed);
        }
        return;
    };
    let (tasks, canary) = surge::tasks(draft, &stable);
    give(draft, routed, &stable, tasks);
    if let Some((canary, tasks)) = canary {
        give(draft, routed, &canary, tasks);
    }
}

fn give(draft: &mut Draft<'_>, routed: bool, revision: &RevisionId, tasks: u32) {
    let slot = draft.free_slot();
    if let Some(target) = draft.target.revisions.get_mut(revision) {
        target.replicas = tasks;
        target.draining = false;
        if routed && target.slot.is_none() {
            target.slot = slot;
        }
    }
}

/// Stable serves whatever routes there are, once it can; without routes there is no split.
fn serve(draft: &mut Draft<'_>) {
    if !draft.routed() {
        draft.target.traffic = None;
    } else if draft.target.traffic.is_none()
        && let Some(stable) = draft.target.stable.clone()
        && (draft.replicas() == 0
            || (draft.ready(&stable) > 0 && draft.healthy_somewhere(&stable) > 0))
    {
        traffic::set(draft, &stable, None, Weight::ZERO);
    }
}

/// What of the canary's tasks is waited for.
pub(super) fn missing(draft: &Draft<'_>, rollout: &Rollout) -> Why {
    if let Some(problem) = draft.swarm_problem() {
        return Why::SwarmUnknown { problem };
    }
    if draft.routed() && draft.no_agent() {
        return Why::NoAgent;
    }
    let revision = &rollout.revision;
    Why::Scaling(Scaling {
        revision: draft.name(revision),
        needed: draft.needed(rollout),
        ready: draft.ready(revision),
        healthy: draft.healthy(revision),
        says: failing::says(draft, revision),
        no_node: failing::no_node(draft, revision),
        deadline: (rollout.blind_since.is_none() && !rollout.overruled)
            .then(|| after(rollout.progress.at, rollout.progress_deadline)),
    })
}

fn scaling(draft: &mut Draft<'_>) -> Move {
    let (Some(rollout), Some(stable)) = (draft.target.rollout.clone(), draft.target.stable.clone())
    else {
        return Move::Again;
    };
    let needed = draft.needed(&rollout);
    if !draft.complete(&rollout.revision, needed) {
        return Move::Wait(missing(draft, &rollout));
    }
    // A share means tasks that serve it: without one nothing was tried, and only a person's word stands for that.
    if draft.replicas() == 0 && !rollout.full && !rollout.warm {
        return Move::Wait(Why::NoReplicas {
            revision: draft.name(&rollout.revision),
        });
    }
    let step = rollout.plan.steps.get(rollout.step);
    let weight = step.map(|step| step.weight);
    let now_in = draft
        .target
        .traffic
        .as_ref()
        .map_or(Weight::ZERO, |t| t.weight);
    let rises = weight.is_none_or(|weight| weight > now_in);
    if rises && let Some(why) = traffic::frozen(draft) {
        return Move::Wait(why);
    }
    let moments = [
        (rollout.step < rollout.plan.steps.len()).then_some(Moment::Step(rollout.step)),
        gates::promotes(&rollout).then_some(Moment::Promotion),
    ];
    for moment in moments
        .into_iter()
        .flatten()
        .filter(|_| rises || weight == Some(Weight::ZERO))
    {
        if let Some(stopped) = gates::pass(draft, moment) {
            return stopped;
        }
    }
    if rises && let Some(why) = group::apart(draft) {
        return Move::Wait(why);
    }
    match weight {
        None => switch(draft),
        Some(weight) => {
            let mirrored = step.map_or(Weight::ZERO, |step| step.mirror);
            traffic::mirror(draft, &stable, Some(&rollout.revision), weight, mirrored);
            judge(draft, &rollout, &stable);
            enter(draft, Stage::Shifting);
        }
    }
    Move::Again
}

/// Has analysis judge the canary from now on.
fn judge(draft: &mut Draft<'_>, rollout: &Rollout, stable: &RevisionId) {
    let Some(settings) = draft.settings() else {
        return;
    };
    if settings.analysis.disabled {
        draft.target.analysis = None;
    } else if draft.target.analysis.is_none() {
        let fresh = AnalysisTarget::new(
            &rollout.revision,
            stable,
            &rollout.trial_seed(),
            &settings.analysis,
        );
        draft.target.analysis = Some(AnalysisTarget {
            worker: !draft.routed(),
            request_timeout: intake::request_timeout(draft),
            last_hold: intake::last_hold(&rollout.plan),
            ..fresh
        });
    }
}

fn enter(draft: &mut Draft<'_>, stage: Stage) {
    let now = draft.now;
    if let Some(rollout) = &mut draft.target.rollout {
        rollout.stage = stage;
        rollout.stage_since = now;
    }
}

fn shifting(draft: &mut Draft<'_>) -> Move {
    if draft.routed()
        && let Some(why) = traffic::not_in_force(draft)
    {
        return Move::Wait(why);
    }
    let now = draft.now;
    let number = draft.target.rollout.as_ref().map_or(0, |r| r.step) + 1;
    let mirrors = draft.target.mirroring();
    if let Some(analysis) = &mut draft.target.analysis {
        // Mirrored requests are none of its own: the warm-up and the bake begin with the first share.
        if !mirrors {
            analysis.since.get_or_insert(now);
        }
        analysis.step = Some(StepNow {
            number: u32::try_from(number).unwrap_or(u32::MAX),
            since: now,
        });
    }
    if let Some(rollout) = &draft.target.rollout {
        let message = reached(draft, rollout);
        draft.note(Severity::Normal, "StepReached", message);
    }
    enter(draft, Stage::Holding);
    Move::Again
}

fn reached(draft: &Draft<'_>, rollout: &Rollout) -> String {
    let (step, steps) = (rollout.step, &rollout.plan.steps);
    let weight = steps.get(step).map(|step| step.weight).unwrap_or_default();
    let mirror = steps.get(step).map(|step| step.mirror).unwrap_or_default();
    let what = match rollout.plan.kind {
        Kind::Canary if !draft.routed() => {
            format!(
                "{} of {} tasks run",
                draft.needed(rollout),
                draft.replicas()
            )
        }
        Kind::BlueGreen if !draft.routed() => "it stands whole beside stable".to_owned(),
        Kind::Canary if !mirror.is_zero() => {
            format!("it is sent copies of {mirror} of the safe requests")
        }
        Kind::Canary => format!("{weight} is in force"),
        Kind::BlueGreen if weight == Weight::FULL => {
            "the switch is in force, it serves everything".to_owned()
        }
        Kind::BlueGreen => "it stands whole beside stable".to_owned(),
    };
    format!("step {} of {}: {what}", step + 1, steps.len())
}

fn holding(draft: &mut Draft<'_>) -> Move {
    let Some(rollout) = draft.target.rollout.clone() else {
        return Move::Again;
    };
    let Some(step) = rollout.plan.steps.get(rollout.step).cloned() else {
        enter(draft, Stage::Scaling);
        return Move::Again;
    };
    let until = after(rollout.stage_since, step.hold);
    let tasks = (!draft.routed()).then(|| (draft.needed(&rollout), draft.replicas()));
    let at = |until| At {
        weight: step.weight,
        mirror: step.mirror,
        tasks,
        step: rollout.step + 1,
        steps: rollout.plan.steps.len(),
        until,
        hold: step.hold,
        kind: rollout.plan.kind,
    };
    let passed = |wait| rollout.full || rollout.passed.contains(&wait);
    if !passed(Wait::Hold) && draft.now < until {
        draft.wake(until);
        return Move::Wait(Why::Holding(at(Some(until))));
    }
    if !evidence::given(draft) {
        return Move::Wait(evidence::awaited(draft, at(None)));
    }
    if step.approval.is_some() && !passed(Wait::Approval) {
        return Move::Wait(Why::Approval {
            at: at(None),
            role: step
                .approval
                .as_ref()
                .and_then(Approval::role)
                .map(str::to_owned),
        });
    }
    if !draft.complete(&rollout.revision, draft.needed(&rollout)) {
        return Move::Wait(missing(draft, &rollout));
    }
    if draft.routed()
        && let Some(why) = traffic::not_in_force(draft)
    {
        return Move::Wait(why);
    }
    if let Some(rollout) = &mut draft.target.rollout {
        rollout.step += 1;
        rollout.passed.clear();
    }
    if let Some(analysis) = &mut draft.target.analysis {
        analysis.awaiting_since = None;
    }
    enter(draft, Stage::Scaling);
    Move::Again
}

/// Moves the pointers: the canary is stable from this write on.
pub(super) fn switch(draft: &mut Draft<'_>) {
    let Some(rollout) = draft.target.rollout.clone() else {
        return;
    };
    let new = rollout.revision;
    let old = draft.target.stable.replace(new.clone());
    // What takes stable's place on its own way back was promoted by nobody.
    adoption::switched(draft, old.as_ref(), rollout.stage != Stage::RollingBack);
    draft.target.canary = None;
    draft.target.analysis = None;
    if let Some(rollout) = &mut draft.target.rollout {
        // Kept in stable's place because stable could not serve: then it did not end as it was going to.
        rollout.ending = None;
        rollout.returns_from = None;
        rollout.paused = None;
    }
    draft.target.failed.remove(&new);
    // A worker's first routes come with the revision that publishes their ports: HAProxy has not checked it yet.
    let checked = draft.routed();
    intake::adopt_routes(draft);
    if checked {
        traffic::set(draft, &new, None, Weight::ZERO);
    }
    if let Some(old) = old {
        removal::leave(draft, &old, rollout.plan.keep_previous);
    }
    enter(draft, Stage::Draining);
    keep_capacity(draft);
}

/// Waits until every live agent has the new stable in force; then the rollout has ended.
fn switching(draft: &mut Draft<'_>) -> Move {
    if let Some(cause) = traffic::not_in_force(draft) {
        let revision = draft.target.stable.clone();
        return Move::Wait(Why::Switching {
            revision: revision.map(|r| draft.name(&r)).unwrap_or_default(),
            cause: Box::new(cause),
        });
    }
    taking_back::close(draft);
    Move::Again
}
