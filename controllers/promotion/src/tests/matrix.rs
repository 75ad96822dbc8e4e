//! Every operation in every phase: each is answered, with a sentence, and the same id again changes nothing.

use std::fmt::Write as _;

use fm_api::gates::GateVerdict;
use fm_api::keys::ReleaseKey;
use fm_api::operation::Verb;
use fm_api::status::Phase;
use fm_api::verdict::Decision;

use super::experiments::experiment;
use super::gates::{frozen_now, job};
use super::places::{at_first_step, at_last_step, broken_stable};
use super::previews::preview;
use super::sim::{Sim, release};
use super::stopped::{answered, by_a_job, by_a_webhook, by_harm, in_spite_of_harm};
use super::waiting::resolving;
use crate::plan::Other;

/// `abort` alone is not forced.
const OPERATIONS: [(&str, Verb, bool); 11] = [
    ("promote", Verb::Promote, false),
    ("promote --full", Verb::Promote, true),
    ("abort", Verb::Abort, false),
    ("abort --force", Verb::Abort, true),
    ("retry", Verb::Retry, false),
    ("undo", Verb::Undo, false),
    ("pause", Verb::Pause, false),
    ("resume", Verb::Resume, false),
    ("restart", Verb::Restart, false),
    ("hold", Verb::Hold, false),
    ("hold --end", Verb::EndHold, false),
];

/// A release in each phase.
fn phases() -> Vec<(&'static str, Phase, Sim)> {
    let mut pending = Sim::new(release("good:1"));
    for _ in 0..3 {
        pending.promote();
        pending.swarm(0);
    }
    let mut paused = at_first_step();
    paused.ask(Verb::Pause, false);
    paused.settle();
    let mut back = at_first_step();
    back.ask(Verb::Abort, false);
    back.promote();
    let mut degraded = at_first_step();
    degraded.ask(Verb::Abort, false);
    degraded.settle();
    let mut deleting = at_first_step();
    deleting.apply(|release| {
        release.metadata.deleted_at = Some("2026-01-01T12:00:00Z".parse().unwrap())
    });
    deleting.promote();
    let mut invalid = at_first_step();
    invalid.spoil();
    invalid.settle();
    let mut over = Sim::new(preview("good:1"));
    over.settle();
    over.pass(61);
    over.settle();
    vec![
        ("its first tasks start", Phase::Pending, pending),
        (
            "a canary at its first step",
            Phase::Progressing,
            at_first_step(),
        ),
        ("paused by a person", Phase::Paused, paused),
        ("taken back", Phase::RollingBack, back),
        ("at rest", Phase::Healthy, Sim::serving(release("good:1"))),
        ("was taken back", Phase::Degraded, degraded),
        ("deleted", Phase::Deleting, deleting),
        ("not to be used", Phase::Invalid, invalid),
        ("a preview that is over", Phase::Over, over),
    ]
}

