use fm_api::criteria::DeadlineSpan;
use fm_api::keys::RevisionId;
use jiff::SignedDuration;

use super::*;
use crate::evidence::{Batch, Conditions, Lines, Tally};
use fm_telemetry::histogram::Histogram;

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second)
}

pub(super) fn target(criteria: Analysis) -> AnalysisTarget {
    AnalysisTarget {
        run: "run".into(),
        canary: RevisionId::new("bbbb"),
        stable: RevisionId::new("aaaa"),
        criteria,
        criteria_hash: "hash".into(),
        worker: false,
        request_timeout: Span::secs(10),
        last_hold: Span::secs(20),
        since: Some(at(0)),
        awaiting_since: None,
        step: None,
    }
}

fn tally((bad, requests): (u64, u64)) -> Tally {
    Tally {
        counted: Counted { requests, bad },
        ..Tally::default()
    }
}

/// In the warm-up, or after every one.
fn warm(warming_up: bool) -> Conditions {
    Conditions {
        warming_up,
        cold: warming_up,
        sticky: false,
    }
}

/// One batch a second: bad and all requests of canary and stable.
fn evidence(criteria: &Analysis, seconds: i64, canary: (u64, u64), stable: (u64, u64)) -> Evidence {
    let mut evidence = Evidence::default();
    for second in 0..seconds {
        let batch = Batch {
            begun: at(second),
            ended: at(second + 1),
            canary: tally(canary),
            stable: tally(stable),
            lines: Lines::default(),
        };
        evidence.add(criteria, &batch, warm(second < 10));
    }
    evidence
}

fn conclude_at(target: &AnalysisTarget, evidence: &Evidence, now: i64) -> Plan {
    let situation = Situation {
        target,
        weight: Weight::percent(5),
        evidence,
        harm: None,
        joint: &Joint::default(),
        unseen: None,
        hold_until: None,
    };
    plan(&situation, at(now))
}

fn guarded() -> Analysis {
    let mut criteria = Analysis::default();
    criteria.guards.max_error_rate = Some(0.05);
    criteria
}

#[test]
fn each_situation_has_its_reason() {
    let plain = Analysis::default();
    for (name, criteria, seconds, canary, stable, decision, why) in [
        (
            "no canary request",
            &plain,
            30,
            (0, 0),
            (0, 190),
            Decision::Wait,
            Reason::NoTraffic,
        ),
        (
            "no stable request",
            &plain,
            30,
            (5, 10),
            (0, 0),
            Decision::Wait,
            Reason::NoBaseline,
        ),
        (
            "a little",
            &plain,
            30,
            (0, 10),
            (1, 190),
            Decision::Wait,
            Reason::Gathering,
        ),
        (
            "two bad ones are too few",
            &plain,
            1,
            (2, 2),
            (0, 190),
            Decision::Wait,
            Reason::Gathering,
        ),
        (
            "harm",
            &plain,
            3,
            (2, 10),
            (1, 190),
            Decision::Rollback,
            Reason::ErrorsHarm,
        ),
        (
            "harm in the warm-up",
            &plain,
            1,
            (10, 10),
            (0, 190),
            Decision::Rollback,
            Reason::ErrorsHarm,
        ),
        (
            "shared outage",
            &plain,
            60,
            (5, 10),
            (95, 190),
            Decision::Wait,
            Reason::Gathering,
        ),
        (
            "guard with nothing to compare",
            &guarded(),
            20,
            (1, 10),
            (0, 0),
            Decision::Rollback,
            Reason::ErrorGuard,
        ),
        (
            "guard while stable is beyond it too",
            &guarded(),
            20,
            (1, 10),
            (19, 190),
            Decision::Wait,
            Reason::StableUnhealthy,
        ),
        (
            "the same with few canary requests",
            &guarded(),
            5,
            (1, 10),
            (19, 190),
            Decision::Wait,
            Reason::StableUnhealthy,
        ),
        (
            "early",
            &plain,
            200,
            (0, 50),
            (0, 150),
            Decision::Promote,
            Reason::NonInferior,
        ),
    ] {
        let evidence = evidence(criteria, seconds, canary, stable);
        let plan = conclude_at(&target(criteria.clone()), &evidence, seconds);
        assert_eq!(
            (plan.decision, plan.why),
            (decision, why),
            "{name}: {}",
            plan.sentence
        );
    }
}

