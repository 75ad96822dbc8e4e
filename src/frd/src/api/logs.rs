//! `…/logs`: what a release's tasks write, a JSON object a line.
//!
//! Docker is asked now, nothing is kept here; of a revision whose tasks are gone the last words that were kept are given.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use fm_api::keys::{ReleaseKey, RevisionId};
use fm_api::log::{KeptLog, LogLine};
use fm_api::observed::SwarmObserved;
use fm_api::target::{RevisionRecord, Target};
use fm_swarm::{LogError, Logs, Part, Written};
use futures_util::StreamExt;
use jiff::Timestamp;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;

use super::Api;
use super::doors::Shared;
use super::error::ApiError;
use super::extract::{From, Key, Params};
use super::signals::moment;
use super::stored::decode;
use super::undo::named;
use super::watch::Place;

/// Lines of each task, unless more or fewer are asked for.
const TAIL: u32 = 100;
/// More lines of one task than this are not read at once.
const MOST_TAIL: u32 = 10_000;
/// How often somebody who follows is shown a revision that has come.
const LOOK: Duration = Duration::from_secs(1);
/// The header that says that not everything came.
const INCOMPLETE: &str = "x-incomplete";

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct LogQuery {
    follow: bool,
    tail: Option<u32>,
    since: Option<String>,
    side: Option<Side>,
    revision: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Side {
    Stable,
    Canary,
}

/// Whose logs are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Whose {
    Everybody,
    Side(Side),
    Revision(RevisionId),
}

/// A revision's service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Source {
    service: String,
    revision: RevisionId,
    number: u64,
}

pub(super) async fn logs(
    State(api): State<Shared>,
    Key(key): Key,
    Params(query): Params<LogQuery>,
    From(caller): From,
) -> Result<Response, ApiError> {
    let docker = api.here.logs.clone().ok_or_else(|| {
        ApiError::refused("this frd has no Docker to ask; ask one at a manager of the Swarm")
    })?;
    let tail = query.tail.unwrap_or(TAIL);
    if tail > MOST_TAIL {
        return Err(ApiError::request(format!(
            "tail: at most {MOST_TAIL} lines of each task"
        )));
    }
    let now = api.ctx.clock.now();
    let since = match &query.since {
        Some(text) => {
            let at = moment(text, now).and_then(|at| Timestamp::from_second(at).ok());
            Some(at.ok_or_else(|| {
                ApiError::request(format!(
                    "since: `{}` is no time; allowed: how long ago, such as 90s, 1h or 7d, or a time such as 2026-11-22T18:00:00Z",
                    text.escape_debug()
                ))
            })?)
        }
        None => None,
    };
    let part = Part {
        tail: Some(tail),
        since,
    };
    let (_, records) = api.records(&key).await?;
    let whose = match (query.side, query.revision.as_deref()) {
        (Some(_), Some(_)) => {
            return Err(ApiError::request("side and revision exclude each other"));
        }
        (Some(side), None) => Whose::Side(side),
        (None, Some(text)) => Whose::Revision(named(&key, text, &records)?.id.clone()),
        (None, None) => Whose::Everybody,
    };
    let sources = api.log_sources(&key, &whose, &records).await?;
    if sources.is_empty() && !query.follow {
        return match &whose {
            Whose::Revision(id) => api.kept_log(&key, id).await,
            Whose::Everybody | Whose::Side(_) => Ok(lines(Vec::new(), false)),
        };
    }
    let nodes = docker.nodes().await.map_err(unavailable)?;
    if query.follow {
        let reader = Following {
            _place: api.watchers.enter(caller)?,
            api: Arc::clone(&api),
            key,
            whose,
            docker,
            nodes: Arc::new(nodes),
        };
        return Ok(reader.answer(sources, part));
    }
    let reads = sources
        .iter()
        .map(|source| docker.read(&source.service, part));
    let mut all = Vec::new();
    let mut incomplete = false;
    for (source, read) in sources
        .iter()
        .zip(futures_util::future::join_all(reads).await)
    {
        match read {
            Ok(found) => {
                incomplete |= found.incomplete;
                all.extend(
                    found
                        .lines
                        .into_iter()
                        .map(|line| told(line, source, &nodes)),
                );
            }
            // It went meanwhile.
            Err(LogError::Missing(_)) => {}
            Err(error @ LogError::Docker(_)) => return Err(unavailable(error)),
        }
    }
    all.sort_by_key(|line| line.at);
    Ok(lines(all, incomplete))
}

