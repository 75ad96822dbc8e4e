//! The rows: what each kind must come to.

use fm_api::verdict::Decision;

use super::super::proof::{Goal, Kind as RowKind, Row};
use super::rollout::{End, Rollout};
use super::{Kind, LOAD, Load, bursts, faults, late, times, users};

/// The item under which these rows stand, beside those of the method itself.
const ITEM: u8 = 9;

/// What of a rollout's end a row counts.
type Counts = fn(End) -> Option<u64>;

fn promoted((decision, second): End) -> Option<u64> {
    (decision == Decision::Promote).then_some(second)
}

fn rolled_back((decision, second): End) -> Option<u64> {
    (decision == Decision::Rollback).then_some(second)
}

/// Seconds after the onset at ten minutes.
fn found_after_ten_minutes(end: End) -> Option<u64> {
    rolled_back(end).map(|second| second.saturating_sub(600))
}

fn row(
    what: impl Into<String>,
    goal: Goal,
    counts: Counts,
    rollout: Rollout,
    kind: impl Fn() -> Kind + Send + Sync + 'static,
) -> Row {
    Row {
        item: ITEM,
        what: what.into(),
        kind: RowKind::Chance {
            goal,
            unit: "s",
            play: Box::new(move |seed| counts(rollout.play(seed, kind()))),
        },
    }
}

/// All of them.
pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for kind in [
        late_harm,
        found,
        milliseconds,
        two_modes,
        clusters,
        wandering,
        cold,
        outage,
        bad_task,
        refusals,
    ] {
        rows.extend(kind());
    }
    rows
}

fn late_harm() -> Vec<Row> {
    let mut rows = Vec::new();
    let held = || Rollout::new(LOAD, 600, 900);
    for (rate, last) in [(0.05, 50), (0.2, 20), (0.1, 30), (0.05, 90)] {
        let what = format!("promoted while it fails, {rate} of errors, last {last} s of 600");
        let kind = move || late::errors(LOAD, 601 - last, rate);
        rows.push(row(what, Goal::Rare(0.01), promoted, held(), kind));
    }
    // As manifests/shop.yaml: 1 % for a minute, 10 % for two, 50 % for five.
    const STEPS: &[(i64, f64)] = &[(0, 0.01), (60, 0.1), (180, 0.5)];
    for (rate, last, most) in [(0.02, 60, 0.45), (0.05, 30, 0.01), (0.2, 10, 0.01)] {
        let what = format!("the same in steps to 50 %, {rate} of errors, last {last} s of 480");
        let kind = move || late::in_steps(LOAD, STEPS, 481 - last, rate);
        let rollout = Rollout::new(LOAD, 480, 900);
        rows.push(row(what, Goal::Rare(most), promoted, rollout, kind));
    }
    for (median, last) in [(75, 50), (100, 20), (70, 90)] {
        let what = format!("the same by response time, 50 to {median} ms, last {last} s of 600");
        let kind = move || late::slower(LOAD, 601 - last, (median, 50));
        rows.push(row(what, Goal::Rare(0.01), promoted, held(), kind));
    }
    rows
}

fn found() -> Vec<Row> {
    let mut rows = Vec::new();
    // It is held for as long as it is watched.
    let watched = || Rollout::new(LOAD, 1200, 1200);
    for (rate, most) in [(0.2, 5), (0.05, 28), (1.0, 2)] {
        let what = format!("harm from 600 s on, {rate} of errors, median");
        let kind = move || late::errors(LOAD, 601, rate);
        let goal = Goal::Within(0.5, most);
        rows.push(row(what, goal, found_after_ten_minutes, watched(), kind));
    }
    for (median, most) in [(75, 16), (100, 8)] {
        let what = format!("harm from 600 s on, 50 to {median} ms, median");
        let kind = move || late::slower(LOAD, 601, (median, 50));
        let goal = Goal::Within(0.5, most);
        rows.push(row(what, goal, found_after_ten_minutes, watched(), kind));
    }
    rows
}

fn milliseconds() -> Vec<Row> {
    let mut rows = Vec::new();
    for median in [1, 2, 5] {
        let what = format!("whole milliseconds, {median} ms on both sides, promoted");
        let kind = move || late::slower(LOAD, 0, (median, median));
        let goal = Goal::Within(0.5, 180);
        rows.push(row(what, goal, promoted, Rollout::new(LOAD, 60, 900), kind));
    }
    for (canary, stable) in [(2, 1), (3, 2), (5, 4)] {
        let what = format!("nobody feels {canary} against {stable} ms, rolled back");
        let kind = move || late::slower(LOAD, 0, (canary, stable));
        let rollout = Rollout::new(LOAD, 600, 900);
        rows.push(row(what, Goal::Rare(0.01), rolled_back, rollout, kind));
    }
    rows
}

