//! What takes a canary back, and what must not.

use fm_api::observed::{FailureKind, TaskFailure};
use fm_api::operation::Verb;
use fm_api::quantity::Span;
use fm_api::rollout::Outcome;
use fm_api::status::{Phase, reasons};
use fm_api::verdict::Decision;

use super::places::{at_first_step, ended};
use super::sim::{Sim, release};

#[test]
fn shown_harm_takes_the_canary_back_at_once_and_it_is_not_tried_again_until_somebody_says_so() {
    let mut sim = at_first_step();
    sim.verdict(Decision::Rollback);
    sim.promote();
    assert_eq!(sim.weight(), 0);
    assert_eq!(sim.target().traffic.as_ref().unwrap().canary, None);
    assert_eq!(sim.status().phase, Phase::RollingBack);
    assert_eq!(
        sim.target().revisions.len(),
        2,
        "its tasks stay until it is in force"
    );
    sim.settle();
    assert_eq!(ended(&sim), (Outcome::RolledBack, "ErrorsHarm".to_owned()));
    assert_eq!(
        (sim.status().phase, sim.target().revisions.len()),
        (Phase::Degraded, 1)
    );
    sim.apply(|_| {});
    sim.run(5);
    assert_eq!(sim.status().phase, Phase::Degraded);
    let runs = |sim: &Sim| sim.target().analysis.as_ref().map(|a| a.run.clone());
    sim.ask(Verb::Retry, false);
    sim.settle();
    assert_eq!(sim.weight(), 1000, "from the first step");
    assert_ne!(
        runs(&sim),
        sim.world.verdict.clone().map(|v| v.run),
        "with a new seed"
    );
}

#[test]
fn a_task_that_ended_long_ago_explains_nothing_of_a_revision_that_has_all_its_tasks() {
    let mut sim = Sim::serving(release("good:1"));
    let stable = sim.target().stable.clone().unwrap();
    let failure = TaskFailure {
        kind: FailureKind::Crashed,
        message: "task: non-zero exit (3)".to_owned(),
        task: None,
        exit_code: Some(3),
        at: sim.now,
    };
    let last = |sim: &Sim| {
        sim.status()
            .stable
            .clone()
            .and_then(|side| side.last_failure)
    };
    let seen = sim.world.swarm.as_mut().unwrap();
    seen.revisions.get_mut(&stable).unwrap().failures = vec![failure];
    sim.promote();
    assert_eq!(last(&sim).as_deref(), Some("task: non-zero exit (3)"));
    sim.pass(300);
    sim.promote();
    assert_eq!(last(&sim), None, "{:?}", sim.status());
    sim.dead.insert(stable, 1);
    sim.settle();
    assert!(last(&sim).is_some(), "a task is missing");
}

#[test]
fn how_stable_does_is_told_before_what_was_taken_back() {
    let mut sim = at_first_step();
    let stable = sim.target().stable.clone().unwrap();
    sim.verdict(Decision::Rollback);
    for (dead, says) in [
        (0, "stable serves; revision 2"),
        (1, "stable serves with 3 of 4 tasks; revision 2"),
        (
            4,
            "revision 1 (good:1) does not serve: none of its 4 tasks is ready; revision 2",
        ),
    ] {
        sim.dead.insert(stable.clone(), dead);
        sim.settle();
        let why = &sim.status().why;
        assert!(why.starts_with(says), "{why}");
    }
}

#[test]
fn a_verdict_of_another_run_says_nothing() {
    let mut sim = at_first_step();
    sim.verdict(Decision::Rollback);
    sim.world.verdict.as_mut().unwrap().run.push('x');
    sim.settle();
    assert_eq!(sim.weight(), 1000);
}

#[test]
fn a_crash_at_start_never_gets_traffic_and_docker_is_quoted() {
    let mut sim = Sim::serving(release("good:1"));
    sim.image("crash:1");
    sim.settle();
    assert_eq!(
        ended(&sim),
        (Outcome::Failed, reasons::CRASH_LOOP.to_owned())
    );
    assert!(
        sim.status().why.contains("task: non-zero exit (3)"),
        "{}",
        sim.status().why
    );
    assert_eq!(
        (sim.status().phase, sim.target().revisions.len()),
        (Phase::Degraded, 1)
    );
    assert!(!sim.told("StepReached"));
    sim.image("good:2");
    sim.settle();
    assert_eq!(sim.weight(), 1000, "another revision is tried");
}

#[test]
fn tasks_without_a_node_fail_by_the_deadline_and_blind_time_does_not_count() {
    let mut sim = Sim::serving(release("good:1"));
    sim.image("stuck:1");
    sim.settle();
    assert_eq!(sim.status().reason, reasons::NO_SUITABLE_NODE);
    assert!(
        sim.status().why.contains("no suitable node"),
        "{}",
        sim.status().why
    );
    sim.pass(400);
    sim.world.swarm.as_mut().unwrap().problem = Some("socket gone".to_owned());
    sim.promote();
    assert_eq!(sim.status().reason, reasons::SWARM_UNKNOWN);
    sim.pass(4000);
    sim.promote();
    assert!(sim.target().rollout.is_some(), "unknown is not bad");
    sim.settle();
    sim.pass(190);
    sim.settle();
    assert!(sim.target().rollout.is_some());
    sim.pass(10);
    sim.settle();
    assert_eq!(
        ended(&sim),
        (Outcome::Failed, reasons::PROGRESS_DEADLINE.to_owned())
    );
}