fn unavailable(error: LogError) -> ApiError {
    ApiError::unavailable(format!("Docker does not give the log: {error}"))
}

fn told(line: Written, source: &Source, nodes: &BTreeMap<String, String>) -> LogLine {
    LogLine {
        at: line.at,
        revision: source.revision.clone(),
        number: source.number,
        node: nodes.get(&line.node).cloned().unwrap_or_default(),
        task: line.task,
        stream: line.stream,
        text: line.text,
    }
}

/// A line of text for a line of a log. Our own types serialize without failing.
fn json(line: &LogLine) -> String {
    let mut text = serde_json::to_string(line).unwrap_or_default();
    text.push('\n');
    text
}

fn lines(all: Vec<LogLine>, incomplete: bool) -> Response {
    let body: String = all.iter().map(json).collect();
    let head = [
        (CONTENT_TYPE.as_str(), "application/x-ndjson"),
        (INCOMPLETE, if incomplete { "true" } else { "false" }),
    ];
    (head, body).into_response()
}

impl Api {
    /// The services whose logs are wanted, as far as they are there now.
    async fn log_sources(
        &self,
        key: &ReleaseKey,
        whose: &Whose,
        records: &[RevisionRecord],
    ) -> Result<BTreeSet<Source>, ApiError> {
        let store = &self.ctx.store;
        let target: Option<Target> = store.get(&key.target()).await?.as_ref().and_then(decode);
        let Some(target) = target else {
            self.must_exist(key).await?;
            return Ok(BTreeSet::new());
        };
        let observed: Option<SwarmObserved> = store
            .get(&key.observed_swarm())
            .await?
            .as_ref()
            .and_then(decode);
        let seen = observed
            .filter(|observed| observed.uid == target.uid)
            .map(|observed| observed.revisions)
            .unwrap_or_default();
        let only = match whose {
            Whose::Everybody => None,
            Whose::Revision(id) => Some(id.clone()),
            Whose::Side(side) => Some(on_side(key, &target, *side)?),
        };
        let number = |id: &RevisionId| {
            let record = records.iter().find(|record| record.id == *id);
            record.map_or(0, |record| record.number)
        };
        Ok(seen
            .into_iter()
            .filter(|(id, seen)| {
                only.as_ref().is_none_or(|only| only == id) && !seen.service_id.is_empty()
            })
            .map(|(id, seen)| Source {
                service: seen.service_id,
                number: number(&id),
                revision: id,
            })
            .collect())
    }

    /// The last words of a revision that has no service any more.
    async fn kept_log(&self, key: &ReleaseKey, id: &RevisionId) -> Result<Response, ApiError> {
        let entry = self.ctx.store.get(&key.observed_log(id)).await?;
        match entry.as_ref().and_then(decode::<KeptLog>) {
            Some(kept) => Ok(lines(kept.lines, false)),
            None => Err(ApiError::not_found(format!(
                "revision {id} of {key} has no tasks now, and Docker forgets a task's log with the task; only the last lines of revisions that failed are kept"
            ))),
        }
    }
}

fn on_side(key: &ReleaseKey, target: &Target, side: Side) -> Result<RevisionId, ApiError> {
    let found = match side {
        Side::Stable => target.stable.as_ref(),
        Side::Canary => target.canary.as_ref(),
    };
    if let Some(found) = found {
        return Ok(found.clone());
    }
    let hint = target.history.last().map_or_else(String::new, |last| {
        format!(
            "; the last rollout was of revision {0}: `--revision {0}` shows what is left of its log",
            last.number
        )
    });
    let word = match side {
        Side::Stable => "stable revision",
        Side::Canary => "canary",
    };
    Err(ApiError::refused(format!("{key} has no {word} now{hint}")))
}

