//! One line of HAProxy's classic `option httplog` (and `httpslog`, which adds TLS fields at its end), without wrapper:
//!
//! `10.0.1.2:33317 [22/Nov/2026:18:45:07.388] http-in static/srv1 10/0/30/69/109 200 2750 - - ---- 1/1/1/1/0 0/0 {shop.example.com} {} "GET /index.html HTTP/1.1"`
//!
//! What a client controls stands in the captured headers and behind them, and HAProxy writes `{ | } "` in it as `#xx`:
//! nothing there can forge a field before it. What must never happen: a panic, an allocation, or a partly read line
//! that counts. Pure.

use super::{Request, Route};

/// What a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line<'a> {
    /// A request; `false`: the line ends before its request does, as where HAProxy's `len` cut it.
    Request(Request<'a>, bool),
    /// Something else that HAProxy says: a notice, a connection that failed, a TCP session.
    Other,
    /// It begins as a request and is none.
    Malformed,
}

/// Reads a line.
#[must_use]
pub fn parse(line: &[u8]) -> Line<'_> {
    let Some(accepted) = Accepted::find(line) else {
        return Line::Other;
    };
    match request(accepted) {
        Some((request, whole)) => Line::Request(request, whole),
        None if accepted.is_other() => Line::Other,
        None => Line::Malformed,
    }
}

/// What a logger, a container's runtime or a journal put before HAProxy's line is taken off, whatever it is: the line begins
/// with the client, just before the first date in brackets. `None`: no line of HAProxy's is in it.
#[must_use]
pub fn unwrapped(line: &[u8]) -> Option<&[u8]> {
    let head = line.get(..WRAPPER).unwrap_or(line);
    for at in memchr::memchr_iter(b'[', head) {
        let before = line.get(..at)?.strip_suffix(b" ");
        let Some(before) = before else { continue };
        let from = before
            .iter()
            .rposition(|b| *b == b' ')
            .map_or(0, |at| at + 1);
        let client = before.get(from..).unwrap_or_default();
        let rest = line.get(at..).unwrap_or_default();
        if is_client(client) && is_dated(rest) {
            return line.get(from..);
        }
    }
    None
}

/// Whether the date behind the client is one.
#[must_use]
pub fn is_whole_date(line: &[u8]) -> bool {
    Accepted::find(line).is_some()
}

/// No wrapper is longer.
const WRAPPER: usize = 512;

/// `10.0.1.2:33317`, `2001:db8::1:33317` or `unix:1`.
fn is_client(word: &[u8]) -> bool {
    let Some(colon) = word.iter().rposition(|b| *b == b':') else {
        return false;
    };
    let (address, port) = (word.get(..colon), word.get(colon + 1..));
    let digits = |port: &[u8]| !port.is_empty() && port.iter().all(u8::is_ascii_digit);
    let legal = |b: &u8| b.is_ascii_hexdigit() || b".:%".contains(b);
    let address = address.unwrap_or_default();
    let known = address == b"unix" || address.iter().all(legal);
    !address.is_empty() && known && port.is_some_and(digits)
}

/// A date in brackets, perhaps a damaged one, and behind it what a request has: a frontend, a backend with its server, and
/// five timers.
fn is_dated(rest: &[u8]) -> bool {
    let Some(end) = memchr::memchr(b']', rest.get(..48).unwrap_or(rest)) else {
        return false;
    };
    let Some(rest) = rest.get(end + 1..).and_then(|rest| rest.strip_prefix(b" ")) else {
        return false;
    };
    if end == 25 {
        // What follows is looked at when it is read.
        return true;
    }
    let mut words = rest.split(|b| *b == b' ');
    let place = words.nth(1).unwrap_or_default();
    let timers = words.next().unwrap_or_default();
    let slashes = |word: &[u8]| word.iter().filter(|b| **b == b'/').count();
    slashes(place) == 1 && slashes(timers) == 4
}

/// A line that has a client and a date where a request has them.
#[derive(Clone, Copy)]
struct Accepted<'a> {
    at: &'a [u8; 24],
    rest: &'a [u8],
}

