//! What is kept of rollouts that have ended, and what is forgotten.

use std::time::Duration;

use anyhow::{Context as _, Result};
use fm_e2e::{Plan, World};
use fm_harness::{run, until};
use serde_json::Value;

/// What `rollout history` says as JSON, of all rollouts or of one revision.
async fn history(world: &mut World, revision: Option<&str>) -> Result<Value> {
    let mut asked = vec!["rollout", "history", "shop", "-o", "json"];
    asked.extend(
        revision
            .iter()
            .flat_map(|revision| ["--revision", revision]),
    );
    let (code, text) = world.frctl(&asked).await?;
    anyhow::ensure!(code == 0, "{text}");
    Ok(serde_json::from_str(&text)?)
}

#[tokio::test]
async fn a_history_says_who_when_how_and_why_and_has_an_end() -> Result<()> {
    let mut world = World::new(None).await?;
    let namespace = world.namespace.clone();
    let plan = Plan {
        replicas: 1,
        steps: "[{ weight: 50 }]".into(),
        analysis: "{ disabled: true }".into(),
        more: "  historyLimit: 3\n".into(),
        ..Plan::default()
    };
    let manifest = |world: &World, version: &str, nth: u64| {
        let manifest = world.manifest(&plan, version);
        let env = format!("stopGracePeriod: 1s\n    env: {{ NTH: \"{nth}\" }}");
        manifest.replace("stopGracePeriod: 5s", &env)
    };
    for nth in 1..=5 {
        let text = manifest(&world, "v1", nth);
        world.stack.apply(&namespace, &text).await?;
        world
            .wait(&plan, "it to serve", 60, |view| {
                let status = &view["status"];
                status["phase"] == "healthy" && status["stable"]["number"] == nth
            })
            .await?;
    }
    let text = manifest(&world, "crash", 6);
    world.stack.apply(&namespace, &text).await?;
    world
        .wait(&plan, "it to be taken back", 60, |view| {
            view["status"]["phase"] == "degraded" && view["status"]["canary"].is_null()
        })
        .await?;

    let kept = history(&mut world, None).await?;
    let kept = kept["items"].as_array().context("no list")?;
    let numbers: Vec<&Value> = kept.iter().map(|entry| &entry["number"]).collect();
    assert_eq!(numbers, [4, 5, 6], "{kept:?}");
    assert_eq!(
        (&kept[1]["outcome"], &kept[2]["outcome"], &kept[2]["reason"]),
        (&"promoted".into(), &"failed".into(), &"CrashLoop".into())
    );
    for entry in kept {
        let told = |field: &str| entry[field].as_str().unwrap_or_default();
        assert!(!told("by").is_empty() && !told("why").is_empty(), "{entry}");
        assert!(told("startedAt") < told("endedAt"), "{entry}");
        assert!(told("image").contains("/app:"), "{entry}");
    }

    // What ran can be read as it was, as long as it is kept; what is older is forgotten, and says so.
    let old = history(&mut world, Some("4")).await?;
    assert_eq!(old["revision"]["workload"]["env"]["NTH"], "4", "{old}");
    assert_eq!(old["rollouts"][0]["outcome"], "promoted", "{old}");
    let (code, text) = world
        .frctl(&["rollout", "history", "shop", "--revision", "1"])
        .await?;
    assert!(
        code == 1 && text.contains("older ones are forgotten"),
        "{text}"
    );
    let name = format!("name=fm_{namespace}_");
    until(
        "nothing but stable to be left",
        Duration::from_secs(30),
        || async {
            let left = run("docker", &["service", "ls", "-q", "--filter", &name]).await;
            left.ok().filter(|ids| ids.split_whitespace().count() == 1)
        },
    )
    .await?;
    world.end().await;
    Ok(())
}
