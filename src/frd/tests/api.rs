//! The API over a real unix socket with the embedded store, without controllers.

#[cfg(test)]
mod support;

use fm_api::keys::ReleaseKey;
use fm_store::Txn;
use serde_json::{Value, json};
use support::{Server, manifest};

const SHOP: &str = "/v1/namespaces/default/releases/shop";

#[tokio::test]
async fn a_release_is_created_changed_and_left_alone() {
    let server = Server::start().await;
    let created = server.put(SHOP, &manifest("shop", "shop:1")).await;
    assert_eq!(
        (created.status, &created.body["result"]),
        (201, &json!("created")),
        "{}",
        created.body
    );
    let metadata = &created.body["release"]["metadata"];
    assert_eq!(metadata["generation"], 1);
    assert!(metadata["uid"].as_str().unwrap().len() == 36);
    assert_eq!(metadata["changedBy"], support::own_name());

    let same = server.put(SHOP, &manifest("shop", "shop:1")).await;
    assert_eq!(
        (same.status, &same.body["result"]),
        (200, &json!("unchanged"))
    );
    let changed = server.put(SHOP, &manifest("shop", "shop:2")).await;
    assert_eq!(
        (changed.status, &changed.body["result"]),
        (200, &json!("configured"))
    );
    assert_eq!(changed.body["release"]["metadata"]["generation"], 2);
    assert_eq!(changed.body["release"]["metadata"]["uid"], metadata["uid"]);

    let read = server.get(SHOP).await;
    assert_eq!(read.body, changed.body["release"]);
    // What was read can be applied again, server's fields and all.
    let again = server.put(SHOP, &read.body).await;
    assert_eq!(again.body["result"], "unchanged", "{}", again.body);
    let list = server.get("/v1/releases").await;
    assert_eq!(list.body["items"][0]["release"], read.body);
    assert_eq!(list.body["items"][0]["status"], Value::Null);
    assert_eq!(
        server.get("/v1/namespaces/other/releases").await.body["items"],
        json!([])
    );
}

#[tokio::test]
async fn a_dry_run_stores_nothing() {
    let server = Server::start().await;
    let path = format!("{SHOP}?dryRun=server");
    let tried = server.put(&path, &manifest("shop", "shop:1")).await;
    assert_eq!(tried.body["result"], "created");
    assert_eq!(server.get(SHOP).await.status, 404);
    let wrong = server
        .put(&format!("{SHOP}?dryRun=yes"), &manifest("shop", "shop:1"))
        .await;
    assert_eq!(wrong.status, 400);
    let unknown = server
        .put(
            &format!("{SHOP}?dry-run=server"),
            &manifest("shop", "shop:1"),
        )
        .await;
    assert_eq!(unknown.status, 400);
}

#[tokio::test]
async fn of_many_changes_at_once_each_is_stored_after_the_other() {
    let server = Server::start().await;
    let puts = (0..12).map(|n| {
        let body = manifest("shop", &format!("shop:{n}"));
        let server = &server;
        async move { server.put(SHOP, &body).await }
    });
    let answers = futures_util::future::join_all(puts).await;
    let mut generations: Vec<u64> = answers
        .iter()
        .map(|answer| {
            answer.body["release"]["metadata"]["generation"]
                .as_u64()
                .unwrap()
        })
        .collect();
    generations.sort_unstable();
    assert_eq!(generations, (1..=12).collect::<Vec<_>>());
    // Only one of those who read the same generation gets through.
    let mut statuses = Vec::new();
    for image in ["a:1", "b:1"] {
        let answer = server
            .send(
                "PUT",
                SHOP,
                &[("if-match", "\"12\"")],
                manifest("shop", image).to_string(),
            )
            .await;
        statuses.push(answer.status);
    }
    assert_eq!(statuses, [200, 409]);
}

