//! What every store promises; each promise is tried on the embedded store and on a real etcd.

use std::collections::BTreeMap;
use std::time::Duration;

use fm_store::{
    Change, Expect, Fence, LeaseId, MAX_VALUE, SharedStore, StoreError, Txn, Watch, embedded,
};

use tempfile::TempDir;

use crate::server::Server;

/// Something under test: a store, and a way to make it forget its old changes.
enum Subject {
    Embedded(
        SharedStore,
        #[expect(dead_code, reason = "the folder lives as long")] TempDir,
    ),
    Etcd(SharedStore, Box<Server>),
}

impl Subject {
    fn embedded() -> Self {
        let folder = TempDir::new().unwrap();
        Self::Embedded(embedded::open(folder.path()).unwrap(), folder)
    }
    async fn etcd() -> Self {
        let server = Server::start();
        Self::Etcd(server.connect().await, Box::new(server))
    }
    fn store(&self) -> &SharedStore {
        match self {
            Self::Embedded(store, _) | Self::Etcd(store, _) => store,
        }
    }
    async fn compact(&self) {
        match self {
            // More changes than it keeps.
            Self::Embedded(store, _) => {
                for _ in 0..90 {
                    let txn =
                        (0..128).fold(Txn::new(), |txn, n| txn.put(format!("/x/{n}"), vec![]));
                    store.commit(txn).await.unwrap();
                }
            }
            Self::Etcd(store, server) => {
                let now = store.commit(Txn::new().put("/x", vec![])).await.unwrap();
                server.etcdctl(&["compact", &now.to_string()]);
            }
        }
    }
}

/// Each promise, on each store.
macro_rules! promises {
    ($($promise:ident)*) => {
        mod on_embedded {
            $(#[tokio::test] async fn $promise() {
                super::$promise(&super::Subject::embedded()).await;
            })*
        }
        mod on_etcd {
            $(#[tokio::test] async fn $promise() {
                super::$promise(&super::Subject::etcd().await).await;
            })*
        }
    };
}

promises! {
    a_write_happens_only_if_the_key_is_as_expected
    a_transaction_happens_whole_or_not_at_all
    a_deposed_leader_cannot_write
    a_list_shows_one_revision_in_the_order_of_keys
    a_range_is_one_page_of_a_list
    a_watch_from_a_list_misses_nothing_and_repeats_nothing
    a_watch_shows_its_prefix_alone_and_transactions_whole
    old_changes_are_given_or_the_watch_says_that_they_are_gone
    keys_go_with_their_lease_when_it_is_not_kept_alive
    keys_go_at_once_when_their_lease_is_revoked
    of_many_writers_exactly_one_wins
    what_is_too_large_or_contradictory_is_refused_by_name
}

const WAIT: Duration = Duration::from_secs(20);

async fn next(watch: &mut Watch) -> Vec<Change> {
    let batch = tokio::time::timeout(WAIT, watch.next()).await;
    batch.expect("a change comes").expect("it goes on").unwrap()
}

fn is_conflict<T>(result: Result<T, StoreError>, on: &str) -> bool {
    matches!(result, Err(StoreError::Conflict { key }) if key == on)
}

async fn a_write_happens_only_if_the_key_is_as_expected(subject: &Subject) {
    let store = subject.store();
    assert_eq!(store.get("/a").await.unwrap(), None);
    let absent = Expect::Absent("/a".to_owned());
    let create = Txn::new().expect(absent).put("/a", b"1".to_vec());
    let first = store.commit(create.clone()).await.unwrap();
    let entry = store.get("/a").await.unwrap().unwrap();
    assert_eq!((entry.value.as_slice(), entry.revision), (&b"1"[..], first));
    assert!(is_conflict(store.commit(create).await, "/a"));

    let update = |revision| {
        let unchanged = Expect::Unchanged("/a".to_owned(), revision);
        Txn::new().expect(unchanged).put("/a", b"2".to_vec())
    };
    let second = store.commit(update(first)).await.unwrap();
    assert!(second > first);
    assert!(is_conflict(store.commit(update(first)).await, "/a"));

    let exists = Txn::new().expect(Expect::Exists("/b".to_owned()));
    assert!(is_conflict(store.commit(exists).await, "/b"));
    store
        .commit(Txn::new().delete("/a").delete("/never"))
        .await
        .unwrap();
    assert_eq!(store.get("/a").await.unwrap(), None);
    assert!(is_conflict(store.commit(update(second)).await, "/a"));
}

