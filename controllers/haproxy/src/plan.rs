//! From what is wanted and what is in force to ordered actions. Pure: made again after a perfect act, a plan is empty.
//!
//! What must never happen: a request that the record counts for one revision served by another. So a record lets go of
//! a slot before the slot's servers change, and takes a slot up only after they did.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use fm_api::quantity::Weight;
use fm_api::target::Slot;
use fm_telemetry::record::{Mode, SplitRecord};

use crate::config::{self, Layout, Settings};
use crate::desired::{self, Desired, Group, SlotTarget, Split};
use crate::maps::{self, Entries, Map};
use crate::state::{Action, Address, Admin, At, Running, Server, Why};

/// Servers that are armed at once for tasks still to come, in one backend.
const MOST_ARMED: usize = 32;

/// The files as they should be on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    /// `haproxy.cfg`.
    pub config: String,
    /// The maps.
    pub maps: BTreeMap<Map, String>,
}

/// What to do, in this order.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The actions; the first that fails ends the plan.
    pub actions: Vec<Action>,
    /// What `WriteFiles` writes.
    pub files: Files,
    /// The structure that the files have.
    pub structure: String,
    /// The servers as the files have them.
    pub layout: Layout,
    /// When to look at HAProxy again.
    pub next_look: Look,
}

/// When to look at HAProxy again without any wake-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Look {
    /// Something is under way: a check that was not answered yet, connections that drain.
    Soon,
    /// A canary serves: its health is of interest.
    Often,
    /// Nothing is expected.
    Later,
}

/// Plans. `running` is `None` while HAProxy cannot be read: then only files are written, with the servers of `memory`,
/// the last picture there was. `on_disk`: the files as last written.
#[must_use]
pub fn plan(
    settings: &Settings,
    desired: &Desired,
    running: Option<&Running>,
    memory: Option<&Running>,
    on_disk: Option<&Files>,
) -> Plan {
    let nothing = Running::default();
    let now = running.or(memory).unwrap_or(&nothing);
    let sizes = sizes(desired, now);
    let structure = config::structure(settings, desired, &sizes);
    let wanted = maps::wanted(desired, now.maps.get(&Map::Split));
    let mut actions = Vec::new();
    let fits = now.structure == structure;
    if running.is_some() {
        // What needs no reload never waits for one, which may be refused: a weight that goes back least of all.
        let_go(desired, now, &wanted, &mut actions);
        for (id, group) in &desired.groups {
            for slot in Slot::ALL {
                let name = desired::backend(id, slot);
                servers(&name, group.slots.get(&slot), now, &mut actions);
            }
        }
        take_up(now, &wanted, fits, &mut actions);
    }
    let mut after = now.clone();
    for action in &actions {
        after.apply(action);
    }
    let layout = layout(desired, &after, &sizes);
    let files = Files {
        config: config::render(settings, desired, &sizes, &layout, &structure),
        maps: wanted
            .iter()
            .map(|(map, entries)| (*map, maps::text(*map, entries)))
            .collect(),
    };
    if on_disk != Some(&files) {
        // After the commands: a weight that goes back waits neither for a slow disk nor for a full one. A HAProxy that
        // dies in between comes back with the files as they were, and is brought up like any other that restarts.
        actions.push(Action::WriteFiles);
    }
    if running.is_some() && !fits {
        actions.push(Action::Reload(why(desired, now, &sizes)));
    }
    let next_look = look(desired, &after);
    Plan {
        actions,
        files,
        structure,
        layout,
        next_look,
    }
}

/// Server slots of each group: what it has while that suffices, so that scaling needs no reload.
fn sizes(desired: &Desired, now: &Running) -> BTreeMap<String, u32> {
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let mut sizes = BTreeMap::new();
    for (id, group) in &desired.groups {
        let backends = Slot::ALL.map(|slot| now.backends.get(&desired::backend(id, slot)));
        let leaving = backends
            .iter()
            .flatten()
            .map(|servers| servers.iter().filter(|s| s.admin == Admin::Drain).count())
            .max()
            .unwrap_or(0);
        let need = group.need.saturating_add(count(leaving));
        let size = match backends
            .first()
            .copied()
            .flatten()
            .map(|servers| count(servers.len()))
        {
            Some(has) if has >= need && has > 0 => has,
            Some(_) => Group {
                need,
                ..group.clone()
            }
            .fresh_size(),
            None => group.fresh_size(),
        };
        sizes.insert(id.clone(), size);
    }
    sizes
}

