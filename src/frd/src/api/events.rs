//! `/v1/events`: what happened, for people; listed or followed.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use fm_api::event::Event;
use fm_api::http::ListBody;
use fm_api::keys;
use fm_store::{Change, Entry, StoreError};
use futures_util::{StreamExt, stream};
use serde::Deserialize;

use super::doors::Shared;
use super::error::ApiError;
use super::extract::{From, Params};
use super::feed::{Frame, Gone, Pen, Topic};
use super::stored::decode;
use super::watch::{self, Place, WatchQuery};

/// The most events of one answer.
const LIMIT: usize = 10_000;
/// So many are read at a time for who follows them.
const PAGE: usize = 200;
const PAUSE: std::time::Duration = std::time::Duration::from_secs(1);

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct EventQuery {
    namespace: Option<String>,
    name: Option<String>,
    limit: Option<usize>,
    watch: bool,
    revision: Option<u64>,
}

impl EventQuery {
    fn asks_for(&self, event: &Event) -> bool {
        self.is_about(&event.namespace, &event.name)
    }

    fn is_about(&self, namespace: &str, name: &str) -> bool {
        let fits =
            |asked: &Option<String>, found| asked.as_ref().is_none_or(|asked| asked == found);
        fits(&self.namespace, namespace) && fits(&self.name, name)
    }

    /// The newest events that are asked for, the newest last. One that was seen again is as new as that.
    fn select(&self, entries: &[Entry]) -> Vec<(u64, Event)> {
        let mut entries: Vec<&Entry> = entries.iter().collect();
        entries.sort_by(|a, b| (b.revision, &b.key).cmp(&(a.revision, &a.key)));
        let mut found: Vec<(u64, Event)> = entries
            .into_iter()
            .filter_map(|entry| decode::<Event>(entry).map(|event| (entry.revision, event)))
            .filter(|(_, event)| self.asks_for(event))
            .take(self.limit.unwrap_or(LIMIT).min(LIMIT))
            .collect();
        found.reverse();
        found
    }
}

pub(super) async fn list(
    State(api): State<Shared>,
    Params(query): Params<EventQuery>,
    From(caller): From,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    if query.watch {
        let watched = WatchQuery::from_revision(query.revision);
        let resume = watched.resume(&headers)?;
        let place = api.watchers.enter(caller)?;
        return follow(api, query, place, resume).await;
    }
    let listing = api.ctx.store.list(&keys::prefix("events")).await?;
    let items = query
        .select(&listing.entries)
        .into_iter()
        .map(|(_, event)| event)
        .collect();
    Ok(Json(ListBody {
        items,
        revision: listing.revision,
        more: None,
    })
    .into_response())
}

/// First what is there, page by page as its reader takes it, then what comes.
async fn follow(
    api: Shared,
    query: EventQuery,
    place: Place,
    resume: Option<u64>,
) -> Result<Response, ApiError> {
    let prefix = keys::prefix("events");
    // One key more than none: it is the revision that is asked for.
    let now = api.ctx.store.range(&prefix, &end(), 1).await?.revision;
    watch::check_past(resume.unwrap_or_default(), now)?;
    // What a feed still has needs no look into the store.
    let after = resume.filter(|after| api.feeds.reaches(&Topic::Events, *after));
    let first = match (after, query.limit) {
        (Some(_), _) => None,
        (None, None) => Some(prefix),
        (None, Some(_)) => {
            let listing = api.ctx.store.list(&prefix).await?;
            let chosen = query.select(&listing.entries);
            chosen.first().map(|(_, event)| keys::event(&event.id))
        }
    };
    let after = after.unwrap_or(now);
    let reader = api
        .feeds
        .read(&api, Topic::Events, after, |api, pen| async move {
            let mut seen = after;
            loop {
                if let Err(Gone) = write(&api, &mut seen, &pen).await {
                    return Gone;
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
    let (store, asked) = (Arc::clone(&api.ctx.store), query.clone());
    let since = resume.unwrap_or_default();
    let there = stream::unfold(first, move |from| {
        let (store, asked) = (Arc::clone(&store), asked.clone());
        async move {
            let from = from?;
            // A store that does not answer ends the stream: its reader comes again, and misses nothing.
            let page = store.range(&from, &end(), PAGE).await.ok()?;
            let next = page.entries.last().filter(|_| page.entries.len() == PAGE);
            // The smallest key after this one.
            let next = next.map(|entry| format!("{}\0", entry.key));
            let mut bytes = Vec::new();
            for entry in &page.entries {
                if entry.revision > since
                    && entry.revision <= now
                    && let Some(event) = decode::<Event>(entry)
                    && asked.asks_for(&event)
                {
                    bytes.extend_from_slice(&Frame::put(entry.revision, &event).bytes);
                }
            }
            Some((Bytes::from(bytes), next))
        }
    });
    let there = there.filter(|bytes| std::future::ready(!bytes.is_empty()));
    let coming = watch::frames(reader, true, move |frame| {
        frame
            .about
            .as_ref()
            .is_some_and(|(namespace, name)| query.is_about(namespace, name))
    });
    Ok(watch::response(&api, place, there.chain(coming)))
}

/// The first key that is no event's.
fn end() -> String {
    format!("{}events0", keys::ROOT)
}

/// Writes events after `seen`. Returns when the store cannot be read just now.
async fn write(api: &Shared, seen: &mut u64, pen: &Pen) -> Result<(), Gone> {
    let prefix = keys::prefix("events");
    let Ok(mut watch) = api.ctx.store.watch(&prefix, *seen + 1).await else {
        return Ok(());
    };
    loop {
        match watch.next().await {
            Some(Ok(changes)) => {
                // That an event is forgotten in time is no news.
                for change in &changes {
                    if let Change::Put(entry) = change {
                        pen_down(pen, entry)?;
                    }
                }
                *seen = changes.last().map_or(*seen, Change::revision);
            }
            Some(Err(StoreError::Compacted { .. })) => {
                let Ok(listing) = api.ctx.store.list(&prefix).await else {
                    return Ok(());
                };
                for entry in listing
                    .entries
                    .iter()
                    .filter(|entry| entry.revision > *seen)
                {
                    pen_down(pen, entry)?;
                }
                *seen = listing.revision;
                return Ok(());
            }
            Some(Err(_)) | None => return Ok(()),
        }
    }
}

fn pen_down(pen: &Pen, entry: &Entry) -> Result<(), Gone> {
    let Some(event) = decode::<Event>(entry) else {
        return Ok(());
    };
    let mut frame = Frame::put(entry.revision, &event);
    frame.about = Some((event.namespace, event.name));
    pen.write(frame)
}
