use std::collections::BTreeMap;

use fm_api::rollout::{Failed, HistoryEntry};
use fm_api::validate;
use serde_json::{Value, json};

use super::*;

fn record(number: u64) -> RevisionRecord {
    serde_json::from_value(json!({
        "id": format!("{number}aaaaaaaa{number}"),
        "uid": "uid",
        "number": number,
        "generation": number,
        "createdAt": "2026-01-01T00:00:00Z",
        "workload": workload(number),
        "image": { "reference": format!("shop:{number}"), "pinned": format!("shop@sha256:{number:064}") },
        "ports": [8080],
        "service": {},
    }))
    .unwrap()
}

fn workload(number: u64) -> Value {
    json!({ "image": format!("shop:{number}") })
}

fn id(number: u64) -> RevisionId {
    record(number).id
}

fn promoted(number: u64, outcome: Outcome) -> HistoryEntry {
    HistoryEntry {
        revision: id(number),
        number,
        image: format!("shop:{number}"),
        by: None,
        started_at: Timestamp::UNIX_EPOCH,
        ended_at: Timestamp::UNIX_EPOCH,
        outcome,
        reason: String::new(),
        why: String::new(),
        thawed: None,
        words: Vec::new(),
        afterwards: Vec::new(),
    }
}

fn target(stable: u64, wanted: u64, history: &[(u64, Outcome)]) -> Target {
    Target {
        stable: Some(id(stable)),
        wanted: Some(id(wanted)),
        spec_generation: 9,
        history: history
            .iter()
            .map(|(number, outcome)| promoted(*number, *outcome))
            .collect(),
        ..Target::default()
    }
}

fn chosen(request: &UndoRequest, target: &Target) -> Result<u64, ApiError> {
    let key = ReleaseKey::new("default", "shop");
    let records: Vec<RevisionRecord> = (1..=3).map(record).collect();
    choose(
        &key,
        request.to.as_deref(),
        target,
        &records,
        target.wanted.as_ref(),
    )
    .map(|record| record.number)
}

fn last() -> UndoRequest {
    UndoRequest::default()
}

fn to(text: &str) -> UndoRequest {
    UndoRequest {
        to: Some(text.to_owned()),
        ..UndoRequest::default()
    }
}

#[test]
fn without_a_rollout_it_is_the_one_promoted_before() {
    let history = [
        (1, Outcome::Promoted),
        (2, Outcome::Promoted),
        (3, Outcome::Promoted),
    ];
    assert_eq!(chosen(&last(), &target(3, 3, &history)).unwrap(), 2);
}

#[test]
fn one_that_failed_in_between_is_passed_over() {
    let history = [
        (1, Outcome::Promoted),
        (2, Outcome::RolledBack),
        (3, Outcome::Promoted),
    ];
    assert_eq!(chosen(&last(), &target(3, 3, &history)).unwrap(), 1);
}

#[test]
fn while_something_else_is_asked_for_it_is_stable() {
    let history = [(1, Outcome::Promoted), (2, Outcome::Promoted)];
    assert_eq!(chosen(&last(), &target(2, 3, &history)).unwrap(), 2);
}

#[test]
fn the_first_revision_has_none_before_it() {
    assert!(chosen(&last(), &target(1, 1, &[(1, Outcome::Promoted)])).is_err());
}

#[test]
fn a_revision_is_named_by_id_number_or_a_unique_beginning() {
    let target = target(3, 3, &[]);
    assert_eq!(chosen(&to("1aaaaaaaa1"), &target).unwrap(), 1);
    assert_eq!(chosen(&to("2"), &target).unwrap(), 2);
    assert_eq!(chosen(&to("2aaa"), &target).unwrap(), 2);
    assert!(chosen(&to("2aa"), &target).is_err(), "too short");
    assert!(chosen(&to("7"), &target).is_err());
    assert!(chosen(&to("../../x"), &target).is_err());
}

