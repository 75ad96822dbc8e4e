//! Everything, end to end, on real Swarm, HAProxy and etcd: one program, so that two tests can always run side by side.

mod adopt;
mod analysis;
mod branches;
mod compose;
mod contents;
mod dependencies;
mod experiments;
mod failures;
mod forward;
mod gates;
mod history;
mod input;
mod life;
mod metrics;
mod mirroring;
mod recovery;
mod registry;
mod revert;
mod rollout;
mod saturation;
mod sinks;
mod strategies;
mod traffic;
mod workers;
