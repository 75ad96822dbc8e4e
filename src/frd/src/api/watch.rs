//! `?watch=true`: server-sent events. Each carries the store's revision as its id, from which a reader resumes.
//!
//! A picture of many keys (`view`) is made anew at each change, so that resuming it is reading it again; single objects and
//! events are replayed from the revision asked for, or listed again when the store no longer keeps it.

use std::convert::Infallible;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use fm_api::keys::{self, ReleaseKey};
use fm_store::{Change, StoreError, Watch};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::doors::Shared;
use super::error::ApiError;
use super::read::VIEWED;
use super::stored::no_release;

const HEARTBEAT: Duration = Duration::from_secs(10);
/// Changes come in bursts: one picture for all of them.
const BURST: Duration = Duration::from_millis(20);
/// How long after a failed read of the store it is read again.
const PAUSE: Duration = Duration::from_secs(1);

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

/// Where a stream's events go.
pub(super) struct Sink {
    sender: mpsc::Sender<Event>,
}

/// The reader has gone, or the daemon stops.
pub(super) struct Gone;

impl Sink {
    /// A stream that this task feeds, until the reader goes or the daemon stops.
    pub(super) fn stream<F, Fut>(api: Shared, feed: F) -> Response
    where
        F: FnOnce(Shared, Sink) -> Fut + Send + 'static,
        Fut: Future<Output = Gone> + Send + 'static,
    {
        let (sender, receiver) = mpsc::channel(16);
        let (closed, shutdown) = (sender.clone(), api.ctx.shutdown.clone());
        tokio::spawn(async move {
            // Dropping the sink ends the stream, and with it the connection: an open one would hold up the daemon's end.
            tokio::select! {
                _ = feed(api, Sink { sender }) => {}
                () = closed.closed() => {}
                () = shutdown.cancelled() => {}
            }
        });
        let stream = ReceiverStream::new(receiver).map(Ok::<Event, Infallible>);
        Sse::new(stream)
            .keep_alive(KeepAlive::new().interval(HEARTBEAT).text(""))
            .into_response()
    }

    pub(super) async fn put<T: Serialize>(&self, revision: u64, value: &T) -> Result<(), Gone> {
        // Our own objects serialize without failing.
        let data = serde_json::to_string(value).unwrap_or_default();
        self.send(
            Event::default()
                .event("put")
                .id(revision.to_string())
                .data(data),
        )
        .await
    }

    async fn delete(&self, revision: u64) -> Result<(), Gone> {
        self.send(
            Event::default()
                .event("delete")
                .id(revision.to_string())
                .data("{}"),
        )
        .await
    }

    async fn send(&self, event: Event) -> Result<(), Gone> {
        self.sender.send(event).await.map_err(|_| Gone)
    }
}

pub(super) async fn release(
    api: Shared,
    key: ReleaseKey,
    resume: Option<u64>,
) -> Result<Response, ApiError> {
    let path = key.release();
    object(api, key, path, resume).await
}

pub(super) async fn status(
    api: Shared,
    key: ReleaseKey,
    resume: Option<u64>,
) -> Result<Response, ApiError> {
    let path = key.status();
    object(api, key, path, resume).await
}

async fn object(
    api: Shared,
    key: ReleaseKey,
    path: String,
    resume: Option<u64>,
) -> Result<Response, ApiError> {
    if resume.is_none() && api.ctx.store.get(&path).await?.is_none() {
        api.must_exist(&key).await?;
    }
    Ok(Sink::stream(api, move |api, sink| async move {
        let mut seen = resume;
        loop {
            if let Err(Gone) = follow_object(&api, &path, &mut seen, &sink).await {
                return Gone;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }))
}

/// Sends one key's changes after `seen`. Returns when the store cannot be read just now.
async fn follow_object(
    api: &Shared,
    path: &str,
    seen: &mut Option<u64>,
    sink: &Sink,
) -> Result<(), Gone> {
    let store = &api.ctx.store;
    let from = match *seen {
        Some(revision) => revision,
        None => {
            let Ok(listing) = store.list(path).await else {
                return Ok(());
            };
            if let Some(entry) = listing.entries.iter().find(|entry| entry.key == path) {
                let value: Value = serde_json::from_slice(&entry.value).unwrap_or_default();
                sink.put(entry.revision, &value).await?;
            }
            *seen = Some(listing.revision);
            listing.revision
        }
    };
    let Ok(mut watch) = store.watch(path, from + 1).await else {
        return Ok(());
    };
    loop {
        match watch.next().await {
            Some(Ok(changes)) => {
                for change in changes.iter().filter(|change| change.key() == path) {
                    match change {
                        Change::Put(entry) => {
                            let value: Value =
                                serde_json::from_slice(&entry.value).unwrap_or_default();
                            sink.put(entry.revision, &value).await?;
                        }
                        Change::Deleted { revision, .. } => sink.delete(*revision).await?,
                    }
                }
                *seen = changes.last().map(Change::revision).or(*seen);
            }
            Some(Err(StoreError::Compacted { .. })) => return relist(api, path, seen, sink).await,
            Some(Err(_)) | None => return Ok(()),
        }
    }
}

/// What happened since is no longer kept: the object as it is now, or that it has gone.
async fn relist(api: &Shared, path: &str, seen: &mut Option<u64>, sink: &Sink) -> Result<(), Gone> {
    let Ok(listing) = api.ctx.store.list(path).await else {
        return Ok(());
    };
    if listing.entries.iter().all(|entry| entry.key != path) {
        sink.delete(listing.revision).await?;
        *seen = Some(listing.revision);
    } else {
        *seen = None;
    }
    Ok(())
}

pub(super) async fn view(
    api: Shared,
    key: ReleaseKey,
    resume: Option<u64>,
) -> Result<Response, ApiError> {
    if resume.is_none() && api.view(&key).await?.is_none() {
        return Err(no_release(&key));
    }
    Ok(Sink::stream(api, move |api, sink| async move {
        loop {
            if let Err(Gone) = follow_view(&api, &key, &sink).await {
                return Gone;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }))
}

async fn follow_view(api: &Shared, key: &ReleaseKey, sink: &Sink) -> Result<(), Gone> {
    let Ok(from) = send_view(api, key, sink).await? else {
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
        if send_view(api, key, sink).await?.is_err() {
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

/// Sends the picture as it is now; the inner error: the store cannot be read just now.
async fn send_view(api: &Shared, key: &ReleaseKey, sink: &Sink) -> Result<Result<u64, ()>, Gone> {
    match api.view(key).await {
        Ok(Some((revision, view))) => {
            sink.put(revision, &view).await?;
            Ok(Ok(revision))
        }
        Ok(None) => {
            let Ok(listing) = api.ctx.store.list(&key.release()).await else {
                return Ok(Err(()));
            };
            sink.delete(listing.revision).await?;
            Ok(Ok(listing.revision))
        }
        Err(_) => Ok(Err(())),
    }
}
