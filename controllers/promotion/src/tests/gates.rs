//! Gates: what a rollout waits for besides tasks, time and evidence, and where there is no way back.

use fm_api::freeze::Freeze;
use fm_api::gates::{BeforeTraffic, GateVerdict, Webhook, When};
use fm_api::operation::Verb;
use fm_api::release::{Approval, Release};
use fm_api::rollout::{Outcome, Stage};
use fm_api::status::{Phase, reasons};
use fm_api::verdict::Decision;
use serde_json::json;

use super::places::{canary, ended};
use super::sim::{Sim, release};

pub(super) fn hook(when: When) -> Webhook {
    let name = when.word().to_lowercase();
    let hook = json!({ "name": name, "when": when, "url": "http://ci.example.com/hook" });
    serde_json::from_value(hook).unwrap()
}

pub(super) fn job(reversible: bool) -> BeforeTraffic {
    let job = json!({ "name": "migrate", "args": ["migrate"], "reversible": reversible });
    serde_json::from_value(job).unwrap()
}

pub(super) fn frozen_now() -> Freeze {
    Freeze {
        from: Some("2026-01-01T00:00".to_owned()),
        to: Some("2026-01-01T12:10".to_owned()),
        time_zone: "UTC".to_owned(),
        message: Some("inventory".to_owned()),
        ..Freeze::default()
    }
}

/// The first revision serves; the second one is asked for, with this in its way.
fn second(change: impl FnOnce(&mut Release)) -> Sim {
    let mut sim = Sim::serving(release("good:1"));
    sim.apply(|release| {
        release.spec.workload.image = "good:2".to_owned();
        release.spec.analysis.disabled = true;
        change(release);
    });
    sim.settle();
    sim
}

fn due(sim: &Sim) -> Vec<&'static str> {
    sim.target()
        .due
        .iter()
        .map(fm_api::gates::Due::word)
        .collect()
}

fn yes(sim: &mut Sim) {
    sim.gates(GateVerdict::Yes);
    sim.settle();
}

#[test]
fn nothing_starts_and_no_share_rises_before_each_gate_says_yes() {
    let all = [
        When::AfterPromotion,
        When::BeforePromotion,
        When::BeforeRollout,
        When::BeforeStep,
        When::ConfirmPromotion,
        When::ConfirmRollout,
        When::ConfirmStep,
    ];
    let mut sim = second(|release| {
        release.spec.webhooks = all.map(hook).to_vec();
        release.spec.before_traffic = vec![job(true)];
    });
    let mut asked = Vec::new();
    for _ in 0..40 {
        if let [word] = due(&sim).as_slice() {
            let stage = sim.target().rollout.as_ref().map(|r| r.stage);
            if stage == Some(Stage::Preparing) {
                assert_eq!(canary(&sim).replicas, 0, "nothing runs yet");
            }
            asked.push((*word, sim.weight()));
            let weight = sim.weight();
            sim.gates(GateVerdict::Open);
            sim.settle();
            assert_eq!((sim.weight(), due(&sim)), (weight, vec![*word]), "it waits");
            yes(&mut sim);
        } else {
            sim.pass(20);
            sim.settle();
        }
    }
    assert_eq!(
        asked,
        [
            ("confirmRollout", 0),
            ("beforeRollout", 0),
            ("beforeTraffic", 0),
            ("confirmStep", 0),
            ("beforeStep", 0),
            ("confirmStep", 1000),
            ("beforeStep", 1000),
            ("confirmPromotion", 5000),
            ("beforePromotion", 5000),
            ("afterPromotion", 0),
        ]
    );
    assert_eq!(sim.status().phase, Phase::Healthy);
}

#[test]
fn who_passes_every_wait_passes_every_yes_that_is_asked_for_and_no_freeze_window() {
    let mut sim = second(|release| {
        let asks = [
            When::ConfirmRollout,
            When::ConfirmStep,
            When::ConfirmPromotion,
        ];
        release.spec.webhooks = asks.map(hook).to_vec();
        release.spec.freeze = vec![frozen_now()];
    });
    sim.ask(Verb::Promote, true);
    sim.settle();
    let message = sim
        .status()
        .last_operation
        .as_ref()
        .unwrap()
        .message
        .clone();
    assert!(message.contains("the freeze window holds on"), "{message}");
    assert_eq!(sim.status().reason, reasons::FROZEN);
    sim.pass(600);
    sim.settle();
    assert_eq!(sim.status().phase, Phase::Healthy, "{}", sim.status().why);
    let last = sim.target().history.last().unwrap().clone();
    assert_eq!(
        (last.number, last.words[0].asked.as_str()),
        (2, "promote --full")
    );
}

