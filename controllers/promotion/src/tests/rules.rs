//! Each rule by itself.

use fm_api::operation::Verb;
use fm_api::quantity::{Span, Weight};
use fm_api::release::{Approval, Capacity, MatchRule, OnFailure, OnNewRevision, Require};
use fm_api::rollout::{Outcome, Stage};
use fm_api::status::{Phase, reasons};
use fm_api::verdict::Decision;

use super::sim::{Sim, release};

fn canary(sim: &Sim) -> &fm_api::target::RevisionTarget {
    let target = sim.target();
    &target.revisions[target.canary.as_ref().unwrap()]
}

/// A canary at its first step's weight.
fn at_first_step() -> Sim {
    let mut sim = Sim::serving(release("good:1"));
    sim.image("good:2");
    sim.settle();
    assert_eq!((sim.weight(), sim.rollout().stage), (1000, Stage::Holding));
    sim
}

/// A canary whose last hold is over.
fn at_last_step() -> Sim {
    let mut sim = at_first_step();
    sim.pass(10);
    sim.settle();
    sim.pass(20);
    sim.settle();
    assert_eq!(sim.weight(), 5000);
    sim
}

fn ended(sim: &Sim) -> (Outcome, String) {
    let entry = sim.target().history.last().unwrap();
    (entry.outcome, entry.reason.clone())
}

#[test]
fn the_first_revision_becomes_stable_when_it_is_ready_and_healthy() {
    let mut sim = Sim::new(release("good:1"));
    sim.promote();
    assert_eq!(sim.status().phase, Phase::Pending);
    assert!(sim.target().resolve.is_some());
    sim.swarm(u32::MAX);
    sim.promote();
    sim.swarm(3);
    sim.haproxy("edge");
    sim.promote();
    assert_eq!(sim.target().stable, None, "three of four tasks are ready");
    sim.swarm(4);
    sim.promote();
    assert_eq!(
        sim.target().stable,
        None,
        "HAProxy does not find the fourth healthy yet"
    );
    sim.haproxy("edge");
    sim.promote();
    assert!(sim.target().stable.is_some());
    sim.settle();
    assert_eq!(sim.status().phase, Phase::Healthy);
    assert_eq!(ended(&sim).0, Outcome::Promoted);
}

#[test]
fn a_routed_first_revision_needs_a_live_agent_and_a_worker_does_not() {
    let mut sim = Sim::new(release("good:1"));
    sim.world.live.clear();
    sim.settle();
    assert_eq!(sim.status().reason, reasons::NO_AGENT);
    let mut worker = release("good:1");
    worker.spec.routes.clear();
    let mut sim = Sim::new(worker);
    sim.world.live.clear();
    sim.settle();
    assert_eq!(sim.status().phase, Phase::Healthy);
    assert_eq!(sim.target().traffic, None);
}

#[test]
fn a_first_revision_that_fails_stays_reports_and_is_replaced_by_a_new_spec() {
    let mut sim = Sim::new(release("crash:1"));
    sim.settle();
    assert_eq!(sim.status().phase, Phase::Degraded);
    assert_eq!(sim.status().reason, reasons::CRASH_LOOP);
    assert!(
        sim.status().why.contains("task: non-zero exit (3)"),
        "{}",
        sim.status().why
    );
    assert_eq!(sim.target().revisions.len(), 1);
    sim.image("good:1");
    sim.settle();
    assert_eq!(sim.status().phase, Phase::Healthy);
    assert_eq!(sim.target().revisions.len(), 1);
}

