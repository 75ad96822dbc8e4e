//! The reconcile loop: a plain loop over what can happen.
//!
//! Each term begins with a look at every release. A key is never reconciled twice at once; up to [`AT_ONCE`] different
//! ones are. A reconciliation that panics is one failure among others. When leadership is lost, everything in flight is
//! dropped where it stands; its writes are fenced. What must never happen: a key that is forgotten.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use fm_api::keys::{ROOT, ReleaseKey};
use fm_store::{Fence, StoreError};
use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::cache::{Cache, Changes};
use crate::leader;
use crate::queue::Queue;
use crate::{Context, Next, ReconcileError, Reconciler};

/// How many keys are reconciled at once.
const AT_ONCE: usize = 16;

/// How many looks without any wake-up there are in a second at most, however many releases: what only gives certainty must
/// not become the work.
const LOOKS: u32 = 100;

/// When a release is looked at again without any wake-up, among so many.
fn pace(resync: Duration, releases: usize) -> Duration {
    let releases = u32::try_from(releases).unwrap_or(u32::MAX);
    let least = Duration::from_secs(1).saturating_mul(releases) / LOOKS;
    resync.max(least)
}

/// A wake-up from outside the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wake {
    /// Look at this release.
    One(ReleaseKey),
    /// Look at all of them.
    All,
}

/// Runs a controller whenever this process is elected to, until shutdown.
///
/// # Errors
/// None at present: what the store refuses is logged and tried again, since freezing beats stopping.
pub async fn run_elected(
    ctx: &Context,
    name: &'static str,
    cache: &Cache,
    wake: Option<mpsc::Receiver<Wake>>,
    reconciler: Arc<dyn Reconciler>,
) -> Result<(), StoreError> {
    run_elected_for(ctx, name, cache, wake, reconciler, leader::TTL).await
}

pub(crate) async fn run_elected_for(
    ctx: &Context,
    name: &'static str,
    cache: &Cache,
    mut wake: Option<mpsc::Receiver<Wake>>,
    reconciler: Arc<dyn Reconciler>,
    ttl: Duration,
) -> Result<(), StoreError> {
    let mut steady = Duration::ZERO;
    while !ctx.shutdown.is_cancelled() {
        let mut leadership = tokio::select! {
            biased;
            () = ctx.shutdown.cancelled() => break,
            leadership = leader::elect(ctx, name, ttl, steady) => leadership,
            // Nobody need wait for us to take wake-ups: a term begins with a look at everything.
            never = drain(&mut wake) => match never {},
        };
        let fence = leadership.fence.clone();
        let mut term = Term::new(ctx, name, cache, Some(fence), Arc::clone(&reconciler));
        steady = tokio::select! {
            biased;
            () = ctx.shutdown.cancelled() => Duration::ZERO,
            steady = leadership.term(ctx, name) => steady,
            () = term.run(&mut wake) => Duration::ZERO,
        };
        // First stop, then let another lead.
        term.stop().await;
        leadership.release(ctx, name).await;
    }
    Ok(())
}

/// Takes wake-ups for ever.
async fn drain(wake: &mut Option<mpsc::Receiver<Wake>>) -> std::convert::Infallible {
    while next_wake(wake).await.is_some() {}
    std::future::pending().await
}

/// Runs a controller without an election, until shutdown.
///
/// # Errors
/// None at present.
pub async fn run_unelected(
    ctx: &Context,
    name: &'static str,
    cache: &Cache,
    mut wake: Option<mpsc::Receiver<Wake>>,
    reconciler: Arc<dyn Reconciler>,
) -> Result<(), StoreError> {
    let mut term = Term::new(ctx, name, cache, None, reconciler);
    tokio::select! {
        biased;
        () = ctx.shutdown.cancelled() => {}
        () = term.run(&mut wake) => {}
    }
    term.stop().await;
    Ok(())
}

/// The next wake-up; `None` once there are no more senders.
async fn next_wake(wake: &mut Option<mpsc::Receiver<Wake>>) -> Option<Wake> {
    match wake {
        Some(receiver) => {
            let next = receiver.recv().await;
            if next.is_none() {
                *wake = None;
            }
            next
        }
        None => std::future::pending().await,
    }
}

type Outcome = Result<Next, ReconcileError>;

/// One stretch of reconciling, under one fence. Dropping it drops everything in flight.
struct Term {
    name: &'static str,
    cache: Cache,
    changes: Changes,
    resync: Duration,
    fence: Option<Fence>,
    reconciler: Arc<dyn Reconciler>,
    queue: Queue<ReleaseKey>,
    backoffs: HashMap<ReleaseKey, Backoff>,
    tasks: JoinSet<Outcome>,
    in_flight: HashMap<Id, ReleaseKey>,
}

