//! What waits to begin, what is in the way of what runs, and what is remembered at rest.

use fm_api::gates::{GateVerdict, When};
use fm_api::keys::{ReleaseKey, RevisionId};
use fm_api::operation::Verb;
use fm_api::quantity::{Span, Weight};
use fm_api::release::{Approval, OnNewRevision};
use fm_api::rollout::{Outcome, Stage};
use fm_api::status::{Phase, reasons};
use fm_api::strategy::Step;
use fm_api::target::Target;
use fm_api::verdict::Decision;

use super::experiments::experiment;
use super::gates::{frozen_now, hook, job};
use super::places::{at_first_step, at_last_step, broken_stable, ended};
use super::sim::{Sim, release};
use super::stopped::smoke;
use crate::plan::Other;

fn asked(sim: &mut Sim, verb: Verb, full: bool) -> (bool, String) {
    sim.ask(verb, full);
    sim.promote();
    let answer = sim.status().last_operation.clone().unwrap();
    (answer.accepted, answer.message)
}

/// The image of the second revision is being resolved.
pub(super) fn resolving() -> Sim {
    let mut sim = Sim::serving(release("good:1"));
    sim.image("good:2");
    sim.promote();
    assert_eq!(sim.status().reason, reasons::RESOLVING);
    sim
}

#[test]
fn an_image_that_is_being_resolved_does_not_begin_after_an_abort() {
    let mut sim = resolving();
    let answer = asked(&mut sim, Verb::Abort, false);
    assert_eq!(answer, (true, "the image good:2 is not begun".to_owned()));
    insta::assert_snapshot!(sim.status().why, @"stable serves; the image good:2 is not begun: aborted by bob; retry begins it");
    assert_eq!(sim.status().phase, Phase::Degraded);
    let (accepted, message) = asked(&mut sim, Verb::Abort, false);
    assert!(!accepted, "{message}");
    // Whatever else of the manifest changes meanwhile.
    sim.apply(|release| release.spec.replicas = 5);
    sim.settle();
    assert!(sim.target().rollout.is_none() && sim.target().resolve.is_none());
    insta::assert_snapshot!(sim.status().why, @"stable serves; revision 2 (good:2) is not begun: aborted by bob; retry begins it");
    let mut other = sim.clone();
    let (accepted, message) = asked(&mut sim, Verb::Retry, false);
    assert!(accepted, "{message}");
    sim.settle();
    assert_eq!(sim.weight(), 1000, "{}", sim.status().why);
    other.image("good:3");
    other.settle();
    assert_eq!(other.weight(), 1000, "another image begins");
}

#[test]
fn a_registry_that_is_away_is_no_reason_to_refuse_an_abort() {
    let mut sim = Sim::serving(release("good:1"));
    sim.image("lost:1");
    sim.settle();
    let (accepted, message) = asked(&mut sim, Verb::Abort, false);
    assert!(accepted, "{message}");
    assert_eq!(sim.status().reason, reasons::ABORTED);
    let (accepted, message) = asked(&mut sim, Verb::Retry, false);
    assert!(accepted, "{message}");
    assert_eq!(sim.status().reason, reasons::IMAGE_UNRESOLVED);
    // The first revision has nothing to go back to.
    let mut first = Sim::new(release("lost:1"));
    first.settle();
    assert!(!asked(&mut first, Verb::Abort, false).0);
}

#[test]
fn what_begins_after_an_abort_is_named_and_a_second_one_keeps_it_from_that() {
    let mut sim = at_first_step();
    sim.apply(|release| {
        release.spec.on_new_revision = OnNewRevision::Queue;
        release.spec.workload.image = "good:3".to_owned();
    });
    sim.settle();
    let mut once = sim.clone();
    let (_, message) = asked(&mut once, Verb::Abort, false);
    insta::assert_snapshot!(message, @"stable takes everything back; then revision 3 (good:3) begins, which the manifest asks for (abort again, and it does not)");
    once.settle();
    assert_eq!(once.rollout().stage, Stage::Holding);
    sim.ask(Verb::Abort, false);
    let (_, message) = asked(&mut sim, Verb::Abort, false);
    insta::assert_snapshot!(message, @"it is being taken back already, and revision 3 (good:3) is not begun");
    sim.settle();
    assert_eq!(ended(&sim).0, Outcome::Aborted);
    assert!(sim.target().rollout.is_none(), "{}", sim.status().why);
}

#[test]
fn back_to_what_is_warm_waits_for_no_experiment() {
    let mut first = release("good:1");
    first.spec.strategy.canary.as_mut().unwrap().keep_previous = Span::secs(600);
    let mut sim = Sim::serving(first);
    let old = sim.target().stable.clone().unwrap();
    sim.image("good:2");
    sim.settle();
    sim.ask(Verb::Promote, true);
    sim.settle();
    sim.apply(|release| release.spec.experiment = Some(experiment("good:3")));
    sim.settle();
    assert_eq!(sim.status().reason, reasons::EXPERIMENT);
    sim.image("good:1");
    sim.promote();
    sim.swarm(u32::MAX);
    sim.promote();
    assert_eq!(sim.target().stable.as_ref(), Some(&old), "in the same look");
    assert!(sim.target().experimenting().is_none());
    sim.settle();
    assert_eq!(sim.status().phase, Phase::Healthy);
}

