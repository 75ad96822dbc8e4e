//! What Docker would refuse of a workload, often late and in unclear words.

use std::collections::BTreeSet;

use crate::problem::{Problem, shown};
use crate::quantity::Span;
use crate::workload::{Healthcheck, Mount, MountKind, Resources, Workload};

mod details;
mod files;
mod places;
pub(super) mod templates;

use super::image;
use super::meaning::{ours, span};

/// Docker's own bounds.
const LEAST_MEMORY: u64 = 4 << 20;
const LEAST_CHECK: Span = Span::millis(1);
const DAY: Span = Span::secs(86_400);

/// Everything that is wrong with a workload of the right shape.
pub(super) fn problems(found: &mut Vec<Problem>, workload: &Workload) {
    let path = "spec.workload";
    if let Some(wrong) = image::wrong(&workload.image) {
        found.push(
            Problem::new(
                format!("{path}.image"),
                format!("{} is no image reference: {wrong}", shown(&workload.image)),
            )
            .allowed("`name:tag`, `registry:port/name:tag`, `name@sha256:…` or `sha256:…`"),
        );
    }
    ours(found, &format!("{path}.labels"), workload.labels.keys());
    twice(
        found,
        &format!("{path}.networks"),
        "",
        workload.networks.iter().map(String::as_str),
    );
    mounts(found, &workload.mounts);
    files::problems(found, "secrets", &workload.secrets);
    files::problems(found, "configs", &workload.configs);
    details::problems(found, workload);
    resources(found, &workload.resources);
    if let Some(check) = &workload.healthcheck {
        healthcheck(found, check);
    }
    if let Some(grace) = workload.stop_grace_period {
        span(
            found,
            format!("{path}.stopGracePeriod"),
            grace,
            Span::ZERO,
            DAY,
        );
    }
}

/// What is refused where it is newly written; what is stored already goes on.
pub(super) fn refused_today(workload: &Workload) -> Vec<Problem> {
    let mut found = unshared(&workload.mounts);
    places::problems(&mut found, workload);
    templates::problems(&mut found, workload);
    details::addresses(&mut found, workload);
    for (field, files) in [
        ("secrets", &workload.secrets),
        ("configs", &workload.configs),
    ] {
        files::owners(&mut found, field, files);
        files::one_file(&mut found, field, files);
    }
    found
}

/// Several tasks, and two revisions during a rollout, run side by side: files that they write must be made for that.
fn unshared(mounts: &[Mount]) -> Vec<Problem> {
    let written = mounts.iter().enumerate();
    let written = written.filter(|(_, mount)| mount.is_written_unshared());
    let problem = |(index, mount): (usize, &Mount)| {
        let source = mount.source.as_deref().unwrap_or_default();
        let wrong = format!(
            "{} is written, and during a rollout tasks of two revisions would write it side by side",
            shown(source)
        );
        Problem::new(format!("spec.workload.mounts[{index}]"), wrong)
            .allowed("`readOnly: true`, or `shared: true` if the program is made for that")
    };
    written.map(problem).collect()
}

/// Refuses the second of two equal values; `field` is where in an item of the list it stands.
pub(super) fn twice<'a>(
    found: &mut Vec<Problem>,
    list: &str,
    field: &str,
    values: impl Iterator<Item = &'a str>,
) {
    let mut seen = BTreeSet::new();
    for (index, value) in values.enumerate() {
        if !seen.insert(value) {
            let path = format!("{list}[{index}]{field}");
            found.push(
                Problem::new(path, format!("{} is given twice", shown(value))).allowed("each once"),
            );
        }
    }
}

