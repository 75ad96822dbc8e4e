//! Experiments: baseline and candidates beside stable, each taken out alone, and none promoted.

use fm_api::experiment::{BASELINE, Experiment, ExperimentTarget, SideResult, SideTarget};
use fm_api::operation::Verb;
use fm_api::release::Release;
use fm_api::status::{Phase, reasons};
use fm_api::target::Target;
use fm_api::verdict::Decision;
use serde_json::json;

use super::laws::{healthy, ready};
use super::sim::{Sim, release};
use crate::plan::World;

/// Two candidates with 10 % each against 5 %, for a minute; the second one has this image.
pub(super) fn experiment(image: &str) -> Experiment {
    let value = json!({
        "duration": "60s",
        "replicas": 2,
        "baseline": { "weight": 5 },
        "candidates": [
            { "name": "cache", "weight": 10, "env": { "CACHE": "1" } },
            { "name": "next", "weight": 10, "image": image },
        ],
    });
    serde_json::from_value(value).unwrap()
}

/// Shares only for sides that are up, none for one that harms, and no rollout beside it.
pub(super) fn law(world: &World, old: &Target, new: &Target) {
    let Some(experiment) = new.experiment.as_ref().filter(|_| !new.deleting) else {
        return;
    };
    let had = |revision| {
        let side = old.experimenting().and_then(|e| e.side(revision));
        side.is_some_and(|side| side.shared)
    };
    for side in &experiment.sides {
        let Some(revision) = &side.revision else {
            assert!(!side.shared);
            continue;
        };
        let named = [&new.stable, &new.canary, &new.wanted];
        assert!(!named.into_iter().flatten().any(|r| r == revision));
        if !side.shared {
            continue;
        }
        assert!(experiment.ended.is_none() && !new.previews[revision].closed);
        if !had(revision) {
            let needed = new.revisions[revision].replicas;
            assert!(ready(world, revision) >= needed, "ready before a share");
            assert!(healthy(world, revision).iter().all(|n| *n >= needed));
        }
        let run = side.analysis.as_ref().map(|analysis| &analysis.run);
        let verdict = world.trials.get(&side.name);
        let harms = verdict.is_some_and(|verdict| {
            Some(&verdict.run) == run && verdict.decision == Decision::Rollback
        });
        assert!(!harms || new.held.is_some(), "harm takes the share at once");
    }
    let ends = experiment.ranges().last().map_or(0, |(end, _)| *end);
    assert!(ends <= 10_000);
    if experiment.ended.is_none() {
        assert!(new.rollout.is_none(), "nothing rolls out beside it");
    }
}

fn with(image: &str) -> Release {
    let mut release = release("good:1");
    release.spec.experiment = Some(experiment(image));
    release
}

fn of(sim: &Sim) -> &ExperimentTarget {
    sim.target().experiment.as_ref().unwrap()
}

fn side<'a>(sim: &'a Sim, name: &str) -> &'a SideTarget {
    let mut sides = of(sim).sides.iter();
    sides.find(|side| side.name == name).unwrap()
}

fn result(sim: &Sim, name: &str) -> Option<SideResult> {
    side(sim, name).outcome.as_ref().map(|o| o.result)
}

#[test]
fn all_sides_start_at_once_and_have_shares_only_when_all_are_up() {
    let sim = Sim::serving(with("good:2"));
    let stable = sim.target().stable.clone().unwrap();
    let experiment = of(&sim).clone();
    let names: Vec<&str> = experiment.sides.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, [BASELINE, "cache", "next"]);
    let ends: Vec<u16> = experiment.ranges().iter().map(|(end, _)| *end).collect();
    assert_eq!(ends, [500, 1500, 2500]);
    for side in &experiment.sides {
        let revision = side.revision.clone().unwrap();
        assert_ne!(revision, stable, "the baseline is started anew, too");
        let record = &sim.world.records[&revision];
        assert_eq!(
            record.workload.env.contains_key("CACHE"),
            side.name == "cache"
        );
        assert!(side.shared && sim.target().previews[&revision].routes.len() == 1);
        assert_eq!(sim.target().revisions[&revision].replicas, 2);
    }
    assert_eq!(sim.weight(), 0, "the split itself stays stable's");
    let trial = side(&sim, "next").analysis.as_ref().unwrap();
    assert_eq!(Some(&trial.stable), side(&sim, BASELINE).revision.as_ref());
    assert!(
        (trial.criteria.errors.rollback.alpha - 0.005).abs() < 1e-9,
        "0.01 for two"
    );
    assert!(side(&sim, BASELINE).analysis.is_none());
    assert_eq!(sim.status().phase, Phase::Healthy);
    assert_eq!(sim.status().reason, reasons::EXPERIMENT);

    let mut sim = Sim::serving(with("stuck:2"));
    assert!(!of(&sim).shared(), "one is not up");
    sim.run(20);
    assert_eq!(result(&sim, "next"), Some(SideResult::Failed));
    assert_eq!(
        result(&sim, "cache"),
        Some(SideResult::Inconclusive),
        "{:?}",
        sim.status()
    );
}

