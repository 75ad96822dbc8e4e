//! One run online: the judge, what was last read of each agent, and both sides of late.
//!
//! Owner: the reconciler's memory. [`Stored`] is its copy in the verdict's `state`, from which it goes on exactly.

use std::collections::VecDeque;

use fm_api::keys::{ReleaseKey, RevisionId};
use fm_api::quantity::Weight;
use fm_api::target::{AnalysisTarget, Target};
use fm_api::verdict::{Decision, Side, Verdict};
use fm_store::Fence;
use fm_telemetry::Pulled;
use fm_telemetry::histogram::Histogram;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::evidence::{Batch, Tally};
use crate::judge::{Findings, Judge, Tick};
use crate::metrics::standings::Standings;
use crate::observe::Readings;
use crate::plan::Plan;
use crate::saturation::{Resource, Saturation};

/// The form of [`Stored`]. A state of another form is not read: the run begins anew.
const FORM: u32 = 1;
/// How far back the sides are shown.
const LATELY: SignedDuration = SignedDuration::from_secs(10);

/// What is stored of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Stored {
    form: u32,
    findings: Findings,
    readings: Readings,
    traffic_generation: u64,
    #[serde(default)]
    metrics: Standings,
}

/// One run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Run {
    identity: Identity,
    judge: Judge,
    readings: Readings,
    /// The readings when the last batch closed. A verdict in the middle of a batch is stored with these: what was counted
    /// since then is in no batch yet, and would be lost after a restart.
    marked: Readings,
    /// What was measured of other systems.
    pub(crate) metrics: Standings,
    traffic_generation: u64,
    /// What both sides' tasks use of their limits.
    saturation: Saturation,
    unseen: Option<String>,
    lately: VecDeque<Batch>,
    told: bool,
    /// The verdict's revision in the store, this run's or an older one's; absent: there is none.
    pub(crate) revision: Option<u64>,
    /// What was last decided.
    pub(crate) decision: Decision,
    /// When the next tick is due.
    pub(crate) next_tick: Timestamp,
}

/// Which run it is, and under whose leadership it was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The target's uid.
    pub(crate) uid: String,
    /// The run.
    pub(crate) run: String,
    /// Hash of the criteria.
    pub(crate) criteria_hash: String,
    /// Another leader may have written meanwhile, so a run is loaded anew with each leadership.
    pub(crate) fence: Option<Fence>,
}

