//! What tasks use of what they may use, as the node agents measure it.
//!
//! Owner: the node agent of a process, in memory; what it says replaces what it said before.

use std::sync::{Arc, PoisonError, RwLock};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What the tasks of one node use.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeUsage {
    /// The agent's instance name.
    pub instance: String,
    /// Each task that was measured.
    pub tasks: Vec<TaskUsage>,
    /// Why Docker cannot be asked now; what is said of tasks is then old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// What one task used, between two measurements.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskUsage {
    /// `namespace/name`.
    pub release: String,
    /// The release's uid.
    pub uid: String,
    /// The revision.
    pub revision: String,
    /// The task's id.
    pub task: String,
    /// When it was measured.
    pub at: Timestamp,
    /// Processors.
    pub cpu: Amount,
    /// Bytes of memory, without what the kernel could drop at once.
    pub memory: Amount,
}

/// Something used, and its limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Amount {
    /// Used.
    pub used: f64,
    /// The most that may be used; absent: the task has no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<f64>,
}

impl Amount {
    /// The share of the limit that is used, 1 being all of it; `None` without a limit.
    #[must_use]
    pub fn share(self) -> Option<f64> {
        let limit = self.limit.filter(|limit| *limit > 0.0)?;
        Some((self.used / limit).max(0.0))
    }
}

/// What the node agent of this process last measured. A clone is cheap and sees the same.
#[derive(Debug, Clone, Default)]
pub struct LocalUsage {
    current: Arc<RwLock<Option<NodeUsage>>>,
}

impl LocalUsage {
    /// Replaces it.
    pub fn set(&self, usage: NodeUsage) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(usage);
    }

    /// What was last measured; `None` while no agent runs here.
    #[must_use]
    pub fn get(&self) -> Option<NodeUsage> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.clone()
    }
}
