//! Events: what happened, for people.
//!
//! A task of its own writes them, so that nobody who tells of something waits for the store. They are bound to leases,
//! one an hour, and go with them after a day. What must never happen: a caller that fails or waits because of an event.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use fm_api::event::{Event, Severity};
use fm_api::keys::{self, ReleaseKey};
use fm_store::{LeaseId, StoreError, Txn};
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::Instant;
use uuid::{ContextV7, Uuid};

use crate::Context;

/// How long an event is kept at least.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// How long events are bound to the same lease.
const LEASE: Duration = Duration::from_secs(3600);
/// What was said is not said again for so long.
const REPEAT: Duration = Duration::from_secs(30);
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

/// Writes events; never fails its caller.
#[derive(Clone)]
pub struct Recorder {
    sender: mpsc::Sender<Told>,
    clock: Arc<dyn crate::Clock>,
}

/// An event before it has an id.
struct Told {
    at: Timestamp,
    key: Option<ReleaseKey>,
    severity: Severity,
    reason: String,
    message: String,
}

struct Scribe {
    ctx: Context,
    source: Arc<str>,
    ids: ContextV7,
    lease: Option<(LeaseId, Instant)>,
    said: HashMap<(Option<ReleaseKey>, String, String), Instant>,
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
            said: HashMap::new(),
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
            message,
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

impl Scribe {
    async fn run(mut self, mut receiver: mpsc::Receiver<Told>) {
        let shutdown = self.ctx.shutdown.clone();
        let mut batch = Vec::new();
        loop {
            let written = async {
                if receiver.recv_many(&mut batch, AT_ONCE).await == 0 {
                    return false;
                }
                // What is being told of goes to the store first, and what else happens with it is told along.
                tokio::time::sleep(GATHER).await;
                while batch.len() < AT_ONCE
                    && let Ok(told) = receiver.try_recv()
                {
                    batch.push(told);
                }
                self.write(&batch).await;
                true
            };
            match shutdown.run_until_cancelled(written).await {
                Some(true) => batch.clear(),
                Some(false) | None => break,
            }
        }
        self.finish(batch, receiver).await;
    }

    async fn finish(&mut self, mut batch: Vec<Told>, mut receiver: mpsc::Receiver<Told>) {
        receiver.close();
        let rest = async {
            // Once more, in the time that is left.
            self.said.clear();
            self.write(&batch).await;
            batch.clear();
            while receiver.recv_many(&mut batch, AT_ONCE).await > 0 {
                self.write(&batch).await;
                batch.clear();
            }
        };
        if tokio::time::timeout(AT_THE_END, rest).await.is_err() {
            tracing::warn!("the last events are lost: the store does not take them");
        }
    }

    /// Stores events together.
    async fn write(&mut self, batch: &[Told]) {
        let mut events = Vec::with_capacity(batch.len());
        for told in batch {
            if !self.is_repetition(told) {
                let event = self.event(told);
                if let Ok(bytes) = serde_json::to_vec(&event) {
                    events.push((keys::event(&event.id), bytes));
                }
            }
        }
        if events.is_empty() {
            return;
        }
        for _ in 0..TRIES {
            match self.try_write(&events).await {
                Ok(()) => return,
                // One that the store will never take must not take its neighbours with it.
                Err(StoreError::Refused(why)) if events.len() > 1 => {
                    tracing::debug!(why, "events are stored one by one");
                    for event in &events {
                        if let Err(error) = self.try_write(std::slice::from_ref(event)).await {
                            tracing::warn!(key = event.0, %error, "an event is lost");
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
        for told in batch {
            tracing::warn!(
                reason = told.reason,
                message = told.message,
                "an event is lost"
            );
        }
    }

    async fn try_write(&mut self, events: &[(String, Vec<u8>)]) -> Result<(), StoreError> {
        let lease = match self.lease {
            Some((lease, until)) if Instant::now() < until => lease,
            Some(_) | None => {
                let lease = self.ctx.store.grant(KEPT + LEASE).await?;
                self.lease = Some((lease, Instant::now() + LEASE));
                lease
            }
        };
        let mut txn = Txn::new();
        for (key, bytes) in events {
            txn = txn.put_leased(key.clone(), bytes.clone(), lease);
        }
        self.ctx.store.commit(txn).await.map(drop)
    }

    fn is_repetition(&mut self, told: &Told) -> bool {
        let now = Instant::now();
        self.said.retain(|_, at| now.duration_since(*at) < REPEAT);
        let what = (told.key.clone(), told.reason.clone(), told.message.clone());
        if self.said.contains_key(&what) {
            return true;
        }
        self.said.insert(what, now);
        false
    }

    fn event(&self, told: &Told) -> Event {
        let now = told.at;
        let seconds = u64::try_from(now.as_second()).unwrap_or(0);
        let nanoseconds = u32::try_from(now.subsec_nanosecond()).unwrap_or(0);
        let at = uuid::Timestamp::from_unix(&self.ids, seconds, nanoseconds);
        let part = |part: fn(&ReleaseKey) -> &str| {
            told.key.as_ref().map(part).unwrap_or_default().to_owned()
        };
        Event {
            id: Uuid::new_v7(at).to_string(),
            at: now,
            namespace: part(ReleaseKey::namespace),
            name: part(ReleaseKey::name),
            severity: told.severity,
            reason: told.reason.clone(),
            message: told.message.clone(),
            source: self.source.to_string(),
        }
    }
}
