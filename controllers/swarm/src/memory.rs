//! What the controller remembers of a release between two looks.
//!
//! Nothing here is needed to be right: after a restart all of it is found out again, at the price of a request more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use fm_api::keys::RevisionId;
use fm_api::observed::{Resolution, SwarmObserved, TaskFailure};

use crate::drift::Difference;
use crate::keeping::Cause;
use crate::tasks::Tally;

/// The longest pause between two attempts of what was refused.
const LONGEST: Duration = Duration::from_secs(60);

/// What is remembered of one release.
#[derive(Default)]
pub(crate) struct Memory {
    /// When we last changed something in Docker: an older look does not show it.
    pub(crate) last_write: Option<Instant>,
    /// Specs that Docker refused.
    pub(crate) refusals: BTreeMap<RevisionId, Refusal>,
    /// Failures counted, with the id of the service they belong to.
    pub(crate) tallies: BTreeMap<RevisionId, (String, Tally)>,
    /// Differences that Docker makes itself, by service id.
    pub(crate) tolerated: BTreeMap<String, BTreeSet<Difference>>,
    /// What was said already, so that it is said once: by what it is about.
    pub(crate) told: BTreeMap<String, String>,
    /// The generation that is being resolved now, with the release's uid.
    pub(crate) resolving: Option<(String, u64)>,
    /// The last answer.
    pub(crate) resolved: Option<Attempt>,
    /// For what the log of each revision was last kept.
    pub(crate) kept: BTreeMap<RevisionId, Cause>,
    /// What was last written to the store, and the store's revision of it.
    pub(crate) written: Option<(SwarmObserved, u64)>,
}

/// A spec that Docker refused.
pub(crate) struct Refusal {
    /// Docker's words.
    pub(crate) failure: TaskFailure,
    /// When it is tried again.
    pub(crate) retry: Retry,
}

/// An answer to a resolve request.
pub(crate) struct Attempt {
    /// The release's uid.
    pub(crate) uid: String,
    /// The answer.
    pub(crate) answer: Resolution,
    /// When it is tried again, if it failed.
    pub(crate) retry: Retry,
}

/// When something is tried again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retry {
    tries: u32,
    at: Instant,
    epoch: u64,
}

impl Retry {
    /// After another failure now, at this epoch of the observer.
    pub(crate) fn after(earlier: Option<Retry>, epoch: u64) -> Retry {
        let tries = earlier.map_or(0, |earlier| earlier.tries.saturating_add(1));
        let pause = Duration::from_secs(2).saturating_mul(1 << tries.min(6));
        Retry {
            tries,
            at: Instant::now() + pause.min(LONGEST),
            epoch,
        }
    }
    /// Whether something came since that may make it succeed.
    pub(crate) fn is_worth_it(&self, epoch: u64) -> bool {
        self.epoch != epoch
    }
    /// How long until it is tried again without any sign.
    pub(crate) fn pause(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }
}
