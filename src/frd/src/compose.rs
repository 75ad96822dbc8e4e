//! Puts the daemon together and takes it apart again: store, API, controllers.
//!
//! The store comes first, then the socket (so that a second daemon is refused before it does anything), then the parts. At
//! the end the parts stop first and give up their leases; HAProxy and every task go on.

use std::future::pending;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use fm_analysis::metrics::{Measure, Providers, StoreJobs};
use fm_api::policy::Policy;
use fm_runtime::{Context, Fitness, SystemClock, daemon};
use fm_store::{Proven, SharedStore, StoreError};
use fm_telemetry::Handle;
use fm_telemetry::intake::Intake;
use fm_telemetry::outflow::Outflow;
use fm_telemetry::peers::{Callers, Limited, Peers};
use tokio::runtime::Handle as Threads;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::listen::Socket;
use crate::api::{self, Api};
use crate::cli;
use crate::door::{self, Caller, Entrance, Limits};
use crate::logins::Logins;
use crate::mark;
use crate::policy;
use crate::settings::{self, Controller, Settings, Store, Ways};
use crate::sinks;
use crate::source::{LocalTelemetry, Sources};
use crate::supervise::{Health, supervise};

/// How often everything is looked at without any wake-up.
const RESYNC: Duration = Duration::from_secs(10);
/// How long the parts may take to stop.
const LAST_WORK: Duration = Duration::from_secs(10);
const STORE_PAUSE: Duration = Duration::from_secs(2);

/// Runs the daemon until SIGTERM or SIGINT. The API is answered on threads of its own.
///
/// # Errors
/// When it cannot start: the store is another's, the socket is taken.
pub async fn run(settings: Settings, answers: Threads) -> Result<()> {
    let mut end = End::listen()?;
    let shutdown = CancellationToken::new();
    let store = tokio::select! {
        store = open(&settings.store, &settings.traces) => store?,
        name = end.asked() => {
            tracing::info!("{name} before the store answered: stopped");
            return Ok(());
        }
    };
    let socket = Socket::bind(&settings.socket, settings.socket_group.as_deref()).await?;
    let ctx = Context {
        // Every call passes here, so that what they prove of the store is known.
        store: Proven::over(store),
        clock: Arc::new(SystemClock),
        identity: identity(),
        fitness: Fitness::unknown(),
        shutdown: shutdown.clone(),
        resync: RESYNC,
    };
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        store = ctx.store.describe(),
        socket = %settings.socket.display(),
        identity = ctx.identity,
        "frd starts"
    );
    let policy = tokio::select! {
        policy = policy::of(&ctx.store, settings.policy.as_ref()) => policy?,
        name = end.asked() => {
            tracing::info!("{name} before the store answered: stopped");
            return Ok(());
        }
    };
    let tasks = TaskTracker::new();
    mark::ensure(&ctx, &tasks).await;
    let serving = start(&ctx, &settings, &policy, socket, &tasks, &answers);
    let outcome = tokio::select! {
        outcome = serving => outcome.context("the API stopped").and_then(|served| served.context("the API's socket failed")),
        name = end.asked() => {
            tracing::info!("{name}: frd stops; HAProxy and all tasks go on");
            Ok(())
        }
    };
    shutdown.cancel();
    tasks.close();
    tokio::select! {
        ended = tokio::time::timeout(LAST_WORK, tasks.wait()) => if ended.is_err() {
            tracing::warn!("some parts did not stop within {} s", LAST_WORK.as_secs());
        },
        name = end.asked() => tracing::warn!("{name} again: frd stops at once"),
    }
    tracing::info!("frd stopped");
    outcome
}

