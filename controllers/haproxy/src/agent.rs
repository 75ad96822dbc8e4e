//! The agent: one loop that owns everything between the store and one HAProxy.
//!
//! ```text
//! targets, observed/swarm -> Desired ─┐
//!                                     ├─ plan -> act -> report -> observed/haproxy/<instance>
//! HAProxy's sockets -> Running ───────┘
//! ```
//!
//! What must never happen: HAProxy stopped, or a share changed, because the agent, the daemon or the store went away.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use fm_api::event::Severity;
use fm_api::keys;
use fm_api::observed::Agent as Alive;
use fm_runtime::{Cache, Changes, Context, Recorder, announce};
use fm_telemetry::{Address, Handle, Receiver};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::Settings;
use crate::logs::Logs;
use crate::mirror::Mirror;
use crate::options::{Error, Mode, Options, max_connections};
use crate::plan::Look;
use crate::supervise::{self, Runner};
use crate::turn::{NOT_STARTED, Turn, Wake};
use crate::{files, master, rights};

/// How soon HAProxy is read again while something is under way, and otherwise.
const SOON: Duration = Duration::from_millis(50);
const OFTEN: Duration = Duration::from_millis(200);
const LATER: Duration = Duration::from_secs(1);
/// How long the agent counts as alive without a sign of life.
const ALIVE: Duration = Duration::from_secs(6);
/// The longest pause after plans that failed.
const LONGEST: Duration = Duration::from_secs(5);

/// The agent beside one HAProxy.
pub struct Agent {
    ctx: Context,
    options: Options,
    settings: Settings,
    receiver: Receiver,
    handle: Handle,
    mirror: Result<Mirror, String>,
}

impl Agent {
    /// Checks the set-up, makes the folders and listens for HAProxy's log. HAProxy is not touched yet.
    ///
    /// # Errors
    /// When the set-up is wrong, the folder cannot be used, or no port is free.
    pub async fn new(ctx: Context, options: Options) -> Result<Self, Error> {
        options.check()?;
        files::make_folders(&options.dir).map_err(|error| Error::Folder {
            path: options.dir.display().to_string(),
            message: error.to_string(),
        })?;
        let receiver = listen(&options).await.map_err(Error::Receiver)?;
        // Told where a release mirrors; nobody else needs it.
        let jail = rights::jail(&options);
        let mirror = Mirror::new(&options.dir, jail).map_err(|error| {
            let words = format!(
                "{} cannot be used: {error}",
                Mirror::socket(&options.dir, jail).display()
            );
            tracing::warn!("requests cannot be mirrored: {words}");
            words
        });
        let settings = Settings {
            dir: options.dir.display().to_string(),
            admin_socket: options.admin().display().to_string(),
            // Known once the certificates were looked at.
            binds: Vec::new(),
            log: receiver.address().clone(),
            trusted: options.trusted_proxies.clone(),
            jail,
            maxconn: max_connections(),
        };
        let handle = receiver.handle();
        let epoch = handle.epoch().to_owned();
        let handle = handle.named(&options.instance, &epoch);
        Ok(Self {
            ctx,
            options,
            settings,
            receiver,
            handle,
            mirror,
        })
    }

    /// The counters of this HAProxy's requests.
    #[must_use]
    pub fn telemetry(&self) -> Handle {
        self.handle.clone()
    }

