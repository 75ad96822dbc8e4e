//! Decides, by a sequential test, whether a canary harms or is good enough.
//!
//! `agents' counters -> observe -> judge (evidence, plan) -> act -> verdicts/<ns>/<name>`
//!
//! Runs once, under an elected lease. It watches targets, looks every ten seconds at the tasks of each release (which one is
//! worse than its siblings) and once a second at each release whose target asks for analysis, and writes one verdict per closed batch, from which it (or its successor) goes on exactly.
//! What must never happen: a verdict that speaks of another run, or one written by a leader that is no more.

mod act;
pub mod clusters;
pub mod evidence;
pub mod history;
pub mod judge;
pub mod latency;
pub mod metrics;
pub mod observe;
pub mod outliers;
pub mod plan;
pub mod pmix;
pub mod power;
pub mod proportion;
pub mod quantile;
pub mod reach;
pub mod recording;
pub mod replay;
pub mod run;
pub mod saturation;
mod trials;
mod watch;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use fm_api::event::Severity;
use fm_api::keys::{self, ReleaseKey};
use fm_api::target::{AnalysisTarget, Target};
use fm_api::verdict::{Decision, Verdict};
use fm_runtime::{Cache, Context, Next, ReconcileError, Reconciler, Recorder, decode};
use fm_store::{Fence, StoreError};
use fm_telemetry::Pulls;
use jiff::{SignedDuration, Timestamp};

use crate::metrics::flight::Flights;
use crate::metrics::{Measure, Question};
use crate::reach::Views;
use crate::run::{Identity, Run};
use crate::watch::Watches;

/// Time between ticks.
const TICK: SignedDuration = SignedDuration::from_secs(1);
/// Releases that tick at about the same time share one pull.
const SHARED: SignedDuration = SignedDuration::from_millis(100);

/// Runs the analysis controller until shutdown.
///
/// # Errors
/// When the store refuses for good.
pub async fn run(
    ctx: Context,
    pulls: Arc<Pulls>,
    measure: Arc<dyn Measure>,
) -> Result<(), StoreError> {
    let cache = Cache::start(&ctx, vec![keys::prefix("targets")]);
    cache.synced().await;
    let analyst = Analyst {
        recorder: Recorder::new(&ctx, "analysis"),
        pulls,
        flights: Flights::new(measure),
        runs: Mutex::default(),
        trials: Mutex::default(),
        watches: Watches::default(),
        ctx: ctx.clone(),
        cache: cache.clone(),
    };
    fm_runtime::run_elected(&ctx, "analysis", &cache, None, Arc::new(analyst)).await
}

struct Analyst {
    ctx: Context,
    cache: Cache,
    recorder: Recorder,
    pulls: Arc<Pulls>,
    flights: Flights,
    /// The runs that are looked at; one in the middle of a look is not in it.
    runs: Mutex<HashMap<ReleaseKey, Run>>,
    /// The same for each candidate of an experiment, by its name.
    trials: Mutex<HashMap<ReleaseKey, BTreeMap<String, Run>>>,
    /// The tasks of every release, compared with their siblings.
    watches: Watches,
}

#[async_trait]
impl Reconciler for Analyst {
    async fn reconcile(
        &self,
        key: &ReleaseKey,
        fence: Option<&Fence>,
    ) -> Result<Next, ReconcileError> {
        let known = self.forget(key);
        let Some(entry) = self.cache.get(&key.target()) else {
            self.flights.end(key);
            self.watches.forget(key);
            self.take_trials(key);
            act::remove(&self.ctx, fence, key).await?;
            return Ok(Next::OnChange);
        };
        let target: Target = decode(&entry).map_err(ReconcileError::Terminal)?;
        let again = self.siblings(key, &target, fence).await?;
        let trials = self.trials(key, &target, fence).await?;
        let again = again.into_iter().chain(trials).min();
        let Some(analysis) = (target.analysis.as_ref())
            .filter(|analysis| !analysis.criteria.disabled && !target.deleting)
        else {
            self.flights.end(key);
            return Ok(again.map_or(Next::OnChange, Next::After));
        };
        let identity = Identity::of(&target, analysis, fence);
        let mut run = match known.filter(|run| run.is(&identity)) {
            Some(run) => run,
            None => self.load(key, identity, &target, analysis).await?,
        };
        let looked = self.look(key, fence, &target, analysis, &mut run).await;
        match looked {
            // What the store holds is not what we remember: begin from the store.
            Err(error @ (StoreError::Conflict { .. } | StoreError::LeaseEnded)) => {
                Err(error.into())
            }
            // Evidence is kept; the next verdict will hold it.
            Err(error) => {
                self.keep(key, run);
                Err(error.into())
            }
            Ok(()) => {
                let wait = run.next_tick.duration_since(self.ctx.clock.now());
                self.keep(key, run);
                let wait = Duration::try_from(wait).unwrap_or_default();
                Ok(Next::After(again.map_or(wait, |again| again.min(wait))))
            }
        }
    }
}