#[test]
fn what_is_in_the_way_is_what_promote_answers() {
    let mut book = String::new();
    let second = |change: &dyn Fn(&mut fm_api::release::Release)| {
        let mut sim = Sim::serving(release("good:1"));
        sim.apply(|release| {
            release.spec.workload.image = "good:2".to_owned();
            change(release);
        });
        sim.settle();
        sim
    };
    let mut say = |when: &str, mut sim: Sim| {
        let (accepted, message) = asked(&mut sim, Verb::Promote, false);
        assert!(!accepted, "{when}: {message}");
        book.push_str(&format!("{when}: {message}\n"));
    };
    say(
        "freeze before the first task",
        second(&|release| release.spec.freeze = vec![frozen_now()]),
    );
    let mut frozen = at_first_step();
    frozen.world.freezes = vec![frozen_now()];
    frozen.pass(10);
    frozen.settle();
    say("freeze", frozen);
    say(
        "webhook",
        second(&|release| release.spec.webhooks = vec![hook(When::BeforeStep)]),
    );
    say(
        "job",
        second(&|release| release.spec.before_traffic = vec![smoke()]),
    );
    say(
        "migration",
        second(&|r| r.spec.before_traffic = vec![job(true)]),
    );
    let mut gone = at_first_step();
    gone.world.live.insert("edge-2".to_owned());
    gone.settle();
    gone.world.live.remove("edge-2");
    gone.pass(10);
    gone.settle();
    say("an agent is gone", gone);
    say(
        "tasks",
        second(&|r| r.spec.workload.image = "stuck:2".to_owned()),
    );
    insta::assert_snapshot!(book);
}

#[test]
fn a_way_back_is_told_in_spite_of_a_hold_and_a_hold_tells_of_a_candidate_that_harms() {
    let mut sim = broken_stable();
    let why = sim.status().why.clone();
    sim.ask(Verb::Hold, false);
    sim.settle();
    assert_eq!(
        (&sim.status().why, sim.status().phase),
        (&why, Phase::RollingBack)
    );
    sim.dead.clear();
    sim.settle();
    assert_eq!(sim.status().reason, reasons::HELD);

    let mut first = release("good:1");
    first.spec.experiment = Some(experiment("good:2"));
    let mut sim = Sim::serving(first);
    sim.ask(Verb::Hold, false);
    sim.settle();
    assert!(!sim.status().why.contains("harm"), "{}", sim.status().why);
    sim.trial("next", Decision::Rollback);
    sim.settle();
    let why = &sim.status().why;
    assert!(why.contains("harm is shown: next: the canary"), "{why}");
}

#[test]
fn one_place_is_given_up_at_a_time_first_that_of_one_that_failed() {
    let mut first = release("good:1");
    first.spec.strategy.canary.as_mut().unwrap().keep_previous = Span::secs(600);
    first.spec.keep_failed = Span::secs(600);
    let mut sim = Sim::serving(first);
    let old = sim.target().stable.clone().unwrap();
    sim.image("good:2");
    sim.settle();
    sim.ask(Verb::Promote, true);
    sim.settle();
    sim.pass(1);
    sim.image("good:3");
    sim.settle();
    sim.ask(Verb::Abort, false);
    sim.settle();
    let failed = sim.target().wanted.clone().unwrap();
    assert_eq!(sim.target().revisions.len(), 3);
    sim.image("good:4");
    sim.settle();
    let target = sim.target();
    assert_eq!(sim.weight(), 1000, "{}", sim.status().why);
    assert!(!target.revisions.contains_key(&failed));
    assert!(
        target
            .leaving
            .get(&old)
            .is_some_and(|l| l.warm_until > Some(sim.now)),
        "the way back is kept: {:?}",
        target.leaving
    );
}

fn steps(sim: &mut Sim, weights: &[u16]) {
    sim.apply(|release| {
        let canary = release.spec.strategy.canary.as_mut().unwrap();
        let step = Step {
            approval: Some(Approval::Manual),
            ..canary.steps[0].clone()
        };
        let of = |weight: &u16| Step {
            weight: Weight::percent(*weight),
            ..step.clone()
        };
        canary.steps = weights.iter().map(of).collect();
    });
    sim.settle();
}

#[test]
fn changed_steps_never_lift_the_share_beyond_a_hold() {
    for (sim, weights, step, share) in [
        (at_last_step as fn() -> Sim, &[1, 100][..], 0, 100),
        (at_last_step, &[1, 5, 50, 80], 2, 5000),
        (at_last_step, &[10, 60], 0, 1000),
        (at_last_step, &[60, 80], 0, 6000),
        (at_first_step, &[1, 5, 10, 50], 2, 1000),
        (at_first_step, &[10, 50, 80], 0, 1000),
    ] {
        let mut sim = sim();
        steps(&mut sim, weights);
        let rollout = sim.rollout();
        assert_eq!((rollout.step, sim.weight()), (step, share), "{weights:?}");
    }
    // What was passed was another step's.
    let mut sim = at_first_step();
    steps(&mut sim, &[10, 50]);
    sim.ask(Verb::Promote, false);
    sim.settle();
    assert!(!sim.rollout().passed.is_empty());
    steps(&mut sim, &[5, 10, 50]);
    assert!(sim.rollout().passed.is_empty());
    assert_eq!((sim.rollout().step, sim.weight()), (1, 1000));
}

