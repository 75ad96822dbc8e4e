//! Every operation in every state that is reached: answered once, within the laws, and an abort reaches stable from there.
//!
//! The walks are the same each time, so the count at the end tells what is reached, not what luck would have it.

use std::collections::{BTreeMap, BTreeSet};

use fm_api::gates::GateVerdict;
use fm_api::operation::Verb;
use fm_api::quantity::Span;
use fm_api::release::OnFailure;
use fm_api::rollout::{Outcome, Pause, Rollout, Stage};
use fm_api::status::{Phase, RevisionStatus, reasons};
use fm_api::verdict::Decision;
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::chaos::{Act, act, calm, perform, strategy};
use super::experiments::experiment;
use super::gates::job;
use super::sim::{Sim, release};
use super::stopped::{by_a_job, by_a_webhook, in_spite_of_harm};

/// So many walks of so many acts.
const WALKS: usize = 210;
const ACTS: usize = 40;

/// What can be asked: the verb, whether it passes everything or is forced, whether it overrides a freeze, with which role.
const ASKED: [(Verb, bool, bool, &str); 16] = [
    (Verb::Promote, false, false, ""),
    (Verb::Promote, false, false, "ops"),
    (Verb::Promote, true, false, ""),
    (Verb::Promote, true, false, "ops"),
    (Verb::Promote, false, true, ""),
    (Verb::Promote, false, true, "ops"),
    (Verb::Abort, false, false, ""),
    (Verb::Abort, true, false, ""),
    (Verb::Retry, false, false, ""),
    (Verb::Undo, false, false, ""),
    (Verb::Undo, true, false, ""),
    (Verb::Pause, false, false, ""),
    (Verb::Resume, false, false, ""),
    (Verb::Restart, false, false, ""),
    (Verb::Hold, false, false, ""),
    (Verb::EndHold, false, false, ""),
];

/// Where the state machine stands, as far as what is asked of it may differ.
fn state(sim: &Sim) -> Option<String> {
    let (target, status) = (sim.world.target.as_ref()?, sim.world.status.as_ref()?);
    let kind = match (&target.rollout, &target.settings) {
        (Some(rollout), _) => format!("{:?} {:?}", rollout.plan.kind, rollout.stage),
        (None, Some(settings)) if settings.preview.is_some() => "Preview".to_owned(),
        (None, _) => "at rest".to_owned(),
    };
    let stable = if target.stable.is_some() {
        ""
    } else {
        ", first"
    };
    let held = if target.held.is_some() { ", held" } else { "" };
    let said = target.rollout.as_ref().map_or_else(String::new, said);
    Some(format!("{kind} {}{stable}{held}{said}", status.reason))
}

/// What people and rules have said of a rollout, as far as it acts.
fn said(rollout: &Rollout) -> String {
    let by = |pause: &Pause| match (&pause.by, &pause.gate) {
        (Some(_), _) => "a person",
        (None, None) => "a rule",
        (None, Some(gate)) if gate.job => "a job",
        (None, Some(_)) => "a webhook",
    };
    let paused = rollout.paused.as_ref().map(by);
    let mut said = paused.map_or_else(String::new, |by| format!(", paused by {by}"));
    for (so, word) in [
        (rollout.overruled, ", overruled"),
        (rollout.full && !rollout.warm, ", full"),
        (rollout.warm, ", warm"),
    ] {
        said.push_str(if so { word } else { "" });
    }
    said
}

/// Where the next move is nobody's but time's and the world's, those alone bring it to rest, or to where a person is called.
pub(super) fn comes_to_rest(from: &Sim) {
    let mut sim = from.clone();
    sim.world.operations.clear();
    let edges: Vec<String> = sim.world.haproxy.keys().cloned().collect();
    sim.world.live.extend(edges);
    sim.world.live.insert("edge".to_owned());
    sim.dead.clear();
    sim.open = 0;
    for _ in 0..60 {
        sim.settle();
        let Some(status) = &sim.world.status else {
            return;
        };
        // A stable that crashes (one that was adopted), or a worker that never answers on its new routes, is no well world.
        let sick = |stable: &RevisionStatus| {
            stable.image.starts_with("sick") || stable.image.starts_with("crash")
        };
        let rests = status.phase == Phase::Over
            || (status.canary.is_none() && status.stable.as_ref().is_some_and(sick))
            || (status.phase == Phase::Healthy && status.reason != reasons::EXPERIMENT);
        if rests || status.waits_for_person {
            return;
        }
        sim.gates(GateVerdict::Yes);
        sim.verdict(Decision::Promote);
        for name in ["cache", "next"] {
            sim.trial(name, Decision::Promote);
        }
        sim.settle();
        if let Some(at) = sim.next_look.filter(|at| *at > sim.now) {
            sim.now = at;
        }
    }
    panic!(
        "it never comes to rest: {:?} {:?}",
        sim.world.status, sim.world.target
    );
}

