//! How a new revision comes to serve: the strategies a user can write, and the one course of steps each comes to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::quantity::{Span, Weight};
use crate::tasks::Tasks;

/// How a new revision comes to serve: exactly one of these.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Strategy {
    /// A little traffic at first, then more, step by step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
    /// Whole capacity first, then all traffic in one switch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blue_green: Option<BlueGreen>,
    /// Up for a while and reached by its own host name or header only, outside the normal shares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<Preview>,
}

/// A little traffic at first, then more, step by step; after the last step all of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Canary {
    /// The steps, with growing weights; without routes, with growing numbers of tasks. After the last one the canary
    /// takes everything.
    #[schemars(length(min = 1, max = 100))]
    pub steps: Vec<Step>,
    /// How many tasks the canary has meanwhile.
    #[serde(default)]
    pub capacity: Capacity,
    /// At most so many tasks of both revisions beyond `spec.replicas`: stable gives up tasks as its share shrinks. On the
    /// way back the canary keeps what stable has no tasks for yet. Absent: stable keeps all its tasks until it is replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_surge: Option<Tasks>,
    /// How long the old revision stays warm after promotion.
    #[serde(default)]
    pub keep_previous: Span,
}

/// One step of a canary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Step {
    /// The canary's share of the requests in percent. Without routes it is given by `replicas`.
    #[serde(default, skip_serializing_if = "Weight::is_zero")]
    pub weight: Weight,
    /// Instead of a share: so many percent of the safe requests (GET, HEAD, OPTIONS) that stable answers are sent to the
    /// canary as well, and what it answers goes to nobody. It counts for harm alone, by errors and 4xx. Only before the first weight.
    #[serde(default, skip_serializing_if = "Weight::is_zero")]
    pub mirror: Weight,
    /// The least time at this step.
    #[serde(default)]
    pub hold: Span,
    /// Whether a person must agree, after the hold and the evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
    /// Evidence this step needs besides "no harm shown".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require: Option<Require>,
    /// At least so many canary tasks from this step on, as a number or in percent of `spec.replicas`; never fewer than its
    /// weight asks for, never more than `spec.replicas`. Absent: what the weight asks for, or an earlier step's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<Tasks>,
}

impl Step {
    /// What the canary has at this step, in words: `50 %` of the requests, or `10 % mirrored`; without a share its tasks.
    #[must_use]
    pub fn share(&self) -> String {
        match self.replicas {
            Some(_) | None if !self.mirror.is_zero() => format!("{} mirrored", self.mirror),
            Some(replicas) if self.weight.is_zero() => replicas.in_words(),
            Some(_) | None => self.weight.to_string(),
        }
    }
}

/// Who lets a step pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Approval {
    /// Any person, with `frctl rollout promote`.
    Manual,
    /// A person who has this role in frd's configuration, with `frctl rollout promote`.
    Role(String),
}

impl Approval {
    /// The role that is asked for.
    #[must_use]
    pub fn role(&self) -> Option<&str> {
        match self {
            Approval::Manual => None,
            Approval::Role(role) => Some(role),
        }
    }
}

/// Evidence that a step asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Require {
    /// Non-inferiority by every criterion.
    NonInferior,
}

/// How many tasks the canary has before it is promoted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Capacity {
    /// As many as its weight asks for, rounded up, at least one.
    #[default]
    Proportional,
    /// As many as the stable revision from the start.
    Full,
}

/// Whole capacity beside stable first, without traffic; then all of it in one switch; then the old one stays warm.
///
/// Its steps are two: before the switch (`step: 1` of a metric), and the first time after it (`step: 2`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BlueGreen {
    /// How the new revision is looked at before the switch; requests with a header of `spec.match` reach it too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<PreviewHosts>,
    /// Until the switch so many percent of the safe requests (GET, HEAD, OPTIONS) that the old revision answers are sent to
    /// the new one as well, and what it answers goes to nobody. It counts for harm alone, by errors and 4xx.
    #[serde(default, skip_serializing_if = "Weight::is_zero")]
    pub mirror: Weight,
    /// The least time with whole capacity before the switch.
    #[serde(default)]
    pub hold: Span,
    /// Whether a person must agree to the switch, after the hold and the metrics of step 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
    /// How long after the switch the analysis, or `abort`, still gives everything back to the old revision by itself,
    /// which keeps its whole capacity meanwhile. Then the new one is stable.
    #[serde(default = "one_minute")]
    pub watch: Span,
    /// How long the old revision stays warm after that: `undo` is one change of weight meanwhile.
    #[serde(default = "ten_minutes")]
    pub keep_previous: Span,
}

/// Each revision is up beside all others for a while, and only its own host names or headers lead to it. None becomes
/// stable; a stable revision from before goes on serving the routes' hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Preview {
    /// How long a revision is up, counted from when it was asked for. `frctl rollout retry` brings it back once more.
    #[serde(default = "two_hours")]
    pub ttl: Span,
    /// Host names that lead to it, with the routes' paths. `{revision}`, `{namespace}` and `{name}` are filled in; a host
    /// without `{revision}` leads to the newest that came up, and the ones before it go when nothing leads to them.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub hosts: Vec<String>,
    /// Requests to the routes' hosts with one of these headers reach it; all others never do.
    #[serde(default, rename = "match")]
    #[schemars(length(max = 16))]
    pub match_rules: Vec<PreviewMatch>,
    /// No more than so many are up at once: the oldest goes first.
    #[serde(default = "ten")]
    #[schemars(range(min = 1, max = 100))]
    pub limit: u32,
}

/// A request that reaches a preview: one whose header has this value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PreviewMatch {
    /// The header's name.
    pub header: String,
    /// The header's whole value; `{revision}`, `{namespace}` and `{name}` are filled in.
    pub value: String,
}

