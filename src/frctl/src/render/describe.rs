//! Everything known of a release, for people.

use fm_api::event::Event;
use fm_api::http::View;
use fm_api::job::{JobObserved, of_revision};
use fm_api::observed::SwarmObserved;
use fm_api::release::{Approval, Release, ReleaseSpec};
use fm_api::signals::Top;
use fm_api::status::Status;

use super::evidence::evidence;
use super::frame::{Frame, frame, judged, labelled};
use super::{estimate, history, part};
use crate::text::{Look, clean, count, wrap};

/// Everything, with a newline after each line.
pub(crate) fn describe(view: &View, events: &[Event], top: Option<&Top>, look: &Look) -> String {
    let mut out = frame(
        &Frame {
            view,
            events: &[],
            lost: None,
        },
        look,
    );
    let mut section = |title: &str, lines: Vec<String>| {
        if lines.is_empty() {
            return;
        }
        out.push_str(&format!("\n{}\n", look.paint.bold(title)));
        for line in lines {
            out.push_str(line.trim_end());
            out.push('\n');
        }
    };
    if let Some(release) = &view.release {
        section("Spec", spec(release, look));
    }
    if let Some(status) = &view.status {
        section("Conditions", conditions(status, look));
        section("Last operation", operation(status, look));
    }
    // The picture above shows the verdict of a running rollout; here stands that of the last one.
    if let (None, Some(verdict)) = (judged(view), &view.verdict) {
        section("Last verdict", evidence(verdict, look));
    }
    if let Some(verdict) = &view.verdict {
        section("Measurements", super::measured::all(verdict, look));
    }
    if let Some(top) = top {
        section("Tasks", tasks(top, look));
    }
    section("Last jobs", jobs(view, look));
    if let Some(swarm) = &view.swarm {
        section("Failures", failures(swarm, look));
    }
    section("History", past(view, look));
    if let Some((title, lines)) = super::last_words(view, look) {
        section(&title, lines);
    }
    let lines = events
        .iter()
        .map(|event| {
            format!(
                "{}  {}  {}  {}",
                look.clock(event.seen()),
                event.source,
                event.reason,
                super::message(event, look)
            )
        })
        .collect();
    section("Events", lines);
    out
}

/// How each task does just now, and what is wrong with which.
fn tasks(top: &Top, look: &Look) -> Vec<String> {
    if top.tasks.is_empty() {
        return Vec::new();
    }
    let table = super::top::tasks(&top.tasks, look, false);
    let mut lines: Vec<String> = table.lines().map(str::to_owned).collect();
    for outlier in &top.outliers {
        let wrapped = wrap(&outlier.sentence, look.columns());
        lines.extend(wrapped.iter().map(|line| look.paint.red(line)));
    }
    lines
}

/// How the last job of each measurement ended, and the end of its log.
fn jobs(view: &View, look: &Look) -> Vec<String> {
    let mut lines = Vec::new();
    let last = view
        .jobs
        .iter()
        .filter(|(measurement, _)| of_revision(measurement).is_none());
    for (measurement, job) in last {
        lines.extend(ended(measurement, job, look));
    }
    lines
}

/// How a job ended, and the end of its log.
pub(super) fn ended(name: &str, job: &JobObserved, look: &Look) -> Vec<String> {
    let at = job.at.map(|at| look.clock(at)).unwrap_or_default();
    let end = match (&job.failure, job.exit_code) {
        (Some(failure), _) => clean(failure),
        (None, Some(code)) => format!("exit code {code}"),
        (None, None) => "no end".to_owned(),
    };
    let mut lines = vec![format!("{at}  {name}  {end}")];
    lines.extend(job.log.lines().map(|line| format!("  {}", clean(line))));
    lines
}

fn approval(asked: Option<&Approval>) -> String {
    match asked {
        None => String::new(),
        Some(Approval::Manual) => ", approval".to_owned(),
        Some(Approval::Role(role)) => format!(", approval by {role}"),
    }
}

fn gates(spec: &ReleaseSpec) -> Vec<(&'static str, String)> {
    let mut all = Vec::new();
    for on in &spec.depends_on {
        let namespace = on.namespace.as_ref();
        let namespace = namespace.map_or_else(String::new, |namespace| format!("{namespace}/"));
        all.push(("depends on", format!("{namespace}{}", on.name)));
    }
    if let Some(group) = &spec.group {
        all.push(("group", group.clone()));
    }
    for job in &spec.before_traffic {
        let back = if job.reversible {
            ""
        } else {
            ", not reversible"
        };
        all.push(("job", format!("{} before traffic{back}", job.name)));
    }
    for hook in &spec.webhooks {
        let step = hook
            .step
            .map_or_else(String::new, |step| format!(" {step}"));
        all.push((
            "webhook",
            format!("{} {}{step}", hook.name, hook.when.word()),
        ));
    }
    for window in &spec.freeze {
        let when = match (&window.cron, &window.duration, &window.from, &window.to) {
            (Some(cron), Some(duration), _, _) => format!("`{cron}` for {duration}"),
            (_, _, Some(from), Some(to)) => format!("{from} to {to}"),
            _ => continue,
        };
        let why = window.message.as_deref().unwrap_or_default();
        all.push((
            "freeze",
            format!("{when}, {} {why}", window.time_zone)
                .trim()
                .to_owned(),
        ));
    }
    all
}

