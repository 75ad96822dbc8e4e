//! Nobody's death changes traffic: HAProxy, frd and etcd are killed with -9 in mid-canary.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use fm_e2e::{Plan, World, in_force};
use fm_harness::etcd::Etcd;
use fm_harness::load::Load;
use fm_harness::{run, until};

fn held() -> Plan {
    Plan {
        steps: "[{ weight: 25, hold: 10m }]".into(),
        ..Plan::default()
    }
}

/// Measures for three seconds that the canary has its quarter, within four and a half standard deviations.
async fn has_its_quarter(load: &Load) {
    let from = Instant::now();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let sums = load.between(from, Instant::now() - Duration::from_millis(200));
    let n = sums.answered() as f64;
    assert!(n > 100.0, "{sums:?}");
    assert!(
        (sums.share("v2") - 0.25).abs() < 4.5 * (0.25 * 0.75 / n).sqrt(),
        "{sums:?}"
    );
}

async fn tasks(world: &World) -> Result<Vec<String>> {
    let filter = format!("name=fm_{}_", world.namespace);
    let services = run("docker", &["service", "ls", "-q", "--filter", &filter]).await?;
    let mut all = Vec::new();
    for service in services.split_whitespace() {
        all.extend(
            run(
                "docker",
                &[
                    "service",
                    "ps",
                    "-q",
                    "--filter",
                    "desired-state=running",
                    service,
                ],
            )
            .await?
            .split_whitespace()
            .map(str::to_owned),
        );
    }
    all.sort();
    Ok(all)
}

/// What these processes have had of the processors; the kernel counts in hundredths of a second.
fn processor_time(pids: &[u32]) -> Result<Duration> {
    let mut ticks = 0;
    for pid in pids {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let (_, fields) = text.rsplit_once(')').context("no stat")?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let (user, system) = (fields.get(11), fields.get(12));
        ticks += user.context("no utime")?.parse::<u64>()?;
        ticks += system.context("no stime")?.parse::<u64>()?;
    }
    Ok(Duration::from_millis(ticks * 10))
}

#[tokio::test]
async fn a_killed_haproxy_and_a_killed_frd_come_back_with_the_same_shares_and_tasks() -> Result<()>
{
    let mut world = World::new(None).await?;
    let plan = held();
    world.first(&plan).await?;
    world.apply(&plan, "v2").await?;
    world
        .wait(&plan, "v2 to have a quarter", 60, |view| {
            in_force(view) == Some(25.0)
        })
        .await?;
    let load = world.load(&plan, 150);
    has_its_quarter(&load).await;
    let (before, ours) = (tasks(&world).await?, world.stack.haproxy_pids());

    world.stack.kill_frd().await?;
    let (worked, since) = (processor_time(&ours)?, Instant::now());
    has_its_quarter(&load).await;
    let worked = processor_time(&ours)?.saturating_sub(worked);
    assert!(
        worked < since.elapsed() / 2,
        "HAProxy works as before while nobody takes its log: {worked:?}"
    );
    world.stack.spawn()?;
    world.stack.ready().await?;
    has_its_quarter(&load).await;
    world.stack.stop_frd().await?;
    world.stack.spawn()?;
    world.stack.ready().await?;
    has_its_quarter(&load).await;
    assert_eq!(
        world.stack.haproxy_pids(),
        ours,
        "HAProxy was taken over, not started again"
    );
    assert_eq!(tasks(&world).await?, before, "no task was touched");
    assert_eq!(load.all().failures(), 0, "{:?}", load.all().failed);
    load.stop().await;

    world.stack.kill_haproxy().await?;
    world.stack.haproxy_back(&ours).await?;
    tokio::time::sleep(Duration::from_millis(700)).await;
    let load = world.load(&plan, 150);
    has_its_quarter(&load).await;
    load.stop().await;
    assert_eq!(load.all().failures(), 0, "{:?}", load.all().failed);
    assert_eq!(tasks(&world).await?, before, "no task was touched");
    world.end().await;
    Ok(())
}

#[tokio::test]
async fn a_dead_etcd_changes_no_share_and_an_unreadable_object_in_it_harms_only_itself()
-> Result<()> {
    let mut etcd = Etcd::start().await?;
    let mut world = World::new(Some(&etcd.url())).await?;
    let plan = held();
    world.first(&plan).await?;
    world.apply(&plan, "v2").await?;
    world
        .wait(&plan, "v2 to have a quarter", 60, |view| {
            in_force(view) == Some(25.0)
        })
        .await?;
    let load = world.load(&plan, 150);

    let key = format!("/fridaymorning/releases/{}/broken", world.namespace);
    run(
        "etcdctl",
        &[
            "--endpoints",
            &etcd.url(),
            "put",
            &key,
            "{ this is no release",
        ],
    )
    .await?;
    let (_, text) = world.frctl(&["get", "shop"]).await?;
    assert!(text.contains("shop"), "{text}");
    has_its_quarter(&load).await;

    etcd.kill_and_restart(Duration::from_secs(4)).await?;
    has_its_quarter(&load).await;
    let (code, text) = world
        .frctl(&["rollout", "promote", "shop", "--full"])
        .await?;
    assert_eq!(code, 0, "it goes on after etcd's return: {text}");
    world
        .wait(&plan, "v2 to serve", 60, |view| {
            fm_e2e::stable_is(view, "v2")
        })
        .await?;
    load.stop().await;
    assert_eq!(load.all().failures(), 0, "{:?}", load.all().failed);
    world.end().await;
    Ok(())
}

#[tokio::test]
async fn what_is_ours_is_put_back_and_what_is_not_ours_is_left_alone() -> Result<()> {
    let mut world = World::new(None).await?;
    let plan = Plan::default();
    world.first(&plan).await?;
    let foreign = format!("{}_foreign", world.namespace);
    let image = format!("{}:v1", world.repository);
    run(
        "docker",
        &[
            "service",
            "create",
            "--detach",
            "--no-resolve-image",
            "--name",
            &foreign,
            &image,
        ],
    )
    .await?;
    let names = run(
        "docker",
        &[
            "service",
            "ls",
            "--format",
            "{{.Name}}",
            "--filter",
            &format!("name=fm_{}_", world.namespace),
        ],
    )
    .await?;
    run(
        "docker",
        &[
            "service",
            "scale",
            "--detach",
            &format!("{}=5", names.trim()),
        ],
    )
    .await?;
    let outcome = async {
        until(
            "the replicas to be put back",
            Duration::from_secs(20),
            || async {
                let text = run(
                    "docker",
                    &[
                        "service",
                        "ls",
                        "--format",
                        "{{.Replicas}}",
                        "--filter",
                        &format!("name={}", names.trim()),
                    ],
                )
                .await
                .ok()?;
                (text.trim() == "2/2").then_some(())
            },
        )
        .await?;
        let (_, text) = world.frctl(&["events", "shop"]).await?;
        assert!(
            text.to_lowercase().contains("replicas"),
            "an event says what was found: {text}"
        );
        let (code, text) = world.frctl(&["delete", "shop", "--wait"]).await?;
        assert_eq!(code, 0, "{text}");
        let left = run("docker", &["service", "ls", "--format", "{{.Name}}"]).await?;
        assert!(!left.contains(names.trim()), "the service is gone: {left}");
        assert!(
            left.contains(&foreign),
            "the foreign service is still there: {left}"
        );
        anyhow::Ok(())
    }
    .await;
    run("docker", &["service", "rm", &foreign]).await?;
    outcome?;
    world.end().await;
    Ok(())
}
