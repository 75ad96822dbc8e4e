//! A job that measures: a program that Swarm runs once. Analysis asks for it under one key, the swarm controller answers
//! under another.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::keys::RevisionId;

/// A job that is wanted. Writer: analysis, which removes it once it was answered or is wanted no more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobRequest {
    /// Of this one measurement: another id is another job.
    pub id: String,
    /// The analysis run it belongs to (`AnalysisTarget::run`), or the id of the gate that is due (`Due::id`); with either
    /// the job ends.
    pub run: String,
    /// The revision whose job it is; absent: it measures, and belongs to none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<RevisionId>,
    /// The image.
    pub image: String,
    /// A name of `registryAuth` in frd's configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry_auth: Option<String>,
    /// Replaces the image's entry point.
    #[serde(default)]
    pub command: Vec<String>,
    /// The arguments.
    #[serde(default)]
    pub args: Vec<String>,
    /// The environment.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Swarm networks that it joins.
    #[serde(default)]
    pub networks: Vec<String>,
    /// A revision's Swarm service spec whose tasks it resembles: their environment, networks, mounts, secrets, configs,
    /// limits and placement; what is given here comes before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub like: Option<serde_json::Value>,
    /// The most of its log that is read, in bytes.
    pub limit: u64,
    /// When it is given up.
    pub until: Timestamp,
}

/// The job's name and the revision, where what became of a job is kept for one; `measurement` is what stands below
/// `observed/…/jobs/`.
#[must_use]
pub fn of_revision(measurement: &str) -> Option<(&str, RevisionId)> {
    let (name, id) = measurement
        .strip_prefix("_beforeTraffic/")?
        .split_once('/')?;
    Some((name, RevisionId::new(id)))
}

/// What became of a job. Writer: the swarm controller, once. It stays until the next job of the same measurement, so that its
/// log can be read; that of a revision's job stays beside it until the revision is forgotten.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobObserved {
    /// The request's id.
    pub id: String,
    /// The name of the service that ran it; empty: none was made.
    #[serde(default)]
    pub service: String,
    /// Its exit code; absent: it came to none, and `failure` says why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// Why it did not run to an exit code, in Docker's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// The last line that it wrote to its standard output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<String>,
    /// The end of what it wrote, to both outputs.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub log: String,
    /// When that was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_job_before_traffic_is_kept_for_a_revision() {
        let id = RevisionId::new("0123456789");
        let kept = "_beforeTraffic/migrate/0123456789";
        assert_eq!(of_revision(kept), Some(("migrate", id)));
        for other in ["_beforeTraffic/migrate", "smoke/canary", "smoke"] {
            assert_eq!(of_revision(other), None, "{other}");
        }
    }
}
