//! The table of `frctl top`. Fits 80 columns with names of ordinary length.

use fm_api::signals::{Golden, Share, TaskRow, Top};

use crate::table::Table;
use crate::text::{Look, wrap};

/// The columns of what was counted, each with what it is called.
const COUNTED: [&str; 5] = ["REQ/S", "ERRORS", "P50", "P95", "P99"];

/// How every revision does just now, and each task where one release was asked for.
pub(crate) fn top(top: &Top, look: &Look, spread: bool, wide: bool) -> String {
    if top.items.is_empty() {
        return "no release has tasks here\n".to_owned();
    }
    // Columns that nobody can fill would only ask for an explanation.
    let measured = |golden: &Golden| golden.cpus.is_some() || golden.cpu.is_some();
    let full = top.items.iter().any(|row| measured(&row.signals));
    let mut head = vec!["RELEASE", "REV", "SIDE", "SHARE"];
    head.extend(COUNTED);
    head.extend(if full { &["CPU", "MEM"][..] } else { &[] });
    let mut table = Table::with(&head);
    for row in &top.items {
        let name = if spread {
            format!("{}/{}", row.namespace, row.name)
        } else {
            row.name.clone()
        };
        let share = row.share.map_or_else(none, percent);
        let mut cells = vec![
            name,
            number(row.number, &row.revision),
            row.side.clone(),
            share,
        ];
        cells.extend(counted(&row.signals, look));
        if full {
            cells.extend(saturation(&row.signals, wide));
        }
        table.add(cells);
    }
    let mut said = format!("{}  the last {} s", look.clock(top.at), top.seconds);
    if full {
        said.push_str("; CPU and MEM: the fullest task, of its limit");
    }
    let mut out = format!("{}\n{}", look.paint.dim(&said), table.render(look));
    if !top.tasks.is_empty() {
        out.push('\n');
        out.push_str(&tasks(&top.tasks, look, wide));
    }
    for outlier in &top.outliers {
        out.push('\n');
        let text = if spread || top.tasks.is_empty() {
            format!("{}: {}", outlier.name, outlier.sentence)
        } else {
            outlier.sentence.clone()
        };
        for line in wrap(&text, look.columns()) {
            out.push_str(&look.paint.red(&line));
            out.push('\n');
        }
    }
    out
}

/// How each task does just now.
pub(crate) fn tasks(tasks: &[TaskRow], look: &Look, wide: bool) -> String {
    let full = tasks.iter().any(|row| row.signals.cpus.is_some());
    let mut head = vec!["TASK", "NODE", "REV"];
    // Eighty columns have no room for both.
    let room = |place: usize| wide || place != 3;
    let names = COUNTED.into_iter().enumerate();
    head.extend(
        names
            .filter(|(place, _)| room(*place))
            .map(|(_, name)| name),
    );
    head.extend(if full { &["CPU", "MEM"][..] } else { &[] });
    head.extend(if wide { &["ADDRESS"][..] } else { &[] });
    let mut table = Table::with(&head);
    for row in tasks {
        // Docker shows and takes the beginning of an id; an address is told whole.
        let short: String = if row.task.contains(':') {
            row.task.clone()
        } else {
            row.task.chars().take(if wide { 25 } else { 12 }).collect()
        };
        let name = if row.outlier {
            look.paint.red(&format!("{short} !"))
        } else {
            short
        };
        let node: String = row.node.chars().take(if wide { 64 } else { 14 }).collect();
        let mut cells = vec![name, node, number(row.number, &row.revision)];
        let signals = counted(&row.signals, look).into_iter().enumerate();
        cells.extend(
            signals
                .filter(|(place, _)| room(*place))
                .map(|(_, cell)| cell),
        );
        if full {
            cells.extend(saturation(&row.signals, wide));
        }
        if wide {
            let addresses: Vec<&str> = row.addresses.values().map(String::as_str).collect();
            cells.push(addresses.join(", "));
        }
        table.add(cells);
    }
    table.render(look)
}

fn none() -> String {
    "-".to_owned()
}

