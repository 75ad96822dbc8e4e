//! One turn of the agent's loop: look, plan, act, report.
//!
//! Owner of the picture of HAProxy between turns. What must never happen: a report of something that was not read back
//! from HAProxy or acknowledged by it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fm_api::event::Severity;
use fm_api::keys::{self, ReleaseKey};
use fm_api::observed::HaproxyObserved;
use fm_api::quantity::Span;
use fm_runtime::{Cache, Context, Recorder, Said, decode};
use tokio::time::Instant;

use crate::act::{self, Hands};
use crate::agent::note;
use crate::alone::Alone;
use crate::beside::Beside;
use crate::certs::Certs;
use crate::config::Settings;
use crate::desired::Desired;
use crate::hold::Held;
use crate::inputs::Inputs;
use crate::kept::Kept;
use crate::logs::Logs;
use crate::mirror::Sender;
use crate::options::Options;
use crate::plan::{self, Files, Look, Plan};
use crate::report::Down;
use crate::state::Running;
use crate::supervise::Runner;
use crate::{files, master, observe, runtime, tunnels};

/// How often the maps are read back.
const MAPS_EVERY: Duration = Duration::from_secs(1);
/// Plans in one turn: a reload, what follows from it, and one more.
const PLANS: usize = 4;
/// How long a new worker may take to answer with its configuration.
const NEW_WORKER: Duration = Duration::from_secs(3);

/// What is said before the supervisor has said anything.
pub(crate) const NOT_STARTED: &str = "HAProxy was not started yet";

/// Why there is a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wake {
    /// What is wanted changed: act on the picture we have.
    Inputs,
    /// Look at HAProxy.
    Look,
}

/// Everything between turns.
pub(crate) struct Turn {
    pub(crate) ctx: Context,
    pub(crate) cache: Cache,
    pub(crate) recorder: Recorder,
    pub(crate) inputs: Inputs,
    pub(crate) client: runtime::Client,
    pub(crate) master: master::Client,
    pub(crate) checker: Option<Runner>,
    pub(crate) settings: Settings,
    pub(crate) instance: String,
    pub(crate) dir: PathBuf,
    pub(crate) observe_only: bool,
    pub(crate) said: Said,
    pub(crate) certs: Certs,
    pub(crate) kept: Kept,
    pub(crate) on_disk: Option<Files>,
    /// HAProxy's processes, or why they are not known.
    pub(crate) processes: Option<Result<master::Processes, String>>,
    /// The picture; `None`: it must be read before anything is done.
    pub(crate) running: Option<Running>,
    /// The last picture there was.
    pub(crate) memory: Option<Running>,
    /// HAProxy's master process, as last seen.
    pub(crate) master_seen: Option<u32>,
    /// Plans that failed, one after another.
    pub(crate) failures: u32,
    pub(crate) written: BTreeMap<ReleaseKey, HaproxyObserved>,
    pub(crate) written_open: Instant,
    pub(crate) down: Down,
    pub(crate) maps_read: Option<Instant>,
    /// The last plan came to its end: what differs now was changed by somebody else.
    pub(crate) settled: bool,
    /// Addresses of tasks whose upgraded connections were all closed.
    pub(crate) clean: BTreeSet<SocketAddr>,
    /// Who else listens where HAProxy does.
    pub(crate) beside: Beside,
    /// What is kept against the store's word, as it was told.
    pub(crate) held: Vec<Held>,
    /// The last trouble that was told.
    pub(crate) told: Option<String>,
    /// What was done without the store.
    pub(crate) alone: Alone,
    pub(crate) logs: Logs,
    /// Who sends copies, or why nobody does.
    pub(crate) mirror: Result<Arc<Sender>, String>,
}

impl Turn {
    /// Before the first turn: nothing is known of HAProxy.
    pub(crate) fn new(
        ctx: Context,
        cache: Cache,
        options: &Options,
        mut settings: Settings,
        checker: Option<Runner>,
        logs: Logs,
        mirror: Result<Arc<Sender>, String>,
    ) -> Self {
        let kept = Kept::new(options, checker.clone());
        settings.binds = kept.binds();
        Self {
            recorder: Recorder::new(&ctx, format!("haproxy/{}", options.instance)),
            inputs: Inputs::new(&options.dir, ctx.clock.clone()),
            client: runtime::Client::new(&options.admin()),
            master: master::Client::new(&options.master()),
            checker,
            on_disk: files::read(&options.dir),
            certs: Certs::default(),
            kept,
            settings,
            cache,
            ctx,
            instance: options.instance.clone(),
            dir: options.dir.clone(),
            observe_only: options.observe_only,
            said: Said::default(),
            processes: None,
            running: None,
            memory: None,
            master_seen: None,
            failures: 0,
            written: BTreeMap::new(),
            written_open: Instant::now(),
            down: Down::new(),
            maps_read: None,
            settled: false,
            beside: Beside::new(options),
            held: Vec::new(),
            told: None,
            clean: BTreeSet::new(),
            alone: Alone::default(),
            logs,
            mirror,
        }
    }

