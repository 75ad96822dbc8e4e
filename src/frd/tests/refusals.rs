//! What is refused while something runs that must not be disturbed, and what is open all the same.

#[cfg(test)]
mod support;

use fm_api::keys::ReleaseKey;
use fm_store::Txn;
use serde_json::{Value, json};
use support::{Server, manifest};

const SHOP: &str = "/v1/namespaces/default/releases/shop";

#[tokio::test]
async fn undo_is_open_while_a_rollout_runs_that_may_not_be_replaced() {
    let server = Server::start().await;
    let mut body = manifest("shop", "shop:1");
    body["spec"]["onNewRevision"] = json!("reject");
    server.put(SHOP, &body).await;
    server.write(support::running_rollout()).await;
    let answer = server.post(&format!("{SHOP}/undo"), &json!({})).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let image = &answer.body["release"]["spec"]["workload"]["image"];
    assert_eq!(image, support::PINNED);
}

/// The release with a job that runs now and is not reversible.
async fn migrating(server: &Server) {
    server.put(SHOP, &manifest("shop", "shop:1")).await;
    let target = json!({
        "uid": "u", "generation": 5, "specGeneration": 1,
        "due": [{
            "id": "r-1-migrate", "since": "2026-01-01T00:00:00Z",
            "job": { "name": "migrate", "reversible": false },
            "about": { "revision": "1111111111", "number": 2, "image": "shop:1", "steps": 1 },
        }],
    });
    let target = target.to_string().into_bytes();
    let key = ReleaseKey::new("default", "shop");
    server.write(Txn::new().put(key.target(), target)).await;
}

#[tokio::test]
async fn a_job_that_is_not_reversible_is_not_stopped_by_a_deletion() {
    let server = Server::start().await;
    migrating(&server).await;
    let refused = server.delete(SHOP).await;
    let message = refused.body["error"]["message"].as_str().unwrap();
    assert_eq!(refused.status, 409);
    assert!(message.contains("the job migrate"), "{message}");
    let stored = server.get(SHOP).await.body;
    assert_eq!(stored["metadata"]["deletedAt"], Value::Null);
    // It has ended, which promotion has not seen yet.
    let ended = json!({ "uid": "u", "answers": { "r-1-migrate": {
        "verdict": "yes", "attempts": 1, "said": "it ended well", "at": "2026-01-01T00:01:00Z",
    } } });
    let ended = ended.to_string().into_bytes();
    let key = ReleaseKey::new("default", "shop");
    server
        .write(Txn::new().put(key.observed_gates(), ended))
        .await;
    assert_eq!(server.delete(SHOP).await.status, 202);
}

#[tokio::test]
async fn a_deletion_by_force_stops_even_such_a_job() {
    let server = Server::start().await;
    migrating(&server).await;
    let by_force = format!("{SHOP}?force=true");
    assert_eq!(server.delete(&by_force).await.status, 202);
}
