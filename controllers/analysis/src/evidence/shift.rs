//! Evidence by clients' mistakes: a canary that refuses what stable accepts harms, although no answer is bad by itself.

use fm_api::criteria::Analysis;
use fm_api::verdict::Counted;
use serde::{Deserialize, Serialize};

use super::errors::stated;
use super::{Onset, Weight};
use crate::pmix::{self, Counts, Question, Sums};

/// Evidence of a shift of the share of clients' mistakes. It can only take back: promotion does not ask for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shift {
    /// For harm at the criterion's ratio and margin, whenever it began.
    #[serde(default)]
    pub onset: Onset,
    /// The same as earlier versions stored it: from the start only.
    #[serde(default, skip_serializing)]
    harm: Option<Sums>,
    /// For harm at ratio 1: the lower bound of the difference.
    pub harm_at_one: Sums,
    /// Against as much at ratio 1: the upper bound of the difference.
    pub non_inferiority: Sums,
    /// The canary's requests so far, and the clients' mistakes among them.
    pub canary: Counted,
    /// Stable's meanwhile.
    pub stable: Counted,
    /// How many times less the last batch counted.
    #[serde(default)]
    pub design_effect: f64,
}

impl Shift {
    /// Takes in a batch.
    pub(super) fn add(
        &mut self,
        criteria: &Analysis,
        (canary, stable): (Counted, Counted),
        weight: Weight,
    ) {
        let counts = Counts::of(canary, stable);
        super::add(&mut self.canary, canary);
        super::add(&mut self.stable, stable);
        self.design_effect = weight.design_effect;
        let wanted = &criteria.errors.client_errors;
        if let Some(old) = self.harm.take() {
            self.onset = Onset::since_the_start_of(&old, wanted.margin, stated(criteria));
        }
        let factors = weight.factors(Question::Harm, wanted.ratio, wanted.margin, counts);
        self.onset.add(&factors, weight.elapsed_ms);
        weight.add(&mut self.harm_at_one, Question::Harm, counts);
        weight.add(&mut self.non_inferiority, Question::NonInferiority, counts);
    }

    /// Evidence for harm, as a natural logarithm.
    #[must_use]
    pub fn log_e_harm(&self, criteria: &Analysis) -> f64 {
        match &self.harm {
            Some(old) => old.log_e(criteria.errors.client_errors.margin, stated(criteria)),
            None => self.onset.log_e(),
        }
    }

    /// Whether it shows harm.
    #[must_use]
    pub fn harms(&self, criteria: &Analysis) -> bool {
        let wanted = &criteria.errors.client_errors;
        self.canary.bad >= wanted.min_bad
            && self.log_e_harm(criteria) >= pmix::threshold(wanted.alpha)
    }

    /// The 95 % confidence sequence of the difference of the shares.
    #[must_use]
    pub fn bounds(&self, criteria: &Analysis) -> (f64, f64) {
        let deff = stated(criteria);
        pmix::bounds(&self.harm_at_one, &self.non_inferiority, 0.05, deff)
    }
}
