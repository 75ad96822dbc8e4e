//! What many watch is read and written once: each topic has one feed, and its watchers share the bytes.
//!
//! A feed keeps its last frames, bounded in number and bytes; a watcher has only a place among them, and takes the next one
//! when its connection has room. What must never happen: a reader that does not read and costs more than its place; a frame
//! missed without a word.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use axum::body::Bytes;
use fm_api::keys::ReleaseKey;
use serde::Serialize;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::doors::Shared;

/// What can be watched.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Topic {
    /// One key of the store, change by change.
    Object(String),
    /// Everything about a release: always the newest picture.
    View(ReleaseKey),
    /// All events.
    Events,
}

impl Topic {
    /// The most frames, and bytes, that are kept for slow readers.
    const fn keeps(&self) -> (usize, usize) {
        match self {
            Topic::Object(_) => (16, 256 << 10),
            Topic::View(_) => (1, 0),
            Topic::Events => (2048, 1 << 20),
        }
    }
}

/// One server-sent event.
#[derive(Debug)]
pub(super) struct Frame {
    /// The store's revision.
    pub(super) revision: u64,
    /// As it is sent.
    pub(super) bytes: Bytes,
    /// The namespace and name that it is about, where watchers choose by them.
    pub(super) about: Option<(String, String)>,
    /// Something is there, rather than gone.
    pub(super) put: bool,
}

impl Frame {
    pub(super) fn put<T: Serialize>(revision: u64, value: &T) -> Self {
        // Our own objects serialize without failing, and JSON has no line ends of its own.
        let data = serde_json::to_string(value).unwrap_or_default();
        Self {
            revision,
            bytes: format!("event: put\nid: {revision}\ndata: {data}\n\n").into(),
            about: None,
            put: true,
        }
    }

    pub(super) fn delete(revision: u64) -> Self {
        Self {
            revision,
            bytes: format!("event: delete\nid: {revision}\ndata: {{}}\n\n").into(),
            about: None,
            put: false,
        }
    }
}

/// The feeds that somebody reads.
#[derive(Default)]
pub(super) struct Feeds {
    open: Mutex<HashMap<Topic, Weak<Feed>>>,
}

/// One topic, for as long as anybody reads it.
pub(super) struct Feed {
    kept: Mutex<Kept>,
    /// How many frames there were.
    count: watch::Sender<u64>,
    keeps: (usize, usize),
    _ends: DropGuard,
}

struct Kept {
    /// Every frame after this revision was, or will be, here.
    since: u64,
    /// The number of the first one kept.
    first: u64,
    bytes: usize,
    frames: VecDeque<Arc<Frame>>,
}

/// The last reader has gone.
pub(super) struct Gone;

/// Where a feed's frames are put. It does not keep the feed alive.
#[derive(Clone)]
pub(super) struct Pen(Weak<Feed>);

impl Pen {
    pub(super) fn write(&self, frame: Frame) -> Result<(), Gone> {
        self.0.upgrade().ok_or(Gone)?.push(frame);
        Ok(())
    }
}

impl Feeds {
    /// Whether a feed still has, or will have, all that came after this revision.
    pub(super) fn reaches(&self, topic: &Topic, revision: u64) -> bool {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let feed = open.get(topic).and_then(Weak::upgrade);
        feed.is_some_and(|feed| feed.reaches(revision))
    }

    /// A reader of what comes after this revision. Where no feed reaches back so far, `write` makes one.
    pub(super) fn read<F, Fut>(&self, api: &Shared, topic: Topic, after: u64, write: F) -> Reader
    where
        F: FnOnce(Shared, Pen) -> Fut,
        Fut: Future<Output = Gone> + Send + 'static,
    {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, feed| feed.strong_count() > 0);
        if let Some(feed) = open.get(&topic).and_then(Weak::upgrade)
            && feed.reaches(after)
        {
            return Reader::of(feed, after);
        }
        let ends = CancellationToken::new();
        let feed = Arc::new(Feed {
            kept: Mutex::new(Kept {
                since: after,
                first: 0,
                bytes: 0,
                frames: VecDeque::new(),
            }),
            count: watch::Sender::new(0),
            keeps: topic.keeps(),
            _ends: ends.clone().drop_guard(),
        });
        let writing = write(Arc::clone(api), Pen(Arc::downgrade(&feed)));
        let shutdown = api.ctx.shutdown.clone();
        tokio::spawn(async move {
            tokio::select! {
                Gone = writing => {}
                () = ends.cancelled() => {}
                () = shutdown.cancelled() => {}
            }
        });
        open.insert(topic, Arc::downgrade(&feed));
        Reader::of(feed, after)
    }
}

