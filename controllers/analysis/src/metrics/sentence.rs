//! One sentence on where a metric stands, with the numbers. Pure.

use fm_api::criteria::metrics::{Metric, Worse};
use fm_api::measured::{Outcome, Standing};

use super::compare;
use super::plan::State;

/// The sentence.
pub(super) fn of(metric: &Metric, state: &State) -> String {
    let standing = state.standing(metric);
    if state.consecutive_errors > 0 {
        let last = state.measurements.back().and_then(|m| m.message.as_deref());
        let row = format!(
            "cannot be measured, {} in a row ({} tolerated): {}",
            count(state.consecutive_errors, "error"),
            metric.consecutive_error_limit.0,
            last.unwrap_or("no reason is known"),
        );
        if state.concluded.is_none() {
            return row;
        }
    }
    if let Some(criterion) = &metric.compare {
        return compared(metric, criterion, state);
    }
    let last = state
        .measurements
        .iter()
        .rev()
        .find(|m| m.outcome != Outcome::Terminated);
    let Some(last) = last else {
        return "not measured yet".to_owned();
    };
    let seen = match (last.value, &last.message) {
        (Some(value), _) => number(value),
        (None, Some(message)) => message.clone(),
        (None, None) => "nothing".to_owned(),
    };
    let tolerated = metric.failure_limit;
    match standing {
        Standing::Failed => format!(
            "{seen} is not {}: {} ({tolerated} tolerated)",
            wanted(metric),
            count(state.failures, "failure")
        ),
        Standing::Inconclusive => format!(
            "{seen}, wanted {}: {} successes, {} failures, {} inconclusive",
            wanted(metric),
            state.successes,
            state.failures,
            state.inconclusives
        ),
        Standing::Passing => format!("{seen} is {}", wanted(metric)),
        Standing::Pending => match last.outcome {
            Outcome::NoData => format!("no data ({seen})"),
            Outcome::Failure => format!(
                "{seen} is not {}: {} of {tolerated} tolerated",
                wanted(metric),
                count(state.failures, "failure")
            ),
            Outcome::Success | Outcome::Inconclusive | Outcome::Error | Outcome::Terminated => {
                let of = metric
                    .count
                    .map(|all| format!(", {} of {all} measured", state.counted))
                    .unwrap_or_default();
                format!("{seen}, wanted {}{of}", wanted(metric))
            }
        },
    }
}

fn compared(
    metric: &Metric,
    criterion: &fm_api::criteria::metrics::Compare,
    state: &State,
) -> String {
    let have = state.pairs.len();
    let Some(last) = &state.comparison else {
        return format!(
            "{have} of {} values of each side for the first comparison",
            criterion.min_samples
        );
    };
    let direction = match criterion.worse {
        Worse::Higher => "higher",
        Worse::Lower => "lower",
    };
    let numbers = format!(
        "shift {}, tolerance {} {direction}, effect {}, p {} for harm and {} for good against {} ({} values of each side{})",
        number(last.shift),
        number(criterion.tolerance),
        number(last.effect),
        number(last.p_harm),
        number(last.p_good),
        number(last.alpha),
        last.samples,
        if last.exact { ", exact" } else { "" },
    );
    match state.standing(metric) {
        Standing::Failed => format!("canary is worse than stable: {numbers}"),
        Standing::Passing => format!("canary is not worse than stable: {numbers}"),
        Standing::Inconclusive => format!("neither worse nor good enough is shown: {numbers}"),
        Standing::Pending => format!(
            "{numbers}; the next look is at {} values",
            compare::needed(criterion, last.look)
        ),
    }
}

/// The bounds, in words.
fn wanted(metric: &Metric) -> String {
    match (metric.min, metric.max) {
        (Some(min), Some(max)) => format!("from {} to {}", number(min), number(max)),
        (Some(min), None) => format!("at least {}", number(min)),
        (None, Some(max)) => format!("at most {}", number(max)),
        (None, None) => "exit code 0".to_owned(),
    }
}

/// Four significant digits.
pub(super) fn number(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{}", value + 0.0);
    }
    let size = value.abs().log10().floor();
    if !(-5.0..15.0).contains(&size) {
        return format!("{value:.3e}");
    }
    let scale = 10_f64.powf((3.0 - size).max(0.0));
    format!("{}", (value * scale).round() / scale)
}

fn count(n: u32, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}
