//! People's words, and the waits they pass.

use fm_api::operation::Verb;
use fm_api::release::{Approval, OnFailure, Require};
use fm_api::rollout::Outcome;
use fm_api::status::{Phase, reasons};
use fm_api::verdict::{Decision, Reason};

use super::places::{at_first_step, at_last_step, canary, ended};
use super::sim::{Sim, release};

#[test]
fn history_keeps_who_said_what_when_and_why() {
    let mut sim = at_first_step();
    for verb in [
        Verb::Pause,
        Verb::Resume,
        Verb::Promote,
        Verb::Abort,
        Verb::Retry,
    ] {
        sim.ask(verb, false);
        sim.world.operations.last_mut().unwrap().why = Some("because".to_owned());
        sim.settle();
    }
    sim.ask(Verb::Promote, true);
    sim.settle();
    let said = |index: usize| -> Vec<String> {
        let words = &sim.target().history[index].words;
        let line = |word: &fm_api::rollout::Word| {
            format!("{} by {}: {}", word.asked, word.by, word.answer)
        };
        words.iter().map(line).collect()
    };
    assert_eq!(
        said(1),
        [
            "pause by bob: it stays where it is; harm still takes it back",
            "resume by bob: it goes on",
            "promote by bob: the hold is passed",
            "abort --force by bob: stable takes everything back",
        ]
    );
    let full = "every wait is passed; capacity is still waited for, and harm still takes it back";
    assert_eq!(
        said(2),
        [
            "retry by bob: revision 2 (good:2) is tried again from the first step".to_owned(),
            format!("promote --full by bob: {full}"),
        ]
    );
    sim.image("good:1");
    sim.ask(Verb::Undo, false);
    sim.settle();
    sim.ask(Verb::Promote, true);
    sim.settle();
    let last = sim.target().history.last().unwrap();
    assert_eq!((last.number, last.words[0].asked.as_str()), (1, "undo"));
    let words = &sim.target().history[1].words;
    assert!(
        words
            .iter()
            .all(|word| word.why.as_deref() == Some("because"))
    );
    assert!(sim.target().words.is_empty());
}

#[test]
fn approval_is_asked_for_after_hold_and_evidence_and_promote_passes_one_wait() {
    let mut first = release("good:1");
    let steps = &mut first.spec.strategy.canary.as_mut().unwrap().steps;
    steps[0].approval = Some(Approval::Manual);
    steps[0].require = Some(Require::NonInferior);
    let mut sim = Sim::serving(first);
    sim.ask(Verb::Promote, false);
    sim.settle();
    assert!(
        !sim.status().last_operation.as_ref().unwrap().accepted,
        "no rollout runs"
    );
    sim.image("good:2");
    sim.settle();
    assert_eq!(sim.status().reason, reasons::HOLDING);
    for reason in [reasons::EVIDENCE, reasons::APPROVAL] {
        sim.ask(Verb::Promote, false);
        sim.settle();
        assert_eq!(sim.status().reason, reason);
    }
    assert!(sim.status().waits_for_person);
    let id = sim.ask(Verb::Promote, false);
    sim.settle();
    assert_eq!(
        (sim.weight(), sim.status().reason.as_str()),
        (5000, reasons::HOLDING)
    );
    let mut again = sim.world.operations.clone();
    assert!(again.is_empty(), "answered operations go");
    let operation = sim.ask(Verb::Promote, false);
    again.append(&mut sim.world.operations);
    again[0].id = id;
    sim.world.operations = again;
    let plan = sim.promote();
    assert!(
        plan.events.is_empty() && plan.target.is_none(),
        "the same id again changes nothing"
    );
    assert_ne!(sim.status().last_operation.as_ref().unwrap().id, operation);
}

