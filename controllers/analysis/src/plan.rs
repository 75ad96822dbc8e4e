//! What a run's evidence means: the verdict, with its reason and a sentence for people.
//!
//! Pure. Harm comes before everything else, in every phase. No data is neither good nor bad: it waits.
//! What must never happen: a promotion while anything is unseen or while stable itself is beyond its limit; a rollback once shown
//! that is taken back.

mod sentence;

use fm_api::criteria::Analysis;
use fm_api::quantity::{Span, Weight};
use fm_api::target::AnalysisTarget;
use fm_api::verdict::{Counted, Decision, MetricVerdict, Reason};
use jiff::Timestamp;

use crate::evidence::{Errors, Evidence, Latency};
use crate::metrics::standings::Joint;
use crate::pmix;

/// The least bake when the manifest states none.
const LEAST_BAKE: Span = Span::secs(60);

/// Everything the verdict depends on, but for the time.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// What is judged, and by which criteria.
    pub target: &'a AnalysisTarget,
    /// The canary's share now.
    pub weight: Weight,
    /// What the run has shown.
    pub evidence: &'a Evidence,
    /// Harm that was shown before; it stays.
    pub harm: Option<&'a Harm>,
    /// What the metrics of other systems mean now.
    pub joint: &'a Joint,
    /// Why some counters cannot be read now.
    pub unseen: Option<&'a str>,
    /// Until when steps are held, where no promotion controller sees to that (recorded traffic).
    pub hold_until: Option<Timestamp>,
}

/// Harm, shown.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Harm {
    /// By what.
    pub reason: Reason,
    /// With which numbers.
    pub sentence: String,
}

/// The verdict of this instant.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// What to do with the canary.
    pub decision: Decision,
    /// Why, or why nothing yet.
    pub why: Reason,
    /// The same for people, with the numbers.
    pub sentence: String,
    /// Each criterion.
    pub metrics: Vec<MetricVerdict>,
    /// What makes evidence count less now.
    pub notes: Vec<String>,
}

/// Concludes.
#[must_use]
pub fn plan(situation: &Situation<'_>, now: Timestamp) -> Plan {
    let (decision, why, sentence) = conclude(situation, now);
    Plan {
        decision,
        why,
        sentence,
        metrics: metrics(situation),
        notes: sentence::notes(situation, now),
    }
}

