//! Why a plan goes no further: a typed reason for each wait, rendered for people in [`super::texts`].

use fm_api::quantity::{Span, Weight};
use fm_api::rollout::{FailedGate, Held};
use fm_api::strategy::Kind;
use jiff::Timestamp;

/// Why a plan goes no further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// There is neither a spec nor anything left of one.
    Nothing,
    /// There is a target and no spec.
    SpecMissing,
    /// The stored spec cannot be used.
    InvalidSpec {
        /// What is wrong with it.
        problems: Vec<String>,
    },
    /// The image is being resolved.
    Resolving {
        /// As the user wrote it.
        image: String,
    },
    /// The image cannot be resolved.
    Unresolved {
        /// As the user wrote it.
        image: String,
        /// Docker's words.
        error: String,
        /// It may come right by itself.
        transient: bool,
    },
    /// Every backend of the routes is taken.
    NoSlot {
        /// The revision that waits.
        revision: String,
    },
    /// The revision's earlier tasks must go first.
    StillLeaving {
        /// The revision.
        revision: String,
    },
    /// Tasks are not all ready and healthy yet.
    Scaling(Scaling),
    /// Swarm cannot be seen or changed.
    SwarmUnknown {
        /// Why.
        problem: String,
    },
    /// No HAProxy agent is alive.
    NoAgent,
    /// These agents do not have the split in force yet.
    AgentBehind {
        /// Each with what is known of it.
        agents: Vec<String>,
        /// What they must have in force.
        weight: Weight,
    },
    /// These agents are not alive, and their HAProxy may still serve.
    AgentGone {
        /// Their names.
        agents: Vec<String>,
    },
    /// The step's least time is not over.
    Holding(At),
    /// Evidence is missing.
    Evidence(At),
    /// The analysis is inconclusive and a person decides.
    Inconclusive {
        /// Where.
        at: At,
        /// Analysis' sentence.
        sentence: String,
    },
    /// Harm is shown of a canary that is not taken back for it, and a person decides.
    Harm {
        /// Where.
        at: At,
        /// Analysis' sentence.
        sentence: String,
    },
    /// Its tasks do not come up, and somebody has said before that no rule takes it back.
    Spared {
        /// The word.
        reason: String,
        /// The sentence.
        why: String,
    },
    /// A person must agree.
    Approval {
        /// Where.
        at: At,
        /// The role that this person must have.
        role: Option<String>,
    },
    /// A webhook, or a job, must say yes.
    Gate(GateWait),
    /// A freeze window: no share rises, nothing is promoted.
    Frozen {
        /// Until when at least.
        until: Timestamp,
        /// Why, in the window's words.
        message: Option<String>,
        /// The role that whoever overrides it must have.
        role: Option<String>,
    },
    /// Other releases do not serve what their manifests say yet.
    Depends {
        /// Which, and what of them is waited for.
        waits: Vec<String>,
    },
    /// Others of its group.
    Group {
        /// It could be promoted, or switched; else it has not begun.
        ready: bool,
        /// Which, and what of them is waited for.
        waits: Vec<String>,
    },
    /// It was taken back with another one of its group, and begins again once that one has not failed any more.
    TakenBackWithGroup {
        /// The revision.
        revision: String,
        /// With whom, and why.
        why: String,
        /// Stable's tasks.
        stable: Option<Stable>,
    },
    /// Somebody, or a rule, stopped it.
    Paused {
        /// Who; absent: a rule.
        by: Option<String>,
        /// Why.
        why: String,
        /// The gate that failed, if that is the rule.
        gate: Option<FailedGate>,
    },
    /// Somebody asked that nothing be touched for a while.
    Held {
        /// Who, until when, why.
        held: Held,
        /// The analysis' sentence, where harm is shown meanwhile.
        harm: Option<String>,
    },
    /// The first revision does not come up; it is kept trying.
    FirstFails {
        /// The word.
        reason: String,
        /// The sentence.
        why: String,
        /// A gate failed, which is not asked again by itself.
        asked: bool,
    },
    /// Stable was there before, and HAProxy has not found it well yet.
    Adopted(Adopted),
    /// The canary is stable now, and not yet on every live agent.
    Switching {
        /// The revision.
        revision: String,
        /// What is waited for.
        cause: Box<Why>,
    },
    /// Stable takes everything back.
    /// The canary gives its share back little by little.
    Returning {
        /// Why it is taken back.
        why: String,
        /// The share it still has.
        weight: Weight,
        /// When it has none.
        until: Timestamp,
    },
    /// Stable takes everything back, and it is not yet in force everywhere.
    TakingBack {
        /// Why it is taken back.
        why: String,
        /// What is waited for.
        cause: Box<Why>,
    },
    /// Stable cannot serve: the canary is kept until it can.
    StableBroken {
        /// Why it should be taken back.
        why: String,
        /// Ready tasks of the canary.
        canary: u32,
    },
    /// Stable and the canary are both down: stable is waited for, and nobody is blamed.
    BothDown {
        /// Stable.
        stable: String,
        /// What Docker or HAProxy say of it.
        says: Option<String>,
    },
    /// No task is wanted of it, so nothing can show that it works.
    NoReplicas {
        /// The revision.
        revision: String,
    },
    /// The spec's revision serves everything.
    Serving {
        /// The revision.
        revision: String,
        /// Ready tasks.
        ready: u32,
        /// Tasks wanted.
        replicas: u32,
    },
    /// What the spec asks for serves, and an experiment runs beside it.
    Experiment(Box<ExperimentUp>),
    /// What the spec asks for begins once the experiment has ended.
    ExperimentRuns {
        /// The revision.
        revision: String,
        /// Until when at most, if that is known.
        until: Option<Timestamp>,
    },
    /// The preview that the spec asks for is up.
    Preview(PreviewUp),
    /// The preview that the spec asks for is over.
    PreviewOver {
        /// The revision.
        revision: String,
        /// Since when.
        at: Timestamp,
    },
    /// The preview does not come up; it is kept trying.
    PreviewFails {
        /// The revision.
        revision: String,
        /// The word.
        reason: String,
        /// The sentence.
        why: String,
    },
    /// Stable serves, if there is one, and the spec's revision failed.
    Failed {
        /// The revision.
        revision: String,
        /// The word.
        reason: String,
        /// The sentence.
        why: String,
        /// Stable's tasks; absent: there is no stable revision.
        stable: Option<Stable>,
        /// Somebody said so before it began.
        unbegun: bool,
    },
    /// The spec's revision is older than what a job has done for good.
    Behind {
        /// The revision.
        revision: String,
        /// The job.
        job: String,
        /// Stable's tasks.
        stable: Option<Stable>,
    },
    /// Everything is being taken down.
    Deleting {
        /// What is waited for.
        waits: String,
    },
}

