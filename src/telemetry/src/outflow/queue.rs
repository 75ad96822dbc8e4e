//! Lines that wait to be sent: bounded, packed as they come, cut into chunks.
//!
//! Owner: whoever counts pushes, one client takes. What must never happen: a push that waits for more than a copy of the line.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;
use tokio::sync::Notify;

use super::Destination;
use crate::forward::msgpack::{put_bin, put_str, put_time};

/// What waits at most, in bytes as they are sent: at ten thousand lines a second some ten seconds of them.
pub(crate) const CAPACITY: usize = 32 << 20;
/// A chunk is closed when it is as long as this.
const CHUNK: usize = 256 * 1024;
/// How long lines are gathered before a chunk that is not full goes.
const GATHER: Duration = Duration::from_millis(200);
/// How often one complains of lines that were lost.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// How a destination fares.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Where.
    pub to: String,
    /// Whether it takes lines now.
    pub connected: bool,
    /// Lines that it has acknowledged.
    pub sent: u64,
    /// Lines that were lost because too many waited.
    pub lost: u64,
    /// Bytes that wait.
    pub waiting: u64,
    /// Why it takes none, if so.
    pub why: Option<String>,
}

/// Entries that are sent together.
#[derive(Debug)]
pub(crate) struct Chunk {
    /// It is acknowledged by this name.
    pub(crate) name: String,
    /// `[time, record]` one behind the other.
    pub(crate) entries: Vec<u8>,
    /// How many.
    pub(crate) lines: u64,
}

#[derive(Debug)]
pub(crate) struct Queue {
    instance: Vec<u8>,
    inner: Mutex<Inner>,
    ready: Notify,
    capacity: usize,
}

#[derive(Debug, Default)]
struct Inner {
    /// The chunk that grows.
    open: Vec<u8>,
    lines: u64,
    closed: VecDeque<Chunk>,
    status: Status,
    /// Chunks so far, and what no other start of ours has: together their name.
    count: u64,
    prefix: String,
    complained: Option<(Instant, u64)>,
    /// Something was said of the connection.
    told: bool,
}

