use fm_store::Fence;

use super::controller::Log;
use super::*;
use crate::controller::run_elected_for;
use crate::{Cache, Next, ReconcileError, Reconciler};

struct Calm(Arc<Log>);

#[async_trait]
impl Reconciler for Calm {
    async fn reconcile(
        &self,
        key: &ReleaseKey,
        fence: Option<&Fence>,
    ) -> Result<Next, ReconcileError> {
        let _guard = self.0.enter(key, fence);
        Ok(Next::After(Duration::from_millis(5)))
    }
}

const TTL: Duration = Duration::from_millis(600);

fn start(process: &Context) -> (Arc<Log>, tokio::task::JoinHandle<()>) {
    let log = Arc::new(Log::default());
    let (ctx, seen) = (process.clone(), Arc::clone(&log));
    let task = tokio::spawn(async move {
        let cache = Cache::start(&ctx, prefixes());
        run_elected_for(&ctx, "test", &cache, None, Arc::new(Calm(seen)), TTL)
            .await
            .unwrap();
    });
    (log, task)
}

fn last_fence(log: &Log) -> Fence {
    let runs = log.runs.lock().unwrap();
    runs.last().unwrap().1.clone().unwrap()
}

#[tokio::test]
async fn one_leads_and_the_next_takes_over_at_once_when_it_stops() {
    let world = World::new();
    let a = key("a");
    world.put(&a.release(), "1").await;
    let (first, second) = (world.process("first"), world.process("second"));
    let (log1, task1) = start(&first);
    eventually("the first leads", || log1.count(&a) > 0).await;
    let (log2, task2) = start(&second);
    tokio::time::sleep(TTL * 2).await;
    assert_eq!(log2.count(&a), 0, "only one leads");
    let fence = last_fence(&log1);
    let who = world.store.get(&fence.key).await.unwrap().unwrap();
    assert_eq!(
        (who.value.as_slice(), who.revision),
        (&b"first"[..], fence.revision)
    );

    let stopped = std::time::Instant::now();
    first.shutdown.cancel();
    task1.await.unwrap();
    let after = log1.count(&a);
    eventually("the second leads", || log2.count(&a) > 0).await;
    assert!(stopped.elapsed() < TTL, "the key was given back");
    assert_eq!(log1.count(&a), after, "the first does nothing any more");

    let late = Txn::new().fenced(Some(&fence)).put(a.target(), vec![1]);
    let refused = world.store.commit(late).await;
    assert!(matches!(refused, Err(StoreError::Conflict { key }) if key == fence.key));
    second.shutdown.cancel();
    task2.await.unwrap();
}

#[tokio::test]
async fn a_leader_that_cannot_renew_stops_by_its_own_clock_and_leads_again_later() {
    let world = World::new();
    let a = key("a");
    world.put(&a.release(), "1").await;
    let process = world.process("p");
    let (log, task) = start(&process);
    eventually("it leads", || log.count(&a) > 0).await;
    let fence = last_fence(&log);
    world.store.set_away(true);
    tokio::time::sleep(TTL + Duration::from_millis(300)).await;
    let count = log.count(&a);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(
        log.count(&a),
        count,
        "nothing is reconciled without a lease"
    );
    world.store.set_away(false);
    eventually("it leads again", || log.count(&a) > count).await;
    assert!(last_fence(&log).revision > fence.revision);
    process.shutdown.cancel();
    task.await.unwrap();
}

#[tokio::test]
async fn a_key_taken_away_ends_the_term_at_once() {
    let world = World::new();
    let a = key("a");
    world.put(&a.release(), "1").await;
    let process = world.process("p");
    let (log, task) = start(&process);
    eventually("it leads", || log.count(&a) > 0).await;
    let fence = last_fence(&log);
    world.delete(&fence.key).await;
    eventually("a new term", || last_fence(&log).revision > fence.revision).await;
    process.shutdown.cancel();
    task.await.unwrap();
}