fn why(desired: &Desired, now: &Running, sizes: &BTreeMap<String, u32>) -> Why {
    let size_now = |id: &str| {
        now.backends
            .get(&desired::backend(id, Slot::A))
            .map(Vec::len)
    };
    let releases = |test: &dyn Fn(&str) -> bool| -> Vec<String> {
        let named: BTreeSet<String> = desired
            .groups
            .iter()
            .filter(|(id, _)| test(id))
            .map(|(_, group)| group.release.to_string())
            .collect();
        named.into_iter().collect()
    };
    let new = releases(&|id| size_now(id).is_none());
    if !new.is_empty() {
        return Why::NewRoutes(new);
    }
    let grown =
        releases(&|id| size_now(id) != sizes.get(id).and_then(|size| usize::try_from(*size).ok()));
    if !grown.is_empty() {
        return Why::NoFreeSlot(grown);
    }
    if now.backends.len() > desired.groups.len() * Slot::ALL.len() {
        return Why::RoutesGone;
    }
    let suffixes: BTreeSet<String> = maps::suffixes(desired).into_iter().collect();
    let wild: BTreeSet<String> = now
        .maps
        .get(&Map::Wild)
        .into_iter()
        .flat_map(|m| m.keys().cloned())
        .collect();
    if suffixes == wild {
        Why::Rules
    } else {
        Why::Wildcards
    }
}

/// Before servers change: a record whose canary's slot goes to another revision lets go of it.
fn let_go(
    desired: &Desired,
    now: &Running,
    wanted: &BTreeMap<Map, Entries>,
    actions: &mut Vec<Action>,
) {
    let empty = Entries::new();
    let split = now.maps.get(&Map::Split).unwrap_or(&empty);
    let_go_of_previews(desired, split, actions);
    let_go_of_sides(now, wanted, actions);
    for (id, group) in &desired.groups {
        let Some(text) = split.get(id) else { continue };
        let Some(record) = SplitRecord::parse(text) else {
            continue;
        };
        let moved = |backend: &str| {
            Slot::ALL.iter().any(|slot| {
                desired::backend(id, *slot) == backend
                    && group.slots.get(slot).map(|target| &target.revision)
                        != record.canary.as_ref()
            })
        };
        if !record.canary_backend.as_deref().is_some_and(moved) || group.split == Split::Keep {
            continue;
        }
        let interim = SplitRecord {
            mode: Mode::Random,
            weight: Weight::ZERO,
            mirror: Weight::ZERO,
            canary_backend: None,
            canary: None,
            ..record
        };
        let interim = interim.encode();
        let last = wanted.get(&Map::Split).and_then(|entries| entries.get(id));
        if last != Some(&interim) {
            actions.push(Action::SetMap(Map::Split, id.clone(), interim));
        }
    }
}

/// Before its servers drain, a side has no range any more: what it had is stable's at once.
fn let_go_of_sides(now: &Running, wanted: &BTreeMap<Map, Entries>, actions: &mut Vec<Action>) {
    let empty = Entries::new();
    let of = |maps: &BTreeMap<Map, Entries>| maps.get(&Map::Experiments).cloned();
    let (is, should) = (
        of(&now.maps).unwrap_or_default(),
        wanted.get(&Map::Experiments).unwrap_or(&empty),
    );
    for (key, text) in is {
        match should.get(&key) {
            None => actions.push(Action::DelMap(Map::Experiments, key)),
            Some(same) if *same == text => {}
            Some(other) => {
                let had: BTreeSet<&str> = text.split('|').chain(["-"]).collect();
                if other.split('|').all(|field| had.contains(field)) {
                    actions.push(Action::SetMap(Map::Experiments, key, other.clone()));
                }
            }
        }
    }
}

