//! What tasks use of their limits, and which of them does worse than its siblings.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fm_e2e::{Plan, World, stable_is};
use fm_harness::etcd::Etcd;
use fm_harness::{free_port, program, run, until};
use serde_json::Value;
use tokio::process::Command;

/// The manifest of a version, with more lines of its workload.
fn manifest(world: &World, plan: &Plan, version: &str, more: &str) -> String {
    let text = world.manifest(plan, version);
    text.replace(
        "    stopGracePeriod: 5s\n",
        &format!("    stopGracePeriod: 5s\n{more}"),
    )
}

async fn apply(world: &mut World, plan: &Plan, version: &str, more: &str) -> Result<()> {
    let text = manifest(world, plan, version, more);
    let namespace = world.namespace.clone();
    world.stack.apply(&namespace, &text).await.map(drop)
}

async fn top(world: &World) -> Result<Value> {
    let path = format!("/v1/top?namespace={}&name=shop", world.namespace);
    world.stack.api().get(&path).await
}

#[tokio::test]
async fn a_canary_that_fills_its_limits_is_taken_back_and_one_without_limits_says_so() -> Result<()>
{
    let mut world = World::new(None).await?;
    let mut plan = Plan {
        replicas: 1,
        steps: "[{ weight: 50, hold: 10m }]".into(),
        ..Plan::default()
    };
    world.first(&plan).await?;
    let load = world.load(&plan, 30);
    until("what tasks use", Duration::from_secs(30), || async {
        let top = top(&world).await.ok()?;
        top["tasks"][0]["signals"]["memoryBytes"]["max"]
            .as_f64()
            .filter(|bytes| *bytes > 1e5)
    })
    .await?;
    let (_, text) = world.frctl(&["top", "shop", "--once"]).await?;
    assert!(text.contains("no limit") && !text.contains("NaN"), "{text}");

    // A guard on a limit that is none is refused.
    plan.analysis = "{ warmup: 1s, bake: 2s, latency: { disabled: true }, guards: { maxCpu: 0.7, maxMemory: 0.7, window: 5s } }".into();
    let refused = world.apply(&plan, "v2").await.unwrap_err().to_string();
    assert!(refused.contains("spec.analysis.guards.maxCpu"), "{refused}");

    let limits = "    resources: { limits: { cpus: 0.2, memory: 64Mi } }\n";
    for (knob, what) in [("BURN_CPUS: '1'", "CPU"), ("HOLD_MIB: '56'", "memory")] {
        let more = format!("{limits}    env: {{ {knob} }}\n");
        apply(&mut world, &plan, "v2", &more).await?;
        let view = world
            .wait(&plan, "the canary to be taken back", 90, |view| {
                view["status"]["phase"] == "degraded"
                    && view["status"]["reason"] == "SaturationGuard"
            })
            .await?;
        let why = view["status"]["why"].as_str().unwrap_or_default();
        assert!(why.contains(&format!("of its {what} limit")), "{why}");
    }
    // With its limits kept, the same workload is promoted, and the share is shown and scraped.
    plan.steps = "[{ weight: 50, hold: 1s }]".into();
    plan.analysis = "{ warmup: 1s, bake: 2s, errors: { promote: { margin: 0.2 } }, latency: { disabled: true }, guards: { maxCpu: 0.7, maxMemory: 0.7, window: 5s } }".into();
    apply(&mut world, &plan, "v2", limits).await?;
    world
        .wait(&plan, "v2 to be promoted", 90, |view| stable_is(view, "v2"))
        .await?;
    until("its share", Duration::from_secs(30), || async {
        let top = top(&world).await.ok()?;
        let memory = top["items"][0]["signals"]["memory"]["max"].as_f64()?;
        when(memory > 0.0 && memory < 0.7)
    })
    .await?;
    let socket = world.stack.socket().display().to_string();
    let scraped = run(
        "curl",
        &[
            "-sS",
            "--fail",
            "--unix-socket",
            &socket,
            "http://frd/metrics",
        ],
    )
    .await?;
    assert!(
        scraped.contains("\nfridaymorning_tasks_memory_limit_ratio{"),
        "{scraped}"
    );
    load.stop().await;
    world.end().await;
    Ok(())
}