    /// Runs until the shutdown. HAProxy goes on.
    ///
    /// # Errors
    /// None at present: whatever goes wrong is reported and tried again.
    pub async fn run(self) -> Result<(), Error> {
        let Self {
            ctx,
            options,
            settings,
            receiver,
            handle,
            mirror,
        } = self;
        let receiving = tokio::spawn(receiver.run(ctx.shutdown.clone()));
        let sender = mirror.as_ref().map(Mirror::sender).map_err(Clone::clone);
        let shutdown = ctx.shutdown.clone();
        let mirroring = tokio::spawn(async move {
            if let Ok(mirror) = mirror {
                mirror.run(shutdown).await;
            }
        });
        let (told, processes) = watch::channel(Err(NOT_STARTED.to_owned()));
        let runner = options.binary().map(|binary| Runner {
            binary,
            dir: options.dir.clone(),
            master: options.master(),
            binds: options
                .binds
                .iter()
                .map(|bind| bind.address.clone())
                .collect(),
            // Asked before anything is written.
            remembers: Arc::new(AtomicBool::new(files::config(&options.dir).exists())),
        });
        let (say, alive) = watch::channel(Alive {
            instance: options.instance.clone(),
            telemetry: options.telemetry_address.clone(),
            haproxy: String::new(),
            problem: None,
            troubles: Vec::new(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            since: ctx.clock.now(),
        });
        let (present, key) = (ctx.clone(), keys::agent(&options.instance));
        let present = tokio::spawn(async move { announce(&present, key, ALIVE, alive).await });
        let mut keeper = Keeper::new(&ctx, &options, runner.clone(), told);
        // A HAProxy that runs, or ran, is brought back from the files alone: the store may be away.
        keeper.start_if_configured();
        let cache = Cache::start(
            &ctx,
            vec![
                keys::installation(),
                keys::prefix("targets"),
                keys::prefix("observed"),
                keys::prefix("accepted"),
                keys::prefix("deleted"),
            ],
        );
        tokio::select! {
            () = ctx.shutdown.cancelled() => {}
            () = cache.synced() => {
                let logs = Logs::new(handle);
                let turn = Turn::new(ctx.clone(), cache.clone(), &options, settings, runner, logs, sender);
                run_loop(turn, cache, keeper, processes, say).await;
            }
        }
        let _ = receiving.await;
        let _ = mirroring.await;
        let _ = present.await;
        Ok(())
    }
}

/// Listens where the operator says; on a socket in the agent's folder, where HAProxy is somebody else's and shares that;
/// else on a port of this machine, the same as before if that is still free, so that an adopted HAProxy goes on logging to it.
async fn listen(options: &Options) -> std::io::Result<Receiver> {
    match &options.mode {
        Mode::External {
            log: Some(address), ..
        } => return Receiver::bind(*address).await,
        Mode::External { log: None, .. } => {
            let socket = options.dir.join("log.sock");
            match Receiver::bind(Address::Unix(socket.clone())).await {
                Ok(receiver) => return Ok(receiver),
                Err(error) => tracing::warn!(
                    "{} cannot be used for HAProxy's log ({error}): a port on the loopback is used instead",
                    socket.display()
                ),
            }
        }
        Mode::Owned { .. } => {}
    }
    let path = options.dir.join("log.address");
    let before = std::fs::read_to_string(&path)
        .ok()
        .and_then(|text| text.trim().parse::<SocketAddr>().ok());
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    let bind = |address| Receiver::bind(Address::Local(address));
    let receiver = match bind(before.unwrap_or(free)).await {
        Err(_) if before.is_some() => bind(free).await?,
        bound => bound?,
    };
    files::replace(&path, receiver.address().to_string())?;
    Ok(receiver)
}

/// Learns HAProxy's processes: from the supervisor where the agent owns HAProxy, else from its master socket.
struct Keeper {
    ctx: Context,
    owned: bool,
    observe_only: bool,
    runner: Option<Runner>,
    master: master::Client,
    told: Option<watch::Sender<Result<master::Processes, String>>>,
}

impl Keeper {
    fn new(
        ctx: &Context,
        options: &Options,
        runner: Option<Runner>,
        told: watch::Sender<Result<master::Processes, String>>,
    ) -> Self {
        Self {
            ctx: ctx.clone(),
            owned: matches!(options.mode, Mode::Owned { .. }),
            observe_only: options.observe_only,
            runner,
            master: master::Client::new(&options.master()),
            told: Some(told),
        }
    }

