//! Evidence by clients' mistakes: a canary that refuses what stable accepts harms, although no answer is bad by itself.

use fm_api::criteria::Analysis;
use fm_api::verdict::Counted;
use serde::{Deserialize, Serialize};

use crate::pmix::{self, Counts, Question, Sums};

/// Evidence of a shift of the share of clients' mistakes. It can only take back: promotion does not ask for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shift {
    /// For harm at the criterion's ratio.
    pub harm: Sums,
    /// For harm at ratio 1: the lower bound of the difference.
    pub harm_at_one: Sums,
    /// Against as much at ratio 1: the upper bound of the difference.
    pub non_inferiority: Sums,
    /// The canary's requests so far, and the clients' mistakes among them.
    pub canary: Counted,
    /// Stable's meanwhile.
    pub stable: Counted,
}

impl Shift {
    /// Takes in a batch.
    pub fn add(&mut self, criteria: &Analysis, canary: Counted, stable: Counted) {
        let counts = Counts {
            x: canary.bad,
            y: stable.bad,
            n_c: canary.requests,
            n_s: stable.requests,
        };
        super::add(&mut self.canary, canary);
        super::add(&mut self.stable, stable);
        let ratio = criteria.errors.client_errors.ratio;
        self.harm.add(Question::Harm, ratio, counts);
        self.harm_at_one.add(Question::Harm, 1.0, counts);
        (self.non_inferiority).add(Question::NonInferiority, 1.0, counts);
    }

    /// Evidence for harm, as a natural logarithm.
    #[must_use]
    pub fn log_e_harm(&self, criteria: &Analysis) -> f64 {
        let errors = &criteria.errors;
        self.harm
            .log_e(errors.client_errors.margin, errors.design_effect)
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
        let deff = criteria.errors.design_effect;
        pmix::bounds(&self.harm_at_one, &self.non_inferiority, 0.05, deff)
    }
}
