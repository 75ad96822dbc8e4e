//! Several candidates at once against a baseline, on the real systems.

use std::time::{Duration, Instant};

use anyhow::Result;
use fm_e2e::{Plan, World, answered_by, runs, stable_is};
use serde_json::Value;

fn plan(candidates: &str) -> Plan {
    Plan {
        analysis: "{ warmup: 1s, bake: 2s, errors: { promote: { margin: 0.1 } }, latency: { disabled: true } }".into(),
        more: format!(
            "  affinity: {{ cookie: {{}} }}\n  experiment:\n    duration: 5m\n    baseline: {{ weight: 20 }}\n    candidates:\n{candidates}"
        ),
        ..Plan::default()
    }
}

fn side<'a>(view: &'a Value, name: &str) -> &'a Value {
    let sides = view["status"]["experiment"]["sides"].as_array();
    let found = sides.and_then(|sides| sides.iter().find(|side| side["name"] == name));
    found.unwrap_or(&Value::Null)
}

#[tokio::test]
async fn two_candidates_against_a_baseline_the_bad_one_goes_and_none_is_promoted_unless_told()
-> Result<()> {
    let mut world = World::new(None).await?;
    let (bad, good) = (
        format!("{}:bad", world.repository),
        "{ VERSION: good, COLOUR: green }",
    );
    let plan = plan(&format!(
        "      - {{ name: wild, weight: 20, image: \"{bad}\" }}\n      - {{ name: green, weight: 20, env: {good} }}\n"
    ));
    world.first(&plan).await?;
    let load = world.load(&plan, 200);
    let view = world
        .wait(&plan, "the bad candidate to be taken out", 90, |view| {
            side(view, "wild")["result"] == "harms"
        })
        .await?;
    assert_eq!(side(&view, "wild")["weight"].as_f64(), Some(0.0), "{view}");
    let (code, text) = world.frctl(&["describe", "shop"]).await?;
    assert!(
        code == 0 && text.contains("wild") && text.contains("harms"),
        "{text}"
    );
    println!("{text}");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let since = Instant::now();
    let view = world
        .wait(&plan, "the other one to be decided", 120, |view| {
            view["status"]["experiment"]["ended"].is_object()
        })
        .await?;
    assert_eq!(side(&view, "green")["result"], "good", "{view}");
    assert_eq!(answered_by(&load, "bad", since), 0, "it has no share since");

    world
        .wait(&plan, "stable alone to be left", 60, |view| {
            let left = view["target"]["revisions"].as_object();
            left.is_some_and(|left| left.len() == 1) && stable_is(view, "v1")
        })
        .await?;
    let since = Instant::now();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(
        answered_by(&load, "good", since),
        0,
        "nothing is promoted by itself"
    );

    let promote = ["rollout", "promote", "shop", "--candidate"];
    let (code, text) = world.frctl(&[&promote[..], &["wild"]].concat()).await?;
    assert!(code == 1 && text.contains("taken out"), "{text}");
    let (code, text) = world.frctl(&[&promote[..], &["green"]].concat()).await?;
    assert_eq!(code, 0, "{text}");
    let view = world
        .wait(&plan, "the good one to be stable", 120, |view| {
            let stable = &view["status"]["stable"];
            view["status"]["phase"] == "healthy"
                && stable["number"].as_u64() > Some(1)
                && !runs(stable, "bad")
        })
        .await?;
    assert_eq!(
        view["release"]["spec"]["workload"]["env"]["COLOUR"],
        "green"
    );
    assert!(view["release"]["spec"]["experiment"].is_null(), "{view}");
    let since = Instant::now();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(answered_by(&load, "good", since) > 0);
    load.stop().await;
    assert_eq!(load.all().failures(), 0, "{:?}", load.all().failed);
    world.end().await;
    Ok(())
}
