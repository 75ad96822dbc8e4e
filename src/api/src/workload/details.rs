//! What people set of a container in a Compose file besides the usual. Each is left out of what is stored where it is not set.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::quantity::Span;

/// What the program may do besides, or less than, an ordinary one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Capabilities {
    /// Given, such as `CAP_NET_ADMIN`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<String>,
    /// Taken away, such as `ALL`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drop: Vec<String>,
}

impl Capabilities {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A limit of the operating system; -1: none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ulimit {
    /// Where the program begins.
    #[schemars(range(min = -1))]
    pub soft: i64,
    /// How far it may raise it itself.
    #[schemars(range(min = -1))]
    pub hard: i64,
}

/// Whom the container asks for names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Dns {
    /// Addresses of name servers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<String>,
    /// Domains in which short names are looked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<String>,
    /// Options of the resolver, such as `ndots:2`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

impl Dns {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Where the container's output goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Logging {
    /// Docker's driver, such as `json-file` or `fluentd`.
    pub driver: String,
    /// Its options.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
}

/// How a task that ended is replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Restart {
    /// After which end. Docker stops an unhealthy task, which may end well: `onFailure` would not replace it.
    pub condition: RestartCondition,
    /// How long it waits first.
    pub delay: Span,
    /// How often within `window`, 0: any number. A task that is not replaced is capacity that is missing.
    pub max_attempts: u32,
    /// The time in which attempts are counted; 0: for ever.
    pub window: Span,
}

impl Default for Restart {
    fn default() -> Self {
        Self {
            condition: RestartCondition::Any,
            delay: Span::secs(2),
            max_attempts: 0,
            window: Span::ZERO,
        }
    }
}

impl Restart {
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// After which end a task is replaced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RestartCondition {
    /// Any.
    #[default]
    Any,
    /// One with an exit code other than 0.
    OnFailure,
}

/// How a volume is made where it does not exist yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct VolumeOptions {
    /// Whether it stays empty, instead of getting what the image has at that place.
    #[serde(skip_serializing_if = "super::is_false")]
    pub no_copy: bool,
    /// The driver. Default: `local`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// The driver's options.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
    /// The volume's labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl VolumeOptions {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
