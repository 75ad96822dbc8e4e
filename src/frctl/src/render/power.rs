//! The table and the plot of `frctl analysis power`. Pure.

use fm_analysis::power::{Canary, Outcome, Traffic};
use fm_api::verdict::Decision;
use jiff::SignedDuration;

use crate::text::{Look, count, pad, short, width, wrap};

/// Columns of the plot, besides its names.
const WIDEST: usize = 72;

/// What is shown.
pub(crate) struct Picture<'a> {
    pub(crate) traffic: Traffic,
    pub(crate) times_count: bool,
    pub(crate) runs: u32,
    pub(crate) least_requests: Option<u64>,
    pub(crate) least_seconds: f64,
    pub(crate) outcomes: &'a [Outcome],
}

/// As text, with a newline after each line.
pub(crate) fn picture(picture: &Picture<'_>, look: &Look) -> String {
    let mut out = String::new();
    for line in wrap(&introduction(picture), look.columns()) {
        out.push_str(&line);
        out.push('\n');
    }
    out.push('\n');
    out.push_str(&table(picture, look));
    out.push('\n');
    out.push_str(&plot(picture.outcomes, look));
    out
}

fn introduction(picture: &Picture<'_>) -> String {
    let Traffic {
        rps,
        error_rate,
        latency_ms,
    } = picture.traffic;
    let times = if picture.times_count {
        format!(", stable's median response time is {latency_ms} ms")
    } else {
        String::new()
    };
    let least = match picture.least_requests {
        Some(requests) => format!("at least {requests} canary requests without a bad one"),
        None => "evidence that the last step's share cannot give".to_owned(),
    };
    format!(
        "At {rps} requests/s, of which stable answers {} badly{times}. Promotion takes at least {} (holds and bake) and {least}. \
         {} of each kind simulated:",
        percent(error_rate),
        time(picture.least_seconds as u64),
        count(u64::from(picture.runs), "rollout"),
    )
}

fn table(picture: &Picture<'_>, look: &Look) -> String {
    let mut table = crate::table::Table::new([
        "CANARY",
        "PROMOTED",
        "TAKEN BACK",
        "INCONCLUSIVE",
        "REQUESTS",
        "95 %",
        "TIME",
        "95 %",
    ]);
    let number = |n: Option<u64>| n.map_or("-".to_owned(), |n| n.to_string());
    let span = |s: Option<u64>| s.map_or("-".to_owned(), time);
    for outcome in picture.outcomes {
        table.row([
            name(&outcome.canary),
            percent(outcome.promoted),
            percent(outcome.rolled_back),
            percent(outcome.inconclusive),
            number(outcome.requests.median),
            number(outcome.requests.p95),
            span(outcome.seconds.median),
            span(outcome.seconds.p95),
        ]);
    }
    let mut out = table.render(look);
    let note = "REQUESTS (the canary's) and TIME are those until the conclusion that the canary deserves, for half and for 95 % of the rollouts; \
                -: fewer come to it.";
    for line in wrap(note, look.columns()) {
        out.push_str(&look.paint.dim(&line));
        out.push('\n');
    }
    out
}

/// For each canary the share of rollouts that have come to what it deserves, as time goes on.
fn plot(outcomes: &[Outcome], look: &Look) -> String {
    const LEVELS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let names = outcomes
        .iter()
        .map(|outcome| width(&name(&outcome.canary)))
        .max()
        .unwrap_or(0);
    let columns = look.columns().saturating_sub(names + 14).clamp(20, WIDEST);
    let last = outcomes
        .iter()
        .filter_map(|outcome| outcome.concluded.last().copied())
        .max()
        .unwrap_or(1)
        .max(10) as f64;
    // Logarithmic: a column is so many times as late as the one before it.
    let until = |column: usize| last.powf((column + 1) as f64 / columns as f64);
    let mut out =
        String::from("Share of rollouts that have come to what the canary deserves, by time:\n");
    for outcome in outcomes {
        let mut strip = String::new();
        for column in 0..columns {
            let done = outcome
                .concluded
                .partition_point(|second| *second as f64 <= until(column) + 1e-6);
            let share = done as f64 / f64::from(outcome.runs.max(1));
            // What is there at all is seen, and only all of it is full.
            let level = if done == 0 {
                0
            } else {
                ((share * 8.0).floor() as usize).max(1)
            };
            strip.extend(LEVELS.get(level.min(8)));
        }
        let (word, strip) = match outcome.canary.deserves {
            Decision::Promote => ("promoted", look.paint.green(&strip)),
            Decision::Rollback | Decision::Wait | Decision::Inconclusive => {
                ("taken back", look.paint.red(&strip))
            }
        };
        out.push_str(&format!(
            "{}  {}  {strip}\n",
            pad(&name(&outcome.canary), names),
            pad(word, 10)
        ));
    }
    let mut axis = " ".repeat(columns + 6);
    for second in [
        1u64, 3, 10, 30, 60, 180, 600, 1800, 3600, 10_800, 36_000, 86_400, 604_800,
    ] {
        let place = (second as f64).ln() / last.ln() * columns as f64;
        let label = short(SignedDuration::from_secs(
            i64::try_from(second).unwrap_or(0),
        ));
        let place = (place.ceil() as usize).max(1) - 1;
        let free = axis.get(place.saturating_sub(1)..place + label.len() + 1);
        if second as f64 <= last && free.is_some_and(|free| free.trim().is_empty()) {
            axis.replace_range(place..place + label.len(), &label);
        }
    }
    out.push_str(
        &look
            .paint
            .dim(&format!("{}{}", " ".repeat(names + 14), axis.trim_end())),
    );
    out.push('\n');
    out
}

fn name(canary: &Canary) -> String {
    if canary.deserves == Decision::Promote {
        "as good as stable".to_owned()
    } else if canary.slower > 1.0 {
        format!("{} times as slow", canary.slower)
    } else {
        format!("{} errors", percent(canary.error_rate))
    }
}

/// At most two digits behind the point, and none that says nothing.
fn percent(fraction: f64) -> String {
    let rounded = (fraction * 10_000.0).round() / 100.0;
    format!("{rounded} %")
}

fn time(seconds: u64) -> String {
    short(SignedDuration::from_secs(
        i64::try_from(seconds).unwrap_or(i64::MAX),
    ))
}
