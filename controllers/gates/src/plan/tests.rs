use fm_api::gates::{About, When};

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn due(when: When) -> Due {
    let hook =
        serde_json::json!({ "name": "smoke", "when": when, "url": "http://ci/hook", "retries": 2 });
    Due {
        id: "a-1-smoke".to_owned(),
        webhook: Some(serde_json::from_value(hook).unwrap()),
        job: None,
        since: at(0),
        about: About {
            revision: RevisionId::new("0123456789"),
            number: 2,
            image: "shop:2".to_owned(),
            stable: None,
            by: None,
            step: None,
            steps: 2,
            weight: None,
            outcome: None,
            reason: None,
            why: None,
        },
    }
}

/// One release whose gate answers like this, time after time: the verdict, the attempts, and the pauses between.
fn play(when: When, answers: &[Result<&str, &str>]) -> (GateAnswer, Vec<i64>) {
    let mut seen = Seen {
        uid: "u".to_owned(),
        due: vec![due(when)],
        ..Seen::default()
    };
    let (mut now, mut pauses) = (0, Vec::new());
    for answer in answers {
        let asked = plan(&seen, at(now));
        assert_eq!(asked.asks.len(), 1, "at {now}");
        seen.calling.insert("a-1-smoke".to_owned());
        assert!(plan(&seen, at(now)).asks.is_empty(), "never twice at once");
        seen.calling.clear();
        let answer = answer.map(str::to_owned).map_err(str::to_owned);
        seen.ended.insert("a-1-smoke".to_owned(), answer);
        seen.old = plan(&seen, at(now)).observed.unwrap();
        seen.ended.clear();
        if let Some(next) = seen.old.answers["a-1-smoke"].next {
            assert!(plan(&seen, at(now)).asks.is_empty(), "it waits");
            pauses.push(next.as_second() - at(now).as_second());
            now = next.as_second() - at(0).as_second();
        }
    }
    assert_eq!(
        seen.old.answers["a-1-smoke"].next.is_some(),
        !plan(&seen, at(now)).asks.is_empty()
    );
    (seen.old.answers["a-1-smoke"].clone(), pauses)
}

#[test]
fn a_call_is_tried_again_after_growing_pauses_and_then_fails() {
    let (answer, pauses) = play(When::BeforeStep, &[Err("HTTP 500"); 3]);
    assert_eq!((answer.verdict, answer.attempts), (GateVerdict::No, 3));
    assert_eq!(pauses, [1, 2]);
    assert_eq!(answer.said, "HTTP 500, asked 3 times");
    let (answer, _) = play(When::BeforeStep, &[Err("HTTP 500"), Ok("HTTP 200")]);
    assert_eq!((answer.verdict, answer.attempts), (GateVerdict::Yes, 2));
}

#[test]
fn who_must_say_yes_is_asked_until_then() {
    let mut answers = vec![Err("HTTP 403: not yet"); 20];
    let (answer, pauses) = play(When::ConfirmPromotion, &answers);
    assert_eq!(answer.verdict, GateVerdict::Open);
    assert_eq!(pauses, [10; 20]);
    answers.push(Ok("HTTP 200"));
    assert_eq!(
        play(When::ConfirmPromotion, &answers).0.verdict,
        GateVerdict::Yes
    );
}

#[test]
fn what_is_due_no_more_is_forgotten() {
    let mut seen = Seen {
        uid: "u".to_owned(),
        due: vec![due(When::BeforeRollout)],
        stored: true,
        ..Seen::default()
    };
    seen.ended
        .insert("a-1-smoke".to_owned(), Ok("HTTP 200".to_owned()));
    seen.old = plan(&seen, at(0)).observed.unwrap();
    seen.due.clear();
    seen.requests
        .insert("/x/_beforeTraffic/old".to_owned(), None);
    let plan = plan(&seen, at(1));
    assert_eq!((plan.observed, plan.asks.len()), (None, 0));
    assert_eq!(plan.withdrawn, ["/x/_beforeTraffic/old"]);
}

#[test]
fn only_a_job_that_ends_with_zero_lets_pass_and_the_last_words_are_told() {
    let job =
        serde_json::json!({ "name": "migrate", "args": ["{{revision}}"], "reversible": false });
    let mut asked = due(When::BeforeRollout);
    asked.webhook = None;
    asked.job = Some(serde_json::from_value(job).unwrap());
    let ended = |exit_code, failure: Option<&str>| {
        let mut seen = Seen {
            uid: "u".to_owned(),
            due: vec![asked.clone()],
            ..Seen::default()
        };
        let ended = JobObserved {
            id: job_id(&asked),
            exit_code,
            failure: failure.map(str::to_owned),
            log: "begins\ncolumn exists\n".to_owned(),
            ..JobObserved::default()
        };
        seen.jobs.insert(asked.id.clone(), ended);
        let answer = plan(&seen, at(0)).observed.unwrap().answers[&asked.id].clone();
        (answer.verdict, answer.said)
    };
    assert_eq!(ended(Some(0), None).0, GateVerdict::Yes);
    let (verdict, said) = ended(Some(3), None);
    assert_eq!(
        (verdict, said.as_str()),
        (GateVerdict::No, "exit code 3: column exists")
    );
    assert_eq!(ended(None, Some("No such image")).0, GateVerdict::No);
    let mut seen = Seen {
        due: vec![asked.clone()],
        ..Seen::default()
    };
    // The end of an earlier run says nothing of this one.
    let ended = JobObserved {
        id: "earlier".to_owned(),
        exit_code: Some(0),
        ..JobObserved::default()
    };
    seen.jobs.insert(asked.id.clone(), ended);
    assert!(plan(&seen, at(0)).observed.is_none());
}

#[test]
fn a_job_is_asked_for_in_the_name_of_its_revision() {
    let mut asked = due(When::BeforeRollout);
    asked.webhook = None;
    let job = serde_json::json!({ "name": "migrate", "args": ["{{number}}"] });
    asked.job = Some(serde_json::from_value(job).unwrap());
    let record = serde_json::json!({
        "id": "0123456789", "uid": "u", "number": 2, "generation": 2, "createdAt": at(0),
        "workload": { "image": "shop:2" }, "ports": [], "service": {},
        "image": { "reference": "shop:2", "pinned": "shop@sha256:2" },
    });
    let record: RevisionRecord = serde_json::from_value(record).unwrap();
    let key = ReleaseKey::new("default", "shop");
    let request = request(&key, &asked, &record).unwrap();
    assert_eq!(request.revision, Some(record.id));
    assert_eq!(
        (request.image.as_str(), &request.args[0][..]),
        ("shop@sha256:2", "2")
    );
}
