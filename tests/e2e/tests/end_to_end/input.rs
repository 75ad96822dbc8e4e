//! Bad input: one clear error each, nothing applied of a document that fails, its neighbours unharmed.

use anyhow::Result;
use fm_e2e::{Plan, World};

#[tokio::test]
async fn each_bad_document_is_told_apart_and_its_neighbours_are_applied() -> Result<()> {
    let mut world = World::new(None).await?;
    let good = Plan {
        host: "one.example.com".into(),
        name: "one".into(),
        ..Plan::default()
    };
    let bad = Plan {
        host: "two.example.com".into(),
        name: "two".into(),
        steps: "[{ weight: 101 }]".into(),
        ..Plan::default()
    };
    let also_good = Plan {
        host: "three.example.com".into(),
        name: "three".into(),
        ..Plan::default()
    };
    let text = [&good, &bad, &also_good]
        .map(|plan| world.manifest(plan, "v1"))
        .join("---\n");
    let namespace = world.namespace.clone();
    let refused = world
        .stack
        .apply(&namespace, &text)
        .await
        .expect_err("one document of three is bad")
        .to_string();
    for wanted in [
        "exited with Some(1)",
        "/one created",
        "/three created",
        "101",
        "spec.strategy.canary.steps[0].weight",
    ] {
        assert!(refused.contains(wanted), "{wanted}: {refused}");
    }
    let line = text
        .lines()
        .position(|line| line.contains("weight: 101"))
        .map_or(0, |index| index + 1);
    assert!(
        refused.contains(&format!(":{line}:")),
        "the line is named: {refused}"
    );
    let (_, listed) = world.frctl(&["get", "-o", "name"]).await?;
    assert!(
        listed.contains("one") && listed.contains("three") && !listed.contains("two"),
        "{listed}"
    );

    let rival = Plan {
        host: "one.example.com".into(),
        name: "rival".into(),
        ..Plan::default()
    };
    let refused = world
        .apply(&rival, "v1")
        .await
        .expect_err("one host and path belong to one release")
        .to_string();
    assert!(
        refused.contains("one.example.com") && refused.contains("/one"),
        "{refused}"
    );

    let huge = format!(
        "{}  # {}",
        world.manifest(&also_good, "v1"),
        "x".repeat(10 << 20)
    );
    let refused = world
        .stack
        .apply(&namespace, &huge)
        .await
        .expect_err("10 MB are too much")
        .to_string();
    assert!(
        refused.contains("exited with Some(1)") && refused.len() < 2000,
        "{}",
        &refused[..refused.len().min(2000)]
    );

    let hostile = world.manifest(
        &Plan {
            host: "\"x.example.com } || { always_true\"".into(),
            name: "hostile".into(),
            ..Plan::default()
        },
        "v1",
    );
    let refused = world
        .stack
        .apply(&namespace, &hostile)
        .await
        .expect_err("no host name")
        .to_string();
    assert!(refused.contains("spec.routes[0].hosts[0]"), "{refused}");

    let (code, text) = world
        .frctl(&["validate", "-f", "/nonexistent.yaml"])
        .await?;
    assert_eq!(code, 1, "{text}");
    let (code, text) = world.frctl(&["no-such-command"]).await?;
    assert_eq!(code, 2, "{text}");
    world.end().await;
    Ok(())
}
