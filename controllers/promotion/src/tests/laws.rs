//! The laws, checked on every plan of every test, and under anything that can happen in any order.

use fm_api::gates::When;
use fm_api::observed::TrafficInForce;
use fm_api::operation::Verb;
use fm_api::quantity::{Span, Weight};
use fm_api::release::{OnFailure, OnNewRevision};
use fm_api::rollout::Stage;
use fm_api::status::reasons;
use fm_api::strategy::Kind;
use fm_api::target::Target;
use fm_api::tasks::Tasks;
use fm_api::verdict::Decision;
use jiff::Timestamp;
use proptest::prelude::*;

use super::chaos::{act, calm, perform, strategy};
use super::every::comes_to_rest;
use super::sim::Sim;
use super::surge;
use super::{adopting, experiments, groups, previews};
use crate::plan::{Notice, Plan, World};

/// Every law that one plan can break.
pub(super) fn check(before: &World, plan: &Plan, now: Timestamp) {
    adopting::law(before, plan);
    let Some(new) = &plan.target else {
        return;
    };
    let empty = Target::default();
    let old = before.target.as_ref().unwrap_or(&empty);
    assert!(
        new.generation == old.generation + 1,
        "each write is a generation"
    );
    traffic_moves_only_to_capacity(before, old, new);
    stable_keeps_its_capacity(before, old, new);
    stable_is_never_lost(old, new);
    rollback_comes_first(before, old, new, now);
    failed_is_not_tried_again(old, new, plan);
    a_switch_is_whole(new);
    previews::law(new, now);
    experiments::law(before, old, new);
    groups::law(before, old, new);
    held_is_left_alone(before, old, new);
    the_way_back_only_falls(before, old, new);
    nothing_rises_past_a_gate(before, old, new, now);
    nothing_older_begins_by_itself(before, old, new, plan);
}

/// A person's word that lets what failed begin again.
fn tries_again(event: &Notice) -> bool {
    let words = ["asked to retry", "asked to undo --force"];
    words.iter().any(|words| event.message.contains(words))
}

/// Nothing that is older than what a job has done for good begins without a person's word.
fn nothing_older_begins_by_itself(world: &World, old: &Target, new: &Target, plan: &Plan) {
    let Some(rollout) = &new.rollout else {
        return;
    };
    let begins = old
        .rollout
        .as_ref()
        .is_none_or(|r| r.seed != rollout.seed && r.revision != rollout.revision);
    let Some(record) = world.records.get(&rollout.revision) else {
        return;
    };
    let number = |id: &fm_api::keys::RevisionId| Some(world.records.get(id)?.number);
    if !begins || old.behind(record, number).is_none() || old.deleting {
        return;
    }
    let word = plan.events.iter().any(tries_again);
    let let_back = old.let_back.as_ref() == Some(&rollout.revision);
    assert!(word || let_back, "{rollout:?}");
}

/// A canary that is taken back never gains, unless stable cannot serve.
fn the_way_back_only_falls(world: &World, old: &Target, new: &Target) {
    let back = |target: &Target| {
        let rollout = target.rollout.as_ref();
        rollout.is_some_and(|r| r.stage == Stage::RollingBack)
    };
    let (Some(before), Some(after)) = (&old.traffic, &new.traffic) else {
        return;
    };
    if !back(old) || !back(new) || after.weight <= before.weight {
        return;
    }
    let stable = new.stable.as_ref();
    let seen = world.swarm.as_ref().zip(stable);
    let ready = seen.and_then(|(seen, stable)| seen.revisions.get(stable));
    assert!(
        ready.is_none_or(|stable| stable.ready.is_empty()),
        "{before:?} rose to {after:?}"
    );
}

/// No share rises in a freeze, and none past a webhook that did not say yes.
fn nothing_rises_past_a_gate(world: &World, old: &Target, new: &Target, now: Timestamp) {
    let (Some(rollout), Some(split)) = (&new.rollout, &new.traffic) else {
        return;
    };
    let had = old
        .traffic
        .as_ref()
        .map_or(Weight::ZERO, |split| split.weight);
    let same = (old.rollout.as_ref()).is_some_and(|was| was.seed == rollout.seed);
    if rollout.stage != Stage::Shifting || rollout.warm || split.weight <= had || !same {
        return;
    }
    let settings = new.settings.as_ref().unwrap();
    let lifted = |role: Option<&str>| {
        let thawed = rollout.thawed.as_ref();
        thawed.is_some_and(|by| role.is_none_or(|role| by.roles.iter().any(|has| has == role)))
    };
    let mut windows = world.freezes.iter().chain(&settings.freeze);
    let frozen = windows.any(|window| window.until(now).is_some() && !lifted(window.role()));
    assert!(!frozen, "frozen: {rollout:?}");
    for hook in settings
        .webhooks
        .iter()
        .filter(|hook| hook.when == When::BeforeStep)
        .filter(|hook| {
            hook.step
                .is_none_or(|step| step as usize == rollout.step + 1)
        })
    {
        let id = format!("-beforeStep-{}-{}", rollout.step + 1, hook.name);
        let asked = rollout.gates.iter().any(|gate| gate.ends_with(&id));
        assert!(asked || rollout.overruled, "{id}: {rollout:?}");
    }
}

