//! Workers, that no route leads to; and how far tasks may go beyond what a release asks for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use fm_e2e::{Plan, World, number, runs, stable_is};
use serde_json::Value;
use tokio::task::JoinHandle;

/// The manifest of a worker of four tasks.
fn worker(world: &World, version: &str, queue: &str, more: &str) -> String {
    format!(
        "apiVersion: fridaymorning.dev/v1
kind: Release
metadata: {{ namespace: {}, name: mailer }}
spec:
  replicas: 4
  workload:
    image: {}:{version}
    stopGracePeriod: 2s
    resources: {{ limits: {{ cpus: 0.5, memory: 64Mi }} }}
  strategy:
    canary:
      steps: [{{ replicas: 1, hold: 1s }}, {{ replicas: 50%, hold: 2s }}]
{more}  analysis:
    warmup: 1s
    bake: 2s
    guards: {{ maxCpu: 0.9, window: 5s }}
    metrics:
      - {{ name: queue, web: {{ url: \"{queue}\", jsonPath: $.length }}, max: 10, interval: 1s }}
",
        world.namespace, world.repository
    )
}

async fn apply(world: &mut World, manifest: &str) -> Result<()> {
    let namespace = world.namespace.clone();
    world.stack.apply(&namespace, manifest).await.map(drop)
}

/// Tasks of every revision that are there, started or not, as the service is set.
fn tasks(view: &Value) -> u64 {
    let revisions = view["swarm"]["revisions"].as_object();
    let services = revisions.into_iter().flat_map(|all| all.values());
    services
        .map(|service| {
            let ready = service["ready"].as_array().map_or(0, Vec::len) as u64;
            let leaving = service["leaving"].as_array().map_or(0, Vec::len) as u64;
            ready + leaving + service["starting"].as_u64().unwrap_or(0)
        })
        .sum()
}

/// Looks on until it is told to stop; the most tasks that were there at once while a rollout ran.
fn watched(world: &World, name: &str, stop: &Arc<AtomicBool>) -> JoinHandle<u64> {
    let (api, stop) = (world.stack.api(), Arc::clone(stop));
    let (namespace, name) = (world.namespace.clone(), name.to_owned());
    tokio::spawn(async move {
        let mut most = 0;
        while !stop.load(Ordering::Relaxed) {
            let view = api.view(&namespace, &name).await;
            // What is over and gone is no part of a rollout, though Swarm tells of its tasks for a while.
            if !view["target"]["rollout"].is_null() {
                most = most.max(tasks(&view));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        most
    })
}

#[tokio::test]
async fn a_worker_goes_by_steps_of_tasks_and_is_judged_by_metrics_and_by_its_tasks() -> Result<()> {
    let (address, length) = number("length").await?;
    length.store(3, Ordering::Relaxed);
    let mut world = World::new(None).await?;
    let mailer = Plan {
        name: "mailer".into(),
        ..Plan::default()
    };
    let text = worker(&world, "v1", &address, "");
    apply(&mut world, &text).await?;
    world
        .wait(&mailer, "v1 to work", 60, |view| stable_is(view, "v1"))
        .await?;

    // Up by its steps, each with its tasks beside all of stable, and promoted by its metric.
    let text = worker(&world, "v2", &address, "");
    apply(&mut world, &text).await?;
    for needed in [1, 2] {
        let view = world
            .wait(&mailer, "a step's tasks", 60, |view| {
                runs(&view["status"]["canary"], "v2") && view["status"]["canary"]["ready"] == needed
            })
            .await?;
        assert_eq!(view["status"]["stable"]["ready"], 4, "{view:#}");
        assert_eq!(view["status"]["steps"][1]["tasks"], 2, "{view:#}");
    }
    let view = world
        .wait(&mailer, "v2 to be promoted", 90, |view| {
            stable_is(view, "v2")
        })
        .await?;
    let last = &view["status"]["lastRollout"];
    assert_eq!(last["outcome"], "promoted", "{last:#}");

    // A queue that grows takes the next one back: its tasks stop, and stable's never did.
    let text = worker(&world, "bad", &address, "");
    apply(&mut world, &text).await?;
    world
        .wait(&mailer, "its first task", 60, |view| {
            view["status"]["canary"]["ready"] == 1
        })
        .await?;
    length.store(99, Ordering::Relaxed);
    let view = world
        .wait(&mailer, "it to be taken back", 60, |view| {
            runs(&view["status"]["lastRollout"], "bad") && tasks(view) == 4
        })
        .await?;
    let last = &view["status"]["lastRollout"];
    assert_eq!(
        (&last["outcome"], &last["reason"]),
        (&"rolledBack".into(), &"MetricFailed".into()),
        "{last:#}"
    );
    assert!(runs(&view["status"]["stable"], "v2"), "{view:#}");
    length.store(3, Ordering::Relaxed);

    // Tasks that die are no metric, and reason enough.
    let text = worker(&world, "crash", &address, "");
    apply(&mut world, &text).await?;
    let view = world
        .wait(&mailer, "it to be taken back", 90, |view| {
            runs(&view["status"]["lastRollout"], "crash")
        })
        .await?;
    let last = &view["status"]["lastRollout"];
    assert_eq!(last["reason"], "CrashLoop", "{last:#}");

    // No room for more than one task more: one after the other.
    let stop = Arc::default();
    let most = watched(&world, "mailer", &stop);
    let text = worker(&world, "v1", &address, "      maxSurge: 1\n");
    apply(&mut world, &text).await?;
    world
        .wait(&mailer, "v1 to be promoted", 120, |view| {
            stable_is(view, "v1")
        })
        .await?;
    stop.store(true, Ordering::Relaxed);
    let most = most.await?;
    ensure!(most == 5, "{most} tasks at once, of 4 and 1 more");
    world.end().await;
    Ok(())
}

#[tokio::test]
async fn with_max_surge_stable_gives_up_tasks_and_nobody_loses_a_request_there_or_back()
-> Result<()> {
    let mut world = World::new(None).await?;
    let mut plan = Plan {
        replicas: 4,
        strategy: Some(
            "canary: { steps: [{ weight: 25, hold: 1s }, { weight: 50, hold: 1s, approval: manual }], maxSurge: 50%, keepPrevious: 0s }"
                .into(),
        ),
        ..Plan::default()
    };
    world.first(&plan).await?;
    let load = world.load(&plan, 120);
    let stop = Arc::default();
    let most = watched(&world, &plan.name, &stop);
    world.apply(&plan, "v2").await?;
    world
        .wait(&plan, "its approval", 90, |view| {
            view["status"]["waitsForPerson"] == true
        })
        .await?;
    let (code, text) = world.frctl(&["rollout", "promote", "shop"]).await?;
    ensure!(code == 0, "{text}");
    world
        .wait(
            &plan,
            "v2 to be promoted, and v1's tasks to be gone",
            90,
            |view| stable_is(view, "v2") && tasks(view) == 4,
        )
        .await?;

    // Too little room for a step is said before anything happens.
    plan.strategy = plan.strategy.map(|text| text.replace("50%", "1"));
    let refused = world.apply(&plan, "v1").await.unwrap_err().to_string();
    ensure!(
        refused.contains("spec.strategy.canary.maxSurge") && refused.contains("at least 2"),
        "{refused}"
    );
    plan.strategy = plan
        .strategy
        .map(|text| text.replace("maxSurge: 1", "maxSurge: 50%"));

    // And back from where stable has given up tasks.
    world.apply(&plan, "v1").await?;
    world
        .wait(&plan, "its approval", 90, |view| {
            view["status"]["waitsForPerson"] == true
        })
        .await?;
    let (code, text) = world.frctl(&["rollout", "abort", "shop"]).await?;
    ensure!(code == 0, "{text}");
    world
        .wait(&plan, "v2 to have everything", 60, |view| {
            runs(&view["status"]["lastRollout"], "v1") && view["status"]["stable"]["ready"] == 4
        })
        .await?;
    stop.store(true, Ordering::Relaxed);
    let most = most.await?;
    ensure!(most == 6, "{most} tasks at once, of 4 and half as many");
    load.stop().await;
    let sums = load.all();
    ensure!(sums.failures() == 0, "{:?}", sums.failed);
    world.end().await;
    Ok(())
}
