//! The agent beside one HAProxy: configuration, maps, runtime commands, supervision.
//!
//! Owner of the HAProxy process, its folder and the keys `observed/…/haproxy/<instance>` and `agents/<instance>`. It
//! follows targets and never decides a weight. What must never happen: a user's string in the configuration, traffic
//! to a task that was not found healthy while another is, or a share changed because something of ours went away.

mod act;
mod agent;
mod alone;
mod audit;
mod beside;
mod certs;
pub mod config;
pub mod desired;
mod door;
mod drift;
mod files;
mod hold;
mod inputs;
mod kept;
mod logs;
pub mod maps;
mod master;
pub mod mirror;
pub mod names;
mod observe;
mod options;
pub mod plan;
mod ports;
pub mod report;
mod rights;
mod runtime;
pub mod state;
mod supervise;
mod tell;
mod tunnels;
mod turn;

pub use agent::Agent;
pub use hold::trace;
pub use options::{Bind, Error, Mode, Options};