#[test]
fn what_is_waited_for_is_told() {
    let mut sim = second(|release| release.spec.webhooks = vec![hook(When::ConfirmStep)]);
    assert_eq!(sim.status().reason, reasons::GATE);
    insta::assert_snapshot!(sim.status().why, @"waits for the webhook confirmstep (confirmStep 1 of 2) to say yes");
    sim.gates(GateVerdict::Open);
    sim.settle();
    insta::assert_snapshot!(sim.status().why, @"waits for the webhook confirmstep (confirmStep 1 of 2), which does not say yes yet (HTTP 403: not yet)");
    sim.ask(Verb::Promote, false);
    sim.settle();
    assert_eq!(sim.weight(), 1000, "a person passes it");
    let sim = second(|release| release.spec.before_traffic = vec![job(true)]);
    insta::assert_snapshot!(sim.status().why, @"waits for the job migrate (beforeTraffic); it is given up at 2026-01-01 12:10:00 UTC");
    let sim = second(|release| release.spec.freeze = vec![frozen_now()]);
    insta::assert_snapshot!(sim.status().why, @"frozen until 2026-01-01 12:10:00 UTC (inventory): no share rises and nothing is promoted");
}

#[test]
fn a_gate_that_fails_ends_the_rollout_and_tells_after_it() {
    let mut sim = second(|release| {
        release.spec.webhooks = vec![hook(When::BeforeStep), hook(When::AfterRollback)];
    });
    sim.gates(GateVerdict::No);
    sim.settle();
    let (outcome, reason) = ended(&sim);
    assert_eq!(
        (outcome, reason.as_str()),
        (Outcome::Failed, reasons::WEBHOOK_FAILED)
    );
    insta::assert_snapshot!(sim.status().why, @"stable serves; revision 2 (good:2) was taken back and is not tried again by itself: the webhook beforestep (beforeStep 1 of 2) failed: HTTP 403: not yet");
    assert_eq!(due(&sim), ["afterRollback"]);
    sim.gates(GateVerdict::No);
    sim.settle();
    assert!(sim.told("WebhookFailed") && due(&sim).is_empty());
    // A retry asks anew.
    sim.ask(Verb::Retry, false);
    sim.settle();
    assert_eq!(due(&sim), ["beforeStep"]);
}

#[test]
fn a_job_runs_once_for_each_revision_and_a_failed_one_again_with_a_retry() {
    let mut sim = second(|release| release.spec.before_traffic = vec![job(true)]);
    sim.gates(GateVerdict::No);
    sim.settle();
    assert_eq!(ended(&sim).1, reasons::BEFORE_TRAFFIC_FAILED);
    sim.ask(Verb::Retry, false);
    sim.settle();
    assert_eq!(due(&sim), ["beforeTraffic"]);
    yes(&mut sim);
    assert_eq!(sim.weight(), 1000);
    sim.ask(Verb::Abort, false);
    sim.settle();
    sim.ask(Verb::Retry, false);
    sim.settle();
    assert_eq!((due(&sim).len(), sim.weight()), (0, 1000), "it has run");
}

#[test]
fn after_a_job_that_is_not_reversible_every_way_back_is_a_pause() {
    let mut sim = second(|release| {
        release.spec.analysis.disabled = false;
        release.spec.before_traffic = vec![job(false)];
    });
    yes(&mut sim);
    assert_eq!(sim.weight(), 1000);
    sim.verdict(Decision::Rollback);
    sim.settle();
    assert_eq!((sim.weight(), sim.status().phase), (1000, Phase::Paused));
    insta::assert_snapshot!(sim.status().why);
    sim.ask(Verb::Abort, false);
    sim.world.operations[0].force = false;
    sim.settle();
    assert!(sim.told("OperationRefused"));
    assert_eq!(sim.weight(), 1000);
    // Stable again is a way back, too; a newer one waits its turn.
    for image in ["good:1", "good:3"] {
        sim.image(image);
        sim.settle();
        assert_eq!(
            (sim.weight(), sim.status().phase),
            (1000, Phase::Paused),
            "{image}"
        );
    }
    sim.ask(Verb::Abort, false);
    sim.settle();
    assert_ne!(
        sim.target().rollout.as_ref().map(|r| r.stage),
        Some(Stage::Holding)
    );
    assert_eq!(ended(&sim).0, Outcome::Aborted);
}

