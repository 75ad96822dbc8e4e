//! The daemon's own sign of life: what it leads, what its clock shows, and that the store takes writes.
//!
//! Written every few seconds under a lease. With it each daemon compares its clock with the others', and one whose clock
//! is far off leads nothing. Owner of `daemons/<identity>` and of what is known of our clock. What must never happen: a
//! leader whose clock is ahead of all others' by more than the limit, for longer than a few signs of life.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fm_api::daemon::Daemon;
use fm_api::event::Severity;
use fm_api::keys;
use fm_store::{Change, StoreError};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::clocks::{Clocks, Compared, Level};
use crate::{Context, Recorder, announce};

/// How often it is written.
const PERIOD: Duration = Duration::from_secs(5);
/// How often the clock and the store are looked at between.
const LOOK: Duration = Duration::from_secs(1);
/// How long it counts as alive without.
const ALIVE: Duration = Duration::from_secs(15);
/// How long a daemon that just started waits for another's time before it stands for anything.
const FIRST: Duration = Duration::from_secs(6);
/// From which step on a wall clock was set, rather than corrected.
const JUMP: SignedDuration = SignedDuration::from_secs(1);

/// Who this is.
#[derive(Debug, Clone)]
pub struct Options {
    /// The name by which people know it. Daemons of one name share a machine, and its clock.
    pub instance: String,
    /// frd's version.
    pub version: String,
}

/// Lives until shutdown.
///
/// # Errors
/// None at present: what the store refuses is tried again.
pub async fn live(ctx: Context, options: Options) -> Result<(), StoreError> {
    live_every(ctx, options, PERIOD).await;
    Ok(())
}

pub(crate) async fn live_every(ctx: Context, options: Options, period: Duration) {
    let me = Me::new(&ctx, options);
    let sign = watch::Sender::new(me.sign());
    let told = sign.subscribe();
    let key = keys::daemon(&ctx.identity);
    tokio::join!(
        announce(&ctx, key, ALIVE, told),
        ctx.shutdown.run_until_cancelled(me.follow()),
        ctx.shutdown.run_until_cancelled(me.tick(&sign, period)),
    );
}

struct Me<'a> {
    ctx: &'a Context,
    options: Options,
    recorder: Recorder,
    clocks: Mutex<Clocks>,
    /// What our clock is fit for, and what is wrong with it, as others are told.
    verdict: Mutex<(Level, Option<String>)>,
    began: Instant,
    /// What each other daemon stands for.
    rivals: Mutex<BTreeMap<String, Daemon>>,
    /// The others were listed: whether there are any, and one's time has arrived.
    others: Mutex<Others>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Others {
    Unknown,
    None,
    Silent,
    Heard,
}

/// Where the wall clock and the one that only counts were read together.
struct Pair {
    wall: Timestamp,
    counted: Instant,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> Me<'a> {
    fn new(ctx: &'a Context, options: Options) -> Self {
        Self {
            ctx,
            options,
            recorder: Recorder::new(ctx, "frd"),
            clocks: Mutex::default(),
            verdict: Mutex::default(),
            began: Instant::now(),
            rivals: Mutex::default(),
            others: Mutex::new(Others::Unknown),
        }
    }

    fn sign(&self) -> Daemon {
        Daemon {
            identity: self.ctx.identity.clone(),
            instance: self.options.instance.clone(),
            version: self.options.version.clone(),
            at: self.ctx.clock.now(),
            controllers: self.ctx.fitness.candidates(),
            clock: lock(&self.verdict).1.clone(),
        }
    }

    /// Follows the others' signs of life.
    async fn follow(&self) {
        let mut backoff = Backoff::for_store();
        loop {
            match self.list_then_watch(&mut backoff).await {
                Ok(()) | Err(StoreError::Compacted { .. }) => {}
                Err(error) => tracing::debug!(%error, "the daemons cannot be followed"),
            }
            tokio::time::sleep(backoff.next()).await;
        }
    }

