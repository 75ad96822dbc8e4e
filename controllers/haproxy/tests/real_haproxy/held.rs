//! An empty, wiped, wrong or other store takes no route away.

use std::time::{Duration, Instant};

use fm_api::edge::{Accepted, Deleted};
use fm_api::keys::{self, ReleaseKey};
use fm_api::observed::{Agent, Trouble, TroubleKind};
use fm_api::target::{Slot, Target};
use fm_store::Txn;

use crate::support::{Load, Service, World, route, shop, split, target, two_revisions};

async fn mark(world: &World, mark: &str) {
    let txn = Txn::new().put(keys::installation(), mark.as_bytes().to_vec());
    world.store.commit(txn).await.unwrap();
}

/// Everything goes, in one step.
async fn wipe(world: &World) {
    let all = world.store.list("/").await.unwrap();
    let txn = all
        .entries
        .iter()
        .fold(Txn::new(), |txn, entry| txn.delete(entry.key.clone()));
    world.store.commit(txn).await.unwrap();
}

async fn troubles(world: &World) -> Vec<Trouble> {
    let entry = world.store.get(&keys::agent("edge")).await.unwrap();
    let agent: Option<Agent> = entry.map(|entry| serde_json::from_slice(&entry.value).unwrap());
    agent.map(|agent| agent.troubles).unwrap_or_default()
}