/// Fills a template's `{revision}`, `{namespace}` and `{name}` in; an absent revision stays as it is written.
#[must_use]
pub fn filled(template: &str, revision: Option<&str>, namespace: &str, name: &str) -> String {
    let text = template
        .replace("{namespace}", namespace)
        .replace("{name}", name);
    match revision {
        Some(revision) => text.replace("{revision}", revision),
        None => text,
    }
}

/// Where a revision is looked at before it serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PreviewHosts {
    /// Host names that lead to the revision on trial alone, with the routes' paths. While there is none they answer 503.
    #[schemars(length(min = 1, max = 16))]
    pub hosts: Vec<String>,
}

/// The steps that a rollout plays: what any strategy comes to. Stored with the rollout, written by promotion alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Course {
    /// The strategy it was made of.
    #[serde(default, skip_serializing_if = "Kind::is_canary")]
    pub kind: Kind,
    /// The steps, with growing weights. After the last one the canary is stable.
    pub steps: Vec<Step>,
    /// How many tasks the canary has meanwhile.
    #[serde(default)]
    pub capacity: Capacity,
    /// At most so many tasks of both revisions beyond `spec.replicas`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_surge: Option<Tasks>,
    /// How long the old revision stays warm after promotion.
    #[serde(default)]
    pub keep_previous: Span,
}

/// Which strategy a course was made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// `canary`.
    #[default]
    Canary,
    /// `blueGreen`.
    BlueGreen,
}

impl Kind {
    /// Whether it is a canary's, as every course was once.
    #[must_use]
    pub fn is_canary(&self) -> bool {
        *self == Kind::Canary
    }
}

impl Course {
    /// What the strategy comes to; `None` where it names none that has steps.
    #[must_use]
    pub fn of(strategy: &Strategy) -> Option<Self> {
        let step = |weight, mirror, hold, approval| Step {
            weight,
            mirror,
            hold,
            approval,
            require: None,
            replicas: None,
        };
        match (&strategy.canary, &strategy.blue_green) {
            (Some(canary), _) => Some(Self {
                kind: Kind::Canary,
                steps: canary.steps.clone(),
                capacity: canary.capacity,
                max_surge: canary.max_surge,
                keep_previous: canary.keep_previous,
            }),
            (None, Some(both)) => Some(Self {
                kind: Kind::BlueGreen,
                steps: vec![
                    step(Weight::ZERO, both.mirror, both.hold, both.approval.clone()),
                    step(Weight::FULL, Weight::ZERO, both.watch, None),
                ],
                capacity: Capacity::Full,
                max_surge: None,
                keep_previous: both.keep_previous,
            }),
            (None, None) => None,
        }
    }

    /// Whether any step mirrors requests.
    #[must_use]
    pub fn mirrors(&self) -> bool {
        self.steps.iter().any(|step| !step.mirror.is_zero())
    }

    /// Tasks the canary needs at a step, counted from 0, beside `replicas` of stable; beyond the last one all of them.
    #[must_use]
    pub fn tasks(&self, step: usize, replicas: u32) -> u32 {
        match (self.steps.get(step), self.capacity) {
            (Some(now), Capacity::Proportional) => {
                // A step's number holds for the later ones too: tasks that serve are not stopped on the way up.
                let reached = self.steps.iter().take(step + 1);
                let asked = reached.clone().filter_map(|step| step.replicas);
                let asked = asked.map(|asked| asked.of(replicas)).max().unwrap_or(0);
                let mirrored = reached.map(|step| step.mirror).max().unwrap_or_default();
                let share = now.weight.max(mirrored);
                proportional(replicas, share).max(asked.min(replicas))
            }
            (Some(_) | None, Capacity::Proportional | Capacity::Full) => replicas,
        }
    }

    /// Tasks beyond `replicas` that the way to a step needs at once: all of the canary's, or with `maxSurge` what stable's
    /// share leaves no room for. With requests to share; a worker's tasks can change places one by one.
    #[must_use]
    pub fn beyond(&self, step: usize, replicas: u32) -> u32 {
        let needs = self.tasks(step, replicas);
        if self.max_surge.is_none() {
            return needs;
        }
        let before = step.checked_sub(1).and_then(|step| self.steps.get(step));
        let serving = before.map_or(Weight::ZERO, |step| step.weight);
        let both = Self::carries(serving, replicas).saturating_add(needs);
        both.saturating_sub(replicas)
    }

    /// Tasks that stable's share needs while the canary serves this one.
    #[must_use]
    pub fn carries(serving: Weight, replicas: u32) -> u32 {
        match serving.rest() {
            Weight::ZERO => 0,
            share => proportional(replicas, share),
        }
    }
}

/// The canary's tasks at a weight: its share of stable's, rounded up, at least one where stable has any.
fn proportional(replicas: u32, weight: Weight) -> u32 {
    if replicas == 0 {
        return 0;
    }
    let tasks = (u64::from(replicas) * u64::from(weight.basis_points())).div_ceil(10_000);
    u32::try_from(tasks.max(1)).unwrap_or(u32::MAX)
}

impl Strategy {
    /// Hosts that lead to the revision on trial alone.
    #[must_use]
    pub fn preview_hosts(&self) -> &[String] {
        let look = self
            .blue_green
            .as_ref()
            .and_then(|both| both.preview.as_ref());
        look.map_or(&[], |look| &look.hosts)
    }
}

const fn ten() -> u32 {
    10
}
const fn two_hours() -> Span {
    Span::secs(7200)
}
const fn one_minute() -> Span {
    Span::secs(60)
}
const fn ten_minutes() -> Span {
    Span::secs(600)
}
