//! What the agent says of one release: what is in force, read from the running state. Pure.

use std::collections::{BTreeMap, BTreeSet};

use fm_api::keys::{ReleaseKey, RevisionId};
use fm_api::observed::{HaproxyObserved, HaproxyRevision, TrafficInForce};
use fm_api::target::{Slot, Target};
use fm_telemetry::record::SplitRecord;

use crate::desired::{self, Desired, Group, SlotTarget};
use crate::maps::Map;
use crate::state::{Admin, Running, Server};

/// Words of HAProxy on servers that fail their check, by backend and place.
pub type Down = BTreeMap<String, String>;

/// What many reports are made from, sorted once.
pub struct Wanted<'a> {
    desired: &'a Desired,
    groups: BTreeMap<&'a ReleaseKey, Vec<(&'a String, &'a Group)>>,
    routed: BTreeSet<&'a String>,
}

impl<'a> Wanted<'a> {
    /// Sorts what is wanted by release.
    #[must_use]
    pub fn new(desired: &'a Desired) -> Self {
        let mut groups: BTreeMap<&ReleaseKey, Vec<(&String, &Group)>> = BTreeMap::new();
        for (id, group) in &desired.groups {
            groups.entry(&group.release).or_default().push((id, group));
        }
        let routed = desired.routes.values().collect();
        Self {
            desired,
            groups,
            routed,
        }
    }
}

const UNTOLD: &str =
    "no request is mirrored: HAProxy does not reach mirror.sock in the agent's folder";

/// What is in force of one release. `in_full`: the plan for this target has nothing left to do.
#[must_use]
pub fn report(
    key: &ReleaseKey,
    target: &Target,
    wanted: &Wanted<'_>,
    running: &Running,
    in_full: bool,
    down: &Down,
) -> HaproxyObserved {
    let groups = wanted.groups.get(key).map_or(&[][..], Vec::as_slice);
    let problem = wanted
        .desired
        .problems
        .get(key)
        .and_then(|all| all.first())
        .cloned();
    let untold = target.mirroring() && running.told_of_copies == Some(false);
    let problem = problem.or_else(|| untold.then(|| UNTOLD.to_owned()));
    HaproxyObserved {
        uid: target.uid.clone(),
        generation: if in_full { target.generation } else { 0 },
        traffic: traffic(target, wanted, groups, running),
        revisions: revisions(target, groups, running, down),
        config: running.structure.clone(),
        problem,
    }
}

/// The oldest split in force over the release's groups; a worker without routes has whatever it is told.
fn traffic(
    target: &Target,
    wanted: &Wanted<'_>,
    groups: &[(&String, &Group)],
    running: &Running,
) -> Option<TrafficInForce> {
    if target.routes.is_empty() {
        return target.traffic.as_ref().map(|traffic| TrafficInForce {
            generation: traffic.generation,
            stable: traffic.stable.clone(),
            canary: traffic.canary.clone(),
            weight: traffic.weight,
            mirror: traffic.mirror,
        });
    }
    let split = running.maps.get(&Map::Split)?;
    let mut oldest: Option<SplitRecord> = None;
    for (id, _) in groups.iter().filter(|(_, group)| group.preview.is_none()) {
        let serves = running
            .backends
            .contains_key(&desired::backend(id, Slot::A));
        // A group whose hosts all belong to an older release has no requests to split.
        let routed = wanted.routed.contains(id);
        let shared = groups.iter().filter(|(_, group)| group.preview.is_none());
        if !serves || (!routed && shared.count() > 1) {
            continue;
        }
        let record = SplitRecord::parse(split.get(*id)?)?;
        if oldest
            .as_ref()
            .is_none_or(|seen| record.generation < seen.generation)
        {
            oldest = Some(record);
        }
    }
    oldest.map(|record| TrafficInForce {
        generation: record.generation,
        stable: record.stable,
        canary: record.canary,
        weight: record.weight,
        mirror: record.mirror,
    })
}

fn revisions(
    target: &Target,
    groups: &[(&String, &Group)],
    running: &Running,
    down: &Down,
) -> BTreeMap<RevisionId, HaproxyRevision> {
    let mut all = BTreeMap::new();
    for (id, revision) in &target.revisions {
        // A preview has groups of its own, and the first place in each.
        let preview = target.previews.contains_key(id).then_some(id);
        let Some(slot) = preview.map(|_| Slot::A).or(revision.slot) else {
            continue;
        };
        let mut fewest: Option<HaproxyRevision> = None;
        for (group_id, group) in groups.iter().filter(|(_, g)| g.preview.as_ref() == preview) {
            let name = desired::backend(group_id, slot);
            let Some(servers) = running.backends.get(&name) else {
                fewest = Some(empty(slot));
                continue;
            };
            let one = count(slot, group.slots.get(&slot), &name, servers, running, down);
            fewest = Some(match fewest {
                None => one,
                Some(other) => HaproxyRevision {
                    slot,
                    servers: one.servers.min(other.servers),
                    healthy: one.healthy.min(other.healthy),
                    draining: one.draining.max(other.draining),
                    open: one.open + other.open,
                    down: other.down.into_iter().chain(one.down).take(3).collect(),
                },
            });
        }
        all.insert(id.clone(), fewest.unwrap_or_else(|| empty(slot)));
    }
    all
}

fn empty(slot: Slot) -> HaproxyRevision {
    HaproxyRevision {
        slot,
        servers: 0,
        healthy: 0,
        draining: 0,
        open: 0,
        down: Vec::new(),
    }
}

fn count(
    slot: Slot,
    target: Option<&SlotTarget>,
    name: &str,
    servers: &[Server],
    running: &Running,
    down: &Down,
) -> HaproxyRevision {
    let mut seen = empty(slot);
    for (index, server) in servers.iter().enumerate() {
        match (server.admin, server.address) {
            (Admin::Ready, Some(_)) => {
                seen.servers += 1;
                if server.up {
                    seen.healthy += 1;
                } else if let Some(words) = down.get(&format!("{name}/t{}", index + 1))
                    && seen.down.len() < 3
                {
                    seen.down.push(words.clone());
                }
            }
            (Admin::Drain, _) => {
                seen.draining += 1;
                // Told to drain and not read since: something may have come in just before.
                seen.open += server.open.max(u64::from(server.unseen));
            }
            (Admin::Ready, None) | (Admin::Maint, _) => {}
        }
    }
    if let Some(target) = target.filter(|target| target.draining) {
        let known = target.endpoints.as_ref().map_or(0, BTreeMap::len);
        seen.draining = seen.draining.max(u32::try_from(known).unwrap_or(u32::MAX));
        // Workers from before the last reload may still serve these tasks.
        let old = |address| running.old_open.get(address).copied().unwrap_or(0);
        seen.open += target
            .endpoints
            .iter()
            .flatten()
            .map(|(_, address)| old(address))
            .sum::<u64>();
    }
    seen
}