#[test]
fn a_freeze_holds_rises_until_it_ends_or_somebody_overrides_it_and_never_a_way_back() {
    let mut sim = second(|_| {});
    assert_eq!(sim.weight(), 1000);
    sim.world.freezes = vec![frozen_now()];
    sim.pass(10);
    sim.settle();
    assert_eq!(
        (sim.weight(), sim.status().reason.as_str()),
        (1000, reasons::FROZEN)
    );
    let end = "2026-01-01T12:10:00Z".parse().unwrap();
    assert_eq!((sim.next_look, sim.status().until), (Some(end), Some(end)));
    let mut back = sim.clone();
    back.ask(Verb::Abort, false);
    back.settle();
    assert_eq!(back.weight(), 0);
    let mut waited = sim.clone();
    waited.now = end;
    waited.settle();
    assert_eq!(waited.weight(), 5000);
    sim.ask(Verb::Promote, false);
    let asked = sim.world.operations.last_mut().unwrap();
    asked.override_freeze = true;
    asked.why = Some("the fix".to_owned());
    sim.settle();
    assert_eq!(sim.weight(), 5000);
    assert!(sim.told("FreezeOverridden"));
    sim.run(10);
    let kept = sim.target().history.last().unwrap().thawed.clone().unwrap();
    assert_eq!((kept.by.as_str(), kept.why.as_str()), ("bob", "the fix"));
}

#[test]
fn only_who_has_the_role_may_approve() {
    let mut sim = second(|release| {
        let canary = release.spec.strategy.canary.as_mut().unwrap();
        canary.steps[0].approval = Some(Approval::Role("ops".to_owned()));
    });
    sim.world.roles = [("ops".to_owned(), "ann, group oncall".to_owned())].into();
    sim.pass(10);
    sim.settle();
    insta::assert_snapshot!(sim.status().why, @"stays at 10 % until somebody with the role ops promotes it, then step 2 of 2");
    for full in [false, true] {
        sim.ask(Verb::Promote, full);
        sim.settle();
        assert_eq!(sim.weight(), 1000);
    }
    let answer = sim.status().last_operation.clone().unwrap();
    assert!(!answer.accepted);
    insta::assert_snapshot!(answer.message, @"it needs the role ops, which ann, group oncall may, and bob does not have");
    sim.ask(Verb::Promote, false);
    sim.world.operations[0].roles = vec!["ops".to_owned()];
    sim.settle();
    assert_eq!(sim.weight(), 5000);
}

#[test]
fn a_warm_way_back_asks_nobody() {
    let mut sim = Sim::serving(release("good:1"));
    sim.apply(|release| {
        release.spec.analysis.disabled = true;
        let canary = release.spec.strategy.canary.as_mut().unwrap();
        canary.keep_previous = fm_api::quantity::Span::secs(600);
    });
    sim.image("good:2");
    sim.run(2);
    assert_eq!(sim.status().phase, Phase::Healthy);
    let second = sim.target().stable.clone();
    sim.world.freezes = vec![frozen_now()];
    sim.apply(|release| release.spec.webhooks = vec![hook(When::ConfirmRollout)]);
    sim.image("good:1");
    sim.settle();
    assert_ne!(sim.target().stable, second);
    assert_eq!(sim.status().phase, Phase::Healthy);
}

#[test]
fn the_first_revision_passes_gates_too_and_is_not_given_up() {
    let mut first = release("good:1");
    first.spec.before_traffic = vec![job(true)];
    let mut sim = Sim::new(first);
    sim.settle();
    assert_eq!(due(&sim), ["beforeTraffic"]);
    sim.gates(GateVerdict::No);
    sim.settle();
    assert_eq!(sim.status().reason, reasons::BEFORE_TRAFFIC_FAILED);
    sim.ask(Verb::Retry, false);
    sim.settle();
    yes(&mut sim);
    assert_eq!(sim.status().phase, Phase::Healthy);
}

