//! What stands inside a syslog message: the wrapper is taken off, the program's own line is left.
//!
//! All that HAProxy's `log … format` writes and that syslog daemons make of it in files:
//!
//! | wrapper | begins |
//! |---|---|
//! | RFC 5424 | `<134>1 2026-11-22T18:45:07.388Z host haproxy 4711 - - …` |
//! | RFC 3164 | `<134>Nov 22 18:45:07 host haproxy[4711]: …` |
//! | `local` | `<134>Nov 22 18:45:07 haproxy[4711]: …` |
//! | `iso`, `timed` | `<134>2026-11-22T18:45:07+00:00 host haproxy[4711]: …`, `<134>2026-11-22T18:45:07+00:00 …` |
//! | `short`, `priority` | `<134>…`, `<6>…` |
//! | `raw`, none | the line itself |
//!
//! The `<134>` may be missing, as in the files that rsyslog writes. Frames of a stream (RFC 6587's octet counts) are the
//! receiver's business. What must never happen: a panic, or a line's own beginning taken for a part of the wrapper: what follows a time is
//! only passed over as host and tag when the tag ends in a colon. Pure; no allocation.

/// The largest priority: facility 23, severity 7.
const MAX_PRIORITY: u32 = 191;

/// The program's own line, without wrapper and line end; `None`: the message begins as a wrapper and is none.
#[must_use]
pub fn payload(message: &[u8]) -> Option<&[u8]> {
    let rest = trim_end(message);
    let (rest, prioritised) = match rest.split_first() {
        Some((b'<', rest)) => (priority(rest)?, true),
        _ => (rest, false),
    };
    if prioritised && rest.starts_with(b"1 ") {
        return rfc5424(rest.get(2..)?);
    }
    match after_time(rest) {
        Some(rest) => Some(after_tag(rest)),
        None => Some(rest),
    }
}

/// Some senders end a message with a line end or a NUL, over whatever transport.
fn trim_end(mut bytes: &[u8]) -> &[u8] {
    while let Some((b'\n' | b'\r' | 0, rest)) = bytes.split_last() {
        bytes = rest;
    }
    bytes
}

/// What follows `134>`.
fn priority(bytes: &[u8]) -> Option<&[u8]> {
    let mut value = 0;
    for at in 0..4 {
        match bytes.get(at)? {
            b'>' if at > 0 => return bytes.get(at + 1..),
            digit @ b'0'..=b'9' => value = value * 10 + u32::from(digit - b'0'),
            _ => return None,
        }
        if value > MAX_PRIORITY {
            return None;
        }
    }
    None
}

/// What follows time, host, program, process and message id, and the structured data.
fn rfc5424(mut rest: &[u8]) -> Option<&[u8]> {
    for _ in 0..5 {
        let (word, after) = rest.split_at(memchr::memchr(b' ', rest)?);
        rest = after.get(1..)?;
        if word.is_empty() {
            return None;
        }
    }
    rest = match rest.split_first()? {
        (b'-', rest) => rest,
        (b'[', _) => after_elements(rest)?,
        _ => return None,
    };
    match rest.split_first() {
        None => Some(rest),
        Some((b' ', text)) => Some(text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)),
        Some(_) => None,
    }
}

/// What follows `[id name="value"][id]`; within quotes a backslash protects the next byte.
fn after_elements(mut rest: &[u8]) -> Option<&[u8]> {
    while let Some((b'[', _)) = rest.split_first() {
        let mut quoted = false;
        let mut at = 1;
        loop {
            match rest.get(at)? {
                b'\\' if quoted => at += 1,
                b'"' => quoted = !quoted,
                b']' if !quoted => break,
                _ => {}
            }
            at += 1;
        }
        rest = rest.get(at + 1..)?;
    }
    Some(rest)
}

/// What follows `Nov 22 18:45:07 ` or `2026-11-22T18:45:07… `, if it stands there.
fn after_time(bytes: &[u8]) -> Option<&[u8]> {
    match bytes.first()? {
        b'A'..=b'Z' => after_month_and_time(bytes),
        b'0'..=b'9' => after_iso_time(bytes),
        _ => None,
    }
}

fn after_month_and_time(bytes: &[u8]) -> Option<&[u8]> {
    let (name, rest) = bytes.split_first_chunk::<4>()?;
    let known = b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec ";
    known.as_chunks::<4>().0.contains(name).then_some(())?;
    // The day is padded with a blank, with a nought, or not at all.
    let rest = rest.strip_prefix(b" ").unwrap_or(rest);
    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    let rest = rest
        .get(digits..)?
        .strip_prefix(b" ")
        .filter(|_| (1..=2).contains(&digits))?;
    let rest = after_clock(rest)?;
    let fraction = rest.iter().take_while(|b| !b.is_ascii_whitespace()).count();
    let exact = rest.get(..fraction)?;
    if !exact.is_empty() && exact.first() != Some(&b'.') {
        return None;
    }
    rest.get(fraction..)?.strip_prefix(b" ")
}

fn after_iso_time(bytes: &[u8]) -> Option<&[u8]> {
    let date = bytes.get(..11)?;
    let shaped = date.iter().enumerate().all(|(at, byte)| match at {
        4 | 7 => *byte == b'-',
        10 => *byte == b'T',
        _ => byte.is_ascii_digit(),
    });
    let rest = after_clock(bytes.get(11..).filter(|_| shaped)?)?;
    // A fraction and a zone may follow: at most `.123456789+00:00`.
    let zone = rest.iter().take(17).position(|b| *b == b' ')?;
    let exact = rest.get(..zone)?;
    let legal = |b: &u8| b.is_ascii_digit() || matches!(b, b'.' | b',' | b'+' | b'-' | b':' | b'Z');
    exact.iter().all(legal).then_some(())?;
    rest.get(zone + 1..)
}

