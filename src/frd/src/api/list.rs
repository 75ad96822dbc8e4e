//! Lists of releases, page by page: from the store, through one of a few hands, to whoever takes it.
//!
//! A page is made apart from the threads that answer, and by a few at a time. Who asks for the same page while it waits to be
//! made gets the same bytes; none is older than the question. What must never happen: a list that holds up whoever asks for
//! less, or the controllers; more of a list in memory than its reader takes next.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use fm_api::http::View;
use fm_api::job::of_revision;
use fm_api::keys::{self, ReleaseKey};
use fm_store::Entry;
use futures_util::future::{BoxFuture, FutureExt, Shared as Joined};
use futures_util::stream;
use serde::Deserialize;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Api;
use super::doors::Shared;
use super::error::ApiError;
use super::extract::{Namespace, Params, check_name};
use super::read::{VIEWED, empty, fill};

/// Releases of one page.
const PAGE: usize = 32;
/// Keys that are read at a time where a release has several.
const KEYS: usize = 256;
/// So much is made at a time: on a machine of two cores the controllers have the rest.
const HANDS: usize = 2;
/// Lists that are read at the same time.
const LISTS: usize = 64;
/// How long somebody waits for a hand.
const PATIENCE: Duration = Duration::from_secs(20);

/// The query of lists.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct ListQuery {
    limit: Option<usize>,
    #[serde(rename = "continue")]
    after: Option<String>,
    summary: bool,
}

/// Which page.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Which {
    /// Empty, or a namespace and `/`.
    below: String,
    /// The last release of the page before.
    after: Option<String>,
    most: usize,
    summary: bool,
}

/// A page, as it is sent.
struct Page {
    /// Objects, with commas between them.
    bytes: Bytes,
    count: usize,
    /// The last one, where there may be more.
    last: Option<String>,
    revision: u64,
}

type Made = Joined<BoxFuture<'static, Result<Arc<Page>, ApiError>>>;

/// What is being made for readers.
pub(super) struct Lists {
    hands: Arc<Semaphore>,
    open: Arc<Semaphore>,
    /// Pages that nobody has begun with.
    waiting: Mutex<HashMap<Which, Made>>,
}

impl Default for Lists {
    fn default() -> Self {
        Self {
            hands: Arc::new(Semaphore::new(HANDS)),
            open: Arc::new(Semaphore::new(LISTS)),
            waiting: Mutex::default(),
        }
    }
}

/// What takes long is done apart, by a few at a time.
pub(super) async fn apart(State(api): State<Shared>, request: Request, next: Next) -> Response {
    let hand = Arc::clone(&api.lists.hands).acquire_owned();
    let Ok(Ok(hand)) = tokio::time::timeout(PATIENCE, hand).await else {
        return ApiError::unavailable("too much is being read at once: come again in 5 s")
            .into_response();
    };
    with(hand, next.run(request))
        .await
        .unwrap_or_else(IntoResponse::into_response)
}

/// Runs it on a thread that nobody waits for.
async fn with<T: Send + 'static>(
    hand: OwnedSemaphorePermit,
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, ApiError> {
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || {
        let _hand = hand;
        runtime.block_on(work)
    })
    .await
    .map_err(|error| ApiError::internal(error.to_string()))
}

pub(super) async fn all(
    State(api): State<Shared>,
    Params(query): Params<ListQuery>,
) -> Result<Response, ApiError> {
    list(api, String::new(), query).await
}

pub(super) async fn in_namespace(
    State(api): State<Shared>,
    Namespace(namespace): Namespace,
    Params(query): Params<ListQuery>,
) -> Result<Response, ApiError> {
    list(api, format!("{namespace}/"), query).await
}

/// What is still to be sent of a list.
struct Rest {
    api: Shared,
    below: String,
    summary: bool,
    left: usize,
    revision: u64,
    next: Step,
    _open: OwnedSemaphorePermit,
}

enum Step {
    /// A page that is there, and whether it is the first.
    Send(Arc<Page>, bool),
    /// The page after this release.
    After(String),
    /// All is sent.
    Over,
}

async fn list(api: Shared, below: String, query: ListQuery) -> Result<Response, ApiError> {
    if query.limit == Some(0) {
        return Err(ApiError::request("limit: allowed: 1 and more"));
    }
    let after = match query.after {
        Some(text) => Some(place(&text, &below)?),
        None => None,
    };
    let Ok(open) = Arc::clone(&api.lists.open).try_acquire_owned() else {
        let words = format!("{LISTS} lists are being read: come again in 5 s");
        return Err(ApiError::unavailable(words));
    };
    let left = query.limit.unwrap_or(usize::MAX);
    let which = Which {
        below: below.clone(),
        after,
        most: left.min(PAGE),
        summary: query.summary,
    };
    let first = page(&api, which).await?;
    let rest = Rest {
        api,
        below,
        summary: query.summary,
        left,
        revision: first.revision,
        next: Step::Send(first, true),
        _open: open,
    };
    let pieces = stream::try_unfold(rest, |mut rest| async move {
        let piece = rest.piece().await?;
        Ok::<_, io::Error>(piece.map(|piece| (piece, rest)))
    });
    let head = [("content-type", "application/json")];
    Ok((head, Body::from_stream(pieces)).into_response())
}

/// The release after which a list goes on.
fn place(text: &str, below: &str) -> Result<String, ApiError> {
    let wrong = || ApiError::request("continue: allowed: what the list before this one ended with");
    let key: ReleaseKey = text.parse().map_err(|_| wrong())?;
    check_name("metadata.namespace", key.namespace(), 20)?;
    check_name("metadata.name", key.name(), 26)?;
    if text.starts_with(below) {
        Ok(text.to_owned())
    } else {
        Err(wrong())
    }
}

