//! What the end-to-end tests share: a stack with images of its own, in a namespace of its own.
//!
//! Every test runs on a real Swarm behind a real HAProxy, and says with [`World::end`] that it is over.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use fm_harness::image::Images;
use fm_harness::load::{Load, Outcome};
use fm_harness::stack::Stack;
use fm_harness::unique;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};

/// A stack, images and a namespace that no other test has.
pub struct World {
    /// The stack.
    pub stack: Stack,
    /// The namespace.
    pub namespace: String,
    /// The images' repository.
    pub repository: String,
    /// Images that go with it.
    pub images: Images,
}

/// What a manifest says besides the image; each test changes what it is about.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The release's name.
    pub name: String,
    /// The host it is reached by.
    pub host: String,
    /// Stable tasks.
    pub replicas: u32,
    /// The steps, as YAML flow.
    pub steps: String,
    /// Another strategy than a canary with these steps, as YAML.
    pub strategy: Option<String>,
    /// More lines of `spec`, as YAML.
    pub more: String,
    /// The analysis section, as YAML flow.
    pub analysis: String,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            name: "shop".into(),
            host: "shop.example.com".into(),
            replicas: 2,
            steps: "[{ weight: 10, hold: 2s }, { weight: 50, hold: 2s }]".into(),
            strategy: None,
            more: String::new(),
            analysis: "{ warmup: 1s, bake: 2s, errors: { promote: { margin: 0.05 } }, latency: { disabled: true } }".into(),
        }
    }
}

impl World {
    /// A stack with the embedded store, or with the etcd at this address, and images `v1`, `v2` (healthy), `bad` (half
    /// of the answers are errors) and `crash` (exits with 3 at start).
    ///
    /// # Errors
    /// When Docker, HAProxy or `frd` do not do their part.
    pub async fn new(etcd: Option<&str>) -> Result<Self> {
        Self::with(etcd, &[]).await
    }

    /// The same, with more arguments for `frd`.
    ///
    /// # Errors
    /// When Docker, HAProxy or `frd` do not do their part.
    pub async fn with(etcd: Option<&str>, extra: &[&str]) -> Result<Self> {
        let id = unique();
        let repository = format!("e2e-{id}/app");
        let mut images = Images::default();
        for (version, environment) in [
            ("v1", &[] as &[(&str, &str)]),
            ("v2", &[]),
            ("bad", &[("ERROR_RATE", "0.5")]),
            ("crash", &[("CRASH", "3")]),
        ] {
            let tag = format!("{repository}:{version}");
            let mut all = vec![("VERSION", version)];
            all.extend_from_slice(environment);
            images.build(&tag, &all).await?;
        }
        Ok(Self {
            stack: Stack::start_with(etcd, extra).await?,
            namespace: format!("e2e-{id}"),
            repository,
            images,
        })
    }

    /// The manifest of this version.
    #[must_use]
    pub fn manifest(&self, plan: &Plan, version: &str) -> String {
        format!(
            "apiVersion: fridaymorning.dev/v1\nkind: Release\nmetadata: {{ namespace: {}, name: {} }}\nspec:\n  replicas: {}\n  workload:\n    image: {}:{version}\n    stopGracePeriod: 5s\n  routes:\n    - hosts: [{}]\n      port: 8080\n      healthCheck: {{ path: /healthz, interval: 300ms }}\n      timeouts: {{ drain: 5s, server: 5s }}\n  strategy:\n    {}\n  analysis: {}\n  progressDeadline: 20s\n{}",
            self.namespace,
            plan.name,
            plan.replicas,
            self.repository,
            plan.host,
            plan.strategy.clone().unwrap_or_else(|| format!(
                "canary: {{ steps: {}, keepPrevious: 0s }}",
                plan.steps
            )),
            plan.analysis,
            plan.more
        )
    }

    /// Applies this version.
    ///
    /// # Errors
    /// When `frctl apply` refuses.
    pub async fn apply(&mut self, plan: &Plan, version: &str) -> Result<String> {
        let manifest = self.manifest(plan, version);
        let namespace = self.namespace.clone();
        self.stack.apply(&namespace, &manifest).await
    }

    /// Waits until the picture of the plan's release is as asked.
    ///
    /// # Errors
    /// When it is not so in time.
    pub async fn wait(
        &self,
        plan: &Plan,
        what: &str,
        seconds: u64,
        holds: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        self.stack
            .wait(
                &self.namespace,
                &plan.name,
                what,
                Duration::from_secs(seconds),
                holds,
            )
            .await
    }

    /// Applies the first version and waits until it serves.
    ///
    /// # Errors
    /// When it does not serve within a minute.
    pub async fn first(&mut self, plan: &Plan) -> Result<Value> {
        self.apply(plan, "v1").await?;
        self.wait(plan, "v1 to serve", 60, |view| stable_is(view, "v1"))
            .await
    }

