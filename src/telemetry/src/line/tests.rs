use super::*;
use proptest::prelude::*;

const RECORD: &str = "r|0badcafe|500|r0_a|r0_b|default/shop|aaaaaaaaaa|bbbbbbbbbb|7";

fn text(rest: &str) -> String {
    format!("{{\"rc\":\"{RECORD}\",{rest}}}")
}

#[test]
fn a_line_is_read_whatever_the_order_and_whatever_else_is_in_it() {
    let wanted = Line {
        record: RECORD,
        side: Side::Canary,
        status: 200,
        termination: *b"--",
        time_to_first_byte: Some(12),
        total_time: Some(15),
        endpoint: "10.0.0.1:32768",
        grpc: Some(14),
        pair: None,
        sequence: Some((4711, 99)),
    };
    for line in [
        text(
            r#""sd":"c","st":200,"ts":"--","tr":12,"ta":15,"a":"10.0.0.1:32768","gs":14,"p":4711,"n":99"#,
        ),
        text(
            r#""n":99,"gs":14,"a":"10.0.0.1:32768","ta":15,"p":4711,"tr":12,"ts":"--","st":200,"sd":"c""#,
        ),
        text(
            r#""x":{"y":[1,{"z":"}\"]"}],"w":null},"sd":"c","st":200,"ts":"----","tr":12,"f":1.5e3,"b":true,"gs":14,"a":"10.0.0.1:32768","ta":15,"p":4711,"n":99"#,
        ),
        text(
            r#" "sd" : "c" , "st" : 200 , "ts":"--","tr":12,"ta":15,"gs":14,"a":"10.0.0.1:32768","p":4711,"n":99 "#,
        ),
    ] {
        assert_eq!(parse(line.as_bytes()), Some(wanted), "{line}");
    }
}

#[test]
fn a_request_without_a_route_needs_no_more_than_its_empty_record() {
    let line = parse(br#"{"rc":"","sd":"","st":404,"ts":"PR","p":1,"n":2}"#).unwrap();
    assert_eq!((line.record, line.sequence), ("", Some((1, 2))));
    assert!(parse(br#"{"rc":""}"#).is_some());
}

#[test]
fn what_haproxy_has_no_value_for_is_a_dash() {
    let line =
        br#"{"rc":"-","sd":"-","st":400,"ts":"PR","tr":-1,"ta":-1,"a":"-:-","gs":-,"p":1,"n":2}"#;
    let line = parse(line).unwrap();
    assert_eq!((line.record, line.sequence), ("", Some((1, 2))));
    let line = text(r#""sd":"c","st":200,"ts":"--","tr":-,"gs":-,"p":1,"n":2"#);
    let line = parse(line.as_bytes()).unwrap();
    assert_eq!((line.grpc, line.time_to_first_byte), (None, None));
    for bad in [r#""st":-,"gs":1"#, r#""st":200,"gs":--"#] {
        let line = text(&format!(r#""sd":"c","ts":"--",{bad}"#));
        assert_eq!(parse(line.as_bytes()), None, "{line}");
    }
}

#[test]
fn what_another_revision_answered_is_a_fallback() {
    let side = |sd: &str, st: i32, a: &str| {
        let line = text(&format!(r#""sd":"{sd}","st":{st},"ts":"--","a":"{a}""#));
        parse(line.as_bytes()).unwrap().side
    };
    for (sd, status, a, wanted) in [
        ("c", 200, "unix:0", Side::Fallback),
        ("c", 404, "unix:0", Side::Fallback),
        ("s", 200, "unix:0", Side::StableFallback),
        // Nobody answered: it is the meant revision's own failure.
        ("c", 503, "unix:0", Side::Canary),
        ("s", -1, "unix:0", Side::Stable),
        ("c", 200, "10.0.0.1:80", Side::Canary),
        ("m", 200, "unix:0", Side::Forced),
        ("x", 200, "10.0.0.1:80", Side::ForCanary),
        ("y", 200, "10.0.0.1:80", Side::ForStable),
        ("h", 503, "unix:0", Side::Handed),
    ] {
        assert_eq!(side(sd, status, a), wanted, "{sd} {status} {a}");
    }
}

#[test]
fn hostile_lines_are_malformed() {
    let whole = text(r#""sd":"c","st":200,"ts":"--","tr":12,"p":4711,"n":99"#);
    for cut in 0..whole.len() {
        assert_eq!(parse(&whole.as_bytes()[..cut]), None, "cut at {cut}");
    }
    for line in [
        "{}".to_owned(),
        text(r#""sd":"z","st":200,"ts":"--""#),
        text(r#""sd":"c","st":"200","ts":"--""#),
        text(r#""sd":"c","st":200,"ts":"-""#),
        text(r#""sd":"c","st":99999999999999999999,"ts":"--""#),
        text(r#""sd":"c","st":9999999999,"ts":"--""#),
        text("\"sd\":\"\0\",\"st\":200,\"ts\":\"--\""),
        text(r#""sd":"\u0063","st":200,"ts":"--""#),
        text(r#""sd":"c","st":200,"ts":"--","x":"\"#),
        text(r#""sd":"c","st":200,"ts":"--","x":]"#),
        text(r#""sd":"c","st":200,"ts":"--""#) + "x",
        text(r#""sd":"c","st":200,"ts":"--","a":"1.2.3.4:1\",\"st\":500""#),
        text(r#""sd":"c","st":200,"ts":"--","a":7"#),
        format!("{{{}", "[".repeat(65_000)),
        format!("{{\"x\":{}", "[".repeat(65_000)),
    ] {
        assert_eq!(parse(line.as_bytes()), None, "{line}");
    }
}

#[test]
fn what_counts_as_bad() {
    let outcome = |status: i32, termination: &str| {
        let line = text(&format!(r#""sd":"c","st":{status},"ts":"{termination}""#));
        parse(line.as_bytes()).unwrap().outcome()
    };
    for (status, ts) in [
        (500, "--"),
        (503, "SC"),
        (503, "sC"),
        (503, "sQ"),
        (502, "SH"),
        (504, "sH"),
        (200, "SD"),
        (200, "sD"),
        (502, "PH"),
        (-1, "sH"),
        (500, "CD"),
        (200, "DD"),
        (503, "--"),
    ] {
        assert_eq!(outcome(status, ts), Outcome::Bad, "{status} {ts}");
    }
    for (status, ts) in [
        (200, "--"),
        (404, "--"),
        (101, "--"),
        (304, "--"),
        (403, "PR"),
        (429, "LR"),
    ] {
        assert_eq!(outcome(status, ts), Outcome::Good, "{status} {ts}");
    }
    for (status, ts) in [
        (503, "CC"),
        (503, "CQ"),
        (-1, "CH"),
        (200, "CD"),
        (200, "cD"),
        (408, "cR"),
        (400, "CR"),
    ] {
        assert_eq!(outcome(status, ts), Outcome::ClientAbort, "{status} {ts}");
    }
}

proptest! {
    #[test]
    fn the_parser_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&bytes);
        let mut line = b"{".to_vec();
        line.extend(bytes);
        let _ = parse(&line);
    }

    #[test]
    fn the_parser_never_panics_on_almost_good_lines(
        at in 0usize..150, byte in any::<u8>(), cut in 0usize..200,
    ) {
        let mut line = text(r#""sd":"c","st":200,"ts":"--","tr":12,"x":["\\"],"p":4711,"n":99"#).into_bytes();
        if let Some(place) = line.get_mut(at) { *place = byte; }
        line.truncate(cut);
        let _ = parse(&line);
    }
}
