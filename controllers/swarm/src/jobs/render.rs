//! From a request to a Docker service spec that runs once. Pure.

use std::collections::BTreeMap;

use fm_api::job::JobRequest;
use fm_api::keys::ReleaseKey;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Labels of job services. They carry none of a revision's labels: a job is no task that serves.
pub(crate) mod label {
    /// The store that the job belongs to.
    pub(crate) const JOB_OF: &str = "fridaymorning.dev/job-of";
    /// The request's id.
    pub(crate) const JOB: &str = "fridaymorning.dev/job";
    /// `METRIC/SIDE`.
    pub(crate) const MEASUREMENT: &str = "fridaymorning.dev/measurement";
    /// `NAMESPACE/NAME`.
    pub(crate) const JOB_RELEASE: &str = "fridaymorning.dev/job-release";
}

/// The name of a job's service: the same for the same request, so that it cannot be made twice.
fn name(installation: &str, key: &ReleaseKey, measurement: &str, id: &str) -> String {
    let text = format!("{installation} {key} {measurement} {id}");
    let hash = Sha256::digest(text.as_bytes());
    let hex: Vec<String> = hash.iter().take(10).map(|b| format!("{b:02x}")).collect();
    format!("fmjob_{}", hex.concat())
}

/// The whole spec.
pub(crate) fn spec(
    installation: &str,
    key: &ReleaseKey,
    measurement: &str,
    request: &JobRequest,
    pinned: &str,
) -> Value {
    let labels = BTreeMap::from([
        (label::JOB_OF, installation.to_owned()),
        (label::JOB, request.id.clone()),
        (label::MEASUREMENT, measurement.to_owned()),
        (label::JOB_RELEASE, key.to_string()),
    ]);
    let env = request
        .env
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    let networks = request
        .networks
        .iter()
        .map(|name| json!({ "Target": name }));
    let container = json!({
        "Image": pinned,
        "Labels": labels,
        "Command": request.command,
        "Args": request.args,
        "Env": env.collect::<Vec<_>>(),
        // Long enough to say a last word; what is given up has had its time.
        "StopGracePeriod": 2_000_000_000_u64,
    });
    json!({
        "Name": name(installation, key, measurement, &request.id),
        "Labels": labels,
        "TaskTemplate": {
            "ContainerSpec": container,
            "RestartPolicy": { "Condition": "none" },
            "Networks": networks.collect::<Vec<_>>(),
            // Whatever the engine's own default is: this one can be read, and does not grow.
            "LogDriver": { "Name": "json-file", "Options": { "max-size": "4m", "max-file": "1" } },
        },
        "Mode": { "Replicated": { "Replicas": 1 } },
        "EndpointSpec": { "Mode": "dnsrr" },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_a_service_that_is_never_started_again() {
        let request = serde_json::from_value(json!({
            "id": "17a", "run": "run", "image": "smoke:1", "command": ["/app"], "args": ["check"],
            "env": { "RELEASE": "shop" }, "networks": ["inner"], "limit": 1000,
            "until": "2026-01-31T12:00:00Z",
        }));
        let key = ReleaseKey::new("default", "shop");
        let spec = spec(
            "store",
            &key,
            "smoke/canary",
            &request.unwrap(),
            "sha256:1d",
        );
        assert!(spec["Name"].as_str().unwrap().len() <= 63);
        insta::assert_json_snapshot!(spec);
    }
}
