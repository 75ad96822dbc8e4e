//! The program itself under load: watchers that do not read, and lists at once. Leases are kept, the rest is answered, and
//! memory stays. `FM_LOAD_RELEASES=5000 FM_LOAD_WATCHERS=500` measures more, and prints what it found.
#![expect(
    clippy::unwrap_used,
    reason = "what a test is made of fails it at once"
)]

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use fm_api::keys::ReleaseKey;
use fm_store::Txn;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Daemon {
    /// MiB that it has in use.
    fn memory(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.unwrap().trim().trim_end_matches(" kB");
        kib.parse::<usize>().unwrap() / 1024
    }
}

fn number(name: &str, otherwise: usize) -> usize {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

async fn fill(folder: &Path, releases: usize) {
    let store = fm_store::embedded::open(folder).unwrap();
    let mut txn = Txn::new();
    for number in 0..releases {
        let key = ReleaseKey::new("default", &format!("r{number}"));
        let release = json!({
            "apiVersion": "fridaymorning.dev/v1", "kind": "Release",
            "metadata": {
                "name": key.name(), "namespace": "default", "uid": format!("u{number}"),
                "generation": 1, "createdAt": "2026-01-01T00:00:00Z",
            },
            "spec": { "workload": { "image": "shop:1" }, "routes": [], "strategy": { "canary": { "steps": [{ "weight": 10 }] } } },
        });
        txn = txn.put(key.release(), release.to_string().into_bytes());
        if number % 100 == 99 {
            store.commit(std::mem::take(&mut txn)).await.unwrap();
        }
    }
    store.commit(txn).await.unwrap();
}

/// Asks, and does not read.
async fn deaf(socket: &Path, path: &str) -> UnixStream {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    let ask = format!("GET {path} HTTP/1.1\r\nhost: frd\r\n\r\n");
    stream.write_all(ask.as_bytes()).await.unwrap();
    stream
}

async fn ask(socket: &Path, head: &str, body: &str) -> String {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    let length = body.len();
    let text = format!(
        "{head} HTTP/1.1\r\nhost: frd\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

async fn well(socket: &Path) -> Option<Duration> {
    let began = Instant::now();
    drop(UnixStream::connect(socket).await.ok()?);
    let answer = ask(socket, "GET /healthz", "").await;
    answer.starts_with("HTTP/1.1 200").then(|| began.elapsed())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_people_ask_never_delays_what_the_controllers_do() {
    let releases = number("FM_LOAD_RELEASES", 300);
    let watchers = number("FM_LOAD_WATCHERS", 150);
    assert!(frd_daemon::door::raise() > 2000);
    let folder = tempfile::tempdir().unwrap();
    fill(&folder.path().join("data"), releases).await;
    let (socket, log) = (folder.path().join("frd.sock"), folder.path().join("log"));
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let bind = free.local_addr().unwrap().to_string();
    drop(free);
    let daemon = Command::new(env!("CARGO_BIN_EXE_frd"))
        .arg("--data-dir")
        .arg(folder.path().join("data"))
        .arg("--listen")
        .arg(format!("unix:{}", socket.display()))
        .args([
            "--docker",
            "unix:///nonexistent/docker.sock",
            "--http-bind",
            &bind,
            "--observe-only",
        ])
        .arg("--haproxy-dir")
        .arg(folder.path().join("haproxy"))
        .stderr(File::create(&log).unwrap())
        .stdout(File::create(folder.path().join("out")).unwrap())
        .spawn()
        .unwrap();
    let mut daemon = Daemon(daemon);
    let began = Instant::now();
    // Promotion has looked at each of them.
    loop {
        assert!(
            began.elapsed() < Duration::from_secs(600),
            "it does not start"
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(
            daemon.0.try_wait().unwrap().is_none(),
            "{}",
            std::fs::read_to_string(&log).unwrap()
        );
        if well(&socket).await.is_none() {
            continue;
        }
        let list = ask(&socket, "GET /v1/releases?summary=true", "").await;
        if list.matches("\"observedGeneration\":").count() >= releases {
            break;
        }
    }
    let rest = daemon.memory();
    println!(
        "{releases} releases, at rest after {:?}: {rest} MiB",
        began.elapsed()
    );

    let mut open = Vec::new();
    for _ in 0..watchers {
        open.push(
            deaf(
                &socket,
                "/v1/namespaces/default/releases/r0/view?watch=true",
            )
            .await,
        );
    }
    let lists: Vec<_> = (0..50)
        .map(|_| {
            let socket = socket.clone();
            tokio::spawn(async move { ask(&socket, "GET /v1/releases", "").await })
        })
        .collect();
    let (mut slowest, mut most, mut writes) = (Duration::ZERO, 0, 0);
    let began = Instant::now();
    while writes < 200 || lists.iter().any(|list| !list.is_finished()) {
        writes += 1;
        let body = json!({
            "apiVersion": "fridaymorning.dev/v1", "kind": "Release", "metadata": { "name": "r0" },
            "spec": { "workload": { "image": "shop:1", "env": { "N": writes.to_string() } }, "routes": [], "strategy": { "canary": { "steps": [{ "weight": 10 }] } } },
        });
        let path = "PUT /v1/namespaces/default/releases/r0";
        if writes <= 200 {
            let answer = ask(&socket, path, &body.to_string()).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        } else {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        slowest = slowest.max(well(&socket).await.unwrap());
        most = most.max(daemon.memory());
    }
    let took = began.elapsed();
    let mut whole = 0;
    for list in lists {
        let list = list.await.unwrap();
        assert!(
            list.starts_with("HTTP/1.1 200"),
            "{}",
            &list[..list.len().min(300)]
        );
        whole += usize::from(list.matches("\"kind\":\"Release\"").count() == releases);
    }
    println!(
        "200 writes and 50 lists took {took:?}, /healthz at most {slowest:?}, memory at most {most} MiB"
    );
    assert_eq!(whole, 50, "each list is whole");
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    // The first lists and pictures make some buffers; then it stays.
    assert!(most < 2 * rest + 100, "{rest} MiB became {most} MiB");
    let said = std::fs::read_to_string(&log).unwrap()
        + &std::fs::read_to_string(folder.path().join("out")).unwrap();
    let lost: Vec<_> = said
        .lines()
        .filter(|line| {
            line.contains("no longer leading") || line.contains("cannot renew the lease")
        })
        .collect();
    assert!(lost.is_empty(), "{lost:#?}");
    drop(open);
}
