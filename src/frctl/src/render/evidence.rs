//! What analysis knows of a rollout: bars toward both ends, bounds, and the sentence.

use fm_api::verdict::{Decision, MetricVerdict, Verdict};

use super::frame::{LABEL, labelled};
use crate::text::{Look, bar, count, pad};

/// The evidence of each criterion toward both ends, and the sentence.
pub(super) fn evidence(verdict: &Verdict, look: &Look) -> Vec<String> {
    let mut lines = Vec::new();
    for metric in &verdict.metrics {
        lines.extend(bars(metric, look));
    }
    lines.extend(super::measured::lines(verdict, look));
    let decision = match verdict.decision {
        Decision::Wait => look.paint.cyan("wait"),
        Decision::Promote => look.paint.green("promote"),
        Decision::Rollback => look.paint.red("rollback"),
        Decision::Inconclusive => look.paint.yellow("inconclusive"),
    };
    lines.extend(labelled(
        "verdict",
        &format!("{decision}: {}", verdict.sentence),
        look,
    ));
    if verdict.lost_lines > 0 {
        let lost = format!(
            "{} lost in this rollout",
            count(verdict.lost_lines, "log line")
        );
        lines.extend(labelled("", &lost, look));
    }
    lines
}

fn bars(metric: &MetricVerdict, look: &Look) -> Vec<String> {
    let mut lines = Vec::new();
    let columns = look.columns().saturating_sub(LABEL + 9 + 26).clamp(8, 40);
    let name = match metric.name.as_str() {
        "clientErrors" => "4xx",
        name => name,
    };
    let mut label = name;
    let sides = [
        ("rollback", metric.log_e_harm, metric.harm_threshold, true),
        ("promote", metric.log_e_ni, metric.ni_threshold, false),
    ];
    for (toward, log_e, threshold, harm) in sides {
        if threshold <= 0.0 {
            continue;
        }
        let fraction = log_e / threshold;
        let drawn = bar(fraction, columns);
        let drawn = if harm {
            look.paint.red(&drawn)
        } else {
            look.paint.green(&drawn)
        };
        let reached = if fraction >= 1.0 { ", reached" } else { "" };
        lines.push(format!(
            "{}{}{drawn} {log_e:.1} of {threshold:.1}{reached}",
            look.paint.dim(&pad(label, LABEL)),
            pad(toward, 9),
        ));
        label = "";
    }
    if lines.is_empty() {
        let word = match metric.decision {
            Decision::Wait | Decision::Promote => "within its limit",
            Decision::Rollback => "broken",
            Decision::Inconclusive => "not known",
        };
        lines.extend(labelled(name, word, look));
    } else {
        let what = match metric.name.as_str() {
            "latency" => "slow requests, ",
            "clientErrors" => "refused requests, ",
            _ => "",
        };
        let difference = format!(
            "{what}canary minus stable: {:+.2} to {:+.2} percentage points (95 %)",
            metric.lower * 100.0,
            metric.upper * 100.0
        );
        lines.extend(labelled("", &difference, look));
    }
    lines
}
