//! What the analysis reaches, by simulation with fixed seeds:
//! `cargo run -p fm-analysis --release --example sim_stats [RUNS [PART]]`.
//! Exits with 1 when a goal is missed.

#[path = "../tests/sim/mod.rs"]
mod sim;

use std::process::ExitCode;

use fm_api::criteria::{Analysis, WarmupSpan};
use fm_api::quantity::Span;
use sim::{
    STEADY, Second, World, drifting, many, median_requests_to_harm, outage, plain, ramp,
    rolled_back, seconds_to_harm,
};

/// A part of the report, with so many runs.
type Part = fn(&mut Report, u64);

struct Report {
    missed: u32,
}

impl Report {
    fn line(&mut self, what: &str, found: f64, most: f64, unit: &str) {
        let met = found <= most;
        self.missed += u32::from(!met);
        let word = if met { "ok" } else { "MISSED" };
        println!("{word:7}{what:66}{found:10.3} {unit} (at most {most})");
    }
}

fn false_rollbacks(report: &mut Report, runs: u64) {
    let worlds: [(&str, World); 5] = [
        ("A/A 200 rps x 5 %", |_| STEADY),
        ("A/A 10 rps x 5 %", |_| Second { rps: 10, ..STEADY }),
        ("shared outage of 60 s", |t| outage(t, STEADY)),
        ("ramp 5/20/50 % with the outage", |t| {
            outage(t, ramp(t, STEADY))
        }),
        ("drifting baseline", |t| drifting(t, STEADY)),
    ];
    for (name, world) in worlds {
        for (kind, criteria, most) in [
            ("alpha .05", plain(0.05), 5.0),
            ("alpha .01", plain(0.01), 1.0),
            ("defaults", Analysis::default(), 0.5),
        ] {
            let found = 100.0 * rolled_back(&many(&criteria, runs, 600, false, world));
            report.line(&format!("false rollback, {name}, {kind}"), found, most, "%");
        }
    }
    let mut criteria = plain(0.05);
    criteria.errors.design_effect = 3.0;
    let sticky = |_| Second {
        retries: 2,
        ..STEADY
    };
    let found = 100.0 * rolled_back(&many(&criteria, runs, 600, false, sticky));
    report.line(
        "false rollback, errors tripled, deff 3, alpha .05",
        found,
        5.0,
        "%",
    );
}

fn detection(report: &mut Report, runs: u64) {
    for (rate, most) in [
        (0.01, 2170.0),
        (0.02, 380.0),
        (0.05, 66.0),
        (0.2, 12.0),
        (1.0, 2.0),
    ] {
        let found = median_requests_to_harm(runs, rate) as f64;
        let what = format!("median requests to harm, 0.5 % -> {} %", rate * 100.0);
        report.line(&what, found, most, "requests");
    }
    for (rate, median, late) in [
        (0.02, 80.0, 200.0),
        (0.05, 14.0, 35.0),
        (0.2, 3.0, 6.0),
        (1.0, 2.0, 2.0),
    ] {
        let world = |_| Second {
            bad: (rate, 0.005),
            ..STEADY
        };
        let decided = many(&Analysis::default(), runs, 1200, false, world);
        let what = format!("defaults, 200 rps x 5 %, {} %:", rate * 100.0);
        report.line(
            &format!("{what} median"),
            seconds_to_harm(&decided, 0.5) as f64,
            median,
            "s",
        );
        report.line(
            &format!("{what} p95"),
            seconds_to_harm(&decided, 0.95) as f64,
            late,
            "s",
        );
    }
}

fn promotion(report: &mut Report, runs: u64) {
    let mut criteria = Analysis::default();
    // Only the question of promotion: nothing is taken back.
    criteria.errors.rollback.min_bad = u64::MAX;
    let worse = |_| Second {
        bad: (0.010, 0.005),
        ..STEADY
    };
    let decided = many(&criteria, runs, 1800, true, worse);
    let found = decided.iter().filter(|d| d.non_inferior.is_some()).count() as f64;
    report.line(
        "false promotion at the margin",
        100.0 * found / runs as f64,
        5.0,
        "%",
    );
}

fn latency(report: &mut Report, runs: u64) {
    let mut criteria = Analysis {
        warmup: WarmupSpan(Span::ZERO),
        ..Analysis::default()
    };
    criteria.errors.rollback.min_bad = u64::MAX;
    let slower = |by: f64| Second {
        median: Some((50.0 * by, 50.0)),
        ..STEADY
    };
    let same = many(&criteria, runs, 600, false, |_| slower(1.0));
    report.line(
        "latency, false rollback, A/A",
        100.0 * rolled_back(&same),
        1.0,
        "%",
    );
    let ramped = many(&criteria, runs, 600, false, |t| {
        outage(t, ramp(t, slower(1.0)))
    });
    report.line(
        "latency, false rollback, ramp with outage",
        100.0 * rolled_back(&ramped),
        1.0,
        "%",
    );
    let found = many(&criteria, runs, 600, false, |_| slower(1.2));
    report.line(
        "latency, x1.2 missed within 600 s",
        100.0 - 100.0 * rolled_back(&found),
        5.0,
        "%",
    );
    for (by, most) in [(1.5, 20.0), (2.0, 8.0)] {
        let decided = many(&criteria, runs, 600, false, |_| slower(by));
        let what = format!("latency, x{by}, median");
        report.line(&what, seconds_to_harm(&decided, 0.5) as f64, most, "s");
    }
}

fn main() -> ExitCode {
    let runs = std::env::args()
        .nth(1)
        .and_then(|n| n.parse().ok())
        .unwrap_or(2000);
    let only = std::env::args().nth(2).unwrap_or_default();
    let mut report = Report { missed: 0 };
    let parts: [(&str, Part); 4] = [
        ("false-rollbacks", false_rollbacks),
        ("detection", detection),
        ("promotion", promotion),
        ("latency", |report, runs| latency(report, (runs / 5).max(1))),
    ];
    for (name, part) in parts {
        if name.contains(&only) {
            part(&mut report, runs);
        }
    }
    println!("{} goals missed", report.missed);
    ExitCode::from(u8::from(report.missed > 0))
}