/// While somebody holds it nothing moves, but back to stable at somebody's word.
fn held_is_left_alone(world: &World, old: &Target, new: &Target) {
    let asked = world.operations.iter().any(|op| op.verb == Verb::Abort);
    let back = |target: &Target| {
        let rollout = target.rollout.as_ref();
        rollout.is_some_and(|r| r.stage == Stage::RollingBack)
    };
    if old.held.is_none() || new.held.is_none() || asked || back(old) || new.deleting {
        return;
    }
    assert_eq!(
        (&old.traffic, &old.revisions),
        (&new.traffic, &new.revisions)
    );
    assert_eq!((&old.stable, &old.settings), (&new.stable, &new.settings));
}

/// A switch moves all requests or none.
fn a_switch_is_whole(new: &Target) {
    let (Some(rollout), Some(split)) = (&new.rollout, &new.traffic) else {
        return;
    };
    // Only the manifest's `rollback.over` lets it go back little by little.
    let returns = rollout.stage == Stage::RollingBack && rollout.returns_from.is_some();
    if rollout.plan.kind == Kind::BlueGreen && !returns {
        assert!(
            [Weight::ZERO, Weight::FULL].contains(&split.weight),
            "{split:?}"
        );
    }
}

pub(super) fn ready(world: &World, revision: &fm_api::keys::RevisionId) -> u32 {
    let seen = world
        .swarm
        .as_ref()
        .and_then(|seen| seen.revisions.get(revision));
    seen.map_or(0, |seen| u32::try_from(seen.ready.len()).unwrap())
}

pub(super) fn healthy(world: &World, revision: &fm_api::keys::RevisionId) -> Vec<u32> {
    let seen = |instance| world.haproxy.get(instance)?.revisions.get(revision);
    world
        .live
        .iter()
        .filter(|instance| !world.draining.contains(*instance))
        .map(|instance| seen(instance).map_or(0, |s| s.healthy))
        .collect()
}

/// Law 1.
fn traffic_moves_only_to_capacity(world: &World, old: &Target, new: &Target) {
    let Some(split) = &new.traffic else {
        return;
    };
    assert_eq!(
        split
            .shares()
            .values()
            .map(|share| u32::from(*share))
            .sum::<u32>(),
        10_000
    );
    let before = old.traffic.as_ref().map(|t| t.shares()).unwrap_or_default();
    for (revision, share) in split.shares() {
        let had = before.get(&revision).copied().unwrap_or(0);
        let back = old.stable.as_ref() == Some(&revision) && old.traffic.is_some();
        if share <= had || back {
            continue;
        }
        let kept = new
            .rollout
            .as_ref()
            .is_some_and(|r| r.stage == Stage::RollingBack);
        // Law 4 where a third revision is wanted already: stable has no task left, and the side that has some takes its place.
        let kept = kept
            || (new.stable.as_ref() == Some(&revision)
                && old.stable.as_ref().is_some_and(|s| ready(world, s) == 0)
                && old.rollout.as_ref().is_some_and(|r| r.revision == revision));
        let full = u64::from(new.settings.as_ref().unwrap().replicas);
        // A worker that is given routes: stable is what there is, as with a side that is kept.
        let kept = kept
            || (old.traffic.is_none()
                && old.stable == new.stable
                && new.stable.as_ref() == Some(&revision));
        let needed = if kept {
            full.min(1)
        } else {
            (full * u64::from(share)).div_ceil(10_000)
        };
        if needed == 0 {
            continue;
        }
        assert!(
            u64::from(ready(world, &revision)) >= needed,
            "ready in Swarm before traffic"
        );
        let healthy = healthy(world, &revision);
        assert!(!healthy.is_empty(), "no rise without a live agent");
        let first = old.stable.is_none();
        if kept || first {
            assert!(
                healthy.iter().any(|n| u64::from(*n) >= needed),
                "healthy somewhere"
            );
        } else {
            assert!(
                healthy.iter().all(|n| u64::from(*n) >= needed),
                "healthy everywhere: {healthy:?} of {needed} for {revision}: {:?} {:?} -> {:?} {:?}",
                old.stable,
                old.traffic,
                new.stable,
                new.traffic
            );
            let gone = world.haproxy.iter().any(|(instance, seen)| {
                seen.uid == new.uid
                    && seen.traffic.is_some()
                    && !world.live.contains(instance)
                    && !world.draining.contains(instance)
            });
            assert!(!gone, "an agent that has gone freezes every rise");
        }
    }
}

