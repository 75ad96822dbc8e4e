use proptest::prelude::*;

use super::*;

fn record(stable: &str, canary: &str) -> String {
    format!("r|0badcafe|500|r0_a|r0_b|default/shop|{stable}|{canary}|7")
}

fn line(record: &str, side: &str, status: i32, ts: &str, tr: i32) -> String {
    format!(r#"{{"rc":"{record}","sd":"{side}","st":{status},"ts":"{ts}","tr":{tr},"ta":20}}"#)
}

fn counted(lines: &[String]) -> Snapshot {
    let now = Instant::now();
    let mut state = State::default();
    lines
        .iter()
        .for_each(|line| state.take(line.as_bytes(), now));
    state.snapshot(now)
}

#[test]
fn every_side_counts_where_it_belongs() {
    let split = record("aaaa", "bbbb");
    let snapshot = counted(&[
        line(&split, "s", 200, "--", 5),
        line(&split, "s", 503, "SC", -1),
        line(&split, "c", 200, "--", 7),
        line(&split, "c", 500, "--", 1),
        line(&split, "c", 200, "CD", 9),
        line(&split, "c", 404, "--", 3),
        line(&split, "f", 200, "--", 5),
        line(&split, "m", 500, "--", 5),
        r#"{"rc":"","sd":"","st":404,"ts":"LR"}"#.to_owned(),
        "Server r0_a/t1 is DOWN".to_owned(),
        "{ not ours".to_owned(),
        line("not a record", "s", 200, "--", 1),
        line(&record("aaaa", "-"), "c", 200, "--", 1),
        line(&record("aa\u{7f}aa", "-"), "s", 200, "--", 1),
    ]);
    let shop = &snapshot.releases["default/shop"];
    let stable = &shop["aaaa"];
    assert_eq!(
        (stable.requests, stable.bad, stable.fallback, stable.forced),
        (2, 1, 0, 0)
    );
    assert_eq!(stable.classes, [0, 0, 1, 0, 0, 1]);
    assert_eq!(stable.latency.count(), 1, "errors have no response time");
    let canary = &shop["bbbb"];
    assert_eq!((canary.requests, canary.bad), (4, 2));
    assert_eq!(
        (canary.fallback, canary.forced, canary.client_aborts),
        (1, 1, 1)
    );
    assert_eq!(canary.classes, [1, 0, 1, 0, 1, 1]);
    assert_eq!(canary.latency.count(), 2);
    let wanted = LogHealth {
        lines: 9,
        unrouted: 1,
        lost: 0,
        malformed: 4,
        connections: 0,
    };
    assert_eq!(snapshot.log, wanted);
}

#[test]
fn a_revision_is_forgotten_after_an_hour_and_begins_at_nothing() {
    let start = Instant::now();
    let mut state = State::default();
    let (old, new) = (record("aaaa", "bbbb"), record("bbbb", "-"));
    state.take(line(&old, "s", 200, "--", 5).as_bytes(), start);
    state.take(line(&old, "c", 200, "--", 5).as_bytes(), start);
    let later = start + FORGET_AFTER - Duration::from_secs(1);
    state.take(line(&new, "s", 200, "--", 5).as_bytes(), later);
    let snapshot = state.snapshot(start + FORGET_AFTER);
    let shop = &snapshot.releases["default/shop"];
    assert!(!shop.contains_key("aaaa"));
    assert_eq!(shop["bbbb"].requests, 2);
    state.take(
        line(&old, "s", 200, "--", 5).as_bytes(),
        start + FORGET_AFTER,
    );
    assert_eq!(
        state.snapshot(start + FORGET_AFTER).releases["default/shop"]["aaaa"].requests,
        1
    );
}

#[test]
fn a_flood_of_invented_revisions_is_bounded() {
    let now = Instant::now();
    let mut state = State::default();
    for n in 0..MAX_SERIES * 2 {
        state.take(
            line(&record(&format!("r{n}"), "-"), "s", 200, "--", 5).as_bytes(),
            now,
        );
    }
    assert!(state.series.len() <= MAX_SERIES && state.records.len() <= MAX_RECORDS);
    assert_eq!(state.series.len(), state.index.len());
}

#[test]
fn a_snapshot_survives_json() {
    let split = record("aaaa", "bbbb");
    let snapshot = counted(&[
        line(&split, "s", 200, "--", 5),
        line(&split, "c", 500, "--", 5),
    ]);
    let text = serde_json::to_string(&snapshot).unwrap();
    assert_eq!(serde_json::from_str::<Snapshot>(&text).unwrap(), snapshot);
}

fn counters() -> impl Strategy<Value = Counters> {
    (
        0u64..1000,
        0u64..10,
        0u64..10,
        proptest::collection::vec(0.0..1e4f64, 0..20),
    )
        .prop_map(|(requests, bad, forced, times)| {
            let mut latency = Histogram::default();
            times.iter().for_each(|ms| latency.record(*ms));
            Counters {
                requests: requests + bad,
                bad,
                forced,
                classes: [0, 0, requests, 0, 0, bad],
                latency,
                ..Counters::default()
            }
        })
}

proptest! {
    #[test]
    fn differences_add_up_to_the_whole(a in counters(), b in counters()) {
        let mut whole = a.clone();
        whole.merge(&b);
        prop_assert_eq!(whole.since(&a), b);
        prop_assert_eq!(whole.since(&Counters::default()), whole.clone());
        prop_assert_eq!(whole.since(&whole).requests, 0);
    }

    #[test]
    fn a_counter_below_the_remembered_one_is_taken_whole(a in counters(), b in counters()) {
        let since = a.since(&b);
        prop_assert!(since.bad <= since.requests);
        if a.requests < b.requests { prop_assert_eq!(since, a); }
    }
}
