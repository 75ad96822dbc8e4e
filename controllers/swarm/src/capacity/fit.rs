//! How many tasks fit where, and the sentence when they do not. Pure.

use fm_api::experiment::Experiment;
use fm_api::quantity::Memory;
use fm_api::release::ReleaseSpec;
use fm_api::strategy::Course;
use fm_api::workload::{Placement, Workload};

use super::{Amount, Room, Wanted};

/// Whether there is anything to be counted: without reservations and placement every node takes everything.
pub(super) fn may_not_fit(wanted: Wanted<'_>) -> bool {
    let limited = |workload: &Workload| {
        let placement = &workload.placement;
        Amount::of(&workload.resources) != Amount::default()
            || !placement.constraints.is_empty()
            || placement.max_replicas_per_node > 0
    };
    let more = wanted.before.is_none_or(|before| {
        before.workload != wanted.after.workload
            || before.replicas < wanted.after.replicas
            || tries(before, wanted.after).is_some()
    });
    more && (limited(&wanted.after.workload)
        || wanted
            .before
            .is_some_and(|before| limited(&before.workload)))
}

/// The experiment that begins.
fn tries<'a>(before: &ReleaseSpec, after: &'a ReleaseSpec) -> Option<&'a Experiment> {
    let experiment = after.experiment.as_ref();
    experiment.filter(|_| before.experiment != after.experiment)
}

/// Tasks beyond stable's that the new revision needs at once.
fn beyond(after: &ReleaseSpec) -> u32 {
    let all = after.replicas;
    let Some(course) = Course::of(&after.strategy).filter(|course| course.max_surge.is_some())
    else {
        return all;
    };
    if after.routes.is_empty() {
        return all.min(1);
    }
    let steps = 0..=course.steps.len();
    steps
        .map(|step| course.beyond(step, all))
        .max()
        .unwrap_or(all)
}

/// What does not fit, and by how much.
pub(super) fn warnings(wanted: Wanted<'_>, mut rooms: Vec<Room>) -> Vec<String> {
    let after = wanted.after;
    let mut said = Vec::new();
    let serving = wanted.stable.and(wanted.before);
    if let Some(before) = serving {
        let more = after.replicas.saturating_sub(before.replicas);
        let placed = place(&before.workload, more, &mut rooms, before.replicas);
        if placed < more {
            let what = format!("{} more of stable", counted(more));
            said.push(sentence(&what, &before.workload, more, placed, &rooms));
        }
    }
    if let Some((before, experiment)) = serving.and_then(|b| Some((b, tries(b, after)?))) {
        said.extend(sides(before, experiment, rooms.clone()));
    }
    let new = serving.is_none_or(|before| before.workload != after.workload);
    if !new {
        return said;
    }
    let all = after.replicas;
    let needed = serving.map_or(all, |_| beyond(after));
    let placed = place(&after.workload, needed, &mut rooms, 0);
    if placed < needed {
        let tasks = counted(needed);
        let what = match serving {
            Some(_) if needed < all => format!(
                "{tasks} of the new revision beside {all} of both, which is what its steps take at once"
            ),
            Some(_) => format!("{tasks} of the new revision beside {all} of stable"),
            None => tasks,
        };
        let mut text = sentence(&what, &after.workload, needed, placed, &rooms);
        if serving.is_some() {
            text.push_str(&until(after, placed));
        }
        said.push(text);
    }
    said
}

/// What of an experiment has no room: its sides start together, beside all of stable.
fn sides(stable: &ReleaseSpec, experiment: &Experiment, mut rooms: Vec<Room>) -> Option<String> {
    let sides = u32::try_from(experiment.candidates.len() + 1).unwrap_or(u32::MAX);
    let each = (0..sides).map(|_| place(&stable.workload, experiment.replicas, &mut rooms, 0));
    let (placed, all) = (each.sum(), experiment.replicas.saturating_mul(sides));
    let what = format!(
        "{} of the experiment's {sides} sides beside {} of stable",
        counted(all),
        stable.replicas
    );
    (placed < all).then(|| sentence(&what, &stable.workload, all, placed, &rooms))
}

fn counted(tasks: u32) -> String {
    match tasks {
        1 => "1 task".to_owned(),
        tasks => format!("{tasks} tasks"),
    }
}

/// How far a rollout comes with so many tasks.
fn until(after: &ReleaseSpec, placed: u32) -> String {
    let Some(course) = Course::of(&after.strategy) else {
        return String::new();
    };
    let steps = course.steps.len();
    let stuck = (0..steps).find(|step| course.beyond(*step, after.replicas) > placed);
    let place = match stuck {
        Some(step) => format!("at step {} of {steps}", step + 1),
        None => "after the last step".to_owned(),
    };
    format!(
        "; it would wait {place}, and be taken back after {} without progress",
        after.progress_deadline
    )
}

