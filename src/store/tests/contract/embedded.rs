//! What the embedded store promises beyond the contract: crashes, restarts, one process alone.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fm_store::{Expect, SharedStore, StoreError, Txn, embedded};
use tempfile::TempDir;

const FOLDER: &str = "FM_STORE_TEST_FOLDER";

/// Opens, with patience for the last owner, whose end is a moment away.
async fn open(folder: &Path) -> SharedStore {
    let limit = Instant::now() + Duration::from_secs(10);
    loop {
        match embedded::open(folder) {
            Err(StoreError::Locked(_)) if Instant::now() < limit => {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            result => return result.unwrap(),
        }
    }
}

/// A process that writes until it is killed, and says what was acknowledged.
#[test]
#[ignore = "the other process of the tests below, which start it"]
fn a_process_that_writes() {
    let folder = std::env::var_os(FOLDER).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = open(Path::new(&folder)).await;
        let lease = store.grant(Duration::from_secs(5)).await.unwrap();
        let lead = Txn::new()
            .expect(Expect::Absent("/leader".to_owned()))
            .put_leased("/leader", vec![], lease);
        store.commit(lead).await.unwrap();
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..8 {
            let store = store.clone();
            writers.spawn(async move {
                for number in 0_u64.. {
                    let (a, b) = (format!("/a/{writer}"), format!("/b/{writer}"));
                    let value = number.to_string().into_bytes();
                    let txn = Txn::new().put(a, value.clone()).put(b, value);
                    let revision = store.commit(txn).await.unwrap();
                    println!("acknowledged {writer} {number} {revision}");
                }
            });
        }
        writers.join_next().await;
    });
}

fn start(folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "embedded::a_process_that_writes",
            "--ignored",
            "--nocapture",
        ])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_kill_9_and_leases_of_the_dead_are_not() {
    let folder = TempDir::new().unwrap();
    let mut highest = 0;
    for round in 1..=5_usize {
        let mut child = start(folder.path());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acknowledged = [None; 8];
        let mut note = |line: String| {
            // The test harness prints on the same line what it runs.
            let Some((_, rest)) = line.split_once("acknowledged ") else {
                return;
            };
            let numbers: Vec<u64> = rest.split(' ').map(|word| word.parse().unwrap()).collect();
            acknowledged[usize::try_from(numbers[0]).unwrap()] = Some(numbers[1]);
            highest = highest.max(numbers[2]);
        };
        for line in lines.by_ref().take(100 * round) {
            note(line.unwrap());
        }
        child.kill().unwrap();
        // A line that the kill cut in two acknowledged nothing: all whole ones end in a newline, and count.
        let rest: Vec<String> = lines.map_while(Result::ok).collect();
        for line in rest.iter().take(rest.len().saturating_sub(1)) {
            note(line.clone());
        }
        child.wait().unwrap();

        let opened = Instant::now();
        let store = open(folder.path()).await;
        assert!(
            store.get("/leader").await.unwrap().is_none(),
            "nobody waits for the dead"
        );
        assert!(
            opened.elapsed() < Duration::from_secs(4),
            "{:?}",
            opened.elapsed()
        );
        for (writer, number) in acknowledged.iter().enumerate() {
            let Some(number) = number else { continue };
            let a = store.get(&format!("/a/{writer}")).await.unwrap().unwrap();
            let b = store.get(&format!("/b/{writer}")).await.unwrap().unwrap();
            let found: u64 = String::from_utf8(a.value.clone()).unwrap().parse().unwrap();
            assert!(
                found >= *number,
                "writer {writer}: {number} was lost, there is {found}"
            );
            assert_eq!(
                (a.value, a.revision),
                (b.value, b.revision),
                "whole transactions"
            );
        }
        assert!(
            store.list("/").await.unwrap().revision >= highest,
            "revisions only grow"
        );
    }
}

#[tokio::test]
async fn a_second_process_is_told_clearly_that_the_folder_is_in_use() {
    let folder = TempDir::new().unwrap();
    let mut child = start(folder.path());
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    while !lines.next().unwrap().unwrap().contains("acknowledged") {}
    let second = embedded::open(folder.path()).err();
    child.kill().unwrap();
    child.wait().unwrap();
    let Some(StoreError::Locked(message)) = second else {
        panic!("{second:?}");
    };
    assert!(
        message.contains(folder.path().to_str().unwrap()),
        "{message}"
    );
    assert!(message.contains("in use by another process"), "{message}");
}

