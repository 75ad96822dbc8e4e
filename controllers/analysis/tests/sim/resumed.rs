//! A run that is killed, and goes on from what was stored.

use std::collections::BTreeMap;

use fm_analysis::reach::Views;
use fm_analysis::run::{Identity, Run};
use fm_api::criteria::Analysis;
use fm_api::keys::{ReleaseKey, RevisionId};
use fm_api::quantity::Weight;
use fm_api::target::{Target, Traffic};
use fm_api::verdict::Verdict;
use fm_telemetry::Pulled;
use fm_telemetry::counters::{Counters, LogHealth, Snapshot};
use fm_telemetry::outcomes::{End, Kind};

use super::canary::{at, target as judged};
use super::random::Random;
use super::world::{FULL, Second, ramp};

pub(crate) const SECONDS: u64 = 300;

/// The greatest difference of any evidence to that of the run that nobody killed, over kills after each of so many seconds (in
/// the middle of batches too), and after all of them.
pub(crate) fn greatest_difference(every: u64) -> f64 {
    let whole = play(|_| false);
    let kills = (1..SECONDS).step_by(every as usize);
    let killed = kills.map(|kill| play(|second| second == kill));
    killed
        .chain([play(|_| true)])
        .map(|other| difference(&whole, &other))
        .fold(0.0, f64::max)
}

fn difference(a: &Verdict, b: &Verdict) -> f64 {
    let same = (a.batch, a.decision, a.reason, a.metrics.len())
        == (b.batch, b.decision, b.reason, b.metrics.len());
    let pairs = a.metrics.iter().zip(&b.metrics);
    let found = pairs.flat_map(|(a, b)| {
        [
            a.log_e_harm - b.log_e_harm,
            a.log_e_ni - b.log_e_ni,
            a.lower - b.lower,
            a.upper - b.upper,
        ]
    });
    let greatest = found.map(f64::abs).fold(0.0, f64::max);
    if same { greatest } else { f64::INFINITY }
}

/// Sparse enough that batches last for seconds, and with every kind of evidence.
fn world(second: u64) -> Second {
    let calm = Second {
        rps: 40,
        bad: (0.02, 0.01),
        ..FULL
    };
    ramp(second, calm)
}

fn target(second: u64) -> Target {
    let (share, generation) = (world(second).share, world(second).share * 100.0);
    let mut analysis = judged(&Analysis::default());
    analysis.canary = RevisionId::new("canary");
    let mut target: Target = serde_json::from_value(serde_json::json!({
        "uid": "u", "generation": 1, "specGeneration": 1,
    }))
    .unwrap();
    target.traffic = Some(Traffic {
        stable: analysis.stable.clone(),
        canary: Some(analysis.canary.clone()),
        weight: Weight::from_basis_points((share * 10_000.0) as u16),
        mirror: Weight::ZERO,
        seed: "0badcafe".into(),
        generation: generation as u64,
    });
    target.analysis = Some(analysis);
    target
}

/// Plays the same traffic, seen through an agent's counters; where it is killed only what was written is left.
fn play(killed_after: impl Fn(u64) -> bool) -> Verdict {
    let (key, mut random) = (ReleaseKey::new("default", "shop"), Random::new(5));
    let (mut canary, mut stable) = (Counters::default(), Counters::default());
    let first = target(1);
    let identity = Identity::of(&first, first.analysis.as_ref().unwrap(), None);
    let mut run = Run::new(
        identity.clone(),
        (&first, first.analysis.as_ref().unwrap()),
        None,
        at(0),
    );
    let analysis = first.analysis.as_ref().unwrap();
    run.count(
        &key,
        analysis,
        &pulled(0, &canary, &stable),
        &Views::default(),
        at(0),
    );
    let begun = run.begin(&first, analysis, at(0));
    let mut written = run.stored(&begun).unwrap();
    for second in 1..=SECONDS {
        let target = target(second);
        let analysis = target.analysis.as_ref().unwrap();
        let (c, s) = world(second).play(&mut random);
        grow(&mut canary, &c);
        grow(&mut stable, &s);
        let pulled = pulled(second, &canary, &stable);
        run.count(&key, analysis, &pulled, &Views::default(), at(second));
        if let Some(verdict) = run.tick(&target, analysis, at(second)) {
            written = run.stored(&verdict).unwrap();
        }
        if killed_after(second) {
            let read: Verdict = serde_json::from_slice(&written).unwrap();
            run = Run::resume(identity.clone(), &read, 7, at(second)).unwrap();
        }
    }
    serde_json::from_slice(&written).unwrap()
}

fn grow(counters: &mut Counters, did: &fm_analysis::evidence::Tally) {
    let kind = |status| Kind {
        status,
        end: End::Answered,
        grpc: None,
        state: None,
    };
    let (all, bad) = (did.counted.requests, did.counted.bad);
    let refused = did.client_errors.unwrap_or_default();
    counters.requests += all;
    counters.bad += bad;
    counters.outcomes.add(kind(500), bad);
    counters.outcomes.add(kind(404), refused);
    counters.outcomes.add(kind(200), all - bad - refused);
    if let Some(latency) = &did.latency {
        counters.latency.merge(latency);
    }
}

fn pulled(second: u64, canary: &Counters, stable: &Counters) -> Pulled {
    let revisions = BTreeMap::from([
        ("canary".to_owned(), canary.clone()),
        ("stable".to_owned(), stable.clone()),
    ]);
    Pulled {
        at: at(second),
        answers: vec![Ok(Snapshot {
            instance: "edge".into(),
            epoch: "1".into(),
            log: LogHealth {
                lines: canary.requests + stable.requests,
                ..LogHealth::default()
            },
            releases: BTreeMap::from([("default/shop".to_owned(), revisions)]),
            ..Snapshot::default()
        })],
        usage: std::sync::Arc::default(),
    }
}
