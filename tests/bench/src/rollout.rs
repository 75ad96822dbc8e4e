//! How fast a bad canary loses its traffic, how fast a new image takes all of it, and what an idle daemon weighs.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fm_e2e::{Plan, World, answered_by, stable_is};
use fm_harness::load::Outcome;
use fm_harness::stack::Stack;
use fm_harness::{run, until};

use crate::record::{Record, quantile};

const ROUNDS: usize = 7;

/// Seconds from the first request that a canary with 20 % errors serves to the last one, at 200 requests/s x 5 %.
pub(crate) async fn bad_canary(record: &mut Record) -> Result<()> {
    let mut world = World::new(None).await?;
    let tag = format!("{}:fifth", world.repository);
    world
        .images
        .build(
            &tag,
            &[
                ("VERSION", "fifth"),
                ("ERROR_RATE", "0.2"),
                ("LATENCY_MS", "5"),
            ],
        )
        .await?;
    let outcome = bad_canary_in(&mut world).await;
    world.end().await;
    let seconds = outcome?;
    record.add(
        "bad_canary_to_zero_p50",
        quantile(&seconds, 0.5),
        "s",
        None,
        "<= 3 s",
    )?;
    record.add(
        "bad_canary_to_zero_max",
        quantile(&seconds, 1.0),
        "s",
        None,
        "for the record",
    )
}

async fn bad_canary_in(world: &mut World) -> Result<Vec<f64>> {
    // The analysis' shipped defaults decide.
    let plan = Plan {
        steps: "[{ weight: 5, hold: 10m }]".into(),
        analysis: "{}".into(),
        ..Plan::default()
    };
    world.first(&plan).await?;
    let load = world.load(&plan, 200);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let mut seconds = Vec::new();
    for round in 0..ROUNDS {
        let since = Instant::now();
        if round == 0 {
            world.apply(&plan, "fifth").await?;
        } else {
            let (code, text) = world.frctl(&["rollout", "retry", "shop"]).await?;
            ensure!(code == 0, "{text}");
        }
        world
            .wait(&plan, "the canary to be taken back", 120, |view| {
                view["status"]["phase"] == "degraded"
                    && view["status"]["canary"].is_null()
                    && answered_by(&load, "fifth", since) > 0
            })
            .await?;
        let served = load.samples(|sample| sample.sent >= since && matches!(&sample.outcome, Outcome::Answered { version, .. } if &**version == "fifth"));
        let first = served
            .iter()
            .map(|sample| sample.sent)
            .min()
            .context("the canary served nothing")?;
        let last = served
            .iter()
            .map(|sample| sample.sent)
            .max()
            .context("the canary served nothing")?;
        seconds.push(last.duration_since(first).as_secs_f64());
    }
    load.stop().await;
    ensure!(
        load.all().failures() == 0,
        "the platform failed requests: {:?}",
        load.all().failed
    );
    Ok(seconds)
}

/// A new image to all traffic with four replicas, against Docker's own rolling update of the same images.
pub(crate) async fn rollover(record: &mut Record) -> Result<()> {
    let mut world = World::new(None).await?;
    let outcome = rollover_in(&mut world).await;
    world.end().await;
    let (ours, dockers) = outcome?;
    record.add(
        "rollover_vs_docker_update",
        quantile(&ours, 0.5),
        "s",
        Some(quantile(&dockers, 0.5)),
        "<= 1x",
    )
}

async fn rollover_in(world: &mut World) -> Result<(Vec<f64>, Vec<f64>)> {
    let plan = Plan {
        replicas: 4,
        steps: "[{ weight: 50, hold: 1h }]".into(),
        analysis: "{ disabled: true }".into(),
        ..Plan::default()
    };
    world.first(&plan).await?;
    let service = format!("{}_bench", world.namespace);
    let images = ["v1", "v2"].map(|version| format!("{}:{version}", world.repository));
    run(
        "docker",
        &[
            "service",
            "create",
            "--no-resolve-image",
            "--name",
            &service,
            "--replicas",
            "4",
            "--endpoint-mode",
            "dnsrr",
            "--publish",
            "mode=host,target=8080",
            &images[0],
        ],
    )
    .await?;
    let outcome = async {
        let (mut ours, mut dockers) = (Vec::new(), Vec::new());
        for (version, image) in [("v2", &images[1]), ("v1", &images[0]), ("v2", &images[1])] {
            let started = Instant::now();
            world.apply(&plan, version).await?;
            let (code, text) = promote(world).await?;
            ensure!(code == 0, "{text}");
            world
                .wait(&plan, "the new image to serve everything", 60, |view| {
                    stable_is(view, version)
                })
                .await?;
            ours.push(started.elapsed().as_secs_f64());
            world
                .wait(&plan, "the old tasks to be gone", 60, |view| {
                    view["swarm"]["revisions"]
                        .as_object()
                        .is_some_and(|all| all.len() == 1)
                })
                .await?;

            let started = Instant::now();
            run(
                "docker",
                &[
                    "service",
                    "update",
                    "--quiet",
                    "--no-resolve-image",
                    "--update-order",
                    "start-first",
                    "--image",
                    image,
                    &service,
                ],
            )
            .await?;
            dockers.push(started.elapsed().as_secs_f64());
        }
        Ok((ours, dockers))
    }
    .await;
    run("docker", &["service", "rm", &service]).await?;
    outcome
}

/// `promote --full` as soon as there is a rollout to promote.
async fn promote(world: &mut World) -> Result<(i32, String)> {
    let started = Instant::now();
    loop {
        let answer = world
            .frctl(&["rollout", "promote", "shop", "--full"])
            .await?;
        if answer.0 == 0 || started.elapsed() > Duration::from_secs(10) {
            return Ok(answer);
        }
    }
}

/// Resident memory of `frd` with the embedded store, ten seconds after its start.
pub(crate) async fn idle(record: &mut Record) -> Result<()> {
    let stack = Stack::start(None).await?;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let pid = stack.frd_pid().context("frd does not run")?;
    let kib = until(
        "frd's memory to be read",
        Duration::from_secs(1),
        || async {
            let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            text.lines()
                .find_map(|line| line.strip_prefix("VmRSS:"))?
                .split_whitespace()
                .next()?
                .parse::<f64>()
                .ok()
        },
    )
    .await;
    stack.down().await;
    record.add("frd_rss_idle", kib? / 1024.0, "MiB", None, "<= 20 MB")
}
