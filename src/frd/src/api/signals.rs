//! `/v1/top` and `…/signals`: the golden signals, just now and as they were kept.

use axum::Json;
use axum::extract::State;
use fm_api::keys::ReleaseKey;
use fm_api::observed::{Endpoint, SwarmObserved};
use fm_api::outlier::{Outlier, Outliers};
use fm_api::quantity::Span;
use fm_api::signals::{Golden, Share, SignalList, SignalPoint, TaskRow, Top, TopRow};
use fm_api::status::Status;
use fm_api::target::Target;
use fm_signals::{Gauge, Query, QueryError, Sample, Series, Use};
use jiff::Timestamp;
use serde::Deserialize;
use std::collections::BTreeMap;

use super::Api;
use super::doors::Shared;
use super::error::{Answer, ApiError};
use super::extract::{Key, Params};
use super::stored::decode;

/// Seconds that `/v1/top` looks back.
const WINDOW: i64 = 10;
/// … and for what tasks use, which some nodes measure every five seconds only: a late measurement must not look like none.
const MEASURED: i64 = 16;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct TopQuery {
    namespace: Option<String>,
    name: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct SignalQuery {
    namespace: Option<String>,
    since: Option<String>,
    until: Option<String>,
    step: Option<String>,
    endpoints: bool,
}

pub(super) async fn top(State(api): State<Shared>, Params(query): Params<TopQuery>) -> Answer<Top> {
    if query.name.is_some() && query.namespace.is_none() {
        return Err(ApiError::request("name needs namespace beside it"));
    }
    let now = api.ctx.clock.now();
    let mut counted = api.sources.signals.last(now.as_second(), WINDOW);
    for (series, sample) in api.sources.signals.last(now.as_second(), MEASURED) {
        if sample.saturation.is_some() {
            counted.entry(series).or_default().saturation = sample.saturation;
        }
    }
    let mut statuses: BTreeMap<ReleaseKey, Status> = api.every("status").await?;
    let outliers: BTreeMap<ReleaseKey, Outliers> = api.every("outliers").await?;
    let mut top = Top {
        at: now,
        seconds: WINDOW,
        items: Vec::new(),
        tasks: Vec::new(),
        outliers: Vec::new(),
    };
    let asked = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|text| text == is);
    for (key, target) in api.every::<Target>("targets").await? {
        if !asked(&query.namespace, key.namespace()) || !asked(&query.name, key.name()) {
            continue;
        }
        let rows = rows(&key, &target, statuses.remove(&key).as_ref(), &counted);
        let worse = (outliers.get(&key)).filter(|outliers| outliers.uid == target.uid);
        let worse = worse.map_or(&[][..], |outliers| &outliers.tasks);
        if query.name.is_some() {
            let entry = api.ctx.store.get(&key.observed_swarm()).await?;
            let swarm: Option<SwarmObserved> = entry.as_ref().and_then(decode);
            top.tasks = tasks(&key, &rows, swarm.as_ref(), worse, &counted);
        }
        top.items.extend(rows);
        top.outliers.extend_from_slice(worse);
    }
    Ok(Json(top))
}

/// The tasks of a release's revisions: those that Swarm has ready, and whatever else answered.
fn tasks(
    key: &ReleaseKey,
    revisions: &[TopRow],
    swarm: Option<&SwarmObserved>,
    outliers: &[Outlier],
    counted: &BTreeMap<Series, Sample>,
) -> Vec<TaskRow> {
    let mut rows = Vec::new();
    for row in revisions {
        let seen = swarm.and_then(|swarm| {
            let mut revisions = swarm.revisions.iter();
            revisions.find(|(revision, _)| revision.as_str() == row.revision)
        });
        let known = seen.map(|(_, seen)| seen.ready.iter().chain(&seen.leaving));
        let mut tasks: BTreeMap<String, Option<&Endpoint>> = known
            .into_iter()
            .flatten()
            .map(|task| (task.task.clone(), Some(task)))
            .collect();
        let release = key.to_string();
        let of_this =
            |series: &&Series| series.release == release && series.revision == row.revision;
        for series in counted.keys().filter(of_this) {
            if let Some(endpoint) = &series.endpoint {
                tasks.entry(endpoint.clone()).or_default();
            }
        }
        for (task, endpoint) in tasks {
            let series = Series {
                release: release.clone(),
                revision: row.revision.clone(),
                endpoint: Some(task.clone()),
            };
            let sample = counted.get(&series).cloned().unwrap_or_default();
            let is_it = |worse: &Outlier| worse.task == task || worse.address == task;
            rows.push(TaskRow {
                outlier: outliers.iter().any(is_it),
                node: endpoint.map_or_else(String::new, |endpoint| endpoint.node.clone()),
                addresses: endpoint.map_or_else(BTreeMap::new, |e| e.addresses.clone()),
                task,
                revision: row.revision.clone(),
                number: row.number,
                signals: golden(&sample, WINDOW),
            });
        }
    }
    rows
}

