//! The durable state of a rollout, inside the target. Only promotion writes and reads it.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::criteria::Analysis;
use crate::freeze::Freeze;
use crate::gates::{BeforeTraffic, Webhook};
use crate::keys::RevisionId;
use crate::loosening::Kept;
use crate::quantity::{Span, Weight};
use crate::release::{OnFailure, OnNewRevision, Rollback, Route};
use crate::strategy::{Course, Preview, PreviewMatch};

/// A revision on its way to serve.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// The revision.
    pub revision: RevisionId,
    /// The spec generation that asked for it.
    pub generation: u64,
    /// When it began.
    pub started_at: Timestamp,
    /// Who asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The steps it follows: those of the spec when it began, or when it was changed without a new revision.
    pub plan: Course,
    /// The current step, from 0; as many as there are steps: the last promotion.
    pub step: usize,
    /// Where it stands inside the step.
    pub stage: Stage,
    /// When the stage began.
    pub stage_since: Timestamp,
    /// A pause that somebody, or a rule, asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Pause>,
    /// Waits of the current step that a person has passed.
    #[serde(default)]
    pub passed: Vec<Wait>,
    /// `promote --full`: every wait is passed.
    #[serde(default)]
    pub full: bool,
    /// When tasks last made progress, and what was seen then.
    pub progress: Progress,
    /// How long tasks may make no progress.
    pub progress_deadline: Span,
    /// How it ends, once it is being taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Ending>,
    /// The share it had when it began to give it back little by little; absent: at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returns_from: Option<Weight>,
    /// A person went on after a rule had stopped it: harm takes it back no more.
    #[serde(default)]
    pub overruled: bool,
    /// Since when Swarm or HAProxy cannot be seen; that time does not count against the deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blind_since: Option<Timestamp>,
    /// Stable and the canary are, or were a moment ago, both down: what is seen meanwhile blames nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub both_down: Option<BothDown>,
    /// How often the evidence began anew in it, as what was seen blamed nobody.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub trials: u32,
    /// Tasks of the revision that had failed before it began.
    #[serde(default)]
    pub failed_before: u32,
    /// Tasks of stable that had failed before it began.
    #[serde(default)]
    pub stable_failed_before: u32,
    /// Which clients are the canary's under affinity. Eight hex digits.
    #[serde(default)]
    pub seed: String,
    /// It goes back to a revision that is warm: nothing is asked on the way.
    #[serde(default)]
    pub warm: bool,
    /// Where it stands ready and waits for the others of its group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meets: Option<Meeting>,
    /// Ids of the gates that have let it pass.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<String>,
    /// Part of the gates' ids since somebody had a failed one asked anew; absent: `seed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate_seed: Option<String>,
    /// Somebody's word that no freeze window holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thawed: Option<Thawed>,
    /// What it must pass although the manifest asks for less by now.
    #[serde(default, skip_serializing_if = "Kept::is_empty")]
    pub kept: Kept,
    /// What people said of it, and what they were answered; the last 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub words: Vec<Word>,
}

/// What a person said of a rollout, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Word {
    /// What was asked, such as `promote --full`.
    pub asked: String,
    /// Who asked.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Why, if that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What it did.
    pub answer: String,
}

/// Somebody's word that no freeze window holds a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Thawed {
    /// When.
    pub at: Timestamp,
    /// Who said so.
    pub by: String,
    /// Why.
    pub why: String,
    /// Which roles that person has: windows that ask for another one hold on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
}

/// What jobs have done with a revision.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ran {
    /// Names of the jobs that have run to a good end; they are not run again.
    #[serde(default)]
    pub jobs: Vec<String>,
    /// The one after which there is no way back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub irreversible: Option<String>,
    /// When the rollout began in which that one ran: revisions that are older know nothing of what it has done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl Rollout {
    /// What tells one trial's evidence from another's.
    #[must_use]
    pub fn trial_seed(&self) -> String {
        match self.trials {
            0 => self.seed.clone(),
            more => format!("{}.{more}", self.seed),
        }
    }
}

/// Stable and the canary down at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BothDown {
    /// When it began.
    pub since: Timestamp,
    /// Since when stable serves again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back_since: Option<Timestamp>,
}

/// Where a rollout stands inside its step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Stage {
    /// What must be asked or run before the first task starts.
    Preparing,
    /// Tasks for the step's weight are starting.
    Scaling,
    /// The weight was decided and is not yet in force on every live agent.
    Shifting,
    /// The weight is in force; the hold, the evidence or a person is waited for.
    Holding,
    /// The canary is stable now; the switch is not yet in force on every live agent. Then the rollout has ended.
    Draining,
    /// Stable takes everything back; once that is in force the rollout has ended, and the canary leaves.
    RollingBack,
}

/// A wait that `promote` can pass.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum Wait {
    /// The step's least time.
    Hold,
    /// Evidence.
    Evidence,
    /// A person's word.
    Approval,
    /// The others of its group.
    Group,
}

/// A place at which the rollouts of a group wait for each other, in the order in which a rollout comes to them.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum Meeting {
    /// Before the switch of a blue-green rollout.
    Switch,
    /// Before it becomes stable.
    Promotion,
}

/// A pause and its reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pause {
    /// Since when.
    pub at: Timestamp,
    /// Who asked for it; absent: a rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why, for people.
    pub why: String,
    /// The gate that failed; absent: another rule, or a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<FailedGate>,
}

/// A gate that failed where the rollout is not taken back for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailedGate {
    /// The id of the question.
    pub id: String,
    /// The name that the manifest gives it.
    pub name: String,
    /// A job, which nobody's word passes; else a webhook.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub job: bool,
}