/// A release in each wait in which other words are answered.
fn waits() -> Vec<(&'static str, Phase, Sim)> {
    let mut frozen = at_first_step();
    frozen.world.freezes = vec![frozen_now()];
    frozen.pass(10);
    frozen.settle();
    let mut inconclusive = at_last_step();
    inconclusive.pass(20);
    inconclusive.verdict(Decision::Inconclusive);
    inconclusive.settle();
    let mut held = at_first_step();
    held.ask(Verb::Hold, false);
    held.settle();
    let mut first = release("good:1");
    first.spec.experiment = Some(experiment("good:2"));
    let experiment = Sim::serving(first);
    let mut queued = experiment.clone();
    queued.image("good:3");
    queued.settle();
    let other = Other {
        key: ReleaseKey::new("default", "api"),
        generation: None,
        invalid: false,
        target: None,
    };
    let mut depends = Sim::serving(release("good:1"));
    depends.world.upstreams = vec![other.clone()];
    depends.image("good:2");
    depends.settle();
    let mut group = at_last_step();
    group.world.fellows = vec![other];
    group.pass(20);
    group.verdict(Decision::Promote);
    group.settle();
    let mut aborted = resolving();
    aborted.ask(Verb::Abort, false);
    aborted.promote();
    let mut older = Sim::serving(release("good:1"));
    older.pass(1);
    older.apply(|release| {
        release.spec.workload.image = "good:2".to_owned();
        release.spec.before_traffic = vec![job(false)];
    });
    older.settle();
    answered(&mut older, &[]);
    older.ask(Verb::Promote, true);
    older.settle();
    older.image("good:1");
    older.settle();
    let mut gate = Sim::new(release("good:1"));
    gate.apply(|release| release.spec.before_traffic = vec![job(true)]);
    gate.settle();
    answered(&mut gate, &[("migrate", GateVerdict::No)]);
    vec![
        ("stopped by harm", Phase::Paused, by_harm()),
        ("stopped by a job", Phase::Paused, by_a_job()),
        ("stopped by a webhook", Phase::Paused, by_a_webhook()),
        ("in spite of harm", Phase::Paused, in_spite_of_harm()),
        ("in a freeze", Phase::Progressing, frozen),
        ("without a conclusion", Phase::Paused, inconclusive),
        ("held", Phase::Paused, held),
        ("stable is broken", Phase::RollingBack, broken_stable()),
        ("an experiment runs", Phase::Healthy, experiment),
        (
            "an image waits for an experiment",
            Phase::Progressing,
            queued,
        ),
        ("waits for its group", Phase::Progressing, group),
        ("waits for another release", Phase::Progressing, depends),
        (
            "an image is being resolved",
            Phase::Progressing,
            resolving(),
        ),
        ("an image is kept from beginning", Phase::Degraded, aborted),
        ("older than a migration", Phase::Degraded, older),
        ("the first one is stopped by a job", Phase::Degraded, gate),
    ]
}

fn places() -> Vec<(&'static str, Phase, Sim)> {
    let mut all = phases();
    all.append(&mut waits());
    all
}

#[test]
fn every_operation_is_answered_in_every_phase_and_the_same_id_is_one_operation() {
    let mut table = String::new();
    for (name, phase, place) in places() {
        let status = place.status();
        assert_eq!(status.phase, phase, "{name}: {}", status.why);
        writeln!(table, "{name} ({phase:?}): {}", status.why).unwrap();
        for (word, verb, full) in OPERATIONS {
            let mut sim = place.clone();
            let id = sim.ask(verb, full);
            let asked = sim.world.operations.last_mut().unwrap();
            asked.force = full && verb == Verb::Abort;
            let operation = sim.world.operations.last().unwrap().clone();
            sim.promote();
            let answer = sim.status().last_operation.clone().unwrap();
            assert_eq!((&answer.id, &answer.by), (&id, &"bob".to_owned()));
            assert!(!answer.message.is_empty(), "{name} {word}");
            let told = ["OperationAccepted", "OperationRefused"];
            assert!(
                sim.told(told[usize::from(!answer.accepted)]),
                "it is recorded"
            );
            let done = if answer.accepted { "done" } else { "refused" };
            writeln!(table, "  {word:<14} {done:<7} {}", answer.message).unwrap();

            let (target, events) = (sim.target().clone(), sim.events.len());
            sim.world.operations.push(operation);
            sim.promote();
            assert_eq!(sim.target().answered, target.answered, "{name} {word}");
            assert_eq!(sim.target().rollout, target.rollout, "{name} {word}");
            assert_eq!(sim.target().failed, target.failed, "{name} {word}");
            assert_eq!(sim.events.len(), events, "{name} {word}");
            if phase == Phase::Deleting {
                continue;
            }
            // The same again under another id, and on from there: every law is checked on the way.
            sim.ask(verb, full);
            sim.run(20);
        }
        table.push('\n');
    }
    insta::assert_snapshot!(table);
}