#[test]
fn a_healthy_canary_goes_step_by_step_and_the_old_one_is_drained_and_removed() {
    let mut sim = at_first_step();
    assert_eq!(canary(&sim).replicas, 1);
    let old = sim.target().stable.clone().unwrap();
    sim.pass(9);
    sim.settle();
    assert_eq!(sim.weight(), 1000, "the hold is not over");
    sim.pass(1);
    sim.settle();
    assert_eq!((sim.weight(), canary(&sim).replicas), (5000, 2));
    sim.pass(20);
    sim.settle();
    assert_eq!(sim.status().reason, reasons::EVIDENCE);
    assert_eq!(
        sim.target().analysis.as_ref().unwrap().awaiting_since,
        Some(sim.now)
    );
    let new = sim.target().canary.clone().unwrap();
    sim.verdict(Decision::Promote);
    sim.promote();
    assert_eq!(
        canary(&sim).replicas,
        4,
        "whole capacity before all traffic"
    );
    assert_eq!(sim.weight(), 5000);
    sim.swarm(u32::MAX);
    sim.haproxy("edge");
    sim.promote();
    assert_eq!(sim.target().stable.as_ref(), Some(&new));
    assert!(
        !sim.target().revisions[&old].draining,
        "not before the switch is in force"
    );
    sim.haproxy("edge");
    sim.promote();
    assert!(sim.target().revisions[&old].draining);
    assert_eq!(
        ended(&sim),
        (Outcome::Promoted, reasons::PROMOTED.to_owned())
    );
    assert_eq!(sim.status().phase, Phase::Healthy);
    sim.haproxy("edge");
    sim.promote();
    assert!(!sim.target().revisions.contains_key(&old));
}

#[test]
fn open_connections_hold_the_old_revision_no_longer_than_the_drain_time() {
    let mut sim = at_last_step();
    let old = sim.target().stable.clone().unwrap();
    sim.verdict(Decision::Promote);
    for _ in 0..8 {
        sim.promote();
        sim.swarm(u32::MAX);
        sim.haproxy("edge");
        let seen = sim.world.haproxy.get_mut("edge").unwrap();
        for servers in seen.revisions.values_mut() {
            servers.open = 1;
        }
    }
    assert!(sim.target().revisions[&old].draining);
    sim.pass(60);
    sim.promote();
    assert!(!sim.target().revisions.contains_key(&old));
}

#[test]
fn the_old_revision_stays_warm_and_going_back_is_one_change_of_weight() {
    let mut first = release("good:1");
    first.spec.strategy.canary.as_mut().unwrap().keep_previous = Span::secs(600);
    let mut sim = Sim::serving(first);
    let old = sim.target().stable.clone().unwrap();
    sim.image("good:2");
    sim.settle();
    sim.ask(Verb::Promote, true);
    sim.settle();
    assert_ne!(sim.target().stable.as_ref(), Some(&old));
    assert_eq!(sim.target().revisions[&old].replicas, 4);
    sim.image("good:1");
    sim.promote();
    sim.swarm(u32::MAX);
    sim.promote();
    assert_eq!(sim.target().stable.as_ref(), Some(&old), "in the same look");
    sim.run(3);
    assert_eq!(sim.target().revisions.len(), 1);
}

#[test]
fn a_warm_revision_gives_its_place_to_a_third_one() {
    let mut first = release("good:1");
    first.spec.strategy.canary.as_mut().unwrap().keep_previous = Span::secs(600);
    let mut sim = Sim::serving(first);
    for image in ["good:2", "good:3", "good:4"] {
        sim.image(image);
        sim.settle();
        assert_eq!(sim.weight(), 1000, "{image}");
        sim.ask(Verb::Promote, true);
        sim.settle();
        assert_eq!(sim.status().phase, Phase::Healthy);
    }
}

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
fn every_live_agent_must_have_the_weight_in_force_and_the_missing_one_is_named() {
    let mut sim = Sim::serving(release("good:1"));
    sim.world.live.insert("edge-2".to_owned());
    sim.settle();
    sim.image("good:2");
    for _ in 0..4 {
        sim.promote();
        sim.swarm(u32::MAX);
        sim.agents();
    }
    sim.promote();
    sim.pass(10);
    sim.promote();
    sim.swarm(u32::MAX);
    sim.agents();
    sim.promote();
    sim.haproxy("edge");
    sim.promote();
    assert_eq!(sim.rollout().stage, Stage::Shifting);
    assert_eq!(sim.status().reason, reasons::AGENT_BEHIND);
    assert!(sim.status().why.contains("edge-2"), "{}", sim.status().why);
    sim.haproxy("edge-2");
    sim.promote();
    assert_eq!(sim.rollout().stage, Stage::Holding);
}