/// A preview host whose backend goes to another revision leads nowhere first.
fn let_go_of_previews(desired: &Desired, split: &Entries, actions: &mut Vec<Action>) {
    for (id, text) in split {
        let Some(record) = SplitRecord::parse(text).filter(|r| r.mode == Mode::Preview) else {
            continue;
        };
        let stays = desired.groups.iter().any(|(group, wanted)| {
            wanted.slots.iter().any(|(slot, target)| {
                record.canary.as_ref() == Some(&target.revision)
                    && record.canary_backend == Some(desired::backend(group, *slot))
            })
        });
        if !stays {
            actions.push(Action::DelMap(Map::Split, id.clone()));
        }
    }
}

/// After servers changed: maps become what they should be; what is added comes before what goes.
///
/// Before a reload (`!fits`) only what the running configuration can follow: splits of backends that it has.
fn take_up(now: &Running, wanted: &BTreeMap<Map, Entries>, fits: bool, actions: &mut Vec<Action>) {
    let mut after = now.clone();
    for action in actions.iter() {
        after.apply(action);
    }
    for (map, key) in &now.doubled {
        actions.push(Action::DelMap(*map, key.clone()));
        after.apply(&Action::DelMap(*map, key.clone()));
    }
    let empty = Entries::new();
    // Splits first: a weight must not wait for anything.
    let follows = |map: Map, key: &str| {
        fits || (map == Map::Split && now.backends.contains_key(&desired::backend(key, Slot::A)))
    };
    for map in [
        Map::Split,
        Map::Experiments,
        Map::Force,
        Map::ForcePaths,
        Map::Looks,
        Map::Routes,
        Map::Hosts,
        Map::Wild,
    ] {
        let is = after.maps.get(&map).unwrap_or(&empty);
        let should = wanted.get(&map).unwrap_or(&empty);
        for (key, value) in should.iter().filter(|(key, _)| follows(map, key)) {
            match is.get(key) {
                Some(same) if same == value => {}
                Some(_) => actions.push(Action::SetMap(map, key.clone(), value.clone())),
                None => actions.push(Action::AddMap(map, key.clone(), value.clone())),
            }
        }
        for key in is.keys().filter(|key| fits && !should.contains_key(*key)) {
            actions.push(Action::DelMap(map, key.clone()));
        }
    }
}

/// The servers of one backend.
fn servers(name: &str, target: Option<&SlotTarget>, now: &Running, actions: &mut Vec<Action>) {
    let Some(servers) = now.backends.get(name) else {
        return;
    };
    let at = |index: usize| At {
        backend: name.to_owned(),
        index,
    };
    let (wanted, draining) = match target {
        Some(SlotTarget {
            endpoints: None,
            draining: false,
            ..
        }) => return,
        Some(SlotTarget {
            endpoints: None, ..
        })
        | None => (BTreeMap::new(), true),
        Some(SlotTarget {
            endpoints: Some(all),
            draining,
            ..
        }) => (all.clone(), *draining),
    };
    let mut missing: BTreeMap<String, Address> = wanted.clone();
    let (mut armed, mut free) = (VecDeque::new(), VecDeque::new());
    for (index, server) in servers.iter().enumerate() {
        match (server.admin, server.address) {
            (Admin::Maint, _) => free.push_back(index),
            (Admin::Ready, None) if !server.up => armed.push_back(index),
            (Admin::Ready | Admin::Drain, None) => {
                actions.push(Action::Maint(at(index)));
                free.push_back(index);
            }
            (Admin::Ready | Admin::Drain, Some(_)) => {
                let task = matching(server, &missing);
                if let Some(task) = &task {
                    missing.remove(task);
                }
                existing(&at(index), server, task, draining, actions);
            }
        }
    }
    if draining {
        missing.clear();
    }
    for (task, address) in &missing {
        if let Some(index) = armed.pop_front() {
            actions.push(Action::Fill(at(index), task.clone(), *address));
        } else if let Some(index) = free.pop_front() {
            actions.push(Action::Add(at(index), task.clone(), *address));
        }
    }
    let replicas = target
        .filter(|_| !draining)
        .map_or(0, |slot| slot.replicas as usize);
    let expected = replicas.saturating_sub(wanted.len()).min(MOST_ARMED);
    arm(expected, &armed, &free, name, actions);
}

