//! What analysis decided online it decides offline, from the recording of the same rollout.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fm_e2e::{Plan, World, stable_is};
use serde_json::Value;
use tokio::process::{Child, Command};

/// Starts `frctl analysis record`.
fn record(world: &World, to: &Path) -> Result<Child> {
    Command::new(fm_harness::program("frctl")?)
        .arg("--server")
        .arg(format!("unix:{}", world.stack.socket().display()))
        .args(["-n", &world.namespace, "analysis", "record", "shop", "--to"])
        .arg(to)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("cannot start frctl")
}

/// What the recorder said when it ended, by itself.
async fn ended(recorder: Child) -> Result<String> {
    let output = tokio::time::timeout(Duration::from_secs(30), recorder.wait_with_output());
    let output = output.await.context("the recording does not end")??;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{said}");
    Ok(said)
}

/// The verdict of the recording's end.
async fn replayed(world: &mut World, manifest: &Path, recording: &Path) -> Result<Value> {
    let (manifest, recording) = (
        manifest.display().to_string(),
        recording.display().to_string(),
    );
    let arguments = [
        "analysis", "replay", "-f", &manifest, "--input", &recording, "-o", "json",
    ];
    let (code, text) = world.frctl(&arguments).await?;
    ensure!(code == 0, "{text}");
    Ok(serde_json::from_str(
        text.lines().last().context("nothing was recorded")?,
    )?)
}

#[tokio::test]
async fn a_recorded_rollout_is_decided_again_as_it_was() -> Result<()> {
    let mut world = World::new(None).await?;
    let plan = Plan::default();
    world.first(&plan).await?;
    let load = world.load(&plan, 100);
    let folder = world.stack.folder().to_owned();
    let manifest = folder.join("shop.yaml");

    for (version, verdict, reason) in [
        ("v2", "promote", "nonInferior"),
        ("bad", "rollback", "errorsHarm"),
    ] {
        let recording = folder.join(format!("{version}.jsonl"));
        let recorder = record(&world, &recording)?;
        world.apply(&plan, version).await?;
        world
            .wait(&plan, "the rollout to end", 90, |view| {
                let last = &view["status"]["lastRollout"];
                let image = last["image"].as_str().unwrap_or_default();
                image.ends_with(&format!(":{version}"))
                    && (version == "bad" || stable_is(view, version))
            })
            .await?;
        let said = ended(recorder).await?;
        assert!(said.contains(&format!("{verdict} ({reason})")), "{said}");

        std::fs::write(&manifest, world.manifest(&plan, version))?;
        let decided = replayed(&mut world, &manifest, &recording).await?;
        assert_eq!(
            (&decided["verdict"], &decided["reason"]),
            (&verdict.into(), &reason.into()),
            "{decided}"
        );
        let lines = std::fs::read_to_string(&recording)?;
        let first: Value = serde_json::from_str(lines.lines().next().context("no line")?)?;
        assert_eq!(
            first["weight"], 10,
            "it begins with the first step: {first}"
        );
        assert!(first["stable"]["latencyBins"].is_object(), "{first}");
    }
    load.stop().await;
    world.end().await;
    Ok(())
}

/// The canary's requests that the evidence rests on.
fn compared(view: &Value) -> u64 {
    let canary = &view["verdict"]["metrics"][0]["canary"]["requests"];
    canary.as_u64().unwrap_or(0)
}

#[tokio::test]
async fn a_killed_frd_goes_on_with_the_evidence_that_it_had() -> Result<()> {
    let mut world = World::new(None).await?;
    let plan = Plan {
        steps: "[{ weight: 20, hold: 40s }]".into(),
        // Nothing is shown early, by far: evidence is only gathered.
        analysis:
            "{ warmup: 1s, errors: { promote: { margin: 0.001 } }, latency: { disabled: true } }"
                .into(),
        ..Plan::default()
    };
    world.first(&plan).await?;
    let load = world.load(&plan, 200);
    let begun = std::time::Instant::now();
    world.apply(&plan, "v2").await?;
    let gathered = |least: u64| move |view: &Value| compared(view) >= least;
    let mut before = world.wait(&plan, "evidence", 60, gathered(100)).await?;
    for _ in 0..2 {
        world.stack.kill_frd().await?;
        world.stack.spawn()?;
        world.stack.ready().await?;
        let had = compared(&before);
        let after = world
            .wait(&plan, "more evidence", 60, gathered(had + 100))
            .await?;
        for part in ["run", "firstBadAt", "criteriaHash"] {
            assert_eq!(after["verdict"][part], before["verdict"][part], "{part}");
        }
        let batches = |view: &Value| view["verdict"]["batch"].as_u64();
        assert!(batches(&after) > batches(&before), "{after:#}");
        // Nothing is counted twice: the users have seen at least as many answers.
        let seen = fm_e2e::answered_by(&load, "v2", begun) as u64;
        assert!(compared(&after) <= seen, "{} of {seen}", compared(&after));
        before = after;
    }
    load.stop().await;
    world.end().await;
    Ok(())
}
