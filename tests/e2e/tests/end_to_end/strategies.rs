//! Strategies other than a canary's steps, on the real systems.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use fm_e2e::{Plan, World, answered_by, asked, in_force, runs, stable_is};
use fm_harness::load::Load;
use serde_json::Value;

const MINUTE: Duration = Duration::from_secs(60);

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
    let first = first_answer(&load, "v1", asked_at).context("v1 never answered")?;
    let took = first.duration_since(asked_at);
    println!(
        "undo inside the window: first request served by v1 after {took:?}, frctl's start included"
    );
    assert!(took < Duration::from_secs(3), "{took:?}");

    load.stop().await;
    assert_eq!(load.all().failures(), 0, "{:?}", load.all().failed);
    world.end().await;
    Ok(())
}

fn first_answer(load: &Load, version: &str, since: Instant) -> Option<Instant> {
    let samples = load.samples(|sample| {
        sample.sent >= since
            && matches!(&sample.outcome, fm_harness::load::Outcome::Answered { version: by, .. } if &**by == version)
    });
    samples.iter().map(|sample| sample.done).min()
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

/// Previews of the shop, which is another release: at hosts of their own, and by header at the shop's.
fn previews(ttl: &str) -> Plan {
    Plan {
        name: "pr".into(),
        replicas: 1,
        strategy: Some(format!(
            "preview: {{ ttl: {ttl}, hosts: [\"{{revision}}.pr.example.com\", pr.example.com], match: [{{ header: x-preview, value: \"{{name}}-{{revision}}\" }}] }}"
        )),
        ..Plan::default()
    }
}

/// Waits until this version's preview is up; gives its revision.
async fn up(world: &World, plan: &Plan, version: &str) -> Result<String> {
    let of = |view: &serde_json::Value| {
        let all = view["status"]["previews"].as_array().cloned();
        let mut all = all.unwrap_or_default().into_iter();
        all.find(|preview| preview["up"] == true && runs(&preview["side"], version))
    };
    let view = world
        .wait(plan, "the preview to be up", 60, |view| of(view).is_some())
        .await?;
    let preview = of(&view).unwrap_or_default();
    Ok(preview["side"]["revision"]
        .as_str()
        .unwrap_or_default()
        .to_owned())
}

#[tokio::test]
async fn several_previews_are_up_beside_the_shop_and_gone_when_their_time_is_over() -> Result<()> {
    let mut world = World::new(None).await?;
    let shop = Plan::default();
    world.first(&shop).await?;
    let load = world.load(&shop, 50);
    let plan = previews("10m");
    let port = world.stack.port();

    world.apply(&plan, "v2").await?;
    let first = up(&world, &plan, "v2").await?;
    world.apply(&plan, "bad").await?;
    let second = up(&world, &plan, "bad").await?;
    for (revision, version) in [(&first, "v2"), (&second, "bad")] {
        let host = format!("{revision}.pr.example.com");
        assert_eq!(asked(port, &host, &[]).await?.1, version, "{host}");
        let header = ("x-preview", format!("pr-{revision}"));
        let by_header = asked(port, "shop.example.com", &[(header.0, &header.1)]).await?;
        assert_eq!(by_header.1, version, "{header:?}");
    }
    assert_eq!(
        asked(port, "pr.example.com", &[]).await?.1,
        "bad",
        "the newest"
    );
    assert_eq!(
        asked(port, "shop.example.com", &[("x-preview", "pr-x")])
            .await?
            .1,
        "v1"
    );
    let (code, text) = world.frctl(&["describe", "pr"]).await?;
    assert!(
        code == 0 && text.contains(&format!("{second}.pr.example.com")),
        "{text}"
    );

    let (code, text) = world.frctl(&["rollout", "abort", "pr"]).await?;
    assert_eq!(code, 0, "{text}");
    world
        .wait(&plan, "one to be left", 30, |view| {
            view["swarm"]["revisions"]
                .as_object()
                .is_some_and(|all| all.len() == 1)
        })
        .await?;
    assert_eq!(
        asked(port, &format!("{second}.pr.example.com"), &[])
            .await?
            .0,
        404
    );
    assert_eq!(
        asked(port, &format!("{first}.pr.example.com"), &[])
            .await?
            .1,
        "v2"
    );

    world.apply(&previews("1s"), "v2").await?;
    world
        .wait(&plan, "the other to be over", 30, |view| {
            view["status"]["phase"] == "over"
                && view["swarm"]["revisions"]
                    .as_object()
                    .is_some_and(|all| all.is_empty())
        })
        .await?;
    assert_eq!(
        asked(port, &format!("{first}.pr.example.com"), &[])
            .await?
            .0,
        404
    );

    load.stop().await;
    let sums = load.all();
    assert_eq!(sums.failures(), 0, "{:?}", sums.failed);
    assert_eq!(
        sums.versions.keys().collect::<Vec<_>>(),
        ["v1"],
        "never in the normal shares"
    );
    world.end().await;
    Ok(())
}

/// A release of its own with a canary that holds at 30 %.
fn holding(name: &str, policy: &str) -> Plan {
    Plan {
        name: name.into(),
        host: format!("{name}.example.com"),
        steps: "[{ weight: 30, hold: 5m, replicas: 2 }]".into(),
        analysis: "{ disabled: true }".into(),
        more: format!("  onNewRevision: {policy}\n"),
        ..Plan::default()
    }
}

async fn at_thirty(world: &World, plan: &Plan, version: &str) -> Result<()> {
    world
        .wait(plan, "30 %", 60, |view| {
            runs(&view["status"]["canary"], version)
                && runs(&view["status"]["stable"], "v1")
                && in_force(view) == Some(30.0)
        })
        .await?;
    Ok(())
}

#[tokio::test]
async fn a_new_image_in_mid_rollout_replaces_waits_or_is_refused_as_the_manifest_says() -> Result<()>
{
    let mut world = World::new(None).await?;
    let [replace, queue, reject] =
        ["replace", "queue", "reject"].map(|policy| holding(policy, policy));
    for plan in [&replace, &queue, &reject] {
        world.apply(plan, "v1").await?;
    }
    for plan in [&replace, &queue, &reject] {
        world
            .wait(plan, "v1 to serve", 60, |view| stable_is(view, "v1"))
            .await?;
        world.apply(plan, "v2").await?;
    }
    for plan in [&replace, &queue, &reject] {
        at_thirty(&world, plan, "v2").await?;
    }
    let view = world
        .wait(&replace, "the step's own tasks", 30, |view| {
            view["status"]["canary"]["ready"] == 2
        })
        .await?;
    assert_eq!(view["status"]["stable"]["replicas"], 2, "{view}");

    let refused = world
        .apply(&reject, "bad")
        .await
        .expect_err("it is refused")
        .to_string();
    assert!(refused.contains("onNewRevision: reject"), "{refused}");
    at_thirty(&world, &reject, "v2").await?;

    world.apply(&replace, "bad").await?;
    at_thirty(&world, &replace, "bad").await?;
    let view = world
        .wait(&replace, "the first to be replaced", 30, |view| {
            view["status"]["lastRollout"]["outcome"] == "replaced"
        })
        .await?;
    assert_eq!(
        view["status"]["lastRollout"]["reason"], "NewRevision",
        "{view}"
    );

    world.apply(&queue, "bad").await?;
    world
        .wait(&queue, "the new image to be known", 30, |view| {
            view["target"]["wanted"] != view["target"]["canary"]
                && view["target"]["resolve"].is_null()
        })
        .await?;
    at_thirty(&world, &queue, "v2").await?;
    let (code, text) = world
        .frctl(&["rollout", "promote", "queue", "--full"])
        .await?;
    assert_eq!(code, 0, "{text}");
    world
        .wait(&queue, "the next in the queue", 60, |view| {
            runs(&view["status"]["stable"], "v2")
                && runs(&view["status"]["canary"], "bad")
                && in_force(view) == Some(30.0)
        })
        .await?;
    world.end().await;
    Ok(())
}

#[tokio::test]
async fn a_canary_that_was_taken_back_stays_for_a_look_without_traffic() -> Result<()> {
    let mut world = World::new(None).await?;
    let plan = Plan {
        more: "  keepFailed: 5m\n".into(),
        ..Plan::default()
    };
    world.first(&plan).await?;
    let load = world.load(&plan, 100);
    world.apply(&plan, "bad").await?;
    let view = world
        .wait(&plan, "bad to be taken back", 60, |view| {
            view["status"]["lastRollout"]["outcome"] == "rolledBack"
        })
        .await?;
    let since = Instant::now();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(answered_by(&load, "bad", since), 0);
    let kept = &view["status"]["lastRollout"]["revision"];
    let view = world
        .wait(&plan, "its task to be there", 5, |view| {
            view["swarm"]["revisions"][kept.as_str().unwrap_or_default()]["ready"]
                .as_array()
                .is_some_and(|tasks| !tasks.is_empty())
        })
        .await?;
    assert_eq!(view["target"]["traffic"]["canary"], serde_json::Value::Null);
    world.end().await;
    Ok(())
}

#[tokio::test]
async fn a_hold_touches_nothing_until_it_ends_and_plan_stores_nothing() -> Result<()> {
    let mut world = World::new(None).await?;
    let plan = Plan {
        name: "shop".into(),
        host: "shop.example.com".into(),
        ..holding("shop", "replace")
    };
    world.first(&plan).await?;
    let manifest = world.manifest(&plan, "v2");
    let namespace = world.namespace.clone();
    let arguments = ["-n", namespace.as_str(), "plan", "-f", "-"];
    let output = world.stack.frctl_with(&arguments, &manifest).await?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && text.contains("30% of the requests"),
        "{output:?}"
    );
    let view = world
        .wait(&plan, "v1 at rest", 5, |view| stable_is(view, "v1"))
        .await?;
    assert_eq!(
        view["release"]["metadata"]["generation"], 1,
        "nothing was stored: {text}"
    );

    world.apply(&plan, "v2").await?;
    at_thirty(&world, &plan, "v2").await?;
    let hold = ["hold", "shop", "--for", "1h", "--why", "incident 7"];
    let (code, text) = world.frctl(&hold).await?;
    assert_eq!(code, 0, "{text}");
    world.apply(&plan, "bad").await?;
    let view = world
        .wait(&plan, "the hold to be told", 10, |view| {
            view["status"]["reason"] == "Held"
        })
        .await?;
    let why = view["status"]["why"].as_str().unwrap_or_default();
    assert!(why.contains("incident 7"), "{why}");
    let (code, text) = world
        .frctl(&["rollout", "promote", "shop", "--full"])
        .await?;
    assert!(code == 1 && text.contains("held by"), "{text}");
    tokio::time::sleep(Duration::from_secs(2)).await;
    at_thirty(&world, &plan, "v2").await?;

    let (code, text) = world.frctl(&["hold", "shop", "--end"]).await?;
    assert_eq!(code, 0, "{text}");
    at_thirty(&world, &plan, "bad").await?;
    let (code, text) = world.frctl(&["rollout", "abort", "--all"]).await?;
    assert_eq!(code, 0, "{text}");
    world
        .wait(&plan, "stable alone", 30, |view| {
            runs(&view["status"]["stable"], "v1") && view["status"]["canary"].is_null()
        })
        .await?;
    world.end().await;
    Ok(())
}

