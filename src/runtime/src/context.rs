//! What every part of a process shares.

use std::time::Duration;

use fm_store::SharedStore;
use tokio_util::sync::CancellationToken;

use crate::{Fitness, SharedClock};

/// What every part of a process shares.
#[derive(Clone)]
pub struct Context {
    /// Where everything is kept.
    pub store: SharedStore,
    /// Where time comes from.
    pub clock: SharedClock,
    /// Unique for each process: who holds a lease, who wrote an event.
    pub identity: String,
    /// What this process may lead.
    pub fitness: Fitness,
    /// Ends everything, orderly.
    pub shutdown: CancellationToken,
    /// How often everything is looked at again without any wake-up.
    pub resync: Duration,
}
