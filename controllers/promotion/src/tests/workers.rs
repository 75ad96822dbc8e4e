//! Releases without routes: steps of tasks, judged by metrics, limits and whether their tasks live.

use fm_api::operation::Verb;
use fm_api::release::Release;
use fm_api::rollout::Outcome;
use fm_api::status::{Phase, reasons};
use fm_api::tasks::Tasks;
use fm_api::verdict::Decision;

use super::places::{canary, ended};
use super::sim::{Sim, release};

/// Steps of 25 % and of 3 of 4 tasks.
pub(super) fn worker(image: &str) -> Release {
    let mut worker = release(image);
    worker.spec.routes.clear();
    let steps = &mut worker.spec.strategy.canary.as_mut().unwrap().steps;
    for (step, tasks) in steps.iter_mut().zip([Tasks::Percent(25), Tasks::Number(3)]) {
        step.weight = fm_api::quantity::Weight::ZERO;
        step.replicas = Some(tasks);
    }
    worker
}

/// A worker at its first step.
fn at_work() -> Sim {
    let mut sim = Sim::serving(worker("good:1"));
    sim.image("good:2");
    sim.settle();
    sim
}

fn stable_tasks(sim: &Sim) -> u32 {
    let target = sim.target();
    target.revisions[target.stable.as_ref().unwrap()].replicas
}

#[test]
fn a_worker_goes_by_its_steps_of_tasks_and_is_promoted_by_evidence() {
    let mut sim = at_work();
    assert_eq!((canary(&sim).replicas, stable_tasks(&sim)), (1, 4));
    let judged = sim.target().analysis.clone().unwrap();
    assert!(judged.worker && judged.since.is_some());
    assert!(
        sim.status().why.starts_with("holds at 1 of 4 tasks until"),
        "{}",
        sim.status().why
    );
    sim.pass(10);
    sim.settle();
    assert_eq!((canary(&sim).replicas, stable_tasks(&sim)), (3, 4));
    sim.pass(20);
    sim.settle();
    assert_eq!(
        sim.status().why,
        "stays at 3 of 4 tasks: the hold is over, evidence is still missing, then all tasks"
    );
    sim.verdict(Decision::Promote);
    sim.settle();
    assert_eq!(
        ended(&sim),
        (Outcome::Promoted, reasons::PROMOTED.to_owned())
    );
    assert_eq!((stable_tasks(&sim), sim.target().revisions.len()), (4, 1));
    assert_eq!(sim.status().phase, Phase::Healthy);
}

#[test]
fn changed_steps_of_tasks_are_followed_by_what_runs() {
    for (tasks, step, runs) in [(&[1, 2, 3][..], 0, 1), (&[2, 4], 0, 2), (&[1, 1, 4], 0, 1)] {
        let mut sim = at_work();
        sim.apply(|release| {
            let canary = release.spec.strategy.canary.as_mut().unwrap();
            let first = canary.steps[0].clone();
            let of = |tasks: &u32| fm_api::strategy::Step {
                replicas: Some(Tasks::Number(*tasks)),
                ..first.clone()
            };
            canary.steps = tasks.iter().map(of).collect();
        });
        sim.settle();
        assert_eq!((sim.rollout().step, canary(&sim).replicas), (step, runs));
    }
    let mut sim = at_work();
    sim.pass(10);
    sim.settle();
    sim.apply(|release| {
        let steps = &mut release.spec.strategy.canary.as_mut().unwrap().steps;
        let mut more = steps[0].clone();
        more.replicas = Some(Tasks::Number(2));
        steps.insert(1, more);
    });
    sim.settle();
    assert_eq!((sim.rollout().step, canary(&sim).replicas), (2, 3));
}

#[test]
fn a_worker_that_harm_is_shown_of_stops_at_once_also_where_its_tasks_are_kept() {
    let mut first = worker("good:1");
    first.spec.keep_failed = fm_api::quantity::Span::secs(600);
    let mut sim = Sim::serving(first);
    sim.image("good:2");
    sim.settle();
    let bad = sim.target().canary.clone().unwrap();
    sim.verdict(Decision::Rollback);
    sim.promote();
    assert_eq!(sim.target().revisions[&bad].replicas, 0, "in the same look");
    sim.settle();
    assert_eq!(ended(&sim).0, Outcome::RolledBack);
    assert_eq!(stable_tasks(&sim), 4);
}

