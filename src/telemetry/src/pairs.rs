//! Mirrored requests: an original and its copy count once both have ended, and only together.
//!
//! Each line of the two names their pair. One whose other half never comes (its line was lost, the copy was not sent, HAProxy did
//! not wait for the agent's answer) counts for neither side, and neither does a pair of which a client gave one up: what
//! one side was not asked, or was not let finish, must not speak against the other. What must never happen: memory that grows with halves.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;

use crate::outcomes::Kind;

/// Halves that wait at once; beyond it the oldest go.
const MOST: usize = 8192;
/// How long the other half is waited for: longer than any answer takes that counts.
const LONGEST: Duration = Duration::from_secs(3600);

/// Which half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Half {
    /// What the user asked, and stable answered.
    Original,
    /// What the canary was asked as well.
    Copy,
}

/// How both ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pair {
    /// The user's request.
    pub(crate) original: Kind,
    /// The copy.
    pub(crate) copy: Kind,
}

/// Halves that wait for the other one.
#[derive(Debug, Default)]
pub(crate) struct Pairs {
    /// `None` for how it ended: a client gave it up.
    waiting: HashMap<u64, (Half, Option<Kind>), RandomState>,
    order: VecDeque<(u64, Instant)>,
}

impl Pairs {
    /// A half has ended; the pair, if the other one has, too, and both count.
    pub(crate) fn ended(
        &mut self,
        pair: u64,
        half: Half,
        kind: Option<Kind>,
        now: Instant,
    ) -> Option<Pair> {
        self.make_room(now);
        match self.waiting.remove(&pair) {
            Some((other, before)) if other != half => {
                let (one, two) = (before?, kind?);
                let (original, copy) = match half {
                    Half::Copy => (one, two),
                    Half::Original => (two, one),
                };
                Some(Pair { original, copy })
            }
            Some(_) | None => {
                self.waiting.insert(pair, (half, kind));
                self.order.push_back((pair, now));
                None
            }
        }
    }

    fn make_room(&mut self, now: Instant) {
        // What has found its other half stays in the order until there is much of it.
        if self.order.len() >= 4 * MOST {
            self.order
                .retain(|(pair, _)| self.waiting.contains_key(pair));
        }
        while let Some((oldest, since)) = self.order.front().copied()
            && (self.waiting.len() >= MOST || now.saturating_duration_since(since) >= LONGEST)
        {
            self.order.pop_front();
            self.waiting.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcomes::End;

    fn kind(status: u16) -> Kind {
        Kind {
            status,
            end: End::Answered,
            grpc: None,
            state: None,
        }
    }

    #[test]
    fn only_both_halves_count_whichever_is_first() {
        let (mut pairs, now) = (Pairs::default(), Instant::now());
        let mut ended = |pair, half, status: Option<u16>| {
            let found = pairs.ended(pair, half, status.map(kind), now)?;
            Some((found.original.status, found.copy.status))
        };
        assert_eq!(ended(1, Half::Original, Some(200)), None);
        assert_eq!(ended(2, Half::Copy, Some(503)), None);
        assert_eq!(ended(1, Half::Copy, Some(500)), Some((200, 500)));
        assert_eq!(ended(2, Half::Original, Some(204)), Some((204, 503)));
        assert_eq!(ended(2, Half::Original, Some(204)), None, "over");
        // Whoever gave up takes the other half with him.
        assert_eq!(ended(3, Half::Original, None), None);
        assert_eq!(ended(3, Half::Copy, Some(504)), None);
        assert_eq!(ended(4, Half::Copy, None), None);
        assert_eq!(ended(4, Half::Original, Some(200)), None);
        assert_eq!(ended(5, Half::Copy, Some(200)), None);
        assert_eq!(
            ended(5, Half::Copy, Some(200)),
            None,
            "the same half twice is no pair"
        );
    }

    #[test]
    fn halves_that_wait_are_bounded_by_number_and_time() {
        let (mut pairs, now) = (Pairs::default(), Instant::now());
        for pair in 0..20_000 {
            assert_eq!(pairs.ended(pair, Half::Copy, Some(kind(200)), now), None);
        }
        assert!(pairs.waiting.len() <= MOST && pairs.order.len() <= MOST);
        assert_eq!(
            pairs.ended(0, Half::Original, Some(kind(200)), now),
            None,
            "long gone"
        );
        let later = now + LONGEST;
        assert_eq!(
            pairs.ended(19_999, Half::Original, Some(kind(200)), later),
            None
        );
        assert!(pairs.waiting.len() <= 1);
        // What found its other half leaves nothing that keeps others out for long.
        for pair in 0..40_000 {
            pairs.ended(pair, Half::Copy, Some(kind(200)), later);
            let found = pairs.ended(pair, Half::Original, Some(kind(200)), later);
            assert!(found.is_some() || pair == 19_999, "{pair}");
        }
        assert!(pairs.order.len() <= 4 * MOST);
    }
}
