//! How requests ended, kept apart finely enough that *what counts as an error* can be decided when they are read.
//!
//! What must never happen: more kinds than [`MAX_KINDS`] and the coarse ones, whatever a server invents.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::line::{Line, Side};

/// Kinds kept exactly; beyond it a new kind is counted under its status class (`500` for `5xx`) and without gRPC.
pub const MAX_KINDS: usize = 64;

/// What ended a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    /// The server answered to the end (`-…`): a 5xx is the server's own.
    Answered,
    /// The server failed, was too slow, was not there or went down (`S…`, `s…`, `D…`): a 5xx is HAProxy's.
    Server,
    /// The client left while a 5xx was on its way (`C…`, `c…`). Any other request that a client gave up is not counted here.
    Client,
    /// HAProxy ended it (`P…`, `L…`, `R…`, `I…` and others): a bad answer of the server (`PH`), a limit, a rule.
    Proxy,
    /// No server of this revision was usable and the other one answered instead. The status is 0: this revision gave none.
    Fallback,
}

const ENDS: [(End, &str); 5] = [
    (End::Answered, "answered"),
    (End::Server, "server"),
    (End::Client, "client"),
    (End::Proxy, "proxy"),
    (End::Fallback, "fallback"),
];

/// One way to end. As text (and as a JSON key) `STATUS/END/GRPC`, and HAProxy's state where it says more than the end:
/// `200/answered/-`, `200/answered/14`, `503/server/-/SC`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind {
    /// Status of the answer; 0: none.
    pub status: u16,
    /// What ended it.
    pub end: End,
    /// gRPC's status, where the answer's header told it.
    pub grpc: Option<u8>,
    /// Both letters of HAProxy's termination state, where it was not the server's whole answer (`--`).
    pub state: Option<[u8; 2]>,
}

impl Kind {
    /// How this request ended.
    #[must_use]
    pub fn of(line: &Line<'_>) -> Self {
        if matches!(line.side, Side::Fallback | Side::StableFallback) {
            return Self {
                status: 0,
                end: End::Fallback,
                grpc: None,
                state: None,
            };
        }
        let state = line.termination;
        let [cause, _] = state;
        Self {
            status: u16::try_from(line.status)
                .ok()
                .filter(|status| (100..=999).contains(status))
                .unwrap_or(0),
            end: match cause {
                b'-' => End::Answered,
                b'S' | b's' | b'D' => End::Server,
                b'C' | b'c' => End::Client,
                _ => End::Proxy,
            },
            grpc: line.grpc,
            state: (cause != b'-' && is_state(state)).then_some(state),
        }
    }

    /// Whether [`crate::counters::Counters::bad`] counts it: a 5xx whoever made it, the server's failure, a fallback.
    /// gRPC's status is not looked at.
    #[must_use]
    pub fn is_bad(&self) -> bool {
        self.status >= 500 || matches!(self.end, End::Server | End::Fallback)
    }

    fn coarse(self) -> Self {
        Self {
            status: self.status / 100 * 100,
            grpc: None,
            state: None,
            ..self
        }
    }
}

/// What HAProxy writes as a state; anything else that a line holds there is not kept.
fn is_state(letters: [u8; 2]) -> bool {
    (letters.iter()).all(|letter| letter.is_ascii_alphabetic() || *letter == b'-')
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = ENDS.iter().find(|(end, _)| *end == self.end);
        write!(f, "{}/{}/", self.status, end.map_or("", |(_, name)| name))?;
        match self.grpc {
            Some(status) => write!(f, "{status}")?,
            None => f.write_str("-")?,
        }
        match self.state {
            Some([cause, phase]) => write!(f, "/{}{}", char::from(cause), char::from(phase)),
            None => Ok(()),
        }
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let mut fields = text.split('/');
            let status = fields.next()?.parse().ok()?;
            let name = fields.next()?;
            let (end, _) = ENDS.iter().find(|(_, known)| *known == name)?;
            let grpc = match fields.next()? {
                "-" => None,
                number => Some(number.parse().ok()?),
            };
            let state = match fields.next() {
                Some(letters) => Some(<[u8; 2]>::try_from(letters.as_bytes()).ok()?),
                None => None,
            };
            let whole = state.is_none_or(is_state) && fields.next().is_none();
            whole.then_some(Self {
                status,
                end: *end,
                grpc,
                state,
            })
        };
        read().ok_or_else(|| format!("`{text}` is not STATUS/END/GRPC or STATUS/END/GRPC/STATE"))
    }
}

impl Serialize for Kind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Requests by kind. Sums of kinds are sums of requests: `kinds().filter(|(kind, _)| …).map(|(_, n)| n).sum()`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Outcomes {
    kinds: BTreeMap<Kind, u64>,
}

impl Outcomes {
    /// Each kind and how many requests ended so.
    pub fn kinds(&self) -> impl Iterator<Item = (Kind, u64)> + '_ {
        self.kinds.iter().map(|(kind, count)| (*kind, *count))
    }

    /// Nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    /// Counts requests of a kind.
    pub fn add(&mut self, kind: Kind, count: u64) {
        if let Some(sum) = self.kinds.get_mut(&kind) {
            *sum = sum.saturating_add(count);
        } else if count > 0 {
            let exact = self.kinds.len() < MAX_KINDS;
            let kind = if exact { kind } else { kind.coarse() };
            let sum = self.kinds.entry(kind).or_default();
            *sum = sum.saturating_add(count);
        }
    }

    /// Adds another's counts.
    pub fn merge(&mut self, other: &Outcomes) {
        for (kind, count) in other.kinds() {
            self.add(kind, count);
        }
    }

    /// What was counted since `earlier`, of the same series; `None` when `earlier` is not an earlier state of it.
    #[must_use]
    pub fn since(&self, earlier: &Outcomes) -> Option<Outcomes> {
        let known = |kind: &Kind| self.kinds.contains_key(kind);
        earlier.kinds.keys().all(known).then_some(())?;
        let mut since = Outcomes::default();
        for (kind, count) in self.kinds() {
            let before = earlier.kinds.get(&kind).copied().unwrap_or(0);
            let more = count.checked_sub(before)?;
            if more > 0 {
                since.kinds.insert(kind, more);
            }
        }
        Some(since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_read_back_as_it_was_written() {
        for text in [
            "200/answered/-",
            "0/fallback/-",
            "200/answered/14",
            "503/server/-",
            "503/server/-/SC",
            "200/client/-/cD",
            "502/proxy/-/P-",
        ] {
            assert_eq!(text.parse::<Kind>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "200",
            "200/x/-",
            "200/proxy/x",
            "200/proxy/-/",
            "x/proxy/-",
            "502/proxy/-/P",
            "502/proxy/-/P1",
            "502/proxy/-/PH/",
        ] {
            assert!(text.parse::<Kind>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_server_that_invents_answers_is_bounded_and_nothing_is_lost() {
        let mut outcomes = Outcomes::default();
        for status in 0..1000 {
            for grpc in [None, Some(1), Some(255)] {
                for (end, _) in ENDS {
                    let state = Some([b'S', b'A' + (status % 26) as u8]);
                    let kind = Kind {
                        status,
                        end,
                        grpc,
                        state,
                    };
                    outcomes.add(kind, 1);
                }
            }
        }
        assert!(outcomes.kinds().count() <= MAX_KINDS + 50);
        assert_eq!(outcomes.kinds().map(|(_, n)| n).sum::<u64>(), 15_000);
    }
}
