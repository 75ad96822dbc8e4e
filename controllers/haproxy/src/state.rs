//! What a running HAProxy has in force, as last read, and what each action makes of it. Pure.
//!
//! Owner: the agent, which reads it anew after everything that is not certain. What must never happen: an action that
//! changes HAProxy and not this picture.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::maps::{Entries, Map};

/// Where a task is reached.
pub type Address = SocketAddr;

/// A running HAProxy.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Running {
    /// The hash of the configuration's structure that it runs.
    pub structure: String,
    /// What its maps hold.
    pub maps: BTreeMap<Map, Entries>,
    /// Keys that stand in a map more than once: the first entry wins, so they are removed first.
    pub doubled: Vec<(Map, String)>,
    /// The servers of each backend of ours: `t1`, `t2`, ….
    pub backends: BTreeMap<String, Vec<Server>>,
    /// Whether HAProxy can tell the agent of requests to copy; `None`: it is not made ready for that.
    pub told_of_copies: Option<bool>,
    /// Connections that workers before the last reload still have, by address.
    pub old_open: BTreeMap<SocketAddr, u64>,
}

/// One server of a backend.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Server {
    /// Where it leads; `None`: nowhere (a spare slot).
    pub address: Option<SocketAddr>,
    /// The task, as far as it is known.
    pub task: Option<String>,
    /// What it was told to do.
    pub admin: Admin,
    /// Whether HAProxy's check finds it healthy.
    pub up: bool,
    /// Its weight was changed by hand.
    pub reweighted: bool,
    /// Connections in use.
    pub open: u64,
    /// It was told to drain and `open` was not read since.
    pub unseen: bool,
}

/// What a server was told to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Admin {
    /// Serve while healthy.
    Ready,
    /// Finish what is open.
    Drain,
    /// Nothing: the slot is free.
    #[default]
    Maint,
}

/// One change of a running HAProxy or of its files.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Write the configuration and the maps.
    WriteFiles,
    /// Load the files anew.
    Reload(Why),
    /// Change the value of a key that a map has.
    SetMap(Map, String, String),
    /// Add a key to a map.
    AddMap(Map, String, String),
    /// Remove a key from a map.
    DelMap(Map, String),
    /// Make a spare server ready to be filled: down, checked often, leading nowhere.
    Arm(At),
    /// Fill a free server: it takes requests after its first good check.
    Add(At, String, SocketAddr),
    /// Fill an armed server, which is down already.
    Fill(At, String, SocketAddr),
    /// Learn which task stands behind a server; changes nothing in HAProxy.
    Know(At, String),
    /// Serve again after a drain.
    Resume(At),
    /// Take no new requests.
    Drain(At),
    /// Free the slot.
    Maint(At),
    /// Put the weight back to what the configuration says.
    Reweight(At),
}

/// A server: its backend, and its place from 0.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    /// The backend.
    pub backend: String,
    /// 0 for `t1`.
    pub index: usize,
}

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/t{}", self.backend, self.index + 1)
    }
}

/// Why a reload is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// Releases have routes that have no backends yet.
    NewRoutes(Vec<String>),
    /// Backends that no route needs any more.
    RoutesGone,
    /// More tasks than server slots.
    NoFreeSlot(Vec<String>),
    /// Wildcard hosts changed, whose order counts.
    Wildcards,
    /// Headers that rules look at, kinds of affinity, binds or limits changed.
    Rules,
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Why::NewRoutes(releases) => write!(f, "new routes of {}", releases.join(", ")),
            Why::RoutesGone => f.write_str("routes that are gone"),
            Why::NoFreeSlot(releases) => {
                write!(f, "more tasks than server slots of {}", releases.join(", "))
            }
            Why::Wildcards => f.write_str("other wildcard hosts"),
            Why::Rules => f.write_str("other headers, affinity, binds or limits"),
        }
    }
}

impl Running {
    /// The server at a place.
    #[must_use]
    pub fn server(&self, at: &At) -> Option<&Server> {
        self.backends.get(&at.backend)?.get(at.index)
    }

    /// What an action that succeeded makes of it. A reload and files are the agent's to account for.
    pub fn apply(&mut self, action: &Action) {
        match action {
            Action::WriteFiles | Action::Reload(_) => {}
            Action::SetMap(map, key, value) | Action::AddMap(map, key, value) => {
                self.maps
                    .entry(*map)
                    .or_default()
                    .insert(key.clone(), value.clone());
            }
            Action::DelMap(map, key) => {
                self.maps.entry(*map).or_default().remove(key);
                self.doubled.retain(|(m, k)| (m, k) != (map, key));
            }
            Action::Arm(at) => self.put(at, |server| {
                *server = Server {
                    admin: Admin::Ready,
                    ..Server::default()
                }
            }),
            Action::Add(at, task, address) | Action::Fill(at, task, address) => {
                self.put(at, |server| {
                    *server = Server {
                        address: Some(*address),
                        task: Some(task.clone()),
                        admin: Admin::Ready,
                        ..Server::default()
                    }
                });
            }
            Action::Know(at, task) => self.put(at, |server| server.task = Some(task.clone())),
            Action::Resume(at) => self.put(at, |server| {
                server.admin = Admin::Ready;
                server.unseen = false;
            }),
            Action::Drain(at) => self.put(at, |server| {
                server.admin = Admin::Drain;
                server.unseen = true;
            }),
            Action::Maint(at) => self.put(at, |server| *server = Server::default()),
            Action::Reweight(at) => self.put(at, |server| server.reweighted = false),
        }
    }

    fn put(&mut self, at: &At, change: impl FnOnce(&mut Server)) {
        if let Some(server) = self
            .backends
            .get_mut(&at.backend)
            .and_then(|servers| servers.get_mut(at.index))
        {
            change(server);
        }
    }

    /// Takes over from an earlier reading what HAProxy itself does not know: which task stands behind which server.
    pub fn remember(&mut self, before: &Running) {
        for (name, servers) in &mut self.backends {
            let Some(old) = before.backends.get(name) else {
                continue;
            };
            for (server, was) in servers.iter_mut().zip(old) {
                if server.address.is_some() && server.address == was.address {
                    server.task.clone_from(&was.task);
                }
            }
        }
    }
}
