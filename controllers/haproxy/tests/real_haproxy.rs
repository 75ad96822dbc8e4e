//! The agent beside a real HAProxy.

mod support;

use std::time::{Duration, Instant};

use fm_api::target::Slot;
use support::{Service, World, route, shop, split, target};

/// Stable `aaaaaaaaaa` in slot A, canary `bbbbbbbbbb` in slot B, both healthy; all traffic on stable.
async fn two_revisions(world: &World, a: &Service, b: &Service) -> fm_api::target::Target {
    let mut wanted = target(
        "u1",
        &[("aaaaaaaaaa", Slot::A, 1), ("bbbbbbbbbb", Slot::B, 1)],
        vec![route("shop.example.com", "/")],
    );
    split(&mut wanted, "aaaaaaaaaa", Some("bbbbbbbbbb"), 0);
    let tasks = [("aaaaaaaaaa", vec![a.address]), ("bbbbbbbbbb", vec![b.address])];
    world.put_swarm(&shop(), "u1", &tasks).await;
    world.put_target(&shop(), &wanted).await;
    world.until_healthy(&shop(), &wanted, "aaaaaaaaaa", 1).await;
    world.until_healthy(&shop(), &wanted, "bbbbbbbbbb", 1).await;
    world.until_split(&shop(), &wanted).await;
    wanted
}

#[tokio::test(flavor = "multi_thread")]
async fn a_weight_is_in_force_within_milliseconds_and_needs_no_reload() {
    let world = World::started().await;
    let (a, b) = (Service::named("a").await, Service::named("b").await);
    let mut wanted = two_revisions(&world, &a, &b).await;
    assert_eq!(world.get("shop.example.com", "/x", "").await.body, "a");
    let (_, reloads) = world.master_process().await;
    let mut slowest = Duration::ZERO;
    for weight in [10_000, 0, 10_000, 0, 10_000] {
        split(&mut wanted, "aaaaaaaaaa", Some("bbbbbbbbbb"), weight);
        let begin = Instant::now();
        world.put_target(&shop(), &wanted).await;
        world.until_split(&shop(), &wanted).await;
        slowest = slowest.max(begin.elapsed());
        let body = if weight == 0 { "a" } else { "b" };
        assert_eq!(world.get("shop.example.com", "/x", "").await.body, body);
    }
    println!("slowest change of weight, store to report: {slowest:?}");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    assert_eq!(world.master_process().await.1, reloads);
}
