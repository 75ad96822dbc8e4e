//! `/v1/edges…`: every HAProxy with its agent; one that is gone for good is forgotten, one that is taken out drains.
//!
//! What must never happen: a live edge forgotten, so that tasks go while its HAProxy leads to them.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use fm_api::edge::{Accepted, Edge, EdgeRecord, EdgeRelease, Edges};
use fm_api::event::Severity;
use fm_api::keys::{self, ReleaseKey};
use fm_api::observed::{Agent, HaproxyObserved};
use fm_api::status::{EdgeGone, Status};
use fm_store::{Entry, Expect, Txn};

use super::Api;
use super::doors::Shared;
use super::error::{Answer, ApiError};
use super::extract::Who;
use super::stored::{decode, encode};

/// Reports that are removed in one transaction: etcd takes 128 operations.
const AT_ONCE: usize = 100;

pub(super) async fn list(State(api): State<Shared>) -> Answer<Edges> {
    Ok(Json(Edges {
        items: api.edges().await?,
    }))
}

pub(super) async fn forget(
    State(api): State<Shared>,
    Who(who): Who,
    Path(name): Path<String>,
) -> Answer<Edge> {
    let edge = api.edge(&name).await?;
    if edge.live {
        return Err(ApiError::refused(format!(
            "{name} is alive, so its HAProxy serves: stop its frd and HAProxy first; an edge is forgotten once its agent is gone"
        )));
    }
    let reports = api.reports_of(&name).await?;
    for some in reports.chunks(AT_ONCE) {
        // Fenced by its absence: one that comes back meanwhile is not forgotten.
        let txn = Txn::new().expect(Expect::Absent(keys::agent(&name)));
        let txn = some.iter().fold(txn, |txn, key| txn.delete(key.clone()));
        api.ctx.store.commit(txn).await?;
    }
    let txn = Txn::new().expect(Expect::Absent(keys::agent(&name)));
    api.ctx.store.commit(txn.delete(keys::edge(&name))).await?;
    let message = format!(
        "{who} said that the edge {name} is gone for good: nothing waits for its HAProxy any more ({} releases)",
        edge.releases.len()
    );
    api.recorder
        .record(None, Severity::Normal, "EdgeForgotten", message)
        .await;
    Ok(Json(edge))
}

pub(super) async fn drain(
    State(api): State<Shared>,
    Who(who): Who,
    Path(name): Path<String>,
) -> Result<(StatusCode, Json<Edge>), ApiError> {
    let all = api.edges().await?;
    let mut edge = api.edge(&name).await?;
    let others = |other: &&Edge| other.live && other.draining.is_none() && other.name != name;
    if edge.live && all.iter().find(others).is_none() {
        return Err(ApiError::refused(format!(
            "{name} is the only live edge that does not drain: without another one no share could rise"
        )));
    }
    if edge.draining.is_none() {
        let word = EdgeRecord {
            draining_since: api.ctx.clock.now(),
            by: who.clone(),
        };
        let txn = Txn::new().put(keys::edge(&name), encode(&word)?);
        api.ctx.store.commit(txn).await?;
        let message = format!(
            "{who} said that the edge {name} is to be taken out: no rollout waits for it any more"
        );
        api.recorder
            .record(None, Severity::Normal, "EdgeDrains", message)
            .await;
        edge.draining = Some(word);
    }
    Ok((StatusCode::OK, Json(edge)))
}

pub(super) async fn undrain(
    State(api): State<Shared>,
    Who(who): Who,
    Path(name): Path<String>,
) -> Answer<Edge> {
    let mut edge = api.edge(&name).await?;
    if edge.draining.take().is_some() {
        let txn = Txn::new().delete(keys::edge(&name));
        api.ctx.store.commit(txn).await?;
        let message = format!("{who} said that the edge {name} stays: rollouts wait for it again");
        api.recorder
            .record(None, Severity::Normal, "EdgeStays", message)
            .await;
    }
    Ok(Json(edge))
}

/// What the edge keeps against the state of the world is given up, by a person's word.
pub(super) async fn accept(
    State(api): State<Shared>,
    Who(who): Who,
    Path(name): Path<String>,
) -> Answer<Edge> {
    let edge = api.edge(&name).await?;
    let kept: Vec<String> = (edge.troubles.iter())
        .filter_map(|trouble| trouble.keeps.clone())
        .collect();
    if kept.is_empty() {
        return Err(ApiError::refused(format!(
            "{name} keeps nothing that waits for a person: there is nothing to accept"
        )));
    }
    let word = Accepted {
        kept,
        at: api.ctx.clock.now(),
        by: who.clone(),
    };
    let txn = Txn::new().put(keys::accepted(&name), encode(&word)?);
    api.ctx.store.commit(txn).await?;
    let what: Vec<&str> = (edge.troubles.iter())
        .filter(|trouble| trouble.keeps.is_some())
        .map(|trouble| trouble.message.as_str())
        .collect();
    let message = format!(
        "{who} said that {name} may give up what it kept: {}",
        what.join("; ")
    );
    api.recorder
        .record(None, Severity::Normal, "EdgeAccepted", message)
        .await;
    Ok(Json(edge))
}

