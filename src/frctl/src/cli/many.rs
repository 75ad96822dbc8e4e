//! Words that can be said to many releases at once.

use clap::Args;

/// `rollout abort`.
#[derive(Debug, Args)]
pub(crate) struct Abort {
    /// NAME or NAMESPACE/NAME
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub(crate) name: Option<String>,
    /// Every rollout that runs in the namespace
    #[arg(long, conflicts_with = "id")]
    pub(crate) all: bool,
    /// With --all: in every namespace
    #[arg(short = 'A', long, requires = "all")]
    pub(crate) all_namespaces: bool,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    pub(crate) why: Option<String>,
    /// The operation's id: asking twice with the same id is asking once [default: a new one]
    #[arg(long)]
    pub(crate) id: Option<String>,
}

/// `hold`.
#[derive(Debug, Args)]
pub(crate) struct Hold {
    /// NAME or NAMESPACE/NAME
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub(crate) name: Option<String>,
    /// Every release of the namespace
    #[arg(long)]
    pub(crate) all: bool,
    /// With --all: of every namespace
    #[arg(short = 'A', long, requires = "all")]
    pub(crate) all_namespaces: bool,
    /// For how long, such as 90s, 30m or 2h; at most 7d
    #[arg(long = "for", value_name = "TIME", default_value = "1h")]
    pub(crate) period: fm_api::quantity::Span,
    /// End the hold now
    #[arg(long, conflicts_with = "period")]
    pub(crate) end: bool,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    pub(crate) why: Option<String>,
}
