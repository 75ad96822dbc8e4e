//! The store's keys, and the names that stand in them. Every key has exactly one writer; the table is in the crate's head.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Everything of ours lies below this prefix.
pub const ROOT: &str = "/fridaymorning/";

/// A release's namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReleaseKey {
    namespace: String,
    name: String,
}

impl ReleaseKey {
    /// From its two parts, which validation has seen.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
    /// The namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }
    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
    /// Where the spec is stored. Writer: the API.
    #[must_use]
    pub fn release(&self) -> String {
        format!("{ROOT}releases/{self}")
    }
    /// Where the target is stored. Writer: promotion.
    #[must_use]
    pub fn target(&self) -> String {
        format!("{ROOT}targets/{self}")
    }
    /// Where the status is stored. Writer: promotion.
    #[must_use]
    pub fn status(&self) -> String {
        format!("{ROOT}status/{self}")
    }
    /// Where the verdict is stored. Writer: analysis.
    #[must_use]
    pub fn verdict(&self) -> String {
        format!("{ROOT}verdicts/{self}")
    }
    /// The prefix of the verdicts on an experiment's candidates.
    #[must_use]
    pub fn trials_prefix(&self) -> String {
        format!("{ROOT}trials/{self}/")
    }
    /// Where the verdict on a candidate of an experiment is stored. Writer: analysis.
    #[must_use]
    pub fn trial(&self, candidate: &str) -> String {
        format!("{ROOT}trials/{self}/{candidate}")
    }
    /// Where the tasks are stored that do worse than their siblings. Writer: analysis.
    #[must_use]
    pub fn outliers(&self) -> String {
        format!("{ROOT}outliers/{self}")
    }
    /// Where the swarm controller writes what it saw.
    #[must_use]
    pub fn observed_swarm(&self) -> String {
        format!("{ROOT}observed/{self}/swarm")
    }
    /// The prefix of what each haproxy agent writes.
    #[must_use]
    pub fn observed_haproxy_prefix(&self) -> String {
        format!("{ROOT}observed/{self}/haproxy/")
    }
    /// Where the haproxy agent `instance` writes what it saw.
    #[must_use]
    pub fn observed_haproxy(&self, instance: &str) -> String {
        format!("{ROOT}observed/{self}/haproxy/{instance}")
    }
    /// The prefix of the jobs that analysis wants to be run.
    #[must_use]
    pub fn jobs_prefix(&self) -> String {
        format!("{ROOT}jobs/{self}/")
    }
    /// Where a job is asked for; `measurement` is `METRIC/SIDE`. Writer: analysis.
    #[must_use]
    pub fn job(&self, measurement: &str) -> String {
        format!("{ROOT}jobs/{self}/{measurement}")
    }
    /// The prefix of what became of jobs.
    #[must_use]
    pub fn observed_jobs_prefix(&self) -> String {
        format!("{ROOT}observed/{self}/jobs/")
    }
    /// Where the swarm controller writes what became of a job; `measurement` is `METRIC/SIDE`.
    #[must_use]
    pub fn observed_job(&self, measurement: &str) -> String {
        format!("{ROOT}observed/{self}/jobs/{measurement}")
    }
    /// Where the swarm controller keeps what became of a revision's job, until that revision is forgotten.
    #[must_use]
    pub fn observed_job_of(&self, measurement: &str, id: &RevisionId) -> String {
        format!("{ROOT}observed/{self}/jobs/{measurement}/{id}")
    }
    /// The prefix of the last words of revisions that failed.
    #[must_use]
    pub fn observed_logs_prefix(&self) -> String {
        format!("{ROOT}observed/{self}/logs/")
    }
    /// Where the swarm controller keeps the last words of a revision that failed.
    #[must_use]
    pub fn observed_log(&self, id: &RevisionId) -> String {
        format!("{ROOT}observed/{self}/logs/{id}")
    }
    /// Where the gates controller writes what gates have said.
    #[must_use]
    pub fn observed_gates(&self) -> String {
        format!("{ROOT}observed/{self}/gates")
    }
    /// The prefix of the release's operations.
    #[must_use]
    pub fn operations_prefix(&self) -> String {
        format!("{ROOT}operations/{self}/")
    }
    /// Where operation `id` is stored. Writer: the API; promotion answers and removes it.
    #[must_use]
    pub fn operation(&self, id: &str) -> String {
        format!("{ROOT}operations/{self}/{id}")
    }
    /// Where it is kept for a while that the release was deleted. Writer: the API.
    #[must_use]
    pub fn deleted(&self) -> String {
        format!("{ROOT}deleted/{self}")
    }
    /// The prefix of the release's revisions.
    #[must_use]
    pub fn revisions_prefix(&self) -> String {
        format!("{ROOT}revisions/{self}/")
    }
    /// Where a revision is stored. Writer: promotion; never changed once written.
    #[must_use]
    pub fn revision(&self, id: &RevisionId) -> String {
        format!("{ROOT}revisions/{self}/{id}")
    }

    /// Which release a key of the store belongs to; `None` for keys of no release.
    #[must_use]
    pub fn of(key: &str) -> Option<ReleaseKey> {
        let mut parts = key.strip_prefix(ROOT)?.split('/');
        match parts.next()? {
            "releases" | "targets" | "status" | "verdicts" | "observed" | "operations"
            | "revisions" | "outliers" | "jobs" | "trials" => {
                let (namespace, name) = (parts.next()?, parts.next()?);
                (!namespace.is_empty() && !name.is_empty())
                    .then(|| ReleaseKey::new(namespace, name))
            }
            _ => None,
        }
    }
}