impl Analyst {
    async fn load(
        &self,
        key: &ReleaseKey,
        identity: Identity,
        target: &Target,
        analysis: &AnalysisTarget,
    ) -> Result<Run, StoreError> {
        // What was under way belongs to nobody any more: the stored state says that it was cut short.
        self.flights.end(key);
        act::forget_jobs(&self.ctx, identity.fence.as_ref(), key).await?;
        let mut run = self
            .resumed(&key.verdict(), identity, (target, analysis))
            .await?;
        if !run.told() {
            run.seed(self.watches.seed(key, &analysis.criteria));
        }
        run.metrics.cut_short(analysis);
        Ok(run)
    }

    /// The run whose verdict is stored at a key, as it stood there; a new one, where it is another's.
    async fn resumed(
        &self,
        at: &str,
        identity: Identity,
        judged: (&Target, &AnalysisTarget),
    ) -> Result<Run, StoreError> {
        let (verdict, revision) = act::load(&self.ctx, at).await?;
        let now = self.ctx.clock.now();
        let resumed = verdict
            .zip(revision)
            .and_then(|(verdict, at)| Run::resume(identity.clone(), &verdict, at, now));
        Ok(resumed.unwrap_or_else(|| Run::new(identity, judged, revision, now)))
    }

    /// Counts what the agents have counted, if it is time for that: `None` before. Whether there is news of an edge.
    async fn pull(
        &self,
        key: &ReleaseKey,
        (target, analysis): (&Target, &AnalysisTarget),
        run: &mut Run,
        now: Timestamp,
    ) -> Option<bool> {
        let shifted = run.shifted(target, analysis);
        if now < run.next_tick && !shifted {
            return None;
        }
        // At a change of shares the batch ends now, not a tenth of a second ago.
        let age = if shifted {
            SignedDuration::ZERO
        } else {
            SHARED
        };
        let pulled = self.pulls.get(now, age).await;
        // Mostly every request gets an answer, and nobody need be asked about it.
        let views = match run.asks(key, analysis, &pulled) {
            true => act::views(&self.ctx, key).await,
            false => Views::default(),
        };
        let news = run.count(key, analysis, &pulled, &views, now);
        run.next_tick = next_tick(run.next_tick, now);
        Some(news)
    }

    /// Writes a run's verdict to a key; returns its revision there.
    async fn store(
        &self,
        at: (&ReleaseKey, String),
        fence: Option<&Fence>,
        run: &Run,
        verdict: &Verdict,
    ) -> Result<u64, StoreError> {
        let stored = run.stored(verdict);
        let stored = stored.map_err(|error| StoreError::Refused(error.to_string()))?;
        act::write(&self.ctx, fence, at, stored, run.revision).await
    }

    async fn look(
        &self,
        key: &ReleaseKey,
        fence: Option<&Fence>,
        target: &Target,
        analysis: &AnalysisTarget,
        run: &mut Run,
    ) -> Result<(), StoreError> {
        let now = self.ctx.clock.now();
        let Some(edges) = self.pull(key, (target, analysis), run, now).await else {
            return Ok(());
        };
        let measured = self.measure((key, fence), analysis, run, now).await;
        let mut verdict = match run.tick(target, analysis, now) {
            Some(verdict) => verdict,
            None if run.told() && (measured || edges) => run.between(target, analysis, now),
            None if run.told() => return Ok(()),
            None => run.begin(target, analysis, now),
        };
        verdict.outliers = self.watches.named(key);
        let at = (key, key.verdict());
        let revision = self.store(at, fence, run, &verdict).await?;
        if verdict.decision != run.decision {
            self.tell(key, &verdict).await;
        }
        run.wrote(&verdict, revision);
        Ok(())
    }

    /// Takes in what was measured since the last tick, and starts what is due. Whether there is anything new.
    async fn measure(
        &self,
        (key, fence): (&ReleaseKey, Option<&Fence>),
        analysis: &AnalysisTarget,
        run: &mut Run,
        now: Timestamp,
    ) -> bool {
        if analysis.criteria.metrics.is_empty() {
            return false;
        }
        let answers = self.flights.answers(key).await;
        let mut news = !answers.is_empty();
        for (name, answer) in answers {
            run.metrics.fold(analysis, &name, answer);
        }
        for metric in run.metrics.due(analysis, now) {
            run.metrics.begin(metric, now);
            self.flights
                .start(Question::new(key, analysis, metric, fence, now));
            news = true;
        }
        run.weigh_metrics(analysis);
        news
    }

    async fn tell(&self, key: &ReleaseKey, verdict: &Verdict) {
        let (severity, reason) = match verdict.decision {
            Decision::Wait => return,
            Decision::Promote => (Severity::Normal, "CanaryNonInferior"),
            Decision::Rollback => (Severity::Warning, "CanaryHarms"),
            Decision::Inconclusive => (Severity::Warning, "AnalysisInconclusive"),
        };
        let message = verdict.sentence.clone();
        self.recorder
            .record(Some(key), severity, reason, message)
            .await;
    }

    fn forget(&self, key: &ReleaseKey) -> Option<Run> {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        runs.remove(key)
    }

    fn keep(&self, key: &ReleaseKey, run: Run) {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        runs.insert(key.clone(), run);
    }
}

/// Ticks stay on their beat; one that is a whole beat late begins a new beat.
fn next_tick(due: Timestamp, now: Timestamp) -> Timestamp {
    let next = |at: Timestamp| at.checked_add(TICK).unwrap_or(Timestamp::MAX);
    if next(due) > now {
        next(due)
    } else {
        next(now)
    }
}