async fn is_held(world: &World, namespace: &str, name: &str, is: bool) -> Result<()> {
    let what = format!("{namespace}/{name} to be held: {is}");
    let held = |view: &Value| (view["status"]["reason"] == "Held") == is;
    let stack = &world.stack;
    stack.wait(namespace, name, &what, MINUTE, held).await?;
    Ok(())
}

#[tokio::test]
async fn a_hold_and_an_abort_of_all_reach_every_namespace_that_is_meant() -> Result<()> {
    let mut world = World::new(None).await?;
    let (here, there) = (world.namespace.clone(), format!("{}-b", world.namespace));
    let plans = ["shop", "api"].map(|name| holding(name, "replace"));
    let idle = Plan {
        name: "idle".into(),
        host: "idle.example.com".into(),
        ..plans[0].clone()
    };
    let elsewhere = |world: &World, version: &str| {
        let manifest = world.manifest(&plans[0], version);
        manifest
            .replace(
                &format!("namespace: {here},"),
                &format!("namespace: {there},"),
            )
            .replace(&plans[0].host, "there.example.com")
    };
    let all = [(here.as_str(), "shop"), (&here, "api"), (&there, "shop")];
    for (version, share) in [("v1", 0.0), ("v2", 30.0)] {
        for plan in &plans {
            world.apply(plan, version).await?;
        }
        let text = elsewhere(&world, version);
        world.stack.apply(&there, &text).await?;
        if version == "v1" {
            world.apply(&idle, "v1").await?;
        }
        for (namespace, name) in all {
            let what = format!("{version} of {namespace}/{name}");
            let holds = |view: &Value| {
                let side = if share > 0.0 { "canary" } else { "stable" };
                runs(&view["status"][side], version) && in_force(view) == Some(share)
            };
            let wait = world.stack.wait(namespace, name, &what, MINUTE, holds);
            wait.await?;
        }
    }

    // Of this namespace alone.
    let hold = ["freeze", "--all", "--for", "1h", "--why", "incident 7"];
    let (code, text) = world.frctl(&hold).await?;
    assert_eq!(code, 0, "{text}");
    for name in ["shop", "api", "idle"] {
        is_held(&world, &here, name, true).await?;
    }
    is_held(&world, &there, "shop", false).await?;
    // And then of every one.
    let (code, text) = world.frctl(&["freeze", "--all", "-A"]).await?;
    assert_eq!(code, 0, "{text}");
    is_held(&world, &there, "shop", true).await?;
    let (code, text) = world.frctl(&["hold", "--all", "-A", "--end"]).await?;
    assert_eq!(code, 0, "{text}");
    for (namespace, name) in all {
        is_held(&world, namespace, name, false).await?;
    }

    // What is at rest is not asked, and what another namespace does goes on.
    let (code, text) = world
        .frctl(&["rollout", "abort", "--all", "--why", "incident 7"])
        .await?;
    assert!(code == 0 && !text.contains("idle"), "{code} {text}");
    let aborted = |view: &Value| {
        view["status"]["lastRollout"]["outcome"] == "aborted" && view["status"]["canary"].is_null()
    };
    for plan in &plans {
        let view = world.wait(plan, "the abort", 60, aborted).await?;
        let why = view["status"]["lastRollout"]["why"].as_str();
        assert!(
            why.is_some_and(|why| why.ends_with(": incident 7")),
            "{why:?}"
        );
    }
    let goes_on = |view: &Value| in_force(view) == Some(30.0);
    let wait = world
        .stack
        .wait(&there, "shop", "30 % still", MINUTE, goes_on);
    wait.await?;
    let (code, text) = world.frctl(&["rollout", "abort", "--all", "-A"]).await?;
    assert_eq!(code, 0, "{text}");
    world
        .stack
        .wait(&there, "shop", "the abort", MINUTE, aborted)
        .await?;
    world.end().await;
    Ok(())
}
