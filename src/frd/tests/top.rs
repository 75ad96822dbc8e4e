//! `/v1/top` of one release: its tasks, as Swarm has them, and which of them do worse than their siblings.

#[cfg(test)]
mod support;

use fm_api::keys::ReleaseKey;
use fm_store::Txn;
use serde_json::{Value, json};
use support::Server;

const TASK: &str = "qc7j3wrexvn7xnaxudacyof9m";

fn outliers(uid: &str) -> Value {
    let one = |by: &str| {
        json!({
            "namespace": "default", "name": "shop", "revision": "0000000000", "address": "10.0.0.1:30001",
            "task": TASK, "node": "w1", "by": by, "since": "2026-01-01T00:00:00Z",
            "counted": { "requests": 100, "bad": 20 }, "others": { "requests": 900, "bad": 0 },
            "sentence": "task qc7j3wrexvn7 answers 20.0 % badly",
        })
    };
    json!({ "uid": uid, "tasks": [one("errors"), one("latency")] })
}

#[tokio::test]
async fn top_of_one_release_has_its_tasks_and_names_the_bad_one() {
    let server = Server::start().await;
    server.write(support::running_rollout()).await;
    let key = ReleaseKey::new("default", "shop");
    let mut target: Value = server
        .get("/v1/namespaces/default/releases/shop/target")
        .await
        .body;
    target["revisions"] = json!({ "0000000000": { "replicas": 2, "slot": "a" } });
    let ready = |task: &str, port: u16| json!({ "task": task, "node": "w1", "addresses": { "8080": format!("10.0.0.1:{port}") } });
    let swarm = json!({
        "uid": "u", "generation": 5,
        "revisions": { "0000000000": {
            "service": "s", "serviceId": "i", "replicas": 2, "ready": [ready(TASK, 30001), ready("aaaa", 30002)],
        } },
    });
    let stored = Txn::new()
        .put(key.target(), target.to_string().into_bytes())
        .put(key.observed_swarm(), swarm.to_string().into_bytes())
        .put(key.outliers(), outliers("u").to_string().into_bytes());
    server.write(stored).await;

    let top = server.get("/v1/top?namespace=default&name=shop").await.body;
    let shown: Vec<_> = (top["tasks"].as_array().unwrap().iter())
        .map(|task| (task["task"].as_str().unwrap(), task["outlier"] == true))
        .collect();
    assert_eq!(shown, [("aaaa", false), (TASK, true)]);
    assert_eq!(top["tasks"][1]["addresses"]["8080"], "10.0.0.1:30001");
    assert_eq!(top["outliers"].as_array().unwrap().len(), 2);
    let all = server.get("/v1/top").await.body;
    assert!(
        all["tasks"].is_null() && all["outliers"][0]["task"] == TASK,
        "{all}"
    );
    let metrics = server.text("/metrics").await;
    let line = "fridaymorning_task_outliers{namespace=\"default\",release=\"shop\"} 1.0";
    assert!(
        metrics.lines().any(|found| found == line),
        "one task, worse in two things:\n{metrics}"
    );

    // What was found of a deleted namesake says nothing of this one.
    let old = Txn::new().put(key.outliers(), outliers("old").to_string().into_bytes());
    server.write(old).await;
    let top = server.get("/v1/top?namespace=default&name=shop").await.body;
    assert!(
        top["outliers"].is_null() && top["tasks"][1]["outlier"] == false,
        "{top}"
    );

    let refused = server.get("/v1/top?name=shop").await;
    assert_eq!(refused.status, 400, "{}", refused.body);
    server.stop().await;
}
