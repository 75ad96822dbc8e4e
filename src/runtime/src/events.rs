//! Events: what happened, for people.
//!
//! A task of its own writes them, so that nobody who tells of something waits for the store. What repeats is one event
//! with a count. They are bound to leases, one an hour, and go with them after a day; [`keep_bounds`] sees that they are
//! never more than so many. What must never happen: a caller that fails or waits because of an event.

mod bounds;
mod repeats;

use std::sync::Arc;
use std::time::Duration;

use fm_api::event::{Event, Severity};
use fm_api::keys::{self, ReleaseKey};
use fm_store::{LeaseId, StoreError, Txn};
use tokio::sync::mpsc;
use tokio::time::Instant;
use uuid::{ContextV7, Uuid};

pub use self::bounds::{Bounds, keep_bounds};
use self::repeats::{Repeats, Told};
use crate::Context;

/// How long an event is kept at least.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// How long events are bound to the same lease.
const LEASE: Duration = Duration::from_secs(3600);
/// How many events wait for the store. More are dropped, and the log says so.
const WAITING: usize = 1024;
/// How often an event is tried, and the pause between.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);
/// How long an event waits for others, to be stored with them: an event must not hold up what it tells of.
const GATHER: Duration = Duration::from_millis(20);
/// How many events are stored together at most.
const AT_ONCE: usize = 32;
/// What the events that still wait at the end may take.
const AT_THE_END: Duration = Duration::from_secs(2);
/// The longest message, in bytes: others' words may be of any length.
const MESSAGE: usize = 2048;

/// Writes events; never fails its caller.
#[derive(Clone)]
pub struct Recorder {
    sender: mpsc::Sender<Told>,
    clock: Arc<dyn crate::Clock>,
}

struct Scribe {
    ctx: Context,
    source: Arc<str>,
    ids: ContextV7,
    lease: Option<(LeaseId, Instant)>,
    repeats: Repeats,
}

impl Recorder {
    /// A recorder that signs as `source`. Call it inside the runtime.
    #[must_use]
    pub fn new(ctx: &Context, source: impl Into<String>) -> Recorder {
        let (sender, receiver) = mpsc::channel(WAITING);
        let scribe = Scribe {
            ctx: ctx.clone(),
            source: source.into().into(),
            ids: ContextV7::new(),
            lease: None,
            repeats: Repeats::default(),
        };
        tokio::spawn(scribe.run(receiver));
        Recorder {
            sender,
            clock: Arc::clone(&ctx.clock),
        }
    }

    /// Notes what happened. Never waits for the store.
    pub async fn record(
        &self,
        key: Option<&ReleaseKey>,
        severity: Severity,
        reason: &str,
        message: String,
    ) {
        let told = Told {
            at: self.clock.now(),
            key: key.cloned(),
            severity,
            reason: reason.to_owned(),
            message: shortened(message),
        };
        if let Err(lost) = self.sender.try_send(told) {
            let (mpsc::error::TrySendError::Full(told) | mpsc::error::TrySendError::Closed(told)) =
                lost;
            tracing::warn!(
                reason = told.reason,
                message = told.message,
                "an event is lost"
            );
        }
    }
}

/// The message, or as much of it as an event holds.
fn shortened(mut message: String) -> String {
    if message.len() > MESSAGE {
        let end = (0..=MESSAGE).rfind(|end| message.is_char_boundary(*end));
        message.truncate(end.unwrap_or_default());
        message.push('…');
    }
    message
}

impl Scribe {
    async fn run(mut self, mut receiver: mpsc::Receiver<Told>) {
        let shutdown = self.ctx.shutdown.clone();
        loop {
            let worked = shutdown.run_until_cancelled(self.work(&mut receiver));
            if let Some(false) | None = worked.await {
                break;
            }
        }
        self.finish(receiver).await;
    }