    async fn list_then_watch(&self, backoff: &mut Backoff) -> Result<(), StoreError> {
        let prefix = keys::prefix("daemons");
        let listing = self.ctx.store.list(&prefix).await?;
        // When these were written is not known; that they are there is.
        let all = listing.entries.iter();
        let all = all.filter_map(|entry| self.rival(&entry.value));
        let all: BTreeMap<String, Daemon> = all
            .map(|daemon| (daemon.identity.clone(), daemon))
            .collect();
        let first = if all.values().any(|daemon| self.is_elsewhere(daemon)) {
            Others::Silent
        } else {
            Others::None
        };
        *lock(&self.rivals) = all;
        self.tell_rivals();
        self.listed(first);
        self.judge().await;
        backoff.reset();
        let mut changes = self.ctx.store.watch(&prefix, listing.revision + 1).await?;
        while let Some(batch) = changes.next().await {
            for change in batch? {
                self.heard(&change);
            }
            self.judge().await;
        }
        Ok(())
    }

    fn listed(&self, first: Others) {
        let mut known = lock(&self.others);
        if *known == Others::Unknown {
            *known = first;
        }
    }

    /// Another daemon's sign of life.
    fn rival(&self, value: &[u8]) -> Option<Daemon> {
        let seen: Daemon = serde_json::from_slice(value).ok()?;
        (seen.identity != self.ctx.identity).then_some(seen)
    }

    /// Not on our own machine, whose clock is ours.
    fn is_elsewhere(&self, daemon: &Daemon) -> bool {
        daemon.instance.is_empty() || daemon.instance != self.options.instance
    }

    fn heard(&self, change: &Change) {
        match change {
            Change::Put(entry) => {
                let Some(seen) = self.rival(&entry.value) else {
                    return;
                };
                if self.is_elsewhere(&seen) {
                    let ahead = seen.at.duration_since(self.ctx.clock.now());
                    lock(&self.clocks).arrived(&seen.identity, ahead);
                    *lock(&self.others) = Others::Heard;
                }
                lock(&self.rivals).insert(seen.identity.clone(), seen);
            }
            Change::Deleted { key, .. } => {
                let prefix = keys::prefix("daemons");
                if let Some(identity) = key.strip_prefix(&prefix) {
                    lock(&self.clocks).gone(identity);
                    lock(&self.rivals).remove(identity);
                }
            }
        }
        self.tell_rivals();
    }

    /// Which controllers' work another daemon can do.
    fn tell_rivals(&self) {
        let rivals: BTreeSet<String> = lock(&self.rivals)
            .values()
            .flat_map(|daemon| &daemon.controllers)
            .filter(|(_, candidate)| candidate.unfit.is_none())
            .map(|(name, _)| name.clone())
            .collect();
        self.ctx.fitness.set_rivals(rivals);
    }

    /// Every few seconds: says so, and looks at the clock and the store.
    async fn tick(&self, sign: &watch::Sender<Daemon>, period: Duration) {
        let mut ticks = tokio::time::interval(period.min(LOOK));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut pair = self.pair();
        let mut said = Instant::now();
        let mut lost: Option<(Timestamp, String)> = None;
        let mut low = false;
        loop {
            ticks.tick().await;
            self.jumps(&mut pair).await;
            self.judge().await;
            self.store(&mut lost).await;
            self.room(&mut low).await;
            // What it leads or cannot do concerns the others at once.
            let news = sign.borrow().controllers != self.ctx.fitness.candidates();
            if news || said.elapsed() >= period {
                said = Instant::now();
                sign.send_replace(self.sign());
            }
        }
    }

    fn pair(&self) -> Pair {
        Pair {
            wall: self.ctx.clock.now(),
            counted: Instant::now(),
        }
    }

