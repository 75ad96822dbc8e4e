//! Recorded traffic, decided offline.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails the test")]

use fm_analysis::replay::Replay;
use fm_api::criteria::{Analysis, WarmupSpan};
use fm_api::quantity::Span;
use fm_api::release::Release;
use fm_api::verdict::{Decision, Reason};
use proptest::prelude::*;

fn release(analysis: Analysis) -> Release {
    let mut release: Release = serde_json::from_value(serde_json::json!({
        "apiVersion": "fridaymorning.dev/v1", "kind": "Release",
        "metadata": { "name": "shop" },
        "spec": {
            "workload": { "image": "shop:1" },
            "strategy": { "canary": { "steps": [{ "weight": 5, "hold": "60s" }, { "weight": 50, "hold": "30s" }] } },
        },
    }))
    .unwrap();
    release.spec.analysis = analysis;
    release
}

fn at_once() -> Analysis {
    Analysis {
        warmup: WarmupSpan(Span::ZERO),
        ..Analysis::default()
    }
}

fn line(canary: (u64, u64), stable: (u64, u64)) -> String {
    format!(
        r#"{{"canary":{{"requests":{},"errors":{}}},"stable":{{"requests":{},"errors":{}}}}}"#,
        canary.1, canary.0, stable.1, stable.0
    )
}

#[test]
fn one_line_of_output_for_each_of_input_and_the_decision_stays() {
    let mut replay = Replay::new(&release(at_once()));
    let first = replay.line(&line((0, 10), (1, 190))).unwrap();
    assert_eq!(
        (first.tick, first.verdict, first.reason),
        (1, Decision::Wait, Reason::Gathering)
    );
    let mut before = first.log_e_harm;
    for _ in 0..3 {
        replay.line(&line((5, 10), (1, 190))).unwrap();
    }
    let harmed = replay.line(&line((5, 10), (1, 190))).unwrap();
    assert_eq!(
        (harmed.verdict, harmed.reason),
        (Decision::Rollback, Reason::ErrorsHarm)
    );
    before = before.max(harmed.log_e_harm);
    let later = replay.line(&line((5, 10), (1, 190))).unwrap();
    assert_eq!(
        (later.tick, later.verdict, &later.sentence),
        (6, Decision::Rollback, &harmed.sentence)
    );
    assert!(later.log_e_harm > before, "the evidence goes on");
    let text = serde_json::to_value(&later).unwrap();
    for key in [
        "tick", "logEHarm", "logENi", "lower", "upper", "verdict", "reason",
    ] {
        assert!(text.get(key).is_some(), "{key}");
    }
    assert_eq!(text["verdict"], "rollback");
}

#[test]
fn without_errors_it_is_promoted_after_the_holds() {
    let mut criteria = at_once();
    criteria.errors.promote.margin = 0.01;
    let mut replay = Replay::new(&release(criteria));
    let mut reasons = Vec::new();
    for _ in 1..=95 {
        let output = replay.line(&line((0, 10), (0, 190))).unwrap();
        if reasons.last() != Some(&(output.reason, output.tick)) {
            reasons.push((output.reason, output.tick));
        }
    }
    let first = |reason| {
        reasons
            .iter()
            .find(|(r, _)| *r == reason)
            .map(|(_, tick)| *tick)
    };
    assert_eq!(first(Reason::Holding), Some(41), "410 canary requests");
    assert_eq!(first(Reason::NonInferior), Some(90), "the sum of the holds");
}

#[test]
fn batches_close_as_they_do_online() {
    let mut replay = Replay::new(&release(at_once()));
    for tick in 1..=10 {
        // One canary request every third second: the batch closes for its age.
        let output = replay
            .line(&line((0, u64::from(tick % 3 == 0)), (0, 20)))
            .unwrap();
        assert_eq!(output.log_e_ni != 0.0, tick == 10, "tick {tick}");
        assert_eq!(output.lower > -1.0, tick == 10, "tick {tick}");
    }
}

#[test]
fn response_times_are_judged_where_they_are_recorded() {
    let mut replay = Replay::new(&release(at_once()));
    let times = |ms: f64, n: usize| vec![ms; n];
    let mut last = None;
    for _ in 0..30 {
        let text = serde_json::json!({
            "canary": { "requests": 10, "errors": 0, "latencyMs": times(100.0, 10) },
            "stable": { "requests": 190, "errors": 0, "latencyMs": times(50.0, 190) },
        });
        last = Some(replay.line(&text.to_string()).unwrap());
    }
    assert_eq!(last.unwrap().reason, Reason::LatencyHarm);
}

