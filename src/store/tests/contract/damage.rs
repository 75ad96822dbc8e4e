//! A file that was damaged behind the store's back: what it says, that nothing ends by it, and the way back.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fm_store::{Listing, Proven, SharedStore, StoreError, Txn, embedded};
use tempfile::TempDir;

/// A store with all kinds of content, a copy of it, and its bytes.
struct Original {
    _folder: TempDir,
    listing: Listing,
    copy: PathBuf,
    bytes: Vec<u8>,
}

impl Original {
    async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let store = embedded::open(folder.path()).unwrap();
        let lease = store.grant(Duration::from_secs(3600)).await.unwrap();
        for number in 0..120_usize {
            let value = vec![u8::try_from(number).unwrap(); 40 * number];
            let txn = Txn::new()
                .put(format!("/releases/{number:03}"), value.clone())
                .put_leased(format!("/events/{number:03}"), value, lease);
            store.commit(txn).await.unwrap();
        }
        let copy = store.copy("20260301T000000Z").await.unwrap().path;
        let listing = store.list("/").await.unwrap();
        let file = folder.path().join("store.redb");
        drop(store);
        closed(folder.path()).await;
        let bytes = std::fs::read(file).unwrap();
        Self {
            _folder: folder,
            listing,
            copy,
            bytes,
        }
    }

    /// The same folder with the file damaged.
    fn damaged(&self, damage: impl FnOnce(&mut Vec<u8>)) -> TempDir {
        let folder = TempDir::new().unwrap();
        let mut bytes = self.bytes.clone();
        damage(&mut bytes);
        std::fs::write(folder.path().join("store.redb"), bytes).unwrap();
        let copies = folder.path().join("copies");
        std::fs::create_dir(&copies).unwrap();
        std::fs::copy(&self.copy, copies.join(self.copy.file_name().unwrap())).unwrap();
        folder
    }
}

