//! Each rule by itself.

use fm_api::operation::Verb;
use fm_api::quantity::{Span, Weight};
use fm_api::release::{Capacity, MatchRule, OnNewRevision};
use fm_api::rollout::{Outcome, Stage};
use fm_api::status::{Phase, reasons};
use fm_api::tasks::Tasks;
use fm_api::verdict::Decision;

use super::places::{at_first_step, at_last_step, canary, ended};
use super::sim::{Sim, release};

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
fn a_steps_replicas_hold_from_it_on_and_are_never_below_the_share_nor_above_stable() {
    for (asked, expected) in [
        ([None, None], [1, 2]),
        ([Some(3), None], [3, 3]),
        ([Some(3), Some(1)], [3, 3]),
        ([None, Some(1)], [1, 2]),
        ([None, Some(3)], [1, 3]),
        ([Some(9), None], [4, 4]),
    ] {
        let mut first = release("good:1");
        let steps = &mut first.spec.strategy.canary.as_mut().unwrap().steps;
        for (step, replicas) in steps.iter_mut().zip(asked) {
            step.replicas = replicas.map(Tasks::Number);
        }
        let mut sim = Sim::serving(first);
        sim.image("good:2");
        sim.settle();
        assert_eq!(
            (sim.weight(), canary(&sim).replicas),
            (1000, expected[0]),
            "{asked:?}"
        );
        sim.pass(10);
        sim.settle();
        assert_eq!(
            (sim.weight(), canary(&sim).replicas),
            (5000, expected[1]),
            "{asked:?}"
        );
    }
}

#[test]
fn a_steps_replicas_are_waited_for_before_its_weight() {
    let mut first = release("good:1");
    first.spec.strategy.canary.as_mut().unwrap().steps[0].replicas = Some(Tasks::Number(3));
    let mut sim = Sim::serving(first);
    sim.image("good:2");
    for _ in 0..6 {
        sim.promote();
        sim.swarm(2);
        sim.haproxy("edge");
    }
    assert_eq!((sim.weight(), canary(&sim).replicas), (0, 3));
    assert_eq!(sim.status().reason, reasons::SCALING);
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
        release
            .spec
            .match_rules
            .push(MatchRule::header("x-qa", "canary"));
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
