//! From tasks to what is observed of a revision. Pure.
//!
//! A task is ready when DesiredState and State are running and its node is; an address alone means nothing, tasks have
//! one long before they serve. What must never happen: a task called ready whose DesiredState has turned.

use std::collections::{BTreeMap, BTreeSet};

use fm_api::observed::{Endpoint, FailureKind, SwarmRevision, TaskFailure};

use crate::Endpoints;
use crate::world::{Node, NodeState, Service, Task, TaskState};

/// Failures that are told; older ones are only counted.
const TOLD: usize = 5;

/// How tasks of one revision are reached.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reach<'a> {
    /// Through which addresses.
    pub(crate) endpoints: Endpoints,
    /// The container ports that routes name.
    pub(crate) ports: &'a [u16],
    /// The workload's first network.
    pub(crate) network: Option<&'a str>,
}

/// Failures counted so far: Docker forgets old tasks, so what was counted must be remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    counted: BTreeSet<String>,
    total: u32,
}

impl Tally {
    /// Goes on from what an earlier process counted.
    pub(crate) fn resume(observed: u32, tasks: &[Task]) -> Tally {
        let mut tally = Tally::default();
        tally.count(tasks);
        tally.total = tally.total.max(observed);
        tally
    }

    /// Counts failed tasks that were not counted yet.
    pub(crate) fn count(&mut self, tasks: &[Task]) {
        let failed: BTreeSet<String> = tasks
            .iter()
            .filter(|task| has_failed(task))
            .map(|task| task.id.clone())
            .collect();
        let new = failed.difference(&self.counted).count();
        self.total = self
            .total
            .saturating_add(u32::try_from(new).unwrap_or(u32::MAX));
        self.counted = failed;
    }
}

/// What is observed of a revision.
pub(crate) fn revision(
    name: &str,
    service: Option<&Service>,
    restarts: u32,
    tasks: &[Task],
    nodes: &BTreeMap<String, Node>,
    reach: Reach<'_>,
    tally: &Tally,
) -> SwarmRevision {
    let mut seen = SwarmRevision {
        service: name.to_owned(),
        service_id: service.map(|s| s.id.clone()).unwrap_or_default(),
        replicas: service.and_then(|s| s.replicas).unwrap_or_default(),
        restarts,
        failed_tasks: tally.total,
        ..SwarmRevision::default()
    };
    for task in tasks {
        let node = nodes.get(&task.node_id);
        match standing(task, node) {
            Standing::Running => match endpoint(task, node, reach) {
                Some(endpoint) => seen.ready.push(endpoint),
                // The published port shows a moment after the task runs.
                None => seen.starting += 1,
            },
            Standing::Leaving => seen.leaving.extend(endpoint(task, node, reach)),
            Standing::Starting => seen.starting += 1,
            Standing::Gone => {}
        }
    }
    let mut failures: Vec<TaskFailure> = tasks.iter().filter_map(failure).collect();
    failures.sort_by(|a, b| (a.at, &a.task).cmp(&(b.at, &b.task)));
    seen.failures = failures.split_off(failures.len().saturating_sub(TOLD));
    seen
}

/// Where a task stands.
enum Standing {
    Running,
    Leaving,
    Starting,
    Gone,
}

fn standing(task: &Task, node: Option<&Node>) -> Standing {
    let wanted = task.desired_state <= TaskState::Running;
    // Every node is `unknown` for seconds when a leader changes; its tasks serve all the while.
    let reachable = node.is_some_and(|node| match node.state {
        NodeState::Ready | NodeState::Unknown => true,
        NodeState::Down | NodeState::Disconnected => false,
    });
    match (wanted, task.status.state) {
        (true, TaskState::Running) if task.desired_state == TaskState::Running => {
            if reachable {
                Standing::Running
            } else {
                Standing::Gone
            }
        }
        // State says running until the process has ended: DesiredState is what counts.
        (false, TaskState::Running) if reachable => Standing::Leaving,
        (true, state) if state <= TaskState::Running => Standing::Starting,
        _ => Standing::Gone,
    }
}

/// Whether tasks are on their way somewhere, so that looking again soon is worth it.
pub(crate) fn moving(seen: &SwarmRevision, replicas: u32) -> bool {
    let ready = u32::try_from(seen.ready.len()).unwrap_or(u32::MAX);
    ready != replicas || seen.starting > 0 || !seen.leaving.is_empty()
}

/// Whether a removed service's task still stops.
pub(crate) fn lingers(task: &Task, nodes: &BTreeMap<String, Node>) -> bool {
    matches!(
        standing(task, nodes.get(&task.node_id)),
        Standing::Running | Standing::Leaving | Standing::Starting
    )
}

