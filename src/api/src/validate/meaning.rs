//! What the schema cannot say: rules between fields, and bounds of durations.

use crate::criteria::Analysis;
use crate::problem::Problem;
use crate::quantity::Span;
use crate::release::{BlueGreen, Release, ReleaseSpec, Rollback};

use super::{LARGEST, canary, experiment, gates, metrics, preview, routes, workload};

const DAY: Span = Span::secs(86_400);
pub(super) const MONTH: Span = Span::secs(30 * 86_400);

/// Everything that is wrong with the meaning of a release of the right shape.
pub(super) fn problems(release: &Release) -> Vec<Problem> {
    let mut found = Vec::new();
    let spec = &release.spec;
    ours(
        &mut found,
        "metadata.labels",
        release.metadata.labels.keys(),
    );
    workload::problems(&mut found, &spec.workload);
    routes::problems(&mut found, spec);
    if let Some(canary) = &spec.strategy.canary {
        canary::problems(&mut found, canary, spec);
    }
    if let Some(both) = &spec.strategy.blue_green {
        blue_green(&mut found, both, spec);
    }
    if let Some(strategy) = &spec.strategy.preview {
        preview::problems(&mut found, strategy, release);
    }
    worker(&mut found, spec);
    if let Some(asked) = &spec.experiment {
        experiment::problems(&mut found, asked, spec);
    }
    super::matching::problems(&mut found, spec);
    analysis(&mut found, &spec.analysis);
    saturation(&mut found, spec);
    metrics::problems(&mut found, spec);
    gates::problems(&mut found, spec);
    span(
        &mut found,
        "spec.progressDeadline",
        spec.progress_deadline,
        Span::secs(1),
        Span::secs(7 * 86_400),
    );
    span(
        &mut found,
        "spec.rollback.over",
        spec.rollback.over,
        Span::ZERO,
        Span::secs(3600),
    );
    span(
        &mut found,
        "spec.keepFailed",
        spec.keep_failed,
        Span::ZERO,
        MONTH,
    );
    span(
        &mut found,
        "spec.onControlLoss.after",
        spec.on_control_loss.after,
        Span::secs(1),
        MONTH,
    );
    size(&mut found, release);
    found
}

/// A duration between two bounds.
pub(super) fn span(
    found: &mut Vec<Problem>,
    path: impl Into<String>,
    span: Span,
    least: Span,
    most: Span,
) {
    let wrong = if span < least {
        format!("{span} is less than the minimum {least}")
    } else if span > most {
        format!("{span} is more than the maximum {most}")
    } else {
        return;
    };
    found.push(Problem::new(path, wrong).allowed(format!("a duration from {least} to {most}")));
}

/// Labels below `fridaymorning.` are how our own services are known.
pub(super) fn ours<'a>(
    found: &mut Vec<Problem>,
    path: &str,
    names: impl Iterator<Item = &'a String>,
) {
    for name in names.filter(|name| name.starts_with("fridaymorning.")) {
        let mut path = path.to_owned();
        crate::problem::join(&mut path, name);
        found.push(
            Problem::new(path, "labels below `fridaymorning.` are ours").allowed("any other name"),
        );
    }
}

/// A share of a limit needs a limit.
fn saturation(found: &mut Vec<Problem>, spec: &ReleaseSpec) {
    let (guards, limits) = (&spec.analysis.guards, &spec.workload.resources.limits);
    for (guard, field, asked, limited) in [
        (
            "maxCpu",
            "cpus",
            guards.max_cpu.is_some(),
            limits.cpus.is_some(),
        ),
        (
            "maxMemory",
            "memory",
            guards.max_memory.is_some(),
            limits.memory.is_some(),
        ),
    ] {
        if asked && !limited {
            let path = format!("spec.analysis.guards.{guard}");
            let wrong = format!(
                "a share of a limit needs one, and spec.workload.resources.limits.{field} is not set"
            );
            let allowed = format!("set the limit, or leave {guard} away");
            found.push(Problem::new(path, wrong).allowed(allowed));
        }
    }
}

