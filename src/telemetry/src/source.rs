//! Where analysis gets its counters from: one process' own, or those of many agents.

use async_trait::async_trait;

use crate::counters::Snapshot;
use crate::receiver::Handle;

/// Counters of every agent, as far as they can be read now.
#[async_trait]
pub trait CounterSource: Send + Sync {
    /// Each agent's counters, or why they cannot be read. `Snapshot::at` may be absent: who pulls knows the time.
    async fn pull(&self) -> Vec<Result<Snapshot, SourceError>>;
}

/// Why an agent's counters cannot be read now. It may work the next time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the counters of {instance} cannot be read: {message}")]
pub struct SourceError {
    /// The agent's instance name.
    pub instance: String,
    /// Why.
    pub message: String,
}

#[async_trait]
impl CounterSource for Handle {
    async fn pull(&self) -> Vec<Result<Snapshot, SourceError>> {
        vec![Ok(self.current())]
    }
}