/// Law 2, and: no tasks are taken from where requests may still go.
fn stable_keeps_its_capacity(world: &World, old: &Target, new: &Target) {
    if new.deleting {
        return;
    }
    if let Some(stable) = &new.stable {
        let wanted = &new.revisions[stable];
        let full = new.settings.as_ref().unwrap().replicas;
        match new
            .rollout
            .as_ref()
            .filter(|r| r.plan.max_surge.is_some() && !r.warm)
        {
            None => assert_eq!(wanted.replicas, full, "stable has full capacity"),
            Some(rollout) => surge::no_further(world, old, new, rollout, full),
        }
        assert!(!wanted.draining, "stable does not drain");
        assert!(!new.leaving.contains_key(stable));
    }
    let slots: Vec<_> = new.revisions.values().filter_map(|r| r.slot).collect();
    let distinct: std::collections::BTreeSet<_> = slots.iter().collect();
    assert_eq!(
        slots.len(),
        distinct.len(),
        "no two revisions share a backend"
    );
    for revision in old.revisions.keys() {
        let goes = !new.revisions.contains_key(revision);
        let draining = |target: &Target| target.revisions.get(revision).is_some_and(|r| r.draining);
        let drains = draining(new) && !draining(old);
        if !goes && !drains {
            continue;
        }
        assert!(new.canary.as_ref() != Some(revision) && new.stable.as_ref() != Some(revision));
        // Law 12: alive or gone, an HAProxy may lead where it was last seen to lead.
        let names = |split: &TrafficInForce| {
            split.stable == *revision || split.canary.as_ref() == Some(revision)
        };
        for (instance, seen) in &world.haproxy {
            let out = world.draining.contains(instance) && !world.live.contains(instance);
            let serves = seen.uid == new.uid && seen.traffic.as_ref().is_some_and(names) && !out;
            assert!(!serves, "{instance} may still send requests to {revision}");
        }
    }
    for revision in [&new.stable, &new.canary].into_iter().flatten() {
        assert!(
            new.revisions.contains_key(revision),
            "what is named has a service"
        );
    }
    for revision in new.revisions.keys() {
        let named = [&new.stable, &new.canary]
            .into_iter()
            .flatten()
            .any(|r| r == revision);
        assert!(
            named
                || new.leaving.contains_key(revision)
                || new.previews.contains_key(revision)
                || new.orphans.contains(revision),
            "nothing is forgotten"
        );
    }
}

/// Law 3.
fn stable_is_never_lost(old: &Target, new: &Target) {
    assert!(old.stable.is_none() || new.stable.is_some());
    if let (Some(split), Some(stable)) = (&new.traffic, &new.stable) {
        assert_eq!(&split.stable, stable);
    }
}

/// Law 4.
fn rollback_comes_first(world: &World, old: &Target, new: &Target, _now: Timestamp) {
    let Some(rollout) = &old.rollout else {
        return;
    };
    let trial = matches!(
        rollout.stage,
        Stage::Preparing | Stage::Scaling | Stage::Shifting | Stage::Holding
    );
    if !trial || old.stable.is_none() || new.deleting {
        return;
    }
    let aborted = world.operations.iter().any(|op| {
        op.verb == Verb::Abort
            && op.force
            && !old.answered.contains(&op.id)
            && op.revision.is_none()
    });
    let run = new
        .analysis
        .as_ref()
        .or(old.analysis.as_ref())
        .map(|a| &a.run);
    let harm = world
        .verdict
        .as_ref()
        .is_some_and(|v| Some(&v.run) == run && v.decision == Decision::Rollback)
        && !rollout.overruled
        && new.rollout.as_ref().is_none_or(|r| !r.overruled)
        // What broke stable, too, is no fault of the canary's.
        && new.rollout.as_ref().is_none_or(|r| r.both_down.is_none())
        && new.held.is_none()
        && new
            .ran
            .get(&rollout.revision)
            .is_none_or(|ran| ran.irreversible.is_none())
        && new
            .settings
            .as_ref()
            .is_some_and(|s| s.on_failure == OnFailure::Rollback);
    if !aborted && !harm {
        return;
    }
    let Some(split) = &new.traffic else {
        return;
    };
    let stable = new.stable.as_ref().unwrap();
    let broken = ready(world, stable) == 0 && ready(world, &rollout.revision) > 0;
    // The next one in the queue may have begun in the same look.
    let none = split.canary.is_some() || split.weight == Weight::ZERO;
    let back = split.canary.as_ref() != Some(&rollout.revision) && none;
    // The manifest may let a canary that was shown to do harm give its share back little by little, never an abort.
    let over = new.settings.as_ref().map(|s| s.rollback.over);
    let from = new.rollout.as_ref().and_then(|run| run.returns_from);
    let asked = over.is_some_and(|over| over > Span::ZERO) && !aborted;
    let falls = asked && from.is_some_and(|from| split.weight < from);
    let waits = surge::waits_for_stable(world, new, split);
    assert!(
        back || broken || falls || waits,
        "stable gets everything back at once: {split:?}"
    );
}

