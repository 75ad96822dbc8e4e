//! What runs: the part of a release that becomes one Swarm service per revision.
//!
//! It is hashed into the revision, so field order and defaults are part of the stored format.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::quantity::{Memory, Span};

mod details;
mod files;

pub use details::{Capabilities, Dns, Logging, Restart, RestartCondition, Ulimit, VolumeOptions};
pub use files::{FileReference, object_name};

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
    /// Secrets, shown as files below `/run/secrets`: from a file or a variable of `frctl`, or Swarm secrets that exist.
    #[serde(default)]
    pub secrets: Vec<FileReference>,
    /// Configs, shown as files: from a file, or in the manifest itself, or Swarm configs that exist.
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
    // What follows is left out where it is not set: the hash of what was stored before must stay.
    /// The signal that asks the program to end. Default: as the image says, else SIGTERM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// The folder in which the command starts. Default: as the image says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// The container's host name; `{{.Node.Hostname}}`, `{{.Task.Slot}}` and the like are filled in by Docker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// More groups of the user.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Whether a small init process runs as number 1; absent: as Docker is set up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<bool>,
    /// Whether the container's own files may only be read.
    #[serde(default, skip_serializing_if = "is_false")]
    pub read_only: bool,
    /// Whether it gets a terminal.
    #[serde(default, skip_serializing_if = "is_false")]
    pub tty: bool,
    /// Whether its standard input stays open.
    #[serde(default, skip_serializing_if = "is_false")]
    pub stdin: bool,
    /// What the program may do besides, or less than, an ordinary one.
    #[serde(default, skip_serializing_if = "Capabilities::is_empty")]
    pub capabilities: Capabilities,
    /// Limits of the operating system, by name, such as `nofile`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ulimits: BTreeMap<String, Ulimit>,
    /// Kernel settings of the container, such as `net.core.somaxconn`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sysctls: BTreeMap<String, String>,
    /// Whom it asks for names.
    #[serde(default, skip_serializing_if = "Dns::is_empty")]
    pub dns: Dns,
    /// More names of hosts, each with its address.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub hosts: BTreeMap<String, String>,
    /// Names under which the tasks are found in their networks. Several revisions have the same: who asks for the name gets
    /// tasks of stable and canary by their number, not by their share.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// Where the container's output goes. Default: as Docker is set up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logging: Option<Logging>,
    /// How a task that ended is replaced.
    #[serde(default, skip_serializing_if = "Restart::is_default")]
    pub restart: Restart,
    /// Labels of the Swarm service, besides those of the container. Names below `fridaymorning.` are ours.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub service_labels: BTreeMap<String, String>,
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
    /// Several tasks, of two revisions during a rollout, may write it side by side: the program is made for that. What is
    /// written and not shared is refused.
    #[serde(default, skip_serializing_if = "is_false")]
    pub shared: bool,
    /// Of a bind mount: which mounts below it are seen on the other side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub propagation: Option<String>,
    /// Of a volume: how it is made where it does not exist yet.
    #[serde(default, skip_serializing_if = "VolumeOptions::is_empty")]
    pub volume: VolumeOptions,
    /// Of memory: how much of it, such as `64Mi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Memory>,
    /// Of memory: its mode in octal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
}

impl Mount {
    /// Whether several tasks would write the same files without anybody having said that they may.
    #[must_use]
    pub fn is_written_unshared(&self) -> bool {
        let same_files = match self.kind {
            MountKind::Bind => true,
            // Without a name each task gets one of its own.
            MountKind::Volume => self.source.is_some(),
            MountKind::Tmpfs => false,
        };
        same_files && !self.read_only && !self.shared
    }
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
    /// Processes, of the limits alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub pids: Option<u32>,
    /// Other things that nodes are set up to have, by kind, of the reservations alone: `{ gpu: 1 }`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub generic: BTreeMap<String, u32>,
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

const fn is_false(value: &bool) -> bool {
    !*value
}
const fn two_seconds() -> Span {
    Span::secs(2)
}
const fn three() -> u32 {
    3
}
