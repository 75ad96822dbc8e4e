//! Places in a rollout that many tests begin from.

use fm_api::operation::Verb;
use fm_api::rollout::{Outcome, Stage};
use fm_api::status::reasons;

use super::sim::{Sim, release};

pub(super) fn canary(sim: &Sim) -> &fm_api::target::RevisionTarget {
    let target = sim.target();
    &target.revisions[target.canary.as_ref().unwrap()]
}

/// A canary at its first step's weight.
pub(super) fn at_first_step() -> Sim {
    let mut sim = Sim::serving(release("good:1"));
    sim.image("good:2");
    sim.settle();
    assert_eq!((sim.weight(), sim.rollout().stage), (1000, Stage::Holding));
    sim
}

/// A canary whose last hold is over.
pub(super) fn at_last_step() -> Sim {
    let mut sim = at_first_step();
    sim.pass(10);
    sim.settle();
    sim.pass(20);
    sim.settle();
    assert_eq!(sim.weight(), 5000);
    sim
}

pub(super) fn ended(sim: &Sim) -> (Outcome, String) {
    let entry = sim.target().history.last().unwrap();
    (entry.outcome, entry.reason.clone())
}

/// To be taken back, where stable has no task that serves.
pub(super) fn broken_stable() -> Sim {
    let mut sim = at_first_step();
    let stable = sim.target().stable.clone().unwrap();
    sim.dead.insert(stable, 4);
    sim.swarm(u32::MAX);
    sim.agents();
    sim.ask(Verb::Abort, false);
    sim.settle();
    assert_eq!(sim.status().reason, reasons::STABLE_BROKEN);
    sim
}