/// Returns once the last owner of the file is gone.
async fn closed(folder: &Path) {
    let limit = Instant::now() + Duration::from_secs(10);
    while let Err(StoreError::Locked(why)) = embedded::check(&folder.join("store.redb")) {
        assert!(Instant::now() < limit, "{why}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn content(listing: &Listing) -> Vec<(&str, &[u8], u64)> {
    let entries = listing.entries.iter();
    entries
        .map(|e| (e.key.as_str(), e.value.as_slice(), e.revision))
        .collect()
}

/// What a call came to; the words must be ours.
fn told<T>(result: Result<T, StoreError>, told: &mut Vec<String>) -> bool {
    let Err(error) = result else { return true };
    let words = error.to_string();
    for bad in ["panicked", "writer has stopped", "JoinError"] {
        assert!(!words.contains(bad), "{words}");
    }
    told.push(words);
    false
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_byte_is_damaged_nothing_panics_and_the_copy_brings_everything_back() {
    let original = Original::new().await;
    let length = original.bytes.len();
    // Each field of the header, then places all over the file.
    let header = (0..320).step_by(5);
    let all = (320..length).step_by(length / 160);
    let mut said = Vec::new();
    let mut refused = 0;
    for place in header.chain(all) {
        let folder = original.damaged(|bytes| bytes[place] ^= 0xff);
        let opened = embedded::open(folder.path());
        if let Ok(store) = opened {
            told(store.list("/").await, &mut said);
            told(store.get("/releases/007").await, &mut said);
            for number in 0..3 {
                let txn = Txn::new().put(format!("/releases/{number:03}"), vec![1; 9000]);
                told(store.commit(txn).await, &mut said);
            }
            told(
                store.commit(Txn::new().delete("/events/001")).await,
                &mut said,
            );
            drop(store);
        } else {
            refused += 1;
            told(opened, &mut said);
        }
        closed(folder.path()).await;
        let (checked, aside) = embedded::restore(folder.path(), &original.copy).unwrap();
        assert_eq!(checked.entries, original.listing.entries.len());
        assert!(aside.unwrap().exists(), "what was damaged is kept");
        let store = embedded::open(folder.path()).unwrap();
        let back = store.list("/").await.unwrap();
        assert_eq!(content(&back), content(&original.listing), "{place}");
        assert_eq!(back.revision, original.listing.revision);
    }
    assert!(refused > 20, "{refused}");
    let newest = original.copy.file_name().unwrap().to_str().unwrap();
    let helped = said
        .iter()
        .filter(|words| words.contains("frd store restore") && words.contains(newest));
    assert!(helped.count() > 20, "{said:#?}");
}

#[tokio::test]
async fn a_file_cut_short_or_overwritten_is_told_and_put_back() {
    let original = Original::new().await;
    type Damage = fn(&mut Vec<u8>);
    let kinds: [Damage; 4] = [
        |bytes| bytes.truncate(bytes.len() / 2),
        |bytes| bytes.truncate(100),
        |bytes| bytes[4096..].fill(0),
        |bytes| bytes.iter_mut().skip(8192).step_by(3).for_each(|b| *b = 7),
    ];
    for damage in kinds {
        let folder = original.damaged(damage);
        let Err(StoreError::Refused(words) | StoreError::Unavailable(words)) =
            embedded::open(folder.path())
        else {
            panic!("it opens");
        };
        assert!(words.contains("frd store restore"), "{words}");
        embedded::restore(folder.path(), &original.copy).unwrap();
        let store = embedded::open(folder.path()).unwrap();
        let back = store.list("/").await.unwrap();
        assert_eq!(content(&back), content(&original.listing));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_damaged_while_it_is_open_makes_a_lost_store() {
    let original = Original::new().await;
    let folder = original.damaged(|_| {});
    let store = Proven::over(embedded::open(folder.path()).unwrap());
    let file = folder.path().join("store.redb");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[4096..].iter_mut().for_each(|byte| *byte = 0x5a);
    // In place, as a failing disk does it.
    let mut open = std::fs::OpenOptions::new().write(true).open(&file).unwrap();
    std::io::Write::write_all(&mut open, &bytes).unwrap();
    let limit = Instant::now() + Duration::from_secs(20);
    let words = loop {
        let mut said = Vec::new();
        told(store.list("/").await, &mut said);
        told(store.commit(Txn::new().put("/a", vec![1])).await, &mut said);
        if let Some(problem) = store.health().problem() {
            break problem;
        }
        assert!(Instant::now() < limit, "{said:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(
        words.contains("damaged") && words.contains("frd store restore"),
        "{words}"
    );
}

#[tokio::test]
async fn copies_are_made_while_it_is_used_and_the_oldest_go() {
    use std::os::unix::fs::PermissionsExt;
    let folder = TempDir::new().unwrap();
    let store: SharedStore = embedded::open(folder.path()).unwrap();
    for number in 0..10 {
        let key = format!("/k/{number}");
        store
            .commit(Txn::new().put(key, vec![1; 100]))
            .await
            .unwrap();
        store
            .copy(&format!("2026030{number}T000000Z"))
            .await
            .unwrap();
    }
    let copies = embedded::copies(folder.path()).unwrap();
    assert_eq!(copies.len(), embedded::KEPT);
    let newest = &copies[embedded::KEPT - 1].path;
    assert!(newest.ends_with("copies/store-20260309T000000Z.redb"));
    let mode = std::fs::metadata(newest).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(embedded::check(newest).unwrap().entries, 10);
    assert_eq!(embedded::check(&copies[0].path).unwrap().entries, 4);
    // Nobody works on a store that is used.
    let used = folder.path().join("store.redb");
    assert!(matches!(embedded::check(&used), Err(StoreError::Locked(_))));
    let restored = embedded::restore(folder.path(), newest);
    assert!(
        matches!(restored, Err(StoreError::Locked(_))),
        "{restored:?}"
    );
    let twice = store.copy("20260309T000000Z").await;
    assert!(matches!(twice, Err(StoreError::Refused(_))), "{twice:?}");
    drop(store);
    closed(folder.path()).await;
    let to = folder.path().join("backup.redb");
    embedded::back_up(folder.path(), &to).unwrap();
    assert_eq!(embedded::check(&to).unwrap().entries, 10);
    let other = folder.path().join("other");
    std::fs::write(&other, "no store").unwrap();
    let refused = embedded::restore(folder.path(), &other);
    assert!(
        matches!(refused, Err(StoreError::Refused(_))),
        "{refused:?}"
    );
    assert_eq!(
        embedded::check(&used).unwrap().entries,
        10,
        "it is left as it was"
    );
}
