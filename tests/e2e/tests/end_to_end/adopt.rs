//! Moving in and out: a running service becomes a release and is given back, and no task notices.

use std::time::Duration;

use anyhow::Result;
use fm_e2e::{Plan, World, asked, stable_is};
use fm_harness::{run, until};

/// The ids of a service's running tasks, in order.
async fn tasks(service: &str) -> Result<Vec<String>> {
    let listed = run(
        "docker",
        &[
            "service",
            "ps",
            "-q",
            "--no-trunc",
            "-f",
            "desired-state=running",
            service,
        ],
    )
    .await?;
    let mut tasks: Vec<String> = listed.lines().map(str::to_owned).collect();
    tasks.sort();
    Ok(tasks)
}

async fn label(service: &str, name: &str) -> Result<String> {
    let format = format!("{{{{index .Spec.Labels {name:?}}}}}");
    let text = run("docker", &["service", "inspect", "-f", &format, service]).await?;
    Ok(text.trim().to_owned())
}

#[tokio::test]
async fn a_running_service_is_adopted_and_given_back_without_a_task_restarting() -> Result<()> {
    let mut world = World::new(None).await?;
    let plan = Plan {
        name: "legacy".into(),
        host: "legacy.example.com".into(),
        steps: "[{ weight: 50, hold: 1s }]".into(),
        analysis: "{ disabled: true }".into(),
        ..Plan::default()
    };
    let service = format!("{}_web", world.namespace);
    let image = format!("{}:v1", world.repository);
    run(
        "docker",
        &[
            "service",
            "create",
            "-q",
            "--no-resolve-image",
            "--name",
            &service,
            "--replicas",
            "2",
            "--publish",
            "mode=host,target=8080",
            "--label",
            "com.docker.stack.namespace=old",
            "--label",
            "team=shop",
            "--env",
            "COLOUR=blue",
            "--stop-grace-period",
            "3s",
            "--limit-memory",
            "64M",
            "--endpoint-mode",
            "dnsrr",
            &image,
        ],
    )
    .await?;
    let before = tasks(&service).await?;
    assert_eq!(before.len(), 2);

    // A stack's is refused; a dry run shows the manifest and changes nothing.
    let adopt = [
        "adopt",
        &service,
        "--name",
        "legacy",
        "--host",
        "legacy.example.com",
    ];
    let (code, text) = world.frctl(&adopt).await?;
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("belongs to the stack old"), "{text}");
    let adopt = [&adopt[..], &["--from-stack"]].concat();
    let (code, text) = world.frctl(&[&adopt[..], &["--dry-run"]].concat()).await?;
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("COLOUR: blue") && text.contains("port: 8080"),
        "{text}"
    );
    assert_eq!(label(&service, "com.docker.stack.namespace").await?, "old");
    assert_eq!(world.frctl(&["get", "legacy"]).await?.0, 1);

    let (code, text) = world.frctl(&adopt).await?;
    assert_eq!(code, 0, "{text}");
    let view = world
        .wait(&plan, "the service to be stable", 60, |view| {
            // Stable from the start, and healthy once HAProxy has found it.
            stable_is(view, "v1")
        })
        .await?;
    assert_eq!(tasks(&service).await?, before, "no task was replaced");
    assert_eq!(label(&service, "com.docker.stack.namespace").await?, "");
    assert_eq!(label(&service, "team").await?, "shop");
    assert_eq!(
        view["swarm"]["revisions"].as_object().map(|all| all.len()),
        Some(1),
        "{view}"
    );
    let port = world.stack.port();
    assert_eq!(
        asked(port, "legacy.example.com", &[]).await?,
        (200, "v1".into())
    );

    // It may be scaled, and it survives the daemon.
    let (code, text) = world.frctl(&["scale", "legacy", "--replicas", "3"]).await?;
    assert_eq!(code, 0, "{text}");
    world
        .wait(&plan, "three tasks", 60, |view| {
            view["status"]["stable"]["ready"] == 3
        })
        .await?;
    let scaled = tasks(&service).await?;
    assert!(
        before.iter().all(|task| scaled.contains(task)),
        "{before:?} {scaled:?}"
    );
    world.stack.kill_frd().await?;
    world.stack.spawn()?;
    world.stack.ready().await?;

    // Nothing but a word that says what becomes of it deletes it.
    let (code, text) = world.frctl(&["delete", "legacy"]).await?;
    assert_eq!(code, 1, "{text}");
    assert!(
        text.contains("--orphan") && text.contains("--remove-adopted"),
        "{text}"
    );

    // Given back: the same tasks, its own labels, no route.
    let (code, text) = world
        .frctl(&["delete", "legacy", "--orphan", "--wait", "--timeout", "60s"])
        .await?;
    assert_eq!(code, 0, "{text}");
    assert_eq!(tasks(&service).await?, scaled, "no task was replaced");
    assert_eq!(label(&service, "com.docker.stack.namespace").await?, "old");
    assert_eq!(label(&service, "fridaymorning.dev/managed-by").await?, "");
    assert_eq!(asked(port, "legacy.example.com", &[]).await?.0, 404);

    // Adopted again, it is replaced by the next revision like any other.
    let (code, text) = world.frctl(&adopt).await?;
    assert_eq!(code, 0, "{text}");
    world
        .wait(&plan, "the service to be stable again", 60, |view| {
            // Stable from the start, and healthy once HAProxy has found it.
            stable_is(view, "v1")
        })
        .await?;
    world.apply(&plan, "v2").await?;
    world
        .wait(&plan, "v2 to be stable", 60, |view| stable_is(view, "v2"))
        .await?;
    until(
        "the old service to be gone",
        Duration::from_secs(30),
        async || {
            run("docker", &["service", "inspect", &service])
                .await
                .is_err()
                .then_some(())
        },
    )
    .await?;

    // One of ours is given back, too.
    let (code, text) = world
        .frctl(&["delete", "legacy", "--orphan", "--wait", "--timeout", "60s"])
        .await?;
    assert_eq!(code, 0, "{text}");
    let names = run("docker", &["service", "ls", "--format", "{{.Name}}"]).await?;
    let prefix = format!("fm_{}_legacy_", world.namespace);
    let ours = names
        .lines()
        .find(|name| name.starts_with(&prefix))
        .map(str::to_owned);
    let Some(ours) = ours else {
        anyhow::bail!("the service went with its release: {names}");
    };
    assert_eq!(tasks(&ours).await?.len(), 2);
    assert_eq!(label(&ours, "fridaymorning.dev/managed-by").await?, "");
    run("docker", &["service", "rm", &ours]).await?;
    world.end().await;
    Ok(())
}
