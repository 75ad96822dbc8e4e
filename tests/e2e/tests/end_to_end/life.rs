//! The life of a release in one stack: its logs, what somebody else changed, more tasks, new tasks, another image, and
//! what is left of a revision that failed.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Result;
use fm_e2e::{Plan, World, runs, stable_is};
use fm_harness::{program, run, until};
use serde_json::Value;

/// A condition of the status.
fn condition<'a>(view: &'a Value, kind: &str) -> Option<&'a Value> {
    let all = view["status"]["conditions"].as_array()?;
    all.iter().find(|condition| condition["type"] == kind)
}

fn stable_service(view: &Value) -> String {
    let stable = view["status"]["stable"]["revision"]
        .as_str()
        .unwrap_or_default();
    let service = &view["swarm"]["revisions"][stable]["service"];
    service.as_str().unwrap_or_default().to_owned()
}

fn tasks(view: &Value) -> Vec<String> {
    let stable = view["status"]["stable"]["revision"]
        .as_str()
        .unwrap_or_default();
    let ready = view["swarm"]["revisions"][stable]["ready"].as_array();
    let ready = ready.into_iter().flatten();
    ready
        .filter_map(|task| Some(task["task"].as_str()?.to_owned()))
        .collect()
}

async fn team(service: &str) -> Result<String> {
    let format = "{{index .Spec.Labels \"team\"}}";
    let text = run("docker", &["service", "inspect", "-f", format, service]).await?;
    Ok(text.trim().to_owned())
}

#[tokio::test]
async fn logs_drift_and_operations_of_a_release() -> Result<()> {
    let mut world = World::new(None).await?;
    let plan = Plan {
        more: "  drift: report\n".into(),
        steps: "[{ weight: 50, hold: 3s }]".into(),
        analysis: "{ disabled: true }".into(),
        ..Plan::default()
    };
    let view = world.first(&plan).await?;
    logs_of_all(&mut world, &view).await?;
    let followed = world.stack.folder().join("followed");
    let mut follower = tokio::process::Command::new(program("frctl")?)
        .arg("--server")
        .arg(format!("unix:{}", world.stack.socket().display()))
        .args(["-n", &world.namespace, "logs", "-f", "shop"])
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(&followed)?)
        .kill_on_drop(true)
        .spawn()?;
    drift_stays(&mut world, &plan, &stable_service(&view)).await?;

    // A revision that crashes is taken back; what it said is kept when its tasks are gone.
    let image = format!("{}:crash", world.repository);
    let (code, text) = world
        .frctl(&["set", "image", "shop", &image, "--wait"])
        .await?;
    assert_eq!(code, 3, "{text}");
    world
        .wait(&plan, "the crashed revision's service to go", 60, |view| {
            view["swarm"]["revisions"].as_object().map(|all| all.len()) == Some(1)
        })
        .await?;
    let text = until(
        "the follower to see it",
        Duration::from_secs(10),
        || async {
            let text = std::fs::read_to_string(&followed).unwrap_or_default();
            text.contains("cannot start").then_some(text)
        },
    )
    .await?;
    let crash = |line: &str| line.starts_with("#2 ") && line.contains("| cannot start: told to");
    assert!(text.lines().any(crash), "{text}");
    goes_on_after_a_restart(&mut world, &followed).await?;
    what_is_left(&mut world).await?;
    taken_back_alive(&mut world, &plan).await?;
    has_no_room(&mut world, &plan).await?;
    undone(&mut world, &plan).await?;

    let (code, text) = world.frctl(&["delete", "shop", "--wait"]).await?;
    assert_eq!(code, 0, "{text}");
    let ended = tokio::time::timeout(Duration::from_secs(20), follower.wait()).await??;
    assert!(ended.success(), "whoever follows is told that it is over");
    world.end().await;
    Ok(())
}

