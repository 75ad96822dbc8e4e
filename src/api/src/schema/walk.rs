//! Finds the schema of a field by its path, and says in words what it allows.

use serde_json::{Map, Value};

use super::{MEMORY, SPAN};

/// A schema with what its reference points to laid below what stands beside the reference.
pub(crate) fn resolve(root: &Value, schema: &Value) -> Map<String, Value> {
    let mut found = schema.as_object().cloned().unwrap_or_default();
    // References do not nest deeper than types do; the bound only guards against a circle.
    for _ in 0..16 {
        let Some(Value::String(reference)) = found.remove("$ref") else {
            break;
        };
        let target = reference
            .strip_prefix('#')
            .and_then(|pointer| root.pointer(pointer));
        for (key, value) in target.and_then(Value::as_object).into_iter().flatten() {
            found.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
    found
}

/// The schema of the field that these names lead to; a number or `[]` stands for an item of a list.
pub(crate) fn at(root: &Value, names: &[&str]) -> Option<Map<String, Value>> {
    let mut here = resolve(root, root);
    for name in names {
        let is_item = name.parse::<usize>().is_ok();
        if let Some(items) = here.get("items").filter(|_| is_item) {
            here = resolve(root, items);
            continue;
        }
        // People leave the brackets out: `steps.weight` is a field of every step.
        if let (Some(items), None) = (here.get("items"), here.get("properties")) {
            here = resolve(root, items);
        }
        let below = here
            .get("properties")
            .and_then(|properties| properties.get(*name))
            .or_else(|| {
                here.get("additionalProperties")
                    .filter(|schema| schema.is_object())
            })?;
        here = resolve(root, below);
    }
    Some(here)
}

/// The schema of one field of an object of the release.
pub(crate) fn resolved_property(
    schema: &Map<String, Value>,
    name: &str,
) -> Option<Map<String, Value>> {
    Some(resolve(
        super::release(),
        schema.get("properties")?.get(name)?,
    ))
}

/// The schema of a list's items, in the release.
pub(crate) fn items(schema: &Map<String, Value>) -> Option<Map<String, Value>> {
    Some(resolve(super::release(), schema.get("items")?))
}

/// The names of an object's fields.
pub(crate) fn fields(schema: &Map<String, Value>) -> Vec<&str> {
    let properties = schema.get("properties").and_then(Value::as_object);
    properties
        .into_iter()
        .flat_map(Map::keys)
        .map(String::as_str)
        .collect()
}

/// Every path of a field with this name.
pub(crate) fn places_of(root: &Value, name: &str) -> Vec<String> {
    let mut places = Vec::new();
    search(root, &resolve(root, root), "", name, &mut places);
    places
}

fn search(
    root: &Value,
    here: &Map<String, Value>,
    path: &str,
    name: &str,
    places: &mut Vec<String>,
) {
    for (field, schema) in here
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let place = if path.is_empty() {
            field.clone()
        } else {
            format!("{path}.{field}")
        };
        if field == name {
            places.push(place.clone());
        }
        search(root, &resolve(root, schema), &place, name, places);
    }
    if let Some(items) = here.get("items") {
        search(
            root,
            &resolve(root, items),
            &format!("{path}[]"),
            name,
            places,
        );
    }
}

/// What a schema allows, in words; `None`: anything.
pub(crate) fn allowed(schema: &Map<String, Value>) -> Option<String> {
    let text = |key: &str| schema.get(key).and_then(Value::as_str);
    if let Some(words) = text("patternErrorMessage") {
        return Some(words.to_owned());
    }
    if let Some(value) = schema.get("const") {
        return Some(format!("`{}`", plain(value)));
    }
    if let Some(Value::Array(values)) = schema.get("enum") {
        let words: Vec<String> = values
            .iter()
            .map(|value| format!("`{}`", plain(value)))
            .collect();
        return Some(words.join(", "));
    }
    match (text("format"), text("type")?) {
        (Some(SPAN), _) => Some("a duration such as 250ms, 10s, 2m, 1h30m or 7d".to_owned()),
        (Some(MEMORY), _) => Some("an amount of memory such as 64Ki, 256Mi or 2Gi".to_owned()),
        (_, "string") => Some(match schema.get("maxLength") {
            Some(most) => format!("text of at most {most} characters"),
            None => "text".to_owned(),
        }),
        (_, "boolean") => Some("`true` or `false`".to_owned()),
        (_, "integer") => Some(format!("a whole number{}", range(schema))),
        (_, "number") => Some(format!("a number{}{}", range(schema), grain(schema))),
        (_, "array") => Some(format!("a list{}", count(schema))),
        (_, "object") => Some(object(schema)),
        _ => None,
    }
}

fn object(schema: &Map<String, Value>) -> String {
    let names = fields(schema);
    if !names.is_empty() {
        return format!("the fields {}", names.join(", "));
    }
    match schema.get("additionalProperties") {
        Some(Value::Object(_)) => "names with values".to_owned(),
        _ => "`{}`".to_owned(),
    }
}

fn range(schema: &Map<String, Value>) -> String {
    match (schema.get("minimum"), schema.get("maximum")) {
        (Some(least), Some(most)) => format!(" from {} to {}", plain(least), plain(most)),
        (Some(least), None) => format!(", at least {}", plain(least)),
        (None, Some(most)) => format!(", at most {}", plain(most)),
        (None, None) => String::new(),
    }
}

fn grain(schema: &Map<String, Value>) -> String {
    match schema.get("multipleOf") {
        Some(grain) => format!(" in steps of {}", plain(grain)),
        None => String::new(),
    }
}

fn count(schema: &Map<String, Value>) -> String {
    match (schema.get("minItems"), schema.get("maxItems")) {
        (Some(least), Some(most)) => format!(" of {least} to {most}"),
        (Some(least), None) => format!(" of at least {least}"),
        (None, Some(most)) => format!(" of at most {most}"),
        (None, None) => String::new(),
    }
}

/// A value as people write it: text without quotes, whole numbers without a fraction.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => match number.as_f64() {
            Some(float) if float.fract() == 0.0 && float.abs() < 1e15 => format!("{float:.0}"),
            _ => number.to_string(),
        },
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}
