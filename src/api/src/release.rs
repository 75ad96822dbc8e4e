//! The Release: what a user writes. The field names are the contract; every default is here.
//!
//! Owner of the stored object: the API server. It must never hold a secret's value.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::criteria::Analysis;
use crate::dependency::Dependency;
use crate::experiment::Experiment;
use crate::freeze::Freeze;
use crate::gates::{BeforeTraffic, Webhook};
use crate::quantity::Span;
use crate::workload::Workload;

pub use crate::strategy::{
    Approval, BlueGreen, Canary, Capacity, Preview, PreviewHosts, PreviewMatch, Require, Step,
    Strategy,
};

/// The `apiVersion` that this version reads and writes.
pub const API_VERSION: &str = "fridaymorning.dev/v1";
/// The `kind` of a [`Release`].
pub const KIND: &str = "Release";

/// One service, how its traffic is routed, and how a new revision of it comes to serve.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Release {
    /// Always `fridaymorning.dev/v1`.
    #[schemars(extend("const" = API_VERSION))]
    pub api_version: String,
    /// Always `Release`.
    #[schemars(extend("const" = KIND))]
    pub kind: String,
    /// Name, namespace and what the server adds.
    pub metadata: Metadata,
    /// What is wanted.
    pub spec: ReleaseSpec,
}

/// Which release this is, and what the server knows of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metadata {
    /// The namespace; lower-case letters, digits and `-`.
    #[serde(default = "default_namespace")]
    #[schemars(regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"), length(max = 20))]
    pub namespace: String,
    /// The name, unique in its namespace; lower-case letters, digits and `-`.
    #[schemars(regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"), length(max = 26))]
    pub name: String,
    /// Free labels, for people and for selection.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Free annotations, for people and for tools.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// Set by the server: tells namesakes apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Set by the server: grows by one with each change of the spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Set by the server when the object was first applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    /// Set by the server when deletion was asked for; the object goes when everything it made is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
    /// Set by the server: who last changed the spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_by: Option<String>,
    /// Set by the server: the roles that whoever last changed the spec had.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed_roles: Vec<String>,
    /// Set by the server: the generation with which somebody asked what the image's tag means by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pulled: Option<u64>,
    /// Set by the server: why, in the words of who last changed the spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_why: Option<String>,
    /// Set by the server: the Swarm service that runs the first revision, and was there before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopted: Option<Adopted>,
    /// Set by the server: when it is deleted, stable's service stays, and is nobody's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub orphan: bool,
    /// Set by the server: when it is deleted, the service that was there before it is removed as well.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub remove_adopted: bool,
}

/// A Swarm service that was there before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Adopted {
    /// Docker's id: another service of the same name is not meant.
    #[schemars(regex(pattern = r"^[a-z0-9]{1,64}$"))]
    pub id: String,
    /// Its name.
    #[schemars(regex(pattern = r"^[!-~]{1,128}$"))]
    pub name: String,
}

