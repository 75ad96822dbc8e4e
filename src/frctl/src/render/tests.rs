//! Pictures and tables as golden files: `SNAPSHOTS=overwrite cargo test -p frctl` writes them again.

use fm_api::event::Event;
use fm_api::http::{ApplyOutcome, View};
use jiff::tz::TimeZone;
use snapbox::{assert_data_eq, file};

use super::*;
use crate::error::Exit;
use crate::text::{Look, Paint};
use crate::wait;

fn view(name: &str) -> View {
    let text = match name {
        "canary" => include_str!("../../tests/views/canary.json"),
        "approval" => include_str!("../../tests/views/approval.json"),
        "healthy" => include_str!("../../tests/views/healthy.json"),
        "fresh" => include_str!("../../tests/views/fresh.json"),
        other => panic!("no view {other}"),
    };
    serde_json::from_str(text).unwrap()
}

fn events() -> Vec<Event> {
    serde_json::from_str(include_str!("../../tests/views/events.json")).unwrap()
}

fn look(width: Option<usize>, colours: bool) -> Look {
    Look {
        now: "2026-03-06T09:00:00Z".parse().unwrap(),
        width,
        paint: Paint(colours),
        zone: TimeZone::UTC,
    }
}

fn drawn(name: &str, width: usize, lost: Option<&str>) -> String {
    let view = view(name);
    let events = events();
    let shown = Frame {
        view: &view,
        events: &events,
        lost,
    };
    let picture = frame(&shown, &look(Some(width), false));
    for line in picture.lines() {
        assert!(crate::text::width(line) <= width.max(40), "{line}");
    }
    picture
}

#[test]
fn a_canary_under_way() {
    assert_data_eq!(
        drawn("canary", 100, None),
        file!["../../tests/golden/canary-100.txt"]
    );
}

#[test]
fn a_canary_on_a_narrow_terminal() {
    assert_data_eq!(
        drawn("canary", 44, None),
        file!["../../tests/golden/canary-44.txt"]
    );
}

#[test]
fn an_approval_is_waited_for_while_frd_restarts() {
    assert_data_eq!(
        drawn("approval", 80, Some("frd does not answer")),
        file!["../../tests/golden/approval-80.txt"]
    );
}

#[test]
fn a_release_at_rest_and_one_nobody_has_looked_at() {
    let both = drawn("healthy", 80, None) + "\n" + &drawn("fresh", 80, None);
    assert_data_eq!(both, file!["../../tests/golden/rest-80.txt"]);
}

#[test]
fn every_width_fits() {
    for width in [1, 20, 40, 63, 64, 65, 79, 111, 300] {
        for name in ["canary", "approval", "healthy", "fresh"] {
            drawn(name, width, None);
        }
    }
}

#[test]
fn colours_change_no_letter() {
    let view = view("canary");
    let events = events();
    let shown = Frame {
        view: &view,
        events: &events,
        lost: None,
    };
    let coloured = frame(&shown, &look(Some(100), true));
    assert!(coloured.contains("\x1b["));
    let mut plain = String::new();
    let mut inside = false;
    for c in coloured.chars() {
        match c {
            '\x1b' => inside = true,
            'm' if inside => inside = false,
            c if !inside => plain.push(c),
            _ => {}
        }
    }
    let lines = |text: &str| -> Vec<String> {
        text.lines()
            .map(|line| line.trim_end().to_owned())
            .collect()
    };
    assert_eq!(lines(&plain), lines(&drawn("canary", 100, None)));
}

#[test]
fn releases_in_columns() {
    let views = [view("canary"), view("healthy"), view("fresh")];
    let text = [
        releases(&views, &look(None, false), false, true),
        releases(&views, &look(Some(100), false), false, false),
        releases(&views, &look(None, false), true, false),
    ]
    .join("\n");
    assert_data_eq!(text, file!["../../tests/golden/get.txt"]);
}

#[test]
fn everything_of_a_release() {
    let text = describe(&view("canary"), &events(), None, &look(None, false));
    assert_data_eq!(text, file!["../../tests/golden/describe.txt"]);
}

#[test]
fn how_long_it_takes_is_said_with_what_is_known() {
    let release = view("canary").release.unwrap();
    let text = format!(
        "{}\n{}\n{}\n",
        estimate(&release, None),
        estimate(&release, Some(2.0)),
        estimate(&release, Some(200.0)),
    );
    assert_data_eq!(text, file!["../../tests/golden/estimate.txt"]);
}

#[test]
fn a_rollout_ends_only_for_the_spec_that_was_applied() {
    let healthy = view("healthy");
    assert_eq!(wait::ended(&healthy, 4), Some(Exit::Done));
    assert_eq!(
        wait::ended(&healthy, 5),
        None,
        "the next spec is not taken in yet"
    );
    let mut resolving = healthy;
    let workload = resolving.release.as_ref().unwrap().spec.workload.clone();
    resolving.target.as_mut().unwrap().resolve = Some(fm_api::target::Resolve {
        generation: 4,
        workload,
        side: None,
        pull: false,
        ports: vec![8080],
        adopt: None,
        aborted: None,
    });
    assert_eq!(
        wait::ended(&resolving, 4),
        None,
        "its revision is not known yet"
    );
    assert_eq!(wait::ended(&view("canary"), 4), None);
    assert_eq!(wait::ended(&view("approval"), 4), Some(Exit::Person));
    assert_eq!(wait::ended(&view("fresh"), 4), None);
}

