//! `retry`: what failed, or was kept from beginning, is tried again.

use fm_api::experiment::ExperimentTarget;
use fm_api::operation::Operation;
use fm_api::rollout::Progress;

use super::super::draft::Draft;
use super::super::{gates, group, preview, taking_back};
use super::{Answer, renew};

pub(super) fn retry(draft: &mut Draft<'_>, operation: &Operation) -> Answer {
    let meant = operation.revision.clone().or(draft.target.wanted.clone());
    if let Some(answer) = stopped(draft, operation) {
        return answer;
    }
    if operation.revision.is_none()
        && let Some(asked) = draft.target.resolve.as_mut()
        && asked.aborted.take().is_some()
    {
        let image = &asked.workload.image;
        return Ok(format!("the image {image} begins once it is resolved"));
    }
    if let Some(older) = meant.clone()
        && draft.target.rollout.as_ref().map(|run| &run.revision) != Some(&older)
        && let Some(job) = gates::behind(draft, &older)
    {
        draft.target.failed.remove(&older);
        let message = format!(
            "{} may begin, although it is older than what the job {job} has done for good",
            draft.name(&older)
        );
        draft.target.let_back = Some(older);
        return Ok(message);
    }
    if let Some(wanted) = draft.target.wanted.clone()
        && preview::asked_for(draft)
        && draft.target.expired.remove(&wanted).is_some()
    {
        return Ok(format!("the preview of {} comes back", draft.name(&wanted)));
    }
    if let Some(meant) = meant
        && draft.target.failed.remove(&meant).is_some()
    {
        let name = draft.name(&meant);
        let runs = draft.target.rollout.as_ref().map(|run| &run.revision);
        let wanted = draft.target.wanted.as_ref() == Some(&meant);
        if wanted && runs == Some(&meant) && taking_back::kept_for_stable(draft) {
            return Ok(format!("{name} is stable now: it is all that serves"));
        }
        return Ok(format!("{name} is tried again from the first step"));
    }
    if draft.target.stable.is_none()
        && let Some(mut run) = draft.target.rollout.clone()
    {
        let revision = run.revision.clone();
        run.progress = Progress::begins(draft.now);
        run.failed_before = draft.failed_tasks(&revision);
        draft.target.rollout = Some(run);
        renew(draft, &revision);
        return Ok("the first revision gets new tasks".to_owned());
    }
    let ended = |experiment: &ExperimentTarget| experiment.ended.is_some();
    if draft.target.rollout.is_none() && draft.target.experiment.as_ref().is_some_and(ended) {
        // What the spec asks for begins anew once its sides are gone.
        draft.target.experiment = None;
        return Ok("the experiment begins anew, with new tasks and no evidence".to_owned());
    }
    match group::waits_for(draft) {
        Some(failed) => Err(format!(
            "it begins again with {failed}, which is of the same group: retry that one"
        )),
        None => Err("nothing failed that could be tried again".to_owned()),
    }
}

/// A rollout that a gate has stopped: it is asked again.
fn stopped(draft: &mut Draft<'_>, operation: &Operation) -> Option<Answer> {
    let run = draft.target.rollout.as_ref()?;
    let meant = operation.revision.as_ref();
    if meant.is_some_and(|meant| *meant != run.revision) {
        return None;
    }
    let by_gate = run.paused.as_ref().is_some_and(|by| by.gate.is_some());
    if !by_gate && draft.target.stable.is_some() {
        return None;
    }
    gates::ask_anew(draft).map(Ok)
}
