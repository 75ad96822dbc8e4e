//! The agent beside one HAProxy: configuration, maps, runtime commands, supervision.

pub mod config;
pub mod desired;
pub mod maps;
pub mod names;
pub mod plan;
pub mod report;
pub mod state;