fn conclude(situation: &Situation<'_>, now: Timestamp) -> (Decision, Reason, String) {
    if let Some(harm) = situation.harm {
        return (Decision::Rollback, harm.reason, harm.sentence.clone());
    }
    if let Some(Harm { reason, sentence }) = harm(situation) {
        return (Decision::Rollback, reason, sentence);
    }
    let wait = |reason, sentence| (Decision::Wait, reason, sentence);
    let worker = situation.target.worker;
    if let Some(problem) = situation.unseen.filter(|_| !worker) {
        return wait(Reason::TelemetryUnavailable, sentence::unseen(problem));
    }
    if let Some(sentence) = stable_unhealthy(situation) {
        return wait(Reason::StableUnhealthy, sentence);
    }
    let lossy = lines_lost(situation).filter(|_| !worker);
    if let Some(sentence) =
        suspected(situation).filter(|_| !worker && good_so_far(situation.evidence))
    {
        return match deadline_passed(situation, now) {
            Some(_) => {
                let text = format!("inconclusive: twice the deadline has passed; {sentence}");
                (Decision::Inconclusive, Reason::DeadlinePassed, text)
            }
            None => wait(Reason::HarmSuspected, sentence),
        };
    }
    let as_good = worker || non_inferior(situation.evidence);
    let fullness = &situation.joint.fullness;
    if let Some(sentence) = fullness.pending.as_ref()
        && as_good
    {
        return match deadline_passed(situation, now) {
            Some(_) => {
                let text = format!("inconclusive: twice the deadline has passed; {sentence}");
                (Decision::Inconclusive, Reason::DeadlinePassed, text)
            }
            None => wait(Reason::SaturationPending, sentence.clone()),
        };
    }
    if as_good && situation.joint.pending.is_none() && lossy.is_none() {
        if let Some(sentence) = &situation.joint.inconclusive {
            let early = holding(situation, now).is_some() || baking(situation, now).is_some();
            let decision = if early {
                Decision::Wait
            } else {
                Decision::Inconclusive
            };
            return (decision, Reason::MetricInconclusive, sentence.clone());
        }
        if let Some(sentence) = holding(situation, now) {
            return wait(Reason::Holding, sentence);
        }
        if let Some(sentence) = baking(situation, now) {
            return wait(Reason::Baking, sentence);
        }
        let sentence = sentence::non_inferior(situation);
        return (Decision::Promote, Reason::NonInferior, sentence);
    }
    if let Some(sentence) = deadline_passed(situation, now) {
        return (Decision::Inconclusive, Reason::DeadlinePassed, sentence);
    }
    if let Some(sentence) = lossy {
        return wait(Reason::LinesLost, sentence);
    }
    if let Some(sentence) = situation.joint.pending.as_ref().filter(|_| as_good) {
        return wait(Reason::MetricPending, sentence.clone());
    }
    let errors = &situation.evidence.errors;
    if errors.canary.requests == 0 {
        return wait(Reason::NoTraffic, sentence::no_traffic(situation, now));
    }
    if errors.stable.requests == 0 || situation.weight == Weight::FULL {
        return wait(Reason::NoBaseline, sentence::no_baseline(situation.weight));
    }
    wait(Reason::Gathering, sentence::gathering(situation, now))
}

/// Harm that the evidence shows now.
#[must_use]
pub fn harm(situation: &Situation<'_>) -> Option<Harm> {
    let (criteria, evidence) = (&situation.target.criteria, situation.evidence);
    if errors_harm(criteria, &evidence.errors) {
        return Some(Harm {
            reason: Reason::ErrorsHarm,
            sentence: sentence::errors_harm(criteria, &evidence.errors),
        });
    }
    if let Some(shift) = evidence
        .client_errors
        .as_ref()
        .filter(|s| s.harms(criteria))
    {
        return Some(Harm {
            reason: Reason::ClientErrorsHarm,
            sentence: sentence::client_errors_harm(criteria, shift),
        });
    }
    if let Some(latency) = &evidence.latency
        && latency_harm(criteria, latency)
    {
        return Some(Harm {
            reason: Reason::LatencyHarm,
            sentence: sentence::latency_harm(criteria, latency),
        });
    }
    if let Some(sentence) = guard_broken(situation) {
        return Some(Harm {
            reason: Reason::ErrorGuard,
            sentence,
        });
    }
    if let Some(sentence) = &situation.joint.fullness.broken {
        return Some(Harm {
            reason: Reason::SaturationGuard,
            sentence: sentence.clone(),
        });
    }
    situation.joint.failed.clone().map(|sentence| Harm {
        reason: Reason::MetricFailed,
        sentence,
    })
}

fn errors_harm(criteria: &Analysis, errors: &Errors) -> bool {
    let rollback = &criteria.errors.rollback;
    errors.canary.bad >= rollback.min_bad
        && errors.log_e_harm(criteria) >= pmix::threshold(rollback.alpha)
}

fn latency_harm(criteria: &Analysis, latency: &Latency) -> bool {
    latency.log_e_harm() >= pmix::threshold(criteria.latency.rollback.alpha)
}

fn guard_broken(situation: &Situation<'_>) -> Option<String> {
    let guards = &situation.target.criteria.guards;
    let limit = guards.max_error_rate?;
    let (canary, stable) = situation.evidence.lately();
    // An outage that stable shares is not the canary's; at full weight there is nobody to ask.
    let shared = situation.weight < Weight::FULL && stable.requests > 0 && rate(stable) > limit;
    let broken = canary.requests >= guards.min_requests && rate(canary) > limit && !shared;
    broken.then(|| sentence::guard(guards, limit, canary))
}

