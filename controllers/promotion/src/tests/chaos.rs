//! Anything that can happen to a release, in any order.

use fm_api::gates::{GateVerdict, When};
use fm_api::operation::Verb;
use fm_api::quantity::{Span, Weight};
use fm_api::release::{Adopted, Approval, OnNewRevision};
use fm_api::tasks::Tasks;
use fm_api::verdict::Decision;
use jiff::Timestamp;
use proptest::prelude::*;

use super::experiments::experiment;
use super::gates::{frozen_now, hook, job};
use super::previews::preview;
use super::sim::{Sim, release};
use super::strategies::blue_green;
use super::workers::worker;

#[derive(Debug, Clone)]
pub(super) enum Act {
    Promote,
    Swarm(u32),
    Haproxy(usize),
    Dies(usize),
    Lives(usize),
    Blind,
    TasksDie(usize, u32),
    TasksReturn,
    Pass(u64),
    Verdict(Decision),
    Ask(Verb, bool),
    Image(usize),
    Scale(u32),
    Steps(Vec<u16>),
    Strategy(u8),
    Approval(bool),
    Spoil,
    Unroute,
    Route,
    Gates(GateVerdict),
    Ask2(bool),
    Gated(u8),
    Freeze(bool),
    Delete(bool),
    Create(bool),
    Back(u64, u64),
    Policy(OnNewRevision),
    Roles(bool),
    Open(u32),
    Settle(GateVerdict, u64),
    Experiment(u8),
    Trial(bool, Decision),
    Surge(Option<u32>),
}

const EDGES: [&str; 2] = ["edge", "edge-2"];
const IMAGES: [&str; 7] = [
    "good:0", "good:1", "good:2", "good:3", "crash:1", "sick:1", "lost:1",
];

pub(super) fn act() -> impl Strategy<Value = Act> {
    let decision = prop_oneof![
        Just(Decision::Wait),
        Just(Decision::Promote),
        Just(Decision::Rollback),
        Just(Decision::Inconclusive)
    ];
    let of_trial = prop_oneof![
        Just(Decision::Promote),
        Just(Decision::Rollback),
        Just(Decision::Inconclusive)
    ];
    let verb = prop_oneof![
        Just(Verb::Promote),
        Just(Verb::Abort),
        Just(Verb::Retry),
        Just(Verb::Undo),
        Just(Verb::Pause),
        Just(Verb::Resume),
        Just(Verb::Hold),
        Just(Verb::EndHold),
        Just(Verb::Restart)
    ];
    prop_oneof![
        12 => Just(Act::Promote),
        8 => prop_oneof![Just(u32::MAX), 0..6_u32].prop_map(Act::Swarm),
        8 => (0..2_usize).prop_map(Act::Haproxy),
        1 => (0..2_usize).prop_map(Act::Dies),
        2 => (0..2_usize).prop_map(Act::Lives),
        1 => Just(Act::Blind),
        1 => (0..4_usize, 1..5_u32).prop_map(|(r, n)| Act::TasksDie(r, n)),
        1 => Just(Act::TasksReturn),
        4 => prop_oneof![1..40_u64, Just(700)].prop_map(Act::Pass),
        3 => decision.prop_map(Act::Verdict),
        3 => (verb, any::<bool>()).prop_map(|(v, f)| Act::Ask(v, f)),
        3 => (0..IMAGES.len()).prop_map(Act::Image),
        1 => (0..6_u32).prop_map(Act::Scale),
        1 => proptest::collection::vec(0..=100_u16, 1..4).prop_map(|mut w| { w.sort_unstable(); Act::Steps(w) }),
        1 => (0..4_u8).prop_map(Act::Strategy),
        1 => prop_oneof![Just(None), (1..4_u32).prop_map(Some)].prop_map(Act::Surge),
        1 => any::<bool>().prop_map(Act::Approval),
        1 => Just(Act::Spoil),
        1 => Just(Act::Unroute),
        1 => Just(Act::Route),
        4 => prop_oneof![3 => Just(GateVerdict::Yes), 1 => Just(GateVerdict::No), 1 => Just(GateVerdict::Open)].prop_map(Act::Gates),
        1 => any::<bool>().prop_map(Act::Ask2),
        1 => (0..4_u8).prop_map(Act::Gated),
        1 => any::<bool>().prop_map(Act::Freeze),
        1 => any::<bool>().prop_map(Act::Delete),
        4 => any::<bool>().prop_map(Act::Create),
        1 => (prop_oneof![Just(0_u64), Just(20)], prop_oneof![Just(0_u64), Just(60)]).prop_map(|(o, k)| Act::Back(o, k)),
        1 => prop_oneof![Just(OnNewRevision::Replace), Just(OnNewRevision::Queue), Just(OnNewRevision::Reject)].prop_map(Act::Policy),
        1 => any::<bool>().prop_map(Act::Roles),
        1 => (0..2_u32).prop_map(Act::Open),
        // Without it hardly any walk comes further than its first step.
        8 => (prop_oneof![4 => Just(GateVerdict::Yes), 1 => Just(GateVerdict::Open)], prop_oneof![Just(0_u64), 1..30_u64])
            .prop_map(|(says, seconds)| Act::Settle(says, seconds)),
        2 => (0..4_u8).prop_map(Act::Experiment),
        2 => (any::<bool>(), of_trial).prop_map(|(first, says)| Act::Trial(first, says)),
    ]
}