/// Whoever follows sees what comes after frd was away, and nothing twice.
async fn goes_on_after_a_restart(world: &mut World, followed: &Path) -> Result<()> {
    world.stack.kill_frd().await?;
    world.stack.spawn()?;
    world.stack.ready().await?;
    let before = std::fs::read_to_string(followed)?;
    let (code, text) = world.frctl(&["rollout", "restart", "shop"]).await?;
    assert_eq!(code, 0, "{text}");
    let after = until("new tasks' lines", Duration::from_secs(30), || async {
        let text = std::fs::read_to_string(followed).unwrap_or_default();
        let new = text.strip_prefix(&before).unwrap_or_default();
        new.contains("v1 serves on port 8080").then_some(text)
    })
    .await?;
    let mut lines: Vec<&str> = after
        .lines()
        .filter(|l| l.contains("serves on port"))
        .collect();
    let number = lines.len();
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len(), number, "nothing twice: {after}");
    Ok(())
}

async fn logs_of_all(world: &mut World, view: &Value) -> Result<()> {
    let (code, text) = world.frctl(&["logs", "shop", "--tail", "5"]).await?;
    assert_eq!(code, 0, "{text}");
    for task in tasks(view) {
        let line = format!("#1 {} | v1 serves on port 8080", &task[..12]);
        assert!(text.lines().any(|shown| shown == line), "{line}: {text}");
    }
    let (code, text) = world
        .frctl(&["logs", "shop", "--stable", "-o", "json"])
        .await?;
    assert_eq!(code, 0, "{text}");
    let first: Value = serde_json::from_str(text.lines().next().unwrap_or_default())?;
    assert_eq!(first["number"], 1, "{text}");
    assert!(
        first["node"].as_str().is_some_and(|node| !node.is_empty()),
        "{text}"
    );
    let (code, text) = world.frctl(&["logs", "shop", "--canary"]).await?;
    assert_eq!(code, 1, "{text}");
    assert!(
        text.contains("has no canary now") && text.contains("--revision 1"),
        "{text}"
    );
    let (code, text) = world
        .frctl(&["logs", "shop", "--since", "yesterday"])
        .await?;
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("is no time"), "{text}");
    Ok(())
}

/// With `drift: report` somebody's change is told and stays, also when we add tasks or renew them.
async fn drift_stays(world: &mut World, plan: &Plan, service: &str) -> Result<()> {
    run(
        "docker",
        &[
            "service",
            "update",
            "-d",
            "--label-add",
            "team=night",
            service,
        ],
    )
    .await?;
    let drifted = |view: &Value| {
        condition(view, "Drifted").is_some_and(|condition| {
            condition["status"] == true
                && condition["message"]
                    .as_str()
                    .is_some_and(|text| text.contains("team"))
        })
    };
    world
        .wait(plan, "the drift to be told", 30, drifted)
        .await?;
    let (code, text) = world.frctl(&["scale", "shop", "--replicas", "3"]).await?;
    assert_eq!(code, 0, "{text}");
    let three = |view: &Value| view["status"]["stable"]["ready"] == 3 && drifted(view);
    let view = world.wait(plan, "three tasks", 60, three).await?;
    assert_eq!(team(service).await?, "night");
    let before = tasks(&view);

    let (code, text) = world
        .frctl(&["rollout", "restart", "shop", "--why", "leak"])
        .await?;
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("new tasks of revision 1"), "{text}");
    let renewed = |view: &Value| {
        let now = tasks(view);
        three(view) && now.len() == 3 && now.iter().all(|task| !before.contains(task))
    };
    world.wait(plan, "three new tasks", 90, renewed).await?;
    assert_eq!(team(service).await?, "night");
    let (code, text) = world.frctl(&["describe", "shop"]).await?;
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("Drifted: yes") && text.contains("left so"),
        "{text}"
    );
    Ok(())
}

/// Its tasks are gone; what they said, how it ended and what it was are known.
async fn what_is_left(world: &mut World) -> Result<()> {
    let said = "cannot start: told to crash with exit code 3";
    for arguments in [
        &["logs", "shop", "--revision", "2"][..],
        &["describe", "shop"],
        &["rollout", "history", "shop"],
        &["rollout", "history", "shop", "--revision", "2"],
    ] {
        let (code, text) = world.frctl(arguments).await?;
        assert_eq!(code, 0, "{arguments:?}: {text}");
        assert!(text.contains(said), "{arguments:?}: {text}");
    }
    let (code, text) = world.frctl(&["describe", "shop"]).await?;
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("Docker says: task: non-zero exit (3)"),
        "{text}"
    );
    let asked = [
        "rollout",
        "history",
        "shop",
        "--revision",
        "2",
        "-o",
        "json",
    ];
    let (code, text) = world.frctl(&asked).await?;
    assert_eq!(code, 0, "{text}");
    let known: Value = serde_json::from_str(&text)?;
    let image = &known["revision"]["workload"]["image"];
    assert!(
        image
            .as_str()
            .is_some_and(|image| image.ends_with(":crash")),
        "{text}"
    );
    assert_eq!(known["rollouts"][0]["outcome"], "failed", "{text}");
    assert_eq!(known["log"]["lines"][0]["text"], said, "{text}");
    Ok(())
}