/// The next moment that Docker can tell apart.
fn after(at: Timestamp) -> Timestamp {
    at.checked_add(jiff::SignedDuration::from_nanos(1))
        .unwrap_or(at)
}

/// Somebody who follows.
struct Following {
    /// Held until nobody reads any more.
    _place: Place,
    api: Shared,
    key: ReleaseKey,
    whose: Whose,
    docker: Logs,
    nodes: Arc<BTreeMap<String, String>>,
}

impl Following {
    fn answer(self, sources: BTreeSet<Source>, part: Part) -> Response {
        let (sender, receiver) = mpsc::channel::<String>(256);
        let ended = self.api.ctx.shutdown.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = ended.cancelled() => {}
                () = self.run(sources, part, sender) => {}
            }
        });
        let body = ReceiverStream::new(receiver).map(Ok::<_, std::convert::Infallible>);
        let head = [(CONTENT_TYPE.as_str(), "application/x-ndjson")];
        (head, Body::from_stream(body)).into_response()
    }

    /// Until nobody reads any more, or the release is gone. Revisions that come are shown from their beginning.
    async fn run(self, first: BTreeSet<Source>, part: Part, sender: mpsc::Sender<String>) {
        let mut pumps = JoinSet::new();
        let mut running: BTreeSet<Source> = BTreeSet::new();
        for source in first {
            running.insert(source.clone());
            pumps.spawn(self.pump(source, part, sender.clone()));
        }
        // Where each service's log was read to: it is read on from there.
        let mut read: BTreeMap<Source, Timestamp> = BTreeMap::new();
        loop {
            tokio::select! {
                () = sender.closed() => return,
                Some(ended) = pumps.join_next() => {
                    // Docker ended it: if the service is still there, it is read on at the next look.
                    if let Ok((source, last)) = ended {
                        running.remove(&source);
                        read.extend(last.map(|last| (source, last)));
                        tokio::time::sleep(LOOK).await;
                    }
                }
                () = tokio::time::sleep(LOOK) => {}
            }
            let Ok((_, records)) = self.api.records(&self.key).await else {
                continue;
            };
            let found = self.api.log_sources(&self.key, &self.whose, &records).await;
            match found {
                Ok(now) => {
                    let mut fresh = Vec::new();
                    for source in now.difference(&running) {
                        let last = read.get(source);
                        let since = last.map(|last| after(*last));
                        let rest = Part { tail: None, since };
                        fresh.push((source.clone(), rest));
                    }
                    for (source, rest) in fresh {
                        running.insert(source.clone());
                        pumps.spawn(self.pump(source, rest, sender.clone()));
                    }
                }
                Err(_) if self.gone().await => return,
                // The side has nobody just now: somebody may come.
                Err(_) => {}
            }
        }
    }

    async fn gone(&self) -> bool {
        matches!(self.api.stored(&self.key).await, Ok(None))
    }

    /// Hands on one service's lines; gives the service back when Docker has no more, and how far it
    /// was read.
    fn pump(
        &self,
        source: Source,
        part: Part,
        sender: mpsc::Sender<String>,
    ) -> impl Future<Output = (Source, Option<Timestamp>)> + Send + 'static {
        let (docker, nodes) = (self.docker.clone(), Arc::clone(&self.nodes));
        async move {
            let (lines, mut written) = mpsc::channel(64);
            let reading = docker.follow(&source.service, part, lines);
            let handing = async {
                let mut last = None;
                while let Some(line) = written.recv().await {
                    last = last.max(Some(line.at));
                    let line = json(&told(line, &source, &nodes));
                    if sender.send(line).await.is_err() {
                        break;
                    }
                }
                // Nobody reads on: whoever writes is told by this end.
                written.close();
                last
            };
            let (ended, last) = tokio::join!(reading, handing);
            if let Err(error) = ended {
                tracing::debug!(service = source.service, "its log ended: {error}");
            }
            (source, last)
        }
    }
}
