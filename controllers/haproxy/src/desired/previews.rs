//! Previews: what leads to a revision outside the normal shares. Pure.
//!
//! What must never happen: a preview's record naming a backend that another revision may get.

use std::collections::BTreeMap;

use fm_api::keys::{ReleaseKey, RevisionId};
use fm_api::quantity::Weight;
use fm_api::release::Route;
use fm_api::rollout::PreviewTarget;
use fm_api::strategy::PreviewMatch;
use fm_api::target::Slot;
use fm_telemetry::record::{Mode, SplitRecord};

use super::{Desired, Group, Input, NOWHERE, SlotTarget, Split, backend, hashed, slot_of};
use crate::names::{self, Host};

/// A request that leads to a preview by a header.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Look {
    /// The header's name, in lower case.
    pub header: String,
    /// Its whole value.
    pub value: String,
    /// The host.
    pub host: Host,
    /// The path prefix.
    pub path: String,
}

impl Desired {
    /// A preview: a group of its own, and what leads to it.
    pub(super) fn add_look(
        &mut self,
        input: &Input<'_>,
        revision: &RevisionId,
        preview: &PreviewTarget,
        route: &Route,
    ) {
        let group = preview_group_id(&input.target.uid, revision, route);
        let id = format!("p{}", names::hash10(&[&group]));
        if !self.groups.contains_key(&group) {
            let slots = slots_of_preview(input, revision, route.port);
            let made = Group {
                preview: Some(revision.clone()),
                side: preview.side.is_some(),
                ..self.group(input, route, slots, Split::None)
            };
            self.groups.insert(group.clone(), made);
        }
        if preview.closed || preview.side.is_some() || !names::is_word(revision.as_str()) {
            return;
        }
        self.previews.entry(id.clone()).or_insert_with(|| {
            Some(SplitRecord {
                mode: Mode::Preview,
                seed: "0".to_owned(),
                weight: Weight::FULL,
                stable_backend: NOWHERE.to_owned(),
                canary_backend: Some(backend(&group, Slot::A)),
                release: input.key.clone(),
                stable: revision.clone(),
                canary: Some(revision.clone()),
                generation: 0,
                mirror: Weight::ZERO,
            })
        });
        self.claim(input.key, &id, &preview.hosts, route);
        for rule in &preview.match_rules {
            self.claim_by_header(input.key, &id, rule, route);
        }
    }

    fn claim_by_header(&mut self, key: &ReleaseKey, id: &str, rule: &PreviewMatch, route: &Route) {
        let header = names::header_name(&rule.header);
        let Some(header) = header.filter(|_| names::is_header_value(&rule.value)) else {
            let text = "a preview's header was left out: it holds characters that are not allowed";
            return self.problem(key, text.to_owned());
        };
        self.look_headers.insert(header.clone());
        for host in &route.hosts {
            for path in &route.paths {
                let (Some(host), Some(path)) = (Host::parse(host), names::path_key(path)) else {
                    continue;
                };
                let look = Look {
                    header: header.clone(),
                    value: rule.value.clone(),
                    host,
                    path,
                };
                let taken = self
                    .looks
                    .entry(look.clone())
                    .or_insert_with(|| id.to_owned());
                if taken.as_str() != id {
                    let text = format!(
                        "{}{} with {}: {} leads to another preview",
                        look.host.prefix(),
                        look.path,
                        look.header,
                        look.value
                    );
                    self.problem(key, text);
                }
            }
        }
    }

    /// Hosts that lead to the revision on trial alone: the same backend as its share of the group's requests.
    pub(super) fn add_preview(&mut self, input: &Input<'_>, group: &str, route: &Route) {
        let hosts = &input.target.preview_hosts;
        if hosts.is_empty() {
            return;
        }
        let id = format!("p{}", names::hash10(&[group]));
        let record = match self.groups.get(group).map(|group| &group.split) {
            Some(Split::Record(split)) if split.canary_backend.is_some() => Some(SplitRecord {
                mode: Mode::Preview,
                weight: Weight::FULL,
                mirror: Weight::ZERO,
                stable_backend: NOWHERE.to_owned(),
                ..split.clone()
            }),
            Some(_) | None => None,
        };
        self.previews.entry(id.clone()).or_insert(record);
        self.claim(input.key, &id, hosts, route);
    }
}

/// The id of a preview's group: its own, so that any number of previews is up at once.
#[must_use]
pub fn preview_group_id(uid: &str, revision: &RevisionId, route: &Route) -> String {
    hashed(uid, revision.as_str(), route)
}

fn slots_of_preview(input: &Input<'_>, id: &RevisionId, port: u16) -> BTreeMap<Slot, SlotTarget> {
    let revision = input.target.revisions.get(id);
    let slot = revision.map(|revision| (Slot::A, slot_of(input, id, revision, port)));
    slot.into_iter().collect()
}
