//! The story: five versions, two kills, and what was promised of each.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fm_harness::etcd::Etcd;
use fm_harness::image::Images;
use fm_harness::load::{Load, Outcome, Sums};
use fm_harness::stack::Stack;
use fm_harness::unique;
use serde_json::Value;

use crate::picture::{Stage, in_force, version_of};

const MANIFEST: &str = include_str!("../../../manifests/demo/shop.yaml");
const VERSIONS: [(&str, &[(&str, &str)]); 5] = [
    ("v1", &[]),
    ("v2", &[]),
    ("v3", &[("ERROR_RATE", "0.2")]),
    ("v4", &[("CRASH", "3")]),
    ("v5", &[]),
];
/// Milliseconds that every version takes to answer.
const LATENCY: &str = "20";

struct Story {
    stage: Arc<Stage>,
    stack: Stack,
    load: Arc<Load>,
    namespace: String,
    repository: String,
    /// What did not go as told.
    broken: Vec<String>,
    /// Rows of the table: what was promised, what was seen.
    rows: Vec<(String, String)>,
    /// While HAProxy was away on purpose.
    away: Option<(Instant, Instant)>,
}

/// Plays it; gives what did not go as told.
pub(crate) async fn play(etcd: bool, rate: u32) -> Result<Vec<String>> {
    let stage = Stage::new();
    let id = unique();
    let repository = format!("demo-{id}/shop");
    stage.chapter("The stage is set");
    let mut images = Images::default();
    for (version, environment) in VERSIONS {
        let tag = format!("{repository}:{version}");
        let mut all = vec![("VERSION", version), ("LATENCY_MS", LATENCY)];
        all.extend_from_slice(environment);
        images.build(&tag, &all).await?;
    }
    stage.say(&format!("five images FROM scratch: {repository}:v1 to :v5; v3 fails one request in five, v4 crashes at start"));
    let store = if etcd {
        Some(Etcd::start().await?)
    } else {
        None
    };
    let stack = Stack::start(store.as_ref().map(Etcd::url).as_deref()).await?;
    let kept = if etcd {
        "a real etcd"
    } else {
        "the embedded store"
    };
    stage.say(&format!(
        "frd runs with {kept}, HAProxy under it serves http://127.0.0.1:{}",
        stack.port()
    ));
    let load = Arc::new(Load::new(stack.port(), "shop.example.com", 64));
    let mut story = Story {
        stage,
        stack,
        load,
        namespace: format!("demo-{id}"),
        repository,
        broken: Vec::new(),
        rows: Vec::new(),
        away: None,
    };
    let outcome = story.all(rate).await;
    story.stage.curtain();
    story.stack.down().await;
    outcome.map(|()| story.broken)
}

impl Story {
    async fn all(&mut self, rate: u32) -> Result<()> {
        self.first(rate).await?;
        let watcher = tokio::spawn(Arc::clone(&self.stage).watch(
            self.stack.api(),
            self.namespace.clone(),
            Arc::clone(&self.load),
        ));
        let outcome = async {
            self.healthy().await?;
            self.erring().await?;
            self.crashing().await?;
            self.approved().await
        }
        .await;
        watcher.abort();
        outcome?;
        self.table();
        Ok(())
    }

    fn promise(&mut self, what: &str, held: bool, seen: impl Into<String>) {
        let seen = seen.into();
        if !held {
            self.broken.push(format!("{what}: {seen}"));
        }
        self.rows.push((
            what.to_owned(),
            format!("{}{seen}", if held { "" } else { "NOT AS TOLD: " }),
        ));
    }

    async fn apply(&mut self, version: &str, change: impl Fn(String) -> String) -> Result<Instant> {
        let manifest = change(
            MANIFEST
                .replace("namespace: demo", &format!("namespace: {}", self.namespace))
                .replace("demo/shop:v1", &format!("{}:{version}", self.repository)),
        );
        let said = self.stack.apply(&self.namespace, &manifest).await?;
        self.stage.say(&format!(
            "$ frctl apply -f shop.yaml     # image: {version}; {}",
            said.lines().next().unwrap_or("")
        ));
        Ok(Instant::now())
    }

    async fn wait(
        &self,
        what: &str,
        seconds: u64,
        holds: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        self.stack
            .wait(
                &self.namespace,
                "shop",
                what,
                Duration::from_secs(seconds),
                holds,
            )
            .await
    }

    async fn first(&mut self, rate: u32) -> Result<()> {
        self.stage
            .chapter("v1, the first: it becomes stable as soon as it is ready");
        self.apply("v1", |text| text).await?;
        self.wait("v1 to serve", 60, |view| {
            view["status"]["phase"] == "healthy"
        })
        .await?;
        self.stage.say(&format!(
            "v1 is stable; from now on {rate} requests a second"
        ));
        self.load.rate(rate);
        tokio::time::sleep(Duration::from_secs(2)).await;
        Ok(())
    }

