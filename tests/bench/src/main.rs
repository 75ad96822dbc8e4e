//! Measures on real systems. Every speed is a ratio of two things done in one run, on the machine as it is then.
//!
//! Prints a table and writes JSON lines `{"name","value","unit","baseline","ratio"}` to `target/bench/summary.jsonl`.

mod apply;
mod decide;
mod logs;
mod mirror;
mod proxy;
mod record;
mod rollout;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use record::Record;

/// Measures FridayMorning on real systems.
#[derive(Parser)]
struct Arguments {
    /// Only the measurements whose name contains one of these.
    only: Vec<String>,
    /// Also builds everything anew, in a folder of its own, to time it (some ten minutes).
    #[arg(long)]
    clean_build: bool,
    /// Reads a log of ours from standard input with a general JSON reader: what log-stats is measured against.
    #[arg(long, hide = true)]
    general_json: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match measure(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(arguments: &Arguments) -> Result<()> {
    if arguments.general_json {
        return logs::general_json();
    }
    let wanted = |name: &str| {
        arguments.only.is_empty()
            || arguments
                .only
                .iter()
                .any(|part| name.contains(part.as_str()))
    };
    let mut record = Record::new()?;
    if wanted("apply_to_weight") {
        apply::measure(&mut record).await?;
    }
    if wanted("bad_canary_to_zero") {
        rollout::bad_canary(&mut record).await?;
    }
    if wanted("proxy_throughput") {
        proxy::measure(&mut record).await?;
    }
    if wanted("mirror") {
        mirror::measure(&mut record).await?;
    }
    if wanted("rollover_vs_docker_update") {
        rollout::rollover(&mut record).await?;
    }
    if ["decide_1000_releases", "memory_per_release_analysed"]
        .into_iter()
        .any(&wanted)
    {
        decide::measure(&mut record)?;
    }
    if wanted("frd_rss_idle") {
        rollout::idle(&mut record).await?;
    }
    if wanted("log_lines_per_second") {
        logs::measure(&mut record)?;
    }
    if wanted("ingest_cpu_per_10k_rps") {
        logs::ingest(&mut record).await?;
    }
    if wanted("binary_size") {
        record::sizes(&mut record)?;
    }
    if arguments.clean_build {
        record::clean_build(&mut record).await?;
    }
    record.print();
    Ok(())
}
