//! Every operation in every phase: each is answered, with a sentence, and the same id again changes nothing.

use std::fmt::Write as _;

use fm_api::operation::Verb;
use fm_api::status::Phase;

use super::places::at_first_step;
use super::previews::preview;
use super::sim::{Sim, release};

const OPERATIONS: [(&str, Verb, bool); 10] = [
    ("promote", Verb::Promote, false),
    ("promote --full", Verb::Promote, true),
    ("abort", Verb::Abort, false),
    ("retry", Verb::Retry, false),
    ("undo", Verb::Undo, false),
    ("pause", Verb::Pause, false),
    ("resume", Verb::Resume, false),
    ("restart", Verb::Restart, false),
    ("hold", Verb::Hold, false),
    ("hold --end", Verb::EndHold, false),
];

/// A release in each phase.
fn places() -> Vec<(Phase, Sim)> {
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
        (Phase::Pending, pending),
        (Phase::Progressing, at_first_step()),
        (Phase::Paused, paused),
        (Phase::RollingBack, back),
        (Phase::Healthy, Sim::serving(release("good:1"))),
        (Phase::Degraded, degraded),
        (Phase::Deleting, deleting),
        (Phase::Invalid, invalid),
        (Phase::Over, over),
    ]
}

#[test]
fn every_operation_is_answered_in_every_phase_and_the_same_id_is_one_operation() {
    let mut table = String::new();
    for (phase, place) in places() {
        assert_eq!(place.status().phase, phase, "{}", place.status().why);
        writeln!(table, "{phase:?}: {}", place.status().why).unwrap();
        for (word, verb, full) in OPERATIONS {
            let mut sim = place.clone();
            let id = sim.ask(verb, full);
            let operation = sim.world.operations.last().unwrap().clone();
            sim.promote();
            let answer = sim.status().last_operation.clone().unwrap();
            assert_eq!((&answer.id, &answer.by), (&id, &"bob".to_owned()));
            assert!(!answer.message.is_empty(), "{phase:?} {word}");
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
            assert_eq!(sim.target().answered, target.answered, "{phase:?} {word}");
            assert_eq!(sim.target().rollout, target.rollout, "{phase:?} {word}");
            assert_eq!(sim.target().failed, target.failed, "{phase:?} {word}");
            assert_eq!(sim.events.len(), events, "{phase:?} {word}");
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