impl<'a> Accepted<'a> {
    fn find(line: &'a [u8]) -> Option<Self> {
        // No address is longer than this, and no notice should cost more than a look.
        let head = line.get(..128).unwrap_or(line);
        let end = memchr::memchr(b' ', head)?;
        let rest = line.get(end + 1..)?.strip_prefix(b"[")?;
        let (at, rest) = rest.split_first_chunk::<24>()?;
        (at[2] == b'/' && at[6] == b'/' && at[11] == b':' && at[20] == b'.').then_some(())?;
        let rest = rest.strip_prefix(b"] ")?;
        Some(Self { at, rest })
    }

    /// `frontend/1: Connection error`, or the three timers of a TCP session.
    fn is_other(&self) -> bool {
        let mut words = self.rest.split(|b| *b == b' ');
        let first = words.next().unwrap_or_default();
        let timers = words.nth(1).unwrap_or_default();
        let three = timers.iter().filter(|b| **b == b'/').count() == 2
            && timers.iter().all(|b| b"0123456789+-/".contains(b));
        first.ends_with(b":") || three
    }
}

fn request(accepted: Accepted<'_>) -> Option<(Request<'_>, bool)> {
    let (frontend, rest) = word(accepted.rest, b' ')?;
    let (backend, rest) = word(rest, b'/')?;
    let (server, rest) = word(rest, b' ')?;
    let named = accepted.rest.len() - rest.len();
    let place = accepted.rest.get(..named.saturating_sub(1))?;
    let mut numbers = Numbers { rest };
    let timers = [
        numbers.timer(b'/')?,
        numbers.timer(b'/')?,
        numbers.timer(b'/')?,
        numbers.timer(b'/')?,
        numbers.timer(b' ')?,
    ];
    let status = numbers.timer(b' ')?;
    // HTTP knows three digits, and HAProxy writes -1 where there was no answer.
    (status == -1 || (100..=999).contains(&status)).then_some(())?;
    let bytes = numbers.number(b' ')?;
    let rest = match numbers.rest.strip_prefix(b"- - ") {
        Some(rest) => rest,
        // Captured cookies.
        None => word(word(numbers.rest, b' ')?.1, b' ')?.1,
    };
    let (termination, rest) = rest.split_first_chunk::<5>()?;
    let [cause, phase, _, _, b' '] = *termination else {
        return None;
    };
    rest.first().filter(|b| b.is_ascii_digit())?;
    let whole = whole(rest)?;
    let request = Request {
        place,
        frontend,
        backend,
        server,
        timers,
        status,
        bytes: u64::try_from(bytes).unwrap_or(0),
        termination: [cause, phase],
        accepted: Some(accepted.at),
        route: Route::Line(rest),
    };
    Some((request, whole))
}

/// Whether the request's closing quote is there; `None`: not even its opening one.
fn whole(rest: &[u8]) -> Option<bool> {
    if rest.ends_with(b"\"") && !rest.ends_with(b" \"") {
        return Some(true);
    }
    let first = memchr::memchr(b'"', rest)?;
    Some(memchr::memrchr(b'"', rest)? > first)
}

/// A word that is not empty, and what follows its end.
fn word(bytes: &[u8], end: u8) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|b| *b == end).filter(|at| *at > 0)?;
    Some((bytes.get(..at)?, bytes.get(at + 1..)?))
}

struct Numbers<'a> {
    rest: &'a [u8],
}

impl Numbers<'_> {
    /// A number up to `end`: `12`, `-1`, `+12` (`option logasap`), that fits.
    fn timer(&mut self, end: u8) -> Option<i32> {
        // The most frequent by far.
        if let Some(rest) = self.rest.strip_prefix(&[b'0', end]) {
            self.rest = rest;
            return Some(0);
        }
        self.number(end).and_then(|n| i32::try_from(n).ok())
    }

    fn number(&mut self, end: u8) -> Option<i64> {
        let (sign, digits) = match self.rest.split_first()? {
            (b'-', rest) => (-1, rest),
            (b'+', rest) => (1, rest),
            _ => (1, self.rest),
        };
        let mut value = 0i64;
        // Eighteen digits cannot overflow.
        for (at, byte) in digits.iter().enumerate().take(19) {
            match byte {
                b'0'..=b'9' if at < 18 => value = value * 10 + i64::from(byte - b'0'),
                byte if *byte == end && at > 0 => {
                    self.rest = digits.get(at + 1..)?;
                    return Some(sign * value);
                }
                _ => return None,
            }
        }
        None
    }
}

