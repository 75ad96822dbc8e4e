//! Releases that wait for others.

use anyhow::{Context, Result};
use fm_e2e::{Plan, World, stable_is};
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
