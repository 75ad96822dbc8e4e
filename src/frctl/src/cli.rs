//! The command line's grammar. What each command does lies in `commands`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

mod edge;
mod logs;
mod many;
mod measure;
mod rollout;

pub(crate) use edge::EdgeCommand;
pub(crate) use logs::Logs;
pub(crate) use many::{Abort, Adopt, Hold, Import};
pub(crate) use measure::{
    Analysis, Export, LogBy, LogSort, LogStats, Metrics, Power, Record, Replay, TopOptions,
};
pub(crate) use rollout::{History, Operation, Promote, Rollout, RolloutStatus, Undo};

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
    ///
    /// Exit codes: 0 nothing would change; 1 something would, or an error, of which alone standard error tells.
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
    /// Show what a release's tasks write; each line says whose it is
    Logs(Logs),
    /// Turn a Compose file into manifests, and say what could not be carried over; exit code 1 if a manifest must be mended first
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
    /// See every HAProxy with its agent; forget one that is gone, drain one to be taken out
    #[command(subcommand)]
    Edge(EdgeCommand),
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
    /// Fill in templates for a branch: ${branch} becomes a short name that no other branch has, ${hash} its last part
    #[arg(long, value_name = "NAME")]
    pub(crate) branch: Option<String>,
    /// Fill in templates: ${KEY} becomes VALUE; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

/// `apply`.
#[derive(Debug, Args)]
pub(crate) struct Apply {
    #[command(flatten)]
    pub(crate) files: Files,
    /// Change nothing; check here (client) or let frd check against what is stored (server)
    #[arg(long, value_name = "WHERE")]
    pub(crate) dry_run: Option<DryRun>,
    /// Ask anew what the images' tags mean, also where the manifest has not changed
    #[arg(long)]
    pub(crate) pull: bool,
    #[command(flatten)]
    pub(crate) why: Why,
    /// Follow each release until it is promoted (0), taken back (3) or waits for a person (5)
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) wait: bool,
    /// With --wait: how long, such as 90s, 30m or 2h
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = span)]
    pub(crate) timeout: Duration,
}

/// Why a release is changed.
#[derive(Debug, Clone, Args)]
pub(crate) struct Why {
    /// Why, for the record
    #[arg(long, value_name = "TEXT", visible_alias = "reason")]
    pub(crate) why: Option<String>,
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

/// Alternatives: in one line they would read as if they went together.
const DELETES: &str = "\
frctl delete [OPTIONS] <NAME>...
       frctl delete [OPTIONS] --filename <FILE|DIR|->
       frctl delete [OPTIONS] --branch <NAME>
       frctl delete [OPTIONS] --keep-branches <FILE|->";

/// `delete`.
#[derive(Debug, Args)]
#[command(override_usage = DELETES)]
pub(crate) struct Delete {
    /// Releases, NAME or NAMESPACE/NAME
    #[arg(value_name = "NAME", required_unless_present_any = ["files", "branch", "keep_branches"])]
    pub(crate) names: Vec<String>,
    /// Releases of these manifests: a file, a folder of *.yaml, *.yml and *.json, or - for standard input; may be repeated
    #[arg(
        short = 'f',
        long = "filename",
        value_name = "FILE|DIR|-",
        conflicts_with_all = ["names", "branch", "keep_branches"]
    )]
    pub(crate) files: Vec<PathBuf>,
    /// With -f: folders inside folders too
    #[arg(short = 'R', long, requires = "files")]
    pub(crate) recursive: bool,
    /// Releases that were applied with --branch NAME
    #[arg(long, value_name = "NAME", conflicts_with = "names")]
    pub(crate) branch: Option<String>,
    /// Releases of branches that are gone: the file has those that are left, one a line
    #[arg(long, value_name = "FILE|-", conflicts_with_all = ["names", "branch"])]
    pub(crate) keep_branches: Option<PathBuf>,
    /// The service of the stable revision stays, without labels of ours, and one that was adopted; HAProxy no longer leads to it
    #[arg(long)]
    pub(crate) orphan: bool,
    /// The service that was adopted goes as well: without this or --orphan such a release is not deleted
    #[arg(long, conflicts_with = "orphan")]
    pub(crate) remove_adopted: bool,
    /// Also while a job runs that is not reversible, which it stops in the middle
    #[arg(long)]
    pub(crate) force: bool,
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
    #[command(flatten)]
    pub(crate) why: Why,
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
    pub(crate) why: Why,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
}

/// Following a rollout to its end.
#[derive(Debug, Clone, Args)]
pub(crate) struct Waiting {
    /// Follow it until it is promoted (0), taken back (3) or waits for a person (5)
    #[arg(long)]
    pub(crate) wait: bool,
    /// With --wait: how long, such as 90s, 30m or 2h
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = span)]
    pub(crate) timeout: Duration,
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