/// Which task a server stands for, if any: the address must be the task's, and the task the one it was filled with.
fn matching(server: &Server, missing: &BTreeMap<String, Address>) -> Option<String> {
    let address = server.address?;
    match &server.task {
        Some(task) => (missing.get(task) == Some(&address)).then(|| task.clone()),
        None => missing
            .iter()
            .find(|(_, other)| **other == address)
            .map(|(task, _)| task.clone()),
    }
}

/// A server that leads somewhere: it stays, drains, or is freed.
fn existing(
    at: &At,
    server: &Server,
    task: Option<String>,
    draining: bool,
    actions: &mut Vec<Action>,
) {
    let stays = task.is_some() && !draining;
    if let (Some(task), None) = (task, &server.task) {
        actions.push(Action::Know(at.clone(), task));
    }
    match server.admin {
        Admin::Ready if !stays => actions.push(Action::Drain(at.clone())),
        Admin::Drain if stays => actions.push(Action::Resume(at.clone())),
        Admin::Drain if server.open == 0 && !server.unseen => {
            actions.push(Action::Maint(at.clone()))
        }
        Admin::Ready | Admin::Drain | Admin::Maint => {}
    }
    if stays && server.reweighted {
        actions.push(Action::Reweight(at.clone()));
    }
}

/// As many armed servers as tasks are still to come; the rest is freed.
fn arm(
    expected: usize,
    armed: &VecDeque<usize>,
    free: &VecDeque<usize>,
    name: &str,
    actions: &mut Vec<Action>,
) {
    let at = |index: &usize| At {
        backend: name.to_owned(),
        index: *index,
    };
    actions.extend(
        armed
            .iter()
            .skip(expected)
            .map(|index| Action::Maint(at(index))),
    );
    let more = expected.saturating_sub(armed.len());
    actions.extend(free.iter().take(more).map(|index| Action::Arm(at(index))));
}

/// The servers as the files have them. A backend that is new gets the tasks known now; those of the serving revision
/// are believed healthy, because the alternative is to answer nobody.
fn layout(desired: &Desired, after: &Running, sizes: &BTreeMap<String, u32>) -> Layout {
    let healthy: BTreeSet<Address> = after
        .backends
        .values()
        .flatten()
        .filter(|server| server.up && server.admin == Admin::Ready)
        .filter_map(|server| server.address)
        .collect();
    let mut layout = Layout::new();
    for (id, group) in &desired.groups {
        let size = sizes.get(id).copied().unwrap_or_default() as usize;
        for slot in Slot::ALL {
            let name = desired::backend(id, slot);
            let mut servers = match after.backends.get(&name) {
                Some(servers) => servers.clone(),
                None => fresh(group, slot, &name, &healthy),
            };
            servers.resize(size.max(1), Server::default());
            layout.insert(name, servers);
        }
    }
    layout
}

fn fresh(group: &Group, slot: Slot, name: &str, healthy: &BTreeSet<Address>) -> Vec<Server> {
    let Some(target) = group.slots.get(&slot).filter(|target| !target.draining) else {
        return Vec::new();
    };
    let serves = matches!(&group.split, Split::Record(record) if record.stable_backend == name);
    target
        .endpoints
        .iter()
        .flatten()
        .map(|(task, address)| Server {
            address: Some(*address),
            task: Some(task.clone()),
            admin: Admin::Ready,
            up: serves || healthy.contains(address),
            ..Server::default()
        })
        .collect()
}

fn look(desired: &Desired, after: &Running) -> Look {
    let ours: BTreeSet<String> = desired
        .groups
        .keys()
        .flat_map(|id| Slot::ALL.map(|slot| desired::backend(id, slot)))
        .collect();
    let under_way = after
        .backends
        .iter()
        .filter(|(name, _)| ours.contains(*name))
        .flat_map(|(_, servers)| servers)
        .any(|server| match server.admin {
            Admin::Ready => !server.up && server.address.is_some(),
            Admin::Drain => true,
            Admin::Maint => false,
        });
    let trial = desired
        .groups
        .values()
        .any(|group| matches!(&group.split, Split::Record(record) if record.weight > Weight::ZERO));
    match (under_way || !after.old_open.is_empty(), trial) {
        (true, _) => Look::Soon,
        (false, true) => Look::Often,
        (false, false) => Look::Later,
    }
}