fn blue_green(found: &mut Vec<Problem>, both: &BlueGreen, spec: &ReleaseSpec) {
    let path = "spec.strategy.blueGreen";
    for (field, value) in [
        ("hold", both.hold),
        ("watch", both.watch),
        ("keepPrevious", both.keep_previous),
    ] {
        span(found, format!("{path}.{field}"), value, Span::ZERO, MONTH);
    }
    if !both.mirror.is_zero() && spec.routes.is_empty() {
        let wrong = "mirrors requests, but there are no spec.routes that any come by";
        let problem = Problem::new(format!("{path}.mirror"), wrong);
        found.push(problem.allowed("no `mirror`, or routes"));
    }
    let hosts = spec.strategy.preview_hosts();
    if !hosts.is_empty() && spec.routes.is_empty() {
        found.push(
            Problem::new(
                format!("{path}.preview"),
                "there are no routes, so nothing could be looked at",
            )
            .allowed("no `preview`, or routes"),
        );
    }
    for (index, host) in hosts.iter().enumerate() {
        let routed = spec.routes.iter().any(|route| route.hosts.contains(host));
        if routed || hosts.iter().take(index).any(|before| before == host) {
            let wrong = if routed {
                format!("{host} is a host of the routes: it cannot lead to the new revision alone")
            } else {
                format!("{host} is given twice")
            };
            found.push(
                Problem::new(format!("{path}.preview.hosts[{index}]"), wrong)
                    .allowed("a host name of its own"),
            );
        }
    }
}

/// Without routes there is no traffic to share or to match.
fn worker(found: &mut Vec<Problem>, spec: &ReleaseSpec) {
    if !spec.routes.is_empty() {
        return;
    }
    let mut refuse = |path: &str, what: &str, allowed: &str| {
        found.push(Problem::new(path, what).allowed(allowed));
    };
    if !spec.match_rules.is_empty() {
        refuse(
            "spec.match",
            "there are no routes, so there are no requests to match",
            "`[]`, or routes",
        );
    }
    if spec.rollback != Rollback::default() {
        refuse(
            "spec.rollback",
            "there are no routes, so there is neither a share nor a connection to give back",
            "no `rollback`, or routes",
        );
    }
    if spec.affinity.is_some() {
        refuse(
            "spec.affinity",
            "there are no routes, so there are no clients to keep on a side",
            "no `affinity`, or routes",
        );
    }
    if spec.analysis.guards.max_error_rate.is_some() {
        refuse(
            "spec.analysis.guards.maxErrorRate",
            "there are no routes, so there are no requests to count",
            "no `maxErrorRate`, or routes; metrics, `maxCpu` and `maxMemory` judge a worker",
        );
    }
}

fn analysis(found: &mut Vec<Problem>, analysis: &Analysis) {
    let path = "spec.analysis";
    span(
        found,
        format!("{path}.warmup"),
        analysis.warmup.0,
        Span::ZERO,
        DAY,
    );
    if let Some(warmup) = analysis.latency.warmup {
        let path = format!("{path}.latency.warmup");
        span(found, path, warmup, Span::ZERO, DAY);
    }
    span(
        found,
        format!("{path}.latency.leastDifference"),
        analysis.latency.least_difference.0,
        Span::ZERO,
        DAY,
    );
    span(
        found,
        format!("{path}.deadline"),
        analysis.deadline.0,
        Span::secs(1),
        MONTH,
    );
    span(
        found,
        format!("{path}.guards.window"),
        analysis.guards.window.0,
        Span::secs(1),
        Span::secs(3600),
    );
    if let Some(bake) = analysis.bake {
        span(found, format!("{path}.bake"), bake, Span::ZERO, MONTH);
    }
    let quantiles = &analysis.latency.rollback.quantiles;
    for (index, quantile) in quantiles.iter().enumerate() {
        let path = format!("{path}.latency.rollback.quantiles[{index}]");
        if !(*quantile > 0.0 && *quantile < 1.0) {
            found.push(
                Problem::new(path, format!("{quantile} is no quantile"))
                    .allowed("more than 0 and less than 1"),
            );
        } else if quantiles
            .iter()
            .take(index)
            .any(|earlier| earlier == quantile)
        {
            found.push(
                Problem::new(path, format!("{quantile} is given twice"))
                    .allowed("each quantile once"),
            );
        }
    }
}

fn size(found: &mut Vec<Problem>, release: &Release) {
    let size = serde_json::to_vec(release).map_or(usize::MAX, |bytes| bytes.len());
    if size > LARGEST {
        found.push(
            Problem::new(
                "",
                format!("the release has {size} bytes with every default filled in"),
            )
            .allowed(format!("at most {LARGEST} bytes")),
        );
    }
}
