//! One run online: the judge, what was last read of each agent, and both sides of late.
//!
//! Owner: the reconciler's memory. `Stored` is its copy in the verdict's `state`, from which it goes on exactly.

use fm_api::keys::{ReleaseKey, RevisionId};
use fm_api::quantity::Weight;
use fm_api::target::{AnalysisTarget, Target};
use fm_api::verdict::{Decision, Side, Verdict};
use fm_store::Fence;
use fm_telemetry::Pulled;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::clusters::Clusters;
use crate::evidence::Tally;
use crate::judge::{Findings, Judge, Tick};
use crate::metrics::standings::Standings;
use crate::observe::Readings;
use crate::plan::Plan;
use crate::reach::{Look, Reach, Views};
use crate::saturation::{Resource, Saturation};

mod lately;

use lately::Lately;

/// The form of [`Stored`]. A state of another form is not read: the run begins anew.
const FORM: u32 = 2;

/// What is stored of a run.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    form: u32,
    findings: Findings,
    readings: Readings,
    traffic_generation: u64,
    /// What is counted from `readings` on are mirrored requests.
    #[serde(default)]
    mirrored: bool,
    #[serde(default)]
    metrics: Standings,
    /// When the batch began whose requests are counted from `readings` on.
    begun: Timestamp,
}

/// The same to be written, of what is there.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Storing<'a> {
    form: u32,
    findings: &'a Findings,
    readings: &'a Readings,
    traffic_generation: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    mirrored: bool,
    metrics: &'a Standings,
    begun: Timestamp,
}

/// A verdict with the state.
#[derive(Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    verdict: &'a Verdict,
    state: Storing<'a>,
}

/// One run.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    identity: Identity,
    judge: Judge,
    readings: Readings,
    /// The readings when the last batch closed, where metrics may bring a verdict in the middle of a batch. It is stored
    /// with these: what was counted since then is in no batch yet, and would be lost after a restart.
    marked: Option<Readings>,
    /// What was measured of other systems.
    pub metrics: Standings,
    traffic_generation: u64,
    /// What both sides' tasks use of their limits.
    saturation: Saturation,
    unseen: Option<String>,
    /// Whether each edge reaches the tasks.
    reach: Reach,
    lately: Lately,
    told: bool,
    /// The verdict's revision in the store, this run's or an older one's; absent: there is none.
    pub revision: Option<u64>,
    /// What was last decided.
    pub decision: Decision,
    /// When the next tick is due.
    pub next_tick: Timestamp,
}

/// Which run it is, and under whose leadership it was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The target's uid.
    pub uid: String,
    /// The run.
    pub run: String,
    /// Hash of the criteria.
    pub criteria_hash: String,
    /// Another leader may have written meanwhile, so a run is loaded anew with each leadership.
    pub fence: Option<Fence>,
}

impl Identity {
    /// Of the run that a target asks for.
    #[must_use]
    pub fn of(target: &Target, analysis: &AnalysisTarget, fence: Option<&Fence>) -> Self {
        Self {
            uid: target.uid.clone(),
            run: analysis.run.clone(),
            criteria_hash: analysis.criteria_hash.clone(),
            fence: fence.cloned(),
        }
    }

    fn wrote(&self, verdict: &Verdict) -> bool {
        (&verdict.uid, &verdict.run, &verdict.criteria_hash)
            == (&self.uid, &self.run, &self.criteria_hash)
    }
}

/// The share that the canary has in a target, and the split's generation. A candidate of an experiment has its share of
/// what it and the baseline have together.
#[must_use]
pub fn share(target: &Target, analysis: &AnalysisTarget) -> (Weight, u64) {
    let experiment = target.experimenting();
    let side = experiment.filter(|experiment| experiment.side(&analysis.canary).is_some());
    if let Some(experiment) = side {
        let weight = experiment.of_both(&analysis.canary);
        return (weight, experiment.shares_generation);
    }
    let traffic = target.traffic.as_ref();
    traffic.map_or((Weight::ZERO, 0), |t| (t.weight, t.generation))
}