/// Starts every part, and gives the API's own task.
fn start(
    ctx: &Context,
    settings: &Settings,
    policy: &Policy,
    socket: Socket,
    tasks: &TaskTracker,
    answers: &Threads,
) -> tokio::task::JoinHandle<std::io::Result<()>> {
    let health = Health::default();
    let runs = |controller| settings.controllers.contains(&controller);
    let agent = runs(Controller::Haproxy).then(|| api::Agent {
        instance: settings.instance.clone(),
        observes: settings.observe_only,
    });
    let address = match settings.telemetry {
        Some(address) if settings.peers.is_some() => format!("https://{address}"),
        Some(address) => format!("http://{address}"),
        None => format!("unix:{}", settings.socket.display()),
    };
    let signals = fm_signals::Signals::new(settings.signals.clone());
    let sources = Sources::new(ctx, signals, address.clone(), settings.peers.clone());
    let outlets = sinks::outlets(settings.sinks.clone(), &settings.instance);
    let api = Api::new(
        ctx.clone(),
        health.clone(),
        sources.clone(),
        Arc::clone(&outlets),
        api::Here {
            agent,
            contents: contents(ctx, settings),
            services: fm_swarm::Services::new(&settings.docker).ok(),
            logs: fm_swarm::Logs::new(&settings.docker).ok(),
            images: fm_swarm::Catalogue::new(&settings.docker, settings.registries.clone()).ok(),
            capacity: fm_swarm::Capacity::new(&settings.docker).ok(),
            overlay: matches!(settings.endpoints, cli::Endpoints::Overlay),
            roles: settings.roles.clone(),
            policy: policy.clone(),
            logins: Logins {
                registries: settings.registries.clone(),
                providers: settings.access.logins.clone(),
            },
            freeze: settings.freeze.clone(),
        },
    );
    let part = |name| (name, ctx.clone(), health.clone());

    let (name, context, known) = part("daemon");
    let options = daemon::Options {
        instance: settings.instance.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    tasks.spawn(supervise(name, context, known, move |ctx| {
        daemon::live(ctx, options.clone())
    }));
    let (name, context, known) = part("api");
    tasks.spawn(supervise(name, context, known, api::run_finalizer));
    if runs(Controller::Promotion) {
        let (name, context, known) = part(Controller::Promotion.name());
        let options = fm_promotion::Options {
            freeze: settings.freeze.clone(),
            roles: settings.roles.told(),
        };
        tasks.spawn(supervise(name, context, known, move |ctx| {
            fm_promotion::run(ctx, options.clone())
        }));
    }
    if runs(Controller::Swarm) {
        let options = swarm(settings, policy);
        let (name, context, known) = part(Controller::Swarm.name());
        tasks.spawn(supervise(name, context, known, move |ctx| {
            fm_swarm::run(ctx, options.clone())
        }));
    }
    if runs(Controller::Haproxy) {
        let options = haproxy(settings, &address);
        let (name, context, known) = part(Controller::Haproxy.name());
        let (telemetry, logs) = (sources.telemetry.clone(), settings.logs.clone());
        tasks.spawn(supervise(name, context, known, move |ctx| {
            agent_life(ctx, options.clone(), telemetry.clone(), logs.clone())
        }));
    }
    if runs(Controller::Analysis) {
        let (name, context, known) = part(Controller::Analysis.name());
        let jobs = Arc::new(StoreJobs::new(ctx.store.clone()));
        let providers = Providers::new(settings.access.clone(), Some(jobs));
        let measure: Arc<dyn Measure> = Arc::new(providers);
        let pulls = Arc::clone(&sources.pulls);
        tasks.spawn(supervise(name, context, known, move |ctx: Context| {
            fm_analysis::run(ctx, Arc::clone(&pulls), Arc::clone(&measure))
        }));
    }
    if runs(Controller::Gates) {
        let options = fm_gates::Options {
            access: settings.webhooks.clone(),
            observe_only: settings.observe_only,
        };
        let (name, context, known) = part(Controller::Gates.name());
        tasks.spawn(supervise(name, context, known, move |ctx| {
            fm_gates::run(ctx, options.clone())
        }));
    }
    // Whichever daemon's file names channels may tell them; one at a time does.
    if !settings.notifications.is_empty() {
        let channels = Arc::new(settings.notifications.clone());
        let (name, context, known) = part(fm_notify::NAME);
        tasks.spawn(supervise(name, context, known, move |ctx| {
            fm_notify::run(ctx, Arc::clone(&channels))
        }));
    }
    if runs(Controller::Node) {
        let options = fm_node::Options {
            docker: settings.docker.clone(),
            instance: settings.instance.clone(),
            telemetry_address: address.clone(),
        };
        let (name, context, known) = part(Controller::Node.name());
        let usage = sources.usage.clone();
        tasks.spawn(supervise(name, context, known, move |ctx| {
            fm_node::run(ctx, options.clone(), usage.clone())
        }));
    }
    if let Some(address) = settings.telemetry {
        let (name, context, known) = part("telemetry");
        let (api, peers) = (Arc::clone(&api), settings.peers.clone());
        if peers.is_none() {
            tracing::warn!(
                "telemetry.listen: whoever reaches {address} can read what is counted, and nothing shows who answers there: \
                 give each daemon `telemetry.tls`"
            );
        }
        tasks.spawn(supervise(name, context, known, move |ctx| {
            serve_agents(ctx, address, peers.clone(), api.agents_router())
        }));
    }
    if !outlets.is_empty() {
        let (name, context, known) = part("sinks");
        let (sources, api) = (sources.clone(), Arc::clone(&api));
        tasks.spawn(supervise(name, context, known, move |ctx| {
            sinks::run(ctx, Arc::clone(&outlets), sources.clone(), Arc::clone(&api))
        }));
    }
    if let settings::Store::Embedded(directory) = &settings.store {
        let (name, context, known) = part("copies");
        let directory = directory.clone();
        tasks.spawn(supervise(name, context, known, move |ctx| {
            crate::copies::run(ctx, directory.clone())
        }));
    }
    // Every daemon answers for all releases, so each keeps the signals of all agents.
    let (name, context, known) = part("signals");
    tasks.spawn(supervise(name, context, known, move |ctx: Context| {
        fm_signals::run(ctx, Arc::clone(&sources.pulls), sources.signals.clone())
    }));
    tasks.spawn_on(socket.serve(api.router(), ctx.shutdown.clone()), answers)
}

/// Where configs and secrets are kept; an address of Docker that cannot be read is the swarm controller's to tell.
fn contents(ctx: &Context, settings: &Settings) -> Option<fm_swarm::Contents> {
    let store = ctx.store.clone();
    fm_swarm::Contents::new(&settings.docker, store, settings.observe_only).ok()
}

fn swarm(settings: &Settings, policy: &Policy) -> fm_swarm::Options {
    fm_swarm::Options {
        docker: settings.docker.clone(),
        endpoints: match settings.endpoints {
            cli::Endpoints::HostPorts => fm_swarm::Endpoints::HostPorts,
            cli::Endpoints::Overlay => fm_swarm::Endpoints::Overlay,
        },
        registry_auth: settings.registries.clone(),
        policy: policy.clone(),
        observe_only: settings.observe_only,
        content_grace: fm_swarm::CONTENT_GRACE,
    }
}

fn haproxy(settings: &Settings, telemetry_address: &str) -> fm_haproxy::Options {
    fm_haproxy::Options {
        instance: settings.instance.clone(),
        dir: settings.haproxy_dir.clone(),
        mode: settings.haproxy.clone(),
        binds: settings.binds.clone(),
        trusted_proxies: settings.trusted_proxies.clone(),
        telemetry_address: telemetry_address.to_owned(),
        observe_only: settings.observe_only,
    }
}

/// One life of the haproxy agent. Its counters are served from now on.
async fn agent_life(
    ctx: Context,
    options: fm_haproxy::Options,
    telemetry: LocalTelemetry,
    logs: Ways,
) -> Result<(), fm_haproxy::Error> {
    let instance = options.instance.clone();
    let stop = ctx.shutdown.child_token();
    let agent = fm_haproxy::Agent::new(ctx, options).await?;
    telemetry.set(&instance, agent.telemetry());
    let handle = agent.telemetry();
    let tasks = TaskTracker::new();
    for destination in &logs.forward {
        let outflow = Outflow::new(destination.clone(), &handle);
        tasks.spawn(outflow.run(stop.clone()));
    }
    tasks.close();
    let ended = tokio::select! {
        ended = agent.run() => ended,
        never = receive_logs(&logs, handle) => match never {},
    };
    // The next life has connections of its own.
    stop.cancel();
    tasks.wait().await;
    ended
}

/// Daemons that ask, as they come.
struct Daemons(tokio::sync::Mutex<Callers>);

impl Entrance for Daemons {
    type Io = Limited;
    async fn accept(&self) -> std::io::Result<(Limited, Caller)> {
        let (stream, peer) = self.0.lock().await.next().await;
        Ok((stream, Caller::Address(peer.ip().to_canonical())))
    }
}

/// Serves what the agents of this process count to other machines.
async fn serve_agents(
    ctx: Context,
    address: SocketAddr,
    peers: Option<Peers>,
    router: axum::Router,
) -> Result<(), anyhow::Error> {
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .with_context(|| format!("telemetry.listen: {address}"))?;
    let callers = Callers::of(listener, peers)?;
    door::serve(
        "telemetry",
        Daemons(tokio::sync::Mutex::new(callers)),
        router,
        Limits::agents(),
        ctx.shutdown,
    )
    .await;
    Ok(())
}

/// Listens where the file says. An address that another holds must not stop HAProxy from being led: it is asked for again.
async fn receive_logs(logs: &Ways, handle: Handle) -> std::convert::Infallible {
    for source in logs.receive.iter().filter(|source| !source.is_proven()) {
        tracing::warn!(
            "logs.receive: whoever reaches {} can tell of requests, and so roll a release back or promote it: give it a {}",
            source.input,
            source.input.needs()
        );
    }
    loop {
        match Intake::bind(&logs.receive, handle.clone()).await {
            Ok(intake) => match intake.run().await {},
            Err(error) => tracing::error!(
                "logs.receive: {error}; nothing is received there, trying again every {} s",
                STORE_PAUSE.as_secs()
            ),
        }
        tokio::time::sleep(STORE_PAUSE).await;
    }
}

/// Opens the store. An etcd that does not answer yet is waited for; everything else is an error at once.
async fn open(store: &Store, traces: &[PathBuf]) -> Result<SharedStore> {
    match store {
        Store::Embedded(directory) => {
            let (directory, traces) = (directory.clone(), traces.to_vec());
            let shown = directory.display().to_string();
            tokio::task::spawn_blocking(move || {
                fm_store::embedded::open_beside(&directory, &traces)
            })
            .await
            .context("opening the store")?
            .with_context(|| format!("the store in {shown} cannot be opened"))
        }
        Store::Etcd(options) => loop {
            match fm_store::etcd::connect(options.clone()).await {
                Ok(store) => return Ok(store),
                Err(error @ StoreError::Unavailable(_)) => {
                    tracing::warn!("{error}; trying again every {} s", STORE_PAUSE.as_secs());
                    tokio::time::sleep(STORE_PAUSE).await;
                }
                Err(error) => return Err(error.into()),
            }
        },
    }
}

fn identity() -> String {
    let host = settings::host_name();
    let id = uuid::Uuid::now_v7().simple().to_string();
    // The end of the id is its random part; the process's number alone may come again.
    let unique = id.get(24..).unwrap_or_default();
    format!(
        "{}-{}-{unique}",
        if host.is_empty() { "local" } else { &host },
        std::process::id()
    )
}

/// The signals that end the daemon.
struct End {
    term: Signal,
    int: Signal,
}

impl End {
    fn listen() -> Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate()).context("SIGTERM cannot be listened for")?,
            int: signal(SignalKind::interrupt()).context("SIGINT cannot be listened for")?,
        })
    }

    async fn asked(&mut self) -> &'static str {
        tokio::select! {
            Some(()) = self.term.recv() => "SIGTERM",
            Some(()) = self.int.recv() => "SIGINT",
            else => pending().await,
        }
    }
}
