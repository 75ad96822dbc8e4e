//! Durations, memory sizes and weights as people write them, and as numbers inside.
//!
//! Each has exactly one canonical written form, so that an object read and written again is unchanged.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, Error as _, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// Why a quantity could not be read; the text says what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseQuantityError(String);

/// A span of time with millisecond resolution, written `250ms`, `10s`, `2m`, `1h30m`, `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(u64);

impl Span {
    /// No time at all.
    pub const ZERO: Span = Span(0);
    const UNITS: [(&'static str, u64); 5] = [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
        ("ms", 1),
    ];
    /// Ten years: longer waits are mistakes.
    const MAX: u64 = 10 * 365 * 86_400_000;

    /// A span of whole seconds.
    #[must_use]
    pub const fn secs(s: u64) -> Self {
        Span(s * 1000)
    }

    /// A span of milliseconds.
    #[must_use]
    pub const fn millis(ms: u64) -> Self {
        Span(ms)
    }

    /// The span in milliseconds.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// The span in seconds, with the fraction.
    #[must_use]
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// As the standard library's duration.
    #[must_use]
    pub const fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0)
    }

    /// As a signed span for arithmetic on timestamps.
    #[must_use]
    pub fn to_signed(self) -> jiff::SignedDuration {
        jiff::SignedDuration::from_millis(i64::try_from(self.0).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.0;
        for (unit, size) in Self::UNITS {
            if rest >= size {
                write!(f, "{}{unit}", rest / size)?;
                rest %= size;
            }
        }
        Ok(())
    }
}

impl FromStr for Span {
    type Err = ParseQuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || {
            ParseQuantityError(format!(
                "`{}` is no duration: write it like 250ms, 10s, 2m, 1h30m or 7d",
                clip(text)
            ))
        };
        let mut rest = text;
        let mut total = 0u64;
        let mut previous = u64::MAX;
        if rest.is_empty() {
            return Err(bad());
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
            let number: u64 = rest[..digits].parse().map_err(|_| bad())?;
            rest = &rest[digits..];
            let end = rest
                .find(|c: char| c.is_ascii_digit())
                .unwrap_or(rest.len());
            let (_, size) = Self::UNITS
                .into_iter()
                .find(|(unit, _)| *unit == &rest[..end])
                .ok_or_else(bad)?;
            if size >= previous {
                return Err(bad());
            }
            previous = size;
            rest = &rest[end..];
            total = number
                .checked_mul(size)
                .and_then(|n| total.checked_add(n))
                .ok_or_else(bad)?;
        }
        if total > Self::MAX {
            return Err(ParseQuantityError(format!(
                "`{}` is longer than ten years",
                clip(text)
            )));
        }
        Ok(Span(total))
    }
}

/// A share of traffic in hundredths of a percent, 0 to 10,000, written in percent: `1`, `12.5`, `0.01`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Weight(u16);

impl Weight {
    /// No traffic.
    pub const ZERO: Weight = Weight(0);
    /// All traffic.
    pub const FULL: Weight = Weight(10_000);

    /// From hundredths of a percent; more than 10,000 is cut to all traffic.
    #[must_use]
    pub const fn from_basis_points(bp: u16) -> Self {
        Weight(if bp > 10_000 { 10_000 } else { bp })
    }

    /// From whole percent; more than 100 is cut to all traffic.
    #[must_use]
    pub const fn percent(p: u16) -> Self {
        Self::from_basis_points(if p > 100 { 10_000 } else { p * 100 })
    }

    /// In hundredths of a percent, 0 to 10,000.
    #[must_use]
    pub const fn basis_points(self) -> u16 {
        self.0
    }

    /// What is left for others.
    #[must_use]
    pub const fn rest(self) -> Self {
        Weight(10_000 - self.0)
    }

    /// Whether it is no traffic.
    #[must_use]
    pub const fn is_zero(&self) -> bool {
        self.0 == 0
    }

    /// As a fraction, 0.0 to 1.0.
    #[must_use]
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }

    /// Reads a number of percent with at most two decimals.
    ///
    /// # Errors
    /// When it is not between 0 and 100, or finer than 0.01.
    pub fn from_percent(p: f64) -> Result<Self, ParseQuantityError> {
        let bp = (p * 100.0).round();
        if !(0.0..=10_000.0).contains(&bp) {
            return Err(ParseQuantityError(format!(
                "weight {p} is not between 0 and 100 (percent)"
            )));
        }
        if (bp - p * 100.0).abs() > 1e-6 {
            return Err(ParseQuantityError(format!(
                "weight {p} is finer than 0.01 percent"
            )));
        }
        // In range by the check above.
        Ok(Weight(bp as u16))
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", f64::from(self.0) / 100.0)
    }
}

