//! What must be done so that Swarm holds what the target wants. Pure: the same input gives the same plan.
//!
//! What must never happen: an action on a service that is not ours; a removal while the store is not surely known; a
//! plan after a perfect act that is not empty.

use std::collections::{BTreeMap, BTreeSet};

use fm_api::keys::{ReleaseKey, RevisionId};
use fm_api::release::Drift;
use fm_api::target::{RevisionRecord, RevisionTarget, Target};
use serde_json::Value;

use crate::drift::{Difference, differences};
use crate::render::{Identity, adopted_spec, given_back};
use crate::world::{ReleaseView, Service, World, label, service_name};

/// What a plan is made from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Input<'a> {
    /// The store's name.
    pub(crate) installation: &'a str,
    /// The release.
    pub(crate) key: &'a ReleaseKey,
    /// What is wanted; `None` when the store surely has no target.
    pub(crate) target: Option<&'a Target>,
    /// The revisions that the target names, as far as they are known.
    pub(crate) records: &'a BTreeMap<RevisionId, RevisionRecord>,
    /// What Docker shows.
    pub(crate) world: &'a World,
    /// Differences that stay after our spec was posted: Docker makes them itself. By service id.
    pub(crate) tolerated: &'a BTreeMap<String, BTreeSet<Difference>>,
    /// Services that were there before and are to be ours, as they are now, by revision.
    pub(crate) adoptable: &'a BTreeMap<RevisionId, Service>,
    /// Whether the store is seen as it is now. While it is not, nothing is removed.
    pub(crate) store_known: bool,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Create a revision's service.
    Create(Post),
    /// Post a service's spec again.
    Update {
        /// Docker's id.
        id: String,
        /// The version that the decision was made on.
        version: u64,
        /// What to post.
        post: Post,
        /// Why.
        reason: UpdateReason,
    },
    /// Remove a service.
    Remove {
        /// Docker's id.
        id: String,
        /// Its name.
        name: String,
        /// Why.
        reason: RemoveReason,
    },
}

/// A spec to post.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Post {
    /// The revision.
    pub(crate) revision: RevisionId,
    /// The service's name.
    pub(crate) name: String,
    /// The whole spec.
    pub(crate) spec: Value,
    /// The name of the registry login that nodes need to pull the image.
    pub(crate) login: Option<String>,
}

/// Why a service's spec is posted again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum UpdateReason {
    /// Other replicas are wanted.
    Scale {
        /// As it is.
        from: u32,
        /// As it is wanted.
        to: u32,
    },
    /// New tasks of the same revision are wanted.
    Restart,
    /// We posted another spec earlier.
    Changed,
    /// It was there before and is ours from now on.
    Adopt,
    /// It is given back.
    GiveBack,
    /// Somebody else changed it.
    Repair(Vec<String>),
}

/// Why a service is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RemoveReason {
    /// Its release exists no more.
    NoRelease,
    /// It belongs to a deleted release of the same name.
    Namesake,
    /// The target names the revision no more.
    NotWanted,
}

/// Why nothing is done where something could be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Why {
    /// Somebody else's service has the name.
    NameTaken {
        /// The revision that cannot have a service.
        revision: RevisionId,
        /// The name.
        name: String,
    },
    /// The revision's record has not been seen yet.
    NoRecord(RevisionId),
    /// The store is not surely known: a service that seems to be superfluous stays.
    StoreUnknown,
    /// The service of a deleted namesake must go first.
    NamesakeGoes(RevisionId),
    /// Somebody changed the service, and the release wants that reported only.
    Drifted {
        /// The service.
        name: String,
        /// What was found.
        found: Vec<String>,
    },
}

/// What to do, in order, and why not more.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Plan {
    /// The actions. Each may fail alone.
    pub(crate) actions: Vec<Action>,
    /// Why not more.
    pub(crate) why: Vec<Why>,
}

impl Plan {
    /// Whether everything that the target wants of services is done.
    pub(crate) fn is_complete(&self) -> bool {
        self.actions.is_empty()
            && self.why.iter().all(|why| match why {
                Why::Drifted { .. } => true,
                Why::NameTaken { .. }
                | Why::NoRecord(_)
                | Why::StoreUnknown
                | Why::NamesakeGoes(_) => false,
            })
    }
}