async fn a_transaction_happens_whole_or_not_at_all(subject: &Subject) {
    let store = subject.store();
    let both = Txn::new().put("/a", b"1".to_vec()).put("/b", b"1".to_vec());
    let revision = store.commit(both).await.unwrap();
    for key in ["/a", "/b"] {
        assert_eq!(store.get(key).await.unwrap().unwrap().revision, revision);
    }
    let refused = Txn::new()
        .expect(Expect::Unchanged("/a".to_owned(), revision))
        .expect(Expect::Absent("/b".to_owned()))
        .put("/a", b"2".to_vec())
        .delete("/b");
    assert!(is_conflict(store.commit(refused).await, "/b"));
    let listing = store.list("/").await.unwrap();
    assert!(listing.entries.iter().all(|entry| entry.value == b"1"));
    assert_eq!((listing.entries.len(), listing.revision), (2, revision));
}

async fn a_deposed_leader_cannot_write(subject: &Subject) {
    let store = subject.store();
    let lead = async |lease| {
        let txn = Txn::new()
            .expect(Expect::Absent("/leader".to_owned()))
            .put_leased("/leader", b"me".to_vec(), lease);
        store.commit(txn).await
    };
    let old = store.grant(Duration::from_secs(30)).await.unwrap();
    let fence = |revision| Fence {
        key: "/leader".to_owned(),
        revision,
    };
    let first = fence(lead(old).await.unwrap());
    let write = |fence: &Fence| Txn::new().fenced(Some(fence)).put("/a", vec![]);
    store.commit(write(&first)).await.unwrap();
    store.revoke(old).await.unwrap();
    assert!(is_conflict(store.commit(write(&first)).await, "/leader"));
    let new = store.grant(Duration::from_secs(30)).await.unwrap();
    let second = fence(lead(new).await.unwrap());
    assert!(is_conflict(store.commit(write(&first)).await, "/leader"));
    store.commit(write(&second)).await.unwrap();
}

async fn a_list_shows_one_revision_in_the_order_of_keys(subject: &Subject) {
    let store = subject.store();
    for round in 0..9 {
        let txn = (0..100).fold(Txn::new(), |txn, number| {
            txn.put(format!("/l/{:03}", round * 100 + number), b"0".to_vec())
        });
        store.commit(txn).await.unwrap();
    }
    store
        .commit(Txn::new().put("/k", vec![]).put("/m", vec![]))
        .await
        .unwrap();
    let writer = {
        let store = store.clone();
        tokio::spawn(async move {
            for value in 1..40 {
                let value = value.to_string().into_bytes();
                // The first and the last key always have the same value.
                let txn = Txn::new().put("/l/000", value.clone()).put("/l/899", value);
                store.commit(txn).await.unwrap();
            }
        })
    };
    for _ in 0..20 {
        let listing = store.list("/l/").await.unwrap();
        let keys: Vec<&str> = listing
            .entries
            .iter()
            .map(|entry| entry.key.as_str())
            .collect();
        assert_eq!(keys.len(), 900);
        assert!(keys.is_sorted());
        assert_eq!(listing.entries[0].value, listing.entries[899].value);
        assert!(
            listing
                .entries
                .iter()
                .all(|entry| entry.revision <= listing.revision)
        );
    }
    writer.await.unwrap();
}

async fn a_range_is_one_page_of_a_list(subject: &Subject) {
    let store = subject.store();
    let keys = ["/a/x", "/a/x-y", "/a/x/1", "/a/x0", "/b"];
    let put = |txn: Txn, key: &&str| txn.put(*key, key.as_bytes().to_vec());
    let written = store.commit(keys.iter().fold(Txn::new(), put)).await;
    let revision = written.unwrap();
    let pages = [
        ("/a/", "/a0", 2, &keys[..2]),
        ("/a/x-y\0", "/a0", 2, &keys[2..4]),
        ("/a/x0\0", "/a0", 2, &[]),
        ("/a/x", "/a/x0", 9, &keys[..3]),
        ("/b", "/a", 9, &[]),
    ];
    for (from, to, most, expected) in pages {
        let page = store.range(from, to, most).await.unwrap();
        let found: Vec<&str> = page
            .entries
            .iter()
            .map(|entry| entry.key.as_str())
            .collect();
        assert_eq!(found, expected, "{from} to {to}");
        assert!(
            page.entries
                .iter()
                .all(|entry| entry.value == entry.key.as_bytes())
        );
        assert!(page.revision >= revision);
    }
}

