//! A cron expression of five fields. As in cron, where both days are given one of them is enough. Pure.

use std::str::FromStr;

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
/// After so many days every pattern has come at least once: 29 February may be eight years away.
const ROUND: i32 = 8 * 366;

/// The moments at which something begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Both kinds of days are restricted: one of them is enough.
    either: bool,
}

impl FromStr for Cron {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields.as_slice() else {
            return Err(format!("it has {} fields, not five", fields.len()));
        };
        let mut week = field("the weekday", weekdays, 0, 7, &DAYS, 0)?;
        // Sunday is 0 and 7.
        week |= (week >> 7) & 1;
        Ok(Self {
            minutes: field("the minute", minutes, 0, 59, &[], 0)?,
            hours: field("the hour", hours, 0, 23, &[], 0)?,
            days: field("the day", days, 1, 31, &[], 0)?,
            months: field("the month", months, 1, 12, &MONTHS, 1)?,
            weekdays: week & 0x7f,
            either: !days.starts_with('*') && !weekdays.starts_with('*'),
        })
    }
}

/// The numbers of a field, as bits: `*`, `5`, `1-5`, `*/15`, `mon-fri`, and several of them.
fn field(
    what: &str,
    text: &str,
    least: u32,
    most: u32,
    names: &[&str],
    first: u32,
) -> Result<u64, String> {
    let number = |text: &str| -> Result<u32, String> {
        let named = names
            .iter()
            .position(|name| name.eq_ignore_ascii_case(text));
        let named = named.and_then(|place| u32::try_from(place).ok());
        let number = named.map_or_else(|| text.parse().ok(), |place| Some(place + first));
        number
            .filter(|number| (least..=most).contains(number))
            .ok_or_else(|| format!("{what} `{text}` is none from {least} to {most}"))
    };
    let mut bits = 0;
    for part in text.split(',') {
        let (range, step) = part.split_once('/').unwrap_or((part, "1"));
        let step: usize = step
            .parse()
            .ok()
            .filter(|step| *step > 0 && *step < 100)
            .ok_or_else(|| format!("{what}: `/{step}` is no step"))?;
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (least, most),
            Some((from, to)) => (number(from)?, number(to)?),
            None if part.contains('/') => (number(range)?, most),
            None => (number(range)?, number(range)?),
        };
        if from > to {
            return Err(format!("{what}: `{range}` ends before it begins"));
        }
        bits |= (from..=to)
            .step_by(step)
            .fold(0, |bits, n| bits | (1_u64 << n));
    }
    Ok(bits)
}

impl Cron {
    fn on(&self, date: Date) -> bool {
        let has = |bits: u64, number: i8| (bits >> u32::try_from(number).unwrap_or(63)) & 1 == 1;
        let day = has(self.days, date.day());
        let weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset());
        let days = if self.either {
            day || weekday
        } else {
            day && weekday
        };
        has(self.months, date.month()) && days
    }

    /// Every time of a day at which it begins.
    fn times(&self) -> impl DoubleEndedIterator<Item = Time> {
        let (hours, minutes) = (self.hours, self.minutes);
        (0..24_i8)
            .filter(move |hour| (hours >> *hour) & 1 == 1)
            .flat_map(move |hour| {
                (0..60_i8)
                    .filter(move |minute| (minutes >> *minute) & 1 == 1)
                    .filter_map(move |minute| Time::new(hour, minute, 0, 0).ok())
            })
    }

    /// The hours of this day in which it begins, each with its minutes.
    pub(super) fn hours_on(
        &self,
        date: Date,
    ) -> impl Iterator<Item = (i8, impl Iterator<Item = i64>)> {
        let (hours, minutes) = (if self.on(date) { self.hours } else { 0 }, self.minutes);
        (0..24_i8)
            .filter(move |hour| (hours >> *hour) & 1 == 1)
            .map(move |hour| (hour, (0..60_i64).filter(move |m| (minutes >> *m) & 1 == 1)))
    }

    /// The last time that it began, no longer ago than this.
    pub(super) fn last(
        &self,
        now: Timestamp,
        ago: SignedDuration,
        zone: &TimeZone,
    ) -> Option<Timestamp> {
        let mut date = now.to_zoned(zone.clone()).date();
        let first = now.checked_sub(ago).ok()?.to_zoned(zone.clone()).date();
        while date >= first {
            if self.on(date) {
                for time in self.times().rev() {
                    // An hour that the clock leaves out begins when it goes on.
                    let began = date
                        .to_datetime(time)
                        .to_zoned(zone.clone())
                        .ok()?
                        .timestamp();
                    if began <= now {
                        return Some(began);
                    }
                }
            }
            date = date.yesterday().ok()?;
        }
        None
    }

    /// Whether it ever begins, and is over before it begins again at least once.
    pub(super) fn ends(&self, duration: SignedDuration, zone: &TimeZone) -> Result<(), String> {
        let mut date = jiff::civil::date(2024, 1, 1);
        let mut over: Option<Timestamp> = None;
        for _ in 0..ROUND {
            if self.on(date) {
                for time in self.times() {
                    let Ok(begins) = date.to_datetime(time).to_zoned(zone.clone()) else {
                        continue;
                    };
                    let begins = begins.timestamp();
                    if over.is_some_and(|over| over < begins) {
                        return Ok(());
                    }
                    over = begins.checked_add(duration).ok();
                }
            }
            date = date
                .checked_add(1.day())
                .map_err(|error| error.to_string())?;
        }
        Err(match over {
            None => "such a day never comes".to_owned(),
            Some(_) => format!("it comes again before {duration:#} are over, so it never ends"),
        })
    }
}
