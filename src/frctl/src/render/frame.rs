//! The live picture of one release: one text for one instant.

use fm_api::event::{Event, Severity};
use fm_api::http::View;
use fm_api::status::{RevisionStatus, Status};
use fm_api::strategy::{Course, Kind};
use fm_api::verdict::{Side, Verdict};

use super::evidence::evidence;
use super::{NO_STATUS, mirror, part, percent, person, phase, share};
use crate::text::{Look, count, image, pad, short, wrap};

/// What the picture shows.
#[derive(Debug)]
pub(crate) struct Frame<'a> {
    /// The release.
    pub(crate) view: &'a View,
    /// What happened lately, the newest last.
    pub(crate) events: &'a [Event],
    /// Why the picture may be old.
    pub(crate) lost: Option<&'a str>,
}

/// Columns of the labels at the left.
pub(super) const LABEL: usize = 10;
/// Events shown at most.
const EVENTS: usize = 6;

/// The picture, with a newline after each line.
pub(crate) fn frame(shown: &Frame<'_>, look: &Look) -> String {
    let view = shown.view;
    let mut lines = Vec::new();
    if let Some(lost) = shown.lost {
        let text = format!("{lost}; trying again… what follows may be old");
        lines.extend(
            wrap(&text, look.columns())
                .iter()
                .map(|line| look.paint.red(line)),
        );
    }
    lines.extend(head(view, look));
    if let Some(status) = &view.status {
        lines.push(String::new());
        lines.extend(steps(view, status, look));
        lines.extend(shares(view, look));
        lines.push(String::new());
        lines.extend(super::previews::previews(status, look));
        lines.extend(super::experiment::experiment(status, look));
        if status.previews.is_empty() || status.stable.is_some() || status.canary.is_some() {
            lines.extend(sides(view, status, look));
        }
        lines.extend(problems(view, status, look));
    }
    if let Some(verdict) = judged(view) {
        lines.push(String::new());
        lines.extend(evidence(verdict, look));
    }
    lines.extend(events(shown.events, look));
    let mut out = String::new();
    for line in lines {
        out.push_str(crate::text::cut(&line, look.columns()).trim_end());
        out.push('\n');
    }
    out
}

/// The verdict, if it speaks of the rollout that runs.
pub(super) fn judged(view: &View) -> Option<&Verdict> {
    let run = &view.target.as_ref()?.analysis.as_ref()?.run;
    view.verdict.as_ref().filter(|verdict| verdict.run == *run)
}

/// A label and text beside it, wrapped under itself.
pub(super) fn labelled(label: &str, text: &str, look: &Look) -> Vec<String> {
    let columns = look.columns().saturating_sub(LABEL);
    let mut lines = Vec::new();
    for (index, line) in wrap(text, columns).into_iter().enumerate() {
        let label = if index == 0 { label } else { "" };
        lines.push(format!("{}{line}", look.paint.dim(&pad(label, LABEL))));
    }
    lines
}

fn head(view: &View, look: &Look) -> Vec<String> {
    let name = if view.namespace == "default" {
        view.name.clone()
    } else {
        format!("{}/{}", view.namespace, view.name)
    };
    let Some(status) = &view.status else {
        return vec![look.paint.bold(&name), NO_STATUS.to_owned()];
    };
    let mut title = format!(
        "{}  {}",
        look.paint.bold(&name),
        phase(status.phase, look.paint)
    );
    if status.step > 0 {
        let steps = status.steps.len();
        let step = if status.step > steps {
            "last promotion".to_owned()
        } else {
            format!("step {} of {steps}", status.step)
        };
        title.push_str(&format!("  {step}"));
    }
    title.push_str(&format!("  since {}", look.clock(status.since)));
    let mut lines = vec![title];
    let mut why = status.why.clone();
    if let Some(until) = status.until {
        let left = until.duration_since(look.now);
        // The sentence often says until when already.
        let said = why.contains(" until ") || why.contains(" at ");
        why = match (left.is_positive(), said) {
            (true, true) => format!("{why} ({} left)", short(left)),
            (true, false) => format!("{why} ({} left, until {})", short(left), look.clock(until)),
            (false, _) => format!("{why} (due {} ago)", short(-left)),
        };
    }
    lines.extend(wrap(&why, look.columns()));
    if status.waits_for_person {
        lines.extend(
            wrap(&person(view, status), look.columns())
                .iter()
                .map(|line| look.paint.yellow(line)),
        );
    }
    lines
}

