//! Whole logs, as they come: mixed formats, broken and hostile lines, and more names than there are rows.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot run must fail loudly"
)]

use fm_telemetry::access::feed;
use fm_telemetry::access::report::{By, Entry, Report, Sort};
use fm_telemetry::access::stats::{MAX_PLACES, MAX_ROUTES, Options, Stats};
use proptest::prelude::*;

const ALL: [By; 4] = [By::Frontend, By::Backend, By::Server, By::Route];

fn line(second: u32, place: &str, timers: &str, status: &str, uri: &str) -> String {
    format!(
        "Nov 22 18:45:07 edge-1 haproxy[7]: 10.0.0.1:4000 [22/Nov/2026:18:45:{second:02}.000] {place} {timers} {status} 100 - - ---- 1/1/1/1/0 0/0 {{Shop.example.com:80|curl}} \"GET {uri} HTTP/1.1\"\n"
    )
}

fn counted(options: Options, log: &[u8]) -> Stats {
    let mut stats = Stats::new(options);
    stats.begin("test.log");
    feed::read(log, &mut stats, |_, _| Ok(())).unwrap();
    stats
}

fn report(log: &str) -> Report {
    let options = Options {
        routes: Some(1),
        ..Options::default()
    };
    counted(options, log.as_bytes()).report(&ALL, Sort::Requests, usize::MAX)
}

fn row<'a>(report: &'a Report, by: By, name: &str) -> &'a Entry {
    let table = report.tables.iter().find(|table| table.by == by).unwrap();
    table.rows.iter().find(|row| row.name == name).unwrap()
}

#[test]
fn every_table_is_told_from_one_reading() {
    let mut log = String::new();
    for n in 0..20 {
        let tls = if n % 2 == 0 { "~" } else { "" };
        let place = format!("web{tls} shop_a/task{}", n % 4);
        let timers = format!("0/0/1/{}/{}", n * 10, n * 10 + 5);
        let status = if n == 7 { "503" } else { "200" };
        log += &line(n, &place, &timers, status, &format!("/api/{n}?q=1"));
    }
    log += r#"{"rc":"r|0bad|500|r0_a|r0_b|default/shop|aaaa|bbbb|7","sd":"c","st":200,"ts":"--","tr":12,"ta":15,"a":"10.0.0.1:32768"}"#;
    let report = report(&log);
    assert_eq!((report.lines.lines, report.lines.requests), (21, 21));
    let web = row(&report, By::Frontend, "web");
    assert_eq!((web.requests, web.bad, web.status.c5), (20, 1, 1));
    assert!((web.rate.unwrap() - 20.0 / 19.0).abs() < 1e-9);
    assert_eq!(row(&report, By::Server, "shop_a/task1").requests, 5);
    let backend = row(&report, By::Backend, "shop_a");
    let ta = backend.timers.get("Ta").unwrap();
    assert_eq!(
        (ta.count, ta.p50, ta.p90, ta.p99, ta.max),
        (20, 95, 175, 195, 195)
    );
    assert_eq!(row(&report, By::Route, "shop.example.com/api").requests, 20);
    let own = row(&report, By::Server, "r0_b/10.0.0.1:32768");
    assert_eq!(own.timers.keys().copied().collect::<Vec<_>>(), ["Ta", "Tr"]);
    assert_eq!(row(&report, By::Route, "default/shop bbbb").requests, 1);
    assert_eq!(report.total.requests, 21);
    assert_eq!(report.first.unwrap().to_string(), "2026-11-22T18:45:00");
}

