//! How fast `frctl log-stats` reads a log on one core, against HAProxy's own `halog`, and our JSON lines against a general JSON
//! reader; and what counting costs `frd` while HAProxy serves.

mod generate;
mod ingest;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fm_harness::program;
use fm_telemetry::access::report::{By, Sort};
use fm_telemetry::access::stats::{Options, Stats};
use fm_telemetry::line::{Line, Side};
use serde::Deserialize;

use crate::record::{Record, quantile};
use generate::Format;
pub(crate) use ingest::measure as ingest;

const CLASSIC_BYTES: u64 = 1_000_000_000;
const JSON_BYTES: u64 = 250_000_000;
const SEED: u64 = 42;
const ROUNDS: usize = 5;

/// The lines a second of one core, by processor time: other work on the machine disturbs it less than it does a clock.
pub(crate) fn measure(record: &mut Record) -> Result<()> {
    let folder = record.folder().join("logs");
    std::fs::create_dir_all(&folder)?;
    let outcome = measure_in(&folder, record);
    std::fs::remove_dir_all(&folder)?;
    outcome
}

fn measure_in(folder: &Path, record: &mut Record) -> Result<()> {
    let file = folder.join("httplog");
    let lines = generate::write(&file, Format::Classic, CLASSIC_BYTES, SEED)?;
    // By server, it has what both of halog's tables have; without that, by backend and by route too.
    let all = vec![
        program("frctl")?.display().to_string(),
        "log-stats".into(),
        "-".into(),
    ];
    let ours: Vec<String> = (all.iter().cloned())
        .chain(["--by".into(), "server".into()])
        .collect();
    let halog = halog()?;
    let [ours, all, srv, pct] = rates(
        &file,
        lines,
        [
            &ours,
            &all,
            &[halog.clone(), "-srv".into()],
            &[halog, "-pct".into()],
        ],
    )?;
    record.add(
        "log_lines_per_second_vs_srv",
        ours,
        "lines/s",
        Some(srv),
        ">= 1x of halog -srv",
    )?;
    record.add(
        "log_lines_per_second_three_tables",
        all,
        "lines/s",
        Some(srv),
        "for the record",
    )?;
    record.add(
        "log_lines_per_second_vs_pct",
        ours,
        "lines/s",
        Some(pct),
        "for the record",
    )?;
    std::fs::remove_file(&file)?;

    let file = folder.join("json");
    let lines = generate::write(&file, Format::Json, JSON_BYTES, SEED)?;
    let ours = vec![
        program("frctl")?.display().to_string(),
        "log-stats".into(),
        "-".into(),
    ];
    let general = vec![
        program("fm-bench")?.display().to_string(),
        "--general-json".into(),
    ];
    let [ours, general] = rates(&file, lines, [&ours, &general])?;
    record.add(
        "log_lines_per_second_json",
        ours,
        "lines/s",
        Some(general),
        ">= 1x of serde_json",
    )
}

fn halog() -> Result<String> {
    ["/usr/bin/halog", "/usr/sbin/halog"]
        .into_iter()
        .find(|path| Path::new(path).exists())
        .map(str::to_owned)
        .context("halog is missing: it is in Debian's package haproxy")
}

/// Each command reads the file from standard input, in turns; the medians of their lines a second.
fn rates<const N: usize>(file: &Path, lines: u64, commands: [&[String]; N]) -> Result<[f64; N]> {
    let mut rates = commands.map(|_| Vec::new());
    // The first reading warms the cache and is not counted.
    for round in 0..=ROUNDS {
        for (command, rates) in commands.iter().zip(&mut rates) {
            let seconds = seconds(command, file)?;
            if round > 0 {
                rates.push(lines as f64 / seconds);
            }
        }
    }
    Ok(rates.map(|rates| quantile(&rates, 0.5)))
}

/// Seconds of processor time that a command takes.
fn seconds(command: &[String], file: &Path) -> Result<f64> {
    let (name, arguments) = command.split_first().context("no command")?;
    let mut child = Command::new(name)
        .args(arguments)
        .stdin(std::fs::File::open(file)?)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot run {name}"))?;
    // Before it is waited for, what it used can still be read.
    loop {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id()))?;
        let rest = stat.rsplit(')').next().unwrap_or("");
        let field: Vec<&str> = rest.split_whitespace().collect();
        if field.first() == Some(&"Z") {
            let ticks = |at: usize| field.get(at).and_then(|text| text.parse::<f64>().ok());
            let used = ticks(11).zip(ticks(12)).context("no times in /proc")?;
            ensure!(child.wait()?.success(), "{name} failed");
            return Ok(((used.0 + used.1) / 100.0).max(0.01));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A line of ours as a general reader sees it.
#[derive(Deserialize)]
struct General<'a> {
    #[serde(borrow)]
    rc: &'a str,
    sd: &'a str,
    st: i32,
    ts: &'a str,
    tr: i64,
    ta: i64,
    a: &'a str,
    gs: i64,
    p: u64,
    n: u64,
}

/// The same tables from the same counting, with `serde_json` as the reader. What the JSON format is measured against.
pub(crate) fn general_json() -> Result<()> {
    use std::io::BufRead;
    let mut stats = Stats::new(Options {
        routes: Some(1),
        ..Options::default()
    });
    let mut input = std::io::BufReader::with_capacity(256 * 1024, std::io::stdin().lock());
    let mut text = Vec::new();
    while input.read_until(b'\n', &mut text)? > 0 {
        let read: General<'_> = serde_json::from_slice(&text)?;
        let termination = read.ts.as_bytes().first_chunk().copied();
        stats.own(&Line {
            record: read.rc,
            side: match read.sd {
                "s" => Side::Stable,
                "c" => Side::Canary,
                "f" => Side::Fallback,
                _ => Side::Forced,
            },
            status: read.st,
            termination: termination.context("no termination state")?,
            time_to_first_byte: u32::try_from(read.tr).ok(),
            total_time: u32::try_from(read.ta).ok(),
            endpoint: read.a,
            grpc: u8::try_from(read.gs).ok(),
            pair: None,
            sequence: Some((read.p, read.n)),
        });
        text.clear();
    }
    let report = stats.report(&[By::Backend, By::Server, By::Route], Sort::Requests, 20);
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}