/// Host and path of the request at the end of a line: the host that an absolute URI names, else the first captured
/// request header. The path has no query, and so many segments at most.
#[must_use]
pub fn host_and_path(rest: &[u8], segments: usize) -> (Option<&[u8]>, Option<&[u8]>) {
    let (captured, request) = captured(rest);
    // The method comes first; a request that HAProxy could not read has but one word.
    let end = memchr::memchr2(b' ', b'"', request);
    let Some(uri) = end
        .filter(|end| request.get(*end) == Some(&b' '))
        .and_then(|end| request.get(end + 1..))
    else {
        return (captured, None);
    };
    let absolute = uri
        .strip_prefix(b"https://")
        .or_else(|| uri.strip_prefix(b"http://"));
    match absolute {
        Some(rest) => {
            let ends = |b: &u8| matches!(b, b'/' | b' ' | b'"' | b'?' | b'#');
            let end = rest.iter().position(ends).unwrap_or(rest.len());
            let (host, path) = rest.split_at(end);
            (Some(host), Some(beginning(path, segments)))
        }
        None if uri.first() == Some(&b'/') => (captured, Some(beginning(uri, segments))),
        None => (captured, None),
    }
}

/// The first captured header, and what follows the quote before the request.
fn captured(rest: &[u8]) -> (Option<&[u8]>, &[u8]) {
    let after = |bytes: &'_ [u8]| memchr::memchr(b'"', bytes).map_or(bytes.len(), |at| at + 1);
    let Some(at) = memchr::memchr2(b'{', b'"', rest) else {
        return (None, b"");
    };
    let (mark, inside) = (rest.get(at), rest.get(at + 1..).unwrap_or_default());
    if mark == Some(&b'"') {
        return (None, inside);
    }
    let end = memchr::memchr3(b'|', b'}', b'"', inside).unwrap_or(inside.len());
    let (host, more) = inside.split_at(end);
    let whole = matches!(more.first(), Some(b'|' | b'}')) && !host.is_empty();
    let request = more.get(after(more)..).unwrap_or_default();
    (Some(host).filter(|_| whole), request)
}

