//! Which revision stands behind a backend, for lines that name only backend and server: HAProxy's classic format.
//!
//! The backends' names are ours (a route's hash and a slot), so a line of our configuration tells its revision by them. A
//! backend that is no longer told of keeps its last revision, because its last requests end after that; it goes when there are
//! too many.

use std::collections::HashMap;

use crate::access::Request;
use crate::line::{Line, Side};

/// Backends remembered at most, beside those that there are now.
const MAX_GONE: usize = 4096;

/// What stands behind a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// The split record that sends requests there.
    pub record: String,
    /// Which side of it the backend is.
    pub canary: bool,
}

/// By the backend's name.
#[derive(Debug, Default)]
pub(crate) struct Backends {
    known: HashMap<Box<[u8]>, Backend>,
    gone: usize,
}

impl Backends {
    /// All that there are now.
    pub(crate) fn set(&mut self, now: impl IntoIterator<Item = (String, Backend)>) {
        let fresh: HashMap<Box<[u8]>, Backend> = now
            .into_iter()
            .map(|(name, backend)| (name.into_bytes().into_boxed_slice(), backend))
            .collect();
        let gone = self.known.keys().filter(|name| !fresh.contains_key(*name));
        self.gone = gone.count();
        if self.gone > MAX_GONE {
            self.known.clear();
            self.gone = 0;
        }
        self.known.extend(fresh);
    }

    /// The request as a line of our own format would tell it. Neither a fallback nor a forced request can be told: they
    /// count for the side that served them.
    pub(crate) fn line<'a>(&'a self, request: &Request<'_>) -> Option<Line<'a>> {
        let backend = self.known.get(request.backend)?;
        let [.., first_byte, total] = request.timers;
        Some(Line {
            record: &backend.record,
            side: match backend.canary {
                true => Side::Canary,
                false => Side::Stable,
            },
            status: request.status,
            termination: request.termination,
            time_to_first_byte: u32::try_from(first_byte).ok(),
            total_time: u32::try_from(total).ok(),
            endpoint: "",
            grpc: None,
            pair: None,
            sequence: None,
        })
    }
}
