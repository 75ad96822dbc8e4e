//! Edges: one HAProxy with its agent each. What people say of one, and what the API tells of all.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::keys::RevisionId;
use crate::observed::Trouble;

/// A person's word on an edge, as it is stored.
///
/// A draining edge is about to be taken out. Its HAProxy goes on serving whatever still comes to it, and follows the shares
/// as well as it can, but no rollout waits for it any more; once its agent is gone it counts as gone for good. Tasks stay
/// while it is alive and still leads to them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EdgeRecord {
    /// When it was told to drain.
    pub draining_since: Timestamp,
    /// By whom.
    pub by: String,
}

/// A person's word that an edge may give up what it keeps, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Accepted {
    /// What was kept when the person said so: what is kept later needs a word of its own.
    pub kept: Vec<String>,
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub by: String,
}

/// The trace of a release that somebody deleted: an edge that was away meanwhile believes that its routes are to go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Deleted {
    /// The release's uid.
    pub uid: String,
    /// When everything of it was gone.
    pub at: Timestamp,
}

/// An edge, as the API tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Edge {
    /// The agent's name.
    pub name: String,
    /// Whether its agent is alive.
    pub live: bool,
    /// Since when it is alive, or gone; absent: nobody saw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// frd's version; empty where it is not known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// HAProxy's version; empty where it is not known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub haproxy: String,
    /// The word that it is to be taken out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draining: Option<EdgeRecord>,
    /// Releases that it has reported on.
    pub releases: Vec<EdgeRelease>,
    /// What is wrong with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// What else is wrong with it, although its HAProxy answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub troubles: Vec<Trouble>,
}

/// What an edge last reported of one release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EdgeRelease {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The revisions that its split leads to.
    pub leads: Vec<RevisionId>,
    /// Revisions whose tasks stay for it alone.
    pub keeps: Vec<RevisionId>,
}

/// All edges.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Edges {
    /// Each, by name.
    pub items: Vec<Edge>,
}
