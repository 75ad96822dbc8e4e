//! What runs: the part of a release that becomes one Swarm service per revision.
//!
//! It is hashed into the revision, so field order and defaults are part of the stored format.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::quantity::{Memory, Span};

/// A container and how Swarm runs it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Workload {
    /// The image: `name:tag`, `name@sha256:…` or `sha256:…`. Resolved to a digest or image id when applied.
    pub image: String,
    /// The name of a registry login in frd's configuration; never a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry_auth: Option<String>,
    /// Replaces the image's entrypoint.
    #[serde(default)]
    pub command: Vec<String>,
    /// Arguments of the command.
    #[serde(default)]
    pub args: Vec<String>,
    /// Environment variables.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// The user inside the container, `name`, `uid` or `uid:gid`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The container's labels. Names below `fridaymorning.` are ours.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Names of Swarm networks that the tasks join.
    #[serde(default)]
    pub networks: Vec<String>,
    /// Folders and volumes inside the container.
    #[serde(default)]
    pub mounts: Vec<Mount>,
    /// Swarm secrets that exist, shown as files.
    #[serde(default)]
    pub secrets: Vec<FileReference>,
    /// Swarm configs that exist, shown as files.
    #[serde(default)]
    pub configs: Vec<FileReference>,
    /// Processor and memory.
    #[serde(default)]
    pub resources: Resources,
    /// Docker's check of the container; absent: as the image says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// On which nodes tasks may run.
    #[serde(default)]
    pub placement: Placement,
    /// Time between SIGTERM and SIGKILL. Default: ten seconds longer than the longest server timeout of the routes, 10 s without routes;
    /// it is part of the revision, so without one of your own another server timeout makes a new revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_grace_period: Option<Span>,
}

/// A folder or volume inside the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mount {
    /// What kind of mount it is.
    #[serde(default, rename = "type")]
    pub kind: MountKind,
    /// The volume's name or the host's path; not for `tmpfs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The absolute path inside the container.
    pub target: String,
    /// Whether the container may only read it.
    #[serde(default)]
    pub read_only: bool,
}

/// What kind of mount it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum MountKind {
    /// A named volume.
    #[default]
    Volume,
    /// A path of the node.
    Bind,
    /// Memory.
    Tmpfs,
}

/// A Swarm config or secret that exists, shown to the container as a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileReference {
    /// The name of the Swarm object.
    pub source: String,
    /// The file: absolute, or below `/run/secrets` for a secret and `/` for a config. Default: the source's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The file's owner. Default: `0`.
    #[serde(default = "zero")]
    pub uid: String,
    /// The file's group. Default: `0`.
    #[serde(default = "zero")]
    pub gid: String,
    /// The file's mode in octal digits. Default: `0444`.
    #[serde(default = "world_readable")]
    #[schemars(regex(pattern = r"^0?[0-7]{3}$"))]
    pub mode: String,
}

/// Processor and memory that a task may use, and that a node must have free for it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Resources {
    /// The most a task gets.
    #[serde(default)]
    pub limits: ResourceAmount,
    /// What is set aside for a task.
    #[serde(default)]
    pub reservations: ResourceAmount,
}

/// An amount of processor and memory.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResourceAmount {
    /// Processors, such as `0.5`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.001, max = 4096.0))]
    pub cpus: Option<f64>,
    /// Memory, such as `256Mi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
}

/// Docker's check of the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Healthcheck {
    /// `["CMD", program, arguments…]`, `["CMD-SHELL", line]` or `["NONE"]`.
    #[schemars(length(min = 1))]
    pub test: Vec<String>,
    /// Time between checks.
    #[serde(default = "two_seconds")]
    pub interval: Span,
    /// Longest time a check may take.
    #[serde(default = "two_seconds")]
    pub timeout: Span,
    /// Failures in a row before the container counts as unhealthy.
    #[serde(default = "three")]
    #[schemars(range(min = 1))]
    pub retries: u32,
    /// Time after the start in which failures do not count.
    #[serde(default)]
    pub start_period: Span,
}

/// On which nodes tasks may run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Placement {
    /// Docker's constraint expressions, such as `node.labels.zone == a`.
    #[serde(default)]
    pub constraints: Vec<String>,
    /// Node labels to spread over, such as `node.labels.zone`.
    #[serde(default)]
    pub preferences: Vec<String>,
    /// The most tasks of one revision on one node; 0: any number.
    #[serde(default)]
    pub max_replicas_per_node: u32,
}

fn zero() -> String {
    "0".to_owned()
}
fn world_readable() -> String {
    "0444".to_owned()
}
const fn two_seconds() -> Span {
    Span::secs(2)
}
const fn three() -> u32 {
    3
}
