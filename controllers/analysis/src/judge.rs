//! One run from requests to verdicts: the code that decides online and offline alike.
//!
//! Pure: time is an argument. Its owner feeds it what both sides did and tells it when a tick is.

use fm_api::quantity::{Span, Weight};
use fm_api::target::AnalysisTarget;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::evidence::{Batch, Conditions, Evidence, Lines, Pending, Tally};
use crate::metrics::standings::Joint;
use crate::plan::{self, Harm, Plan, Situation};

/// What lasts of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Findings {
    /// What the run has shown.
    pub evidence: Evidence,
    /// Harm, once shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub harm: Option<Harm>,
    /// When a batch with a bad canary request was first counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_bad_at: Option<Timestamp>,
}

/// What a tick depends on besides the requests.
#[derive(Debug, Clone, Copy)]
pub struct Tick<'a> {
    /// What is judged, and by which criteria.
    pub target: &'a AnalysisTarget,
    /// The canary's share now.
    pub weight: Weight,
    /// Why some counters cannot be read now.
    pub unseen: Option<&'a str>,
    /// Until when steps are held, where no promotion controller sees to that.
    pub hold_until: Option<Timestamp>,
    /// Now.
    pub now: Timestamp,
}

/// Judges one run.
#[derive(Debug, Clone, PartialEq)]
pub struct Judge {
    /// What lasts.
    pub findings: Findings,
    /// What the metrics of other systems mean now.
    pub joint: Joint,
    /// What is counted now are mirrored requests: they show harm, by errors and by 4xx, and nothing else.
    pub mirrored: bool,
    /// Clients are kept on a side: what one of them meets, it meets there alone.
    pub sticky: bool,
    pending: Pending,
}

impl Judge {
    /// Goes on from what was found; nothing, for a new run.
    #[must_use]
    pub fn new(findings: Findings, now: Timestamp) -> Self {
        Self {
            findings,
            joint: Joint::default(),
            mirrored: false,
            sticky: false,
            pending: Pending::new(now),
        }
    }

    /// Counts what both sides did.
    pub fn count(&mut self, canary: &Tally, stable: &Tally, now: Timestamp) {
        if canary.counted.bad > 0 {
            self.findings.first_bad_at.get_or_insert(now);
        }
        self.pending.add(canary, stable);
    }

    /// Counts the log lines that this rests on.
    pub fn count_lines(&mut self, lines: Lines) {
        self.pending.add_lines(lines);
    }

    /// When the batch began that is counted now.
    #[must_use]
    pub fn begun(&self) -> Timestamp {
        self.pending.begun()
    }

    /// A tick: closes the batch if it is due. The verdict changes only then.
    pub fn tick(&mut self, tick: &Tick<'_>) -> Option<(Batch, Plan)> {
        self.due(tick.now).then(|| self.close(tick))
    }

    /// Whether a tick at this time closes the batch.
    #[must_use]
    pub fn due(&self, now: Timestamp) -> bool {
        self.pending.due(now)
    }

    /// Closes the batch, whatever is in it: the shares are about to change, and a batch must not mix them.
    pub fn close(&mut self, tick: &Tick<'_>) -> (Batch, Plan) {
        let batch = self.absorb(tick);
        (batch, self.plan(tick))
    }

    /// The same without the verdict, for who looks at it only now and then.
    pub fn absorb(&mut self, tick: &Tick<'_>) -> Batch {
        let criteria = &tick.target.criteria;
        let conditions = Conditions {
            warming_up: self.mirrored || self.within(tick.target, criteria.warmup.0),
            cold: self.mirrored || self.within(tick.target, criteria.latency_warmup()),
            sticky: self.sticky,
        };
        let batch = self.pending.close(tick.now);
        self.findings.evidence.add(criteria, &batch, conditions);
        if self.findings.harm.is_none() {
            self.findings.harm = plan::harm(&self.situation(tick));
        }
        batch
    }

    /// Whether every criterion that is asked for and measured has shown non-inferiority.
    #[must_use]
    pub fn non_inferior(&self) -> bool {
        plan::non_inferior(&self.findings.evidence)
    }

    /// The verdict on what was found so far.
    #[must_use]
    pub fn plan(&self, tick: &Tick<'_>) -> Plan {
        plan::plan(&self.situation(tick), tick.now)
    }

    fn situation<'a>(&'a self, tick: &Tick<'a>) -> Situation<'a> {
        Situation {
            target: tick.target,
            weight: tick.weight,
            evidence: &self.findings.evidence,
            harm: self.findings.harm.as_ref(),
            joint: &self.joint,
            unseen: tick.unseen,
            hold_until: tick.hold_until,
        }
    }

    /// Whether the batch began before such a warm-up was over. Before the canary's traffic is in force, it has not begun.
    fn within(&self, target: &AnalysisTarget, warmup: Span) -> bool {
        let warmup = warmup.to_signed();
        match target.since {
            Some(since) => self.pending.begun().duration_since(since) < warmup,
            None => warmup.is_positive(),
        }
    }
}