    /// v2: promoted step by step; v1 drained and removed.
    async fn healthy(&mut self) -> Result<()> {
        self.stage.chapter("v2, healthy: 1, 10, 50, 100 %");
        let applied = self.apply("v2", |text| text).await?;
        self.wait("v2 to be promoted", 120, |view| {
            view["status"]["phase"] == "healthy"
                && version_of(&view["status"]["stable"]["image"]).as_deref() == Some("v2")
        })
        .await?;
        let seconds = applied.elapsed().as_secs_f64();
        self.wait("v1 to be removed", 60, |view| {
            view["swarm"]["revisions"]
                .as_object()
                .is_some_and(|all| all.len() == 1)
        })
        .await?;
        self.stage.say("v2 is stable, v1 is drained and removed");
        self.promise(
            "v2, healthy",
            true,
            format!("promoted {seconds:.0} s after it was applied, v1 removed"),
        );
        Ok(())
    }

    /// v3: taken back within seconds of its first bad answer.
    async fn erring(&mut self) -> Result<()> {
        self.stage
            .chapter("v3, one answer in five is an error: taken back");
        let applied = self.apply("v3", |text| text).await?;
        self.wait("v3 to be taken back", 90, |view| {
            view["status"]["lastRollout"]["outcome"] == "rolledBack"
                && view["status"]["canary"].is_null()
                && in_force(view) == Some(0.0)
        })
        .await?;
        let bad = self.load.samples(|sample| sample.sent > applied && matches!(&sample.outcome, Outcome::Answered { version, error: true } if &**version == "v3"));
        let last = self.load.samples(|sample| sample.sent > applied && matches!(&sample.outcome, Outcome::Answered { version, .. } if &**version == "v3")).into_iter().map(|sample| sample.sent).max();
        let (first, last) = bad
            .first()
            .map(|sample| sample.done)
            .zip(last)
            .context("v3 was taken back before it served anything")?;
        let seconds = last.saturating_duration_since(first).as_secs_f64();
        self.promise(
            "v3, 20 % errors: from its first bad answer to weight 0",
            seconds < 20.0,
            format!("{seconds:.1} s, {} users saw an error", bad.len()),
        );
        Ok(())
    }

    /// v4: never gets traffic; Docker's own error is shown.
    async fn crashing(&mut self) -> Result<()> {
        self.stage
            .chapter("v4 crashes at start: it never gets traffic");
        let applied = self.apply("v4", |text| text).await?;
        let view = self
            .wait("v4 to be given up", 90, |view| {
                view["status"]["lastRollout"]["image"]
                    .as_str()
                    .is_some_and(|image| image.ends_with(":v4"))
                    && view["status"]["canary"].is_null()
            })
            .await?;
        let words = view["status"]["lastRollout"]["why"]
            .as_str()
            .unwrap_or("")
            .to_owned();
        let served = self.load.samples(|sample| sample.sent > applied && matches!(&sample.outcome, Outcome::Answered { version, .. } if &**version == "v4")).len();
        self.promise(
            "v4, crash at start: requests it got",
            served == 0,
            served.to_string(),
        );
        self.promise(
            "v4: Docker's own words are shown",
            words.contains("non-zero exit (3)"),
            words,
        );
        Ok(())
    }

    /// v5: waits for a person; meanwhile HAProxy and frd are killed.
    async fn approved(&mut self) -> Result<()> {
        self.stage.chapter(
            "v5, healthy, asks for a person at 10 %; meanwhile HAProxy and frd are killed with -9",
        );
        self.apply("v5", |text| {
            text.replace(
                "{ weight: 10, hold: 8s }",
                "{ weight: 10, hold: 3s, approval: manual }",
            )
        })
        .await?;
        let waits =
            |view: &Value| view["status"]["waitsForPerson"] == true && in_force(view) == Some(10.0);
        self.wait("v5 to wait for a person", 90, waits).await?;
        self.kill_haproxy().await?;
        self.kill_frd().await?;
        self.wait("v5 to wait for a person still", 20, waits)
            .await?;
        self.stage.say("$ frctl rollout promote shop");
        let namespace = self.namespace.clone();
        let said = self
            .stack
            .frctl(&["-n", &namespace, "rollout", "promote", "shop"])
            .await?;
        ensure!(
            said.status.success(),
            "frctl rollout promote: {}",
            String::from_utf8_lossy(&said.stderr)
        );
        self.wait("v5 to be promoted", 120, |view| {
            view["status"]["phase"] == "healthy"
                && version_of(&view["status"]["stable"]["image"]).as_deref() == Some("v5")
        })
        .await?;
        self.promise("v5, approved by a person", true, "promoted");
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(())
    }

