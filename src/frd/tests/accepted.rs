//! What an edge keeps against the state of the world is told and accepted.

#[cfg(test)]
mod support;

use fm_api::keys;
use fm_store::Txn;
use serde_json::json;
use support::Server;

#[tokio::test]
async fn a_person_accepts_exactly_what_an_edge_keeps() {
    let server = Server::start().await;
    let mut agent = json!({
        "instance": "edge-1", "telemetry": "unix:/none", "haproxy": "2.6.12", "version": "1",
        "since": "2026-01-01T00:00:00Z",
    });
    let say = async |agent: &serde_json::Value| {
        let txn = Txn::new().put(keys::agent("edge-1"), agent.to_string().into_bytes());
        server.write(txn).await;
    };
    say(&agent).await;
    let path = "/v1/edges/edge-1/accept";
    let nothing = server.post(path, &json!({})).await;
    assert_eq!(nothing.status, 409, "{}", nothing.body);
    assert_eq!(
        server
            .post("/v1/edges/nobody/accept", &json!({}))
            .await
            .status,
        404
    );
    agent["troubles"] = json!([
        { "kind": "held", "message": "the store is another one than before", "keeps": "store-1" },
        { "kind": "certificate", "message": "site.pem: it is empty" },
        { "kind": "of-a-later-version", "message": "x" },
    ]);
    say(&agent).await;
    let listed = server.get("/v1/edges").await;
    assert_eq!(listed.body["items"][0]["troubles"][0]["keeps"], "store-1");
    let metrics = server.text("/metrics").await;
    for line in [
        r#"fridaymorning_edge_up{edge="edge-1"} 1"#,
        r#"fridaymorning_edge_troubles{edge="edge-1",kind="held"} 1"#,
        r#"fridaymorning_edge_troubles{edge="edge-1",kind="certificate"} 1"#,
        r#"fridaymorning_edge_troubles{edge="edge-1",kind="address"} 0"#,
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    let accepted = server.post(path, &json!({})).await;
    assert_eq!(accepted.status, 200, "{}", accepted.body);
    let word = server
        .store
        .get(&keys::accepted("edge-1"))
        .await
        .unwrap()
        .unwrap();
    let word: serde_json::Value = serde_json::from_slice(&word.value).unwrap();
    assert_eq!(word["kept"], json!(["store-1"]));
    assert_eq!(word["by"], support::own_name());
    server
        .until(|| async {
            let events = server.get("/v1/events").await.body.to_string();
            events.contains("EdgeAccepted")
        })
        .await;
}
