//! The parameters that addresses take in their query; any other is refused, so that a slip of the pen is no silence.

use axum::extract::{Query, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::api::error::ApiError;

/// Name and meaning of each parameter.
pub(super) type Known = &'static [(&'static str, &'static str)];

/// Refuses what the address does not know, and says what it knows.
pub(super) async fn check(known: Known, request: Request, next: Next) -> Response {
    let given = Query::<Vec<(String, String)>>::try_from_uri(request.uri());
    let strange = match &given {
        Ok(Query(given)) => given
            .iter()
            .map(|(name, _)| name.as_str())
            .find(|name| known.iter().all(|(known, _)| known != name)),
        // Its own reader says what is wrong with it.
        Err(_) => None,
    };
    let Some(strange) = strange else {
        return next.run(request).await;
    };
    let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
    let allowed = if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    };
    let strange = strange.escape_debug();
    ApiError::request(format!(
        "`{strange}` is no parameter of {}; allowed: {allowed}",
        request.uri().path()
    ))
    .into_response()
}

pub(super) const WATCH: &[(&str, &str)] = &[
    (
        "watch",
        "`true`: server-sent events `put` and `delete`, each with the store's revision as its id",
    ),
    (
        "revision",
        "With `watch`: only what changed after this revision; Last-Event-ID says the same",
    ),
];
pub(super) const LIST: &[(&str, &str)] = &[
    (
        "limit",
        "Only so many; the answer's `continue` says where to go on",
    ),
    (
        "continue",
        "The `continue` of the answer before: what comes after it",
    ),
    (
        "summary",
        "`true`: the release and its status alone, which is what a table shows",
    ),
];
pub(super) const PUT: &[(&str, &str)] = &[
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
pub(super) const DELETE: &[(&str, &str)] = &[
    (
        "orphan",
        "`true`: the service of the stable revision stays, and is nobody's; so does one that was adopted",
    ),
    (
        "removeAdopted",
        "`true`: the service that was adopted is removed, too; without this or `orphan` such a release is not deleted",
    ),
    (
        "force",
        "`true`: also while a job runs that is not reversible, which it stops in the middle",
    ),
];
pub(super) const SIGNALS: &[(&str, &str)] = &[
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
pub(super) const LOGS: &[(&str, &str)] = &[
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
pub(super) const ALL_SIGNALS: &[(&str, &str)] = &[
    ("namespace", "Only releases of this namespace"),
    ("since", "How long ago, or a time; default `1h`"),
    ("until", "The same; default: now"),
    ("step", "The time between two points"),
    ("endpoints", "`true`: each task too"),
];
pub(super) const EVENTS: &[(&str, &str)] = &[
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