#[tokio::test]
async fn a_new_leader_begins_with_what_the_last_one_wrote() {
    struct Counter(Cache, SharedStore);
    #[async_trait]
    impl Reconciler for Counter {
        async fn reconcile(
            &self,
            key: &ReleaseKey,
            fence: Option<&Fence>,
        ) -> Result<Next, ReconcileError> {
            // What the cache shows at the start of a term must be the newest: nobody else writes it now.
            let seen = self.0.get(&key.release()).map_or(0, |entry| entry.revision);
            let newest = self.1.get(&key.release()).await?;
            assert_eq!(newest.map_or(0, |entry| entry.revision), seen);
            let write = Txn::new().fenced(fence).put(key.release(), vec![1]);
            self.1.commit(write).await?;
            std::future::pending().await
        }
    }
    let world = World::new();
    world.put(&key("a").release(), "1").await;
    for round in 0..10 {
        let process = world.process(&round.to_string());
        let before = world.store.get(&key("a").release()).await.unwrap().unwrap();
        let cache = Cache::start(&process, prefixes());
        let counter = Arc::new(Counter(cache.clone(), process.store.clone()));
        let ctx = process.clone();
        let watched = cache.clone();
        let task = tokio::spawn(async move {
            run_elected_for(&ctx, "test", &cache, None, counter, TTL)
                .await
                .unwrap();
        });
        eventually("it wrote", || {
            watched
                .get(&key("a").release())
                .is_some_and(|entry| entry.revision > before.revision)
        })
        .await;
        process.shutdown.cancel();
        task.await.unwrap();
    }
}

#[tokio::test]
async fn who_cannot_do_the_work_gives_the_lease_back_and_another_takes_over() {
    let world = World::new();
    let a = key("a");
    world.put(&a.release(), "1").await;
    let (first, second) = (world.process("first"), world.process("second"));
    let (log1, task1) = start(&first);
    eventually("the first leads", || log1.count(&a) > 0).await;
    let (log2, task2) = start(&second);
    first.fitness.set("test", Some("Docker is dead".to_owned()));
    first.fitness.set_rivals(["test".to_owned()].into());
    assert!(first.fitness.candidates()["test"].leads);
    eventually("the second leads", || log2.count(&a) > 0).await;
    let candidate = first.fitness.candidates().remove("test").unwrap();
    assert!(!candidate.leads);
    assert_eq!(candidate.unfit.as_deref(), Some("Docker is dead"));
    // Fit again, it leaves the lease where it is.
    first.fitness.set("test", None);
    let fence = last_fence(&log2);
    tokio::time::sleep(TTL * 2).await;
    assert_eq!(last_fence(&log2), fence);
    for (process, task) in [(first, task1), (second, task2)] {
        process.shutdown.cancel();
        task.await.unwrap();
    }
}

#[tokio::test]
async fn with_nobody_fit_who_leads_goes_on_and_that_is_told_once() {
    let world = World::new();
    let a = key("a");
    world.put(&a.release(), "1").await;
    let process = world.process("p");
    process.fitness.set("test", Some("no manager".to_owned()));
    let (log, task) = start(&process);
    let prefix = fm_api::keys::prefix("events");
    let told = async || {
        let events = world.store.store.list(&prefix).await.unwrap().entries;
        let text = |entry: &Entry| String::from_utf8(entry.value.clone()).unwrap();
        events.iter().map(text).collect::<Vec<_>>()
    };
    eventually("it leads", || log.count(&a) > 0).await;
    let fence = last_fence(&log);
    let limit = std::time::Instant::now() + Duration::from_secs(20);
    while told().await.is_empty() {
        assert!(std::time::Instant::now() < limit, "nobody says so");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(last_fence(&log), fence, "it does not flap");
    let told = told().await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].contains("NobodyIsFit") && told[0].contains("no manager"),
        "{told:?}"
    );
    process.shutdown.cancel();
    task.await.unwrap();
}
