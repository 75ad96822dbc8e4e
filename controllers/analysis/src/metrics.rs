//! Metrics of other systems: thresholds on measured series, and comparisons of both sides' series.
//!
//! `due (plan) -> measured beside the ticks (flight, providers) -> answer -> folded (plan) -> standings -> verdict`
//!
//! What must never happen: a provider that hangs, lies or is down holds up a tick, grows memory, or counts as a success.

pub mod compare;
pub mod flight;
mod influx;
pub mod job;
pub mod mann_whitney;
pub mod plan;
mod prometheus;
pub mod providers;
mod sentence;
pub mod standings;
mod web;

pub use fm_web as http;
pub use fm_web::{Access, Credential, Login, Secret};
pub use job::StoreJobs;
pub use providers::{Measure, Nobody, Providers, Question};