fn number(number: Option<u64>, revision: &str) -> String {
    number.map_or_else(
        || revision.chars().take(7).collect(),
        |number| format!("#{number}"),
    )
}

fn counted(signals: &Golden, look: &Look) -> [String; 5] {
    let errors = signals.error_rate.map_or_else(none, |rate| {
        let text = percent(rate);
        if signals.bad > 0 {
            look.paint.red(&text)
        } else {
            text
        }
    });
    let ms = |value: Option<f64>| value.map_or_else(none, time);
    [
        format!("{:.1}", signals.rps),
        errors,
        ms(signals.p50_ms),
        ms(signals.p95_ms),
        ms(signals.p99_ms),
    ]
}

/// The share of the limit; without a limit that is said, as there is no share to show.
fn saturation(signals: &Golden, wide: bool) -> [String; 2] {
    let cell = |share: Option<Share>, used: Option<String>| match (share, used) {
        (Some(share), Some(used)) if wide => format!("{} ({used})", percent(share.max)),
        (Some(share), _) => percent(share.max),
        (None, Some(used)) if wide => format!("no limit ({used})"),
        (None, Some(_)) => "no limit".to_owned(),
        (None, None) => none(),
    };
    let cpus = signals.cpus.map(|used| format!("{:.3} CPUs", used.max));
    let bytes = signals.memory_bytes.map(|used| bytes(used.max));
    [cell(signals.cpu, cpus), cell(signals.memory, bytes)]
}

fn bytes(bytes: f64) -> String {
    let mib = bytes / f64::from(1 << 20);
    if mib >= 1024.0 {
        format!("{:.1}Gi", mib / 1024.0)
    } else {
        format!("{mib:.0}Mi")
    }
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
    use fm_api::signals::TopRow;
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
                cpus: Some(Share {
                    mean: 0.1,
                    max: 0.215,
                }),
                memory_bytes: Some(Share {
                    mean: 1e6,
                    max: 3.3e8,
                }),
                memory: None,
            },
        };
        let task = |task: &str, outlier| TaskRow {
            task: task.into(),
            node: "worker-1.example.com".into(),
            addresses: [(8080, "10.0.0.1:32768".to_owned())].into(),
            revision: "fbbdc4e61f".into(),
            number: Some(12),
            outlier,
            signals: row("canary", 217, 0.1).signals,
        };
        let shown = Top {
            at: "2026-11-22T18:45:10Z".parse().unwrap(),
            seconds: 10,
            items: vec![row("stable", 0, 0.9), row("canary", 217, 0.1)],
            tasks: vec![task("tqi4kx7m2v0wq5x8b1nd9c3ez", true)],
            outliers: Vec::new(),
        };
        let look = Look {
            now: shown.at,
            width: Some(80),
            paint: Paint(false),
            zone: TimeZone::UTC,
        };
        let text = top(&shown, &look, false, false);
        assert!(
            text.lines()
                .all(|line| width(line) <= 80 && !line.contains('…')),
            "{text}"
        );
        assert_eq!(
            text,
            "18:45:10  the last 10 s; CPU and MEM: the fullest task, of its limit\n\
             RELEASE  REV  SIDE    SHARE  REQ/S   ERRORS  P50   P95    P99    CPU  MEM\n\
             shop     #12  stable  90%    1234.5  0%      20ms  950ms  12.3s  43%  no limit\n\
             shop     #12  canary  10%    1234.5  1.76%   20ms  950ms  12.3s  43%  no limit\n\
             \n\
             TASK            NODE            REV  REQ/S   ERRORS  P50   P99    CPU  MEM\n\
             tqi4kx7m2v0w !  worker-1.examp  #12  1234.5  1.76%   20ms  12.3s  43%  no limit\n"
        );
        let wide = top(
            &shown,
            &Look {
                width: None,
                ..look
            },
            false,
            true,
        );
        let wanted = "43% (0.215 CPUs)  no limit (315Mi)  10.0.0.1:32768";
        assert!(wide.contains(wanted), "{wide}");
    }
}
