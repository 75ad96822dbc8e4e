//! The grammar of `rollout …`: a person's word on a rollout.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::{Abort, span};

/// `rollout …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Rollout {
    /// Say where it stands; with -w follow it to its end
    Status(RolloutStatus),
    /// List finished rollouts; with --revision everything that is known of one
    History(History),
    /// Let it pass what it waits for
    Promote(Promote),
    /// Take the canary back, end an experiment or preview, or keep from beginning what waits; with --all every one
    Abort(Abort),
    /// Try again, from the first step, what failed or has ended; or the gate alone that stopped it
    Retry(Operation),
    /// Stop where it is
    Pause(Operation),
    /// Undo a pause
    Resume(Operation),
    /// Go back to an earlier workload: a switch while its tasks are warm, else a rollout like any other
    Undo(Undo),
    /// New tasks of every revision that runs, one after the other
    Restart(Operation),
}

/// `rollout history`.
#[derive(Debug, Args)]
pub(crate) struct History {
    /// NAME or NAMESPACE/NAME
    pub(crate) name: String,
    /// What ran, who asked, how it ended and why, and the last lines of its log if it failed; by id or number
    #[arg(long, value_name = "REVISION")]
    pub(crate) revision: Option<String>,
}

/// `rollout status`.
#[derive(Debug, Args)]
pub(crate) struct RolloutStatus {
    /// NAME or NAMESPACE/NAME
    pub(crate) name: String,
    /// Follow it until it is promoted (0), taken back (3) or waits for a person (5)
    #[arg(short, long)]
    pub(crate) watch: bool,
    /// With -w: how long, such as 90s, 30m or 2h
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = span)]
    pub(crate) timeout: Duration,
}

/// A word on a rollout.
#[derive(Debug, Clone, Args)]
pub(crate) struct Operation {
    /// NAME or NAMESPACE/NAME
    pub(crate) name: String,
    /// Why, for the record
    #[arg(long, value_name = "TEXT", visible_alias = "reason")]
    pub(crate) why: Option<String>,
    /// The operation's id: asking twice with the same id is asking once [default: a new one]
    #[arg(long)]
    pub(crate) id: Option<String>,
}

/// `rollout promote`.
#[derive(Debug, Args)]
pub(crate) struct Promote {
    #[command(flatten)]
    pub(crate) operation: Operation,
    /// Pass every wait, not one
    #[arg(long)]
    pub(crate) full: bool,
    /// In an emergency: no freeze window holds this rollout any more. Needs --why, which is kept in its history
    #[arg(long, requires = "why", conflicts_with = "full")]
    pub(crate) override_freeze: bool,
    /// Of an experiment: this candidate becomes what the manifest asks for, and is rolled out like any other
    #[arg(long, value_name = "CANDIDATE", conflicts_with_all = ["full", "override_freeze", "id"])]
    pub(crate) candidate: Option<String>,
}

/// `rollout undo`.
#[derive(Debug, Args)]
pub(crate) struct Undo {
    #[command(flatten)]
    pub(crate) operation: Operation,
    /// A revision's id or number, see `frctl rollout history` [default: the last one promoted before the current]
    #[arg(long, value_name = "REVISION")]
    pub(crate) to: Option<String>,
    /// Even to a revision that failed, or that is older than what a job has done for good
    #[arg(long)]
    pub(crate) force: bool,
}