#[tokio::test]
async fn no_new_store_is_made_beside_the_traces_of_an_old_one() {
    let folder = TempDir::new().unwrap();
    let (data, trace) = (folder.path().join("data"), folder.path().join("trace"));
    let traces = [trace.clone()];
    let refused = || match embedded::open_beside(&data, &traces) {
        Err(StoreError::Refused(message)) => message,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("a new store was made"),
    };
    std::fs::write(&trace, "x").unwrap();
    assert!(refused().contains("is not there"));
    assert!(!data.exists(), "nothing was made");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("store.redb"), "").unwrap();
    let message = refused();
    assert!(
        message.contains("is empty") && message.contains("--new-store"),
        "{message}"
    );
    std::fs::remove_file(&trace).unwrap();
    drop(embedded::open_beside(&data, &traces).unwrap());
    // With a store the traces are what they should be.
    std::fs::write(&trace, "x").unwrap();
    let begin = Instant::now();
    while let Err(error) = embedded::open_beside(&data, &traces) {
        assert!(matches!(error, StoreError::Locked(_)), "{error}");
        assert!(begin.elapsed() < Duration::from_secs(5), "{error}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn after_a_restart_the_data_and_revisions_go_on_and_older_changes_are_compacted() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    let mut watch = store.watch("/", 2).await.unwrap();
    let before = store.commit(Txn::new().put("/a", vec![1])).await.unwrap();
    assert!(watch.next().await.unwrap().is_ok());
    drop(store);
    assert!(watch.next().await.is_none(), "the store was closed");

    let store = open(folder.path()).await;
    let entry = store.get("/a").await.unwrap().unwrap();
    assert_eq!((entry.value, entry.revision), (vec![1], before));
    let mut late = store.watch("/", before).await.unwrap();
    assert!(
        matches!(late.next().await, Some(Err(StoreError::Compacted { from })) if from == before)
    );
    let mut watch = store.watch("/", before + 1).await.unwrap();
    let after = store.commit(Txn::new().put("/a", vec![2])).await.unwrap();
    assert_eq!(after, before + 1);
    assert_eq!(watch.next().await.unwrap().unwrap()[0].revision(), after);
}

#[tokio::test]
async fn short_leases_end_with_the_process_and_long_ones_run_on() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    let short = store.grant(Duration::from_secs(60)).await.unwrap();
    let long = store.grant(Duration::from_secs(3600)).await.unwrap();
    let txn = Txn::new()
        .put_leased("/short", vec![], short)
        .put_leased("/long", vec![], long);
    let before = store.commit(txn).await.unwrap();
    drop(store);
    let store = open(folder.path()).await;
    let listing = store.list("/").await.unwrap();
    assert_eq!(
        (listing.entries.len(), listing.entries[0].key.as_str()),
        (1, "/long")
    );
    assert!(listing.revision > before, "the removal is a change");
    assert!(matches!(
        store.keep_alive(short).await,
        Err(StoreError::LeaseEnded)
    ));
    store.keep_alive(long).await.unwrap();
    let new = store.grant(Duration::from_secs(60)).await.unwrap();
    assert_ne!(new, long);
    store.revoke(long).await.unwrap();
    assert!(store.get("/long").await.unwrap().is_none());
}

#[tokio::test]
async fn a_file_that_is_no_store_is_refused_and_left_alone() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("store.redb");
    let text = "not a database, and longer than any header could be; ".repeat(100);
    std::fs::write(&file, &text).unwrap();
    let opened = embedded::open(folder.path()).err();
    assert!(matches!(opened, Some(StoreError::Refused(_))), "{opened:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
}

#[tokio::test]
async fn a_slow_reader_of_a_watch_holds_up_nobody_and_is_told_what_it_missed() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    let mut slow = store.watch("/", 2).await.unwrap();
    for _ in 0..300 {
        let txn = (0..128).fold(Txn::new(), |txn, number| {
            txn.put(format!("/{number}"), vec![])
        });
        store.commit(txn).await.unwrap();
    }
    let mut last = 1;
    let end = loop {
        match slow.next().await.unwrap() {
            Ok(batch) => {
                assert_eq!(batch[0].revision(), last + 1, "no gap before the end");
                last += 1;
            }
            Err(error) => break error,
        }
    };
    assert!(
        matches!(end, StoreError::Compacted { from } if from == last + 1),
        "{end}"
    );
}