#[test]
fn an_earlier_worker_works_no_more_but_can_be_brought_back_without_steps() {
    let mut first = worker("good:1");
    first.spec.strategy.canary.as_mut().unwrap().keep_previous = fm_api::quantity::Span::secs(600);
    let mut sim = Sim::serving(first);
    let old = sim.target().stable.clone().unwrap();
    sim.image("good:2");
    sim.settle();
    sim.ask(Verb::Promote, true);
    sim.settle();
    assert_eq!(ended(&sim).0, Outcome::Promoted);
    assert_eq!(sim.target().revisions[&old].replicas, 0);
    sim.image("good:1");
    sim.settle();
    assert_eq!(
        sim.target().stable.as_ref(),
        Some(&old),
        "{:?}",
        sim.status()
    );
    assert_eq!(stable_tasks(&sim), 4);
}

#[test]
fn tasks_of_a_worker_that_keep_failing_take_it_back_unless_stables_fail_as_often() {
    for (failed, of_stable, taken_back) in
        [(2, 0, false), (3, 0, true), (3, 11, true), (3, 12, false)]
    {
        let mut sim = at_work();
        let (new, old) = {
            let target = sim.target();
            (
                target.canary.clone().unwrap(),
                target.stable.clone().unwrap(),
            )
        };
        sim.dead.insert(new.clone(), 1);
        sim.swarm(u32::MAX);
        let seen = &mut sim.world.swarm.as_mut().unwrap().revisions;
        seen.get_mut(&new).unwrap().failed_tasks = failed;
        seen.get_mut(&old).unwrap().failed_tasks = of_stable;
        sim.promote();
        let back = sim.target().failed.contains_key(&new);
        assert_eq!(back, taken_back, "{failed} of 1, {of_stable} of 4");
        if back {
            assert!(
                sim.target().failed[&new]
                    .why
                    .starts_with("3 tasks failed since it began"),
                "{:?}",
                sim.target().failed
            );
        }
    }
}

#[test]
fn a_step_whose_tasks_are_changed_is_taken_anew() {
    let mut sim = at_work();
    sim.apply(|release| {
        let steps = &mut release.spec.strategy.canary.as_mut().unwrap().steps;
        steps[0].replicas = Some(Tasks::Number(2));
    });
    sim.settle();
    assert_eq!(canary(&sim).replicas, 2);
    assert_eq!(sim.status().steps[0].tasks, Some(2));
}

#[test]
fn with_max_surge_a_workers_tasks_are_changed_one_after_the_other() {
    let mut first = worker("good:1");
    first.spec.strategy.canary.as_mut().unwrap().max_surge = Some(Tasks::Number(1));
    let mut sim = Sim::serving(first);
    sim.image("good:2");
    let mut seen = vec![(4, 0)];
    for _ in 0..60 {
        sim.promote();
        let new = sim.target().canary.clone();
        let new = new.and_then(|id| sim.target().revisions.get(&id).cloned());
        let now = (stable_tasks(&sim), new.map_or(0, |r| r.replicas));
        if seen.last() != Some(&now) {
            seen.push(now);
        }
        sim.swarm(u32::MAX);
        sim.pass(5);
        sim.verdict(Decision::Promote);
    }
    assert_eq!(
        seen,
        [
            (4, 0),
            (4, 1),
            (3, 1),
            (3, 2),
            (2, 2),
            (2, 3),
            (1, 3),
            (1, 4),
            (4, 0)
        ],
    );
}

#[test]
fn where_stable_never_answers_on_its_first_routes_the_next_revision_takes_its_place_once_it_does() {
    for (image, promoted) in [("good:2", true), ("sick:2", false)] {
        let mut sim = Sim::serving(worker("sick:1"));
        sim.apply(|worker| worker.spec.routes = release("").spec.routes);
        sim.settle();
        sim.ask(Verb::Promote, true);
        sim.run(20);
        assert!(
            sim.status().why.contains("in HAProxy"),
            "{}",
            sim.status().why
        );
        sim.image(image);
        sim.run(20);
        let status = sim.status();
        let expected = if promoted {
            Outcome::Promoted
        } else {
            Outcome::Failed
        };
        assert_eq!(ended(&sim).0, expected, "{}", status.why);
        assert_eq!(sim.target().traffic.is_some(), promoted);
        if promoted {
            assert_eq!((stable_tasks(&sim), sim.target().revisions.len()), (4, 1));
            assert_eq!(status.phase, Phase::Healthy);
        }
    }
}
