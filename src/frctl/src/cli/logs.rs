//! The grammar of `logs`.

use clap::Args;

/// `logs`.
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// NAME or NAMESPACE/NAME
    pub(crate) name: String,
    /// Only of the revision on trial
    #[arg(long, group = "whose")]
    pub(crate) canary: bool,
    /// Only of the revision that serves
    #[arg(long, group = "whose")]
    pub(crate) stable: bool,
    /// Only of this revision, by id or number; of one that failed the last lines are kept when its tasks are gone
    #[arg(long, value_name = "REVISION", group = "whose")]
    pub(crate) revision: Option<String>,
    /// Go on with what comes, also of revisions that come
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// The last lines of each task
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) tail: u32,
    /// Only what came since: how long ago, such as 90s or 1h, or a time
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Show when each line came
    #[arg(long)]
    pub(crate) timestamps: bool,
}