impl Queue {
    pub(crate) fn new(destination: &Destination) -> Self {
        let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let (process, start) = (std::process::id(), since.as_nanos());
        let inner = Inner {
            status: Status {
                to: destination.to.clone(),
                ..Status::default()
            },
            prefix: format!("{}-{process:x}-{start:x}", destination.instance),
            ..Inner::default()
        };
        Self {
            instance: destination.instance.clone().into_bytes(),
            inner: Mutex::new(inner),
            ready: Notify::new(),
            capacity: CAPACITY,
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A line, and the release and revision that it counted for.
    pub(crate) fn push(&self, line: &[u8], counted: Option<(&str, &str)>) {
        let at = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let mut inner = self.inner();
        let before = inner.open.len();
        let waiting = usize::try_from(inner.status.waiting).unwrap_or(usize::MAX);
        if waiting.saturating_add(line.len()) > self.capacity {
            inner.status.lost += 1;
            return inner.complain();
        }
        entry(&mut inner.open, at, line, &self.instance, counted);
        inner.lines += 1;
        inner.status.waiting += (inner.open.len() - before) as u64;
        let full = inner.open.len() >= CHUNK;
        if full {
            inner.close();
        }
        drop(inner);
        if before == 0 || full {
            self.ready.notify_one();
        }
    }

    /// Waits for a chunk.
    pub(crate) async fn next(&self) -> Chunk {
        loop {
            let begun = {
                let mut inner = self.inner();
                if let Some(chunk) = inner.closed.pop_front() {
                    return chunk;
                }
                !inner.open.is_empty()
            };
            if begun {
                tokio::time::sleep(GATHER).await;
                let mut inner = self.inner();
                if inner.closed.is_empty() {
                    inner.close();
                }
            } else {
                self.ready.notified().await;
            }
        }
    }

    /// A chunk, if anything waits.
    pub(crate) fn take_now(&self) -> Option<Chunk> {
        let mut inner = self.inner();
        if inner.closed.is_empty() {
            inner.close();
        }
        inner.closed.pop_front()
    }

    /// It was acknowledged.
    pub(crate) fn delivered(&self, chunk: &Chunk) {
        let mut inner = self.inner();
        inner.status.sent += chunk.lines;
        let bytes = chunk.entries.len() as u64;
        inner.status.waiting = inner.status.waiting.saturating_sub(bytes);
    }

    /// The connection is gone, or there is none; whether that is new.
    pub(crate) fn broken(&self, why: &str) -> bool {
        let mut inner = self.inner();
        let new = inner.status.connected || !inner.told;
        inner.told = true;
        inner.status.connected = false;
        inner.status.why = Some(why.to_owned());
        new
    }

    /// There is a connection; whether that is new.
    pub(crate) fn connected(&self) -> bool {
        let mut inner = self.inner();
        inner.told = true;
        inner.status.why = None;
        !std::mem::replace(&mut inner.status.connected, true)
    }

    /// How it fares.
    pub(crate) fn status(&self) -> Status {
        self.inner().status.clone()
    }
}

impl Inner {
    fn close(&mut self) {
        if self.open.is_empty() {
            return;
        }
        self.count += 1;
        let chunk = Chunk {
            name: format!("{}-{:x}", self.prefix, self.count),
            entries: std::mem::take(&mut self.open),
            lines: std::mem::take(&mut self.lines),
        };
        self.closed.push_back(chunk);
    }

    /// Says once a minute how many lines were lost.
    fn complain(&mut self) {
        let (now, lost) = (Instant::now(), self.status.lost);
        let before = match self.complained {
            Some((at, _)) if now.duration_since(at) < COMPLAIN_EVERY => return,
            Some((_, before)) => before,
            None => 0,
        };
        self.complained = Some((now, lost));
        tracing::warn!(
            lost = lost - before,
            "logs.forward: {} takes too little: lines that should go there are lost (they count all the same)",
            self.status.to
        );
    }
}

/// `[time, {"message": line, "instance": …, "release": …, "revision": …}]`
fn entry(
    out: &mut Vec<u8>,
    at: Duration,
    line: &[u8],
    instance: &[u8],
    counted: Option<(&str, &str)>,
) {
    out.push(0x92);
    put_time(out, at);
    out.push(if counted.is_some() { 0x84 } else { 0x82 });
    put_str(out, b"message");
    // Readers take a string for UTF-8, and some give up where it is none.
    match std::str::from_utf8(line) {
        Ok(text) => put_str(out, text.as_bytes()),
        Err(_) => put_bin(out, line),
    }
    put_str(out, b"instance");
    put_str(out, instance);
    if let Some((release, revision)) = counted {
        put_str(out, b"release");
        put_str(out, release.as_bytes());
        put_str(out, b"revision");
        put_str(out, revision.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(capacity: usize) -> Queue {
        let destination = Destination {
            to: "a:1".into(),
            tag: "t".into(),
            shared_key: None,
            tls: None,
            instance: "edge-1".into(),
        };
        Queue {
            capacity,
            ..Queue::new(&destination)
        }
    }

    #[test]
    fn what_does_not_fit_is_lost_and_counted_and_there_is_room_again_once_it_is_acknowledged() {
        let queue = queue(10_000);
        for _ in 0..1000 {
            queue.push(&[b'x'; 100], None);
        }
        let status = queue.status();
        assert!(status.waiting <= 10_100 && status.lost > 900, "{status:?}");
        let chunk = queue.take_now().unwrap();
        assert_eq!(chunk.lines + status.lost, 1000);
        queue.push(&[b'y'; 100], None);
        assert_eq!(queue.status().lost, status.lost + 1);
        queue.delivered(&chunk);
        queue.push(b"room", None);
        let after = queue.status();
        assert_eq!((after.sent, after.lost), (chunk.lines, status.lost + 1));
        assert_eq!(queue.take_now().unwrap().lines, 1);
        assert!(queue.take_now().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn lines_are_gathered_and_a_full_chunk_does_not_wait() {
        let queue = queue(CAPACITY);
        for _ in 0..3 {
            queue.push(b"{}", Some(("n/s", "aaaa")));
        }
        assert_eq!(queue.next().await.lines, 3);
        for _ in 0..20 {
            queue.push(&[0xff; 60_000], None);
        }
        let (first, second) = (queue.next().await, queue.next().await);
        assert_ne!(first.name, second.name);
        assert!(first.entries.len() >= CHUNK && first.lines == 5);
    }
}
