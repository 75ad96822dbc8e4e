//! `frctl analysis power`: how many requests and minutes each conclusion takes, for a manifest and its traffic.

use fm_analysis::power::{Outcome, Power, Traffic};
use serde::Serialize;

use crate::cli;
use crate::error::{Error, Exit, Result};
use crate::render::power::{Picture, picture};
use crate::session::Session;
use crate::text::clean;
use crate::{files, term};

/// For programs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    traffic: Traffic,
    seed: u64,
    /// Canary requests without a bad one that promotion takes at least; absent: it cannot be shown at the last step's share.
    least_requests: Option<u64>,
    /// Seconds that promotion takes at least, by the steps' holds and the bake.
    least_seconds: f64,
    canaries: &'a [Outcome],
}

pub(super) fn run(session: &Session, options: &cli::Power) -> Result<Exit> {
    let release = match files::single(&options.file) {
        Ok(release) => release,
        Err(problems) => {
            for problem in &problems {
                term::complain(&clean(&problem.to_string()));
            }
            return Ok(Exit::Error);
        }
    };
    let traffic = Traffic {
        rps: options.rps,
        error_rate: options.error_rate,
        latency_ms: options.latency,
    };
    let power = Power::new(&release, traffic)
        .map_err(|why| Error::new(format!("{}: {why}", options.file.display())))?;
    let canaries = power.canaries();
    let all = canaries.len();
    let shown = term::is_stderr();
    let mut outcomes = Vec::new();
    for (index, canary) in canaries.into_iter().enumerate() {
        if shown {
            term::progress(&format!(
                "simulates rollouts: canary {} of {all}",
                index + 1
            ));
        }
        outcomes.push(power.simulate(canary, options.runs, options.seed));
    }
    if shown {
        term::progress("");
    }
    let report = Report {
        traffic,
        seed: options.seed,
        least_requests: power.least_requests(),
        least_seconds: power.least_time().as_secs_f64(),
        canaries: &outcomes,
    };
    if !session.object(&report)? {
        let text = picture(
            &Picture {
                traffic,
                times_count: power.times_count(),
                runs: options.runs,
                least_requests: report.least_requests,
                least_seconds: report.least_seconds,
                outcomes: &outcomes,
            },
            &session.look(),
        );
        term::print(&text)?;
    }
    Ok(Exit::Done)
}
