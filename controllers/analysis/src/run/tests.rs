use std::collections::BTreeMap;

use fm_api::criteria::Analysis;
use fm_api::keys::RevisionId;
use fm_api::quantity::Span;
use fm_api::target::Traffic;
use fm_telemetry::SourceError;
use fm_telemetry::counters::{Counters, LogHealth, Snapshot};
use fm_telemetry::outcomes::{End, Kind, Outcomes};
use jiff::SignedDuration;
use proptest::prelude::*;

use super::*;

fn at(second: u64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second as i64)
}

fn target(weight: u16, generation: u64) -> Target {
    let (stable, canary) = (RevisionId::new("aaaa"), RevisionId::new("bbbb"));
    let mut target: Target = serde_json::from_value(serde_json::json!({
        "uid": "u", "generation": generation, "specGeneration": 1,
    }))
    .unwrap();
    target.traffic = Some(Traffic {
        stable: stable.clone(),
        canary: Some(canary.clone()),
        weight: Weight::percent(weight),
        mirror: Weight::ZERO,
        seed: "0badcafe".into(),
        generation,
    });
    target.analysis = Some(AnalysisTarget {
        run: "run".into(),
        canary,
        stable,
        criteria: Analysis::default(),
        criteria_hash: "hash".into(),
        worker: false,
        request_timeout: Span::secs(30),
        last_hold: Span::secs(60),
        since: Some(at(0)),
        awaiting_since: None,
        step: None,
    });
    target
}

fn identity(target: &Target) -> Identity {
    Identity::of(target, target.analysis.as_ref().unwrap(), None)
}

/// What an agent has counted by then, with canary and stable growing as told each second.
fn pulled(epoch: &str, sides: [&Counters; 2], second: u64) -> Pulled {
    let revisions = BTreeMap::from([
        ("bbbb".to_owned(), sides[0].clone()),
        ("aaaa".to_owned(), sides[1].clone()),
    ]);
    Pulled {
        at: at(second),
        answers: vec![Ok(Snapshot {
            instance: "edge".into(),
            epoch: epoch.into(),
            // Every seventh second a line is lost.
            log: LogHealth {
                lines: 100 * second,
                lost: second / 7,
                ..LogHealth::default()
            },
            releases: BTreeMap::from([("default/shop".to_owned(), revisions)]),
            ..Snapshot::default()
        })],
        usage: std::sync::Arc::default(),
    }
}

fn kind(status: u16, end: End) -> Kind {
    Kind {
        status,
        end,
        grpc: None,
        state: None,
    }
}

/// One in eleven good answers is a 404.
fn grow(counters: &mut Counters, requests: u64, bad: u64, ms: f64) {
    let bad = bad.min(requests);
    counters.requests += requests;
    counters.bad += bad;
    for n in 0..requests {
        let status = match n {
            n if n < bad => 503,
            n if n % 11 == 10 => 404,
            _ => 200,
        };
        counters.classes[usize::from(status / 100)] += 1;
        counters.outcomes.add(kind(status, End::Answered), 1);
        if status != 503 {
            counters.latency.record(ms + n as f64 * 1.7);
        }
    }
}

/// Plays the same traffic; after each tick in `kills` only what was written is left.
fn play(traffic: &[(u64, u64, u64)], kills: impl Fn(usize) -> bool, restart: bool) -> Verdict {
    let key = ReleaseKey::new("default", "shop");
    let (mut canary, mut stable) = (Counters::default(), Counters::default());
    grow(&mut stable, 5000, 40, 20.0);
    let first = target(5, 1);
    let mut run = Run::new(
        identity(&first),
        (&first, first.analysis.as_ref().unwrap()),
        None,
        at(0),
    );
    run.count(
        &key,
        first.analysis.as_ref().unwrap(),
        &pulled("1", [&canary, &stable], 0),
        &Views::default(),
        at(0),
    );
    let mut last = run.begin(&first, first.analysis.as_ref().unwrap(), at(0));
    let mut epoch = "1";
    for (tick, (requests, bad, stable_bad)) in traffic.iter().enumerate() {
        let second = tick as u64 + 1;
        let target = target(
            if second < 20 { 5 } else { 20 },
            if second < 20 { 1 } else { 2 },
        );
        let analysis = target.analysis.as_ref().unwrap();
        if restart && tick == traffic.len() / 2 {
            // The agent begins a new epoch with empty counters.
            (canary, stable, epoch) = (Counters::default(), Counters::default(), "2");
        }
        grow(&mut canary, *requests, *bad, 22.0);
        grow(&mut stable, 90, *stable_bad, 20.0);
        run.count(
            &key,
            analysis,
            &pulled(epoch, [&canary, &stable], second),
            &Views::default(),
            at(second),
        );
        if let Some(verdict) = run.tick(&target, analysis, at(second)) {
            last = serde_json::from_slice(&run.stored(&verdict).unwrap()).unwrap();
            if kills(tick) {
                run = Run::resume(identity(&target), &last, 7, at(second)).unwrap();
            }
        }
    }
    last
}