impl Run {
    /// A run without any evidence. `revision`: of an older run's verdict, which the first write replaces.
    #[must_use]
    pub fn new(
        identity: Identity,
        (target, analysis): (&Target, &AnalysisTarget),
        revision: Option<u64>,
        now: Timestamp,
    ) -> Self {
        let mut judge = Judge::new(Findings::default(), now);
        judge.mirrored = target.mirroring();
        judge.sticky = target.affinity.is_some();
        Self {
            identity,
            judge,
            readings: Readings::default(),
            marked: None,
            metrics: Standings::default(),
            traffic_generation: share(target, analysis).1,
            saturation: Saturation::default(),
            unseen: None,
            reach: Reach::default(),
            lately: Lately::default(),
            told: false,
            revision,
            decision: Decision::Wait,
            next_tick: now,
        }
    }

    /// Begins with what was seen of stable before it.
    pub fn seed(&mut self, clusters: Clusters) {
        self.judge.findings.evidence.clusters = clusters;
    }

    /// Goes on from a stored verdict; `None` when it is another run's, or not readable.
    #[must_use]
    pub fn resume(
        identity: Identity,
        verdict: &Verdict,
        revision: u64,
        now: Timestamp,
    ) -> Option<Self> {
        if !identity.wrote(verdict) {
            return None;
        }
        let stored: Stored = serde_json::from_value(verdict.state.clone()).ok()?;
        // Batches close at the same ticks as if nothing had happened. A clock that went back must not keep one open for long.
        let begun = stored.begun.min(now);
        let mut judge = Judge::new(stored.findings, begun);
        judge.mirrored = stored.mirrored;
        (stored.form == FORM).then(|| Self {
            identity,
            judge,
            marked: Some(stored.readings.clone()),
            readings: stored.readings,
            metrics: stored.metrics,
            traffic_generation: stored.traffic_generation,
            saturation: Saturation::default(),
            unseen: None,
            reach: Reach::default(),
            lately: Lately::default(),
            told: true,
            revision: Some(revision),
            decision: verdict.decision,
            next_tick: now,
        })
    }

    /// Whether this is the run that is asked for.
    #[must_use]
    pub fn is(&self, identity: &Identity) -> bool {
        self.identity == *identity
    }

    /// Whether the split has changed since the last batch closed.
    #[must_use]
    pub fn shifted(&self, target: &Target, analysis: &AnalysisTarget) -> bool {
        self.traffic_generation != share(target, analysis).1
    }

    /// Whether a verdict of this run is in the store.
    #[must_use]
    pub fn told(&self) -> bool {
        self.told
    }

    /// Notes what was written.
    pub fn wrote(&mut self, verdict: &Verdict, revision: u64) {
        self.told = true;
        self.decision = verdict.decision;
        self.revision = Some(revision);
    }

    /// Whether it must be known for this pull what others see of the tasks.
    #[must_use]
    pub fn asks(&self, key: &ReleaseKey, analysis: &AnalysisTarget, pulled: &Pulled) -> bool {
        let asked = self
            .readings
            .asked(&key.to_string(), analysis, pulled, self.judge.mirrored);
        self.reach.asks(&asked)
    }

    /// Counts what was pulled; whether there is news of an edge that does not reach the tasks.
    pub fn count(
        &mut self,
        key: &ReleaseKey,
        analysis: &AnalysisTarget,
        pulled: &Pulled,
        views: &Views,
        now: Timestamp,
    ) -> bool {
        let (release, mirrored) = (key.to_string(), self.judge.mirrored);
        let asked = self.readings.asked(&release, analysis, pulled, mirrored);
        let before = self.reach.cut_off();
        let takes = self.reach.look(&Look {
            asked: &asked,
            revisions: [&analysis.canary, &analysis.stable],
            views,
            silent: pulled.answers.iter().any(Result::is_err),
            now,
        });
        let seen = (self.readings).take(&release, analysis, pulled, mirrored, &takes);
        self.unseen = seen.unseen.or_else(|| self.reach.problem());
        self.judge.count(&seen.canary, &seen.stable, now);
        self.judge.count_lines(seen.lines);
        self.saturation.take(&release, analysis, &pulled.usage, now);
        self.reach.cut_off() != before
    }

