//! What controllers last saw. Unknown is a value: an absent field was not seen, and `problem` says why.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::keys::RevisionId;
use crate::quantity::Weight;
use crate::target::{ResolvedImage, Slot};

/// What the swarm controller last saw of one release. Written only when something changed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SwarmObserved {
    /// The target's uid.
    pub uid: String,
    /// The target's generation that was acted on in full.
    pub generation: u64,
    /// The answer to the target's `resolve`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolution: Option<Resolution>,
    /// Each revision that has a service.
    #[serde(default)]
    pub revisions: BTreeMap<RevisionId, SwarmRevision>,
    /// Why Swarm cannot be seen or changed now; everything else here is then old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// The answer to a resolve request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resolution {
    /// The spec's generation it answers.
    pub generation: u64,
    /// The image, or absent when it cannot be resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ResolvedImage>,
    /// The rendered Swarm service spec without replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<serde_json::Value>,
    /// Why it cannot be resolved, in Docker's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Whether trying again may help.
    #[serde(default)]
    pub transient: bool,
}

/// What Swarm shows of one revision.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SwarmRevision {
    /// The service's name.
    pub service: String,
    /// The service's id.
    pub service_id: String,
    /// Tasks that the service is set to.
    pub replicas: u32,
    /// Restarts that the service has taken in (see `RevisionTarget::restarts`).
    #[serde(default)]
    pub restarts: u32,
    /// Tasks that are ready: DesiredState and State running, node ready.
    #[serde(default)]
    pub ready: Vec<Endpoint>,
    /// Tasks that were ready and are on their way out by Swarm's choice (DesiredState has turned).
    #[serde(default)]
    pub leaving: Vec<Endpoint>,
    /// Tasks that exist and are not ready.
    #[serde(default)]
    pub starting: u32,
    /// Failures since the service was created, the newest last, at most five.
    #[serde(default)]
    pub failures: Vec<TaskFailure>,
    /// How many tasks failed since the service was created.
    #[serde(default)]
    pub failed_tasks: u32,
    /// What somebody else changed of the service and what is left so (`drift: report`, or a hold).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drift: Vec<String>,
}

/// A task that can serve.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// The task's id.
    pub task: String,
    /// The node's host name.
    #[serde(default)]
    pub node: String,
    /// For each container port, where it is reached: `ip:port`.
    #[serde(default)]
    pub addresses: BTreeMap<u16, String>,
}

/// A failure in Docker's own words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskFailure {
    /// What kind of failure.
    pub kind: FailureKind,
    /// Docker's words.
    pub message: String,
    /// The task, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// The exit code, if a process ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// When Docker says it happened.
    pub at: Timestamp,
}

/// What kind of failure a task had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum FailureKind {
    /// The image is not there.
    ImageMissing,
    /// The process ended.
    Crashed,
    /// Docker's health check failed.
    Unhealthy,
    /// No node can take the task.
    NoSuitableNode,
    /// Docker refused the task or the service for another reason.
    Rejected,
}

/// What one haproxy agent has in force for one release. Written only when something changed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HaproxyObserved {
    /// The target's uid.
    pub uid: String,
    /// The target's generation that is in force in full.
    pub generation: u64,
    /// The split in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<TrafficInForce>,
    /// The servers of each revision that has a slot.
    #[serde(default)]
    pub revisions: BTreeMap<RevisionId, HaproxyRevision>,
    /// The configuration's generation in force (a hash).
    #[serde(default)]
    pub config: String,
    /// Why HAProxy cannot be seen or changed now; everything else here is then old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A split as HAProxy answers with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrafficInForce {
    /// `Traffic::generation` of the split.
    pub generation: u64,
    /// Who serves what the canary does not.
    pub stable: RevisionId,
    /// Who serves `weight`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<RevisionId>,
    /// The canary's share.
    pub weight: Weight,
    /// The share of stable's safe requests that are sent to the canary as well.
    #[serde(default, skip_serializing_if = "Weight::is_zero")]
    pub mirror: Weight,
}

/// A revision's servers in one HAProxy, the fewest over the release's routes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HaproxyRevision {
    /// Its slot.
    pub slot: Slot,
    /// Servers that are configured for ready tasks.
    pub servers: u32,
    /// … of which HAProxy's own checks find healthy and which take requests.
    pub healthy: u32,
    /// Servers that are draining or stopped.
    pub draining: u32,
    /// Requests and connections still open on draining servers.
    pub open: u64,
    /// HAProxy's words on servers that fail their check, at most three.
    #[serde(default)]
    pub down: Vec<String>,
}

/// What a live node agent says of itself, bound to its lease: it measures what the tasks of its node use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeAgent {
    /// The instance's name.
    pub instance: String,
    /// Where its measurements are served: `unix:/path` or `http://host:port`.
    pub telemetry: String,
}

/// What a live haproxy agent says of itself, bound to its lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Agent {
    /// The instance's name.
    pub instance: String,
    /// Where its telemetry is served: `unix:/path` or `https://host:port`.
    pub telemetry: String,
    /// HAProxy's version.
    #[serde(default)]
    pub haproxy: String,
    /// Why HAProxy does not answer now, in its own words where it said any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// What else is wrong with this edge, although HAProxy answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub troubles: Vec<Trouble>,
    /// frd's version.
    pub version: String,
    /// Since when.
    pub since: Timestamp,
}

/// What is wrong with an edge whose HAProxy answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Trouble {
    /// What it is about.
    pub kind: TroubleKind,
    /// What is wrong and what to do, for people.
    pub message: String,
    /// What this edge keeps against the state of the world, until a person accepts this very word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keeps: Option<String>,
}

/// What a trouble of an edge is about.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum TroubleKind {
    /// A certificate's file cannot be used, or its time is over; an earlier one serves.
    Certificate,
    /// An address has no certificate at all, so nothing is served there.
    NoCertificate,
    /// The store is another one, or releases are gone from it that nobody deleted: routes and shares stay as they were.
    Held,
    /// Another process listens where HAProxy does, and gets a part of the requests or all.
    Address,
    /// Another version wrote one that this one does not know.
    #[serde(other)]
    Other,
}

impl TroubleKind {
    /// Each that this version knows.
    pub const ALL: [Self; 4] = [
        Self::Certificate,
        Self::NoCertificate,
        Self::Held,
        Self::Address,
    ];

    /// Whether requests suffer from it now.
    #[must_use]
    pub fn hurts(self) -> bool {
        match self {
            Self::NoCertificate | Self::Held | Self::Address => true,
            Self::Certificate | Self::Other => false,
        }
    }
}