#[test]
fn broken_and_hostile_lines_are_counted_and_shown() {
    let good = line(1, "web shop_a/t1", "0/0/1/2/3", "200", "/");
    let mut log = good.clone();
    log += "Nov 22 18:45:07 edge-1 haproxy[7]: Server shop_a/t1 is DOWN\n\n";
    log += &good.replace("0/0/1/2/3", "0/0/1/10.0.0.9:1 [22/Nov");
    log += &good.replace("22/Nov", "99/Nov");
    log += &good.replace("shop_a", "shop\u{1b}[2J");
    log += "<999>x\n{\"rc\":\"\"}\n{\"rc\":1}\n\0\0\0\n";
    log += &good.replace("\"GET / HTTP/1.1\"", "\"GET /cut-he");
    log += &good.replace("GET / ", &format!("GET /{} ", "x".repeat(65_000)));
    log += &format!("{}\n", "y".repeat(600_000));
    log += good.trim_end();
    let report = report(&log);
    let lines = &report.lines;
    assert_eq!((lines.lines, lines.requests, lines.cut), (14, 4, 1));
    assert_eq!((lines.malformed, lines.other, lines.unrouted), (5, 3, 1));
    assert_eq!(lines.overlong, 1);
    assert_eq!(lines.examples.len(), 3);
    let example = lines.examples.first().unwrap();
    assert!(
        example.starts_with("test.log:4: Nov 22 18:45:07 edge-1"),
        "{example}"
    );
}

#[test]
fn names_beyond_the_bound_are_folded_into_one_row_and_nothing_is_lost() {
    let mut log = String::new();
    for n in 0..MAX_PLACES + 50 {
        let place = format!("web b{n}/s");
        log += &line(1, &place, "0/0/1/2/3", "200", &format!("/{n}/x"));
    }
    let report = report(&log);
    for (by, limit) in [(By::Server, MAX_PLACES), (By::Route, MAX_ROUTES)] {
        let table = report.tables.iter().find(|table| table.by == by).unwrap();
        assert_eq!(table.rows.len(), limit + 1);
        assert_eq!(table.folded as usize, MAX_PLACES + 50 - limit);
        let sum: u64 = table.rows.iter().map(|row| row.requests).sum();
        assert_eq!(sum as usize, MAX_PLACES + 50);
    }
    assert_eq!(report.total.requests as usize, MAX_PLACES + 50);
}

#[test]
fn only_the_time_that_was_asked_for_is_counted() {
    let log: String = (0..60)
        .map(|second| line(second, "web b/s", "0/0/1/2/3", "200", "/"))
        .collect();
    let options = Options {
        since: Some("2026-11-22T18:45:10".parse().unwrap()),
        until: Some("2026-11-22T18:45:20".parse().unwrap()),
        ..Options::default()
    };
    let stats = counted(options, log.as_bytes());
    assert_eq!((stats.lines().requests, stats.lines().left_out), (10, 50));
}

#[test]
fn the_top_rows_by_what_was_asked_for() {
    let mut log = String::new();
    for (name, requests, ms, status) in
        [("a", 9, 5, "200"), ("b", 5, 900, "200"), ("c", 3, 7, "500")]
    {
        for _ in 0..requests {
            let place = format!("web {name}/s");
            log += &line(1, &place, &format!("0/0/0/{ms}/{ms}"), status, "/");
        }
    }
    let stats = counted(Options::default(), log.as_bytes());
    for (sort, first) in [
        (Sort::Requests, "a"),
        (Sort::Slow, "b"),
        (Sort::Bad, "c"),
        (Sort::Name, "a"),
    ] {
        let report = stats.report(&[By::Backend], sort, 1);
        let table = report.tables.first().unwrap();
        assert_eq!((table.rows.len(), table.more), (1, 2));
        assert_eq!(table.rows.first().unwrap().name, first, "{sort:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_comes_every_line_is_one_of_them(
        pieces in proptest::collection::vec(prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..80),
            Just(line(1, "web b/s", "0/0/1/2/3", "200", "/").into_bytes()),
            Just(b"{\"rc\":\"r|0|5|a|b|d/s|a|b|7\",\"sd\":\"s\",\"st\":200,\"ts\":\"--\"}\n".to_vec()),
        ], 0..30),
    ) {
        let log = pieces.concat();
        let options = Options { routes: Some(1), ..Options::default() };
        let stats = counted(options, &log);
        let lines = stats.lines();
        let ends = log.iter().filter(|b| **b == b'\n').count() as u64;
        let last = u64::from(log.last().is_some_and(|b| *b != b'\n'));
        prop_assert_eq!(lines.lines, ends + last);
        prop_assert_eq!(
            lines.lines,
            lines.requests + lines.left_out + lines.unrouted + lines.other + lines.malformed + lines.overlong
        );
        prop_assert_eq!(stats.report(&ALL, Sort::Slow, 3).total.requests, lines.requests);
    }
}
