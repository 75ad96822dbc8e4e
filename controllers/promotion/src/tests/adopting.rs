//! A service that was there before: it is stable from the start, and goes only at a person's word.

use fm_api::adoption::AdoptionState;
use fm_api::keys::RevisionId;
use fm_api::operation::Verb;
use fm_api::quantity::Span;
use fm_api::release::{Adopted, Release};
use fm_api::rollout::{Outcome, Stage};
use fm_api::status::{Phase, reasons};
use jiff::Timestamp;
use proptest::prelude::*;

use super::chaos::{act, perform, strategy};
use super::sim::{Sim, release};
use crate::plan::{Plan, World};

/// What was there before and was not replaced by a promoted revision never goes without a person's word.
pub(super) fn law(world: &World, plan: &Plan) {
    let Some(old) = &world.target else {
        return;
    };
    let Some(adoption) = &old.adoption else {
        return;
    };
    let id = &adoption.revision;
    let there = old.revisions.contains_key(id);
    let goes =
        plan.remove || (plan.target.as_ref()).is_some_and(|new| !new.revisions.contains_key(id));
    let replaced = match adoption.state {
        AdoptionState::Replaced | AdoptionState::Gone => true,
        AdoptionState::Serves | AdoptionState::GivenBack => false,
    };
    if !there || !goes || replaced {
        return;
    }
    // A look may promote another one and see that nothing leads to this one any more.
    let promoted = plan.target.as_ref().is_some_and(|new| {
        let mut ended = new.history.iter().skip(old.history.len().saturating_sub(1));
        let ended = ended
            .any(|e| Some(&e.revision) == new.stable.as_ref() && e.outcome == Outcome::Promoted);
        let other = new.stable.as_ref().is_some_and(|stable| stable != id);
        other
            && (ended
                || new
                    .rollout
                    .as_ref()
                    .is_some_and(|r| r.stage == Stage::Draining))
    });
    let spec = world.spec.as_ref();
    let said = spec.is_some_and(|spec| spec.uid == old.uid && spec.remove_adopted);
    assert!(
        said || promoted || old.orphans.contains(id),
        "{adoption:?} goes"
    );
}

fn adopted(mut release: Release) -> Release {
    release.metadata.adopted = Some(Adopted {
        id: "abc".to_owned(),
        name: "old_web".to_owned(),
    });
    release
}

fn first(sim: &Sim) -> RevisionId {
    let records = sim.world.records.values();
    let mut found = records.filter(|record| record.adopted.is_some());
    found.next().unwrap().id.clone()
}

fn has(sim: &Sim, revision: &RevisionId) -> bool {
    let target = sim.world.target.as_ref();
    target.is_some_and(|target| target.revisions.contains_key(revision))
}

/// Adopted, and HAProxy never finds it healthy.
fn sick() -> Sim {
    let mut sim = Sim::new(adopted(release("sick:1")));
    sim.settle();
    sim
}

#[test]
fn it_is_stable_before_haproxy_finds_it_healthy() {
    let mut sim = sick();
    let id = first(&sim);
    assert_eq!(sim.target().stable, Some(id.clone()));
    assert_eq!(sim.status().reason, reasons::ADOPTED_UNHEALTHY);
    assert_eq!(sim.status().phase, Phase::Progressing);
    assert!(sim.status().why.contains("old_web"), "{}", sim.status().why);
    let history = &sim.target().history;
    assert_eq!(history.len(), 1, "undo has something to go back to");
    sim.pass(3600);
    sim.run(3);
    assert_eq!(sim.status().phase, Phase::Degraded);
    assert!(sim.status().waits_for_person);
}

#[test]
fn a_new_image_waits_until_it_is_healthy() {
    let mut sim = sick();
    let id = first(&sim);
    sim.image("good:2");
    sim.run(20);
    assert!(has(&sim, &id));
    assert!(sim.target().rollout.is_none(), "{:?}", sim.target().rollout);
    let why = sim.status().why.clone();
    assert!(why.contains("good:2") && why.contains("waits"), "{why}");
}

#[test]
fn one_that_runs_nowhere_does_not_keep_what_mends_it_from_beginning() {
    let mut sim = Sim::new(adopted(release("crash:1")));
    sim.settle();
    let id = first(&sim);
    assert_eq!(sim.target().stable, Some(id.clone()));
    sim.image("good:2");
    sim.run(60);
    assert_ne!(sim.target().stable, Some(id), "{:?}", sim.status());
    assert_eq!(sim.status().phase, Phase::Healthy);
}

#[test]
fn a_new_image_right_after_it_is_a_canary_beside_it() {
    let mut sim = Sim::new(adopted(release("good:1")));
    while sim.world.target.as_ref().is_none_or(|t| t.stable.is_none()) {
        sim.promote();
        sim.swarm(u32::MAX);
    }
    let id = first(&sim);
    sim.image("good:2");
    sim.settle();
    assert_eq!(sim.target().stable, Some(id.clone()));
    let canary = sim.rollout().revision.clone();
    assert!(canary != id && has(&sim, &id) && has(&sim, &canary));
    assert_eq!(sim.target().revisions[&id].replicas, 4);
    sim.ask(Verb::Abort, true);
    sim.run(20);
    assert!(has(&sim, &id));
}

