//! Gates: what a rollout asks before it goes on, and whom it tells afterwards.
//!
//! Promotion writes what is due into the target; the gates controller asks, and answers under `observed/…/gates`.
//! What must never happen: a gate that says yes because nobody asked, or a secret in any of these.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::keys::RevisionId;
use crate::quantity::{Span, Weight};
use crate::rollout::Outcome;

/// An address that is told by HTTP POST where a rollout stands, and whose answer it may wait for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Webhook {
    /// Its name, unique in the release.
    pub name: String,
    /// When it is called.
    pub when: When,
    /// The address, http or https.
    pub url: String,
    /// One of `providers` in frd's configuration: its login, its certificate authority, and the key that signs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_ref: Option<String>,
    /// Headers that are no secret.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 32))]
    pub headers: BTreeMap<String, String>,
    /// Sent along in the body, for whoever reads it, with `{{variables}}` in the values.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 32))]
    pub metadata: BTreeMap<String, String>,
    /// With `beforeStep` and `confirmStep`: only before this step, from 1. Absent: before each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub step: Option<u32>,
    /// How long one answer may take.
    #[serde(default = "ten_seconds")]
    pub timeout: Span,
    /// So often it is tried again, after growing pauses, before it counts as failed. A `confirm…` is asked until it says yes.
    #[serde(default = "three")]
    #[schemars(range(max = 100))]
    pub retries: u32,
    /// How often a `confirm…` that did not say yes is asked again.
    #[serde(default = "ten_seconds")]
    pub interval: Span,
}

/// When a webhook is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum When {
    /// Before the revision's first task starts; nothing starts until it says yes.
    ConfirmRollout,
    /// Before the revision's first task starts; the rollout fails if it fails.
    BeforeRollout,
    /// Before a step's share is set, its tasks ready; the share stays until it says yes.
    ConfirmStep,
    /// Before a step's share is set, its tasks ready; the rollout fails if it fails.
    BeforeStep,
    /// Before the revision gets everything (with `blueGreen` before the switch); it waits until it says yes.
    ConfirmPromotion,
    /// Before the revision gets everything (with `blueGreen` before the switch); the rollout fails if it fails.
    BeforePromotion,
    /// After the revision was promoted. Nothing waits for it.
    AfterPromotion,
    /// After the revision was taken back, whatever the cause. Nothing waits for it.
    AfterRollback,
}

impl When {
    /// Its word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            When::ConfirmRollout => "confirmRollout",
            When::BeforeRollout => "beforeRollout",
            When::ConfirmStep => "confirmStep",
            When::BeforeStep => "beforeStep",
            When::ConfirmPromotion => "confirmPromotion",
            When::BeforePromotion => "beforePromotion",
            When::AfterPromotion => "afterPromotion",
            When::AfterRollback => "afterRollback",
        }
    }

    /// It is asked until it says yes.
    #[must_use]
    pub const fn confirms(self) -> bool {
        matches!(
            self,
            When::ConfirmRollout | When::ConfirmStep | When::ConfirmPromotion
        )
    }

    /// Nothing waits for it.
    #[must_use]
    pub const fn is_after(self) -> bool {
        matches!(self, When::AfterPromotion | When::AfterRollback)
    }
}

/// A program that Swarm runs once per revision before its first request of the shares: a migration, or a test.
///
/// It has the revision's own environment, networks, mounts, secrets and configs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BeforeTraffic {
    /// Its name, unique in the release.
    pub name: String,
    /// Another image than the revision's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// A name of `registryAuth` in frd's configuration; absent: the workload's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry_auth: Option<String>,
    /// Replaces the image's entry point, with `{{variables}}`. Absent: the workload's.
    #[serde(default)]
    pub command: Vec<String>,
    /// The arguments, with `{{variables}}`. Where neither these nor `command` are given: the workload's.
    #[serde(default)]
    pub args: Vec<String>,
    /// Added to the workload's environment, with `{{variables}}` in the values.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 256))]
    pub env: BTreeMap<String, String>,
    /// Run it when the revision's tasks are ready, as a test of them needs; otherwise it runs before the first of them
    /// starts, as a migration must.
    #[serde(default)]
    pub with_tasks: bool,
    /// How long it may take.
    #[serde(default = "ten_minutes")]
    pub timeout: Span,
    /// `false`: once it has run there is no way back, and what would take the revision back stops the rollout instead.
    #[serde(default = "yes")]
    pub reversible: bool,
}

