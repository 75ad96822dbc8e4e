use fm_api::quantity::Weight;
use fm_api::strategy::Step;
use fm_api::validate;
use serde_json::json;

use super::*;

fn release(image: &str) -> Release {
    validate::json(&json!({
        "apiVersion": "fridaymorning.dev/v1",
        "kind": "Release",
        "metadata": { "name": "shop" },
        "spec": {
            "workload": { "image": image },
            "routes": [{ "hosts": ["shop.example.com"], "port": 8080 }],
            "strategy": { "canary": { "steps": [{ "weight": 10, "hold": "10s" }] } },
        },
    }))
    .unwrap()
}

fn wish(release: Release) -> Wish {
    Wish {
        release,
        who: "ann".to_owned(),
        roles: Vec::new(),
        pull: false,
        dry_run: false,
        force: false,
        if_generation: None,
        adopted: None,
        word: None,
        why: None,
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn stored(release: &Release) -> Stored {
    Stored::read(&fm_store::Entry {
        key: release.key().release(),
        value: serde_json::to_vec(release).unwrap(),
        revision: 7,
    })
}

fn created() -> Release {
    decide(None, &wish(release("shop:1")), "uid-1", at(100))
        .unwrap()
        .release
}

#[test]
fn a_new_release_gets_its_uid_and_its_first_generation() {
    let decision = decide(None, &wish(release("shop:1")), "uid-1", at(100)).unwrap();
    assert_eq!(decision.outcome, ApplyOutcome::Created);
    let metadata = decision.release.metadata;
    assert_eq!(metadata.uid.as_deref(), Some("uid-1"));
    assert_eq!(
        (metadata.generation, metadata.created_at),
        (Some(1), Some(at(100)))
    );
    assert_eq!(metadata.changed_by.as_deref(), Some("ann"));
}

#[test]
fn the_same_spec_changes_nothing() {
    let before = created();
    let mut again = wish(release("shop:1"));
    again.who = "bob".to_owned();
    let decision = decide(Some(&stored(&before)), &again, "uid-2", at(200)).unwrap();
    assert_eq!(decision.outcome, ApplyOutcome::Unchanged);
    assert_eq!(decision.release, before);
}

#[test]
fn another_spec_is_another_generation_of_the_same_object() {
    let mut other = wish(release("shop:2"));
    other.who = "bob".to_owned();
    let decision = decide(Some(&stored(&created())), &other, "uid-2", at(200)).unwrap();
    assert_eq!(decision.outcome, ApplyOutcome::Configured);
    let metadata = decision.release.metadata;
    assert_eq!(metadata.uid.as_deref(), Some("uid-1"));
    assert_eq!(
        (metadata.generation, metadata.created_at),
        (Some(2), Some(at(100)))
    );
    assert_eq!(metadata.changed_by.as_deref(), Some("bob"));
}

#[test]
fn why_a_spec_was_changed_stays_until_it_is_changed_again() {
    let mut first = wish(release("shop:1"));
    first.why = kept("the new \u{7}checkout\nis done ");
    let first = decide(None, &first, "uid-1", at(100)).unwrap().release;
    let why = |release: &Release| release.metadata.changed_why.clone();
    assert_eq!(why(&first).as_deref(), Some("the new  checkout\nis done"));
    assert!(validate::release(&first).is_empty());
    let same = wish(release("shop:1"));
    let same = decide(Some(&stored(&first)), &same, "uid-2", at(200)).unwrap();
    assert_eq!(why(&same.release), why(&first));
    let next = wish(release("shop:2"));
    let next = decide(Some(&stored(&first)), &next, "uid-2", at(200)).unwrap();
    assert_eq!(why(&next.release), None);
    assert_eq!(kept(" \n"), None);
}

#[test]
fn labels_are_no_new_generation() {
    let mut labelled = wish(release("shop:1"));
    labelled.who = "bob".to_owned();
    labelled
        .release
        .metadata
        .labels
        .insert("team".to_owned(), "a".to_owned());
    let decision = decide(Some(&stored(&created())), &labelled, "uid-2", at(200)).unwrap();
    assert_eq!(decision.outcome, ApplyOutcome::Configured);
    assert_eq!(decision.release.metadata.generation, Some(1));
    assert_eq!(decision.release.metadata.changed_by.as_deref(), Some("ann"));
    assert!(!decision.spec_changed);
}

#[test]
fn a_generation_that_is_not_the_stored_one_is_refused() {
    let mut asked = wish(release("shop:2"));
    asked.if_generation = Some(2);
    assert!(decide(Some(&stored(&created())), &asked, "uid", at(1)).is_err());
    asked.if_generation = Some(1);
    assert!(decide(Some(&stored(&created())), &asked, "uid", at(1)).is_ok());
    assert!(decide(None, &asked, "uid", at(1)).is_err());
}

#[test]
fn a_branch_never_takes_anothers_release() {
    let of = |branch: &str| {
        let mut release = release("shop:1");
        let annotations = &mut release.metadata.annotations;
        annotations.insert(fm_api::branch::ANNOTATION.to_owned(), branch.to_owned());
        release
    };
    let stored = stored(&of("fix/7"));
    assert!(decide(Some(&stored), &wish(of("fix/7")), "uid-1", at(200)).is_ok());
    let error = decide(Some(&stored), &wish(of("fix-7")), "uid-1", at(200)).unwrap_err();
    let text = format!("{error:?}");
    assert!(text.contains("belongs to the branch `fix/7`"), "{text}");
}

#[test]
fn what_is_being_deleted_is_not_changed() {
    let mut before = created();
    before.metadata.deleted_at = Some(at(150));
    assert!(
        decide(
            Some(&stored(&before)),
            &wish(release("shop:2")),
            "uid",
            at(200)
        )
        .is_err()
    );
}

#[test]
fn what_cannot_be_read_is_replaced_by_a_later_generation() {
    let broken = Stored::read(&fm_store::Entry {
        key: release("x").key().release(),
        value: br#"{"metadata":{"name":"shop","uid":"uid-9","generation":4},"spec":7}"#.to_vec(),
        revision: 3,
    });
    let decision = decide(Some(&broken), &wish(release("shop:1")), "uid-1", at(200)).unwrap();
    assert_eq!(decision.outcome, ApplyOutcome::Configured);
    assert_eq!(decision.release.metadata.uid.as_deref(), Some("uid-9"));
    assert_eq!(decision.release.metadata.generation, Some(5));
}

#[test]
fn a_release_put_into_the_store_by_hand_gets_what_it_lacks() {
    let by_hand = stored(&release("shop:1"));
    let decision = decide(Some(&by_hand), &wish(release("shop:1")), "uid-1", at(200)).unwrap();
    assert_eq!(decision.outcome, ApplyOutcome::Configured);
    assert_eq!(decision.release.metadata.uid.as_deref(), Some("uid-1"));
    assert_eq!(decision.release.metadata.generation, Some(1));
}

#[test]
fn what_changed_is_named() {
    let before = release("shop:1").spec;
    let mut after = before.clone();
    after.replicas = 5;
    after.drift = fm_api::release::Drift::Report;
    assert_eq!(differences(&before, &after), "drift, replicas");
}

#[test]
fn an_image_without_a_version_is_warned_of() {
    let spec = |image: &str| warnings(None, &release(image).spec).len();
    assert_eq!(
        [spec("shop"), spec("shop:latest"), spec("r:5000/shop")],
        [1, 1, 1]
    );
    assert_eq!([spec("shop:1.4"), spec("r:5000/shop:2")], [0, 0]);
}

#[test]
fn a_canary_that_is_compared_with_nobody_is_warned_of() {
    let steps = |weights: &[u16]| {
        let mut spec = release("shop:1").spec;
        let canary = spec.strategy.canary.as_mut().unwrap();
        let first = canary.steps[0].clone();
        let step = |weight: &u16| Step {
            weight: Weight::from_basis_points(*weight),
            ..first.clone()
        };
        canary.steps = weights.iter().map(step).collect();
        warnings(None, &spec).len()
    };
    assert_eq!([steps(&[10_000]), steps(&[5_000, 10_000])], [1, 0]);
    // A step that mirrors has no share.
    assert_eq!([steps(&[0, 10_000]), steps(&[0, 100])], [1, 0]);
}

#[test]
fn a_freeze_window_of_all_releases_is_told_before_a_rollout_waits_for_it() {
    let window: Freeze = serde_json::from_value(json!({
        "from": "2026-12-24 00:00", "to": "2026-12-27 00:00", "message": "nobody is there"
    }))
    .unwrap();
    let (old, new) = (release("shop:1").spec, release("shop:2").spec);
    let said = |before: Option<&ReleaseSpec>, after: &ReleaseSpec, at: &str| {
        frozen(
            before,
            after,
            std::slice::from_ref(&window),
            at.parse().unwrap(),
        )
    };
    let (within, after) = ("2026-12-25T00:00:00Z", "2026-12-27T00:00:00Z");
    assert_eq!(
        said(Some(&old), &new, within).unwrap(),
        "frozen until 2026-12-27 00:00:00 UTC: nobody is there; nothing begins before then"
    );
    assert!(said(None, &old, within).is_some());
    assert!(said(Some(&old), &old, within).is_none());
    assert!(said(Some(&old), &new, after).is_none());
    let mut own = new.clone();
    own.freeze = vec![window.clone()];
    assert!(frozen(Some(&old), &own, &[], within.parse().unwrap()).is_some());
}
