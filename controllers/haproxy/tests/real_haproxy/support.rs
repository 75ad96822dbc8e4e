//! A real HAProxy under a real agent with the embedded store, small HTTP services, and a small client.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fm_api::keys::{ReleaseKey, RevisionId};
use fm_api::observed::{Endpoint, HaproxyObserved, SwarmObserved, SwarmRevision};
use fm_api::quantity::Weight;
use fm_api::release::{
    Affinity, CookieAffinity, Route, RouteHealthCheck, SourceAffinity, Timeouts,
};
use fm_api::target::{RevisionTarget, Slot, Target, Traffic};
use fm_haproxy::{Agent, Bind, Mode, Options};
use fm_harness::free_port;
use fm_runtime::{Context, SystemClock};
use fm_store::{SharedStore, Txn};
use fm_telemetry::Handle;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

pub(crate) use crate::http::{Answer, Client, Load, Service, get};

/// The release of most tests.
pub(crate) fn shop() -> ReleaseKey {
    ReleaseKey::new("default", "shop")
}

/// A store and a folder, and agents that come and go beside one HAProxy.
pub(crate) struct World {
    pub(crate) store: SharedStore,
    pub(crate) dir: PathBuf,
    pub(crate) port: u16,
    pub(crate) binds: Vec<Bind>,
    pub(crate) mode: Mode,
    pub(crate) trusted: Vec<String>,
    running: Option<(CancellationToken, tokio::task::JoinHandle<()>)>,
    pub(crate) telemetry: Option<Handle>,
    _folder: tempfile::TempDir,
}

impl World {
    /// A world with a port for TLS besides, by this certificate or folder of them; tells the port.
    pub(crate) async fn secured(crt: &Path) -> (Self, u16) {
        let mut world = Self::new().await;
        let tls = fm_harness::free_port().unwrap();
        world.binds.push(Bind {
            address: format!("127.0.0.1:{tls}"),
            crt: Some(crt.to_owned()),
            alpn: Vec::new(),
        });
        world.start_agent().await;
        (world, tls)
    }

    /// A world without an agent yet.
    pub(crate) async fn new() -> Self {
        assert!(
            Path::new("/usr/sbin/haproxy").exists(),
            "these tests need /usr/sbin/haproxy (Debian: apt-get install haproxy)"
        );
        let folder = tempfile::Builder::new().prefix("fmha").tempdir().unwrap();
        let port = free_port().unwrap();
        Self {
            store: fm_store::embedded::open(&folder.path().join("store")).unwrap(),
            dir: folder.path().join("ha"),
            port,
            binds: vec![Bind {
                address: format!("127.0.0.1:{port}"),
                ..Bind::default()
            }],
            mode: Mode::Owned {
                binary: "/usr/sbin/haproxy".into(),
            },
            trusted: Vec::new(),
            running: None,
            telemetry: None,
            _folder: folder,
        }
    }

    /// A world with an agent.
    pub(crate) async fn started() -> Self {
        let mut world = Self::new().await;
        world.start_agent().await;
        world
    }

    pub(crate) async fn start_agent(&mut self) {
        let shutdown = CancellationToken::new();
        let ctx = Context {
            store: self.store.clone(),
            clock: Arc::new(SystemClock),
            identity: "test".into(),
            fitness: fm_runtime::Fitness::default(),
            shutdown: shutdown.clone(),
            resync: Duration::from_secs(10),
        };
        let options = Options {
            instance: "edge".into(),
            dir: self.dir.clone(),
            mode: self.mode.clone(),
            binds: self.binds.clone(),
            trusted_proxies: self.trusted.clone(),
            telemetry_address: "unix:/nowhere".into(),
            observe_only: false,
        };
        let agent = Agent::new(ctx, options).await.unwrap();
        self.telemetry = Some(agent.telemetry());
        let task = tokio::spawn(async move { agent.run().await.unwrap() });
        self.running = Some((shutdown, task));
    }

    /// The agent ends; HAProxy goes on.
    pub(crate) async fn stop_agent(&mut self) {
        if let Some((shutdown, task)) = self.running.take() {
            shutdown.cancel();
            task.await.unwrap();
        }
    }

    pub(crate) async fn put<T: serde::Serialize>(&self, key: &str, value: &T) {
        let txn = Txn::new().put(key, serde_json::to_vec(value).unwrap());
        self.store.commit(txn).await.unwrap();
    }

