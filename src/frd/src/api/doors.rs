//! Every address that is answered, in one table: the router and the OpenAPI document are both made from it.

use std::sync::Arc;

use axum::Router;
use axum::http::{Method, Uri};
use axum::middleware;
use axum::routing::{MethodRouter, delete, get, post, put};
use fm_api::edge::{Edge, Edges};
use fm_api::event::Event;
use fm_api::http::{
    AdoptRequest, ApplyResult, ContentHashes, ContentRequest, DeleteResult, ListBody,
    OperationAccepted, ReadyBody, UndoRequest, VersionBody, View,
};
use fm_api::log::LogLine;
use fm_api::operation::Operation;
use fm_api::release::Release;
use fm_api::signals::{SignalList, Top};
use fm_api::status::Status;
use fm_api::target::{RevisionRecord, Target};
use fm_api::verdict::Verdict;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::error::ApiError;
use super::{
    Api, adopt, agents, contents, edges, events, health, logs, metrics, openapi, operations, read,
    releases, signals, traffic, undo,
};

pub(super) type Shared = Arc<Api>;

/// How a type is described; the generator collects what it is made of.
pub(super) type Describe = fn(&mut SchemaGenerator) -> Schema;

/// An address that is answered.
pub(super) struct Door {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) summary: &'static str,
    /// Name and meaning of each parameter of the query.
    pub(super) query: &'static [(&'static str, &'static str)],
    pub(super) request: Option<Describe>,
    /// The body of a success; `None`: text, or a free object.
    pub(super) response: Option<Describe>,
    handler: MethodRouter<Shared>,
}

const TELEMETRY: &str = "/v1/agent/telemetry";
const USAGE: &str = "/v1/agent/usage";
const WATCH: &[(&str, &str)] = &[
    (
        "watch",
        "`true`: server-sent events `put` and `delete`, each with the store's revision as its id",
    ),
    (
        "revision",
        "With `watch`: only what changed after this revision; Last-Event-ID says the same",
    ),
];
const PUT: &[(&str, &str)] = &[
    (
        "dryRun",
        "`server`: say what would come of it, and store nothing",
    ),
    (
        "force",
        "`true`: go on where `onNewRevision: reject` says no",
    ),
    (
        "pull",
        "`true`: ask anew what the image's tag means, also where nothing else changes",
    ),
    ("why", "Why, for the record; up to 1000 bytes"),
];
const DELETE: &[(&str, &str)] = &[
    (
        "orphan",
        "`true`: the service of the stable revision stays, and is nobody's",
    ),
    (
        "force",
        "`true`: also while a job runs that is not reversible, which it stops in the middle",
    ),
];
const SIGNALS: &[(&str, &str)] = &[
    (
        "since",
        "How long ago (`90s`, `1h`, `7d`) or a time; default `1h`",
    ),
    ("until", "The same; default: now"),
    (
        "step",
        "The time between two points; default: some 300 points. Seconds are kept for an hour, ten for 6 hours, minutes for 2 days, ten minutes for 30 days",
    ),
    ("endpoints", "`true`: each task too, not only revisions"),
];
const LOGS: &[(&str, &str)] = &[
    (
        "follow",
        "`true`: go on with what comes, also of revisions that come",
    ),
    ("tail", "The last lines of each task; default 100"),
    ("since", "How long ago (`90s`, `1h`) or a time"),
    (
        "side",
        "`stable` or `canary`; default: every revision that has tasks",
    ),
    (
        "revision",
        "A revision's id, a unique beginning of one, or its number; of one that failed the last lines are kept when its tasks are gone",
    ),
];
const ALL_SIGNALS: &[(&str, &str)] = &[
    ("namespace", "Only releases of this namespace"),
    ("since", "How long ago, or a time; default `1h`"),
    ("until", "The same; default: now"),
    ("step", "The time between two points"),
    ("endpoints", "`true`: each task too"),
];
const EVENTS: &[(&str, &str)] = &[
    ("namespace", "Only events of this namespace"),
    ("name", "Only events of releases with this name"),
    ("limit", "Only so many, the newest"),
    (
        "watch",
        "`true`: server-sent events, first what is there, then what comes",
    ),
    (
        "revision",
        "With `watch`: only what came after this revision; Last-Event-ID says the same",
    ),
];

