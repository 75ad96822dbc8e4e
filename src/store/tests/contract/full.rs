//! A store that is full: what it says, what goes on, and that it takes writes again once there is room.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use fm_store::{SharedStore, StoreError, Txn, embedded};
use tempfile::TempDir;

use crate::server::{Server, run};

/// Writes until the store takes no more; says why.
async fn fill(store: &SharedStore, most: usize) -> String {
    for number in 0..most {
        let txn = Txn::new().put(format!("/p/{number}"), vec![7; 256 << 10]);
        match store.commit(txn).await {
            Ok(_) => {}
            Err(StoreError::Unavailable(why)) => return why,
            Err(other) => panic!("{other}"),
        }
    }
    panic!("{most} writes, and it is not full");
}

async fn takes_writes_again(store: &SharedStore) {
    let limit = Instant::now() + Duration::from_secs(20);
    while let Err(error) = store.commit(Txn::new().put("/p/a", vec![1])).await {
        assert!(Instant::now() < limit, "{error}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn an_etcd_out_of_space_says_how_to_make_room_and_is_read_meanwhile() {
    let server = Server::start_with(&["--quota-backend-bytes", "4194304"]);
    let store = server.connect().await;
    store.commit(Txn::new().put("/p/a", vec![0])).await.unwrap();
    let why = fill(&store, 64).await;
    for word in [
        "database space exceeded",
        "compact",
        "defrag",
        "alarm disarm",
    ] {
        assert!(why.contains(word), "{why}");
    }
    assert!(store.get("/p/a").await.unwrap().is_some());
    let refused = store.grant(Duration::from_secs(5)).await;
    assert!(
        matches!(refused, Err(StoreError::Unavailable(_))),
        "{refused:?}"
    );
    // The way out, as it was told.
    server.etcdctl(&["del", "--prefix", "/p/"]);
    let now = store.list("/p/").await.unwrap().revision;
    server.etcdctl(&["compact", &now.to_string()]);
    server.etcdctl(&["defrag"]);
    server.etcdctl(&["alarm", "disarm"]);
    takes_writes_again(&store).await;
}

#[tokio::test]
async fn an_etcd_that_fills_says_so_while_there_is_room_for_ways_back() {
    let quota: u64 = 64 << 20;
    let server = Server::start_with(&["--quota-backend-bytes", &quota.to_string()]);
    let store = server.connect_with_quota(quota).await;
    let low = |store: &SharedStore| store.space().and_then(|space| space.low);
    let mut written = 0;
    let why = loop {
        if let Some(why) = low(&store) {
            break why;
        }
        // The last megabytes slower than etcd is asked.
        let (size, pause) = match written {
            0..60 => (512 << 10, 5),
            _ => (32 << 10, 40),
        };
        let txn = Txn::new().put(format!("/p/{}", written % 4), vec![7; size]);
        store.commit(txn).await.unwrap();
        written += 1;
        tokio::time::sleep(Duration::from_millis(pause)).await;
    };
    for word in [
        "nearly full",
        "kept for ways back",
        "compact",
        "defrag",
        "64.0 MiB",
    ] {
        assert!(why.contains(word), "{why}");
    }
    store.commit(Txn::new().delete("/p/0")).await.unwrap();
    for number in 0..100 {
        let txn = Txn::new().put(format!("/t/{number}"), vec![1; 16 << 10]);
        store.commit(txn).await.unwrap();
    }
    let now = store.list("/p/").await.unwrap().revision;
    server.etcdctl(&["compact", &now.to_string()]);
    server.etcdctl(&["defrag"]);
    let limit = Instant::now() + Duration::from_secs(20);
    while low(&store).is_some() {
        assert!(Instant::now() < limit, "{:?}", store.space());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A disk of a few megabytes; taken away with its owner, also when a test fails.
struct Disk {
    folder: TempDir,
}

impl Disk {
    fn new(size: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let options = format!("size={size}");
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "frd-test"])
            .arg(folder.path()));
        Self { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Something else that takes all the room there is.
    fn fill(&self) -> PathBuf {
        let path = self.path().join("other");
        let mut file = std::fs::File::create(&path).unwrap();
        while std::io::Write::write_all(&mut file, &[7; 4096]).is_ok() {}
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount")
            .arg("--lazy")
            .arg(self.folder.path())
            .status();
    }
}

#[tokio::test]
async fn an_embedded_store_keeps_room_for_ways_back_that_nothing_else_takes() {
    let disk = Disk::new("64m");
    let folder = disk.path().join("data");
    let store = embedded::open(&folder).unwrap();
    for number in 0..64 {
        let txn = Txn::new().put(format!("/p/{number}"), vec![7; 64 << 10]);
        store.commit(txn).await.unwrap();
    }
    let space = store.space().unwrap();
    assert_eq!(space.low, None);
    assert!(space.reserve.unwrap() >= 8 << 20, "{space:?}");
    let other = disk.fill();
    let space = store.space().unwrap();
    assert!(space.free < 1 << 20, "{space:?}");
    let low = space.low.unwrap();
    for word in [
        "nearly full",
        "kept for ways back",
        "new work is refused",
        &folder.display().to_string(),
    ] {
        assert!(low.contains(word), "{low}");
    }
    // A deletion and a rollback of each of a thousand releases are written all the same.
    for number in 0..1000 {
        let txn = Txn::new()
            .put(format!("/p/{}", number % 64), vec![8; 4 << 10])
            .delete(format!("/p/{}", (number + 7) % 64));
        store.commit(txn).await.unwrap();
    }
    drop(store);
    // The reserve is there as long as the file is, whoever opens it.
    let store = reopened(&folder).await;
    store.commit(Txn::new().put("/p/a", vec![1])).await.unwrap();
    std::fs::remove_file(other).unwrap();
    store.commit(Txn::new().put("/p/a", vec![2])).await.unwrap();
    let space = store.space().unwrap();
    assert_eq!(space.low, None);
    assert!(space.reserve.unwrap() >= 8 << 20, "{space:?}");
}

/// Opens, with patience for the last owner, whose end is a moment away.
async fn reopened(folder: &Path) -> SharedStore {
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

#[tokio::test]
async fn an_embedded_store_on_a_full_disk_says_so_and_is_read_meanwhile() {
    let disk = Disk::new("16m");
    let store = embedded::open(&disk.path().join("data")).unwrap();
    store.commit(Txn::new().put("/p/a", vec![0])).await.unwrap();
    let other = disk.fill();
    let why = fill(&store, 64).await;
    let folder = disk.path().join("data");
    assert!(
        why.contains("No space left on device") && why.contains(&folder.display().to_string()),
        "{why}"
    );
    assert!(why.contains("free space"), "{why}");
    assert!(store.get("/p/a").await.unwrap().is_some());
    std::fs::remove_file(other).unwrap();
    takes_writes_again(&store).await;
    assert!(store.get("/p/a").await.unwrap().is_some());
}
