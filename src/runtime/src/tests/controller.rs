use std::collections::HashMap;
use std::sync::Mutex;

use fm_store::Fence;
use tokio::time::Instant;

use super::*;
use crate::{Cache, Next, ReconcileError, Reconciler, Wake, run_unelected};

/// What a reconciler was asked, and a guard against two at once.
#[derive(Default)]
pub(super) struct Log {
    running: Mutex<HashMap<ReleaseKey, bool>>,
    pub(super) runs: Mutex<Vec<(ReleaseKey, Option<Fence>, Instant)>>,
}

pub(super) struct Guard<'a>(&'a Log, ReleaseKey);

impl Log {
    /// Panics on overlap.
    pub(super) fn enter(&self, key: &ReleaseKey, fence: Option<&Fence>) -> Guard<'_> {
        let before = self.running.lock().unwrap().insert(key.clone(), true);
        assert_ne!(before, Some(true), "{key} runs twice at once");
        let run = (key.clone(), fence.cloned(), Instant::now());
        self.runs.lock().unwrap().push(run);
        Guard(self, key.clone())
    }
    pub(super) fn count(&self, key: &ReleaseKey) -> usize {
        let runs = self.runs.lock().unwrap();
        runs.iter().filter(|(of, _, _)| of == key).count()
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.0.running.lock().unwrap().insert(self.1.clone(), false);
    }
}

type Answer = Box<dyn Fn(&ReleaseKey, usize) -> Result<Next, ReconcileError> + Send + Sync>;

struct Scripted {
    log: Arc<Log>,
    takes: Duration,
    answer: Answer,
}

#[async_trait]
impl Reconciler for Scripted {
    async fn reconcile(
        &self,
        key: &ReleaseKey,
        fence: Option<&Fence>,
    ) -> Result<Next, ReconcileError> {
        let _guard = self.log.enter(key, fence);
        tokio::time::sleep(self.takes).await;
        (self.answer)(key, self.log.count(key))
    }
}

struct Running {
    world: World,
    process: Context,
    log: Arc<Log>,
    wake: mpsc::Sender<Wake>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.process.shutdown.cancel();
    }
}

async fn run(
    takes: Duration,
    answer: impl Fn(&ReleaseKey, usize) -> Result<Next, ReconcileError> + Send + Sync + 'static,
) -> Running {
    run_resyncing(Duration::from_secs(10), takes, answer).await
}

async fn run_resyncing(
    resync: Duration,
    takes: Duration,
    answer: impl Fn(&ReleaseKey, usize) -> Result<Next, ReconcileError> + Send + Sync + 'static,
) -> Running {
    let world = World::new();
    let process = Context {
        resync,
        ..world.process("p")
    };
    let log = Arc::new(Log::default());
    let (wake, woken) = mpsc::channel(4);
    let reconciler = Arc::new(Scripted {
        log: Arc::clone(&log),
        takes,
        answer: Box::new(answer),
    });
    let ctx = process.clone();
    let cache = Cache::start(&ctx, prefixes());
    cache.synced().await;
    tokio::spawn(async move {
        run_unelected(&ctx, "test", &cache, Some(woken), reconciler)
            .await
            .unwrap();
    });
    Running {
        world,
        process,
        log,
        wake,
    }
}

#[tokio::test]
async fn a_key_is_never_reconciled_twice_at_once_and_its_last_change_is_always_looked_at() {
    let running = run(Duration::from_millis(3), |_, _| Ok(Next::OnChange)).await;
    let a = key("a");
    for number in 0..100 {
        running.world.put(&a.release(), &number.to_string()).await;
    }
    let written = Instant::now();
    let log = &running.log;
    eventually("a run after the last change", || {
        let runs = log.runs.lock().unwrap();
        runs.iter().any(|(_, _, at)| *at >= written)
    })
    .await;
    assert!(log.count(&a) < 100, "changes in flight are put together");
}

#[tokio::test]
async fn different_keys_run_side_by_side() {
    let together = Arc::new(tokio::sync::Barrier::new(8));
    struct Meeting(Arc<tokio::sync::Barrier>, Arc<Log>);
    #[async_trait]
    impl Reconciler for Meeting {
        async fn reconcile(
            &self,
            key: &ReleaseKey,
            fence: Option<&Fence>,
        ) -> Result<Next, ReconcileError> {
            let _guard = self.1.enter(key, fence);
            self.0.wait().await;
            self.1.runs.lock().unwrap().clear();
            Ok(Next::OnChange)
        }
    }
    let world = World::new();
    for number in 0..8 {
        world.put(&key(&format!("r{number}")).release(), "1").await;
    }
    let (process, log) = (world.process("p"), Arc::new(Log::default()));
    let cache = Cache::start(&process, prefixes());
    let meeting = Arc::new(Meeting(together, Arc::clone(&log)));
    let ctx = process.clone();
    tokio::spawn(async move { run_unelected(&ctx, "test", &cache, None, meeting).await });
    eventually("all eight met", || !log.running.lock().unwrap().is_empty()).await;
    eventually("all eight left", || {
        log.running.lock().unwrap().values().all(|runs| !runs)
    })
    .await;
    process.shutdown.cancel();
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_one_failure_among_others() {
    let running = run(Duration::ZERO, |key, count| {
        assert!(key.name() != "bad" || count > 2, "on purpose");
        Ok(Next::OnChange)
    })
    .await;
    running.world.put(&key("bad").release(), "1").await;
    running.world.put(&key("good").release(), "1").await;
    let log = &running.log;
    eventually("the good one ran", || log.count(&key("good")) > 0).await;
    eventually("the bad one recovered", || log.count(&key("bad")) > 2).await;
}

#[tokio::test(start_paused = true)]
async fn failures_are_tried_again_with_growing_pauses() {
    let running = run(Duration::ZERO, |_, _| {
        Err(ReconcileError::Retry {
            message: "on purpose".to_owned(),
            after: None,
        })
    })
    .await;
    running.world.put(&key("a").release(), "1").await;
    let log = &running.log;
    eventually("some tries", || log.count(&key("a")) >= 6).await;
    let times: Vec<Instant> = log.runs.lock().unwrap().iter().map(|run| run.2).collect();
    let pauses: Vec<Duration> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses[4] > pauses[0] * 4, "{pauses:?}");
}