    /// Reports of this agent on releases that have no target any more.
    pub(crate) async fn forget_the_gone(&mut self) {
        for entry in self.cache.list(&keys::prefix("observed")) {
            let Some(key) = ReleaseKey::of(&entry.key) else {
                continue;
            };
            if entry.key == key.observed_haproxy(&self.instance)
                && let Ok(seen) = decode::<HaproxyObserved>(&entry)
            {
                self.written.insert(key, seen);
            }
        }
    }

    /// Takes in which processes there are; another worker means another picture.
    pub(crate) async fn take_processes(&mut self, seen: Result<master::Processes, String>) {
        let worker =
            |seen: &Result<master::Processes, String>| seen.as_ref().ok().and_then(|p| p.worker);
        let before = self.processes.as_ref().and_then(worker);
        if before.is_none() || before != worker(&seen) {
            self.client.reconnect();
            self.forget();
        }
        if let Ok(now) = &seen {
            let before = self.master_seen.replace(now.master);
            if before != Some(now.master) {
                self.beside.ports.forget();
            }
            if let Some(before) = before.filter(|before| *before != now.master) {
                let words = format!(
                    "HAProxy had ended (process {before}) and serves again (process {})",
                    now.master
                );
                note(&self.recorder, Severity::Warning, "HaproxyRestarted", words).await;
            }
        }
        if let Err(words) = &seen
            && words != NOT_STARTED
        {
            self.trouble(words.clone()).await;
            self.mend_files();
        }
        self.processes = Some(seen);
    }

    fn forget(&mut self) {
        if let Some(running) = self.running.take() {
            self.memory = Some(running);
        }
        self.maps_read = None;
        self.settled = false;
    }

    /// One turn.
    pub(crate) async fn turn(&mut self, wake: Wake) -> Look {
        if wake == Wake::Look || self.running.is_none() {
            self.look().await;
        }
        if wake == Wake::Inputs {
            self.settled = false;
        }
        self.follow_accepted().await;
        self.look_beside().await;
        self.take_in_certificates().await;
        let lost_since = self.cache.lost_since();
        let now = self.ctx.clock.now();
        if lost_since.is_none() && self.alone.stands() {
            // What differs now is what the agent did alone: no drift.
            self.settled = false;
        }
        let lost_for = lost_since.map(|since| {
            let millis = now.duration_since(since).as_millis();
            Span::millis(u64::try_from(millis).unwrap_or(0))
        });
        // Law: what the store lost in a moment is no reason to act, unless a release asks for it.
        let inputs = self.inputs.all();
        let desired = Desired::of(&inputs, lost_for);
        drop(inputs);
        let mut next_look = Look::Later;
        let mut in_full = false;
        for _ in 0..PLANS {
            if self.waits_for_haproxy() {
                next_look = Look::Soon;
                break;
            }
            let plan = plan::plan(
                &self.settings,
                &desired,
                self.running.as_ref(),
                self.memory.as_ref(),
                self.on_disk.as_ref(),
            );
            next_look = plan.next_look;
            if plan.actions.is_empty() {
                in_full = self.running.is_some();
                break;
            }
            if self.observe_only {
                let actions = format!("{:?}", plan.actions);
                if self.said.is_news("", &actions) {
                    tracing::info!(actions, "would act");
                }
                break;
            }
            if !self.act(&plan, &desired).await {
                self.failures = self.failures.saturating_add(1);
                next_look = Look::Soon;
                break;
            }
        }
        self.inputs.keep();
        self.settled = in_full && self.told.is_none();
        if in_full {
            self.told = None;
            self.failures = 0;
        }
        if in_full && self.close_tunnels(&desired).await {
            next_look = Look::Soon;
        }
        self.renew_certificates().await;
        self.logs.follow(self.running.as_ref());
        if let Some(running) = self.running.as_ref().filter(|_| wake == Wake::Look) {
            let worker = self.processes.as_ref().and_then(|seen| seen.as_ref().ok());
            let worker = worker.and_then(|seen| seen.worker);
            self.logs.audit(&mut self.client, worker, running).await;
            self.logs.ask(&mut self.client).await;
        }
        if in_full {
            self.tell_of_alone(lost_since, now).await;
        }
        self.report(&desired, in_full).await;
        next_look
    }

