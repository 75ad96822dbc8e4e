//! Back to an earlier revision, by hand and by an old manifest, inside the rollback window and outside it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use fm_e2e::{Plan, World, answered_by, in_force, runs, stable_is};
use fm_harness::load::{Load, Outcome};
use serde_json::Value;

/// An earlier revision is warm for so long; long enough for a noisy machine to come back to it in time.
const WINDOW: &str = "20s";

fn plan() -> Plan {
    Plan {
        strategy: Some(format!(
            "canary: {{ steps: [{{ weight: 50, hold: 3s }}], keepPrevious: {WINDOW} }}"
        )),
        analysis: "{ disabled: true }".into(),
        ..Plan::default()
    }
}

/// Waits until `new` has everything, and gives how often `old` answered later than a second after the first answer of `new`:
/// never after a switch, and half of the time in a step.
async fn mixed(
    world: &World,
    plan: &Plan,
    load: &Load,
    (old, new, since): (&str, &str, Instant),
) -> Result<usize> {
    world
        .wait(plan, new, 60, |view| stable_is(view, new))
        .await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let by_new = load.samples(|sample| {
        sample.sent >= since
            && matches!(&sample.outcome, Outcome::Answered { version, .. } if &**version == new)
    });
    let first = by_new.iter().map(|sample| sample.done).min();
    let first = first.with_context(|| format!("no answer of {new}"))?;
    Ok(answered_by(load, old, first + Duration::from_secs(1)))
}

#[tokio::test]
async fn inside_the_window_going_back_is_a_switch_and_outside_a_rollout() -> Result<()> {
    let mut world = World::new(None).await?;
    let plan = plan();
    world.first(&plan).await?;
    let load = world.load(&plan, 100);
    let since = Instant::now();
    world.apply(&plan, "v2").await?;
    let both = mixed(&world, &plan, &load, ("v1", "v2", since)).await?;
    assert!(both > 20, "a rollout with a step: {both}");

    // The old manifest, applied again: its tasks are warm, so all it takes is one change of weight.
    let since = Instant::now();
    world.apply(&plan, "v1").await?;
    let both = mixed(&world, &plan, &load, ("v2", "v1", since)).await?;
    assert_eq!(both, 0, "a switch");

    // And a person's word, forth again.
    let since = Instant::now();
    let undo = [
        "rollout",
        "undo",
        "shop",
        "--why",
        "carts are empty",
        "--id",
        "first",
    ];
    let (code, text) = world.frctl(&undo).await?;
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("one change of weight"), "{text}");
    // Asked once more, as after an answer that was lost: it does not go forth and back.
    let (code, text) = world.frctl(&undo).await?;
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("that was asked already"), "{text}");
    let both = mixed(&world, &plan, &load, ("v1", "v2", since)).await?;
    assert_eq!(both, 0, "a switch");
    let history = ["rollout", "history", "shop", "--revision", "2"];
    let (_, text) = world.frctl(&history).await?;
    assert!(
        text.contains("undo by ") && text.contains("(carts are empty)"),
        "{text}"
    );

    // Once the window is over its tasks are gone, and it is a rollout as any other.
    let alone = |view: &Value| {
        let revisions = view["swarm"]["revisions"].as_object();
        revisions.is_some_and(|revisions| revisions.len() == 1)
    };
    world.wait(&plan, "the window's end", 60, alone).await?;
    let since = Instant::now();
    let (code, text) = world
        .frctl(&["rollout", "undo", "shop", "--to", "1"])
        .await?;
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("rolled out by the strategy"), "{text}");
    world
        .wait(&plan, "v1 at its step", 60, |view| {
            runs(&view["status"]["canary"], "v1") && in_force(view) == Some(50.0)
        })
        .await?;
    let both = mixed(&world, &plan, &load, ("v2", "v1", since)).await?;
    assert!(both > 20, "a step again: {both}");

    load.stop().await;
    assert_eq!(load.all().failures(), 0, "{:?}", load.all().failed);
    world.end().await;
    Ok(())
}
