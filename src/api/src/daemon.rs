//! What a live daemon says of itself: what it leads or cannot lead, and its clock.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a live daemon says of itself, bound to its lease. It is written every few seconds, which also shows that the store
/// takes writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Daemon {
    /// Unique for each process.
    pub identity: String,
    /// The name by which people know it.
    #[serde(default)]
    pub instance: String,
    /// frd's version.
    #[serde(default)]
    pub version: String,
    /// Its clock when it wrote this.
    pub at: Timestamp,
    /// The controllers that it stands for in elections.
    #[serde(default)]
    pub controllers: BTreeMap<String, Candidate>,
    /// What is wrong with its clock, compared with the others'.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<String>,
}

/// How a daemon stands for one controller.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Candidate {
    /// It leads.
    #[serde(default)]
    pub leads: bool,
    /// Why it cannot do the work now, and leaves it to another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unfit: Option<String>,
}
