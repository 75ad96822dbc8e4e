//! Requests a second through our configuration against a hand-written one with the same servers, in turns, by `wrk`.
//! Ours with a canary at 50 %, cookie affinity, fallback and logging on, as people run it.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use fm_e2e::{Plan, World, in_force};
use fm_harness::{free_port, run, until};
use serde_json::Value;

use crate::record::{Record, quantile};

const ROUNDS: usize = 5;

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
        analysis: "{ disabled: true }".into(),
        more: "  affinity: { cookie: {} }\n".into(),
        ..Plan::default()
    };
    world.first(&plan).await?;
    world.apply(&plan, "v2").await?;
    let view = world
        .wait(&plan, "both sides to serve", 60, |view| {
            in_force(view) == Some(50.0)
        })
        .await?;
    let servers = addresses(&view);
    let folder = tempfile::tempdir()?;
    let port = free_port()?;
    let script = folder.path().join("users.lua");
    std::fs::write(&script, include_str!("users.lua"))?;
    let file = folder.path().join("hand.cfg");
    std::fs::write(&file, by_hand(port, &servers))?;
    let mut by_hand = tokio::process::Command::new("haproxy")
        .arg("-db")
        .arg("-f")
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("cannot start haproxy")?;
    until(
        "the hand-written HAProxy",
        Duration::from_secs(5),
        || async {
            tokio::net::TcpStream::connect(("127.0.0.1", port))
                .await
                .ok()
        },
    )
    .await?;
    tokio::time::sleep(Duration::from_secs(2)).await;

    let (ours_pid, hand_pid) = (
        *world.stack.haproxy_pids().last().context("no HAProxy")?,
        by_hand.id().context("no HAProxy")?,
    );
    let (mut ours, mut hand, mut ours_cpu, mut hand_cpu) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        for (port, pid, rates, costs) in [
            (world.stack.port(), ours_pid, &mut ours, &mut ours_cpu),
            (port, hand_pid, &mut hand, &mut hand_cpu),
        ] {
            let before = ticks(pid)?;
            let rate = wrk(port, &script).await?;
            costs.push((ticks(pid)? - before) * 10_000.0 / (rate * 5.0));
            rates.push(rate);
        }
    }
    by_hand.kill().await?;
    record.add(
        "proxy_throughput_ratio",
        quantile(&ours, 0.5),
        "requests/s",
        Some(quantile(&hand, 0.5)),
        ">= 0.9",
    )?;
    record.add(
        "proxy_cpu_per_request",
        quantile(&ours_cpu, 0.5),
        "us",
        Some(quantile(&hand_cpu, 0.5)),
        "for the record",
    )
}

/// Where the ready tasks of all revisions are reached.
fn addresses(view: &Value) -> Vec<String> {
    let revisions = view["swarm"]["revisions"]
        .as_object()
        .into_iter()
        .flat_map(|all| all.values());
    revisions
        .flat_map(|revision| revision["ready"].as_array().cloned().unwrap_or_default())
        .filter_map(|task| task["addresses"]["8080"].as_str().map(str::to_owned))
        .collect()
}

fn by_hand(port: u16, servers: &[String]) -> String {
    let servers: String = servers
        .iter()
        .enumerate()
        .map(|(index, address)| format!("  server s{index} {address} check\n"))
        .collect();
    format!(
        "global\n  maxconn 4000\n  nbthread 2\ndefaults\n  mode http\n  timeout connect 1s\n  timeout client 30s\n  timeout server 30s\n  option httpchk GET /healthz\nfrontend fe\n  bind 127.0.0.1:{port}\n  default_backend be\nbackend be\n  balance roundrobin\n{servers}"
    )
}

/// Requests a second over five seconds, by the users of this script.
pub(crate) async fn wrk(port: u16, script: &Path) -> Result<f64> {
    let url = format!("http://127.0.0.1:{port}/");
    let script = script.to_string_lossy();
    let text = run(
        "wrk",
        &["-t", "1", "-c", "32", "-d", "5s", "-s", &script, &url],
    )
    .await?;
    text.lines()
        .find_map(|line| line.trim().strip_prefix("Requests/sec:"))
        .and_then(|rate| rate.trim().parse().ok())
        .with_context(|| format!("wrk said: {text}"))
}

/// Hundredths of a second of processor time that a process has used.
pub(crate) fn ticks(pid: u32) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = text
        .rsplit(')')
        .next()
        .unwrap_or("")
        .split_whitespace()
        .collect();
    let number = |index: usize| {
        fields
            .get(index)
            .and_then(|text| text.parse::<f64>().ok())
            .unwrap_or(0.0)
    };
    Ok(number(11) + number(12))
}
