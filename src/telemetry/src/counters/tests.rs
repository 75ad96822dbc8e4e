use proptest::prelude::*;

use super::*;

impl State {
    fn read(&mut self, bytes: &[u8], now: Instant) {
        self.take(bytes, Way::DEFAULT, now);
    }
}

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
        .for_each(|line| state.read(line.as_bytes(), now));
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
        ..LogHealth::default()
    };
    assert_eq!(snapshot.log, wanted);
}

#[test]
fn a_revision_is_forgotten_after_an_hour_and_begins_at_nothing() {
    let start = Instant::now();
    let mut state = State::default();
    let (old, new) = (record("aaaa", "bbbb"), record("bbbb", "-"));
    state.read(line(&old, "s", 200, "--", 5).as_bytes(), start);
    state.read(line(&old, "c", 200, "--", 5).as_bytes(), start);
    let later = start + FORGET_AFTER - Duration::from_secs(1);
    state.read(line(&new, "s", 200, "--", 5).as_bytes(), later);
    let snapshot = state.snapshot(start + FORGET_AFTER);
    let shop = &snapshot.releases["default/shop"];
    assert!(!shop.contains_key("aaaa"));
    assert_eq!(shop["bbbb"].requests, 2);
    state.read(
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
        state.read(
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

#[test]
fn how_requests_ended_is_kept_apart_and_sums_up() {
    let split = record("aaaa", "bbbb");
    let with = |rest: &str| format!(r#"{{"rc":"{split}","sd":"c",{rest}}}"#);
    let snapshot = counted(&[
        with(r#""st":200,"ts":"--","tr":1,"ta":4,"gs":14"#),
        with(r#""st":200,"ts":"--","tr":1,"ta":4,"gs":-1"#),
        with(r#""st":503,"ts":"--","tr":1,"ta":4"#),
        with(r#""st":503,"ts":"SC","tr":-1,"ta":4"#),
        with(r#""st":502,"ts":"PH","tr":-1,"ta":4"#),
        with(r#""st":200,"ts":"CD","tr":1,"ta":4"#),
        line(&split, "f", 200, "--", 5),
        line(&split, "m", 500, "--", 5),
    ]);
    let canary = &snapshot.releases["default/shop"]["bbbb"];
    let kinds: Vec<String> = (canary.outcomes.kinds())
        .map(|(kind, n)| format!("{n} {kind}"))
        .collect();
    assert_eq!(
        kinds,
        [
            "1 0/fallback/-",
            "1 200/answered/-",
            "1 200/answered/14",
            "1 502/proxy/-/PH",
            "1 503/answered/-",
            "1 503/server/-/SC",
        ]
    );
    let sum = |test: fn(&Kind) -> bool| {
        let kinds = canary.outcomes.kinds();
        kinds.filter(|(k, _)| test(k)).map(|(_, n)| n).sum::<u64>()
    };
    assert_eq!((sum(|_| true), canary.requests), (6, 6));
    assert_eq!((sum(Kind::is_bad), canary.bad), (4, 4));
    assert_eq!(canary.total_ms, 20);
    let old = Counters {
        outcomes: Outcomes::default(),
        requests: 2,
        ..Counters::default()
    };
    assert!(canary.since(&old).outcomes.is_empty());
}

#[test]
fn each_server_is_counted_where_it_serves_and_forgotten_when_it_is_gone() {
    let start = Instant::now();
    let mut state = State::default();
    let split = record("aaaa", "bbbb");
    let take = |state: &mut State, side: &str, st: i32, ts: &str, server: &str, now| {
        let text = format!(
            r#"{{"rc":"{split}","sd":"{side}","st":{st},"ts":"{ts}","tr":3,"a":"{server}"}}"#
        );
        state.read(text.as_bytes(), now);
    };
    take(&mut state, "s", 200, "--", "10.0.0.1:80", start);
    take(&mut state, "f", 200, "--", "10.0.0.1:80", start);
    take(&mut state, "c", 500, "--", "10.0.0.2:80", start);
    take(&mut state, "c", 200, "CD", "10.0.0.2:80", start);
    take(&mut state, "m", 200, "--", "10.0.0.2:80", start);
    take(&mut state, "c", 503, "SC", "-:-", start);
    let all = state.endpoints(Some("default/shop"), start);
    let of = |revision: &str, server: &str| {
        let found = &all["default/shop"][revision][&server.parse().unwrap()];
        (found.requests, found.bad, found.latency.count())
    };
    assert_eq!(of("aaaa", "10.0.0.1:80"), (2, 0, 2));
    assert_eq!(of("bbbb", "10.0.0.2:80"), (2, 1, 1));
    assert_eq!(all["default/shop"]["bbbb"].len(), 1);
    assert!(state.endpoints(Some("default/other"), start).is_empty());
    for n in 0..2000 {
        let server = format!("10.1.{}.{}:80", n / 250, n % 250);
        take(&mut state, "s", 200, "--", &server, start);
    }
    let all = state.endpoints(None, start);
    assert_eq!(
        all["default/shop"]["aaaa"].len(),
        crate::endpoints::MAX_ENDPOINTS
    );
    let later = start + crate::endpoints::FORGET_AFTER;
    let all = state.endpoints(None, later);
    assert!(all["default/shop"]["aaaa"].is_empty());
}

#[test]
fn bad_lines_are_complained_of_once_a_minute_with_a_harmless_sample() {
    let start = Instant::now();
    let mut state = State::default();
    assert_eq!(state.complaint(start), None);
    let hostile = format!("{{\u{1b}[31m\"\0{}", "x".repeat(60_000));
    for _ in 0..1000 {
        state.read(hostile.as_bytes(), start);
    }
    let (count, sample) = state.complaint(start).unwrap();
    assert_eq!(count, 1000);
    assert!(sample.len() <= SAMPLE * 4 && sample.starts_with(r#"{\x1b[31m\"\x00xxx"#));
    state.read(b"{", start);
    assert_eq!(state.complaint(start + COMPLAIN_EVERY / 2), None);
    let (count, sample) = state.complaint(start + COMPLAIN_EVERY).unwrap();
    assert_eq!((count, sample.as_str()), (1, "{"));
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

const CLASSIC: &str = r#"10.0.1.2:33317 [22/Nov/2026:18:45:07.388] fm r0_b/t3 0/0/1/5/20 500 2750 - - ---- 1/1/1/1/0 0/0 "GET / HTTP/1.1""#;

#[test]
fn a_classic_line_counts_for_the_revision_behind_its_backend() {
    let now = Instant::now();
    let mut state = State::default();
    state.read(CLASSIC.as_bytes(), now);
    let unknown = state.snapshot(now);
    assert_eq!((unknown.log.lines, unknown.log.unrouted), (1, 1));
    assert!(unknown.releases.is_empty());
    let backend = |canary| Backend {
        record: record("aaaa", "bbbb"),
        canary,
    };
    state.set_backends([
        ("r0_a".to_owned(), backend(false)),
        ("r0_b".to_owned(), backend(true)),
    ]);
    state.read(CLASSIC.as_bytes(), now);
    state.read(CLASSIC.replace("r0_b/t3", "r0_a/t1").as_bytes(), now);
    // Its last requests end after it is gone.
    state.set_backends([]);
    state.read(CLASSIC.replace(" 500 ", " 200 ").as_bytes(), now);
    state.read(CLASSIC.replace("r0_b", "r1_b").as_bytes(), now);
    let snapshot = state.snapshot(now);
    let shop = &snapshot.releases["default/shop"];
    assert_eq!((shop["bbbb"].requests, shop["bbbb"].bad), (2, 1));
    assert_eq!(
        (shop["bbbb"].total_ms, shop["bbbb"].latency.count()),
        (40, 1)
    );
    assert_eq!((shop["aaaa"].requests, shop["aaaa"].bad), (1, 1));
    assert_eq!((snapshot.log.lines, snapshot.log.unrouted), (5, 2));
}

#[test]
fn a_line_that_comes_by_two_ways_counts_once() {
    let now = Instant::now();
    let mut state = State::default();
    state.more_ways();
    let numbered = |n: u64| {
        let text = line(&record("aaaa", "bbbb"), "c", 200, "--", 5);
        text.replace('}', &format!(",\"p\":7,\"n\":{n}}}"))
    };
    let other = Way {
        number: 1,
        sent_on: true,
    };
    for n in 0..100 {
        let first = if n % 3 == 0 { other } else { Way::DEFAULT };
        state.take(numbered(n).as_bytes(), first, now);
        let classic = CLASSIC.replace("33317", &(1000 + n).to_string());
        state.take(classic.as_bytes(), first, now);
    }
    for n in (0..100).rev() {
        let second = if n % 3 == 0 { Way::DEFAULT } else { other };
        state.take(numbered(n).as_bytes(), second, now);
        let classic = CLASSIC.replace("33317", &(1000 + n).to_string());
        state.take(classic.as_bytes(), second, now);
    }
    // Two threads may give one number to two lines: over one way they are two.
    state.take(numbered(1000).as_bytes(), other, now);
    state.take(numbered(1000).as_bytes(), other, now);
    state.take(numbered(1000).as_bytes(), Way::DEFAULT, now);
    let snapshot = state.snapshot(now);
    assert_eq!(snapshot.releases["default/shop"]["bbbb"].requests, 102);
    assert_eq!((snapshot.log.lines, snapshot.log.repeated), (202, 201));
}

#[test]
fn mirrored_requests_count_in_pairs_and_beside_all_other_numbers() {
    let (mut state, now) = (State::default(), Instant::now());
    let split = record("aaaa", "bbbb");
    let mut take = |side: &str, st: i32, ts: &str, pair: u32| {
        let text =
            format!(r#"{{"rc":"{split}","sd":"{side}","st":{st},"ts":"{ts}","tr":3,"mi":{pair}}}"#);
        state.read(text.as_bytes(), now);
    };
    take("o", 200, "--", 1);
    take("k", 503, "--", 1);
    take("k", 200, "--", 2);
    take("o", 200, "--", 2);
    // A user who gave up says nothing, nor does a copy whose original is not known as one.
    take("o", -1, "CH", 3);
    take("k", 504, "sH", 3);
    take("k", 504, "sH", 4);
    take("s", 200, "--", 4);
    let seen = state.snapshot(now);
    let [stable, canary] = ["aaaa", "bbbb"].map(|id| seen.releases["default/shop"][id].clone());
    let mirrored = |counters: &Counters| {
        let kinds = counters.mirrored.kinds();
        kinds
            .map(|(kind, count)| (kind.status, count))
            .collect::<Vec<_>>()
    };
    assert_eq!(mirrored(&stable), [(200, 2)]);
    assert_eq!(mirrored(&canary), [(200, 1), (503, 1)]);
    assert_eq!((stable.requests, stable.client_aborts), (3, 1));
    assert_eq!((canary.requests, canary.bad), (0, 0));
    assert_eq!(seen.log.lines, 4, "copies are no requests");
}