#[tokio::test]
async fn bad_input_is_refused_with_the_field() {
    let server = Server::start().await;
    let change = |pointer: &str, value: Value| {
        let mut body = manifest("shop", "shop:1");
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        body.pointer_mut(parent).unwrap()[field] = value;
        body
    };
    let steps = "/spec/strategy/canary/steps";
    let (high, low) = (json!({ "weight": 50 }), json!({ "weight": 10 }));
    for (body, path) in [
        (change("/spec/replikas", json!(1)), "spec"),
        (change("/spec/replicas", json!("four")), "spec.replicas"),
        (
            change(steps, json!([{ "weight": 101 }])),
            "spec.strategy.canary.steps[0].weight",
        ),
        (
            change(steps, json!([high, low])),
            "spec.strategy.canary.steps[1].weight",
        ),
        (change(steps, json!([])), "spec.strategy.canary.steps"),
        (
            change("/spec/strategy/blueGreen", json!({})),
            "spec.strategy",
        ),
        (
            change("/spec/workload/image", json!("Not An Image")),
            "spec.workload.image",
        ),
        (change("/metadata/name", json!("other")), "metadata.name"),
        (json!([]), ""),
        (json!("x"), ""),
    ] {
        let answer = server.put(SHOP, &body).await;
        assert_eq!(answer.status, 422, "{body}: {}", answer.body);
        let error = &answer.body["error"];
        assert_eq!(error["kind"], "invalid");
        let found = error["problems"][0]["path"].as_str().unwrap();
        assert!(found.starts_with(path), "{path}: {error}");
    }
    assert_eq!(server.get(SHOP).await.status, 404);
}

#[tokio::test]
async fn what_is_no_json_is_refused_in_words() {
    let server = Server::start().await;
    for (body, words) in [
        (b"{\"a\":".to_vec(), "no JSON"),
        (b"{\"metadata\":\"\xff\"}".to_vec(), "not UTF-8"),
        (vec![b'['; 100_000], "no JSON"),
        (Vec::new(), "no JSON"),
    ] {
        let answer = server.send("PUT", SHOP, &[], body).await;
        assert_eq!(answer.status, 400);
        let message = answer.body["error"]["message"].as_str().unwrap();
        assert!(message.contains(words), "{message}");
    }
    let mut large = manifest("shop", "shop:1");
    large["metadata"]["annotations"] = json!({ "a": "x".repeat(10 << 20) });
    let answer = server.put(SHOP, &large).await;
    assert_eq!(answer.status, 413, "{}", answer.body);
    assert!(
        answer.body["error"]["message"]
            .as_str()
            .unwrap()
            .contains("1048576")
    );
}

#[tokio::test]
async fn an_address_cannot_lead_to_another_key() {
    let server = Server::start().await;
    for path in [
        "/v1/namespaces/default/releases/..%2f..%2ftargets%2fx",
        "/v1/namespaces/default/releases/Shop",
        "/v1/namespaces/a%2fb/releases",
        "/v1/namespaces/default/releases/%00",
        "/v1/namespaces/default/releases/%ff",
    ] {
        let answer = server.get(path).await;
        assert!(
            matches!(answer.status, 400 | 422),
            "{path}: {}",
            answer.status
        );
        assert!(answer.body["error"]["message"].is_string());
    }
    assert_eq!(
        server.get("/v1/nothing").await.body["error"]["kind"],
        "notFound"
    );
    assert_eq!(server.send("PATCH", SHOP, &[], "").await.status, 405);
}

#[tokio::test]
async fn two_releases_cannot_claim_one_host_and_path() {
    let server = Server::start().await;
    server.put(SHOP, &manifest("shop", "shop:1")).await;
    let other = "/v1/namespaces/team/releases/copy";
    let mut body = manifest("copy", "shop:1");
    body["metadata"]["namespace"] = json!("team");
    body["spec"]["routes"][0]["hosts"] = json!(["shop.example.com"]);
    let refused = server.put(other, &body).await;
    assert_eq!(refused.status, 409, "{}", refused.body);
    assert!(
        refused.body["error"]["message"]
            .as_str()
            .unwrap()
            .contains("default/shop")
    );
    body["spec"]["routes"][0]["hosts"] = json!(["copy.example.com"]);
    assert_eq!(server.put(other, &body).await.status, 201);
    // The older one cannot take the younger one's host either.
    let mut greedy = manifest("shop", "shop:1");
    greedy["spec"]["routes"][0]["hosts"] = json!(["shop.example.com", "copy.example.com"]);
    assert_eq!(server.put(SHOP, &greedy).await.status, 409);
}