#[test]
fn an_agent_that_has_gone_freezes_rises_and_never_a_rollback() {
    let mut sim = at_first_step();
    sim.world.live.insert("edge-2".to_owned());
    sim.settle();
    sim.world.live.remove("edge-2");
    sim.pass(10);
    sim.settle();
    assert_eq!(
        (sim.weight(), sim.status().reason.as_str()),
        (1000, reasons::AGENT_GONE)
    );
    sim.world.live.clear();
    sim.settle();
    assert_eq!(sim.weight(), 1000);
    sim.ask(Verb::Abort, false);
    sim.promote();
    assert_eq!(sim.weight(), 0);
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
fn the_stable_workload_applied_again_takes_the_canary_back_and_fails_nothing() {
    let mut sim = at_first_step();
    sim.image("good:1");
    sim.settle();
    assert_eq!(
        ended(&sim),
        (Outcome::Replaced, reasons::STABLE_REAPPLIED.to_owned())
    );
    assert_eq!(
        (sim.status().phase, sim.target().revisions.len()),
        (Phase::Healthy, 1)
    );
    assert!(sim.target().failed.is_empty());
}

#[test]
fn a_newer_revision_replaces_the_canary_or_waits_as_the_spec_says() {
    let mut sim = at_first_step();
    let mut queued = sim.clone();
    sim.image("good:3");
    sim.settle();
    assert_eq!(
        ended(&sim),
        (Outcome::Replaced, reasons::NEW_REVISION.to_owned())
    );
    assert_eq!(sim.rollout().step, 0);
    queued.apply(|release| {
        release.spec.on_new_revision = OnNewRevision::Queue;
        release.spec.workload.image = "good:3".to_owned();
    });
    queued.settle();
    assert_eq!(queued.target().history.len(), 1, "the running one goes on");
    queued.ask(Verb::Promote, true);
    queued.settle();
    assert_eq!(ended(&queued).0, Outcome::Promoted);
    assert_ne!(queued.target().canary, None, "then the newer one begins");
}

#[test]
fn scaling_and_routes_and_match_rules_are_at_once_and_no_new_revision() {
    let mut sim = at_first_step();
    let generation = sim.target().traffic.as_ref().unwrap().generation;
    sim.apply(|release| {
        release.spec.replicas = 30;
        release.spec.routes[0]
            .hosts
            .push("www.example.com".to_owned());
        release.spec.match_rules.push(MatchRule {
            header: "x-qa".to_owned(),
            value: "canary".to_owned(),
        });
    });
    sim.promote();
    let target = sim.target();
    assert_eq!(
        (target.resolve.clone(), target.routes[0].hosts.len()),
        (None, 2)
    );
    assert_eq!(target.match_rules.len(), 1);
    assert_eq!(
        target.revisions[target.stable.as_ref().unwrap()].replicas,
        30
    );
    assert_eq!(canary(&sim).replicas, 3);
    assert_eq!(target.traffic.as_ref().unwrap().generation, generation);
}

#[test]
fn routes_to_a_port_that_stable_does_not_publish_wait_for_a_revision_with_it() {
    let mut sim = Sim::serving(release("good:1"));
    sim.apply(|release| {
        let mut route = release.spec.routes[0].clone();
        (route.port, route.hosts) = (9090, vec!["admin.example.com".to_owned()]);
        release.spec.routes.push(route);
    });
    sim.settle();
    assert_eq!(sim.target().routes.len(), 1);
    assert!(
        sim.status()
            .conditions
            .iter()
            .any(|c| c.reason == "PortNotPublished")
    );
    sim.ask(Verb::Promote, true);
    sim.settle();
    assert_eq!(sim.target().routes.len(), 2);
}

#[test]
fn changed_steps_are_followed_from_where_it_stands() {
    let mut sim = at_first_step();
    sim.apply(|release| {
        let canary = release.spec.strategy.canary.as_mut().unwrap();
        canary.steps[0].weight = Weight::percent(5);
        canary.capacity = Capacity::Full;
    });
    sim.settle();
    assert_eq!((sim.weight(), canary(&sim).replicas), (500, 4));
    assert_eq!(sim.target().history.len(), 1, "no new rollout");
}

#[test]
fn other_criteria_are_another_run() {
    let mut sim = at_first_step();
    let run = sim.target().analysis.clone().unwrap().run;
    sim.apply(|release| release.spec.analysis.errors.rollback.alpha = 0.05);
    sim.promote();
    assert_ne!(sim.target().analysis.clone().unwrap().run, run);
}

#[test]
fn where_stable_is_broken_the_side_that_serves_is_kept_until_stable_does() {
    let mut sim = at_first_step();
    let stable = sim.target().stable.clone().unwrap();
    sim.dead.insert(stable.clone(), 4);
    sim.swarm(u32::MAX);
    sim.agents();
    sim.ask(Verb::Abort, false);
    sim.settle();
    assert_eq!(
        (sim.weight(), sim.status().reason.as_str()),
        (10_000, reasons::STABLE_BROKEN)
    );
    let mut other = sim.clone();
    sim.dead.clear();
    sim.settle();
    assert_eq!(ended(&sim).0, Outcome::Aborted);
    assert_eq!(
        (sim.weight(), sim.target().stable.as_ref()),
        (0, Some(&stable))
    );
    other.image("good:3");
    other.settle();
    assert_ne!(
        other.target().stable.as_ref(),
        Some(&stable),
        "what serves takes its place"
    );
}

#[test]
fn an_invalid_spec_harms_only_itself() {
    let mut sim = at_first_step();
    sim.spoil();
    sim.pass(10);
    sim.settle();
    assert_eq!(sim.status().phase, Phase::Invalid);
    assert_eq!(sim.weight(), 5000, "what ran goes on");
    sim.verdict(Decision::Rollback);
    sim.promote();
    assert_eq!(sim.weight(), 0);
    let mut sim = Sim::new(release("good:1"));
    sim.spoil();
    sim.promote();
    assert_eq!(
        (sim.status().phase, sim.world.target.is_none()),
        (Phase::Invalid, true)
    );
}

#[test]
fn an_image_that_cannot_be_resolved_is_told_in_dockers_words() {
    let mut sim = at_first_step();
    sim.image("lost:1");
    sim.settle();
    assert_eq!(sim.weight(), 1000, "the running rollout goes on");
    let mut sim = Sim::serving(release("good:1"));
    sim.image("lost:1");
    sim.settle();
    assert_eq!(sim.status().phase, Phase::Degraded);
    assert!(
        sim.status().why.contains("No such image: lost:1"),
        "{}",
        sim.status().why
    );
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
fn history_and_records_are_bounded() {
    let mut first = release("good:1");
    first.spec.history_limit = 2;
    let mut sim = Sim::serving(first);
    for image in ["good:2", "good:3", "good:4", "good:5"] {
        sim.image(image);
        sim.settle();
        sim.ask(Verb::Promote, true);
        sim.settle();
    }
    assert_eq!(
        (sim.target().history.len(), sim.world.records.len()),
        (2, 2)
    );
}

#[test]
fn deletion_takes_traffic_first_then_services_then_the_target() {
    let mut sim = at_first_step();
    sim.apply(|release| release.metadata.deleted_at = Some(jiff::Timestamp::UNIX_EPOCH));
    sim.promote();
    assert_eq!(
        (sim.target().traffic.clone(), sim.target().revisions.len()),
        (None, 2)
    );
    sim.swarm(u32::MAX);
    sim.promote();
    assert_eq!(
        sim.target().revisions.len(),
        2,
        "the agent still routes to it"
    );
    sim.haproxy("edge");
    sim.promote();
    assert!(sim.target().revisions.is_empty());
    sim.promote();
    assert!(sim.world.target.is_some(), "Swarm still shows services");
    sim.swarm(u32::MAX);
    assert!(sim.promote().remove);
}

#[test]
fn a_namesake_of_a_deleted_release_begins_anew() {
    let mut sim = at_first_step();
    sim.apply(|release| release.metadata.uid = Some("uid-2".to_owned()));
    sim.settle();
    assert_eq!(
        (sim.target().uid.as_str(), sim.target().history.len()),
        ("uid-2", 1)
    );
    assert_eq!(sim.status().phase, Phase::Healthy);
}
