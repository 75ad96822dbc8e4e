//! An event: what happened, for people. Kept for a limited time.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Sorts by time.
    pub id: String,
    /// When.
    pub at: Timestamp,
    /// The release's namespace; empty for none.
    #[serde(default)]
    pub namespace: String,
    /// The release's name; empty for none.
    #[serde(default)]
    pub name: String,
    /// Whether somebody should look.
    pub severity: Severity,
    /// The stable, documented word, such as `StepReached` or `RolledBack`.
    pub reason: String,
    /// One sentence for people.
    pub message: String,
    /// Who says so: `promotion`, `swarm`, `haproxy/<instance>`, `analysis`, `api`.
    pub source: String,
}

/// Whether somebody should look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// All is well.
    Normal,
    /// Somebody should look.
    Warning,
}

/// Every word that is an event's reason. Where a rule stops a rollout it is the word for why.
pub const REASONS: [&str; 81] = [
    "Aborted",
    "AnalysisInconclusive",
    "BeforeTrafficFailed",
    "CanaryHarms",
    "CanaryNonInferior",
    "CandidateFailed",
    "CandidateGood",
    "CandidateHarms",
    "CandidateInconclusive",
    "CertificateInForce",
    "CertificateRefused",
    "Changed",
    "ClientErrorsHarm",
    "ClockAgrees",
    "ClockDiffers",
    "ClockJumped",
    "ControlLossActed",
    "ControlLossEnded",
    "CrashLoop",
    "Created",
    "DeadlinePassed",
    "Deleted",
    "Deleting",
    "DeletionRequested",
    "DriftFound",
    "DriftRepaired",
    "EdgeDrains",
    "EdgeForgotten",
    "EdgeStays",
    "ErrorGuard",
    "ErrorsHarm",
    "ExperimentEnded",
    "ExperimentShares",
    "ExperimentStarted",
    "Failed",
    "FailedBefore",
    "FreezeOverridden",
    "GatePassed",
    "HaproxyRestarted",
    "HaproxyTrouble",
    "HoldEnded",
    "LatencyHarm",
    "MetricFailed",
    "MetricInconclusive",
    "NameTaken",
    "NobodyIsFit",
    "OperationAccepted",
    "OperationRefused",
    "Over",
    "PreviewEnded",
    "PreviewStarted",
    "ProgressDeadline",
    "Promoted",
    "Reloaded",
    "Replaced",
    "RevisionCreated",
    "RolledBack",
    "RolloutStarted",
    "RulesKept",
    "SaturationGuard",
    "ServiceAdopted",
    "ServiceCreated",
    "ServiceGivenBack",
    "ServiceImpaired",
    "ServiceRefused",
    "ServiceRemoved",
    "ServiceRestarted",
    "ServiceRestored",
    "ServiceScaled",
    "ServiceUpdated",
    "StableReapplied",
    "StepReached",
    "StoreWasLost",
    "TakenBackWithGroup",
    "TakingBack",
    "TaskFailed",
    "TaskOutlier",
    "TaskOutlierOver",
    "Unresolved",
    "WebhookFailed",
    "WouldAct",
];
