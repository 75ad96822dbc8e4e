//! `/metrics`, in the text format of Prometheus. Made anew at each scrape from what is stored and counted; labels are
//! bounded: releases that exist, revisions that their target names.

mod edges;
mod log;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use axum::extract::{MatchedPath, Request, State};
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use fm_api::keys::{self, ReleaseKey};
use fm_api::outlier::Outliers;
use fm_api::status::Status;
use fm_api::target::Target;
use fm_api::verdict::Verdict;
use fm_telemetry::counters::Snapshot;
use fm_telemetry::usage::{NodeUsage, TaskUsage};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde::de::DeserializeOwned;

use super::Api;
use super::doors::Shared;
use super::error::ApiError;
use super::exposition::{Family as Histograms, Format};
use super::stored::decode;
use crate::sinks::Outlets;

type Labels = Vec<(&'static str, String)>;
type Gauges = Family<Labels, Gauge<f64, AtomicU64>>;
type Counters = Family<Labels, Counter>;

/// Requests to the API by door and class of the answer. The doors are few, so this stays small.
#[derive(Debug, Default)]
pub(super) struct Requests {
    counts: Mutex<BTreeMap<(String, u16), u64>>,
    open: AtomicU64,
}

/// Counts and logs each request.
pub(super) async fn observe(State(api): State<Shared>, request: Request, next: Next) -> Response {
    let door = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let began = tokio::time::Instant::now();
    api.requests.open.fetch_add(1, Ordering::Relaxed);
    let response = next.run(request).await;
    api.requests.open.fetch_sub(1, Ordering::Relaxed);
    let status = response.status().as_u16();
    tracing::debug!(%method, path, status, took = ?began.elapsed(), "request");
    let mut counts = api
        .requests
        .counts
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    *counts.entry((door, status / 100)).or_default() += 1;
    drop(counts);
    response
}

pub(super) async fn metrics(
    State(api): State<Shared>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    let format = Format::asked(accept);
    let kind = format.content_type();
    Ok(([(CONTENT_TYPE, kind)], api.written(format).await?).into_response())
}

impl Api {
    /// Everything at `/metrics`, in Prometheus' own format; `None` while the store does not answer.
    pub(crate) async fn exposition(&self) -> Option<String> {
        self.written(Format::Classic).await.ok()
    }

    async fn written(&self, format: Format) -> Result<String, ApiError> {
        let mut registry = Registry::with_prefix("fridaymorning");
        self.daemon(&mut registry);
        sinks(&mut registry, &self.outlets);
        let targets: BTreeMap<ReleaseKey, Target> = self.every("targets").await?;
        self.releases(&mut registry, &targets).await?;
        let mut more = String::new();
        if let Some(snapshot) = self.sources.telemetry.snapshot(self.ctx.clock.now()) {
            log::arrived(&mut registry, &snapshot);
            log::sent_on(&mut registry, &self.sources.telemetry.outflows());
            requests(&mut registry, &targets, &snapshot);
            more = durations(&targets, &snapshot);
        }
        if let Some(usage) = self.sources.usage.get() {
            saturation(&mut registry, &targets, &usage);
        }
        self.outliers(&mut registry, &targets).await?;
        let known = self.edges().await?;
        edges::troubles(&mut registry, &known);
        edges::cluster(&mut registry, &self.problems_with(Ok(known)).await);
        let mut text = String::new();
        encode(&mut text, &registry)
            .map_err(|fmt::Error| ApiError::internal("metrics cannot be written"))?;
        Ok(format.text(&text, &more))
    }
}

/// How the sinks fare.
fn sinks(registry: &mut Registry, outlets: &Outlets) {
    if outlets.is_empty() {
        return;
    }
    let written = counters(
        registry,
        "sink_points_written",
        "Points that a sink took in",
    );
    let lost = counters(
        registry,
        "sink_points_lost",
        "Points that a sink refused, or that had to make room for newer ones",
    );
    let waiting = gauges(
        registry,
        "sink_points_waiting",
        "Points that wait for a sink",
    );
    for (sink, queue) in outlets.iter() {
        let (labels, counts) = (vec![("sink", sink.name.clone())], queue.counts());
        written.get_or_create(&labels).inc_by(counts.written);
        lost.get_or_create(&labels).inc_by(counts.lost);
        waiting.get_or_create(&labels).set(counts.waiting as f64);
    }
}

fn gauges(registry: &mut Registry, name: &str, help: &str) -> Gauges {
    let family = Gauges::default();
    registry.register(name, help, family.clone());
    family
}

fn counters(registry: &mut Registry, name: &str, help: &str) -> Counters {
    let family = Counters::default();
    registry.register(name, help, family.clone());
    family
}

/// The word by which a value is written as JSON.
fn word<T: serde::Serialize>(value: T) -> String {
    serde_json::to_value(value)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

fn of(key: &ReleaseKey) -> Labels {
    vec![
        ("namespace", key.namespace().to_owned()),
        ("release", key.name().to_owned()),
    ]
}

fn with(mut labels: Labels, name: &'static str, value: impl Into<String>) -> Labels {
    labels.push((name, value.into()));
    labels
}

impl Api {
    fn daemon(&self, registry: &mut Registry) {
        gauges(registry, "build_info", "Which version runs")
            .get_or_create(&vec![("version", env!("CARGO_PKG_VERSION").to_owned())])
            .set(1.0);
        let store = gauges(
            registry,
            "store_up",
            "Whether the store can be read, and takes writes",
        );
        let health = self.ctx.store.health();
        for (of, lost) in [("reads", health.reads), ("writes", health.writes)] {
            store
                .get_or_create(&vec![("of", of.to_owned())])
                .set(if lost.is_none() { 1.0 } else { 0.0 });
        }
        if let Some(space) = self.ctx.store.space() {
            let help = "Bytes that the store can still grow by, and that there are in all: of its disk, or of etcd's quota";
            let room = gauges(registry, "store_room_bytes", help);
            let of = |of: &str| vec![("of", of.to_owned())];
            room.get_or_create(&of("free")).set(space.free as f64);
            room.get_or_create(&of("total")).set(space.total as f64);
            if let Some(reserve) = space.reserve {
                room.get_or_create(&of("reserve")).set(reserve as f64);
            }
            let help = "Whether room is so short that only ways back are stored";
            gauges(registry, "store_room_low", help)
                .get_or_create(&Vec::new())
                .set(if space.low.is_some() { 1.0 } else { 0.0 });
        }
        if let Some(seconds) = self.ctx.fitness.clock_offset() {
            let help = "How far this daemon's clock is ahead of the one that most daemons agree on";
            gauges(registry, "clock_ahead_seconds", help)
                .get_or_create(&Vec::new())
                .set(seconds);
        }
        let up = gauges(registry, "part_up", "Whether a part of the daemon runs");
        let restarts = counters(
            registry,
            "part_restarts",
            "How often a part of the daemon was started again",
        );
        for (name, part) in self.health.parts() {
            let labels = vec![("part", name.to_owned())];
            up.get_or_create(&labels)
                .set(if part.running { 1.0 } else { 0.0 });
            restarts.get_or_create(&labels).inc_by(part.restarts);
        }
        let answers = counters(
            registry,
            "api_requests",
            "Answers of the API by door and class",
        );
        let counts = self
            .requests
            .counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for ((door, class), count) in counts.iter() {
            let labels = vec![("path", door.clone()), ("class", format!("{class}xx"))];
            answers.get_or_create(&labels).inc_by(*count);
        }
        drop(counts);
        let closed = counters(
            registry,
            "connections_closed",
            "Connections that found no place (caller, door, descriptors), made room for others (made-room), asked nothing in time (idle) or took no answer (stalled)",
        );
        for (reason, count) in crate::door::counts() {
            let labels = vec![("reason", reason.to_owned())];
            closed.get_or_create(&labels).inc_by(count);
        }
        let refused = Counter::<u64>::default();
        refused.inc_by(self.sources.signals.refused());
        registry.register(
            "signals_refused",
            "Samples that were not kept, as there were too many revisions",
            refused,
        );
        let watches = Gauge::<f64, AtomicU64>::default();
        watches.set(self.watchers.count() as f64);
        let help = "Watches that somebody reads";
        registry.register("watches_open", help, watches);
        let open = self.requests.open.load(Ordering::Relaxed);
        let gauge = Gauge::<f64, AtomicU64>::default();
        gauge.set(open as f64);
        registry.register(
            "api_requests_open",
            "Requests to the API that are being answered",
            gauge,
        );
    }

    pub(super) async fn every<T: DeserializeOwned>(
        &self,
        kind: &str,
    ) -> Result<BTreeMap<ReleaseKey, T>, ApiError> {
        let listing = self.ctx.store.list(&keys::prefix(kind)).await?;
        let objects = listing.entries.iter();
        Ok(objects
            .filter_map(|entry| Some((ReleaseKey::of(&entry.key)?, decode(entry)?)))
            .collect())
    }

    async fn outliers(
        &self,
        registry: &mut Registry,
        targets: &BTreeMap<ReleaseKey, Target>,
    ) -> Result<(), ApiError> {
        let help = "Tasks of a release that do worse than their siblings";
        let outliers = gauges(registry, "task_outliers", help);
        for (key, found) in self.every::<Outliers>("outliers").await? {
            if targets
                .get(&key)
                .is_some_and(|target| target.uid == found.uid)
            {
                // One that is worse in errors and in response times is one task.
                let mut tasks: Vec<_> = (found.tasks.iter())
                    .map(|task| (&task.revision, &task.address))
                    .collect();
                tasks.dedup();
                outliers.get_or_create(&of(&key)).set(tasks.len() as f64);
            }
        }
        Ok(())
    }

    async fn releases(
        &self,
        registry: &mut Registry,
        targets: &BTreeMap<ReleaseKey, Target>,
    ) -> Result<(), ApiError> {
        let phases = gauges(registry, "releases", "Releases by phase");
        let phase = gauges(
            registry,
            "release_phase",
            "1 for the phase in which a release is",
        );
        let waits = gauges(
            registry,
            "release_waits_for_person",
            "1 when the next move is a person's",
        );
        let mut counts: BTreeMap<String, f64> = BTreeMap::new();
        for (key, status) in self.every::<Status>("status").await? {
            let name = word(status.phase);
            *counts.entry(name.clone()).or_default() += 1.0;
            phase.get_or_create(&with(of(&key), "phase", name)).set(1.0);
            waits
                .get_or_create(&of(&key))
                .set(if status.waits_for_person { 1.0 } else { 0.0 });
        }
        for (name, count) in counts {
            phases.get_or_create(&vec![("phase", name)]).set(count);
        }
        shares(registry, targets);
        let verdict = gauges(
            registry,
            "release_verdict",
            "1 for what analysis concludes of the running canary",
        );
        for (key, concluded) in self.every::<Verdict>("verdicts").await? {
            let run = targets
                .get(&key)
                .and_then(|target| target.analysis.as_ref());
            if run.is_some_and(|analysis| analysis.run == concluded.run) {
                let labels = with(of(&key), "decision", word(concluded.decision));
                verdict
                    .get_or_create(&with(labels, "reason", word(concluded.reason)))
                    .set(1.0);
            }
        }
        Ok(())
    }
}

fn shares(registry: &mut Registry, targets: &BTreeMap<ReleaseKey, Target>) {
    let share = gauges(
        registry,
        "release_share",
        "Share of requests wanted for a side, 0 to 1",
    );
    for (key, target) in targets {
        let Some(traffic) = &target.traffic else {
            continue;
        };
        let canary = traffic
            .canary
            .as_ref()
            .map_or(0, |_| traffic.weight.basis_points());
        let canary = f64::from(canary) / 10_000.0;
        share
            .get_or_create(&with(of(key), "side", "canary"))
            .set(canary);
        share
            .get_or_create(&with(of(key), "side", "stable"))
            .set(1.0 - canary);
    }
}

/// Response times by revision, of the releases and revisions that there are.
fn durations(targets: &BTreeMap<ReleaseKey, Target>, snapshot: &Snapshot) -> String {
    let mut family = Histograms::new(
        "fridaymorning_request_duration_seconds",
        "Time to the first byte of answers that were not bad.",
    );
    for (key, target) in targets {
        let counted = snapshot.releases.get(&key.to_string());
        for revision in target.revisions.keys() {
            if let Some(counts) = counted.and_then(|counted| counted.get(revision.as_str())) {
                let labels = with(of(key), "revision", revision.to_string());
                family.add(&labels, &counts.latency);
            }
        }
    }
    family.text()
}

/// What the tasks of this node use. A revision without a limit has no ratio.
fn saturation(registry: &mut Registry, targets: &BTreeMap<ReleaseKey, Target>, usage: &NodeUsage) {
    let families = [
        (
            "tasks_cpu_cores",
            "Processors that the tasks of a revision on this node use",
        ),
        (
            "tasks_cpu_limit_ratio",
            "Share of its CPU limit that the fullest task of a revision on this node uses",
        ),
        (
            "tasks_memory_bytes",
            "Memory that the tasks of a revision on this node use",
        ),
        (
            "tasks_memory_limit_ratio",
            "Share of its memory limit that the fullest task of a revision on this node uses",
        ),
    ];
    let [cores, cpu, bytes, memory] = families.map(|(name, help)| gauges(registry, name, help));
    for (key, target) in targets {
        let release = key.to_string();
        for revision in target.revisions.keys() {
            let labels = with(of(key), "revision", revision.to_string());
            let is_its = |task: &&TaskUsage| {
                (&task.release, &task.uid) == (&release, &target.uid)
                    && task.revision == revision.as_str()
            };
            for task in usage.tasks.iter().filter(is_its) {
                cores.get_or_create(&labels).inc_by(task.cpu.used);
                bytes.get_or_create(&labels).inc_by(task.memory.used);
                for (family, amount) in [(&cpu, task.cpu), (&memory, task.memory)] {
                    if let Some(share) = amount.share() {
                        let gauge = family.get_or_create(&labels);
                        gauge.set(gauge.get().max(share));
                    }
                }
            }
        }
    }
}

fn requests(registry: &mut Registry, targets: &BTreeMap<ReleaseKey, Target>, snapshot: &Snapshot) {
    let answered = counters(
        registry,
        "requests",
        "Requests by revision and class of the answer; `none` was not answered",
    );
    let bad = counters(
        registry,
        "requests_bad",
        "Requests that count as bad ones of a revision",
    );
    let fallback = counters(
        registry,
        "requests_fallback",
        "Requests of a canary that stable served instead",
    );
    let forced = counters(
        registry,
        "requests_forced",
        "Requests that a match rule sent to a canary",
    );
    let aborted = counters(
        registry,
        "requests_aborted",
        "Requests that the client gave up",
    );
    for (key, target) in targets {
        let Some(counted) = snapshot.releases.get(&key.to_string()) else {
            continue;
        };
        for (revision, counts) in counted {
            if !target
                .revisions
                .keys()
                .any(|known| known.as_str() == revision)
            {
                continue;
            }
            let labels = with(of(key), "revision", revision.clone());
            for (class, count) in counts.classes.iter().enumerate() {
                let class = if class == 0 {
                    "none".to_owned()
                } else {
                    format!("{class}xx")
                };
                answered
                    .get_or_create(&with(labels.clone(), "class", class))
                    .inc_by(*count);
            }
            bad.get_or_create(&labels).inc_by(counts.bad);
            fallback.get_or_create(&labels).inc_by(counts.fallback);
            forced.get_or_create(&labels).inc_by(counts.forced);
            aborted.get_or_create(&labels).inc_by(counts.client_aborts);
        }
    }
}