fn stable_unhealthy(situation: &Situation<'_>) -> Option<String> {
    let guards = &situation.target.criteria.guards;
    let limit = guards.max_error_rate?;
    let (_, stable) = situation.evidence.lately();
    let beyond = stable.requests >= guards.min_requests && rate(stable) > limit;
    beyond.then(|| sentence::stable_unhealthy(guards, limit, stable))
}

/// The log is part of the evidence: while much of it is missing, nothing is promoted. Harm that is shown all the same stands.
fn lines_lost(situation: &Situation<'_>) -> Option<String> {
    let guards = &situation.target.criteria.guards;
    let lines = situation.evidence.lines_lately();
    (lines.lost_share() > guards.max_lost_lines).then(|| sentence::lines_lost(guards, lines))
}

/// Promotion waits while the last minutes look so much like harm, by any criterion: `ln 10`.
const GATE: f64 = std::f64::consts::LN_10;

/// Whether every criterion of requests that is asked for and measured shows it, and the last minutes do not look like harm.
pub(crate) fn non_inferior(evidence: &Evidence) -> bool {
    good_so_far(evidence) && evidence.suspicion() < GATE
}

fn suspected(situation: &Situation<'_>) -> Option<String> {
    (situation.evidence.suspicion() >= GATE).then(|| sentence::suspected(situation.evidence))
}

/// Whether every criterion of requests that is asked for and measured shows it over the whole run.
fn good_so_far(evidence: &Evidence) -> bool {
    evidence.errors.non_inferior && evidence.latency.as_ref().is_none_or(|l| l.non_inferior)
}

fn holding(situation: &Situation<'_>, now: Timestamp) -> Option<String> {
    let left = situation.hold_until?.duration_since(now);
    left.is_positive().then(|| sentence::holding(left))
}

fn baking(situation: &Situation<'_>, now: Timestamp) -> Option<String> {
    let bake = bake(situation.target);
    let since = situation.target.since.unwrap_or(now);
    let left = bake.to_signed() - now.duration_since(since);
    left.is_positive()
        .then(|| sentence::baking(situation.target.worker, bake, left))
}

/// The least time before the last promotion: as stated, or the longest of 60 s, twice the request timeout, and the last hold.
#[must_use]
pub fn bake(target: &AnalysisTarget) -> Span {
    let twice = Span::millis(target.request_timeout.as_millis().saturating_mul(2));
    let default = LEAST_BAKE.max(twice).max(target.last_hold);
    target.criteria.bake.unwrap_or(default)
}

/// The deadline counts from the end of the last hold and is extended once.
fn deadline_passed(situation: &Situation<'_>, now: Timestamp) -> Option<String> {
    let deadline = situation.target.criteria.deadline.0;
    let waited = now.duration_since(situation.target.awaiting_since?);
    let passed = waited >= deadline.to_signed() + deadline.to_signed();
    passed.then(|| sentence::deadline(situation, deadline, now))
}

fn rate(counted: Counted) -> f64 {
    if counted.requests == 0 {
        0.0
    } else {
        counted.bad as f64 / counted.requests as f64
    }
}

fn metrics(situation: &Situation<'_>) -> Vec<MetricVerdict> {
    let mut metrics = if situation.target.worker {
        Vec::new()
    } else {
        of_requests(situation)
    };
    for (name, broken) in &situation.joint.fullness.guards {
        let nobody = (Counted::default(), Counted::default());
        metrics.push(limit(name, *broken, nobody));
    }
    metrics
}

/// A limit is broken or not: there is no evidence to gather.
fn limit(name: &str, broken: bool, (canary, stable): (Counted, Counted)) -> MetricVerdict {
    MetricVerdict {
        name: name.to_owned(),
        decision: decide(broken, false),
        log_e_harm: 0.0,
        harm_threshold: 0.0,
        log_e_ni: 0.0,
        ni_threshold: 0.0,
        lower: -1.0,
        upper: 1.0,
        canary,
        stable,
        design_effect: 1.0,
        starts: 0,
        suspicion: None,
        gate: None,
    }
}

