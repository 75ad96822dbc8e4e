//! How long each conclusion takes, by simulated rollouts.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails the test")]

use fm_analysis::power::{Canary, Power, Traffic};
use fm_api::release::Release;
use fm_api::verdict::Decision;

const TRAFFIC: Traffic = Traffic {
    rps: 100.0,
    error_rate: 0.005,
    latency_ms: 50.0,
};

fn release(analysis: serde_json::Value) -> Release {
    serde_json::from_value(serde_json::json!({
        "apiVersion": "fridaymorning.dev/v1", "kind": "Release",
        "metadata": { "name": "shop" },
        "spec": {
            "workload": { "image": "shop:1" },
            "routes": [{ "hosts": ["shop.example.com"], "port": 80 }],
            "strategy": { "canary": { "steps": [{ "weight": 10, "hold": "10s" }, { "weight": 50, "hold": "20s" }] } },
            "analysis": analysis,
        },
    }))
    .unwrap()
}

fn canary(error_rate: f64, deserves: Decision) -> Canary {
    Canary {
        error_rate,
        slower: 1.0,
        deserves,
    }
}

#[test]
fn the_worse_a_canary_the_sooner_it_is_taken_back_and_a_good_one_is_promoted() {
    let quick = serde_json::json!({ "warmup": "0s", "bake": "30s", "latency": { "disabled": true }, "errors": { "promote": { "margin": 0.01 } } });
    let power = Power::new(&release(quick), TRAFFIC).unwrap();
    let mut before = u64::MAX;
    for rate in [0.05, 0.2, 1.0] {
        let outcome = power.simulate(canary(rate, Decision::Rollback), 40, 1);
        assert_eq!(outcome.rolled_back, 1.0, "{rate}");
        let seconds = outcome.seconds.p95.unwrap();
        assert!(
            seconds <= before && outcome.requests.median.unwrap() >= 3,
            "{outcome:?}"
        );
        before = seconds;
    }
    let good = power.simulate(canary(0.005, Decision::Promote), 40, 1);
    assert!(good.promoted >= 0.9, "{good:?}");
    assert_eq!(power.least_time().as_secs_f64(), 30.0);
    assert!(good.seconds.median.unwrap() >= 30);
    assert_eq!(
        good,
        power.simulate(canary(0.005, Decision::Promote), 40, 1),
        "seeded"
    );
    assert_ne!(
        good,
        power.simulate(canary(0.005, Decision::Promote), 40, 2)
    );
}

#[test]
fn what_the_traffic_cannot_show_is_inconclusive() {
    let slow = serde_json::json!({ "deadline": "60s", "latency": { "disabled": true } });
    let traffic = Traffic {
        rps: 1.0,
        ..TRAFFIC
    };
    let power = Power::new(&release(slow), traffic).unwrap();
    let outcome = power.simulate(canary(0.005, Decision::Promote), 20, 1);
    assert_eq!(
        (outcome.inconclusive, outcome.seconds.median),
        (1.0, None),
        "{outcome:?}"
    );
}

#[test]
fn slower_canaries_are_tried_where_response_times_are_judged() {
    let tried = |analysis| {
        Power::new(&release(analysis), TRAFFIC)
            .unwrap()
            .canaries()
            .iter()
            .filter(|c| c.slower > 1.0)
            .count()
    };
    assert_eq!(
        tried(serde_json::json!({ "latency": { "disabled": true } })),
        0
    );
    assert_eq!(tried(serde_json::json!({})), 3);
    let power = Power::new(&release(serde_json::json!({})), TRAFFIC).unwrap();
    let twice = Canary {
        error_rate: 0.005,
        slower: 2.0,
        deserves: Decision::Rollback,
    };
    assert_eq!(power.simulate(twice, 20, 1).rolled_back, 1.0);
}

#[test]
fn what_is_not_decided_by_evidence_is_refused() {
    let refused =
        Power::new(&release(serde_json::json!({ "disabled": true })), TRAFFIC).unwrap_err();
    assert!(refused.contains("disabled"), "{refused}");
}
