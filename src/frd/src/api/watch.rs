//! `?watch=true`: server-sent events. Each carries the store's revision as its id, from which a reader resumes.
//!
//! A picture of many keys (`view`) is made anew at each change, so that resuming it is reading it again; single objects and
//! events are replayed from the revision asked for, or listed again when the store no longer keeps it. What several watch is
//! made once, see [`feed`](super::feed).

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use fm_api::keys::{self, ReleaseKey};
use fm_store::{Change, StoreError, Watch};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::mpsc;

use super::doors::Shared;
use super::error::ApiError;
use super::feed::{Frame, Gone, Next, Pen, Reader, Topic};
use super::read::VIEWED;
use super::stored::no_release;
use crate::door::Caller;

const HEARTBEAT: Duration = Duration::from_secs(10);
/// Changes come in bursts: one picture for all of them.
const BURST: Duration = Duration::from_millis(20);
/// How long after a failed read of the store it is read again.
const PAUSE: Duration = Duration::from_secs(1);
/// Watches at once: each holds a connection and some memory for as long as its reader likes.
const MOST: usize = 512;
const MOST_OF_A_CALLER: usize = 128;

/// The query of what can be watched.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct WatchQuery {
    pub(super) watch: bool,
    revision: Option<u64>,
}

impl WatchQuery {
    pub(super) const fn from_revision(revision: Option<u64>) -> Self {
        Self {
            watch: true,
            revision,
        }
    }

    /// The revision that the reader has seen already.
    pub(super) fn resume(&self, headers: &HeaderMap) -> Result<Option<u64>, ApiError> {
        match headers
            .get("last-event-id")
            .map(|value| value.to_str().unwrap_or("?"))
        {
            Some(text) if !text.is_empty() => text.trim().parse().map(Some).map_err(|_| {
                ApiError::request("Last-Event-ID is no revision of the store; allowed: a number")
            }),
            _ => Ok(self.revision),
        }
    }
}

/// Who watches, and how often.
#[derive(Default)]
pub(super) struct Watchers {
    open: Arc<Mutex<HashMap<Caller, usize>>>,
}

impl Watchers {
    /// One more watch of this caller, until what is given is dropped.
    pub(super) fn enter(&self, caller: Caller) -> Result<Place, ApiError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = open.values().sum();
        let theirs = open.entry(caller).or_default();
        if *theirs >= MOST_OF_A_CALLER {
            return Err(ApiError::too_many(format!(
                "you have {theirs} watches open, and that is the most: end some of them"
            )));
        }
        if all >= MOST {
            return Err(ApiError::unavailable(format!(
                "{all} watches are open, and that is the most: come again later"
            )));
        }
        *theirs += 1;
        Ok(Place {
            open: Arc::clone(&self.open),
            caller,
        })
    }

    pub(super) fn count(&self) -> usize {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.values().sum()
    }
}

/// One open watch.
pub(super) struct Place {
    open: Arc<Mutex<HashMap<Caller, usize>>>,
    caller: Caller,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.caller) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.caller);
            }
        }
    }
}

/// A stream of server-sent events, with a sign of life where nothing happens. It ends with the daemon.
pub(super) fn response<S>(api: &Shared, place: Place, events: S) -> Response
where
    S: stream::Stream<Item = Bytes> + Send + 'static,
{
    let (shutdown, events) = (api.ctx.shutdown.clone(), Box::pin(events));
    let pieces = stream::unfold((events, place), move |(mut events, place)| {
        let shutdown = shutdown.clone();
        async move {
            let piece = tokio::select! {
                piece = events.next() => piece?,
                () = tokio::time::sleep(HEARTBEAT) => Bytes::from_static(b":\n\n"),
                // An open stream would hold up the daemon's end.
                () = shutdown.cancelled() => return None,
            };
            Some((Ok::<_, Infallible>(piece), (events, place)))
        }
    });
    let head = [
        ("content-type", "text/event-stream"),
        ("cache-control", "no-cache"),
    ];
    (head, Body::from_stream(pieces)).into_response()
}

