//! The state machine that decides every release's target. Pure: a snapshot and the time in, a plan out.
//!
//! ```text
//! spec ──intake──▶ wanted revision ──rollout──▶ canary: Scaling ▶ Shifting ▶ Holding ▶ … ▶ Draining ──▶ stable
//!                                      └─ taking_back: harm, deadline, crash loop, abort, newer spec ─▶ RollingBack
//! spec ──preview──▶ up beside the shares ▶ closed when its time is over
//! spec ──experiment──▶ baseline and candidates with shares of their own ▶ ended, none promoted
//! what neither serves any more ──removal──▶ warm ▶ draining ▶ gone          deletedAt ──delete──▶ nothing left
//! ```
//!
//! Everything it must remember is in the target; what it says to people is derived into the status. What must never
//! happen: traffic toward capacity that is not ready and healthy; a stable revision lost; a rise while an agent is
//! unknown; a rollback that waits for anything but a stable that cannot serve.

mod adoption;
mod begin;
mod delete;
mod dependencies;
mod draft;
mod edges;
mod evidence;
mod experiment;
mod failing;
mod gates;
mod group;
mod hold;
mod intake;
mod kept;
mod operations;
mod others;
mod phrases;
mod preview;
mod removal;
mod returning;
mod rollout;
mod routing;
mod status;
mod step;
mod surge;
mod taking_back;
mod texts;
mod traffic;
mod users;
mod why;
mod world;

pub use others::Other;
pub use step::{Notice, Plan, step};
pub use why::Why;
pub use world::{Spec, World};
