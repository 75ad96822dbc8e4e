//! The life of a canary: promoted, taken back, crashed, approved, paused, aborted, retried.

use std::time::{Duration, Instant};

use anyhow::Result;
use fm_e2e::{Plan, World, answered_by, in_force, runs, stable_is};
use fm_harness::etcd::Etcd;

/// The golden signals: as they are, as they were kept, and as Prometheus reads them.
async fn signals(world: &mut World) -> Result<()> {
    let (code, text) = world.frctl(&["top", "--once", "-o", "json"]).await?;
    assert_eq!(code, 0, "{text}");
    let top: serde_json::Value = serde_json::from_str(&text)?;
    let row = &top["items"][0];
    assert_eq!(
        (&row["side"], &row["share"]),
        (&"stable".into(), &1.0.into())
    );
    assert!(row["signals"]["rps"].as_f64() > Some(10.0), "{text}");
    assert!(row["signals"]["p99Ms"].is_number(), "{text}");

    let arguments = [
        "metrics", "export", "shop", "--since", "10m", "--step", "10m",
    ];
    let (code, text) = world.frctl(&arguments).await?;
    assert_eq!(code, 0, "{text}");
    // v1 and v2, in one or two spans of ten minutes.
    let rows = text
        .lines()
        .skip(1)
        .map(|line| line.split(',').collect::<Vec<_>>());
    let mut revisions = std::collections::BTreeMap::<&str, u64>::new();
    for row in rows {
        *revisions.entry(row[3]).or_default() += row[6].parse::<u64>()?;
    }
    assert!(
        revisions.len() == 2 && revisions.values().all(|count| *count > 10),
        "{text}"
    );

    let socket = world.stack.socket();
    let check = format!(
        "curl -sS --fail --unix-socket {} http://frd/metrics | tee /dev/stderr | promtool check metrics",
        socket.display()
    );
    let output = tokio::process::Command::new("sh")
        .args(["-c", &check])
        .output()
        .await?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() && output.stdout.is_empty(),
        "{said}"
    );
    assert!(
        said.contains("fridaymorning_request_duration_seconds_bucket"),
        "{said}"
    );
    Ok(())
}

async fn promoted_and_taken_back(etcd: Option<&str>) -> Result<()> {
    let mut world = World::new(etcd).await?;
    let plan = Plan::default();
    world.first(&plan).await?;
    let load = world.load(&plan, 100);

    world.apply(&plan, "v2").await?;
    world
        .wait(&plan, "v2 to be promoted", 90, |view| stable_is(view, "v2"))
        .await?;
    world
        .wait(&plan, "v1 to be removed", 30, |view| {
            view["swarm"]["revisions"]
                .as_object()
                .is_some_and(|all| all.len() == 1)
        })
        .await?;

    signals(&mut world).await?;

    let since = Instant::now();
    world.apply(&plan, "bad").await?;
    let view = world
        .wait(&plan, "bad to be taken back", 60, |view| {
            view["status"]["lastRollout"]["outcome"] == "rolledBack"
                && view["status"]["canary"].is_null()
        })
        .await?;
    assert!(runs(&view["status"]["stable"], "v2"), "{view}");
    assert_eq!(
        view["status"]["phase"], "degraded",
        "the spec's revision does not serve: {view}"
    );
    assert!(
        answered_by(&load, "bad", since) > 0,
        "the canary served before it was taken back"
    );
    let after = Instant::now();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(
        answered_by(&load, "bad", after),
        0,
        "nothing reaches a canary that was taken back"
    );

    let since = Instant::now();
    world.apply(&plan, "crash").await?;
    let view = world
        .wait(&plan, "crash to be given up", 60, |view| {
            view["status"]["lastRollout"]["image"]
                .as_str()
                .is_some_and(|image| image.ends_with(":crash"))
        })
        .await?;
    assert!(
        view["status"]["lastRollout"]["why"]
            .as_str()
            .is_some_and(|why| why.contains("non-zero exit (3)")),
        "Docker's words are shown: {}",
        view["status"]
    );
    assert_eq!(answered_by(&load, "crash", since), 0);

    load.stop().await;
    assert_eq!(
        load.all().failed,
        std::collections::BTreeMap::new(),
        "nobody lost a request"
    );
    world.end().await;
    Ok(())
}

