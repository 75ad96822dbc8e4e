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
