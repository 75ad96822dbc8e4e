//! Plays a rollout's whole story in the terminal, on real systems, and checks that it went as told.
//!
//! Five versions of one service go through a real HAProxy into a real Swarm under a steady load, while HAProxy and `frd`
//! are killed in the middle. It exits 0 only if every promise held; what did not hold is printed last.

mod picture;
mod story;

use std::process::ExitCode;

use clap::{Parser, ValueEnum};

/// Plays five rollouts on real systems and checks them.
#[derive(Parser)]
struct Arguments {
    /// Where the state is kept.
    #[arg(long, value_enum, default_value_t = StoreKind::Embedded)]
    store: StoreKind,
    /// Requests a second.
    #[arg(long, default_value_t = 200)]
    rate: u32,
}

/// Where the state is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum StoreKind {
    /// In one file.
    Embedded,
    /// In an etcd that the demo starts.
    Etcd,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match story::play(arguments.store == StoreKind::Etcd, arguments.rate).await {
        Ok(broken) if broken.is_empty() => ExitCode::SUCCESS,
        Ok(broken) => {
            eprintln!("\nNot as told:");
            for promise in broken {
                eprintln!("  - {promise}");
            }
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("\nThe demo could not be played to its end: {error:#}");
            ExitCode::FAILURE
        }
    }
}