    /// Takes in what is told, or writes a count that is due; `false` when nobody can tell any more.
    async fn work(&mut self, receiver: &mut mpsc::Receiver<Told>) -> bool {
        let first = match self.repeats.next() {
            Some(due) => tokio::select! {
                told = receiver.recv() => Some(told),
                () = tokio::time::sleep_until(due) => None,
            },
            None => Some(receiver.recv().await),
        };
        match first {
            Some(Some(told)) => {
                self.take(told);
                // What is being told of goes to the store first, and what else happens with it is told along.
                tokio::time::sleep(GATHER).await;
                let mut taken = 1;
                while taken < AT_ONCE
                    && let Ok(told) = receiver.try_recv()
                {
                    self.take(told);
                    taken += 1;
                }
            }
            Some(None) => return false,
            None => {}
        }
        let due = self.repeats.due(Instant::now());
        self.write(&due).await;
        true
    }

    fn take(&mut self, told: Told) {
        let Self { source, ids, .. } = self;
        let event = |told: &Told| event(told, source, ids);
        self.repeats.say(told, Instant::now(), event);
    }

    async fn finish(&mut self, mut receiver: mpsc::Receiver<Told>) {
        receiver.close();
        while let Some(told) = receiver.recv().await {
            self.take(told);
        }
        // Once more, in the time that is left.
        let rest = self.repeats.rest();
        let written = tokio::time::timeout(AT_THE_END, self.write(&rest));
        if written.await.is_err() {
            tracing::warn!("the last events are lost: the store does not take them");
        }
    }

    /// Stores events, several at once.
    async fn write(&mut self, events: &[Event]) {
        for together in events.chunks(AT_ONCE) {
            self.write_together(together).await;
        }
    }

    async fn write_together(&mut self, events: &[Event]) {
        for _ in 0..TRIES {
            match self.try_write(events).await {
                Ok(()) => return,
                // One that the store will never take must not take its neighbours with it.
                Err(StoreError::Refused(why)) if events.len() > 1 => {
                    tracing::debug!(why, "events are stored one by one");
                    for event in events {
                        if let Err(error) = self.try_write(std::slice::from_ref(event)).await {
                            self.failed(event, &error.to_string());
                        }
                    }
                    return;
                }
                Err(error) => {
                    // Whatever was wrong, a new lease is part of the cure.
                    self.lease = None;
                    tracing::debug!(events = events.len(), %error, "events wait for the store");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        for event in events {
            self.failed(event, "the store does not take it");
        }
    }

    fn failed(&mut self, event: &Event, error: &str) {
        if self.repeats.failed(event, Instant::now()) {
            tracing::warn!(
                reason = event.reason,
                message = event.message,
                error,
                "an event is lost"
            );
        }
    }

    async fn try_write(&mut self, events: &[Event]) -> Result<(), StoreError> {
        let lease = match self.lease {
            Some((lease, until)) if Instant::now() < until => lease,
            Some(_) | None => {
                let lease = self.ctx.store.grant(KEPT + LEASE).await?;
                self.lease = Some((lease, Instant::now() + LEASE));
                lease
            }
        };
        let mut txn = Txn::new();
        for event in events {
            if let Ok(bytes) = serde_json::to_vec(event) {
                txn = txn.put_leased(keys::event(&event.id), bytes, lease);
            }
        }
        self.ctx.store.commit(txn).await?;
        let now = Instant::now();
        for event in events {
            self.repeats.written(event, now);
        }
        Ok(())
    }
}

fn event(told: &Told, source: &str, ids: &ContextV7) -> Event {
    let now = told.at;
    let seconds = u64::try_from(now.as_second()).unwrap_or(0);
    let nanoseconds = u32::try_from(now.subsec_nanosecond()).unwrap_or(0);
    let at = uuid::Timestamp::from_unix(ids, seconds, nanoseconds);
    let part =
        |part: fn(&ReleaseKey) -> &str| told.key.as_ref().map(part).unwrap_or_default().to_owned();
    Event {
        id: Uuid::new_v7(at).to_string(),
        at: now,
        namespace: part(ReleaseKey::namespace),
        name: part(ReleaseKey::name),
        severity: told.severity,
        reason: told.reason.clone(),
        message: told.message.clone(),
        source: source.to_owned(),
        count: 1,
        last_at: None,
    }
}