#[test]
fn only_what_needs_somebody_is_a_problem_and_says_the_next_command() {
    let look = look(Some(100), false);
    let named = |name: &str, change: fn(&mut Status)| {
        let mut view = view("canary");
        name.clone_into(&mut view.name);
        change(view.status.as_mut().unwrap());
        view
    };
    let well = [named("fine", |_| {}), view("healthy")];
    assert!(well.iter().all(|view| !is_problem(view, &look)));
    let bad = vec![
        named("approve", |status| status.waits_for_person = true),
        named("failed", |status| {
            status.phase = Phase::Degraded;
            status.canary.as_mut().unwrap().last_failure =
                Some("task: non-zero exit (3)".to_owned());
        }),
        named("blind", |status| {
            status.conditions.push(fm_api::status::Condition {
                kind: "Observed".to_owned(),
                status: Some(false),
                reason: "SwarmUnknown".to_owned(),
                message: "Docker does not answer".to_owned(),
                since: "2026-03-06T08:30:00Z".parse().unwrap(),
            });
        }),
    ];
    let drifted = named("drifted", |status| {
        status.conditions.push(fm_api::status::Condition {
            kind: "Drifted".to_owned(),
            status: Some(true),
            reason: "DriftReported".to_owned(),
            message: "changed by somebody else and left so".to_owned(),
            since: "2026-03-06T08:30:00Z".parse().unwrap(),
        });
    });
    let bad = [bad, vec![drifted]].concat();
    assert!(bad.iter().all(|view| is_problem(view, &look)));
    assert_data_eq!(
        problems(&bad, &look),
        file!["../../tests/golden/problems.txt"]
    );
}

#[test]
fn what_is_wrong_with_the_whole_has_its_next_command() {
    let problem = fm_api::cluster::ClusterProblem {
        subject: fm_api::cluster::Subject::Edge,
        name: "edge-2".to_owned(),
        message: "its agent is gone, and its HAProxy may still serve: no share of default/shop rises, and what it may lead to stays"
            .to_owned(),
        next: "start its frd again; is it gone for good, `frctl edge forget edge-2`".to_owned(),
        since: Some("2026-03-06T08:30:00Z".parse().unwrap()),
    };
    let store = fm_api::cluster::ClusterProblem {
        subject: fm_api::cluster::Subject::Store,
        name: "etcd".to_owned(),
        since: None,
        ..problem.clone()
    };
    assert_data_eq!(
        cluster(&[store, problem], &look(Some(100), false)),
        file!["../../tests/golden/problems-cluster.txt"]
    );
}

#[test]
fn what_a_person_is_told_to_do_can_be_done() {
    let mut view = view("canary");
    let said = |phase, reason: &str| {
        let mut status = view.status.clone().unwrap();
        status.phase = phase;
        reason.clone_into(&mut status.reason);
        person(&view, &status)
    };
    let promote = "waits for you: `frctl rollout promote shop` or `frctl rollout abort shop`";
    assert_eq!(said(Phase::Paused, "Inconclusive"), promote);
    assert!(said(Phase::Paused, "Paused").contains("rollout resume"));
    assert!(said(Phase::Degraded, "CrashLoop").contains("rollout retry"));
    assert!(!said(Phase::Degraded, "ImageUnresolved").contains("retry"));
    assert!(!said(Phase::Invalid, "InvalidSpec").contains("promote"));
    let wanted = fm_api::keys::RevisionId::new("2222222222");
    let target = view.target.as_mut().unwrap();
    target.wanted = Some(wanted.clone());
    let preview = serde_json::json!({
        "hosts": [], "routes": [], "matchRules": [], "replicas": 1, "ttl": "1h",
        "since": "2026-03-06T08:00:00Z", "until": "2026-03-06T10:00:00Z", "closed": false,
        "progress": { "at": "2026-03-06T08:00:00Z", "ready": 0 }, "progressDeadline": "10m",
    });
    let preview = serde_json::from_value(preview).unwrap();
    target.previews.insert(wanted, preview);
    let status = fm_api::status::Status {
        phase: Phase::Degraded,
        ..view.status.clone().unwrap()
    };
    assert!(person(&view, &status).contains("`frctl rollout restart shop`"));
}

