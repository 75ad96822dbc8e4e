//! The program `frd`. It reads its settings, starts the runtime and hands over to [`frd_daemon::compose`].
//!
//! Exit codes: 0 stopped in order, 1 it could not start or go on, 2 wrong usage or configuration.

use std::process::ExitCode;

use clap::Parser;
use frd_daemon::cli::Arguments;
use frd_daemon::settings::Settings;
use frd_daemon::{compose, logging, store};

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
    // Two workers: HAProxy's log and the controllers do not hold each other up, and memory stays small.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(8)
        .thread_name("frd")
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(compose::run(settings));
            // A blocking call that does not end must not hold up the exit.
            runtime.shutdown_timeout(std::time::Duration::from_secs(2));
            outcome
        }
        Err(error) => Err(anyhow::Error::new(error).context("the runtime does not start")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The log may go elsewhere: whoever started us by hand must see it too.
            eprintln!("frd: {error:#}");
            ExitCode::FAILURE
        }
    }
}
