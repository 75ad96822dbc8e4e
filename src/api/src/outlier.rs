//! Tasks that do worse than their siblings: one bad replica among good ones.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::verdict::Counted;

/// The outliers of a release. Writer: analysis, when one is found and when one is none any more.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Outliers {
    /// The target's uid.
    pub uid: String,
    /// Each of them, by revision and task.
    pub tasks: Vec<Outlier>,
}

/// A task that does worse than the other tasks of its revision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Outlier {
    /// The release's namespace.
    pub namespace: String,
    /// The release's name.
    pub name: String,
    /// The revision.
    pub revision: String,
    /// The address at which HAProxy reaches the task.
    pub address: String,
    /// The task's id; empty: not known.
    #[serde(default)]
    pub task: String,
    /// The node's host name; empty: not known.
    #[serde(default)]
    pub node: String,
    /// In what it is worse.
    pub by: OutlierBy,
    /// The task, since the evidence began: requests, and those that are bad or slow.
    pub counted: Counted,
    /// The other tasks of the revision meanwhile.
    pub others: Counted,
    /// When it was found.
    pub since: Timestamp,
    /// One sentence for people, with the numbers.
    pub sentence: String,
}

/// In what a task is worse than its siblings.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum OutlierBy {
    /// It answers badly more often.
    Errors,
    /// It answers more slowly.
    Latency,
}
