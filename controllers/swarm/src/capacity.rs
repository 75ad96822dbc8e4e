//! Does it fit? Whether the nodes have room for a revision beside the one that serves, said before anything starts.
//!
//! It counts as Swarm's scheduler does: what a node has, less what running tasks reserve, constraints, and the most tasks
//! of a revision on a node. It only warns: nodes come and go, and a rollout that finds no room waits, says so, and fails
//! by its deadline while stable serves. What must never happen: a warning about what does fit.

mod fit;

use std::collections::BTreeMap;
use std::time::Duration;

use fm_api::keys::{ReleaseKey, RevisionId};
use fm_api::release::ReleaseSpec;
use fm_api::workload::{Placement, Resources};
use serde::Deserialize;
use serde_json::json;

use crate::docker::{Docker, DockerError};
use crate::world::{label, release_of};

/// Whoever applies something does not wait longer for a warning.
const PATIENCE: Duration = Duration::from_secs(1);

/// What would be stored, and what it takes the place of.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The release.
    pub key: &'a ReleaseKey,
    /// The revision that serves.
    pub stable: Option<&'a RevisionId>,
    /// Other revisions of the release that stay: previews, and what an experiment tries.
    pub stay: &'a [RevisionId],
    /// The spec as it was.
    pub before: Option<&'a ReleaseSpec>,
    /// The spec as it would be.
    pub after: &'a ReleaseSpec,
}

/// Looks at nodes.
#[derive(Clone)]
pub struct Capacity {
    docker: Docker,
}

impl Capacity {
    /// Of the Docker at this address.
    ///
    /// # Errors
    /// When the address cannot be read.
    pub fn new(docker: &str) -> Result<Self, String> {
        let docker = Docker::new(docker).map_err(|error| error.to_string())?;
        Ok(Self { docker })
    }

    /// What does not fit, and by how much. Empty also while Docker does not answer: then nothing is known.
    pub async fn warnings(&self, wanted: Wanted<'_>) -> Vec<String> {
        if !fit::may_not_fit(wanted) {
            return Vec::new();
        }
        match tokio::time::timeout(PATIENCE, self.look(wanted)).await {
            Ok(Ok(rooms)) => fit::warnings(wanted, rooms),
            Ok(Err(error)) => {
                tracing::debug!("the nodes' room is not known: {error}");
                Vec::new()
            }
            Err(_) => Vec::new(),
        }
    }

    async fn look(&self, wanted: Wanted<'_>) -> Result<Vec<Room>, DockerError> {
        let (nodes, tasks) = tokio::try_join!(self.docker.rooms(), self.docker.reservations())?;
        Ok(rooms(wanted, nodes, &tasks))
    }
}

/// What something reserves, or what a node has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    pub(crate) nano_cpus: i64,
    pub(crate) memory: i64,
    pub(crate) generic: BTreeMap<String, i64>,
}

impl Amount {
    fn of(resources: &Resources) -> Self {
        let reserved = &resources.reservations;
        Self {
            nano_cpus: (reserved.cpus.unwrap_or(0.0) * 1e9).round() as i64,
            memory: reserved.memory.map_or(0, |memory| {
                i64::try_from(memory.bytes()).unwrap_or(i64::MAX)
            }),
            generic: reserved
                .generic
                .iter()
                .map(|(kind, count)| (kind.clone(), i64::from(*count)))
                .collect(),
        }
    }

    fn take(&mut self, other: &Amount) {
        self.nano_cpus = self.nano_cpus.saturating_sub(other.nano_cpus);
        self.memory = self.memory.saturating_sub(other.memory);
        for (kind, count) in &other.generic {
            *self.generic.entry(kind.clone()).or_default() -= count;
        }
    }
}

/// A node that takes tasks, and what is free on it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Room {
    /// What constraints speak of, by its name there.
    pub(crate) facts: BTreeMap<String, String>,
    /// What is free.
    pub(crate) free: Amount,
}

/// A node as Docker shows it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct RawRoom {
    #[serde(rename = "ID")]
    id: String,
    spec: RawSpec,
    #[serde(default)]
    description: RawDescription,
    status: RawStatus,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
