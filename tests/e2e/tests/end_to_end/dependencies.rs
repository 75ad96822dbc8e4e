//! Releases that wait for others, and that are promoted or taken back with others.

use anyhow::{Context, Result};
use fm_e2e::{Plan, World, runs, stable_is};
use jiff::Timestamp;
use serde_json::Value;

fn plan(name: &str, more: &str) -> Plan {
    Plan {
        name: name.into(),
        host: format!("{name}.example.com"),
        replicas: 1,
        steps: "[{ weight: 50, hold: 3s }]".into(),
        analysis: "{ disabled: true }".into(),
        more: more.into(),
        ..Plan::default()
    }
}

fn time(value: &Value) -> Result<Timestamp> {
    let text = value.as_str().context("no time")?;
    Ok(text.parse()?)
}

#[tokio::test]
async fn a_release_waits_for_what_it_depends_on_and_never_in_a_circle() -> Result<()> {
    let mut world = World::new(None).await?;
    let namespace = world.namespace.clone();
    let (api, site) = (
        plan("api", ""),
        plan("site", "  dependsOn: [{ name: api }]\n"),
    );
    // The one that waits stands first in the file.
    let both = |world: &World, version: &str| {
        format!(
            "{}---\n{}",
            world.manifest(&site, version),
            world.manifest(&api, version)
        )
    };
    let text = both(&world, "v1");
    world.stack.apply(&namespace, &text).await?;
    world
        .wait(&site, "v1 of the site to serve", 60, |view| {
            stable_is(view, "v1")
        })
        .await?;

    let text = both(&world, "v2");
    world.stack.apply(&namespace, &text).await?;
    let view = world
        .wait(&site, "the site to wait", 30, |view| {
            view["status"]["reason"] == "WaitsForDependency"
        })
        .await?;
    let why = view["status"]["why"].as_str().unwrap_or_default();
    assert!(
        why.starts_with(&format!("waits for {namespace}/api")),
        "{why}"
    );
    let mut history = Vec::new();
    for plan in [&api, &site] {
        let view = world
            .wait(plan, "v2 to serve", 60, |view| stable_is(view, "v2"))
            .await?;
        history.push(view["target"]["history"][0].clone());
    }
    let (first, then) = (
        time(&history[0]["endedAt"])?,
        time(&history[1]["startedAt"])?,
    );
    assert!(first <= then, "{history:#?}");

    // A circle is refused, and nothing of what is stored is touched.
    let circle = plan("api", "  dependsOn: [{ name: site }]\n");
    let text = world.manifest(&circle, "v1");
    let error = world
        .stack
        .apply(&namespace, &text)
        .await
        .unwrap_err()
        .to_string();
    let round = format!("{namespace}/api -> {namespace}/site -> {namespace}/api");
    assert!(
        error.contains("spec.dependsOn[0]") && error.contains(&round),
        "{error}"
    );
    world
        .wait(&api, "v2 to serve on", 10, |view| stable_is(view, "v2"))
        .await?;
    world.end().await;
    Ok(())
}

#[tokio::test]
async fn a_group_is_promoted_together_and_taken_back_together() -> Result<()> {
    let mut world = World::new(None).await?;
    let namespace = world.namespace.clone();
    let group = "  group: web\n";
    let site = plan("site", group);
    let api = Plan {
        steps: "[{ weight: 10, hold: 2s }, { weight: 50, hold: 6s }]".into(),
        ..plan("api", group)
    };
    let both = |world: &World, site_version: &str, api_version: &str| {
        format!(
            "{}---\n{}",
            world.manifest(&site, site_version),
            world.manifest(&api, api_version)
        )
    };
    let text = both(&world, "v1", "v1");
    world.stack.apply(&namespace, &text).await?;
    for plan in [&site, &api] {
        world
            .wait(plan, "v1 to serve", 60, |view| stable_is(view, "v1"))
            .await?;
    }
    let (to_site, to_api) = (world.load(&site, 50), world.load(&api, 50));

    let text = both(&world, "v2", "v2");
    world.stack.apply(&namespace, &text).await?;
    let view = world
        .wait(&site, "the site to wait for the API", 30, |view| {
            view["status"]["reason"] == "WaitsForGroup"
        })
        .await?;
    let why = view["status"]["why"].as_str().unwrap_or_default();
    assert!(
        why.starts_with(&format!(
            "it is ready, and waits for its group: for {namespace}/api, which is at step "
        )),
        "{why}"
    );
    assert!(runs(&view["status"]["stable"], "v1"), "{view}");
    let mut ends = Vec::new();
    for plan in [&site, &api] {
        let view = world
            .wait(plan, "v2 to serve", 60, |view| stable_is(view, "v2"))
            .await?;
        ends.push(time(&view["status"]["lastRollout"]["endedAt"])?);
    }
    let apart = ends[0].duration_since(ends[1]).abs();
    assert!(apart.as_secs() < 10, "{ends:?}");

    // Of the next change the API never comes up; who deploys the site learns it by the exit code.
    let text = both(&world, "v1", "crash");
    world.stack.apply(&namespace, &text).await?;
    let (code, text) = world
        .frctl(&["rollout", "status", "site", "-w", "--timeout", "90s"])
        .await?;
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("TakenBackWithGroup: with "), "{text}");
    for plan in [&site, &api] {
        let view = world
            .wait(plan, "it to be back", 60, |view| {
                view["status"]["phase"] == "degraded" && view["status"]["canary"].is_null()
            })
            .await?;
        assert!(runs(&view["status"]["stable"], "v2"), "{view}");
    }
    let (code, text) = world.frctl(&["get", "--problems"]).await?;
    assert!(
        code == 0
            && text.contains("next: `frctl rollout retry`, or another image, of the one that"),
        "{text}"
    );

    // With the API mended the site begins again by itself.
    world.apply(&api, "v1").await?;
    for plan in [&site, &api] {
        world
            .wait(plan, "v1 to serve", 90, |view| stable_is(view, "v1"))
            .await?;
    }
    for load in [to_site, to_api] {
        load.stop().await;
        assert_eq!(load.all().failures(), 0, "{:?}", load.all().failed);
    }
    world.end().await;
    Ok(())
}