#[test]
fn whoever_asked_finds_the_answer_though_another_one_was_given_in_the_same_look() {
    let mut sim = Sim::serving(release("good:1"));
    sim.image("good:2");
    sim.settle();
    let asked: Vec<String> = (0..12).map(|_| sim.ask(Verb::Pause, false)).collect();
    sim.settle();
    let kept = |sim: &Sim| -> Vec<String> {
        let earlier = sim.status().earlier_operations.iter();
        let all = earlier.chain(&sim.status().last_operation);
        all.map(|answer| answer.id.clone()).collect()
    };
    assert_eq!(kept(&sim), asked);
    let last = sim.ask(Verb::Resume, false);
    sim.settle();
    let few = kept(&sim);
    assert_eq!((few.len(), few.last()), (9, Some(&last)));
    assert_eq!(few[..8], asked[4..]);
}

#[test]
fn a_step_that_asks_for_evidence_does_not_wait_for_the_bake_of_the_last_promotion() {
    let mut first = release("good:1");
    let steps = &mut first.spec.strategy.canary.as_mut().unwrap().steps;
    steps[0].require = Some(Require::NonInferior);
    let mut sim = Sim::serving(first);
    sim.image("good:2");
    sim.settle();
    sim.ask(Verb::Promote, false);
    sim.settle();
    assert_eq!(sim.status().reason, reasons::EVIDENCE);
    sim.verdict(Decision::Wait);
    sim.settle();
    assert_eq!(sim.status().reason, reasons::EVIDENCE);
    sim.world.verdict.as_mut().unwrap().reason = Reason::Baking;
    sim.settle();
    assert_eq!(sim.weight(), 5000);
}

#[test]
fn promote_full_passes_every_wait_but_not_capacity() {
    let mut sim = Sim::serving(release("good:1"));
    sim.image("good:2");
    sim.promote();
    sim.swarm(u32::MAX);
    sim.promote();
    sim.ask(Verb::Promote, true);
    sim.promote();
    sim.swarm(3);
    sim.haproxy("edge");
    sim.promote();
    assert_eq!((sim.weight(), canary(&sim).replicas), (0, 4));
    sim.settle();
    assert_eq!(ended(&sim).0, Outcome::Promoted);
    assert_eq!(sim.world.verdict, None);
}

#[test]
fn inconclusive_waits_for_a_person_unless_the_manifest_says_otherwise() {
    let mut sim = at_last_step();
    sim.verdict(Decision::Inconclusive);
    sim.settle();
    assert_eq!(
        (sim.status().phase, sim.status().reason.as_str()),
        (Phase::Paused, reasons::INCONCLUSIVE)
    );
    let mut taken = sim.clone();
    taken.apply(|r| r.spec.analysis.on_inconclusive = fm_api::criteria::OnInconclusive::Rollback);
    taken.settle();
    taken.verdict(Decision::Inconclusive);
    taken.settle();
    assert_eq!(ended(&taken).0, Outcome::RolledBack);
    sim.ask(Verb::Promote, false);
    sim.settle();
    assert_eq!(ended(&sim).0, Outcome::Promoted);
}

#[test]
fn without_analysis_holds_alone_decide() {
    let mut first = release("good:1");
    first.spec.analysis.disabled = true;
    let mut sim = Sim::serving(first);
    sim.image("good:2");
    sim.run(10);
    assert_eq!(ended(&sim).0, Outcome::Promoted);
    assert!(sim.told("StepReached"));
}

#[test]
fn pause_stops_rises_and_harm_still_takes_back() {
    let mut sim = at_first_step();
    sim.ask(Verb::Pause, false);
    sim.pass(100);
    sim.settle();
    assert_eq!((sim.weight(), sim.status().phase), (1000, Phase::Paused));
    let mut harmed = sim.clone();
    harmed.verdict(Decision::Rollback);
    harmed.promote();
    assert_eq!(harmed.weight(), 0);
    sim.ask(Verb::Resume, false);
    sim.settle();
    assert_eq!(sim.weight(), 5000);
}

