//! FridayMorning's daemon: it composes the store, the API server and any subset of the controllers.
//!
//! `settings -> compose -> { api, promotion, swarm, haproxy, analysis, node, signals }`, each a part of its own that is started again
//! when it ends with an error. Owner of the stored releases and operations: [`api`]. What must never happen: two daemons
//! on one socket or one embedded store; a part's failure that ends the others; a secret in the log.

pub mod api;
pub mod cli;
pub mod compose;
mod config;
mod copies;
pub mod door;
pub mod logging;
pub mod logins;
mod mark;
mod policy;
pub mod roles;
pub mod settings;
pub mod sinks;
pub mod source;
pub mod store;
pub mod supervise;
mod users;
