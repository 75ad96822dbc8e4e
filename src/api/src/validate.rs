//! Whether a release is one: schema, types, meaning. Pure; the API server, promotion and `frctl` all come through here.
//!
//! An object that passes may be rendered for Docker and HAProxy. Text that could break out of either must never pass.

mod addresses;
mod canary;
mod experiment;
mod gates;
mod headers;
mod image;
mod matching;
mod meaning;
mod metrics;
mod near;
mod preview;
mod routes;
mod shape;
mod workload;

use serde_json::Value;

use crate::problem::Problem;
use crate::release::{Release, ReleaseSpec};

pub use gates::frozen_for_ever;
pub(crate) use image::{is_host, is_registry};
pub use near::nearest;
pub use routes::{claims, conflict as routes_conflict, prefix};

/// The largest release, in bytes of its JSON with every default filled in.
const LARGEST: usize = 256 * 1024;

/// Everything that is wrong with a typed release, by field path, in order, each once.
#[must_use]
pub fn release(release: &Release) -> Vec<Problem> {
    let problems = match serde_json::to_value(release) {
        Ok(value) => {
            let problems = shape::problems(&value);
            // What has the wrong shape is not looked at for its meaning: it would only say the same again.
            if problems.is_empty() {
                meaning::problems(release)
            } else {
                problems
            }
        }
        Err(error) => vec![Problem::new("", error.to_string())],
    };
    ordered(problems)
}

/// Reads a release from JSON: schema, types, defaults, meaning.
///
/// # Errors
/// Everything that is wrong with it, in order, each once.
pub fn json(value: &Value) -> Result<Release, Vec<Problem>> {
    let problems = shape::problems(value);
    if !problems.is_empty() {
        return Err(ordered(problems));
    }
    let mut value = value.clone();
    whole_numbers(&mut value);
    let mut read: Release =
        serde_json::from_value(value).map_err(|error| vec![Problem::new("", error.to_string())])?;
    crate::defaults::fill(&mut read);
    let problems = meaning::problems(&read);
    if problems.is_empty() {
        Ok(read)
    } else {
        Err(ordered(problems))
    }
}

/// The same for what somebody writes now: what is stored already may still have what is refused today.
///
/// # Errors
/// Everything that is wrong with it, in order, each once.
pub fn written(value: &Value) -> Result<Release, Vec<Problem>> {
    let read = json(value)?;
    let problems = refused_today(&read);
    if problems.is_empty() {
        Ok(read)
    } else {
        Err(ordered(problems))
    }
}

/// What is refused where it is newly written, and goes on where it is stored.
#[must_use]
pub fn refused_today(release: &Release) -> Vec<Problem> {
    let spec = &release.spec;
    let mut problems = workload::refused_today(&spec.workload);
    problems.extend(headers::check(spec));
    problems.extend(addresses::check(spec));
    problems.extend(gates::too_long(spec));
    problems.extend(gates::never_over(spec));
    problems.extend(gates::depends_twice(release));
    if let Some(experiment) = &spec.experiment {
        problems.extend(experiment::refused_today(experiment, spec));
        problems.extend(workload::templates::of_candidates(experiment));
    }
    problems
}

/// What is refused today of a release that takes another one's place: what stays as it is goes on.
#[must_use]
pub fn newly_refused(before: Option<&ReleaseSpec>, release: &Release) -> Vec<Problem> {
    let mut problems = refused_today(release);
    let before = before.map(serde_json::to_value).and_then(Result::ok);
    if let (Some(before), Ok(after)) = (before, serde_json::to_value(&release.spec)) {
        let changed = |part: &String| before.pointer(part) != after.pointer(part);
        problems.retain(|problem| parts(&problem.path).iter().any(changed));
    }
    problems
}

/// The parts of the spec that a problem is one of.
fn parts(path: &str) -> Vec<String> {
    let mut names = path.split(['.', '[']).skip(1);
    match (names.next(), names.next()) {
        // Places in the container are taken by all three.
        (Some("workload"), Some("mounts" | "secrets" | "configs")) => {
            ["mounts", "secrets", "configs"]
                .map(|list| format!("/workload/{list}"))
                .into()
        }
        (Some(section @ ("workload" | "analysis")), Some(field)) => {
            vec![format!("/{section}/{field}")]
        }
        (Some(section), _) => vec![format!("/{section}")],
        (None, _) => vec![String::new()],
    }
}

/// JSON knows one kind of number, the types two: `4.0` is the whole number 4.
fn whole_numbers(value: &mut Value) {
    match value {
        Value::Number(number) => {
            let float = number.as_f64().filter(|_| number.is_f64());
            // Every whole float below 2^53 is exact as an integer.
            if let Some(whole) = float.filter(|f| f.fract() == 0.0 && f.abs() < 9e15) {
                *value = Value::from(whole as i64);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(whole_numbers),
        Value::Object(map) => map.values_mut().for_each(whole_numbers),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

fn ordered(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort();
    problems.dedup();
    problems
}
