//! The JSON Schemas of what users write and read, generated from the types.
//!
//! The same schema serves editors, the API server and `frctl validate`. It must never allow what the types refuse.

mod texts;
mod walk;

use std::sync::LazyLock;

use jsonschema::{PatternOptions, Validator};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::quantity::{Memory, Span};

pub(crate) use walk::{allowed, at, fields, items, places_of, plain, resolved_property};

const BASE: &str = "https://fridaymorning.dev/schemas/v1/";
/// The format of durations: [`Span`] decides.
pub(crate) const SPAN: &str = "fridaymorning-duration";
/// The format of amounts of memory: [`Memory`] decides.
pub(crate) const MEMORY: &str = "fridaymorning-memory";

/// Every schema with its file name.
#[must_use]
pub fn all() -> Vec<(&'static str, Value)> {
    vec![
        ("release.schema.json", release().clone()),
        (
            "operation.schema.json",
            written::<crate::operation::Operation>("operation.schema.json"),
        ),
        (
            "status.schema.json",
            shown::<crate::status::Status>("status.schema.json"),
        ),
        (
            "event.schema.json",
            shown::<crate::event::Event>("event.schema.json"),
        ),
        (
            "verdict.schema.json",
            shown::<crate::verdict::Verdict>("verdict.schema.json"),
        ),
        (
            "target.schema.json",
            shown::<crate::target::Target>("target.schema.json"),
        ),
        (
            "revision.schema.json",
            shown::<crate::target::RevisionRecord>("revision.schema.json"),
        ),
        (
            "observed-swarm.schema.json",
            shown::<crate::observed::SwarmObserved>("observed-swarm.schema.json"),
        ),
        (
            "observed-haproxy.schema.json",
            shown::<crate::observed::HaproxyObserved>("observed-haproxy.schema.json"),
        ),
        (
            "agent.schema.json",
            shown::<crate::observed::Agent>("agent.schema.json"),
        ),
    ]
}

/// The release's schema.
pub(crate) fn release() -> &'static Value {
    static RELEASE: LazyLock<Value> = LazyLock::new(|| {
        let mut schema = written::<crate::release::Release>("release.schema.json");
        texts::constrain(&mut schema);
        schema
    });
    &RELEASE
}

/// The compiled schema of a release; the text says why there is none, which only a wrong schema can cause.
pub(crate) fn validator() -> Result<&'static Validator, &'static str> {
    static VALIDATOR: LazyLock<Result<Validator, String>> = LazyLock::new(|| {
        jsonschema::options()
            // Linear in the text, whatever somebody writes.
            .with_pattern_options(PatternOptions::regex())
            .should_validate_formats(true)
            .with_format(SPAN, |text: &str| text.parse::<Span>().is_ok())
            .with_format(MEMORY, |text: &str| text.parse::<Memory>().is_ok())
            .build(release())
            .map_err(|error| error.to_string())
    });
    VALIDATOR.as_ref().map_err(String::as_str)
}

/// The schema of what people write: defaulted fields may be left out.
fn written<T: JsonSchema>(file: &str) -> Value {
    finish::<T>(SchemaSettings::draft2020_12().for_deserialize(), file)
}

/// The schema of what people read: defaulted fields are there.
fn shown<T: JsonSchema>(file: &str) -> Value {
    finish::<T>(SchemaSettings::draft2020_12().for_serialize(), file)
}

fn finish<T: JsonSchema>(settings: SchemaSettings, file: &str) -> Value {
    let mut schema = settings
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value();
    simplify(&mut schema);
    if let Some(map) = schema.as_object_mut() {
        map.insert("$id".to_owned(), json!(format!("{BASE}{file}")));
    }
    schema
}

/// Rewrites what the generator makes of Rust's types into what people read best: an absent field is left out and
/// never `null`; a choice of words is an `enum`; Rust's number formats go.
fn simplify(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            without_null(map);
            words(map);
            if map
                .get("format")
                .and_then(Value::as_str)
                .is_some_and(|format| {
                    format == "double" || format.starts_with("int") || format.starts_with("uint")
                })
            {
                map.remove("format");
            }
            map.values_mut().for_each(simplify);
        }
        Value::Array(items) => items.iter_mut().for_each(simplify),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn without_null(map: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = map.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [one] = types.as_slice() {
            let one = one.clone();
            map.insert("type".to_owned(), one);
        }
    }
    let Some(Value::Array(mut branches)) = map.remove("anyOf") else {
        return;
    };
    branches.retain(|branch| branch != &json!({ "type": "null" }));
    match branches.as_slice() {
        [Value::Object(only)] => {
            for (key, value) in only.clone() {
                map.entry(key).or_insert(value);
            }
        }
        _ => {
            map.insert("anyOf".to_owned(), Value::Array(branches));
        }
    }
}

/// `oneOf` constants with descriptions become an `enum` with `enumDescriptions`.
fn words(map: &mut Map<String, Value>) {
    let Some(Value::Array(branches)) = map.get("oneOf") else {
        return;
    };
    let constant = |branch: &Value| {
        Some((
            branch.get("const")?.clone(),
            branch.get("description").cloned(),
        ))
    };
    let Some(pairs) = branches.iter().map(constant).collect::<Option<Vec<_>>>() else {
        return;
    };
    let (values, descriptions): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    map.remove("oneOf");
    map.insert("type".to_owned(), json!("string"));
    map.insert("enum".to_owned(), Value::Array(values));
    let descriptions = descriptions
        .into_iter()
        .map(Option::unwrap_or_default)
        .collect();
    map.insert("enumDescriptions".to_owned(), Value::Array(descriptions));
}
