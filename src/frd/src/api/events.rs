//! `/v1/events`: what happened, for people; listed or followed.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use fm_api::event::Event;
use fm_api::http::ListBody;
use fm_api::keys;
use fm_store::{Change, Entry, StoreError};
use serde::Deserialize;

use super::doors::Shared;
use super::error::ApiError;
use super::extract::Params;
use super::stored::decode;
use super::watch::{Gone, Sink, WatchQuery};

/// The most events of one answer.
const LIMIT: usize = 10_000;
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
        self.namespace
            .as_ref()
            .is_none_or(|namespace| *namespace == event.namespace)
            && self.name.as_ref().is_none_or(|name| *name == event.name)
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
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    if query.watch {
        let watched = WatchQuery::from_revision(query.revision);
        let resume = watched.resume(&headers)?;
        return Ok(Sink::stream(api, move |api, sink| async move {
            let mut seen = resume;
            loop {
                if let Err(Gone) = follow(&api, &query, &mut seen, &sink).await {
                    return Gone;
                }
                tokio::time::sleep(PAUSE).await;
            }
        }));
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
    })
    .into_response())
}

/// Sends events after `seen`. Returns when the store cannot be read just now.
async fn follow(
    api: &Shared,
    query: &EventQuery,
    seen: &mut Option<u64>,
    sink: &Sink,
) -> Result<(), Gone> {
    let prefix = keys::prefix("events");
    if seen.is_none() {
        list_since(api, query, 0, seen, sink).await?;
    }
    let Some(from) = *seen else { return Ok(()) };
    let Ok(mut watch) = api.ctx.store.watch(&prefix, from + 1).await else {
        return Ok(());
    };
    loop {
        match watch.next().await {
            Some(Ok(changes)) => {
                for change in &changes {
                    // That an event is forgotten in time is no news.
                    if let Change::Put(entry) = change
                        && let Some(event) = decode::<Event>(entry)
                        && query.asks_for(&event)
                    {
                        sink.put(entry.revision, &event).await?;
                    }
                }
                *seen = changes.last().map(Change::revision).or(*seen);
            }
            Some(Err(StoreError::Compacted { .. })) => {
                list_since(api, query, from, seen, sink).await?;
                return Ok(());
            }
            Some(Err(_)) | None => return Ok(()),
        }
    }
}

async fn list_since(
    api: &Shared,
    query: &EventQuery,
    after: u64,
    seen: &mut Option<u64>,
    sink: &Sink,
) -> Result<(), Gone> {
    let Ok(listing) = api.ctx.store.list(&keys::prefix("events")).await else {
        return Ok(());
    };
    for (revision, event) in query.select(&listing.entries) {
        if revision > after {
            sink.put(revision, &event).await?;
        }
    }
    *seen = Some(listing.revision);
    Ok(())
}
