//! Watching over server-sent events: what is there, what comes, and resuming.

#[cfg(test)]
mod support;

use fm_api::keys::ReleaseKey;
use fm_store::Txn;
use serde_json::json;
use support::{Server, manifest};

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
    let began = std::time::Instant::now();
    server.stop().await;
    assert!(
        began.elapsed() < std::time::Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
}
