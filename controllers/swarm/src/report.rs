//! What is observed of a release, put together for the store. No I/O.

use std::collections::BTreeMap;

use fm_api::keys::{ReleaseKey, RevisionId};
use fm_api::observed::{FailureKind, SwarmObserved, SwarmRevision, TaskFailure};
use fm_api::target::{RevisionRecord, Target};
use jiff::Timestamp;

use crate::Endpoints;
use crate::memory::Memory;
use crate::plan::{Plan, Why};
use crate::tasks::{Reach, Tally, lingers, revision};
use crate::world::{ReleaseView, Task, World, label, service_name};

/// What a report is made from.
pub(crate) struct Seen<'a> {
    pub(crate) key: &'a ReleaseKey,
    pub(crate) target: &'a Target,
    pub(crate) records: &'a BTreeMap<RevisionId, RevisionRecord>,
    pub(crate) world: &'a World,
    pub(crate) plan: &'a Plan,
    pub(crate) endpoints: Endpoints,
    pub(crate) previous: Option<&'a SwarmObserved>,
    pub(crate) now: Timestamp,
}

/// Puts together what is observed. Failure counts go on in `memory`.
pub(crate) fn report(seen: &Seen<'_>, memory: &mut Memory) -> SwarmObserved {
    let previous = seen.previous.filter(|p| p.uid == seen.target.uid);
    let complete = seen.plan.is_complete() && memory.refusals.is_empty();
    let resolution = memory.resolved.as_ref().filter(|attempt| {
        let asked = seen.target.resolve.as_ref();
        attempt.uid == seen.target.uid
            && asked.is_some_and(|asked| asked.generation == attempt.answer.generation)
    });
    SwarmObserved {
        uid: seen.target.uid.clone(),
        generation: if complete {
            seen.target.generation
        } else {
            previous.map_or(0, |p| p.generation)
        },
        resolution: resolution.map(|attempt| attempt.answer.clone()),
        revisions: revisions(seen, previous, memory),
        problem: None,
    }
}

fn revisions(
    seen: &Seen<'_>,
    previous: Option<&SwarmObserved>,
    memory: &mut Memory,
) -> BTreeMap<RevisionId, SwarmRevision> {
    let none = ReleaseView::default();
    let view = seen.world.releases.get(seen.key).unwrap_or(&none);
    let mut named: Vec<RevisionId> = view.services.iter().map(|s| s.revision()).collect();
    named.extend(view.tasks.keys().cloned());
    named.extend(memory.refusals.keys().cloned());
    named.extend(taken(seen.plan).map(|(revision, _)| revision.clone()));
    named.sort();
    named.dedup();
    memory
        .tallies
        .retain(|revision, _| named.contains(revision));
    named
        .into_iter()
        .filter_map(|id| {
            let observed = one(seen, view, previous, memory, &id)?;
            Some((id, observed))
        })
        .collect()
}

fn one(
    seen: &Seen<'_>,
    view: &ReleaseView,
    previous: Option<&SwarmObserved>,
    memory: &mut Memory,
    id: &RevisionId,
) -> Option<SwarmRevision> {
    let uid = &seen.target.uid;
    let name = service_name(seen.key, id);
    let service = view.services.iter().find(|service| {
        let named = service.name == name || service.is_revision(id);
        named && service.label(label::UID) == uid
    });
    if service.is_none() && seen.target.orphans.contains(id) {
        // It was given back: its tasks are not ours any more.
        return None;
    }
    let name = service.map_or(name, |service| service.name.clone());
    // Tasks of a deleted namesake's service are not this release's.
    let tasks: Vec<Task> = view
        .tasks
        .get(id)
        .into_iter()
        .flatten()
        .filter(|task| task.spec.container_spec.labels.get(label::UID) == Some(uid))
        .cloned()
        .collect();
    let failure = trouble(seen, memory, id);
    let stopping = tasks.iter().any(|task| lingers(task, &seen.world.nodes));
    if service.is_none() && failure.is_none() && !stopping {
        return None;
    }
    let service_id = service.map(|s| s.id.clone()).unwrap_or_default();
    let earlier = previous
        .and_then(|p| p.revisions.get(id))
        .filter(|earlier| service_id.is_empty() || earlier.service_id == service_id);
    let fresh = || {
        let counted = earlier.map_or(0, |earlier| earlier.failed_tasks);
        (service_id.clone(), Tally::resume(counted, &tasks))
    };
    let (counted_for, tally) = memory.tallies.entry(id.clone()).or_insert_with(fresh);
    if *counted_for != service_id && !service_id.is_empty() {
        (*counted_for, *tally) = fresh();
    }
    tally.count(&tasks);
    let record = seen.records.get(id);
    let reach = Reach {
        endpoints: seen.endpoints,
        ports: record.map_or(&[], |record| &record.ports),
        network: record.and_then(|r| r.workload.networks.first().map(String::as_str)),
    };
    let restarts = service.and_then(|s| s.number(label::RESTARTS));
    let mut observed = revision(
        &name,
        service,
        restarts.unwrap_or_default(),
        &tasks,
        &seen.world.nodes,
        reach,
        tally,
    );
    observed.drift = drifted(seen.plan, &name);
    if service.is_none() {
        // Whatever its tasks say, a service that is gone serves no more.
        observed.leaving.append(&mut observed.ready);
    }
    if let Some(failure) = failure {
        observed.failures.push(failure);
        let surplus = observed.failures.len().saturating_sub(5);
        observed.failures.drain(..surplus);
    }
    Some(observed)
}

/// Why a revision cannot have the service it should have.
fn trouble(seen: &Seen<'_>, memory: &Memory, id: &RevisionId) -> Option<TaskFailure> {
    if let Some(refusal) = memory.refusals.get(id) {
        return Some(refusal.failure.clone());
    }
    let (_, name) = taken(seen.plan).find(|(revision, _)| *revision == id)?;
    let message = format!(
        "a service named {name} exists that is not this installation's; it is left untouched. \
         Remove or rename it, then this revision gets its service"
    );
    let earlier = seen
        .previous
        .and_then(|p| p.revisions.get(id))
        .and_then(|r| r.failures.iter().find(|f| f.message == message));
    Some(TaskFailure {
        kind: FailureKind::Rejected,
        at: earlier.map_or(seen.now, |earlier| earlier.at),
        message,
        task: None,
        exit_code: None,
    })
}

/// What somebody else changed of a service and what is left so.
fn drifted(plan: &Plan, service: &str) -> Vec<String> {
    let found = plan.why.iter().filter_map(|why| match why {
        Why::Drifted { name, found } if name == service => Some(found),
        Why::Drifted { .. }
        | Why::NameTaken { .. }
        | Why::NoRecord(_)
        | Why::StoreUnknown
        | Why::NamesakeGoes(_) => None,
    });
    found.flatten().cloned().collect()
}

fn taken(plan: &Plan) -> impl Iterator<Item = (&RevisionId, &String)> {
    plan.why.iter().filter_map(|why| match why {
        Why::NameTaken { revision, name } => Some((revision, name)),
        Why::NoRecord(_) | Why::StoreUnknown | Why::NamesakeGoes(_) | Why::Drifted { .. } => None,
    })
}