fn ask(sim: &mut Sim, (verb, all, thaws, role): (Verb, bool, bool, &str)) -> String {
    let id = sim.ask(verb, all && verb == Verb::Promote);
    let asked = sim.world.operations.last_mut().unwrap();
    asked.override_freeze = thaws;
    asked.force = all && matches!(verb, Verb::Abort | Verb::Undo);
    asked.why = Some("because".to_owned());
    asked.roles = [role]
        .into_iter()
        .filter(|role| !role.is_empty())
        .map(str::to_owned)
        .collect();
    id
}

/// Whether it was accepted; and from what it makes of the release, stable is still reached.
fn one(from: &Sim, what: (Verb, bool, bool, &str)) -> bool {
    let mut sim = from.clone();
    sim.world.operations.clear();
    let id = ask(&mut sim, what);
    let again = sim.world.operations.clone();
    sim.promote();
    assert!(sim.world.operations.is_empty(), "{what:?} is answered");
    let Some(status) = sim.world.status.clone() else {
        return false;
    };
    let answer = status.last_operation.unwrap();
    assert_eq!(answer.id, id);
    assert!(
        !answer.message.is_empty(),
        "{what:?} is told what came of it"
    );
    if sim.world.target.is_some() {
        sim.world.operations = again;
        let plan = sim.promote();
        assert_eq!(plan.target, None, "{what:?} twice is once");
        assert!(sim.world.operations.is_empty());
    }
    calm(&mut sim);
    // What was queued may have begun meanwhile.
    for _ in 0..3 {
        sim.ask(Verb::Abort, false);
        sim.run(40);
    }
    let target = sim.target();
    let kept = sim.status().reason == reasons::STABLE_BROKEN;
    if target.stable.is_some() && !kept {
        assert!(target.rollout.is_none(), "{what:?}: {:?}", sim.status());
        let weight = target
            .traffic
            .as_ref()
            .map(|split| split.weight.basis_points());
        assert_eq!(weight.unwrap_or(0), 0);
    }
    answer.accepted
}

/// A failed, aborted or replaced revision is tried again from its first step when somebody says so.
fn retried(from: &Sim, ends: &mut BTreeMap<String, u32>) {
    let mut sim = from.clone();
    sim.world.operations.clear();
    sim.promote();
    let Some(target) = sim.world.target.clone() else {
        return;
    };
    let rests = target.rollout.is_none() && target.held.is_none() && !target.deleting;
    let last = target.history.last();
    let last = last.filter(|last| target.wanted.as_ref() == Some(&last.revision));
    let (true, Some(last)) = (rests, last) else {
        return;
    };
    sim.ask(Verb::Retry, false);
    sim.promote();
    let status = sim.world.status.clone().unwrap();
    let answer = status.last_operation.unwrap();
    if target.failed.contains_key(&last.revision) {
        assert!(answer.accepted, "{answer:?}");
        let again = sim.target().failed.get(&last.revision);
        assert_ne!(
            again,
            target.failed.get(&last.revision),
            "{:?}",
            sim.target()
        );
    }
    *ends.entry(format!("{:?}", last.outcome)).or_default() += 1;
}

/// Where a walk begins: with nothing, at rest, or where chance seldom comes.
fn start(walk: usize) -> Sim {
    match walk % 35 {
        10 => return by_a_job(),
        17 => return by_a_webhook(),
        24 => return in_spite_of_harm(),
        31 => return back_to_warm(),
        _ => {}
    }
    let kind = u8::try_from(walk % 3).unwrap();
    let mut first = strategy(kind, "good:0");
    first.spec.on_failure = match walk % 4 {
        0 => OnFailure::Pause,
        _ => OnFailure::Rollback,
    };
    first.spec.rollback.over = Span::secs(if walk.is_multiple_of(5) { 20 } else { 0 });
    if kind == 2 || walk.is_multiple_of(7) {
        return Sim::new(first);
    }
    let mut sim = Sim::serving(first);
    let stable = sim.target().stable.clone().unwrap();
    sim.pass(1);
    if walk % 12 == 6 {
        // An experiment runs, and an image waits for its end.
        sim.apply(|release| release.spec.experiment = Some(experiment("good:2")));
        sim.settle();
        sim.image("good:1");
        sim.settle();
        return sim;
    }
    if walk % 7 == 5 {
        sim.apply(|release| release.spec.before_traffic = vec![job(false)]);
    }
    if walk % 7 > 1 {
        sim.image("good:1");
        sim.settle();
    }
    match walk % 7 {
        // It is to be stable, and no agent has taken that in.
        1 => {
            sim.image("good:1");
            sim.settle();
            sim.ask(Verb::Promote, true);
            while sim
                .target()
                .rollout
                .as_ref()
                .is_some_and(|run| run.stage != Stage::Draining)
            {
                sim.swarm(u32::MAX);
                sim.agents();
                sim.verdict(Decision::Promote);
                sim.promote();
            }
        }
        // Its next share is asked for and not yet in force.
        2 => {
            sim.pass(10);
            sim.promote();
            for _ in 0..5 {
                let rollout = sim.target().rollout.as_ref();
                if rollout.is_none_or(|run| run.stage == Stage::Shifting) {
                    break;
                }
                sim.swarm(u32::MAX);
                sim.agents();
                sim.promote();
            }
        }
        // Only evidence is missing, and it will not come.
        3 => {
            for _ in 0..4 {
                sim.pass(20);
                sim.settle();
            }
            sim.verdict(Decision::Inconclusive);
            sim.promote();
        }
        // It is to be taken back, and stable is what is broken.
        4 => {
            sim.pass(10);
            sim.settle();
            sim.dead.insert(stable, 4);
            sim.swarm(u32::MAX);
            sim.agents();
            sim.ask(Verb::Abort, false);
            sim.promote();
        }
        // A job has changed something for good, and what was before it is asked for again.
        5 => {
            for _ in 0..4 {
                sim.gates(GateVerdict::Yes);
                sim.settle();
                sim.ask(Verb::Promote, true);
                sim.pass(30);
                sim.settle();
            }
            sim.pass(100);
            sim.settle();
            sim.image("good:0");
            sim.settle();
        }
        // An agent has gone with the share that it had.
        6 => {
            sim.world.live.insert("edge-2".to_owned());
            sim.settle();
            sim.world.live.remove("edge-2");
            sim.pass(10);
            sim.settle();
        }
        _ => {}
    }
    sim
}

