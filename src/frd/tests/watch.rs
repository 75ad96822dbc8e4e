//! Watching over server-sent events: what is there, what comes, and resuming.
#![expect(
    clippy::unwrap_used,
    reason = "what a test is made of fails it at once"
)]

#[cfg(test)]
mod support;

use std::time::{Duration, Instant};

use fm_api::keys::ReleaseKey;
use fm_store::Txn;
use serde_json::json;
use support::{Server, manifest};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

const SHOP: &str = "/v1/namespaces/default/releases/shop";

#[tokio::test]
async fn a_watch_shows_what_is_there_and_what_comes_and_resumes() {
    let server = Server::start().await;
    assert_eq!(server.get(&format!("{SHOP}?watch=true")).await.status, 404);
    server.put(SHOP, &manifest("shop", "shop:1")).await;
    let mut watch = server.watch(&format!("{SHOP}?watch=true"), &[]).await;
    let first = watch.next().await;
    assert_eq!(
        (first.kind.as_str(), &first.data["metadata"]["generation"]),
        ("put", &json!(1))
    );
    // A release whose name begins alike is none of this watch's business.
    let mut alike = manifest("shop2", "shop:1");
    alike["spec"]["routes"] = json!([]);
    server
        .put("/v1/namespaces/default/releases/shop2", &alike)
        .await;
    server.put(SHOP, &manifest("shop", "shop:2")).await;
    let second = watch.next().await;
    assert_eq!(second.data["metadata"]["generation"], 2);
    assert!(second.id > first.id);
    drop(watch);

    server.put(SHOP, &manifest("shop", "shop:3")).await;
    server.put(SHOP, &manifest("shop", "shop:4")).await;
    let id = second.id.to_string();
    let mut by_header = server
        .watch(&format!("{SHOP}?watch=true"), &[("last-event-id", &id)])
        .await;
    let mut by_query = server
        .watch(&format!("{SHOP}?watch=true&revision={id}"), &[])
        .await;
    for watch in [&mut by_header, &mut by_query] {
        assert_eq!(watch.next().await.data["metadata"]["generation"], 3);
        assert_eq!(watch.next().await.data["metadata"]["generation"], 4);
    }
    server
        .write(Txn::new().delete(ReleaseKey::new("default", "shop").release()))
        .await;
    assert_eq!(by_header.next().await.kind, "delete");
}

#[tokio::test]
async fn a_status_that_is_not_there_yet_is_waited_for() {
    let server = Server::start().await;
    server.put(SHOP, &manifest("shop", "shop:1")).await;
    let mut watch = server
        .watch(&format!("{SHOP}/status?watch=true"), &[])
        .await;
    let key = ReleaseKey::new("default", "shop");
    server
        .write(Txn::new().put(key.status(), b"{\"phase\":\"pending\"}".to_vec()))
        .await;
    assert_eq!(watch.next().await.data["phase"], "pending");
}

#[tokio::test]
async fn the_picture_of_a_release_is_sent_anew_with_each_change() {
    let server = Server::start().await;
    assert_eq!(
        server.get(&format!("{SHOP}/view?watch=true")).await.status,
        404
    );
    server.put(SHOP, &manifest("shop", "shop:1")).await;
    let mut watch = server.watch(&format!("{SHOP}/view?watch=true"), &[]).await;
    let first = watch.next().await;
    assert_eq!(first.data["target"], json!(null));
    server.write(support::running_rollout()).await;
    let second = watch.next().await;
    assert_eq!(second.data["target"]["traffic"]["weight"], json!(10));
    let key = ReleaseKey::new("default", "shop");
    let observed = fm_api::observed::HaproxyObserved {
        uid: "x".to_owned(),
        ..Default::default()
    };
    let bytes = serde_json::to_vec(&observed).unwrap();
    server
        .write(Txn::new().put(key.observed_haproxy("edge-1"), bytes))
        .await;
    assert_eq!(watch.next().await.data["haproxy"]["edge-1"]["uid"], "x");
    let id = second.id.to_string();
    let mut resumed = server
        .watch(&format!("{SHOP}/view?watch=true&revision={id}"), &[])
        .await;
    assert_eq!(resumed.next().await.data["haproxy"]["edge-1"]["uid"], "x");
    server
        .write(
            Txn::new()
                .delete(key.release())
                .delete(key.target())
                .delete(key.observed_haproxy("edge-1")),
        )
        .await;
    assert_eq!(resumed.next().await.kind, "delete");
}

