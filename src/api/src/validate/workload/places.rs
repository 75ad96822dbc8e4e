//! Places inside the container, and on the node: each a plain path, and no two things at one place.

use std::collections::BTreeMap;

use crate::problem::{Problem, shown};
use crate::workload::{FileReference, Mount, MountKind, Workload};

/// What is wrong with where secrets, configs and mounts are.
pub(super) fn problems(found: &mut Vec<Problem>, workload: &Workload) {
    let mut taken = BTreeMap::new();
    for (field, below, files) in [
        ("secrets", "/run/secrets/", &workload.secrets),
        ("configs", "/", &workload.configs),
    ] {
        for (index, file) in files.iter().enumerate() {
            let at = format!("spec.workload.{field}[{index}]");
            of_file(found, &mut taken, at, below, file);
        }
    }
    for (index, mount) in workload.mounts.iter().enumerate() {
        let at = format!("spec.workload.mounts[{index}]");
        source(found, &at, mount);
        match plain(&mount.target) {
            Ok(path) => once(found, &mut taken, at, path),
            Err(wrong) => found.push(
                Problem::new(
                    format!("{at}.target"),
                    format!("{} {wrong}", shown(&mount.target)),
                )
                .allowed("a path below `/`, without `.` and `..`"),
            ),
        }
    }
}

fn of_file(
    found: &mut Vec<Problem>,
    taken: &mut BTreeMap<String, String>,
    at: String,
    below: &str,
    file: &FileReference,
) {
    let inside = file.inside();
    let whole = match inside.starts_with('/') {
        true => inside.to_owned(),
        false => format!("{below}{inside}"),
    };
    let folder = inside.ends_with('/').then_some("is a folder, not a file");
    match folder.map_or_else(|| plain(&whole), Err) {
        Ok(path) => once(found, taken, at, path),
        Err(wrong) => found.push(
            Problem::new(format!("{at}.target"), format!("{} {wrong}", shown(inside)))
                .allowed("a file's name or absolute path, without `.` and `..`"),
        ),
    }
}

/// Nothing is put where something else is already.
fn once(found: &mut Vec<Problem>, taken: &mut BTreeMap<String, String>, at: String, path: String) {
    match taken.get(&path) {
        Some(other) => found.push(
            Problem::new(
                format!("{at}.target"),
                format!("{} is the place of {other} already", shown(&path)),
            )
            .allowed("a path of its own"),
        ),
        None => drop(taken.insert(path, at)),
    }
}

/// An absolute path as Docker cleans it: without doubled slashes, and without one at its end.
fn plain(path: &str) -> Result<String, &'static str> {
    let mut whole = String::new();
    for part in path.split('/').filter(|part| !part.is_empty()) {
        if matches!(part, "." | "..") {
            return Err("has a part `.` or `..`, which leads elsewhere");
        }
        whole.push('/');
        whole.push_str(part);
    }
    if whole.is_empty() {
        return Err("is the container's root");
    }
    Ok(whole)
}

/// Where the mount comes from.
fn source(found: &mut Vec<Problem>, at: &str, mount: &Mount) {
    let Some(source) = mount.source.as_deref() else {
        return;
    };
    let wrong = match mount.kind {
        MountKind::Bind => {
            let leads = source.split('/').any(|part| matches!(part, "." | ".."));
            leads.then_some((
                "has a part `.` or `..`, which leads elsewhere",
                "an absolute path without `.` and `..`",
            ))
        }
        // Another driver has names of its own.
        MountKind::Volume if mount.volume.driver.as_ref().is_some_and(|name| name != "local") => {
            None
        }
        MountKind::Volume => (!is_name(source)).then_some((
            "is no name of a volume",
            "two or more letters, digits, `_`, `.` and `-`, a letter or digit first; `{{.Node.Hostname}}` and the like may stand in it",
        )),
        MountKind::Tmpfs => None,
    };
    if let Some((wrong, allowed)) = wrong {
        let path = format!("{at}.source");
        let problem = Problem::new(path, format!("{} {wrong}", shown(source)));
        found.push(problem.allowed(allowed));
    }
}

/// Whether Docker makes a volume of this name. Swarm fills templates in.
fn is_name(name: &str) -> bool {
    let (mut plain, mut rest) = (String::new(), name);
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((_, after)) = after.split_once("}}") else {
            return false;
        };
        plain.push_str(before);
        plain.push_str("00");
        rest = after;
    }
    plain.push_str(rest);
    let fits = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    plain.len() > 1
        && plain.starts_with(|c: char| c.is_ascii_alphanumeric())
        && plain.chars().all(fits)
}
