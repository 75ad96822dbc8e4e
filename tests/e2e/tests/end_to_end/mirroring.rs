//! Requests that the canary is asked as well, on the real systems: a bad one goes before anybody has seen it.

use std::time::Instant;

use anyhow::Result;
use fm_e2e::{Plan, World, answered_by, runs, stable_is};

#[tokio::test]
async fn a_bad_canary_is_taken_back_by_copies_and_no_user_meets_it() -> Result<()> {
    let mut world = World::new(None).await?;
    let steps = "[{ mirror: 30, hold: 3s }, { weight: 20, hold: 1s }, { weight: 50, hold: 1s }]";
    let plan = Plan {
        steps: steps.into(),
        ..Plan::default()
    };
    world.first(&plan).await?;
    let load = world.load(&plan, 100);
    let since = Instant::now();
    world.apply(&plan, "bad").await?;
    world
        .wait(&plan, "copies to be sent", 60, |view| {
            let why = view["status"]["why"].as_str().unwrap_or_default();
            why.contains("is sent copies of 30 % of the safe requests")
        })
        .await?;
    let (_, shown) = world.frctl(&["watch", "shop", "--once"]).await?;
    assert!(
        shown.contains("[30% mirrored] → 20% → 50% → 100%"),
        "{shown}"
    );
    let view = world
        .wait(&plan, "bad to be taken back", 60, |view| {
            view["status"]["lastRollout"]["outcome"] == "rolledBack"
                && view["status"]["canary"].is_null()
        })
        .await?;
    let last = &view["status"]["lastRollout"];
    assert_eq!(last["reason"], "ErrorsHarm", "{view}");
    assert!(runs(&view["status"]["stable"], "v1"), "{view}");
    assert_eq!(answered_by(&load, "bad", since), 0, "no user met it");

    // One that is well goes on to shares of its own.
    world.apply(&plan, "v2").await?;
    world
        .wait(&plan, "v2 to be stable", 120, |view| stable_is(view, "v2"))
        .await?;
    load.stop().await;
    let all = load.all();
    assert_eq!((all.failures(), all.app_errors), (0, 0), "{:?}", all.failed);

    let before = "blueGreen: { mirror: 50, hold: 10s, watch: 1s }";
    let switch = Plan {
        strategy: Some(before.into()),
        ..plan
    };
    let load = world.load(&switch, 100);
    world.apply(&switch, "bad").await?;
    // It is known to have failed: tried again by somebody's word alone.
    let (code, text) = world.frctl(&["rollout", "retry", "shop"]).await?;
    assert_eq!(code, 0, "{text}");
    let view = world
        .wait(
            &switch,
            "bad to be taken back before the switch",
            60,
            |view| {
                let last = &view["status"]["lastRollout"];
                last["outcome"] == "rolledBack"
                    && runs(last, "bad")
                    && view["status"]["canary"].is_null()
            },
        )
        .await?;
    assert!(runs(&view["status"]["stable"], "v2"), "{view}");
    load.stop().await;
    let all = load.all();
    assert_eq!((all.failures(), all.app_errors), (0, 0), "{:?}", all.failed);
    world.end().await;
    Ok(())
}
