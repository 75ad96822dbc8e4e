//! The program `frd`. It reads its settings, starts the runtime and hands over to [`frd_daemon::compose`].
//!
//! Exit codes: 0 stopped in order, 1 it could not start or go on, 2 wrong usage or configuration.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use frd_daemon::cli::Arguments;
use frd_daemon::settings::Settings;
use frd_daemon::{compose, logging, store};
use tokio::runtime::Runtime;

fn main() -> ExitCode {
    // clap prints its own errors and exits with 2.
    let arguments = Arguments::parse();
    let settings = match Settings::read(&arguments) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("frd: {error}");
            return ExitCode::from(2);
        }
    };
    if let Some(store::Command::Store(work)) = &arguments.command {
        return match store::run(&settings, work) {
            Ok(words) => {
                println!("{words}");
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("frd: {error:#}");
                ExitCode::FAILURE
            }
        };
    }
    if let Err(error) = logging::start(&settings.log) {
        eprintln!("frd: {error}");
        return ExitCode::from(2);
    }
    // Each connection takes one, and each of HAProxy's and Docker's too.
    frd_daemon::door::raise();
    let outcome = lead(settings);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The log may go elsewhere: whoever started us by hand must see it too.
            eprintln!("frd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn lead(settings: Settings) -> anyhow::Result<()> {
    // Two workers each: HAProxy's log and the controllers do not hold each other up, and memory stays small.
    let runtime = threads("frd", Politeness::First)?;
    // What people ask has threads of its own, so that it never delays what controllers do.
    let api = threads("frd-api", Politeness::After)?;
    let outcome = runtime.block_on(compose::run(settings, api.handle().clone()));
    // A blocking call that does not end must not hold up the exit.
    api.shutdown_background();
    runtime.shutdown_timeout(Duration::from_secs(2));
    outcome
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Politeness {
    /// As any process.
    First,
    /// Where processor time is short, others have it first.
    After,
}

fn threads(name: &str, politeness: Politeness) -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(8)
        .thread_name(name)
        .on_thread_start(move || {
            if politeness == Politeness::After {
                // Of this thread alone. Refused: it is as any other.
                let _ = rustix::process::nice(5);
            }
        })
        .enable_all()
        .build()
        .context("the runtime does not start")
}
