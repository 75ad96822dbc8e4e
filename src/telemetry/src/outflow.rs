//! Lines sent on by Forward, so that a Fluentd or Fluent Bit can stand behind.
//!
//! `lines as they are counted -> [queue], bounded -> [client]: connect, prove, send a chunk, wait for its acknowledgement`
//!
//! Owner of the state: each destination has its own queue and connection, so that one that is away holds up none of the others.
//! What must never happen: a destination that slows the counting, or HAProxy (a full queue loses what comes, and counts it);
//! a line that is called sent before it was acknowledged; memory beyond `queue::CAPACITY` for each destination; a key
//! in a log.
//!
//! A chunk whose acknowledgement did not come is sent again under the same name: nothing is lost by a restart of the
//! destination, and one that remembers names (ours does) counts nothing twice.

mod client;
mod queue;
mod tls;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

pub(crate) use queue::Queue;
pub use queue::Status;
pub use tls::Trust;

use client::{Client, Lost};
use queue::Chunk;

/// The first pause after a failure; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long the last chunks may take when we are asked to stop.
const LAST_CHUNKS: Duration = Duration::from_secs(3);

/// Where lines are sent, and how.
#[derive(Clone)]
pub struct Destination {
    /// `host:port`.
    pub to: String,
    /// The tag of each line.
    pub tag: String,
    /// What both ends must know.
    pub shared_key: Option<Vec<u8>>,
    /// TLS, and whom it trusts.
    pub tls: Option<Trust>,
    /// What we are called: in the handshake, and in each record.
    pub instance: String,
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (keyed, tls) = (self.shared_key.is_some(), self.tls.is_some());
        write!(f, "forward to {} (keyed: {keyed}, tls: {tls})", self.to)
    }
}

/// Sends what a [`crate::Handle`] counts to one destination.
#[derive(Debug)]
pub struct Outflow {
    destination: Destination,
    queue: Arc<Queue>,
}

/// The file of trusted authorities on Debian.
#[must_use]
pub fn system_authorities() -> PathBuf {
    PathBuf::from("/etc/ssl/certs/ca-certificates.crt")
}

impl Outflow {
    /// Nothing is sent before [`Outflow::run`], but what is counted from now on waits for it.
    #[must_use]
    pub fn new(destination: Destination, handle: &crate::Handle) -> Self {
        let queue = Arc::new(Queue::new(&destination));
        handle.send_to(Arc::clone(&queue));
        Self { destination, queue }
    }

    /// Sends until the token is cancelled, and then for a moment what still waits.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut client = None;
        let mut chunk = None;
        tokio::select! {
            () = shutdown.cancelled() => {}
            never = self.send(&mut client, &mut chunk) => match never {},
        }
        let rest = async {
            if self.queue.status().waiting == 0 {
                return Ok(());
            }
            // A message that was cut off leaves a connection on which nothing can follow.
            let mut client = match client.filter(|client| !client.is_within_a_chunk()) {
                Some(client) => client,
                None => Client::connect(&self.destination).await?,
            };
            while let Some(next) = chunk.take().or_else(|| self.queue.take_now()) {
                client.deliver(&self.destination, &next).await?;
                self.queue.delivered(&next);
            }
            Ok::<_, Lost>(())
        };
        // What does not get out in time is lost, as everything is that comes while nobody listens.
        let _ = tokio::time::timeout(LAST_CHUNKS, rest).await;
    }

    /// `chunk` is what was taken from the queue and not acknowledged yet.
    async fn send(
        &self,
        client: &mut Option<Client>,
        chunk: &mut Option<Chunk>,
    ) -> std::convert::Infallible {
        let mut pause = FIRST_PAUSE;
        loop {
            let outcome = self.once(client, chunk).await;
            let Err(error) = outcome else {
                pause = FIRST_PAUSE;
                continue;
            };
            // A connection that worked may have been closed by a restart: that is no reason to wait.
            let worked = client.take().is_some_and(|client| client.has_delivered());
            let first = self.queue.broken(&error.to_string());
            if first {
                tracing::warn!(
                    "logs.forward: {}: {error}; lines wait, up to {} MB, and it is tried again",
                    self.destination.to,
                    queue::CAPACITY >> 20
                );
            }
            if !worked {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }

    /// Connects if need be, and delivers one chunk.
    async fn once(
        &self,
        client: &mut Option<Client>,
        chunk: &mut Option<Chunk>,
    ) -> Result<(), Lost> {
        let connected = match client {
            Some(client) => client,
            None => {
                let fresh = Client::connect(&self.destination).await?;
                if self.queue.connected() {
                    tracing::info!("logs.forward: {} takes lines", self.destination.to);
                }
                client.insert(fresh)
            }
        };
        if chunk.is_none() {
            // An idle connection is watched, so that one that was closed is known before a line needs it.
            let next = tokio::select! {
                next = self.queue.next() => next,
                lost = connected.closed() => return Err(lost),
            };
            *chunk = Some(next);
        }
        if let Some(next) = chunk {
            connected.deliver(&self.destination, next).await?;
            self.queue.delivered(next);
            *chunk = None;
        }
        Ok(())
    }
}
