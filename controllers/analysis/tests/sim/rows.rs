//! The list of what must be reached, item by item.

use fm_analysis::evidence::Errors;
use fm_analysis::plan::requests_needed;
use fm_analysis::pmix::{self, Counts, Question, Sums};
use fm_api::criteria::{Analysis, WarmupSpan};
use fm_api::quantity::{Span, Weight};

use super::canary::{Batches, Until, canary, requests_to_harm};
use super::proof::{Goal, Kind, Play, Row};
use super::world::{FULL, LITTLE, STEADY, Second, World, drifting, outage, ramp};
use super::{enumerated, pairs, resumed};

/// Every row of the list. The runs of the last one are killed after every so many seconds.
pub(crate) fn rows(kill_every: u64) -> Vec<Row> {
    let mut rows = Vec::new();
    for item in [
        expectations,
        reference,
        false_rollbacks,
        requests_until_harm,
        seconds_until_harm,
        promotion,
        latency,
    ] {
        rows.extend(item());
    }
    rows.push(resumption(kill_every));
    rows.extend(super::traffic::rows());
    rows
}

fn exact(
    item: u8,
    what: impl Into<String>,
    most: f64,
    find: impl Fn() -> f64 + Send + Sync + 'static,
) -> Row {
    Row {
        item,
        what: what.into(),
        kind: Kind::Exact {
            most,
            find: Box::new(find),
        },
    }
}

fn chance(item: u8, what: impl Into<String>, goal: Goal, unit: &'static str, play: Play) -> Row {
    Row {
        item,
        what: what.into(),
        kind: Kind::Chance { goal, unit, play },
    }
}

fn expectations() -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, question) in [
        ("harm", Question::Harm),
        ("non-inferiority", Question::NonInferiority),
    ] {
        for r0 in [1.0, 1.1, 1.5] {
            for d in [0.0, 0.001, 0.02] {
                let what = format!("E(factor) - 1 at H0, enumerated: {name}, r0 {r0}, d {d}");
                let find = move || enumerated::excess(question, r0, d);
                rows.push(exact(1, what, 1e-9, find));
            }
        }
    }
    rows
}

fn reference() -> Vec<Row> {
    let cases = pairs::cases();
    let row = |case: pairs::Case| {
        let what = format!("reference pair {}: error / tolerance", case.id);
        exact(2, what, 1.0, move || case.error())
    };
    cases.into_iter().map(row).collect()
}

/// The plain test: `alpha`, no ratio, no margin, no least number of bad requests, errors alone.
fn plain(alpha: f64) -> Analysis {
    let mut criteria = Analysis::default();
    criteria.errors.client_errors.disabled = true;
    let rollback = &mut criteria.errors.rollback;
    (rollback.alpha, rollback.ratio) = (alpha, 1.0);
    (rollback.margin, rollback.min_bad) = (0.0, 0);
    criteria
}

fn harm(criteria: Analysis, seconds: u64, batches: Batches, world: World) -> Play {
    Box::new(move |seed| canary(&criteria, seed, seconds, (Until::Harm, batches), world))
}

fn false_rollbacks() -> Vec<Row> {
    let steady: [(&str, World); 4] = [
        ("A/A", |_| STEADY),
        ("outage", |t| outage(t, STEADY)),
        ("ramp and outage", |t| outage(t, ramp(t, STEADY))),
        ("drift", |t| drifting(t, STEADY)),
    ];
    let little: [(&str, World); 4] = [
        ("A/A", |_| LITTLE),
        ("outage", |t| outage(t, LITTLE)),
        ("ramp and outage", |t| outage(t, ramp(t, LITTLE))),
        ("drift", |t| drifting(t, LITTLE)),
    ];
    let full: [(&str, World); 5] = [
        ("A/A, 200 rps x 5 %", |_| FULL),
        ("A/A, 10 rps x 5 %", |_| Second { rps: 10, ..FULL }),
        ("outage, 200 rps x 5 %", |t| outage(t, FULL)),
        ("ramp and outage, 200 rps", |t| outage(t, ramp(t, FULL))),
        ("drift, 200 rps x 5 %", |t| drifting(t, FULL)),
    ];
    let mut rows = Vec::new();
    for (traffic, worlds) in [("200 rps x 5 %", steady), ("10 rps x 5 %", little)] {
        for (name, world) in worlds {
            // The list's one-second batches; and the defaults as they decide online.
            for alpha in [0.05, 0.01] {
                let what = format!("false rollback, {name}, {traffic}, alpha {alpha}");
                let play = harm(plain(alpha), 600, Batches::EverySecond, world);
                rows.push(chance(3, what, Goal::Rare(alpha), "s", play));
            }
            let what = format!("false rollback, {name}, {traffic}, defaults");
            let play = harm(Analysis::default(), 600, Batches::AsOnline, world);
            rows.push(chance(3, what, Goal::Rare(0.005), "s", play));
        }
    }
    for (name, world) in full {
        let what = format!("false rollback, {name}, defaults with 4xx and latency");
        let play = harm(Analysis::default(), 600, Batches::AsOnline, world);
        rows.push(chance(3, what, Goal::Rare(0.005), "s", play));
    }
    let sticky: [(&str, World); 2] = [
        ("200 rps x 5 %", |_| Second {
            retries: 2,
            ..STEADY
        }),
        ("10 rps x 5 %", |_| Second {
            retries: 2,
            ..LITTLE
        }),
    ];
    for (traffic, world) in sticky {
        let mut criteria = plain(0.05);
        criteria.errors.design_effect = Some(3.0);
        let what = format!("false rollback, errors tripled, deff 3, {traffic}, alpha 0.05");
        let play = harm(criteria, 600, Batches::EverySecond, world);
        rows.push(chance(3, what, Goal::Rare(0.05), "s", play));
    }
    rows
}

