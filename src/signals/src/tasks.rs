//! Which task answers at which address, as the swarm controller saw it.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;

use fm_api::keys;
use fm_api::observed::{Endpoint, SwarmObserved};
use fm_runtime::{Cache, Context, decode};

/// The tasks of every release. Only what changed is read again.
pub(crate) struct Tasks {
    cache: Cache,
    known: HashMap<String, (u64, Vec<(SocketAddr, String)>)>,
    by_address: HashMap<SocketAddr, String>,
}

impl Tasks {
    /// Follows what is observed. Call it inside the runtime.
    pub(crate) fn follow(ctx: &Context) -> Self {
        Self {
            cache: Cache::start(ctx, vec![keys::prefix("observed")]),
            known: HashMap::new(),
            by_address: HashMap::new(),
        }
    }

    /// Takes in what changed since the last look.
    pub(crate) fn refresh(&mut self) {
        let entries = self.cache.list(&keys::prefix("observed"));
        let seen = || entries.iter().filter(|entry| entry.key.ends_with("/swarm"));
        let mut changed = false;
        for entry in seen() {
            let known = self.known.get(&entry.key);
            if known.is_none_or(|(revision, _)| *revision != entry.revision) {
                let tasks = decode(entry).map_or_else(|_| Vec::new(), |seen| tasks(&seen));
                self.known
                    .insert(entry.key.clone(), (entry.revision, tasks));
                changed = true;
            }
        }
        if self.known.len() > seen().count() {
            let there: BTreeSet<&String> = seen().map(|entry| &entry.key).collect();
            self.known.retain(|key, _| there.contains(key));
            changed = true;
        }
        if changed {
            let all = self
                .known
                .values()
                .flat_map(|(_, tasks)| tasks.iter().cloned());
            self.by_address = all.collect();
        }
    }

    /// The task at this address.
    pub(crate) fn at(&self, address: &SocketAddr) -> Option<String> {
        self.by_address.get(address).cloned()
    }
}

fn tasks(seen: &SwarmObserved) -> Vec<(SocketAddr, String)> {
    let of = |endpoint: &Endpoint| -> Vec<(SocketAddr, String)> {
        let addresses = endpoint.addresses.values();
        addresses
            .filter_map(|address| Some((address.parse().ok()?, endpoint.task.clone())))
            .collect()
    };
    let revisions = seen.revisions.values();
    // Ready ones last: an address that was given anew is theirs.
    let leaving = revisions.clone().flat_map(|revision| &revision.leaving);
    let ready = revisions.flat_map(|revision| &revision.ready);
    leaving.chain(ready).flat_map(of).collect()
}
