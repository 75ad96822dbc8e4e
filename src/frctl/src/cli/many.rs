//! Words that can be said to many releases at once, or to what is no release yet.

use std::path::PathBuf;

use clap::Args;

/// `rollout abort`.
#[derive(Debug, Args)]
#[command(override_usage = "\
frctl rollout abort [OPTIONS] <NAME>
       frctl rollout abort [OPTIONS] --all")]
pub(crate) struct Abort {
    /// NAME or NAMESPACE/NAME
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub(crate) name: Option<String>,
    /// Every rollout that runs or waits to begin in the namespace; a first revision has nothing to go back to and goes on
    #[arg(long, conflicts_with = "id")]
    pub(crate) all: bool,
    /// With --all: in every namespace
    #[arg(short = 'A', long, requires = "all")]
    pub(crate) all_namespaces: bool,
    /// Also where a job has made it irreversible. Needs --why, which is kept in its history
    #[arg(long, requires = "why")]
    pub(crate) force: bool,
    /// Why, for the record
    #[arg(long, value_name = "TEXT", visible_alias = "reason")]
    pub(crate) why: Option<String>,
    /// The operation's id: asking twice with the same id is asking once [default: a new one]
    #[arg(long)]
    pub(crate) id: Option<String>,
}

/// `hold`.
#[derive(Debug, Args)]
#[command(override_usage = "\
frctl hold [OPTIONS] <NAME>
       frctl hold [OPTIONS] --all")]
pub(crate) struct Hold {
    /// NAME or NAMESPACE/NAME
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub(crate) name: Option<String>,
    /// Every release of the namespace
    #[arg(long, conflicts_with = "id")]
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
    #[arg(long, value_name = "TEXT", visible_alias = "reason")]
    pub(crate) why: Option<String>,
    /// The operation's id: asking twice with the same id is asking once [default: a new one]
    #[arg(long)]
    pub(crate) id: Option<String>,
}

/// `adopt`.
#[derive(Debug, Args)]
pub(crate) struct Adopt {
    /// The service's name or id
    pub(crate) service: String,
    /// The release's name [default: the service's, in lower case, with - for what a name may not have]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// A host name that leads to it; may be repeated [default: none, as for a worker]
    #[arg(long = "host", value_name = "HOST")]
    pub(crate) hosts: Vec<String>,
    /// With --host: the container's port [default: the only one that is published]
    #[arg(long, requires = "hosts")]
    pub(crate) port: Option<u16>,
    /// Take it out of the stack that owns it
    #[arg(long)]
    pub(crate) from_stack: bool,
    /// What it writes may be written by several tasks, and two revisions, side by side
    #[arg(long)]
    pub(crate) shared: bool,
    /// Change nothing; print the manifest that it would have
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// `import`.
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// A Compose file, or - for standard input; `${VARIABLES}` are taken from the environment
    #[arg(value_name = "FILE|-")]
    pub(crate) file: PathBuf,
    /// The stack's name, which stands before the names of its networks, volumes, configs and secrets
    /// [default: the file's folder]
    #[arg(long, value_name = "NAME")]
    pub(crate) stack: Option<String>,
    /// Services with ports are reached at SERVICE.DOMAIN
    #[arg(long, value_name = "DOMAIN", default_value = "localhost")]
    pub(crate) domain: String,
}