#[test]
fn nothing_older_than_a_job_that_is_not_reversible_begins_without_a_word() {
    let mut sim = Sim::serving(release("good:1"));
    let go = |sim: &mut Sim, image: &str, irreversible: bool| {
        sim.apply(|release| {
            release.spec.workload.image = image.to_owned();
            release.spec.analysis.disabled = true;
            let canary = release.spec.strategy.canary.as_mut().unwrap();
            canary.keep_previous = fm_api::quantity::Span::secs(600);
            let job = irreversible.then(|| job(false));
            release.spec.before_traffic = job.into_iter().collect();
        });
        sim.settle();
        for _ in 0..4 {
            yes(sim);
            sim.pass(30);
            sim.settle();
        }
    };
    let serves = |sim: &Sim, image: &str| {
        let stable = sim.target().stable.clone().unwrap();
        sim.world.records[&stable].workload.image == image && sim.target().rollout.is_none()
    };
    sim.pass(10);
    go(&mut sim, "good:2", false);
    assert!(serves(&sim, "good:2"), "{:?}", sim.status());
    sim.pass(10);
    // The first one once more, with a job: what was made later than it is older than what the job has done.
    go(&mut sim, "good:1", true);
    assert!(
        serves(&sim, "good:1"),
        "a warm one asks nobody, {:?}",
        sim.status()
    );
    sim.pass(1000);
    sim.settle();
    go(&mut sim, "good:2", false);
    assert!(serves(&sim, "good:2"));
    go(&mut sim, "good:3", true);
    assert!(serves(&sim, "good:3"), "{:?}", sim.status());
    // Its tasks are warm, and yet it does not begin.
    go(&mut sim, "good:2", false);
    assert_eq!(
        (sim.status().phase, sim.status().reason.as_str()),
        (Phase::Degraded, reasons::IRREVERSIBLE)
    );
    assert!(serves(&sim, "good:3") && sim.status().waits_for_person);
    insta::assert_snapshot!(sim.status().why, @"stable serves; revision 2 (good:2) is older than what the job migrate has done for good, and does not begin by itself");
    let mut newer = sim.clone();
    go(&mut newer, "good:4", false);
    assert!(serves(&newer, "good:4"));
    sim.ask(Verb::Retry, false);
    sim.settle();
    insta::assert_snapshot!(sim.status().last_operation.clone().unwrap().message, @"revision 2 (good:2) may begin, although it is older than what the job migrate has done for good");
    sim.run(10);
    assert!(serves(&sim, "good:2"), "{:?}", sim.status());
    // And forward again it is not older.
    go(&mut sim, "good:3", true);
    assert!(serves(&sim, "good:3"), "{:?}", sim.status());
    go(&mut sim, "good:2", false);
    assert_eq!(sim.status().reason, reasons::IRREVERSIBLE, "asked again");
}

#[test]
fn a_freeze_is_overridden_by_who_has_its_role() {
    let mut sim = second(|_| {});
    let mut all = frozen_now();
    all.overriding = Some(fm_api::freeze::Overriding {
        role: "ops".to_owned(),
    });
    sim.world.freezes = vec![frozen_now(), all];
    sim.world.roles = [("ops".to_owned(), "ann".to_owned())].into();
    sim.pass(10);
    sim.settle();
    insta::assert_snapshot!(sim.status().why, @"frozen until 2026-01-01 12:10:00 UTC (inventory): no share rises and nothing is promoted; who has the role ops may override it");
    let thaw = |sim: &mut Sim, roles: &[&str]| {
        sim.ask(Verb::Promote, false);
        let asked = sim.world.operations.last_mut().unwrap();
        asked.override_freeze = true;
        asked.why = Some("the fix".to_owned());
        asked.roles = roles.iter().map(|role| (*role).to_owned()).collect();
        sim.settle();
    };
    thaw(&mut sim, &["dba"]);
    assert!(!sim.status().last_operation.as_ref().unwrap().accepted);
    assert_eq!(sim.weight(), 1000);
    // One that holds later and asks for another role is not overridden by the way.
    let mut early = sim.clone();
    early.world.freezes.remove(1);
    thaw(&mut early, &[]);
    assert_eq!(early.weight(), 5000);
    early.world.freezes = sim.world.freezes.clone();
    early.pass(20);
    early.verdict(Decision::Promote);
    early.settle();
    assert_eq!(
        (early.weight(), early.status().reason.as_str()),
        (5000, reasons::FROZEN)
    );
    thaw(&mut sim, &["ops"]);
    assert_eq!(sim.weight(), 5000, "{:?}", sim.status());
}

#[test]
fn a_job_that_is_not_reversible_is_not_stopped_in_the_middle_by_a_newer_image() {
    for first in [false, true] {
        let asks = |release: &mut Release| {
            release.spec.before_traffic = vec![job(false)];
            release.spec.analysis.disabled = true;
        };
        let mut sim = if first {
            let mut release = release("good:2");
            asks(&mut release);
            Sim::new(release)
        } else {
            second(asks)
        };
        sim.settle();
        assert_eq!(due(&sim), ["beforeTraffic"]);
        let runs = sim.rollout().revision.clone();
        sim.image("good:3");
        sim.settle();
        assert_eq!(sim.rollout().revision, runs, "{:?}", sim.status());
        assert_eq!(due(&sim), ["beforeTraffic"]);
        if !first {
            sim.ask(Verb::Abort, false);
            sim.world.operations.last_mut().unwrap().force = false;
            sim.promote();
            let answer = sim.status().last_operation.clone().unwrap();
            assert!(
                !answer.accepted && answer.message.contains("migrate"),
                "{answer:?}"
            );
        }
        // It failed: then nothing was done for good, and the newer one takes its place.
        sim.gates(GateVerdict::No);
        sim.settle();
        assert_ne!(sim.rollout().revision, runs, "{:?}", sim.status());
    }
}