/// The rows of a release: stable first, then the canary, then what leaves.
fn rows(
    key: &ReleaseKey,
    target: &Target,
    status: Option<&Status>,
    counted: &BTreeMap<Series, Sample>,
) -> Vec<TopRow> {
    let shares = target.traffic.as_ref().map(|traffic| traffic.shares());
    let sides = status.map(|status| [&status.stable, &status.canary]);
    let mut rows: Vec<TopRow> = (target.revisions.keys())
        .map(|revision| {
            let side = match Some(revision) {
                side if side == target.stable.as_ref() => "stable",
                side if side == target.canary.as_ref() => "canary",
                _ => "leaving",
            };
            let share = shares.as_ref().and_then(|shares| shares.get(revision));
            let series = Series {
                release: key.to_string(),
                revision: revision.to_string(),
                endpoint: None,
            };
            let sample = counted.get(&series).cloned().unwrap_or_default();
            let number = (sides.iter().flatten())
                .filter_map(|side| side.as_ref())
                .find(|side| side.revision == *revision)
                .map(|side| side.number);
            TopRow {
                namespace: key.namespace().to_owned(),
                name: key.name().to_owned(),
                revision: revision.to_string(),
                number,
                side: side.to_owned(),
                share: share.map(|share| f64::from(*share) / 10_000.0),
                signals: golden(&sample, WINDOW),
            }
        })
        .collect();
    let order = ["stable", "canary", "leaving"];
    rows.sort_by_key(|row| order.iter().position(|side| *side == row.side));
    rows
}

pub(super) async fn all(
    State(api): State<Shared>,
    Params(query): Params<SignalQuery>,
) -> Answer<SignalList> {
    let namespace = query.namespace.clone();
    api.kept(&query, None, namespace).await
}

pub(super) async fn of_release(
    State(api): State<Shared>,
    Key(key): Key,
    Params(query): Params<SignalQuery>,
) -> Answer<SignalList> {
    if query.namespace.is_some() {
        return Err(ApiError::request("the path names the namespace already"));
    }
    api.kept(&query, Some(key), None).await
}

impl Api {
    async fn kept(
        &self,
        asked: &SignalQuery,
        release: Option<ReleaseKey>,
        namespace: Option<String>,
    ) -> Answer<SignalList> {
        let now = self.ctx.clock.now();
        let query = understand(asked, now, release, namespace)?;
        let (signals, second) = (self.sources.signals.clone(), now.as_second());
        let answer = tokio::task::spawn_blocking(move || signals.query(second, &query))
            .await
            .map_err(|error| ApiError::internal(error.to_string()))?
            .map_err(|error| match error {
                QueryError::TooMany => ApiError::request(error.to_string()),
                QueryError::File(_) => ApiError::internal(error.to_string()),
            })?;
        let items = (answer.points.iter())
            .filter_map(|((series, second), sample)| {
                let (namespace, name) = series.release.split_once('/')?;
                Some(SignalPoint {
                    at: Timestamp::from_second(*second).ok()?,
                    namespace: namespace.to_owned(),
                    name: name.to_owned(),
                    revision: series.revision.clone(),
                    endpoint: series.endpoint.clone(),
                    signals: golden(sample, answer.step),
                })
            })
            .collect();
        Ok(Json(SignalList {
            step_seconds: answer.step,
            items,
        }))
    }
}

fn understand(
    asked: &SignalQuery,
    now: Timestamp,
    release: Option<ReleaseKey>,
    namespace: Option<String>,
) -> Result<Query, ApiError> {
    let moment = |name: &str, text: &Option<String>| {
        match text {
        None => Ok(None),
        Some(text) => moment(text, now).map(Some).ok_or_else(|| {
            ApiError::request(format!(
                "{name}: `{}` is no time; allowed: how long ago, such as 90s, 1h or 7d, or a time such as 2026-11-22T18:00:00Z",
                text.escape_debug()
            ))
        }),
    }
    };
    let since = moment("since", &asked.since)?.unwrap_or(now.as_second() - 3600);
    let until = moment("until", &asked.until)?.unwrap_or(now.as_second());
    let step = match &asked.step {
        None => None,
        Some(text) => {
            let span = text
                .parse::<Span>()
                .map_err(|error| ApiError::request(format!("step: {error}")))?;
            Some(i64::try_from(span.as_millis().div_ceil(1000)).unwrap_or(i64::MAX))
        }
    };
    if since >= until {
        return Err(ApiError::request("since is not before until"));
    }
    Ok(Query {
        release: release.map(|key| key.to_string()),
        namespace,
        endpoints: asked.endpoints,
        since,
        until,
        step,
    })
}

/// How long ago, or a time.
pub(super) fn moment(text: &str, now: Timestamp) -> Option<i64> {
    if let Ok(span) = text.parse::<Span>() {
        return Some(now.as_second() - i64::try_from(span.as_millis() / 1000).ok()?);
    }
    text.parse::<Timestamp>().ok().map(|at| at.as_second())
}

pub(crate) fn golden(sample: &Sample, seconds: i64) -> Golden {
    let full = sample.saturation;
    let (cpu, memory): (Option<Use>, Option<Use>) = (full.map(|f| f.cpu), full.map(|f| f.memory));
    let quantile = |q| sample.latency.quantile(q);
    Golden {
        requests: sample.requests,
        bad: sample.bad,
        rps: sample.requests as f64 / seconds.max(1) as f64,
        error_rate: sample.error_rate(),
        p50_ms: quantile(0.5),
        p95_ms: quantile(0.95),
        p99_ms: quantile(0.99),
        cpu: cpu.and_then(|cpu| share(cpu.share)),
        memory: memory.and_then(|memory| share(memory.share)),
        cpus: cpu.and_then(|cpu| share(cpu.used)),
        memory_bytes: memory.and_then(|memory| share(memory.used)),
    }
}

fn share(gauge: Gauge) -> Option<Share> {
    Some(Share {
        mean: gauge.mean()?,
        max: gauge.max()?,
    })
}