fn of<T: JsonSchema>() -> Option<Describe> {
    Some(|generator| generator.subschema_for::<T>())
}

fn door(
    method: Method,
    path: &'static str,
    summary: &'static str,
    handler: MethodRouter<Shared>,
) -> Door {
    Door {
        method,
        path,
        summary,
        query: &[],
        request: None,
        response: None,
        handler,
    }
}

impl Door {
    fn answers<T: JsonSchema>(mut self) -> Self {
        self.response = of::<T>();
        self
    }
    fn takes<T: JsonSchema>(mut self) -> Self {
        self.request = of::<T>();
        self
    }
    fn asks(mut self, query: &'static [(&'static str, &'static str)]) -> Self {
        self.query = query;
        self
    }
}

/// Every address that is answered.
pub(super) fn all() -> Vec<Door> {
    let mut doors = of_releases();
    doors.extend(of_one_release());
    doors.extend(of_edges());
    doors.extend(of_the_daemon());
    doors
}

fn of_edges() -> Vec<Door> {
    vec![
        door(
            Method::GET,
            "/v1/edges",
            "Every HAProxy with its agent: alive or gone, and what it last showed",
            get(edges::list),
        )
        .answers::<Edges>(),
        door(
            Method::DELETE,
            "/v1/edges/{edge}",
            "Forget an edge that is gone for good; refused while its agent is alive",
            delete(edges::forget),
        )
        .answers::<Edge>(),
        door(
            Method::POST,
            "/v1/edges/{edge}/drain",
            "An edge is to be taken out: no rollout waits for it any more",
            post(edges::drain),
        )
        .answers::<Edge>(),
        door(
            Method::DELETE,
            "/v1/edges/{edge}/drain",
            "A draining edge stays after all",
            delete(edges::undrain),
        )
        .answers::<Edge>(),
    ]
}

fn of_releases() -> Vec<Door> {
    vec![
        door(Method::GET, "/v1/releases", "Every release", get(read::all))
            .answers::<ListBody<View>>(),
        door(
            Method::GET,
            "/v1/namespaces/{namespace}/releases",
            "The releases of a namespace",
            get(read::in_namespace),
        )
        .answers::<ListBody<View>>(),
        door(
            Method::GET,
            "/v1/top",
            "The golden signals of every revision in the last ten seconds",
            get(signals::top),
        )
        .asks(&[
            ("namespace", "Only releases of this namespace"),
            ("name", "Only this release, and each of its tasks"),
        ])
        .answers::<Top>(),
        door(
            Method::GET,
            "/v1/signals",
            "The golden signals as they were kept, of every release",
            get(signals::all),
        )
        .asks(ALL_SIGNALS)
        .answers::<SignalList>(),
        door(
            Method::GET,
            "/v1/events",
            "What happened, the newest last",
            get(events::list),
        )
        .asks(EVENTS)
        .answers::<ListBody<Event>>(),
    ]
}

