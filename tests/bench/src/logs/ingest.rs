//! What counting costs: processor time of `frd` while a real HAProxy serves as much as `wrk` asks, over the default transport.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fm_e2e::{Plan, World, in_force};

use crate::proxy::{ticks, wrk};
use crate::record::{Record, quantile};

const ROUNDS: usize = 5;
/// The rate that the cost is told for.
const RATE: f64 = 10_000.0;

/// Percent of a core at ten thousand requests a second, and the lines lost.
pub(crate) async fn measure(record: &mut Record) -> Result<()> {
    let mut world = World::new(None).await?;
    let outcome = measure_in(&mut world, record).await;
    world.end().await;
    outcome
}

async fn measure_in(world: &mut World, record: &mut Record) -> Result<()> {
    let plan = Plan {
        replicas: 1,
        steps: "[{ weight: 50, hold: 1h }]".into(),
        ..Plan::default()
    };
    world.first(&plan).await?;
    world.apply(&plan, "v2").await?;
    world
        .wait(&plan, "both sides to serve", 60, |view| {
            in_force(view) == Some(50.0)
        })
        .await?;
    let folder = tempfile::tempdir()?;
    let script = folder.path().join("users.lua");
    std::fs::write(&script, include_str!("../users.lua"))?;
    let frd = world.stack.frd_pid().context("frd does not run")?;
    let (mut costs, mut rates) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (used, lines) = (ticks(frd)?, lines(world).await?.0);
        wrk(world.stack.port(), &script).await?;
        // What is on its way is counted, too.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let counted = lines_since(world, lines).await?;
        let seconds = (ticks(frd)? - used) / 100.0;
        rates.push(counted / 5.0);
        costs.push(seconds / counted * RATE * 100.0);
    }
    // Two quiet spells and a look at the numbering: what is missing for that long is lost.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (total, lost) = lines(world).await?;
    ensure!(total > 0.0, "nothing was counted");
    record.add(
        "ingest_cpu_per_10k_rps",
        quantile(&costs, 0.5),
        "% of a core",
        None,
        "<= 10",
    )?;
    record.add("ingest_lines_lost", lost, "lines", Some(total), "0")?;
    record.add(
        "ingest_rate_seen",
        quantile(&rates, 0.5),
        "requests/s",
        None,
        "for the record",
    )
}

async fn lines_since(world: &World, before: f64) -> Result<f64> {
    Ok(lines(world).await?.0 - before)
}

/// Lines counted, and lost.
async fn lines(world: &World) -> Result<(f64, f64)> {
    let seen = world.stack.api().get("/v1/agent/telemetry").await?;
    let value = |name: &str| {
        let value = seen["log"][name].as_f64();
        value.with_context(|| format!("no log.{name} in {seen}"))
    };
    Ok((value("lines")?, value("lost")?))
}