impl Term {
    fn new(
        ctx: &Context,
        name: &'static str,
        cache: &Cache,
        fence: Option<Fence>,
        reconciler: Arc<dyn Reconciler>,
    ) -> Self {
        Self {
            name,
            // Before the first look, so that nothing falls between.
            changes: cache.subscribe(),
            cache: cache.clone(),
            resync: ctx.resync,
            fence,
            reconciler,
            queue: Queue::new(),
            backoffs: HashMap::new(),
            tasks: JoinSet::new(),
            in_flight: HashMap::new(),
        }
    }

    /// Until the cache ends.
    async fn run(&mut self, wake: &mut Option<mpsc::Receiver<Wake>>) {
        self.ready().await;
        self.add_all();
        let mut resync = tokio::time::interval(self.resync.max(Duration::from_millis(1)));
        resync.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        resync.reset();
        loop {
            self.start_due();
            let due = self.queue.next().filter(|_| self.tasks.len() < AT_ONCE);
            tokio::select! {
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended),
                changed = self.changes.next() => match changed {
                    Some(keys) => self.changed(&keys),
                    None => return,
                },
                Some(woken) = next_wake(wake) => match woken {
                    Wake::One(key) => self.add(key, Duration::ZERO),
                    Wake::All => self.add_all(),
                },
                () = sleep_until(due) => {}
                _ = resync.tick() => self.add_unknown(),
            }
        }
    }

    /// Waits until the cache shows at least what the last leader wrote.
    async fn ready(&self) {
        self.cache.synced().await;
        if let Some(fence) = &self.fence
            && fence.key.starts_with(ROOT)
        {
            self.cache.reached(fence.revision).await;
        }
    }

    fn start_due(&mut self) {
        while self.tasks.len() < AT_ONCE
            && let Some(key) = self.queue.take(Instant::now())
        {
            let (reconciler, fence) = (Arc::clone(&self.reconciler), self.fence.clone());
            let of = key.clone();
            let task = self
                .tasks
                .spawn(async move { reconciler.reconcile(&of, fence.as_ref()).await });
            self.in_flight.insert(task.id(), key);
        }
    }

    fn ended(&mut self, ended: Result<(Id, Outcome), JoinError>) {
        let (id, outcome) = match ended {
            Ok((id, outcome)) => (id, outcome),
            Err(error) => {
                let message = format!("the reconciliation broke off: {error}");
                let after = None;
                (error.id(), Err(ReconcileError::Retry { message, after }))
            }
        };
        let Some(key) = self.in_flight.remove(&id) else {
            return;
        };
        self.queue.done(&key);
        let name = self.name;
        if outcome.is_ok() {
            self.backoffs.remove(&key);
        }
        match outcome {
            Ok(Next::After(delay)) => self.add(key, delay.min(self.pace())),
            Ok(Next::OnChange) => self.add_if_there(key),
            Err(ReconcileError::Retry { message, after }) => {
                let backoff = self.backoffs.entry(key.clone());
                let pause = match after {
                    Some(after) => after,
                    None => backoff.or_insert_with(Backoff::for_reconcile).next(),
                };
                if after.is_some() {
                    tracing::debug!(controller = name, release = %key, message, ?pause, "again");
                } else {
                    tracing::warn!(controller = name, release = %key, message, ?pause, "failed; again");
                }
                self.add(key, pause);
            }
            Err(ReconcileError::Terminal(message)) => {
                tracing::warn!(controller = name, release = %key, message, "failed for good");
                self.backoffs.remove(&key);
                self.add_if_there(key);
            }
        }
    }

    fn changed(&mut self, keys: &[String]) {
        for key in keys {
            match ReleaseKey::of(key) {
                Some(release) => self.add(release, Duration::ZERO),
                // It may concern any release: an agent that came or went, for example.
                None => self.add_all(),
            }
        }
    }

    fn add(&mut self, key: ReleaseKey, delay: Duration) {
        self.queue.add(key, Instant::now(), delay);
    }

    fn add_all(&mut self) {
        for key in self.cache.releases() {
            self.add(key, Duration::ZERO);
        }
    }

    /// Puts it in line for the next resync, unless it is gone from the store and was looked at since.
    fn add_if_there(&mut self, key: ReleaseKey) {
        if self.cache.has_release(&key) {
            self.add(key, self.pace());
        }
    }

    fn pace(&self) -> Duration {
        pace(self.resync, self.cache.release_count())
    }

    /// What no wake-up brought, if that should happen.
    fn add_unknown(&mut self) {
        for key in self.cache.releases() {
            if !self.queue.holds(&key) {
                self.add(key, Duration::ZERO);
            }
        }
    }

    /// Ends everything in flight, and returns when nothing runs any more.
    async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_without_any_wake_up_are_so_many_a_second_at_most() {
        let resync = Duration::from_secs(10);
        let seconds = [1, 500, 1000, 2000, 5000].map(|n| pace(resync, n).as_secs());
        assert_eq!(seconds, [10, 10, 10, 20, 50]);
        assert!(pace(resync, usize::MAX) > resync);
    }
}
