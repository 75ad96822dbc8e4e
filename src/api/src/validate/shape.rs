//! The schema's findings in words for people.
//!
//! One problem for each field at most: the schema often finds several things wrong with one value, and one is enough.

use std::collections::BTreeMap;

use jsonschema::ValidationError;
use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use serde_json::{Map, Value};

use super::near::nearest;
use crate::problem::{Problem, join, shown};
use crate::schema::{self, MEMORY, SPAN};

/// No more unknown fields of one mapping than this are told.
const MOST_UNKNOWN: usize = 20;
/// No more findings than this are put into words.
const MOST: usize = 200;

/// Everything that the schema finds wrong.
pub(super) fn problems(value: &Value) -> Vec<Problem> {
    if let Some(problem) = another_kind(value) {
        return vec![problem];
    }
    let validator = match schema::validator() {
        Ok(validator) => validator,
        Err(error) => {
            return vec![Problem::new(
                "",
                format!("the schema cannot be used: {error}"),
            )];
        }
    };
    let mut found: BTreeMap<String, Problem> = BTreeMap::new();
    for error in validator.iter_errors(value).take(MOST) {
        for problem in Finding::new(value, &error).problems() {
            found.entry(problem.path.clone()).or_insert(problem);
        }
    }
    found.into_values().collect()
}

/// A document that is no release gets this one answer, not one for each field.
fn another_kind(value: &Value) -> Option<Problem> {
    let Some(map) = value.as_object() else {
        return Some(
            Problem::new("", format!("{} is no release", what(value)))
                .allowed("a mapping with the fields apiVersion, kind, metadata, spec"),
        );
    };
    for (field, only) in [
        ("apiVersion", crate::release::API_VERSION),
        ("kind", crate::release::KIND),
    ] {
        match map.get(field) {
            Some(Value::String(text)) if text != only => {
                return Some(
                    Problem::new(field, format!("{} is not known", shown(text)))
                        .allowed(format!("`{only}`")),
                );
            }
            _ => {}
        }
    }
    None
}

/// One finding of the schema, with the place it speaks of.
struct Finding<'a> {
    error: &'a ValidationError<'a>,
    /// The field's path.
    path: String,
    /// The field's schema.
    schema: Map<String, Value>,
}

