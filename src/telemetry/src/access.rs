//! From access logs in files to tables of counts and response times.
//!
//! `bytes -> [feed] lines -> [crate::syslog] payload -> [httplog] or [own] Request -> [stats] rows -> [report] tables`
//!
//! Owner of the state: [`stats::Stats`], in memory, of one run. What must never happen: a panic, or memory that grows
//! with the length of the log or of a line: rows are bounded, and what lies beyond is folded into one and said.

pub mod feed;
pub mod httplog;
mod own;
pub mod report;
mod rows;
pub mod stats;
pub mod timer;

/// The timers of a request, in the order in which HAProxy writes them: `TR/Tw/Tc/Tr/Ta`.
pub const TIMERS: [&str; 5] = ["TR", "Tw", "Tc", "Tr", "Ta"];

/// A request, as a line tells it. Names are as they stand in the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// `frontend backend/server` as it stands in the line; empty: it does not stand there.
    pub place: &'a [u8],
    /// The frontend, or `-`.
    pub frontend: &'a [u8],
    /// The backend.
    pub backend: &'a [u8],
    /// The server, or `<NOSRV>`; of our own lines its address.
    pub server: &'a [u8],
    /// Milliseconds by [`TIMERS`]; negative: it never came to that.
    pub timers: [i32; 5],
    /// Status of the answer; 0 or less: none.
    pub status: i32,
    /// Bytes sent to the client.
    pub bytes: u64,
    /// The first two characters of the termination state.
    pub termination: [u8; 2],
    /// When it was accepted, as text: `22/Nov/2026:18:45:07.388`.
    pub accepted: Option<&'a [u8; 24]>,
    /// What tells the route.
    pub route: Route<'a>,
}

/// What tells a request's route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route<'a> {
    /// Captured headers and the quoted request, as they stand at the end of a `httplog` line.
    Line(&'a [u8]),
    /// The release, `namespace/name`, and the revision.
    Release(&'a str, &'a str),
}
