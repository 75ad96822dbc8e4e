//! Releases that are promoted, and taken back, together.

use fm_api::gates::GateVerdict;
use fm_api::keys::ReleaseKey;
use fm_api::operation::Verb;
use fm_api::quantity::Span;
use fm_api::release::{OnFailure, Release};
use fm_api::rollout::{Meeting, Outcome, Stage, Wait};
use fm_api::status::{Phase, reasons};
use fm_api::target::Target;
use proptest::prelude::*;

use super::chaos::{Act, act, perform};
use super::sim::{Sim, release};
use super::strategies::blue_green;
use super::workers::worker;
use crate::plan::{Other, World};

const NAMES: [&str; 3] = ["shop", "api", "site"];

/// Releases of one group; each sees what the others have stored.
struct Group(Vec<Sim>);

/// Two steps, nothing to wait for but their holds.
fn plain(image: &str) -> Release {
    let mut release = release(image);
    release.spec.analysis.disabled = true;
    release
}

impl Group {
    /// The first revision of each serves.
    fn serving(releases: impl IntoIterator<Item = Release>) -> Self {
        let with = releases.into_iter().map(|mut release| {
            release.spec.group = Some("web".to_owned());
            Sim::serving(release)
        });
        let mut group = Self(with.collect());
        group.settle();
        group
    }

    fn sees(&mut self, one: usize) -> &mut Sim {
        let fellows = (self.0.iter().enumerate()).filter(|(index, _)| *index != one);
        let fellows = fellows.filter_map(|(index, sim)| {
            let spec = sim.world.spec.as_ref().filter(|spec| !spec.deleted)?;
            Some(Other {
                key: ReleaseKey::new("default", NAMES[index]),
                generation: Some(spec.generation),
                invalid: spec.body.is_err(),
                target: sim.world.target.clone(),
            })
        });
        let fellows = fellows.collect();
        let sim = &mut self.0[one];
        sim.world.fellows = fellows;
        sim
    }

    /// Everybody acts until nothing changes any more. No time passes.
    fn settle(&mut self) {
        for _ in 0..20 {
            let before: Vec<_> = self.0.iter().map(|sim| sim.world.target.clone()).collect();
            for one in 0..self.0.len() {
                self.sees(one).settle();
            }
            let same = |(sim, before): (&Sim, &Option<Target>)| sim.world.target == *before;
            if self.0.iter().zip(&before).all(same) {
                return;
            }
        }
        panic!("the group never settles: {:?}", self.0[0].world.status);
    }

    fn pass(&mut self, seconds: u64) {
        for sim in &mut self.0 {
            sim.pass(seconds);
        }
        self.settle();
    }

    /// A new revision of each of these.
    fn change(&mut self, image: &str, which: &[usize]) {
        for one in which {
            self.0[*one].image(image);
        }
        self.settle();
    }

    fn phase(&self, one: usize) -> Phase {
        self.0[one].status().phase
    }

    fn why(&self, one: usize) -> (&str, &str) {
        let status = self.0[one].status();
        (&status.reason, &status.why)
    }

    fn image(&self, one: usize) -> &str {
        let sim = &self.0[one];
        let stable = sim.target().stable.as_ref().unwrap();
        &sim.world.records[stable].workload.image
    }
}

/// Both have begun; the first stands before its promotion, the second has one more step before it.
fn one_is_ready() -> Group {
    let mut slow = plain("good:1");
    let steps = &mut slow.spec.strategy.canary.as_mut().unwrap().steps;
    steps[1].hold = Span::secs(300);
    let mut group = Group::serving([plain("good:1"), slow]);
    group.change("good:2", &[0, 1]);
    group.pass(10);
    group.pass(20);
    assert_eq!(group.0[0].rollout().meets, Some(Meeting::Promotion));
    group
}

#[test]
fn the_first_that_could_be_promoted_waits_for_the_others_and_then_all_are() {
    let mut group = one_is_ready();
    let (reason, why) = group.why(0);
    assert_eq!(reason, reasons::GROUP);
    insta::assert_snapshot!(why, @"it is ready, and waits for its group: for default/api, which is at step 2 of 2");
    assert_eq!(group.phase(0), Phase::Progressing);
    let soon = group.0[0].next_look.unwrap();
    assert_eq!(
        soon,
        group.0[0]
            .now
            .checked_add(Span::secs(1).to_signed())
            .unwrap()
    );

    group.pass(300);
    for one in 0..2 {
        assert_eq!(group.image(one), "good:2");
        assert_eq!(group.phase(one), Phase::Healthy);
    }
}

