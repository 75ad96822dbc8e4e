//! `maxSurge`: how far both sides' tasks may go beyond `spec.replicas`, on the way up and back.

use fm_api::keys::RevisionId;
use fm_api::operation::Verb;
use fm_api::rollout::{Outcome, Rollout, Stage};
use fm_api::strategy::Course;
use fm_api::target::{Target, Traffic};
use fm_api::tasks::Tasks;
use fm_api::verdict::Decision;

use super::laws::{healthy, ready};
use super::places::ended;
use super::sim::{Sim, release};
use crate::plan::World;

/// With `maxSurge`: stable has what its share needs, wherever that is in force, and both together no more than there is room.
pub(super) fn no_further(world: &World, old: &Target, new: &Target, rollout: &Rollout, full: u32) {
    let tasks = |target: &Target, revision: &RevisionId| {
        let wanted = target.revisions.get(revision);
        wanted.map_or(0, |wanted| wanted.replicas)
    };
    let stable = new.stable.as_ref().unwrap();
    let (has, had) = (tasks(new, stable), tasks(old, stable));
    assert!(has <= full, "no more than it asks for");
    let canary = &rollout.revision;
    let least = match &new.traffic {
        Some(split) if split.canary.is_some() => Course::carries(split.weight, full),
        Some(_) => full,
        None if rollout.stage == Stage::RollingBack || canary == stable => full,
        None => full.saturating_sub(ready(world, canary)).min(had),
    };
    let held = new.held.is_some() && had < least;
    assert!(
        has >= least || held,
        "{has} of stable, {least} needed: {new:?}"
    );
    let live = world.haproxy.iter().filter(|(at, seen)| {
        world.live.contains(*at) && seen.uid == new.uid && old.stable == new.stable
    });
    for split in live.filter_map(|(_, seen)| seen.traffic.as_ref()) {
        let serves = Course::carries(split.weight, full);
        let less = split.stable == *stable && split.canary.is_some() && has < had && has < serves;
        assert!(!less, "{had} to {has} of stable while it serves {split:?}");
    }
    let room = full + rollout.plan.max_surge.unwrap().of(full);
    let both = |target: &Target| tasks(target, stable) + tasks(target, canary);
    let same = old.settings == new.settings && canary != stable && old.stable == new.stable;
    let rises = has > had || tasks(new, canary) > tasks(old, canary);
    let way = rollout.stage != Stage::RollingBack;
    assert!(
        !(same && rises && way) || both(new) <= room.max(both(old)),
        "{new:?}"
    );
}

/// With `maxSurge` a canary that is taken back keeps no more than what stable has no tasks for.
pub(super) fn waits_for_stable(world: &World, new: &Target, split: &Traffic) -> bool {
    let rollout = new.rollout.as_ref();
    if rollout.is_none_or(|rollout| rollout.plan.max_surge.is_none()) {
        return false;
    }
    let full = new.settings.as_ref().unwrap().replicas;
    let seen = healthy(world, &split.stable).into_iter().min().unwrap_or(0);
    let missing = full.saturating_sub(ready(world, &split.stable).min(seen));
    u32::from(split.weight.basis_points()) * full <= missing * 10_000
}

/// At its last step: 50 % on 2 tasks beside 4 that serve the rest.
fn surging() -> Sim {
    let mut first = release("good:1");
    first.spec.strategy.canary.as_mut().unwrap().max_surge = Some(Tasks::Percent(50));
    let mut sim = Sim::serving(first);
    sim.image("good:2");
    sim.settle();
    sim.pass(10);
    sim.settle();
    assert_eq!(sim.weight(), 5000);
    sim
}

/// On its way to be promoted: stable has given up two tasks, and the canary is to have all of its own.
fn promoting() -> Sim {
    let mut sim = surging();
    sim.pass(20);
    sim.verdict(Decision::Promote);
    sim.promote();
    sim.swarm(u32::MAX);
    sim.agents();
    sim.promote();
    sim
}

fn tasks(sim: &Sim) -> (u32, u32) {
    let target = sim.target();
    let of = |id: Option<&RevisionId>| {
        let wanted = id.and_then(|id| target.revisions.get(id));
        wanted.map_or(0, |wanted| wanted.replicas)
    };
    (of(target.stable.as_ref()), of(target.canary.as_ref()))
}

