//! What Docker would refuse, or silently leave away, of the rarer fields.

use std::net::IpAddr;

use crate::problem::{Problem, join, shown};
use crate::quantity::Span;
use crate::workload::{Mount, MountKind, Workload};

use super::super::meaning::{ours, span};
use super::{DAY, twice};

pub(super) fn problems(found: &mut Vec<Problem>, workload: &Workload) {
    let path = "spec.workload";
    ours(
        found,
        &format!("{path}.serviceLabels"),
        workload.service_labels.keys(),
    );
    let stack = "com.docker.stack.namespace";
    if workload.service_labels.contains_key(stack) {
        let wrong =
            "with this label `docker stack` would take the service for its own, and remove it";
        found.push(Problem::new(format!("{path}.serviceLabels"), wrong).allowed("any other name"));
    }
    for (name, limit) in &workload.ulimits {
        if limit.hard >= 0 && (limit.soft > limit.hard || limit.soft < 0) {
            let wrong = format!(
                "the soft limit {} is beyond the hard one {}",
                limit.soft, limit.hard
            );
            found.push(
                Problem::new(format!("{path}.ulimits.{name}.soft"), wrong)
                    .allowed("at most the hard limit"),
            );
        }
    }
    if !workload.aliases.is_empty() && workload.networks.is_empty() {
        let wrong = "names are found in networks, and the workload joins none";
        found.push(Problem::new(format!("{path}.aliases"), wrong).allowed("with `networks`"));
    }
    let lists = [
        ("capabilities.add", &workload.capabilities.add),
        ("capabilities.drop", &workload.capabilities.drop),
    ];
    for (field, list) in lists {
        twice(
            found,
            &format!("{path}.{field}"),
            "",
            list.iter().map(String::as_str),
        );
    }
    twice(
        found,
        &format!("{path}.aliases"),
        "",
        workload.aliases.iter().map(String::as_str),
    );
    let restart = &workload.restart;
    span(
        found,
        format!("{path}.restart.delay"),
        restart.delay,
        Span::ZERO,
        DAY,
    );
    span(
        found,
        format!("{path}.restart.window"),
        restart.window,
        Span::ZERO,
        DAY,
    );
    for (index, mount) in workload.mounts.iter().enumerate() {
        of_another_kind(found, &format!("{path}.mounts[{index}]"), mount);
    }
}

/// Addresses that look like one and are none.
pub(super) fn addresses(found: &mut Vec<Problem>, workload: &Workload) {
    let mut check = |path: String, address: &str, words: &str| {
        if address.parse::<IpAddr>().is_err() {
            found.push(
                Problem::new(path, format!("{} is no address", shown(address))).allowed(words),
            );
        }
    };
    for (name, address) in &workload.hosts {
        if address != "host-gateway" {
            let mut path = "spec.workload.hosts".to_owned();
            join(&mut path, name);
            check(
                path,
                address,
                "such as `10.0.0.7` or `fd00::7`, or `host-gateway`",
            );
        }
    }
    for (index, address) in workload.dns.servers.iter().enumerate() {
        let path = format!("spec.workload.dns.servers[{index}]");
        check(path, address, "such as `10.0.0.53` or `fd00::53`");
    }
}

/// Options that mean nothing for this kind of mount.
fn of_another_kind(found: &mut Vec<Problem>, path: &str, mount: &Mount) {
    let tmpfs = mount.size.is_some() || mount.mode.is_some();
    let rules = [
        (
            "propagation",
            mount.propagation.is_some(),
            MountKind::Bind,
            "bind",
        ),
        (
            "volume",
            !mount.volume.is_empty(),
            MountKind::Volume,
            "volume",
        ),
        ("size", tmpfs, MountKind::Tmpfs, "tmpfs"),
    ];
    for (field, given, kind, name) in rules {
        if given && mount.kind != kind {
            let field = if field == "size" && mount.size.is_none() {
                "mode"
            } else {
                field
            };
            let wrong = format!("only a mount of type `{name}` has it");
            found.push(
                Problem::new(format!("{path}.{field}"), wrong)
                    .allowed(format!("with `type: {name}`")),
            );
        }
    }
}
