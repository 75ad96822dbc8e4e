//! A real HAProxy under a real agent with the embedded store, small HTTP services, and a small client.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fm_api::keys::{ReleaseKey, RevisionId};
use fm_api::observed::{Endpoint, HaproxyObserved, SwarmObserved, SwarmRevision};
use fm_api::quantity::Weight;
use fm_api::release::{
    Affinity, CookieAffinity, Route, RouteHealthCheck, SourceAffinity, Timeouts,
};
use fm_api::target::{RevisionTarget, Slot, Target, Traffic};
use fm_haproxy::{Agent, Bind, Mode, Options};
use fm_runtime::{Context, SystemClock};
use fm_store::{SharedStore, Txn};
use fm_telemetry::Handle;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio_util::sync::CancellationToken;

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
    running: Option<(CancellationToken, tokio::task::JoinHandle<()>)>,
    pub(crate) telemetry: Option<Handle>,
    _folder: tempfile::TempDir,
}

impl World {
    /// A world without an agent yet.
    pub(crate) async fn new() -> Self {
        assert!(
            Path::new("/usr/sbin/haproxy").exists(),
            "these tests need /usr/sbin/haproxy (Debian: apt-get install haproxy)"
        );
        let folder = tempfile::Builder::new().prefix("fmha").tempdir().unwrap();
        let port = free_port().await;
        Self {
            store: fm_store::embedded::open(&folder.path().join("store")).unwrap(),
            dir: folder.path().join("ha"),
            port,
            binds: vec![Bind {
                address: format!("127.0.0.1:{port}"),
                ..Bind::default()
            }],
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
            shutdown: shutdown.clone(),
            resync: Duration::from_secs(10),
        };
        let options = Options {
            instance: "edge".into(),
            dir: self.dir.clone(),
            mode: Mode::Owned {
                binary: "/usr/sbin/haproxy".into(),
            },
            binds: self.binds.clone(),
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

    pub(crate) async fn master(&self, command: &str) -> String {
        talk(&self.dir.join("master.sock"), command).await
    }

    pub(crate) async fn admin(&self, command: &str) -> String {
        talk(&self.dir.join("admin.sock"), command).await
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
                let pid = entry.file_name();
                let _ = Command::new("kill").arg("-9").arg(pid).status();
            }
        }
    }
}

async fn talk(socket: &Path, command: &str) -> String {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    stream
        .write_all(format!("{command}\n").as_bytes())
        .await
        .unwrap();
    stream.shutdown().await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

pub(crate) async fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// A service that answers with its name, and counts.
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    pub(crate) hits: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
    stop: CancellationToken,
}

impl Service {
    pub(crate) async fn named(name: &'static str) -> Self {
        Self::slow(name, Duration::ZERO).await
    }

    /// Answers after a pause.
    pub(crate) async fn slow(name: &'static str, pause: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let hits = Arc::new(AtomicU64::new(0));
        let (counter, stop) = (hits.clone(), CancellationToken::new());
        let token = stop.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (counter, token) = (counter.clone(), token.clone());
                tokio::spawn(async move {
                    tokio::select! {
                        _ = serve(stream, name, pause, &counter) => {}
                        () = token.cancelled() => {}
                    }
                });
            }
        });
        Self {
            address,
            hits,
            task,
            stop,
        }
    }

    pub(crate) fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    /// Dies at once, connections and all.
    pub(crate) fn kill(&self) {
        self.task.abort();
        self.stop.cancel();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn serve(
    mut stream: TcpStream,
    name: &str,
    pause: Duration,
    counter: &AtomicU64,
) -> std::io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        while !buffer.windows(4).any(|window| window == b"\r\n\r\n") {
            let mut chunk = [0; 4096];
            let read = stream.read(&mut chunk).await?;
            if read == 0 {
                return Ok(());
            }
            buffer.extend_from_slice(&chunk[..read]);
        }
        let text = String::from_utf8_lossy(&buffer).into_owned();
        buffer.clear();
        let check = text.contains("haproxy-check");
        if !check {
            counter.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(pause).await;
        }
        let status = if check && name == "sick" {
            "500 Sick"
        } else {
            "200 OK"
        };
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{name}",
            name.len()
        );
        stream.write_all(answer.as_bytes()).await?;
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn cookie(&self) -> Option<String> {
        let line = self
            .head
            .lines()
            .find(|line| line.to_lowercase().starts_with("set-cookie: fm_uid="))?;
        let value = line.split_once('=')?.1;
        Some(value.split(';').next()?.to_owned())
    }
}