/// What is wanted of a release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReleaseSpec {
    /// Tasks of the stable revision. Changing it makes no new revision.
    #[serde(default = "one")]
    #[schemars(range(max = 10_000))]
    pub replicas: u32,
    /// What runs: becomes one Swarm service per revision.
    pub workload: Workload,
    /// Which requests reach it. Empty for a worker without traffic.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub routes: Vec<Route>,
    /// How a client stays on the side it was given; absent: each request is decided alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// Requests that always reach a named side, whatever the weight; of several rules that fit the first decides. They
    /// stay outside the analysis.
    #[serde(default, rename = "match")]
    #[schemars(length(max = 32))]
    pub match_rules: Vec<MatchRule>,
    /// How a new revision comes to serve: exactly one of the strategies.
    pub strategy: Strategy,
    /// How the canary is judged.
    #[serde(default)]
    pub analysis: Analysis,
    /// Several candidates at once beside stable, compared with a baseline that is started with them. No rollout begins
    /// meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub experiment: Option<Experiment>,
    /// Other releases: a rollout of this one begins only once each of them serves what its own manifest says. A rollout that
    /// runs goes on, and going back waits for nobody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub depends_on: Vec<Dependency>,
    /// A name that several releases of this namespace share: their rollouts are promoted together, once each of them could
    /// be, and taken back together, when one of them is. A release whose manifest did not change holds up nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Programs that Swarm runs once per revision before its first request: a migration, or a test. In this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub before_traffic: Vec<BeforeTraffic>,
    /// Addresses that are told where a rollout stands, and that it may wait for. In this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub webhooks: Vec<Webhook>,
    /// Times in which no share rises and nothing is promoted, besides those of frd's configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub freeze: Vec<Freeze>,
    /// What to do with a canary that fails.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// How a canary that is taken back gives up its requests and its open connections.
    #[serde(default)]
    pub rollback: Rollback,
    /// How long the tasks of a revision that was taken back, or failed, stay without any traffic, to be looked at. A
    /// newer revision that needs their place ends it early.
    #[serde(default)]
    pub keep_failed: Span,
    /// What to do with a new image while a rollout runs.
    #[serde(default)]
    pub on_new_revision: OnNewRevision,
    /// What an agent does alone with a canary when the store stays out of reach.
    #[serde(default)]
    pub on_control_loss: OnControlLoss,
    /// Longest time without any progress of tasks before the revision counts as failed.
    /// Holds, evidence and approvals do not count.
    #[serde(default = "ten_minutes")]
    pub progress_deadline: Span,
    /// What to do with a service of ours that somebody changed by hand.
    #[serde(default)]
    pub drift: Drift,
    /// How many finished rollouts are kept in the history.
    #[serde(default = "ten")]
    #[schemars(range(min = 1, max = 100))]
    pub history_limit: u32,
}

/// Hosts and path prefixes that lead to one port of the container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Route {
    /// Host names in lower case; `*.example.com` for all below it, `*` for any.
    #[schemars(length(min = 1, max = 64))]
    pub hosts: Vec<String>,
    /// Path prefixes, by whole segments; the longest wins.
    #[serde(default = "root_path")]
    #[schemars(length(min = 1, max = 64))]
    pub paths: Vec<String>,
    /// The container's port.
    #[schemars(range(min = 1))]
    pub port: u16,
    /// How HAProxy checks a task; absent: a TCP connect every 2 s.
    #[serde(default)]
    pub health_check: RouteHealthCheck,
    /// How long HAProxy waits.
    #[serde(default)]
    pub timeouts: Timeouts,
}

/// HAProxy's own check of each task.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RouteHealthCheck {
    /// Path of a GET that must answer 2xx or 3xx; absent: a TCP connect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Time between checks.
    #[serde(default = "two_seconds")]
    pub interval: Span,
}

impl Default for RouteHealthCheck {
    fn default() -> Self {
        Self {
            path: None,
            interval: two_seconds(),
        }
    }
}

/// How long HAProxy waits for a task.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Timeouts {
    /// For the connection.
    #[serde(default = "one_second")]
    pub connect: Span,
    /// For the answer.
    #[serde(default = "thirty_seconds")]
    pub server: Span,
    /// For open connections to end before a leaving task is stopped.
    #[serde(default = "one_minute")]
    pub drain: Span,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: one_second(),
            server: thirty_seconds(),
            drain: one_minute(),
        }
    }
}

/// How a client stays on its side. Exactly one of the two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Affinity {
    /// By a cookie that HAProxy sets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<CookieAffinity>,
    /// By the client's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceAffinity>,
}

/// Affinity by cookie. It has no settings yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CookieAffinity {}

/// Affinity by the client's address. It has no settings yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SourceAffinity {}

/// A request that always reaches a named side: exactly one of `header`, `cookie` and `path` says which.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MatchRule {
    /// The name of a header that must have the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// The name of a cookie that must have the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<String>,
    /// A path prefix, by whole segments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The header's or cookie's whole value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The side. While there is no canary, stable serves these requests too.
    #[serde(default)]
    pub to: Side,
}

/// A side of the split.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Side {
    /// The revision on trial.
    #[default]
    Canary,
    /// The revision that serves.
    Stable,
}

/// What a match rule looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Criterion<'a> {
    /// A header's name and value.
    Header(&'a str, &'a str),
    /// A cookie's name and value.
    Cookie(&'a str, &'a str),
    /// A path prefix.
    Path(&'a str),
}