struct RawSpec {
    labels: Option<BTreeMap<String, String>>,
    role: String,
    availability: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RawDescription {
    hostname: String,
    platform: RawPlatform,
    resources: RawResources,
    engine: RawEngine,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RawPlatform {
    architecture: String,
    #[serde(rename = "OS")]
    os: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RawEngine {
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RawStatus {
    state: String,
    addr: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RawResources {
    #[serde(rename = "NanoCPUs")]
    nano_cpus: i64,
    memory_bytes: i64,
    generic_resources: Option<Vec<RawGeneric>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawGeneric {
    #[serde(default)]
    discrete_resource_spec: Option<RawKind>,
    #[serde(default)]
    named_resource_spec: Option<RawKind>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawKind {
    kind: String,
    #[serde(default)]
    value: serde_json::Value,
}

impl RawResources {
    fn amount(&self) -> Amount {
        let mut amount = Amount {
            nano_cpus: self.nano_cpus,
            memory: self.memory_bytes,
            generic: BTreeMap::new(),
        };
        for one in self.generic_resources.iter().flatten() {
            let counted = one.discrete_resource_spec.as_ref();
            let counted = counted.map(|spec| (&spec.kind, spec.value.as_i64().unwrap_or(0)));
            // Each name is one of its kind.
            let named = one.named_resource_spec.as_ref().map(|spec| (&spec.kind, 1));
            for (kind, count) in counted.into_iter().chain(named) {
                *amount.generic.entry(kind.clone()).or_default() += count;
            }
        }
        amount
    }
}

/// A task, as far as it takes room.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct RawTask {
    #[serde(rename = "NodeID", default)]
    node_id: String,
    #[serde(default)]
    spec: RawTaskSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RawTaskSpec {
    container_spec: RawContainer,
    resources: Option<RawReserved>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RawContainer {
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RawReserved {
    reservations: Option<RawResources>,
}

impl Docker {
    /// All nodes, with what they have.
    pub(crate) async fn rooms(&self) -> Result<Vec<RawRoom>, DockerError> {
        self.read("/nodes", None).await
    }

    /// All tasks that are to run, with what they reserve.
    async fn reservations(&self) -> Result<Vec<RawTask>, DockerError> {
        let filters = json!({ "desired-state": ["running"] });
        self.read("/tasks", Some(&filters)).await
    }
}

/// The nodes that take tasks, less what others, and the release's own tasks that stay, reserve.
fn rooms(wanted: Wanted<'_>, nodes: Vec<RawRoom>, tasks: &[RawTask]) -> Vec<Room> {
    let takes = |node: &RawRoom| node.spec.availability == "active" && node.status.state == "ready";
    let mut rooms: BTreeMap<String, Room> = nodes
        .into_iter()
        .filter(takes)
        .map(|node| (node.id.clone(), room(node)))
        .collect();
    let none = BTreeMap::new();
    for task in tasks {
        let labels = task.spec.container_spec.labels.as_ref().unwrap_or(&none);
        let own = release_of(labels).as_ref() == Some(wanted.key);
        let revision = labels.get(label::REVISION).map(String::as_str);
        let mut stay = wanted.stable.into_iter().chain(wanted.stay);
        let stays = stay.any(|known| revision == Some(known.as_str()));
        // Another canary of this release goes before the new one comes, and the new one may have tasks by now.
        if own && !stays {
            continue;
        }
        let reserved = task.spec.resources.as_ref();
        let reserved = reserved.and_then(|resources| resources.reservations.as_ref());
        if let (Some(room), Some(reserved)) = (rooms.get_mut(&task.node_id), reserved) {
            room.free.take(&reserved.amount());
        }
    }
    rooms.into_values().collect()
}

/// The names of the nodes that may get a task, but for one of them.
pub(crate) fn others(nodes: Vec<RawRoom>, placement: &Placement, own: &str) -> Vec<String> {
    let takes = |node: &RawRoom| node.spec.availability == "active" && node.status.state == "ready";
    let rooms = nodes.into_iter().filter(takes).map(room);
    let fact = |room: &Room, name: &str| room.facts.get(name).cloned().unwrap_or_default();
    let other = |room: &Room| fact(room, "node.id") != own && fit::allowed(placement, room);
    let names = rooms.filter(other).map(|room| fact(&room, "node.hostname"));
    names.collect()
}

fn room(node: RawRoom) -> Room {
    let mut facts = BTreeMap::from([
        ("node.id".to_owned(), node.id),
        ("node.hostname".to_owned(), node.description.hostname),
        ("node.ip".to_owned(), node.status.addr),
        ("node.role".to_owned(), node.spec.role),
        ("node.platform.os".to_owned(), node.description.platform.os),
        (
            "node.platform.arch".to_owned(),
            node.description.platform.architecture,
        ),
    ]);
    let labels = node.spec.labels.into_iter().flatten();
    facts.extend(labels.map(|(name, value)| (format!("node.labels.{name}"), value)));
    let labels = node.description.engine.labels.into_iter().flatten();
    facts.extend(labels.map(|(name, value)| (format!("engine.labels.{name}"), value)));
    Room {
        facts,
        free: node.description.resources.amount(),
    }
}
