//! Gates: what their schema cannot say.

use std::collections::BTreeSet;

use crate::criteria::metrics::origin;
use crate::criteria::template;
use crate::gates::{BeforeTraffic, VARIABLES, Webhook, When};
use crate::problem::{Problem, shown};
use crate::quantity::Span;
use crate::release::{Release, ReleaseSpec};
use crate::strategy::Course;

use super::image;
use super::meaning::span;

const DAY: Span = Span::secs(86_400);

/// Adds what is wrong with webhooks, jobs before traffic and freeze windows.
pub(super) fn problems(found: &mut Vec<Problem>, spec: &ReleaseSpec) {
    let course = Course::of(&spec.strategy);
    let steps = course.as_ref().map_or(0, |course| course.steps.len());
    for (field, there) in [
        ("spec.webhooks", !spec.webhooks.is_empty()),
        ("spec.beforeTraffic", !spec.before_traffic.is_empty()),
        ("spec.freeze", !spec.freeze.is_empty()),
    ] {
        if there && course.is_none() {
            found.push(
                Problem::new(
                    field,
                    "a preview has no rollout, so nothing would ever wait for it",
                )
                .allowed("`[]`, or `strategy.canary` or `strategy.blueGreen`"),
            );
        }
    }
    if course.is_none() && !spec.depends_on.is_empty() {
        found.push(
            Problem::new("spec.dependsOn", "a preview waits for no other release")
                .allowed("`[]`, or `strategy.canary` or `strategy.blueGreen`"),
        );
    }
    if course.is_none() && spec.group.is_some() {
        found.push(
            Problem::new(
                "spec.group",
                "a preview is never promoted, so no other release could be promoted with it",
            )
            .allowed("no group, or `strategy.canary` or `strategy.blueGreen`"),
        );
    }
    let mut names = BTreeSet::new();
    for (index, hook) in spec.webhooks.iter().enumerate() {
        let path = format!("spec.webhooks[{index}]");
        twice(found, &path, &hook.name, &mut names);
        webhook(found, &path, hook, steps);
    }
    let mut names = BTreeSet::new();
    for (index, job) in spec.before_traffic.iter().enumerate() {
        let path = format!("spec.beforeTraffic[{index}]");
        twice(found, &path, &job.name, &mut names);
        before_traffic(found, &path, job);
    }
    for (index, window) in spec.freeze.iter().enumerate() {
        if let Err(wrong) = window.check() {
            let mut path = format!("spec.freeze[{index}]");
            if !wrong.field.is_empty() {
                crate::problem::join(&mut path, wrong.field);
            }
            found.push(Problem::new(path, wrong.what).allowed(wrong.allowed));
        }
    }
}

/// Freeze windows that nobody lives to see the end of.
pub(super) fn too_long(spec: &ReleaseSpec) -> Vec<Problem> {
    let windows = spec.freeze.iter().enumerate();
    let long = windows.filter(|(_, window)| window.too_long());
    long.map(|(index, _)| {
        let wrong = "it is over so late that nothing would go on for years";
        Problem::new(format!("spec.freeze[{index}].to"), wrong)
            .allowed("a time at most 366 days after `from`")
    })
    .collect()
}

/// What several windows must leave.
const NEVER_OVER: &str = "windows that leave some time between them";

/// What is wrong with several freeze windows, each of which is right by itself.
pub(super) fn never_over(spec: &ReleaseSpec) -> Option<Problem> {
    let never = crate::freeze::never_over(spec.freeze.iter());
    never.then(|| {
        Problem::new(
            "spec.freeze",
            "one window begins before the others are over, all the year: nothing would ever go on",
        )
        .allowed(NEVER_OVER)
    })
}

/// A release that is waited for twice, also where its namespace is written out once.
pub(super) fn depends_twice(release: &Release) -> Vec<Problem> {
    let all = crate::dependency::of(release);
    let again = |index: &usize| all.iter().take(*index).any(|other| *other == all[*index]);
    let twice = (0..all.len()).filter(again);
    let problem = |index| {
        let wrong = format!("{} is given twice", all[index]);
        Problem::new(format!("spec.dependsOn[{index}]"), wrong).allowed("each release once")
    };
    twice.map(problem).collect()
}

