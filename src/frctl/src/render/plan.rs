//! What applying a manifest would do, step by step, before it does. Pure.
//!
//! It says what the strategy comes to with what is known now: the image is not resolved, and evidence is not foreseen. A manifest
//! that asks for a revision that is known already may take no step at all: `standing` says so.

use fm_api::criteria::OnInconclusive;
use fm_api::gates::When;
use fm_api::http::{ApplyOutcome, View};
use fm_api::quantity::{Span, Weight};
use fm_api::release::{Connections, OnFailure, Release, ReleaseSpec, Require};
use fm_api::strategy::{BlueGreen, Canary, Course, Preview};
use fm_api::target::RevisionRecord;
use jiff::Timestamp;
use serde::Serialize;

mod gates;
mod standing;

use self::gates::{approval, asked, jobs, metrics, opening};
use super::experiment::would_do;
use super::percent;
use crate::changes::changes;
use crate::text::count;

/// One thing that would happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Planned {
    /// A few words: `services`, `step 1 of 3`, `back`.
    pub(crate) when: String,
    /// What happens then, each a sentence.
    pub(crate) what: Vec<String>,
}

fn planned(when: impl Into<String>, what: Vec<String>) -> Planned {
    Planned {
        when: when.into(),
        what,
    }
}

/// What is known beside the two manifests.
#[derive(Clone, Copy)]
pub(crate) struct Known<'a> {
    /// The release's picture; absent: there is none yet.
    pub(crate) view: Option<&'a View>,
    /// Its revisions, the oldest first.
    pub(crate) records: &'a [RevisionRecord],
    /// The time.
    pub(crate) now: Timestamp,
}

/// What would happen, in this order.
pub(crate) fn plan(
    before: Option<&Release>,
    after: &Release,
    outcome: ApplyOutcome,
    known: Known<'_>,
) -> Vec<Planned> {
    if outcome == ApplyOutcome::Unchanged {
        return vec![planned("nothing", vec!["it is stored as it is".to_owned()])];
    }
    let mut all = Vec::new();
    let changed = before
        .map(|before| changes(before, after))
        .unwrap_or_default();
    let at_once: Vec<String> = changed
        .iter()
        .filter(|change| !change.revision)
        .map(|change| format!("{}: {}", change.part, change.effect))
        .collect();
    if !at_once.is_empty() {
        all.push(planned("at once", at_once));
    }
    let spec = &after.spec;
    let tried = before.map(|before| &before.spec.experiment);
    if let Some(experiment) = &spec.experiment
        && tried.and_then(Option::as_ref) != Some(experiment)
    {
        all.push(planned("experiment", would_do(experiment)));
    }
    if before.is_some() && !changed.iter().any(|change| change.revision) {
        return all;
    }
    let target = known.view.and_then(|view| view.target.as_ref());
    let asked_for =
        target.and_then(|target| standing::Known::of(spec, target, known.records, known.now));
    let running = known
        .view
        .and_then(|view| standing::of_running(before, spec, view, asked_for.as_ref()));
    if let Some((running, refused)) = running {
        all.push(running);
        if refused {
            return all;
        }
    }
    let rollout = target.and_then(standing::running);
    if let Some(asked_for) = &asked_for
        && let Some(one) = asked_for.comes_to(after, rollout)
    {
        all.push(one);
        all.extend(asked_for.follows(spec));
        return all;
    }
    let stable = target.and_then(|target| target.stable.as_ref());
    all.extend(rolled_out(spec, stable.is_none()));
    let adopted = target.and_then(|target| target.keeps_adopted());
    if let Some(adopted) = adopted.filter(|adopted| Some(&adopted.revision) == stable) {
        all.push(planned("the adopted service", vec![format!(
            "{} serves beside it until HAProxy finds it healthy and the new revision is promoted; then it is drained and removed",
            adopted.service
        )]));
    }
    all
}

/// What the strategy comes to.
fn rolled_out(spec: &ReleaseSpec, is_first: bool) -> Vec<Planned> {
    let mut all = Vec::new();
    if spec.strategy.preview.is_none() {
        all.extend(opening(spec));
    }
    if let Some(preview) = &spec.strategy.preview {
        all.extend(previews(spec, preview));
    } else if is_first {
        all.extend(first(spec));
    } else if let Some(canary) = &spec.strategy.canary {
        all.extend(steps(spec, canary));
    } else if let Some(both) = &spec.strategy.blue_green {
        all.extend(switch(spec, both));
    }
    all
}

/// How long the strategy keeps the previous revision.
fn keep_previous(spec: &ReleaseSpec) -> Span {
    let strategy = &spec.strategy;
    let canary = strategy.canary.as_ref().map(|canary| canary.keep_previous);
    let both = strategy.blue_green.as_ref().map(|both| both.keep_previous);
    canary.or(both).unwrap_or(Span::ZERO)
}

fn tasks(number: u32) -> String {
    count(u64::from(number), "task")
}

