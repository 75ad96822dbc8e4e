//! What the analysis must reach, proven row by row by simulation with fixed seeds:
//! `cargo run -p fm-analysis --release --example sim_stats [PART OF A ROW'S TEXT] [RUNS AT MOST]`.
//! Exits with 1 when a row is not proven.

#[path = "../tests/sim/mod.rs"]
mod sim;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Instant;

use sim::{Shown, prove, rows};

/// So many runs at least, and at most, for a row.
const RUNS: (u64, u64) = (2_000, 128_000);

fn main() -> ExitCode {
    let only = std::env::args().nth(1).unwrap_or_default();
    let most = std::env::args().nth(2).and_then(|text| text.parse().ok());
    let runs = most.map_or(RUNS, |most| (RUNS.0.min(most), most));
    let rows = rows(1);
    let wanted: Vec<_> = rows.iter().filter(|row| row.what.contains(&only)).collect();
    let begun = Instant::now();
    line("", "item", "what", "found (95 %)", "goal", "runs");
    let mut failed = 0;
    for (number, row) in wanted.iter().enumerate() {
        progress(&format!(
            "{} of {}: {} …",
            number + 1,
            wanted.len(),
            row.what
        ));
        let found = prove(row, runs);
        progress("");
        let word = match found.shown {
            Shown::Met => "ok",
            Shown::Missed => "MISSED",
            Shown::Unproven => "UNPROVEN",
        };
        failed += u32::from(found.shown != Shown::Met);
        let item = row.item.to_string();
        let runs = found.runs.to_string();
        line(word, &item, &row.what, &found.found, &found.goal, &runs);
    }
    println!(
        "{} rows, {failed} of them not proven; {:.0} s",
        wanted.len(),
        begun.elapsed().as_secs_f64()
    );
    ExitCode::from(u8::from(failed > 0 || wanted.is_empty()))
}

fn line(word: &str, item: &str, what: &str, found: &str, goal: &str, runs: &str) {
    println!("{word:9}{item:5}{what:75}{found:26}{goal:17}{runs:>7}");
}

/// What is going on, where somebody looks.
fn progress(text: &str) {
    let mut err = std::io::stderr();
    if err.is_terminal() {
        // There is nobody to tell if it cannot be written.
        let _ = write!(err, "\r\x1b[K{text}");
        let _ = err.flush();
    }
}