/// Law 8.
fn failed_is_not_tried_again(old: &Target, new: &Target, plan: &Plan) {
    if let Some(rollout) = &new.rollout {
        let begins = old
            .rollout
            .as_ref()
            .is_none_or(|r| r.revision != rollout.revision);
        assert!(!begins || !new.failed.contains_key(&rollout.revision) || rollout.ending.is_some());
    }
    let retried = plan.events.iter().any(tries_again);
    for revision in old.failed.keys() {
        let still = new.failed.contains_key(revision) || plan.forget.contains(revision);
        let promoted = new.stable.as_ref() == Some(revision);
        assert!(
            still || retried || promoted,
            "only a person forgives {revision}"
        );
    }
}

/// A plan made again after a perfect act is empty.
pub(super) fn empty(world: &World, again: &Plan) {
    assert_eq!(
        again.target, None,
        "planned again: {:?} over {:?}",
        again.why, world.target
    );
    assert!(
        again.records.is_empty() && again.events.is_empty(),
        "{again:?}"
    );
    assert!(
        again.forget.is_empty() && again.answered.is_empty(),
        "{again:?}"
    );
    assert!(
        again.remove || again.status == world.status,
        "{:?}",
        again.status
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(600), max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn laws_hold_whatever_happens_and_abort_reaches_stable(
        acts in proptest::collection::vec(act(), 1..80),
        pause in any::<bool>(),
        policy in prop_oneof![Just(OnNewRevision::Replace), Just(OnNewRevision::Queue)],
        keep in prop_oneof![Just(0_u64), Just(60)],
        started in any::<bool>(),
        replicas in proptest::option::of(1_u32..6),
        green in 0..4_u8,
        surge in proptest::option::of(1_u32..4),
        inspect in prop_oneof![Just(0_u64), Just(30)],
        over in prop_oneof![Just(0_u64), Just(20)],
    ) {
        let mut first = strategy(green, "good:0");
        if let Some(canary) = first.spec.strategy.canary.as_mut() {
            canary.max_surge = surge.map(Tasks::Number);
        }
        first.spec.keep_failed = Span::secs(inspect);
        first.spec.rollback.over = Span::secs(over);
        first.spec.on_failure = if pause { OnFailure::Pause } else { OnFailure::Rollback };
        first.spec.on_new_revision = policy;
        if let Some(canary) = &mut first.spec.strategy.canary {
            canary.keep_previous = Span::secs(keep);
            canary.steps[0].replicas = replicas.map(Tasks::Number);
        }
        if let Some(both) = &mut first.spec.strategy.blue_green {
            both.keep_previous = Span::secs(keep);
        }
        let mut sim = if started && green < 2 { Sim::serving(first) } else { Sim::new(first) };
        for act in &acts {
            perform(&mut sim, act);
        }
        comes_to_rest(&sim);
        calm(&mut sim);
        for _ in 0..3 {
            sim.ask(Verb::Abort, false);
            sim.run(40);
        }
        let target = sim.target();
        // A stable that never serves again keeps the canary that does: nothing else would.
        let kept = sim.status().reason == reasons::STABLE_BROKEN;
        if target.stable.is_some() && !kept {
            prop_assert!(target.rollout.is_none(), "{:?}", sim.status());
            prop_assert!(target.leaving.is_empty(), "{:?}", target.leaving);
            prop_assert_eq!(target.revisions.len(), 1);
            prop_assert_eq!(target.traffic.as_ref().map_or(0, |t| t.weight.basis_points()), 0);
        }
        sim.apply(|release| release.metadata.deleted_at = Some(Timestamp::UNIX_EPOCH));
        sim.run(10);
        prop_assert!(sim.world.target.is_none(), "{:?}", sim.status());
        prop_assert!(sim.world.status.is_none() && sim.world.records.is_empty());
    }
}
