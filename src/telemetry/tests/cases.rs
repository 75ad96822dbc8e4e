//! Small logs as loggers, container runtimes and journals write them. What stands before HAProxy's line is taken off.

use fm_telemetry::access::report::{By, Report, Sort};
use fm_telemetry::access::stats::{Options, Stats};
use proptest::prelude::*;

const LINE: &str = r#"192.0.2.7:5000 [22/Nov/2026:18:45:07.388] web app/a1 0/0/1/2/3 200 90 - - ---- 1/1/0/0/0 0/0 "GET / HTTP/1.1""#;
const OWN: &str = r#"{"rc":"r|0bad|500|r0_a|r0_b|default/shop|aaaa|bbbb|7","sd":"c","st":200,"ts":"--","tr":12,"ta":15,"a":"10.0.0.1:32768"}"#;

fn report(log: &str) -> Report {
    let mut stats = Stats::new(Options::default());
    stats.begin("test.log");
    for line in log.lines() {
        stats.line(line.as_bytes());
    }
    stats.report(&[By::Server], Sort::Name, usize::MAX)
}

#[test]
fn what_a_logger_puts_before_the_line_is_taken_off() {
    for wrapper in [
        "haproxy[1]: ",
        "Nov 22 18:45:07 h haproxy[1]:  ",
        "Nov 22 18:45:07 h local0.info haproxy[1]: ",
        "haproxy-1  | ",
        "lb_haproxy.1.x@n1    | <134>Nov 22 18:45:07 haproxy[8]: ",
        "2026-11-22 18:45:07 h haproxy[1]: ",
        "1795373107.388123 h haproxy[1]: ",
        "Nov 22 2026 18:45:07 h haproxy[1]: ",
        "2026-11-22T18:45:07.388Z stdout F ",
        "[2026-11-22 18:45:07] haproxy: ",
        "",
    ] {
        for line in [
            LINE.to_owned(),
            LINE.replace("192.0.2.7:5000", "2001:db8::7:5000"),
            OWN.to_owned(),
        ] {
            let report = report(&format!("{wrapper}{line}"));
            let lines = &report.lines;
            assert_eq!(
                (lines.requests, report.total.status.c2),
                (1, 1),
                "{wrapper}{line}: {lines:?}"
            );
        }
    }
}

#[test]
fn what_is_none_of_haproxys_is_no_request_and_what_is_damaged_is_shown() {
    let nginx = r#"192.0.2.7 - - [22/Nov/2026:18:45:07 +0000] "GET / HTTP/1.1" 200 90 "-" "c""#;
    for other in [
        nginx,
        "haproxy-1  | Server app/a1 is DOWN",
        "x: [WARNING] (1): all is well",
    ] {
        let report = report(other);
        assert_eq!(
            (report.lines.other, report.lines.requests),
            (1, 0),
            "{other}"
        );
    }
    for (from, to) in [
        (" 200 ", " 1000000 "),
        (" 200 ", " 0 "),
        ("[22/Nov/2026:18:45:07.388]", "[]"),
        ("[22/Nov/2026:18:45:07.388]", "[22/Nov/2026]"),
    ] {
        for wrapper in ["", "haproxy-1  | "] {
            let line = format!("{wrapper}{}", LINE.replace(from, to));
            let report = report(&line);
            assert_eq!(report.lines.malformed, 1, "{line}");
            assert_eq!(report.lines.examples, [format!("test.log:1: {line}")]);
        }
    }
}

#[test]
fn a_status_of_no_class_is_a_class_of_its_own_and_not_bad() {
    let report = report(&LINE.replace(" 200 ", " 999 "));
    let status = &report.total.status;
    assert_eq!((status.other, status.none, report.total.bad), (1, 0, 0));
    let json = serde_json::to_value(&report.total).unwrap();
    assert_eq!(json["status"]["other"], 1);
}

proptest! {
    /// Whatever stands before it, a line counts once, and as itself.
    #[test]
    fn no_wrapper_changes_what_is_counted(wrapper in "[ -Z^-~]{0,100}") {
        prop_assume!(!wrapper.contains("[") && !wrapper.contains('{'));
        let report = report(&format!("{wrapper} {LINE}"));
        let read = report.lines.requests == 1 && report.total.status.c2 == 1;
        // What begins like a priority of syslog and is none is broken.
        prop_assert!(read || wrapper.starts_with('<'), "{:?}", report.lines);
    }
}
