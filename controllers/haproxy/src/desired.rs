//! From targets and Swarm's observations to what this HAProxy should be. Pure.
//!
//! Owner of nothing: it is made anew from its inputs each time. What must never happen: one release's bad route or
//! address harming another release, or the order of the inputs changing the result.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use fm_api::keys::{ReleaseKey, RevisionId};
use fm_api::observed::SwarmObserved;
use fm_api::quantity::{Span, Weight};
use fm_api::release::{Affinity, ControlLossAction, Route};
use fm_api::target::{RevisionTarget, Slot, Target};
use fm_telemetry::record::{Mode, SplitRecord};

use crate::names::{self, Host};

mod experiments;
mod previews;
mod rules;

pub use previews::{Look, preview_group_id};
pub use rules::NO_RULE;

/// The backend that has no servers.
pub const NOWHERE: &str = "be_none";

/// The least server slots of a backend.
const MIN_SLOTS: u32 = 8;

/// What is known of one release.
#[derive(Debug, Clone)]
pub struct Input<'a> {
    /// The release.
    pub key: &'a ReleaseKey,
    /// What promotion wants.
    pub target: &'a Target,
    /// What Swarm shows; `None`: not known, servers stay as they are.
    pub swarm: Option<&'a SwarmObserved>,
}

/// What this HAProxy should be.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Desired {
    /// By group id: routes of one release that are served alike.
    pub groups: BTreeMap<String, Group>,
    /// Host and path prefixes, and the group they lead to.
    pub routes: BTreeMap<(Host, String), String>,
    /// Header, its value, host and path prefix, and the preview they lead to: looked at before the routes.
    pub looks: BTreeMap<Look, String>,
    /// Names of the headers that lead to previews.
    pub look_headers: BTreeSet<String>,
    /// Keys `namespace/name|h|header|value` and `namespace/name|c|cookie|value` of requests that always reach a side, and
    /// each rule's word: the lowest decides, even ones lead to the canary and odd ones to stable.
    pub force: BTreeMap<String, u16>,
    /// The same by keys `namespace/name|p|path/`, of which HAProxy finds the longest alone.
    pub force_paths: BTreeMap<String, u16>,
    /// Names of the headers that match rules look at.
    pub headers: BTreeSet<String>,
    /// Names of the cookies that match rules look at.
    pub cookies: BTreeSet<String>,
    /// By id: where a preview host leads; absent: the revision on trial has no place yet, and it answers 503.
    pub previews: BTreeMap<String, Option<SplitRecord>>,
    /// By stable's backend: where each side's range of the buckets ends, and the record that it leads to.
    pub experiments: BTreeMap<String, String>,
    /// How many ranges the configuration looks at; 0: there is no experiment anywhere.
    pub ranges: usize,
    /// Some release mirrors requests: HAProxy is made ready for it.
    pub mirrors: bool,
    /// Ways that buckets are found, other than at random.
    pub affinity: BTreeSet<char>,
    /// What could not be taken as it was written, by release.
    pub problems: BTreeMap<ReleaseKey, Vec<String>>,
}

/// Routes of one release with the same port, health check and timeouts: three backends and one split record.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// The release.
    pub release: ReleaseKey,
    /// Path of the health check; `None`: a TCP connect.
    pub check_path: Option<String>,
    /// Time between checks.
    pub interval: Span,
    /// How long a connection may take.
    pub connect: Span,
    /// How long an answer may take.
    pub server: Span,
    /// Servers a backend needs for the revisions' replicas and endpoints.
    pub need: u32,
    /// The revision whose alone it is, outside the normal shares: a preview.
    pub preview: Option<RevisionId>,
    /// That revision is a side of an experiment: stable answers for it where it cannot.
    pub side: bool,
    /// The split; `Unknown` keeps what is in force.
    pub split: Split,
    /// The revision of each slot; slots that are absent empty themselves.
    pub slots: BTreeMap<Slot, SlotTarget>,
}

/// What the split record should be.
#[derive(Debug, Clone, PartialEq)]
pub enum Split {
    /// No revision serves yet: the routes answer 503.
    None,
    /// This.
    Record(SplitRecord),
    /// The target cannot be followed; what is in force stays.
    Keep,
}

/// What a slot's backend should hold.
#[derive(Debug, Clone, PartialEq)]
pub struct SlotTarget {
    /// The revision.
    pub revision: RevisionId,
    /// Ready tasks, by id; `None`: not known, the servers stay.
    pub endpoints: Option<BTreeMap<String, SocketAddr>>,
    /// Every server finishes what it has and takes nothing new.
    pub draining: bool,
    /// Its upgraded connections are closed.
    pub cut: bool,
    /// Tasks wanted: as many servers are kept ready to be filled.
    pub replicas: u32,
}

