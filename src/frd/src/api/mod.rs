//! The API server: the door through which people and tools read and change releases.
//!
//! `unix socket -> doors -> { apply, undo, operations, read, watch, … } -> store`
//!
//! Owner of the stored releases and operations: it alone writes them, each by compare-and-swap. What must never happen: a
//! release stored that does not validate; a change stored over one that was not read; an operation stored twice.

mod adopt;
mod agents;
mod apply;
mod body;
mod contents;
mod copies;
mod doors;
mod edges;
mod error;
mod events;
mod exposition;
mod extract;
mod feed;
mod finalize;
mod health;
mod list;
pub mod listen;
mod logs;
mod metrics;
mod openapi;
mod operations;
mod problems;
mod read;
mod releases;
pub(crate) mod signals;
mod stored;
mod traffic;
mod undo;
mod watch;

use std::sync::Arc;

use axum::Router;
use fm_runtime::{Context, Recorder};
use tokio::sync::Mutex;

pub use finalize::run as run_finalizer;

use fm_api::freeze::Freeze;
use fm_api::policy::Policy;

use crate::logins::Logins;
use crate::roles::Roles;
use crate::sinks::Outlets;
use crate::source::Sources;
use crate::supervise::Health;

/// What every request shares.
pub struct Api {
    ctx: Context,
    recorder: Recorder,
    health: Health,
    sources: Sources,
    here: Here,
    /// Makes ids that no other object has.
    ids: fn() -> String,
    /// One change at a time: two releases that claim one host at once must not both pass. Reads do not wait for it.
    changes: Mutex<()>,
    requests: metrics::Requests,
    /// Where signals are written to, for `/metrics`.
    outlets: Outlets,
    feeds: feed::Feeds,
    lists: list::Lists,
    watchers: watch::Watchers,
}

/// What of this process and its machine requests may need.
#[derive(Default)]
pub struct Here {
    /// The haproxy agent of this process; absent: none runs here.
    pub agent: Option<Agent>,
    /// Where configs and secrets are kept; absent: not from here.
    pub contents: Option<fm_swarm::Contents>,
    /// Where running services are read; absent: not from here.
    pub services: Option<fm_swarm::Services>,
    /// Where logs of tasks are read; absent: not from here.
    pub logs: Option<fm_swarm::Logs>,
    /// Where images are looked for; absent: not from here.
    pub images: Option<fm_swarm::Catalogue>,
    /// Where nodes' room is looked at; absent: not from here.
    pub capacity: Option<fm_swarm::Capacity>,
    /// Whether HAProxy reaches tasks inside their networks.
    pub overlay: bool,
    /// Who may approve what.
    pub roles: Roles,
    /// What manifests may ask for.
    pub policy: Policy,
    /// Logins, and the servers they are for.
    pub logins: Logins,
    /// Freeze windows of all releases.
    pub freeze: Vec<Freeze>,
}

/// The haproxy agent of this process.
#[derive(Debug, Clone)]
pub struct Agent {
    /// Its name.
    pub instance: String,
    /// It only says what it would do.
    pub observes: bool,
}

impl Api {
    /// An API over this store.
    #[must_use]
    pub fn new(
        ctx: Context,
        health: Health,
        sources: Sources,
        outlets: Outlets,
        here: Here,
    ) -> Arc<Self> {
        Arc::new(Self {
            recorder: Recorder::new(&ctx, "api"),
            ctx,
            health,
            sources,
            here,
            ids: || uuid::Uuid::now_v7().to_string(),
            changes: Mutex::new(()),
            requests: metrics::Requests::default(),
            outlets,
            feeds: feed::Feeds::default(),
            lists: list::Lists::default(),
            watchers: watch::Watchers::default(),
        })
    }

    /// What other processes read of this one's agents, and nothing else.
    pub fn agents_router(self: &Arc<Self>) -> Router {
        doors::agents(Arc::clone(self))
    }

    /// Everything it answers.
    pub fn router(self: &Arc<Self>) -> Router {
        doors::router(Arc::clone(self))
    }
}