#[test]
fn steps_that_mirror_come_first_also_where_they_are_written_later() {
    let mut sim = at_first_step();
    sim.apply(|release| {
        let canary = release.spec.strategy.canary.as_mut().unwrap();
        let mirror = Step {
            weight: Weight::ZERO,
            mirror: Weight::percent(20),
            ..canary.steps[0].clone()
        };
        canary.steps.insert(0, mirror);
    });
    sim.settle();
    assert_eq!((sim.rollout().step, sim.weight()), (1, 1000));
}

#[test]
fn what_is_said_at_rest_is_kept_with_the_last_rollout() {
    let mut sim = Sim::serving(release("good:1"));
    for verb in [Verb::Restart, Verb::Hold, Verb::EndHold] {
        sim.ask(verb, false);
        sim.settle();
    }
    for _ in 0..40 {
        sim.ask(Verb::Restart, false);
        sim.settle();
    }
    let last = sim.target().history.last().unwrap();
    assert!(last.words.is_empty());
    assert_eq!(last.afterwards.len(), 32);
    let mut sim = resolving();
    asked(&mut sim, Verb::Abort, false);
    let last = sim.target().history.last().unwrap().clone();
    let words: Vec<&str> = last.afterwards.iter().map(|w| w.asked.as_str()).collect();
    assert_eq!(words, ["abort --force"]);
}

#[test]
fn what_was_forgotten_is_no_newer_than_a_job_that_is_not_reversible() {
    let mut first = release("good:1");
    first.spec.history_limit = 2;
    first.spec.analysis.disabled = true;
    let mut sim = Sim::serving(first);
    let old = sim.target().stable.clone().unwrap();
    let created = sim.world.records[&old].created_at;
    for (image, jobs) in [
        ("good:2", true),
        ("good:3", false),
        ("good:4", false),
        ("good:5", false),
    ] {
        sim.pass(10);
        sim.apply(|release| {
            release.spec.workload.image = image.to_owned();
            release.spec.before_traffic = jobs.then(|| job(false)).into_iter().collect();
        });
        sim.settle();
        sim.gates(GateVerdict::Yes);
        sim.settle();
        sim.ask(Verb::Promote, true);
        sim.settle();
        assert_eq!(
            sim.status().phase,
            Phase::Healthy,
            "{image}: {}",
            sim.status().why
        );
    }
    assert!(!sim.world.records.contains_key(&old), "it is forgotten");
    sim.image("good:1");
    sim.settle();
    assert_eq!(sim.world.records[&old].created_at, created);
    assert_eq!(
        sim.status().reason,
        reasons::IRREVERSIBLE,
        "{}",
        sim.status().why
    );
}

#[test]
fn what_holds_up_another_release_is_told_by_its_true_cause() {
    let (old, new) = (RevisionId::new("aaaaaaaaaa"), RevisionId::new("bbbbbbbbbb"));
    let target = Target {
        spec_generation: 2,
        stable: Some(old),
        wanted: Some(new.clone()),
        ..Target::default()
    };
    let other = Other {
        key: ReleaseKey::new("default", "api"),
        generation: Some(3),
        invalid: false,
        target: Some(target.clone()),
    };
    let mut held = Sim::serving(release("good:1"));
    held.ask(Verb::Hold, false);
    held.promote();
    let hold = held.target().held.clone();
    let over = Target {
        expired: [(new, held.now)].into(),
        ..target.clone()
    };
    let cases = [
        (other.clone(), "whose change was not looked at yet"),
        (
            Other {
                invalid: true,
                ..other.clone()
            },
            "whose stored spec cannot be used",
        ),
        (
            Other {
                generation: None,
                invalid: true,
                ..other.clone()
            },
            "whose stored spec cannot be used",
        ),
        (
            Other {
                target: Some(Target {
                    held: hold,
                    ..target
                }),
                ..other.clone()
            },
            "whose change waits, for bob holds it",
        ),
        (
            Other {
                generation: Some(2),
                target: Some(over),
                ..other
            },
            "whose preview is over (retry brings it back)",
        ),
    ];
    for (other, told) in cases {
        let mut sim = Sim::serving(release("good:1"));
        sim.world.upstreams = vec![other];
        sim.image("good:2");
        sim.settle();
        assert_eq!(sim.status().reason, reasons::DEPENDS);
        assert!(sim.status().why.contains(told), "{}", sim.status().why);
        let answer = asked(&mut sim, Verb::Abort, false);
        assert!(answer.0, "{}", answer.1);
    }
}
