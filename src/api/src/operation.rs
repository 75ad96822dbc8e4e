//! An operation: a person's word on a rollout. Immutable; promotion answers it in the status and removes it.

use crate::quantity::Span;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A person's word on a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Operation {
    /// Its id, chosen by who asks; the same id twice is one operation.
    #[schemars(regex(pattern = r"^[A-Za-z0-9-]{1,64}$"))]
    pub id: String,
    /// What is asked.
    #[serde(rename = "operation")]
    pub verb: Verb,
    /// With `promote`: pass every wait, not one.
    #[serde(default)]
    pub full: bool,
    /// With `hold`: for how long; absent: an hour.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub period: Option<Span>,
    /// With `promote`: no freeze window holds this rollout any more; `why` is then required.
    #[serde(default, skip_serializing_if = "is_false")]
    pub override_freeze: bool,
    /// With `abort`: also where a job has made it irreversible; `why` is then required. With `undo`: also to a revision that
    /// failed.
    #[serde(default, skip_serializing_if = "is_false")]
    pub force: bool,
    /// Only for the rollout of this revision; absent: whichever runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<crate::keys::RevisionId>,
    /// Why, for the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Who asks; set by the server.
    #[serde(default)]
    pub by: String,
    /// Which roles that person has; set by the server.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// When; set by the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

/// What can be asked of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Verb {
    /// Pass one wait; with `full`, all of them.
    Promote,
    /// Take the canary back; or keep from beginning what is asked for and has not begun.
    Abort,
    /// Try a failed or aborted revision again, from the first step; of a rollout that a gate has stopped, ask that gate again.
    Retry,
    /// Stop where it is.
    Pause,
    /// Undo a pause.
    Resume,
    /// Go back to an earlier revision. The API writes its workload as the new spec, and this word beside it, which says
    /// who went back and why.
    Undo,
    /// New tasks of the same revision.
    Restart,
    /// Nothing is repaired, promoted or moved for a while; only `abort` and deletion go on.
    Hold,
    /// Undo a hold before its time is over.
    EndHold,
}
