//! Templates: manifests with `${…}` in them, filled in from `--branch` and `--set`. Pure.
//!
//! Only values that cannot change the meaning of the YAML around them are filled in: the template alone says what is a
//! name, a list or a comment. `$$` is a dollar; lines of comments stay as they are.

use std::collections::{BTreeMap, BTreeSet};

use fm_api::branch::{self, Branch};
use fm_api::problem::Problem;
use fm_api::release::Release;
use serde_json::Value;

use crate::cli::Files;
use crate::error::{Error, Exit, Result};

/// Values are names, images, numbers, times: never longer.
const LONGEST: usize = 1024;

/// What templates are filled in with; `None` of it, and manifests are taken as they are.
#[derive(Debug, Default)]
pub(crate) struct Template {
    branch: Option<Branch>,
    values: BTreeMap<String, String>,
    used: BTreeSet<String>,
}

impl Template {
    /// From the command line.
    pub(crate) fn new(files: &Files) -> Result<Self> {
        let mut template = Self::default();
        if let Some(name) = &files.branch {
            let branch = Branch::new(name).map_err(|wrong| usage("--branch", &wrong))?;
            for (key, value) in [("branch", branch.short()), ("hash", branch.hash())] {
                template.values.insert(key.to_owned(), value);
            }
            template.branch = Some(branch);
        }
        for pair in &files.set {
            let (key, value) = pair
                .split_once('=')
                .filter(|(key, _)| is_key(key))
                .ok_or_else(|| {
                    usage(
                        pair,
                        "allowed: KEY=VALUE, with a KEY of letters, digits and `_`",
                    )
                })?;
            if matches!(key, "branch" | "hash") {
                return Err(usage(pair, "it comes from --branch"));
            }
            if !is_value(value) {
                let allowed = "allowed in a VALUE: letters, digits and . _ / @ : + = ~ -, beginning with a letter, a digit, . _ or /";
                return Err(usage(&format!("--set {key}"), allowed));
            }
            if template
                .values
                .insert(key.to_owned(), value.to_owned())
                .is_some()
            {
                return Err(usage(key, "it is set twice"));
            }
        }
        Ok(template)
    }

    /// A file's text, filled in.
    pub(crate) fn fill(&mut self, source: &str, bytes: Vec<u8>) -> Result<Vec<u8>, Vec<Problem>> {
        if self.values.is_empty() {
            return Ok(bytes);
        }
        // What is no text is told by its reader.
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => return Ok(error.into_bytes()),
        };
        let mut problems = Vec::new();
        let mut out = String::with_capacity(text.len());
        for (index, line) in text.split_inclusive('\n').enumerate() {
            if line.trim_start().starts_with('#') {
                out.push_str(line);
                continue;
            }
            if let Some((column, problem)) = self.line(line, &mut out) {
                problems.push(problem.at(source, index + 1, column));
            }
        }
        if problems.is_empty() {
            Ok(out.into_bytes())
        } else {
            Err(problems)
        }
    }

    /// One line, filled in; what is wrong with it, if anything is, and at which column.
    fn line(&mut self, line: &str, out: &mut String) -> Option<(usize, Problem)> {
        let mut rest = line;
        while let Some((before, after)) = rest.split_once('$') {
            out.push_str(before);
            let column = || line[..line.len() - after.len()].chars().count();
            if let Some(after) = after.strip_prefix('$') {
                out.push('$');
                rest = after;
            } else if let Some(named) = after.strip_prefix('{') {
                let Some((key, after)) = named.split_once('}') else {
                    let problem = Problem::new("", "`${` without its `}`");
                    return Some((
                        column(),
                        problem.allowed("`${NAME}`, and `$$` for a dollar"),
                    ));
                };
                let Some(value) = self.values.get(key) else {
                    return Some((column(), self.unknown(key)));
                };
                out.push_str(value);
                self.used.insert(key.to_owned());
                rest = after;
            } else {
                out.push('$');
                rest = after;
            }
        }
        out.push_str(rest);
        None
    }

    fn unknown(&self, key: &str) -> Problem {
        let key: String = key.chars().take(40).filter(|c| !c.is_control()).collect();
        let wrong = match key.as_str() {
            "branch" | "hash" => format!("`${{{key}}}` is filled in with --branch NAME"),
            _ if is_key(&key) => format!("`${{{key}}}` is filled in with --set {key}=VALUE"),
            _ => format!("`${{{key}}}` is no place to fill in"),
        };
        let known: Vec<String> = self
            .values
            .keys()
            .map(|key| format!("`${{{key}}}`"))
            .collect();
        Problem::new("", wrong).allowed(format!("{}, and `$$` for a dollar", known.join(", ")))
    }

    /// What must hold of a branch's release: its name is the branch's own. Without values nothing is filled in.
    pub(crate) fn check(&self, document: &Value) -> Option<Problem> {
        if self.values.is_empty() {
            return unfilled(document);
        }
        let branch = self.branch.as_ref()?;
        let name = document.get("metadata")?.get("name")?.as_str()?;
        if name.contains(&branch.hash()) {
            return None;
        }
        let wrong = "with --branch the name must hold ${branch} or ${hash}: else two branches would share this release";
        Some(Problem::new("metadata.name", wrong).allowed(format!("such as `{name}-${{hash}}`")))
    }

    /// Marks what is sent as the branch's.
    pub(crate) fn mark(&self, document: &mut Value) {
        let Some(branch) = &self.branch else { return };
        let metadata = document.get_mut("metadata").and_then(Value::as_object_mut);
        let Some(metadata) = metadata else { return };
        let annotations = metadata
            .entry("annotations")
            .or_insert_with(|| Value::Object(serde_json::Map::new()));
        // What is no mapping is refused by whoever validates it.
        if let Some(annotations) = annotations.as_object_mut() {
            annotations.insert(branch::ANNOTATION.to_owned(), branch.name().into());
        }
    }

    /// The same, of a release.
    pub(crate) fn mark_release(&self, release: &mut Release) {
        if let Some(branch) = &self.branch {
            let annotations = &mut release.metadata.annotations;
            annotations.insert(branch::ANNOTATION.to_owned(), branch.name().to_owned());
        }
    }

    /// A value that no file has a place for is a slip of the pen.
    pub(crate) fn unused(&self) -> Result<()> {
        let set = self
            .values
            .keys()
            .filter(|key| !matches!(key.as_str(), "branch" | "hash"));
        match set.into_iter().find(|key| !self.used.contains(*key)) {
            None => Ok(()),
            Some(key) => Err(usage(
                &format!("--set {key}"),
                &format!("no file has `${{{key}}}`"),
            )),
        }
    }
}

