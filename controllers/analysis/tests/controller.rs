//! The controller on a real embedded store, fed by log lines over a real connection.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper of tests fails the test"
)]

use std::sync::Arc;
use std::time::Duration;

use fm_analysis::metrics::{Access, Measure, Nobody, Providers};
use fm_api::criteria::Analysis;
use fm_api::criteria::metrics::{Metric, WebSource};
use fm_api::keys::{ReleaseKey, RevisionId};
use fm_api::quantity::{Span, Weight};
use fm_api::target::{AnalysisTarget, Target, Traffic};
use fm_api::verdict::{Decision, Outcome, Reason, Standing, Verdict};
use fm_runtime::{Context, SystemClock, decode};
use fm_store::Txn;
use fm_telemetry::{Handle, Receiver};
use jiff::Timestamp;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

struct Rig {
    ctx: Context,
    key: ReleaseKey,
    handle: Handle,
    log: TcpStream,
    _dir: tempfile::TempDir,
}

impl Rig {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ctx = Context {
            store: fm_store::embedded::open(dir.path()).unwrap(),
            clock: Arc::new(SystemClock),
            identity: "test".into(),
            fitness: fm_runtime::Fitness::default(),
            shutdown: CancellationToken::new(),
            resync: Duration::from_secs(10),
        };
        let receiver = Receiver::bind(std::net::SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
            .unwrap();
        let log = TcpStream::connect(receiver.address().to_string())
            .await
            .unwrap();
        let handle = receiver.handle();
        tokio::spawn(receiver.run(ctx.shutdown.clone()));
        let key = ReleaseKey::new("default", "shop");
        Self {
            ctx,
            key,
            handle,
            log,
            _dir: dir,
        }
    }

    /// Runs the controller until the token it gives back is cancelled.
    fn start(&self) -> (CancellationToken, tokio::task::JoinHandle<()>) {
        self.start_with(Arc::new(Nobody))
    }

    /// The same, with somebody to measure.
    fn start_with(
        &self,
        measure: Arc<dyn Measure>,
    ) -> (CancellationToken, tokio::task::JoinHandle<()>) {
        let mut ctx = self.ctx.clone();
        ctx.shutdown = self.ctx.shutdown.child_token();
        let (stop, source) = (ctx.shutdown.clone(), Arc::new(self.handle.clone()));
        let pulls = Arc::new(fm_telemetry::Pulls::new(source));
        let running =
            tokio::spawn(async move { fm_analysis::run(ctx, pulls, measure).await.unwrap() });
        (stop, running)
    }

    async fn put(&self, run: Option<&str>) {
        self.put_with(run, Analysis::default()).await;
    }

    async fn put_with(&self, run: Option<&str>, criteria: Analysis) {
        let (stable, canary) = (RevisionId::new("aaaa"), RevisionId::new("bbbb"));
        let mut target: Target = serde_json::from_value(serde_json::json!({
            "uid": "u", "generation": 1, "specGeneration": 1,
        }))
        .unwrap();
        target.traffic = Some(Traffic {
            stable: stable.clone(),
            canary: Some(canary.clone()),
            weight: Weight::percent(5),
            mirror: Weight::ZERO,
            seed: "0badcafe".into(),
            generation: 1,
        });
        target.analysis = run.map(|run| AnalysisTarget {
            run: run.into(),
            canary,
            stable,
            criteria,
            worker: false,
            criteria_hash: "hash".into(),
            request_timeout: Span::secs(30),
            last_hold: Span::secs(60),
            since: Some(Timestamp::now()),
            awaiting_since: None,
            step: None,
        });
        let value = serde_json::to_vec(&target).unwrap();
        self.ctx
            .store
            .commit(Txn::new().put(self.key.target(), value))
            .await
            .unwrap();
    }

    async fn send(&mut self, side: &str, status: u16, count: usize) {
        let line = format!(
            "{{\"rc\":\"r|0badcafe|500|r0_a|r0_b|{}|aaaa|bbbb|1\",\"sd\":\"{side}\",\"st\":{status},\"ts\":\"--\",\"tr\":3}}\n",
            self.key
        );
        self.log
            .write_all(line.repeat(count).as_bytes())
            .await
            .unwrap();
    }

    async fn verdict(&self) -> Option<Verdict> {
        let entry = self.ctx.store.get(&self.key.verdict()).await.unwrap()?;
        Some(decode(&entry).unwrap())
    }