/// What a reader of a feed gets. One of single changes that was too slow hears so, and has to begin anew.
pub(super) fn frames(
    reader: Reader,
    lossless: bool,
    wanted: impl Fn(&Frame) -> bool + Send + 'static,
) -> impl stream::Stream<Item = Bytes> + Send {
    stream::unfold(Some((reader, wanted)), move |state| async move {
        let (mut reader, wanted) = state?;
        loop {
            match reader.next().await {
                Next::Frame(frame) if wanted(&frame) => {
                    return Some((frame.bytes.clone(), Some((reader, wanted))));
                }
                Next::Missed(count) if lossless => {
                    tracing::info!(
                        "a watcher read too slowly and missed {count} events: it is sent away"
                    );
                    let words = format!(
                        "event: error\ndata: {{\"message\":\"you read too slowly: {count} events are no longer kept here; watch again from the last id you have\"}}\n\n"
                    );
                    return Some((words.into(), None));
                }
                Next::Frame(_) | Next::Missed(_) => {}
            }
        }
    })
}

/// What is told to one reader alone.
pub(super) struct Sink {
    sender: mpsc::Sender<Bytes>,
}

impl Sink {
    /// A stream that this task feeds, until the reader goes or the daemon stops.
    pub(super) fn stream<F, Fut>(api: Shared, place: Place, feed: F) -> Response
    where
        F: FnOnce(Shared, Sink) -> Fut + Send + 'static,
        Fut: Future<Output = Gone> + Send + 'static,
    {
        let (sender, receiver) = mpsc::channel(16);
        let (closed, shutdown) = (sender.clone(), api.ctx.shutdown.clone());
        let shared = Arc::clone(&api);
        tokio::spawn(async move {
            tokio::select! {
                Gone = feed(shared, Sink { sender }) => {}
                () = closed.closed() => {}
                () = shutdown.cancelled() => {}
            }
        });
        let events = tokio_stream::wrappers::ReceiverStream::new(receiver);
        response(&api, place, events)
    }

    pub(super) async fn put<T: Serialize>(&self, revision: u64, value: &T) -> Result<(), Gone> {
        let bytes = Frame::put(revision, value).bytes;
        self.sender.send(bytes).await.map_err(|_| Gone)
    }
}

/// A revision that the store has not come to yet names no place to go on from: another store, or a slip of the pen.
pub(super) fn check_past(resume: u64, now: u64) -> Result<(), ApiError> {
    if resume <= now {
        return Ok(());
    }
    Err(ApiError::gone(format!(
        "revision {resume} has not been yet, the store is at {now}: watch without a revision"
    )))
}

pub(super) async fn release(
    api: Shared,
    key: ReleaseKey,
    place: Place,
    resume: Option<u64>,
) -> Result<Response, ApiError> {
    let path = key.release();
    object(api, key, path, place, resume).await
}

pub(super) async fn status(
    api: Shared,
    key: ReleaseKey,
    place: Place,
    resume: Option<u64>,
) -> Result<Response, ApiError> {
    let path = key.status();
    object(api, key, path, place, resume).await
}

async fn object(
    api: Shared,
    key: ReleaseKey,
    path: String,
    place: Place,
    resume: Option<u64>,
) -> Result<Response, ApiError> {
    let listing = api.ctx.store.list(&path).await?;
    let (first, after) = if let Some(resume) = resume {
        check_past(resume, listing.revision)?;
        (None, resume)
    } else {
        let mut entries = listing.entries.iter();
        let entry = entries.find(|entry| entry.key == path);
        if entry.is_none() {
            api.must_exist(&key).await?;
        }
        let shown = entry.map(|entry| Frame::put(entry.revision, &stored(&entry.value)).bytes);
        (shown, listing.revision)
    };
    let topic = Topic::Object(path.clone());
    let reader = api.feeds.read(&api, topic, after, |api, pen| async move {
        let mut seen = after;
        loop {
            if let Err(Gone) = follow_object(&api, &path, &mut seen, &pen).await {
                return Gone;
            }
            tokio::time::sleep(PAUSE).await;
        }
    });
    let events = stream::iter(first).chain(frames(reader, false, |_| true));
    Ok(response(&api, place, events))
}

/// As it is stored: also what this version cannot read.
fn stored(value: &[u8]) -> Value {
    serde_json::from_slice(value).unwrap_or_default()
}

/// Writes one key's changes after `seen`. Returns when the store cannot be read just now.
async fn follow_object(api: &Shared, path: &str, seen: &mut u64, pen: &Pen) -> Result<(), Gone> {
    let Ok(mut watch) = api.ctx.store.watch(path, *seen + 1).await else {
        return Ok(());
    };
    loop {
        match watch.next().await {
            Some(Ok(changes)) => {
                for change in changes.iter().filter(|change| change.key() == path) {
                    pen.write(match change {
                        Change::Put(entry) => Frame::put(entry.revision, &stored(&entry.value)),
                        Change::Deleted { revision, .. } => Frame::delete(*revision),
                    })?;
                }
                *seen = changes.last().map_or(*seen, Change::revision);
            }
            Some(Err(StoreError::Compacted { .. })) => return relist(api, path, seen, pen).await,
            Some(Err(_)) | None => return Ok(()),
        }
    }
}