pub(crate) async fn get(
    port: u16,
    host: &str,
    path: &str,
    headers: &str,
) -> std::io::Result<Answer> {
    let mut client = Client::connect(port).await?;
    client.get(host, path, headers).await
}

/// A client that keeps its connection.
pub(crate) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub(crate) async fn connect(port: u16) -> std::io::Result<Self> {
        Ok(Self {
            stream: TcpStream::connect(("127.0.0.1", port)).await?,
            buffer: Vec::new(),
        })
    }

    pub(crate) async fn get(
        &mut self,
        host: &str,
        path: &str,
        headers: &str,
    ) -> std::io::Result<Answer> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n");
        self.stream.write_all(request.as_bytes()).await?;
        let end = loop {
            if let Some(at) = self
                .buffer
                .windows(4)
                .position(|window| window == b"\r\n\r\n")
            {
                break at + 4;
            }
            self.fill().await?;
        };
        let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
        let length = head
            .lines()
            .find_map(|line| {
                line.to_lowercase()
                    .strip_prefix("content-length: ")?
                    .trim()
                    .parse::<usize>()
                    .ok()
            })
            .unwrap_or(0);
        while self.buffer.len() < end + length {
            self.fill().await?;
        }
        let body = String::from_utf8_lossy(&self.buffer[end..end + length]).into_owned();
        self.buffer.drain(..end + length);
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|text| text.parse().ok())
            .unwrap_or(0);
        Ok(Answer { status, head, body })
    }

    /// Whether HAProxy said that it will close the connection.
    pub(crate) fn closes(answer: &Answer) -> bool {
        answer.head.to_lowercase().contains("connection: close")
    }

    async fn fill(&mut self) -> std::io::Result<()> {
        let mut chunk = [0; 4096];
        let read = self.stream.read(&mut chunk).await?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        self.buffer.extend_from_slice(&chunk[..read]);
        Ok(())
    }
}

/// Keeps requests going until it is told to stop; returns how many there were and what went wrong.
pub(crate) struct Load {
    stop: CancellationToken,
    tasks: Vec<tokio::task::JoinHandle<(u64, Vec<String>)>>,
}

impl Load {
    pub(crate) fn start(port: u16, host: &'static str, clients: usize) -> Self {
        let stop = CancellationToken::new();
        let tasks = (0..clients)
            .map(|_| tokio::spawn(load(port, host, stop.clone())))
            .collect();
        Self { stop, tasks }
    }

    pub(crate) async fn end(self) -> (u64, Vec<String>) {
        self.stop.cancel();
        let (mut count, mut wrong) = (0, Vec::new());
        for task in self.tasks {
            let (some, bad) = task.await.unwrap();
            count += some;
            wrong.extend(bad);
        }
        (count, wrong)
    }
}

async fn load(port: u16, host: &str, stop: CancellationToken) -> (u64, Vec<String>) {
    let (mut count, mut wrong) = (0, Vec::new());
    let mut client = None;
    while !stop.is_cancelled() && wrong.len() < 20 {
        let open = match client.take() {
            Some(open) => Ok(open),
            None => Client::connect(port).await,
        };
        let done = async {
            let mut open: Client = open?;
            let answer = open.get(host, "/load", "").await?;
            std::io::Result::Ok((open, answer))
        };
        match done.await {
            Ok((open, answer)) => {
                if answer.status != 200 {
                    wrong.push(format!("{answer:?}"));
                }
                client = (!Client::closes(&answer)).then_some(open);
            }
            Err(error) => wrong.push(error.to_string()),
        }
        count += 1;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    (count, wrong)
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