async fn a_watch_from_a_list_misses_nothing_and_repeats_nothing(subject: &Subject) {
    let store = subject.store();
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for round in 0..60 {
                    let key = format!("/w/{writer}-{}", round % 7);
                    let txn = match round % 5 {
                        4 => Txn::new().delete(key),
                        _ => Txn::new().put(key, round.to_string().into_bytes()),
                    };
                    store.commit(txn).await.unwrap();
                }
            })
        })
        .collect();
    let mut followers = Vec::new();
    for _ in 0..8 {
        let store = store.clone();
        tokio::time::sleep(Duration::from_millis(10)).await;
        followers.push(tokio::spawn(async move { follow(&store).await }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    store
        .commit(Txn::new().put("/w/end", vec![]))
        .await
        .unwrap();
    let truth = store.list("/w/").await.unwrap().entries;
    for follower in followers {
        let state = follower.await.unwrap();
        assert_eq!(state, truth);
    }
}

/// Lists, then applies changes until the end is seen.
async fn follow(store: &SharedStore) -> Vec<fm_store::Entry> {
    let listing = store.list("/w/").await.unwrap();
    let mut seen = listing.revision;
    let mut state: BTreeMap<String, fm_store::Entry> = listing
        .entries
        .into_iter()
        .map(|entry| (entry.key.clone(), entry))
        .collect();
    let mut watch = store.watch("/w/", seen + 1).await.unwrap();
    while !state.contains_key("/w/end") {
        let batch = next(&mut watch).await;
        assert!(batch[0].revision() > seen, "no change comes twice");
        assert!(batch.is_sorted_by_key(Change::revision));
        for change in batch {
            seen = change.revision();
            match change {
                Change::Put(entry) => drop(state.insert(entry.key.clone(), entry)),
                Change::Deleted { key, .. } => drop(state.remove(&key).expect("it was there")),
            }
        }
    }
    state.into_values().collect()
}

async fn a_watch_shows_its_prefix_alone_and_transactions_whole(subject: &Subject) {
    let store = subject.store();
    let from = store.list("/p/").await.unwrap().revision + 1;
    let mut watch = store.watch("/p/", from).await.unwrap();
    store
        .commit(Txn::new().put("/o", vec![]).put("/q", vec![]))
        .await
        .unwrap();
    let txn = Txn::new()
        .put("/p/a", vec![1])
        .put("/o", vec![])
        .put("/p/b", vec![2]);
    let revision = store.commit(txn).await.unwrap();
    let mut batch = next(&mut watch).await;
    batch.sort_by(|a, b| a.key().cmp(b.key()));
    let keys: Vec<&str> = batch.iter().map(Change::key).collect();
    assert_eq!(keys, ["/p/a", "/p/b"]);
    assert!(batch.iter().all(|change| change.revision() == revision));
    let removed = store.commit(Txn::new().delete("/p/a")).await.unwrap();
    let key = "/p/a".to_owned();
    let gone = Change::Deleted {
        key,
        revision: removed,
    };
    assert_eq!(next(&mut watch).await, [gone]);
}

async fn old_changes_are_given_or_the_watch_says_that_they_are_gone(subject: &Subject) {
    let store = subject.store();
    let first = store.commit(Txn::new().put("/p/a", vec![1])).await.unwrap();
    let second = store.commit(Txn::new().put("/p/a", vec![2])).await.unwrap();
    let mut watch = store.watch("/p/", first).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 2 {
        seen.extend(next(&mut watch).await.iter().map(Change::revision));
    }
    assert_eq!(seen, [first, second]);
    subject.compact().await;
    let mut late = store.watch("/p/", first).await.unwrap();
    let told = tokio::time::timeout(WAIT, late.next()).await.unwrap();
    assert!(
        matches!(told, Some(Err(StoreError::Compacted { .. }))),
        "{told:?}"
    );
    assert_eq!(late.receiver_is_done().await, ());
    let from = store.list("/p/").await.unwrap().revision + 1;
    let mut anew = store.watch("/p/", from).await.unwrap();
    let third = store.commit(Txn::new().put("/p/a", vec![3])).await.unwrap();
    assert_eq!(next(&mut anew).await[0].revision(), third);
}

/// A watch that failed is over.
trait Done {
    async fn receiver_is_done(&mut self);
}

impl Done for Watch {
    async fn receiver_is_done(&mut self) {
        let end = tokio::time::timeout(WAIT, self.next()).await.unwrap();
        assert!(end.is_none(), "{end:?}");
    }
}

async fn keys_go_with_their_lease_when_it_is_not_kept_alive(subject: &Subject) {
    let store = subject.store();
    let lease = store.grant(Duration::from_secs(2)).await.unwrap();
    let put = Txn::new()
        .put_leased("/p/a", vec![], lease)
        .put_leased("/p/b", vec![], lease);
    let put = store.commit(put).await.unwrap();
    // A key that is stored again without the lease no longer goes with it.
    store.commit(Txn::new().put("/p/b", vec![])).await.unwrap();
    let mut watch = store.watch("/p/a", put + 1).await.unwrap();
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(1000)).await;
        store.keep_alive(lease).await.unwrap();
    }
    assert!(
        store.get("/p/a").await.unwrap().is_some(),
        "it was kept alive"
    );
    assert!(matches!(&next(&mut watch).await[..], [Change::Deleted { key, .. }] if key == "/p/a"));
    assert!(store.get("/p/a").await.unwrap().is_none());
    assert!(store.get("/p/b").await.unwrap().is_some());
    ended(store, lease).await;
}

