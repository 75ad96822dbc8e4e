//! Reads fields of a service: whatever cannot be used is noted with its place, and nothing is lost in silence.

use fm_api::quantity::Span;
use serde_json::{Map, Value, json};

use super::fields::{self, text};
use super::service::{Service, list};

/// What a name without a value means.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Bare {
    /// It has the empty value.
    Empty,
    /// It cannot be carried over.
    Left,
}

impl Service<'_> {
    /// That a value is not what the field can hold.
    pub(super) fn unusable(&mut self, field: &str, value: &Value) {
        let what: String = value.to_string().chars().take(80).collect();
        self.note(
            field,
            &format!("{what} cannot be used, and is not carried over"),
        );
    }

    /// A value, unless there is none or it cannot be read.
    fn read<T>(
        &mut self,
        field: &str,
        value: Option<&Value>,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Option<T> {
        let value = value.filter(|value| !value.is_null())?;
        let found = read(value);
        if found.is_none() {
            self.unusable(field, value);
        }
        found
    }

    pub(super) fn word(&mut self, field: &str, value: Option<&Value>) -> Option<String> {
        self.read(field, value, text)
    }

    pub(super) fn truth(&mut self, field: &str, value: Option<&Value>) -> Option<bool> {
        self.read(field, value, fields::truth)
    }

    pub(super) fn number(&mut self, field: &str, value: Option<&Value>) -> Option<u64> {
        self.read(field, value, fields::number)
    }

    pub(super) fn duration(&mut self, field: &str, value: Option<&Value>) -> Option<Span> {
        self.read(field, value, fields::duration)
    }

    pub(super) fn memory(&mut self, field: &str, value: Option<&Value>) -> Option<String> {
        self.read(field, value, fields::memory)
    }

    pub(super) fn mapping(
        &mut self,
        field: &str,
        value: Option<Value>,
    ) -> Option<Map<String, Value>> {
        self.read(field, value.as_ref(), |value| value.as_object().cloned())
    }

    /// The texts of a list, or of one value.
    pub(super) fn texts(&mut self, field: &str, value: Option<Value>) -> Vec<String> {
        let items = list(value);
        let read = items.iter().map(|item| self.read(field, Some(item), text));
        read.collect::<Vec<_>>().into_iter().flatten().collect()
    }

    /// `KEY: value`, or a list of `KEY=value`.
    pub(super) fn pairs(&mut self, field: &str, value: &Value, bare: Bare) -> Map<String, Value> {
        let mut without = Vec::new();
        let mut all = fields::pairs(value, |name| without.push(name.to_owned()));
        for name in without {
            let plain = !name.is_empty() && !name.contains(['{', '[', '"']);
            match bare {
                Bare::Empty if plain => drop(all.insert(name, json!(""))),
                Bare::Empty | Bare::Left => {
                    self.note(field, &format!("`{name}` has no value and was left out"));
                }
            }
        }
        all
    }

    /// Notes every field that is not among those.
    pub(super) fn others(&mut self, section: &str, fields: &Map<String, Value>, known: &[&str]) {
        for field in fields.keys() {
            if !known.contains(&field.as_str()) && !field.starts_with("x-") {
                self.left_out(&format!("{section}.{field}"));
            }
        }
    }
}
