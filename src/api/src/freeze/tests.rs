use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn weekly(cron: &str, duration: &str, zone: &str) -> Freeze {
    Freeze {
        cron: Some(cron.to_owned()),
        duration: Some(duration.parse().unwrap()),
        time_zone: zone.to_owned(),
        ..Freeze::default()
    }
}

fn once(from: &str, to: &str, zone: &str) -> Freeze {
    Freeze {
        from: Some(from.to_owned()),
        to: Some(to.to_owned()),
        time_zone: zone.to_owned(),
        ..Freeze::default()
    }
}

#[test]
fn a_weekend_is_frozen_by_the_clock_of_its_zone() {
    let window = weekly("0 18 * * fri", "2d14h", "Europe/Berlin");
    window.check().unwrap();
    // Friday 18:00 is 17:00 UTC in winter and 16:00 in summer.
    for (now, until) in [
        ("2026-01-09T16:59:59Z", None),
        ("2026-01-09T17:00:00Z", Some("2026-01-12T07:00:00Z")),
        ("2026-01-12T06:59:59Z", Some("2026-01-12T07:00:00Z")),
        ("2026-01-12T07:00:00Z", None),
        ("2026-07-10T15:59:59Z", None),
        ("2026-07-10T16:00:00Z", Some("2026-07-13T06:00:00Z")),
    ] {
        assert_eq!(window.until(at(now)), until.map(at), "{now}");
    }
}

#[test]
fn one_window_holds_between_its_ends() {
    let window = once("2026-12-24T00:00", "2026-12-27T00:00", "America/New_York");
    window.check().unwrap();
    assert_eq!(window.until(at("2026-12-24T04:59:59Z")), None);
    let end = at("2026-12-27T05:00:00Z");
    assert_eq!(window.until(at("2026-12-24T05:00:00Z")), Some(end));
    assert_eq!(window.until(end), None);
}

#[test]
fn the_longest_of_several_is_told() {
    let mut long = once("2026-01-01T00:00", "2026-01-09T00:00", "UTC");
    long.message = Some("inventory".to_owned());
    let windows = [weekly("0 0 * * *", "1h", "UTC"), long];
    let found = frozen(windows.iter(), at("2026-01-02T00:30:00Z")).unwrap();
    assert_eq!(found.until, at("2026-01-09T00:00:00Z"));
    assert_eq!(found.message.as_deref(), Some("inventory"));
}

#[test]
fn an_hour_that_the_clock_leaves_out_still_begins() {
    let window = weekly("30 2 29 3 *", "1h", "Europe/Berlin");
    assert_eq!(
        window.until(at("2026-03-29T01:45:00Z")),
        Some(at("2026-03-29T02:30:00Z"))
    );
}

#[test]
fn days_of_both_kinds_are_each_enough_as_in_cron() {
    let window = weekly("0 0 1 * mon", "1h", "UTC");
    for day in ["2026-06-01", "2026-06-08", "2026-05-01"] {
        assert!(
            window.until(at(&format!("{day}T00:10:00Z"))).is_some(),
            "{day}"
        );
    }
    assert!(window.until(at("2026-06-02T00:10:00Z")).is_none());
}

#[test]
fn what_never_comes_or_never_ends_is_refused() {
    for (window, field) in [
        (weekly("0 0 31 2 *", "1h", "UTC"), "cron"),
        (weekly("0 0 * * *", "1d", "UTC"), "cron"),
        (weekly("* * * * *", "5m", "UTC"), "cron"),
        (weekly("0 0 * *", "1h", "UTC"), "cron"),
        (weekly("60 0 * * *", "1h", "UTC"), "cron"),
        (weekly("5-1 0 * * *", "1h", "UTC"), "cron"),
        (weekly("*/0 0 * * *", "1h", "UTC"), "cron"),
        (weekly("0 0 * * funday", "1h", "UTC"), "cron"),
        (weekly("0 0 * * *", "0s", "UTC"), "duration"),
        (weekly("0 0 * * *", "1h", "Mars/Olympus"), "timeZone"),
        (once("2026-01-02T00:00", "2026-01-01T00:00", "UTC"), "to"),
        (once("2026-01-02T00:00", "2026-01-02T00:00", "UTC"), "to"),
        (once("2026-13-02T00:00", "2026-01-02T00:00", "UTC"), "from"),
        (Freeze::default(), "timeZone"),
    ] {
        let wrong = window.check().unwrap_err();
        assert_eq!(wrong.field, field, "{window:?}: {wrong:?}");
    }
    let both = Freeze {
        from: Some("2026-01-02T00:00".to_owned()),
        ..weekly("0 0 * * *", "1h", "UTC")
    };
    assert_eq!(both.check().unwrap_err().field, "");
    for good in [
        "0 0 29 2 *",
        "*/15 8-17 * * mon-fri",
        "0 0 1,15 jan,jul *",
        "0 0 * * 7",
    ] {
        weekly(good, "10m", "Asia/Kathmandu").check().unwrap();
    }
}

#[test]
fn one_that_ends_beyond_all_times_holds_and_is_too_long() {
    let window = once("2026-01-01T00:00", "9999-12-31T23:59", "UTC");
    window.check().unwrap();
    assert_eq!(
        window.until(at("2027-01-01T00:00:00Z")),
        Some(Timestamp::MAX)
    );
    assert!(window.too_long());
    assert!(!once("2026-01-01T00:00", "2027-01-02T00:00", "UTC").too_long());
    assert!(!weekly("0 0 * * *", "1h", "UTC").too_long());
}
