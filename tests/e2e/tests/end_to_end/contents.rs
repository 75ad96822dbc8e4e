//! Configs and secrets that roll with the revision, on the real systems.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use fm_e2e::{Plan, World, answered, header};
use fm_harness::{run, until};
use serde_json::Value;

const SECRET: &str = "blue-7f3c1e";
const OTHER: &str = "green-90ab4d";

/// A release whose image shows the secret that it finds.
fn manifest(world: &World, plan: &Plan, folder: &Path, show: &str, config: &str) -> String {
    let text = world.manifest(plan, "v1");
    let files = format!(
        "    env: {{ SHOW: {show} }}\n    secrets:\n      - {{ name: colour, target: colour, file: {}, mode: \"0400\" }}\n    configs:\n      - {{ name: shop.toml, content: \"{config}\", target: /etc/shop.toml }}\n  routes:",
        folder.join("colour").display()
    );
    text.replacen("  routes:", &files, 1)
}

async fn shows(world: &World, plan: &Plan, wanted: &str) -> Result<()> {
    let port = world.stack.port();
    until(
        &format!("everybody to answer {wanted}"),
        Duration::from_secs(30),
        async || {
            for _ in 0..4 {
                match answered(port, &plan.host, "/", &[]).await {
                    Ok((200, answer)) if header(&answer, "x-file") == wanted => {}
                    _ => return None,
                }
            }
            Some(())
        },
    )
    .await
}

fn revision(view: &Value) -> String {
    view["status"]["stable"]["revision"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

/// Every place that could hold a secret by mistake: the store, HAProxy's files, frd's log.
fn holds(folder: &Path, text: &str) -> Result<Option<String>> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            if let Some(found) = holds(&entry.path(), text)? {
                return Ok(Some(found));
            }
        } else if kind.is_file() && entry.file_name() != "colour" {
            // HAProxy's files come and go.
            let Ok(bytes) = std::fs::read(entry.path()) else {
                continue;
            };
            if bytes
                .windows(text.len())
                .any(|window| window == text.as_bytes())
            {
                return Ok(Some(entry.path().display().to_string()));
            }
        }
    }
    Ok(None)
}

#[tokio::test]
async fn a_secrets_content_rolls_out_and_back_and_stands_nowhere_but_in_swarm() -> Result<()> {
    let mut world = World::new(None).await?;
    let plan = Plan {
        steps: "[{ weight: 50, hold: 1s }]".into(),
        analysis: "{ disabled: true }".into(),
        ..Plan::default()
    };
    let namespace = world.namespace.clone();
    let folder = world.stack.folder().to_owned();
    let file = folder.join("colour");
    let text = manifest(&world, &plan, &folder, "/run/secrets/colour", "euro");

    std::fs::write(&file, SECRET)?;
    world.stack.apply(&namespace, &text).await?;
    let first = world
        .wait(&plan, "the first to serve", 60, |view| {
            view["status"]["phase"] == "healthy"
        })
        .await?;
    shows(&world, &plan, SECRET).await?;
    let stored = first["release"]["spec"]["workload"]["secrets"][0].clone();
    assert_eq!(stored["hash"].as_str().map(str::len), Some(32), "{stored}");
    assert!(stored["file"].is_null(), "{stored}");

    // The same content is no change; what is not there is taken as unchanged where nothing is stored.
    let again = world.stack.apply(&namespace, &text).await?;
    assert!(again.contains("unchanged"), "{again}");
    let path = folder.join("release.yaml").display().to_string();
    std::fs::write(&path, &text)?;
    let (code, diff) = world.frctl(&["diff", "-f", &path]).await?;
    assert_eq!(code, 0, "{diff}");
    std::fs::remove_file(&file)?;
    let (code, planned) = world.frctl(&["plan", "-f", &path]).await?;
    assert_eq!(code, 0, "{planned}");
    assert!(planned.contains("taken as unchanged"), "{planned}");
    let (code, refused) = world.frctl(&["apply", "-f", &path]).await?;
    assert_eq!(code, 1, "{refused}");
    assert!(refused.contains("spec.workload.secrets[0]"), "{refused}");

    // Another content, and nothing else, is a new revision.
    std::fs::write(&file, OTHER)?;
    let (code, diff) = world.frctl(&["diff", "-f", &path]).await?;
    assert_eq!(code, 1, "{diff}");
    assert!(diff.contains("a new revision"), "{diff}");
    world.stack.apply(&namespace, &text).await?;
    let second = world
        .wait(&plan, "the second to serve", 60, |view| {
            view["status"]["phase"] == "healthy" && revision(view) != revision(&first)
        })
        .await?;
    shows(&world, &plan, OTHER).await?;

    // And back, without the file.
    std::fs::remove_file(&file)?;
    let (code, undone) = world.frctl(&["rollout", "undo", "shop"]).await?;
    assert_eq!(code, 0, "{undone}");
    world
        .wait(&plan, "the first again", 60, |view| {
            view["status"]["phase"] == "healthy" && revision(view) == revision(&first)
        })
        .await?;
    shows(&world, &plan, SECRET).await?;
    assert_ne!(revision(&first), revision(&second));

    config_rolls(&mut world, &plan).await?;
    for text in [SECRET, OTHER] {
        assert_eq!(holds(&folder, text)?, None, "{text} was written down");
        let encoded = run("sh", &["-c", &format!("printf %s {text} | base64")]).await?;
        assert_eq!(
            holds(&folder, encoded.trim())?,
            None,
            "{text} was written down"
        );
    }
    let (_, everything) = world.frctl(&["describe", "shop", "-o", "json"]).await?;
    assert!(!everything.contains(SECRET), "{everything}");
    let events = world.frctl(&["events", "shop", "-o", "json"]).await?.1;
    assert!(
        !events.contains(SECRET) && !events.contains(OTHER),
        "{events}"
    );
    world.end().await;
    remove_contents(&namespace).await;
    Ok(())
}

/// A config's content rolls out and back as a secret's does, and it is read from the manifest.
async fn config_rolls(world: &mut World, plan: &Plan) -> Result<()> {
    let (namespace, folder) = (world.namespace.clone(), world.stack.folder().to_owned());
    std::fs::write(folder.join("colour"), SECRET)?;
    for content in ["euro", "yen"] {
        let text = manifest(world, plan, &folder, "/etc/shop.toml", content);
        world.stack.apply(&namespace, &text).await?;
        shows(world, plan, content).await?;
        world
            .wait(plan, "it to be stable", 60, |view| {
                view["status"]["phase"] == "healthy"
            })
            .await?;
    }
    let (code, undone) = world.frctl(&["rollout", "undo", "shop"]).await?;
    assert_eq!(code, 0, "{undone}");
    shows(world, plan, "euro").await
}

/// What the release kept in Swarm; `frd`, which would remove it some minutes later, is gone.
async fn remove_contents(namespace: &str) {
    for kind in ["secret", "config"] {
        let line = format!(
            "docker {kind} rm $(docker {kind} ls -qf label=fridaymorning.dev/namespace={namespace})"
        );
        // What a task that still stops uses cannot go yet: again.
        for _ in 0..20 {
            if run("sh", &["-c", &line]).await.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }
}
