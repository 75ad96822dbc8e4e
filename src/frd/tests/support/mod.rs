//! A server on a socket of its own, and a client that speaks to it.
#![expect(
    unreachable_pub,
    reason = "each test file takes what it needs of this module"
)]
#![expect(
    dead_code,
    reason = "each test file takes what it needs of this module"
)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fm_api::keys::{ReleaseKey, RevisionId};
use fm_runtime::{Context, SystemClock};
use fm_store::{SharedStore, Txn};
use frd_daemon::api::{self, Api, listen::Socket};
use frd_daemon::source::Sources;
use frd_daemon::supervise::{Health, supervise};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The image that the stable revision of [`running_rollout`] runs.
pub const PINNED: &str =
    "shop@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

pub struct Server {
    pub folder: TempDir,
    pub socket: PathBuf,
    pub store: SharedStore,
    shutdown: CancellationToken,
    tasks: TaskTracker,
}

pub struct Answer {
    pub status: u16,
    pub body: Value,
}

impl Server {
    pub async fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap()).await
    }

    pub async fn with(here: api::Here) -> Self {
        Self::on(tempfile::tempdir().unwrap(), here).await
    }

    pub async fn start_in(folder: TempDir) -> Self {
        Self::on(folder, api::Here::default()).await
    }

    async fn on(folder: TempDir, here: api::Here) -> Self {
        let store = fm_store::embedded::open(&folder.path().join("data")).unwrap();
        let shutdown = CancellationToken::new();
        let ctx = Context {
            store: Arc::clone(&store),
            clock: Arc::new(SystemClock),
            identity: "test-1".to_owned(),
            fitness: fm_runtime::Fitness::default(),
            shutdown: shutdown.clone(),
            resync: Duration::from_secs(10),
        };
        let health = Health::default();
        let api = Api::new(
            ctx.clone(),
            health.clone(),
            Sources::new(&ctx, Default::default(), String::new(), None),
            Default::default(),
            here,
        );
        let socket = folder.path().join("run/frd.sock");
        let bound = Socket::bind(&socket, None).await.unwrap();
        let tasks = TaskTracker::new();
        tasks.spawn(bound.serve(api.router(), shutdown.clone()));
        tasks.spawn(supervise("api", ctx, health, api::run_finalizer));
        Self {
            folder,
            socket,
            store,
            shutdown,
            tasks,
        }
    }

    /// Ends everything, and returns when all of it has ended.
    pub async fn stop(&self) {
        self.shutdown.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    pub async fn write(&self, txn: Txn) {
        self.store.commit(txn).await.unwrap();
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "").await
    }
    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send("PUT", path, &[], body.to_string()).await
    }
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &[], body.to_string()).await
    }
    pub async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, &[], "").await
    }

    pub async fn text(&self, path: &str) -> String {
        let response = self.request("GET", path, &[], Bytes::new()).await;
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let response = self.request(method, path, headers, body.into()).await;
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        Answer {
            status,
            body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        }
    }

    async fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Response<Incoming> {
        let stream = UnixStream::connect(&self.socket).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "frd");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        sender
            .send_request(request.body(Full::new(body)).unwrap())
            .await
            .unwrap()
    }

    pub async fn watch(&self, path: &str, headers: &[(&str, &str)]) -> Events {
        let response = self.request("GET", path, headers, Bytes::new()).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Events {
            body: response.into_body(),
            text: String::new(),
        }
    }

    /// Waits until something holds.
    pub async fn until<F: Future<Output = bool>>(&self, holds: impl Fn() -> F) {
        for _ in 0..500 {
            if holds().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("it did not come to hold within 10 s");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// Server-sent events.
pub struct Events {
    body: Incoming,
    text: String,
}

pub struct Event {
    pub kind: String,
    pub id: u64,
    pub data: Value,
}

impl Events {
    pub async fn next(&mut self) -> Event {
        tokio::time::timeout(Duration::from_secs(10), self.read())
            .await
            .expect("an event within 10 s")
    }

    async fn read(&mut self) -> Event {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    let found = block
                        .lines()
                        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
                    found.map(str::to_owned)
                };
                let event = field("event").map(|kind| Event {
                    kind,
                    id: field("id").map_or(0, |id| id.parse().unwrap()),
                    data: serde_json::from_str(&field("data").unwrap()).unwrap(),
                });
                self.text = rest.to_owned();
                match event {
                    Some(event) => return event,
                    None => continue,
                }
            }
            let frame = self
                .body
                .frame()
                .await
                .expect("the stream goes on")
                .unwrap();
            self.text
                .push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
        }
    }
}

pub fn manifest(name: &str, image: &str) -> Value {
    json!({
        "apiVersion": "fridaymorning.dev/v1",
        "kind": "Release",
        "metadata": { "name": name },
        "spec": {
            "workload": { "image": image },
            "routes": [{ "hosts": [format!("{name}.example.com")], "port": 8080 }],
            "strategy": { "canary": { "steps": [{ "weight": 10, "hold": "10s" }] } },
        },
    })
}

/// What promotion writes while `shop:1` rolls out beside the stable `shop:0`.
pub fn running_rollout() -> Txn {
    let key = ReleaseKey::new("default", "shop");
    let (stable, canary) = ("0000000000", "1111111111");
    let release: fm_api::release::Release =
        fm_api::validate::json(&manifest("shop", "shop:0")).unwrap();
    let record = json!({
        "id": stable, "uid": "u", "number": 1, "generation": 1, "createdAt": "2026-01-01T00:00:00Z",
        "workload": release.spec.workload,
        "image": { "reference": "shop:0", "pinned": PINNED },
        "ports": [8080], "service": {},
    });
    let target = json!({
        "uid": "u", "generation": 5, "specGeneration": 1,
        "stable": stable, "canary": canary, "wanted": canary,
        "traffic": { "stable": stable, "canary": canary, "weight": 10, "seed": "00000001", "generation": 4 },
        "rollout": {
            "revision": canary, "generation": 1, "startedAt": "2026-01-01T00:00:00Z",
            "plan": release.spec.strategy.canary, "step": 0,
            "stage": "holding", "stageSince": "2026-01-01T00:00:00Z",
            "progress": { "at": "2026-01-01T00:00:00Z", "ready": 1 }, "progressDeadline": "10m",
        },
    });
    let typed: fm_api::target::Target = serde_json::from_value(target.clone()).unwrap();
    assert_eq!(typed.canary, Some(RevisionId::new(canary)));
    Txn::new()
        .put(key.target(), target.to_string().into_bytes())
        .put(
            key.revision(&RevisionId::new(stable)),
            record.to_string().into_bytes(),
        )
}

/// The name of who runs the tests.
pub fn own_name() -> String {
    let output = std::process::Command::new("id")
        .arg("-un")
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
