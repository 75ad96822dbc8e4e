//! What every controller runs on.
//!
//! A wake-up says *look*, never *what changed*; a slow resync gives certainty. No key is ever reconciled twice at once.

mod backoff;
mod cache;
mod clocks;
mod context;
mod controller;
pub mod daemon;
mod events;
mod fitness;
mod installation;
mod leader;
mod presence;
mod queue;
mod said;
#[cfg(test)]
mod tests;

pub use cache::{Cache, Changes, decode};
pub use context::Context;
pub use controller::{Wake, run_elected, run_unelected};
pub use events::{Bounds, Recorder, keep_bounds};
pub use fitness::Fitness;
pub use installation::installation;
pub use leader::run_leading;
pub use presence::announce;
pub use said::Said;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fm_api::keys::ReleaseKey;
use fm_store::{Fence, StoreError};
use jiff::Timestamp;

/// Where time comes from.
pub trait Clock: Send + Sync + 'static {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// When a key is looked at again without any wake-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// After this time at the latest.
    After(Duration),
    /// At the next change or resync.
    OnChange,
}

/// Why a reconciliation did not finish.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// It may work later; tried again with growing pauses, or after the given time.
    #[error("{message}")]
    Retry {
        /// What went wrong.
        message: String,
        /// When to try again; absent: with growing pauses.
        after: Option<Duration>,
    },
    /// Trying again will not help until something changes.
    #[error("{0}")]
    Terminal(String),
}

impl From<StoreError> for ReconcileError {
    fn from(error: StoreError) -> Self {
        match error {
            // Someone else was faster: look again at once, with fresh eyes.
            StoreError::Conflict { .. } => Self::Retry {
                message: error.to_string(),
                after: Some(Duration::from_millis(5)),
            },
            StoreError::Compacted { .. }
            | StoreError::LeaseEnded
            | StoreError::Unavailable(_)
            | StoreError::Locked(_) => Self::Retry {
                message: error.to_string(),
                after: None,
            },
            StoreError::TooLarge { .. } | StoreError::Refused(_) => {
                Self::Terminal(error.to_string())
            }
        }
    }
}

/// A controller's work on one release.
#[async_trait]
pub trait Reconciler: Send + Sync + 'static {
    /// Looks at everything about one release and moves reality a step. Never called twice at once for one key.
    /// `fence` is present when the controller runs under an elected lease: every store write must carry it.
    async fn reconcile(
        &self,
        key: &ReleaseKey,
        fence: Option<&Fence>,
    ) -> Result<Next, ReconcileError>;
}

/// Shared by many parts.
pub type SharedClock = Arc<dyn Clock>;