/// Before the first batch, and in what earlier versions stored, there is none.
fn at_least_one(design_effect: f64) -> f64 {
    design_effect.max(1.0)
}

fn decide(harm: bool, non_inferior: bool) -> Decision {
    match (harm, non_inferior) {
        (true, _) => Decision::Rollback,
        (false, true) => Decision::Promote,
        (false, false) => Decision::Wait,
    }
}

fn of_requests(situation: &Situation<'_>) -> Vec<MetricVerdict> {
    let (criteria, evidence) = (&situation.target.criteria, situation.evidence);
    let errors = &evidence.errors;
    let (lower, upper) = errors.bounds(criteria);
    let mut metrics = vec![MetricVerdict {
        name: "errors".to_owned(),
        decision: decide(
            errors_harm(criteria, errors),
            errors.non_inferior && errors.onset.lately() < GATE,
        ),
        log_e_harm: errors.log_e_harm(criteria),
        harm_threshold: pmix::threshold(criteria.errors.rollback.alpha),
        log_e_ni: errors.log_e_ni(criteria),
        ni_threshold: pmix::threshold(criteria.errors.promote.alpha),
        lower,
        upper,
        canary: errors.canary,
        stable: errors.stable,
        design_effect: at_least_one(errors.design_effect),
        starts: errors.onset.starts(),
        suspicion: Some(errors.onset.lately()),
        gate: Some(GATE),
    }];
    if let Some(shift) = &evidence.client_errors {
        let (lower, upper) = shift.bounds(criteria);
        metrics.push(MetricVerdict {
            name: "clientErrors".to_owned(),
            decision: decide(shift.harms(criteria), false),
            log_e_harm: shift.log_e_harm(criteria),
            harm_threshold: pmix::threshold(criteria.errors.client_errors.alpha),
            log_e_ni: 0.0,
            ni_threshold: 0.0,
            lower,
            upper,
            canary: shift.canary,
            stable: shift.stable,
            design_effect: at_least_one(shift.design_effect),
            starts: shift.onset.starts(),
            suspicion: Some(shift.onset.lately()),
            gate: Some(GATE),
        });
    }
    if let Some(latency) = &evidence.latency {
        let (lower, upper) = latency.bounds();
        metrics.push(MetricVerdict {
            name: "latency".to_owned(),
            decision: decide(
                latency_harm(criteria, latency),
                latency.non_inferior && latency.lately() < GATE,
            ),
            log_e_harm: latency.log_e_harm(),
            harm_threshold: pmix::threshold(criteria.latency.rollback.alpha),
            log_e_ni: latency.log_e_ni(criteria),
            ni_threshold: pmix::threshold(criteria.latency.promote.alpha),
            lower,
            upper,
            canary: latency.canary,
            stable: latency.stable,
            design_effect: at_least_one(latency.design_effect),
            starts: latency.starts(),
            suspicion: Some(latency.lately()),
            gate: Some(GATE),
        });
    }
    if criteria.guards.max_error_rate.is_some() {
        let broken = guard_broken(situation).is_some();
        metrics.push(limit("guard", broken, evidence.lately()));
    }
    metrics
}

/// How many canary requests without a bad one it takes, at this share and from this evidence on, to show
/// non-inferiority by errors; `None` where there is no share to compare.
#[must_use]
pub fn requests_needed(criteria: &Analysis, errors: &Errors, weight: Weight) -> Option<u64> {
    let share = weight.fraction();
    if share <= 0.0 || share >= 1.0 {
        return None;
    }
    let requests = errors
        .clean_until_non_inferior(criteria, share)?
        .ceil()
        .max(1.0);
    (requests < (1u64 << 40) as f64).then_some(requests as u64)
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod worker_tests;
