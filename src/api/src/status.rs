//! The status: what people read. Derived by promotion; nothing is decided from it.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::experiment::ExperimentStatus;
use crate::keys::RevisionId;
use crate::quantity::Weight;
use crate::rollout::HistoryEntry;
use crate::strategy::Kind;

/// What people read of a release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The release's uid.
    pub uid: String,
    /// The spec's generation that was taken in.
    pub observed_generation: u64,
    /// Where the release stands.
    pub phase: Phase,
    /// One sentence of why, and what is waited for until when.
    pub why: String,
    /// The stable, documented word for it.
    pub reason: String,
    /// Until when, if a time is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Whether the next move is a person's.
    #[serde(default)]
    pub waits_for_person: bool,
    /// The current step, from 1; 0 without a rollout.
    #[serde(default)]
    pub step: usize,
    /// The strategy that the rollout follows; absent: `canary`.
    #[serde(default, skip_serializing_if = "Kind::is_canary")]
    pub strategy: Kind,
    /// All steps of the rollout.
    #[serde(default)]
    pub steps: Vec<StepStatus>,
    /// The canary's share as wanted.
    pub weight: Weight,
    /// The revision that serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable: Option<RevisionStatus>,
    /// The revision on trial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<RevisionStatus>,
    /// Revisions that are up beside the normal shares, the newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub previews: Vec<PreviewStatus>,
    /// The experiment that runs, or ran last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub experiment: Option<ExperimentStatus>,
    /// What users do not get as they should; absent: nothing of the kind is seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub impaired: Option<Impaired>,
    /// Conditions, each with a reason.
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// Edges whose agent is gone and whose HAProxy may still serve: no share rises, and what they lead to stays.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edges_gone: Vec<EdgeGone>,
    /// What was answered to the last operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_operation: Option<OperationAnswer>,
    /// What was answered to the operations before it, the oldest first; only the last few are kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier_operations: Vec<OperationAnswer>,
    /// The last finished rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_rollout: Option<HistoryEntry>,
    /// When the phase last changed.
    pub since: Timestamp,
}

/// An edge whose agent is gone and whose HAProxy may still serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EdgeGone {
    /// The agent's name.
    pub name: String,
    /// When that was first seen.
    pub since: Timestamp,
    /// Revisions that would be gone by now, but that its HAProxy may still lead to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keeps: Vec<RevisionId>,
}

/// Where a release stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// The first revision is starting; nothing serves yet.
    Pending,
    /// A canary is on its way.
    Progressing,
    /// A person or a rule has stopped the rollout where it is.
    Paused,
    /// Stable is taking everything back.
    RollingBack,
    /// The spec's revision serves everything.
    Healthy,
    /// Users do not get what they should (`impaired`), or the spec's revision failed or was aborted.
    Degraded,
    /// Everything is being taken down.
    Deleting,
    /// The stored spec cannot be used; what ran goes on.
    Invalid,
    /// The preview that the spec asks for is over; nothing of it runs.
    Over,
}

/// One step of the rollout, for people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepStatus {
    /// The canary's share of the requests.
    pub weight: Weight,
    /// The share of the safe requests that are sent to the canary as well.
    #[serde(default, skip_serializing_if = "Weight::is_zero")]
    pub mirror: Weight,
    /// The canary's tasks, where there are no requests to share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks: Option<u32>,
    /// The least time at it.
    pub hold: crate::quantity::Span,
    /// Whether a person must agree.
    #[serde(default)]
    pub approval: bool,
    /// The role that this person must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
}

/// A revision, for people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevisionStatus {
    /// The revision.
    pub revision: RevisionId,
    /// Its number.
    pub number: u64,
    /// The image as the user wrote it.
    pub image: String,
    /// Tasks wanted.
    pub replicas: u32,
    /// Tasks ready in Swarm.
    pub ready: u32,
    /// Tasks healthy in HAProxy, the fewest over all live agents; absent: not routed or not seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy: Option<u32>,
    /// The newest failure in Docker's own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<String>,
}

