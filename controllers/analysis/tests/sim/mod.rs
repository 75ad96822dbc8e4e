//! What the analysis must reach, row by row: seeded, on simulated time, through the very code that decides online.
//!
//! `rows` lists it; the example `sim_stats` proves every row, and the test `simulation` plays a short form of the same rows.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails the test")]

mod canary;
mod enumerated;
mod pairs;
mod proof;
mod random;
mod resumed;
mod rows;
mod traffic;
mod world;

pub(crate) use proof::{Shown, prove};
pub(crate) use rows::rows;