#[test]
fn what_users_do_not_get_ends_no_rollout_and_calls_for_a_look() {
    let impaired = |name: &str, person: bool| {
        let mut view = view(name);
        let status = view.status.as_mut().unwrap();
        status.phase = Phase::Degraded;
        status.waits_for_person = person;
        status.impaired = Some(fm_api::status::Impaired {
            reason: "UsersGet503".to_owned(),
            message: "users get 503".to_owned(),
            since: status.since,
            well_since: None,
        });
        view
    };
    let healthy = impaired("healthy", false);
    assert_eq!(wait::ended(&healthy, 4), None);
    let said = person(&healthy, healthy.status.as_ref().unwrap());
    assert!(said.contains("`frctl logs "), "{said}");
    assert_eq!(wait::ended(&impaired("canary", false), 4), None);
    assert_eq!(
        wait::ended(&impaired("canary", true), 4),
        Some(Exit::Person)
    );
    assert_eq!(wait::ended(&impaired("healthy", true), 4), Some(Exit::Back));
}

#[test]
fn the_next_command_is_one_that_is_not_refused() {
    use fm_api::rollout::{FailedGate, Pause, Ran};
    let says = |phase, reason: &str, gate: Option<bool>, migrated: bool| {
        let mut view = view("canary");
        let target = view.target.as_mut().unwrap();
        let strategy = &view.release.as_ref().unwrap().spec.strategy;
        let mut rollout: fm_api::rollout::Rollout = serde_json::from_value(serde_json::json!({
            "revision": target.stable, "generation": 4, "step": 0, "stage": "holding",
            "startedAt": "2026-03-06T08:30:00Z", "stageSince": "2026-03-06T08:30:00Z",
            "progress": { "at": "2026-03-06T08:30:00Z", "ready": 1 }, "progressDeadline": "10m",
            "plan": fm_api::strategy::Course::of(strategy),
        }))
        .unwrap();
        rollout.paused = gate.map(|job| Pause {
            at: rollout.started_at,
            by: None,
            why: String::new(),
            gate: Some(FailedGate {
                id: "id".to_owned(),
                name: "smoke".to_owned(),
                job,
            }),
        });
        let ran = Ran {
            irreversible: migrated.then(|| "migrate".to_owned()),
            ..Ran::default()
        };
        target.ran.insert(rollout.revision.clone(), ran);
        target.rollout = Some(rollout);
        let status = view.status.as_mut().unwrap();
        (status.phase, status.reason) = (phase, reason.to_owned());
        let status = status.clone();
        super::person(&view, &status)
    };
    for (said, told) in [
        (
            says(Phase::Paused, "Paused", None, false),
            ["resume shop", "abort shop"],
        ),
        (
            says(Phase::Paused, "Paused", Some(true), true),
            ["retry shop", "abort --force shop"],
        ),
        (
            says(Phase::Paused, "Paused", Some(false), false),
            ["retry shop", "`resume` without it"],
        ),
        (
            says(Phase::Paused, "Inconclusive", None, false),
            ["promote shop", "abort shop"],
        ),
        (
            says(Phase::Paused, "HarmShown", None, false),
            ["promote shop", "abort shop"],
        ),
        (
            says(Phase::Paused, "CrashLoop", None, false),
            ["apply another image", "abort shop"],
        ),
        (
            says(Phase::Invalid, "InvalidSpec", None, false),
            ["apply a manifest", "can be used"],
        ),
    ] {
        assert!(told.iter().all(|part| said.contains(part)), "{said}");
    }
}

fn example(text: &str) -> fm_api::release::Release {
    let mut read = fm_api::manifest::read("example.yaml", text.as_bytes());
    read.remove(0).unwrap()
}

fn known<'a>(
    view: Option<&'a View>,
    records: &'a [fm_api::target::RevisionRecord],
) -> plan::Known<'a> {
    plan::Known {
        view,
        records,
        now: "2026-03-06T09:00:00Z".parse().unwrap(),
    }
}

#[test]
fn what_each_strategy_would_do() {
    let examples = [
        include_str!("../../../../manifests/shop.yaml"),
        include_str!("../../../../manifests/blue-green.yaml"),
        include_str!("../../../../manifests/gates.yaml"),
        include_str!("../../../../manifests/preview.yaml"),
        include_str!("../../../../manifests/worker.yaml"),
        include_str!("../../../../manifests/group.yaml"),
        include_str!("../../../../manifests/experiment.yaml"),
    ];
    let view = view("healthy");
    let mut text = String::new();
    for example in examples.map(example) {
        let mut before = example.clone();
        before.spec.workload.image = "shop:before".to_owned();
        before.spec.replicas = 3;
        before.spec.experiment = None;
        let planned = plan::plan(
            Some(&before),
            &example,
            ApplyOutcome::Configured,
            known(Some(&view), &[]),
        );
        text.push_str(&format!("{}\n{}\n", example.key(), plan::lines(&planned)));
    }
    let new = example(examples[0]);
    let planned = plan::plan(None, &new, ApplyOutcome::Created, known(None, &[]));
    text.push_str(&format!("new\n{}", plan::lines(&planned)));
    assert_data_eq!(text, file!["../../tests/golden/plan.txt"]);
}