#[test]
fn evidence_waits_for_bake_and_hold() {
    let criteria = Analysis::default();
    let evidence = evidence(&criteria, 40, (0, 100), (0, 100));
    let target = target(criteria);
    assert!(evidence.errors.non_inferior);
    let plan_at = |now| conclude_at(&target, &evidence, now);
    assert_eq!(plan_at(59).why, Reason::Baking);
    assert_eq!(
        plan_at(59).sentence,
        "the evidence suffices; the canary must serve 1m in all, another 1s"
    );
    assert_eq!(plan_at(60).decision, Decision::Promote);
    let situation = Situation {
        target: &target,
        weight: Weight::FULL,
        evidence: &evidence,
        harm: None,
        joint: &Joint::default(),
        unseen: None,
        hold_until: Some(at(100)),
    };
    assert_eq!(plan(&situation, at(99)).why, Reason::Holding);
    assert_eq!(
        plan(&situation, at(100)).decision,
        Decision::Promote,
        "what was shown before full weight counts"
    );
    let blind = Situation {
        unseen: Some("edge is away"),
        ..situation
    };
    assert_eq!(plan(&blind, at(100)).why, Reason::TelemetryUnavailable);
    let harm = Harm {
        reason: Reason::LatencyHarm,
        sentence: "slow".into(),
    };
    let harmed = Situation {
        harm: Some(&harm),
        joint: &Joint::default(),
        ..blind
    };
    assert_eq!(
        plan(&harmed, at(100)).decision,
        Decision::Rollback,
        "harm stays, whatever else"
    );
}

#[test]
fn the_longest_of_three_is_the_bake() {
    let mut target = target(Analysis::default());
    assert_eq!(bake(&target), Span::secs(60));
    target.request_timeout = Span::secs(31);
    assert_eq!(bake(&target), Span::secs(62));
    target.last_hold = Span::secs(300);
    assert_eq!(bake(&target), Span::secs(300));
    target.criteria.bake = Some(Span::secs(1));
    assert_eq!(bake(&target), Span::secs(1));
}

#[test]
fn the_deadline_is_extended_once_and_harm_is_still_seen_after_it() {
    let criteria = Analysis {
        deadline: DeadlineSpan(Span::secs(100)),
        ..Analysis::default()
    };
    let mut few = evidence(&criteria, 20, (0, 5), (0, 95));
    let mut target = target(criteria.clone());
    assert_eq!(
        conclude_at(&target, &few, 100_000).decision,
        Decision::Wait,
        "nobody awaits it"
    );
    target.awaiting_since = Some(at(1000));
    assert_eq!(conclude_at(&target, &few, 1199).decision, Decision::Wait);
    let plan = conclude_at(&target, &few, 1200);
    assert_eq!(
        (plan.decision, plan.why),
        (Decision::Inconclusive, Reason::DeadlinePassed)
    );
    let nothing = Evidence::default();
    assert_eq!(
        conclude_at(&target, &nothing, 1200).decision,
        Decision::Inconclusive
    );
    let bad = Batch {
        begun: at(1200),
        ended: at(1201),
        canary: tally((20, 20)),
        stable: tally((0, 380)),
        lines: Lines::default(),
    };
    few.add(&criteria, &bad, warm(false));
    assert_eq!(
        conclude_at(&target, &few, 1201).decision,
        Decision::Rollback
    );
}

#[test]
fn the_window_of_the_limits_slides() {
    let criteria = guarded();
    let mut evidence = evidence(&criteria, 20, (10, 10), (190, 190));
    for second in 20..80 {
        let batch = Batch {
            begun: at(second),
            ended: at(second + 1),
            canary: tally((0, 10)),
            stable: tally((0, 190)),
            lines: Lines::default(),
        };
        evidence.add(&criteria, &batch, warm(false));
    }
    assert_eq!(
        evidence.lately().0,
        Counted {
            requests: 600,
            bad: 0
        }
    );
}

#[test]
fn a_slow_canary_is_harm_and_an_equal_one_is_as_good() {
    let criteria = Analysis::default();
    let times = |ms: f64, n: usize| {
        let mut histogram = Histogram::default();
        (0..n).for_each(|i| histogram.record(ms * (1.0 + i as f64 / n as f64)));
        histogram
    };
    for (by, wanted) in [(2.0, Decision::Rollback), (1.0, Decision::Promote)] {
        let mut evidence = Evidence::default();
        for second in 0..600 {
            let side = |ms, n: usize| Tally {
                counted: Counted {
                    requests: n as u64,
                    bad: 0,
                },
                latency: Some(times(ms, n)),
                ..Tally::default()
            };
            let batch = Batch {
                begun: at(second),
                ended: at(second + 1),
                canary: side(50.0 * by, 20),
                stable: side(50.0, 180),
                lines: Lines::default(),
            };
            evidence.add(&criteria, &batch, warm(second < 10));
        }
        let plan = conclude_at(&target(criteria.clone()), &evidence, 600);
        assert_eq!(plan.decision, wanted, "{}", plan.sentence);
        assert_eq!(plan.metrics.len(), 2);
    }
}

