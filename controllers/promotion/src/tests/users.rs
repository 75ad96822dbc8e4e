//! What users get comes first in what is said, and does not flap; nobody is blamed for what broke both.

use fm_api::keys::RevisionId;
use fm_api::observed::{FailureKind, TaskFailure};
use fm_api::operation::Verb;
use fm_api::rollout::Outcome;
use fm_api::status::{Phase, conditions, reasons};
use fm_api::verdict::Decision;

use super::places::{at_first_step, ended};
use super::sim::{Sim, release};

fn stable(sim: &Sim) -> RevisionId {
    sim.target().stable.clone().unwrap()
}

/// HAProxy's check at one edge finds no task of the revision.
fn unhealthy(sim: &mut Sim, edge: &str, revision: &RevisionId) {
    let seen = sim.world.haproxy.get_mut(edge).unwrap();
    let servers = seen.revisions.get_mut(revision).unwrap();
    servers.healthy = 0;
    servers.down = vec!["t0: Layer7 wrong status 500".to_owned()];
}

/// A task of the revision has just died; another one runs already.
fn dies(sim: &mut Sim, revision: &RevisionId) {
    let at = sim.now;
    let seen = sim.world.swarm.as_mut().unwrap();
    let seen = seen.revisions.get_mut(revision).unwrap();
    seen.failed_tasks += 1;
    seen.failures.push(TaskFailure {
        kind: FailureKind::Crashed,
        message: "task: non-zero exit (7)".to_owned(),
        task: Some(format!("died-{}", seen.failed_tasks)),
        exit_code: Some(7),
        at,
    });
}

#[test]
fn an_outage_at_every_edge_is_told_at_once_and_over_only_after_it_was_well_for_a_while() {
    let mut sim = Sim::serving(release("good:1"));
    let serving = stable(&sim);
    unhealthy(&mut sim, "edge", &serving);
    sim.promote();
    let (began, status) = (sim.now, sim.status().clone());
    assert_eq!(
        (status.phase, status.reason.as_str()),
        (Phase::Degraded, reasons::USERS_GET_503)
    );
    insta::assert_snapshot!(status.why, @"users get 503: no task of revision 1 (good:1) is healthy in HAProxy (edge: t0: Layer7 wrong status 500)");
    assert!(sim.told("ServiceImpaired"));
    let available = |sim: &Sim| {
        let mut all = sim.status().conditions.iter();
        all.find(|one| one.kind == conditions::AVAILABLE)
            .unwrap()
            .status
    };
    assert_eq!(available(&sim), Some(false));
    // It flaps, and what is said does not.
    for _ in 0..5 {
        sim.pass(2);
        sim.agents();
        sim.promote();
        assert_eq!(sim.status().phase, Phase::Degraded);
        sim.pass(2);
        unhealthy(&mut sim, "edge", &serving);
        sim.promote();
        assert_eq!(
            (sim.status().phase, sim.status().since),
            (Phase::Degraded, began)
        );
    }
    sim.agents();
    sim.pass(1);
    sim.promote();
    sim.pass(29);
    sim.promote();
    assert_eq!(sim.status().phase, Phase::Degraded);
    assert!(!sim.told("ServiceRestored"));
    sim.pass(1);
    sim.promote();
    assert_eq!(
        (sim.status().phase, available(&sim)),
        (Phase::Healthy, Some(true))
    );
    assert!(sim.told("ServiceRestored"));
    assert_eq!(
        sim.events
            .iter()
            .filter(|e| e.reason == "ServiceImpaired")
            .count(),
        1
    );
}

#[test]
fn an_outage_at_one_edge_names_it_and_a_haproxy_in_trouble_too() {
    let mut sim = Sim::serving(release("good:1"));
    sim.world.live.insert("west".to_owned());
    sim.settle();
    let serving = stable(&sim);
    unhealthy(&mut sim, "west", &serving);
    sim.promote();
    insta::assert_snapshot!(sim.status().why, @"users of 1 of 2 edges get 503: no task of revision 1 (good:1) is healthy in HAProxy (west: t0: Layer7 wrong status 500)");
    sim.agents();
    sim.world
        .troubles
        .insert("west".to_owned(), "cannot bind :80".to_owned());
    sim.promote();
    assert_eq!(sim.status().reason, reasons::HAPROXY_DOWN);
    insta::assert_snapshot!(sim.status().why, @"a HAProxy is in trouble (west: cannot bind :80)");
}