#[test]
fn a_failed_one_is_refused_unless_it_serves() {
    let key = ReleaseKey::new("default", "shop");
    let failed = Failed {
        at: Timestamp::UNIX_EPOCH,
        reason: String::new(),
        why: "20 % errors".to_owned(),
        unbegun: false,
    };
    let mut target = target(3, 3, &[]);
    target.failed = BTreeMap::from([(id(2), failed)]);
    let error = not_failed(&key, &record(2), &target).unwrap_err();
    assert!(format!("{error:?}").contains("20 % errors"));
    target.stable = Some(id(2));
    assert!(not_failed(&key, &record(2), &target).is_ok());
}

#[test]
fn what_is_asked_for_is_known_before_promotion_has_looked() {
    let release = validate::json(&json!({
        "apiVersion": "fridaymorning.dev/v1",
        "kind": "Release",
        "metadata": { "name": "shop" },
        "spec": {
            "workload": workload(2),
            "routes": [{ "hosts": ["a.example.com"], "port": 8080 }],
            "strategy": { "canary": { "steps": [{ "weight": 10 }] } },
        },
    }))
    .unwrap();
    let mut records: Vec<RevisionRecord> = (1..=3).map(record).collect();
    records[1].workload = release.spec.workload.clone();
    let target = target(3, 3, &[]);
    assert_eq!(wanted(&release.spec, 10, &target, &records), Some(&id(2)));
    assert_eq!(wanted(&release.spec, 9, &target, &records), Some(&id(3)));
}

#[test]
fn the_sentence_says_whether_it_is_a_switch_or_a_rollout() {
    let key = ReleaseKey::new("default", "shop");
    let mut target = target(3, 3, &[]);
    let leaving = serde_json::from_value(json!({
        "since": "2026-01-01T11:00:00Z", "warmUntil": "2026-01-01T12:30:00Z"
    }))
    .unwrap();
    target.leaving = BTreeMap::from([(id(2), leaving)]);
    let said = |at: &str| {
        let now = at.parse().unwrap();
        sentence(&key, &record(2), &target, ApplyOutcome::Configured, now)
    };
    assert!(
        said("2026-01-01T12:29:59Z")
            .ends_with("its tasks are warm until 12:30:00 UTC: it is one change of weight")
    );
    assert!(said("2026-01-01T12:30:00Z").ends_with("rolled out by the strategy like any other"));
}

#[test]
fn under_a_hold_it_says_that_nothing_moves_yet() {
    let key = ReleaseKey::new("default", "shop");
    let mut target = target(3, 3, &[]);
    let held: Held = serde_json::from_value(json!({
        "at": "2026-01-01T11:00:00Z", "until": "2026-01-01T12:00:00Z", "by": "ann"
    }))
    .unwrap();
    assert_eq!(
        begins_at_once(&key, &held),
        "default/shop is held by ann until 2026-01-01 12:00:00 UTC, and going back by force begins at once: end the hold first (`frctl hold default/shop --end`)"
    );
    target.held = Some(held);
    let said = |at: &str| {
        let now = at.parse().unwrap();
        sentence(&key, &record(2), &target, ApplyOutcome::Configured, now)
    };
    assert_eq!(
        said("2026-01-01T11:59:00Z"),
        "default/shop asks for revision 2aaaaaaaa2 (number 2, image shop:2); it is held by ann, so that acts when the hold ends, at 2026-01-01 12:00:00 UTC at the latest"
    );
    assert!(said("2026-01-01T12:00:00Z").contains("went back to"));
}

#[test]
fn what_an_undo_has_written_is_known_as_the_revision_that_it_pinned() {
    let record = record(2);
    let mut workload = record.workload.clone();
    assert!(record.runs(&workload));
    workload.image.clone_from(&record.image.pinned);
    assert!(record.runs(&workload));
    workload.args.push("-v".to_owned());
    assert!(!record.runs(&workload));
    workload = record.workload.clone();
    workload.image = "shop:3".to_owned();
    assert!(!record.runs(&workload));
}
