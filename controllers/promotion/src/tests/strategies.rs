//! Each strategy by itself: what it adds to the rules that hold for all.

use fm_api::operation::Verb;
use fm_api::quantity::{Span, Weight};
use fm_api::release::{Approval, OnFailure, Release};
use fm_api::rollout::Outcome;
use fm_api::status::{Phase, reasons};
use fm_api::strategy::{BlueGreen, Kind, PreviewHosts, Strategy};
use fm_api::verdict::Decision;

use super::places::{canary, ended};
use super::sim::{Sim, release};

/// The usual release with a switch instead of steps.
pub(super) fn blue_green(image: &str) -> Release {
    let mut release = release(image);
    release.spec.strategy = Strategy {
        blue_green: Some(BlueGreen {
            mirror: Weight::ZERO,
            preview: Some(PreviewHosts {
                hosts: vec!["next.shop.example.com".to_owned()],
            }),
            hold: Span::secs(10),
            approval: None,
            watch: Span::secs(20),
            keep_previous: Span::secs(60),
        }),
        ..Strategy::default()
    };
    release
}

/// Whole beside stable, its first hold running.
fn whole() -> Sim {
    let mut sim = Sim::serving(blue_green("good:1"));
    sim.image("good:2");
    sim.settle();
    sim
}

/// Switched, its watch running.
fn switched() -> Sim {
    let mut sim = whole();
    sim.pass(10);
    sim.settle();
    assert_eq!(sim.weight(), 10_000, "{:?}", sim.status());
    sim
}

#[test]
fn a_switch_comes_after_whole_capacity_and_the_hold_and_is_one_change_of_weight() {
    let mut sim = Sim::serving(blue_green("good:1"));
    sim.image("good:2");
    sim.promote();
    sim.swarm(3);
    sim.promote();
    sim.swarm(3);
    sim.haproxy("edge");
    sim.promote();
    assert_eq!(canary(&sim).replicas, 4, "whole capacity");
    let split = sim.target().traffic.clone().unwrap();
    assert_eq!(split.canary, None, "three of four tasks are ready");
    sim.settle();
    let split = sim.target().traffic.clone().unwrap();
    assert_eq!(
        (split.canary.as_ref(), split.weight),
        (sim.target().canary.as_ref(), Weight::ZERO),
        "reached by its preview host and by match rules alone"
    );
    assert_eq!(sim.target().preview_hosts, ["next.shop.example.com"]);
    assert!(sim.target().analysis.is_some(), "judged before the switch");
    assert_eq!(sim.status().strategy, Kind::BlueGreen);
    insta::assert_snapshot!(sim.status().why, @"stands whole beside stable until 12:00:10 UTC (hold 10s), then the switch");
    sim.pass(10);
    sim.promote();
    assert_eq!(sim.weight(), 10_000);
    assert_ne!(sim.target().stable, sim.target().canary, "stable stands by");
    sim.settle();
    insta::assert_snapshot!(sim.status().why, @"serves everything, and the old revision stands by whole until 12:00:30 UTC (watch 20s), then it is stable");
    let (old, new) = (sim.target().stable.clone(), sim.target().canary.clone());
    sim.pass(20);
    sim.settle();
    assert_eq!(sim.target().stable, new, "no comparison is waited for");
    assert_eq!(ended(&sim).0, Outcome::Promoted);
    assert_eq!(sim.status().phase, Phase::Healthy);
    let old = old.unwrap();
    assert_eq!(sim.target().revisions[&old].replicas, 4, "warm");
    sim.pass(60);
    sim.settle();
    assert!(!sim.target().revisions.contains_key(&old));
}

#[test]
fn the_way_back_is_one_change_of_weight_before_and_after_it_is_stable() {
    for harm in [true, false] {
        let mut sim = switched();
        if harm {
            sim.verdict(Decision::Rollback);
        } else {
            sim.ask(Verb::Abort, false);
        }
        sim.promote();
        assert_eq!(sim.weight(), 0, "in the first look, nothing is waited for");
        sim.settle();
        assert_eq!(sim.status().phase, Phase::Degraded);
    }
    let mut sim = switched();
    sim.pass(20);
    sim.settle();
    let new = sim.target().stable.clone();
    // Undo is the earlier workload as the new spec; its image is known already.
    sim.image("good:1");
    sim.promote();
    sim.swarm(u32::MAX);
    sim.promote();
    assert_ne!(
        sim.target().stable,
        new,
        "the same look that knows the image switches"
    );
    sim.settle();
    assert_eq!(sim.status().phase, Phase::Healthy);
}

#[test]
fn a_person_may_be_asked_before_the_switch_and_may_pass_the_watch() {
    let mut sim = Sim::serving(blue_green("good:1"));
    sim.apply(|release| {
        let both = release.spec.strategy.blue_green.as_mut().unwrap();
        both.approval = Some(Approval::Manual);
    });
    sim.image("good:2");
    sim.settle();
    sim.pass(10);
    sim.settle();
    assert_eq!(
        (sim.weight(), sim.status().reason.as_str()),
        (0, reasons::APPROVAL)
    );
    insta::assert_snapshot!(sim.status().why, @"stands whole beside stable until somebody promotes it, then the switch");
    sim.ask(Verb::Promote, false);
    sim.settle();
    assert_eq!(sim.weight(), 10_000);
    sim.ask(Verb::Promote, false);
    sim.settle();
    assert_eq!(sim.status().phase, Phase::Healthy);
}

#[test]
fn where_going_back_is_forbidden_a_switch_stops_where_it_is() {
    let mut sim = whole();
    sim.apply(|release| release.spec.on_failure = OnFailure::Pause);
    sim.pass(10);
    sim.settle();
    sim.verdict(Decision::Rollback);
    sim.settle();
    assert_eq!((sim.weight(), sim.status().phase), (10_000, Phase::Paused));
}

#[test]
fn another_strategy_in_mid_rollout_waits_for_the_next_one() {
    let mut sim = whole();
    let steps = release("any").spec.strategy;
    sim.apply(|release| release.spec.strategy = steps);
    sim.settle();
    assert_eq!((sim.weight(), sim.status().strategy), (0, Kind::BlueGreen));
    sim.pass(10);
    sim.settle();
    assert_eq!(sim.weight(), 10_000);
    sim.pass(20);
    sim.settle();
    sim.image("good:3");
    sim.settle();
    assert_eq!((sim.weight(), sim.status().strategy), (1000, Kind::Canary));
}

#[test]
fn a_switch_is_taken_back_although_swarm_cannot_be_seen() {
    for harm in [false, true] {
        let mut sim = switched();
        let seen = sim.world.swarm.as_mut().unwrap();
        seen.problem = Some("the Docker socket does not answer".to_owned());
        if harm {
            sim.verdict(Decision::Rollback);
        } else {
            sim.ask(Verb::Abort, false);
        }
        sim.promote();
        assert_eq!(sim.weight(), 0, "{:?}", sim.status());
    }
}
