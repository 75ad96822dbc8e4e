//! Rules between the fields of a canary: its steps, and what room they need.

use crate::problem::Problem;
use crate::quantity::{Span, Weight};
use crate::release::{Canary, Capacity, ReleaseSpec, Require, Step};
use crate::strategy::Course;
use crate::tasks::Tasks;

use super::meaning::{MONTH, span};

const PATH: &str = "spec.strategy.canary";

/// What is wrong with a canary.
pub(super) fn problems(found: &mut Vec<Problem>, canary: &Canary, spec: &ReleaseSpec) {
    let routed = !spec.routes.is_empty();
    let mut before: Option<&Step> = None;
    for (index, step) in canary.steps.iter().enumerate() {
        let path = format!("{PATH}.steps[{index}]");
        if !step.mirror.is_zero() {
            let last = index + 1 == canary.steps.len();
            let wrong = mirroring(step, before, routed, last);
            found.extend(wrong.map(|(field, wrong, allowed)| {
                Problem::new(format!("{path}.{field}"), wrong).allowed(allowed)
            }));
        } else if step.weight.is_zero() && (routed || step.replicas.is_none()) {
            let (field, wrong, allowed) = if routed {
                (
                    "weight",
                    "is missing",
                    "a number from 0.01 to 100 in steps of 0.01",
                )
            } else {
                (
                    "replicas",
                    "is missing: without routes a step says how many tasks the canary has",
                    Tasks::ALLOWED,
                )
            };
            found.push(Problem::new(format!("{path}.{field}"), wrong).allowed(allowed));
        } else if let Some(before) = before {
            // What a step lacks was told before; without it there is nothing to compare.
            let weights = !step.weight.is_zero() && !before.weight.is_zero();
            let down = if weights {
                less_weight(before.weight, step.weight)
            } else if routed {
                None
            } else {
                fewer_tasks(before, step, spec.replicas)
            };
            found.extend(down.map(|(field, wrong, allowed)| {
                Problem::new(format!("{path}.{field}"), wrong).allowed(allowed)
            }));
        }
        before = Some(step);
        if step.replicas.is_some() && canary.capacity == Capacity::Full {
            found.push(
                Problem::new(
                    format!("{path}.replicas"),
                    "changes nothing: with `capacity: full` the canary has all its tasks from the first step on",
                )
                .allowed("no `replicas`, or `capacity: proportional`"),
            );
        }
        span(found, format!("{path}.hold"), step.hold, Span::ZERO, MONTH);
        if step.require == Some(Require::NonInferior) && spec.analysis.disabled {
            found.push(
                Problem::new(
                    format!("{path}.require"),
                    "asks for evidence, but spec.analysis.disabled is true",
                )
                .allowed("no `require`, or an analysis that is not disabled"),
            );
        }
    }
    surge(found, canary, spec);
    span(
        found,
        format!("{PATH}.keepPrevious"),
        canary.keep_previous,
        Span::ZERO,
        MONTH,
    );
}

