use super::*;

use crate::Cache;

#[tokio::test]
async fn it_shows_what_was_there_and_what_comes_and_goes() {
    let world = World::new();
    let before = world.put(&key("a").release(), "1").await;
    let cache = Cache::start(&world.process("p"), prefixes());
    cache.synced().await;
    assert!(cache.revision() >= before);
    assert_eq!(cache.list(&fm_api::keys::releases_prefix()).len(), 1);

    let mut changes = cache.subscribe();
    let put = world.put(&key("b").target(), "2").await;
    assert_eq!(changes.next().await, Some(vec![key("b").target()]));
    cache.reached(put).await;
    assert_eq!(cache.get(&key("b").target()).unwrap().value, b"2");
    assert!(cache.has_release(&key("b")));

    world.delete(&key("b").target()).await;
    assert_eq!(changes.next().await, Some(vec![key("b").target()]));
    assert!(cache.get(&key("b").target()).is_none());
    assert!(!cache.has_release(&key("b")));
}

#[tokio::test]
async fn keys_of_one_transaction_appear_together() {
    let world = World::new();
    let cache = Cache::start(&world.process("p"), prefixes());
    cache.synced().await;
    let mut changes = cache.subscribe();
    let both = vec![key("a").release(), key("a").target()];
    for _ in 0..50 {
        let txn = Txn::new().put(&both[0], vec![1]).put(&both[1], vec![2]);
        world.store.commit(txn).await.unwrap();
        assert_eq!(changes.next().await, Some(both.clone()));
    }
}

#[tokio::test]
async fn after_a_compaction_it_lists_again_and_tells_what_is_different() {
    let world = World::new();
    world.put(&key("gone").release(), "1").await;
    world.put(&key("same").release(), "1").await;
    let cache = Cache::start(&world.process("p"), prefixes());
    cache.synced().await;
    let mut changes = cache.subscribe();
    // No change passes between the cut and the new list.
    world.store.set_away(true);
    world.store.compact.send_modify(|count| *count += 1);
    eventually("the store is missed", || cache.lost_since().is_some()).await;
    world.delete(&key("gone").release()).await;
    world.put(&key("new").release(), "1").await;
    assert!(
        cache.has_release(&key("gone")),
        "the last known state stays"
    );
    world.store.set_away(false);
    let mut told = changes.next().await.unwrap();
    told.sort();
    assert_eq!(told, [key("gone").release(), key("new").release()]);
    assert!(!cache.has_release(&key("gone")));
    assert!(cache.has_release(&key("same")));
    assert!(cache.lost_since().is_none());
}

/// A call that hangs gives up long after the cut: who counts from its end acts late.
#[tokio::test]
async fn a_store_is_lost_since_it_was_last_heard_of() {
    let world = World::new();
    world.put(&key("a").release(), "1").await;
    let cache = Cache::start(&world.process("p"), prefixes());
    cache.synced().await;
    let before = jiff::Timestamp::now();
    world.store.hangs.store(true, Ordering::SeqCst);
    let cut = jiff::Timestamp::now();
    eventually("the store is missed", || cache.lost_since().is_some()).await;
    let since = cache.lost_since().unwrap();
    assert!(since <= cut, "{since} is after the cut at {cut}");
    assert!(cut.duration_since(since).as_secs() <= 3, "{since} {before}");
}

#[tokio::test]
async fn a_store_that_is_away_at_the_start_is_waited_for() {
    let world = World::new();
    world.put(&key("a").release(), "1").await;
    world.store.set_away(true);
    let cache = Cache::start(&world.process("p"), prefixes());
    eventually("the store is missed", || cache.lost_since().is_some()).await;
    world.store.set_away(false);
    cache.synced().await;
    assert!(cache.has_release(&key("a")));
}

#[tokio::test]
async fn a_slow_subscriber_hears_of_each_key_once_and_delays_nobody() {
    let world = World::new();
    let cache = Cache::start(&world.process("p"), prefixes());
    cache.synced().await;
    let mut slow = cache.subscribe();
    let mut last = 0;
    for number in 0..200 {
        last = world.put(&key("a").target(), &number.to_string()).await;
    }
    cache.reached(last).await;
    assert_eq!(slow.next().await, Some(vec![key("a").target()]));
}

#[tokio::test]
async fn subscribers_are_told_of_the_end() {
    let world = World::new();
    let process = world.process("p");
    let cache = Cache::start(&process, prefixes());
    cache.synced().await;
    let mut changes = cache.subscribe();
    process.shutdown.cancel();
    assert_eq!(changes.next().await, None);
}
