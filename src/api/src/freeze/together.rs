//! Whether several windows together are never over: each ends, and another has begun by then. Pure.

use jiff::Timestamp;
use jiff::civil::{Date, date};

use super::cron::Cron;
use super::{Freeze, zone};

/// The year that is looked at: it has every day that a year can have. Windows may have begun in the year before.
const FROM: Date = date(2023, 1, 1);
const YEAR: Date = date(2024, 1, 1);
const TO: Date = date(2025, 1, 1);

/// Seconds from one time to another.
type Held = (i64, i64);

/// Whether rollouts would wait for ever: for a whole year there is no moment in which none of these windows holds.
/// One that is given by its two ends is over some day, and each is right by itself ([`Freeze::check`]).
#[must_use]
pub fn never_over<'a>(windows: impl Iterator<Item = &'a Freeze>) -> bool {
    let each: Vec<Vec<Held>> = windows.filter_map(held).collect();
    if each.len() < 2 {
        return false;
    }
    let mut all: Vec<Held> = each.into_iter().flatten().collect();
    all.sort_unstable();
    let (Some(mut reached), Some(end)) = (second(YEAR), second(TO)) else {
        return false;
    };
    for (from, to) in all {
        if from > reached {
            return false;
        }
        reached = reached.max(to);
        if reached >= end {
            return true;
        }
    }
    false
}

fn second(date: Date) -> Option<i64> {
    let midnight = date.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(midnight.timestamp().as_second())
}

/// The times in which a repeated window holds, in order, those that meet as one.
fn held(window: &Freeze) -> Option<Vec<Held>> {
    let zone = zone(&window.time_zone)?;
    let cron: Cron = window.cron.as_ref()?.parse().ok()?;
    let lasts = window.duration?.to_signed().as_secs();
    let mut all: Vec<Held> = Vec::new();
    let mut day = FROM;
    while day < TO {
        for (hour, minutes) in cron.hours_on(day) {
            let hour: Timestamp = day
                .at(hour, 0, 0, 0)
                .to_zoned(zone.clone())
                .ok()?
                .timestamp();
            for minute in minutes {
                let from = hour.as_second() + 60 * minute;
                let to = from + lasts;
                match all.last_mut() {
                    Some(last) if from <= last.1 => last.1 = last.1.max(to),
                    Some(_) | None => all.push((from, to)),
                }
            }
        }
        day = day.tomorrow().ok()?;
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::super::Freeze;
    use super::never_over;

    fn weekly(cron: &str, duration: &str, zone: &str) -> Freeze {
        let window = Freeze {
            cron: Some(cron.to_owned()),
            duration: Some(duration.parse().unwrap()),
            time_zone: zone.to_owned(),
            ..Freeze::default()
        };
        window.check().unwrap();
        window
    }

    #[test]
    fn windows_that_hand_over_to_each_other_are_never_over() {
        let week = weekly("0 0 * * mon", "5d", "UTC");
        let end = |hours: &str| weekly("0 0 * * sat", hours, "UTC");
        for (windows, never) in [
            (vec![], false),
            (vec![week.clone()], false),
            (vec![week.clone(), end("2d")], true),
            (vec![week.clone(), end("47h")], false),
            // Summer time moves one of them by an hour: half of the year there is a moment between them.
            (
                vec![week.clone(), weekly("0 0 * * sat", "2d", "Europe/Berlin")],
                false,
            ),
            (
                vec![week.clone(), weekly("0 0 * * sat", "2d2h", "Europe/Berlin")],
                true,
            ),
            (
                vec![
                    weekly("*/2 * * * *", "1m", "UTC"),
                    weekly("1-59/2 * * * *", "1m", "UTC"),
                ],
                true,
            ),
            // One day in four years is enough.
            (
                vec![
                    weekly("0 0 1 1 *", "59d", "UTC"),
                    weekly("0 0 1 3 *", "306d", "UTC"),
                ],
                false,
            ),
            (
                vec![
                    weekly("0 0 1 1 *", "60d", "UTC"),
                    weekly("0 0 1 3 *", "306d", "UTC"),
                ],
                true,
            ),
        ] {
            assert_eq!(never_over(windows.iter()), never, "{windows:?}");
        }
        let once = Freeze {
            from: Some("2020-01-01T00:00".to_owned()),
            to: Some("2030-01-01T00:00".to_owned()),
            ..end("47h")
        };
        let once = Freeze {
            cron: None,
            duration: None,
            ..once
        };
        assert!(!never_over([&week, &once].into_iter()), "it ends some day");
    }
}