    /// Begins to keep HAProxy alive, once there is a configuration.
    fn start_if_configured(&mut self) {
        let Some(runner) = &self.runner else { return };
        if !self.owned || self.observe_only || !files::config(&runner.dir).exists() {
            return;
        }
        if let Some(told) = self.told.take() {
            tokio::spawn(supervise::keep_alive(
                runner.clone(),
                told,
                self.ctx.shutdown.clone(),
            ));
        }
    }

    /// The processes now. What the supervisor says is known at once when HAProxy is gone.
    async fn processes(
        &self,
        told: &watch::Receiver<Result<master::Processes, String>>,
    ) -> Result<master::Processes, String> {
        if self.owned
            && !self.observe_only
            && let Err(error) = &*told.borrow()
        {
            return Err(error.clone());
        }
        self.master
            .processes()
            .await
            .map_err(|error| error.to_string())
    }
}

async fn run_loop(
    mut turn: Turn,
    cache: Cache,
    mut keeper: Keeper,
    mut told: watch::Receiver<Result<master::Processes, String>>,
    say: watch::Sender<Alive>,
) {
    let shutdown = turn.ctx.shutdown.clone();
    let mut changes = cache.subscribe();
    turn.inputs.read_all(&cache);
    turn.forget_the_gone().await;
    let mut wake = Wake::Look;
    let mut resync = Instant::now() + turn.ctx.resync;
    while !shutdown.is_cancelled() {
        // A change of what is wanted acts on the picture we have; everything else looks first.
        if wake == Wake::Look || turn.running.is_none() {
            let seen = keeper.processes(&told).await;
            tell(&say, &seen);
            turn.take_processes(seen).await;
        }
        let look = turn.turn(wake).await;
        let troubles = turn.troubles();
        say.send_if_modified(|alive| {
            let other = alive.troubles != troubles;
            alive.troubles = troubles;
            other
        });
        keeper.start_if_configured();
        let pause = match look {
            Look::Soon => (SOON * 2u32.saturating_pow(turn.failures.min(16))).min(LONGEST),
            Look::Often => OFTEN,
            Look::Later => LATER,
        };
        let pause = turn.alone_due().map_or(pause, |due| due.min(pause));
        let Some(why) = next_wake(&mut turn, &cache, &mut changes, &mut told, pause).await else {
            return;
        };
        wake = why;
        if Instant::now() >= resync {
            resync = Instant::now() + turn.ctx.resync;
            turn.inputs.read_all(&cache);
        }
    }
}

/// Puts HAProxy's version, or why it does not answer, beside the agent's name.
fn tell(say: &watch::Sender<Alive>, seen: &Result<master::Processes, String>) {
    say.send_if_modified(|alive| {
        let before = alive.clone();
        match seen {
            Ok(seen) => {
                alive.haproxy.clone_from(&seen.version);
                alive.problem = None;
            }
            Err(words) => alive.problem = Some(words.clone()),
        }
        *alive != before
    });
}

/// Waits for something to look at; `None` at the shutdown.
async fn next_wake(
    turn: &mut Turn,
    cache: &Cache,
    changes: &mut Changes,
    told: &mut watch::Receiver<Result<master::Processes, String>>,
    pause: Duration,
) -> Option<Wake> {
    let next_look = Instant::now() + pause;
    loop {
        tokio::select! {
            () = turn.ctx.shutdown.cancelled() => return None,
            changed = changes.next() => match changed {
                Some(keys) => {
                    turn.miss_reports(&keys);
                    if turn.inputs.read_changed(cache, &keys) {
                        return Some(Wake::Inputs);
                    }
                }
                None => {
                    tokio::time::sleep_until(next_look).await;
                    return Some(Wake::Look);
                }
            },
            changed = told.changed() => {
                if changed.is_err() {
                    tokio::time::sleep_until(next_look).await;
                }
                return Some(Wake::Look);
            }
            () = tokio::time::sleep_until(next_look) => return Some(Wake::Look),
        }
    }
}

/// Notes an event about this HAProxy as a whole.
pub(crate) async fn note(recorder: &Recorder, severity: Severity, reason: &str, message: String) {
    recorder.record(None, severity, reason, message).await;
}
