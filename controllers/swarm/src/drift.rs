//! Whether a service is still what we posted. Pure.
//!
//! Docker adds defaults to what it is given, so equality would find drift everywhere. Everything we posted must be there
//! unchanged, and what is there besides must be empty or one of Docker's defaults.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

use crate::world::label;

/// A difference between what we posted and what Docker shows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Difference {
    /// Where, as `TaskTemplate.ContainerSpec.Image`.
    pub(crate) path: String,
    wanted: String,
    found: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values of environment variables may be confidential; their place says enough.
        if self.path.contains(".Env") {
            return write!(f, "{} was changed", self.path);
        }
        write!(
            f,
            "{} is {} instead of {}",
            self.path, self.found, self.wanted
        )
    }
}

/// What Docker adds by itself, by path and value.
const DEFAULTS: [(&str, &str); 2] = [
    ("TaskTemplate.ContainerSpec.Isolation", "\"default\""),
    ("TaskTemplate.Runtime", "\"container\""),
];

/// All differences, in the order of the paths.
pub(crate) fn differences(wanted: &Value, found: &Value) -> BTreeSet<Difference> {
    let mut all = BTreeSet::new();
    compare("", wanted, found, &mut all);
    all
}

fn compare(path: &str, wanted: &Value, found: &Value, all: &mut BTreeSet<Difference>) {
    // Replicas and the label that tells who last set them are compared by the plan, which knows what they mean.
    if path == "Mode.Replicated.Replicas" || path.ends_with(label::REPLICAS) {
        return;
    }
    match (wanted, found) {
        (Value::Object(wanted), Value::Object(found)) => {
            for (name, value) in wanted {
                let other = found.get(name).unwrap_or(&Value::Null);
                compare(&join(path, name), value, other, all);
            }
            for (name, value) in found {
                if !wanted.contains_key(name) {
                    compare(&join(path, name), &Value::Null, value, all);
                }
            }
        }
        (Value::Array(wanted), Value::Array(found)) if wanted.len() == found.len() => {
            for (index, (wanted, found)) in wanted.iter().zip(found).enumerate() {
                compare(&format!("{path}[{index}]"), wanted, found, all);
            }
        }
        _ if same(wanted, found) || (wanted.is_null() && is_default(path, found)) => {}
        _ => {
            all.insert(Difference {
                path: path.to_owned(),
                wanted: clip(wanted),
                found: clip(found),
            });
        }
    }
}

fn same(wanted: &Value, found: &Value) -> bool {
    wanted == found
        || (is_empty(wanted) && is_empty(found))
        || matches!((wanted.as_f64(), found.as_f64()), (Some(a), Some(b)) if a == b)
}

/// Docker leaves out, or writes out, what is empty as it likes.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
    }
}

fn is_default(path: &str, found: &Value) -> bool {
    let text = found.to_string();
    DEFAULTS
        .iter()
        .any(|(known, value)| *known == path && *value == text)
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

fn clip(value: &Value) -> String {
    match value {
        Value::Null => "absent".to_owned(),
        Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_) => {
            let text = value.to_string();
            match text.char_indices().nth(120) {
                Some((end, _)) => format!("{}…", &text[..end]),
                None => text,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case::same(json!({"a": 1}), json!({"a": 1}), &[])]
    #[case::docker_adds_empty(json!({"a": 1}), json!({"a": 1, "b": {"c": 0, "d": []}}), &[])]
    #[case::docker_adds_default(json!({"TaskTemplate": {}}), json!({"TaskTemplate": {"Runtime": "container"}}), &[])]
    #[case::another_default(json!({"TaskTemplate": {}}), json!({"TaskTemplate": {"Runtime": "plugin"}}), &["TaskTemplate.Runtime is \"plugin\" instead of absent"])]
    #[case::changed(json!({"a": {"b": "x"}}), json!({"a": {"b": "y"}}), &["a.b is \"y\" instead of \"x\""])]
    #[case::removed(json!({"a": {"b": "x"}}), json!({"a": {}}), &["a.b is absent instead of \"x\""])]
    #[case::added(json!({}), json!({"Limits": {"MemoryBytes": 5}}), &["Limits is {\"MemoryBytes\":5} instead of absent"])]
    #[case::longer_list(json!({"l": [1]}), json!({"l": [1, 2]}), &["l is [1,2] instead of [1]"])]
    #[case::secret_environment(json!({"C": {"Env": ["A=1"]}}), json!({"C": {"Env": ["A=2"]}}), &["C.Env[0] was changed"])]
    #[case::replicas_are_the_plans(json!({"Mode": {"Replicated": {"Replicas": 1}}}), json!({"Mode": {"Replicated": {"Replicas": 9}}}), &[])]
    #[case::a_zero_was_set(json!({"r": 3}), json!({}), &["r is absent instead of 3"])]
    fn a_difference_is_what_docker_does_not_do_by_itself(
        #[case] wanted: Value,
        #[case] found: Value,
        #[case] expected: &[&str],
    ) {
        let all: Vec<String> = differences(&wanted, &found)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(all, expected);
    }
}
