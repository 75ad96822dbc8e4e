//! The bodies of the daemon's HTTP interface that are no stored objects. Written by the API server, read by its clients.
//!
//! Readers ignore fields they do not know, so that a newer daemon can answer an older client.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::job::JobObserved;
use crate::keys::RevisionId;
use crate::log::KeptLog;
use crate::observed::{HaproxyObserved, SwarmObserved};
use crate::release::Release;
use crate::status::Status;
use crate::target::Target;
use crate::verdict::Verdict;

/// What came of an apply or an undo.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApplyResult {
    /// Whether something was stored.
    pub result: ApplyOutcome,
    /// The release as it is stored now (with `dryRun`: as it would be).
    pub release: Release,
    /// The release as it was stored before, if there was one that could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Release>,
    /// What a person should know and that did not prevent it.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// One sentence of what was done, where the result alone does not say it (undo names the revision it went back to).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Whether an apply stored something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ApplyOutcome {
    /// There was none of that name.
    Created,
    /// The stored object was changed.
    Configured,
    /// The stored object is the same already.
    Unchanged,
}

impl ApplyOutcome {
    /// As people read it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            ApplyOutcome::Created => "created",
            ApplyOutcome::Configured => "configured",
            ApplyOutcome::Unchanged => "unchanged",
        }
    }
}

/// Contents of configs and secrets, in base64, by the names that the manifest gives them.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ContentRequest {
    /// Of secrets.
    pub secrets: BTreeMap<String, String>,
    /// Of configs.
    pub configs: BTreeMap<String, String>,
}

impl std::fmt::Debug for ContentRequest {
    /// Names alone: the contents are nobody's.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ContentRequest")
            .field("secrets", &self.secrets.keys())
            .field("configs", &self.configs.keys())
            .finish()
    }
}

/// The keyed hash of each content: what a manifest's `hash` says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ContentHashes {
    /// Of secrets.
    pub secrets: BTreeMap<String, String>,
    /// Of configs.
    pub configs: BTreeMap<String, String>,
}

/// Which service becomes a release, and how it is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AdoptRequest {
    /// The service's name or id.
    pub service: String,
    /// Host names that lead to it; none: it is a worker without routes.
    pub hosts: Vec<String>,
    /// The container's port; absent: the only one that it publishes.
    pub port: Option<u16>,
    /// Take it out of the stack that owns it.
    pub from_stack: bool,
    /// What it writes may be written by several tasks, and two revisions, side by side.
    pub shared: bool,
}

/// What came of a delete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeleteResult {
    /// Always `deleting`: the object goes when everything it made is gone.
    pub result: String,
}

/// An operation was taken in; promotion answers it in the status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OperationAccepted {
    /// The operation's id: that of `status.lastOperation`, or of one in `status.earlierOperations`, once it was answered.
    pub id: String,
    /// It was asked before with this id, and answered then.
    #[serde(default)]
    pub answered: bool,
}

/// Which earlier workload becomes the new spec.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct UndoRequest {
    /// A revision's id, a unique beginning of one, or its number; absent: the last one promoted before the current.
    pub to: Option<String>,
    /// Go back even to a revision that failed.
    pub force: bool,
    /// Why, for the record.
    pub why: Option<String>,
    /// The operation's id: asking twice with the same id is asking once; absent: a new one.
    pub id: Option<String>,
}

/// Several objects.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListBody<T> {
    /// The objects.
    pub items: Vec<T>,
    /// The store's revision that they show; watch from the next one to miss nothing.
    #[serde(default)]
    pub revision: u64,
    /// There is more: the next list's `continue`.
    #[serde(rename = "continue", default, skip_serializing_if = "Option::is_none")]
    pub more: Option<String>,
}

/// Everything about one release, for people. A part that does not exist is null.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct View {
    /// The release's namespace.
    pub namespace: String,
    /// The release's name.
    pub name: String,
    /// The spec; null while a stored one cannot be read (the status says why).
    #[serde(default)]
    pub release: Option<Release>,
    /// What people read.
    #[serde(default)]
    pub status: Option<Status>,
    /// What analysis concludes, without its own state.
    #[serde(default)]
    pub verdict: Option<Verdict>,
    /// What the swarm controller saw.
    #[serde(default)]
    pub swarm: Option<SwarmObserved>,
    /// What each haproxy agent has in force.
    #[serde(default)]
    pub haproxy: BTreeMap<String, HaproxyObserved>,
    /// The last job of each measurement, by `METRIC/SIDE` or `_beforeTraffic/NAME`; the latter for each revision too, by
    /// `_beforeTraffic/NAME/REVISION`, which is not in lists.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub jobs: BTreeMap<String, JobObserved>,
    /// The last lines of revisions that failed; not in lists.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub logs: BTreeMap<RevisionId, KeptLog>,
    /// What promotion wants this instant.
    #[serde(default)]
    pub target: Option<Target>,
    /// Why all of it may be old: the store is lost, in its own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale: Option<String>,
}

/// The body of every answer that is no success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ErrorBody {
    /// What went wrong.
    pub error: ErrorDetail,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ErrorDetail {
    /// One sentence for people.
    pub message: String,
    /// What kind of error it is.
    pub kind: ErrorKind,
    /// Each field that is wrong, for `invalid`.
    #[serde(default)]
    pub problems: Vec<FieldProblem>,
}

/// What kind of error it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ErrorKind {
    /// The request or the object in it is wrong (400, 408, 413, 415, 422).
    Invalid,
    /// There is no such thing (404, 405).
    NotFound,
    /// It contradicts what is stored (409).
    Conflict,
    /// It is understood and not allowed now (403, 409).
    Refused,
    /// The store does not answer (503).
    Unavailable,
    /// A fault of the daemon (500).
    Internal,
}

/// A field that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FieldProblem {
    /// Where: `spec.strategy.canary.steps[1].weight`.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What is allowed, where that can be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed: Option<String>,
}

/// Which daemon answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VersionBody {
    /// The daemon's version.
    pub version: String,
    /// The store it uses, without secrets.
    pub store: String,
    /// This process, as it signs leases and events.
    pub identity: String,
    /// The haproxy agent's instance name.
    #[serde(default)]
    pub instance: String,
}

/// A copy of the store that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CopyBody {
    /// Where it is, on the daemon's machine.
    pub path: String,
    /// Its size.
    pub bytes: u64,
}

/// Whether the daemon can do its work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReadyBody {
    /// Whether all of it is well.
    pub ready: bool,
    /// Each part.
    pub checks: Vec<ReadyCheck>,
}

/// Whether one part of the daemon is well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReadyCheck {
    /// `store`, `promotion`, `swarm`, `haproxy`, `analysis`, `api`.
    pub name: String,
    /// Whether it is well.
    pub ok: bool,
    /// Whether it works and something is wrong all the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub warns: bool,
    /// One sentence for people.
    pub message: String,
}