/// Says of a template that it is one: where it is plain that a place was meant, since no name may hold a `$`.
fn unfilled(document: &Value) -> Option<Problem> {
    let metadata = ["namespace", "name"].map(|field| {
        let at = format!("metadata.{field}");
        (at, &document["metadata"][field])
    });
    let spec = &document["spec"];
    let image = ("spec.workload.image".to_owned(), &spec["workload"]["image"]);
    let routes = spec["routes"].as_array().into_iter().flatten().enumerate();
    let hosts = routes.flat_map(|(route, value)| {
        let hosts = value["hosts"].as_array().into_iter().flatten().enumerate();
        hosts.map(move |(host, value)| (format!("spec.routes[{route}].hosts[{host}]"), value))
    });
    let all: Vec<(String, &Value)> = metadata.into_iter().chain([image]).chain(hosts).collect();
    let (first, _) = all.iter().find(|(_, value)| !places(value).is_empty())?;
    let keys: BTreeSet<&str> = all.iter().flat_map(|(_, value)| places(value)).collect();
    let branch = keys.iter().any(|key| matches!(*key, "branch" | "hash"));
    let options = keys
        .iter()
        .filter(|key| !matches!(**key, "branch" | "hash"));
    let options = options.map(|key| format!("--set {key}=VALUE"));
    let options: Vec<String> = branch
        .then(|| "--branch NAME".to_owned())
        .into_iter()
        .chain(options)
        .collect();
    let places: Vec<String> = keys.iter().map(|key| format!("`${{{key}}}`")).collect();
    let wrong = format!(
        "this is a template, without values for {}",
        places.join(" and ")
    );
    Some(Problem::new(first, wrong).allowed(format!("`{}`, which give them", options.join(" "))))
}

/// The keys of the places in a text.
fn places(value: &Value) -> Vec<&str> {
    let text = value.as_str().unwrap_or_default();
    let keys = text.split("${").skip(1);
    keys.filter_map(|rest| Some(rest.split_once('}')?.0))
        .filter(|key| is_key(key))
        .collect()
}

fn usage(what: &str, wrong: &str) -> Error {
    Error::new(format!("{}: {wrong}", what.escape_debug())).exit(Exit::Usage)
}