    /// Closes the upgraded connections of revisions that were taken back; tells whether it has to look again.
    async fn close_tunnels(&mut self, desired: &Desired) -> bool {
        let addresses = tunnels::to_cut(desired);
        if addresses.is_empty() {
            self.clean.clear();
        }
        if self.observe_only || addresses == self.clean {
            return false;
        }
        let Some(Ok(processes)) = &self.processes else {
            return true;
        };
        let workers: Vec<u32> = processes
            .worker
            .iter()
            .chain(&processes.old)
            .copied()
            .collect();
        match tunnels::cut(&self.master, &workers, &addresses).await {
            // Nothing new comes in, so once is enough.
            Ok(0) => {
                self.clean = addresses;
                false
            }
            Ok(count) => {
                tracing::info!(
                    count,
                    "upgraded connections of a revision taken back were closed"
                );
                true
            }
            Err(error) => {
                tracing::warn!(%error, "upgraded connections could not be closed");
                true
            }
        }
    }

    /// A HAProxy that is just coming up from files of an earlier life knows more of its servers than we do: the files
    /// stay as they are until it can be read, unless it cannot start from them.
    fn waits_for_haproxy(&self) -> bool {
        let refused = matches!(&self.processes, Some(Err(words)) if words != NOT_STARTED);
        self.running.is_none() && self.memory.is_none() && self.on_disk.is_some() && !refused
    }

    /// Reads HAProxy. A picture that cannot be read is no picture.
    async fn look(&mut self) {
        let Some(Ok(processes)) = &self.processes else {
            self.forget();
            return;
        };
        let old = processes.old.clone();
        let dir = self.settings.dir.clone();
        let due = self.maps_read.is_none_or(|at| at.elapsed() >= MAPS_EVERY);
        let known = self
            .running
            .as_ref()
            .map(|running| &running.maps)
            .filter(|_| !due);
        match observe::read(&mut self.client, &dir, known).await {
            Ok(mut fresh) => {
                if let Some(before) = self.running.as_ref().or(self.memory.as_ref()) {
                    fresh.remember(before);
                }
                for pid in old {
                    if let Ok(text) = self.master.in_worker(pid, "show servers conn").await {
                        for (address, open) in observe::connections_by_address(&text) {
                            *fresh.old_open.entry(address).or_default() += open;
                        }
                    }
                }
                if due {
                    self.maps_read = Some(Instant::now());
                }
                self.running = Some(fresh);
                self.look_at_the_down().await;
            }
            Err(error) => {
                self.trouble(error.to_string()).await;
                self.forget();
            }
        }
    }

    async fn look_at_the_down(&mut self) {
        let down = self
            .running
            .iter()
            .flat_map(|running| running.backends.values())
            .flatten()
            .any(|server| {
                server.admin == crate::state::Admin::Ready && !server.up && server.address.is_some()
            });
        self.down = if down {
            observe::read_down(&mut self.client)
                .await
                .unwrap_or_default()
        } else {
            Down::new()
        };
    }

    /// Carries out a plan; returns whether it came to its end.
    async fn act(&mut self, plan: &Plan, desired: &Desired) -> bool {
        self.tell_of_drift(plan, desired).await;
        let old_workers = match &self.processes {
            Some(Ok(processes)) => processes.old.clone(),
            Some(Err(_)) | None => Vec::new(),
        };
        let mut hands = Hands {
            client: &mut self.client,
            master: &self.master,
            checker: self.checker.as_ref(),
            dir: &self.dir,
            old_workers: &old_workers,
        };
        match hands
            .carry_out(plan, self.running.as_mut(), &mut self.on_disk)
            .await
        {
            Ok(act::Done { reloaded: None }) => true,
            Ok(act::Done {
                reloaded: Some(why),
            }) => {
                note(
                    &self.recorder,
                    Severity::Normal,
                    "Reloaded",
                    format!("HAProxy was reloaded: {why}"),
                )
                .await;
                self.after_reload(plan).await
            }
            Err(error) => {
                self.trouble(error.to_string()).await;
                // What was done of it is not known for sure.
                self.forget();
                false
            }
        }
    }

    /// Waits until the new worker answers with the new configuration.
    async fn after_reload(&mut self, plan: &Plan) -> bool {
        let before = self.running.take().unwrap_or_default();
        let planned = Running {
            backends: plan.layout.clone(),
            ..Running::default()
        };
        self.maps_read = None;
        let deadline = Instant::now() + NEW_WORKER;
        loop {
            self.client.reconnect();
            if let Ok(processes) = self.master.processes().await {
                self.processes = Some(Ok(processes));
            }
            self.look().await;
            if let Some(running) = &mut self.running {
                running.remember(&before);
                running.remember(&planned);
                if running.structure == plan.structure {
                    return true;
                }
            }
            if Instant::now() >= deadline {
                self.trouble(
                    "the new worker does not answer with the new configuration".to_owned(),
                )
                .await;
                return false;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