impl<'a> Finding<'a> {
    fn new(root: &Value, error: &'a ValidationError<'a>) -> Self {
        let pointer = error.instance_path().as_str();
        let names: Vec<String> = pointer
            .split('/')
            .skip(1)
            .map(|name| name.replace("~1", "/").replace("~0", "~"))
            .collect();
        let mut path = String::new();
        let mut here = Some(root);
        for name in &names {
            let index = name
                .parse::<usize>()
                .ok()
                .filter(|_| here.is_some_and(Value::is_array));
            here = match index {
                Some(index) => {
                    path.push_str(&format!("[{index}]"));
                    here.and_then(|value| value.get(index))
                }
                None => {
                    join(&mut path, name);
                    here.and_then(|value| value.get(name))
                }
            };
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let schema = schema::at(schema::release(), &names).unwrap_or_default();
        Self {
            error,
            path,
            schema,
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the validator's findings are not ours, and our schema can cause few of them"
    )]
    fn problems(&self) -> Vec<Problem> {
        match self.error.kind() {
            Kind::AdditionalProperties { unexpected } => unexpected
                .iter()
                .take(MOST_UNKNOWN)
                .map(|name| self.unknown(name))
                .collect(),
            Kind::Required { property } => self.missing(property).into_iter().collect(),
            Kind::PropertyNames { error } => vec![self.bad_name(error)],
            // One strategy and a field that is none are no two strategies; the field is told by itself.
            Kind::MaxProperties { .. } if self.path == "spec.strategy" && self.strategies() < 2 => {
                Vec::new()
            }
            // The format says the same in better words.
            Kind::Pattern { .. } if self.is_quantity() => Vec::new(),
            _ => {
                let problem = Problem::new(&self.path, self.value());
                vec![match schema::allowed(&self.schema) {
                    Some(allowed) => problem.allowed(allowed),
                    None => problem,
                }]
            }
        }
    }

    /// How many of the fields that are given are known ones.
    fn strategies(&self) -> usize {
        let known = schema::fields(&self.schema);
        let given = self.error.instance().as_object().into_iter().flatten();
        given
            .filter(|(name, _)| known.contains(&name.as_str()))
            .count()
    }

    fn is_quantity(&self) -> bool {
        let format = self.schema.get("format").and_then(Value::as_str);
        format == Some(SPAN) || format == Some(MEMORY)
    }

    fn below(&self, name: &str) -> String {
        let mut path = self.path.clone();
        join(&mut path, name);
        path
    }

    fn unknown(&self, name: &str) -> Problem {
        let path = self.below(name);
        let fields = schema::fields(&self.schema);
        let hint = match nearest(name, &fields) {
            Some(near) => format!(", did you mean `{near}`?"),
            None => match schema::places_of(schema::release(), name).as_slice() {
                [] => String::new(),
                [place] => format!(
                    ", it belongs to `{}`",
                    place.strip_suffix(&format!(".{name}")).unwrap_or(place)
                ),
                places => closest(&path, places)
                    .map_or_else(String::new, |place| format!(", do you mean `{place}`?")),
            },
        };
        Problem::new(path, format!("unknown field{hint}")).allowed(fields.join(", "))
    }

    fn missing(&self, property: &Value) -> Option<Problem> {
        let name = property.as_str().unwrap_or_default();
        let problem = Problem::new(self.below(name), "is missing");
        let schema = schema::resolved_property(&self.schema, name);
        Some(match schema.as_ref().and_then(schema::allowed) {
            Some(allowed) => problem.allowed(allowed),
            None => problem,
        })
    }

    fn bad_name(&self, error: &ValidationError<'_>) -> Problem {
        let name = error.instance().as_str().unwrap_or_default();
        let problem = Problem::new(
            self.below(name),
            format!("{} is no name for this", shown(name)),
        );
        let names = self.schema.get("propertyNames").and_then(Value::as_object);
        match names.and_then(schema::allowed) {
            Some(allowed) => problem.allowed(allowed),
            None => problem,
        }
    }

    /// What is wrong with a value, in words.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the validator's findings are not ours, and our schema can cause few of them"
    )]
    fn value(&self) -> String {
        let instance: &Value = self.error.instance();
        let text = instance.as_str().unwrap_or_default();
        match self.error.kind() {
            Kind::Type { .. } if instance.is_u64() && self.is_quantity() => {
                format!("{instance} has no unit")
            }
            Kind::Type { .. } if instance.is_boolean() && self.is_quantity() => {
                format!("{instance} is a truth value, not an amount")
            }
            Kind::Type { kind } => wrong_type(instance, kind),
            Kind::MinLength { .. } => format!("{} is too short", shown(text)),
            Kind::MaxLength { limit } => format!(
                "{} has {} characters, more than the maximum {limit}",
                shown(text),
                text.chars().count()
            ),
            Kind::MinProperties { .. } | Kind::MaxProperties { .. }
                if self.path == "spec.strategy" =>
            {
                one_strategy(instance)
            }
            Kind::MinProperties { .. } | Kind::MaxProperties { .. } => one_of(instance),
            Kind::OneOfNotValid { .. } if instance.is_object() => {
                let text: String = instance.to_string().chars().take(60).collect();
                format!("{} is not allowed here", shown(&text))
            }
            Kind::OneOfNotValid { .. } => format!("{} is not known", what(instance)),
            Kind::FalseSchema => "it has no fields of its own".to_owned(),
            Kind::Enum { options } => self.no_such_word(text, instance, options),
            Kind::Format { format } => match format.as_str() {
                SPAN => quantity(text.parse::<crate::quantity::Span>().err()),
                MEMORY => quantity(text.parse::<crate::quantity::Memory>().err()),
                _ => format!("{} is no {format}", shown(text)),
            },
            Kind::Pattern { .. } | Kind::Constant { .. } => {
                format!("{} is not allowed here", what(instance))
            }
            kind => self
                .out_of_bounds(kind, instance)
                .unwrap_or_else(|| self.error.to_string().chars().take(200).collect()),
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the validator's findings are not ours, and the others are none of bounds"
    )]
    fn out_of_bounds(&self, kind: &Kind, instance: &Value) -> Option<String> {
        let value = what(instance);
        let length = instance.as_array().map_or(0, Vec::len);
        Some(match kind {
            Kind::Minimum { limit } if self.path.ends_with(".weight") => {
                format!(
                    "{value} is less than the minimum {}: a step needs traffic",
                    schema::plain(limit)
                )
            }
            Kind::Minimum { limit } | Kind::ExclusiveMinimum { limit } => {
                format!("{value} is less than the minimum {}", schema::plain(limit))
            }
            Kind::Maximum { limit } | Kind::ExclusiveMaximum { limit } => {
                format!("{value} is more than the maximum {}", schema::plain(limit))
            }
            Kind::MultipleOf { multiple_of } => format!("{value} is finer than {multiple_of}"),
            Kind::MinItems { .. } if length == 0 => {
                "the list is empty, but at least one is needed".to_owned()
            }
            Kind::MinItems { limit } => {
                format!("the list has {length} items, fewer than the minimum {limit}")
            }
            Kind::MaxItems { limit } => {
                format!("the list has {length} items, more than the maximum {limit}")
            }
            _ => return None,
        })
    }

    fn no_such_word(&self, text: &str, instance: &Value, options: &Value) -> String {
        let words: Vec<&str> = options
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        match nearest(text, &words) {
            Some(near) => format!("{} is not known, did you mean `{near}`?", what(instance)),
            None => format!("{} is not known", what(instance)),
        }
    }
}