#[test]
fn sentences_tell_the_numbers() {
    let criteria = guarded();
    let told =
        |evidence: &Evidence, now| conclude_at(&target(criteria.clone()), evidence, now).sentence;
    let lines = [
        told(&evidence(&criteria, 6, (2, 10), (1, 190)), 6),
        told(&evidence(&criteria, 20, (1, 10), (0, 0)), 20),
        told(&evidence(&criteria, 20, (1, 10), (19, 190)), 20),
        told(&evidence(&criteria, 30, (0, 10), (1, 190)), 30),
        told(&evidence(&criteria, 200, (0, 50), (0, 150)), 200),
        told(&Evidence::default(), 0),
    ];
    insta::assert_snapshot!(lines.join("\n"));
}

/// One batch a second in which both sides also refuse some requests, and some log lines are lost.
fn with(criteria: &Analysis, seconds: i64, refused: (u64, u64), lines: Lines) -> Evidence {
    let mut evidence = Evidence::default();
    for second in 0..seconds {
        let side = |requests, refused| Tally {
            client_errors: Some(refused),
            ..tally((0, requests))
        };
        let batch = Batch {
            begun: at(second),
            ended: at(second + 1),
            canary: side(50, refused.0),
            stable: side(150, refused.1),
            lines,
        };
        evidence.add(criteria, &batch, warm(false));
    }
    evidence
}

#[test]
fn a_canary_that_refuses_everything_is_taken_back_and_a_shared_habit_is_not() {
    let mut criteria = Analysis::default();
    let judged = |criteria: &Analysis, canary, stable, seconds| {
        let evidence = with(criteria, seconds, (canary, stable), Lines::default());
        conclude_at(&target(criteria.clone()), &evidence, seconds)
    };
    let plan = judged(&criteria, 50, 3, 1);
    let wanted = (Decision::Rollback, Reason::ClientErrorsHarm);
    assert_eq!((plan.decision, plan.why), wanted, "{}", plan.sentence);
    assert!(plan.sentence.contains("100.0 %"), "{}", plan.sentence);
    assert_eq!(judged(&criteria, 20, 60, 200).decision, Decision::Promote);
    criteria.errors.client_errors.disabled = true;
    assert_eq!(judged(&criteria, 50, 3, 200).decision, Decision::Promote);
}

#[test]
fn while_many_lines_are_lost_nothing_is_promoted_and_harm_is_still_seen() {
    let criteria = Analysis::default();
    let target = target(criteria.clone());
    let lossy = Lines { came: 195, lost: 5 };
    let mut evidence = with(&criteria, 30, (0, 0), lossy);
    let plan = conclude_at(&target, &evidence, 30);
    assert_eq!(
        (plan.decision, plan.why),
        (Decision::Wait, Reason::LinesLost)
    );
    assert!(plan.sentence.contains("2.5 %"), "{}", plan.sentence);
    assert!(
        !evidence.errors.non_inferior,
        "lossy batches say nothing for the canary"
    );
    let bad = Batch {
        begun: at(30),
        ended: at(31),
        canary: tally((20, 50)),
        stable: tally((0, 150)),
        lines: lossy,
    };
    evidence.add(&criteria, &bad, warm(false));
    assert_eq!(conclude_at(&target, &evidence, 31).why, Reason::ErrorsHarm);
    let few = with(&criteria, 200, (0, 0), Lines { came: 199, lost: 1 });
    assert_eq!(conclude_at(&target, &few, 200).decision, Decision::Promote);
}

#[test]
fn little_traffic_says_how_much_is_missing_and_how_long_that_takes() {
    let criteria = Analysis::default();
    let mut target = target(criteria.clone());
    let mut evidence = Evidence::default();
    // A request in ten seconds, one in twenty of them to the canary.
    for tens in 0..400 {
        let batch = Batch {
            begun: at(tens * 10),
            ended: at(tens * 10 + 10),
            canary: tally((0, u64::from(tens % 20 == 0))),
            stable: tally((0, u64::from(tens % 20 != 0))),
            lines: Lines::default(),
        };
        evidence.add(&criteria, &batch, warm(false));
    }
    target.awaiting_since = Some(at(1000));
    let told = |now| conclude_at(&target, &evidence, now);
    let early = told(2000);
    assert_eq!(
        (early.decision, early.why),
        (Decision::Wait, Reason::Gathering)
    );
    assert!(
        early
            .sentence
            .contains("more canary requests if none is bad, 22 hours"),
        "{}",
        early.sentence
    );
    let extended = told(1000 + 1800);
    assert_eq!(extended.decision, Decision::Wait);
    assert!(
        extended
            .sentence
            .contains("was extended once, for another 30m"),
        "{}",
        extended.sentence
    );
    let over = told(1000 + 3600);
    assert_eq!(
        (over.decision, over.why),
        (Decision::Inconclusive, Reason::DeadlinePassed)
    );
    assert!(
        over.sentence.contains("more canary requests"),
        "{}",
        over.sentence
    );
}