#[test]
fn on_failure_pause_stops_and_a_person_decides() {
    let mut first = release("good:1");
    first.spec.on_failure = OnFailure::Pause;
    let mut sim = Sim::serving(first);
    sim.image("good:2");
    sim.settle();
    sim.verdict(Decision::Rollback);
    sim.settle();
    assert_eq!((sim.weight(), sim.status().phase), (1000, Phase::Paused));
    let mut aborted = sim.clone();
    aborted.ask(Verb::Abort, false);
    aborted.settle();
    assert_eq!(
        ended(&aborted),
        (Outcome::Aborted, reasons::ABORTED.to_owned())
    );
    sim.ask(Verb::Resume, false);
    sim.pass(100);
    sim.settle();
    assert_eq!(sim.weight(), 5000, "the person has seen the harm");
}

#[test]
fn restart_asks_for_new_tasks_of_both_sides() {
    let mut sim = at_first_step();
    sim.ask(Verb::Restart, false);
    sim.promote();
    assert!(
        sim.target()
            .revisions
            .values()
            .all(|revision| revision.restarts == 1)
    );
}

#[test]
fn operations_that_mean_another_revision_are_refused() {
    let mut sim = at_first_step();
    sim.ask(Verb::Abort, false);
    sim.world.operations[0].revision = sim.target().stable.clone();
    sim.promote();
    assert!(!sim.status().last_operation.as_ref().unwrap().accepted);
    assert_eq!(sim.weight(), 1000);
}

#[test]
fn while_it_is_held_nothing_moves_but_back_at_somebodys_word() {
    let mut sim = at_first_step();
    sim.ask(Verb::Hold, false);
    sim.settle();
    assert_eq!(sim.status().phase, Phase::Paused);
    insta::assert_snapshot!(sim.status().why, @"held by bob: nothing is repaired, promoted or moved until 2026-01-01 13:00:00 UTC");
    let before = sim.target().clone();
    sim.apply(|release| release.spec.replicas = 7);
    sim.image("good:3");
    sim.verdict(Decision::Rollback);
    sim.ask(Verb::Promote, true);
    sim.pass(3599);
    sim.settle();
    assert!(sim.told("OperationRefused"));
    assert!(
        sim.status().why.contains("harm is shown"),
        "{}",
        sim.status().why
    );
    assert_eq!(sim.target().traffic, before.traffic);
    assert_eq!(sim.target().revisions, before.revisions);
    sim.pass(1);
    sim.settle();
    assert!(sim.told("HoldEnded") && sim.target().held.is_none());
    assert_eq!(
        sim.target().settings.as_ref().unwrap().replicas,
        7,
        "what was applied meanwhile"
    );

    let mut sim = at_first_step();
    sim.ask(Verb::Hold, false);
    sim.settle();
    sim.ask(Verb::Abort, false);
    sim.settle();
    assert_eq!(sim.weight(), 0, "a person's word still takes it back");
    sim.ask(Verb::EndHold, false);
    sim.settle();
    assert_eq!(sim.status().phase, Phase::Degraded);
}

#[test]
fn a_tag_that_moved_is_rolled_out_when_somebody_asks_what_it_means() {
    let mut sim = Sim::serving(release("good:latest"));
    let first = sim.target().stable.clone();
    sim.apply(|_| {});
    sim.settle();
    assert!(sim.target().rollout.is_none());
    sim.apply(|release| {
        release.metadata.pulled = release.metadata.generation.map(|last| last + 1);
    });
    sim.settle();
    let canary = sim.rollout().revision.clone();
    assert!(Some(&canary) != first.as_ref());
    assert!(
        sim.world.records[&canary]
            .image
            .pinned
            .ends_with("sha256:10")
    );
    // What was asked once is not asked again with every change.
    sim.apply(|release| release.spec.history_limit = 7);
    sim.settle();
    assert_eq!(sim.rollout().revision, canary);
}