impl Feed {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reaches(&self, revision: u64) -> bool {
        self.lock().since <= revision
    }

    fn push(&self, frame: Frame) {
        let mut kept = self.lock();
        kept.bytes += frame.bytes.len();
        kept.frames.push_back(Arc::new(frame));
        let (frames, bytes) = self.keeps;
        // The newest is kept, however large.
        while kept.frames.len() > frames || (kept.bytes > bytes && kept.frames.len() > 1) {
            let Some(oldest) = kept.frames.pop_front() else {
                break;
            };
            kept.bytes -= oldest.bytes.len();
            // A picture replaces the one before it.
            if frames > 1 {
                kept.since = kept.since.max(oldest.revision);
            }
            kept.first += 1;
        }
        let count = kept.first + kept.frames.len() as u64;
        drop(kept);
        self.count.send_replace(count);
    }
}

/// One watcher's place in a feed.
pub(super) struct Reader {
    feed: Arc<Feed>,
    news: watch::Receiver<u64>,
    /// The number of the next frame.
    next: u64,
    /// Frames up to this revision are known already.
    after: u64,
}

/// What a watcher gets next.
pub(super) enum Next {
    /// This.
    Frame(Arc<Frame>),
    /// It was too slow: so many frames are no longer kept.
    Missed(u64),
}

impl Reader {
    fn of(feed: Arc<Feed>, after: u64) -> Self {
        let news = feed.count.subscribe();
        let next = feed.lock().first;
        Self {
            feed,
            news,
            next,
            after,
        }
    }

    /// The next frame, when there is one.
    pub(super) async fn next(&mut self) -> Next {
        loop {
            self.news.borrow_and_update();
            if let Some(next) = self.kept() {
                return next;
            }
            // The feed is ours as well: its sender lives.
            let _ = self.news.changed().await;
        }
    }

    fn kept(&mut self) -> Option<Next> {
        let kept = self.feed.lock();
        if self.next < kept.first {
            let missed = kept.first - self.next;
            self.next = kept.first;
            return Some(Next::Missed(missed));
        }
        loop {
            let index = usize::try_from(self.next - kept.first).ok()?;
            let frame = kept.frames.get(index)?;
            self.next += 1;
            if frame.revision > self.after {
                return Some(Next::Frame(Arc::clone(frame)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(topic: &Topic) -> Arc<Feed> {
        Arc::new(Feed {
            kept: Mutex::new(Kept {
                since: 10,
                first: 0,
                bytes: 0,
                frames: VecDeque::new(),
            }),
            count: watch::Sender::new(0),
            keeps: topic.keeps(),
            _ends: CancellationToken::new().drop_guard(),
        })
    }

    #[tokio::test]
    async fn a_reader_gets_each_frame_after_its_revision_and_hears_what_it_missed() {
        let feed = feed(&Topic::Object("k".to_owned()));
        for revision in 11..=14 {
            feed.push(Frame::put(revision, &revision));
        }
        let mut reader = Reader::of(Arc::clone(&feed), 12);
        for revision in 13..=14 {
            let Next::Frame(frame) = reader.next().await else {
                panic!("nothing was missed");
            };
            assert_eq!(frame.revision, revision);
        }
        for revision in 15..=50 {
            feed.push(Frame::delete(revision));
        }
        assert!(matches!(reader.next().await, Next::Missed(20)));
        assert!(!feed.reaches(33) && feed.reaches(34));
        let Next::Frame(frame) = reader.next().await else {
            panic!("it goes on from what is kept");
        };
        assert_eq!(frame.revision, 35);
    }

    #[test]
    fn what_is_kept_is_bounded_in_bytes() {
        let feed = feed(&Topic::Events);
        let text = "x".repeat(100_000);
        for revision in 11..=100 {
            feed.push(Frame::put(revision, &text));
        }
        let kept = feed.lock();
        assert!(kept.bytes <= 1 << 20, "{}", kept.bytes);
        assert!(kept.frames.len() > 5);
        drop(kept);
        let large = "x".repeat(3 << 20);
        feed.push(Frame::put(101, &large));
        assert_eq!(feed.lock().frames.len(), 1);
    }
}