#[tokio::test]
async fn an_operation_is_stored_once_for_its_id() {
    let server = Server::start().await;
    let path = format!("{SHOP}/operations");
    let pause = json!({ "id": "op-1", "operation": "pause", "by": "mallory" });
    assert_eq!(server.post(&path, &pause).await.status, 404);
    server.put(SHOP, &manifest("shop", "shop:1")).await;
    for _ in 0..2 {
        let answer = server.post(&path, &pause).await;
        assert_eq!((answer.status, &answer.body["id"]), (202, &json!("op-1")));
    }
    let pending = server.get(&path).await.body["items"].clone();
    assert_eq!(pending.as_array().unwrap().len(), 1);
    assert_eq!(pending[0]["by"], support::own_name());
    assert!(pending[0]["at"].is_string());
    let named = server.post(&path, &json!({ "operation": "resume" })).await;
    assert_eq!(named.body["id"].as_str().unwrap().len(), 36);
    for wrong in [
        json!({ "operation": "explode" }),
        json!({ "operation": "pause", "id": "a/b" }),
        json!({ "operation": "pause", "full": true }),
        json!({ "operation": "pause", "extra": 1 }),
    ] {
        assert_eq!(server.post(&path, &wrong).await.status, 422, "{wrong}");
    }
    // One that promotion has answered stays answered.
    let key = ReleaseKey::new("default", "shop");
    let target = fm_api::target::Target {
        answered: vec!["op-7".to_owned()],
        ..Default::default()
    };
    server
        .write(Txn::new().put(key.target(), serde_json::to_vec(&target).unwrap()))
        .await;
    let again = server
        .post(&path, &json!({ "id": "op-7", "operation": "pause" }))
        .await;
    assert_eq!((again.status, &again.body["answered"]), (202, &json!(true)));
    assert_eq!(
        server.get(&path).await.body["items"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[tokio::test]
async fn a_rollout_that_runs_is_not_replaced_when_the_release_says_so() {
    let server = Server::start().await;
    let mut body = manifest("shop", "shop:1");
    body["spec"]["onNewRevision"] = json!("reject");
    server.put(SHOP, &body).await;
    server.write(support::running_rollout()).await;
    body["spec"]["workload"]["image"] = json!("shop:2");
    let refused = server.put(SHOP, &body).await;
    assert_eq!(
        (refused.status, &refused.body["error"]["kind"]),
        (409, &json!("refused")),
        "{}",
        refused.body
    );
    let mut scaled = body.clone();
    scaled["spec"]["workload"]["image"] = json!("shop:1");
    scaled["spec"]["replicas"] = json!(7);
    assert_eq!(server.put(SHOP, &scaled).await.status, 200);
    // The way back to stable is open.
    body["spec"]["workload"]["image"] = json!("shop:0");
    assert_eq!(server.put(SHOP, &body).await.status, 200);
    body["spec"]["workload"]["image"] = json!("shop:3");
    assert_eq!(
        server
            .put(&format!("{SHOP}?force=true"), &body)
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn undo_makes_the_earlier_workload_the_spec() {
    let server = Server::start().await;
    server.put(SHOP, &manifest("shop", "shop:1")).await;
    let undo = format!("{SHOP}/undo");
    assert_eq!(server.post(&undo, &json!({})).await.status, 409);
    server.write(support::running_rollout()).await;
    let answer = server.post(&undo, &json!({ "to": null })).await;
    assert_eq!(
        (answer.status, &answer.body["result"]),
        (200, &json!("configured")),
        "{}",
        answer.body
    );
    let release = &answer.body["release"];
    assert_eq!(release["spec"]["workload"]["image"], support::PINNED);
    assert_eq!(release["metadata"]["generation"], 2);
    assert!(
        answer.body["message"]
            .as_str()
            .unwrap()
            .contains("0000000000")
    );
    let unknown = server.post(&undo, &json!({ "to": "77" })).await;
    assert_eq!(unknown.status, 404);
    assert!(
        unknown.body["error"]["message"]
            .as_str()
            .unwrap()
            .contains("0000000000")
    );
    assert_eq!(server.post(&undo, &json!({ "back": 1 })).await.status, 422);
}

#[tokio::test]
async fn a_deleted_release_goes_when_its_target_has_gone() {
    let server = Server::start().await;
    let key = ReleaseKey::new("default", "shop");
    assert_eq!(server.delete(SHOP).await.status, 404);
    server.put(SHOP, &manifest("shop", "shop:1")).await;
    let mut txn = Txn::new();
    for path in [
        key.target(),
        key.status(),
        key.observed_swarm(),
        key.verdict(),
        key.operation("x"),
    ] {
        txn = txn.put(path, b"{}".to_vec());
    }
    let namesake = ReleaseKey::new("default", "shop2");
    server
        .write(
            txn.put(namesake.status(), b"{}".to_vec())
                .put(namesake.target(), b"{}".to_vec()),
        )
        .await;
    let answer = server.delete(SHOP).await;
    assert_eq!(
        (answer.status, &answer.body["result"]),
        (202, &json!("deleting"))
    );
    assert_eq!(server.delete(SHOP).await.status, 202);
    assert_eq!(
        server.put(SHOP, &manifest("shop", "shop:2")).await.status,
        409
    );
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert!(server.get(SHOP).await.body["metadata"]["deletedAt"].is_string());
    server.write(Txn::new().delete(key.target())).await;
    server
        .until(|| async { server.get(SHOP).await.status == 404 })
        .await;
    let left = server.store.list("/fridaymorning/").await.unwrap();
    let left: Vec<_> = left
        .entries
        .iter()
        .filter(|entry| ReleaseKey::of(&entry.key) == Some(key.clone()))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    // An edge that is away meanwhile learns of it when it is back.
    assert!(server.store.get(&key.deleted()).await.unwrap().is_some());
    assert!(
        server
            .store
            .get(&namesake.status())
            .await
            .unwrap()
            .is_some()
    );
    assert_eq!(
        server.put(SHOP, &manifest("shop", "shop:2")).await.status,
        201
    );
}

#[tokio::test]
async fn a_release_that_cannot_be_read_is_replaced_or_deleted() {
    let server = Server::start().await;
    let key = ReleaseKey::new("default", "shop");
    for broken in [
        &b"not json"[..],
        b"{\"metadata\":{\"name\":\"shop\"},\"spec\":1}",
    ] {
        server
            .write(Txn::new().put(key.release(), broken.to_vec()))
            .await;
        let list = server.get("/v1/releases").await;
        assert_eq!(
            (list.status, &list.body["items"][0]["name"]),
            (200, &json!("shop"))
        );
        assert_eq!(
            server.put(SHOP, &manifest("shop", "shop:1")).await.status,
            200
        );
        server
            .write(Txn::new().put(key.release(), broken.to_vec()))
            .await;
        assert_eq!(server.delete(SHOP).await.status, 202);
        server
            .until(|| async { server.get(SHOP).await.status == 404 })
            .await;
    }
}

#[tokio::test]
async fn the_daemon_says_how_it_fares() {
    let server = Server::start().await;
    server.put(SHOP, &manifest("shop", "shop:1")).await;
    assert_eq!(server.get("/healthz").await.status, 200);
    let ready = server.get("/readyz").await;
    assert_eq!(
        (ready.status, &ready.body["ready"]),
        (200, &json!(true)),
        "{}",
        ready.body
    );
    let version = server.get("/version").await.body;
    assert!(version["store"].as_str().unwrap().starts_with("embedded"));
    let document = server.get("/openapi.json").await.body;
    assert!(
        document["paths"][&SHOP
            .replace("default", "{namespace}")
            .replace("shop", "{name}")]["put"]
            .is_object()
    );
    server.write(support::running_rollout()).await;
    let metrics = server.text("/metrics").await;
    for line in [
        "fridaymorning_build_info{version=",
        "fridaymorning_release_share{namespace=\"default\",release=\"shop\",side=\"canary\"} 0.1",
        "fridaymorning_part_up{part=\"api\"} 1",
        "fridaymorning_api_requests_total{",
        "# TYPE fridaymorning_part_up gauge",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    assert_eq!(server.get("/v1/agent/telemetry").await.status, 404);
}
