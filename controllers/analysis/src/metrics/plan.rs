//! One metric: which measurement is due, what an answer does to its state, and where it stands. Pure.
//!
//! Owner of the state: the run, with a copy in the verdict's `state`. What must never happen: an error, no data, or a
//! measurement that was cut short counted as a success; an error that uses up `count`.

use std::collections::VecDeque;

use fm_api::criteria::metrics::{Metric, OnNoData};
use fm_api::measured::{Comparison, Measured, Measurement, Outcome, Standing};
use fm_api::target::AnalysisTarget;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::compare::{self, Shown};
use super::sentence;

/// So many measurements are kept to be shown.
const KEPT: usize = 20;
/// A message is no longer than this.
const MESSAGE: usize = 200;

/// What a measurement was answered.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// One finite number.
    Value(f64),
    /// One finite number of each side.
    Pair {
        /// The canary's.
        canary: f64,
        /// Stable's.
        stable: f64,
    },
    /// Nothing, or no finite number: what was found instead.
    NoData(String),
    /// Who was asked says that it is neither good nor bad.
    Inconclusive(String),
    /// No answer, or none that can be used.
    Error(String),
    /// It was cut short.
    Terminated,
}

/// What lasts of a metric.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct State {
    /// Measurements by outcome.
    pub successes: u32,
    /// Failures.
    pub failures: u32,
    /// Inconclusive ones.
    pub inconclusives: u32,
    /// Those without a value.
    pub no_data: u32,
    /// Those that could not be made.
    pub errors: u32,
    /// Errors in a row up to now.
    pub consecutive_errors: u32,
    /// Measurements that used up one of `count`.
    pub counted: u32,
    /// When the last one began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub began: Option<Timestamp>,
    /// One runs that has not been answered.
    pub running: bool,
    /// The last measurement with an outcome that counts was a success.
    pub well: bool,
    /// It has concluded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concluded: Option<Standing>,
    /// The last measurements, the newest last.
    pub measurements: VecDeque<Measurement>,
    /// Values of canary and stable, for a comparison.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pairs: Vec<(f64, f64)>,
    /// The last look.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Comparison>,
}

/// When the next measurement is due; `None`: none is, as things stand.
#[must_use]
pub fn due_at(metric: &Metric, state: &State, target: &AnalysisTarget) -> Option<Timestamp> {
    if state.concluded.is_some() || state.running {
        return None;
    }
    let since = match metric.step {
        Some(number) => target.step.filter(|step| step.number == number)?.since,
        None => target.since?,
    };
    let first = later(since, metric.initial_delay.0.to_signed());
    match state.began {
        Some(began) if began >= since => Some(later(began, metric.interval.0.to_signed())),
        _ => Some(first),
    }
}

fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

impl State {
    /// A measurement begins.
    pub fn begin(&mut self, now: Timestamp) {
        self.began = Some(now);
        self.running = true;
    }

    /// A measurement that began was answered.
    pub fn fold(&mut self, metric: &Metric, answer: Answer) {
        self.running = false;
        let at = self.began.unwrap_or_default();
        let measurement = judge(metric, at, answer);
        let (outcome, pair) = (
            measurement.outcome,
            measurement.value.zip(measurement.stable),
        );
        self.measurements.push_back(measurement);
        while self.measurements.len() > KEPT {
            self.measurements.pop_front();
        }
        if outcome == Outcome::Terminated {
            return;
        }
        if outcome == Outcome::Error {
            self.errors = self.errors.saturating_add(1);
            self.consecutive_errors = self.consecutive_errors.saturating_add(1);
            self.well = false;
            return;
        }
        self.consecutive_errors = 0;
        match (&metric.compare, pair) {
            (Some(_), Some(pair)) => self.sample(metric, pair),
            _ => self.count(metric, outcome),
        }
    }

    /// A measurement against bounds.
    fn count(&mut self, metric: &Metric, outcome: Outcome) {
        let counts_as = match (outcome, metric.on_no_data) {
            (Outcome::NoData, OnNoData::Pass) => Outcome::Success,
            (Outcome::NoData, OnNoData::Fail) => Outcome::Failure,
            (other, _) => other,
        };
        if outcome == Outcome::NoData {
            self.no_data = self.no_data.saturating_add(1);
        }
        let real = outcome != Outcome::NoData;
        self.well = counts_as == Outcome::Success;
        match counts_as {
            Outcome::Success => self.successes = self.successes.saturating_add(u32::from(real)),
            Outcome::Failure => self.failures = self.failures.saturating_add(1),
            Outcome::Inconclusive => self.inconclusives = self.inconclusives.saturating_add(1),
            Outcome::NoData | Outcome::Error | Outcome::Terminated => return,
        }
        self.counted = self.counted.saturating_add(1);
        let all = metric.count.is_some_and(|count| self.counted >= count);
        self.concluded = if self.failures > metric.failure_limit {
            Some(Standing::Failed)
        } else if self.inconclusives > metric.inconclusive_limit {
            Some(Standing::Inconclusive)
        } else if all && (self.successes > 0 || self.well) {
            Some(Standing::Passing)
        } else if all {
            // Failures and doubts that were all tolerated are still no success.
            Some(Standing::Inconclusive)
        } else {
            None
        };
    }

