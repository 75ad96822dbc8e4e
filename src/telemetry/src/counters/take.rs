//! What becomes of a line: which kind it is, whether it came before, what it counts for, and who it is sent on to.

use std::time::Instant;

use super::{SWEEP_EVERY, State};
use crate::access::httplog;
use crate::line::{self, Side};
use crate::proof::{Proof, Whose};

/// By which way a line came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Way {
    /// 0 for the default one.
    pub(crate) number: usize,
    /// Whether it is sent on: not what came by Forward, so that two that send to each other do not do so for ever.
    pub(crate) sent_on: bool,
}

impl Way {
    /// HAProxy's ring.
    pub(crate) const DEFAULT: Self = Self {
        number: 0,
        sent_on: true,
    };
}

/// What became of a line.
enum Taken {
    /// It counted for this series.
    Counted(usize),
    /// It counted, or is none of ours to count; it names no revision.
    Passed,
    /// It had come by another way.
    Repeated,
    Malformed,
}

impl State {
    /// A line without its end, and without a wrapper.
    pub(crate) fn take(&mut self, bytes: &[u8], way: Way, now: Instant) {
        let taken = match bytes.first() {
            Some(b'{') => self.take_own(bytes, way, now),
            _ => self.take_classic(bytes, way, now),
        };
        match taken {
            Taken::Malformed => self.malformed(bytes),
            Taken::Repeated => self.log.repeated += 1,
            Taken::Counted(_) | Taken::Passed => {}
        }
        if way.sent_on && !matches!(taken, Taken::Repeated) && !bytes.is_empty() {
            let series = match taken {
                Taken::Counted(place) => self.series.get(place),
                Taken::Passed | Taken::Repeated | Taken::Malformed => None,
            };
            let counted = series.map(|found| (found.release.as_str(), found.revision.as_str()));
            for outflow in &self.outflows {
                outflow.push(bytes, counted);
            }
        }
        let due = |at| now.saturating_duration_since(at) >= SWEEP_EVERY;
        if self.swept.is_none_or(due) {
            self.sweep(now);
        }
    }

    fn take_own(&mut self, bytes: &[u8], way: Way, now: Instant) -> Taken {
        let Some(line) = line::parse(bytes) else {
            return Taken::Malformed;
        };
        if let Some((process, number)) = line.sequence {
            // Without its number two lines cannot be told apart: each counts.
            if self.is_repeat(bytes, way) {
                return Taken::Repeated;
            }
            self.sequences.observe(process, number, now);
        }
        if line.record.is_empty() {
            self.log.lines += 1;
            self.log.unrouted += 1;
            return Taken::Passed;
        }
        match self.count(&line, now) {
            Some(place) => {
                // A copy is no request of anybody's, and has no number to be missed by.
                self.log.lines += u64::from(line.side != Side::Copy);
                Taken::Counted(place)
            }
            None => Taken::Malformed,
        }
    }

    /// A line of the classic format names a backend; one that is none of ours counts as a request without a route. What
    /// is no request at all, as HAProxy's notices, counts nowhere.
    fn take_classic(&mut self, bytes: &[u8], way: Way, now: Instant) -> Taken {
        let request = match httplog::parse(bytes) {
            httplog::Line::Request(request, _) => request,
            httplog::Line::Malformed => return Taken::Malformed,
            httplog::Line::Other => return Taken::Passed,
        };
        // It has no number, but the client's address and port, and the time to the millisecond.
        if self.is_repeat(bytes, way) {
            return Taken::Repeated;
        }
        self.log.lines += 1;
        let backends = std::mem::take(&mut self.backends);
        let counted = backends
            .line(&request)
            .and_then(|line| self.count(&line, now));
        self.backends = backends;
        match counted {
            Some(place) => Taken::Counted(place),
            None => {
                self.log.unrouted += 1;
                Taken::Passed
            }
        }
    }

    fn is_repeat(&mut self, bytes: &[u8], way: Way) -> bool {
        let repeats = self.repeats.as_mut();
        repeats.is_some_and(|repeats| repeats.is_repeat(way.number, bytes))
    }

    /// A message in whatever syslog wrapper. `proof`: what the line in it must begin with.
    pub(crate) fn take_message(
        &mut self,
        message: &[u8],
        way: Way,
        proof: Option<&Proof>,
        now: Instant,
    ) -> Whose {
        let line = crate::syslog::payload(message);
        let own = self.own.as_ref().zip(line);
        if let Some(line) = own.and_then(|(own, line)| own.strip(line)) {
            self.take(line, way, now);
            return Whose::Ours;
        }
        let Some(proof) = proof else {
            match line {
                None => self.malformed(message),
                Some(line) => self.take(line, way, now),
            }
            return Whose::Ours;
        };
        let line = line.unwrap_or(message);
        if let Some(line) = proof.strip(line) {
            self.take(line, way, now);
            return Whose::Ours;
        }
        if line.first() != Some(&b'{') && matches!(httplog::parse(line), httplog::Line::Other) {
            return Whose::Nobodys;
        }
        self.unproven();
        Whose::Strange
    }
}
