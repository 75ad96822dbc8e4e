//! Connections that find no place: a short answer, and a count. What must never happen: an answer that costs what it is to save.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fm_api::http::{ErrorBody, ErrorDetail, ErrorKind};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::task::TaskTracker;

/// So many are told at a time; more are only closed.
static TELLING: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(32);
/// How long a request is waited for, which is then answered: an answer to nothing is an error to most clients.
const REQUEST: Duration = Duration::from_secs(1);
/// When to come again.
const AGAIN: u64 = 5;

/// Why a connection found no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turned {
    /// Its caller has so many, and all of them are busy.
    Caller(usize),
    /// The door has so many, and all of them are busy.
    Door(usize),
    /// The process has few descriptors left.
    Descriptors,
}

impl Turned {
    const fn reason(self) -> &'static str {
        match self {
            Turned::Caller(_) => "caller",
            Turned::Door(_) => "door",
            Turned::Descriptors => "descriptors",
        }
    }

    fn message(self) -> String {
        match self {
            Turned::Caller(most) => format!(
                "you have {most} requests open, and no more are answered at once: end some (watches are requests), or come again in {AGAIN} s"
            ),
            Turned::Door(most) => format!(
                "{most} requests are open, and no more are answered at once: come again in {AGAIN} s"
            ),
            Turned::Descriptors => format!(
                "frd may open no more files (its limit is LimitNOFILE): come again in {AGAIN} s"
            ),
        }
    }

    fn answer(self) -> String {
        let status = match self {
            Turned::Caller(_) => "429 Too Many Requests",
            Turned::Door(_) | Turned::Descriptors => "503 Service Unavailable",
        };
        let body = ErrorBody {
            error: ErrorDetail {
                message: self.message(),
                kind: ErrorKind::Unavailable,
                problems: Vec::new(),
            },
        };
        let body = serde_json::to_string(&body).unwrap_or_default();
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nretry-after: {AGAIN}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
    }
}

static COUNTS: Mutex<BTreeMap<&'static str, u64>> = Mutex::new(BTreeMap::new());

/// Connections that were refused or closed, by reason.
pub(crate) fn counts() -> BTreeMap<&'static str, u64> {
    COUNTS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
}

pub(super) fn count(reason: &'static str) {
    let mut counts = COUNTS.lock().unwrap_or_else(PoisonError::into_inner);
    *counts.entry(reason).or_default() += 1;
}

/// Says why, to whoever is quick enough to hear it.
pub(super) fn tell<Io>(door: &'static str, turned: Turned, mut io: Io, tasks: &TaskTracker)
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    count(turned.reason());
    tracing::debug!(door, ?turned, "a connection is refused");
    let Ok(place) = TELLING.try_acquire() else {
        return;
    };
    tasks.spawn(async move {
        let _place = place;
        let told = async {
            let mut request = [0; 4096];
            let _ = io.read(&mut request).await?;
            io.write_all(turned.answer().as_bytes()).await?;
            io.shutdown().await?;
            // What is still unread when a socket is closed would take the answer with it.
            while io.read(&mut request).await? > 0 {}
            Ok::<_, std::io::Error>(())
        };
        let _ = tokio::time::timeout(REQUEST, told).await;
    });
}