pub(super) fn strategy(n: u8, image: &str) -> fm_api::release::Release {
    match n {
        0 => release(image),
        1 => blue_green(image),
        2 => preview(image),
        _ => worker(image),
    }
}

pub(super) fn perform(sim: &mut Sim, act: &Act) {
    match act {
        Act::Promote => {
            sim.promote();
        }
        Act::Swarm(most) => sim.swarm(*most),
        Act::Haproxy(n) => sim.haproxy(EDGES[*n]),
        Act::Dies(n) => {
            sim.world.live.remove(EDGES[*n]);
        }
        Act::Lives(n) => {
            sim.world.live.insert(EDGES[*n].to_owned());
        }
        Act::Blind => {
            if let Some(seen) = &mut sim.world.swarm {
                seen.problem = Some("the Docker socket does not answer".to_owned());
            }
        }
        Act::TasksDie(which, count) => {
            let Some(target) = &sim.world.target else {
                return;
            };
            if let Some(revision) = target.revisions.keys().nth(*which) {
                sim.dead.insert(revision.clone(), *count);
                sim.swarm(u32::MAX);
            }
        }
        Act::TasksReturn => sim.dead.clear(),
        Act::Pass(seconds) => sim.pass(*seconds),
        Act::Verdict(decision) => sim.verdict(*decision),
        Act::Ask(verb, full) => {
            sim.ask(*verb, *full);
        }
        Act::Image(n) => sim.image(IMAGES[*n]),
        Act::Scale(replicas) => sim.apply(|release| release.spec.replicas = *replicas),
        Act::Steps(weights) => sim.apply(|release| {
            let Some(canary) = release.spec.strategy.canary.as_mut() else {
                let seconds = Span::secs(u64::from(weights[0]) + 1);
                if let Some(both) = &mut release.spec.strategy.blue_green {
                    both.watch = seconds;
                }
                if let Some(preview) = &mut release.spec.strategy.preview {
                    preview.ttl = seconds;
                }
                return;
            };
            let mut step = canary.steps[0].clone();
            canary.steps = weights
                .iter()
                .map(|weight| {
                    step.weight = Weight::percent(*weight);
                    step.clone()
                })
                .collect();
        }),
        Act::Strategy(n) => {
            let other = strategy(*n, "any").spec;
            sim.apply(|spec| spec.spec.strategy = other.strategy);
            if *n == 3 {
                sim.apply(|spec| spec.spec.routes.clear());
            }
        }
        Act::Surge(tasks) => sim.apply(|release| {
            if let Some(canary) = &mut release.spec.strategy.canary {
                canary.max_surge = tasks.map(Tasks::Number);
            }
        }),
        Act::Approval(asked) => sim.apply(|release| {
            let asked = asked.then_some(Approval::Manual);
            let strategy = &mut release.spec.strategy;
            if let Some(canary) = &mut strategy.canary {
                canary.steps[0].approval = asked.clone();
            }
            if let Some(both) = &mut strategy.blue_green {
                both.approval = asked;
            }
        }),
        Act::Gates(verdict) => sim.gates(*verdict),
        // A freeze overridden, or an abort that is not forced.
        Act::Ask2(thaw) => {
            sim.ask(if *thaw { Verb::Promote } else { Verb::Abort }, false);
            if let Some(asked) = sim.world.operations.last_mut() {
                asked.override_freeze = *thaw;
                asked.force = false;
                asked.why = Some("because".to_owned());
            }
        }
        Act::Gated(n) => sim.apply(|release| {
            let whens: &[When] = match n {
                0 => &[],
                1 => &[When::BeforeStep, When::AfterRollback],
                2 => &[When::ConfirmRollout, When::ConfirmPromotion],
                _ => &[When::BeforeRollout, When::ConfirmStep, When::AfterPromotion],
            };
            release.spec.webhooks = whens.iter().map(|when| hook(*when)).collect();
            let jobs = (*n > 1).then(|| job(*n == 2));
            release.spec.before_traffic = jobs.into_iter().collect();
        }),
        Act::Freeze(on) => {
            sim.world.freezes = on.then(frozen_now).into_iter().collect();
        }
        Act::Delete(orphan) => {
            sim.apply(|release| release.metadata.deleted_at = Some(Timestamp::UNIX_EPOCH));
            if let Some(spec) = &mut sim.world.spec {
                spec.orphan = *orphan;
            }
        }
        // The API takes a namesake in once nothing of the old one is left.
        Act::Create(adopts) if gone(sim) => create(sim, *adopts),
        Act::Create(_) => {}
        Act::Back(over, keep) => sim.apply(|release| {
            release.spec.rollback.over = Span::secs(*over);
            if let Some(canary) = &mut release.spec.strategy.canary {
                canary.keep_previous = Span::secs(*keep);
            }
        }),
        Act::Policy(policy) => sim.apply(|release| release.spec.on_new_revision = *policy),
        // An approval, and a freeze, that only some may pass.
        Act::Roles(asked) => {
            sim.apply(|release| {
                if let Some(canary) = &mut release.spec.strategy.canary {
                    let role = asked.then(|| Approval::Role("ops".to_owned()));
                    canary.steps[0].approval = role;
                }
                let mut window = frozen_now();
                window.overriding = Some(fm_api::freeze::Overriding {
                    role: "ops".to_owned(),
                });
                release.spec.freeze = asked.then_some(window).into_iter().collect();
            });
            for operation in &mut sim.world.operations {
                operation.roles = vec!["ops".to_owned()];
            }
        }
        Act::Open(open) => sim.open = *open,
        Act::Settle(says, seconds) => {
            sim.settle();
            sim.gates(*says);
            sim.pass(*seconds);
            sim.settle();
        }
        Act::Experiment(n) => sim.apply(|release| {
            let images = ["good:2", "crash:1", "sick:1"];
            let image = images.get(usize::from(*n));
            release.spec.experiment = image.map(|image| experiment(image));
        }),
        Act::Trial(first, says) => sim.trial(if *first { "cache" } else { "next" }, *says),
        Act::Spoil => sim.spoil(),
        Act::Unroute => sim.apply(|release| release.spec.routes.clear()),
        Act::Route => {
            let routes = release("any").spec.routes;
            sim.apply(|release| release.spec.routes = routes);
        }
    }
}