impl Identity {
    /// Of the run that a target asks for.
    #[must_use]
    pub(crate) fn of(target: &Target, analysis: &AnalysisTarget, fence: Option<&Fence>) -> Self {
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

/// The share that the canary has in a target, and the split's generation.
#[must_use]
pub(crate) fn share(target: &Target) -> (Weight, u64) {
    let traffic = target.traffic.as_ref();
    traffic.map_or((Weight::ZERO, 0), |t| (t.weight, t.generation))
}

impl Run {
    /// A run without any evidence. `revision`: of an older run's verdict, which the first write replaces.
    #[must_use]
    pub(crate) fn new(
        identity: Identity,
        target: &Target,
        revision: Option<u64>,
        now: Timestamp,
    ) -> Self {
        Self {
            identity,
            judge: Judge::new(Findings::default(), now),
            readings: Readings::default(),
            marked: Readings::default(),
            metrics: Standings::default(),
            traffic_generation: share(target).1,
            saturation: Saturation::default(),
            unseen: None,
            lately: VecDeque::new(),
            told: false,
            revision,
            decision: Decision::Wait,
            next_tick: now,
        }
    }

    /// Goes on from a stored verdict; `None` when it is another run's, or not readable.
    #[must_use]
    pub(crate) fn resume(
        identity: Identity,
        verdict: &Verdict,
        revision: u64,
        now: Timestamp,
    ) -> Option<Self> {
        if !identity.wrote(verdict) {
            return None;
        }
        let stored: Stored = serde_json::from_value(verdict.state.clone()).ok()?;
        (stored.form == FORM).then(|| Self {
            identity,
            judge: Judge::new(stored.findings, now),
            marked: stored.readings.clone(),
            readings: stored.readings,
            metrics: stored.metrics,
            traffic_generation: stored.traffic_generation,
            saturation: Saturation::default(),
            unseen: None,
            lately: VecDeque::new(),
            told: true,
            revision: Some(revision),
            decision: verdict.decision,
            next_tick: now,
        })
    }

    /// Whether this is the run that is asked for.
    #[must_use]
    pub(crate) fn is(&self, identity: &Identity) -> bool {
        self.identity == *identity
    }

    /// Whether the split has changed since the last batch closed.
    #[must_use]
    pub(crate) fn shifted(&self, target: &Target) -> bool {
        self.traffic_generation != share(target).1
    }

    /// Whether a verdict of this run is in the store.
    #[must_use]
    pub(crate) fn told(&self) -> bool {
        self.told
    }

    /// Notes what was written.
    pub(crate) fn wrote(&mut self, verdict: &Verdict, revision: u64) {
        self.told = true;
        self.decision = verdict.decision;
        self.revision = Some(revision);
    }

    /// Counts what was pulled.
    pub(crate) fn count(
        &mut self,
        key: &ReleaseKey,
        analysis: &AnalysisTarget,
        pulled: &Pulled,
        now: Timestamp,
    ) {
        let seen = self.readings.take(&key.to_string(), analysis, pulled);
        self.unseen = seen.unseen;
        self.judge.count(&seen.canary, &seen.stable, now);
        self.judge.count_lines(seen.lines);
        let release = key.to_string();
        self.saturation.take(&release, analysis, &pulled.usage, now);
    }

    /// A tick; the verdict, if a batch closed.
    pub(crate) fn tick(
        &mut self,
        target: &Target,
        analysis: &AnalysisTarget,
        now: Timestamp,
    ) -> Option<Verdict> {
        let shifted = self.shifted(target);
        let (weight, generation) = share(target);
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
        let (batch, plan) = closed?;
        self.remember(batch);
        self.mark();
        Some(self.verdict(analysis, plan, now))
    }

    /// A verdict between two batches: something was measured of another system.
    pub(crate) fn between(
        &self,
        target: &Target,
        analysis: &AnalysisTarget,
        now: Timestamp,
    ) -> Verdict {
        let tick = Tick {
            target: analysis,
            weight: share(target).0,
            unseen: self.unseen.as_deref(),
            hold_until: None,
            now,
        };
        self.verdict(analysis, self.judge.plan(&tick), now)
    }

    /// Has the verdict take in what the metrics mean now.
    pub(crate) fn weigh_metrics(&mut self, analysis: &AnalysisTarget) {
        if !analysis.criteria.metrics.is_empty() {
            let fullness = std::mem::take(&mut self.judge.joint.fullness);
            self.judge.joint = self.metrics.joint(analysis);
            self.judge.joint.fullness = fullness;
        }
    }

    fn mark(&mut self) {
        self.marked.clone_from(&self.readings);
    }

    /// The first verdict of a run, before any batch: it marks where the counters stood.
    #[must_use]
    pub(crate) fn begin(
        &mut self,
        target: &Target,
        analysis: &AnalysisTarget,
        now: Timestamp,
    ) -> Verdict {
        self.mark();
        self.between(target, analysis, now)
    }

    fn remember(&mut self, batch: Batch) {
        let now = batch.ended;
        self.lately.push_back(batch);
        while let Some(oldest) = self.lately.front()
            && self.lately.len() > 1
            && now.duration_since(oldest.begun) > LATELY
        {
            self.lately.pop_front();
        }
    }

    fn verdict(&self, analysis: &AnalysisTarget, plan: Plan, now: Timestamp) -> Verdict {
        let stored = Stored {
            form: FORM,
            findings: self.judge.findings.clone(),
            readings: self.marked.clone(),
            metrics: self.metrics.clone(),
            traffic_generation: self.traffic_generation,
        };
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
            canary: self.side(analysis, &analysis.canary, |batch| &batch.canary),
            stable: self.side(analysis, &analysis.stable, |batch| &batch.stable),
            lost_lines: u64::try_from(self.readings.lost_lines).unwrap_or(0),
            // Our own types serialize without failing; a null would only make the run begin anew after a restart.
            state: serde_json::to_value(stored).unwrap_or_default(),
        }
    }

    fn side(
        &self,
        analysis: &AnalysisTarget,
        revision: &RevisionId,
        of: impl Fn(&Batch) -> &Tally,
    ) -> Side {
        let (mut requests, mut bad, mut seconds) = (0u64, 0u64, 0.0);
        let mut latency = Histogram::default();
        for batch in &self.lately {
            let tally = of(batch);
            requests += tally.counted.requests;
            bad += tally.counted.bad;
            seconds += batch.ended.duration_since(batch.begun).as_secs_f64();
            if let Some(measured) = &tally.latency {
                latency.merge(measured);
            }
        }
        let per = |n: u64, whole: f64| if whole > 0.0 { n as f64 / whole } else { 0.0 };
        Side {
            rps: per(requests, seconds),
            error_rate: per(bad, requests as f64),
            p50_ms: latency.quantile(0.5),
            p99_ms: latency.quantile(0.99),
            cpu: self.saturation.fullest(analysis, revision, Resource::Cpu),
            memory: (self.saturation).fullest(analysis, revision, Resource::Memory),
        }
    }
}

#[cfg(test)]
mod tests;
