//! What must hold for any bytes that reach one of our readers. A target panics where it does not.
//!
//! `make fuzz` lets libFuzzer look for such bytes, guided by coverage; each test run plays the committed corpora.

mod forward;
mod httplog;
mod line;
mod manifest;
mod replay;
mod spop;
mod stream;
mod syslog;

/// A reader, and what must hold for it.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, and its corpus' folder's.
    pub name: &'static str,
    /// Panics where it does not hold.
    pub check: fn(&[u8]),
}

/// Every target.
pub const TARGETS: [Target; 8] = [
    Target {
        name: "forward",
        check: forward::check,
    },
    Target {
        name: "httplog",
        check: httplog::check,
    },
    Target {
        name: "line",
        check: line::check,
    },
    Target {
        name: "manifest",
        check: manifest::check,
    },
    Target {
        name: "replay",
        check: replay::check,
    },
    Target {
        name: "spop",
        check: spop::check,
    },
    Target {
        name: "stream",
        check: stream::check,
    },
    Target {
        name: "syslog",
        check: syslog::check,
    },
];

/// The target of this name.
#[must_use]
pub fn target(name: &str) -> Option<Target> {
    TARGETS.into_iter().find(|target| target.name == name)
}