impl fmt::Display for ReleaseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl FromStr for ReleaseKey {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((namespace, name))
                if !namespace.is_empty() && !name.is_empty() && !name.contains('/') =>
            {
                Ok(ReleaseKey::new(namespace, name))
            }
            _ => Err(format!("`{text}` is not NAMESPACE/NAME")),
        }
    }
}

/// The prefix of all specs.
#[must_use]
pub fn releases_prefix() -> String {
    format!("{ROOT}releases/")
}
/// The prefix of one namespace's specs.
#[must_use]
pub fn releases_in(namespace: &str) -> String {
    format!("{ROOT}releases/{namespace}/")
}
/// The prefix of the collection `kind`: `targets`, `observed`, `verdicts`, `status`, `operations`, `revisions`, `events`.
#[must_use]
pub fn prefix(kind: &str) -> String {
    format!("{ROOT}{kind}/")
}
/// Where a person's word on an edge is stored. Writer: the API.
#[must_use]
pub fn edge(instance: &str) -> String {
    format!("{ROOT}edges/{instance}")
}
/// Where a person's word is stored that an edge may give up what it keeps. Writer: the API.
#[must_use]
pub fn accepted(instance: &str) -> String {
    format!("{ROOT}accepted/{instance}")
}
/// Where an event is stored; ids sort by time.
#[must_use]
pub fn event(id: &str) -> String {
    format!("{ROOT}events/{id}")
}
/// Where the store's own name is kept: what the swarm controller makes carries it, so that two stores that share one
/// Swarm leave each other's services alone, and edges know their store again. Given once, by whichever daemon is first.
#[must_use]
pub fn installation() -> String {
    format!("{ROOT}installation")
}
/// That the store was made by a version with rules for manifests, which hold where `frd.yaml` has none.
#[must_use]
pub fn has_policy() -> String {
    format!("{ROOT}policy")
}
/// The lease under which `controller` runs once.
#[must_use]
pub fn lease(controller: &str) -> String {
    format!("{ROOT}leases/{controller}")
}
/// Where a live haproxy agent says that it is there; bound to its lease.
#[must_use]
pub fn agent(instance: &str) -> String {
    format!("{ROOT}agents/{instance}")
}

/// Where a live daemon says what it can do and what its clock shows; bound to its lease.
#[must_use]
pub fn daemon(identity: &str) -> String {
    format!("{ROOT}daemons/{identity}")
}

/// Where a live node agent says that it is there; bound to its lease.
#[must_use]
pub fn node(instance: &str) -> String {
    format!("{ROOT}nodes/{instance}")
}

/// A revision: ten hex digits of the hash of the workload, its image's digest and the ports that routes name.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct RevisionId(String);

impl RevisionId {
    /// From its text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }
    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
    /// The revision of this workload, whose image was resolved to `pinned`, with these container ports.
    ///
    /// Two workloads that would run the same have the same revision; the tag of the image does not count, its digest does.
    #[must_use]
    pub fn of(workload: &crate::workload::Workload, pinned: &str, ports: &[u16]) -> Self {
        use sha2::{Digest, Sha256};
        let mut same = workload.clone();
        same.image = pinned.to_owned();
        // Our own types serialize without failing; an empty text would only make all revisions equal.
        let text = serde_json::to_string(&(&same, ports)).unwrap_or_default();
        let digest = Sha256::digest(text.as_bytes());
        Self(
            digest
                .iter()
                .take(5)
                .map(|byte| format!("{byte:02x}"))
                .collect(),
        )
    }
}

impl fmt::Display for RevisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Another hash of the same workload would roll everything out again at an upgrade.
    #[test]
    fn the_revision_of_a_workload_that_was_stored_before_stays() {
        let workload: crate::workload::Workload = serde_json::from_value(serde_json::json!({
            "image": "shop:1.4.2", "env": { "A": "1" },
            "mounts": [{ "source": "data", "target": "/data" }],
            "secrets": [{ "source": "db" }],
            "resources": { "limits": { "memory": "64Mi" } },
        }))
        .unwrap();
        let text = serde_json::to_string(&workload).unwrap();
        assert_eq!(
            text,
            r#"{"image":"shop:1.4.2","command":[],"args":[],"env":{"A":"1"},"labels":{},"networks":[],"mounts":[{"type":"volume","source":"data","target":"/data","readOnly":false}],"secrets":[{"source":"db","uid":"0","gid":"0","mode":"0444"}],"configs":[],"resources":{"limits":{"memory":"64Mi"},"reservations":{}},"placement":{"constraints":[],"preferences":[],"maxReplicasPerNode":0}}"#
        );
        let revision = RevisionId::of(&workload, "sha256:aa", &[8080]);
        assert_eq!(revision.as_str(), "d937553360");
    }

    #[test]
    fn every_key_of_a_release_leads_back_to_it() {
        let key = ReleaseKey::new("default", "shop");
        let revision = RevisionId::new("0123456789");
        for text in [
            key.release(),
            key.target(),
            key.status(),
            key.verdict(),
            key.trial("fast"),
            key.outliers(),
            key.observed_swarm(),
            key.observed_gates(),
            key.observed_job_of("_beforeTraffic/migrate", &revision),
            key.observed_log(&revision),
            key.observed_haproxy("edge-1"),
            key.operation("x"),
            key.revision(&revision),
        ] {
            assert_eq!(ReleaseKey::of(&text), Some(key.clone()), "{text}");
        }
        assert_eq!(ReleaseKey::of(&event("x")), None);
        assert_eq!(ReleaseKey::of("/other/releases/a/b"), None);
    }
}