fn of_one_release() -> Vec<Door> {
    macro_rules! below {
        ($rest:literal) => {
            concat!("/v1/namespaces/{namespace}/releases/{name}", $rest)
        };
    }
    vec![
        door(
            Method::GET,
            below!(""),
            "The release as it is stored",
            get(releases::get),
        )
        .asks(WATCH)
        .answers::<Release>(),
        door(
            Method::PUT,
            below!(""),
            "Stores the release; If-Match may name its generation",
            put(releases::put),
        )
        .asks(PUT)
        .takes::<Release>()
        .answers::<ApplyResult>(),
        door(
            Method::POST,
            below!("/adopt"),
            "Makes a running Swarm service the release's first revision, without restarting a task",
            post(adopt::adopt),
        )
        .asks(&[(
            "dryRun",
            "`server`: say what would come of it, and change nothing",
        )])
        .takes::<AdoptRequest>()
        .answers::<ApplyResult>(),
        door(
            Method::POST,
            below!("/contents"),
            "Keeps contents of configs and secrets in Swarm, and answers their hashes",
            post(contents::keep),
        )
        .asks(&[(
            "dryRun",
            "`server`: answer the hashes, and keep nothing",
        )])
        .takes::<ContentRequest>()
        .answers::<ContentHashes>(),
        door(
            Method::DELETE,
            below!(""),
            "Deletes the release: traffic first, then services",
            delete(releases::delete),
        )
        .asks(DELETE)
        .answers::<DeleteResult>(),
        door(
            Method::GET,
            below!("/view"),
            "Everything about the release",
            get(read::view),
        )
        .asks(WATCH)
        .answers::<View>(),
        door(
            Method::GET,
            below!("/status"),
            "What people read",
            get(read::status),
        )
        .asks(WATCH)
        .answers::<Status>(),
        door(
            Method::GET,
            below!("/verdict"),
            "What analysis concludes",
            get(read::verdict),
        )
        .answers::<Verdict>(),
        door(
            Method::GET,
            below!("/analysis"),
            "Second by second what a running rollout's both sides do, as `frctl analysis replay` reads it",
            get(traffic::traffic),
        )
        .asks(WATCH),
        door(
            Method::GET,
            below!("/signals"),
            "Its golden signals as they were kept",
            get(signals::of_release),
        )
        .asks(SIGNALS)
        .answers::<SignalList>(),
        door(
            Method::GET,
            below!("/logs"),
            "What its tasks write, one JSON object a line; `x-incomplete: true` where a node did not answer in time",
            get(logs::logs),
        )
        .asks(LOGS)
        .answers::<LogLine>(),
        door(
            Method::GET,
            below!("/target"),
            "What promotion wants this instant",
            get(read::target),
        )
        .answers::<Target>(),
        door(
            Method::GET,
            below!("/observed"),
            "What the controllers last saw",
            get(read::observed),
        ),
        door(
            Method::GET,
            below!("/revisions"),
            "Its revisions, the oldest first",
            get(read::revisions),
        )
        .answers::<ListBody<RevisionRecord>>(),
        door(
            Method::GET,
            below!("/operations"),
            "Operations that wait for an answer",
            get(operations::pending),
        )
        .answers::<ListBody<Operation>>(),
        door(
            Method::POST,
            below!("/operations"),
            "Asks something of the rollout; the same id twice is once",
            post(operations::ask),
        )
        .takes::<Operation>()
        .answers::<OperationAccepted>(),
        door(
            Method::POST,
            below!("/undo"),
            "Makes an earlier workload the new spec",
            post(undo::undo),
        )
        .takes::<UndoRequest>()
        .answers::<ApplyResult>(),
    ]
}

fn of_the_daemon() -> Vec<Door> {
    vec![
        door(
            Method::GET,
            TELEMETRY,
            "What this daemon's haproxy agent has counted",
            get(agents::telemetry),
        ),
        door(
            Method::GET,
            USAGE,
            "What the tasks of this daemon's node use of their limits",
            get(agents::usage),
        ),
        door(
            Method::GET,
            "/openapi.json",
            "This document",
            get(openapi::document),
        ),
        door(
            Method::GET,
            "/metrics",
            "Metrics in the text format of Prometheus",
            get(metrics::metrics),
        ),
        door(
            Method::GET,
            "/healthz",
            "Whether the process is alive",
            get(health::alive),
        ),
        door(
            Method::GET,
            "/readyz",
            "Whether it can do its work; 503 if not",
            get(health::ready),
        )
        .answers::<ReadyBody>(),
        door(
            Method::GET,
            "/version",
            "Which daemon answers",
            get(health::version),
        )
        .answers::<VersionBody>(),
    ]
}

/// Only what is counted and measured here: it is served to other machines.
pub(super) fn agents(api: Shared) -> Router {
    Router::new()
        .route(TELEMETRY, get(agents::telemetry))
        .route(USAGE, get(agents::usage))
        .with_state(api)
}

pub(super) fn router(api: Shared) -> Router {
    let mut router = Router::new();
    for door in all() {
        router = router.route(door.path, door.handler);
    }
    router
        .method_not_allowed_fallback(async |method: Method, uri: Uri| {
            ApiError::no_method(format!(
                "{method} is not answered at {}; /openapi.json lists what is",
                uri.path()
            ))
        })
        .fallback(async |uri: Uri| {
            ApiError::not_found(format!(
                "there is nothing at {}; /openapi.json lists what there is",
                uri.path()
            ))
        })
        .layer(middleware::from_fn_with_state(
            Arc::clone(&api),
            metrics::observe,
        ))
        .with_state(api)
}