    pub(crate) async fn put_target(&self, key: &ReleaseKey, target: &Target) {
        self.put(&key.target(), target).await;
    }

    pub(crate) async fn put_swarm(
        &self,
        key: &ReleaseKey,
        uid: &str,
        tasks: &[(&str, Vec<SocketAddr>)],
    ) {
        self.put(&key.observed_swarm(), &swarm(uid, tasks)).await;
    }

    pub(crate) async fn observed(&self, key: &ReleaseKey) -> Option<HaproxyObserved> {
        let entry = self
            .store
            .get(&key.observed_haproxy("edge"))
            .await
            .unwrap()?;
        Some(serde_json::from_slice(&entry.value).unwrap())
    }

    /// Waits until the report fits.
    pub(crate) async fn until(
        &self,
        key: &ReleaseKey,
        what: &str,
        fits: impl Fn(&HaproxyObserved) -> bool,
    ) -> HaproxyObserved {
        let begin = Instant::now();
        loop {
            let seen = self.observed(key).await;
            if let Some(seen) = seen.as_ref().filter(|seen| fits(seen)) {
                return seen.clone();
            }
            assert!(
                begin.elapsed() < Duration::from_secs(15),
                "waited in vain until {what}: {seen:#?}\n{}",
                std::fs::read_to_string(self.dir.join("haproxy.log")).unwrap_or_default()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until this many servers of the revision are healthy and the target is in force.
    pub(crate) async fn until_healthy(
        &self,
        key: &ReleaseKey,
        target: &Target,
        revision: &str,
        count: u32,
    ) {
        let id = RevisionId::new(revision);
        let what = format!("{count} servers of {revision} are healthy");
        self.until(key, &what, |seen| {
            seen.generation == target.generation
                && seen
                    .revisions
                    .get(&id)
                    .is_some_and(|revision| revision.healthy == count)
        })
        .await;
    }

    /// Waits until the split of this target is in force.
    pub(crate) async fn until_split(&self, key: &ReleaseKey, target: &Target) {
        let generation = target.traffic.as_ref().unwrap().generation;
        self.until(key, "the split is in force", |seen| {
            seen.traffic
                .as_ref()
                .is_some_and(|traffic| traffic.generation == generation)
        })
        .await;
    }

    /// Waits until any split is in force.
    pub(crate) async fn until_split_seen(&self, key: &ReleaseKey) -> HaproxyObserved {
        self.until(key, "a split is in force", |seen| seen.traffic.is_some())
            .await
    }

    pub(crate) async fn master(&self, command: &str) -> String {
        self.try_master(command).await.unwrap()
    }

    pub(crate) async fn try_master(&self, command: &str) -> std::io::Result<String> {
        talk(&self.dir.join("master.sock"), command).await
    }

    /// Ends HAProxy's master and workers, and waits until another one serves.
    pub(crate) async fn kill_haproxy(&self) {
        let all = self.master("show proc").await;
        let firsts = all
            .lines()
            .filter_map(|line| line.split_ascii_whitespace().next());
        let pids: Vec<&str> = firsts.filter(|pid| pid.parse::<u32>().is_ok()).collect();
        let kill = format!("kill -9 {}", pids.join(" "));
        assert!(
            Command::new("sh")
                .args(["-c", &kill])
                .status()
                .unwrap()
                .success()
        );
        let begin = Instant::now();
        loop {
            let now = self.try_master("show proc").await.unwrap_or_default();
            if now.contains("worker ") && !pids.iter().any(|pid| now.contains(pid)) {
                return;
            }
            assert!(
                begin.elapsed() < Duration::from_secs(10),
                "HAProxy is not back"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn admin(&self, command: &str) -> String {
        talk(&self.dir.join("admin.sock"), command).await.unwrap()
    }

    /// Master process and its count of reloads.
    pub(crate) async fn master_process(&self) -> (u32, u64) {
        let text = self.master("show proc").await;
        let line = text
            .lines()
            .find(|line| line.contains("master"))
            .unwrap_or_else(|| panic!("{text}"));
        let field: Vec<&str> = line.split_ascii_whitespace().collect();
        (field[0].parse().unwrap(), field[2].parse().unwrap())
    }

    /// One request on a connection of its own.
    pub(crate) async fn get(&self, host: &str, path: &str, headers: &str) -> Answer {
        get(self.port, host, path, headers).await.unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some((shutdown, task)) = self.running.take() {
            shutdown.cancel();
            task.abort();
        }
        // Only processes whose command line names this world's own folder.
        let Ok(entries) = std::fs::read_dir("/proc") else {
            return;
        };
        for entry in entries.flatten() {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            if line.contains("haproxy") && line.contains(&*self.dir.to_string_lossy()) {
                let kill = format!("kill -9 {}", entry.file_name().to_string_lossy());
                let _ = Command::new("sh").args(["-c", &kill]).status();
            }
        }
    }
}

async fn talk(socket: &Path, command: &str) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket).await?;
    stream.write_all(format!("{command}\n").as_bytes()).await?;
    stream.shutdown().await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

/// What Swarm shows: revisions and their tasks' addresses for port 8080.
pub(crate) fn swarm(uid: &str, tasks: &[(&str, Vec<SocketAddr>)]) -> SwarmObserved {
    let revisions = tasks
        .iter()
        .map(|(revision, addresses)| {
            let ready = addresses
                .iter()
                .map(|address| Endpoint {
                    task: format!("{revision}-{}", address.port()),
                    node: "n".into(),
                    addresses: BTreeMap::from([(8080, address.to_string())]),
                })
                .collect();
            (
                RevisionId::new(revision),
                SwarmRevision {
                    ready,
                    ..SwarmRevision::default()
                },
            )
        })
        .collect();
    SwarmObserved {
        uid: uid.into(),
        generation: 1,
        revisions,
        ..SwarmObserved::default()
    }
}

pub(crate) fn route(host: &str, path: &str) -> Route {
    Route {
        hosts: vec![host.into()],
        paths: vec![path.into()],
        port: 8080,
        health_check: RouteHealthCheck {
            path: None,
            interval: fm_api::quantity::Span::millis(200),
        },
        timeouts: Timeouts::default(),
    }
}

pub(crate) fn cookie() -> Option<Affinity> {
    Some(Affinity {
        cookie: Some(CookieAffinity {}),
        source: None,
    })
}

pub(crate) fn source() -> Option<Affinity> {
    Some(Affinity {
        cookie: None,
        source: Some(SourceAffinity {}),
    })
}

/// A target whose revisions have their slots.
pub(crate) fn target(uid: &str, revisions: &[(&str, Slot, u32)], routes: Vec<Route>) -> Target {
    let routes = serde_json::to_value(routes).unwrap();
    let mut target: Target = serde_json::from_value(serde_json::json!({
        "uid": uid, "generation": 1, "specGeneration": 1, "routes": routes,
    }))
    .unwrap();
    for (revision, slot, replicas) in revisions {
        target.revisions.insert(
            RevisionId::new(revision),
            RevisionTarget {
                cut: false,
                replicas: *replicas,
                slot: Some(*slot),
                draining: false,
                restarts: 0,
            },
        );
    }
    target
}

/// Gives the target a split, of a new generation.
pub(crate) fn split(target: &mut Target, stable: &str, canary: Option<&str>, basis_points: u16) {
    target.generation += 1;
    target.traffic = Some(Traffic {
        stable: RevisionId::new(stable),
        canary: canary.map(RevisionId::new),
        weight: Weight::from_basis_points(basis_points),
        mirror: Weight::ZERO,
        seed: "0badcafe".into(),
        generation: target.generation,
    });
}

/// Stable `aaaaaaaaaa` in slot A, canary `bbbbbbbbbb` in slot B, both healthy; all traffic on stable.
pub(crate) async fn two_revisions(world: &World, a: &Service, b: &Service) -> Target {
    let mut wanted = target(
        "u1",
        &[("aaaaaaaaaa", Slot::A, 1), ("bbbbbbbbbb", Slot::B, 1)],
        vec![route("shop.example.com", "/")],
    );
    split(&mut wanted, "aaaaaaaaaa", Some("bbbbbbbbbb"), 0);
    let tasks = [
        ("aaaaaaaaaa", vec![a.address]),
        ("bbbbbbbbbb", vec![b.address]),
    ];
    world.put_swarm(&shop(), "u1", &tasks).await;
    world.put_target(&shop(), &wanted).await;
    world.until_healthy(&shop(), &wanted, "aaaaaaaaaa", 1).await;
    world.until_healthy(&shop(), &wanted, "bbbbbbbbbb", 1).await;
    world.until_split(&shop(), &wanted).await;
    wanted
}