#[test]
fn a_promoted_rollout_replaces_it_as_any_other() {
    let mut sim = Sim::serving(adopted(release("good:1")));
    let id = first(&sim);
    sim.image("good:2");
    sim.run(3);
    sim.ask(Verb::Promote, true);
    sim.run(40);
    assert!(!has(&sim, &id), "{:?}", sim.target().revisions);
    let adoption = sim.target().adoption.clone().unwrap();
    assert_eq!(adoption.state, AdoptionState::Gone);
    sim.apply(|release| release.metadata.deleted_at = Some(Timestamp::UNIX_EPOCH));
    sim.run(10);
    assert!(sim.world.target.is_none());
}

fn delete(sim: &mut Sim, orphan: bool, remove: bool) {
    sim.apply(|release| release.metadata.deleted_at = Some(Timestamp::UNIX_EPOCH));
    let spec = sim.world.spec.as_mut().unwrap();
    (spec.orphan, spec.remove_adopted) = (orphan, remove);
}

/// Deletes; whether the adopted service was given back on the way.
fn gives_back(sim: &mut Sim, id: &RevisionId) -> bool {
    let mut given = false;
    for _ in 0..40 {
        if sim.world.target.is_none() {
            break;
        }
        sim.promote();
        sim.swarm(u32::MAX);
        sim.agents();
        sim.pass(5);
        let target = sim.world.target.as_ref();
        given |= target.is_some_and(|target| target.orphans.contains(id));
    }
    assert!(sim.world.target.is_none(), "{:?}", sim.world.status);
    given
}

type State = (&'static str, fn() -> Sim);

#[test]
fn whatever_state_it_is_in_a_deletion_gives_it_back_unless_somebody_says_remove() {
    let states: [State; 6] = [
        ("never healthy", sick),
        ("serving", || Sim::serving(adopted(release("good:1")))),
        ("a new one waits", || {
            let mut sim = sick();
            sim.image("good:2");
            sim.run(5);
            sim
        }),
        ("in the middle of a rollout", || {
            let mut sim = Sim::serving(adopted(release("good:1")));
            sim.image("good:2");
            sim.settle();
            sim
        }),
        ("kept as the previous one", || {
            let mut first = adopted(release("good:1"));
            first.spec.strategy.canary.as_mut().unwrap().keep_previous = Span::secs(600);
            let mut sim = Sim::serving(first);
            sim.image("good:2");
            sim.run(3);
            sim.ask(Verb::Promote, true);
            sim.settle();
            sim
        }),
        ("previews asked for", || {
            let mut sim = Sim::serving(adopted(release("good:1")));
            let other = strategy(2, "any").spec;
            sim.apply(|release| release.spec.strategy = other.strategy);
            sim.image("good:2");
            sim.settle();
            sim
        }),
    ];
    for (state, make) in states {
        for (orphan, remove, given) in [
            (true, false, true),
            (false, true, false),
            (false, false, true),
        ] {
            let mut sim = make();
            let id = first(&sim);
            assert!(has(&sim, &id), "{state}");
            delete(&mut sim, orphan, remove);
            assert_eq!(
                gives_back(&mut sim, &id),
                given,
                "{state} {orphan} {remove}"
            );
        }
    }
}

#[test]
fn it_can_be_given_back_while_its_removal_waits_for_traffic() {
    let mut sim = Sim::serving(adopted(release("good:1")));
    let id = first(&sim);
    delete(&mut sim, false, true);
    sim.promote();
    assert!(sim.target().deleting);
    delete(&mut sim, true, false);
    assert!(gives_back(&mut sim, &id));
}

#[test]
fn what_an_earlier_version_began_with_becomes_stable() {
    let mut sim = Sim::serving(release("good:1"));
    let id = sim.target().stable.clone().unwrap();
    let record = sim.world.records.get_mut(&id).unwrap();
    record.adopted = Some(Adopted {
        id: "abc".to_owned(),
        name: "old_web".to_owned(),
    });
    sim.promote();
    let adoption = sim.target().adoption.clone().unwrap();
    assert_eq!(
        (adoption.revision, adoption.state),
        (id, AdoptionState::Serves)
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(300), max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    /// The law is checked on each plan on the way.
    #[test]
    fn nothing_removes_it_without_a_word(
        acts in proptest::collection::vec(act(), 1..60),
        kind in 0..4_u8,
        image in prop_oneof![Just("good:0"), Just("sick:0"), Just("crash:0")],
    ) {
        let mut sim = Sim::new(adopted(strategy(kind, image)));
        for act in &acts {
            perform(&mut sim, act);
        }
    }
}
