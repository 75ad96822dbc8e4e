//! A watch that outlives its connection.
//!
//! After a disconnect, and when another member is talked to, it goes on from the revision after the last it gave, so
//! nothing is missed and nothing comes twice.
//! What must never happen: going on after a compaction without saying so.

use std::time::Duration;

use etcd_client::{EventType, WatchOptions, WatchResponse, WatchStream};
use tokio::sync::mpsc;

use super::calls::Connection;
use super::{MAX_MESSAGE, entry, key, revision};
use crate::{Change, StoreError};

/// The pauses between attempts to connect again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// How often etcd may refuse the watch before the reader is told; a new token usually cures it.
const REFUSALS: u32 = 5;

type Sender = mpsc::Sender<Result<Vec<Change>, StoreError>>;

/// How a stream ended.
enum End {
    /// Open it again.
    Disconnected(String),
    /// etcd does not let us, in its words.
    Canceled(String),
    Compacted,
    /// Nobody reads.
    Closed,
}

/// Feeds one watch until its reader is gone or changes were lost.
pub(super) async fn follow(connection: Connection, prefix: String, from: u64, sender: Sender) {
    let mut next = from.max(1);
    let mut pause = PAUSES.0;
    let mut refusals = 0;
    loop {
        let before = next;
        let end = tokio::select! {
            end = run(&connection, &prefix, &mut next, &sender) => end,
            () = sender.closed() => return,
        };
        if next > before {
            (pause, refusals) = (PAUSES.0, 0);
        }
        let fatal = match end {
            End::Closed => return,
            End::Compacted => Some(StoreError::Compacted { from: next }),
            End::Disconnected(why) => {
                tracing::debug!(etcd = connection.endpoints(), why, "watching again");
                None
            }
            End::Canceled(why) => {
                refusals += 1;
                if let Err(error) = connection.renew().await {
                    tracing::warn!(%error, "cannot log in to etcd again");
                }
                let etcd = connection.endpoints();
                (refusals > REFUSALS)
                    .then(|| StoreError::Refused(format!("etcd {etcd}: watch {prefix}: {why}")))
            }
        };
        if let Some(error) = fatal {
            // The reader may be gone; there is nobody else to tell.
            let _ = sender.send(Err(error)).await;
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = sender.closed() => return,
        }
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// One connection's worth of changes.
async fn run(connection: &Connection, prefix: &str, next: &mut u64, sender: &Sender) -> End {
    let (member, mut stream) = match open(connection, prefix, *next).await {
        Ok(opened) => opened,
        Err(StoreError::Refused(why)) => return End::Canceled(why),
        Err(error) => return End::Disconnected(error.to_string()),
    };
    loop {
        let message = tokio::select! {
            message = stream.message() => message,
            () = connection.members.left(member) => {
                return End::Disconnected("another member is talked to now".to_owned());
            }
        };
        let response = match message {
            Ok(Some(response)) => response,
            Ok(None) => return End::Disconnected("etcd ended the stream".to_owned()),
            Err(error) => return End::Disconnected(error.to_string()),
        };
        if response.compact_revision() > 0 {
            return End::Compacted;
        }
        if response.canceled() {
            return End::Canceled(response.cancel_reason().to_owned());
        }
        match changes(&response) {
            // Its creation, which shows that etcd lets us, or a sign of progress: all before it was given.
            Ok(changes) if changes.is_empty() => {
                if !response.created() {
                    let reached = response.header().map(etcd_client::ResponseHeader::revision);
                    *next = (*next).max(revision(reached) + 1);
                }
            }
            Ok(changes) => {
                let last = changes.iter().map(Change::revision).max();
                if sender.send(Ok(changes)).await.is_err() {
                    return End::Closed;
                }
                *next = (*next).max(last.unwrap_or(0) + 1);
            }
            Err(error) => return End::Canceled(error.to_string()),
        }
    }
}

/// Opens the stream at the member that is talked to; gives that member too.
async fn open(
    connection: &Connection,
    prefix: &str,
    next: u64,
) -> Result<(usize, WatchStream), StoreError> {
    let mut options = WatchOptions::new()
        .with_start_revision(i64::try_from(next).unwrap_or(i64::MAX))
        .with_progress_notify();
    options = if prefix.is_empty() {
        options.with_all_keys()
    } else {
        options.with_prefix()
    };
    connection
        .attempt(|client, _| {
            let mut watches = client.watch_client().max_decoding_message_size(MAX_MESSAGE);
            let options = options.clone();
            async move { watches.watch(prefix, Some(options)).await }
        })
        .await
}

fn changes(response: &WatchResponse) -> Result<Vec<Change>, StoreError> {
    response
        .events()
        .iter()
        .filter_map(|event| event.kv().map(|kv| (event.event_type(), kv)))
        .map(|(kind, kv)| match kind {
            EventType::Put => Ok(Change::Put(entry(kv)?)),
            EventType::Delete => Ok(Change::Deleted {
                key: key(kv)?,
                revision: revision(Some(kv.mod_revision())),
            }),
        })
        .collect()
}
