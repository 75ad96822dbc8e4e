//! A worker: nothing is counted, so metrics, limits and time decide.

use fm_api::criteria::DeadlineSpan;

use super::tests::{at, target};
use super::*;
use crate::saturation::Fullness;

fn conclude(joint: &Joint, now: i64, awaiting: Option<i64>) -> Plan {
    let mut target = target(Analysis {
        deadline: DeadlineSpan(Span::secs(100)),
        ..Analysis::default()
    });
    target.worker = true;
    target.awaiting_since = awaiting.map(at);
    let situation = Situation {
        target: &target,
        weight: Weight::ZERO,
        evidence: &Evidence::default(),
        harm: None,
        joint,
        // Nobody has to count its requests.
        unseen: Some("no haproxy agent is there to ask"),
        hold_until: None,
    };
    plan(&situation, at(now))
}

fn said(what: &str) -> Option<String> {
    Some(format!("metric lag: {what}"))
}

#[test]
fn a_worker_is_judged_without_a_request() {
    let good = Joint::default();
    let pending = Joint {
        pending: said("1 of 3 measurements"),
        ..Joint::default()
    };
    let failed = Joint {
        failed: said("12 is above 10"),
        ..Joint::default()
    };
    let doubtful = Joint {
        inconclusive: said("no answer"),
        ..Joint::default()
    };
    let full = Joint {
        fullness: Fullness {
            broken: Some("it used 99 % of its CPU limit".to_owned()),
            ..Fullness::default()
        },
        ..Joint::default()
    };
    let unmeasured = Joint {
        fullness: Fullness {
            pending: Some("not measured yet".to_owned()),
            ..Fullness::default()
        },
        ..Joint::default()
    };
    for (joint, now, awaiting, decision, reason) in [
        (&good, 59, None, Decision::Wait, Reason::Baking),
        (&good, 60, None, Decision::Promote, Reason::NonInferior),
        (
            &pending,
            90,
            Some(60),
            Decision::Wait,
            Reason::MetricPending,
        ),
        (
            &pending,
            261,
            Some(60),
            Decision::Inconclusive,
            Reason::DeadlinePassed,
        ),
        (&failed, 1, None, Decision::Rollback, Reason::MetricFailed),
        (
            &doubtful,
            90,
            None,
            Decision::Inconclusive,
            Reason::MetricInconclusive,
        ),
        (&full, 1, None, Decision::Rollback, Reason::SaturationGuard),
        (
            &unmeasured,
            90,
            None,
            Decision::Wait,
            Reason::SaturationPending,
        ),
    ] {
        let plan = conclude(joint, now, awaiting);
        assert_eq!(
            (plan.decision, plan.why),
            (decision, reason),
            "{joint:?} {now}"
        );
        assert!(!plan.sentence.contains("request"), "{}", plan.sentence);
        assert!(plan.metrics.iter().all(|metric| metric.name != "errors"));
    }
}