fn requests_until_harm() -> Vec<Row> {
    let goals = [(0.01, 2170), (0.02, 380), (0.05, 66), (0.2, 12), (1.0, 2)];
    let row = |(rate, most): (f64, u64)| {
        let what = format!(
            "median requests to harm, 0.5 % -> {} %, alpha 0.05",
            rate * 100.0
        );
        let play: Play = Box::new(move |seed| requests_to_harm(seed, rate));
        chance(4, what, Goal::Within(0.5, most), "requests", play)
    };
    goals.map(row).into()
}

fn seconds_until_harm() -> Vec<Row> {
    let worlds: [(f64, u64, u64, World); 4] = [
        (2.0, 80, 200, |_| Second {
            bad: (0.02, 0.005),
            ..STEADY
        }),
        (5.0, 14, 35, |_| Second {
            bad: (0.05, 0.005),
            ..STEADY
        }),
        (20.0, 3, 6, |_| Second {
            bad: (0.2, 0.005),
            ..STEADY
        }),
        (100.0, 2, 2, |_| Second {
            bad: (1.0, 0.005),
            ..STEADY
        }),
    ];
    let mut rows = Vec::new();
    for (percent, median, late, world) in worlds {
        for (name, share, most) in [("median", 0.5, median), ("p95", 0.95, late)] {
            let what = format!("defaults, 200 rps x 5 %, {percent} % errors, {name}");
            let play = harm(Analysis::default(), 1200, Batches::AsOnline, world);
            rows.push(chance(5, what, Goal::Within(share, most), "s", play));
        }
    }
    rows
}

fn promoted(criteria: Analysis, seconds: u64, world: World) -> Play {
    let how = (Until::NonInferior, Batches::AsOnline);
    Box::new(move |seed| canary(&criteria, seed, seconds, how, world))
}

const MARGIN: Second = Second {
    bad: (0.010, 0.005),
    ..STEADY
};

fn promotion() -> Vec<Row> {
    let margin: [(&str, World); 4] = [
        ("200 rps x 5 %", |_| MARGIN),
        ("10 rps x 5 %", |_| Second { rps: 10, ..MARGIN }),
        ("ramp and outage", |t| outage(t, ramp(t, MARGIN))),
        ("drift", |t| drifting(t, MARGIN)),
    ];
    let mut rows = Vec::new();
    for (name, world) in margin {
        let what = format!("false promotion at the margin of errors, {name}");
        let play = promoted(Analysis::default(), 900, world);
        rows.push(chance(6, what, Goal::Rare(0.05), "s", play));
    }
    // 1.25 times stable's quantile and a margin of one point: in these times a canary that is 31 % slower.
    let slow: World = |_| Second {
        median: Some((66, 50)),
        ..STEADY
    };
    let what = "false promotion of a canary slower by 32 %";
    let play = promoted(Analysis::default(), 600, slow);
    rows.push(chance(6, what, Goal::Rare(0.05), "s", play));
    rows.push(exact(
        6,
        "requests to non-inferiority without errors, off from 410",
        0.0,
        || (clean_requests() as f64 - 410.0).abs(),
    ));
    rows.push(exact(
        6,
        "what is foretold of it, beyond one batch of 10",
        10.0,
        || clean_requests() as f64 - foretold() as f64,
    ));
    rows
}

/// Batches of 10 canary and 190 stable requests without an error, at a margin of one percentage point.
fn clean_requests() -> u64 {
    let mut sums = Sums::default();
    let mut requests = 0;
    while sums.log_e(0.01, 1.0) < pmix::threshold(0.05) {
        let (x, y, n_c, n_s) = (0, 0, 10, 190);
        sums.add(Question::NonInferiority, 1.0, Counts { x, y, n_c, n_s });
        requests += n_c;
    }
    requests
}

fn foretold() -> u64 {
    let mut criteria = Analysis::default();
    criteria.errors.promote.margin = 0.01;
    requests_needed(&criteria, &Errors::default(), Weight::percent(5)).unwrap()
}

fn latency() -> Vec<Row> {
    let criteria = || {
        let mut criteria = Analysis {
            warmup: WarmupSpan(Span::ZERO),
            ..Analysis::default()
        };
        // Response times alone.
        criteria.errors.rollback.min_bad = u64::MAX;
        criteria
    };
    let same: [(&str, World); 3] = [
        ("A/A, 200 rps x 5 %", |_| times(50)),
        ("A/A, 10 rps x 5 %", |_| Second {
            rps: 10,
            ..times(50)
        }),
        ("ramp and outage", |t| outage(t, ramp(t, times(50)))),
    ];
    let play = |world| harm(criteria(), 600, Batches::AsOnline, world);
    let mut rows = Vec::new();
    for (name, world) in same {
        let what = format!("latency, false rollback, {name}");
        rows.push(chance(7, what, Goal::Rare(0.01), "s", play(world)));
    }
    let found = play(|_| times(60));
    rows.push(chance(
        7,
        "latency x1.2, found within 600 s",
        Goal::Common(0.95),
        "s",
        found,
    ));
    let slow: [(&str, World, u64); 2] = [
        ("latency x1.5, median", |_| times(75), 20),
        ("latency x2, median", |_| times(100), 8),
    ];
    for (what, world, most) in slow {
        rows.push(chance(7, what, Goal::Within(0.5, most), "s", play(world)));
    }
    rows
}

fn times(canary: u32) -> Second {
    Second {
        median: Some((canary, 50)),
        ..STEADY
    }
}

fn resumption(every: u64) -> Row {
    let what = format!(
        "killed after each of {} seconds: difference of evidence",
        resumed::SECONDS / every
    );
    exact(8, what, 1e-9, move || resumed::greatest_difference(every))
}
