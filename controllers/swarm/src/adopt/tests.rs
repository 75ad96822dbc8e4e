//! What a release says of a service that runs, and what it cannot.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Candidate, candidate};
use crate::read::{RawService, read_service};

fn read(task: Value) -> Candidate {
    let raw: RawService = serde_json::from_value(json!({
        "ID": "s1", "Version": { "Index": 3 },
        "Spec": {
            "Name": "web",
            "Labels": { "team": "a" },
            "Mode": { "Replicated": { "Replicas": 2 } },
            "TaskTemplate": task,
        },
    }))
    .unwrap();
    let names = BTreeMap::from([("n1".to_owned(), "backend".to_owned())]);
    candidate(&read_service(raw, &names)).unwrap()
}

#[test]
fn networks_have_their_names_and_tasks_their_restarts() {
    let found = read(json!({
        "ContainerSpec": { "Image": "web:1@sha256:aaaa" },
        "Networks": [{ "Target": "n1", "Aliases": ["www"] }],
        "RestartPolicy": { "Condition": "any", "Delay": 7_000_000_000_u64, "MaxAttempts": 3, "Window": 60_000_000_000_u64 },
    }));
    assert_eq!(found.workload.networks, ["backend"]);
    assert_eq!(found.workload.aliases, ["www", "web"]);
    let restart = serde_json::to_value(&found.workload.restart).unwrap();
    assert_eq!(
        restart,
        json!({ "condition": "any", "delay": "7s", "maxAttempts": 3, "window": "1m" })
    );
    assert_eq!(found.left, Vec::<String>::new());
    // None at all is said, too: it is not our own.
    let found = read(json!({
        "ContainerSpec": { "Image": "web:1" }, "RestartPolicy": { "Condition": "on-failure", "Delay": 0 },
    }));
    let restart = serde_json::to_value(&found.workload.restart).unwrap();
    assert_eq!(
        (&restart["condition"], &restart["delay"]),
        (&json!("onFailure"), &json!("0s"))
    );
}

#[test]
fn what_a_next_revision_would_not_have_is_told() {
    let found = read(json!({
        "ContainerSpec": {
            "Image": "web:1",
            "Isolation": "default",
            "OomScoreAdj": 200,
            "Env": ["A=1", "B"],
            "Healthcheck": { "Test": ["CMD", "x"], "StartInterval": 1_000_000_000 },
            "Mounts": [
                { "Type": "volume", "Source": "data", "Target": "/data", "VolumeOptions": { "Subpath": "a" } },
                { "Type": "bind", "Source": "/a", "Target": "/a", "BindOptions": { "NonRecursive": true } },
            ],
        },
        "Networks": [{ "Target": "n1", "DriverOpts": { "x": "y" } }],
        "Resources": { "Reservations": { "GenericResources": [
            { "DiscreteResourceSpec": { "Kind": "gpu", "Value": 1 } },
            { "NamedResourceSpec": { "Kind": "ssd", "Value": "disk1" } },
        ] } },
        "RestartPolicy": { "Condition": "none" },
    }));
    assert_eq!(
        found.left,
        [
            "the restart condition `none`: a task of a release is replaced however it ends",
            "the health check's `StartInterval`: it is checked at its usual interval from the start",
            "its score when memory runs out (`OomScoreAdj`)",
            "the variable B without a value, which takes away the image's own",
            "options of the network backend",
            "`Subpath` of the mount at /data",
            "`NonRecursive` of the mount at /a",
            "the reserved ssd disk1",
        ]
    );
    assert_eq!(
        found.workload.env,
        BTreeMap::from([("A".to_owned(), "1".to_owned())])
    );
}
