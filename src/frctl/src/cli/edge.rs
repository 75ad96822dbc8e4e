//! The grammar of `edge …`.

use clap::{Args, Subcommand};

/// `edge …`.
#[derive(Debug, Subcommand)]
pub(crate) enum EdgeCommand {
    /// List them: versions, alive or gone since when, releases they still show, what is wrong
    List,
    /// Say that one is gone for good: nothing waits for its HAProxy any more. Refused while its agent is alive
    Forget(EdgeName),
    /// Say that one is to be taken out: no rollout waits for it any more, and it serves what still comes to it
    Drain(EdgeDrain),
    /// Say that one may give up what it keeps: its PROBLEM says what that is, and why it waits for a person
    Accept(EdgeName),
}

/// An edge.
#[derive(Debug, Args)]
pub(crate) struct EdgeName {
    /// The agent's name
    pub(crate) name: String,
}

/// `edge drain`.
#[derive(Debug, Args)]
pub(crate) struct EdgeDrain {
    /// The agent's name
    pub(crate) name: String,
    /// It stays after all
    #[arg(long)]
    pub(crate) undo: bool,
}
