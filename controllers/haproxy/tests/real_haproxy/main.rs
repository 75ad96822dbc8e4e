//! The agent beside a real HAProxy.

mod life;
mod support;
mod tls;
mod traffic;