#[test]
fn tasks_that_haproxy_finds_unhealthy_get_no_traffic() {
    let mut sim = Sim::serving(release("good:1"));
    sim.image("sick:1");
    sim.settle();
    assert_eq!(
        (sim.weight(), sim.status().reason.as_str()),
        (0, reasons::UNHEALTHY)
    );
    sim.pass(600);
    sim.settle();
    assert_eq!(
        ended(&sim),
        (Outcome::Failed, reasons::PROGRESS_DEADLINE.to_owned())
    );
}

#[test]
fn one_that_was_taken_back_stays_for_a_look_and_begins_at_the_first_step_again() {
    let mut sim = Sim::serving(release("good:1"));
    sim.apply(|release| release.spec.keep_failed = Span::secs(60));
    sim.image("good:2");
    sim.settle();
    sim.verdict(Decision::Rollback);
    sim.settle();
    let failed = sim.target().wanted.clone().unwrap();
    assert_eq!(sim.weight(), 0);
    assert!(
        sim.target().revisions.contains_key(&failed),
        "without traffic, to be looked at"
    );
    assert_eq!(sim.target().traffic.as_ref().unwrap().canary, None);
    sim.ask(Verb::Retry, false);
    sim.settle();
    assert_eq!(
        (sim.weight(), sim.rollout().step),
        (1000, 0),
        "no switch back to it"
    );
    sim.ask(Verb::Abort, false);
    sim.settle();
    sim.pass(60);
    sim.settle();
    assert!(!sim.target().revisions.contains_key(&failed));
}

#[test]
fn a_way_back_over_time_falls_from_the_first_moment_and_ends_in_time() {
    let mut sim = Sim::serving(release("good:1"));
    sim.apply(|release| {
        release.spec.rollback.over = Span::secs(90);
        release.spec.rollback.connections = fm_api::release::Connections::Close;
    });
    sim.image("good:2");
    sim.settle();
    sim.pass(10);
    sim.settle();
    assert_eq!(sim.weight(), 5000, "{:?}", sim.status());
    sim.verdict(Decision::Rollback);
    sim.settle();
    let mut shares = vec![sim.weight()];
    assert_eq!(sim.status().reason, reasons::TAKING_BACK);
    assert!(
        sim.status().why.contains("and has 45 % still"),
        "{:?}",
        sim.status()
    );
    for _ in 0..9 {
        sim.pass(10);
        sim.settle();
        shares.push(sim.weight());
    }
    assert_eq!(
        shares,
        [4500, 4000, 3500, 3000, 2500, 2000, 1500, 1000, 500, 0]
    );
    let target = sim.target();
    assert!(target.rollout.is_none(), "{:?}", sim.status());
    assert_eq!(sim.status().phase, Phase::Degraded);
}

#[test]
fn nobody_waits_for_a_way_back_over_time_after_an_abort_or_a_newer_image() {
    let returning = || {
        let mut sim = Sim::serving(release("good:1"));
        sim.apply(|release| release.spec.rollback.over = Span::secs(90));
        sim.image("good:2");
        sim.settle();
        sim.verdict(Decision::Rollback);
        sim.settle();
        assert_eq!(sim.weight(), 900, "{:?}", sim.status());
        sim
    };
    let mut sim = returning();
    sim.ask(Verb::Abort, false);
    sim.settle();
    assert_eq!(sim.weight(), 0, "{:?}", sim.status());
    let mut sim = returning();
    sim.image("good:1");
    sim.settle();
    assert_eq!((sim.weight(), sim.status().phase), (0, Phase::Healthy));
}

#[test]
fn whoever_goes_back_by_force_to_what_failed_has_it_tried_again() {
    let mut sim = Sim::serving(release("good:1"));
    sim.image("crash:1");
    sim.settle();
    let failed = sim.target().wanted.clone().unwrap();
    sim.image("good:1");
    sim.settle();
    // As `undo --force` asks: before that revision is wanted.
    sim.ask(Verb::Retry, false);
    sim.world.operations.last_mut().unwrap().revision = Some(failed.clone());
    sim.promote();
    let answer = sim.status().last_operation.clone().unwrap();
    assert!(answer.accepted, "{}", answer.message);
    assert!(
        sim.target().rollout.is_none(),
        "it was only said that it may"
    );
    sim.image("crash:1");
    sim.settle();
    let tried = (sim.target().history.iter()).filter(|entry| entry.revision == failed);
    assert_eq!(tried.count(), 2, "{:?}", sim.status());
    // Of a revision that did not fail it makes no sense.
    sim.ask(Verb::Retry, false);
    sim.world.operations.last_mut().unwrap().revision = sim.target().stable.clone();
    sim.promote();
    assert!(!sim.status().last_operation.clone().unwrap().accepted);
}