/// The last words of a canary whose tasks were well are kept, too.
async fn taken_back_alive(world: &mut World, plan: &Plan) -> Result<()> {
    let image = format!("{}:bad", world.repository);
    let (code, text) = world.frctl(&["set", "image", "shop", &image]).await?;
    assert_eq!(code, 0, "{text}");
    world
        .wait(plan, "the canary's tasks", 60, |view| {
            runs(&view["status"]["canary"], "bad")
                && view["status"]["canary"]["ready"].as_u64() > Some(0)
        })
        .await?;
    let (code, text) = world.frctl(&["logs", "shop", "--canary"]).await?;
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("bad serves on port 8080") && !text.contains("v1 serves"),
        "{text}"
    );
    let abort = ["rollout", "abort", "shop", "--why", "too many errors"];
    let (code, text) = world.frctl(&abort).await?;
    assert_eq!(code, 0, "{text}");
    world
        .wait(plan, "the canary's service to go", 60, |view| {
            view["swarm"]["revisions"].as_object().map(|all| all.len()) == Some(1)
        })
        .await?;
    let (code, text) = world.frctl(&["logs", "shop", "--revision", "3"]).await?;
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("bad serves on port 8080"), "{text}");
    let (_, text) = world.frctl(&["rollout", "history", "shop"]).await?;
    assert!(text.contains("too many errors"), "{text}");
    Ok(())
}

/// What the nodes cannot hold is said before anything starts, and is no reason to refuse.
async fn has_no_room(world: &mut World, plan: &Plan) -> Result<()> {
    let much = "stopGracePeriod: 5s\n    resources: { reservations: { cpus: 4000 } }";
    let manifest = world
        .manifest(plan, "v2")
        .replace("stopGracePeriod: 5s", much);
    let planned = world.stack.frctl_with(&["plan", "-f", "-"], &manifest);
    let planned = planned.await?;
    let text = String::from_utf8_lossy(&planned.stderr);
    assert!(planned.status.success(), "{text}");
    let expected =
        "capacity: 2 tasks of the new revision beside 2 of stable (each reserves 4000 CPU): ";
    assert!(
        text.contains(expected) && text.contains("room for 0 now, 2 too few: 8000 CPU more"),
        "{text}"
    );
    Ok(())
}

/// Never to a revision that is known to fail, unless forced.
async fn undone(world: &mut World, plan: &Plan) -> Result<()> {
    let (code, text) = world.frctl(&["rollout", "undo", "shop"]).await?;
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("it serves already"), "{text}");
    world
        .wait(plan, "v1 again", 30, |view| {
            view["status"]["phase"] == "healthy"
        })
        .await?;
    let (code, text) = world
        .frctl(&["rollout", "undo", "shop", "--to", "2"])
        .await?;
    assert_eq!(code, 1, "{text}");
    assert!(
        text.contains("failed at") && text.contains("force"),
        "{text}"
    );
    let forced = ["rollout", "undo", "shop", "--to", "2", "--force"];
    let (code, text) = world.frctl(&forced).await?;
    assert_eq!(code, 0, "{text}");
    world
        .wait(
            plan,
            "the revision that had failed to be tried again",
            30,
            |view| view["status"]["canary"]["number"] == 2,
        )
        .await?;
    let (code, text) = world.frctl(&["rollout", "abort", "shop"]).await?;
    assert_eq!(code, 0, "{text}");
    let image = format!("{}:v2", world.repository);
    let (code, text) = world
        .frctl(&["set", "image", "shop", &image, "--wait"])
        .await?;
    assert_eq!(code, 0, "{text}");
    let view = world
        .wait(plan, "v2 to serve", 30, |view| stable_is(view, "v2"))
        .await?;
    assert!(runs(&view["status"]["stable"], "v2"));
    Ok(())
}