/// A preview, for people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PreviewStatus {
    /// The revision, its tasks and its last failure.
    pub side: RevisionStatus,
    /// Hosts that lead to it.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Headers that lead to it, as `header: value`.
    #[serde(default)]
    pub headers: Vec<String>,
    /// Until when it is up.
    pub until: Timestamp,
    /// Whether all its tasks are up.
    pub up: bool,
}

/// What users do not get as they should. Told at once, and over only after it was well for [`Impaired::STEADY`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Impaired {
    /// The stable, documented word for it.
    pub reason: String,
    /// One sentence for people.
    pub message: String,
    /// When it began.
    pub since: Timestamp,
    /// Since when all is well again; absent: it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub well_since: Option<Timestamp>,
}

impl Impaired {
    /// So long all must be well before it is said that it is.
    pub const STEADY: crate::quantity::Span = crate::quantity::Span::secs(30);
}

/// A condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// One of the words in [`conditions`].
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it holds; absent: unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<bool>,
    /// The stable, documented word for why.
    pub reason: String,
    /// One sentence for people.
    pub message: String,
    /// Since when.
    pub since: Timestamp,
}

/// The stable words for why a release stands where it does, and for how a rollout ended.
///
/// Verdicts have words of their own, [`crate::verdict::Reason`]; a rollback by one of them carries that word.
pub mod reasons {
    /// The spec's revision serves everything.
    pub const SERVING: &str = "Serving";
    /// The stored spec does not parse or does not validate.
    pub const INVALID_SPEC: &str = "InvalidSpec";
    /// There is a target and no spec.
    pub const SPEC_MISSING: &str = "SpecMissing";
    /// The image is being resolved.
    pub const RESOLVING: &str = "Resolving";
    /// The image cannot be resolved.
    pub const IMAGE_UNRESOLVED: &str = "ImageUnresolved";
    /// The revision could not be started: each of a route's three backends is taken.
    pub const NO_SLOT: &str = "NoFreeSlot";
    /// The revision's earlier tasks are still going away.
    pub const STILL_LEAVING: &str = "StillLeaving";
    /// Tasks are starting.
    pub const SCALING: &str = "TasksStarting";
    /// Tasks are ready in Swarm, and HAProxy's checks do not find them healthy yet.
    pub const UNHEALTHY: &str = "NotHealthyInHaproxy";
    /// No node can take the tasks.
    pub const NO_SUITABLE_NODE: &str = "NoSuitableNode";
    /// Swarm cannot be seen or changed.
    pub const SWARM_UNKNOWN: &str = "SwarmUnknown";
    /// No HAProxy agent is alive.
    pub const NO_AGENT: &str = "NoLiveAgent";
    /// An agent is alive and does not have the wanted split in force yet.
    pub const AGENT_BEHIND: &str = "WaitsForAgent";
    /// An agent was there and is not alive now: shares do not rise.
    pub const AGENT_GONE: &str = "AgentGone";
    /// The step's least time is not over.
    pub const HOLDING: &str = "Holding";
    /// Evidence is missing.
    pub const EVIDENCE: &str = "WaitsForEvidence";
    /// The analysis is inconclusive and a person decides.
    pub const INCONCLUSIVE: &str = "Inconclusive";
    /// Harm is shown of a canary that is not taken back for it, and a person decides.
    pub const HARM_SHOWN: &str = "HarmShown";
    /// A person must agree.
    pub const APPROVAL: &str = "WaitsForApproval";
    /// A webhook must say yes, or a job before traffic must end well.
    pub const GATE: &str = "WaitsForGate";
    /// Other releases that it depends on do not serve what their manifests say yet.
    pub const DEPENDS: &str = "WaitsForDependency";
    /// It could be promoted, and others of its group cannot yet; or it does not begin while one of them has failed.
    pub const GROUP: &str = "WaitsForGroup";
    /// Another release of its group was taken back, and this one with it.
    pub const TAKEN_BACK_WITH_GROUP: &str = "TakenBackWithGroup";
    /// A freeze window: no share rises, nothing is promoted.
    pub const FROZEN: &str = "Frozen";
    /// A webhook failed.
    pub const WEBHOOK_FAILED: &str = "WebhookFailed";
    /// A job that must end well before traffic did not.
    pub const BEFORE_TRAFFIC_FAILED: &str = "BeforeTrafficFailed";
    /// The revision is older than what a job has done for good.
    pub const IRREVERSIBLE: &str = "Irreversible";
    /// Somebody, or a rule, has stopped the rollout.
    pub const PAUSED: &str = "Paused";
    /// The canary is stable now, and not yet on every live agent.
    pub const SWITCHING: &str = "Switching";
    /// Stable takes everything back.
    pub const TAKING_BACK: &str = "TakingBack";
    /// Stable has no task that serves: the canary is kept until it has.
    pub const STABLE_BROKEN: &str = "StableBroken";
    /// Every wait was passed and it serves.
    pub const PROMOTED: &str = "Promoted";
    /// A person took it back.
    pub const ABORTED: &str = "Aborted";
    /// The service that was adopted is not healthy in HAProxy yet, or not any more: nothing takes its place until it is.
    pub const ADOPTED_UNHEALTHY: &str = "AdoptedUnhealthy";
    /// The spec asks for stable again.
    pub const STABLE_REAPPLIED: &str = "StableReapplied";
    /// The spec asks for another revision.
    pub const NEW_REVISION: &str = "NewRevision";
    /// Tasks made no progress for too long.
    pub const PROGRESS_DEADLINE: &str = "ProgressDeadline";
    /// Tasks fail again and again.
    pub const CRASH_LOOP: &str = "CrashLoop";
    /// Somebody asked that nothing be touched for a while.
    pub const HELD: &str = "Held";
    /// A preview is up.
    pub const PREVIEW: &str = "PreviewUp";
    /// A preview's time is over.
    pub const PREVIEW_OVER: &str = "PreviewOver";
    /// An experiment runs beside stable.
    pub const EXPERIMENT: &str = "Experiment";
    /// What the spec asks for waits until the experiment has ended.
    pub const EXPERIMENT_RUNS: &str = "WaitsForExperiment";
    /// Stable has no ready task.
    pub const UNAVAILABLE: &str = "Unavailable";
    /// No task of what serves is healthy in HAProxy: users get 503.
    pub const USERS_GET_503: &str = "UsersGet503";
    /// A HAProxy does not answer, or cannot take its configuration or its port.
    pub const HAPROXY_DOWN: &str = "HaproxyDown";
    /// An edge's HAProxy does not reach tasks that others reach.
    pub const EDGE_CUT_OFF: &str = "EdgeCutOff";
    /// Tasks of what serves die again and again.
    pub const RESTART_LOOP: &str = "RestartLoop";
    /// Stable and the canary are both down: nobody is blamed, and stable is waited for.
    pub const BOTH_DOWN: &str = "BothDown";
    /// `replicas` is 0: no task can show that the revision works.
    pub const NO_REPLICAS: &str = "NoReplicas";
    /// Everything is being taken down.
    pub const DELETING: &str = "Deleting";
}

