//! Images that a registry gives only to who logs in.

use anyhow::{Context, Result};
use fm_e2e::{Plan, World, asked, stable_is};
use fm_harness::registry::{PASSWORD, Registry, USER};
use fm_harness::run;

#[tokio::test]
async fn a_private_image_is_pulled_with_the_login_that_the_manifest_names() -> Result<()> {
    let registry = Registry::start().await?;
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("password"), format!("{PASSWORD}\n"))?;
    std::fs::write(path("old"), "not-any-more\n")?;
    let login = |file: &str| {
        format!(
            "{{ server: \"{}\", username: {USER}, passwordFile: {} }}",
            registry.address(),
            path(file).display()
        )
    };
    let config = format!(
        "registryAuth:\n  main: {}\n  old: {}\n",
        login("password"),
        login("old")
    );
    std::fs::write(path("frd.yaml"), config)?;
    let config = path("frd.yaml");
    let config = config.to_str().context("a path that is no text")?;
    let mut world = World::with(None, &["--config", config]).await?;
    for version in ["v1", "v2"] {
        let image = format!("{}:{version}", world.repository);
        // Another content than the local image: nothing of it is on this machine afterwards.
        let own = format!("{}:private-{version}", world.repository);
        world
            .images
            .build(&own, &[("VERSION", version), ("PRIVATE", &image)])
            .await?;
        registry.take(&own, &format!("app:{version}")).await?;
        run("docker", &["image", "rm", "-f", &own]).await?;
    }
    world.repository = format!("{}/app", registry.address());
    let plan = Plan {
        analysis: "{ disabled: true }".into(),
        steps: "[{ weight: 50, hold: 1s }]".into(),
        ..Plan::default()
    };
    let with = |world: &World, version: &str, auth: &str| {
        let image = format!("    image: {}:{version}\n", world.repository);
        let auth = format!("{image}    registryAuth: {auth}\n");
        world.manifest(&plan, version).replace(&image, &auth)
    };
    let namespace = world.namespace.clone();

    // Without a login, with an unknown one and with one that is not valid any more it says so, in the registry's words.
    let none = world.manifest(&plan, "v1");
    for (text, words) in [
        (none, "no basic auth credentials"),
        (
            with(&world, "v1", "other"),
            "registryAuth `other` is not in frd's configuration; it has: main, old",
        ),
        (with(&world, "v1", "old"), "unauthorized"),
    ] {
        world.stack.apply(&namespace, &text).await?;
        world
            .wait(&plan, words, 30, |view| view.to_string().contains(words))
            .await?;
    }
    let text = with(&world, "v1", "main");
    world.stack.apply(&namespace, &text).await?;
    let view = world
        .wait(&plan, "v1 to serve", 60, |view| stable_is(view, "v1"))
        .await?;
    assert!(!view.to_string().contains(PASSWORD), "{view}");
    let port = world.stack.port();
    assert_eq!(asked(port, &plan.host, &[]).await?, (200, "v1".to_owned()));

    let listed = run(
        "docker",
        &[
            "service",
            "ls",
            "-q",
            "--filter",
            &format!("label=fridaymorning.dev/namespace={namespace}"),
        ],
    )
    .await?;
    for id in listed.split_whitespace() {
        let spec = run("docker", &["service", "inspect", id]).await?;
        assert!(
            spec.contains("/app@sha256:") && !spec.contains(PASSWORD),
            "{spec}"
        );
    }

    // A new version is found, pulled and rolled out with the same login.
    let text = with(&world, "v2", "main");
    world.stack.apply(&namespace, &text).await?;
    world
        .wait(&plan, "v2 to be promoted", 60, |view| stable_is(view, "v2"))
        .await?;
    let log = std::fs::read_to_string(world.stack.log_file())?;
    assert!(!log.contains(PASSWORD), "the log holds the password");

    world.end().await;
    registry.end("app").await
}