/// A path up to its query or end, and to so many segments.
fn beginning(uri: &[u8], segments: usize) -> &[u8] {
    let mut left = segments;
    for (at, byte) in uri.iter().enumerate() {
        match byte {
            b'/' if left == 0 => return uri.get(..at).unwrap_or_default(),
            b'/' => left -= 1,
            b' ' | b'"' | b'?' | b'#' => return uri.get(..at).unwrap_or_default(),
            _ => {}
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LINE: &str = r#"10.0.1.2:33317 [22/Nov/2026:18:45:07.388] http-in~ static/srv1 10/0/30/-1/+109 200 2750 - - sH-- 1/1/1/1/0 0/0 {shop.example.com|Mozilla 5.0 (X)} {} "GET /index/a.html?q=1 HTTP/1.1""#;

    fn read(line: &str) -> Request<'_> {
        let Line::Request(request, true) = parse(line.as_bytes()) else {
            panic!("{line}")
        };
        request
    }

    #[test]
    fn a_request_is_read() {
        let request = read(LINE);
        assert_eq!(
            (request.frontend, request.backend, request.server),
            (&b"http-in~"[..], &b"static"[..], &b"srv1"[..])
        );
        assert_eq!(request.timers, [10, 0, 30, -1, 109]);
        assert_eq!((request.status, request.bytes), (200, 2750));
        assert_eq!(request.termination, *b"sH");
        assert_eq!(request.accepted, Some(b"22/Nov/2026:18:45:07.388"));
    }

    #[test]
    fn its_variants_are_read() {
        for (from, to) in [
            (
                "HTTP/1.1\"",
                "HTTP/1.1\" 0/000000000000/0/0/0 shop/TLSv1.3/TLS_AES_256",
            ),
            ("- -", "SID=abc SID=def"),
            ("10.0.1.2:33317", "2001:db8::1:33317"),
            ("10.0.1.2:33317", "unix:1"),
            ("static/srv1", "static/<NOSRV>"),
            ("10/0/30/-1/+109", "-1/-1/-1/-1/0"),
            ("200 2750", "-1 +0"),
            ("{shop.example.com|Mozilla 5.0 (X)} {} ", ""),
            ("GET /index/a.html?q=1 HTTP/1.1", "<BADREQ>"),
        ] {
            let line = LINE.replace(from, to);
            assert_ne!(line, LINE);
            read(&line);
        }
    }

    #[test]
    fn the_route_is_told_by_what_the_line_has() {
        let of = |line: &str| {
            let Route::Line(rest) = read(line).route else {
                panic!("no line")
            };
            let (host, path) = host_and_path(rest, usize::MAX);
            let text = |b: Option<&[u8]>| b.map(|b| String::from_utf8_lossy(b).into_owned());
            (text(host), text(path))
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(of(LINE), (some("shop.example.com"), some("/index/a.html")));
        let absolute = LINE.replace("GET /index", "GET https://api.example.com/index");
        assert_eq!(
            of(&absolute),
            (some("api.example.com"), some("/index/a.html"))
        );
        let bare = LINE.replace("{shop.example.com|Mozilla 5.0 (X)} {} ", "");
        assert_eq!(of(&bare), (None, some("/index/a.html")));
        for (segments, wanted) in [
            (0, ""),
            (1, "/index"),
            (2, "/index/a.html"),
            (9, "/index/a.html"),
        ] {
            let Route::Line(rest) = read(LINE).route else {
                panic!("no line")
            };
            let (_, path) = host_and_path(rest, segments);
            assert_eq!(path, Some(wanted.as_bytes()));
        }
        let bad = bare.replace("GET /index/a.html?q=1 HTTP/1.1", "<BADREQ>");
        assert_eq!(of(&bad), (None, None));
    }

    #[test]
    fn a_cut_line_counts_only_when_its_request_has_begun() {
        let quote = LINE.find('"').unwrap();
        for cut in 0..LINE.len() {
            match parse(&LINE.as_bytes()[..cut]) {
                Line::Request(_, whole) => assert!(cut > quote && !whole, "cut at {cut}"),
                Line::Other | Line::Malformed => assert!(cut <= quote, "cut at {cut}"),
            }
        }
    }

    #[test]
    fn what_is_no_request_is_told_from_what_is_broken() {
        for other in [
            "",
            "Server static/srv1 is DOWN, reason: Layer4 timeout",
            "Proxy http-in started.",
            "::1:5000 [22/Nov/2026:18:45:07.388] http-in/1: SSL handshake failure",
            "10.0.0.1:5 [22/Nov/2026:18:45:07.388] tcp-in db/s1 0/1/5007 212 -- 0/0/0/0/0 0/0",
        ] {
            assert_eq!(parse(other.as_bytes()), Line::Other, "{other}");
        }
        for (from, to) in [
            ("10/0/30", "10/0/x"),
            ("10/0/30", "10/0/99999999999"),
            ("10/0/30", "10/0/9999999999999999999999"),
            ("10/0/30", "10//30"),
            ("10/0/30", "10/0"),
            ("200", "2 00"),
            ("200", ""),
            ("sH--", "sH"),
            ("static/srv1", "static"),
            ("1/1/1/1/0 0/0", "10.0.1.2:33317 [22/Nov"),
            ("1/1/1/1/0", "x"),
            ("\"", "'"),
        ] {
            let line = LINE.replacen(from, to, 2);
            let found = parse(line.as_bytes());
            let fine = matches!(found, Line::Request(..)) && to.starts_with("10.");
            assert!(fine || found == Line::Malformed, "{line}: {found:?}");
        }
    }

    #[test]
    fn a_client_forges_nothing() {
        let forged = LINE.replace(
            "/index/a.html",
            "/#22_10.9.9.9:1_[22/Nov/2026:18:45:07.388]_evil_evil/evil_0/0/0/0/0_200",
        );
        let long = LINE.replace("/index/a.html", &"/x".repeat(32 * 1024));
        let odd = LINE.replace("/index/a.html", "/\0\u{1}\"\"{}{");
        for line in [forged, long, odd] {
            let request = read(&line);
            assert_eq!((request.backend, request.status), (&b"static"[..], 200));
        }
    }

    proptest! {
        #[test]
        fn the_parser_never_panics(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            at in 0usize..240, byte in any::<u8>(), cut in 0usize..260,
        ) {
            let _ = parse(&bytes);
            let _ = host_and_path(&bytes, usize::MAX);
            let mut line = LINE.as_bytes().to_vec();
            if let Some(place) = line.get_mut(at) { *place = byte; }
            line.truncate(cut);
            line.extend(bytes);
            if let Line::Request(request, _) = parse(&line)
                && let Route::Line(rest) = request.route
            {
                let _ = host_and_path(rest, usize::MAX);
            }
        }
    }
}