impl MatchRule {
    /// The rule that sends requests with this header to the canary.
    #[must_use]
    pub fn header(name: &str, value: &str) -> Self {
        Self {
            header: Some(name.to_owned()),
            value: Some(value.to_owned()),
            ..Self::default()
        }
    }

    /// What it looks at; `None` for anything but exactly one thing.
    #[must_use]
    pub fn criterion(&self) -> Option<Criterion<'_>> {
        match (&self.header, &self.cookie, &self.path, &self.value) {
            (Some(name), None, None, Some(value)) => Some(Criterion::Header(name, value)),
            (None, Some(name), None, Some(value)) => Some(Criterion::Cookie(name, value)),
            (None, None, Some(path), None) => Some(Criterion::Path(path)),
            _ => None,
        }
    }
}

/// What to do with a canary that fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnFailure {
    /// Stable takes all traffic back, the canary is removed.
    #[default]
    Rollback,
    /// Everything stays as it is and a person decides.
    Pause,
}

/// How a canary that is taken back gives up its requests and its open connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rollback {
    /// In this time the share falls to nothing, in ten even falls of which the first is at once, where the analysis takes
    /// it back: for a stable revision that has to warm up. `0s`: all at once. An abort, a newer revision, and tasks
    /// that fail never wait.
    #[serde(default)]
    pub over: Span,
    /// What becomes of its upgraded connections, WebSockets above all, once it has no share any more.
    #[serde(default)]
    pub connections: Connections,
}

/// What becomes of upgraded connections of a canary that was taken back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Connections {
    /// They may go on until `timeouts.drain` is over, and as long as `keepFailed` keeps the tasks.
    #[default]
    Drain,
    /// They are closed at once: their clients come back to stable. Requests that are being answered are finished.
    Close,
}

/// What to do with a new image while a rollout runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnNewRevision {
    /// The running canary is taken back and the new revision starts at the first step.
    #[default]
    Replace,
    /// The new revision waits until the running rollout has ended.
    Queue,
    /// The change is refused while a rollout runs.
    Reject,
}

/// What an agent does alone with a canary when the store stays out of reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OnControlLoss {
    /// How long it waits first.
    #[serde(default = "five_minutes")]
    pub after: Span,
    /// What it does then.
    #[serde(default)]
    pub action: ControlLossAction,
}

impl Default for OnControlLoss {
    fn default() -> Self {
        Self {
            after: five_minutes(),
            action: ControlLossAction::default(),
        }
    }
}

/// What an agent does alone with a canary.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ControlLossAction {
    /// Shares stay as they are.
    #[default]
    Hold,
    /// Stable takes all traffic.
    Stable,
}

/// What to do with a service of ours that somebody changed by hand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Drift {
    /// Put it back; an event says what was found.
    #[default]
    Repair,
    /// Leave it; an event says what was found.
    Report,
}

impl Release {
    /// The release's namespace and name.
    #[must_use]
    pub fn key(&self) -> crate::keys::ReleaseKey {
        crate::keys::ReleaseKey::new(&self.metadata.namespace, &self.metadata.name)
    }
}

impl ReleaseSpec {
    /// The container ports that routes name, each once, in order.
    #[must_use]
    pub fn ports(&self) -> Vec<u16> {
        let mut ports: Vec<u16> = self.routes.iter().map(|route| route.port).collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    /// The longest time any route waits for an answer.
    #[must_use]
    pub fn request_timeout(&self) -> Span {
        self.routes
            .iter()
            .map(|route| route.timeouts.server)
            .max()
            .unwrap_or(Span::ZERO)
    }
}

fn default_namespace() -> String {
    "default".to_owned()
}
fn root_path() -> Vec<String> {
    vec!["/".to_owned()]
}
const fn one() -> u32 {
    1
}
const fn ten() -> u32 {
    10
}
const fn one_second() -> Span {
    Span::secs(1)
}
const fn two_seconds() -> Span {
    Span::secs(2)
}
const fn thirty_seconds() -> Span {
    Span::secs(30)
}
const fn one_minute() -> Span {
    Span::secs(60)
}
const fn five_minutes() -> Span {
    Span::secs(300)
}
const fn ten_minutes() -> Span {
    Span::secs(600)
}
