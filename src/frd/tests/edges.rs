//! Edges and what endangers the whole, over the API.
#![expect(
    clippy::unwrap_used,
    reason = "what a test is made of fails it at once"
)]

#[cfg(test)]
mod support;

use fm_api::keys::{self, ReleaseKey, RevisionId};
use fm_store::Txn;
use serde_json::{Value, json};
use support::{Server, manifest};

const SINCE: &str = "2026-01-01T12:00:00Z";

fn agent(name: &str, problem: Option<&str>) -> (String, Vec<u8>) {
    let agent = json!({
        "instance": name,
        "telemetry": "unix:/run/none.sock",
        "haproxy": "2.6.12",
        "problem": problem,
        "version": "0.1.0",
        "since": SINCE,
    });
    (keys::agent(name), agent.to_string().into_bytes())
}

/// A report that a HAProxy leads to a stable revision and a canary.
fn report(release: &str, edge: &str) -> (String, Vec<u8>) {
    let key = ReleaseKey::new("default", release);
    let (stable, canary) = (RevisionId::new("1111111111"), RevisionId::new("2222222222"));
    let seen = json!({
        "uid": "u",
        "generation": 1,
        "traffic": { "generation": 1, "stable": stable, "canary": canary, "weight": 10 },
        "revisions": {},
    });
    (key.observed_haproxy(edge), seen.to_string().into_bytes())
}

fn all(puts: impl IntoIterator<Item = (String, Vec<u8>)>) -> Txn {
    puts.into_iter()
        .fold(Txn::new(), |txn, (key, value)| txn.put(key, value))
}

async fn edge(server: &Server, name: &str) -> Value {
    let listed = server.get("/v1/edges").await.body;
    let items = listed["items"].as_array().unwrap().clone();
    items
        .into_iter()
        .find(|edge| edge["name"] == name)
        .unwrap_or(Value::Null)
}

/// Reports of releases that are not there are swept away.
async fn releases(server: &Server, names: &[&str]) {
    for name in names {
        let path = format!("/v1/namespaces/default/releases/{name}");
        let put = server.put(&path, &manifest(name, "shop:1")).await;
        assert!(put.status < 300, "{}", put.body);
    }
}

#[tokio::test]
async fn an_edge_that_is_gone_for_good_is_forgotten_and_a_live_one_is_not() {
    let server = Server::start().await;
    releases(&server, &["shop-0", "shop-1", "shop-2"]).await;
    let reports = (0..3).flat_map(|n| {
        let release = format!("shop-{n}");
        [report(&release, "edge-1"), report(&release, "edge-2")]
    });
    server
        .write(all([agent("edge-1", None)].into_iter().chain(reports)))
        .await;
    let gone = edge(&server, "edge-2").await;
    assert_eq!(
        (&gone["live"], gone["releases"].as_array().unwrap().len()),
        (&json!(false), 3)
    );
    assert_eq!(
        gone["releases"][0]["leads"],
        json!(["1111111111", "2222222222"])
    );
    let refused = server.delete("/v1/edges/edge-1").await;
    assert_eq!(refused.status, 409, "{}", refused.body);
    assert!(refused.body.to_string().contains("is alive"));
    let unknown = server.delete("/v1/edges/edge-9").await;
    assert_eq!(unknown.status, 404);
    assert!(
        unknown.body.to_string().contains("edge-1, edge-2"),
        "{}",
        unknown.body
    );
    assert_eq!(server.delete("/v1/edges/edge-2").await.status, 200);
    assert_eq!(edge(&server, "edge-2").await, Value::Null);
    let left = edge(&server, "edge-1").await;
    assert_eq!(left["releases"].as_array().unwrap().len(), 3);
    server
        .until(|| async {
            let events = server.get("/v1/events").await.body.to_string();
            events.contains("EdgeForgotten")
        })
        .await;
}

#[tokio::test]
async fn an_edge_drains_and_stays_after_all_but_never_the_last_one() {
    let server = Server::start().await;
    server.write(all([agent("edge-1", None)])).await;
    let last = server.post("/v1/edges/edge-1/drain", &json!({})).await;
    assert_eq!(last.status, 409, "{}", last.body);
    server.write(all([agent("edge-2", None)])).await;
    assert_eq!(
        server
            .post("/v1/edges/edge-1/drain", &json!({}))
            .await
            .status,
        200
    );
    assert!(edge(&server, "edge-1").await["draining"]["by"].is_string());
    let other = server.post("/v1/edges/edge-2/drain", &json!({})).await;
    assert_eq!(other.status, 409, "the last that does not drain");
    assert_eq!(server.delete("/v1/edges/edge-1/drain").await.status, 200);
    assert_eq!(edge(&server, "edge-1").await["draining"], Value::Null);
}

#[tokio::test]
async fn what_endangers_the_whole_is_listed_and_counted() {
    let server = Server::start().await;
    releases(&server, &["shop"]).await;
    let deaf = json!({
        "identity": "node-1-7",
        "instance": "node-1",
        "version": "0.1.0",
        "at": SINCE,
        "controllers": {
            "promotion": { "leads": true },
            "analysis": { "leads": true },
            "swarm": { "leads": true, "unfit": "Docker does not answer" },
        },
    });
    server
        .write(all([
            agent("edge-1", Some("cannot bind 0.0.0.0:80")),
            report("shop", "edge-2"),
            (keys::daemon("node-1-7"), deaf.to_string().into_bytes()),
        ]))
        .await;
    let body = server.get("/v1/problems").await.body;
    let told: Vec<(&str, &str)> = body["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| (p["subject"].as_str().unwrap(), p["name"].as_str().unwrap()))
        .collect();
    assert_eq!(
        told,
        [
            ("controller", "swarm"),
            ("daemon", "node-1"),
            ("edge", "edge-1"),
            ("edge", "edge-2"),
        ],
        "{body}"
    );
    let metrics = server.text("/metrics").await;
    for line in [
        "fridaymorning_cluster_problems{subject=\"edge\"} 2",
        "fridaymorning_cluster_problems{subject=\"store\"} 0",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}