impl Rest {
    /// The next bytes of the list. An error breaks the answer off: its reader must not take a part for the whole.
    async fn piece(&mut self) -> io::Result<Option<Bytes>> {
        let (page, first) = match std::mem::replace(&mut self.next, Step::Over) {
            Step::Over => return Ok(None),
            Step::Send(page, first) => (page, first),
            Step::After(after) => {
                let which = Which {
                    below: self.below.clone(),
                    after: Some(after),
                    most: self.left.min(PAGE),
                    summary: self.summary,
                };
                let made = page(&self.api, which).await;
                (made.map_err(io::Error::other)?, false)
            }
        };
        self.left -= page.count;
        let mut text = Vec::with_capacity(page.bytes.len() + 64);
        text.extend_from_slice(match (first, page.count) {
            (true, _) => br#"{"items":["#,
            (false, 0) => b"",
            (false, _) => b",",
        });
        text.extend_from_slice(&page.bytes);
        match &page.last {
            Some(last) if self.left > 0 => self.next = Step::After(last.clone()),
            last => {
                text.extend_from_slice(format!(r#"],"revision":{}"#, self.revision).as_bytes());
                if let Some(last) = last {
                    // Names hold nothing that JSON would have to quote.
                    text.extend_from_slice(format!(r#","continue":"{last}""#).as_bytes());
                }
                text.push(b'}');
            }
        }
        Ok(Some(text.into()))
    }
}

/// A page that nobody had begun with when it was asked for.
fn page(api: &Shared, which: Which) -> Made {
    let mut waiting = api.lists.lock();
    if let Some(made) = waiting.get(&which) {
        return made.clone();
    }
    let (shared, wanted) = (Arc::clone(api), which.clone());
    let making = tokio::spawn(async move {
        let hand = Arc::clone(&shared.lists.hands).acquire_owned().await;
        // Who asks from now on might miss what has changed since.
        shared.lists.lock().remove(&wanted);
        let hand = hand.map_err(|error| ApiError::internal(error.to_string()))?;
        with(hand, async move { shared.page(&wanted).await }).await?
    });
    let made = async move {
        let page = making.await;
        page.map_err(|error| ApiError::internal(error.to_string()))?
    };
    let made = made.boxed().shared();
    waiting.insert(which, made.clone());
    made
}

impl Lists {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Which, Made>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Api {
    async fn page(&self, which: &Which) -> Result<Arc<Page>, ApiError> {
        let store = &self.ctx.store;
        let bounds = |kind: &str| {
            let prefix = keys::prefix(kind);
            let from = match &which.after {
                Some(after) => format!("{prefix}{after}\0"),
                None => format!("{prefix}{}", which.below),
            };
            // What follows all keys below: `0` follows `/`.
            let whole = format!("{prefix}{}", which.below);
            (from, format!("{}0", whole.trim_end_matches('/')))
        };
        let (from, to) = bounds("releases");
        let releases = store.range(&from, &to, which.most).await?;
        let (from, to) = bounds("targets");
        let targets = store.range(&from, &to, which.most).await?;
        let revision = releases.revision.min(targets.revision);
        let full = [&releases, &targets].map(|found| found.entries.len() >= which.most);
        let both = releases.entries.iter().chain(&targets.entries);
        // As the store sorts them, so that the next page begins after the last.
        let mut names: BTreeSet<String> = both
            .filter_map(|entry| Some(ReleaseKey::of(&entry.key)?.to_string()))
            .collect();
        let more = names.len() > which.most || full.contains(&true);
        while names.len() > which.most {
            names.pop_last();
        }
        let mut views: BTreeMap<&str, View> = BTreeMap::new();
        for name in &names {
            let key: Result<ReleaseKey, _> = name.parse();
            views.extend(key.ok().map(|key| (name.as_str(), empty(&key))));
        }
        let mut put = |entry: &Entry| {
            let Some(key) = ReleaseKey::of(&entry.key) else {
                return;
            };
            // Many releases with all they wrote would be much, and whoever lists them does not read that.
            let job = entry.key.strip_prefix(&key.observed_jobs_prefix());
            let much = entry.key.starts_with(&key.observed_logs_prefix())
                || job.and_then(of_revision).is_some();
            if let Some(view) = views.get_mut(key.to_string().as_str()).filter(|_| !much) {
                fill(view, &key, entry);
            }
        };
        releases.entries.iter().for_each(&mut put);
        if !which.summary {
            targets.entries.iter().for_each(&mut put);
        }
        let (Some(first), Some(last)) = (names.first(), names.last()) else {
            return Ok(Arc::new(Page {
                bytes: Bytes::new(),
                count: 0,
                last: None,
                revision,
            }));
        };
        for kind in VIEWED
            .iter()
            .filter(|kind| !["releases", "targets"].contains(kind))
        {
            if which.summary && *kind != "status" {
                continue;
            }
            let prefix = keys::prefix(kind);
            let (mut from, to) = (format!("{prefix}{first}"), format!("{prefix}{last}0"));
            loop {
                let found = store.range(&from, &to, KEYS).await?;
                found.entries.iter().for_each(&mut put);
                match found.entries.last() {
                    Some(last) if found.entries.len() >= KEYS => from = format!("{}\0", last.key),
                    Some(_) | None => break,
                }
            }
        }
        let mut bytes = Vec::new();
        for view in views.values() {
            if !bytes.is_empty() {
                bytes.push(b',');
            }
            serde_json::to_writer(&mut bytes, view)
                .map_err(|error| ApiError::internal(error.to_string()))?;
        }
        Ok(Arc::new(Page {
            bytes: bytes.into(),
            count: views.len(),
            last: more.then(|| last.clone()),
            revision,
        }))
    }
}