#[tokio::test]
async fn a_healthy_canary_is_promoted_and_a_bad_one_taken_back_with_the_embedded_store()
-> Result<()> {
    promoted_and_taken_back(None).await
}

#[tokio::test]
async fn a_healthy_canary_is_promoted_and_a_bad_one_taken_back_with_etcd() -> Result<()> {
    let etcd = Etcd::start().await?;
    promoted_and_taken_back(Some(&etcd.url())).await
}

#[tokio::test]
async fn a_person_approves_pauses_resumes_aborts_and_retries() -> Result<()> {
    let mut world = World::new(None).await?;
    let plan = Plan { steps: "[{ weight: 20, hold: 1s, approval: manual }, { weight: 60, hold: 1s, approval: manual }]".into(), analysis: "{ disabled: true }".into(), ..Plan::default() };
    world.first(&plan).await?;
    let (code, text) = world.frctl(&["rollout", "promote", "shop"]).await?;
    assert_eq!(code, 1, "there is nothing to promote: {text}");

    world.apply(&plan, "v2").await?;
    let (code, text) = world
        .frctl(&["rollout", "status", "shop", "--watch", "--timeout", "60s"])
        .await?;
    assert_eq!(code, 5, "waits for a person: {text}");
    world
        .wait(&plan, "the first approval", 30, |view| {
            view["status"]["waitsForPerson"] == true && in_force(view) == Some(20.0)
        })
        .await?;

    let (code, text) = world
        .frctl(&["rollout", "promote", "shop", "--why", "looks good"])
        .await?;
    assert_eq!(code, 0, "{text}");
    world
        .wait(&plan, "the second approval", 30, |view| {
            view["status"]["waitsForPerson"] == true && in_force(view) == Some(60.0)
        })
        .await?;

    let (code, text) = world.frctl(&["rollout", "pause", "shop"]).await?;
    assert_eq!(code, 0, "{text}");
    world
        .wait(&plan, "the pause", 10, |view| {
            view["status"]["phase"] == "paused"
        })
        .await?;
    let (code, text) = world.frctl(&["rollout", "resume", "shop"]).await?;
    assert_eq!(code, 0, "{text}");
    world
        .wait(&plan, "the resumption", 10, |view| {
            view["status"]["phase"] == "progressing"
        })
        .await?;

    let (code, text) = world
        .frctl(&["rollout", "abort", "shop", "--why", "changed my mind"])
        .await?;
    assert_eq!(code, 0, "{text}");
    let view = world
        .wait(&plan, "the abort", 30, |view| {
            view["status"]["lastRollout"]["outcome"] == "aborted"
                && view["status"]["canary"].is_null()
        })
        .await?;
    assert!(runs(&view["status"]["stable"], "v1"), "{view}");

    let (code, text) = world.frctl(&["rollout", "retry", "shop"]).await?;
    assert_eq!(code, 0, "{text}");
    world
        .wait(&plan, "the first approval again", 30, |view| {
            view["status"]["waitsForPerson"] == true && in_force(view) == Some(20.0)
        })
        .await?;
    let (code, text) = world
        .frctl(&["rollout", "promote", "shop", "--full"])
        .await?;
    assert_eq!(code, 0, "{text}");
    world
        .wait(&plan, "v2 to serve", 30, |view| stable_is(view, "v2"))
        .await?;

    let (code, text) = world.frctl(&["rollout", "undo", "shop"]).await?;
    assert_eq!(code, 0, "{text}");
    world
        .wait(&plan, "v1 on its way back", 30, |view| {
            view["status"]["waitsForPerson"] == true && runs(&view["status"]["canary"], "v1")
        })
        .await?;
    let (code, text) = world.frctl(&["rollout", "history", "shop"]).await?;
    assert!(
        code == 0
            && text.to_lowercase().contains("aborted")
            && text.to_lowercase().contains("promoted"),
        "{text}"
    );
    world.end().await;
    Ok(())
}

