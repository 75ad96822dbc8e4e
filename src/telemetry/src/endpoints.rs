//! What each server of one revision answered. At most [`MAX_ENDPOINTS`] are kept, and one that has answered nothing for
//! [`FORGET_AFTER`] is forgotten: tasks come and go, and each has an address of its own.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::histogram::Histogram;
use crate::line::{Line, Outcome};

/// Servers kept for one revision; beyond it the one that was silent the longest goes.
pub const MAX_ENDPOINTS: usize = 256;
/// How long a silent server is kept.
pub const FORGET_AFTER: Duration = Duration::from_secs(600);

/// What one server answered, whoever it was meant for: forced requests and another revision's fallbacks too.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// Requests, without those that the client gave up.
    pub requests: u64,
    /// … of which bad.
    pub bad: u64,
    /// Response times of those that were not bad, as in [`crate::counters::Counters::latency`].
    pub latency: Histogram,
}

impl Endpoint {
    /// Adds what the same server answered behind another HAProxy.
    pub fn merge(&mut self, other: &Endpoint) {
        self.requests = self.requests.saturating_add(other.requests);
        self.bad = self.bad.saturating_add(other.bad);
        self.latency.merge(&other.latency);
    }

    /// What was counted since `earlier`, of the same server behind the same HAProxy. A counter below the earlier one was
    /// begun anew: then all of it is new.
    #[must_use]
    pub fn since(&self, earlier: &Endpoint) -> Endpoint {
        let newer = || {
            Some(Endpoint {
                requests: self.requests.checked_sub(earlier.requests)?,
                bad: self.bad.checked_sub(earlier.bad)?,
                latency: self.latency.since(&earlier.latency)?,
            })
        };
        newer().unwrap_or_else(|| self.clone())
    }
}

/// The servers of one revision, by the text of the log.
#[derive(Debug, Default)]
pub(crate) struct Endpoints {
    known: HashMap<Box<str>, (SocketAddr, Endpoint, Instant)>,
}

impl Endpoints {
    /// Counts an answer. A line that names no server counts nothing.
    pub(crate) fn count(&mut self, line: &Line<'_>, now: Instant) {
        let Some((_, endpoint, seen)) = self.find(line.endpoint, now) else {
            return;
        };
        *seen = now;
        let outcome = line.outcome();
        if outcome == Outcome::ClientAbort {
            return;
        }
        endpoint.requests += 1;
        match (outcome, line.time_to_first_byte) {
            (Outcome::Bad, _) => endpoint.bad += 1,
            (_, Some(ms)) => endpoint.latency.record(f64::from(ms)),
            (_, None) => {}
        }
    }

    fn find(&mut self, text: &str, now: Instant) -> Option<&mut (SocketAddr, Endpoint, Instant)> {
        if !self.known.contains_key(text) {
            let address = address(text)?;
            if self.known.len() >= MAX_ENDPOINTS {
                let oldest = self.known.iter().min_by_key(|(_, (_, _, seen))| *seen);
                let oldest = oldest.map(|(text, _)| text.clone())?;
                self.known.remove(&oldest);
            }
            let fresh = (address, Endpoint::default(), now);
            self.known.insert(text.into(), fresh);
        }
        self.known.get_mut(text)
    }

    pub(crate) fn sweep(&mut self, now: Instant) {
        self.known
            .retain(|_, (_, _, seen)| now.saturating_duration_since(*seen) < FORGET_AFTER);
    }

    pub(crate) fn snapshot(&self) -> BTreeMap<SocketAddr, Endpoint> {
        let pairs = self.known.values();
        pairs
            .map(|(address, endpoint, _)| (*address, endpoint.clone()))
            .collect()
    }
}

/// HAProxy writes `address:port`, an IPv6 address without brackets, and `-:-` for none.
fn address(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.rsplit_once(':')?;
    let host: IpAddr = host.parse().ok()?;
    Some(SocketAddr::new(host, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_as_haproxy_writes_them() {
        assert_eq!(address("10.0.0.1:80").unwrap().to_string(), "10.0.0.1:80");
        assert_eq!(address("fd00::1:80").unwrap().to_string(), "[fd00::1]:80");
        for none in [
            "",
            "-:-",
            "-",
            "10.0.0.1",
            "10.0.0.1:x",
            "a:80",
            "10.0.0.1:99999",
        ] {
            assert_eq!(address(none), None, "{none}");
        }
    }
}
