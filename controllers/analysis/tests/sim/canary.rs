//! One simulated canary, through the same batches, evidence and rules as online.

use fm_analysis::evidence::{Conditions, Evidence, Pending};
use fm_analysis::metrics::standings::Joint;
use fm_analysis::plan::{self, Situation};
use fm_analysis::pmix::{self, Counts, Question, Sums};
use fm_api::criteria::Analysis;
use fm_api::keys::RevisionId;
use fm_api::quantity::{Span, Weight};
use fm_api::target::AnalysisTarget;
use jiff::{SignedDuration, Timestamp};

use super::random::Random;
use super::world::Second;

/// What ends a canary's life.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Until {
    /// Harm is shown.
    Harm,
    /// Non-inferiority is shown by every criterion; nothing is taken back.
    NonInferior,
}

/// When batches close.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Batches {
    /// Every second, whatever is in it.
    EverySecond,
    /// As online: at five canary requests, or after ten seconds.
    AsOnline,
}

pub(crate) fn target(criteria: &Analysis) -> AnalysisTarget {
    AnalysisTarget {
        run: "run".into(),
        canary: RevisionId::new("canary"),
        stable: RevisionId::new("stable"),
        criteria: criteria.clone(),
        criteria_hash: "hash".into(),
        worker: false,
        request_timeout: Span::secs(30),
        last_hold: Span::secs(60),
        since: Some(Timestamp::UNIX_EPOCH),
        awaiting_since: None,
        step: None,
    }
}

pub(crate) fn at(second: u64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second as i64)
}

/// The seconds until it ended, if it did within so many.
pub(crate) fn canary(
    criteria: &Analysis,
    seed: u64,
    seconds: u64,
    (until, batches): (Until, Batches),
    world: impl Fn(u64) -> Second,
) -> Option<u64> {
    let target = target(criteria);
    let (mut random, joint) = (Random::new(seed), Joint::default());
    let (mut evidence, mut pending) = (Evidence::default(), Pending::new(at(0)));
    let warmup = criteria.warmup.0.as_millis() / 1000;
    let cold = criteria.latency_warmup().as_millis() / 1000;
    (1..=seconds).find(|second| {
        let (now, today) = (at(*second), world(*second));
        let (canary, stable) = today.play(&mut random);
        pending.add(&canary, &stable);
        if batches == Batches::AsOnline && !pending.due(now) {
            return false;
        }
        let batch = pending.close(now);
        let conditions = Conditions {
            warming_up: *second <= warmup,
            cold: *second <= cold,
            sticky: false,
        };
        evidence.add(criteria, &batch, conditions);
        let situation = Situation {
            target: &target,
            weight: Weight::from_basis_points((today.share * 10_000.0) as u16),
            evidence: &evidence,
            harm: None,
            joint: &joint,
            unseen: None,
            hold_until: None,
        };
        match until {
            Until::Harm => plan::harm(&situation).is_some(),
            Until::NonInferior => {
                let latency = evidence.latency.as_ref();
                evidence.errors.non_inferior && latency.is_none_or(|l| l.non_inferior)
            }
        }
    })
}

/// Canary requests until harm is shown at alpha .05, request by request beside nineteen of stable.
pub(crate) fn requests_to_harm(seed: u64, canary: f64) -> Option<u64> {
    let mut random = Random::new(seed);
    let mut sums = Sums::default();
    (1..100_000).find(|_| {
        let counts = Counts {
            x: random.binomial(1, canary),
            y: random.binomial(19, 0.005),
            n_c: 1,
            n_s: 19,
        };
        sums.add(Question::Harm, 1.0, counts);
        // Without a margin, evidence of harm grows by bad canary requests alone.
        counts.x > 0 && sums.log_e(0.0, 1.0) >= pmix::threshold(0.05)
    })
}