/// Makes the plan.
pub(crate) fn plan(input: Input<'_>) -> Plan {
    let none = ReleaseView::default();
    let view = input.world.releases.get(input.key).unwrap_or(&none);
    let mut plan = Plan::default();
    for service in &view.services {
        let Some(reason) = superfluous(input.target, service) else {
            continue;
        };
        // What was there before goes only where its own release, which is known, wants it no more.
        let kept = match reason {
            RemoveReason::NoRelease | RemoveReason::Namesake => service.is_adopted(),
            RemoveReason::NotWanted => false,
        };
        if input.store_known && kept {
            plan.actions.push(left_alone(service));
        } else if input.store_known {
            plan.actions.push(Action::Remove {
                id: service.id.clone(),
                name: service.name.clone(),
                reason,
            });
        } else if !plan.why.contains(&Why::StoreUnknown) {
            plan.why.push(Why::StoreUnknown);
        }
    }
    let Some(target) = input.target else {
        return plan;
    };
    for (revision, wanted) in &target.revisions {
        let name = service_name(input.key, revision);
        let ours = view
            .services
            .iter()
            .find(|service| service.name == name || service.is_revision(revision));
        match ours {
            // It was given back: it is nobody's, also under a name like ours.
            None if target.orphans.contains(revision) => {}
            _ if input.world.foreign.contains(&name) => plan.why.push(Why::NameTaken {
                revision: revision.clone(),
                name,
            }),
            Some(service) if service.label(label::UID) != target.uid => {
                plan.why.push(Why::NamesakeGoes(revision.clone()));
            }
            _ => revise(&mut plan, input, target, revision, wanted, ours),
        }
    }
    plan
}

/// The service as it runs, without our labels.
fn left_alone(service: &Service) -> Action {
    let mut spec = service.spec.clone();
    if let Some(labels) = spec["Labels"].as_object_mut() {
        labels.retain(|name, _| !name.starts_with(label::PREFIX));
    }
    let post = Post {
        revision: service.revision(),
        name: service.name.clone(),
        spec,
        login: None,
    };
    update(service, post, UpdateReason::GiveBack)
}

fn superfluous(target: Option<&Target>, service: &Service) -> Option<RemoveReason> {
    match target {
        None => Some(RemoveReason::NoRelease),
        Some(target) if service.label(label::UID) != target.uid => Some(RemoveReason::Namesake),
        Some(target) if !target.revisions.contains_key(&service.revision()) => {
            Some(RemoveReason::NotWanted)
        }
        Some(_) => None,
    }
}

/// One revision that must have a service.
fn revise(
    plan: &mut Plan,
    input: Input<'_>,
    target: &Target,
    revision: &RevisionId,
    wanted: &RevisionTarget,
    service: Option<&Service>,
) {
    let record = input.records.get(revision);
    let Some(record) = record.filter(|record| record.uid == target.uid) else {
        plan.why.push(Why::NoRecord(revision.clone()));
        return;
    };
    let identity = Identity {
        installation: input.installation,
        key: input.key,
        uid: &target.uid,
        revision,
    };
    // One that is somebody else's by now stays so.
    let before = input.adoptable.get(revision);
    let before = before.filter(|service| service.label(label::MANAGED_BY).is_empty());
    let was_there = service.or(before).filter(|service| {
        let adopted = record.adopted.as_ref();
        adopted.is_some_and(|adopted| adopted.id == service.id)
    });
    let adopted = was_there.and(record.adopted.as_ref());
    let gives_back = target.orphans.contains(revision);
    let spec = if gives_back {
        given_back(
            identity,
            record,
            adopted,
            (wanted.replicas, wanted.restarts),
        )
    } else {
        adopted_spec(
            identity,
            record,
            adopted,
            (wanted.replicas, wanted.restarts),
        )
    };
    let post = Post {
        revision: revision.clone(),
        name: spec["Name"].as_str().unwrap_or_default().to_owned(),
        spec,
        login: record.workload.registry_auth.clone(),
    };
    if gives_back {
        // Without our labels it is not seen any more: then that is done.
        if let Some(service) = service {
            plan.actions
                .push(update(service, post, UpdateReason::GiveBack));
        }
        return;
    }
    if let (None, Some(before)) = (service, was_there) {
        plan.actions.push(update(before, post, UpdateReason::Adopt));
        return;
    }
    // Somebody said that nothing is to be repaired for a while: then it is told, as with `drift: report`.
    let held = target.held.is_some();
    let Some(service) = service else {
        if held {
            let found =
                vec!["the service is gone, and is not made while the release is held".to_owned()];
            plan.why.push(Why::Drifted {
                name: post.name,
                found,
            });
        } else {
            plan.actions.push(Action::Create(post));
        }
        return;
    };
    let drift = if held { Drift::Report } else { target.drift };
    match reason(input, drift, &post, wanted, service) {
        Decision::Keep => {}
        Decision::Tell(found) => plan.why.push(Why::Drifted {
            name: post.name,
            found,
        }),
        Decision::Update(reason) => plan.actions.push(update(service, post, reason)),
        Decision::UpdateBeside(reason, found) => {
            let spec = beside(&post.spec, &service.spec);
            plan.why.push(Why::Drifted {
                name: post.name.clone(),
                found,
            });
            let post = Post { spec, ..post };
            plan.actions.push(update(service, post, reason));
        }
    }
}

