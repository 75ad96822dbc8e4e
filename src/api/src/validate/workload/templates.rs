//! Fields that Swarm fills in as Go templates, for each task. What it cannot fill in it refuses, with the text in its words.
//!
//! What must never happen: the value of an environment variable in a problem. It may be a secret.

use crate::experiment::Experiment;
use crate::problem::{Problem, join};
use crate::workload::{MountKind, Workload};

const ALLOWED: &str = "`{{.Service.ID}}`, `{{.Service.Name}}`, `{{.Service.Labels.NAME}}`, `{{index .Service.Labels \"NAME\"}}`, \
     `{{.Node.ID}}`, `{{.Node.Hostname}}`, `{{.Node.Platform.OS}}`, `{{.Node.Platform.Architecture}}`, `{{.Task.ID}}`, \
     `{{.Task.Name}}`, `{{.Task.Slot}}`; `{{\"{{\"}}` stands for `{{` itself";

const OPEN: &str = "a `{{` in it is not closed";

const NAMES: [&str; 9] = [
    ".Service.ID",
    ".Service.Name",
    ".Node.ID",
    ".Node.Hostname",
    ".Node.Platform.OS",
    ".Node.Platform.Architecture",
    ".Task.ID",
    ".Task.Name",
    ".Task.Slot",
];

/// Every field of a workload that Swarm could not fill in.
pub(super) fn problems(found: &mut Vec<Problem>, workload: &Workload) {
    for (name, value) in &workload.env {
        named(found, "spec.workload.env", name, value);
    }
    if let Some(hostname) = &workload.hostname {
        text(found, "spec.workload.hostname".to_owned(), hostname);
    }
    for (at, mount) in workload.mounts.iter().enumerate() {
        let at = format!("spec.workload.mounts[{at}]");
        let source = mount.source.as_deref().unwrap_or_default();
        // Of a volume's name it is said already that this is none.
        if mount.kind != MountKind::Volume || wrong(source) != Some(OPEN) {
            text(found, format!("{at}.source"), source);
        }
        text(found, format!("{at}.target"), &mount.target);
        for (field, map) in [
            ("labels", &mount.volume.labels),
            ("options", &mount.volume.options),
        ] {
            for (name, value) in map {
                named(found, &format!("{at}.volume.{field}"), name, value);
            }
        }
    }
}

/// The same of what an experiment sets beside it.
pub(in crate::validate) fn of_candidates(experiment: &Experiment) -> Vec<Problem> {
    let mut found = Vec::new();
    for (at, candidate) in experiment.candidates.iter().enumerate() {
        for (name, value) in &candidate.env {
            named(
                &mut found,
                &format!("spec.experiment.candidates[{at}].env"),
                name,
                value,
            );
        }
    }
    found
}

fn named(found: &mut Vec<Problem>, map: &str, name: &str, value: &str) {
    let mut path = map.to_owned();
    join(&mut path, name);
    text(found, path, value);
}

fn text(found: &mut Vec<Problem>, path: String, value: &str) {
    if let Some(wrong) = wrong(value) {
        let wrong = format!("Swarm fills this field in as a template, and {wrong}");
        found.push(Problem::new(path, wrong).allowed(ALLOWED));
    }
}

/// Why Swarm cannot fill a text in.
fn wrong(text: &str) -> Option<&'static str> {
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("{{") {
        let (inside, after) = match literal(after) {
            Some(after) => (None, after),
            None => {
                let (inside, after) = match after.split_once("}}") {
                    Some((inside, after)) => (inside, after),
                    None => return Some(OPEN),
                };
                (Some(inside), after)
            }
        };
        if inside.is_some_and(|inside| !is_known(inside)) {
            return Some("it does not know what stands between `{{` and `}}` in it");
        }
        rest = after;
    }
    None
}

/// What follows a text in quotes, which stands for itself.
fn literal(after: &str) -> Option<&str> {
    let inner = after.trim_start();
    let quote = inner.chars().next().filter(|c| matches!(c, '"' | '`'))?;
    let (text, rest) = inner.get(1..)?.split_once(quote)?;
    // An escape may be wrong in more ways than are looked for here.
    let plain = !text.contains(['\\', '\n']);
    rest.trim_start().strip_prefix("}}").filter(|_| plain)
}

fn is_known(inside: &str) -> bool {
    let inside = inside.strip_prefix("- ").unwrap_or(inside);
    let inside = inside.strip_suffix(" -").unwrap_or(inside).trim();
    let word = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let label = |text: &str| text.strip_prefix(".Service.Labels.").is_some_and(word);
    let quoted = |text: &str| {
        let text = text
            .strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'));
        text.is_some_and(|text| !text.is_empty() && !text.contains(['"', '\\']))
    };
    let index = inside.strip_prefix("index ").map(str::trim_start);
    let index = index.and_then(|rest| rest.strip_prefix(".Service.Labels "));
    NAMES.contains(&inside) || label(inside) || index.is_some_and(|name| quoted(name.trim()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_swarm_fills_in_is_told_from_what_it_cannot() {
        for fine in [
            "plain",
            "a}}b",
            "{{.Node.Hostname}}-{{ .Task.Slot }}",
            "{{.Service.Labels.tier}}",
            "{{index .Service.Labels \"com.example/tier\"}}",
            "{{\"{{\"}} x }}",
            "{{`{{`}}",
            "{{- .Task.ID -}}",
        ] {
            assert_eq!(wrong(fine), None, "{fine}");
        }
        for bad in [
            "{{",
            "{{}}",
            "{{secret}}",
            "{{.Secret}}",
            "{{.Node.Foo}}",
            "a {{.Task.ID}} {{.Task.ID",
            "{{\"{{}}",
            "{{if .Task.ID}}",
            "{{printf \"x\"}}",
        ] {
            assert!(wrong(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn each_field_is_looked_at_and_no_value_is_repeated() {
        let workload: Workload = serde_json::from_value(json!({
            "image": "shop:1", "hostname": "a-{{hunter2}}",
            "env": { "TOKEN": "hunter2{{x", "GOOD": "{{.Task.ID}}" },
            "mounts": [{
                "source": "v{{hunter2}}", "target": "/x/{{hunter2}}",
                "volume": { "labels": { "l": "{{hunter2}}" }, "options": { "o": "{{hunter2}}" } },
            }],
        }))
        .unwrap();
        let mut found = Vec::new();
        problems(&mut found, &workload);
        let paths: Vec<&str> = found.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "spec.workload.env.TOKEN",
                "spec.workload.hostname",
                "spec.workload.mounts[0].source",
                "spec.workload.mounts[0].target",
                "spec.workload.mounts[0].volume.labels.l",
                "spec.workload.mounts[0].volume.options.o",
            ]
        );
        assert!(
            found
                .iter()
                .all(|problem| !problem.to_string().contains("hunter2"))
        );
    }
}