#[test]
fn a_release_whose_manifest_did_not_change_holds_up_nobody() {
    let mut group = Group::serving([plain("good:1"), plain("good:1")]);
    group.change("good:2", &[0]);
    group.pass(10);
    group.pass(20);
    assert_eq!(group.image(0), "good:2");
    assert_eq!(group.image(1), "good:1");
}

#[test]
fn what_holds_one_up_is_told_by_the_others() {
    type Change = fn(&mut Sim);
    let cases: [(Change, &str); 5] = [
        (|sim| sim.spoil(), "whose stored spec cannot be used"),
        (|sim| _ = sim.ask(Verb::Pause, false), "which is paused"),
        (|sim| _ = sim.ask(Verb::Hold, false), "which is held"),
        (
            |sim| {
                sim.release.spec.on_failure = OnFailure::Pause;
                sim.image("crash:1");
            },
            "which is paused",
        ),
        (|sim| sim.image("lost:1"), "whose image is being resolved"),
    ];
    for (change, told) in cases {
        let mut group = one_is_ready();
        change(&mut group.0[1]);
        group.settle();
        group.pass(2);
        assert_eq!(
            group.0[0].rollout().meets,
            Some(Meeting::Promotion),
            "{told}"
        );
        let (_, why) = group.why(0);
        assert!(why.contains(told), "{told}: {why}");
    }
}

#[test]
fn one_that_fails_takes_the_others_back_and_they_begin_again_with_it() {
    let mut group = one_is_ready();
    group.0[1].ask(Verb::Abort, false);
    group.0[1].promote();
    // In its next look, before anything else.
    group.sees(0).promote();
    let rollout = group.0[0].rollout();
    assert_eq!(rollout.stage, Stage::RollingBack);
    group.settle();
    assert_eq!(group.phase(0), Phase::Degraded);
    let (reason, why) = group.why(0);
    assert_eq!(reason, reasons::TAKEN_BACK_WITH_GROUP);
    insta::assert_snapshot!(why, @"stable serves; revision 2 (good:2) was taken back with default/api, which is of the same group: aborted by bob; it begins again with that one");
    let entry = group.0[0].target().history.last().unwrap().clone();
    assert_eq!(entry.outcome, Outcome::RolledBack);
    assert!(
        group.0[0].target().failed.is_empty(),
        "nothing speaks against it"
    );
    // As long as the other one has failed it stays so.
    group.0[0].ask(Verb::Retry, false);
    group.settle();
    let answer = group.0[0].status().last_operation.clone().unwrap();
    assert!(!answer.accepted);
    insta::assert_snapshot!(answer.message, @"it begins again with default/api, which is of the same group: retry that one");
    group.pass(3600);
    assert!(group.0[0].target().rollout.is_none());

    group.0[1].ask(Verb::Retry, false);
    group.settle();
    for sim in &group.0 {
        assert_eq!(sim.rollout().step, 0);
    }
    // A newer revision of the one that failed is as good.
    group.0[1].ask(Verb::Abort, false);
    group.settle();
    assert_eq!(group.why(0).0, reasons::TAKEN_BACK_WITH_GROUP);
    group.change("good:3", &[1]);
    for seconds in [10, 20, 300] {
        group.pass(seconds);
    }
    assert_eq!((group.image(0), group.image(1)), ("good:2", "good:3"));
}

#[test]
fn a_new_revision_does_not_begin_while_another_one_has_failed() {
    let mut group = Group::serving([plain("good:1"), plain("good:1")]);
    group.change("crash:1", &[1]);
    assert_eq!(group.phase(1), Phase::Degraded);
    group.change("good:2", &[0]);
    assert!(group.0[0].target().rollout.is_none());
    let (reason, why) = group.why(0);
    assert_eq!(reason, reasons::GROUP);
    assert!(
        why.starts_with("waits for its group: for default/api, whose revision ")
            && why.ends_with(" was taken back or failed"),
        "{why}"
    );
    assert_eq!(group.phase(0), Phase::Progressing);
    // Whoever goes back there lets it begin.
    group.change("good:1", &[1]);
    assert!(group.0[0].target().rollout.is_some());
    // What had failed before a rollout began takes it not back.
    group.0[1].image("crash:1");
    group.0[1].settle();
    group.sees(0);
    let failed = group.0[0].world.fellows[0].clone();
    let target = failed.target.unwrap();
    let at = target.failed[target.wanted.as_ref().unwrap()].at;
    assert!(at >= group.0[0].rollout().started_at);
    group.settle();
    assert_eq!(group.why(0).0, reasons::TAKEN_BACK_WITH_GROUP);
}