#[test]
fn what_cannot_be_decided_is_an_error_with_its_line() {
    let mut replay = Replay::new(&release(at_once()));
    replay.line(&line((0, 10), (0, 190))).unwrap();
    for (text, word) in [
        (r#"{"metric":"checkout","value":0.3}"#, "metric"),
        ("", "no JSON"),
        (
            r#"{"canary":{"requests":1,"errors":2},"stable":{"requests":1,"errors":0}}"#,
            "2 errors",
        ),
        (
            r#"{"canary":{"requests":-1,"errors":0},"stable":{"requests":1,"errors":0}}"#,
            "-1",
        ),
        (r#"{"canary":{"requests":1,"errors":0}}"#, "stable"),
        (
            r#"{"canary":{"requests":1,"errors":0,"oops":1},"stable":{"requests":1,"errors":0}}"#,
            "oops",
        ),
        (
            r#"{"canary":{"requests":1,"errors":0,"latencyMs":[-1]},"stable":{"requests":1,"errors":0}}"#,
            "response time",
        ),
    ] {
        let error = replay.line(text).unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
    }
    assert_eq!(replay.line("{").unwrap_err().line, 9);
}

proptest! {
    #[test]
    fn no_line_makes_it_panic(text in ".{0,80}", canary in any::<u64>(), bad in any::<u64>(), ms in any::<f64>()) {
        let mut replay = Replay::new(&release(Analysis::default()));
        let _ = replay.line(&text);
        let _ = replay.line(&line((bad, canary), (canary, bad)));
        let _ = replay.line(&serde_json::json!({
            "canary": { "requests": canary, "errors": bad.min(canary), "latencyMs": [ms] },
            "stable": { "requests": bad, "errors": 0, "latencyMs": [ms, 1.0] },
        }).to_string());
    }
}

#[test]
fn response_times_in_bins_decide_as_the_times_themselves() {
    let (mut plain, mut binned) = (
        Replay::new(&release(at_once())),
        Replay::new(&release(at_once())),
    );
    let times = |slow: f64, n: usize| (0..n).map(|i| slow * (20.0 + i as f64)).collect::<Vec<_>>();
    let bins = |times: &[f64]| {
        let mut histogram = fm_telemetry::histogram::Histogram::default();
        times.iter().for_each(|ms| histogram.record(*ms));
        histogram
    };
    for _ in 0..20 {
        let (canary, stable) = (times(1.6, 10), times(1.0, 60));
        let with = |name: &str, canary: serde_json::Value, stable: serde_json::Value| {
            serde_json::json!({
                "canary": { "requests": 10, "errors": 0, name: canary },
                "stable": { "requests": 60, "errors": 0, name: stable },
            })
            .to_string()
        };
        let a = plain
            .line(&with(
                "latencyMs",
                canary.clone().into(),
                stable.clone().into(),
            ))
            .unwrap();
        let (canary, stable) = (bins(&canary), bins(&stable));
        let (canary, stable) = (
            serde_json::to_value(canary).unwrap(),
            serde_json::to_value(stable).unwrap(),
        );
        assert_eq!(
            binned.line(&with("latencyBins", canary, stable)).unwrap(),
            a
        );
    }
}

#[test]
fn a_batch_ends_where_the_recorded_share_changes() {
    let mut replay = Replay::new(&release(at_once()));
    let line = |weight: u64| {
        format!(
            r#"{{"canary":{{"requests":1,"errors":0}},"stable":{{"requests":20,"errors":0}},"weight":{weight}}}"#
        )
    };
    assert_eq!(replay.line(&line(5)).unwrap().log_e_ni, 0.0);
    assert_eq!(replay.line(&line(5)).unwrap().log_e_ni, 0.0);
    assert!(replay.line(&line(50)).unwrap().log_e_ni > 0.0);
    assert!(replay.line(&line(150)).is_err());
}

#[test]
fn nothing_is_promoted_while_the_counters_could_not_be_read() {
    let mut criteria = at_once();
    criteria.errors.promote.margin = 0.5;
    let mut replay = Replay::new(&release(criteria));
    for _ in 0..89 {
        replay.line(&line((0, 10), (0, 190))).unwrap();
    }
    let unseen = r#"{"canary":{"requests":9,"errors":0},"stable":{"requests":9,"errors":0},"unseen":"frd did not answer"}"#;
    assert_eq!(
        replay.line(unseen).unwrap().reason,
        Reason::TelemetryUnavailable
    );
    assert_eq!(
        replay.line(&line((0, 10), (0, 190))).unwrap().reason,
        Reason::NonInferior
    );
}

#[test]
fn an_error_repeats_little_of_its_line() {
    let mut replay = Replay::new(&release(at_once()));
    let error = replay
        .line(&format!(r#"{{"{}":1}}"#, "x".repeat(1 << 20)))
        .unwrap_err();
    assert!(error.to_string().len() < 1000);
}
fn with_metrics(metrics: &str) -> Replay {
    let text = format!(
        "apiVersion: fridaymorning.dev/v1\nkind: Release\nmetadata: {{ name: shop }}\nspec:\n  workload: {{ image: \"shop:1\" }}\n  routes: [{{ hosts: [shop.example.com], port: 8080 }}]\n  strategy: {{ canary: {{ steps: [{{ weight: 10, hold: 0s }}] }} }}\n  analysis:\n    warmup: 0s\n    bake: 0s\n    latency: {{ disabled: true }}\n    errors: {{ promote: {{ margin: 0.05 }} }}\n    metrics: [{metrics}]\n"
    );
    let release = fm_api::manifest::read("shop.yaml", text.as_bytes())
        .remove(0)
        .unwrap();
    Replay::new(&release)
}

const TRAFFIC: &str =
    r#"{"canary":{"requests":50,"errors":0},"stable":{"requests":450,"errors":0}}"#;
const CHECKOUT: &str = "{ name: checkout, min: 0.2, failureLimit: 1, web: { url: 'http://x/' } }";

fn last(replay: &mut Replay, lines: &[&str]) -> (Decision, Reason) {
    let mut last = None;
    for line in lines {
        last = Some(replay.line(line).unwrap());
    }
    let last = last.unwrap();
    (last.verdict, last.reason)
}

#[test]
fn a_metric_takes_back_holds_or_lets_pass() {
    let good = r#"{"metric":"checkout","value":0.31}"#;
    let bad = r#"{"metric":"checkout","value":0.1}"#;
    let none = r#"{"metric":"checkout","value":null}"#;
    let error = r#"{"metric":"checkout","value":{"error":"down"}}"#;
    let traffic = [TRAFFIC; 20];
    let run = |metric: &[&str]| {
        let lines: Vec<&str> = traffic.iter().chain(metric).copied().collect();
        last(&mut with_metrics(CHECKOUT), &lines)
    };
    let pending = (Decision::Wait, Reason::MetricPending);
    assert_eq!(run(&[]), pending, "not measured yet");
    assert_eq!(run(&[good]), (Decision::Promote, Reason::NonInferior));
    assert_eq!(run(&[bad]), pending, "one failure is tolerated");
    assert_eq!(run(&[bad, bad]), (Decision::Rollback, Reason::MetricFailed));
    assert_eq!(run(&[none]), pending, "no data holds");
    assert_eq!(run(&[error; 4]), pending);
    assert_eq!(
        run(&[error; 5]),
        (Decision::Inconclusive, Reason::MetricInconclusive)
    );
    let alone = last(&mut with_metrics(CHECKOUT), &[bad, bad]);
    assert_eq!(
        alone,
        (Decision::Rollback, Reason::MetricFailed),
        "without any traffic too"
    );
}

#[test]
fn a_recorded_comparison_is_decided() {
    let metric = "{ name: lag, compare: { tolerance: 1, minSamples: 4 }, web: { url: 'http://x/{{revision}}' } }";
    let worse: Vec<String> = (0..8)
        .map(|k| {
            format!(
                r#"{{"metric":"lag","value":{},"stable":{}}}"#,
                9.0 + f64::from(k) / 10.0,
                2.0 + f64::from(k) / 7.0
            )
        })
        .collect();
    let worse: Vec<&str> = worse.iter().map(String::as_str).collect();
    assert_eq!(
        last(&mut with_metrics(metric), &worse),
        (Decision::Rollback, Reason::MetricFailed)
    );
}

#[test]
fn a_wrong_metric_line_says_what_is_allowed() {
    for (line, said) in [
        (r#"{"metric":"checkin","value":1}"#, "allowed: `checkout`"),
        (r#"{"metric":"checkout"}"#, "missing field `value`"),
        (
            r#"{"metric":"checkout","value":"0.31"}"#,
            "a number, null for no data",
        ),
        (
            r#"{"metric":"checkout","value":{"eror":"x"}}"#,
            "a number, null for no data",
        ),
        (
            r#"{"metric":"checkout","value":1,"stable":2}"#,
            "no `compare`",
        ),
    ] {
        let error = with_metrics(CHECKOUT).line(line).unwrap_err().to_string();
        assert!(error.contains(said), "{line}: {error}");
    }
}
