//! The texts of the maps. Pure.
//!
//! User strings stand only here, and only after the strict patterns of [`crate::names`]. What must never happen: a key
//! or value with white space, or two lines with one key.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::desired::{Desired, Split};
use crate::names::Host;

/// One of the maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Map {
    /// Host and path prefix to group.
    Routes,
    /// Exact hosts that one group serves whole: most hosts need no look at the path.
    Hosts,
    /// Suffixes of wildcard hosts, the longest first: the order counts, so a change is a reload.
    Wild,
    /// Group to split record.
    Split,
    /// Headers and cookies that force a request to a side.
    Force,
    /// Path prefixes that do.
    ForcePaths,
    /// Header, value, host and path prefix to preview.
    Looks,
    /// Stable's backend to the ranges of an experiment's sides.
    Experiments,
}

impl Map {
    /// All of them.
    pub const ALL: [Map; 8] = [
        Map::Routes,
        Map::Hosts,
        Map::Wild,
        Map::Split,
        Map::Force,
        Map::ForcePaths,
        Map::Looks,
        Map::Experiments,
    ];
    /// Its file's name.
    #[must_use]
    pub const fn file(self) -> &'static str {
        match self {
            Map::Routes => "routes.map",
            Map::Hosts => "hosts.map",
            Map::Wild => "wild.map",
            Map::Split => "split.map",
            Map::Force => "force.map",
            Map::ForcePaths => "force-paths.map",
            Map::Looks => "looks.map",
            Map::Experiments => "experiments.map",
        }
    }
}

/// A map's entries.
pub type Entries = BTreeMap<String, String>;

/// What each map should hold. `current`: the split map in force, for groups that keep what they have.
#[must_use]
pub fn wanted(desired: &Desired, current_split: Option<&Entries>) -> BTreeMap<Map, Entries> {
    let mut split = Entries::new();
    for (id, group) in &desired.groups {
        match &group.split {
            Split::None => {}
            Split::Record(record) => {
                split.insert(id.clone(), record.encode());
            }
            Split::Keep => {
                if let Some(now) = current_split.and_then(|entries| entries.get(id)) {
                    split.insert(id.clone(), now.clone());
                }
            }
        }
    }
    for (id, record) in &desired.previews {
        if let Some(record) = record {
            split.insert(id.clone(), record.encode());
        }
    }
    let (routes, hosts) = routes(desired);
    let looks = desired.looks.iter().map(|(look, id)| {
        let (host, path) = (look.host.prefix(), &look.path);
        let key = format!("{}|{}|{host}{path}", look.header, look.value);
        (key, id.clone())
    });
    let wild = suffixes(desired)
        .into_iter()
        .map(|suffix| (suffix.clone(), suffix))
        .collect();
    BTreeMap::from([
        (Map::Routes, routes),
        (Map::Hosts, hosts),
        (Map::Wild, wild),
        (Map::Split, split),
        (Map::Force, forced(&desired.force)),
        (Map::ForcePaths, forced(&desired.force_paths)),
        (Map::Looks, looks.collect()),
        (Map::Experiments, desired.experiments.clone()),
    ])
}

fn forced(rules: &BTreeMap<String, u16>) -> Entries {
    rules
        .iter()
        .map(|(key, word)| (key.clone(), word.to_string()))
        .collect()
}

/// The suffixes of wildcard hosts, the longest first.
#[must_use]
pub fn suffixes(desired: &Desired) -> Vec<String> {
    let all: BTreeSet<&String> = desired
        .routes
        .keys()
        .filter_map(|(host, _)| match host {
            Host::Below(suffix) => Some(suffix),
            Host::Exact(_) | Host::Any => None,
        })
        .collect();
    let mut all: Vec<String> = all.into_iter().cloned().collect();
    all.sort_by_key(|suffix| std::cmp::Reverse(suffix.len()));
    all
}

/// The routes' and the hosts' map. HAProxy looks up one host only, so each host carries what it inherits from wider ones: a path of a
/// wider host that none of its own paths covers.
fn routes(desired: &Desired) -> (Entries, Entries) {
    let mut by_host: BTreeMap<&Host, BTreeMap<&str, &str>> = BTreeMap::new();
    for ((host, path), group) in &desired.routes {
        by_host.entry(host).or_default().insert(path, group);
    }
    let wide: Vec<&Host> = {
        let mut hosts: Vec<&Host> = by_host
            .keys()
            .copied()
            .filter(|host| !matches!(host, Host::Exact(_)))
            .collect();
        // The narrowest first, `*` last.
        hosts.sort_by_key(|host| match host {
            Host::Exact(_) => 0,
            Host::Below(suffix) => usize::MAX - suffix.len(),
            Host::Any => usize::MAX,
        });
        hosts
    };
    let mut entries = Entries::new();
    let mut whole = Entries::new();
    for (host, own) in &by_host {
        let mut paths = own.clone();
        for wider in wide
            .iter()
            .filter(|wider| *wider != host && host.is_within(wider))
        {
            let covering: Vec<&str> = paths.keys().copied().collect();
            for (path, group) in by_host.get(*wider).into_iter().flatten() {
                if !covering.iter().any(|mine| path.starts_with(mine)) {
                    paths.insert(path, group);
                }
            }
        }
        if let (Host::Exact(name), 1, Some(group)) = (host, paths.len(), paths.get("/")) {
            whole.insert(name.clone(), (*group).to_owned());
        }
        for (path, group) in paths {
            entries.insert(format!("{}{path}", host.prefix()), group.to_owned());
        }
    }
    (entries, whole)
}

/// A map's file.
#[must_use]
pub fn text(map: Map, entries: &Entries) -> String {
    let mut lines: Vec<(&String, &String)> = entries.iter().collect();
    if map == Map::Wild {
        lines.sort_by_key(|(suffix, _)| std::cmp::Reverse(suffix.len()));
    }
    let mut text = String::new();
    for (key, value) in lines {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{key} {value}");
    }
    text
}