    /// Whether somebody set the clock since it was last looked at.
    async fn jumps(&self, last: &mut Pair) {
        let now = self.pair();
        let counted = now.counted.duration_since(last.counted);
        let counted = SignedDuration::try_from(counted).unwrap_or(SignedDuration::MAX);
        let by = now.wall.duration_since(last.wall).saturating_sub(counted);
        *last = now;
        if by.abs() < JUMP {
            return;
        }
        lock(&self.clocks).jumped(by);
        let message = format!(
            "the clock of {} was set {}, or the machine slept: holds go on by the time that really went by",
            self.options.instance,
            offset(by, "forward", "back")
        );
        tracing::warn!("{message}");
        self.recorder
            .record(None, Severity::Warning, "ClockJumped", message)
            .await;
    }

    /// What the comparison means for this process. Tells of each change for the worse, and that it is well again.
    async fn judge(&self) {
        let compared = lock(&self.clocks).compare();
        let waits = match *lock(&self.others) {
            Others::Unknown => true,
            Others::Silent => self.began.elapsed() < FIRST,
            Others::None | Others::Heard => false,
        };
        if waits {
            return;
        }
        let level = compared.map_or(Level::Well, |compared| compared.level);
        let words = compared
            .filter(|_| level > Level::Well)
            .map(|compared| self.words(&compared));
        self.ctx
            .fitness
            .set_clock(words.clone().filter(|_| level == Level::Unfit));
        self.ctx
            .fitness
            .set_offset(compared.map(|compared| compared.ahead.as_secs_f64()));
        let before = std::mem::replace(&mut *lock(&self.verdict), (level, words.clone())).0;
        if before == level {
            return;
        }
        let (severity, reason, message) = match words {
            Some(words) => (Severity::Warning, "ClockDiffers", words),
            None => {
                let message = format!("the clock of {} is right again", self.options.instance);
                (Severity::Normal, "ClockAgrees", message)
            }
        };
        tracing::warn!("{message}");
        self.recorder.record(None, severity, reason, message).await;
    }

    fn words(&self, compared: &Compared) -> String {
        let by = offset(compared.ahead, "ahead of", "behind");
        let leads = if compared.level == Level::Unfit {
            ", so it leads nothing"
        } else {
            ""
        };
        let which = match compared.clocks {
            2 => "of the other daemon, and nobody can know which is right",
            _ => "of most daemons",
        };
        format!(
            "the clock of {} is {by} that {which}{leads}; set it right (chronyc tracking, timedatectl)",
            self.options.instance
        )
    }

    /// Tells of a store that was lost, once it can be told.
    async fn store(&self, lost: &mut Option<(Timestamp, String)>) {
        match (self.ctx.store.health().problem(), lost.take()) {
            (Some(problem), before) => {
                if before.is_none() {
                    tracing::warn!("{problem}");
                }
                let since = before.map_or_else(|| self.ctx.clock.now(), |(since, _)| since);
                *lost = Some((since, problem));
            }
            (None, Some((_, problem))) => {
                let message = format!(
                    "the store is back at {}; before, {problem}",
                    self.options.instance
                );
                tracing::info!("{message}");
                self.recorder
                    .record(None, Severity::Warning, "StoreWasLost", message)
                    .await;
            }
            (None, None) => {}
        }
    }
    /// Tells that room gets short, and that there is room again.
    async fn room(&self, low: &mut bool) {
        let words = self.ctx.store.space().and_then(|space| space.low);
        let before = std::mem::replace(low, words.is_some());
        let (severity, reason, message) = match words {
            Some(words) if !before => (Severity::Warning, "StoreIsLow", words),
            None if before => {
                let message = format!("the store at {} has room again", self.options.instance);
                (Severity::Normal, "StoreHasRoom", message)
            }
            Some(_) | None => return,
        };
        tracing::warn!("{message}");
        self.recorder.record(None, severity, reason, message).await;
    }
}

fn offset(by: SignedDuration, forward: &str, back: &str) -> String {
    let direction = if by.is_negative() { back } else { forward };
    format!("{:.1} s {direction}", by.abs().as_secs_f64())
}
