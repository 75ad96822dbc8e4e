//! HAProxy's classic log lines: every line is counted once, and what a client controls forges nothing before it.

use fm_telemetry::access::httplog::{self, Line};
use fm_telemetry::access::stats::{Options, Stats};
use fm_telemetry::access::{Request, Route};

const BEFORE: &[u8] = b"10.0.1.2:33317 [22/Nov/2026:18:45:07.388] in static/srv1 10/0/30/69/109 200 2750 - - ---- 1/1/1/1/0 0/0 ";

pub(crate) fn check(bytes: &[u8]) {
    let mut stats = Stats::new(Options::default());
    let mut ends = 0;
    for line in bytes.split(|byte| *byte == b'\n') {
        ends += 1;
        stats.line(line);
        if let Line::Request(request, _) = httplog::parse(line) {
            within(&request, line);
        }
        let sent = escaped(line);
        let mut forged = BEFORE.to_vec();
        forged.extend_from_slice(
            format!("{{{sent}|x}} {{{sent}}} \"GET /{sent} HTTP/1.1\"").as_bytes(),
        );
        let Line::Request(request, _) = httplog::parse(&forged) else {
            panic!("what a client sent hides its request");
        };
        assert_eq!(
            (request.backend, request.server, request.status),
            (&b"static"[..], &b"srv1"[..], 200)
        );
        assert_eq!(
            (request.timers, request.bytes),
            ([10, 0, 30, 69, 109], 2750)
        );
        assert_eq!(request.termination, *b"--");
    }
    assert_eq!(stats.lines().lines, ends);
}

/// What a client sent, as HAProxy writes it.
fn escaped(sent: &[u8]) -> String {
    let byte = |byte: &u8| match byte {
        b'{' | b'|' | b'}' | b'"' | b'#' | ..0x20 | 0x7f.. => format!("#{byte:02X}"),
        _ => char::from(*byte).to_string(),
    };
    sent.iter().map(byte).collect()
}

fn within(request: &Request<'_>, line: &[u8]) {
    let names = request.frontend.len() + request.backend.len() + request.server.len();
    assert!(names < line.len());
    let Route::Line(rest) = request.route else {
        panic!("a classic line names no release");
    };
    let (host, path) = httplog::host_and_path(rest, usize::MAX);
    assert!(host.unwrap_or_default().len() + path.unwrap_or_default().len() <= rest.len() + 1);
}
