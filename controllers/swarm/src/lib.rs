//! The swarm controller: makes Docker Swarm hold the services that targets want, and reports what it sees.
//!
//! ```text
//! targets/, revisions/ ─▶ plan ─▶ act ─▶ Docker ─▶ observe ─▶ observed/<ns>/<name>/swarm
//! jobs/ ─▶ jobs ─▶ Docker ─▶ observed/<ns>/<name>/jobs/
//! ```
//!
//! It runs once, under an elected lease. What must never happen: a change of anything that is not labelled ours; any change
//! while Docker or the store is not surely seen; a task replaced because this program is another version.

mod act;
mod adopt;
mod capacity;
mod catalogue;
mod contents;
mod docker;
mod drift;
mod jobs;
mod keeping;
mod logs;
mod memory;
mod observe;
mod plan;
mod raw;
mod read;
mod reconcile;
mod registry;
mod render;
mod report;
mod resolve;
mod resolving;
mod tasks;
mod tell;
mod world;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fm_api::policy::Policy;
use fm_api::{image, keys};
use fm_runtime::{Cache, Context, Recorder, run_elected};
use fm_store::StoreError;

pub use crate::adopt::{AdoptError, Candidate, Services};
pub use crate::capacity::{Capacity, Wanted};
pub use crate::catalogue::Catalogue;
pub use crate::contents::{ContentError, Contents, Kind};
pub use crate::logs::{Lines, LogError, Logs, Part, Written};

use crate::docker::Docker;
use crate::jobs::Jobs;
use crate::observe::Observer;
use crate::reconcile::Swarm;
use crate::registry::Images;
use crate::resolve::Resolver;

/// How the controller is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where Docker listens: `unix:///var/run/docker.sock` or `tcp://host:port`. It must be a manager of the Swarm.
    pub docker: String,
    /// How HAProxy reaches tasks.
    pub endpoints: Endpoints,
    /// Registry logins, by the name that manifests use.
    pub registry_auth: BTreeMap<String, RegistryLogin>,
    /// What manifests may ask for; a service that is there already goes on.
    pub policy: Policy,
    /// Only say what would be done to Docker.
    pub observe_only: bool,
    /// So long after it was handed on, a config or secret of ours that nothing refers to is removed.
    pub content_grace: Duration,
}

/// Longer than anybody takes from handing a content on to storing the release that names it.
pub const CONTENT_GRACE: Duration = Duration::from_secs(600);

/// How HAProxy reaches tasks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Endpoints {
    /// At a port of their node that Docker chooses.
    #[default]
    HostPorts,
    /// At their own address in the workload's first network; HAProxy is in it too.
    Overlay,
}

/// A login to a registry.
#[derive(Clone, PartialEq, Eq)]
pub struct RegistryLogin {
    /// The registry's address.
    pub server: String,
    /// The user.
    pub username: String,
    /// The password or token.
    pub password: String,
}

impl RegistryLogin {
    /// Whether it is for the server that an image comes from.
    ///
    /// # Errors
    /// When it is for another: both names.
    pub fn check(&self, image: &str) -> Result<(), String> {
        let Some(asked) = image::registry(image) else {
            return Ok(());
        };
        let own = image::server(&self.server)?;
        if own == asked {
            return Ok(());
        }
        Err(format!(
            "it is for {own}, and the image {image} comes from {asked}"
        ))
    }
}

impl fmt::Debug for RegistryLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryLogin")
            .field("server", &self.server)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// The name under which it is elected.
const NAME: &str = "swarm";

/// Why the controller ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address of Docker cannot be read.
    #[error("{0}")]
    Address(String),
    /// The store refused.
    #[error("the store refused the swarm controller")]
    Store(#[from] StoreError),
}

/// Runs the controller until shutdown. That Docker does not answer is no reason to end.
///
/// # Errors
/// When the address of Docker cannot be read, or the store refuses.
pub async fn run(ctx: Context, options: Options) -> Result<(), Error> {
    let docker = Docker::new(&options.docker).map_err(|error| Error::Address(error.to_string()))?;
    let Some(installation) = installation(&ctx).await? else {
        return Ok(());
    };
    let prefixes = ["targets", "revisions", "observed", "jobs"]
        .map(keys::prefix)
        .to_vec();
    let cache = Cache::start(&ctx, prefixes);
    let (wakes, woken) = tokio::sync::mpsc::channel(1024);
    let observer = Observer::new(
        &ctx,
        docker.clone(),
        installation.clone(),
        cache.clone(),
        wakes.clone(),
    );
    let resolver = Resolver {
        docker: docker.clone(),
        images: Images {
            docker: docker.clone(),
            logins: options.registry_auth.clone(),
        },
        installation: installation.clone(),
        endpoints: options.endpoints,
        policy: options.policy.clone(),
        cache: cache.clone(),
    };
    let jobs = Jobs {
        docker: docker.clone(),
        store: ctx.store.clone(),
        cache: cache.clone(),
        clock: ctx.clock.clone(),
        resolver: resolver.clone(),
        installation: installation.clone(),
        observe_only: options.observe_only,
        known: std::sync::Mutex::default(),
    };
    let swarm = Swarm {
        jobs,
        recorder: Recorder::new(&ctx, "swarm"),
        store: ctx.store.clone(),
        clock: ctx.clock.clone(),
        cache: cache.clone(),
        docker,
        observer: Arc::clone(&observer),
        resolver,
        installation,
        options,
        wakes,
        memories: std::sync::Mutex::default(),
    };
    let sweeping = contents::sweep::Sweeper {
        docker: swarm.docker.clone(),
        store: ctx.store.clone(),
        installation: swarm.installation.clone(),
        grace: swarm.options.content_grace,
    };
    let sweeping = (!swarm.options.observe_only).then(|| tokio::spawn(sweeping.run()));
    // Whether this daemon can do the work is known after the first look.
    let unseen = "Docker was not looked at yet".to_owned();
    ctx.fitness.set(NAME, Some(unseen));
    let looking = tokio::spawn(observer.run(ctx.clone()));
    let ended = run_elected(&ctx, NAME, &cache, Some(woken), Arc::new(swarm)).await;
    looking.abort();
    if let Some(sweeping) = sweeping {
        sweeping.abort();
    }
    Ok(ended?)
}

/// The store's name, once the store answers. `None` on shutdown.
async fn installation(ctx: &Context) -> Result<Option<String>, StoreError> {
    loop {
        match fm_runtime::installation(&ctx.store).await {
            Ok(name) => return Ok(Some(name)),
            Err(StoreError::Unavailable(why)) => {
                tracing::warn!(why, "the store does not answer; waiting for it");
                tokio::select! {
                    () = ctx.shutdown.cancelled() => return Ok(None),
                    () = tokio::time::sleep(Duration::from_secs(1)) => {}
                }
            }
            Err(error) => return Err(error),
        }
    }
}
