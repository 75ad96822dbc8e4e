use rstest::rstest;
use serde_json::json;

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn request(id: &str) -> JobRequest {
    serde_json::from_value(json!({
        "id": id, "run": "run", "image": "smoke:1", "limit": 1000, "until": at(60),
    }))
    .unwrap()
}

fn task(state: &str, err: &str, code: Option<i64>) -> Task {
    serde_json::from_value(json!({
        "ID": "t", "DesiredState": "running",
        "Status": {
            "Timestamp": at(1), "State": state, "Message": "started", "Err": err,
            "ContainerStatus": { "ExitCode": code },
        },
    }))
    .unwrap()
}

fn service(job: &str, task: Option<Task>) -> JobService {
    JobService {
        id: format!("service-{job}"),
        name: "fmjob_1".into(),
        measurement: "smoke/canary".into(),
        job: job.into(),
        task,
    }
}

fn planned(
    run: Option<&str>,
    requested: Option<&str>,
    answered: Option<&str>,
    services: &[JobService],
    now: i64,
) -> Vec<Action> {
    let name = || "smoke/canary".to_owned();
    let requests = requested.map(|id| (name(), request(id)));
    let answered = answered.map(|id| (name(), id.to_owned()));
    plan(&Seen {
        runs: &run.map(str::to_owned).into_iter().collect(),
        requests: &requests.into_iter().collect(),
        answered: &answered.into_iter().collect(),
        services,
        now: at(now),
    })
}

fn answer(end: End, service: Option<usize>) -> Vec<Action> {
    vec![Action::Answer {
        measurement: "smoke/canary".into(),
        end,
        service,
    }]
}

#[test]
fn a_job_is_started_once_answered_once_and_removed() {
    let run = Some("run");
    let going = [service("1", Some(task("running", "", None)))];
    let over = [service("1", Some(task("complete", "", Some(0))))];
    let create = vec![Action::Create("smoke/canary".into())];
    assert_eq!(planned(run, Some("1"), None, &[], 0), create);
    assert_eq!(planned(run, Some("1"), None, &[service("1", None)], 0), []);
    assert_eq!(planned(run, Some("1"), None, &going, 0), []);
    assert_eq!(
        planned(run, Some("1"), None, &over, 0),
        answer(End::Exit(0), Some(0))
    );
    let remove = vec![Action::Remove("service-1".into())];
    assert_eq!(planned(run, Some("1"), Some("1"), &over, 0), remove);
    assert_eq!(planned(run, Some("1"), Some("1"), &[], 0), []);
    // Nobody asks any more, another asks, or the run is another one.
    assert_eq!(planned(run, None, None, &going, 0), remove);
    let both = [create, remove.clone()].concat();
    assert_eq!(planned(run, Some("2"), Some("1"), &going, 0), both);
    assert_eq!(planned(Some("other"), Some("1"), None, &going, 0), remove);
    assert_eq!(planned(None, Some("1"), None, &going, 0), remove);
    assert_eq!(planned(None, Some("1"), None, &[], 0), []);
}

#[rstest]
#[case("complete", "", Some(0), End::Exit(0))]
#[case("failed", "task: non-zero exit (3)", Some(3), End::Exit(3))]
#[case("failed", "starting container failed: no such file", Some(127), End::Failed("starting container failed: no such file".into()))]
#[case("rejected", "No such image: smoke:1", None, End::Failed("No such image: smoke:1".into()))]
#[case("shutdown", "", Some(137), End::Failed("started".into()))]
fn a_task_ends_with_a_code_or_in_dockers_words(
    #[case] state: &str,
    #[case] err: &str,
    #[case] code: Option<i64>,
    #[case] end: End,
) {
    let seen = [service("1", Some(task(state, err, code)))];
    // Also after its time: what it came to counts.
    for now in [0, 60] {
        let found = planned(Some("run"), Some("1"), None, &seen, now);
        assert_eq!(found, answer(end.clone(), Some(0)));
    }
}

#[test]
fn what_does_not_end_is_given_up_with_dockers_words() {
    let pending = [service(
        "1",
        Some(task("pending", "no suitable node (x)", None)),
    )];
    assert_eq!(planned(Some("run"), Some("1"), None, &pending, 59), []);
    let late = planned(Some("run"), Some("1"), None, &pending, 60);
    let words = "the job was not over within its time limit: no suitable node (x)";
    assert_eq!(late, answer(End::Failed(words.into()), Some(0)));
    let late = planned(Some("run"), Some("1"), None, &[], 60);
    let words = "the job was not started within its time limit";
    assert_eq!(late, answer(End::Failed(words.into()), None));
}