type Wrong = (&'static str, String, String);

/// Mirrored requests come before any share, and show harm alone.
fn mirroring(step: &Step, before: Option<&Step>, routed: bool, last: bool) -> Option<Wrong> {
    let earlier = before.map_or(Weight::ZERO, |before| before.mirror);
    let wrong =
        |field, wrong: &str, allowed: &str| Some((field, wrong.to_owned(), allowed.to_owned()));
    if !routed {
        wrong(
            "mirror",
            "mirrors requests, but there are no spec.routes that any come by",
            "`replicas` alone",
        )
    } else if !step.weight.is_zero() {
        wrong(
            "mirror",
            "stands beside a weight: requests are mirrored to a canary that has no share yet",
            "`mirror` or `weight`",
        )
    } else if before.is_some_and(|before| before.mirror.is_zero()) {
        wrong(
            "mirror",
            "follows a step with a weight: requests are mirrored to a canary that has no share yet",
            "`mirror` in the first steps alone",
        )
    } else if step.mirror <= earlier {
        let (now, what) = (
            step.mirror,
            if step.mirror == earlier {
                "it changes nothing"
            } else {
                "steps never go down"
            },
        );
        Some((
            "mirror",
            format!("a mirror of {now} follows one of {earlier}: {what}"),
            format!("more than {earlier}, up to 100 %"),
        ))
    } else if last {
        wrong(
            "mirror",
            "is the last step: mirrored requests show harm, and never that the canary is as good",
            "a step with a `weight` after it",
        )
    } else if step.require == Some(Require::NonInferior) {
        wrong(
            "require",
            "asks for what mirrored requests never show: that the canary is as good",
            "no `require` beside `mirror`",
        )
    } else {
        None
    }
}

fn less_weight(before: Weight, now: Weight) -> Option<Wrong> {
    if now > before {
        return None;
    }
    let what = if now == before {
        "it changes nothing"
    } else {
        "steps never go down"
    };
    Some((
        "weight",
        format!("a step to {now} follows one of {before}: {what}"),
        format!("more than {before}, up to 100 %"),
    ))
}

/// Without a weight the number of tasks grows, as far as `spec.replicas` lets it.
fn fewer_tasks(before: &Step, now: &Step, replicas: u32) -> Option<Wrong> {
    let tasks = |step: &Step| {
        step.replicas
            .map_or(0, |asked| asked.of(replicas).min(replicas))
    };
    let what = if before.replicas == now.replicas {
        "it changes nothing"
    } else if tasks(now) < tasks(before) {
        "steps never go down"
    } else {
        return None;
    };
    let (before, now) = (before.share(), now.share());
    Some((
        "replicas",
        format!("a step to {now} follows one of {before}: {what}"),
        format!("more than {before}, up to `100%`"),
    ))
}

/// A share needs its tasks before stable can give up its own: each rise must find room.
fn surge(found: &mut Vec<Problem>, canary: &Canary, spec: &ReleaseSpec) {
    let Some(surge) = canary.max_surge else {
        return;
    };
    let path = format!("{PATH}.maxSurge");
    if canary.capacity == Capacity::Full {
        found.push(
            Problem::new(
                path,
                "cannot be kept: with `capacity: full` both revisions have all their tasks",
            )
            .allowed("no `maxSurge`, or `capacity: proportional`"),
        );
        return;
    }
    // A worker's tasks are changed one after the other, so any room is enough.
    if spec.routes.is_empty() {
        return;
    }
    let course = Course::of(&spec.strategy);
    let Some(course) = course.filter(|_| spec.replicas > 0) else {
        return;
    };
    let room = surge.of(spec.replicas);
    for step in 0..=canary.steps.len() {
        let beyond = course.beyond(step, spec.replicas);
        if beyond > room {
            let needs = course.tasks(step, spec.replicas);
            let before = step.checked_sub(1).and_then(|step| canary.steps.get(step));
            let serving = before.map_or(Weight::ZERO, |step| step.weight);
            let stable = Course::carries(serving, spec.replicas);
            let what = match canary.steps.get(step) {
                Some(next) => format!("the step to {}", next.share()),
                None => "the promotion".to_owned(),
            };
            let wrong = format!(
                "{what} needs {beyond} tasks beyond spec.replicas: {needs} of the canary beside {stable} of stable, which serves {} until then",
                serving.rest()
            );
            // While requests are mirrored stable gives up nothing.
            let mirrored = canary
                .steps
                .get(step)
                .is_some_and(|next| !next.mirror.is_zero());
            let before = if mirrored {
                "a smaller mirror"
            } else {
                "another step before it"
            };
            let allowed = format!("at least {beyond} (it is {room} now), or {before}");
            found.push(Problem::new(&path, wrong).allowed(allowed));
            return;
        }
    }
}