fn is_key(key: &str) -> bool {
    let mut chars = key.chars();
    chars
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn is_value(value: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || "._/@:+=~-".contains(c);
    let first = |c: char| c.is_ascii_alphanumeric() || "._/".contains(c);
    value.len() <= LONGEST
        && value.starts_with(first)
        && value.chars().all(inner)
        && !value.ends_with(':')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(branch: Option<&str>, set: &[&str]) -> Result<Template> {
        Template::new(&Files {
            files: Vec::new(),
            recursive: false,
            branch: branch.map(str::to_owned),
            set: set.iter().map(|&pair| pair.to_owned()).collect(),
        })
    }

    /// The text, filled in, or what is wrong with it.
    fn filled(text: &str) -> String {
        let mut template = template(Some("fix/7"), &["image=shop:1@sha256:00"]).unwrap();
        match template.fill("t.yaml", text.as_bytes().to_vec()) {
            Ok(bytes) => String::from_utf8(bytes).unwrap(),
            Err(problems) => problems.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn places_are_filled_in_and_dollars_can_be_said() {
        let hash = Branch::new("fix/7").unwrap().hash();
        for (text, wanted) in [
            (
                "a: ${branch}\nb: x${image}y\n",
                format!("a: fix-7-{hash}\nb: xshop:1@sha256:00y\n"),
            ),
            (
                "a: $${branch} $HOME 5$ {{revision}}",
                "a: ${branch} $HOME 5$ {{revision}}".to_owned(),
            ),
            (
                "  # a ${comment} ${\na: ${hash}",
                format!("  # a ${{comment}} ${{\na: {hash}"),
            ),
        ] {
            assert_eq!(filled(text), wanted);
        }
        let untouched = template(None, &[])
            .unwrap()
            .fill("t", b"a: ${x}".to_vec())
            .unwrap();
        assert_eq!(untouched, b"a: ${x}");
    }

    #[test]
    fn what_does_not_render_is_told_with_its_place() {
        for (text, wanted) in [
            (
                "a: 1\nb: é ${imag}\n",
                "t.yaml:2:6: `${imag}` is filled in with --set imag=VALUE; allowed: `${branch}`, `${hash}`, `${image}`, and `$$` for a dollar",
            ),
            (
                "a: ${branch\n",
                "t.yaml:1:4: `${` without its `}`; allowed: `${NAME}`, and `$$` for a dollar",
            ),
            (
                "a: ${x y}",
                "t.yaml:1:4: `${x y}` is no place to fill in; allowed: `${branch}`, `${hash}`, `${image}`, and `$$` for a dollar",
            ),
        ] {
            assert_eq!(filled(text), wanted);
        }
    }

    #[test]
    fn a_template_that_nothing_fills_in_is_told_to_be_one() {
        let document = serde_json::json!({
            "metadata": { "name": "shop-${branch}" },
            "spec": {
                "workload": { "image": "shop:${tag}", "env": { "A": "${HOME}" } },
                "routes": [{ "hosts": ["${branch}.example.com"] }],
            },
        });
        let none = template(None, &[]).unwrap();
        assert_eq!(
            none.check(&document).unwrap().to_string(),
            "metadata.name: this is a template, without values for `${branch}` and `${tag}`; allowed: `--branch NAME --set tag=VALUE`, which give them"
        );
        let plain = serde_json::json!({
            "metadata": { "name": "shop" },
            "spec": { "workload": { "image": "shop:1", "env": { "A": "${HOME}" } } },
        });
        assert!(none.check(&plain).is_none());
    }

    #[test]
    fn values_cannot_change_the_yaml_around_them() {
        for value in [
            "a b", "a\nb", "x: y", "x:", "[a]", "{a}", "&a", "*a", "!a", "\"", "'", "#", "- a", "",
            "@x",
        ] {
            let error = template(None, &[&format!("k={value}")]).unwrap_err();
            assert!(
                error.to_string().contains("allowed in a VALUE"),
                "{value}: {error}"
            );
        }
        for pair in ["image", "=x", "1a=x", "a-b=x", "branch=x", "hash=x"] {
            assert!(template(None, &[pair]).is_err(), "{pair}");
        }
        assert!(template(None, &["a=1", "a=2"]).is_err());
        let unused = template(None, &["imgae=x"]).unwrap().unused().unwrap_err();
        assert_eq!(unused.to_string(), "--set imgae: no file has `${imgae}`");
    }

    #[test]
    fn a_branchs_release_is_its_own_and_marked() {
        let template = template(Some("fix/7"), &[]).unwrap();
        let hash = Branch::new("fix/7").unwrap().hash();
        let mut document = serde_json::json!({ "metadata": { "name": "shop" } });
        assert!(template.check(&document).is_some());
        document["metadata"]["name"] = format!("shop-{hash}").into();
        assert!(template.check(&document).is_none());
        template.mark(&mut document);
        assert_eq!(
            document["metadata"]["annotations"][branch::ANNOTATION],
            "fix/7"
        );
    }
}
