//! What Docker shows, typed as far as it is read.
//!
//! Owner: the observer, which replaces it as a whole. A spec that was read from Docker lies here only to be compared;
//! it is never posted back, but where somebody's change of it is to stay (`drift: report`).

use std::collections::{BTreeMap, BTreeSet};

use fm_api::keys::{ReleaseKey, RevisionId};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

/// Names of the labels that mark what is ours.
pub(crate) mod label {
    /// The store that the service belongs to.
    pub(crate) const MANAGED_BY: &str = "fridaymorning.dev/managed-by";
    /// The release's namespace.
    pub(crate) const NAMESPACE: &str = "fridaymorning.dev/namespace";
    /// The release's name.
    pub(crate) const RELEASE: &str = "fridaymorning.dev/release";
    /// The release's uid.
    pub(crate) const UID: &str = "fridaymorning.dev/uid";
    /// All of ours begin with it.
    pub(crate) const PREFIX: &str = "fridaymorning.dev/";
    /// The revision.
    pub(crate) const REVISION: &str = "fridaymorning.dev/revision";
    /// Hash of the spec that we posted.
    pub(crate) const SPEC_HASH: &str = "fridaymorning.dev/spec-hash";
    /// Restarts that were taken in.
    pub(crate) const RESTARTS: &str = "fridaymorning.dev/restarts";
    /// Docker's id of a service that was there before: nobody can copy that to another one.
    pub(crate) const ADOPTED: &str = "fridaymorning.dev/adopted";
    /// What people call a config or secret of ours.
    pub(crate) const CONTENT_NAME: &str = "fridaymorning.dev/name";
    /// The keyed hash of its content.
    pub(crate) const CONTENT: &str = "fridaymorning.dev/content";
    /// Grows each time its content is handed on again, so that it is seen to be wanted.
    pub(crate) const ASKED: &str = "fridaymorning.dev/asked";
    /// Replicas that we last set.
    pub(crate) const REPLICAS: &str = "fridaymorning.dev/replicas";
}

/// Every service of ours is named with it, and the observer asks for no others.
pub(crate) const NAME_PREFIX: &str = "fm_";

/// The name of a revision's service.
pub(crate) fn service_name(key: &ReleaseKey, revision: &RevisionId) -> String {
    format!("{NAME_PREFIX}{}_{}_{revision}", key.namespace(), key.name())
}

/// A service as Docker shows it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Service {
    /// Docker's id.
    pub(crate) id: String,
    /// Grows with each change, by whomever; an update must name it.
    pub(crate) version: u64,
    /// Its name.
    pub(crate) name: String,
    /// Its labels.
    pub(crate) labels: BTreeMap<String, String>,
    /// Tasks it is set to; `None` when somebody made it something else than replicated.
    pub(crate) replicas: Option<u32>,
    /// The spec as read, with the names of networks instead of their ids. For comparison only.
    pub(crate) spec: Value,
}

impl Service {
    /// A label's value, empty when it is absent.
    pub(crate) fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
    /// A label's value as a number.
    pub(crate) fn number(&self, name: &str) -> Option<u32> {
        self.labels.get(name)?.parse().ok()
    }
    /// Whether it was there before and is ours since: not named by us.
    pub(crate) fn is_adopted(&self) -> bool {
        !self.id.is_empty() && self.label(label::ADOPTED) == self.id
    }
    /// Whether it was there before, and runs this revision since.
    pub(crate) fn is_revision(&self, revision: &RevisionId) -> bool {
        self.is_adopted() && self.label(label::REVISION) == revision.as_str()
    }
    /// The revision that its label names.
    pub(crate) fn revision(&self) -> RevisionId {
        RevisionId::new(self.label(label::REVISION))
    }
}

/// A task's state, in the order in which tasks pass through them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TaskState {
    New,
    Allocated,
    Pending,
    Assigned,
    Accepted,
    Preparing,
    Ready,
    Starting,
    Running,
    Complete,
    Shutdown,
    Failed,
    Rejected,
    Remove,
    Orphaned,
    /// A state that this version does not know: neither ready nor failed.
    #[serde(other)]
    Unknown,
}

/// A task, as far as it is read.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Task {
    #[serde(rename = "ID")]
    pub(crate) id: String,
    #[serde(default, rename = "NodeID")]
    pub(crate) node_id: String,
    #[serde(default, rename = "ServiceID")]
    pub(crate) service_id: String,
    pub(crate) desired_state: TaskState,
    pub(crate) status: TaskStatus,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(crate) networks_attachments: Vec<NetworkAttachment>,
    #[serde(default)]
    pub(crate) spec: TaskSpec,
}

/// What a task says of itself.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct TaskStatus {
    pub(crate) timestamp: Timestamp,
    pub(crate) state: TaskState,
    #[serde(default)]
    pub(crate) message: String,
    #[serde(default)]
    pub(crate) err: String,
    #[serde(default)]
    pub(crate) container_status: Option<ContainerStatus>,
    #[serde(default)]
    pub(crate) port_status: Option<PortStatus>,
}