/// What somebody made of the service, with our own wishes and nothing else changed: replicas and restarts.
///
/// The one place where what was read from Docker is posted again, and only where somebody asked that it be left as it is.
/// It was read in full, without the library, and its networks stand there by their names, as we write them ourselves.
fn beside(ours: &Value, found: &Value) -> Value {
    let mut spec = found.clone();
    for name in [label::REPLICAS, label::RESTARTS, label::SPEC_HASH] {
        if let Some(value) = ours["Labels"].get(name) {
            spec["Labels"][name] = value.clone();
        }
    }
    spec["Mode"] = ours["Mode"].clone();
    spec["TaskTemplate"]["ForceUpdate"] = ours["TaskTemplate"]["ForceUpdate"].clone();
    spec
}

fn update(service: &Service, post: Post, reason: UpdateReason) -> Action {
    Action::Update {
        id: service.id.clone(),
        version: service.version,
        post,
        reason,
    }
}

enum Decision {
    Keep,
    Tell(Vec<String>),
    Update(UpdateReason),
    /// What somebody changed stays beside it.
    UpdateBeside(UpdateReason, Vec<String>),
}

/// Whether and why a service of ours must be posted again. Our own wishes come before what others did, because posting
/// the whole spec settles both.
fn reason(
    input: Input<'_>,
    drift: Drift,
    post: &Post,
    wanted: &RevisionTarget,
    service: &Service,
) -> Decision {
    let none = BTreeSet::new();
    let tolerated = input.tolerated.get(&service.id).unwrap_or(&none);
    let restarts = service.number(label::RESTARTS).unwrap_or_default() < wanted.restarts;
    // What we are about to say ourselves is nobody's change.
    let ours = |difference: &&Difference| {
        let path = &difference.path;
        let names = [label::RESTARTS, label::SPEC_HASH];
        let labels = names.iter().any(|name| path.ends_with(name));
        restarts && (path == "TaskTemplate.ForceUpdate" || labels)
    };
    let mut found: Vec<String> = differences(&post.spec, &service.spec)
        .difference(tolerated)
        .filter(|difference| !ours(difference))
        .map(ToString::to_string)
        .collect();
    let last_set = service.number(label::REPLICAS);
    if let Some(last_set) = last_set.filter(|last_set| service.replicas != Some(*last_set)) {
        let now = service
            .replicas
            .map_or("absent".to_owned(), |n| n.to_string());
        found.push(format!("replicas are {now} instead of {last_set}"));
    }
    let stays = drift == Drift::Report && !found.is_empty();
    let update = |reason, found: Vec<String>| {
        if stays {
            // How many there are is what we say now.
            let is_count = |what: &String| what.starts_with("replicas are ");
            let found = found.into_iter().filter(|what| !is_count(what)).collect();
            Decision::UpdateBeside(reason, found)
        } else {
            Decision::Update(reason)
        }
    };
    if restarts {
        return update(UpdateReason::Restart, found);
    }
    let ours = post.spec["Labels"][label::SPEC_HASH].as_str();
    if !stays && ours != Some(service.label(label::SPEC_HASH)) {
        return Decision::Update(UpdateReason::Changed);
    }
    if last_set != Some(wanted.replicas) {
        let reason = UpdateReason::Scale {
            from: service.replicas.unwrap_or_default(),
            to: wanted.replicas,
        };
        return update(reason, found);
    }
    match drift {
        _ if found.is_empty() => Decision::Keep,
        Drift::Repair => Decision::Update(UpdateReason::Repair(found)),
        Drift::Report => Decision::Tell(found),
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