/// Of several places the one that somebody who wrote it here most likely meant: most of the way to it is the same, it is not
/// one of a list, and it lies the least deep.
fn closest<'a>(written: &str, places: &'a [String]) -> Option<&'a String> {
    let plain = |path: &str| -> Vec<String> {
        let parts = path.split('.');
        let parts = parts.map(|part| part.split('[').next().unwrap_or(part).to_owned());
        parts.collect()
    };
    let written = plain(written);
    places.iter().min_by_key(|place| {
        let parts = plain(place);
        let same = parts.iter().zip(&written).take_while(|(a, b)| a == b);
        let same = same.count();
        (std::cmp::Reverse(same), place.contains('['), parts.len())
    })
}

fn quantity(error: Option<crate::quantity::ParseQuantityError>) -> String {
    let text = error.map(|error| error.to_string()).unwrap_or_default();
    // What is allowed is said apart.
    match text.split_once(": write it like") {
        Some((what, _)) => what.to_owned(),
        None => text,
    }
}

fn one_strategy(instance: &Value) -> String {
    let given: Vec<&str> = instance
        .as_object()
        .into_iter()
        .flat_map(|map| map.keys().map(String::as_str))
        .collect();
    match given.as_slice() {
        [] => "there is no strategy, but a release has exactly one".to_owned(),
        [one] => format!("{one} alone is no strategy"),
        [first, rest @ ..] => format!(
            "{first} and {} are both given, but a release has exactly one strategy",
            rest.join(", ")
        ),
    }
}

fn one_of(instance: &Value) -> String {
    let names: Vec<&str> = instance
        .as_object()
        .into_iter()
        .flat_map(Map::keys)
        .map(String::as_str)
        .collect();
    match names.as_slice() {
        [] => "none is given, but exactly one is needed".to_owned(),
        names => format!(
            "{} are given, but exactly one is allowed",
            names.join(" and ")
        ),
    }
}

fn wrong_type(value: &Value, wanted: &TypeKind) -> String {
    let wanted = match wanted {
        TypeKind::Single(one) => one.to_string(),
        TypeKind::Multiple(_) => String::new(),
    };
    let wanted_words = match wanted.as_str() {
        "integer" => "a whole number",
        "number" => "a number",
        "string" => "text",
        "boolean" => "`true` or `false`",
        "array" => "a list",
        "object" => "a mapping",
        _ => "what is needed here",
    };
    match value {
        Value::Null => "has no value: give one or leave the field out".to_owned(),
        Value::Number(number) if wanted == "string" => {
            format!("{number} is a number, not text: put it in quotes")
        }
        Value::Bool(word) if wanted == "string" => {
            format!("{word} is a truth value, not text: put it in quotes")
        }
        Value::Number(number) => format!("{number} is not {wanted_words}"),
        Value::Bool(word) => format!("{word} is not {wanted_words}"),
        Value::String(text) => format!("{} is text, not {wanted_words}", shown(text)),
        Value::Array(_) => format!("a list is not {wanted_words}"),
        Value::Object(_) => format!("a mapping is not {wanted_words}"),
    }
}

fn what(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(word) => word.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => shown(text),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a mapping".to_owned(),
    }
}