    /// A load on the plan's host.
    #[must_use]
    pub fn load(&self, plan: &Plan, rate: u32) -> Load {
        Load::start(self.stack.port(), &plan.host, rate, 32)
    }

    /// Runs `frctl` in the test's namespace; gives its exit code and everything it printed.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn frctl(&mut self, arguments: &[&str]) -> Result<(i32, String)> {
        let mut all = vec!["-n", self.namespace.as_str()];
        all.extend_from_slice(arguments);
        let all: Vec<String> = all.into_iter().map(str::to_owned).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let output = self.stack.frctl(&all).await?;
        let text = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok((output.status.code().context("frctl was killed")?, text))
    }

    /// Removes everything the test made.
    pub async fn end(self) {
        self.stack.down().await;
    }
}

/// Whether the release is at rest with this version as stable.
#[must_use]
pub fn stable_is(view: &Value, version: &str) -> bool {
    view["status"]["phase"] == "healthy" && runs(&view["status"]["stable"], version)
}

/// Whether a revision of the status runs this version.
#[must_use]
pub fn runs(revision: &Value, version: &str) -> bool {
    revision["image"]
        .as_str()
        .is_some_and(|image| image.ends_with(&format!(":{version}")))
}

/// The canary's share in force, in percent.
#[must_use]
pub fn in_force(view: &Value) -> Option<f64> {
    view["haproxy"].as_object()?.values().next()?["traffic"]["weight"].as_f64()
}

/// An answer, as a client sees it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The status.
    pub status: u16,
    /// The version that answered.
    pub version: String,
    /// The cookies that were set, as `name=value`.
    pub cookies: Vec<String>,
}

/// Asks once for `/` of this host; gives the status and the version that answered.
///
/// # Errors
/// When HAProxy does not answer.
pub async fn asked(port: u16, host: &str, headers: &[(&str, &str)]) -> Result<(u16, String)> {
    let (status, head) = answered(port, host, "/", headers).await?;
    Ok((status, header(&head, "x-version").to_owned()))
}

/// A header of an answer, empty where there is none.
#[must_use]
pub fn header<'a>(answer: &'a str, name: &str) -> &'a str {
    let mut lines = answer.lines();
    let found = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    found.unwrap_or_default()
}

/// Asks once for a path of this host; gives what a client makes of the answer.
///
/// # Errors
/// When HAProxy does not answer.
pub async fn visit(port: u16, host: &str, path: &str, headers: &[(&str, &str)]) -> Result<Seen> {
    visit_from(Ipv4Addr::LOCALHOST, port, host, path, headers).await
}

/// The same, from this address of the loopback.
///
/// # Errors
/// When HAProxy does not answer.
pub async fn visit_from(
    from: Ipv4Addr,
    port: u16,
    host: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<Seen> {
    let (status, answer) = answered_from(from, port, host, path, headers).await?;
    let cookies = answer.lines().filter_map(|line| {
        let (name, value) = line.split_once(": ")?;
        let pair = value.split(';').next()?;
        name.eq_ignore_ascii_case("set-cookie")
            .then(|| pair.to_owned())
    });
    Ok(Seen {
        status,
        version: header(&answer, "x-version").to_owned(),
        cookies: cookies.collect(),
    })
}

/// Asks once for a path of this host, on a connection of its own; gives the status and the whole answer.
///
/// # Errors
/// When HAProxy does not answer.
pub async fn answered(
    port: u16,
    host: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<(u16, String)> {
    answered_from(Ipv4Addr::LOCALHOST, port, host, path, headers).await
}

async fn answered_from(
    from: Ipv4Addr,
    port: u16,
    host: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<(u16, String)> {
    let mut request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    let mut stream = socket.connect((Ipv4Addr::LOCALHOST, port).into()).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let status = answer.split(' ').nth(1).context("no status")?.parse()?;
    Ok((status, answer))
}

/// A JSON address whose field has the number that this is set to; 0 is `null`.
///
/// # Errors
/// When no port is free.
pub async fn number(field: &'static str) -> Result<(String, Arc<AtomicU64>)> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = format!("http://{}/{field}", listener.local_addr()?);
    let says = Arc::<AtomicU64>::default();
    let now = Arc::clone(&says);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let value = match now.load(Ordering::Relaxed) {
                0 => "null".to_owned(),
                number => number.to_string(),
            };
            let body = format!("{{\"{field}\":{value}}}");
            let answer = format!(
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    Ok((address, says))
}

/// How many requests this version answered since then.
#[must_use]
pub fn answered_by(load: &Load, version: &str, since: Instant) -> usize {
    load.samples(|sample| {
        sample.sent >= since
            && matches!(&sample.outcome, Outcome::Answered { version: by, .. } if &**by == version)
    })
    .len()
}
