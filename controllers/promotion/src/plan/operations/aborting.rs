//! `abort`: back to stable; and what is asked for and has not begun does not begin.

use fm_api::operation::Operation;
use fm_api::rollout::{Ending, Failed, Outcome, Stage};
use fm_api::status::reasons;

use super::super::draft::Draft;
use super::super::{experiment, gates, preview, taking_back};
use super::{Answer, by, running, stands};

pub(super) fn abort(draft: &mut Draft<'_>, operation: &Operation) -> Answer {
    let why = operation.why.as_ref().map_or_else(
        || format!("aborted by {}", by(operation)),
        |why| format!("aborted by {}: {why}", by(operation)),
    );
    let Some(run) = draft.target.rollout.clone() else {
        if draft.target.experimenting().is_some() {
            experiment::end(draft, &why);
            let ends = "the experiment ends; stable takes every share back";
            return Ok(format!("{ends}{}", begins_then(draft)));
        }
        return abort_waiting(draft, &why);
    };
    match run.stage {
        Stage::RollingBack => Ok(faster(draft, run.returns_from.is_some(), &why)),
        Stage::Draining => running(draft).map(|_| String::new()),
        Stage::Preparing | Stage::Scaling | Stage::Shifting | Stage::Holding
            if draft.target.stable.is_none() =>
        {
            Err(
                "there is no stable revision to go back to; apply another, or delete the release"
                    .to_owned(),
            )
        }
        Stage::Preparing | Stage::Scaling | Stage::Shifting | Stage::Holding => {
            if let Some(job) = gates::irreversible(draft, &run.revision)
                && !operation.force
            {
                return Err(taking_back::no_way_back(&job));
            }
            let ending = Ending {
                outcome: Outcome::Aborted,
                reason: reasons::ABORTED.to_owned(),
                why,
            };
            taking_back::begin(draft, ending);
            let back = "stable takes everything back";
            Ok(format!("{back}{}", begins_then(draft)))
        }
    }
}

/// It is on its way back already: at once, and what would begin after it does not.
fn faster(draft: &mut Draft<'_>, slowly: bool, why: &str) -> String {
    if slowly {
        if let Some(run) = &mut draft.target.rollout {
            run.returns_from = None;
        }
        return format!("stable takes the rest back at once{}", begins_then(draft));
    }
    let back = if taking_back::kept_for_stable(draft) {
        "it is being taken back as soon as stable serves"
    } else {
        "it is being taken back already"
    };
    match keep_from_beginning(draft, why) {
        Some(next) => format!("{back}, and {next} is not begun"),
        None => back.to_owned(),
    }
}

/// What the manifest asks for and has not begun, for people.
fn next(draft: &Draft<'_>) -> Option<String> {
    let target = &draft.target;
    if target.stable.is_none() && !preview::asked_for(draft) {
        return None;
    }
    let asked = target.resolve.as_ref();
    if let Some(asked) = asked.filter(|asked| asked.side.is_none()) {
        let image = format!("the image {}", asked.workload.image);
        return asked.aborted.is_none().then_some(image);
    }
    let wanted = target.wanted.as_ref()?;
    let running = target.rollout.as_ref().map(|run| &run.revision);
    let there = [target.stable.as_ref(), running];
    let up = target.previews.contains_key(wanted) || target.expired.contains_key(wanted);
    (!there.contains(&Some(wanted)) && !up && !target.failed.contains_key(wanted))
        .then(|| draft.name(wanted))
}

fn begins_then(draft: &Draft<'_>) -> String {
    next(draft).map_or_else(String::new, |next| {
        format!("; then {next} begins, which the manifest asks for (abort again, and it does not)")
    })
}

/// What has not begun does not; its name, for people.
fn keep_from_beginning(draft: &mut Draft<'_>, why: &str) -> Option<String> {
    let next = next(draft)?;
    let failed = Failed {
        at: draft.now,
        reason: reasons::ABORTED.to_owned(),
        why: why.to_owned(),
        unbegun: true,
    };
    let asked = draft.target.resolve.as_mut();
    match asked.filter(|asked| asked.side.is_none()) {
        Some(asked) => asked.aborted = Some(failed),
        None => {
            let wanted = draft.target.wanted.clone()?;
            draft.target.failed.insert(wanted, failed);
        }
    }
    Some(next)
}

/// No rollout runs: a preview is taken down, or what is wanted and has not begun does not.
fn abort_waiting(draft: &mut Draft<'_>, why: &str) -> Answer {
    if let Some(next) = keep_from_beginning(draft, why) {
        return Ok(format!("{next} is not begun"));
    }
    let wanted = draft.target.wanted.clone();
    let open = wanted.filter(|wanted| {
        let preview = draft.target.previews.get(wanted);
        preview.is_some_and(|preview| !preview.closed)
    });
    let Some(wanted) = open else {
        return Err(format!("no rollout runs: {}", stands(draft).sentence()));
    };
    let message = format!("the preview of {} is taken down", draft.name(&wanted));
    let ending = Ending {
        outcome: Outcome::Aborted,
        reason: reasons::ABORTED.to_owned(),
        why: why.to_owned(),
    };
    preview::close(draft, &wanted, ending);
    Ok(message)
}