/// A hold: somebody's word that nothing is to be touched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Held {
    /// Since when.
    pub at: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// Who asked for it.
    pub by: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// When tasks last made progress.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// When.
    pub at: Timestamp,
    /// Ready tasks then.
    pub ready: u32,
    /// Tasks healthy in HAProxy then.
    #[serde(default)]
    pub healthy: u32,
    /// Whether tasks were missing then; without that no deadline runs.
    #[serde(default)]
    pub short: bool,
}

impl Progress {
    /// Nothing was seen of its tasks yet.
    #[must_use]
    pub fn begins(at: Timestamp) -> Self {
        Self {
            at,
            ready: 0,
            healthy: 0,
            short: true,
        }
    }
}

/// How a rollout that is being taken back ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ending {
    /// How.
    pub outcome: Outcome,
    /// The stable, documented word for why.
    pub reason: String,
    /// One sentence with the evidence.
    pub why: String,
}

/// A revision that is up beside the normal shares.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PreviewTarget {
    /// When it was asked for.
    pub since: Timestamp,
    /// Who asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Until when it is up.
    pub until: Timestamp,
    /// Hosts that lead to it now.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Headers that lead to it now, at the routes' hosts.
    #[serde(default)]
    pub match_rules: Vec<PreviewMatch>,
    /// Paths, ports, checks and timeouts; their hosts are for `matchRules` alone.
    #[serde(default)]
    pub routes: Vec<Route>,
    /// It was up in full once.
    #[serde(default)]
    pub came_up: bool,
    /// Nothing leads to it any more: its connections end, then it goes.
    #[serde(default)]
    pub closed: bool,
    /// When its tasks last made progress.
    pub progress: Progress,
    /// Since when Swarm or HAProxy cannot be seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blind_since: Option<Timestamp>,
    /// Tasks of the revision that had failed before.
    #[serde(default)]
    pub failed_before: u32,
    /// The side of the experiment that it is: it has a share, and neither hosts nor headers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub side: Option<String>,
}

/// A revision that serves nothing any more and goes in time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Leaving {
    /// Since when it is no longer wanted.
    pub since: Timestamp,
    /// Until when it stays warm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_until: Option<Timestamp>,
    /// It failed and stays to be looked at: going back to it is no switch.
    #[serde(default)]
    pub inspected: bool,
    /// Since when its connections drain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draining_since: Option<Timestamp>,
    /// The target's generation that asked for draining: an agent that has it in force has seen it.
    #[serde(default)]
    pub generation: u64,
    /// The split's generation from which on no split names it: an HAProxy that was last seen with an older one may have
    /// taken in a newer one that did, unseen.
    #[serde(default)]
    pub unled: u64,
}

/// What of the last good spec is nowhere else in the target: an invalid spec later changes nothing of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// Tasks of stable.
    pub replicas: u32,
    /// The steps of the strategy, whichever it is; `canary` in what is stored, as when there was no other.
    #[serde(default, rename = "canary", skip_serializing_if = "Option::is_none")]
    pub course: Option<Course>,
    /// How previews are reached and how long they stay, where that is the strategy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<Preview>,
    /// The criteria.
    pub analysis: Analysis,
    /// What to do with a canary that fails.
    pub on_failure: OnFailure,
    /// How a canary that is taken back gives up what it has.
    #[serde(default)]
    pub rollback: Rollback,
    /// How long the tasks of a revision that was taken back stay.
    #[serde(default)]
    pub keep_failed: Span,
    /// What to do with a new revision while a rollout runs.
    pub on_new_revision: OnNewRevision,
    /// How long tasks may make no progress.
    pub progress_deadline: Span,
    /// How many finished rollouts are kept.
    pub history_limit: u32,
    /// Programs that run before traffic.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before_traffic: Vec<BeforeTraffic>,
    /// Addresses that are told, and asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub webhooks: Vec<Webhook>,
    /// Times without a rise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub freeze: Vec<Freeze>,
    /// What is to be tried beside stable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub experiment: Option<crate::experiment::Experiment>,
    /// The group in which it is promoted or taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The routes as written; the target's own follow once stable publishes their ports.
    pub routes: Vec<Route>,
    /// Who changed the spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_by: Option<String>,
}

/// A revision that failed and is not tried again by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Failed {
    /// When.
    pub at: Timestamp,
    /// The stable, documented word for it.
    pub reason: String,
    /// One sentence with the evidence.
    pub why: String,
    /// Somebody said so before it began: it was not taken back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unbegun: bool,
}

/// How a rollout ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// It serves, or served until its successor did.
    Promoted,
    /// A rule took it back.
    RolledBack,
    /// A person took it back.
    Aborted,
    /// A newer spec took its place.
    Replaced,
    /// It never became ready.
    Failed,
    /// A preview whose time was over.
    Over,
}

/// A finished rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    /// The revision.
    pub revision: RevisionId,
    /// The revision's number.
    pub number: u64,
    /// The image as the user wrote it.
    pub image: String,
    /// Who asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// How.
    pub outcome: Outcome,
    /// The stable, documented word for why.
    pub reason: String,
    /// One sentence with the evidence.
    pub why: String,
    /// Somebody said that no freeze window holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thawed: Option<Thawed>,
    /// What people said of it, and what they were answered; the last 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub words: Vec<Word>,
    /// What people said after it had ended and before the next one began, such as `restart`; the last 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub afterwards: Vec<Word>,
}