#[tokio::test(start_paused = true)]
async fn the_next_look_comes_when_asked_for_and_at_the_resync_at_the_latest() {
    let running = run(Duration::ZERO, |key, _| match key.name() {
        "soon" => Ok(Next::After(Duration::from_secs(2))),
        "late" => Ok(Next::After(Duration::from_secs(3600))),
        "wrong" => Err(ReconcileError::Terminal("on purpose".to_owned())),
        _ => Ok(Next::OnChange),
    })
    .await;
    for name in ["soon", "late", "wrong", "calm"] {
        running.world.put(&key(name).release(), "1").await;
    }
    let log = &running.log;
    eventually("three looks each", || {
        ["soon", "late", "wrong", "calm"]
            .iter()
            .all(|name| log.count(&key(name)) >= 3)
    })
    .await;
    let pause = |name: &str| {
        let runs = log.runs.lock().unwrap();
        let times: Vec<Instant> = runs
            .iter()
            .filter(|(of, _, _)| *of == key(name))
            .map(|run| run.2)
            .collect();
        (times[2] - times[1]).as_millis()
    };
    assert!((2000..2100).contains(&pause("soon")), "{}", pause("soon"));
    for name in ["late", "wrong", "calm"] {
        assert!((10_000..10_100).contains(&pause(name)), "{name}");
    }
}

#[tokio::test]
async fn what_was_deleted_is_looked_at_once_more_and_then_let_go() {
    let resync = Duration::from_millis(50);
    let running = run_resyncing(resync, Duration::ZERO, |_, _| Ok(Next::OnChange)).await;
    let (a, log) = (key("a"), &running.log);
    running.world.put(&a.release(), "1").await;
    eventually("looks by resync", || log.count(&a) > 2).await;
    let deleted = Instant::now();
    running.world.delete(&a.release()).await;
    eventually("a look after the deletion", || {
        log.runs.lock().unwrap().iter().any(|run| run.2 >= deleted)
    })
    .await;
    tokio::time::sleep(resync * 4).await;
    let count = log.count(&a);
    tokio::time::sleep(resync * 10).await;
    assert_eq!(log.count(&a), count);
}

#[tokio::test]
async fn a_change_is_looked_at_without_any_pause() {
    let running = run(Duration::ZERO, |_, _| Ok(Next::OnChange)).await;
    let (a, log) = (key("a"), &running.log);
    let mut taken = Vec::new();
    for number in 1..=50 {
        running.world.put(&a.release(), "1").await;
        let committed = Instant::now();
        eventually("it was looked at", || log.count(&a) >= number).await;
        taken.push(
            log.runs.lock().unwrap()[number - 1]
                .2
                .saturating_duration_since(committed),
        );
    }
    taken.sort();
    // Far above what it takes, far below any timer in the loop: only a missed wake-up takes that long.
    assert!(taken[25] < Duration::from_millis(50), "{taken:?}");
    println!("from commit to reconcile: half within {:?}", taken[25]);
}

#[tokio::test]
async fn wake_ups_from_outside_reach_one_or_all() {
    let running = run(Duration::ZERO, |_, _| Ok(Next::OnChange)).await;
    let (a, b, log) = (key("a"), key("b"), &running.log);
    running.world.put(&a.release(), "1").await;
    running.world.put(&b.release(), "1").await;
    eventually("first looks", || log.count(&a) > 0 && log.count(&b) > 0).await;
    running.wake.send(Wake::One(a.clone())).await.unwrap();
    eventually("only a", || log.count(&a) == 2).await;
    assert_eq!(log.count(&b), 1);
    running.wake.send(Wake::All).await.unwrap();
    eventually("both", || log.count(&a) == 3 && log.count(&b) == 2).await;
    // A key of no release may concern all of them.
    running.world.put(&fm_api::keys::agent("edge"), "1").await;
    eventually("both again", || log.count(&a) == 4 && log.count(&b) == 3).await;
}
