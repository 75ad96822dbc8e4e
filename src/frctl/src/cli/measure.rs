//! The grammar of what measures: `top`, `metrics …`, `analysis …` and `log-stats`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::Format;

/// `top`.
#[derive(Debug, Args)]
pub(crate) struct TopOptions {
    /// This release, and each of its tasks: NAME or NAMESPACE/NAME [default: all of the namespace]
    pub(crate) name: Option<String>,
    /// Every namespace
    #[arg(short = 'A', long, conflicts_with = "name")]
    pub(crate) all_namespaces: bool,
    /// Print one picture and end (so it is too where there is no terminal)
    #[arg(long)]
    pub(crate) once: bool,
}

/// `metrics …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Metrics {
    /// Write the kept signals: requests, errors, response times and saturation by revision; -o csv (default), jsonl, json, yaml or parquet
    Export(Export),
    /// Print recording and alerting rules for Prometheus
    Rules,
}

/// `metrics export`.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// Only this release, NAME or NAMESPACE/NAME [default: all of the namespace]
    pub(crate) name: Option<String>,
    /// Every namespace
    #[arg(short = 'A', long, conflicts_with = "name")]
    pub(crate) all_namespaces: bool,
    /// From how long ago (90s, 1h, 7d), or from which time
    #[arg(long, value_name = "TIME", default_value = "1h")]
    pub(crate) since: String,
    /// Until when [default: now]
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// From one point to the next, such as 1s or 10m [default: some 300 points]
    #[arg(long, value_name = "TIME")]
    pub(crate) step: Option<String>,
    /// Each task too, not only revisions
    #[arg(long)]
    pub(crate) tasks: bool,
    /// The older name of -o
    #[arg(long, value_name = "FORMAT", hide = true, conflicts_with = "output")]
    pub(crate) format: Option<Format>,
    /// Into this file [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

/// `analysis …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Analysis {
    /// Decide recorded traffic by a release's criteria, without a server
    Replay(Replay),
    /// Record a rollout's traffic, second by second, in the form that replay reads
    Record(Record),
    /// Say how many requests and how long each conclusion takes, without a server
    Power(Power),
}

/// `analysis replay`.
#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// The release whose analysis and strategy decide
    #[arg(short = 'f', long = "filename", value_name = "FILE|-")]
    pub(crate) file: PathBuf,
    /// One JSON object a line, one line a second
    #[arg(long, value_name = "FILE|-")]
    pub(crate) input: PathBuf,
}

/// `analysis record`.
#[derive(Debug, Args)]
pub(crate) struct Record {
    /// NAME or NAMESPACE/NAME; if nothing is on trial yet, the next rollout is waited for
    pub(crate) name: String,
    /// Where to; it is written anew
    #[arg(long, value_name = "FILE|-", default_value = "-")]
    pub(crate) to: PathBuf,
}

/// `analysis power`.
#[derive(Debug, Args)]
pub(crate) struct Power {
    /// The release whose analysis and steps decide
    #[arg(short = 'f', long = "filename", value_name = "FILE|-")]
    pub(crate) file: PathBuf,
    /// Requests a second that both sides get together
    #[arg(long, value_name = "N", value_parser = rate)]
    pub(crate) rps: f64,
    /// Share of stable's requests that are bad, in percent
    #[arg(long, value_name = "PERCENT", default_value = "0.5", value_parser = percent)]
    pub(crate) error_rate: f64,
    /// Stable's median response time, in milliseconds
    #[arg(long, value_name = "MS", default_value = "50", value_parser = milliseconds)]
    pub(crate) latency: f64,
    /// How many rollouts are simulated of each kind
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(20..=100_000))]
    pub(crate) runs: u32,
    /// Draws other rollouts
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
}

/// `log-stats`.
#[derive(Debug, Args)]
pub(crate) struct LogStats {
    /// Logs of `option httplog`, httpslog or FridayMorning's JSON lines, with or without syslog's; - for standard input
    #[arg(value_name = "FILE|-", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// One table for each
    #[arg(
        long,
        value_name = "WHAT",
        value_delimiter = ',',
        default_value = "backend,server,route"
    )]
    pub(crate) by: Vec<LogBy>,
    /// Sort rows by this
    #[arg(long, value_name = "COLUMN", default_value = "requests")]
    pub(crate) sort: LogSort,
    /// At most so many rows a table; 0: all [default: 20; all as JSON]
    #[arg(long, value_name = "N")]
    pub(crate) top: Option<usize>,
    /// So many segments of the path belong to a route
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) path_depth: usize,
    /// Only requests from this time on, as the log writes time: 2026-11-22T18:45:00
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<jiff::civil::DateTime>,
    /// Only requests before this time
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<jiff::civil::DateTime>,
}

/// What rows are made by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogBy {
    /// HAProxy's backend
    Backend,
    /// A server of a backend; of our own lines its address
    Server,
    /// Host (the first captured header, or an absolute URI's) and path; of our own lines release and revision
    Route,
    /// HAProxy's frontend
    Frontend,
}

/// What rows are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogSort {
    /// The most first
    Requests,
    /// The most bad ones first
    Bad,
    /// The slowest first, by the 99th percentile of Ta, or Tr where that is all there is
    P99,
    /// By name
    Name,
}

/// Requests a second.
fn rate(text: &str) -> Result<f64, String> {
    within(text, 0.001, 1_000_000.0)
}

/// Percent, as a fraction.
fn percent(text: &str) -> Result<f64, String> {
    within(text.trim_end_matches(['%', ' ']), 0.0, 100.0).map(|percent| percent / 100.0)
}

fn milliseconds(text: &str) -> Result<f64, String> {
    within(text.trim_end_matches("ms"), 0.1, 1_000_000.0)
}

fn within(text: &str, least: f64, most: f64) -> Result<f64, String> {
    let allowed = || format!("allowed: a number from {least} to {most}");
    let number: f64 = text.parse().map_err(|_| allowed())?;
    if (least..=most).contains(&number) {
        Ok(number)
    } else {
        Err(allowed())
    }
}