    /// A tick; the verdict, if a batch closed.
    pub fn tick(
        &mut self,
        target: &Target,
        analysis: &AnalysisTarget,
        now: Timestamp,
    ) -> Option<Verdict> {
        let shifted = self.shifted(target, analysis);
        self.judge.sticky = target.affinity.is_some();
        let (weight, generation) = share(target, analysis);
        self.judge.joint.fullness = self.saturation.judge(analysis, weight);
        let unseen = self.unseen.clone();
        let tick = Tick {
            target: analysis,
            weight,
            unseen: unseen.as_deref(),
            hold_until: None,
            now,
        };
        let closed = if shifted {
            Some(self.judge.close(&tick))
        } else {
            self.judge.tick(&tick)
        };
        self.traffic_generation = generation;
        self.judge.mirrored = target.mirroring();
        let (batch, plan) = closed?;
        self.lately.add(batch);
        self.mark(analysis);
        Some(self.verdict(analysis, plan, now))
    }

    /// A verdict between two batches: something was measured of another system.
    pub fn between(&self, target: &Target, analysis: &AnalysisTarget, now: Timestamp) -> Verdict {
        let tick = Tick {
            target: analysis,
            weight: share(target, analysis).0,
            unseen: self.unseen.as_deref(),
            hold_until: None,
            now,
        };
        self.verdict(analysis, self.judge.plan(&tick), now)
    }

    /// Has the verdict take in what the metrics mean now.
    pub fn weigh_metrics(&mut self, analysis: &AnalysisTarget) {
        if !analysis.criteria.metrics.is_empty() {
            let fullness = std::mem::take(&mut self.judge.joint.fullness);
            self.judge.joint = self.metrics.joint(analysis);
            self.judge.joint.fullness = fullness;
        }
    }

    fn mark(&mut self, analysis: &AnalysisTarget) {
        let measured = !analysis.criteria.metrics.is_empty();
        self.marked = measured.then(|| self.readings.clone());
    }

    /// The first verdict of a run, before any batch: it marks where the counters stood.
    #[must_use]
    pub fn begin(&mut self, target: &Target, analysis: &AnalysisTarget, now: Timestamp) -> Verdict {
        self.mark(analysis);
        self.between(target, analysis, now)
    }

    fn verdict(&self, analysis: &AnalysisTarget, plan: Plan, now: Timestamp) -> Verdict {
        Verdict {
            uid: self.identity.uid.clone(),
            run: self.identity.run.clone(),
            criteria_hash: self.identity.criteria_hash.clone(),
            decision: plan.decision,
            reason: plan.why,
            sentence: plan.sentence,
            batch: self.judge.findings.evidence.batch,
            at: now,
            first_bad_at: self.judge.findings.first_bad_at,
            metrics: plan.metrics,
            measured: self.metrics.tell(analysis),
            outliers: Vec::new(),
            cut_off: self.reach.says(),
            notes: plan.notes,
            canary: self.side(analysis, &analysis.canary, &self.lately.canary),
            stable: self.side(analysis, &analysis.stable, &self.lately.stable),
            lost_lines: u64::try_from(self.readings.lost_lines).unwrap_or(0),
            state: serde_json::Value::Null,
        }
    }

    /// A side of late, with what its tasks use of their limits.
    fn side(&self, analysis: &AnalysisTarget, revision: &RevisionId, sum: &Tally) -> Side {
        Side {
            cpu: self.saturation.fullest(analysis, revision, Resource::Cpu),
            memory: (self.saturation).fullest(analysis, revision, Resource::Memory),
            ..self.lately.side(sum)
        }
    }

    /// A verdict of this instant as it is stored: with the state from which the run goes on.
    ///
    /// # Errors
    /// None at present: our own types serialize without failing.
    pub fn stored(&self, verdict: &Verdict) -> Result<Vec<u8>, serde_json::Error> {
        debug_assert!(verdict.state.is_null(), "it would stand there twice");
        serde_json::to_vec(&Whole {
            verdict,
            state: Storing {
                form: FORM,
                findings: &self.judge.findings,
                readings: self.marked.as_ref().unwrap_or(&self.readings),
                traffic_generation: self.traffic_generation,
                mirrored: self.judge.mirrored,
                metrics: &self.metrics,
                begun: self.judge.begun(),
            },
        })
    }
}

#[cfg(test)]
mod tests;
