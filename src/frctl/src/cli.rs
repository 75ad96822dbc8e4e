//! The command line's grammar. What each command does lies in `commands`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

mod many;

pub(crate) use many::{Abort, Adopt, Hold, Import};

const EXIT_CODES: &str = "\
Exit codes: 0 done or promoted, 1 error, 2 usage, 3 rolled back or aborted,
            4 timed out, 5 waits for a person";

/// FridayMorning: new versions to real traffic, step by step, and back at once when they do harm.
#[derive(Debug, Parser)]
#[command(name = "frctl", version, after_help = EXIT_CODES, max_term_width = 110, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "With every command")]
pub(crate) struct Global {
    /// Where frd listens: unix:PATH or https://HOST:PORT
    #[arg(
        long,
        global = true,
        env = "FRCTL_SERVER",
        value_name = "ADDRESS",
        hide_env_values = true,
        default_value = "unix:/run/fridaymorning/frd.sock"
    )]
    pub(crate) server: String,
    /// The namespace [default: default]
    #[arg(short, long, global = true)]
    pub(crate) namespace: Option<String>,
    /// How to print
    #[arg(short, long, global = true, value_name = "FORMAT")]
    pub(crate) output: Option<Format>,
    /// No colours (the variable NO_COLOR does the same)
    #[arg(long, global = true)]
    pub(crate) no_color: bool,
}

/// How to print, as it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns for people
    Table,
    /// More columns
    Wide,
    /// Everything, for programs
    Json,
    /// The same as YAML; of a release its manifest, ready to be applied again
    Yaml,
    /// Names alone, one a line
    Name,
    /// Comma-separated, with a head (metrics export)
    #[value(hide = true)]
    Csv,
    /// One JSON object a line (metrics export)
    #[value(hide = true)]
    Jsonl,
    /// A Parquet file (metrics export)
    #[value(hide = true)]
    Parquet,
}

impl Format {
    /// What every command can print; `None` for what only an export can.
    pub(crate) const fn common(self) -> Option<Output> {
        match self {
            Format::Table => Some(Output::Table),
            Format::Wide => Some(Output::Wide),
            Format::Json => Some(Output::Json),
            Format::Yaml => Some(Output::Yaml),
            Format::Name => Some(Output::Name),
            Format::Csv | Format::Jsonl | Format::Parquet => None,
        }
    }
}

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// Columns for people
    Table,
    /// More columns
    Wide,
    /// Everything, for programs
    Json,
    /// The same as YAML; of a release its manifest, ready to be applied again
    Yaml,
    /// Names alone, one a line
    Name,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Store releases from files, folders or standard input
    Apply(Apply),
    /// Show what apply would change; exit code 1 if it would change anything
    Diff(Files),
    /// Show what apply would do, step by step: services, shares, waits and the way back
    Plan(Files),
    /// List releases, or show some
    Get(Get),
    /// Show everything known of a release
    Describe(Named),
    /// Make a running Swarm service a release, without restarting a task
    Adopt(Adopt),
    /// Take a release down: traffic first, then its tasks, then the release
    Delete(Delete),
    /// Show a rollout live: shares, both revisions, the evidence, and what it waits for
    Watch(Watch),
    /// Show live how every revision does: requests, errors, response times
    Top(TopOptions),
    /// Take the kept signals elsewhere; rules for Prometheus
    #[command(subcommand)]
    Metrics(Metrics),
    /// Show what happened
    Events(Events),
    /// Turn a Compose file into manifests, and say what could not be carried over
    Import(Import),
    /// Check manifests without a server; exit code 1 if any has a problem
    Validate(Files),
    /// Explain a field of the manifest, such as spec.strategy.canary.steps
    Explain(Explain),
    /// Set the number of stable tasks; makes no new revision
    Scale(Scale),
    /// Change one thing of a stored release
    #[command(subcommand)]
    Set(Set),
    /// Steer a rollout
    #[command(subcommand)]
    Rollout(Rollout),
    /// Touch nothing of a release for a while: nothing is repaired, promoted or moved, on record
    #[command(visible_alias = "freeze")]
    Hold(Hold),
    /// Try promotion criteria
    #[command(subcommand)]
    Analysis(Analysis),
    /// Show counts and response times from HAProxy's access logs
    LogStats(LogStats),
    /// Find out why frctl and frd do not get along, and what to do
    Doctor,
    /// Print the completion script of a shell
    Completion(Completion),
    /// Print the versions of frctl and frd
    Version(Version),
}

/// Manifests.
#[derive(Debug, Clone, Args)]
pub(crate) struct Files {
    /// A manifest, a folder of *.yaml, *.yml and *.json, or - for standard input; may be repeated
    #[arg(
        short = 'f',
        long = "filename",
        value_name = "FILE|DIR|-",
        required = true
    )]
    pub(crate) files: Vec<PathBuf>,
    /// Folders inside folders too
    #[arg(short = 'R', long)]
    pub(crate) recursive: bool,
}

/// `apply`.
#[derive(Debug, Args)]
pub(crate) struct Apply {
    #[command(flatten)]
    pub(crate) files: Files,
    /// Change nothing; check here (client) or let frd check against what is stored (server)
    #[arg(long, value_name = "WHERE")]
    pub(crate) dry_run: Option<DryRun>,
    /// Follow each release until it is promoted (0), taken back (3) or waits for a person (5)
    #[arg(long)]
    pub(crate) wait: bool,
    /// With --wait: how long, such as 90s, 30m or 2h
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = span)]
    pub(crate) timeout: Duration,
}

/// Where a dry run checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DryRun {
    /// Here, without a server
    Client,
    /// frd, against what is stored
    Server,
}