#[test]
fn a_candidate_that_harms_goes_alone_and_the_end_promotes_nothing() {
    let mut sim = Sim::serving(with("good:2"));
    let (stable, next) = (
        sim.target().stable.clone(),
        side(&sim, "next").revision.clone().unwrap(),
    );
    sim.trial("next", Decision::Rollback);
    sim.promote();
    assert_eq!(result(&sim, "next"), Some(SideResult::Harms));
    assert!(!side(&sim, "next").shared && sim.target().revisions[&next].draining);
    assert!(side(&sim, "cache").shared && side(&sim, BASELINE).shared);
    let ends: Vec<u16> = of(&sim).ranges().iter().map(|(end, _)| *end).collect();
    assert_eq!(ends, [500, 1500, 2500], "the others keep their users");
    sim.settle();
    assert!(
        !sim.target().revisions.contains_key(&next),
        "its tasks are gone"
    );
    assert!(
        sim.status().why.contains("next harmful"),
        "{}",
        sim.status().why
    );

    sim.trial("cache", Decision::Promote);
    sim.settle();
    assert_eq!(result(&sim, "cache"), Some(SideResult::Good));
    assert!(of(&sim).ended.is_some() && !of(&sim).shared());
    assert_eq!(sim.target().stable, stable);
    assert_eq!(sim.target().revisions.len(), 1, "only stable is left");
    sim.run(10);
    assert_eq!(sim.target().stable, stable);
    assert_eq!(sim.status().reason, reasons::SERVING);

    sim.ask(Verb::Retry, false);
    sim.settle();
    assert!(of(&sim).shared(), "once more when somebody says so");
    assert_eq!(result(&sim, "next"), None);
}

#[test]
fn a_verdict_on_another_run_says_nothing() {
    let mut sim = Sim::serving(with("good:2"));
    sim.trial("next", Decision::Rollback);
    sim.ask(Verb::Abort, false);
    sim.settle();
    sim.ask(Verb::Retry, false);
    sim.settle();
    assert!(
        side(&sim, "next").shared,
        "the stored verdict is the earlier run's"
    );
}

#[test]
fn an_image_waits_until_the_experiment_is_over_or_aborted() {
    let mut sim = Sim::serving(with("good:2"));
    sim.image("good:3");
    sim.settle();
    assert!(sim.target().rollout.is_none() && of(&sim).shared());
    assert_eq!(sim.status().reason, reasons::EXPERIMENT_RUNS);
    assert!(
        sim.status().why.contains("12:01:00"),
        "{}",
        sim.status().why
    );
    let mut aborted = sim.clone();
    aborted.ask(Verb::Abort, false);
    aborted.settle();
    assert!(aborted.target().rollout.is_some() && of(&aborted).ended.is_some());
    sim.pass(60);
    sim.settle();
    assert_eq!(result(&sim, "next"), Some(SideResult::Inconclusive));
    assert!(sim.target().rollout.is_some(), "{:?}", sim.status());
}

#[test]
fn what_is_asked_for_no_more_ends_and_another_one_begins_when_it_is_gone() {
    let mut sim = Sim::serving(with("good:2"));
    let number = of(&sim).number;
    sim.apply(|release| release.spec.replicas = 3);
    sim.settle();
    assert_eq!(of(&sim).number, number, "scaling is another matter");
    sim.apply(|release| release.spec.experiment = Some(experiment("good:4")));
    sim.settle();
    assert!(of(&sim).number > number && of(&sim).shared());
    assert_eq!(sim.target().previews.len(), 3);
    sim.apply(|release| release.spec.experiment = None);
    sim.settle();
    assert_eq!(sim.target().experiment, None);
    assert_eq!(sim.target().revisions.len(), 1);
}

#[test]
fn a_baseline_or_an_image_that_is_missing_ends_it() {
    let mut sim = Sim::serving(with("lost:2"));
    assert_eq!(result(&sim, "next"), Some(SideResult::Failed));
    assert!(side(&sim, "cache").shared, "the other one goes on");
    let baseline = side(&sim, BASELINE).revision.clone().unwrap();
    sim.apply(|release| release.metadata.deleted_at = Some(sim_start()));
    sim.settle();
    assert!(sim.world.target.is_none(), "{baseline}");
}

fn sim_start() -> jiff::Timestamp {
    jiff::Timestamp::UNIX_EPOCH
}
