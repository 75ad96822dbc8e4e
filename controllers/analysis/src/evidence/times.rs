//! Evidence by response times.

use fm_api::criteria::Analysis;
use fm_api::verdict::Counted;
use fm_telemetry::histogram::Histogram;
use serde::{Deserialize, Serialize};

use super::{Batch, Onset, Weight, add};
use crate::clusters::{Clusters, Side};
use crate::latency::{self, Decayed, Limit};
use crate::pmix::{self, Counts, Question, Sums};

/// Evidence by response times.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Latency {
    /// Stable's response times lately.
    pub stable_lately: Decayed,
    /// For harm, one for each of the criterion's quantiles, whenever it began.
    #[serde(default)]
    pub onsets: Vec<Onset>,
    /// The same as earlier versions stored it: from the start only.
    #[serde(default, skip_serializing)]
    harm: Vec<Sums>,
    /// For harm at the quantile and shift of promotion: the lower bound of the difference.
    pub harm_at_promote: Sums,
    /// For non-inferiority.
    pub non_inferiority: Sums,
    /// The canary's timed requests, and those slower than the shifted quantile of promotion.
    pub canary: Counted,
    /// Stable's timed requests, and those slower than the quantile of promotion.
    pub stable: Counted,
    /// Non-inferiority is shown now.
    pub non_inferior: bool,
    /// How many times less the last batch counted, at the quantile where that was most.
    #[serde(default)]
    pub design_effect: f64,
}

/// What of a batch counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counting {
    /// Nothing by response time yet.
    pub(super) cold: bool,
    /// Toward promotion.
    pub(super) promoting: bool,
    /// For whom clusters are asked.
    pub(super) side: Side,
}

impl Latency {
    pub(super) fn add(
        &mut self,
        criteria: &Analysis,
        batch: &Batch,
        weight: Weight,
        counting: Counting,
        clusters: &mut Clusters,
    ) {
        let nothing = Histogram::default();
        let canary = batch.canary.latency.as_ref().unwrap_or(&nothing);
        let stable = batch.stable.latency.as_ref().unwrap_or(&nothing);
        let (rollback, promote) = (&criteria.latency.rollback, &criteria.latency.promote);
        let least_ms = criteria.latency.least_difference.0.as_millis() as f64;
        let many = rollback.quantiles.len();
        self.resize(criteria, many);
        clusters.slow.resize_with(many + 1, Default::default);
        let slow = |question, q, shift| {
            let limit = Limit { q, shift, least_ms };
            latency::slow(&self.stable_lately, question, limit, canary, stable)
        };
        let stated = criteria.latency.design_effect;
        let weighed = |kind: &crate::clusters::Kind| Weight {
            design_effect: stated.unwrap_or_else(|| kind.design_effect_of_times(counting.side)),
            ..weight
        };
        self.design_effect = 1.0;
        for ((onset, q), kind) in (self.onsets.iter_mut())
            .zip(&rollback.quantiles)
            .zip(&mut clusters.slow)
        {
            let Some(counts) = slow(Question::Harm, *q, rollback.shift) else {
                continue;
            };
            kind.judge_by(self.stable_lately.quantile_bin(*q));
            let weight = weighed(kind);
            self.design_effect = self.design_effect.max(weight.design_effect);
            if !counting.cold {
                let factors = weight.factors(Question::Harm, 1.0, 0.0, counts);
                onset.add(&factors, weight.elapsed_ms);
            }
            kind.add((counts.n_s, counts.y));
        }
        let (q, shift) = (promote.quantile, promote.shift);
        if let Some(kind) = clusters.slow.get_mut(many)
            && let Some(counts) = slow(Question::NonInferiority, q, shift)
        {
            kind.judge_by(self.stable_lately.quantile_bin(q));
            let weight = weighed(kind);
            self.design_effect = self.design_effect.max(weight.design_effect);
            let worse = slow(Question::Harm, q, shift).filter(|_| !counting.cold);
            if let Some(counts) = worse {
                weight.divide(&mut self.harm_at_promote, Question::Harm, counts);
            }
            if !counting.cold && counting.promoting {
                let question = Question::NonInferiority;
                weight.divide(&mut self.non_inferiority, question, counts);
                let timed = |requests, bad| Counted { requests, bad };
                add(&mut self.canary, timed(counts.n_c, counts.x));
                add(&mut self.stable, timed(counts.n_s, counts.y));
            }
            kind.add((counts.n_s, counts.y));
        }
        self.non_inferior = self.log_e_ni(criteria) >= pmix::threshold(promote.alpha);
        let seconds = batch.ended.duration_since(batch.begun).as_secs_f64();
        self.stable_lately.add(stable, seconds);
    }

    fn resize(&mut self, criteria: &Analysis, many: usize) {
        let stated = criteria.latency.design_effect.unwrap_or(1.0);
        for old in std::mem::take(&mut self.harm) {
            let terms = old.s.map(|term| term / stated);
            self.onsets.push(Onset::since_the_start(terms));
        }
        self.onsets.resize(many, Onset::default());
    }

    /// Evidence for harm: the mean over the quantiles, as a natural logarithm.
    #[must_use]
    pub fn log_e_harm(&self) -> f64 {
        let old = self.harm.iter().map(|sums| sums.log_e(0.0, 1.0));
        let logs: Vec<f64> = old.chain(self.onsets.iter().map(Onset::log_e)).collect();
        pmix::log_mean_exp(&logs)
    }

    /// Start times of harm so far.
    #[must_use]
    pub fn starts(&self) -> u64 {
        self.onsets.iter().map(Onset::starts).max().unwrap_or(0)
    }

    /// How much the last minutes look like harm, as a natural logarithm.
    #[must_use]
    pub fn lately(&self) -> f64 {
        let logs: Vec<f64> = self.onsets.iter().map(Onset::lately).collect();
        pmix::log_mean_exp(&logs)
    }

    /// Evidence for non-inferiority, as a natural logarithm.
    #[must_use]
    pub fn log_e_ni(&self, criteria: &Analysis) -> f64 {
        self.non_inferiority
            .log_e(criteria.latency.promote.margin, 1.0)
    }

    /// The 95 % confidence sequence of the difference of the shares of slow requests.
    #[must_use]
    pub fn bounds(&self) -> (f64, f64) {
        pmix::bounds(&self.harm_at_promote, &self.non_inferiority, 0.05, 1.0)
    }
}

impl Weight {
    /// Adds to sums that hold the whole design effect: earlier versions knew none for response times.
    fn divide(&self, sums: &mut Sums, question: Question, counts: Counts) {
        if !self.skip {
            sums.add_part(question, 1.0, counts, self.design_effect);
        }
    }
}
