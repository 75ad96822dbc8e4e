//! A member of etcd that dies, hangs or has no leader costs a call that is retried unseen, and no watch misses anything.
//! Three real members.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fm_store::{Change, Expect, LeaseId, SharedStore, StoreError, Txn, Watch};
use tokio::task::JoinHandle;

use crate::server::Server;

/// What one client saw while members failed.
#[derive(Debug, Default)]
struct Seen {
    calls: usize,
    /// Calls that did not do what was asked.
    failed: Vec<String>,
    /// Calls that took more than a member's own time limit, so that another was asked.
    slow: Vec<(String, Duration)>,
    longest: Duration,
    written: BTreeSet<u64>,
}

impl Seen {
    fn note<T>(&mut self, what: &str, asked: Instant, result: Result<T, StoreError>) -> Option<T> {
        let took = asked.elapsed();
        self.calls += 1;
        self.longest = self.longest.max(took);
        if took > Duration::from_secs(1) {
            self.slow.push((what.to_owned(), took));
        }
        result
            .map_err(|error| self.failed.push(format!("{what}: {error}")))
            .ok()
    }
}

/// Reads, writes under an expectation, and keeps a lease alive, one after the other, as the daemons do.
fn work(store: SharedStore, lease: LeaseId, stop: Arc<AtomicBool>) -> JoinHandle<Seen> {
    tokio::spawn(async move {
        let mut seen = Seen::default();
        let mut revision = None;
        let mut number: u32 = 0;
        while !stop.load(Ordering::SeqCst) {
            number += 1;
            let asked = Instant::now();
            seen.note("get", asked, store.get("/p/a").await);
            let expect = match revision {
                None => Expect::Absent("/p/a".to_owned()),
                Some(revision) => Expect::Unchanged("/p/a".to_owned(), revision),
            };
            let txn = Txn::new()
                .expect(expect)
                .put("/p/a", number.to_be_bytes().to_vec());
            let asked = Instant::now();
            let done = seen.note("commit", asked, store.commit(txn).await);
            if let Some(done) = done {
                seen.written.insert(done);
                revision = Some(done);
            } else {
                revision = store.get("/p/a").await.unwrap().map(|entry| entry.revision);
            }
            let asked = Instant::now();
            seen.note("keep_alive", asked, store.keep_alive(lease).await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        seen
    })
}

/// Writes, with patience for a cluster that chooses its first leader.
async fn put(store: &SharedStore, key: &str) {
    let limit = Instant::now() + Duration::from_secs(20);
    while let Err(error) = store.commit(Txn::new().put(key, vec![1])).await {
        assert!(Instant::now() < limit, "{error}");
    }
}

/// Everything that a watch shows up to a revision.
async fn shown(watch: &mut Watch, last: u64) -> Vec<u64> {
    let mut seen: Vec<u64> = Vec::new();
    while seen.last().is_none_or(|seen| *seen < last) {
        let batch = tokio::time::timeout(Duration::from_secs(20), watch.next()).await;
        let batch = batch.expect("a watch that stands still").unwrap().unwrap();
        seen.extend(batch.iter().map(Change::revision));
    }
    seen
}

/// Works while the member is made to fail, and to return; a second time with the client at another member.
async fn survives(
    servers: &mut [Server],
    fail: impl Fn(&mut Server),
    back: impl Fn(&mut Server),
) -> Vec<Seen> {
    let mut rounds = Vec::new();
    for round in 0..2 {
        let at = round % servers.len();
        let order = servers[at..].iter().chain(&servers[..at]);
        let store = Server::connect_to(order).await;
        put(&store, "/p/a").await;
        store.commit(Txn::new().delete("/p/a")).await.unwrap();
        let lease = store.grant(Duration::from_secs(5)).await.unwrap();
        let from = store.list("/p/").await.unwrap().revision + 1;
        let mut watch = store.watch("/p/", from).await.unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let working = work(store.clone(), lease, Arc::clone(&stop));
        tokio::time::sleep(Duration::from_millis(500)).await;
        fail(&mut servers[at]);
        tokio::time::sleep(Duration::from_secs(6)).await;
        back(&mut servers[at]);
        tokio::time::sleep(Duration::from_secs(1)).await;
        stop.store(true, Ordering::SeqCst);
        let seen = working.await.unwrap();
        let shown = shown(&mut watch, *seen.written.last().unwrap()).await;
        assert!(shown.is_sorted_by(|a, b| a < b), "{shown:?}");
        let shown: BTreeSet<u64> = shown.into_iter().collect();
        assert_eq!(shown, seen.written, "a change was missed, or done twice");
        rounds.push(seen);
    }
    rounds
}

fn hold(rounds: &[Seen]) {
    for seen in rounds {
        assert!(seen.failed.is_empty(), "{seen:?}");
        assert!(seen.calls > 100, "{seen:?}");
        // Its death may also cost the cluster its leader: those calls wait for the next one.
        assert!(seen.longest < Duration::from_secs(5), "{:?}", seen.slow);
        assert!(seen.slow.len() <= 3, "{:?}", seen.slow);
    }
}

#[tokio::test]
async fn a_member_that_dies_costs_a_retry_and_no_watch_misses_anything() {
    let mut servers = Server::cluster(3);
    hold(&survives(&mut servers, Server::kill, Server::restart).await);
}

#[tokio::test]
async fn a_member_that_hangs_costs_a_retry_and_no_watch_misses_anything() {
    let mut servers = Server::cluster(3);
    let rounds = survives(
        &mut servers,
        |server| server.hang(),
        |server| server.go_on(),
    )
    .await;
    hold(&rounds);
}

#[tokio::test]
async fn a_member_without_a_leader_is_left_for_one_that_has_one() {
    // Of the first cluster only one member is left. The other stands for those that are well.
    let mut broken = Server::cluster(3);
    let well = Server::start();
    put(&broken[0].connect().await, "/p/first").await;
    let store = Server::connect_to([&broken[0], &well]).await;
    let mut watch = store.watch("/p/", 1).await.unwrap();
    watch.next().await.unwrap().unwrap();
    assert!(store.get("/p/first").await.unwrap().is_some());
    broken[1].kill();
    broken[2].kill();
    let asked = Instant::now();
    assert_eq!(store.get("/p/first").await.unwrap(), None);
    store.commit(Txn::new().put("/p/b", vec![2])).await.unwrap();
    assert!(asked.elapsed() < Duration::from_secs(5));
    assert_eq!(
        well.etcdctl(&["get", "--print-value-only", "/p/b"])
            .trim_end(),
        "\u{2}"
    );
}

#[tokio::test]
async fn all_members_gone_is_said_of_each_and_the_first_that_returns_is_found() {
    let mut servers = Server::cluster(3);
    let store = Server::connect_to(&servers).await;
    put(&store, "/p/a").await;
    for server in &mut servers {
        server.kill();
    }
    let asked = Instant::now();
    let Err(StoreError::Unavailable(why)) = store.get("/p/a").await else {
        panic!("an answer of nobody");
    };
    assert!(asked.elapsed() < Duration::from_secs(6));
    assert!(
        servers
            .iter()
            .all(|server| why.contains(&server.endpoint()))
            && why.contains("refused"),
        "{why}"
    );
    let [_, second, third] = &mut servers[..] else {
        panic!("three members");
    };
    std::thread::scope(|scope| {
        scope.spawn(|| second.restart());
        scope.spawn(|| third.restart());
    });
    let limit = Instant::now() + Duration::from_secs(20);
    while store.get("/p/a").await.is_err() {
        assert!(Instant::now() < limit, "two of three are back");
    }
}