/// Back at what served before, and no agent has taken that in.
fn back_to_warm() -> Sim {
    let mut first = release("good:1");
    first.spec.strategy.canary.as_mut().unwrap().keep_previous = Span::secs(600);
    let mut sim = Sim::serving(first);
    sim.image("good:2");
    sim.settle();
    sim.ask(Verb::Promote, true);
    sim.settle();
    sim.image("good:1");
    sim.promote();
    sim.swarm(u32::MAX);
    sim.promote();
    sim
}

#[test]
fn every_operation_is_answered_within_the_laws_in_every_state() {
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let walks = proptest::collection::vec(act(), ACTS);
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut answers: BTreeMap<(String, bool), u32> = BTreeMap::new();
    let mut ends: BTreeMap<String, u32> = BTreeMap::new();
    for walk in 0..WALKS {
        let mut sim = start(walk);
        let acts: Vec<Act> = walks.new_tree(&mut runner).unwrap().current();
        for place in 0..=acts.len() {
            if let Some(act) = place.checked_sub(1).map(|before| &acts[before]) {
                perform(&mut sim, act);
            }
            let Some(state) = state(&sim) else {
                continue;
            };
            retried(&sim, &mut ends);
            if !seen.insert(state) {
                continue;
            }
            comes_to_rest(&sim);
            for what in ASKED {
                let accepted = one(&sim, what);
                *answers.entry((format!("{what:?}"), accepted)).or_default() += 1;
            }
        }
    }
    println!("{seen:#?} {ends:?}");
    let reached = |part: &str| seen.iter().any(|state| state.contains(part));
    let stages = [
        "Preparing",
        "Scaling",
        "Shifting",
        "Holding",
        "RollingBack",
        "Draining",
    ];
    let mut missing: Vec<String> = Vec::new();
    for kind in ["Canary", "BlueGreen"] {
        for stage in stages {
            if !reached(&format!("{kind} {stage}")) {
                missing.push(format!("{kind} {stage}"));
            }
        }
    }
    for reason in [
        reasons::SERVING,
        reasons::HOLDING,
        reasons::EVIDENCE,
        reasons::INCONCLUSIVE,
        reasons::APPROVAL,
        reasons::GATE,
        reasons::FROZEN,
        reasons::PAUSED,
        reasons::HELD,
        reasons::TAKING_BACK,
        reasons::STABLE_BROKEN,
        reasons::NO_AGENT,
        reasons::AGENT_GONE,
        reasons::SWARM_UNKNOWN,
        reasons::INVALID_SPEC,
        reasons::IRREVERSIBLE,
        reasons::PREVIEW,
        reasons::PREVIEW_OVER,
        reasons::EXPERIMENT,
        reasons::EXPERIMENT_RUNS,
        reasons::DELETING,
        reasons::HARM_SHOWN,
        ", first",
        ", held",
        ", paused by a person",
        ", paused by a rule",
        ", paused by a job",
        ", paused by a webhook",
        ", overruled",
        ", full",
        ", warm",
    ] {
        if !reached(reason) {
            missing.push(reason.to_owned());
        }
    }
    for what in ASKED {
        for accepted in [true, false] {
            let always = matches!(what.0, Verb::Hold | Verb::EndHold | Verb::Restart);
            let count = answers.get(&(format!("{what:?}"), accepted));
            if !always && count.is_none() {
                missing.push(format!("{what:?}, accepted: {accepted}"));
            }
        }
    }
    for outcome in [
        Outcome::Promoted,
        Outcome::RolledBack,
        Outcome::Aborted,
        Outcome::Failed,
        Outcome::Over,
    ] {
        if !ends.contains_key(&format!("{outcome:?}")) {
            missing.push(format!("retry after {outcome:?}"));
        }
    }
    assert!(missing.is_empty(), "never reached: {missing:#?}");
}