/// `get`.
#[derive(Debug, Args)]
pub(crate) struct Get {
    /// Releases, NAME or NAMESPACE/NAME; none: all of the namespace
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Every namespace
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,
    /// Only what needs somebody: since when, what share, why, and the next command
    #[arg(long)]
    pub(crate) problems: bool,
    /// Go on showing changes
    #[arg(short, long)]
    pub(crate) watch: bool,
}

/// A release's name.
#[derive(Debug, Args)]
pub(crate) struct Named {
    /// NAME or NAMESPACE/NAME
    pub(crate) name: String,
}

/// `delete`.
#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// Releases, NAME or NAMESPACE/NAME
    #[arg(value_name = "NAME", required = true)]
    pub(crate) names: Vec<String>,
    /// The service of the stable revision stays, without labels of ours; HAProxy no longer leads to it
    #[arg(long)]
    pub(crate) orphan: bool,
    /// Wait until everything is gone
    #[arg(long)]
    pub(crate) wait: bool,
    /// With --wait: how long, such as 90s, 30m or 2h
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = span)]
    pub(crate) timeout: Duration,
}

/// `watch`.
#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// NAME or NAMESPACE/NAME
    pub(crate) name: String,
    /// Print one picture and end
    #[arg(long)]
    pub(crate) once: bool,
    /// End when the rollout ends, with its exit code
    #[arg(long, conflicts_with = "once")]
    pub(crate) exit: bool,
}

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

/// `events`.
#[derive(Debug, Args)]
pub(crate) struct Events {
    /// Only of this release: NAME or NAMESPACE/NAME
    pub(crate) name: Option<String>,
    /// Every namespace
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,
    /// Go on showing what happens
    #[arg(short, long)]
    pub(crate) watch: bool,
    /// At most so many of the past
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) limit: usize,
}

/// `explain`.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The field's path; none: the whole manifest's first level
    pub(crate) path: Option<String>,
}

/// `scale`.
#[derive(Debug, Args)]
pub(crate) struct Scale {
    /// NAME or NAMESPACE/NAME
    pub(crate) name: String,
    /// Tasks of the stable revision
    #[arg(long, value_name = "N")]
    pub(crate) replicas: u32,
}

/// `set …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Set {
    /// Roll out another image
    Image(SetImage),
}

/// `set image`.
#[derive(Debug, Args)]
pub(crate) struct SetImage {
    /// NAME or NAMESPACE/NAME
    pub(crate) name: String,
    /// name:tag, name@sha256:… or sha256:…
    pub(crate) image: String,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
}

/// Following a rollout to its end.
#[derive(Debug, Clone, Args)]
pub(crate) struct Waiting {
    /// Follow it until it is promoted (0), taken back (3) or waits for a person (5)
    #[arg(long)]
    pub(crate) wait: bool,
    /// How long to follow it, such as 90s, 30m or 2h
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = span)]
    pub(crate) timeout: Duration,
}

/// `rollout …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Rollout {
    /// Say where it stands; with -w follow it to its end
    Status(RolloutStatus),
    /// List finished rollouts
    History(Named),
    /// Let it pass what it waits for
    Promote(Promote),
    /// Take the canary back; with --all every canary
    Abort(Abort),
    /// Try a failed or aborted revision again, from the first step
    Retry(Operation),
    /// Stop where it is
    Pause(Operation),
    /// Undo a pause
    Resume(Operation),
    /// Go back to an earlier workload: a switch while its tasks are warm, else a rollout like any other
    Undo(Undo),
    /// New tasks of the same revision
    Restart(Operation),
}

/// `rollout status`.
#[derive(Debug, Args)]
pub(crate) struct RolloutStatus {
    /// NAME or NAMESPACE/NAME
    pub(crate) name: String,
    /// Follow it until it is promoted (0), taken back (3) or waits for a person (5)
    #[arg(short, long)]
    pub(crate) watch: bool,
    /// With -w: how long, such as 90s, 30m or 2h
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = span)]
    pub(crate) timeout: Duration,
}

/// A word on a rollout.
#[derive(Debug, Clone, Args)]
pub(crate) struct Operation {
    /// NAME or NAMESPACE/NAME
    pub(crate) name: String,
    /// Why, for the record
    #[arg(long, value_name = "TEXT", visible_alias = "reason")]
    pub(crate) why: Option<String>,
    /// The operation's id: asking twice with the same id is asking once [default: a new one]
    #[arg(long)]
    pub(crate) id: Option<String>,
}

/// `rollout promote`.
#[derive(Debug, Args)]
pub(crate) struct Promote {
    #[command(flatten)]
    pub(crate) operation: Operation,
    /// Pass every wait, not one
    #[arg(long)]
    pub(crate) full: bool,
    /// In an emergency: no freeze window holds this rollout any more. --why is kept in its history
    #[arg(long, requires = "why", conflicts_with = "full")]
    pub(crate) override_freeze: bool,
}

/// `rollout undo`.
#[derive(Debug, Args)]
pub(crate) struct Undo {
    /// NAME or NAMESPACE/NAME
    pub(crate) name: String,
    /// A revision's id or number, see `frctl rollout history` [default: the last one promoted before the current]
    #[arg(long, value_name = "REVISION")]
    pub(crate) to: Option<String>,
    /// Even to a revision that failed
    #[arg(long)]
    pub(crate) force: bool,
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

/// `completion`.
#[derive(Debug, Args)]
pub(crate) struct Completion {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}

/// `version`.
#[derive(Debug, Args)]
pub(crate) struct Version {
    /// Only frctl's own
    #[arg(long)]
    pub(crate) client: bool,
}

/// A time such as `90s`, `30m` or `1h30m`.
fn span(text: &str) -> Result<Duration, String> {
    let span: fm_api::quantity::Span = text.parse().map_err(|error| format!("{error}"))?;
    Ok(span.to_std())
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
