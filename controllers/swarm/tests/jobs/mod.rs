//! Jobs that measure, on a real Swarm.

use std::time::{Duration, Instant};

use fm_api::job::{JobObserved, JobRequest};
use fm_store::Txn;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::lab::{Lab, docker};

/// Asks for a job, as analysis would.
async fn ask(lab: &Lab, id: &str, seconds: i64, more: serde_json::Value) {
    let until = Timestamp::now() + SignedDuration::from_secs(seconds);
    let mut request = json!({
        "id": id, "run": "run", "image": lab.image, "limit": 1 << 20, "until": until,
    });
    for (name, value) in more.as_object().unwrap() {
        request[name] = value.clone();
    }
    let request: JobRequest = serde_json::from_value(request).unwrap();
    let value = serde_json::to_vec(&request).unwrap();
    let key = lab.key.job("smoke/canary");
    lab.store.commit(Txn::new().put(key, value)).await.unwrap();
}

async fn forget(lab: &Lab) {
    let key = lab.key.job("smoke/canary");
    lab.store.commit(Txn::new().delete(key)).await.unwrap();
}

async fn answered(lab: &Lab, id: &str) -> JobObserved {
    let begun = Instant::now();
    loop {
        let entry = lab
            .store
            .get(&lab.key.observed_job("smoke/canary"))
            .await
            .unwrap();
        let answer: Option<JobObserved> = entry.map(|e| serde_json::from_slice(&e.value).unwrap());
        if let Some(answer) = answer.as_ref().filter(|answer| answer.id == id) {
            return answer.clone();
        }
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "{id}: {answer:?}, {}",
            services(lab)
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn services(lab: &Lab) -> String {
    let label = format!("label=fridaymorning.dev/job-release={}", lab.key);
    docker(&["service", "ls", "--filter", &label, "--format", "{{.Name}}"])
}

async fn until_services(lab: &Lab, there: bool) {
    let begun = Instant::now();
    while services(lab).is_empty() == there {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "services: {}",
            services(lab)
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_ends_with_its_code_its_line_and_its_log_and_is_removed() {
    let mut lab = Lab::start("jobs").await;
    lab.want_run(Some("run")).await;
    ask(
        &lab,
        "1",
        60,
        json!({ "args": ["end", "3"], "env": { "A": "1" } }),
    )
    .await;
    let answer = answered(&lab, "1").await;
    assert_eq!(
        (answer.exit_code, &answer.failure),
        (Some(3), &None),
        "{answer:?}"
    );
    assert!(
        answer.log.contains("ends with 3") && answer.line.is_none(),
        "{answer:?}"
    );
    until_services(&lab, false).await;
    // The next measurement.
    ask(&lab, "2", 60, json!({ "args": ["say", "{\"rate\": 0.5}"] })).await;
    let answer = answered(&lab, "2").await;
    assert_eq!(answer.exit_code, Some(0), "{answer:?}");
    assert_eq!(answer.line.as_deref(), Some("{\"rate\": 0.5}"));
    until_services(&lab, false).await;
    // Answered jobs are not run again, and their log stays.
    forget(&lab).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(services(&lab), "");
    assert_eq!(answered(&lab, "2").await, answer);
    // With the release everything goes.
    let key = lab.key.target();
    lab.store.commit(Txn::new().delete(key)).await.unwrap();
    let begun = Instant::now();
    while lab
        .store
        .get(&lab.key.observed_job("smoke/canary"))
        .await
        .unwrap()
        .is_some()
    {
        assert!(begun.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_run_is_told_in_dockers_words() {
    let mut lab = Lab::start("badjobs").await;
    lab.want_run(Some("run")).await;
    for (id, more, words) in [
        (
            "1",
            json!({ "image": "sha256:0000000000000000000000000000000000000000000000000000000000000000" }),
            "No such image",
        ),
        (
            "2",
            json!({ "command": ["/nothing-of-that-name"] }),
            "/nothing-of-that-name",
        ),
        (
            "3",
            json!({ "networks": ["nothing-of-that-name"] }),
            "nothing-of-that-name",
        ),
        ("4", json!({ "registryAuth": "nobody" }), "nobody"),
    ] {
        ask(&lab, id, 60, more).await;
        let answer = answered(&lab, id).await;
        let failure = answer.failure.clone().unwrap_or_default();
        assert!(failure.contains(words), "{id}: {answer:?}");
        assert_eq!(answer.exit_code, None, "{id}");
        until_services(&lab, false).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_ends_with_its_time_its_request_its_run_and_outlives_the_controller() {
    let mut lab = Lab::start("longjobs").await;
    lab.want_run(Some("run")).await;
    ask(&lab, "1", 4, json!({ "args": ["hang"] })).await;
    let answer = answered(&lab, "1").await;
    let failure = answer.failure.unwrap_or_default();
    assert!(failure.contains("time limit"), "{failure}");
    assert!(answer.log.contains("hangs"), "{}", answer.log);
    until_services(&lab, false).await;
    // Nobody asks any more.
    ask(&lab, "2", 60, json!({ "args": ["hang"] })).await;
    until_services(&lab, true).await;
    forget(&lab).await;
    until_services(&lab, false).await;
    // Another run.
    ask(&lab, "3", 60, json!({ "args": ["hang"] })).await;
    until_services(&lab, true).await;
    lab.want_run(Some("another")).await;
    until_services(&lab, false).await;
    // The controller is away while the job ends; another one answers, and does not run it again.
    lab.want_run(Some("run")).await;
    ask(&lab, "4", 60, json!({ "args": ["end", "5"] })).await;
    until_services(&lab, true).await;
    let name = services(&lab);
    lab.stop_controller().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    lab.start_controller();
    let answer = answered(&lab, "4").await;
    assert_eq!((answer.exit_code, answer.service), (Some(5), name));
    // Away while the request is taken back: what is left is found.
    ask(&lab, "5", 60, json!({ "args": ["hang"] })).await;
    until_services(&lab, true).await;
    lab.stop_controller().await;
    forget(&lab).await;
    lab.start_controller();
    until_services(&lab, false).await;
}