/// What follows `18:45:07`.
fn after_clock(bytes: &[u8]) -> Option<&[u8]> {
    let (clock, rest) = bytes.split_first_chunk::<8>()?;
    let shaped = clock.iter().enumerate().all(|(at, byte)| match at {
        2 | 5 => *byte == b':',
        _ => byte.is_ascii_digit(),
    });
    shaped.then_some(rest)
}

/// What follows `host program[4711]: ` or `program[4711]: `; without such a tag, all of it.
fn after_tag(rest: &[u8]) -> &[u8] {
    let mut left = rest;
    for _ in 0..2 {
        if left.starts_with(b"{") {
            return left;
        }
        let Some(end) = memchr::memchr(b' ', left) else {
            // `haproxy[4711]:` and nothing after it.
            return if left.ends_with(b":") { b"" } else { rest };
        };
        let (word, after) = left.split_at(end);
        left = after.get(1..).unwrap_or_default();
        if word.ends_with(b":") {
            return left;
        }
    }
    // A host before a line of ours, without a tag between them.
    if left.starts_with(b"{") { left } else { rest }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LINES: [&str; 3] = [
        r#"{"rc":"","st": 200}"#,
        r#"10.0.0.1:4000 [22/Nov/2026:18:45:07.388] web app/a1 0/0/1/2/3 200 90 - - ---- 1/1/0/0/0 0/0 "GET / HTTP/1.1""#,
        r#"::1:4000 [22/Nov/2026:18:45:07.388] web/1: SSL handshake failure"#,
    ];

    #[test]
    fn every_wrapper_is_taken_off() {
        for wrapper in [
            "",
            "<134>",
            "<0>",
            "<191>",
            "<134>Nov 22 18:45:07 edge-1 haproxy[4711]: ",
            "<134>Nov  2 18:45:07 edge-1 haproxy[4711]: ",
            "<134>Nov 2 18:45:07 haproxy[4711]: ",
            "<134>Nov 22 18:45:07.123 haproxy: ",
            "<134>Nov 22 18:45:07 ",
            "Nov 22 18:45:07 edge-1 haproxy[4711]: ",
            "<134>2026-11-22T18:45:07+00:00 edge-1 haproxy[4711]: ",
            "2026-11-22T18:45:07.123456+00:00 edge-1 haproxy[4711]: ",
            "<134>2026-11-22T18:45:07+00:00 ",
            "<134>1 2026-11-22T18:45:07.388Z edge-1 haproxy 4711 - - ",
            "<134>1 - - - - - - ",
            r#"<134>1 2026-11-22T18:45:07Z h haproxy 1 - [a@1 x="]\"\\" y=""][b] "#,
            "<134>1 2026-11-22T18:45:07Z h haproxy 1 - - \u{feff}",
        ] {
            for line in LINES {
                for end in ["", "\n", "\r\n", "\0"] {
                    let message = format!("{wrapper}{line}{end}");
                    let found = payload(message.as_bytes()).map(String::from_utf8_lossy);
                    assert_eq!(found.as_deref(), Some(line), "{message:?}");
                }
            }
        }
        let hosted = br#"<134>Nov 22 18:45:07 edge-1 {"a": 1}"#;
        assert_eq!(payload(hosted), Some(br#"{"a": 1}"#.as_slice()));
        let empty: &[u8] = b"";
        for message in [
            "",
            "\n",
            "<134>1 - h p 1 - -",
            "<134>Nov 22 18:45:07 haproxy[1]:",
        ] {
            assert_eq!(payload(message.as_bytes()), Some(empty), "{message:?}");
        }
    }

    #[test]
    fn a_broken_wrapper_is_none() {
        for message in [
            "<",
            "<>",
            "<192>x",
            "<9999>x",
            "<13",
            "<-1>x",
            "<BADREQ>",
            "<134>1 - - - - -",
            "<134>1 - - - -  - x",
            "<134>1 - - - - - x",
            "<134>1 - - - - - -x",
            "<134>1 - - - - - [a x=\"] y",
            "<134>1 - - - - - [a x=\"\\",
        ] {
            assert_eq!(payload(message.as_bytes()), None, "{message:?}");
        }
    }

    #[test]
    fn what_only_looks_like_a_wrapper_is_the_line_itself() {
        for line in [
            "Now 22 18:45:07 h p: x",
            "Nov 123 18:45:07 h p: x",
            "Nov 22 18-45:07 h p: x",
            "Nov 22 18:45:07x h p: x",
            "2026-11-22 18:45:07 h p: x",
            "2026-11-22T18:45:07~00:00 x",
            "1 2026-11-22T18:45:07Z h haproxy 1 - - x",
        ] {
            let found = payload(line.as_bytes()).map(String::from_utf8_lossy);
            assert_eq!(found.as_deref(), Some(line));
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_at_most_cut_at_the_front(
            wrapper in "(<[0-9]{0,4}>)?(1 )?(Nov [ 0-9]{1,2} [0-9:]{6,8} ?|2026-11-22T18:45:0[0-9] )?[a-z :\\[\\]\"{-]{0,12}",
            rest in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let mut message = wrapper.into_bytes();
            message.extend(rest);
            if let Some(found) = payload(&message) {
                prop_assert!(trim_end(&message).ends_with(found));
            }
        }
    }
}