#[tokio::test]
async fn events_are_listed_filtered_and_followed() {
    let server = Server::start().await;
    server.put(SHOP, &manifest("shop", "shop:1")).await;
    let mut other = manifest("other", "shop:1");
    other["spec"]["routes"] = json!([]);
    server
        .put("/v1/namespaces/default/releases/other", &other)
        .await;
    server.put(SHOP, &manifest("shop", "shop:2")).await;
    let of_shop = "/v1/events?namespace=default&name=shop";
    server
        .until(|| async {
            server.get(of_shop).await.body["items"]
                .as_array()
                .unwrap()
                .len()
                == 2
        })
        .await;
    let items = server.get(of_shop).await.body["items"].clone();
    assert_eq!(items[0]["reason"], "Created");
    assert!(
        items[1]["message"]
            .as_str()
            .unwrap()
            .contains("shop:1 -> shop:2"),
        "{items}"
    );
    let newest = server.get("/v1/events?limit=1").await.body["items"].clone();
    assert_eq!(newest.as_array().unwrap().len(), 1);
    assert_eq!(server.get("/v1/events?limit=x").await.status, 400);

    let mut watch = server.watch(&format!("{of_shop}&watch=true"), &[]).await;
    assert_eq!(watch.next().await.data["reason"], "Created");
    let second = watch.next().await;
    server.delete(SHOP).await;
    assert_eq!(watch.next().await.data["reason"], "DeletionRequested");
    let path = format!("{of_shop}&watch=true&revision={}", second.id);
    assert_eq!(
        server.watch(&path, &[]).await.next().await.data["reason"],
        "DeletionRequested"
    );
}

#[tokio::test]
async fn an_open_watch_does_not_hold_up_the_end() {
    let server = Server::start().await;
    server.put(SHOP, &manifest("shop", "shop:1")).await;
    let mut watch = server.watch(&format!("{SHOP}?watch=true"), &[]).await;
    watch.next().await;
    let began = Instant::now();
    server.stop().await;
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn a_revision_that_has_not_been_is_refused() {
    let server = Server::start().await;
    server.put(SHOP, &manifest("shop", "shop:1")).await;
    for door in [
        SHOP,
        &format!("{SHOP}/status"),
        &format!("{SHOP}/view"),
        "/v1/events",
    ] {
        for revision in [1_000_000, u64::MAX] {
            let path = format!("{door}?watch=true&revision={revision}");
            let answer = server.get(&path).await;
            assert_eq!(answer.status, 410, "{path}: {}", answer.body);
            let message = answer.body["error"]["message"].as_str().unwrap();
            assert!(message.contains("has not been yet"), "{message}");
        }
    }
}

/// The memory that this process has in use.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap()
}

#[tokio::test]
async fn watchers_that_do_not_read_cost_next_to_nothing_and_are_at_most_so_many() {
    assert!(frd_daemon::door::raise() > 2000);
    let server = Server::start().await;
    let mut large = manifest("shop", "shop:1");
    let env = |number: u32| json!({ "BIG": "x".repeat(60_000), "N": number.to_string() });
    large["spec"]["workload"]["env"] = env(1000);
    let stored = server.put(SHOP, &large).await;
    assert!(stored.status < 300, "{}", stored.body);
    let mut deaf = Vec::new();
    for door in ["/view", "", "/status"] {
        for _ in 0..42 {
            let mut stream = UnixStream::connect(&server.socket).await.unwrap();
            let ask = format!("GET {SHOP}{door}?watch=true HTTP/1.1\r\nhost: frd\r\n\r\n");
            stream.write_all(ask.as_bytes()).await.unwrap();
            deaf.push(stream);
        }
    }
    let mut reads = server.watch(&format!("{SHOP}/view?watch=true"), &[]).await;
    reads.next().await;
    server
        .until(|| async { server.text("/metrics").await.contains("watches_open 127.0") })
        .await;
    let _last = server.watch(&format!("{SHOP}/view?watch=true"), &[]).await;
    let refused = server.get(&format!("{SHOP}/view?watch=true")).await;
    assert_eq!(refused.status, 429, "{}", refused.body);

    let before = resident();
    for number in 0..200 {
        large["spec"]["workload"]["env"] = env(number);
        assert_eq!(server.put(SHOP, &large).await.status, 200);
    }
    // Whoever reads gets the newest, and one that comes back has a place.
    loop {
        let event = reads.next().await;
        if event.data["release"]["spec"]["workload"]["env"]["N"] == "199" {
            break;
        }
    }
    let grown = resident().saturating_sub(before) / 1024;
    assert!(grown < 100, "{grown} MiB for 126 watchers that do not read");
    drop(deaf);
    server
        .until(|| async { server.text("/metrics").await.contains("watches_open 2.0") })
        .await;
}

#[tokio::test]
async fn a_reader_of_events_that_is_too_slow_hears_that_it_missed_some() {
    let server = Server::start().await;
    let event = |number: u32| {
        let id = format!("{number:08}");
        let text = json!({
            "id": id, "at": "2026-01-01T00:00:00Z", "severity": "normal",
            "reason": "Changed", "message": "x".repeat(2000), "source": "test",
        });
        Txn::new().put(fm_api::keys::event(&id), text.to_string().into_bytes())
    };
    server.write(event(0)).await;
    let mut slow = server.watch("/v1/events?watch=true", &[]).await;
    assert_eq!(slow.next().await.data["id"], "00000000");
    for number in 1..3000 {
        server.write(event(number)).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut last = 0;
    loop {
        let event = slow.next().await;
        if event.kind == "error" {
            assert!(
                event.data["message"]
                    .as_str()
                    .unwrap()
                    .contains("too slowly")
            );
            break;
        }
        last = event.id;
    }
    // From its last id on it gets what is still kept, in order.
    let path = format!("/v1/events?watch=true&revision={last}");
    let mut again = server.watch(&path, &[]).await;
    let mut next = last;
    for _ in 0..100 {
        let event = again.next().await;
        assert!(event.id > next);
        next = event.id;
    }
}