#[test]
fn a_switch_and_a_promotion_meet_twice() {
    let mut switches = blue_green("good:1");
    switches.spec.analysis.disabled = true;
    let mut group = Group::serving([plain("good:1"), switches]);
    group.change("good:2", &[0, 1]);
    group.pass(10);
    // The hold of the switch is over; the canary still has a step before it.
    let (_, why) = group.why(1);
    insta::assert_snapshot!(why, @"it is ready, and waits for its group: for default/shop, which is at step 2 of 2");
    assert_eq!(group.0[1].rollout().meets, Some(Meeting::Switch));
    assert_eq!(group.0[1].weight(), 0);
    group.pass(20);
    assert_eq!(group.0[1].weight(), 10_000, "switched, and watched");
    let (_, why) = group.why(0);
    insta::assert_snapshot!(why, @"it is ready, and waits for its group: for default/api, whose switch was made and is watched");
    group.pass(20);
    assert_eq!((group.image(0), group.image(1)), ("good:2", "good:2"));
}

#[test]
fn a_person_may_promote_one_without_the_others() {
    for full in [false, true] {
        let mut group = one_is_ready();
        group.0[0].ask(Verb::Promote, full);
        group.settle();
        assert_eq!(group.image(0), "good:2", "{full}");
        assert_eq!(group.image(1), "good:1", "{full}");
        assert!(group.0[1].target().rollout.is_some());
        group.pass(300);
        assert_eq!(group.image(1), "good:2", "{full}");
    }
}

#[test]
fn whoever_stops_at_failures_stops_at_those_of_others_too() {
    let mut group = one_is_ready();
    group.0[0].apply(|release| release.spec.on_failure = OnFailure::Pause);
    group.settle();
    group.0[1].ask(Verb::Abort, false);
    group.settle();
    assert_eq!(group.phase(0), Phase::Paused);
    assert!(
        group.why(0).1.contains("of the same group"),
        "{}",
        group.why(0).1
    );
    group.0[0].ask(Verb::Resume, false);
    group.settle();
    // A person has seen it: it is ready, and waits.
    assert_eq!(group.why(0).0, reasons::GROUP);
}

#[test]
fn a_first_revision_is_started_whatever_has_failed_elsewhere() {
    let mut group = Group::serving([plain("good:1")]);
    group.change("crash:1", &[0]);
    assert_eq!(group.phase(0), Phase::Degraded);
    let mut new = plain("good:1");
    new.spec.group = Some("web".to_owned());
    group.0.push(Sim::new(new));
    group.settle();
    assert_eq!(group.image(1), "good:1");
}

/// What must hold of every write of one of a group: none is promoted without the others, and none goes on after a failure.
pub(super) fn law(before: &World, old: &Target, new: &Target) {
    let known = new.rollout.as_ref().or(old.rollout.as_ref());
    let (Some(rollout), Some(_)) = (known, &old.stable) else {
        return;
    };
    let goes_back = |target: &Target| {
        let rollout = target.rollout.as_ref();
        rollout.is_some_and(|rollout| rollout.stage == Stage::RollingBack)
    };
    // The one that was promoted; the next one may have begun in the same look.
    let both = [&old.rollout, &new.rollout].into_iter().flatten();
    let mut promoted = both.filter(|rollout| Some(&rollout.revision) == new.stable.as_ref());
    let passed = promoted.any(|run| run.warm || run.full || run.passed.contains(&Wait::Group))
        || before
            .operations
            .iter()
            .any(|asked| asked.verb == Verb::Promote);
    // One that runs nowhere and was adopted so serves nobody: what takes its place waits for nobody either.
    let nowhere = old.traffic.is_none();
    if new.stable != old.stable && !goes_back(old) && !passed && !nowhere {
        for fellow in &before.fellows {
            let target = fellow.target.as_ref().unwrap();
            assert!(target.spec_generation >= fellow.generation.unwrap());
            let come = match &target.rollout {
                None => target.wanted == target.stable,
                Some(other) => {
                    other.stage == Stage::Draining || other.meets == Some(Meeting::Promotion)
                }
            };
            assert!(come, "promoted without {:?}", target.rollout);
        }
    }
    if new.rollout.is_none() {
        return;
    }
    let fails = |fellow: &Other| {
        let target = fellow.target.as_ref()?;
        let taken_in = target.spec_generation >= fellow.generation? && target.resolve.is_none();
        let failed = target.failed.get(target.wanted.as_ref()?)?;
        (taken_in && failed.at >= rollout.started_at).then_some(())
    };
    let moves = !matches!(rollout.stage, Stage::Draining | Stage::RollingBack)
        && old.rollout.is_some()
        && old.stable.is_some()
        && old.held.is_none()
        && new.held.is_none()
        && !rollout.warm
        && !rollout.overruled;
    if moves && before.fellows.iter().any(|fellow| fails(fellow).is_some()) {
        assert!(
            rollout.paused.is_some(),
            "goes on although another failed: {rollout:?}"
        );
    }
}

