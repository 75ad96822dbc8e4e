//! What a field means: its type, default, what is allowed, and the fields below it, read from the release's schema.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::schema;

/// What the schema says of a field.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The field, such as `release.spec.analysis`.
    pub path: String,
    /// What it means.
    pub description: String,
    /// Its type in plain words.
    pub kind: String,
    /// Whether it must be given.
    pub required: bool,
    /// Its default, as JSON. Absent: there is none, or the description says how it is found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// What is allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed: Option<String>,
    /// The fields below it, without their own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<Explanation>,
}

/// Explains a field such as `release.spec.strategy.canary.steps.weight`; `None`: there is no such field.
///
/// `release` may be left out, and so may the brackets of a list's items.
#[must_use]
pub fn explain(path: &str) -> Option<Explanation> {
    let root = schema::release();
    let plain = path.replace("[]", "").replace('[', ".").replace(']', "");
    let mut names: Vec<&str> = plain.split('.').filter(|name| !name.is_empty()).collect();
    if names
        .first()
        .is_some_and(|name| name.eq_ignore_ascii_case("release"))
    {
        names.remove(0);
    }
    let found = schema::at(root, &names)?;
    let required = match names.split_last() {
        Some((name, above)) => {
            schema::at(root, above).is_some_and(|above| is_required(&above, name))
        }
        None => true,
    };
    let path = std::iter::once("release")
        .chain(names)
        .collect::<Vec<_>>()
        .join(".");
    let mut explanation = one(path, &found, required);
    explanation.children = below(&explanation.path, &found);
    Some(explanation)
}

fn one(path: String, schema: &Map<String, Value>, required: bool) -> Explanation {
    let text = |key: &str| {
        schema
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    Explanation {
        path,
        description: text("description"),
        kind: kind(schema),
        required,
        default: schema.get("default").cloned(),
        allowed: choices(schema).or_else(|| schema::allowed(schema)),
        children: Vec::new(),
    }
}

/// The fields of a mapping, or of each item of a list of mappings.
fn below(path: &str, found: &Map<String, Value>) -> Vec<Explanation> {
    let item = found.get("items").and_then(|_| schema::items(found));
    let holder = item.as_ref().unwrap_or(found);
    let field = |name: &str| {
        let schema = schema::resolved_property(holder, name)?;
        Some(one(
            format!("{path}.{name}"),
            &schema,
            is_required(holder, name),
        ))
    };
    schema::fields(holder)
        .into_iter()
        .filter_map(field)
        .collect()
}

fn is_required(schema: &Map<String, Value>, name: &str) -> bool {
    // The field of a list is a field of each item.
    let item = schema.get("items").and_then(|_| schema::items(schema));
    item.as_ref()
        .unwrap_or(schema)
        .get("required")
        .and_then(Value::as_array)
        .is_some_and(|names| names.iter().any(|required| required == name))
}

/// Each word of a choice with its meaning.
fn choices(schema: &Map<String, Value>) -> Option<String> {
    let list = |key: &str| schema.get(key).and_then(Value::as_array);
    let words = list("enum")?.iter().map(schema::plain);
    let meanings = list("enumDescriptions")?.iter().map(schema::plain);
    let lines = words
        .zip(meanings)
        .map(|(word, meaning)| format!("`{word}`: {meaning}"));
    Some(lines.collect::<Vec<_>>().join("\n"))
}

fn kind(schema: &Map<String, Value>) -> String {
    let text = |key: &str| schema.get(key).and_then(Value::as_str);
    match (text("format"), text("type")) {
        (Some(schema::SPAN), _) => "duration".to_owned(),
        (Some(schema::MEMORY), _) => "amount of memory".to_owned(),
        (Some("date-time"), _) => "time".to_owned(),
        (_, Some("integer")) => "whole number".to_owned(),
        (_, Some("string")) => "text".to_owned(),
        (_, Some("array")) => match schema::items(schema) {
            Some(items) => format!("list of {}", kind(&items)),
            None => "list".to_owned(),
        },
        (_, Some("object")) => match schema.get("additionalProperties") {
            Some(Value::Object(_)) => "mapping of names to text".to_owned(),
            _ => "mapping".to_owned(),
        },
        (_, Some("boolean")) => "true or false".to_owned(),
        (_, Some(other)) => other.to_owned(),
        (_, None) => match schema.get("type").and_then(Value::as_array) {
            Some(kinds) => {
                let of = |name: &Value| kind(&Map::from_iter([("type".to_owned(), name.clone())]));
                kinds.iter().map(of).collect::<Vec<_>>().join(" or ")
            }
            None => "anything".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_explained_with_type_default_and_what_is_allowed() {
        let weight = explain("release.spec.strategy.canary.steps.weight").unwrap();
        assert_eq!(weight.kind, "number");
        assert!(!weight.required, "a worker's step has tasks instead");
        assert_eq!(
            weight.allowed.as_deref(),
            Some("a number from 0.01 to 100 in steps of 0.01")
        );
        let tasks = explain("spec.strategy.canary.maxSurge").unwrap();
        assert_eq!(tasks.kind, "whole number or text");
        let drain = explain("spec.routes[0].timeouts.drain").unwrap();
        assert_eq!(drain.default, Some(serde_json::json!("1m")));
        assert_eq!(drain.kind, "duration");
        let errors = explain("release.spec.analysis.errors").unwrap();
        let children: Vec<&str> = errors
            .children
            .iter()
            .map(|child| child.path.as_str())
            .collect();
        assert_eq!(
            children,
            [
                "release.spec.analysis.errors.bad",
                "release.spec.analysis.errors.clientErrors",
                "release.spec.analysis.errors.designEffect",
                "release.spec.analysis.errors.promote",
                "release.spec.analysis.errors.rollback"
            ]
        );
        assert_eq!(
            explain("release.spec.workload.env.HOME").unwrap().kind,
            "text"
        );
        assert_eq!(explain("release").unwrap().children.len(), 4);
        assert_eq!(explain("release.spec.nonsense"), None);
        assert!(
            explain("release.spec.drift")
                .unwrap()
                .allowed
                .unwrap()
                .contains("`report`: ")
        );
    }
}