#[tokio::test]
async fn applying_the_stable_workload_in_mid_rollout_takes_the_canary_back() -> Result<()> {
    let mut world = World::new(None).await?;
    let plan = Plan {
        steps: "[{ weight: 30, hold: 5m }]".into(),
        ..Plan::default()
    };
    world.first(&plan).await?;
    world.apply(&plan, "v2").await?;
    world
        .wait(&plan, "v2 to have 30 %", 30, |view| {
            in_force(view) == Some(30.0)
        })
        .await?;
    world.apply(&plan, "v1").await?;
    world
        .wait(&plan, "v1 alone", 30, |view| {
            stable_is(view, "v1")
                && view["status"]["canary"].is_null()
                && in_force(view) == Some(0.0)
        })
        .await?;
    world.end().await;
    Ok(())
}

#[tokio::test]
async fn a_canary_whose_image_is_missing_fails_in_dockers_words_and_stable_goes_on() -> Result<()> {
    let mut world = World::new(None).await?;
    let plan = Plan::default();
    world.first(&plan).await?;
    let load = world.load(&plan, 50);
    world.apply(&plan, "missing").await?;
    let view = world
        .wait(&plan, "the missing image to be told", 60, |view| {
            view["status"]["why"]
                .as_str()
                .is_some_and(|why| why.contains("missing"))
        })
        .await?;
    assert!(runs(&view["status"]["stable"], "v1"), "{view}");
    world.apply(&plan, "v2").await?;
    world
        .wait(&plan, "v2 to be promoted", 90, |view| stable_is(view, "v2"))
        .await?;
    load.stop().await;
    assert_eq!(load.all().failures(), 0, "{:?}", load.all().failed);
    world.end().await;
    Ok(())
}

/// The services of the test's namespace, as Docker tells.
async fn services(world: &World) -> Result<usize> {
    let output = tokio::process::Command::new("docker")
        .args(["service", "ls", "--format", "{{.Name}}"])
        .output()
        .await?;
    anyhow::ensure!(output.status.success(), "{output:?}");
    let names = String::from_utf8_lossy(&output.stdout).into_owned();
    let ours = names
        .lines()
        .filter(|name| name.contains(&world.namespace))
        .count();
    Ok(ours)
}

#[tokio::test]
async fn a_revision_applied_every_second_starves_nobody_and_the_last_one_is_rolled_out()
-> Result<()> {
    let mut world = World::new(None).await?;
    let plan = Plan {
        steps: "[{ weight: 10, hold: 2s }]".into(),
        analysis: "{ disabled: true }".into(),
        ..Plan::default()
    };
    world.first(&plan).await?;
    assert_eq!(services(&world).await?, 1, "the name is what is counted");
    let load = world.load(&plan, 50);
    let namespace = world.namespace.clone();
    let last = 12;
    let mut most = 0;
    for number in 1..=last {
        let manifest = world.manifest(&plan, "v1").replacen(
            "    stopGracePeriod",
            &format!("    env: {{ FLAP: \"{number}\" }}\n    stopGracePeriod"),
            1,
        );
        world.stack.apply(&namespace, &manifest).await?;
        // That is what happens here: one after the other, faster than any of them can become stable.
        for _ in 0..4 {
            tokio::time::sleep(std::time::Duration::from_millis(250)).await;
            most = most.max(services(&world).await?);
        }
        let view = world.wait(&plan, "a picture", 10, |_| true).await?;
        assert_eq!(view["status"]["stable"]["ready"], 2, "{view:#}");
        assert_eq!(view["status"]["stable"]["number"], 1, "{view:#}");
    }
    // Stable, one on trial, one that drains; and one more that Docker has not removed yet.
    assert!((2..=4).contains(&most), "{most} services at once");
    let view = world
        .wait(&plan, "the last one to be promoted", 60, |view| {
            stable_is(view, "v1") && view["status"]["stable"]["number"] == last + 1
        })
        .await?;
    let ended = view["target"]["history"].as_array().map(Vec::len);
    assert!(ended.is_some_and(|ended| ended <= 10), "{view:#}");
    world
        .wait(&plan, "nothing to be left of the others", 60, |view| {
            view["target"]["revisions"]
                .as_object()
                .is_some_and(|all| all.len() == 1)
        })
        .await?;
    load.stop().await;
    assert_eq!(load.all().failures(), 0, "{:?}", load.all().failed);
    world.end().await;
    Ok(())
}