fn endpoint(task: &Task, node: Option<&Node>, reach: Reach<'_>) -> Option<Endpoint> {
    let node = node?;
    let addresses = match reach.endpoints {
        Endpoints::HostPorts => host_ports(task, node, reach.ports),
        Endpoints::Overlay => overlay(task, reach),
    };
    // Without an address for each port it cannot serve yet.
    (addresses.len() == reach.ports.len()).then(|| Endpoint {
        task: task.id.clone(),
        node: node.hostname.clone(),
        addresses,
    })
}

/// Each port is shown twice: first as IPv4 has it, then as IPv6 has it. The two numbers drift apart as soon as one of
/// them is taken by somebody else, and then the other one is another task's: only the node's own family counts.
fn host_ports(task: &Task, node: &Node, ports: &[u16]) -> BTreeMap<u16, String> {
    let v6 = node.address.contains(':');
    let mut all = BTreeMap::new();
    for port in task.status.port_status.iter().flat_map(|s| &s.ports) {
        let named = port.protocol == "tcp" && ports.contains(&port.target_port);
        if named && port.published_port > 0 && (v6 || !all.contains_key(&port.target_port)) {
            all.insert(port.target_port, join(&node.address, port.published_port));
        }
    }
    all
}

fn overlay(task: &Task, reach: Reach<'_>) -> BTreeMap<u16, String> {
    let address = task
        .networks_attachments
        .iter()
        .find(|attached| Some(attached.network.spec.name.as_str()) == reach.network)
        .and_then(|attached| attached.addresses.first())
        .map(|address| address.split('/').next().unwrap_or_default());
    match address {
        Some(address) => reach
            .ports
            .iter()
            .map(|port| (*port, join(address, *port)))
            .collect(),
        None => BTreeMap::new(),
    }
}

fn join(address: &str, port: u16) -> String {
    if address.contains(':') {
        format!("[{address}]:{port}")
    } else {
        format!("{address}:{port}")
    }
}

/// Whether a task ended by itself. Tasks that Swarm stops end as `shutdown`; with us nothing is ever `complete` on purpose.
fn has_failed(task: &Task) -> bool {
    match task.status.state {
        TaskState::Failed | TaskState::Rejected => true,
        // A task that was told to stop and ends with 0 may be shown so too; then there is no error in its message.
        TaskState::Complete => task.status.message == "finished",
        TaskState::New
        | TaskState::Allocated
        | TaskState::Pending
        | TaskState::Assigned
        | TaskState::Accepted
        | TaskState::Preparing
        | TaskState::Ready
        | TaskState::Starting
        | TaskState::Running
        | TaskState::Shutdown
        | TaskState::Remove
        | TaskState::Orphaned
        | TaskState::Unknown => false,
    }
}

/// A task's failure in Docker's own words.
fn failure(task: &Task) -> Option<TaskFailure> {
    let status = &task.status;
    let unplaced = status.state == TaskState::Pending && status.err.contains("no suitable node");
    if !unplaced && !has_failed(task) {
        return None;
    }
    // Docker shows the exit code 0 also where no process ran.
    let exit_code = status
        .container_status
        .as_ref()
        .and_then(|container| container.exit_code)
        .filter(|_| matches!(status.state, TaskState::Failed | TaskState::Complete));
    let message = if status.err.is_empty() {
        // Docker has no error for it, and it is so too when it stopped an unhealthy container that ended well.
        format!(
            "task: {}: the process ended by itself or was stopped as unhealthy ({})",
            status.message,
            exit_code.unwrap_or_default()
        )
    } else {
        status.err.clone()
    };
    Some(TaskFailure {
        kind: kind(task, unplaced),
        message,
        task: Some(task.id.clone()),
        exit_code,
        at: status.timestamp,
    })
}

fn kind(task: &Task, unplaced: bool) -> FailureKind {
    const NO_IMAGE: [&str; 4] = [
        "No such image",
        "manifest unknown",
        "pull access denied",
        "not found: manifest",
    ];
    let words = &task.status.err;
    if unplaced {
        FailureKind::NoSuitableNode
    } else if NO_IMAGE.iter().any(|part| words.contains(part)) {
        FailureKind::ImageMissing
    } else if words.contains("unhealthy container") {
        FailureKind::Unhealthy
    } else if task.status.state == TaskState::Rejected || words.contains("address already in use") {
        FailureKind::Rejected
    } else {
        FailureKind::Crashed
    }
}

#[cfg(test)]
#[path = "tasks_tests.rs"]
mod tests;