fn first(spec: &ReleaseSpec) -> Vec<Planned> {
    let mut serves = vec![format!(
        "it serves as soon as all of them are ready{}; nothing is compared",
        if spec.routes.is_empty() {
            ""
        } else {
            " and healthy in HAProxy"
        }
    )];
    serves.extend(spec.routes.iter().map(|route| {
        format!(
            "{} {} lead to port {}",
            route.hosts.join(", "),
            route.paths.join(", "),
            route.port
        )
    }));
    serves.extend(asked(spec, &[When::AfterPromotion], None));
    let mut all = vec![planned(
        "services",
        vec![format!(
            "a service with {} of {}",
            tasks(spec.replicas),
            spec.workload.image
        )],
    )];
    // There is no step, but whoever is asked before it gets everything is asked of the first one, too.
    let mut gates = jobs(spec, true);
    gates.extend(asked(spec, &BEFORE_ALL, None));
    if !gates.is_empty() {
        all.push(planned("before it serves", gates));
    }
    all.push(planned("then", serves));
    all
}

fn steps(spec: &ReleaseSpec, canary: &Canary) -> Vec<Planned> {
    let strategy = &spec.strategy;
    let Some(course) = Course::of(strategy) else {
        return Vec::new();
    };
    let mut all = Vec::new();
    let mut before = 0;
    let number = canary.steps.len();
    for (index, step) in canary.steps.iter().enumerate() {
        let needed = course.tasks(index, spec.replicas);
        let mut what = Vec::new();
        if needed != before {
            what.push(format!(
                "{} of {} beside {} of stable{}",
                tasks(needed),
                spec.workload.image,
                spec.replicas,
                at_once(canary, spec.replicas)
            ));
            before = needed;
        }
        if index == 0 {
            what.extend(jobs(spec, true));
        }
        let hooks = [When::ConfirmStep, When::BeforeStep];
        what.extend(asked(spec, &hooks, Some(index + 1)));
        if !step.mirror.is_zero() {
            what.push(copies(step.mirror));
        } else if !spec.routes.is_empty() {
            what.push(format!("{} of the requests", percent(step.weight)));
        }
        if step.hold > Span::ZERO {
            what.push(format!("at least {}", step.hold));
        }
        if !spec.analysis.disabled && step.require == Some(Require::NonInferior) {
            what.push(if spec.routes.is_empty() {
                "until its metrics pass".to_owned()
            } else {
                "until it is shown to be as good as stable".to_owned()
            });
        }
        what.extend(metrics(spec, index + 1));
        what.extend(approval(step.approval.as_ref()));
        all.push(planned(format!("step {} of {number}", index + 1), what));
    }
    all.push(planned("promotion", promotion(spec)));
    all.push(planned("then", afterwards(spec, canary.keep_previous)));
    all.push(planned("if it fails", back(spec)));
    all
}

fn copies(share: Weight) -> String {
    format!(
        "copies of {} of the safe requests; what it answers goes to nobody, and counts for harm alone",
        percent(share)
    )
}

/// With `maxSurge`, how many tasks there are at most.
fn at_once(canary: &Canary, replicas: u32) -> String {
    canary.max_surge.map_or_else(String::new, |surge| {
        let most = replicas.saturating_add(surge.of(replicas));
        format!(", which gives up its own as its share shrinks: {most} in all at most")
    })
}

fn promotion(spec: &ReleaseSpec) -> Vec<String> {
    let mut what = Vec::new();
    if !spec.analysis.disabled {
        let worker = spec.routes.is_empty();
        what.push(match (worker, spec.analysis.metrics.is_empty()) {
            (true, true) => "when its tasks have run for the bake without failing".to_owned(),
            (true, false) => "when its metrics pass and its tasks run without failing".to_owned(),
            (false, _) => "when it is shown to be as good as stable by every criterion".to_owned(),
        });
        if let Some(bake) = spec.analysis.bake {
            let does = if worker { "running" } else { "serving" };
            what.push(format!("not before {bake} of {does} (bake)"));
        }
        let evidence = match spec.analysis.on_inconclusive {
            OnInconclusive::Pause => "a person decides",
            OnInconclusive::Promote => "it is promoted",
            OnInconclusive::Rollback => "it is taken back",
        };
        what.push(format!(
            "without evidence {} after the last hold: {evidence}",
            spec.analysis.deadline.0
        ));
    }
    what.push(format!(
        "{} of {}",
        tasks(spec.replicas),
        spec.workload.image
    ));
    what.extend(asked(spec, &BEFORE_ALL, None));
    what.extend(together(spec));
    what
}

/// Asked before it gets everything.
const BEFORE_ALL: [When; 2] = [When::ConfirmPromotion, When::BeforePromotion];

/// Whom it waits for before it gets everything.
fn together(spec: &ReleaseSpec) -> Option<String> {
    let group = spec.group.as_ref()?;
    Some(format!(
        "once every other rollout of the group {group} has come as far"
    ))
}