impl Serialize for Weight {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if self.0.is_multiple_of(100) {
            s.serialize_u16(self.0 / 100)
        } else {
            s.serialize_f64(f64::from(self.0) / 100.0)
        }
    }
}

impl<'de> Deserialize<'de> for Weight {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Weight::from_percent(f64::deserialize(d)?).map_err(D::Error::custom)
    }
}

impl JsonSchema for Weight {
    fn schema_name() -> Cow<'static, str> {
        "Weight".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "minimum": 0, "maximum": 100,
            "description": "Share of traffic in percent, in steps of 0.01." })
    }
}

/// An amount of memory in bytes, written `64Ki`, `256Mi`, `2Gi`, or a plain number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Memory(u64);

impl Memory {
    const UNITS: [(&'static str, u64); 4] = [
        ("Ti", 1 << 40),
        ("Gi", 1 << 30),
        ("Mi", 1 << 20),
        ("Ki", 1 << 10),
    ];

    /// So many bytes.
    #[must_use]
    pub const fn bytes_of(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The amount in bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = Self::UNITS
            .into_iter()
            .find(|(_, size)| self.0 >= *size && self.0.is_multiple_of(*size));
        match unit {
            Some((unit, size)) => write!(f, "{}{unit}", self.0 / size),
            None => write!(f, "{}", self.0),
        }
    }
}

impl FromStr for Memory {
    type Err = ParseQuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || {
            ParseQuantityError(format!(
                "`{}` is no amount of memory: write it like 64Ki, 256Mi or 2Gi",
                clip(text)
            ))
        };
        let digits = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let number: u64 = text[..digits].parse().map_err(|_| bad())?;
        let unit = &text[digits..];
        let size = if unit.is_empty() {
            1
        } else {
            Self::UNITS
                .into_iter()
                .find(|(name, _)| *name == unit)
                .map(|(_, size)| size)
                .ok_or_else(bad)?
        };
        let bytes = number
            .checked_mul(size)
            .filter(|b| i64::try_from(*b).is_ok())
            .ok_or_else(bad)?;
        Ok(Memory(bytes))
    }
}

/// At most forty characters of what somebody wrote, harmless to a terminal.
fn clip(text: &str) -> String {
    text.chars().take(40).flat_map(char::escape_debug).collect()
}

macro_rules! written_as_string {
    ($type:ident, $pattern:literal, $description:literal) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                struct V;
                impl Visitor<'_> for V {
                    type Value = $type;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($description)
                    }
                    fn visit_str<E: serde::de::Error>(self, v: &str) -> Result<$type, E> {
                        v.parse().map_err(E::custom)
                    }
                }
                d.deserialize_str(V)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern, "description": $description })
            }
        }
    };
}

written_as_string!(
    Span,
    r"^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$",
    "A duration such as 250ms, 10s, 2m, 1h30m or 7d."
);
written_as_string!(
    Memory,
    r"^[0-9]+(Ki|Mi|Gi|Ti)?$",
    "An amount of memory such as 64Ki, 256Mi or 2Gi."
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_written_as_they_are_read() {
        for text in ["0s", "250ms", "10s", "2m", "1h30m", "7d", "1s500ms"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        assert_eq!("90s".parse::<Span>().unwrap().to_string(), "1m30s");
        for text in ["64Ki", "256Mi", "2Gi", "1023"] {
            assert_eq!(text.parse::<Memory>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused_with_what_is_allowed() {
        for text in [
            "",
            "10",
            "s",
            "-1s",
            "1s1m",
            "1m1m",
            "1.5s",
            "99999999999999999999s",
            "4000000d",
            "1 s",
        ] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
        for text in ["", "Mi", "1MB", "-1Mi", "99999999999Ti"] {
            assert!(text.parse::<Memory>().is_err(), "{text}");
        }
        for p in [-1.0, 100.01, 101.0, f64::NAN, f64::INFINITY, 0.001] {
            assert!(Weight::from_percent(p).is_err(), "{p}");
        }
        assert_eq!(Weight::from_percent(0.01).unwrap().basis_points(), 1);
    }
}