fn mounts(found: &mut Vec<Problem>, mounts: &[Mount]) {
    let list = "spec.workload.mounts";
    for (index, mount) in mounts.iter().enumerate() {
        let path = format!("{list}[{index}]");
        let source = mount.source.as_deref();
        let wrong = match (mount.kind, source) {
            (MountKind::Bind, None) => Some((
                "a bind mount needs the path on the node",
                "an absolute path",
            )),
            (MountKind::Bind, Some(source)) if !source.starts_with('/') => Some((
                "a bind mount's source is a path on the node",
                "an absolute path",
            )),
            (MountKind::Volume, Some(source)) if source.contains('/') => Some((
                "a volume's source is its name, not a path",
                "a volume's name, or `type: bind`",
            )),
            (MountKind::Tmpfs, Some(_)) => Some(("memory has no source", "no `source`")),
            (MountKind::Bind | MountKind::Volume | MountKind::Tmpfs, _) => None,
        };
        if let Some((wrong, allowed)) = wrong {
            found.push(Problem::new(format!("{path}.source"), wrong).allowed(allowed));
        }
        if mount.target == "/" {
            let wrong = "nothing can be mounted over the container's root";
            found.push(Problem::new(format!("{path}.target"), wrong).allowed("a path below `/`"));
        }
    }
    twice(
        found,
        list,
        ".target",
        mounts.iter().map(|mount| mount.target.as_str()),
    );
}

fn resources(found: &mut Vec<Problem>, resources: &Resources) {
    let path = "spec.workload.resources";
    let (limits, reserved) = (&resources.limits, &resources.reservations);
    for (side, amount) in [("limits", limits), ("reservations", reserved)] {
        if let Some(memory) = amount.memory.filter(|memory| memory.bytes() < LEAST_MEMORY) {
            found.push(
                Problem::new(
                    format!("{path}.{side}.memory"),
                    format!("{memory} is less than Docker's minimum 4Mi"),
                )
                .allowed("4Mi or more"),
            );
        }
    }
    if reserved.pids.is_some() {
        let wrong = "processes cannot be reserved";
        let place = format!("{path}.reservations.pids");
        found.push(Problem::new(place, wrong).allowed("`limits.pids`"));
    }
    if !limits.generic.is_empty() {
        let wrong = "these things are reserved, they have no limit";
        let place = format!("{path}.limits.generic");
        found.push(Problem::new(place, wrong).allowed("`reservations.generic`"));
    }
    if let (Some(most), Some(least)) = (limits.cpus, reserved.cpus)
        && least > most
    {
        let wrong = format!("{least} processors are reserved, but the limit is {most}");
        found.push(
            Problem::new(format!("{path}.reservations.cpus"), wrong).allowed("at most the limit"),
        );
    }
    if let (Some(most), Some(least)) = (limits.memory, reserved.memory)
        && least > most
    {
        let wrong = format!("{least} is reserved, but the limit is {most}");
        found.push(
            Problem::new(format!("{path}.reservations.memory"), wrong).allowed("at most the limit"),
        );
    }
}

fn healthcheck(found: &mut Vec<Problem>, check: &Healthcheck) {
    let path = "spec.workload.healthcheck";
    let wrong = match check
        .test
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        ["CMD", _, ..] | ["CMD-SHELL", _] | ["NONE"] => None,
        ["CMD"] => Some("`CMD` needs a program".to_owned()),
        ["CMD-SHELL", ..] => Some("`CMD-SHELL` needs exactly one line".to_owned()),
        ["NONE", ..] => Some("`NONE` stands alone".to_owned()),
        [other, ..] => Some(format!("{} is not how a check begins", shown(other))),
        [] => Some("the check is empty".to_owned()),
    };
    if let Some(wrong) = wrong {
        found.push(
            Problem::new(format!("{path}.test"), wrong)
                .allowed("[\"CMD\", program, arguments…], [\"CMD-SHELL\", line] or [\"NONE\"]"),
        );
    }
    span(
        found,
        format!("{path}.interval"),
        check.interval,
        LEAST_CHECK,
        DAY,
    );
    span(
        found,
        format!("{path}.timeout"),
        check.timeout,
        LEAST_CHECK,
        DAY,
    );
    span(
        found,
        format!("{path}.startPeriod"),
        check.start_period,
        Span::ZERO,
        DAY,
    );
}
