//! Two edges on a real embedded store, each with a log of its own: one that is cut off is named, and blames nobody.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails the test")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fm_analysis::metrics::Nobody;
use fm_api::keys::ReleaseKey;
use fm_api::target::Target;
use fm_api::verdict::{Decision, Verdict};
use fm_runtime::{Context, SystemClock, decode};
use fm_store::Txn;
use fm_telemetry::counters::Snapshot;
use fm_telemetry::{CounterSource, Handle, Pulls, Receiver, SourceError};
use jiff::Timestamp;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

struct Edges(Vec<(String, Handle)>);

#[async_trait]
impl CounterSource for Edges {
    async fn pull(&self) -> Vec<Result<Snapshot, SourceError>> {
        let read = |(name, handle): &(String, Handle)| {
            let now = Timestamp::now();
            Ok(handle.snapshot(name, "epoch", now))
        };
        self.0.iter().map(read).collect()
    }
}

async fn send(log: &mut TcpStream, side: &str, status: u16, count: usize) {
    let line = format!(
        "{{\"rc\":\"r|0badcafe|500|r0_a|r0_b|default/shop|aaaa|bbbb|1\",\"sd\":\"{side}\",\"st\":{status},\"ts\":\"--\",\"tr\":3}}\n"
    );
    log.write_all(line.repeat(count).as_bytes()).await.unwrap();
}

#[tokio::test]
async fn an_edge_that_is_cut_off_is_named_and_takes_nothing_back() {
    let folder = tempfile::tempdir().unwrap();
    let ctx = Context {
        store: fm_store::embedded::open(folder.path()).unwrap(),
        clock: Arc::new(SystemClock),
        identity: "test".into(),
        fitness: fm_runtime::Fitness::default(),
        shutdown: CancellationToken::new(),
        resync: Duration::from_secs(10),
    };
    let (mut logs, mut edges) = (Vec::new(), Vec::new());
    for name in ["east", "west"] {
        let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let receiver = Receiver::bind(any).await.unwrap();
        logs.push(
            TcpStream::connect(receiver.address().to_string())
                .await
                .unwrap(),
        );
        edges.push((name.to_owned(), receiver.handle()));
        tokio::spawn(receiver.run(ctx.shutdown.clone()));
    }
    let pulls = Arc::new(Pulls::new(Arc::new(Edges(edges))));
    let running = tokio::spawn(fm_analysis::run(ctx.clone(), pulls, Arc::new(Nobody)));
    let key = ReleaseKey::new("default", "shop");
    let target: Target = serde_json::from_value(serde_json::json!({
        "uid": "u", "generation": 1, "specGeneration": 1,
        "traffic": {"stable": "aaaa", "canary": "bbbb", "weight": fm_api::quantity::Weight::percent(5), "seed": "0badcafe", "generation": 1},
        "analysis": {
            "run": "one", "canary": "bbbb", "stable": "aaaa", "criteria": {}, "criteriaHash": "hash",
            "requestTimeout": fm_api::quantity::Span::secs(30), "lastHold": fm_api::quantity::Span::secs(60), "since": Timestamp::now(),
        },
    }))
    .unwrap();
    let value = serde_json::to_vec(&target).unwrap();
    let txn = Txn::new().put(key.target(), value);
    ctx.store.commit(txn).await.unwrap();
    let verdict = async || -> Option<Verdict> {
        let entry = ctx.store.get(&key.verdict()).await.unwrap()?;
        Some(decode(&entry).unwrap())
    };
    while verdict().await.is_none() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut told = String::new();
    for _ in 0..100 {
        let [east, west] = &mut logs[..] else {
            panic!("two edges");
        };
        send(east, "s", 200, 80).await;
        send(east, "c", 200, 20).await;
        send(west, "s", 200, 80).await;
        send(west, "f", 200, 20).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = verdict().await.unwrap();
        assert_eq!(now.decision, Decision::Wait, "{}", now.sentence);
        if let Some(sentence) = now.cut_off.get("west") {
            told.clone_from(sentence);
        }
    }
    assert!(
        told.contains("west does not reach the tasks of the canary, and east does"),
        "{told}"
    );
    // It dies at the other edge, too.
    let begun = std::time::Instant::now();
    while verdict().await.unwrap().decision != Decision::Rollback {
        assert!(begun.elapsed() < Duration::from_secs(5));
        for log in &mut logs {
            send(log, "s", 200, 80).await;
            send(log, "f", 200, 20).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("taken back after {:?}", begun.elapsed());
    ctx.shutdown.cancel();
    running.await.unwrap().unwrap();
}
