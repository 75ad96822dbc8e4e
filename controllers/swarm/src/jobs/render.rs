//! From a request to a Docker service spec that runs once. Pure.

use std::collections::BTreeMap;

use fm_api::job::JobRequest;
use fm_api::keys::ReleaseKey;
use serde_json::{Map, Value, json};
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
    let like = request.like.as_ref().map(|like| &like["TaskTemplate"]);
    let mut task = like.and_then(Value::as_object).cloned().unwrap_or_default();
    let mut container = (task.get("ContainerSpec").and_then(Value::as_object))
        .cloned()
        .unwrap_or_default();
    container.insert("Image".to_owned(), json!(pinned));
    container.insert("Labels".to_owned(), json!(labels));
    // Another command does not take the old one's arguments.
    if like.is_none() || !request.command.is_empty() {
        container.insert("Command".to_owned(), json!(request.command));
        container.insert("Args".to_owned(), json!(request.args));
    } else if !request.args.is_empty() {
        container.insert("Args".to_owned(), json!(request.args));
    }
    container.insert("Env".to_owned(), json!(environment(&container, request)));
    // Long enough to say a last word; what is given up has had its time.
    container.insert("StopGracePeriod".to_owned(), json!(2_000_000_000_u64));
    if like.is_some() {
        // It ends, and is judged by that.
        container.insert("Healthcheck".to_owned(), json!({ "Test": ["NONE"] }));
    } else {
        let networks = request
            .networks
            .iter()
            .map(|name| json!({ "Target": name }));
        task.insert("Networks".to_owned(), networks.collect());
    }
    // Whatever the engine's own default is: this one can be read, and does not grow.
    let log = json!({ "Name": "json-file", "Options": { "max-size": "4m", "max-file": "1" } });
    task.insert("LogDriver".to_owned(), log);
    task.insert("RestartPolicy".to_owned(), json!({ "Condition": "none" }));
    task.insert("ContainerSpec".to_owned(), Value::Object(container));
    json!({
        "Name": name(installation, key, measurement, &request.id),
        "Labels": labels,
        "TaskTemplate": task,
        "Mode": { "Replicated": { "Replicas": 1 } },
        "EndpointSpec": { "Mode": "dnsrr" },
    })
}

/// What the request says, and before it what it resembles.
fn environment(container: &Map<String, Value>, request: &JobRequest) -> Vec<String> {
    let known = container.get("Env").and_then(Value::as_array);
    let known = known.into_iter().flatten().filter_map(Value::as_str);
    let kept = known.filter(|pair| {
        let name = pair.split('=').next().unwrap_or_default();
        !request.env.contains_key(name)
    });
    let said = (request.env.iter()).map(|(name, value)| format!("{name}={value}"));
    kept.map(str::to_owned).chain(said).collect()
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

    #[test]
    fn a_job_before_traffic_is_like_a_task_of_its_revision_that_ends() {
        let request = serde_json::from_value(json!({
            "id": "17a", "run": "due", "image": "shop:2", "args": ["migrate"], "env": { "MODE": "once" },
            "limit": 1000, "until": "2026-01-31T12:00:00Z",
            "like": { "TaskTemplate": {
                "ContainerSpec": {
                    "Image": "sha256:1d", "Labels": { "fridaymorning.dev/revision": "a" }, "Command": ["/app"],
                    "Env": ["DB=postgres://db/shop", "MODE=serve"], "User": "app", "Healthcheck": { "Test": ["CMD", "x"] },
                    "Secrets": [{ "SecretName": "db" }],
                },
                "Networks": [{ "Target": "back" }], "RestartPolicy": { "Condition": "any" },
                "Resources": { "Limits": { "MemoryBytes": 1 } },
            }, "Mode": { "Replicated": {} }, "EndpointSpec": { "Ports": [{ "TargetPort": 8080 }] } },
        }));
        let key = ReleaseKey::new("default", "shop");
        let spec = spec(
            "store",
            &key,
            "_beforeTraffic/migrate",
            &request.unwrap(),
            "sha256:1d",
        );
        insta::assert_json_snapshot!(spec);
    }
}
