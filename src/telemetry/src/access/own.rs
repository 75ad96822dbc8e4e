//! Our own JSON line as a request: backend, revision and release come from the split record in it.
//!
//! The line has two timers, `Tr` and `Ta`, and no time of day. The server is the address that was asked last. A fallback of
//! earlier configurations was served by stable's backend, and is none of the canary's there; now the server that answered for
//! another revision has a line of its own, and so the request stands in both revisions' rows. Pure.

use super::{Request, Route};
use crate::line::{self, Line, Side};

/// What a line that begins with `{` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Own<'a> {
    Request(Request<'a>),
    /// A request that had no route.
    Unrouted,
    /// A request that another line tells of.
    Handed,
    Malformed,
}

pub(super) fn parse(bytes: &[u8]) -> Own<'_> {
    let Some(line) = line::parse(bytes) else {
        return Own::Malformed;
    };
    if line.record.is_empty() {
        return Own::Unrouted;
    }
    if line.side == Side::Handed {
        return Own::Handed;
    }
    request(&line).map_or(Own::Malformed, Own::Request)
}

/// The request that a line means; `None`: its record is none.
pub(super) fn request<'a>(line: &Line<'a>) -> Option<Request<'a>> {
    // `mode|seed|weight|stableBackend|canaryBackend|namespace/name|stableRevision|canaryRevision|generation`, and `|mirror`
    let mut fields = line.record.split('|').skip(3);
    let backends = (fields.next()?, fields.next()?);
    let release = fields.next()?;
    let revisions = (fields.next()?, fields.next()?);
    fields.next()?;
    if fields.nth(1).is_some() {
        return None;
    }
    let elsewhere = line.endpoint.starts_with("unix:");
    let (backend, revision) = match line.side {
        Side::Fallback if elsewhere => (backends.1, revisions.1),
        Side::StableFallback => (backends.0, revisions.0),
        Side::Stable
        | Side::Fallback
        | Side::ForcedStable
        | Side::Mirrored
        | Side::ForCanary
        | Side::Handed => (backends.0, revisions.0),
        Side::Canary | Side::Forced | Side::Copy | Side::ForStable => (backends.1, revisions.1),
    };
    let timer = |ms: Option<u32>| ms.map_or(-1, |ms| i32::try_from(ms).unwrap_or(i32::MAX));
    let (first_byte, total) = (timer(line.time_to_first_byte), timer(line.total_time));
    Some(Request {
        place: b"",
        frontend: b"-",
        backend: backend.as_bytes(),
        // HAProxy writes `-:-` where none was asked.
        server: match line.endpoint {
            "" | "-:-" | "-" => b"<NOSRV>",
            address => address.as_bytes(),
        },
        timers: [-1, -1, -1, first_byte, total],
        status: line.status,
        bytes: 0,
        termination: line.termination,
        accepted: None,
        route: Route::Release(release, revision),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_side_tells_backend_and_revision() {
        let line = |side: &str| {
            format!(
                r#"{{"rc":"r|0bad|500|r0_a|r0_b|default/shop|aaaa|bbbb|7","sd":"{side}","st":200,"ts":"--","tr":12,"ta":15,"a":"10.0.0.1:32768"}}"#
            )
        };
        for (side, backend, revision) in [
            ("s", "r0_a", "aaaa"),
            ("f", "r0_a", "aaaa"),
            ("c", "r0_b", "bbbb"),
            ("m", "r0_b", "bbbb"),
        ] {
            let line = line(side);
            let Own::Request(found) = parse(line.as_bytes()) else {
                panic!("{line}")
            };
            assert_eq!(
                (found.backend, found.server),
                (backend.as_bytes(), &b"10.0.0.1:32768"[..])
            );
            assert_eq!(found.route, Route::Release("default/shop", revision));
            assert_eq!(found.timers, [-1, -1, -1, 12, 15]);
        }
        let none = line("s").replace("10.0.0.1:32768", "-:-");
        let found = parse(none.as_bytes());
        assert!(matches!(found, Own::Request(request) if request.server == b"<NOSRV>"));
    }

    #[test]
    fn what_is_no_request_is_told() {
        assert_eq!(parse(br#"{"rc":""}"#), Own::Unrouted);
        for bad in [
            r#"{"rc":"r|0bad|500|r0_a","sd":"s","st":200,"ts":"--"}"#,
            r#"{"rc":"r|0|5|a|b|d/s|a|b|7|8|9","sd":"s","st":200,"ts":"--"}"#,
            "{",
            "{}",
        ] {
            assert_eq!(parse(bad.as_bytes()), Own::Malformed, "{bad}");
        }
    }
}
