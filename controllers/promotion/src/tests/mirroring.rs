//! Steps that mirror requests: before any share, without one.

use fm_api::operation::Verb;
use fm_api::quantity::{Span, Weight};
use fm_api::release::{Release, Step};
use fm_api::rollout::Outcome;
use fm_api::verdict::Decision;

use super::places::{canary, ended};
use super::sim::{Sim, release};
use super::strategies::blue_green;

/// The usual release, with a mirror of 60 % before its steps.
fn mirrored(image: &str) -> Release {
    let mut release = release(image);
    let steps = &mut release.spec.strategy.canary.as_mut().unwrap().steps;
    let first = Step {
        weight: Weight::ZERO,
        mirror: Weight::percent(60),
        hold: Span::secs(30),
        ..steps[0].clone()
    };
    steps.insert(0, first);
    release
}

/// At its first step, which mirrors.
fn mirroring() -> Sim {
    let mut sim = Sim::serving(mirrored("good:1"));
    sim.image("good:2");
    sim.settle();
    sim
}

/// The canary's share and what it is sent as well, in basis points.
fn split(sim: &Sim) -> (u16, u16) {
    let split = sim.target().traffic.as_ref().unwrap();
    (split.weight.basis_points(), split.mirror.basis_points())
}

#[test]
fn a_mirror_has_tasks_and_no_share_and_ends_with_the_first_share() {
    let mut sim = mirroring();
    assert!(sim.target().mirrors);
    assert_eq!(split(&sim), (0, 6000));
    assert_eq!(canary(&sim).replicas, 3, "60 % of 4 tasks' requests");
    let analysis = sim.target().analysis.as_ref().unwrap();
    assert_eq!(analysis.since, None, "no warm-up and no bake run");
    insta::assert_snapshot!(sim.status().why, @"is sent copies of 60 % of the safe requests until 12:00:30 UTC (hold 30s), then step 2 of 3");
    sim.pass(30);
    sim.settle();
    assert_eq!(split(&sim), (1000, 0));
    assert_eq!(
        canary(&sim).replicas,
        3,
        "what runs is not stopped on the way up"
    );
    assert!(sim.target().analysis.as_ref().unwrap().since.is_some());
}

#[test]
fn harm_and_abort_end_a_mirror_at_once_and_a_changed_one_is_followed() {
    for harm in [true, false] {
        let mut sim = mirroring();
        if harm {
            sim.verdict(Decision::Rollback);
        } else {
            sim.ask(Verb::Abort, false);
        }
        sim.promote();
        assert_eq!(split(&sim), (0, 0), "in the first look");
        sim.settle();
        let outcome = if harm {
            Outcome::RolledBack
        } else {
            Outcome::Aborted
        };
        assert_eq!(ended(&sim).0, outcome);
    }
    let mut sim = mirroring();
    sim.apply(|release| {
        let canary = release.spec.strategy.canary.as_mut().unwrap();
        canary.steps[0].mirror = Weight::FULL;
    });
    sim.settle();
    assert_eq!(split(&sim), (0, 10_000));
    assert_eq!(canary(&sim).replicas, 4);
}

#[test]
fn haproxy_stays_ready_as_long_as_the_rollout_mirrors() {
    let mut sim = mirroring();
    sim.apply(|release| release.spec.strategy = blue_green("good:2").spec.strategy);
    sim.settle();
    // Another strategy holds from the next rollout on: this one goes on as it began.
    assert_eq!(split(&sim), (0, 6000));
    assert!(sim.target().mirrors);
    sim.ask(Verb::Abort, false);
    sim.settle();
    sim.apply(|release| release.spec.replicas = 5);
    sim.settle();
    assert!(!sim.target().mirrors);
}

#[test]
fn a_persons_word_passes_a_mirror() {
    let mut sim = mirroring();
    sim.ask(Verb::Promote, false);
    sim.settle();
    assert_eq!(split(&sim), (1000, 0));
}

#[test]
fn blue_green_mirrors_until_the_switch() {
    let with_mirror = |image: &str| {
        let mut release = blue_green(image);
        release.spec.strategy.blue_green.as_mut().unwrap().mirror = Weight::percent(20);
        release
    };
    let mut sim = Sim::serving(with_mirror("good:1"));
    sim.image("good:2");
    sim.settle();
    assert_eq!(split(&sim), (0, 2000));
    insta::assert_snapshot!(sim.status().why, @"stands whole beside stable and is sent copies of 20 % of the safe requests until 12:00:10 UTC (hold 10s), then the switch");
    sim.pass(10);
    sim.settle();
    assert_eq!(split(&sim), (10_000, 0));
}