    /// Waits until the verdict is as wanted.
    async fn until(
        &self,
        what: &str,
        wanted: impl Fn(Option<&Verdict>) -> bool,
    ) -> Option<Verdict> {
        for _ in 0..1500 {
            let verdict = self.verdict().await;
            if wanted(verdict.as_ref()) {
                return verdict;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!(
            "not seen: {what}; the verdict is {:?}",
            self.verdict().await
        );
    }
}

#[tokio::test]
async fn a_bad_canary_is_taken_back_and_the_verdict_goes_with_the_target() {
    let mut rig = Rig::new().await;
    // What stable did before the run is no part of it.
    rig.send("s", 500, 100).await;
    let (_, running) = rig.start();
    rig.put(Some("one")).await;
    let first = rig.until("the run begins", |v| v.is_some()).await.unwrap();
    assert_eq!((first.batch, first.reason), (0, Reason::NoTraffic));
    for _ in 0..3 {
        rig.send("s", 200, 190).await;
        rig.send("c", 500, 4).await;
        rig.send("f", 200, 1).await;
        rig.send("m", 500, 50).await;
        rig.send("c", 200, 5).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let harmed = |v: Option<&Verdict>| v.is_some_and(|v| v.decision == Decision::Rollback);
    let verdict = rig.until("harm", harmed).await.unwrap();
    assert_eq!(
        (verdict.run.as_str(), verdict.reason),
        ("one", Reason::ErrorsHarm)
    );
    assert!(verdict.first_bad_at.is_some() && verdict.sentence.contains("harm is shown"));
    assert_eq!(verdict.metrics[0].stable.bad, 0, "{verdict:?}");
    // A new run begins with no evidence.
    rig.put(Some("two")).await;
    let fresh = |v: Option<&Verdict>| v.is_some_and(|v| v.run == "two");
    let verdict = rig.until("the second run", fresh).await.unwrap();
    assert_eq!((verdict.decision, verdict.batch), (Decision::Wait, 0));
    // The verdict goes when the target does.
    rig.ctx
        .store
        .commit(Txn::new().delete(rig.key.target()))
        .await
        .unwrap();
    rig.until("the verdict is removed", |v| v.is_none()).await;
    rig.ctx.shutdown.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn a_successor_goes_on_where_the_last_one_stopped() {
    let mut rig = Rig::new().await;
    let (stop, running) = rig.start();
    rig.put(Some("one")).await;
    rig.until("the run begins", |v| v.is_some()).await;
    rig.send("s", 200, 190).await;
    rig.send("c", 200, 10).await;
    let counted =
        |n: u64| move |v: Option<&Verdict>| v.is_some_and(|v| v.metrics[0].canary.requests == n);
    let before = rig.until("the first batch", counted(10)).await.unwrap();
    stop.cancel();
    running.await.unwrap();
    // Nobody looks meanwhile; nothing of it is lost.
    rig.send("s", 200, 95).await;
    rig.send("c", 200, 5).await;
    let (_, running) = rig.start();
    let after = rig.until("the second batch", counted(15)).await.unwrap();
    assert_eq!(
        (after.batch, after.metrics[0].stable.requests),
        (before.batch + 1, 285)
    );
    // No analysis is asked for: the last verdict stays for people.
    rig.put(None).await;
    rig.send("c", 500, 50).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(rig.verdict().await.unwrap().batch, after.batch);
    rig.ctx.shutdown.cancel();
    running.await.unwrap();
}

/// A server that reads the question and never says a word; how many have come.
async fn silent() -> (String, Arc<std::sync::atomic::AtomicU64>) {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
        .await
        .unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let came = Arc::<std::sync::atomic::AtomicU64>::default();
    let counted = Arc::clone(&came);
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            held.push(stream);
        }
    });
    (address, came)
}

#[tokio::test]
async fn a_provider_that_hangs_holds_nothing_up_and_is_no_success() {
    let mut rig = Rig::new().await;
    let (address, came) = silent().await;
    let metric = |name: &str, millis| Metric {
        name: name.into(),
        web: Some(WebSource {
            url: address.clone(),
            ..WebSource::default()
        }),
        timeout: Some(Span::millis(millis)),
        interval: fm_api::criteria::metrics::IntervalSpan(Span::millis(100)),
        ..Metric::default()
    };
    let criteria = Analysis {
        metrics: vec![metric("short", 50), metric("long", 60_000)],
        ..Analysis::default()
    };
    let (_, running) = rig.start_with(Arc::new(Providers::new(Access::default(), None)));
    rig.put_with(Some("one"), criteria).await;
    rig.until("the run begins", |v| v.is_some()).await;
    let mut batch = 0;
    for _ in 0..3 {
        rig.send("s", 200, 190).await;
        rig.send("c", 200, 10).await;
        let further = |v: Option<&Verdict>| v.is_some_and(|v| v.batch > batch);
        batch = rig.until("another batch", further).await.unwrap().batch;
    }
    let many = |v: Option<&Verdict>| {
        v.is_some_and(|v| v.measured.first().is_some_and(|short| short.errors >= 2))
    };
    let verdict = rig.until("errors of the short one", many).await.unwrap();
    let [short, long] = &verdict.measured[..] else {
        panic!("{verdict:?}");
    };
    assert!(
        short
            .measurements
            .iter()
            .all(|m| m.outcome == Outcome::Error)
    );
    assert_ne!(short.standing, Standing::Passing);
    assert_eq!((long.standing, long.errors), (Standing::Pending, 0));
    assert!(came.load(std::sync::atomic::Ordering::Relaxed) >= 3);
    // Harm is found all the same.
    rig.send("s", 200, 190).await;
    rig.send("c", 500, 10).await;
    let harmed = |v: Option<&Verdict>| v.is_some_and(|v| v.decision == Decision::Rollback);
    rig.until("harm", harmed).await;
    rig.ctx.shutdown.cancel();
    running.await.unwrap();
}
