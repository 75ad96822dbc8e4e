//! Releases of one group: promoted together, and taken back together.
//!
//! Each looks at the others and moves only itself. A rollout that could be promoted says so in its target and waits until
//! every other one of the group stands as far, or has nothing to do; a rollout goes back as soon as another one has
//! failed, and does not begin while one has. What must never happen: two that wait for each other and neither moves; a way
//! back that waits.
//!
//! Those of a group that wait for each other look about once a second. Harm that is shown between the look of the first
//! and that of the last of them takes only the last one back.

use fm_api::quantity::Weight;
use fm_api::rollout::{Ending, HistoryEntry, Meeting, Outcome, Rollout, Stage, Wait};
use fm_api::status::reasons;
use fm_api::strategy::Kind;
use fm_api::target::Target;

use super::draft::Draft;
use super::gates;
use super::others::{Other, look_again};
use super::why::Why;

/// Whether it is promoted, or taken back, with others.
fn alone(draft: &Draft<'_>) -> bool {
    draft.world.fellows.is_empty()
}

/// Another one of the group has failed since this rollout began.
pub(super) fn failed(draft: &mut Draft<'_>) -> Option<Ending> {
    if alone(draft) {
        return None;
    }
    look_again(draft);
    let rollout = draft.target.rollout.as_ref()?;
    if rollout.warm || draft.target.stable.is_none() {
        return None;
    }
    let (fellow, failed) = draft.world.fellows.iter().find_map(|fellow| {
        let (_, failed) = fellow.failed()?;
        (failed.at >= rollout.started_at).then_some((fellow, failed))
    })?;
    Some(Ending {
        outcome: Outcome::RolledBack,
        reason: reasons::TAKEN_BACK_WITH_GROUP.to_owned(),
        why: format!(
            "with {}, which is of the same group: {}",
            fellow.key, failed.why
        ),
    })
}

/// Whether it was taken back for another one's sake: then nothing speaks against the revision itself.
pub(super) fn for_another(ending: &Ending) -> bool {
    ending.reason == reasons::TAKEN_BACK_WITH_GROUP
}

/// The one of the group that keeps a rollout from beginning, because it has failed.
pub(super) fn waits_for(draft: &Draft<'_>) -> Option<String> {
    let mut fellows = draft.world.fellows.iter();
    let failed = fellows.find(|fellow| fellow.failed().is_some())?;
    (draft.target.rollout.is_none() && draft.target.wanted != draft.target.stable)
        .then(|| failed.key.to_string())
}

/// Why a rollout does not begin: it could not be promoted with the others, for one of them has failed.
pub(super) fn unmet(draft: &mut Draft<'_>) -> Option<Why> {
    let fellows = draft.world.fellows.iter();
    let waits: Vec<String> = fellows
        .filter_map(|fellow| fellow.unsettled(fellow.failed().and(fellow.target.as_ref())?))
        .collect();
    if waits.is_empty() || draft.target.stable.is_none() {
        return None;
    }
    look_again(draft);
    let wanted = draft.target.wanted.as_ref()?;
    let with = |last: &&HistoryEntry| {
        last.revision == *wanted && last.reason == reasons::TAKEN_BACK_WITH_GROUP
    };
    Some(match draft.target.history.last().filter(with) {
        Some(last) => Why::TakenBackWithGroup {
            revision: draft.name(wanted),
            why: last.why.clone(),
            stable: draft.stable(),
        },
        None => Why::Group {
            ready: false,
            waits,
        },
    })
}

/// Where the rollout meets the others, if what comes next is such a place.
fn meeting(rollout: &Rollout) -> Option<Meeting> {
    if rollout.step >= rollout.plan.steps.len() {
        Some(Meeting::Promotion)
    } else {
        gates::promotes(rollout).then_some(Meeting::Switch)
    }
}

/// It is not ready, as far as was found out in this look.
pub(super) fn parts(draft: &mut Draft<'_>) {
    if let Some(rollout) = &mut draft.target.rollout {
        rollout.meets = None;
    }
}

/// Everything else lets it go on: says so, and whom of the others it waits for.
pub(super) fn apart(draft: &mut Draft<'_>) -> Option<Why> {
    if alone(draft) {
        return None;
    }
    let rollout = draft.target.rollout.as_ref()?;
    let here = meeting(rollout)?;
    if rollout.warm || rollout.full || rollout.passed.contains(&Wait::Group) {
        return None;
    }
    let fellows = draft.world.fellows.iter();
    let waits: Vec<String> = fellows.filter_map(|fellow| behind(fellow, here)).collect();
    if waits.is_empty() {
        return None;
    }
    if let Some(rollout) = &mut draft.target.rollout {
        rollout.meets = Some(here);
    }
    look_again(draft);
    Some(Why::Group { ready: true, waits })
}

/// What of another one is waited for at this place.
fn behind(fellow: &Other, here: Meeting) -> Option<String> {
    let key = &fellow.key;
    let target = match fellow.taken_in() {
        Ok(target) => target,
        Err(wait) => return Some(wait),
    };
    let Some(rollout) = &target.rollout else {
        return fellow.unsettled(target);
    };
    let come = match rollout.stage {
        // It is stable from that write on.
        Stage::Draining => return None,
        Stage::RollingBack => return Some(format!("{key}, which is being taken back")),
        Stage::Preparing | Stage::Scaling | Stage::Shifting | Stage::Holding => {
            rollout.meets.or_else(|| switched(rollout))
        }
    };
    if let Some(wait) = stopped(target, rollout) {
        return Some(format!("{key}, {wait}"));
    }
    if come >= Some(here) {
        return None;
    }
    let (step, steps) = (rollout.step + 1, rollout.plan.steps.len());
    Some(match come {
        Some(_) => format!("{key}, whose switch was made and is watched"),
        None if step > steps => format!("{key}, which is about to be promoted"),
        None => format!("{key}, which is at step {step} of {steps}"),
    })
}

/// Somebody, or a rule, keeps it where it is.
fn stopped(target: &Target, rollout: &Rollout) -> Option<&'static str> {
    if target.held.is_some() {
        Some("which is held")
    } else if rollout.paused.is_some() {
        Some("which is paused")
    } else {
        None
    }
}

/// What a blue-green rollout has behind it once it serves everything.
fn switched(rollout: &Rollout) -> Option<Meeting> {
    let serves = match rollout.plan.steps.get(rollout.step) {
        None => true,
        Some(step) => {
            step.weight == Weight::FULL && matches!(rollout.stage, Stage::Shifting | Stage::Holding)
        }
    };
    (rollout.plan.kind == Kind::BlueGreen && serves).then_some(Meeting::Switch)
}