fn afterwards(spec: &ReleaseSpec, keep: Span) -> Vec<String> {
    let drain = spec.routes.iter().map(|route| route.timeouts.drain).max();
    let mut what = Vec::new();
    if !spec.routes.is_empty() && spec.strategy.canary.is_some() {
        what.push("it gets all requests".to_owned());
    }
    if keep > Span::ZERO && drain.is_none() {
        what.push(format!(
            "the old revision's tasks stop, its service stays for {keep}: going back starts them without steps"
        ));
    } else if keep > Span::ZERO {
        what.push(format!(
            "the old revision stays warm for {keep} ({} in all): going back is one change of weight",
            tasks(spec.replicas.saturating_mul(2))
        ));
    }
    what.extend(asked(spec, &[When::AfterPromotion], None));
    what.push(match drain {
        Some(drain) => {
            format!("the old revision's connections end, in {drain} at most, and its service goes")
        }
        None => "the old revision's service goes".to_owned(),
    });
    what
}

/// Whether stable has given up tasks in mid-rollout that must come back first.
fn surges(spec: &ReleaseSpec) -> bool {
    let canary = spec.strategy.canary.as_ref();
    !spec.routes.is_empty() && canary.is_some_and(|canary| canary.max_surge.is_some())
}

fn back(spec: &ReleaseSpec) -> Vec<String> {
    let mut what = Vec::new();
    what.push(match spec.on_failure {
        OnFailure::Rollback if spec.rollback.over > Span::ZERO => format!(
            "harm gives its share back to stable over {}, anything else at once, and it is not tried again by itself",
            spec.rollback.over
        ),
        OnFailure::Rollback if surges(spec) => {
            "stable gets everything back as its tasks come back, and it is not tried again by itself"
                .to_owned()
        }
        OnFailure::Rollback if spec.routes.is_empty() => {
            "its tasks stop at once, and it is not tried again by itself".to_owned()
        }
        OnFailure::Rollback => {
            "stable gets everything back at once, and it is not tried again by itself".to_owned()
        }
        OnFailure::Pause => "it stops where it is, and a person decides".to_owned(),
    });
    if spec.rollback.connections == Connections::Close {
        what.push("its upgraded connections (WebSockets) are closed then".to_owned());
    }
    if let Some(job) = spec.before_traffic.iter().find(|job| !job.reversible) {
        what.push(format!(
            "once the job {} has run it stops where it is instead, and a person decides",
            job.name
        ));
    }
    what.extend(asked(spec, &[When::AfterRollback], None));
    if spec.keep_failed > Span::ZERO && !spec.routes.is_empty() {
        what.push(format!(
            "its tasks stay for {} to be looked at",
            spec.keep_failed
        ));
    }
    what.push(format!(
        "it fails without progress of tasks for {}, too",
        spec.progress_deadline
    ));
    if let Some(group) = &spec.group {
        what.push(format!(
            "every rollout of the group {group} is taken back with it, and it with each of them"
        ));
    }
    what
}

fn switch(spec: &ReleaseSpec, both: &BlueGreen) -> Vec<Planned> {
    let mut whole = vec![format!(
        "{} of {} beside {} of stable ({} in all), without a share",
        tasks(spec.replicas),
        spec.workload.image,
        spec.replicas,
        spec.replicas.saturating_mul(2)
    )];
    if let Some(look) = &both.preview {
        whole.push(format!("{} leads to it alone", look.hosts.join(", ")));
    }
    if !both.mirror.is_zero() {
        whole.push(copies(both.mirror));
    }
    if both.hold > Span::ZERO {
        whole.push(format!("at least {}", both.hold));
    }
    whole.extend(metrics(spec, 1));
    whole.extend(approval(both.approval.as_ref()));
    whole.extend(jobs(spec, true));
    whole.extend(asked(spec, &BEFORE_ALL, None));
    whole.extend(together(spec));
    let mut after = vec!["all requests go to it, in one change of weight".to_owned()];
    after.push(format!(
        "the old revision stands by whole for {}",
        both.watch
    ));
    after.extend(metrics(spec, 2));
    vec![
        planned("before the switch", whole),
        planned("the switch", after),
        planned("then", afterwards(spec, both.keep_previous)),
        planned("if it fails", back(spec)),
    ]
}

fn previews(spec: &ReleaseSpec, preview: &Preview) -> Vec<Planned> {
    let headers = preview.match_rules.iter();
    let headers = headers.map(|rule| format!("{}: {}", rule.header, rule.value));
    let leads: Vec<String> = preview.hosts.iter().cloned().chain(headers).collect();
    let mut up = vec![format!(
        "a service with {} of {}, without a share",
        tasks(spec.replicas),
        spec.workload.image
    )];
    if !leads.is_empty() {
        up.push(format!("{} lead to it alone", leads.join(", ")));
    }
    vec![
        planned("services", up),
        planned("then", vec![format!("it goes after {}", preview.ttl)]),
    ]
}

/// As lines for people.
pub(crate) fn lines(all: &[Planned]) -> String {
    let width = all
        .iter()
        .map(|one| one.when.chars().count())
        .max()
        .unwrap_or(0);
    let mut out = String::new();
    for one in all {
        for (index, what) in one.what.iter().enumerate() {
            let when = if index == 0 { one.when.as_str() } else { "" };
            out.push_str(&format!("  {when:width$}  {what}\n"));
        }
    }
    out
}

#[cfg(test)]
mod tests;