#[test]
fn stable_gives_up_what_its_share_does_not_need_and_no_sooner_than_the_room_is_needed() {
    let mut sim = surging();
    assert_eq!(tasks(&sim), (4, 2), "6 are allowed");
    sim.pass(20);
    sim.verdict(Decision::Promote);
    sim.promote();
    assert_eq!(tasks(&sim), (2, 2), "stable first");
    sim.promote();
    assert_eq!(tasks(&sim), (2, 2), "until its tasks are gone");
    sim.swarm(u32::MAX);
    sim.promote();
    assert_eq!(tasks(&sim), (2, 4));
    sim.settle();
    assert_eq!(ended(&sim).0, Outcome::Promoted);
    assert_eq!(tasks(&sim), (4, 0));
}

#[test]
fn stable_gives_nothing_up_while_haproxy_still_leads_to_it_after_its_routes_are_gone() {
    let mut first = release("good:1");
    first.spec.strategy.canary.as_mut().unwrap().max_surge = Some(Tasks::Number(1));
    let mut sim = Sim::serving(first);
    sim.image("good:2");
    sim.settle();
    assert_eq!(tasks(&sim), (4, 1));
    // Half of its tasks at its first step, as a worker.
    sim.apply(|release| {
        release.spec.routes.clear();
        let canary = release.spec.strategy.canary.as_mut().unwrap();
        canary.steps[0].replicas = Some(Tasks::Percent(50));
    });
    sim.promote();
    assert_eq!(tasks(&sim), (4, 1), "{:?}", sim.target());
    sim.agents();
    sim.promote();
    assert_eq!(tasks(&sim), (3, 1));
}

#[test]
fn on_the_way_back_the_canary_keeps_what_stable_has_no_tasks_for_yet() {
    let mut sim = promoting();
    assert_eq!(tasks(&sim), (2, 4));
    sim.swarm(u32::MAX);
    sim.agents();
    sim.ask(Verb::Abort, false);
    let mut seen = Vec::new();
    for _ in 0..8 {
        sim.promote();
        let now = (sim.weight(), tasks(&sim));
        if seen.last() != Some(&now) {
            seen.push(now);
        }
        sim.swarm(u32::MAX);
        sim.agents();
    }
    assert_eq!(ended(&sim).0, Outcome::Aborted);
    let weights: Vec<u16> = seen.iter().map(|(weight, _)| *weight).collect();
    assert!(weights.is_sorted_by(|a, b| a >= b), "{seen:?}");
    assert_eq!(weights[0], 5000, "stable has two tasks: it serves one half");
    assert_eq!(seen.last().unwrap(), &(0, (4, 0)), "{seen:?}");
    assert!(
        seen.iter()
            .all(|(_, (stable, canary))| stable + canary <= 6),
        "{seen:?}"
    );
}

#[test]
fn where_stables_tasks_do_not_come_back_it_gets_everything_at_the_deadline() {
    let mut sim = promoting();
    sim.ask(Verb::Abort, false);
    for _ in 0..5 {
        sim.promote();
        sim.swarm(2);
        sim.agents();
    }
    assert_eq!(
        (sim.weight(), sim.rollout().stage),
        (5000, Stage::RollingBack)
    );
    assert!(
        sim.status().why.contains("has 50 % still"),
        "{}",
        sim.status().why
    );
    sim.pass(600);
    sim.promote();
    assert_eq!(sim.weight(), 0);
}

#[test]
fn promote_full_passes_every_step_within_the_room() {
    let mut first = release("good:1");
    first.spec.strategy.canary.as_mut().unwrap().max_surge = Some(Tasks::Percent(50));
    let mut sim = Sim::serving(first);
    sim.image("good:2");
    sim.settle();
    sim.ask(Verb::Promote, true);
    sim.settle();
    assert_eq!(ended(&sim).0, Outcome::Promoted);
}

#[test]
fn a_canary_that_cannot_serve_keeps_nothing_on_the_way_back() {
    let mut sim = surging();
    let new = sim.target().canary.clone().unwrap();
    sim.dead.insert(new, 9);
    sim.swarm(u32::MAX);
    sim.agents();
    sim.ask(Verb::Abort, false);
    sim.promote();
    assert_eq!(sim.weight(), 0);
}