/// The kinds of condition.
pub mod conditions {
    /// The stored spec can be used.
    pub const VALID: &str = "Valid";
    /// The stored spec cannot be used, and what ran before goes on. Only there while it is so.
    pub const INVALID: &str = "Invalid";
    /// A stable revision serves with all its tasks.
    pub const AVAILABLE: &str = "Available";
    /// A rollout is under way and moves.
    pub const PROGRESSING: &str = "Progressing";
    /// Every live agent has the wanted shares in force.
    pub const ROUTED: &str = "Routed";
    /// All that must be seen is seen: Swarm and HAProxy.
    pub const OBSERVED: &str = "Observed";
    /// Somebody changed a service of ours, and that is left so (`drift: report`). Only there while it is so.
    pub const DRIFTED: &str = "Drifted";
    /// An edge's agent is gone while its HAProxy may still serve. Only there while it is so.
    pub const EDGE_GONE: &str = "EdgeGone";
    /// The rollout must pass what the manifest asks for no more. Only there while it is so.
    pub const RULES_KEPT: &str = "RulesKept";
}

/// What was answered to an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OperationAnswer {
    /// The operation's id.
    pub id: String,
    /// What was asked.
    pub operation: crate::operation::Verb,
    /// Who asked.
    pub by: String,
    /// When it was answered.
    pub at: Timestamp,
    /// Whether it was done.
    pub accepted: bool,
    /// What was done, or why not.
    pub message: String,
}
