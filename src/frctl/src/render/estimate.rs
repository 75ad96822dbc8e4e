//! How long a rollout is expected to take. A sum of what the manifest asks for, not a promise.

use fm_api::release::{Approval, BlueGreen, Release};

use crate::render::part;
use crate::text::{count, short};

/// How long a rollout of this release takes at least, in one or two sentences; `rps` is stable's rate, where it is known.
pub(crate) fn estimate(release: &Release, rps: Option<f64>) -> String {
    if release.spec.strategy.preview.is_some() {
        return "a preview is up as soon as its tasks are; nothing else waits for it".to_owned();
    }
    if let Some(both) = &release.spec.strategy.blue_green {
        return blue_green(both);
    }
    let Some(canary) = &release.spec.strategy.canary else {
        return "it has no steps: it takes as long as its tasks need to start".to_owned();
    };
    let holds: f64 = canary
        .steps
        .iter()
        .map(|step| step.hold.as_secs_f64())
        .sum();
    let mirrors = canary.steps.iter().filter(|step| !step.mirror.is_zero());
    let mirrored: f64 = mirrors.map(|step| step.hold.as_secs_f64()).sum();
    // The bake begins with the first share.
    let bake = mirrored + bake(release);
    let evidence = evidence(release, rps);
    let least = holds.max(bake).max(evidence.map_or(0.0, |(secs, _)| secs));
    let steps: Vec<String> = canary
        .steps
        .iter()
        .map(|step| format!("{} for {}", part(step), step.hold))
        .collect();
    let mut text = format!(
        "a rollout takes at least {}, besides starting tasks: {}, then all",
        short(jiff::SignedDuration::from_secs_f64(least)),
        steps.join(", ")
    );
    if bake > holds {
        text.push_str(&format!(
            "; the bake of {} is the longest wait",
            short(jiff::SignedDuration::from_secs_f64(bake - mirrored))
        ));
    }
    if let Some((_, requests)) = evidence {
        text.push_str(&format!(
            "; promotion needs at least {requests} faultless canary requests as evidence"
        ));
        if let Some(rps) = rps.filter(|rps| *rps > 0.0) {
            text.push_str(&format!(" (counted at {rps:.1} requests/s, as last seen)"));
        }
    }
    let approvals = canary
        .steps
        .iter()
        .filter(|step| step.approval.is_some())
        .count() as u64;
    if approvals > 0 {
        text.push_str(&format!(
            "; a person must agree at {}",
            count(approvals, "step")
        ));
    }
    text
}

fn blue_green(both: &BlueGreen) -> String {
    let least = jiff::SignedDuration::from_secs_f64(both.hold.as_secs_f64());
    let approval = match &both.approval {
        Some(Approval::Manual) => "; a person must agree to the switch".to_owned(),
        Some(Approval::Role(role)) => {
            format!("; a person with the role {role} must agree to the switch")
        }
        None => String::new(),
    };
    format!(
        "the switch comes {} after whole capacity is up at the earliest, and can be taken back by itself for {}{approval}",
        short(least),
        both.watch
    )
}

/// The least time before the last promotion, in seconds.
fn bake(release: &Release) -> f64 {
    if release.spec.analysis.disabled {
        return 0.0;
    }
    if let Some(bake) = release.spec.analysis.bake {
        return bake.as_secs_f64();
    }
    let last = release
        .spec
        .strategy
        .canary
        .as_ref()
        .and_then(|canary| canary.steps.last())
        .map_or(0.0, |step| step.hold.as_secs_f64());
    (2.0 * release.spec.request_timeout().as_secs_f64())
        .max(60.0)
        .max(last)
}

/// How many faultless canary requests show non-inferiority by errors, and how many seconds they take at stable's rate.
fn evidence(release: &Release, rps: Option<f64>) -> Option<(f64, u64)> {
    let analysis = &release.spec.analysis;
    let margin = analysis.errors.promote.margin;
    if analysis.disabled || release.spec.routes.is_empty() || margin <= 0.0 {
        return None;
    }
    // Each request without an error adds about the margin to the evidence, which must reach ln(1/alpha).
    let requests = (1.0 / analysis.errors.promote.alpha).ln() / margin
        * analysis.errors.design_effect.unwrap_or(1.0);
    let seconds = rps
        .filter(|rps| *rps > 0.0)
        .and_then(|rps| gathering(release, requests, rps))
        .unwrap_or(0.0);
    Some((seconds, requests.ceil() as u64))
}

/// How many seconds the steps take to gather `requests` when `rps` requests a second come in all.
fn gathering(release: &Release, requests: f64, rps: f64) -> Option<f64> {
    let steps = &release.spec.strategy.canary.as_ref()?.steps;
    let (mut missing, mut seconds) = (requests, 0.0);
    for (index, step) in steps.iter().enumerate() {
        let rate = rps * step.weight.fraction();
        let hold = step.hold.as_secs_f64();
        let last = index + 1 == steps.len();
        if rate > 0.0 && (last || missing <= rate * hold) {
            return Some(seconds + missing / rate);
        }
        missing -= rate * hold;
        seconds += hold;
    }
    Some(seconds)
}
