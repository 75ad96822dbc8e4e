//! A stream's bytes, cut into lines, each of which counts if it shows the secret. Pure, but for the counters.

use std::time::Instant;

use crate::counters::{SAMPLE, State, Way};
use crate::proof::Proof;

/// A line longer than this is none of ours.
pub(super) const MAX_LINE: usize = 8 * 1024;
/// HAProxy's own notices, which have no secret, come before its first request: for a thousand servers, and no more.
const MAX_UNPROVEN: usize = 1 << 20;

/// Cuts a stream of bytes into lines. A last line without an end is cut short and does not count.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// The beginning of a line whose end has not come yet.
    begun: Vec<u8>,
    /// The line has grown too long: what comes up to its end is passed over.
    overlong: bool,
    proof: Option<Proof>,
    /// A line began with the secret.
    proven: bool,
    /// Bytes that came before that.
    unproven: usize,
    /// This is not our HAProxy.
    pub(super) hopeless: bool,
}

impl Lines {
    pub(super) fn proven_by(proof: Option<Proof>) -> Self {
        Self {
            proof,
            ..Self::default()
        }
    }

    pub(super) fn is_proven(&self) -> bool {
        self.proven || self.proof.is_none()
    }

    pub(super) fn feed(&mut self, mut bytes: &[u8], state: &mut State) {
        let now = Instant::now();
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (line, rest) = bytes.split_at(end);
            bytes = rest.get(1..).unwrap_or_default();
            if self.overlong {
                // Counted when it grew too long: its end may never have come.
            } else if self.begun.len() + line.len() > MAX_LINE {
                self.begun.extend(line.iter().take(SAMPLE));
                self.too_long(state);
            } else if self.begun.is_empty() {
                self.line(line, state, now);
            } else {
                let mut whole = std::mem::take(&mut self.begun);
                whole.extend_from_slice(line);
                self.line(&whole, state, now);
                self.begun = whole;
            }
            self.begun.clear();
            self.overlong = false;
            if self.hopeless {
                return;
            }
        }
        if self.overlong {
            return;
        }
        if self.begun.len() + bytes.len() > MAX_LINE {
            self.begun.extend(bytes.iter().take(SAMPLE));
            self.too_long(state);
            self.begun.clear();
            self.overlong = true;
        } else {
            self.begun.extend_from_slice(bytes);
        }
    }

    /// One that does not show the secret is no request; a HAProxy that has shown it before may have a notice to tell.
    fn line(&mut self, line: &[u8], state: &mut State, now: Instant) {
        let Some(proof) = &self.proof else {
            state.take(line, Way::DEFAULT, now);
            return;
        };
        if let Some(line) = proof.strip(line) {
            self.proven = true;
            state.take(line, Way::DEFAULT, now);
        } else if line.starts_with(b"{") {
            state.unproven();
            self.hopeless |= !self.proven;
        } else if self.proven {
            state.take(line, Way::DEFAULT, now);
        } else {
            self.unproven += line.len();
            self.hopeless = self.unproven > MAX_UNPROVEN;
        }
    }

    fn too_long(&mut self, state: &mut State) {
        let Some(proof) = &self.proof else {
            return state.overlong(&self.begun);
        };
        match proof.strip(&self.begun) {
            Some(line) => state.overlong(line),
            None => {
                state.unproven();
                self.hopeless |= !self.proven;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = r#"{"rc":"r|s|500|a|b|n/s|aaaa|bbbb|1","sd":"c","st":200,"ts":"--","tr":3}"#;

    #[test]
    fn an_overlong_line_counts_once_and_the_next_one_is_read() {
        let mut state = State::default();
        let mut lines = Lines::default();
        let mut bytes = vec![b'{'; 64 * 1024];
        bytes.extend_from_slice(format!("\n{GOOD}\n\n\0\n{{\0\n").as_bytes());
        for piece in bytes.chunks(1000) {
            lines.feed(piece, &mut state);
            assert!(lines.begun.len() <= MAX_LINE);
        }
        let log = state.snapshot(Instant::now()).log;
        assert_eq!((log.lines, log.malformed), (1, 2));
    }

    #[test]
    fn a_line_without_an_end_counts_and_takes_no_memory() {
        let mut state = State::default();
        let mut lines = Lines::default();
        for _ in 0..1000 {
            lines.feed(&[b'x'; 4096], &mut state);
            assert!(lines.begun.capacity() <= 4 * MAX_LINE);
        }
        let interleaved = format!("\n{}{GOOD}\n{GOOD}\n", &GOOD[..30]);
        lines.feed(interleaved.as_bytes(), &mut state);
        let log = state.snapshot(Instant::now()).log;
        assert_eq!((log.lines, log.malformed), (1, 2));
    }

    proptest! {
        #[test]
        fn how_the_bytes_are_cut_makes_no_difference(cuts in proptest::collection::vec(1usize..50, 1..200), n in 1usize..40) {
            let text = format!("{GOOD}\n<6>notice\n").repeat(n);
            let mut state = State::default();
            let mut lines = Lines::default();
            let (mut rest, mut cuts) = (text.as_bytes(), cuts.iter().cycle());
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
                lines.feed(piece, &mut state);
                rest = after;
            }
            let log = state.snapshot(Instant::now()).log;
            prop_assert_eq!((log.lines, log.malformed), (n as u64, 0));
        }
    }
}
