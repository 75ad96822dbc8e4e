//! A number of tasks, as people write it: `2`, or `25%` of `spec.replicas`.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, Error as _, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// The largest number.
const MOST: u32 = 10_000;

/// A number of tasks, given as such or as a share of `spec.replicas`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tasks {
    /// So many.
    Number(u32),
    /// So many percent of `spec.replicas`, rounded up.
    Percent(u8),
}

impl Tasks {
    /// What it allows, in words.
    pub const ALLOWED: &'static str =
        "a whole number of tasks from 1 to 10000, or a share of spec.replicas from `1%` to `100%`";

    /// How many tasks beside `replicas`.
    #[must_use]
    pub fn of(self, replicas: u32) -> u32 {
        match self {
            Tasks::Number(number) => number,
            Tasks::Percent(percent) => {
                let tasks = (u64::from(replicas) * u64::from(percent)).div_ceil(100);
                u32::try_from(tasks).unwrap_or(u32::MAX)
            }
        }
    }

    /// `2 tasks`, or `25 % of the tasks`.
    #[must_use]
    pub fn in_words(self) -> String {
        match self {
            Tasks::Number(1) => "1 task".to_owned(),
            Tasks::Number(number) => format!("{number} tasks"),
            Tasks::Percent(percent) => format!("{percent} % of the tasks"),
        }
    }

    fn number(number: u64) -> Option<Self> {
        let number = u32::try_from(number).ok()?;
        (1..=MOST)
            .contains(&number)
            .then_some(Tasks::Number(number))
    }

    fn percent(text: &str) -> Option<Self> {
        let digits = text.strip_suffix('%')?;
        // One written form each: neither a sign nor leading zeros.
        let plain = !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit());
        let percent: u8 = digits.parse().ok().filter(|_| plain)?;
        (percent <= 100).then_some(Tasks::Percent(percent))
    }
}

impl fmt::Display for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Tasks::Number(number) => write!(f, "{number}"),
            Tasks::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl Serialize for Tasks {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Tasks::Number(number) => s.serialize_u32(*number),
            Tasks::Percent(_) => s.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Tasks {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct V;
        impl Visitor<'_> for V {
            type Value = Tasks;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(Tasks::ALLOWED)
            }
            fn visit_u64<E: serde::de::Error>(self, v: u64) -> Result<Tasks, E> {
                Tasks::number(v).ok_or_else(|| E::custom(format!("{v} is not {}", Tasks::ALLOWED)))
            }
            fn visit_i64<E: serde::de::Error>(self, v: i64) -> Result<Tasks, E> {
                self.visit_u64(
                    u64::try_from(v)
                        .map_err(|_| E::custom(format!("{v} is not {}", Tasks::ALLOWED)))?,
                )
            }
            fn visit_str<E: serde::de::Error>(self, v: &str) -> Result<Tasks, E> {
                Tasks::percent(v).ok_or_else(|| E::custom(format!("it is not {}", Tasks::ALLOWED)))
            }
        }
        d.deserialize_any(V).map_err(D::Error::custom)
    }
}

impl JsonSchema for Tasks {
    fn schema_name() -> Cow<'static, str> {
        "Tasks".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["integer", "string"], "minimum": 1, "maximum": MOST,
            "pattern": "^([1-9][0-9]?|100)%$", "patternErrorMessage": Tasks::ALLOWED,
            "description": "A number of tasks, or a share of `spec.replicas` such as `25%`, rounded up." })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_a_number_or_a_share_rounded_up_and_are_written_as_they_are_read() {
        for (text, of_eight, words) in [
            ("1", 1, "1 task"),
            ("3", 3, "3 tasks"),
            ("\"1%\"", 1, "1 % of the tasks"),
            ("\"25%\"", 2, "25 % of the tasks"),
            ("\"26%\"", 3, "26 % of the tasks"),
            ("\"100%\"", 8, "100 % of the tasks"),
        ] {
            let tasks: Tasks = serde_json::from_str(text).unwrap();
            assert_eq!(tasks.of(8), of_eight, "{text}");
            assert_eq!(tasks.in_words(), words);
            assert_eq!(serde_json::to_string(&tasks).unwrap(), text);
        }
        assert_eq!(Tasks::Percent(25).of(0), 0);
        assert_eq!(Tasks::Percent(100).of(u32::MAX), u32::MAX);
    }

    #[test]
    fn what_is_no_number_of_tasks_is_refused() {
        for text in [
            "0", "-1", "10001", "1.5", "\"\"", "\"%\"", "\"0%\"", "\"101%\"", "\"025%\"",
            "\"+5%\"", "\"25\"", "\"25 %\"", "null", "true", "[]",
        ] {
            assert!(serde_json::from_str::<Tasks>(text).is_err(), "{text}");
        }
    }
}