    async fn kill_haproxy(&mut self) -> Result<()> {
        let before = self.stack.haproxy_pids();
        let killed = Instant::now();
        self.stack.kill_haproxy().await?;
        self.stage
            .say(&format!("HAProxy is killed: processes {before:?}"));
        self.stack.haproxy_back(&before).await?;
        let back = Instant::now();
        self.stage.say(&format!(
            "HAProxy serves again after {} ms",
            back.duration_since(killed).as_millis()
        ));
        // Clients whose connections broke need a moment to notice.
        self.away = Some((
            killed - Duration::from_millis(500),
            back + Duration::from_millis(500),
        ));
        tokio::time::sleep(Duration::from_millis(600)).await;
        self.same_share("share of v5 after HAProxy returned").await
    }

    async fn kill_frd(&mut self) -> Result<()> {
        let before = self.stack.haproxy_pids();
        self.stack.kill_frd().await?;
        self.stage.say("frd is killed; HAProxy goes on alone");
        self.same_share("share of v5 while frd is dead").await?;
        self.stack.spawn()?;
        self.stack.ready().await?;
        self.stage.say("frd is back");
        let after = self.stack.haproxy_pids();
        self.promise(
            "frd took its running HAProxy over, without a restart",
            !before.is_empty() && before.first() == after.first(),
            match after.first() {
                Some(pid) => format!("process {pid}"),
                None => "none runs".to_owned(),
            },
        );
        self.same_share("share of v5 after frd returned").await
    }

    /// Measures for five seconds that v5 still has its ten percent.
    async fn same_share(&mut self, what: &str) -> Result<()> {
        let from = Instant::now();
        tokio::time::sleep(Duration::from_secs(5)).await;
        let sums = self
            .load
            .between(from, Instant::now() - Duration::from_millis(200));
        let (text, held) = compare(&sums, "v5", 10.0);
        self.promise(what, held, text);
        Ok(())
    }

    fn table(&mut self) {
        let stretches = self.stage.stretches();
        for stretch in stretches.iter().filter(|stretch| stretch.version != "v4") {
            let to = stretch.to.unwrap_or_else(Instant::now);
            let margin = Duration::from_millis(300);
            if to.duration_since(stretch.from) < 4 * margin {
                continue;
            }
            let sums = self.load.between(stretch.from + margin, to - margin);
            let (text, held) = compare(&sums, &stretch.version, stretch.wanted);
            self.promise(
                &format!("share of {} at {} %", stretch.version, stretch.wanted),
                held,
                text,
            );
        }
        let seen: Vec<f64> = stretches
            .iter()
            .filter(|stretch| stretch.version == "v2")
            .map(|stretch| stretch.wanted)
            .collect();
        self.promise(
            "v2 went through every step",
            seen == [1.0, 10.0, 50.0],
            format!("{seen:?} %, then all"),
        );
        let all = self.load.all();
        let away = self
            .away
            .map(|(from, to)| self.load.between(from, to))
            .unwrap_or_default();
        let failures = all.failures() - away.failures();
        self.promise(
            "requests failed by the platform",
            failures == 0,
            if failures == 0 {
                "0".to_owned()
            } else {
                format!("{failures}: {:?}", all.failed)
            },
        );
        self.rows.push((
            "… while HAProxy was killed".into(),
            away.failures().to_string(),
        ));
        self.rows.push((
            "errors that the service made on purpose".into(),
            all.app_errors.to_string(),
        ));
        self.rows
            .push(("requests sent".into(), all.sent.to_string()));
        self.stage.curtain();
        let width = self
            .rows
            .iter()
            .map(|(what, _)| what.chars().count())
            .max()
            .unwrap_or(0);
        self.stage.chapter("What was seen");
        for (what, seen) in &self.rows {
            self.stage.print(&format!("  {what:<width$}  {seen}"));
        }
    }
}

/// Holds a measured share against the wanted one; chance alone leaves the allowed band once in some hundred thousand times.
fn compare(sums: &Sums, version: &str, wanted: f64) -> (String, bool) {
    let (p, n) = (wanted / 100.0, sums.answered().max(1) as f64);
    let measured = sums.share(version);
    let band = 4.5 * (p * (1.0 - p) / n).sqrt() + 1.0 / n;
    (
        format!("{:.2} % of {} requests", measured * 100.0, sums.answered()),
        sums.answered() > 0 && (measured - p).abs() <= band,
    )
}
