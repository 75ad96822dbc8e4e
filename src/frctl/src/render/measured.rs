//! What was measured of other systems: a line for each metric, and every measurement that is kept.

use fm_api::measured::{Measured, Measurement, Outcome, Standing};
use fm_api::verdict::Verdict;

use super::frame::labelled;
use crate::text::{Look, clean, count};

/// One line for each metric.
pub(super) fn lines(verdict: &Verdict, look: &Look) -> Vec<String> {
    let mut lines = Vec::new();
    let mut label = "metrics";
    for metric in &verdict.measured {
        let word = match metric.standing {
            Standing::Pending => look.paint.cyan("pending"),
            Standing::Passing => look.paint.green("passing"),
            Standing::Failed => look.paint.red("failed"),
            Standing::Inconclusive => look.paint.yellow("inconclusive"),
        };
        let text = format!(
            "{} {word}: {} ({})",
            metric.name,
            clean(&metric.sentence),
            counters(metric)
        );
        lines.extend(labelled(label, &text, look));
        label = "";
    }
    lines
}

fn counters(metric: &Measured) -> String {
    let all = [
        (metric.successes, "good"),
        (metric.failures, "bad"),
        (metric.inconclusives, "inconclusive"),
        (metric.no_data, "without data"),
    ];
    let mut parts: Vec<String> = all
        .into_iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, word)| format!("{n} {word}"))
        .collect();
    if metric.errors > 0 {
        parts.push(count(u64::from(metric.errors), "error"));
    }
    if parts.is_empty() {
        "nothing measured".to_owned()
    } else {
        parts.join(", ")
    }
}

/// Every measurement that is kept, the newest last.
pub(super) fn all(verdict: &Verdict, look: &Look) -> Vec<String> {
    let mut lines = Vec::new();
    for metric in &verdict.measured {
        for measurement in &metric.measurements {
            lines.push(format!(
                "{}  {}  {}",
                look.clock(measurement.at),
                metric.name,
                one(measurement, look)
            ));
        }
    }
    lines
}

fn one(measurement: &Measurement, look: &Look) -> String {
    let paint = look.paint;
    let word = match measurement.outcome {
        Outcome::Success => paint.green("success"),
        Outcome::Failure => paint.red("failure"),
        Outcome::Inconclusive => "inconclusive".to_owned(),
        Outcome::NoData => paint.yellow("no data"),
        Outcome::Error => paint.yellow("error"),
        Outcome::Terminated => "terminated".to_owned(),
    };
    let mut text = word;
    match (measurement.value, measurement.stable) {
        (Some(canary), Some(stable)) => text.push_str(&format!("  {canary} against {stable}")),
        (Some(value), None) => text.push_str(&format!("  {value}")),
        (None, _) => {}
    }
    if let Some(message) = &measurement.message {
        text.push_str(&format!("  {}", clean(message)));
    }
    text
}
