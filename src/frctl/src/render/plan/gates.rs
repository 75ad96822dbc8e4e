//! What a rollout must pass before it goes on, in sentences. Pure.

use fm_api::gates::{Webhook, When};
use fm_api::release::{Approval, ReleaseSpec};

use super::{Planned, planned};

pub(super) fn approval(asked: Option<&Approval>) -> Option<String> {
    let role = match asked? {
        Approval::Manual => String::new(),
        Approval::Role(role) => format!(" with the role {role}"),
    };
    Some(format!("until somebody{role} promotes it"))
}

/// What gates ask at a place.
pub(super) fn asked(spec: &ReleaseSpec, when: &[When], step: Option<usize>) -> Vec<String> {
    let here = |hook: &&Webhook| {
        let number = step.and_then(|step| u32::try_from(step).ok());
        when.contains(&hook.when) && (hook.step.is_none() || hook.step == number)
    };
    let say = |hook: &Webhook| match hook.when.confirms() {
        true => format!("when the webhook {} says yes", hook.name),
        false if hook.when.is_after() => format!("the webhook {} is told", hook.name),
        false => format!("the webhook {} is called, and must answer well", hook.name),
    };
    spec.webhooks.iter().filter(here).map(say).collect()
}

pub(super) fn jobs(spec: &ReleaseSpec, with_tasks: bool) -> Vec<String> {
    let jobs = spec.before_traffic.iter();
    let jobs = jobs.filter(|job| job.with_tasks == with_tasks);
    jobs.map(|job| {
        let back = if job.reversible {
            ""
        } else {
            "; from then on it is not taken back by itself"
        };
        format!(
            "the job {} runs and must end well, unless it has for this revision{back}",
            job.name
        )
    })
    .collect()
}

/// What comes before the first task.
pub(super) fn opening(spec: &ReleaseSpec) -> Option<Planned> {
    let mut what = Vec::new();
    if !spec.depends_on.is_empty() {
        let names = spec.depends_on.iter().map(|on| match &on.namespace {
            Some(namespace) => format!("{namespace}/{}", on.name),
            None => on.name.clone(),
        });
        let names = names.collect::<Vec<_>>().join(", ");
        what.push(format!(
            "what it depends on serves what its manifest says: {names}"
        ));
    }
    if !spec.freeze.is_empty() {
        what.push("no freeze window holds it, now and before each rise".to_owned());
    }
    what.extend(asked(
        spec,
        &[When::ConfirmRollout, When::BeforeRollout],
        None,
    ));
    what.extend(jobs(spec, false));
    (!what.is_empty()).then(|| planned("first", what))
}

/// Metrics that are measured in this step alone.
pub(super) fn metrics(spec: &ReleaseSpec, step: usize) -> impl Iterator<Item = String> {
    let here =
        move |asked: Option<u32>| asked.is_some_and(|asked| usize::try_from(asked) == Ok(step));
    spec.analysis
        .metrics
        .iter()
        .filter(move |metric| !spec.analysis.disabled && here(metric.step))
        .map(|metric| format!("until the metric {} passes", metric.name))
}