impl Api {
    async fn edge(&self, name: &str) -> Result<Edge, ApiError> {
        let all = self.edges().await?;
        let known: Vec<String> = all.iter().map(|edge| edge.name.clone()).collect();
        all.into_iter()
            .find(|edge| edge.name == name)
            .ok_or_else(|| {
                let known = if known.is_empty() {
                    "there is none".to_owned()
                } else {
                    format!("there are: {}", known.join(", "))
                };
                ApiError::not_found(format!("no edge is called {name}; {known}"))
            })
    }

    /// The keys of everything that an edge has reported.
    async fn reports_of(&self, name: &str) -> Result<Vec<String>, ApiError> {
        let seen = self.ctx.store.list(&keys::prefix("observed")).await?;
        let all = seen.entries.iter().filter_map(report);
        Ok(all
            .filter(|(_, instance, _)| instance == name)
            .map(|(key, instance, _)| key.observed_haproxy(&instance))
            .collect())
    }

    /// Every edge that lives, has reported, or was spoken of.
    pub(super) async fn edges(&self) -> Result<Vec<Edge>, ApiError> {
        let store = &self.ctx.store;
        let agents = store.list(&keys::prefix("agents")).await?;
        let words = store.list(&keys::prefix("edges")).await?;
        let observed = store.list(&keys::prefix("observed")).await?;
        let status = store.list(&keys::prefix("status")).await?;
        let live: BTreeMap<String, Agent> = named(&agents.entries);
        let words: BTreeMap<String, EdgeRecord> = named(&words.entries);
        let gone = gone(&status.entries);
        let mut releases: BTreeMap<String, Vec<EdgeRelease>> = BTreeMap::new();
        for (key, instance, seen) in observed.entries.iter().filter_map(report) {
            let keeps = gone
                .get(&(key.clone(), instance.clone()))
                .map(|edge| edge.keeps.clone());
            let split = seen.traffic.as_ref();
            releases.entry(instance).or_default().push(EdgeRelease {
                namespace: key.namespace().to_owned(),
                name: key.name().to_owned(),
                leads: split
                    .map(|split| {
                        let canary = split.canary.clone();
                        std::iter::once(split.stable.clone())
                            .chain(canary)
                            .collect()
                    })
                    .unwrap_or_default(),
                keeps: keeps.unwrap_or_default(),
            });
        }
        let names: BTreeSet<&String> = live
            .keys()
            .chain(words.keys())
            .chain(releases.keys())
            .collect();
        Ok(names
            .into_iter()
            .map(|name| {
                let agent = live.get(name);
                let since = gone.iter().filter(|((_, edge), _)| edge == name);
                let since = since.map(|(_, edge)| edge.since).min();
                Edge {
                    name: name.clone(),
                    live: agent.is_some(),
                    since: agent.map(|agent| agent.since).or(since),
                    version: agent.map(|a| a.version.clone()).unwrap_or_default(),
                    haproxy: agent.map(|a| a.haproxy.clone()).unwrap_or_default(),
                    draining: words.get(name).cloned(),
                    releases: releases.get(name).cloned().unwrap_or_default(),
                    problem: agent.and_then(|agent| agent.problem.clone()),
                    troubles: agent.map(|a| a.troubles.clone()).unwrap_or_default(),
                }
            })
            .collect())
    }
}

/// Entries by the last part of their keys.
pub(super) fn named<T: serde::de::DeserializeOwned>(entries: &[Entry]) -> BTreeMap<String, T> {
    let each = entries.iter();
    each.filter_map(|entry| Some((entry.key.rsplit('/').next()?.to_owned(), decode(entry)?)))
        .collect()
}

/// A report of an agent on a release.
fn report(entry: &Entry) -> Option<(ReleaseKey, String, HaproxyObserved)> {
    let key = ReleaseKey::of(&entry.key)?;
    let instance = entry
        .key
        .strip_prefix(&key.observed_haproxy_prefix())?
        .to_owned();
    Some((key, instance, decode(entry)?))
}

/// What promotion says of edges that are gone, by release and edge.
fn gone(status: &[Entry]) -> BTreeMap<(ReleaseKey, String), EdgeGone> {
    let each = status.iter().filter_map(|entry| {
        let key = ReleaseKey::of(&entry.key)?;
        Some((key, decode::<Status>(entry)?.edges_gone))
    });
    each.flat_map(|(key, edges)| {
        edges
            .into_iter()
            .map(move |edge| ((key.clone(), edge.name.clone()), edge))
    })
    .collect()
}
