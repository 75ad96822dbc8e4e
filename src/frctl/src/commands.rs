//! What each command does.

mod adopt;
mod apply;
mod candidate;
mod diff;
mod doctor;
mod edge;
mod edit;
mod events;
mod get;
mod import;
mod log_stats;
mod logs;
mod metrics;
mod offline;
mod parquet;
mod plan;
mod power;
mod record;
mod remove;
mod replay;
mod rollout;
mod top;
mod watch;

use crate::cli::{Analysis, Command, Format, Metrics, Set};
use crate::error::{Error, Exit, Result};
use crate::session::Session;

/// Whether the command can print what `-o` asks for, as far as that is the same for all: some formats are an export's.
pub(crate) fn can_print(asked: Option<Format>, command: &Command) -> Result<()> {
    let export = matches!(command, Command::Metrics(Metrics::Export(_)));
    if export || asked.is_none_or(|format| format.common().is_some()) {
        return Ok(());
    }
    Err(
        Error::new("-o csv, jsonl and parquet are for `frctl metrics export` alone")
            .hint("allowed here: table, wide, json, yaml, name")
            .exit(Exit::Usage),
    )
}

/// Does what was asked.
pub(crate) async fn run(session: &Session, command: Command) -> Result<Exit> {
    match command {
        Command::Apply(options) => apply::run(session, options).await,
        Command::Diff(files) => diff::run(session, &files).await,
        Command::Plan(files) => plan::run(session, &files).await,
        Command::Get(options) => get::run(session, &options).await,
        Command::Describe(named) => get::describe(session, &named.name).await,
        Command::Adopt(options) => adopt::run(session, options).await,
        Command::Delete(options) => remove::run(session, &options).await,
        Command::Watch(options) => watch::run(session, &options).await,
        Command::Metrics(command) => metrics::run(session, &command).await,
        Command::Top(options) => top::run(session, &options).await,
        Command::Events(options) => events::run(session, &options).await,
        Command::Logs(options) => logs::run(session, &options).await,
        Command::Import(options) => import::run(session, &options),
        Command::Validate(files) => offline::validate(session, &files),
        Command::Explain(options) => offline::explain(session, options.path.as_deref()),
        Command::Scale(options) => edit::scale(session, &options).await,
        Command::Set(Set::Image(options)) => edit::image(session, &options).await,
        Command::Rollout(command) => rollout::run(session, command).await,
        Command::Hold(options) => rollout::hold(session, options).await,
        Command::Analysis(Analysis::Replay(options)) => replay::run(session, &options),
        Command::Analysis(Analysis::Record(options)) => record::run(session, &options).await,
        Command::Analysis(Analysis::Power(options)) => power::run(session, &options),
        Command::LogStats(options) => log_stats::run(session, &options),
        Command::Edge(command) => edge::run(session, command).await,
        Command::Doctor => doctor::run(session).await,
        Command::Completion(options) => offline::completion(options.shell),
        Command::Version(options) => offline::version(session, options.client).await,
    }
}