fn steps(view: &View, status: &Status, look: &Look) -> Vec<String> {
    let paint = look.paint;
    let mut parts = Vec::new();
    let mut kind = status.strategy;
    let planned: Vec<(String, bool)> = if status.steps.is_empty() {
        let course = view
            .release
            .as_ref()
            .and_then(|release| Course::of(&release.spec.strategy));
        kind = course.as_ref().map_or(kind, |course| course.kind);
        course.map_or_else(Vec::new, |course| {
            course
                .steps
                .iter()
                .map(|step| (part(step), step.approval.is_some()))
                .collect()
        })
    } else {
        status
            .steps
            .iter()
            .map(|step| {
                let tasks = step.tasks.map(|tasks| count(u64::from(tasks), "task"));
                let part = match step.mirror.is_zero() {
                    false => mirror(step.mirror),
                    true => tasks.unwrap_or_else(|| percent(step.weight)),
                };
                (part, step.approval)
            })
            .collect()
    };
    if planned.is_empty() {
        return Vec::new();
    }
    let release = view.release.as_ref();
    let worker = release.is_some_and(|release| release.spec.routes.is_empty());
    let all = if worker {
        "all".to_owned()
    } else {
        percent(fm_api::quantity::Weight::FULL)
    };
    let last = planned.len();
    for (index, (part, approval)) in planned.into_iter().chain([(all, false)]).enumerate() {
        let mut text = match kind {
            Kind::BlueGreen if index == last => "stable".to_owned(),
            Kind::BlueGreen if index > 0 => "switch".to_owned(),
            Kind::BlueGreen if part.ends_with("mirrored") => format!("whole, {part}"),
            Kind::BlueGreen => "whole".to_owned(),
            Kind::Canary => part,
        };
        if approval {
            text.push_str(" (approval)");
        }
        parts.push(match (index + 1).cmp(&status.step) {
            _ if status.step == 0 => paint.dim(&text),
            std::cmp::Ordering::Less => paint.green(&text),
            std::cmp::Ordering::Equal => paint.bold(&format!("[{text}]")),
            std::cmp::Ordering::Greater => text,
        });
    }
    vec![format!(
        "{}{}",
        paint.dim(&pad("steps", LABEL)),
        parts.join(" → ")
    )]
}

fn shares(view: &View, look: &Look) -> Vec<String> {
    let Some(traffic) = view
        .target
        .as_ref()
        .and_then(|target| target.traffic.as_ref())
    else {
        return Vec::new();
    };
    let wanted = match &traffic.canary {
        Some(_) if !traffic.mirror.is_zero() => format!(
            "none to the canary, which is sent copies of {} of the safe requests",
            percent(traffic.mirror)
        ),
        Some(_) => format!("{} to the canary", percent(traffic.weight)),
        None => match view.target.as_ref().and_then(|t| t.experimenting()) {
            Some(experiment) if experiment.shared() => {
                "the sides' below, the rest to stable".to_owned()
            }
            Some(_) | None => "all to stable".to_owned(),
        },
    };
    let (mut current, mut behind) = (Vec::new(), Vec::new());
    for (instance, seen) in &view.haproxy {
        match &seen.traffic {
            Some(force) if traffic.is(force) => current.push(instance.clone()),
            Some(force) => behind.push(format!("{instance} ({})", percent(force.weight))),
            None => behind.push(format!("{instance} (nothing yet)")),
        }
    }
    let mut text = format!("wanted {wanted}");
    if !current.is_empty() {
        text.push_str(&format!("; in force on {}", some(&current)));
    }
    if !behind.is_empty() {
        text.push_str(&format!("; not yet on {}", some(&behind)));
    }
    if current.is_empty() && behind.is_empty() {
        text.push_str("; no HAProxy has said what it has in force");
    }
    labelled("share", &text, look)
}

/// At most three names, and how many more.
fn some(names: &[String]) -> String {
    let shown: Vec<&str> = names.iter().take(3).map(String::as_str).collect();
    match names.len().checked_sub(3) {
        Some(more) if more > 0 => format!("{} and {more} more", shown.join(", ")),
        _ => shown.join(", "),
    }
}