#[test]
fn an_edge_that_is_cut_off_from_the_canary_is_named_and_the_rollout_waits() {
    let mut sim = at_first_step();
    sim.world.live.insert("west".to_owned());
    sim.settle();
    sim.verdict(Decision::Wait);
    let says = "the HAProxy of west does not reach the tasks of the canary, and edge does";
    let verdict = sim.world.verdict.as_mut().unwrap();
    verdict.cut_off = [("west".to_owned(), says.to_owned())].into();
    sim.promote();
    let status = sim.status().clone();
    assert_eq!(
        (status.phase, status.reason.as_str()),
        (Phase::Degraded, reasons::EDGE_CUT_OFF)
    );
    assert!(status.why.starts_with(says), "{}", status.why);
    assert!(sim.told("ServiceImpaired"));
    // Its checks do not find them healthy either, for longer than tasks may take to come up.
    let canary = sim.target().canary.clone().unwrap();
    for _ in 0..40 {
        sim.pass(60);
        unhealthy(&mut sim, "west", &canary);
        sim.promote();
        assert_eq!(sim.weight(), 1000, "{}", sim.status().why);
    }
    let why = sim.status().why.clone();
    assert!(why.contains("(at west alone)"), "{why}");
    assert!(
        !why.contains("fails at"),
        "nothing ends because of it: {why}"
    );
    // No edge finds them healthy: that is the tasks.
    for _ in 0..40 {
        sim.pass(60);
        unhealthy(&mut sim, "west", &canary);
        unhealthy(&mut sim, "edge", &canary);
        sim.promote();
    }
    let why = sim.status().why.clone();
    assert!(why.contains("no progress of tasks"), "{why}");
}

#[test]
fn no_live_agent_is_an_outage_only_when_it_is_no_mere_restart() {
    let mut sim = Sim::serving(release("good:1"));
    sim.world.live.clear();
    sim.promote();
    assert_eq!(sim.status().phase, Phase::Healthy);
    sim.pass(10);
    sim.promote();
    assert_eq!(
        (sim.status().phase, sim.status().reason.as_str()),
        (Phase::Degraded, reasons::NO_AGENT)
    );
}

#[test]
fn a_first_revision_waits_for_every_edge() {
    let mut sim = Sim::new(release("good:1"));
    sim.world.live.insert("west".to_owned());
    for _ in 0..5 {
        sim.promote();
        sim.swarm(u32::MAX);
        sim.haproxy("edge");
    }
    sim.promote();
    assert_eq!(sim.target().stable, None);
    sim.settle();
    assert_eq!(sim.status().phase, Phase::Healthy);
}

#[test]
fn a_restart_loop_is_a_failure_at_any_time_also_without_traffic_or_analysis() {
    for disabled in [false, true] {
        let mut sim = at_first_step();
        sim.apply(|release| release.spec.analysis.disabled = disabled);
        sim.settle();
        let canary = sim.target().canary.clone().unwrap();
        for _ in 0..3 {
            assert!(sim.target().rollout.is_some());
            sim.pass(2);
            dies(&mut sim, &canary);
            sim.promote();
        }
        sim.settle();
        assert_eq!(
            ended(&sim),
            (Outcome::RolledBack, reasons::CRASH_LOOP.to_owned())
        );
    }
}

#[test]
fn stable_that_dies_again_and_again_is_degraded_steadily_and_the_canary_is_not_blamed_for_as_much()
{
    let mut sim = at_first_step();
    let (serving, canary) = (stable(&sim), sim.target().canary.clone().unwrap());
    for _ in 0..5 {
        sim.pass(1);
        for _ in 0..4 {
            dies(&mut sim, &serving);
        }
        dies(&mut sim, &canary);
        sim.promote();
    }
    assert!(sim.target().rollout.is_some(), "{}", sim.status().why);
    assert_eq!(sim.status().phase, Phase::Degraded);
    assert_eq!(sim.status().reason, reasons::RESTART_LOOP);
}

#[test]
fn what_broke_both_blames_nobody_and_the_evidence_begins_anew() {
    let mut sim = at_first_step();
    let (serving, canary) = (stable(&sim), sim.target().canary.clone().unwrap());
    let run = sim.target().analysis.clone().unwrap().run;
    sim.dead.insert(serving.clone(), 4);
    sim.dead.insert(canary.clone(), 4);
    sim.swarm(u32::MAX);
    sim.agents();
    sim.verdict(Decision::Rollback);
    sim.settle();
    assert!(sim.target().rollout.is_some(), "{}", sim.status().why);
    assert_eq!(sim.status().phase, Phase::Degraded);
    assert!(sim.status().why.contains("not blamed for what broke both"));
    sim.pass(4000);
    sim.settle();
    sim.dead.clear();
    sim.settle();
    sim.pass(30);
    sim.settle();
    assert_eq!(
        (sim.status().phase, sim.weight() >= 1000),
        (Phase::Progressing, true),
        "{}",
        sim.status().why
    );
    assert_ne!(sim.target().analysis.clone().unwrap().run, run);
}

#[test]
fn without_a_task_nothing_was_tried_and_a_person_decides() {
    let mut first = release("good:1");
    first.spec.replicas = 0;
    first.spec.analysis.disabled = true;
    let mut sim = Sim::serving(first);
    sim.image("crash:2");
    sim.run(10);
    assert_eq!(
        (sim.weight(), sim.status().reason.as_str()),
        (0, reasons::NO_REPLICAS)
    );
    assert!(sim.status().waits_for_person);
    sim.ask(Verb::Promote, true);
    sim.run(5);
    assert_eq!(ended(&sim).0, Outcome::Promoted);
}
