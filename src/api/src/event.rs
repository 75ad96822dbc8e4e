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
    /// How often it happened: what repeats is one event.
    #[serde(default = "once")]
    pub count: u32,
    /// When it happened last; absent while it happened once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_at: Option<Timestamp>,
}

const fn once() -> u32 {
    1
}

impl Event {
    /// When it was last seen.
    #[must_use]
    pub fn seen(&self) -> Timestamp {
        self.last_at.unwrap_or(self.at)
    }
}

/// Whether somebody should look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// All is well.
    Normal,
    /// Somebody should look.
    Warning,
}

/// Every word that is an event's reason. Where a rule stops a rollout it is the word for why.
pub const REASONS: [&str; 89] = [
    "Aborted",
    "AddressShared",
    "AnalysisInconclusive",
    "BeforeTrafficFailed",
    "CanaryHarms",
    "CanaryNonInferior",
    "CandidateFailed",
    "CandidateGood",
    "CandidateHarms",
    "CandidateInconclusive",
    "CertificateExpired",
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
    "EdgeAccepted",
    "EdgeDrains",
    "EdgeFollows",
    "EdgeForgotten",
    "EdgeHolds",
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
    "GivingBack",
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
    "StoreHasRoom",
    "StoreIsLow",
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
