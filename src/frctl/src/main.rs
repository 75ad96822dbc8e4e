//! FridayMorning's command line.

mod changes;
mod cli;
mod client;
mod commands;
mod compose;
mod contents;
mod error;
mod files;
mod follow;
mod live;
mod render;
mod session;
mod table;
mod template;
mod term;
mod text;
mod together;
mod wait;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;
use crate::error::{Error, Exit};
use crate::session::Session;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; nobody can be told when printing them fails.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() {
                Exit::Usage.code()
            } else {
                Exit::Done.code()
            });
        }
    };
    match run(cli) {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(error) if error.is_pipe() => ExitCode::from(Exit::Done.code()),
        Err(error) => {
            term::complain_of(&error);
            ExitCode::from(error.ends().code())
        }
    }
}

fn run(cli: Cli) -> Result<Exit, Error> {
    // A provider that is installed already is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    commands::can_print(cli.global.output, &cli.command)?;
    let session = Session::new(cli.global);
    let end = runtime.block_on(commands::run(&session, cli.command));
    // A thread that waits for a key must not keep the program.
    runtime.shutdown_background();
    end
}
