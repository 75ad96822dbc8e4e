//! Traffic as it is: one small function for each kind, and what becomes of a rollout under it.
//!
//! To add a kind: write a function that returns a [`Kind`], and a row of it in `rows`. Everything is drawn from the seed; second 1 is
//! the rollout's first, and seconds below it are the hour before, in which only stable is seen.

mod bursts;
mod faults;
mod late;
mod rollout;
mod rows;
mod times;
mod users;

use fm_analysis::evidence::Tally;
use fm_api::verdict::Counted;

use super::random::Random;

pub(crate) use rows::rows;

/// What both sides did in a second: the canary, and each task of stable.
pub(crate) struct Second {
    pub(crate) canary: Tally,
    pub(crate) stable: Vec<Tally>,
}

/// A kind of traffic: what happens in a second. It may remember what happened before.
pub(crate) type Kind = Box<dyn FnMut(&mut Random, i64) -> Second>;

/// The traffic that all kinds have in common, unless they say otherwise.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) rps: u64,
    pub(crate) share: f64,
    /// Tasks of stable.
    pub(crate) tasks: u64,
}

pub(crate) const LOAD: Load = Load {
    rps: 200,
    share: 0.05,
    tasks: 4,
};

/// Base rate of errors.
pub(crate) const BASE: f64 = 0.005;

impl Load {
    /// The requests of the canary, and of each of stable's tasks.
    pub(crate) fn split(&self, random: &mut Random) -> (u64, Vec<u64>) {
        let canary = random.binomial(self.rps, self.share);
        let mut left = self.rps - canary;
        let mut tasks = Vec::new();
        for task in (1..=self.tasks).rev() {
            let requests = random.binomial(left, 1.0 / task as f64);
            left -= requests;
            tasks.push(requests);
        }
        (canary, tasks)
    }
}

/// So many requests, each of which is bad with this chance.
pub(crate) fn answers(random: &mut Random, requests: u64, bad: f64) -> Tally {
    counted(requests, random.binomial(requests, bad))
}

/// So many requests and bad ones.
pub(crate) fn counted(requests: u64, bad: u64) -> Tally {
    Tally {
        counted: Counted { requests, bad },
        client_errors: None,
        latency: None,
    }
}
