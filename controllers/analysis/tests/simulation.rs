//! What the analysis must reach, in short: fixed seeds, simulated time. The long form is the example `sim_stats`.

mod sim;

use fm_analysis::evidence::Errors;
use fm_analysis::plan::requests_needed;
use fm_analysis::pmix::{self, Counts, Question, Sums};
use fm_api::criteria::{Analysis, WarmupSpan};
use fm_api::quantity::{Span, Weight};
use sim::{
    STEADY, Second, World, drifting, many, median_requests_to_harm, outage, plain, ramp,
    rolled_back, seconds_to_harm,
};

#[test]
fn healthy_canaries_are_left_alone() {
    let worlds: [(&str, World); 5] = [
        ("A/A", |_| STEADY),
        ("A/A at 10 rps", |_| Second { rps: 10, ..STEADY }),
        ("outage", |t| outage(t, STEADY)),
        ("ramp with outage", |t| outage(t, ramp(t, STEADY))),
        ("drift", |t| drifting(t, STEADY)),
    ];
    for (name, world) in worlds {
        for (criteria, most) in [(plain(0.05), 0.05), (Analysis::default(), 0.005)] {
            let found = rolled_back(&many(&criteria, 200, 600, false, world));
            assert!(found <= most, "{name}: {found}");
        }
    }
    let mut criteria = plain(0.05);
    criteria.errors.design_effect = 3.0;
    let sticky = |_| Second {
        retries: 2,
        ..STEADY
    };
    let found = rolled_back(&many(&criteria, 200, 600, false, sticky));
    assert!(found <= 0.05, "sticky retries: {found}");
}

#[test]
fn bad_canaries_are_found_in_few_requests() {
    for (rate, most) in [(0.01, 2170), (0.02, 380), (0.05, 66), (0.2, 12), (1.0, 2)] {
        let found = median_requests_to_harm(601, rate);
        assert!(found <= most, "{rate}: {found} requests");
    }
}

#[test]
fn bad_canaries_are_found_in_few_seconds() {
    for (rate, median, late) in [(0.02, 80, 200), (0.05, 14, 35), (0.2, 3, 6), (1.0, 2, 2)] {
        let world = |_| Second {
            bad: (rate, 0.005),
            ..STEADY
        };
        let decided = many(&Analysis::default(), 300, 1200, false, world);
        let found = (
            seconds_to_harm(&decided, 0.5),
            seconds_to_harm(&decided, 0.95),
        );
        assert!(found.0 <= median && found.1 <= late, "{rate}: {found:?} s");
    }
}

#[test]
fn a_canary_at_the_margin_is_rarely_promoted() {
    let mut criteria = Analysis::default();
    criteria.errors.rollback.min_bad = u64::MAX;
    let worse = |_| Second {
        bad: (0.010, 0.005),
        ..STEADY
    };
    let decided = many(&criteria, 200, 900, true, worse);
    let promoted = decided.iter().filter(|d| d.non_inferior.is_some()).count();
    // One in twenty is allowed; among so few, chance alone makes it up to sixteen. The long form is exact.
    assert!(promoted <= 16, "{promoted} of 200");
}

#[test]
fn without_errors_promotion_takes_as_many_requests_as_foretold() {
    let mut sums = Sums::default();
    let mut requests = 0;
    while sums.log_e(0.01, 1.0) < pmix::threshold(0.05) {
        sums.add(
            Question::NonInferiority,
            1.0,
            Counts {
                x: 0,
                y: 0,
                n_c: 10,
                n_s: 190,
            },
        );
        requests += 10;
    }
    assert_eq!(requests, 410);
    let mut criteria = Analysis::default();
    criteria.errors.promote.margin = 0.01;
    let told = requests_needed(&criteria, &Errors::default(), Weight::percent(5)).unwrap();
    assert!((401..=410).contains(&told), "{told}");
    assert_eq!(
        requests_needed(&criteria, &Errors::default(), Weight::FULL),
        None
    );
    assert_eq!(
        requests_needed(&criteria, &Errors::default(), Weight::ZERO),
        None
    );
}

#[test]
fn slow_canaries_are_found_and_others_left_alone() {
    let mut criteria = Analysis {
        warmup: WarmupSpan(Span::ZERO),
        ..Analysis::default()
    };
    criteria.errors.rollback.min_bad = u64::MAX;
    let slower = |by: f64| Second {
        median: Some((50.0 * by, 50.0)),
        ..STEADY
    };
    let same = many(&criteria, 15, 600, false, |t| {
        outage(t, ramp(t, slower(1.0)))
    });
    assert!(rolled_back(&same) <= 0.01, "{same:?}");
    for (by, most) in [(1.5, 20), (2.0, 8)] {
        let decided = many(&criteria, 25, 100, false, |_| slower(by));
        let found = seconds_to_harm(&decided, 0.5);
        assert!(found <= most, "x{by}: {found} s");
    }
}
