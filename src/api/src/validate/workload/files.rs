//! Whether each config and secret says what it is, once, and no secret stands in the manifest.

use crate::problem::{Problem, shown};
use crate::workload::FileReference;

use super::twice;

pub(super) fn problems(found: &mut Vec<Problem>, field: &str, files: &[FileReference]) {
    let list = format!("spec.workload.{field}");
    for (index, file) in files.iter().enumerate() {
        one(found, field, &format!("{list}[{index}]"), file);
    }
    twice(found, &list, "", files.iter().map(FileReference::inside));
    for (index, file) in files.iter().enumerate() {
        let same_name = |other: &&FileReference| other.name.is_some() && other.name == file.name;
        let other = files.iter().take(index).find(same_name);
        if other.is_some_and(|other| origin(other) != origin(file)) {
            let name = shown(file.shown());
            found.push(
                Problem::new(
                    format!("{list}[{index}].name"),
                    format!("{name} is given twice, with another content"),
                )
                .allowed("one content for each name; it may be shown at several targets"),
            );
        }
    }
}

/// Where its content comes from.
fn origin(file: &FileReference) -> [&Option<String>; 4] {
    [&file.file, &file.env, &file.content, &file.hash]
}

fn one(found: &mut Vec<Problem>, field: &str, path: &str, file: &FileReference) {
    let from = [&file.file, &file.env, &file.content, &file.hash];
    let given = from.iter().filter(|value| value.is_some()).count();
    let secret = field == "secrets";
    let ways = if secret {
        "`file` or `env`"
    } else {
        "`file`, `env` or `content`"
    };
    let wrong = match (&file.source, &file.name) {
        (None, None) => Some((
            "it names neither one of Swarm nor one of its own".to_owned(),
            format!("`source: NAME` of one that exists, or `name: NAME` with {ways}"),
        )),
        (Some(_), Some(_)) => Some((
            "`source` is one of Swarm that exists, `name` one of its own: it cannot be both"
                .to_owned(),
            "one of the two".to_owned(),
        )),
        (Some(_), None) if given > 0 => Some((
            "one of Swarm that exists has its content already".to_owned(),
            format!("`source` alone, or `name: NAME` with {ways}"),
        )),
        (None, Some(_)) if given != 1 => Some((
            if given == 0 {
                "it does not say where its content is".to_owned()
            } else {
                "its content is given more than once".to_owned()
            },
            format!("one of {ways} (`hash` is what the server writes)"),
        )),
        (Some(_), None) | (None, Some(_)) => None,
    };
    if let Some((wrong, allowed)) = wrong {
        found.push(Problem::new(path, wrong).allowed(allowed));
    }
    if secret && file.content.is_some() {
        let wrong = "a manifest never holds a secret";
        let allowed = "`file: PATH` or `env: VARIABLE`, which `frctl` reads when it applies";
        found.push(Problem::new(format!("{path}.content"), wrong).allowed(allowed));
    }
}

/// Docker keeps one file for each config and secret of a container, whatever number of targets it is shown at.
pub(super) fn one_file(found: &mut Vec<Problem>, field: &str, files: &[FileReference]) {
    let object = |file: &FileReference| (file.source.clone(), file.name.clone());
    let looks = |file: &FileReference| (file.uid.clone(), file.gid.clone(), mode(file));
    for (index, file) in files.iter().enumerate() {
        let mut earlier = files.iter().take(index);
        let other = earlier.find(|other| object(other) == object(file));
        if other.is_some_and(|other| looks(other) != looks(file)) {
            let name = shown(file.shown());
            found.push(
                Problem::new(
                    format!("spec.workload.{field}[{index}]"),
                    format!(
                        "{name} is shown at several targets, and Docker keeps one file for all of them"
                    ),
                )
                .allowed("the same `uid`, `gid` and `mode` at each"),
            );
        }
    }
}

fn mode(file: &FileReference) -> Option<u32> {
    u32::from_str_radix(&file.mode, 8).ok()
}

/// Owners that no file can have: the system's numbers have 32 bits, and the last one is none.
pub(super) fn owners(found: &mut Vec<Problem>, field: &str, files: &[FileReference]) {
    for (index, file) in files.iter().enumerate() {
        for (name, given) in [("uid", &file.uid), ("gid", &file.gid)] {
            if given.parse::<u32>().is_ok_and(|number| number < u32::MAX) {
                continue;
            }
            let path = format!("spec.workload.{field}[{index}].{name}");
            found.push(
                Problem::new(path, format!("{} is no such number", shown(given)))
                    .allowed(format!("a number from 0 to {}", u32::MAX - 1)),
            );
        }
    }
}