fn assert_same(a: &Verdict, b: &Verdict) {
    assert_eq!(
        (a.batch, a.decision, a.reason, &a.sentence),
        (b.batch, b.decision, b.reason, &b.sentence)
    );
    assert_eq!(
        (a.first_bad_at, a.metrics.len()),
        (b.first_bad_at, b.metrics.len())
    );
    for (a, b) in a.metrics.iter().zip(&b.metrics) {
        for (x, y) in [
            (a.log_e_harm, b.log_e_harm),
            (a.log_e_ni, b.log_e_ni),
            (a.lower, b.lower),
            (a.upper, b.upper),
        ] {
            assert!((x - y).abs() <= 1e-9, "{}: {x} and {y}", a.name);
        }
        assert_eq!((a.canary, a.stable), (b.canary, b.stable));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn killed_at_any_batch_it_goes_on_as_if_it_had_not_been(
        traffic in proptest::collection::vec((0u64..15, 0u64..2, 0u64..3), 5..60),
        kills in proptest::collection::vec(any::<bool>(), 60), restart in any::<bool>(),
    ) {
        let whole = play(&traffic, |_| false, restart);
        assert_same(&whole, &play(&traffic, |_| true, restart));
        assert_same(&whole, &play(&traffic, |tick| kills[tick], restart));
    }
}

#[test]
fn what_was_counted_before_the_run_belongs_to_no_batch() {
    let verdict = play(&[(10, 0, 1); 12], |_| false, true);
    let errors = &verdict.metrics[0];
    assert_eq!(
        (errors.canary.requests, errors.stable.requests),
        (120, 12 * 90)
    );
    assert_eq!((errors.canary.bad, errors.stable.bad), (0, 12));
    assert!((verdict.canary.rps - 10.0).abs() < 1e-9 && (verdict.stable.rps - 90.0).abs() < 1e-9);
    assert!(verdict.canary.p50_ms.is_some());
}

#[test]
fn a_change_of_shares_closes_the_batch_and_evidence_goes_on() {
    let verdict = play(&[(2, 0, 0); 20], |_| false, false);
    // Seconds 3, 6, 9, 12, 15, 18 by count, and 20 by the change.
    assert_eq!(verdict.batch, 7);
    assert_eq!(verdict.metrics[0].canary.requests, 40);
}

#[test]
fn another_run_or_form_is_not_resumed() {
    let verdict = play(&[(10, 0, 0); 3], |_| false, false);
    let same = target(5, 1);
    assert!(Run::resume(identity(&same), &verdict, 1, at(9)).is_some());
    for change in [
        |i: &mut Identity| i.run = "other".into(),
        |i: &mut Identity| i.uid = "other".into(),
        |i: &mut Identity| i.criteria_hash = "other".into(),
    ] {
        let mut other = identity(&same);
        change(&mut other);
        assert!(Run::resume(other, &verdict, 1, at(9)).is_none());
    }
    let mut newer = verdict.clone();
    newer.state["form"] = 1.into();
    assert!(Run::resume(identity(&same), &newer, 1, at(9)).is_none());
    newer.state = serde_json::Value::Null;
    assert!(Run::resume(identity(&same), &newer, 1, at(9)).is_none());
}

#[test]
fn agents_that_cannot_be_read_are_told_and_hold_everything() {
    let target = target(5, 1);
    let analysis = target.analysis.as_ref().unwrap();
    let mut run = Run::new(
        identity(&target),
        (&target, target.analysis.as_ref().unwrap()),
        None,
        at(0),
    );
    let answers = vec![Err(SourceError {
        instance: "edge".into(),
        message: "refused".into(),
    })];
    let key = ReleaseKey::new("default", "shop");
    run.count(
        &key,
        analysis,
        &Pulled {
            at: at(0),
            answers,
            usage: std::sync::Arc::default(),
        },
        &Views::default(),
        at(0),
    );
    let verdict = run.tick(&target, analysis, at(10)).unwrap();
    assert_eq!(
        verdict.reason,
        fm_api::verdict::Reason::TelemetryUnavailable
    );
    assert!(verdict.sentence.contains("edge") && verdict.sentence.contains("refused"));
}

#[test]
fn two_agents_of_one_name_are_told_and_count_once() {
    let target = target(5, 1);
    let analysis = target.analysis.as_ref().unwrap();
    let (mut canary, stable) = (Counters::default(), Counters::default());
    let mut readings = Readings::default();
    for second in 0..5 {
        grow(&mut canary, 10, 0, 20.0);
        let mut both = pulled("1", [&canary, &stable], second);
        both.answers
            .extend(pulled("2", [&canary, &stable], second).answers);
        let seen = readings.take("default/shop", analysis, &both, false, &BTreeMap::new());
        let wanted = if second == 0 { 0 } else { 10 };
        assert_eq!(seen.canary.counted.requests, wanted);
        assert!(seen.unseen.is_some_and(|problem| problem.contains("edge")));
    }
}

#[test]
fn what_is_bad_is_read_out_of_the_outcomes() {
    let mut target = target(5, 1).analysis.unwrap();
    let mut canary = Counters::default();
    let mut readings = Readings::default();
    let stable = Counters::default();
    let mut take = |target: &AnalysisTarget, canary: &Counters, second| {
        let seen = readings.take(
            "default/shop",
            target,
            &pulled("1", [canary, &stable], second),
            false,
            &BTreeMap::new(),
        );
        let counted = seen.canary.counted;
        (counted.requests, counted.bad, seen.canary.client_errors)
    };
    assert_eq!(take(&target, &canary, 0), (0, 0, Some(0)));
    for (status, end, count) in [
        (200, End::Answered, 100),
        (404, End::Answered, 7),
        (429, End::Answered, 5),
        (429, End::Proxy, 3),
        (200, End::Server, 2),
        (500, End::Client, 4),
        (0, End::Fallback, 1),
    ] {
        canary.outcomes.add(kind(status, end), count);
        canary.requests += count;
    }
    let before = canary.clone();
    assert_eq!(take(&target, &canary, 1), (122, 7, Some(15)));
    target.criteria.errors.bad =
        serde_json::from_str(r#"{"statuses":[429],"terminations":["proxy"]}"#).unwrap();
    canary.merge(&before);
    // The client's four are nobody's now, the fallback is still bad, and a server's end is not.
    assert_eq!(take(&target, &canary, 2), (118, 9, Some(7)));
}

#[test]
fn a_reading_of_an_earlier_version_counts_by_the_counters_own_definition() {
    let target = target(5, 1).analysis.unwrap();
    let (mut old, mut new) = (Counters::default(), Counters::default());
    grow(&mut new, 100, 20, 20.0);
    old.merge(&new);
    old.outcomes = Outcomes::default();
    let pulled = |old: &Counters, new: &Counters, second| {
        let mut both = pulled("1", [old, old], second);
        let mut other = pulled("1", [new, new], second).answers.remove(0).unwrap();
        other.instance = "other".into();
        both.answers.push(Ok(other));
        both
    };
    let mut readings = Readings::default();
    readings.take(
        "default/shop",
        &target,
        &pulled(&old, &new, 0),
        false,
        &BTreeMap::new(),
    );
    grow(&mut new, 100, 20, 20.0);
    // The agents are of this version: only what was stored knows no kinds.
    let seen = readings.take(
        "default/shop",
        &target,
        &pulled(&new, &new, 1),
        false,
        &BTreeMap::new(),
    );
    assert_eq!(
        (seen.canary.counted.requests, seen.canary.counted.bad),
        (200, 40)
    );
    assert_eq!(seen.canary.client_errors, Some(16));
}

/// What several agents see, with restarts and silences: each request is counted once, but for those that a restart took away
/// before anybody asked, and those before an agent was first seen.
fn many_agents(script: &[(usize, u64, bool, bool)]) -> (u64, u64) {
    const AGENTS: usize = 3;
    let target = target(5, 1);
    let analysis = target.analysis.as_ref().unwrap();
    let mut agents: [(Counters, u64); AGENTS] = Default::default();
    let (mut seen_before, mut unasked) = ([false; AGENTS], [0u64; AGENTS]);
    let mut readings = Readings::default();
    let (mut counted, mut wanted) = (0, 0);
    for (second, (agent, requests, restart, silent)) in script.iter().enumerate() {
        let (counters, epoch) = &mut agents[*agent];
        if *restart {
            (*counters, *epoch, unasked[*agent]) = (Counters::default(), *epoch + 1, 0);
        }
        grow(counters, *requests, 0, 20.0);
        unasked[*agent] += requests;
        let answers = (0..AGENTS).map(|n| {
            if *silent && n == *agent {
                return Err(SourceError {
                    instance: format!("edge-{n}"),
                    message: "silent".into(),
                });
            }
            let (counters, epoch) = &agents[n];
            let mut one = pulled(&epoch.to_string(), [counters, counters], second as u64);
            let mut snapshot = one.answers.remove(0)?;
            snapshot.instance = format!("edge-{n}");
            wanted += if seen_before[n] { unasked[n] } else { 0 };
            (seen_before[n], unasked[n]) = (true, 0);
            Ok(snapshot)
        });
        let pulled = Pulled {
            at: at(second as u64),
            answers: answers.collect(),
            usage: std::sync::Arc::default(),
        };
        let text = serde_json::to_string(&readings).unwrap();
        readings = serde_json::from_str(&text).unwrap();
        let seen = readings.take("default/shop", analysis, &pulled, false, &BTreeMap::new());
        assert_eq!(seen.unseen.is_some(), *silent);
        assert_eq!(seen.canary.counted, seen.stable.counted);
        counted += seen.canary.counted.requests;
    }
    (counted, wanted)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn requests_of_many_agents_and_of_restarted_ones_are_counted_once(
        script in proptest::collection::vec((0usize..3, 0u64..20, proptest::bool::weighted(0.1), proptest::bool::weighted(0.1)), 1..40),
    ) {
        let (counted, wanted) = many_agents(&script);
        prop_assert_eq!(counted, wanted);
    }
}

/// Plays mirrored requests, of which the canary answers so many of ten badly, and then ones of its own.
fn mirrored(bad: u64, own: u64) -> Run {
    let key = ReleaseKey::new("default", "shop");
    let mut mirroring = target(0, 1);
    mirroring.traffic.as_mut().unwrap().mirror = Weight::percent(10);
    let analysis = mirroring.analysis.clone().unwrap();
    let (mut canary, mut stable) = (Counters::default(), Counters::default());
    let mut run = Run::new(identity(&mirroring), (&mirroring, &analysis), None, at(0));
    run.count(
        &key,
        &analysis,
        &pulled("e", [&canary, &stable], 0),
        &Views::default(),
        at(0),
    );
    for second in 1..=60 {
        // What stable answers besides is in no comparison.
        grow(&mut stable, 90, 0, 20.0);
        let answered = |status| kind(status, End::Answered);
        stable.mirrored.add(answered(200), 10);
        canary.mirrored.add(answered(503), bad);
        canary.mirrored.add(answered(200), 10 - bad);
        let now = at(second);
        let pulled = pulled("e", [&canary, &stable], second);
        run.count(&key, &analysis, &pulled, &Views::default(), now);
        run.tick(&mirroring, &analysis, now);
    }
    let sharing = target(10, 2);
    for second in 61..=60 + own {
        grow(&mut canary, 10, 0, 20.0);
        grow(&mut stable, 90, 0, 20.0);
        let now = at(second);
        let pulled = pulled("e", [&canary, &stable], second);
        run.count(&key, &analysis, &pulled, &Views::default(), now);
        run.tick(&sharing, &analysis, now);
    }
    run
}

#[test]
fn mirrored_requests_show_harm_and_never_that_the_canary_is_as_good() {
    let good = mirrored(0, 0);
    let errors = &good.judge.findings.evidence.errors;
    assert_eq!((errors.canary.requests, errors.stable.requests), (600, 600));
    assert_eq!(good.judge.findings.evidence.latency, None);
    assert_eq!(errors.non_inferiority, crate::pmix::Sums::default());
    assert_eq!(good.judge.findings.harm, None);
    let harm = mirrored(5, 0).judge.findings.harm.unwrap();
    assert_eq!(harm.reason, fm_api::verdict::Reason::ErrorsHarm);
    // From the first share on everything counts as ever.
    let later = mirrored(0, 30);
    assert!(later.judge.findings.evidence.latency.is_some());
    assert_ne!(
        later.judge.findings.evidence.errors.non_inferiority,
        crate::pmix::Sums::default()
    );
}

#[test]
fn whether_requests_are_mirrored_outlives_a_restart() {
    let run = mirrored(0, 0);
    let mirroring = {
        let mut target = target(0, 1);
        target.traffic.as_mut().unwrap().mirror = Weight::percent(10);
        target
    };
    let analysis = mirroring.analysis.clone().unwrap();
    let verdict = run.between(&mirroring, &analysis, at(60));
    let bytes = run.stored(&verdict).unwrap();
    let stored: Verdict = serde_json::from_slice(&bytes).unwrap();
    let again = Run::resume(identity(&mirroring), &stored, 1, at(60)).unwrap();
    assert!(again.judge.mirrored && !mirrored(0, 1).judge.mirrored);
}
