//! What any earlier version stored must be readable for ever. A stored object is never changed here, only added.
#![expect(
    clippy::unwrap_used,
    reason = "a test's own steps: they fail with what is wrong"
)]

use std::fs;
use std::path::PathBuf;

use fm_api::experiment::SideResult;
use fm_api::quantity::Weight;
use fm_api::release::Release;
use fm_api::rollout::Meeting;
use fm_api::status::Status;
use fm_api::strategy::Kind;
use fm_api::target::Target;
use fm_api::validate;
use serde::de::DeserializeOwned;
use serde_json::Value;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/stored")
}

/// What is kept under this name, as it is.
fn value(name: &str) -> Value {
    let text = fs::read_to_string(folder().join(format!("{name}.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn kept<T: DeserializeOwned>(name: &str) -> T {
    serde_json::from_value(value(name)).unwrap()
}

fn target(name: &str) -> Target {
    kept(&format!("target.{name}"))
}

fn status(name: &str) -> Status {
    kept(&format!("status.{name}"))
}

fn release(name: &str) -> Release {
    validate::json(&value(&format!("release.{name}"))).unwrap()
}

#[test]
fn what_was_stored_is_still_read() {
    let mut seen = 0;
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        match name.split('.').next().unwrap() {
            "release" => drop(
                validate::json(&value).unwrap_or_else(|problems| panic!("{name}: {problems:?}")),
            ),
            "target" => drop(serde_json::from_value::<fm_api::target::Target>(value).unwrap()),
            "revision" => {
                drop(serde_json::from_value::<fm_api::target::RevisionRecord>(value).unwrap())
            }
            "status" => drop(serde_json::from_value::<fm_api::status::Status>(value).unwrap()),
            "verdict" => drop(serde_json::from_value::<fm_api::verdict::Verdict>(value).unwrap()),
            "operation" => {
                drop(serde_json::from_value::<fm_api::operation::Operation>(value).unwrap())
            }
            "event" => drop(serde_json::from_value::<fm_api::event::Event>(value).unwrap()),
            "swarm" => {
                drop(serde_json::from_value::<fm_api::observed::SwarmObserved>(value).unwrap())
            }
            "haproxy" => {
                drop(serde_json::from_value::<fm_api::observed::HaproxyObserved>(value).unwrap())
            }
            "log" => drop(serde_json::from_value::<fm_api::log::KeptLog>(value).unwrap()),
            "agent" => drop(serde_json::from_value::<fm_api::observed::Agent>(value).unwrap()),
            "node" => drop(serde_json::from_value::<fm_api::observed::NodeAgent>(value).unwrap()),
            "job" => drop(serde_json::from_value::<fm_api::job::JobRequest>(value).unwrap()),
            "job-observed" => {
                drop(serde_json::from_value::<fm_api::job::JobObserved>(value).unwrap())
            }
            "outliers" => drop(serde_json::from_value::<fm_api::outlier::Outliers>(value).unwrap()),
            "gates" => drop(serde_json::from_value::<fm_api::gates::GatesObserved>(value).unwrap()),
            other => panic!("nobody reads {other}"),
        }
        seen += 1;
    }
    assert!(seen >= 38);
}

#[test]
fn previews_are_those_that_were_up_and_those_that_are_over() {
    let target = target("previews");
    assert_eq!((target.previews.len(), target.expired.len()), (2, 1));
    let newest = &target.previews[target.wanted.as_ref().unwrap()];
    assert!(newest.came_up && !newest.closed);
    assert_eq!(newest.hosts[1], "latest.example.com");
    assert_eq!(newest.match_rules[0].header, "x-preview");
    assert_eq!(target.settings.unwrap().preview.unwrap().limit, 3);
    assert!(status("previews").previews.iter().all(|preview| preview.up));
}

#[test]
fn an_experiment_has_its_shares_and_what_came_out() {
    let target = target("experiment");
    let experiment = target.experimenting().unwrap();
    assert_eq!(experiment.plan.candidates.len(), 2);
    assert_eq!(experiment.trials().count(), 1);
    let next = experiment.named("next").unwrap();
    assert_eq!(next.outcome.as_ref().unwrap().result, SideResult::Harms);
    assert!(!next.shared);
    let cache = experiment.named("cache").unwrap();
    assert!(cache.shared && target.is_side(cache.revision.as_ref().unwrap()));
    let shown = status("experiment").experiment.unwrap();
    assert_eq!(shown.sides[2].result, Some(SideResult::Harms));
}

#[test]
fn gates_are_those_that_are_due_and_what_has_run() {
    let asked = target("job");
    let job = asked.due[0].job.as_ref().unwrap();
    assert!(!job.reversible);
    let after = target("gates");
    assert_eq!(after.due[0].word(), "beforeStep");
    let ran = after.ran.values().next().unwrap();
    assert_eq!(ran.jobs, ["migrate"]);
    assert!(ran.irreversible.is_some() && ran.since.is_some());
    let rollout = after.rollout.unwrap();
    assert_eq!((rollout.gates.len(), rollout.words.len()), (2, 3));
    assert_eq!(rollout.words[0].asked, "promote");
}

#[test]
fn a_hold_and_the_words_of_what_begins_after_it_stay() {
    let target = target("held");
    assert_eq!(target.held.unwrap().by, "bob");
    assert_eq!(target.words[0].asked, "undo");
    let held = status("held");
    assert_eq!(held.earlier_operations.len(), 3);
    assert_eq!(held.last_operation.unwrap().id, "op-004");
}

#[test]
fn a_switch_waits_for_its_group() {
    let meets = target("group");
    assert_eq!(meets.settings.unwrap().group.as_deref(), Some("web"));
    assert_eq!(meets.rollout.unwrap().meets, Some(Meeting::Switch));
    let both = target("blue-green");
    assert_eq!(both.rollout.unwrap().plan.kind, Kind::BlueGreen);
    assert_eq!(both.preview_hosts, ["next.shop.example.com"]);
    assert_eq!(both.traffic.unwrap().weight, Weight::FULL);
}

#[test]
fn a_step_that_mirrors_does_so() {
    let target = target("mirror");
    let quarter = Weight::from_basis_points(2500);
    assert!(target.mirrors);
    assert_eq!(target.traffic.unwrap().mirror, quarter);
    assert_eq!(target.rollout.unwrap().plan.steps[0].mirror, quarter);
    assert_eq!(status("mirror").steps[0].mirror, quarter);
}

#[test]
fn specs_say_what_they_said() {
    let both = release("blue-green").spec.strategy.blue_green.unwrap();
    assert!(both.approval.is_some() && both.preview.is_some());
    let preview = release("preview").spec.strategy.preview.unwrap();
    assert_eq!((preview.limit, preview.hosts.len()), (5, 2));
    let steps = release("mirror").spec.strategy.canary.unwrap().steps;
    assert_eq!(steps[0].mirror, Weight::from_basis_points(1000));
    let secrets = release("secrets");
    assert!(secrets.metadata.changed_why.is_some());
    for files in [
        &secrets.spec.workload.secrets,
        &secrets.spec.workload.configs,
    ] {
        let hash = files[0].hash.as_deref();
        assert_eq!(hash, Some("0123456789abcdef0123456789abcdef"));
    }
    assert!(secrets.spec.workload.mounts[0].shared);
    let gates = release("gates").spec;
    assert!(!gates.before_traffic.is_empty() && !gates.webhooks.is_empty());
    assert_eq!(gates.freeze.len(), 2);
    assert!(release("group").spec.group.is_some());
    let experiment = release("experiment").spec.experiment.unwrap();
    assert_eq!(experiment.candidates.len(), 2);
}
