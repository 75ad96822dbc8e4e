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
/// What the events that still wait at the end may take.
const AT_THE_END: Duration = Duration::from_secs(2);

/// Writes events; never fails its caller.
#[derive(Clone)]
pub struct Recorder {
    sender: mpsc::Sender<Told>,
}

/// An event before it has an id.
struct Told {
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
        Recorder { sender }
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
        while let Some(Some(told)) = shutdown.run_until_cancelled(receiver.recv()).await {
            let lost = tokio::select! {
                () = self.write(&told) => continue,
                () = shutdown.cancelled() => told,
            };
            // Once more, below, in the time that is left.
            self.finish(Some(lost), receiver).await;
            return;
        }
        self.finish(None, receiver).await;
    }

    async fn finish(&mut self, first: Option<Told>, mut receiver: mpsc::Receiver<Told>) {
        receiver.close();
        let rest = async {
            if let Some(told) = first {
                self.said.clear();
                self.write(&told).await;
            }
            while let Some(told) = receiver.recv().await {
                self.write(&told).await;
            }
        };
        if tokio::time::timeout(AT_THE_END, rest).await.is_err() {
            tracing::warn!("the last events are lost: the store does not take them");
        }
    }

    async fn write(&mut self, told: &Told) {
        if self.is_repetition(told) {
            return;
        }
        let event = self.event(told);
        let Ok(bytes) = serde_json::to_vec(&event) else {
            return;
        };
        for _ in 0..TRIES {
            match self.try_write(&event.id, &bytes).await {
                Ok(()) => return,
                Err(error) => {
                    // Whatever was wrong, a new lease is part of the cure.
                    self.lease = None;
                    tracing::debug!(reason = event.reason, %error, "an event waits for the store");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        tracing::warn!(
            reason = event.reason,
            message = event.message,
            "an event is lost"
        );
    }

    async fn try_write(&mut self, id: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let lease = match self.lease {
            Some((lease, until)) if Instant::now() < until => lease,
            Some(_) | None => {
                let lease = self.ctx.store.grant(KEPT + LEASE).await?;
                self.lease = Some((lease, Instant::now() + LEASE));
                lease
            }
        };
        let txn = Txn::new().put_leased(keys::event(id), bytes.to_vec(), lease);
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
        let now: Timestamp = self.ctx.clock.now();
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
