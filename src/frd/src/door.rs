//! The doors: the sockets on which HTTP is answered, whoever and however many come.
//!
//! `accept -> crowd (is there a place?) -> hyper, HTTP/1.1 alone -> router`. What must never happen: callers that take the
//! descriptors which the work needs; a caller that shuts out others; a connection on which nothing moves and that stays.

mod crowd;
mod descriptors;
mod turned_away;

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::response::Response;
use hyper::body::{Body as HttpBody, Bytes, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio_io_timeout::TimeoutWriter;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::crowd::{Busy, Crowd, Guest};
pub use self::descriptors::raise;
pub(crate) use self::turned_away::{Turned, counts};

/// How long open requests may take after the end was asked for.
const LAST_REQUESTS: Duration = Duration::from_secs(3);
/// How long a connection that has to make room may take for its last bytes.
const LAST_BYTES: Duration = Duration::from_secs(1);
/// The kernel may have no descriptor left, or a connection broke before it was taken.
const PAUSE: Duration = Duration::from_millis(100);
/// What is read ahead and written behind on one connection. A request's head must fit in it.
const BUFFER: usize = 64 << 10;

/// What a door bears.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// Of one caller: a user of this machine, or an address.
    pub per_caller: usize,
    /// How long a request's head may take, and a connection may wait for its next request.
    pub head: Duration,
    /// How long an answer's reader may take nothing of it.
    pub stalled: Duration,
}

impl Limits {
    /// Of the API's door.
    #[must_use]
    pub fn api() -> Self {
        Self::sharing(1024, 512)
    }

    /// Of the door to this process's agents, which a few daemons read.
    #[must_use]
    pub fn agents() -> Self {
        Self::sharing(256, 64)
    }

    /// Never more than a part of the descriptors that there are.
    fn sharing(connections: usize, per_caller: usize) -> Self {
        let share = descriptors::for_callers() / 2;
        Self {
            connections: connections.min(share),
            per_caller: per_caller.min(share.div_ceil(2)),
            head: Duration::from_secs(30),
            stalled: Duration::from_secs(30),
        }
    }
}

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Caller {
    /// A user of this machine, as the kernel knows it.
    User(u32),
    /// Another machine, or this one.
    Address(IpAddr),
    /// The kernel does not say.
    Unknown,
}

/// A socket that callers come to.
pub trait Entrance: Send + 'static {
    /// A connection.
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// The next connection, and whose it is.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Io, Caller)>> + Send;
}

impl Entrance for UnixListener {
    type Io = tokio::net::UnixStream;
    async fn accept(&self) -> io::Result<(Self::Io, Caller)> {
        let (stream, _) = UnixListener::accept(self).await?;
        let caller = stream
            .peer_cred()
            .map_or(Caller::Unknown, |peer| Caller::User(peer.uid()));
        Ok((stream, caller))
    }
}

impl Entrance for TcpListener {
    type Io = tokio::net::TcpStream;
    async fn accept(&self) -> io::Result<(Self::Io, Caller)> {
        let (stream, peer) = TcpListener::accept(self).await?;
        Ok((stream, Caller::Address(peer.ip().to_canonical())))
    }
}

/// Answers whoever comes until the token is cancelled; then open requests have a moment to end. `name` is the door's, in
/// metrics.
pub async fn serve<E: Entrance>(
    name: &'static str,
    entrance: E,
    router: Router,
    limits: Limits,
    shutdown: CancellationToken,
) {
    let crowd = Crowd::new(limits.connections, limits.per_caller);
    let tasks = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = entrance.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        let (io, caller) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!("{name}: a connection could not be taken: {error}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        match crowd.enter(caller, descriptors::scarce()) {
            Ok(guest) => {
                let answered = answer(io, guest, router.clone(), limits, shutdown.clone());
                tasks.spawn(answered);
            }
            Err(turned) => turned_away::tell(name, turned, io, &tasks),
        }
    }
    // Whoever comes now shall not wait for an answer.
    drop(entrance);
    tasks.close();
    let _ = tokio::time::timeout(LAST_REQUESTS, tasks.wait()).await;
}

/// One connection, from its first byte to its last.
async fn answer<Io: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    io: Io,
    guest: Guest,
    router: Router,
    limits: Limits,
    shutdown: CancellationToken,
) {
    let mut writer = TimeoutWriter::new(io);
    writer.set_timeout(Some(limits.stalled));
    let guest = Arc::new(guest);
    let leave = guest.leave();
    let router = TowerToHyperService::new(router);
    let asked = Arc::clone(&guest);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        let busy = asked.busy();
        request.extensions_mut().insert(ConnectInfo(asked.caller()));
        let answered = router.call(request.map(Body::new) as Request);
        async move {
            let response: Response = answered.await?;
            Ok::<_, Infallible>(response.map(|body| Answer { body, _busy: busy }))
        }
    });
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head)
            .max_buf_size(BUFFER)
            .serve_connection(TokioIo::new(Box::pin(writer)), service)
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = leave.cancelled() => {
            if guest.never_asked() {
                return;
            }
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(LAST_BYTES, connection).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    let Err(error) = ended else { return };
    let cause = std::error::Error::source(&error).and_then(|cause| cause.downcast_ref());
    if cause.is_some_and(|cause: &io::Error| cause.kind() == io::ErrorKind::TimedOut) {
        turned_away::count("stalled");
        let after = limits.stalled.as_secs();
        tracing::info!(caller = ?guest.caller(), "a reader took nothing for {after} s: closed");
    } else if error.is_timeout() {
        turned_away::count("idle");
    } else {
        tracing::trace!("a connection ended: {error}");
    }
}

/// An answer that is being written: its connection is busy for so long.
struct Answer {
    body: Body,
    _busy: Busy,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;
    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }
    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
