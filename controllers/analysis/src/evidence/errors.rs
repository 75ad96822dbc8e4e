//! Evidence by errors.

use fm_api::criteria::Analysis;
use fm_api::verdict::Counted;
use serde::{Deserialize, Serialize};

use super::{Batch, Onset, Weight, add};
use crate::pmix::{self, Counts, GRID, Question, Sums};

/// Evidence by errors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Errors {
    /// For harm at the criterion's ratio and margin, whenever it began.
    #[serde(default)]
    pub onset: Onset,
    /// The same as earlier versions stored it: from the start only.
    #[serde(default, skip_serializing)]
    harm: Option<Sums>,
    /// For harm at ratio 1: the lower bound of the difference.
    pub harm_at_one: Sums,
    /// For non-inferiority at ratio 1.
    pub non_inferiority: Sums,
    /// The canary's requests so far.
    pub canary: Counted,
    /// Stable's requests meanwhile.
    pub stable: Counted,
    /// Non-inferiority is shown now.
    pub non_inferior: bool,
    /// How many times less the last batch counted.
    #[serde(default)]
    pub design_effect: f64,
}

impl Errors {
    pub(super) fn add(
        &mut self,
        criteria: &Analysis,
        batch: &Batch,
        weight: Weight,
        toward_promotion: bool,
    ) {
        let (canary, stable) = (batch.canary.counted, batch.stable.counted);
        let counts = Counts::of(canary, stable);
        add(&mut self.canary, canary);
        add(&mut self.stable, stable);
        self.design_effect = weight.design_effect;
        let rollback = &criteria.errors.rollback;
        if let Some(old) = self.harm.take() {
            self.onset = Onset::since_the_start_of(&old, rollback.margin, stated(criteria));
        }
        let factors = weight.factors(Question::Harm, rollback.ratio, rollback.margin, counts);
        self.onset.add(&factors, weight.elapsed_ms);
        weight.add(&mut self.harm_at_one, Question::Harm, counts);
        if toward_promotion {
            weight.add(&mut self.non_inferiority, Question::NonInferiority, counts);
            let needed = pmix::threshold(criteria.errors.promote.alpha);
            self.non_inferior = self.log_e_ni(criteria) >= needed;
        }
    }

    /// How many canary requests without a bad one, at this share, would show non-inferiority; `None`: none ever would.
    #[must_use]
    pub fn clean_until_non_inferior(&self, criteria: &Analysis, share: f64) -> Option<f64> {
        let d = criteria.errors.promote.margin;
        let stated = stated(criteria);
        // What comes will count as little as the last batch did.
        let deff = stated * self.design_effect.max(stated) / stated;
        let (sums, mut terms, mut slopes) = (&self.non_inferiority, [0.0; GRID], [0.0; GRID]);
        for (place, m) in Question::NonInferiority.grid().iter().enumerate() {
            terms[place] = (sums.s[place] - d * sums.c[place]) / stated;
            slopes[place] = d * (1.0 - m) * (1.0 - share) / (1.0 + share * (m - 1.0)) / deff;
        }
        pmix::reaches(
            &terms,
            &slopes,
            pmix::threshold(criteria.errors.promote.alpha),
        )
    }

    /// Evidence for harm, as a natural logarithm.
    #[must_use]
    pub fn log_e_harm(&self, criteria: &Analysis) -> f64 {
        match &self.harm {
            Some(old) => old.log_e(criteria.errors.rollback.margin, stated(criteria)),
            None => self.onset.log_e(),
        }
    }

    /// Evidence for non-inferiority, as a natural logarithm.
    #[must_use]
    pub fn log_e_ni(&self, criteria: &Analysis) -> f64 {
        self.non_inferiority
            .log_e(criteria.errors.promote.margin, stated(criteria))
    }

    /// The 95 % confidence sequence of the difference of rates.
    #[must_use]
    pub fn bounds(&self, criteria: &Analysis) -> (f64, f64) {
        let deff = stated(criteria);
        pmix::bounds(&self.harm_at_one, &self.non_inferiority, 0.05, deff)
    }
}

/// What the manifest says; sums hold what was estimated, as it differs from batch to batch.
pub(super) fn stated(criteria: &Analysis) -> f64 {
    criteria.errors.design_effect.unwrap_or(1.0)
}