/// Both revisions side by side; one below the other where there is no room.
fn sides(view: &View, status: &Status, look: &Look) -> Vec<String> {
    let verdict = judged(view);
    let stable = status.stable.as_ref().map(|side| {
        cells(
            side,
            verdict.map(|verdict| (&verdict.stable, compared(verdict, false))),
        )
    });
    let canary = status.canary.as_ref().map(|side| {
        cells(
            side,
            verdict.map(|verdict| (&verdict.canary, compared(verdict, true))),
        )
    });
    let labels = [
        "", "revision", "image", "tasks", "rate", "errors", "p50, p99", "CPU, mem", "compared",
    ];
    let columns = look.columns();
    let mut lines = Vec::new();
    let both = [("stable", stable), ("canary", canary)];
    if columns < 64 {
        for (name, cells) in both {
            let Some(cells) = cells else { continue };
            lines.push(look.paint.bold(name));
            for (label, cell) in labels.iter().skip(1).zip(cells) {
                if !cell.is_empty() {
                    lines.extend(labelled(label, &cell, look));
                }
            }
        }
        return lines;
    }
    let half = (columns - LABEL) / 2;
    let row = |label: &str, left: &str, right: &str| {
        format!(
            "{}{}{}",
            look.paint.dim(&pad(label, LABEL)),
            pad(&crate::text::cut(left, half.saturating_sub(2)), half),
            crate::text::cut(right, half)
        )
    };
    let [(_, stable), (_, canary)] = both;
    let none = || std::array::from_fn::<String, 8, _>(|_| String::new());
    let heading = |cells: &Option<[String; 8]>, name: &str| match cells {
        Some(_) => look.paint.bold(name),
        None => look.paint.dim(&format!("no {name}")),
    };
    lines.push(row(
        "",
        &heading(&stable, "stable"),
        &heading(&canary, "canary"),
    ));
    let (stable, canary) = (stable.unwrap_or_else(none), canary.unwrap_or_else(none));
    for ((label, left), right) in labels.iter().skip(1).zip(&stable).zip(&canary) {
        if !(left.is_empty() && right.is_empty()) {
            lines.push(row(label, left, right));
        }
    }
    lines
}

/// Requests compared so far and how many of them were bad.
fn compared(verdict: &Verdict, canary: bool) -> Option<(u64, u64)> {
    let metric = verdict
        .metrics
        .iter()
        .find(|metric| metric.name == "errors")?;
    let side = if canary { metric.canary } else { metric.stable };
    Some((side.requests, side.bad))
}

fn cells(side: &RevisionStatus, judged: Option<(&Side, Option<(u64, u64)>)>) -> [String; 8] {
    let mut tasks = format!("{} of {} ready", side.ready, side.replicas);
    if let Some(healthy) = side.healthy {
        tasks.push_str(&format!(", {healthy} healthy"));
    }
    let [rate, errors, times, full, requests] = match judged {
        None => std::array::from_fn(|_| String::new()),
        Some((lately, counted)) => [
            format!("{:.1} requests/s", lately.rps),
            share(lately.error_rate),
            times(lately),
            fullest(lately),
            counted.map_or_else(String::new, |(requests, bad)| {
                format!("{}, {bad} bad", count(requests, "request"))
            }),
        ],
    };
    [
        format!("#{} {}", side.number, side.revision),
        image(&side.image),
        tasks,
        rate,
        errors,
        times,
        full,
        requests,
    ]
}

/// What the fullest task uses of its limits; nothing where there is no limit.
fn fullest(side: &Side) -> String {
    let one = |full: Option<f64>| full.map_or_else(|| "-".to_owned(), share);
    match (side.cpu, side.memory) {
        (None, None) => String::new(),
        (cpu, memory) => format!("{}, {} of the limit", one(cpu), one(memory)),
    }
}

fn times(side: &Side) -> String {
    let one = |ms: Option<f64>| match ms {
        None => "-".to_owned(),
        Some(ms) if ms < 10.0 => format!("{ms:.1} ms"),
        Some(ms) if ms < 10_000.0 => format!("{ms:.0} ms"),
        Some(ms) => format!("{:.1} s", ms / 1000.0),
    };
    format!("{}, {}", one(side.p50_ms), one(side.p99_ms))
}

/// What Docker and the controllers complain of.
fn problems(view: &View, status: &Status, look: &Look) -> Vec<String> {
    let mut lines = Vec::new();
    let mut say = |label: &str, text: &str| {
        for line in labelled(label, text, look) {
            lines.push(look.paint.red(&line));
        }
    };
    for side in [&status.stable, &status.canary].into_iter().flatten() {
        if let Some(failure) = &side.last_failure {
            say("failure", &format!("#{}: {failure}", side.number));
        }
    }
    if let Some(problem) = view.swarm.as_ref().and_then(|seen| seen.problem.as_ref()) {
        say(
            "swarm",
            &format!("{problem}; what is shown of tasks is old"),
        );
    }
    for outlier in judged(view).iter().flat_map(|verdict| &verdict.outliers) {
        say("outlier", &outlier.sentence);
    }
    for (instance, seen) in &view.haproxy {
        if let Some(problem) = &seen.problem {
            say("haproxy", &format!("{instance}: {problem}"));
        }
    }
    lines
}

fn events(events: &[Event], look: &Look) -> Vec<String> {
    if events.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![String::new()];
    let first = events.len().saturating_sub(EVENTS);
    for event in events.iter().skip(first) {
        let reason = match event.severity {
            Severity::Normal => event.reason.clone(),
            Severity::Warning => look.paint.yellow(&event.reason),
        };
        lines.push(format!(
            "{}  {reason}: {}",
            look.paint.dim(&look.clock(event.seen())),
            super::message(event, look)
        ));
    }
    lines
}