fn spec(release: &Release, look: &Look) -> Vec<String> {
    let (meta, spec) = (&release.metadata, &release.spec);
    let mut lines = Vec::new();
    let mut say = |label: &str, text: &str| lines.extend(labelled(label, text, look));
    say("image", &spec.workload.image);
    say("replicas", &spec.replicas.to_string());
    for route in &spec.routes {
        let text = format!(
            "{} {} to port {}",
            route.hosts.join(", "),
            route.paths.join(", "),
            route.port
        );
        say("route", &text);
    }
    if let Some(canary) = &spec.strategy.canary {
        let steps: Vec<String> = canary
            .steps
            .iter()
            .map(|step| {
                let approval = approval(step.approval.as_ref());
                format!("{} for {}{approval}", part(step), step.hold)
            })
            .collect();
        say("steps", &steps.join(" → "));
    }
    if let Some(both) = &spec.strategy.blue_green {
        let approval = approval(both.approval.as_ref());
        let text = format!(
            "whole beside stable for {}{approval} → the switch, watched for {} → the old one warm for {}",
            both.hold, both.watch, both.keep_previous
        );
        say("steps", &text);
        if let Some(look) = &both.preview {
            say("preview", &look.hosts.join(", "));
        }
    }
    if let Some(preview) = &spec.strategy.preview {
        let headers = preview.match_rules.iter();
        let headers = headers.map(|rule| format!("{}: {}", rule.header, rule.value));
        let leads: Vec<String> = preview.hosts.iter().cloned().chain(headers).collect();
        let text = format!(
            "{} for {}, at most {} at once",
            leads.join(", "),
            preview.ttl,
            preview.limit
        );
        say("preview", &text);
    }
    for (label, text) in gates(spec) {
        say(label, &text);
    }
    say("time", &estimate(release, None));
    if !meta.labels.is_empty() {
        let labels: Vec<String> = meta
            .labels
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        say("labels", &labels.join(", "));
    }
    let generation = meta
        .generation
        .map_or_else(|| "-".to_owned(), |generation| generation.to_string());
    let by = meta.changed_by.as_deref().unwrap_or("unknown");
    let why = meta.changed_why.as_deref().map(clean);
    let why = why.map_or_else(String::new, |why| format!(": {why}"));
    say("changed", &format!("generation {generation}, by {by}{why}"));
    if let Some(at) = meta.created_at {
        say(
            "created",
            &format!("{}, {} ago", look.clock(at), look.age(at)),
        );
    }
    if let Some(at) = meta.deleted_at {
        say("deleted", &look.clock(at));
    }
    lines
}

fn conditions(status: &Status, look: &Look) -> Vec<String> {
    let mut lines = Vec::new();
    for condition in &status.conditions {
        let word = match condition.status {
            Some(true) => look.paint.green("yes"),
            Some(false) => look.paint.red("no"),
            None => look.paint.yellow("unknown"),
        };
        let text = format!(
            "{}: {word} since {} ({}) {}",
            condition.kind,
            look.clock(condition.since),
            condition.reason,
            condition.message
        );
        lines.extend(wrap(&text, look.columns()));
    }
    lines
}

fn operation(status: &Status, look: &Look) -> Vec<String> {
    let Some(answer) = &status.last_operation else {
        return Vec::new();
    };
    let word = if answer.accepted { "done" } else { "refused" };
    let text = format!(
        "{} {} by {}: {word}: {}",
        look.clock(answer.at),
        super::verb(answer.operation),
        answer.by,
        answer.message
    );
    wrap(&text, look.columns())
}

fn failures(swarm: &SwarmObserved, look: &Look) -> Vec<String> {
    let mut lines = Vec::new();
    for (revision, seen) in &swarm.revisions {
        if seen.failed_tasks > 0 {
            lines.push(format!(
                "{revision}: {} failed",
                count(u64::from(seen.failed_tasks), "task")
            ));
        }
        for failure in &seen.failures {
            let code = failure
                .exit_code
                .map_or_else(String::new, |code| format!(" (exit code {code})"));
            let text = format!(
                "{revision} {}: {:?}: {}{code}",
                look.clock(failure.at),
                failure.kind,
                failure.message
            );
            lines.extend(wrap(&text, look.columns()));
        }
    }
    lines
}

fn past(view: &View, look: &Look) -> Vec<String> {
    let entries = view
        .target
        .as_ref()
        .map_or(&[][..], |target| &target.history[..]);
    if entries.is_empty() {
        return Vec::new();
    }
    history(entries, look).lines().map(str::to_owned).collect()
}