/// A gate that is due: it is asked until it is due no more. Writer: promotion, in the target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Due {
    /// Of this one question: the same question has the same id, however often it is asked.
    pub id: String,
    /// Which webhook is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,
    /// Which job is run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<BeforeTraffic>,
    /// Since when.
    pub since: Timestamp,
    /// What it is about.
    pub about: About,
}

impl Due {
    /// The gate's name.
    #[must_use]
    pub fn name(&self) -> &str {
        match (&self.webhook, &self.job) {
            (Some(hook), _) => &hook.name,
            (None, Some(job)) => &job.name,
            (None, None) => "",
        }
    }

    /// Nothing waits for it.
    #[must_use]
    pub fn is_after(&self) -> bool {
        (self.webhook.as_ref()).is_some_and(|hook| hook.when.is_after())
    }

    /// The word of its kind: a webhook's `when`, or `beforeTraffic`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        self.webhook
            .as_ref()
            .map_or("beforeTraffic", |hook| hook.when.word())
    }

    /// Under which name a job is asked for; no metric can be called so.
    #[must_use]
    pub fn measurement(&self) -> String {
        format!("_beforeTraffic/{}", self.name())
    }
}

/// What a question is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct About {
    /// The revision.
    pub revision: RevisionId,
    /// Its number.
    pub number: u64,
    /// Its image as the user wrote it.
    pub image: String,
    /// The revision that serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable: Option<RevisionId>,
    /// Who asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The step, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<usize>,
    /// All steps.
    pub steps: usize,
    /// The share that the revision gets with a yes, or got last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<Weight>,
    /// How the rollout ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// The word for why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The sentence for why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// What gates have said. Writer: the gates controller.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatesObserved {
    /// The target's uid.
    pub uid: String,
    /// By the question's id.
    #[serde(default)]
    pub answers: BTreeMap<String, GateAnswer>,
}

/// What one gate has said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GateAnswer {
    /// Whether it is over.
    pub verdict: GateVerdict,
    /// How often it was asked.
    pub attempts: u32,
    /// What it said last, for people.
    pub said: String,
    /// When.
    pub at: Timestamp,
    /// When it is asked again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Timestamp>,
}

/// Whether a gate lets pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum GateVerdict {
    /// Not known yet: it is asked again.
    Open,
    /// It lets pass.
    Yes,
    /// It failed for good.
    No,
}

/// The body of a call.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Call<'a> {
    /// The question's id: the same however often it is asked.
    pub id: &'a str,
    /// The webhook's name.
    pub webhook: &'a str,
    /// When it is called.
    pub when: When,
    /// The release's namespace.
    pub namespace: &'a str,
    /// The release's name.
    pub release: &'a str,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// What it is about.
    pub rollout: &'a About,
    /// The manifest's own.
    pub metadata: BTreeMap<String, String>,
}

const fn ten_seconds() -> Span {
    Span::secs(10)
}
const fn ten_minutes() -> Span {
    Span::secs(600)
}
const fn three() -> u32 {
    3
}
const fn yes() -> bool {
    true
}

/// The `{{variables}}` of gates.
pub const VARIABLES: [&str; 7] = [
    "revision",
    "number",
    "image",
    "stable",
    "namespace",
    "release",
    "step",
];

impl About {
    /// What a variable stands for; a step or a stable revision that is not there is empty.
    #[must_use]
    pub fn variable(&self, key: &crate::keys::ReleaseKey, name: &str) -> Option<String> {
        Some(match name {
            "revision" => self.revision.to_string(),
            "number" => self.number.to_string(),
            "image" => self.image.clone(),
            "stable" => self
                .stable
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            "namespace" => key.namespace().to_owned(),
            "release" => key.name().to_owned(),
            "step" => self.step.map(|step| step.to_string()).unwrap_or_default(),
            _ => return None,
        })
    }
}