impl Why {
    /// The same, without what it says of stable: what users get was said before.
    pub(super) fn without_stable(&self) -> Why {
        let mut why = self.clone();
        if let Why::Failed { stable, .. }
        | Why::Behind { stable, .. }
        | Why::TakenBackWithGroup { stable, .. } = &mut why
        {
            *stable = None;
        }
        why
    }
}

/// A service that was there before, and is not healthy in HAProxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopted {
    /// The service.
    pub service: String,
    /// The revision that waits for it.
    pub waits: Option<String>,
    /// Its ready tasks.
    pub ready: u32,
    /// … of so many.
    pub replicas: u32,
    /// Docker's or HAProxy's own words.
    pub says: Option<String>,
    /// It takes too long: somebody must look.
    pub overdue: bool,
}

/// How stable does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stable {
    /// Its ready tasks.
    pub ready: u32,
    /// … of so many.
    pub replicas: u32,
}

/// A preview that is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreviewUp {
    /// The revision.
    pub revision: String,
    /// Hosts and headers that lead to it.
    pub leads: Vec<String>,
    /// Until when.
    pub until: Timestamp,
    /// Ready tasks.
    pub ready: u32,
    /// Tasks wanted.
    pub replicas: u32,
    /// How many others are up or starting.
    pub others: usize,
}

/// An experiment that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExperimentUp {
    /// What serves.
    pub stable: String,
    /// Until when at most, if that is known.
    pub until: Option<Timestamp>,
    /// The shares were given.
    pub shared: bool,
    /// Candidates that are not worse than the baseline.
    pub good: Vec<String>,
    /// Candidates that harm.
    pub harms: Vec<String>,
    /// Candidates that did not come up.
    pub failed: Vec<String>,
    /// Candidates that are not decided.
    pub open: Vec<String>,
}

/// What is missing of the tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scaling {
    /// The revision.
    pub revision: String,
    /// Tasks needed now.
    pub needed: u32,
    /// … ready in Swarm.
    pub ready: u32,
    /// … healthy in HAProxy.
    pub healthy: Option<u32>,
    /// Docker's or HAProxy's own words on what fails.
    pub says: Option<String>,
    /// No node can take the tasks.
    pub no_node: bool,
    /// The revision counts as failed then, without progress before.
    pub deadline: Option<Timestamp>,
}

/// A place in the rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At {
    /// The canary's share.
    pub weight: Weight,
    /// The share of the safe requests that the canary is asked as well.
    pub mirror: Weight,
    /// A worker's tasks of how many, where there are no requests to share.
    pub tasks: Option<(u32, u32)>,
    /// The step, from 1.
    pub step: usize,
    /// All steps.
    pub steps: usize,
    /// Until when, if that is known.
    pub until: Option<Timestamp>,
    /// The hold that was asked for.
    pub hold: Span,
    /// The strategy.
    pub kind: Kind,
}

/// A gate that did not say yes yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateWait {
    /// Which.
    pub title: String,
    /// It is asked until it says yes.
    pub confirms: bool,
    /// What it said last.
    pub said: Option<String>,
    /// When it is asked again.
    pub next: Option<Timestamp>,
    /// When it is given up.
    pub until: Option<Timestamp>,
}
