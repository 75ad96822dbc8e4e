//! Rollouts that are judged by what other systems measure: a real Prometheus, a JSON address, a job on Swarm.

use std::sync::atomic::Ordering;

use anyhow::{Result, ensure};
use fm_e2e::{Plan, World, number, runs, stable_is};
use fm_harness::prometheus::Prometheus;
use fm_harness::{run, until};
use serde_json::Value;
use std::time::Duration;

/// Errors and response times of HAProxy's log take nothing back here, and promote soon: the metric decides.
fn judged_by(metric: &str) -> Plan {
    Plan {
        analysis: format!(
            "\n    warmup: 1s\n    bake: 1s\n    errors: {{ rollback: {{ minBad: 1000000 }}, promote: {{ margin: 0.9 }} }}\n    latency: {{ disabled: true }}\n    metrics:\n{metric}"
        ),
        ..Plan::default()
    }
}

fn measured(view: &Value) -> &Value {
    &view["verdict"]["measured"][0]
}

#[tokio::test]
async fn prometheus_that_scrapes_frd_takes_a_canary_back() -> Result<()> {
    let mut world = World::new(None).await?;
    let prometheus = Prometheus::scraping(&world.stack.socket()).await?;
    let url = prometheus.url();
    let plan = judged_by(&format!(
        r#"      - name: bad-share
        prometheus:
          address: "{url}"
          query: >-
            sum(fridaymorning_requests_bad_total{{revision="{{{{revision}}}}"}})
            / (sum(fridaymorning_requests_total{{revision="{{{{revision}}}}"}}) > 20)
        max: 0.1
        interval: 1s
"#
    ));
    world.first(&plan).await?;
    let load = world.load(&plan, 150);

    // A good one passes by the same metric.
    world.apply(&plan, "v2").await?;
    let view = world
        .wait(&plan, "v2 to be promoted", 90, |view| stable_is(view, "v2"))
        .await?;
    assert_eq!(
        view["status"]["lastRollout"]["outcome"], "promoted",
        "{view:#}"
    );

    world.apply(&plan, "bad").await?;
    let view = world
        .wait(&plan, "the bad one to be taken back", 90, |view| {
            runs(&view["status"]["lastRollout"], "bad")
        })
        .await?;
    let last = &view["status"]["lastRollout"];
    assert_eq!(
        (&last["outcome"], &last["reason"]),
        (&"rolledBack".into(), &"MetricFailed".into()),
        "{last:#}"
    );
    assert!(
        last["why"]
            .as_str()
            .is_some_and(|why| why.contains("bad-share")),
        "{last:#}"
    );
    load.stop().await;
    world.end().await;
    Ok(())
}

#[tokio::test]
async fn no_data_holds_the_last_promotion_until_there_is_a_value() -> Result<()> {
    let (address, says) = number("lag").await?;
    let mut world = World::new(None).await?;
    let plan = judged_by(&format!(
        "      - {{ name: lag, web: {{ url: \"{address}\", jsonPath: $.lag }}, max: 30, interval: 1s, onNoData: hold }}\n"
    ));
    world.first(&plan).await?;
    let load = world.load(&plan, 100);
    world.apply(&plan, "v2").await?;
    let view = world
        .wait(&plan, "the metric to be waited for", 60, |view| {
            view["verdict"]["reason"] == "metricPending"
                && measured(view)["noData"].as_u64() > Some(2)
        })
        .await?;
    ensure!(!stable_is(&view, "v2"), "{view:#}");
    assert_eq!(measured(&view)["standing"], "pending", "{view:#}");
    assert_eq!(measured(&view)["successes"], 0, "{view:#}");
    says.store(7, Ordering::Relaxed);
    world
        .wait(&plan, "v2 to be promoted", 60, |view| stable_is(view, "v2"))
        .await?;
    load.stop().await;
    world.end().await;
    Ok(())
}