/// Puts up to `count` tasks where there is room; gives how many found one. `there` of them run already, nobody says where:
/// they count against the most on a node as if they were spread evenly.
fn place(workload: &Workload, count: u32, rooms: &mut [Room], there: u32) -> u32 {
    let need = Amount::of(&workload.resources);
    let mut open: Vec<(&mut Room, u32)> = rooms
        .iter_mut()
        .filter(|room| allowed(&workload.placement, room))
        .map(|room| (room, 0))
        .collect();
    let most = match workload.placement.max_replicas_per_node {
        0 => u32::MAX,
        most => most,
    };
    let nodes = u32::try_from(open.len()).unwrap_or(u32::MAX);
    let limit = most.saturating_mul(nodes).saturating_sub(there);
    let mut placed = 0;
    while placed < count.min(limit) {
        // As Swarm does: to the one with the fewest of them.
        let next = open
            .iter_mut()
            .filter(|(room, here)| *here < most && holds(&room.free, &need))
            .min_by_key(|(_, here)| *here);
        let Some((room, here)) = next else { break };
        room.free.take(&need);
        *here += 1;
        placed += 1;
    }
    placed
}

fn holds(free: &Amount, need: &Amount) -> bool {
    let has = |kind: &String| free.generic.get(kind).copied().unwrap_or(0);
    (need.nano_cpus == 0 || free.nano_cpus >= need.nano_cpus)
        && (need.memory == 0 || free.memory >= need.memory)
        && need.generic.iter().all(|(kind, count)| has(kind) >= *count)
}

pub(super) fn allowed(placement: &Placement, room: &Room) -> bool {
    placement.constraints.iter().all(|text| meets(text, room))
}

/// Whether a node meets a constraint; one that is not understood is left to Docker.
fn meets(constraint: &str, room: &Room) -> bool {
    let (name, value, wants) = if let Some((name, value)) = constraint.split_once("!=") {
        (name, value, false)
    } else if let Some((name, value)) = constraint.split_once("==") {
        (name, value, true)
    } else {
        return true;
    };
    let (name, value) = (name.trim(), value.trim());
    let known = ["node.", "engine.labels."];
    if !known.iter().any(|prefix| name.starts_with(prefix)) || value.contains(['*', '/']) {
        return true;
    }
    let is = room.facts.get(name).map_or("", String::as_str);
    is.eq_ignore_ascii_case(value) == wants
}

fn sentence(what: &str, workload: &Workload, count: u32, placed: u32, rooms: &[Room]) -> String {
    let placement = &workload.placement;
    let nodes = rooms.iter().filter(|room| allowed(placement, room)).count();
    if nodes == 0 {
        let asked = placement.constraints.join(", ");
        return if rooms.is_empty() {
            format!("capacity: no node for {what}: none takes tasks now")
        } else {
            format!(
                "capacity: no node for {what}: none of {} meets {asked}",
                rooms.len()
            )
        };
    }
    let missing = count - placed;
    let need = Amount::of(&workload.resources);
    let each = words(&need, 1);
    let each = if each.is_empty() {
        String::new()
    } else {
        format!(" (each reserves {})", each.join(", "))
    };
    let short = words(&need, i64::from(missing));
    let short = if short.is_empty() {
        format!(
            "placement.maxReplicasPerNode: {} leaves no more",
            placement.max_replicas_per_node
        )
    } else {
        let mut short = format!("{} more would be needed", short.join(" and "));
        if placement.max_replicas_per_node > 0 {
            short.push_str(&format!(
                ", or more than {} on a node",
                placement.max_replicas_per_node
            ));
        }
        short
    };
    let nodes = match nodes {
        1 => "the one node that may take them has".to_owned(),
        nodes => format!("the {nodes} nodes that may take them have"),
    };
    format!("capacity: {what}{each}: {nodes} room for {placed} now, {missing} too few: {short}")
}

/// So many times an amount, as people write it.
fn words(need: &Amount, times: i64) -> Vec<String> {
    let mut all = Vec::new();
    if need.nano_cpus > 0 {
        let cpus = need.nano_cpus.saturating_mul(times) as f64 / 1e9;
        all.push(format!("{cpus} CPU"));
    }
    if need.memory > 0 {
        let bytes = u64::try_from(need.memory.saturating_mul(times)).unwrap_or(0);
        all.push(format!("{} of memory", Memory::bytes_of(bytes)));
    }
    for (kind, count) in &need.generic {
        all.push(format!("{} {kind}", count.saturating_mul(times)));
    }
    all
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
