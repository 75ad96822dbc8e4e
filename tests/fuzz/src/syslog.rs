//! Syslog's wrappers: what is left is a part of the message, and what was wrapped comes out again.

use fm_telemetry::syslog;

pub(crate) fn check(bytes: &[u8]) {
    if let Some(line) = syslog::payload(bytes) {
        assert!(line.len() <= bytes.len());
        assert!(line.is_empty() || bytes.windows(line.len()).any(|part| part == line));
    }
    // A line of ours begins with a brace, whatever comes after it; ends are not the line's own.
    let mut line = b"{".to_vec();
    line.extend_from_slice(bytes);
    line.push(b'}');
    for wrapper in [
        "",
        "<134>",
        "<6>",
        "<134>1 2026-11-22T18:45:07.388Z host haproxy 4711 - - ",
        "<134>1 - - - - - [a@1 b=\"]\\\"\"] ",
        "<134>Nov 22 18:45:07 host haproxy[4711]: ",
        "<134>Nov  2 18:45:07 haproxy[4711]: ",
        "Nov 22 18:45:07 host haproxy[4711]: ",
        "<134>2026-11-22T18:45:07+00:00 host haproxy[4711]: ",
        "<134>2026-11-22T18:45:07+00:00 ",
    ] {
        let mut message = wrapper.as_bytes().to_vec();
        message.extend_from_slice(&line);
        for end in [&b""[..], b"\n", b"\r\n", b"\0"] {
            let mut message = message.clone();
            message.extend_from_slice(end);
            assert_eq!(syslog::payload(&message), Some(&line[..]), "{wrapper}");
        }
    }
}