#[tokio::test]
async fn a_switch_is_judged_by_metrics_before_it_and_after_it() -> Result<()> {
    let (smoke, smokes) = number("smoke").await?;
    let (lag, lags) = number("lag").await?;
    let metric = |name: &str, address: &str, step: u32| {
        format!(
            "      - {{ name: {name}, web: {{ url: \"{address}\", jsonPath: $.{name} }}, max: 30, interval: 1s, step: {step}, onNoData: hold }}\n"
        )
    };
    let mut world = World::new(None).await?;
    let plan = Plan {
        strategy: Some("blueGreen: { hold: 1s, watch: 20s, keepPrevious: 0s }".into()),
        ..judged_by(&(metric("smoke", &smoke, 1) + &metric("lag", &lag, 2)))
    };
    world.first(&plan).await?;
    let load = world.load(&plan, 50);
    world.apply(&plan, "v2").await?;
    let view = world
        .wait(
            &plan,
            "the metric before the switch to be waited for",
            60,
            |view| view["status"]["reason"] == "WaitsForEvidence",
        )
        .await?;
    assert_eq!(view["status"]["weight"], 0.0, "{view:#}");
    lags.store(5, Ordering::Relaxed);
    smokes.store(1, Ordering::Relaxed);
    world
        .wait(&plan, "the switch", 30, |view| {
            view["status"]["weight"] == 100.0
        })
        .await?;
    lags.store(90, Ordering::Relaxed);
    let view = world
        .wait(&plan, "v2 to be taken back after the switch", 60, |view| {
            runs(&view["status"]["lastRollout"], "v2")
        })
        .await?;
    let last = &view["status"]["lastRollout"];
    assert_eq!(
        (&last["outcome"], &last["reason"]),
        (&"rolledBack".into(), &"MetricFailed".into()),
        "{last:#}"
    );
    assert!(runs(&view["status"]["stable"], "v1"), "{view:#}");
    load.stop().await;
    assert_eq!(load.all().failures(), 0, "{:?}", load.all().failed);
    world.end().await;
    Ok(())
}

/// The services of a namespace's jobs.
async fn jobs_left(namespace: &str) -> Option<String> {
    let label = format!("label=fridaymorning.dev/job-release={namespace}/shop");
    let found = run("docker", &["service", "ls", "-q", "--filter", &label]).await;
    found.ok()
}

#[tokio::test]
async fn a_job_on_swarm_judges_and_is_removed() -> Result<()> {
    let mut world = World::new(None).await?;
    let job = |version: &str| {
        format!(
            "      - {{ name: smoke, job: {{ image: \"{}:{version}\" }}, count: 1, interval: 1s, timeout: 20s }}\n",
            world.repository
        )
    };
    // `passes` ends with 0, `crash` with 3 and a word of why.
    let (bad, good) = (judged_by(&job("crash")), judged_by(&job("passes")));
    let tag = format!("{}:passes", world.repository);
    world.images.build(&tag, &[("CRASH", "0")]).await?;
    world.first(&good).await?;
    let load = world.load(&good, 100);
    world.apply(&bad, "v2").await?;
    let view = world
        .wait(&bad, "v2 to be taken back", 60, |view| {
            runs(&view["status"]["lastRollout"], "v2")
        })
        .await?;
    let last = &view["status"]["lastRollout"];
    assert_eq!(last["reason"], "MetricFailed", "{last:#}");
    let kept = &view["jobs"]["smoke/canary"];
    assert_eq!(kept["exitCode"], 3, "{view:#}");
    assert!(
        kept["log"]
            .as_str()
            .is_some_and(|log| log.contains("cannot start: told to crash")),
        "{kept:#}"
    );

    world.apply(&good, "v2").await?;
    let retried = world.frctl(&["rollout", "retry", "shop"]).await?;
    ensure!(retried.0 == 0, "{retried:?}");
    world
        .wait(&good, "v2 to be promoted", 90, |view| stable_is(view, "v2"))
        .await?;
    let namespace = world.namespace.clone();
    until(
        "the jobs' services to be removed",
        Duration::from_secs(20),
        || async {
            jobs_left(&namespace)
                .await
                .filter(|left| left.trim().is_empty())
        },
    )
    .await?;
    load.stop().await;
    world.end().await;
    Ok(())
}
