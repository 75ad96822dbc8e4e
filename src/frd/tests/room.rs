//! A full disk: what is refused first, what goes on, and what is said. And copies of the store, made and put back.
#![expect(
    clippy::unwrap_used,
    reason = "what a test is made of fails it at once"
)]

#[cfg(test)]
mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Server, manifest};
use tempfile::TempDir;

const SHOP: &str = "/v1/namespaces/default/releases/shop";
const NEW: &str = "/v1/namespaces/default/releases/new";

/// A folder of a few megabytes; taken away with its owner, also when a test fails.
struct Disk(PathBuf);

impl Disk {
    fn over(folder: &Path) -> Self {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64m", "frd-test"])
            .arg(folder)
            .status();
        assert!(mounted.unwrap().success());
        Self(folder.to_owned())
    }

    fn fill(&self) -> PathBuf {
        let path = self.0.join("other");
        let mut file = std::fs::File::create(&path).unwrap();
        while std::io::Write::write_all(&mut file, &[7; 4096]).is_ok() {}
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn store_check(ready: &Value) -> &Value {
    let checks = ready["checks"].as_array().unwrap();
    checks
        .iter()
        .find(|check| check["name"] == "store")
        .unwrap()
}

#[tokio::test]
async fn on_a_full_disk_new_work_is_refused_and_ways_back_are_open() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::over(folder.path());
    let server = Server::start_in(folder).await;
    assert_eq!(
        server.put(SHOP, &manifest("shop", "shop:1")).await.status,
        201
    );
    server.write(support::running_rollout()).await;
    let other = disk.fill();

    let refused = server.put(NEW, &manifest("new", "new:1")).await;
    let message = refused.body["error"]["message"].as_str().unwrap();
    assert_eq!(
        (refused.status, &refused.body["error"]["kind"]),
        (507, &json!("refused"))
    );
    for word in ["nearly full", "new work is refused", "free space"] {
        assert!(message.contains(word), "{message}");
    }
    let changed = server.put(SHOP, &manifest("shop", "shop:9")).await;
    assert_eq!(changed.status, 507, "{}", changed.body);
    let tried = server
        .put(&format!("{NEW}?dryRun=server"), &manifest("new", "new:1"))
        .await;
    assert_eq!(tried.status, 201, "{}", tried.body);

    let ready = server.get("/readyz").await;
    assert_eq!(ready.status, 503);
    let told = store_check(&ready.body)["message"].as_str().unwrap();
    assert!(told.contains("nearly full"), "{told}");
    let metrics = server.text("/metrics").await;
    assert!(
        metrics.contains("fridaymorning_store_room_low{} 1.0"),
        "{metrics}"
    );
    assert!(
        metrics.contains("fridaymorning_store_room_bytes{of=\"reserve\"}"),
        "{metrics}"
    );

    let abort = json!({ "operation": "abort", "why": "it harms" });
    let aborted = server.post(&format!("{SHOP}/operations"), &abort).await;
    assert!(aborted.status < 300, "{}", aborted.body);
    let undone = server.post(&format!("{SHOP}/undo"), &json!({})).await;
    assert_eq!(undone.status, 200, "{}", undone.body);
    let deleted = server.delete(SHOP).await;
    assert!(deleted.status < 300, "{}", deleted.body);

    std::fs::remove_file(other).unwrap();
    assert_eq!(server.put(NEW, &manifest("new", "new:1")).await.status, 201);
    assert_eq!(store_check(&server.get("/readyz").await.body)["ok"], true);
}

fn frd(arguments: &[&str], data: &Path, socket: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_frd"))
        .arg("store")
        .args(arguments)
        .arg("--data-dir")
        .arg(data)
        .arg("--listen")
        .arg(format!("unix:{}", socket.display()))
        .output()
        .unwrap()
}

/// What it printed; it must succeed.
fn done(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What it complained of; it must fail with 1.
fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_is_copied_while_it_runs_and_put_back_after_it_was_damaged() {
    // The store outlives its daemon, and goes with the test.
    let outside = TempDir::new().unwrap();
    let mut kept = tempfile::Builder::new();
    let kept = kept.disable_cleanup(true).tempdir_in(outside.path());
    let server = Server::start_in(kept.unwrap()).await;
    server.put(SHOP, &manifest("shop", "shop:1")).await;
    let (data, socket) = (server.folder.path().join("data"), server.socket.clone());
    let backup = outside.path().join("backup.redb");
    let name = backup.to_str().unwrap();

    let busy = refused(&frd(&["check"], &data, &socket));
    assert!(busy.contains("a frd is running"), "{busy}");
    let said = done(&frd(&["backup", name], &data, &socket));
    assert!(said.contains("holds the whole store"), "{said}");
    let twice = refused(&frd(&["backup", name], &data, &socket));
    assert!(twice.contains("not written over"), "{twice}");
    let said = done(&frd(&["check", name], &data, &socket));
    assert!(said.contains("is whole"), "{said}");
    let copy = server.post("/v1/store/copies", &json!({})).await;
    let listed = done(&frd(&["copies"], &data, &socket));
    assert!(
        listed.contains(copy.body["path"].as_str().unwrap()),
        "{listed}"
    );
    assert_eq!(listed.lines().count(), 2);
    let busy = refused(&frd(&["restore", name], &data, &socket));
    assert!(busy.contains("a frd is running"), "{busy}");

    server.put(SHOP, &manifest("shop", "shop:2")).await;
    server.stop().await;
    drop(server);
    let file = data.join("store.redb");
    let limit = Instant::now() + Duration::from_secs(10);
    while !frd(&["check"], &data, &socket).status.success() {
        assert!(Instant::now() < limit, "it is not closed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[4096..].fill(0x5a);
    std::fs::write(&file, bytes).unwrap();
    let damaged = refused(&frd(&["check"], &data, &socket));
    assert!(!damaged.contains("panicked"), "{damaged}");
    let told = format!("frd store restore {}", copy.body["path"].as_str().unwrap());
    assert!(damaged.contains(&told), "{damaged}");
    let said = done(&frd(&["restore", name], &data, &socket));
    assert!(
        said.contains("is in place") && said.contains("store.redb.replaced-1"),
        "{said}"
    );
    let store = fm_store::embedded::open(&data).unwrap();
    let stored = store.list("/fridaymorning/releases/").await.unwrap();
    let release: Value = serde_json::from_slice(&stored.entries[0].value).unwrap();
    assert_eq!(release["spec"]["workload"]["image"], "shop:1");
}
