//! Strategies other than a canary's steps, on the real systems.

use std::time::{Duration, Instant};

use anyhow::Result;
use fm_e2e::{Plan, World, answered_by, asked, in_force, runs, stable_is};
use fm_harness::load::Load;

const SWITCH: &str = "{ preview: { hosts: [next.shop.example.com] }, hold: 1s, approval: manual, watch: 3s, keepPrevious: 5m }";

/// A switch with the limits of a shop that knows what it wants.
fn plan() -> Plan {
    Plan {
        strategy: Some(format!("blueGreen: {SWITCH}")),
        analysis: "{ guards: { maxErrorRate: 0.05, minRequests: 20, window: 5s } }".into(),
        ..Plan::default()
    }
}

async fn waits_for_the_switch(world: &World, plan: &Plan, version: &str) -> Result<()> {
    world
        .wait(plan, "a person to be asked for the switch", 60, |view| {
            view["status"]["waitsForPerson"] == true
                && runs(&view["status"]["canary"], version)
                && in_force(view) == Some(0.0)
        })
        .await?;
    Ok(())
}

#[tokio::test]
async fn a_switch_is_whole_and_both_ways_back_are_one_change_of_weight() -> Result<()> {
    let mut world = World::new(None).await?;
    let plan = plan();
    world.first(&plan).await?;
    let port = world.stack.port();
    assert_eq!(asked(port, "next.shop.example.com", &[]).await?.0, 503);
    let load = world.load(&plan, 100);
    let began = Instant::now();
    world.apply(&plan, "v2").await?;
    waits_for_the_switch(&world, &plan, "v2").await?;
    assert_eq!(
        answered_by(&load, "v2", began),
        0,
        "no share before the switch"
    );
    assert_eq!(
        asked(port, "next.shop.example.com", &[]).await?,
        (200, "v2".into())
    );
    assert_eq!(
        asked(port, "shop.example.com", &[]).await?,
        (200, "v1".into())
    );

    let (code, text) = world.frctl(&["rollout", "promote", "shop"]).await?;
    assert_eq!(code, 0, "{text}");
    world
        .wait(&plan, "v2 to be stable", 30, |view| stable_is(view, "v2"))
        .await?;
    let since = Instant::now();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(answered_by(&load, "v1", since), 0, "one switch");

    // Inside the window going back is a switch, too: the old tasks are still there.
    let asked_at = Instant::now();
    let (code, text) = world.frctl(&["rollout", "undo", "shop"]).await?;
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("one change of weight"), "{text}");
    world
        .wait(&plan, "v1 again", 30, |view| stable_is(view, "v1"))
        .await?;
    let took = first_answer(&load, "v1", asked_at).duration_since(asked_at);
    println!(
        "undo inside the window: first request served by v1 after {took:?}, frctl's start included"
    );
    assert!(took < Duration::from_secs(3), "{took:?}");

    load.stop().await;
    assert_eq!(load.all().failures(), 0, "{:?}", load.all().failed);
    world.end().await;
    Ok(())
}

fn first_answer(load: &Load, version: &str, since: Instant) -> Instant {
    let samples = load.samples(|sample| {
        sample.sent >= since
            && matches!(&sample.outcome, fm_harness::load::Outcome::Answered { version: by, .. } if &**by == version)
    });
    samples
        .iter()
        .map(|sample| sample.done)
        .min()
        .unwrap_or(since)
}

#[tokio::test]
async fn harm_after_the_switch_gives_everything_back() -> Result<()> {
    let mut world = World::new(None).await?;
    let plan = Plan {
        strategy: Some("blueGreen: { watch: 30s }".into()),
        ..plan()
    };
    world.first(&plan).await?;
    let load = world.load(&plan, 100);
    let since = Instant::now();
    world.apply(&plan, "bad").await?;
    let view = world
        .wait(&plan, "bad to be taken back", 60, |view| {
            view["status"]["lastRollout"]["outcome"] == "rolledBack"
                && view["status"]["canary"].is_null()
        })
        .await?;
    assert!(runs(&view["status"]["stable"], "v1"), "{view}");
    assert_eq!(
        view["status"]["lastRollout"]["reason"], "ErrorGuard",
        "{view}"
    );
    assert!(answered_by(&load, "bad", since) > 0);
    load.stop().await;
    assert_eq!(load.all().failures(), 0, "{:?}", load.all().failed);

    let (code, text) = world
        .frctl(&["rollout", "undo", "shop", "--to", "2"])
        .await?;
    assert!(
        code == 1 && text.contains("failed"),
        "never to one that failed: {text}"
    );
    world.end().await;
    Ok(())
}