impl Desired {
    /// From everything that is known. `lost_for`: how long the store has been out of reach.
    #[must_use]
    pub fn of(inputs: &[Input<'_>], lost_for: Option<Span>) -> Self {
        let mut ordered: Vec<&Input<'_>> = inputs.iter().collect();
        // Uids are ordered by time of creation: of two releases that claim one route the older keeps it.
        ordered.sort_by(|a, b| (&a.target.uid, a.key).cmp(&(&b.target.uid, b.key)));
        let mut desired = Self::default();
        for input in ordered {
            desired.add(input, lost_for);
        }
        desired
    }

    /// Whether anything leads to a preview, whether or not it has a place now. Sides of experiments are none.
    #[must_use]
    pub fn has_previews(&self) -> bool {
        let mut records = self.previews.values();
        records.any(|record| record.as_ref().is_none_or(|r| r.mode == Mode::Preview))
    }

    fn add(&mut self, input: &Input<'_>, lost_for: Option<Span>) {
        let Target {
            routes, deleting, ..
        } = input.target;
        if *deleting && input.target.traffic.is_none() && input.target.revisions.is_empty() {
            return;
        }
        for route in routes {
            let id = group_id(&input.target.uid, route);
            if !self.groups.contains_key(&id) {
                let split = split(input, &id, lost_for);
                if split == Split::Keep {
                    let text = "the target's traffic names a revision without a slot; the split stays as it is";
                    self.problem(input.key, text.to_owned());
                }
                let slots = slots(input, route.port);
                let group = self.group(input, route, slots, split);
                self.groups.insert(id.clone(), group);
            }
            self.claim(input.key, &id, &route.hosts, route);
            self.add_preview(input, &id, route);
        }
        for (revision, preview) in &input.target.previews {
            for route in &preview.routes {
                self.add_look(input, revision, preview, route);
            }
        }
        self.add_experiment(input, lost_for);
        self.add_rules(input);
    }

    fn add_rules(&mut self, input: &Input<'_>) {
        if input.target.routes.is_empty() {
            return;
        }
        self.add_matches(input);
        self.mirrors |= input.target.mirrors;
        match &input.target.affinity {
            Some(Affinity {
                cookie: Some(_), ..
            }) => self.affinity.insert('c'),
            Some(Affinity {
                source: Some(_), ..
            }) => self.affinity.insert('h'),
            Some(_) | None => false,
        };
    }

    fn claim(&mut self, key: &ReleaseKey, id: &str, hosts: &[String], route: &Route) {
        for host in hosts {
            let Some(parsed) = Host::parse(host) else {
                self.problem(
                    key,
                    "a host was left out: it is no lower-case name".to_owned(),
                );
                continue;
            };
            for path in &route.paths {
                let Some(path) = names::path_key(path) else {
                    self.problem(
                        key,
                        "a path was left out: it holds characters that are not allowed".to_owned(),
                    );
                    continue;
                };
                let taken = self
                    .routes
                    .entry((parsed.clone(), path.clone()))
                    .or_insert_with(|| id.to_owned());
                if taken.as_str() != id {
                    let owner = self
                        .groups
                        .get(taken.as_str())
                        .map(|g| g.release.to_string());
                    let text = format!(
                        "{}{path} belongs to {}",
                        parsed.prefix(),
                        owner.as_deref().unwrap_or("another route")
                    );
                    self.problem(key, text);
                }
            }
        }
    }

    fn problem(&mut self, key: &ReleaseKey, text: String) {
        self.problems.entry(key.clone()).or_default().push(text);
    }

    fn group(
        &mut self,
        input: &Input<'_>,
        route: &Route,
        slots: BTreeMap<Slot, SlotTarget>,
        split: Split,
    ) -> Group {
        let check_path = route.health_check.path.clone().filter(|path| {
            let safe = names::is_check_path(path);
            if !safe {
                let text = "the health check's path holds characters that are not allowed; a TCP connect is used";
                self.problem(input.key, text.to_owned());
            }
            safe
        });
        let need = slots
            .values()
            .map(|slot| {
                let tasks = slot.endpoints.as_ref().map_or(0, BTreeMap::len);
                slot.replicas.max(u32::try_from(tasks).unwrap_or(u32::MAX))
            })
            .max()
            .unwrap_or(0);
        Group {
            release: input.key.clone(),
            preview: None,
            side: false,
            check_path,
            interval: route.health_check.interval,
            connect: route.timeouts.connect,
            server: route.timeouts.server,
            need,
            split,
            slots,
        }
    }
}

impl Group {
    /// Server slots a backend gets when it is written anew.
    #[must_use]
    pub fn fresh_size(&self) -> u32 {
        self.need
            .saturating_mul(2)
            .clamp(MIN_SLOTS, 4096)
            .next_power_of_two()
    }
}

/// The id of a route's group: routes of one release that are served alike share it.
#[must_use]
pub fn group_id(uid: &str, route: &Route) -> String {
    hashed(uid, "", route)
}

fn hashed(uid: &str, revision: &str, route: &Route) -> String {
    let check = &route.health_check;
    let (port, interval) = (route.port.to_string(), check.interval.to_string());
    let connect = route.timeouts.connect.to_string();
    let server = route.timeouts.server.to_string();
    let path = check.path.as_deref().unwrap_or("");
    let mut parts = vec![uid, &port, path, &interval, &connect, &server];
    if !revision.is_empty() {
        parts.push(revision);
    }
    format!("r{}", names::hash10(&parts))
}

/// The name of a slot's backend.
#[must_use]
pub fn backend(group: &str, slot: Slot) -> String {
    format!("{group}_{}", slot.letter())
}

fn slots(input: &Input<'_>, port: u16) -> BTreeMap<Slot, SlotTarget> {
    let revisions = input.target.revisions.iter();
    revisions
        .filter_map(|(id, revision)| Some((revision.slot?, slot_of(input, id, revision, port))))
        .collect()
}

fn slot_of(input: &Input<'_>, id: &RevisionId, revision: &RevisionTarget, port: u16) -> SlotTarget {
    // What Swarm shows of a deleted namesake says nothing about this release.
    let swarm = input.swarm.filter(|seen| seen.uid == input.target.uid);
    let endpoints = swarm.map(|seen| {
        let ready = seen.revisions.get(id).map(|r| (&r.ready, &r.leaving));
        ready.map_or_else(BTreeMap::new, |(ready, leaving)| {
            ready
                .iter()
                .filter(|task| !leaving.iter().any(|gone| gone.task == task.task))
                .filter_map(|task| {
                    let address = task.addresses.get(&port)?.parse().ok()?;
                    names::is_word(&task.task).then(|| (task.task.clone(), address))
                })
                .collect()
        })
    });
    SlotTarget {
        revision: id.clone(),
        endpoints,
        draining: revision.draining,
        cut: revision.cut,
        replicas: revision.replicas,
    }
}

fn split(input: &Input<'_>, group: &str, lost_for: Option<Span>) -> Split {
    let target = input.target;
    let Some(traffic) = &target.traffic else {
        return Split::None;
    };
    let slot_of = |revision: &RevisionId| target.revisions.get(revision).and_then(|r| r.slot);
    let Some(stable_slot) = slot_of(&traffic.stable) else {
        return Split::Keep;
    };
    let canary_slot = match &traffic.canary {
        None => None,
        Some(canary) => match slot_of(canary) {
            Some(slot) => Some(slot),
            None => return Split::Keep,
        },
    };
    let words = names::is_word(&traffic.seed)
        && names::is_word(traffic.stable.as_str())
        && traffic
            .canary
            .as_ref()
            .is_none_or(|c| names::is_word(c.as_str()))
        && names::is_word(input.key.namespace())
        && names::is_word(input.key.name());
    if !words || canary_slot == Some(stable_slot) {
        return Split::Keep;
    }
    let (weight, mirror) = if canary_slot.is_none() || alone(target, lost_for) {
        (Weight::ZERO, Weight::ZERO)
    } else {
        (traffic.weight, traffic.mirror)
    };
    Split::Record(SplitRecord {
        mode: mode(target, weight),
        seed: traffic.seed.clone(),
        weight,
        stable_backend: backend(group, stable_slot),
        canary_backend: canary_slot.map(|slot| backend(group, slot)),
        release: input.key.clone(),
        stable: traffic.stable.clone(),
        canary: traffic.canary.clone(),
        generation: traffic.generation,
        mirror,
    })
}

/// Whether the store has been away for so long that stable alone is to serve.
fn alone(target: &Target, lost_for: Option<Span>) -> bool {
    let loss = &target.on_control_loss;
    loss.action == ControlLossAction::Stable && lost_for.is_some_and(|lost| lost >= loss.after)
}

/// Nobody needs a bucket where one side takes everything: such a record asks for no cookie and no hash.
fn mode(target: &Target, weight: Weight) -> Mode {
    let shared = target.experimenting().is_some_and(|e| e.shared());
    if !shared && (weight == Weight::ZERO || weight == Weight::FULL) {
        return Mode::Random;
    }
    match &target.affinity {
        Some(Affinity {
            cookie: Some(_), ..
        }) => Mode::Cookie,
        Some(Affinity {
            source: Some(_), ..
        }) => Mode::Source,
        Some(_) | None => Mode::Random,
    }
}
