//! What people see of releases. Pure: the time and the width come in as arguments.

mod describe;
mod estimate;
mod evidence;
mod experiment;
mod frame;
pub(crate) mod log_stats;
mod logs;
mod measured;
mod person;
pub(crate) mod plan;
pub(crate) mod power;
mod previews;
mod problems;
mod releases;
#[cfg(test)]
mod tests;
mod top;

pub(crate) use describe::describe;
pub(crate) use estimate::estimate;
pub(crate) use frame::{Frame, frame};
pub(crate) use logs::{last_words, log_line, revision_of_old};
pub(crate) use person::person;
pub(crate) use problems::{cluster, is_problem, problems};
pub(crate) use releases::{history, releases};
pub(crate) use top::top;

use fm_api::event::Event;
use fm_api::http::View;
use fm_api::quantity::Weight;
use fm_api::status::{Phase, RevisionStatus, Status};

use crate::text::{Look, Paint, count, image};

/// A phase in its colour.
pub(crate) fn phase(phase: Phase, paint: Paint) -> String {
    match phase {
        Phase::Healthy => paint.green(phase_word(phase)),
        Phase::Pending | Phase::Progressing => paint.cyan(phase_word(phase)),
        Phase::Over => paint.dim(phase_word(phase)),
        Phase::Paused | Phase::Deleting => paint.yellow(phase_word(phase)),
        Phase::RollingBack | Phase::Degraded | Phase::Invalid => paint.red(phase_word(phase)),
    }
}

/// A phase's word.
pub(crate) const fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Pending => "Pending",
        Phase::Progressing => "Progressing",
        Phase::Paused => "Paused",
        Phase::RollingBack => "RollingBack",
        Phase::Healthy => "Healthy",
        Phase::Degraded => "Degraded",
        Phase::Deleting => "Deleting",
        Phase::Invalid => "Invalid",
        Phase::Over => "Over",
    }
}

/// A weight in percent without a space: `10%`, `0.5%`.
pub(crate) fn percent(weight: Weight) -> String {
    weight.to_string().replace(' ', "")
}

/// What a step gives the canary: a share of the requests, or a worker's tasks.
pub(crate) fn part(step: &fm_api::strategy::Step) -> String {
    match step.replicas {
        Some(_) | None if !step.mirror.is_zero() => mirror(step.mirror),
        Some(tasks) if step.weight.is_zero() => tasks.in_words(),
        Some(_) | None => percent(step.weight),
    }
}

/// What a step sends to the canary as well.
pub(crate) fn mirror(share: Weight) -> String {
    format!("{} mirrored", percent(share))
}

/// The same of where a rollout stands.
pub(crate) fn canary_at(status: &Status) -> String {
    let step = status.step.checked_sub(1);
    let step = step.and_then(|step| status.steps.get(step));
    match step {
        Some(step) if status.weight.is_zero() && !step.mirror.is_zero() => mirror(step.mirror),
        _ => match step.and_then(|step| step.tasks) {
            Some(tasks) => count(u64::from(tasks), "task"),
            None => percent(status.weight),
        },
    }
}

/// A fraction in percent with as many digits as say something.
pub(crate) fn share(fraction: f64) -> String {
    let percent = fraction * 100.0;
    if percent == 0.0 {
        "0 %".to_owned()
    } else if percent < 0.1 {
        format!("{percent:.3} %")
    } else if percent < 10.0 {
        format!("{percent:.2} %")
    } else {
        format!("{percent:.1} %")
    }
}

/// `#4 shop:1.4.2`.
pub(crate) fn revision(revision: &RevisionStatus) -> String {
    format!("#{} {}", revision.number, image(&revision.image))
}

/// `2/3`, or `-` without a rollout.
pub(crate) fn step(status: &Status) -> String {
    if status.step == 0 {
        "-".to_owned()
    } else if status.step > status.steps.len() {
        "last".to_owned()
    } else {
        format!("{}/{}", status.step, status.steps.len())
    }
}

/// What is said when there is no status yet.
pub(crate) const NO_STATUS: &str = "nothing is known yet: promotion has not looked at it";

/// Whether the view shows what came of the spec's `generation`: promotion has taken it in and named its revision.
pub(crate) fn taken_in(view: &View, generation: u64) -> bool {
    let Some(status) = &view.status else {
        return false;
    };
    // An invalid spec never reaches the target.
    if status.phase == Phase::Invalid {
        return status.observed_generation >= generation;
    }
    let target = view.target.as_ref().is_some_and(|target| {
        // One that somebody kept from beginning is not waited for.
        let resolves = target
            .resolve
            .as_ref()
            .is_some_and(|asked| asked.aborted.is_none());
        target.spec_generation >= generation && !resolves
    });
    status.observed_generation >= generation && target
}

/// What an event says, and how often it happened.
pub(crate) fn message(event: &Event, look: &Look) -> String {
    match event.count {
        0 | 1 => event.message.clone(),
        count => format!(
            "{} ({count} times since {})",
            event.message,
            look.clock(event.at)
        ),
    }
}

/// An operation's word.
pub(crate) const fn verb(verb: fm_api::operation::Verb) -> &'static str {
    use fm_api::operation::Verb;
    match verb {
        Verb::Promote => "promote",
        Verb::Abort => "abort",
        Verb::Retry => "retry",
        Verb::Pause => "pause",
        Verb::Resume => "resume",
        Verb::Undo => "undo",
        Verb::Restart => "restart",
        Verb::Hold => "hold",
        Verb::EndHold => "hold --end",
    }
}
