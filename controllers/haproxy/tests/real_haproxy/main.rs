//! The agent beside a real HAProxy.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends at what it did not expect"
)]

mod beside;
mod classic;
mod experiments;
mod forged;
mod held;
mod http;
mod kills;
mod life;
mod lost;
mod mirror;
mod rights;
mod support;
mod tls;
mod traffic;