async fn until(world: &World, what: &str, fits: impl Fn(&[Trouble]) -> bool) -> Vec<Trouble> {
    let begin = Instant::now();
    loop {
        let all = troubles(world).await;
        if fits(&all) {
            return all;
        }
        assert!(
            begin.elapsed() < Duration::from_secs(10),
            "{what}: {all:#?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn accept(world: &World) {
    let kept = troubles(world)
        .await
        .into_iter()
        .filter_map(|one| one.keeps);
    let word = Accepted {
        kept: kept.collect(),
        at: jiff::Timestamp::now(),
        by: "ann".into(),
    };
    world.put(&keys::accepted("edge"), &word).await;
}

async fn until_status(world: &World, host: &str, status: u16) {
    let begin = Instant::now();
    while world.get(host, "/", "").await.status != status {
        assert!(
            begin.elapsed() < Duration::from_secs(10),
            "{host} does not answer {status}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn holds(all: &[Trouble]) -> bool {
    all.iter().any(|one| one.kind == TroubleKind::Held)
}

/// A canary at half, so that a share could be lost as well as a route.
async fn half(world: &World, a: &Service, b: &Service) -> Target {
    let mut wanted = two_revisions(world, a, b).await;
    split(&mut wanted, "aaaaaaaaaa", Some("bbbbbbbbbb"), 5_000);
    world.put_target(&shop(), &wanted).await;
    world.until_split(&shop(), &wanted).await;
    wanted
}

async fn both_serve(world: &World) {
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..60 {
        let answer = world.get("shop.example.com", "/", "").await;
        assert_eq!(answer.status, 200);
        seen.insert(answer.body);
    }
    assert_eq!(seen.len(), 2, "the share stays: {seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_wiped_while_it_runs_takes_no_route_and_no_share() {
    let world = World::new().await;
    mark(&world, "one").await;
    let mut world = world;
    world.start_agent().await;
    let (a, b) = (Service::named("a").await, Service::named("b").await);
    half(&world, &a, &b).await;
    let load = Load::start(world.port, "shop.example.com", 4);
    wipe(&world).await;
    until(&world, "it is told", |all| {
        holds(all)
            && all
                .iter()
                .any(|one| one.message.contains("frctl edge accept edge"))
    })
    .await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    both_serve(&world).await;
    // Neither a restart of the agent nor one of HAProxy empties it.
    world.stop_agent().await;
    world.start_agent().await;
    until(&world, "it is still told", holds).await;
    world.kill_haproxy().await;
    until_status(&world, "shop.example.com", 200).await;
    both_serve(&world).await;
    let (count, _) = load.end().await;
    assert!(count > 100);
    let events = world.store.list(&keys::prefix("events")).await.unwrap();
    let told =
        |entry: &fm_store::Entry| String::from_utf8_lossy(&entry.value).contains("EdgeHolds");
    assert!(events.entries.iter().any(told));
    accept(&world).await;
    until_status(&world, "shop.example.com", 404).await;
    until(&world, "nothing is held any more", <[Trouble]>::is_empty).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_store_is_followed_only_by_a_persons_word() {
    let mut world = World::new().await;
    mark(&world, "one").await;
    world.start_agent().await;
    let (a, b) = (Service::named("a").await, Service::named("b").await);
    half(&world, &a, &b).await;
    world.stop_agent().await;
    let folder = tempfile::tempdir().unwrap();
    let first = std::mem::replace(
        &mut world.store,
        fm_store::embedded::open(folder.path()).unwrap(),
    );
    mark(&world, "two").await;
    // It has a release of the same name, and one more.
    let mut other = target(
        "u9",
        &[("bbbbbbbbbb", Slot::A, 1)],
        vec![route("new.example.com", "/")],
    );
    split(&mut other, "bbbbbbbbbb", None, 0);
    world
        .put_swarm(&shop(), "u9", &[("bbbbbbbbbb", vec![b.address])])
        .await;
    world.put_target(&shop(), &other).await;
    world.start_agent().await;
    until(&world, "it is told", holds).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    both_serve(&world).await;
    assert_eq!(world.get("new.example.com", "/", "").await.status, 404);
    assert!(
        world.observed(&shop()).await.is_none(),
        "nothing is told of a store that is not followed"
    );
    // The right one is back: nobody has to say anything.
    world.stop_agent().await;
    let second = std::mem::replace(&mut world.store, first);
    world.start_agent().await;
    until(&world, "the right one is followed", |all| !holds(all)).await;
    both_serve(&world).await;
    world.stop_agent().await;
    world.store = second;
    world.start_agent().await;
    until(&world, "it is told again", holds).await;
    accept(&world).await;
    until_status(&world, "new.example.com", 200).await;
    until_status(&world, "shop.example.com", 404).await;
    until(&world, "nothing is held any more", <[Trouble]>::is_empty).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_goes_only_where_somebody_deleted_the_release() {
    let mut world = World::started().await;
    let c = Service::named("c").await;
    let each = ["lost", "deleted", "while-away"];
    let mut last = target("x", &[], vec![]);
    for name in each {
        let key = ReleaseKey::new("default", name);
        let host = format!("{name}.example.com");
        let mut wanted = target(name, &[("cccccccccc", Slot::A, 1)], vec![route(&host, "/")]);
        split(&mut wanted, "cccccccccc", None, 0);
        world
            .put_swarm(&key, name, &[("cccccccccc", vec![c.address])])
            .await;
        world.put_target(&key, &wanted).await;
        world.until_healthy(&key, &wanted, "cccccccccc", 1).await;
        last = wanted;
    }
    let gone = |name: &str| Txn::new().delete(ReleaseKey::new("default", name).target());
    // One is deleted as promotion does it.
    let key = ReleaseKey::new("default", "deleted");
    last.uid = "deleted".into();
    last.routes = vec![route("deleted.example.com", "/")];
    last.traffic = None;
    last.deleting = true;
    last.generation += 1;
    world.put_target(&key, &last).await;
    world
        .until(&key, "it takes that in", |seen| {
            seen.generation == last.generation
        })
        .await;
    world.store.commit(gone("deleted")).await.unwrap();
    until_status(&world, "deleted.example.com", 404).await;
    // One while this edge is away: the store has a trace of it.
    world.stop_agent().await;
    let trace = Deleted {
        uid: "while-away".into(),
        at: jiff::Timestamp::now(),
    };
    world
        .put(&ReleaseKey::new("default", "while-away").deleted(), &trace)
        .await;
    world.store.commit(gone("while-away")).await.unwrap();
    world.start_agent().await;
    until_status(&world, "while-away.example.com", 404).await;
    // And one is lost.
    world.store.commit(gone("lost")).await.unwrap();
    let all = until(&world, "it is told", holds).await;
    assert!(
        all.iter()
            .any(|one| one.message.contains("1 of 1 releases")),
        "{all:#?}"
    );
    assert_eq!(world.get("lost.example.com", "/", "").await.body, "c");
    assert_eq!(
        world.get("while-away.example.com", "/", "").await.status,
        404
    );
    accept(&world).await;
    until_status(&world, "lost.example.com", 404).await;
    until(&world, "nothing is held any more", <[Trouble]>::is_empty).await;
}
