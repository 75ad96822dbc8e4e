//! What becomes of a canary that fails, on the real systems: stopped for a person, and kept for a while to be looked at.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use fm_e2e::{Plan, World, in_force, runs, stable_is};
use serde_json::Value;

fn revisions(view: &Value) -> usize {
    view["swarm"]["revisions"]
        .as_object()
        .map_or(0, |all| all.len())
}

#[tokio::test]
async fn harm_stops_where_the_manifest_says_so_and_what_failed_is_kept_for_its_time() -> Result<()>
{
    let mut world = World::new(None).await?;
    let strategy = "canary: { steps: [{ weight: 20, hold: 1s }, { weight: 50, hold: 20s }], capacity: full, keepPrevious: 0s }";
    let plan = Plan {
        strategy: Some(strategy.into()),
        more: "  onFailure: pause\n  keepFailed: 4s\n".into(),
        ..Plan::default()
    };
    world.first(&plan).await?;
    let load = world.load(&plan, 100);
    world.apply(&plan, "bad").await?;
    let view = world
        .wait(&plan, "harm to stop it", 60, |view| {
            view["status"]["phase"] == "paused" && view["status"]["waitsForPerson"] == true
        })
        .await?;
    assert_eq!(
        view["status"]["canary"]["replicas"], 2,
        "full capacity from the first step: {view:#}"
    );
    let share = in_force(&view);
    assert!(share > Some(0.0), "it stays where it is: {view:#}");
    let why = view["status"]["why"].as_str().unwrap_or_default();
    assert!(why.contains("harm is shown"), "{why}");
    let (code, text) = world.frctl(&["rollout", "status", "shop"]).await?;
    assert_eq!(code, 5, "it waits for a person: {text}");
    let (_, text) = world.frctl(&["get", "--problems"]).await?;
    assert!(
        text.contains("shop") && text.contains("frctl rollout abort"),
        "{text}"
    );

    let (code, text) = world
        .frctl(&["rollout", "abort", "shop", "--why", "seen"])
        .await?;
    assert_eq!(code, 0, "{text}");
    let view = world
        .wait(&plan, "bad to be taken back", 30, |view| {
            view["status"]["lastRollout"]["outcome"] == "aborted" && in_force(view) == Some(0.0)
        })
        .await?;
    let since = Instant::now();
    assert_eq!(revisions(&view), 2, "its tasks can be looked at: {view:#}");
    world
        .wait(&plan, "what failed to go", 60, |view| revisions(view) == 1)
        .await?;
    assert!(
        since.elapsed() > Duration::from_secs(2),
        "{:?}",
        since.elapsed()
    );
    load.stop().await;
    assert_eq!(load.all().failures(), 0, "{:?}", load.all().failed);

    let image = format!("{}:v2", world.repository);
    let set = ["set", "image", "shop", &image];
    let (code, text) = world.frctl(&set).await?;
    assert_eq!(code, 0, "{text}");
    let load = world.load(&plan, 100);
    world
        .wait(&plan, "v2 at its first step", 60, |view| {
            in_force(view) == Some(20.0)
        })
        .await?;
    let promote = ["rollout", "promote", "shop", "--full", "--why", "known"];
    let (code, text) = world.frctl(&promote).await?;
    assert_eq!(code, 0, "{text}");
    let view = world
        .wait(&plan, "v2 to be stable", 60, |view| stable_is(view, "v2"))
        .await?;
    let last = view["target"]["history"]
        .as_array()
        .and_then(|all| all.last());
    assert!(runs(last.context("no history")?, "v2"), "{view:#}");
    load.stop().await;
    assert_eq!(load.all().failures(), 0, "{:?}", load.all().failed);
    world.end().await;
    Ok(())
}
