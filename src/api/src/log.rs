//! What tasks write: single lines, and the last words of a revision that failed.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::keys::RevisionId;

/// A line that a task wrote. Control characters are made harmless before it leaves the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogLine {
    /// When Docker took it.
    pub at: Timestamp,
    /// The task's revision.
    pub revision: RevisionId,
    /// The revision's number; 0 where it is not known.
    #[serde(default)]
    pub number: u64,
    /// The task.
    pub task: String,
    /// The node's host name.
    #[serde(default)]
    pub node: String,
    /// Which output.
    pub stream: Stream,
    /// The line, without its end.
    pub text: String,
}

/// An output of a process.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum Stream {
    /// The standard output.
    Stdout,
    /// The standard error.
    Stderr,
}

/// The last lines of a revision that failed, kept when its tasks are gone. Written by the swarm controller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeptLog {
    /// The release's uid.
    pub uid: String,
    /// When it was read.
    pub at: Timestamp,
    /// The last failure in Docker's own words, if a task failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// The lines, the newest last; at most fifty, of some 8 KB altogether.
    #[serde(default)]
    pub lines: Vec<LogLine>,
}