/// Deleted, and nothing left.
pub(super) fn gone(sim: &Sim) -> bool {
    sim.release.metadata.deleted_at.is_some() && sim.world.target.is_none()
}

/// Another release of the same name; perhaps one that adopts what was given back.
pub(super) fn create(sim: &mut Sim, adopts: bool) {
    sim.apply(|release| {
        let generation = release.metadata.generation.unwrap_or_default();
        release.metadata.deleted_at = None;
        release.metadata.uid = Some(format!("uid-{generation}"));
        release.metadata.adopted = adopts.then(|| Adopted {
            id: "abc".to_owned(),
            name: "web".to_owned(),
        });
    });
}

/// The world is well again, and everybody acts until nothing is left to wait for.
pub(super) fn calm(sim: &mut Sim) {
    for edge in EDGES {
        sim.world.live.insert(edge.to_owned());
    }
    sim.dead.clear();
    sim.open = 0;
    sim.run(10);
    if sim.release.metadata.deleted_at.is_some() {
        assert!(gone(sim), "{:?}", sim.world.status);
        create(sim, false);
    }
    sim.release.spec.freeze.clear();
    // Who may pass it takes it away.
    sim.release.metadata.changed_roles = vec!["ops".to_owned()];
    sim.world.operations.clear();
    sim.world.freezes.clear();
    sim.ask(Verb::EndHold, false);
    sim.apply(|_| {});
    sim.run(40);
}
