//! The tables of `frctl log-stats`. Pure.

use std::time::Duration;

use fm_telemetry::access::TIMERS;
use fm_telemetry::access::report::{By, Entry, Percentiles, Report, Table as Rows};

use crate::table::Table;
use crate::text::{Look, bar, clean, count, width};

/// Everything: a table of counts and one of times for each kind of row, and what became of the lines.
pub(crate) fn text(report: &Report, wide: bool, look: &Look) -> String {
    let mut out = String::new();
    for table in &report.tables {
        let rows: Vec<&Entry> = std::iter::once(&report.total).chain(&table.rows).collect();
        out.push_str(&counts(title(table.by), &rows, wide, look));
        out.push('\n');
        out.push_str(&times(title(table.by), &rows, wide, look));
        out.push_str(&remarks(table));
        out.push('\n');
    }
    out.push_str(&lines(report));
    out
}

const fn title(by: By) -> &'static str {
    match by {
        By::Frontend => "FRONTEND",
        By::Backend => "BACKEND",
        By::Server => "SERVER",
        By::Route => "ROUTE",
    }
}

fn counts(title: &str, rows: &[&Entry], wide: bool, look: &Look) -> String {
    let narrow = [
        title, "REQUESTS", "REQ/S", "2XX", "3XX", "4XX", "5XX", "BAD",
    ];
    let more = ["1XX", "OTHER", "NONE", "ABORTED", "BYTES"];
    let mut head = narrow.to_vec();
    head.extend(more.iter().filter(|_| wide));
    let mut table = Table::with(&head);
    for row in rows {
        let status = &row.status;
        let rate = row.rate.map_or("-".to_owned(), |rate| format!("{rate:.1}"));
        let mut cells = vec![clean(&row.name), row.requests.to_string(), rate];
        cells.extend([status.c2, status.c3, status.c4, status.c5].map(|n| n.to_string()));
        cells.push(share(row.bad, row.requests));
        if wide {
            cells.extend(
                [status.c1, status.other, status.none, row.aborted, row.bytes]
                    .map(|n| n.to_string()),
            );
        }
        table.add(cells);
    }
    table.render(look)
}

fn share(part: u64, whole: u64) -> String {
    if part == 0 {
        return "0".to_owned();
    }
    format!("{part} ({:.2} %)", part as f64 * 100.0 / whole as f64)
}

/// A row's timers side by side where there is room, below one another where there is none.
fn times(title: &str, rows: &[&Entry], wide: bool, look: &Look) -> String {
    let unit = "milliseconds: p50/p90/p95/p99/p99.9";
    let mut beside = Table::with(&[title, "TR", "Tw", "Tc", "Tr", "Ta"]);
    for row in rows {
        let mut cells = vec![clean(&row.name)];
        for timer in TIMERS {
            let text = |p: &Percentiles| {
                let most = if wide {
                    format!("/{}", p.max)
                } else {
                    String::new()
                };
                format!("{}/{}/{}/{}/{}{most}", p.p50, p.p90, p.p95, p.p99, p.p999)
            };
            cells.push(row.timers.get(timer).map_or("-".to_owned(), text));
        }
        beside.add(cells);
    }
    let unlimited = Look {
        width: None,
        ..look.clone()
    };
    let text = beside.render(&unlimited);
    let fits = look
        .width
        .is_none_or(|columns| text.lines().all(|line| width(line) <= columns));
    let most = if wide { "/max" } else { "" };
    if fits {
        return format!("{text}{}\n", look.paint.dim(&format!("{unit}{most}")));
    }
    let head = [
        title, "TIMER", "P50", "P90", "P95", "P99", "P99.9", "MAX (ms)",
    ];
    let mut below = Table::with(&head);
    for row in rows {
        let mut name = clean(&row.name);
        for timer in TIMERS {
            let Some(p) = row.timers.get(timer) else {
                continue;
            };
            let mut cells = vec![std::mem::take(&mut name), timer.to_owned()];
            cells.extend([p.p50, p.p90, p.p95, p.p99, p.p999, p.max].map(|ms| ms.to_string()));
            below.add(cells);
        }
    }
    below.render(look)
}

fn remarks(table: &Rows) -> String {
    let mut out = String::new();
    if table.more > 0 {
        let rows = count(table.more as u64, "more row");
        out.push_str(&format!("… and {rows}; --top 0 shows all\n"));
    }
    if table.folded > 0 {
        let requests = count(table.folded, "request");
        out.push_str(&format!(
            "(others): {requests} of further names; no more rows are kept apart\n"
        ));
    }
    out
}

/// What became of the lines; the broken ones are shown.
fn lines(report: &Report) -> String {
    let lines = &report.lines;
    let mut out = format!(
        "{}, {}",
        count(lines.lines, "line"),
        count(lines.requests, "request")
    );
    if let (Some(first), Some(last)) = (report.first, report.last) {
        out.push_str(&format!(
            " from {} to {}",
            first.strftime("%Y-%m-%d %H:%M:%S"),
            last.strftime("%Y-%m-%d %H:%M:%S")
        ));
    }
    out.push('\n');
    for (number, what) in [
        (lines.left_out, "outside of the time that was asked for"),
        (lines.unrouted, "without a route"),
        (lines.other, "no request (HAProxy's notices, empty lines)"),
        (
            lines.cut,
            "cut short within the request: counted, as their times are whole",
        ),
        (lines.overlong, "too long for any request: not counted"),
        (lines.malformed, "broken: not counted"),
    ] {
        if number > 0 {
            out.push_str(&format!("  {number} {what}\n"));
        }
    }
    for example in &lines.examples {
        out.push_str(&format!("    {}\n", clean(example)));
    }
    out
}

/// The line that shows how far the reading is.
pub(crate) fn progress(done: u64, total: Option<u64>, lines: u64, spent: Duration) -> String {
    let seconds = spent.as_secs_f64().max(1e-3);
    let megabytes = done as f64 / 1e6;
    let speed = lines as f64 / seconds / 1e6;
    let Some(total) = total.filter(|total| *total > 0) else {
        return format!("{megabytes:.0} MB, {speed:.1} million lines/s");
    };
    let part = (done as f64 / total as f64).min(1.0);
    let left = seconds / part.max(1e-9) * (1.0 - part);
    format!(
        "{} {:3.0} % of {:.0} MB, {speed:.1} million lines/s, {left:.0}s left",
        bar(part, 24),
        part * 100.0,
        total as f64 / 1e6
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_says_how_much_is_left() {
        let spent = Duration::from_secs(2);
        assert_eq!(
            progress(500_000_000, Some(1_000_000_000), 10_000_000, spent),
            "████████████░░░░░░░░░░░░  50 % of 1000 MB, 5.0 million lines/s, 2s left"
        );
        assert_eq!(
            progress(500_000_000, None, 10_000_000, spent),
            "500 MB, 5.0 million lines/s"
        );
    }
}
