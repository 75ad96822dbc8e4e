//! What blocks or endangers every release at once: the store, a daemon, a controller that nobody runs, an edge.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is in trouble.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum Subject {
    /// The store, as the daemon that answers sees it.
    Store,
    /// A controller whose work nobody does.
    Controller,
    /// A live daemon that cannot do some of its work, or whose clock is wrong.
    Daemon,
    /// A HAProxy or its agent.
    Edge,
}

impl Subject {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Store, Self::Controller, Self::Daemon, Self::Edge];

    /// As it stands in JSON and in metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Controller => "controller",
            Self::Daemon => "daemon",
            Self::Edge => "edge",
        }
    }
}

/// One thing that blocks or endangers more than one release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterProblem {
    /// What is in trouble.
    pub subject: Subject,
    /// Its name; the store's address.
    pub name: String,
    /// One sentence: what is wrong, and what that does.
    pub message: String,
    /// What to do: a command, or where to look.
    pub next: String,
    /// Since when, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

/// All of them, the gravest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterProblems {
    /// Each.
    pub items: Vec<ClusterProblem>,
}
