//! What the person who is waited for can do: a command that is not refused where the release stands.

use fm_api::http::View;
use fm_api::status::{Phase, Status, reasons};
use fm_api::target::Target;

/// An abort is forced where a job has done something for good.
fn abort(view: &View) -> &'static str {
    let target = view.target.as_ref();
    let ran = target.and_then(|target| target.ran.get(&target.rollout.as_ref()?.revision));
    match ran.is_some_and(|ran| ran.irreversible.is_some()) {
        true => "abort --force",
        false => "abort",
    }
}

/// What a person can say now.
pub(crate) fn person(view: &View, status: &Status) -> String {
    let name = if view.namespace == "default" {
        view.name.clone()
    } else {
        format!("{}/{}", view.namespace, view.name)
    };
    match status.phase {
        Phase::Paused if status.reason == reasons::HELD => {
            format!("waits for you: `frctl hold {name} --end`, or until its time is over")
        }
        Phase::Paused => paused(view, status, &name),
        Phase::Invalid => "waits for you: apply a manifest that can be used".to_owned(),
        // Nothing of it has failed for good: what users do not get is looked for, not tried again.
        Phase::Degraded if status.impaired.is_some() && !status.waits_for_person => {
            format!(
                "waits for you: `frctl describe {name}`, `frctl logs {name}` and `frctl doctor`"
            )
        }
        Phase::Pending | Phase::Progressing if status.reason == reasons::NO_REPLICAS => {
            format!(
                "waits for you: `frctl scale {name} --replicas N`, or `frctl rollout promote {name} --full`"
            )
        }
        Phase::Degraded if status.reason == reasons::TAKEN_BACK_WITH_GROUP => {
            "waits for you: `frctl rollout retry`, or another image, of the one that failed"
                .to_owned()
        }
        // Neither has failed for good, so there is nothing to retry.
        Phase::Degraded if status.reason == reasons::IMAGE_UNRESOLVED => {
            format!(
                "waits for you: mend what it says, then `frctl set image {name} IMAGE` asks again; or apply another image"
            )
        }
        Phase::Degraded if view.target.as_ref().is_some_and(preview_tries) => {
            format!(
                "waits for you: apply another image, or new tasks by `frctl rollout restart {name}`"
            )
        }
        Phase::Degraded => {
            format!("waits for you: apply another image, or `frctl rollout retry {name}`")
        }
        Phase::Pending
        | Phase::Progressing
        | Phase::RollingBack
        | Phase::Healthy
        | Phase::Deleting
        | Phase::Over => {
            format!("waits for you: `frctl rollout promote {name}` or `frctl rollout abort {name}`")
        }
    }
}

/// What a rollout that stands still waits for, of whatever stopped it.
fn paused(view: &View, status: &Status, name: &str) -> String {
    let rollout = view
        .target
        .as_ref()
        .and_then(|target| target.rollout.as_ref());
    let gate = rollout.and_then(|run| run.paused.as_ref()?.gate.as_ref());
    let abort = abort(view);
    // Nothing stopped it that could be resumed.
    let passes = status.reason == reasons::INCONCLUSIVE || status.reason == reasons::HARM_SHOWN;
    let instead = format!("`frctl rollout {abort} {name}`");
    match gate {
        _ if passes => format!("waits for you: `frctl rollout promote {name}` or {instead}"),
        Some(gate) if gate.job => {
            format!("waits for you: `frctl rollout retry {name}` or {instead}")
        }
        Some(_) => format!(
            "waits for you: `frctl rollout retry {name}`, `resume` without it, or `{abort}`"
        ),
        None if status.reason != reasons::PAUSED => {
            format!("waits for you: apply another image, or {instead}")
        }
        None => format!("waits for you: `frctl rollout resume {name}` or {instead}"),
    }
}

/// The preview that is asked for is kept trying.
fn preview_tries(target: &Target) -> bool {
    let wanted = target.wanted.as_ref();
    let preview = wanted.and_then(|wanted| target.previews.get(wanted));
    preview.is_some_and(|preview| !preview.closed && preview.side.is_none())
}
