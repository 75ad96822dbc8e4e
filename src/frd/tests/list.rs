//! Lists of releases: page by page, many at once, and what else is asked meanwhile.
#![expect(
    clippy::unwrap_used,
    reason = "what a test is made of fails it at once"
)]

#[cfg(test)]
mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fm_api::keys::ReleaseKey;
use fm_store::Txn;
use serde_json::{Value, json};
use support::{Server, manifest};

const LIST: &str = "/v1/releases";

/// Releases as they are stored, with names that the store sorts unlike people do.
async fn filled(count: usize) -> (Arc<Server>, BTreeSet<String>) {
    let server = Server::start().await;
    let mut names = BTreeSet::new();
    let mut txn = Txn::new();
    for number in 0..count {
        let namespace = ["a", "a-b", "b"][number % 3];
        let name = ["x", "x-y", "x0"][number / 3 % 3];
        let key = ReleaseKey::new(namespace, &format!("{name}{number}"));
        let mut stored = manifest(key.name(), "shop:1");
        stored["metadata"]["namespace"] = namespace.into();
        let swarm = json!({ "uid": "u", "generation": 1, "revisions": {} });
        txn = txn
            .put(key.release(), stored.to_string().into_bytes())
            .put(
                key.status(),
                json!({ "phase": "healthy", "uid": "u", "observedGeneration": 1, "why": "w", "reason": "Healthy", "weight": 0, "since": "2026-01-01T00:00:00Z" })
                    .to_string()
                    .into_bytes(),
            )
            .put(key.observed_swarm(), swarm.to_string().into_bytes());
        names.insert(key.to_string());
        if number % 20 == 19 {
            server.write(std::mem::take(&mut txn)).await;
        }
    }
    server.write(txn).await;
    (Arc::new(server), names)
}

fn names(list: &Value) -> Vec<String> {
    let text = |item: &Value, field: &str| item[field].as_str().unwrap().to_owned();
    let items = list["items"].as_array().unwrap().iter();
    items
        .map(|item| format!("{}/{}", text(item, "namespace"), text(item, "name")))
        .collect()
}

#[tokio::test]
async fn every_release_is_in_the_list_once_whatever_the_pages() {
    let (server, all) = filled(150).await;
    // One that is being deleted has only a target left.
    let last = ReleaseKey::new("b", "zz");
    let target = json!({ "uid": "u", "generation": 1, "specGeneration": 1 }).to_string();
    server
        .write(Txn::new().put(last.target(), target.into_bytes()))
        .await;
    let mut all = all;
    all.insert(last.to_string());

    let list = server.get(LIST).await.body;
    let whole = names(&list);
    assert_eq!(whole.len(), all.len());
    assert_eq!(whole.iter().cloned().collect::<BTreeSet<_>>(), all);
    assert!(
        list["continue"].is_null() && list["revision"].as_u64().unwrap() > 1,
        "{}",
        list["revision"]
    );
    assert!(
        list["items"]
            .as_array()
            .unwrap()
            .iter()
            .all(|item| item["name"] == "zz" || item["swarm"]["uid"] == "u")
    );
    for limit in [1, 31, 32, 33, 150, 151, 152] {
        let mut pages = Vec::new();
        let mut path = format!("{LIST}?limit={limit}");
        loop {
            let page = server.get(&path).await.body;
            let found = names(&page);
            assert!(found.len() <= limit, "{limit}: {}", found.len());
            pages.extend(found);
            let Some(next) = page["continue"].as_str() else {
                break;
            };
            path = format!("{LIST}?limit={limit}&continue={next}");
        }
        assert_eq!(pages, whole, "limit {limit}");
    }
    let of_one = server.get("/v1/namespaces/a/releases").await.body;
    assert!(names(&of_one).iter().all(|name| name.starts_with("a/")));
    assert_eq!(names(&of_one).len(), 50);
    let none = server.get("/v1/namespaces/c/releases").await.body;
    assert_eq!(none["items"], json!([]));
}

#[tokio::test]
async fn a_summary_is_the_release_and_its_status() {
    let (server, _) = filled(3).await;
    let list = server.get(&format!("{LIST}?summary=true")).await.body;
    let item = &list["items"][0];
    assert_eq!(item["status"]["phase"], "healthy", "{item}");
    assert!(
        item["release"]["spec"].is_object() && item["swarm"].is_null(),
        "{item}"
    );
}

#[tokio::test]
async fn a_page_that_cannot_be_meant_is_refused() {
    let (server, _) = filled(3).await;
    for query in [
        "limit=0",
        "limit=x",
        "continue=x",
        "continue=a/../b",
        "continue=b/x",
        "summary=perhaps",
    ] {
        let path = format!("/v1/namespaces/a/releases?{query}");
        let answer = server.get(&path).await;
        assert!(
            [400, 422].contains(&answer.status),
            "{path}: {} {}",
            answer.status,
            answer.body
        );
    }
}

#[tokio::test]
async fn what_an_address_does_not_know_is_refused_and_what_it_knows_is_named() {
    let (server, _) = filled(1).await;
    let answer = server.get(&format!("{LIST}?lmit=5")).await;
    assert_eq!(answer.status, 400);
    let message = answer.body["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("`lmit`") && message.contains("limit, continue, summary"),
        "{message}"
    );
    let answer = server.get("/healthz?deep=1").await;
    assert_eq!(answer.status, 400);
    let message = answer.body["error"]["message"].as_str().unwrap();
    assert!(message.contains("allowed: none"), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_lists_hold_up_neither_each_other_nor_whoever_asks_for_less() {
    let (server, all) = filled(600).await;
    let lists: Vec<_> = (0..50)
        .map(|_| {
            let server = Arc::clone(&server);
            // Read by its words: to parse so much would keep this process busy, which is the server as well.
            tokio::spawn(async move {
                server
                    .text(LIST)
                    .await
                    .matches("\"kind\":\"Release\"")
                    .count()
            })
        })
        .collect();
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        let began = Instant::now();
        assert_eq!(server.text("/healthz").await, "ok\n");
        slowest = slowest.max(began.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for list in lists {
        assert_eq!(list.await.unwrap(), all.len());
    }
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
}