    /// A value of each side.
    fn sample(&mut self, metric: &Metric, pair: (f64, f64)) {
        let Some(criterion) = &metric.compare else {
            return;
        };
        self.pairs.push(pair);
        self.counted = self.counted.saturating_add(1);
        self.inconclusives = self.inconclusives.saturating_add(1);
        let most = metric.count.unwrap_or(compare::MOST).min(compare::MOST);
        let looks = self.comparison.as_ref().map_or(0, |last| last.look);
        let have = u32::try_from(self.pairs.len()).unwrap_or(u32::MAX);
        let last = have >= most;
        if have < compare::needed(criterion, looks) && !last {
            return;
        }
        let Some((shown, comparison)) = compare::look(criterion, looks + 1, &self.pairs) else {
            return;
        };
        self.comparison = Some(comparison);
        self.concluded = match shown {
            Shown::Worse => Some(Standing::Failed),
            Shown::Good => Some(Standing::Passing),
            Shown::Neither => last.then_some(Standing::Inconclusive),
        };
        let word = match shown {
            Shown::Worse => {
                self.failures = 1;
                Outcome::Failure
            }
            Shown::Good => {
                self.successes = 1;
                Outcome::Success
            }
            Shown::Neither => return,
        };
        self.inconclusives = self.inconclusives.saturating_sub(1);
        if let Some(last) = self.measurements.back_mut() {
            last.outcome = word;
        }
    }

    /// Where it stands.
    #[must_use]
    pub fn standing(&self, metric: &Metric) -> Standing {
        if let Some(concluded) = self.concluded {
            return concluded;
        }
        if self.consecutive_errors > metric.consecutive_error_limit.0 {
            return Standing::Inconclusive;
        }
        // Without an end to its measurements, the last one speaks.
        if metric.compare.is_none() && metric.count.is_none() && self.well {
            return Standing::Passing;
        }
        Standing::Pending
    }

    /// As it is told.
    #[must_use]
    pub fn tell(&self, metric: &Metric, target: &AnalysisTarget) -> Measured {
        Measured {
            name: metric.name.clone(),
            standing: self.standing(metric),
            sentence: sentence::of(metric, self),
            successes: self.successes,
            failures: self.failures,
            inconclusives: self.inconclusives,
            no_data: self.no_data,
            errors: self.errors,
            consecutive_errors: self.consecutive_errors,
            next_at: due_at(metric, self, target),
            measurements: self.measurements.iter().cloned().collect(),
            comparison: self.comparison.clone(),
        }
    }
}

/// What an answer comes to.
fn judge(metric: &Metric, at: Timestamp, answer: Answer) -> Measurement {
    let (outcome, value, stable, message) = match answer {
        Answer::Value(value) if !value.is_finite() => {
            (Outcome::NoData, None, None, Some(format!("{value}")))
        }
        Answer::Value(_) if metric.compare.is_some() => (
            Outcome::Error,
            None,
            None,
            Some("one value where both sides were asked for".to_owned()),
        ),
        Answer::Value(value) => (bounded(metric, value), Some(value), None, None),
        Answer::Pair { canary, stable } if !(canary.is_finite() && stable.is_finite()) => (
            Outcome::NoData,
            None,
            None,
            Some(format!("canary {canary}, stable {stable}")),
        ),
        Answer::Pair { canary, stable } if metric.compare.is_some() => {
            (Outcome::Inconclusive, Some(canary), Some(stable), None)
        }
        Answer::Pair { .. } => (
            Outcome::Error,
            None,
            None,
            Some("two values where one was asked for".to_owned()),
        ),
        Answer::NoData(what) => (Outcome::NoData, None, None, Some(what)),
        Answer::Inconclusive(why) => (Outcome::Inconclusive, None, None, Some(why)),
        Answer::Error(why) => (Outcome::Error, None, None, Some(why)),
        Answer::Terminated => (Outcome::Terminated, None, None, None),
    };
    Measurement {
        at,
        outcome,
        value,
        stable,
        message: message.map(|text| plain(&text)),
    }
}

/// One line without control characters: who was asked is not trusted with people's terminals.
fn plain(text: &str) -> String {
    let shown = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    shown.take(MESSAGE).collect()
}

fn bounded(metric: &Metric, value: f64) -> Outcome {
    // A job without bounds is judged by its exit code.
    let max = match (metric.min, metric.max) {
        (None, None) => Some(0.0),
        (_, max) => max,
    };
    let below = metric.min.is_some_and(|min| value < min);
    let above = max.is_some_and(|max| value > max);
    let doubt = (below && metric.fail_below.is_some_and(|fail| value >= fail))
        || (above && metric.fail_above.is_some_and(|fail| value <= fail));
    match (below || above, doubt) {
        (false, _) => Outcome::Success,
        (true, true) => Outcome::Inconclusive,
        (true, false) => Outcome::Failure,
    }
}

#[cfg(test)]
mod tests;