/// What is wrong with a release's freeze windows beside those that hold for every release.
#[must_use]
pub fn frozen_for_ever(spec: &ReleaseSpec, all: &[crate::freeze::Freeze]) -> Option<Problem> {
    let together = spec.freeze.iter().chain(all);
    let never = !spec.freeze.is_empty() && crate::freeze::never_over(together);
    never.then(|| {
        Problem::new(
            "spec.freeze",
            "together with frd's own freeze windows they are never over: nothing would ever go on",
        )
        .allowed(NEVER_OVER)
    })
}

fn twice<'a>(found: &mut Vec<Problem>, path: &str, name: &'a str, names: &mut BTreeSet<&'a str>) {
    if !names.insert(name) {
        found.push(
            Problem::new(format!("{path}.name"), format!("`{name}` is given twice"))
                .allowed("each name once"),
        );
    }
}

fn templates<'a>(
    found: &mut Vec<Problem>,
    path: &str,
    texts: impl Iterator<Item = (String, &'a String)>,
) {
    for (field, text) in texts {
        for name in template::unknown_beside(text, |name| VARIABLES.contains(&name)) {
            let what = if name.ends_with("}}") {
                format!("{name} is no variable")
            } else {
                format!("`{name}` is not closed")
            };
            let known: Vec<String> = VARIABLES.iter().map(|v| format!("{{{{{v}}}}}")).collect();
            found.push(Problem::new(format!("{path}.{field}"), what).allowed(known.join(", ")));
        }
    }
}

fn webhook(found: &mut Vec<Problem>, path: &str, hook: &Webhook, steps: usize) {
    if let Err(wrong) = origin(&hook.url) {
        found.push(
            Problem::new(
                format!("{path}.url"),
                format!("this is no address: {wrong}"),
            )
            .allowed(
                "an address such as `https://ci.example.com/hooks`, http or https, without a login",
            ),
        );
    }
    if template::is_templated(&hook.url) {
        found.push(
            Problem::new(format!("{path}.url"), "an address has no variables")
                .allowed("variables in `metadata`; the body says everything else"),
        );
    }
    let values = hook.metadata.iter();
    let values = values.map(|(name, text)| (format!("metadata.{name}"), text));
    templates(found, path, values);
    if let Some(step) = hook.step {
        let of_steps = matches!(hook.when, When::BeforeStep | When::ConfirmStep);
        if !of_steps {
            found.push(
                Problem::new(
                    format!("{path}.step"),
                    format!("`{}` comes once, not at a step", hook.when.word()),
                )
                .allowed("no `step`, or `when: beforeStep` or `confirmStep`"),
            );
        } else if step as usize > steps && steps > 0 {
            found.push(
                Problem::new(format!("{path}.step"), format!("there is no step {step}"))
                    .allowed(format!("1 to {steps}, or none for each step")),
            );
        }
    }
    for (field, value, least, most) in [
        ("timeout", hook.timeout, Span::millis(100), Span::secs(300)),
        ("interval", hook.interval, Span::secs(1), DAY),
    ] {
        span(found, format!("{path}.{field}"), value, least, most);
    }
}

fn before_traffic(found: &mut Vec<Problem>, path: &str, job: &BeforeTraffic) {
    if let Some(image) = &job.image
        && let Some(wrong) = image::wrong(image)
    {
        let what = format!("{} is no image reference: {wrong}", shown(image));
        found.push(
            Problem::new(format!("{path}.image"), what)
                .allowed("`name:tag`, `registry:port/name:tag`, `name@sha256:…` or `sha256:…`"),
        );
    }
    let list = |name: &'static str, items: &'_ [String]| -> Vec<String> {
        (0..items.len())
            .map(|index| format!("{name}[{index}]"))
            .collect()
    };
    let command = list("command", &job.command).into_iter().zip(&job.command);
    let args = list("args", &job.args).into_iter().zip(&job.args);
    let env = job
        .env
        .iter()
        .map(|(name, text)| (format!("env.{name}"), text));
    templates(found, path, command.chain(args).chain(env));
    span(
        found,
        format!("{path}.timeout"),
        job.timeout,
        Span::secs(1),
        DAY,
    );
}
