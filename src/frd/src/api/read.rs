//! Reading: everything about one release in one picture, and its parts.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use fm_api::http::{ListBody, View};
use fm_api::job::JobObserved;
use fm_api::keys::{self, ReleaseKey, RevisionId};
use fm_api::log::KeptLog;
use fm_api::observed::HaproxyObserved;
use fm_api::target::RevisionRecord;
use fm_store::Entry;
use serde_json::{Value, json};

use super::Api;
use super::doors::Shared;
use super::error::{Answer, ApiError};
use super::extract::{From, Key, Params};
use super::releases::part;
use super::stored::{decode, no_release};
use super::watch::{self, WatchQuery};

/// The folders of the store that make up a [`View`].
pub(super) const VIEWED: [&str; 5] = ["releases", "targets", "status", "verdicts", "observed"];

impl Api {
    /// Everything about one release, and the revision of the store from which a watch misses nothing; `None`: there is none.
    pub(super) async fn view(&self, key: &ReleaseKey) -> Result<Option<(u64, View)>, ApiError> {
        let mut view = empty(key);
        view.stale = self.ctx.store.health().problem();
        let mut revision = u64::MAX;
        let (mut there, mut invalid) = (false, false);
        for kind in VIEWED {
            let listing = self
                .ctx
                .store
                .list(&format!("{}{key}", keys::prefix(kind)))
                .await?;
            revision = revision.min(listing.revision);
            for entry in listing
                .entries
                .iter()
                .filter(|e| ReleaseKey::of(&e.key).as_ref() == Some(key))
            {
                there |= kind == "releases" || kind == "targets";
                invalid |= !fill(&mut view, key, entry);
            }
        }
        if invalid {
            tracing::debug!(%key, "a part of what is stored cannot be read");
        }
        Ok(there.then_some((revision, view)))
    }
}

impl Api {
    /// Whether there is anything to show of it.
    pub(super) async fn is_there(&self, key: &ReleaseKey) -> Result<bool, ApiError> {
        let store = &self.ctx.store;
        Ok(store.get(&key.release()).await?.is_some() || store.get(&key.target()).await?.is_some())
    }
}

pub(super) fn empty(key: &ReleaseKey) -> View {
    View {
        namespace: key.namespace().to_owned(),
        name: key.name().to_owned(),
        release: None,
        status: None,
        verdict: None,
        swarm: None,
        haproxy: BTreeMap::new(),
        jobs: BTreeMap::new(),
        logs: BTreeMap::new(),
        target: None,
        stale: None,
    }
}

/// Puts a stored object into its place; `false` when it cannot be read.
pub(super) fn fill(view: &mut View, key: &ReleaseKey, entry: &Entry) -> bool {
    fn take<T: serde::de::DeserializeOwned>(place: &mut Option<T>, entry: &Entry) -> bool {
        *place = decode(entry);
        place.is_some()
    }
    let text = entry.key.as_str();
    if text == key.release() {
        take(&mut view.release, entry)
    } else if text == key.target() {
        take(&mut view.target, entry)
    } else if text == key.status() {
        take(&mut view.status, entry)
    } else if text == key.observed_swarm() {
        take(&mut view.swarm, entry)
    } else if text == key.verdict() {
        let read = take(&mut view.verdict, entry);
        if let Some(verdict) = &mut view.verdict {
            verdict.state = Value::Null;
        }
        read
    } else if let Some(instance) = text.strip_prefix(&key.observed_haproxy_prefix()) {
        let seen: Option<HaproxyObserved> = decode(entry);
        let read = seen.is_some();
        view.haproxy
            .extend(seen.map(|seen| (instance.to_owned(), seen)));
        read
    } else if let Some(measurement) = text.strip_prefix(&key.observed_jobs_prefix()) {
        let seen: Option<JobObserved> = decode(entry);
        let read = seen.is_some();
        view.jobs
            .extend(seen.map(|seen| (measurement.to_owned(), seen)));
        read
    } else if let Some(revision) = text.strip_prefix(&key.observed_logs_prefix()) {
        let kept: Option<KeptLog> = decode(entry);
        let read = kept.is_some();
        view.logs
            .extend(kept.map(|kept| (RevisionId::new(revision), kept)));
        read
    } else {
        true
    }
}

pub(super) async fn view(
    State(api): State<Shared>,
    Key(key): Key,
    Params(query): Params<WatchQuery>,
    From(caller): From,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    if query.watch {
        let place = api.watchers.enter(caller)?;
        return watch::view(api, key, place, query.resume(&headers)?).await;
    }
    let (_, view) = api.view(&key).await?.ok_or_else(|| no_release(&key))?;
    Ok(Json(view).into_response())
}

pub(super) async fn status(
    State(api): State<Shared>,
    Key(key): Key,
    Params(query): Params<WatchQuery>,
    From(caller): From,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    if query.watch {
        let place = api.watchers.enter(caller)?;
        return watch::status(api, key, place, query.resume(&headers)?).await;
    }
    Ok(part(&api, &key, &key.status(), "status")
        .await?
        .into_response())
}

pub(super) async fn verdict(State(api): State<Shared>, Key(key): Key) -> Answer<Value> {
    part(&api, &key, &key.verdict(), "verdict").await
}

pub(super) async fn target(State(api): State<Shared>, Key(key): Key) -> Answer<Value> {
    part(&api, &key, &key.target(), "target").await
}

pub(super) async fn observed(State(api): State<Shared>, Key(key): Key) -> Answer<Value> {
    let (_, view) = api.view(&key).await?.ok_or_else(|| no_release(&key))?;
    Ok(Json(
        json!({ "swarm": view.swarm, "haproxy": view.haproxy }),
    ))
}

pub(super) async fn revisions(
    State(api): State<Shared>,
    Key(key): Key,
) -> Answer<ListBody<RevisionRecord>> {
    let (revision, items) = api.records(&key).await?;
    if items.is_empty() {
        api.must_exist(&key).await?;
    }
    Ok(Json(ListBody {
        items,
        revision,
        more: None,
    }))
}