/// What becomes of each when nothing disturbs them any more.
fn calm(group: &mut Group) {
    for one in 0..group.0.len() {
        let sim = group.sees(one);
        super::chaos::calm(sim);
        sim.apply(|release| {
            release.spec.on_new_revision = fm_api::release::OnNewRevision::Replace;
            release.spec.on_failure = OnFailure::Rollback;
            release.spec.webhooks.clear();
            release.spec.before_traffic.clear();
            release.spec.experiment = None;
            release.spec.analysis.disabled = true;
            if release.spec.strategy.preview.is_some() {
                release.spec.strategy = plain("any").spec.strategy;
            }
            if let Some(canary) = &mut release.spec.strategy.canary {
                // What any walk asks for need not be valid.
                canary.max_surge = None;
                canary
                    .steps
                    .iter_mut()
                    .for_each(|step| step.approval = None);
            }
            if let Some(both) = &mut release.spec.strategy.blue_green {
                both.approval = None;
            }
        });
        for verb in [Verb::EndHold, Verb::Abort] {
            sim.ask(verb, false);
        }
    }
    // What is applied before an abort is answered does not begin.
    for one in 0..group.0.len() {
        group.sees(one).promote();
        group.0[one].image(&format!("good:last-{one}"));
    }
    for _ in 0..25 {
        // A job that was begun comes to its end, also when nobody asks for it any more.
        for sim in &mut group.0 {
            sim.gates(GateVerdict::Yes);
        }
        group.pass(60);
    }
}

proptest! {
    #[test]
    fn none_is_promoted_without_the_others_none_goes_on_after_a_failure_and_none_waits_for_ever(
        kinds in proptest::collection::vec(0..3_u8, 2..4),
        acts in proptest::collection::vec((0..3_usize, act()), 1..60),
    ) {
        let releases = kinds.iter().map(|kind| match kind {
            0 => plain("good:0"),
            1 => blue_green("good:0"),
            _ => worker("good:0"),
        });
        let mut group = Group::serving(releases);
        // What has routes, and whether they find it well, is not a group's matter.
        let routes = |act: &&(usize, Act)| !matches!(act.1, Act::Route | Act::Unroute | Act::Strategy(_));
        for (one, act) in acts.iter().filter(routes) {
            let one = one % group.0.len();
            // Time is the same for all of them.
            if let Act::Pass(seconds) | Act::Settle(_, seconds) = act {
                let others = group.0.iter_mut().enumerate().filter(|(index, _)| *index != one);
                others.for_each(|(_, sim)| sim.pass(*seconds));
            }
            perform(group.sees(one), act);
            group.sees(one).promote();
        }
        // With no task wanted nothing is tried, and it rightly waits for a person.
        for sim in &mut group.0 {
            sim.apply(|release| release.spec.replicas = release.spec.replicas.max(1));
        }
        calm(&mut group);
        // A person is called to an adopted service that HAProxy never finds healthy, and the others wait for it.
        let called = |sim: &Sim| {
            let status = sim.world.status.as_ref();
            status.is_some_and(|s| s.waits_for_person && s.reason == fm_api::status::reasons::ADOPTED_UNHEALTHY)
        };
        if group.0.iter().any(called) {
            return Ok(());
        }
        for (one, sim) in group.0.iter().enumerate() {
            let stands = sim.world.target.as_ref().map(|target| (&target.wanted, &target.stable));
            prop_assert!(
                stands.is_some_and(|(wanted, stable)| wanted == stable && stable.is_some()),
                "{one}: {:?}", sim.world.status
            );
        }
    }
}