/// On another node of the Swarm an agent of its own measures; here it is another process, found in the store and read over TCP.
#[tokio::test]
async fn what_an_agent_elsewhere_measures_is_read_at_its_address() -> Result<()> {
    let etcd = Etcd::start().await?;
    let (folder, port) = (tempfile::tempdir()?, free_port()?);
    let config = folder.path().join("frd.yaml");
    std::fs::write(
        &config,
        format!("telemetry: {{ listen: '127.0.0.1:{port}' }}\n"),
    )?;
    let url = etcd.url();
    let mut node = Command::new(program("frd")?)
        .args([
            "--etcd",
            &url,
            "--controllers",
            "node",
            "--instance",
            "worker-7",
        ])
        .arg("--config")
        .arg(&config)
        .arg("--listen")
        .arg(format!("unix:{}", folder.path().join("frd.sock").display()))
        .arg("--haproxy-dir")
        .arg(folder.path())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let rest = ["--controllers", "swarm,promotion,haproxy,analysis"];
    let mut world = World::with(Some(&url), &rest).await?;
    let plan = Plan {
        replicas: 1,
        ..Plan::default()
    };
    let limits = "    resources: { limits: { memory: 64Mi } }\n";
    apply(&mut world, &plan, "v1", limits).await?;
    until("the task's memory", Duration::from_secs(60), || async {
        let top = top(&world).await.ok()?;
        let signals = &top["tasks"][0]["signals"];
        let share = signals["memory"]["max"].as_f64()?;
        when(share > 0.0 && share < 1.0 && signals["cpu"].is_null())
    })
    .await?;
    // What cannot be measured any more is not known, and harms nothing.
    node.kill().await?;
    until("nothing to be known", Duration::from_secs(60), || async {
        let top = top(&world).await.ok()?;
        when(top["tasks"][0]["signals"]["memory"].is_null())
    })
    .await?;
    world.end().await;
    Ok(())
}

/// The most seconds in a row in which it was measured what a task uses.
async fn measured_in_a_row(world: &mut World, task: &str) -> Result<i64> {
    let arguments = [
        "metrics", "export", "shop", "--tasks", "--since", "5m", "--step", "1s", "-o", "jsonl",
    ];
    let (code, text) = world.frctl(&arguments).await?;
    ensure!(code == 0, "{text}");
    let (mut most, mut row, mut last) = (0, 0, 0);
    for line in text.lines() {
        let point: Value = serde_json::from_str(line)?;
        if point["endpoint"] != task || point["signals"]["memoryBytes"].is_null() {
            continue;
        }
        let at: jiff::Timestamp = point["at"].as_str().context("no time")?.parse()?;
        row = if at.as_second() == last + 1 {
            row + 1
        } else {
            1
        };
        last = at.as_second();
        most = most.max(row);
    }
    Ok(most)
}

fn when(holds: bool) -> Option<()> {
    holds.then_some(())
}

#[tokio::test]
async fn the_one_bad_replica_is_named_until_it_is_gone() -> Result<()> {
    let mut world = World::new(None).await?;
    let plan = Plan {
        replicas: 4,
        ..Plan::default()
    };
    let bad = "    env: { SLOT: '{{.Task.Slot}}', BAD_SLOT: '2', ERROR_RATE: '0.4' }\n";
    apply(&mut world, &plan, "v1", bad).await?;
    world
        .wait(&plan, "v1 to serve", 60, |view| stable_is(view, "v1"))
        .await?;
    let load = world.load(&plan, 100);
    let found = until("the outlier", Duration::from_secs(90), || async {
        let top = top(&world).await.ok()?;
        let outliers = top["outliers"].as_array()?;
        (!outliers.is_empty()).then(|| outliers.clone())
    })
    .await?;
    ensure!(found.len() == 1, "{found:#?}");
    let task = found[0]["task"].as_str().context("no task")?.to_owned();
    let slot = run(
        "docker",
        &["inspect", "--type", "task", "--format", "{{.Slot}}", &task],
    )
    .await?;
    assert_eq!(slot.trim(), "2", "{found:#?}");

    let (_, text) = world.frctl(&["describe", "shop"]).await?;
    let short: String = task.chars().take(12).collect();
    assert!(text.contains(&format!("{short} !")), "{text}");
    assert!(
        text.contains("TaskOutlier") && text.contains("the other 3 tasks of"),
        "{text}"
    );
    let (_, text) = world.frctl(&["top", "shop", "--once"]).await?;
    assert!(text.contains(&format!("task {short} on ")), "{text}");
    let mut seconds = 0;
    for _ in 0..30 {
        seconds = measured_in_a_row(&mut world, &task).await?;
        if seconds >= 4 {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(seconds >= 4, "{seconds}: it is not measured each second");

    // The next version is well, and with the last bad task its name goes.
    apply(&mut world, &plan, "v2", "").await?;
    world
        .wait(&plan, "v2 to be promoted", 90, |view| stable_is(view, "v2"))
        .await?;
    until("nobody to be named", Duration::from_secs(60), || async {
        let top = top(&world).await.ok()?;
        when(top["outliers"].is_null())
    })
    .await?;
    load.stop().await;
    world.end().await;
    Ok(())
}
