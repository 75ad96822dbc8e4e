//! All metrics of a run, and what they mean together. Pure.

use std::collections::BTreeMap;

use fm_api::criteria::metrics::Metric;
use fm_api::measured::{Measured, Standing};
use fm_api::target::AnalysisTarget;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::saturation::Fullness;

use super::plan::{Answer, State, due_at};

/// What lasts of a run's metrics, by name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Standings {
    states: BTreeMap<String, State>,
}

/// What everything besides requests means for the canary; each sentence names the metric or guard.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Joint {
    /// One has failed.
    pub failed: Option<String>,
    /// One is inconclusive.
    pub inconclusive: Option<String>,
    /// One has not passed yet.
    pub pending: Option<String>,
    /// What tasks use of their limits. Requests that were recorded say nothing of it.
    pub fullness: Fullness,
}

impl Standings {
    /// The metrics whose measurement is due.
    #[must_use]
    pub fn due<'a>(&self, target: &'a AnalysisTarget, now: Timestamp) -> Vec<&'a Metric> {
        let fresh = State::default();
        let metrics = target.criteria.metrics.iter();
        metrics
            .filter(|metric| {
                let state = self.states.get(&metric.name).unwrap_or(&fresh);
                due_at(metric, state, target).is_some_and(|at| at <= now)
            })
            .collect()
    }

    /// A measurement begins.
    pub fn begin(&mut self, metric: &Metric, now: Timestamp) {
        self.states
            .entry(metric.name.clone())
            .or_default()
            .begin(now);
    }

    /// A measurement that began was answered. One that nobody asked for any more is dropped.
    pub fn fold(&mut self, target: &AnalysisTarget, name: &str, answer: Answer) {
        let metric = target
            .criteria
            .metrics
            .iter()
            .find(|metric| metric.name == name);
        if let (Some(metric), Some(state)) = (metric, self.states.get_mut(name)) {
            state.fold(metric, answer);
        }
    }

    /// A measurement that was recorded: made and answered at once.
    pub fn replay(&mut self, target: &AnalysisTarget, name: &str, answer: Answer, now: Timestamp) {
        let metric = target
            .criteria
            .metrics
            .iter()
            .find(|metric| metric.name == name);
        let done = |state: &State| state.concluded.is_some();
        if let Some(metric) = metric.filter(|_| !self.states.get(name).is_some_and(done)) {
            self.begin(metric, now);
            self.fold(target, name, answer);
        }
    }

    /// Measurements that were running when this was stored were cut short.
    pub fn cut_short(&mut self, target: &AnalysisTarget) {
        for metric in &target.criteria.metrics {
            if let Some(state) = self
                .states
                .get_mut(&metric.name)
                .filter(|state| state.running)
            {
                state.fold(metric, Answer::Terminated);
                // It is made again at once.
                state.began = None;
            }
        }
    }

    /// Each as it is told.
    #[must_use]
    pub fn tell(&self, target: &AnalysisTarget) -> Vec<Measured> {
        let fresh = State::default();
        let state = |metric: &Metric| self.states.get(&metric.name).unwrap_or(&fresh).clone();
        let metrics = target.criteria.metrics.iter();
        metrics
            .map(|metric| state(metric).tell(metric, target))
            .collect()
    }

    /// What all of them mean. A metric of one step speaks while that step is in force, and when it has failed.
    #[must_use]
    pub fn joint(&self, target: &AnalysisTarget) -> Joint {
        let mut joint = Joint::default();
        let now = target.step.map(|step| step.number);
        for (metric, told) in target.criteria.metrics.iter().zip(self.tell(target)) {
            let speaks = metric.step.is_none() || metric.step == now;
            let sentence = || Some(format!("metric {}: {}", told.name, told.sentence));
            match told.standing {
                Standing::Failed => joint.failed = joint.failed.or_else(sentence),
                Standing::Inconclusive if speaks => {
                    joint.inconclusive = joint.inconclusive.or_else(sentence)
                }
                Standing::Pending if speaks => joint.pending = joint.pending.or_else(sentence),
                Standing::Passing | Standing::Pending | Standing::Inconclusive => {}
            }
        }
        joint
    }
}
