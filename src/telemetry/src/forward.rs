//! The Forward protocol of Fluentd and Fluent Bit, as far as both ends need it: [`crate::intake`] receives by it,
//! [`crate::outflow`] sends by it.
//!
//! `bytes -> [decoder] whole values -> [message] lines`; `[handshake]` proves the shared key; `[msgpack]` reads and writes.
//!
//! Pure: no I/O, no clock, no randomness. What must never happen: a panic, or memory that the other end decides about.

pub mod decoder;
pub(crate) mod handshake;
pub(crate) mod message;
pub(crate) mod msgpack;