/// What happened since is no longer kept: the object as it is now, or that it has gone.
async fn relist(api: &Shared, path: &str, seen: &mut u64, pen: &Pen) -> Result<(), Gone> {
    let Ok(listing) = api.ctx.store.list(path).await else {
        return Ok(());
    };
    let mut entries = listing.entries.iter();
    match entries.find(|entry| entry.key == path) {
        None => pen.write(Frame::delete(listing.revision))?,
        Some(entry) if entry.revision > *seen => {
            pen.write(Frame::put(entry.revision, &stored(&entry.value)))?;
        }
        Some(_) => {}
    }
    *seen = listing.revision;
    Ok(())
}

pub(super) async fn view(
    api: Shared,
    key: ReleaseKey,
    place: Place,
    resume: Option<u64>,
) -> Result<Response, ApiError> {
    match resume {
        None => {
            if !api.is_there(&key).await? {
                return Err(no_release(&key));
            }
        }
        Some(resume) => check_past(resume, api.ctx.store.list(&key.release()).await?.revision)?,
    }
    // The feed may still say that a namesake has gone.
    let there = AtomicBool::new(resume.is_some());
    let about = key.clone();
    let reader = api
        .feeds
        .read(&api, Topic::View(key), 0, |api, pen| async move {
            loop {
                if let Err(Gone) = follow_view(&api, &about, &pen).await {
                    return Gone;
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
    let events = frames(reader, false, move |frame| {
        there.fetch_or(frame.put, Ordering::Relaxed) || frame.put
    });
    Ok(response(&api, place, events))
}

async fn follow_view(api: &Shared, key: &ReleaseKey, pen: &Pen) -> Result<(), Gone> {
    let Ok(from) = send_view(api, key, pen).await? else {
        return Ok(());
    };
    let mut watches: Vec<BoxStream<'static, bool>> = Vec::new();
    for kind in VIEWED {
        let prefix = format!("{}{key}", keys::prefix(kind));
        let Ok(watch) = api.ctx.store.watch(&prefix, from + 1).await else {
            return Ok(());
        };
        watches.push(touches(watch, key.clone()).boxed());
    }
    let mut changes = stream::select_all(watches);
    let mut seconds = tokio::time::interval(PAUSE);
    let mut lost = false;
    loop {
        // A store that takes no writes changes nothing: that what is shown grows old must be told all the same.
        let touched = tokio::select! {
            touched = changes.next() => match touched {
                Some(touched) => touched,
                None => break,
            },
            _ = seconds.tick() => {
                let now = api.ctx.store.health().problem().is_some();
                std::mem::replace(&mut lost, now) != now
            }
        };
        if !touched {
            continue;
        }
        tokio::time::sleep(BURST).await;
        // What came meanwhile is in the picture that is made now.
        while let Some(Some(_)) = futures_util::FutureExt::now_or_never(changes.next()) {}
        if send_view(api, key, pen).await?.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// Whether each batch of changes speaks of this release; it ends when the watch does, or fails.
fn touches(watch: Watch, key: ReleaseKey) -> impl futures_util::Stream<Item = bool> + Send {
    stream::unfold((watch, key), |(mut watch, key)| async move {
        let changes = watch.next().await?.ok()?;
        let touched = changes
            .iter()
            .any(|change| ReleaseKey::of(change.key()).as_ref() == Some(&key));
        Some((touched, (watch, key)))
    })
}

/// Writes the picture as it is now; the inner error: the store cannot be read just now.
async fn send_view(api: &Shared, key: &ReleaseKey, pen: &Pen) -> Result<Result<u64, ()>, Gone> {
    match api.view(key).await {
        Ok(Some((revision, view))) => {
            pen.write(Frame::put(revision, &view))?;
            Ok(Ok(revision))
        }
        Ok(None) => {
            let Ok(listing) = api.ctx.store.list(&key.release()).await else {
                return Ok(Err(()));
            };
            pen.write(Frame::delete(listing.revision))?;
            Ok(Ok(listing.revision))
        }
        Err(_) => Ok(Err(())),
    }
}