async fn ended(store: &SharedStore, lease: LeaseId) {
    let kept = store.keep_alive(lease).await;
    assert!(matches!(kept, Err(StoreError::LeaseEnded)), "{kept:?}");
    let put = store
        .commit(Txn::new().put_leased("/c", vec![], lease))
        .await;
    assert!(matches!(put, Err(StoreError::LeaseEnded)), "{put:?}");
    store.revoke(lease).await.unwrap();
}

async fn keys_go_at_once_when_their_lease_is_revoked(subject: &Subject) {
    let store = subject.store();
    let lease = store.grant(Duration::from_secs(3600)).await.unwrap();
    let put = store
        .commit(Txn::new().put_leased("/p/a", vec![], lease))
        .await
        .unwrap();
    let mut watch = store.watch("/p/", put + 1).await.unwrap();
    store.revoke(lease).await.unwrap();
    assert!(matches!(&next(&mut watch).await[..], [Change::Deleted { key, .. }] if key == "/p/a"));
    ended(store, lease).await;
}

async fn of_many_writers_exactly_one_wins(subject: &Subject) {
    let store = subject.store();
    let race = |number: u8| {
        let store = store.clone();
        tokio::spawn(async move {
            let absent = Expect::Absent("/one".to_owned());
            let won = store
                .commit(Txn::new().expect(absent).put("/one", vec![number]))
                .await;
            let mut counted = 0;
            while counted < 10 {
                let now = store.get("/count").await.unwrap();
                let (expect, count) = match now {
                    None => (Expect::Absent("/count".to_owned()), 0),
                    Some(entry) => (Expect::Unchanged(entry.key, entry.revision), entry.value[0]),
                };
                let txn = Txn::new().expect(expect).put("/count", vec![count + 1]);
                match store.commit(txn).await {
                    Ok(_) => counted += 1,
                    Err(StoreError::Conflict { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            won.is_ok()
        })
    };
    let racers: Vec<_> = (0..20).map(race).collect();
    let mut winners = 0;
    for racer in racers {
        winners += usize::from(racer.await.unwrap());
    }
    assert_eq!(winners, 1);
    assert_eq!(store.get("/count").await.unwrap().unwrap().value, [200]);
}

async fn what_is_too_large_or_contradictory_is_refused_by_name(subject: &Subject) {
    let store = subject.store();
    store
        .commit(Txn::new().put("/big", vec![0; MAX_VALUE]))
        .await
        .unwrap();
    let larger = store
        .commit(Txn::new().put("/big", vec![0; MAX_VALUE + 1]))
        .await;
    assert!(matches!(larger, Err(StoreError::TooLarge { key, .. }) if key == "/big"));
    let two = Txn::new()
        .put("/a", vec![0; 800_000])
        .put("/b", vec![0; 800_000]);
    let two = store.commit(two).await;
    assert!(matches!(two, Err(StoreError::TooLarge { key, .. }) if key == "/b"));
    let twice = store
        .commit(Txn::new().put("/a", vec![]).delete("/a"))
        .await;
    assert!(matches!(twice, Err(StoreError::Refused(why)) if why.contains("/a")));
    let many = (0..129).fold(Txn::new(), |txn, number| txn.delete(format!("/{number}")));
    assert!(matches!(
        store.commit(many).await,
        Err(StoreError::Refused(_))
    ));
}
