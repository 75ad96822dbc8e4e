//! The table of `frctl top`. Fits 80 columns with names of ordinary length.

use fm_api::signals::{Share, Top, TopRow};

use crate::table::Table;
use crate::text::Look;

/// How every revision does just now.
pub(crate) fn top(top: &Top, look: &Look, spread: bool) -> String {
    if top.items.is_empty() {
        return "no release has tasks here\n".to_owned();
    }
    // Columns that nobody can fill would only ask for an explanation.
    let full = top
        .items
        .iter()
        .any(|row| row.signals.cpu.is_some() || row.signals.memory.is_some());
    let mut table = if full {
        Table::new([
            "RELEASE", "REV", "SIDE", "SHARE", "REQ/S", "ERRORS", "P50", "P95", "P99", "CPU", "MEM",
        ])
    } else {
        Table::new([
            "RELEASE", "REV", "SIDE", "SHARE", "REQ/S", "ERRORS", "P50", "P95", "P99",
        ])
    };
    for row in &top.items {
        let name = if spread {
            format!("{}/{}", row.namespace, row.name)
        } else {
            row.name.clone()
        };
        let cells = cells(name, row, look);
        if full {
            table.row(cells);
        } else {
            let [name, rev, side, share, rate, errors, p50, p95, p99, _, _] = cells;
            table.row([name, rev, side, share, rate, errors, p50, p95, p99]);
        }
    }
    let head = format!(
        "{}  the last {} s{}\n",
        look.clock(top.at),
        top.seconds,
        if full {
            "; CPU and MEM: the fullest task, of its limit"
        } else {
            ""
        }
    );
    format!("{}{}", look.paint.dim(&head), table.render(look))
}

fn cells(name: String, row: &TopRow, look: &Look) -> [String; 11] {
    let signals = &row.signals;
    let none = || "-".to_owned();
    let revision = row.number.map_or_else(
        || row.revision.chars().take(7).collect(),
        |number| format!("#{number}"),
    );
    let errors = signals.error_rate.map_or_else(none, |rate| {
        let text = percent(rate);
        if signals.bad > 0 {
            look.paint.red(&text)
        } else {
            text
        }
    });
    let ms = |value: Option<f64>| value.map_or_else(none, time);
    let full = |share: Option<Share>| share.map_or_else(none, |share| percent(share.max));
    [
        name,
        revision,
        row.side.clone(),
        row.share.map_or_else(none, percent),
        format!("{:.1}", signals.rps),
        errors,
        ms(signals.p50_ms),
        ms(signals.p95_ms),
        ms(signals.p99_ms),
        full(signals.cpu),
        full(signals.memory),
    ]
}

fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent == 0.0 || percent >= 10.0 {
        format!("{percent:.0}%")
    } else {
        format!("{percent:.2}%")
    }
}

fn time(ms: f64) -> String {
    if ms >= 9_999.5 {
        format!("{:.1}s", ms / 1000.0)
    } else {
        format!("{ms:.0}ms")
    }
}

#[cfg(test)]
mod tests {
    use fm_api::signals::Golden;
    use jiff::tz::TimeZone;

    use super::*;
    use crate::text::{Paint, width};

    #[test]
    fn the_table_fits_eighty_columns() {
        let row = |side: &str, bad, share| TopRow {
            namespace: "default".into(),
            name: "shop".into(),
            revision: "fbbdc4e61f".into(),
            number: Some(12),
            side: side.into(),
            share: Some(share),
            signals: Golden {
                requests: 12_345,
                bad,
                rps: 1234.5,
                error_rate: Some(bad as f64 / 12_345.0),
                p50_ms: Some(20.4),
                p95_ms: Some(950.0),
                p99_ms: Some(12_345.0),
                cpu: Some(Share {
                    mean: 0.2,
                    max: 0.43,
                }),
                memory: None,
            },
        };
        let shown = Top {
            at: "2026-11-22T18:45:10Z".parse().unwrap(),
            seconds: 10,
            items: vec![row("stable", 0, 0.9), row("canary", 217, 0.1)],
        };
        let look = Look {
            now: shown.at,
            width: Some(80),
            paint: Paint(false),
            zone: TimeZone::UTC,
        };
        let text = top(&shown, &look, false);
        assert!(
            text.lines()
                .all(|line| width(line) <= 80 && !line.contains('…')),
            "{text}"
        );
        assert_eq!(
            text,
            "18:45:10  the last 10 s; CPU and MEM: the fullest task, of its limit\n\
             RELEASE  REV  SIDE    SHARE  REQ/S   ERRORS  P50   P95    P99    CPU  MEM\n\
             shop     #12  stable  90%    1234.5  0%      20ms  950ms  12.3s  43%  -\n\
             shop     #12  canary  10%    1234.5  1.76%   20ms  950ms  12.3s  43%  -\n"
        );
    }
}