/// A task's container.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ContainerStatus {
    #[serde(default)]
    pub(crate) exit_code: Option<i64>,
}

/// A task's published ports; each is shown twice, for IPv4 and IPv6.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct PortStatus {
    #[serde(default, deserialize_with = "null_is_default")]
    pub(crate) ports: Vec<Port>,
}

/// A published port.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Port {
    #[serde(default)]
    pub(crate) protocol: String,
    #[serde(default)]
    pub(crate) target_port: u16,
    #[serde(default)]
    pub(crate) published_port: u16,
}

/// A task's place in a network.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct NetworkAttachment {
    #[serde(default)]
    pub(crate) network: Network,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(crate) addresses: Vec<String>,
}

/// A network, as far as it is read.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Network {
    #[serde(default)]
    pub(crate) spec: NetworkSpec,
}

/// A network's name.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct NetworkSpec {
    #[serde(default)]
    pub(crate) name: String,
}

/// A task's spec, as far as it is read.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct TaskSpec {
    #[serde(default)]
    pub(crate) container_spec: ContainerSpec,
}

/// The container's labels: they name the release even when the service is gone already.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ContainerSpec {
    #[serde(default, deserialize_with = "null_is_default")]
    pub(crate) labels: BTreeMap<String, String>,
}

/// Docker writes `null` where others write an empty list.
fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// A node, as far as it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    /// Its host name.
    pub(crate) hostname: String,
    /// What the managers think of it.
    pub(crate) state: NodeState,
    /// Where it is reached; never empty.
    pub(crate) address: String,
}

/// What the managers think of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum NodeState {
    Ready,
    Down,
    Disconnected,
    /// Every node passes through it when a leader changes.
    #[serde(other)]
    Unknown,
}

/// One release's services and tasks.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ReleaseView {
    /// Services that carry the labels of this release.
    pub(crate) services: Vec<Service>,
    /// Their tasks, also of services that were removed just now, by revision.
    pub(crate) tasks: BTreeMap<RevisionId, Vec<Task>>,
}

/// Everything, at one look.
#[derive(Debug, Clone, Default)]
pub(crate) struct World {
    /// What is ours.
    pub(crate) releases: BTreeMap<ReleaseKey, ReleaseView>,
    /// Names like ours that others hold.
    pub(crate) foreign: BTreeSet<String>,
    /// The nodes.
    pub(crate) nodes: BTreeMap<String, Node>,
}

/// The release that labels name, if they name one.
pub(crate) fn release_of(labels: &BTreeMap<String, String>) -> Option<ReleaseKey> {
    let namespace = labels.get(label::NAMESPACE).filter(|n| !n.is_empty())?;
    let name = labels.get(label::RELEASE).filter(|n| !n.is_empty())?;
    Some(ReleaseKey::new(namespace, name))
}

impl World {
    /// Sorts what Docker shows by release.
    pub(crate) fn sort(
        installation: &str,
        services: Vec<Service>,
        tasks: Vec<Task>,
        nodes: BTreeMap<String, Node>,
    ) -> World {
        let mut world = World {
            nodes,
            ..World::default()
        };
        for service in services {
            let key = release_of(&service.labels)
                .filter(|_| service.label(label::MANAGED_BY) == installation);
            // A name that is not exactly what we would give is not ours, whatever its labels say.
            let named = |key: &ReleaseKey| service.name == service_name(key, &service.revision());
            match key.filter(|key| service.is_adopted() || named(key)) {
                Some(key) => world
                    .releases
                    .entry(key)
                    .or_default()
                    .services
                    .push(service),
                None => {
                    world.foreign.insert(service.name);
                }
            }
        }
        let adopted: BTreeMap<String, BTreeMap<String, String>> = world
            .releases
            .values()
            .flat_map(|view| &view.services)
            .filter(|service| service.is_adopted())
            .map(|service| (service.id.clone(), service.labels.clone()))
            .collect();
        for mut task in tasks {
            // The containers of a service that was there before do not carry our labels: its own do.
            if let Some(labels) = adopted.get(&task.service_id) {
                let own = labels
                    .iter()
                    .map(|(name, value)| (name.clone(), value.clone()));
                task.spec.container_spec.labels.extend(own);
            }
            let labels = &task.spec.container_spec.labels;
            if let (Some(key), Some(revision)) = (release_of(labels), labels.get(label::REVISION)) {
                let revision = RevisionId::new(revision);
                let view = world.releases.entry(key).or_default();
                view.tasks.entry(revision).or_default().push(task);
            }
        }
        for view in world.releases.values_mut() {
            for tasks in view.tasks.values_mut() {
                tasks.sort_by(|a, b| a.id.cmp(&b.id));
            }
        }
        world
    }
}