fn two_modes() -> Vec<Row> {
    let row = |hits: f64| {
        let what = format!("two modes, {hits} hits of 5 ms, misses 100 ms, promoted");
        let kind = move || times::two_modes(LOAD, hits);
        row(
            what,
            Goal::Common(0.95),
            promoted,
            Rollout::new(LOAD, 60, 1800),
            kind,
        )
    };
    [0.95, 0.75, 0.99, 0.947].map(row).into()
}

fn clusters() -> Vec<Row> {
    let mut rows = Vec::new();
    let seen = |load| Rollout::new(load, 600, 600).with_history();
    for (longest, rate, tasks) in [(20, 0.2, 4), (20, 0.2, 19), (60, 0.1, 4), (5, 0.5, 4)] {
        let what = format!("bursts to {longest} s of {rate}, {tasks} tasks, false rollback");
        let load = Load { tasks, ..LOAD };
        let kind = move || bursts::bursts(load, longest, rate);
        rows.push(row(what, Goal::Rare(0.01), rolled_back, seen(load), kind));
    }
    for (requests, mean) in [(20, 0.01), (10, 0.02), (50, 0.005)] {
        let what = format!("sticky users of {requests} requests, {mean} bad, false rollback");
        let kind = move || users::own_rates(LOAD, requests, mean);
        let rollout = seen(LOAD).sticky();
        rows.push(row(what, Goal::Rare(0.01), rolled_back, rollout, kind));
    }
    for (scan, every) in [((10, 30), 300), ((20, 10), 200), ((5, 120), 900)] {
        let what = format!("scanners of {scan:?} 404s x s, each {every} s, false rollback");
        let kind = move || users::scanners(LOAD, scan, every);
        let rollout = seen(LOAD).sticky();
        rows.push(row(what, Goal::Rare(0.005), rolled_back, rollout, kind));
    }
    rows
}

fn wandering() -> Vec<Row> {
    let row = |(phi, deviation): (f64, f64)| {
        let what = format!("response times AR(1) {phi}, sd {deviation}, false rollback");
        let kind = move || times::wandering(LOAD, phi, deviation);
        let rollout = Rollout::new(LOAD, 600, 600).with_history();
        row(what, Goal::Rare(0.01), rolled_back, rollout, kind)
    };
    [(0.95, 0.1), (0.95, 0.2), (0.8, 0.2), (0.99, 0.1)]
        .map(row)
        .into()
}

fn cold() -> Vec<Row> {
    let row = |(until, longer): (i64, f64)| {
        let what = format!("cold cache, x{longer} for {until} s, rolled back");
        let kind = move || times::cold(LOAD, until, longer);
        let rollout = Rollout::new(LOAD, 300, 600);
        row(what, Goal::Rare(0.01), rolled_back, rollout, kind)
    };
    [(60, 2.0), (45, 3.0), (60, 1.5)].map(row).into()
}

fn outage() -> Vec<Row> {
    let mut rows = Vec::new();
    for (from, until) in [(300, 330), (100, 160), (550, 600)] {
        let what = format!("total outage from {from} to {until} s, promoted within 900 s");
        let kind = move || faults::outage(LOAD, (from, until), super::BASE);
        let rollout = Rollout::new(LOAD, 360, 900);
        rows.push(row(what, Goal::Common(0.95), promoted, rollout, kind));
        let what = format!("20 % errors after the outage from {from} to {until} s, median");
        let kind = move || faults::outage(LOAD, (from, until), 0.2);
        let counts: Counts = match until {
            330 => |end| rolled_back(end).map(|second| second.saturating_sub(330)),
            160 => |end| rolled_back(end).map(|second| second.saturating_sub(160)),
            _ => |end| rolled_back(end).map(|second| second.saturating_sub(600)),
        };
        let rollout = Rollout::new(LOAD, 900, 900);
        rows.push(row(what, Goal::Within(0.5, 12), counts, rollout, kind));
    }
    rows
}

fn bad_task() -> Vec<Row> {
    let row = |(bad, canarys): (f64, f64)| {
        let what = format!("a task of stable with {bad} of errors, canary {canarys}, promoted");
        let kind = move || faults::bad_task(LOAD, bad, canarys);
        let rollout = Rollout::new(LOAD, 300, 900).with_history();
        row(what, Goal::Rare(0.05), promoted, rollout, kind)
    };
    [(0.2, 0.05), (0.1, 0.03), (0.5, 0.1)].map(row).into()
}

fn refusals() -> Vec<Row> {
    let row = |(canarys, stables): (f64, f64)| {
        let what = format!("4xx {stables} -> {canarys}, found within 600 s");
        let kind = move || faults::refusals(LOAD, canarys, stables);
        let rollout = Rollout::new(LOAD, 600, 600);
        row(what, Goal::Common(0.95), rolled_back, rollout, kind)
    };
    [(0.07, 0.02), (0.06, 0.01), (0.2, 0.08)].map(row).into()
}
