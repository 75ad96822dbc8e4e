//! Daemons that compare their clocks through a store, and a store that takes no writes.

use std::sync::atomic::AtomicI64;

use fm_api::daemon::Daemon;
use fm_store::Proven;
use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::daemon::{Options, live_every};
use crate::{Cache, Clock};

const PERIOD: Duration = Duration::from_millis(50);

/// A clock that somebody set, in seconds.
#[derive(Default)]
struct Set(AtomicI64);

impl Clock for Set {
    fn now(&self) -> Timestamp {
        Timestamp::now() + SignedDuration::from_secs(self.0.load(Ordering::SeqCst))
    }
}

/// A daemon on a machine of its own, whose clock is so many seconds ahead.
fn daemon(world: &World, name: &str, ahead: i64) -> (Context, Arc<Set>) {
    let clock = Arc::new(Set(AtomicI64::new(ahead)));
    let ctx = Context {
        clock: Arc::clone(&clock) as crate::SharedClock,
        fitness: Fitness::unknown(),
        ..world.process(name)
    };
    let options = Options {
        instance: name.to_owned(),
        version: String::new(),
    };
    tokio::spawn(live_every(ctx.clone(), options, PERIOD));
    (ctx, clock)
}

async fn events(world: &World, reason: &str) -> Vec<String> {
    let prefix = fm_api::keys::prefix("events");
    let events = world.store.store.list(&prefix).await.unwrap().entries;
    let texts = events
        .into_iter()
        .map(|entry| String::from_utf8(entry.value).unwrap());
    texts.filter(|text| text.contains(reason)).collect()
}

async fn told(world: &World, reason: &str) -> String {
    let limit = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(event) = events(world, reason).await.pop() {
            return event;
        }
        assert!(std::time::Instant::now() < limit, "no event {reason}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_daemon_whose_clock_is_far_off_leads_nothing_until_it_is_set_right() {
    let world = World::new();
    let (a, _) = daemon(&world, "a", 0);
    let (b, _) = daemon(&world, "b", 1);
    for ctx in [&a, &b] {
        ctx.fitness.set("x", None);
        ctx.fitness.fit("x", Duration::ZERO).await;
    }
    let (c, clock) = daemon(&world, "c", 600);
    c.fitness.set("x", None);
    eventually("it is found out", || {
        let problem = c.fitness.problem("x");
        problem.is_some_and(|problem| problem.contains("ahead of that of most daemons"))
    })
    .await;
    assert!(a.fitness.problem("x").is_none() && b.fitness.problem("x").is_none());
    c.fitness.yields("x").await;
    let event = told(&world, "ClockDiffers").await;
    assert!(event.contains("leads nothing"), "{event}");
    let offset = c.fitness.clock_offset().unwrap();
    assert!((598.0..602.0).contains(&offset), "{offset}");
    let sign = world.store.get(&fm_api::keys::daemon("c")).await.unwrap();
    let sign: Daemon = serde_json::from_slice(&sign.unwrap().value).unwrap();
    assert!(sign.clock.is_some(), "{sign:?}");

    clock.0.store(0, Ordering::SeqCst);
    c.fitness.fit("x", Duration::ZERO).await;
    assert_eq!(c.fitness.problem("x"), None);
    let jump = told(&world, "ClockJumped").await;
    assert!(jump.contains("back"), "{jump}");
    told(&world, "ClockAgrees").await;
    for ctx in [a, b, c] {
        ctx.shutdown.cancel();
    }
}

#[tokio::test]
async fn a_daemon_alone_leads_at_once_and_tells_when_its_clock_is_set() {
    let world = World::new();
    let (a, clock) = daemon(&world, "a", 0);
    a.fitness.fit("x", Duration::ZERO).await;
    tokio::time::sleep(PERIOD * 4).await;
    clock.0.store(600, Ordering::SeqCst);
    let jump = told(&world, "ClockJumped").await;
    assert!(jump.contains("600.0 s forward"), "{jump}");
    assert_eq!(a.fitness.problem("x"), None);
    a.shutdown.cancel();
}

#[tokio::test]
async fn a_store_that_takes_no_writes_is_lost_since_the_last_it_took_and_that_is_told_later() {
    let world = World::new();
    let (_, clock) = daemon(&world, "a", 0);
    let ctx = Context {
        store: Proven::over(Arc::clone(&world.store) as SharedStore),
        clock,
        ..world.process("b")
    };
    let options = Options {
        instance: "b".to_owned(),
        version: String::new(),
    };
    tokio::spawn(live_every(ctx.clone(), options, PERIOD));
    let cache = Cache::start(&ctx, prefixes());
    cache.synced().await;
    assert_eq!(cache.lost_since(), None);
    let before = Timestamp::now();
    world.store.refuses.store(true, Ordering::SeqCst);
    eventually("the store is missed", || cache.lost_since().is_some()).await;
    let since = cache.lost_since().unwrap();
    let early = SignedDuration::from_millis(500);
    assert!(
        since > before - early && since < before + early,
        "{before} {since}"
    );
    assert!(ctx.store.health().reads.is_none());
    world.store.refuses.store(false, Ordering::SeqCst);
    eventually("the store is back", || cache.lost_since().is_none()).await;
    let event = told(&world, "StoreWasLost").await;
    assert!(event.contains("takes no writes"), "{event}");
    ctx.shutdown.cancel();
}

#[tokio::test]
async fn that_room_is_short_is_told_once_and_that_there_is_room_again() {
    let world = World::new();
    let (ctx, _) = daemon(&world, "a", 0);
    world.store.low.store(true, Ordering::SeqCst);
    let event = told(&world, "StoreIsLow").await;
    assert!(event.contains("nearly full"), "{event}");
    tokio::time::sleep(PERIOD * 5).await;
    world.store.low.store(false, Ordering::SeqCst);
    told(&world, "StoreHasRoom").await;
    let events = events(&world, "StoreIsLow").await;
    assert!(
        events.len() == 1 && events[0].contains("\"count\":1"),
        "{events:?}"
    );
    ctx.shutdown.cancel();
}
