//! One release for each branch, from one template, made and removed as CI does it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fm_e2e::{World, asked};
use fm_harness::{run, until};

const TEMPLATE: &str = "apiVersion: fridaymorning.dev/v1
kind: Release
metadata: { name: \"shop-${hash}\" }
spec:
  replicas: 1
  workload: { image: \"${image}\", stopGracePeriod: 2s }
  routes:
    - hosts: [shop.example.com]
      port: 8080
      healthCheck: { path: /healthz, interval: 300ms }
      timeouts: { drain: 2s, server: 2s }
  strategy:
    preview: { ttl: 1h, hosts: [\"${branch}.preview.example.com\"] }
";

/// Two branches that a host's name cannot tell apart.
const ONE: &str = "feature/a-b";
const OTHER: &str = "feature-a/b";

/// Applies the template for a branch; gives what frctl said.
async fn apply(world: &mut World, path: &Path, branch: &str, version: &str) -> Result<String> {
    let image = format!("image={}:{version}", world.repository);
    let path = path.to_str().context("a path that is no text")?;
    let arguments = ["apply", "-f", path, "--branch", branch, "--set", &image];
    let (code, text) = world.frctl(&arguments).await?;
    ensure!(code == 0, "{text}");
    Ok(text)
}

/// The hosts of the releases that are there, by what `frctl get` prints.
async fn hosts(world: &mut World) -> Result<Vec<String>> {
    let (_, text) = world.frctl(&["get", "-o", "yaml"]).await?;
    let found = text.lines().filter_map(|line| {
        let word = line.trim().trim_start_matches("- ").trim_matches('\'');
        word.ends_with(".preview.example.com")
            .then(|| word.to_owned())
    });
    Ok(found.collect())
}

async fn answers(world: &World, host: &str, version: &str) -> Result<()> {
    let port = world.stack.port();
    until(
        &format!("{version} at {host}"),
        Duration::from_secs(40),
        async || {
            let answer = asked(port, host, &[]).await.ok()?;
            (answer == (200, version.to_owned())).then_some(())
        },
    )
    .await
}

async fn names(world: &mut World) -> Result<Vec<String>> {
    let (_, text) = world.frctl(&["get", "-o", "name"]).await?;
    Ok(text.split_whitespace().map(str::to_owned).collect())
}

#[tokio::test]
async fn branches_have_releases_of_their_own_that_go_with_them() -> Result<()> {
    let mut world = World::new(None).await?;
    let template = world.stack.folder().join("branch.yaml.tmpl");
    std::fs::write(&template, TEMPLATE)?;

    apply(&mut world, &template, ONE, "v1").await?;
    let first = hosts(&mut world).await?;
    apply(&mut world, &template, OTHER, "v2").await?;
    let both = hosts(&mut world).await?;
    ensure!(first.len() == 1 && both.len() == 2, "{both:?}");
    let other = both.iter().find(|host| **host != first[0]);
    let other = other.context("both have one host")?;
    for host in &both {
        assert!(host.starts_with("feature-"), "{host}");
    }
    answers(&world, &first[0], "v1").await?;
    answers(&world, other, "v2").await?;

    // A push is a new revision of the branch's own release.
    apply(&mut world, &template, ONE, "v2").await?;
    answers(&world, &first[0], "v2").await?;

    // The branch is gone: first by its name, and then because the repository does not list it.
    let (code, text) = world.frctl(&["delete", "--branch", ONE, "--wait"]).await?;
    assert!(code == 0 && text.contains(ONE), "{text}");
    assert_eq!(&hosts(&mut world).await?, std::slice::from_ref(other));
    answers(&world, other, "v2").await?;
    let list = world.stack.folder().join("branches");
    let list_path = list.to_str().context("a path that is no text")?.to_owned();
    std::fs::write(&list, "")?;
    let (code, text) = world
        .frctl(&["delete", "--keep-branches", &list_path])
        .await?;
    assert!(code == 1 && text.contains("nothing was deleted"), "{text}");
    std::fs::write(
        &list,
        format!("1f\trefs/heads/main\n2e\trefs/heads/{OTHER}\n"),
    )?;
    let (code, text) = world
        .frctl(&["delete", "--keep-branches", &list_path])
        .await?;
    assert!(code == 0 && text.contains("no release in"), "{text}");
    std::fs::write(&list, "1f\trefs/heads/main\n")?;
    let (code, text) = world
        .frctl(&["delete", "--keep-branches", &list_path, "--wait"])
        .await?;
    assert!(code == 0 && text.contains(OTHER), "{text}");
    assert!(names(&mut world).await?.is_empty());
    let label = format!("label=fridaymorning.dev/namespace={}", world.namespace);
    let services = run("docker", &["service", "ls", "-q", "--filter", &label]).await?;
    assert_eq!(services.trim(), "", "services are left");
    world.end().await;
    Ok(())
}
