//! Where HAProxy's log arrives: lines over a unix or TCP stream, from as many connections as HAProxy opens.
//!
//! Owner of the state: the [`Handle`]s and the receiver share it behind a plain mutex, which is held for one chunk of
//! lines or one snapshot and never across an await. What must never happen: a slow or hostile peer that holds up another,
//! a line that grows without bound, or one that counts although it is not our HAProxy's ([`Receiver::proven_by`]).

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use fm_api::keys::{ReleaseKey, RevisionId};
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backends::Backend;
use crate::counters::{ByEndpoint, Snapshot, State, Way};
use crate::outflow::{self, Queue};
use crate::proof::{Place, Proof, Strangers, Whose};

/// Read at once; a whole number of long lines.
const CHUNK: usize = 64 * 1024;
/// HAProxy opens one connection per ring and process; more than this at once is not HAProxy.
const MAX_CONNECTIONS: usize = 256;
/// Connections that have not shown HAProxy's secret; one more, and the oldest of them goes.
const MAX_STRANGERS: usize = 64;

mod lines;

use lines::{Lines, MAX_LINE};

/// Where HAProxy sends its log. Shown as a HAProxy `server` line names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A port of this machine. HAProxy that we started logs here: while nobody listens it tries again once a second and keeps its lines, which at a unix socket it would do
    /// without a pause, with a whole processor.
    Local(SocketAddr),
    /// A stream socket in a folder that nobody else may enter, for a HAProxy that shares the folder and not the network.
    Unix(PathBuf),
    /// For a HAProxy that cannot reach a socket of ours.
    Tcp(SocketAddr),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Unix(path) => write!(f, "unix@{}", path.display()),
            Address::Local(address) | Address::Tcp(address) => address.fmt(f),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Address::Tcp(address)
    }
}

#[derive(Debug)]
enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Listener {
    async fn accept(&self) -> io::Result<Box<dyn AsyncRead + Send + Unpin>> {
        Ok(match self {
            Listener::Unix(listener) => Box::new(listener.accept().await?.0),
            Listener::Tcp(listener) => Box::new(listener.accept().await?.0),
        })
    }
}

/// A socket for ourselves alone. What a process that is gone left behind is replaced; one that listens is not.
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    if std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Listens for HAProxy's log.
#[derive(Debug)]
pub struct Receiver {
    listener: Listener,
    address: Address,
    handle: Handle,
    proof: Option<Proof>,
}

/// Reads the counters. A clone is cheap and sees the same counters.
#[derive(Debug, Clone)]
pub struct Handle {
    state: Arc<Mutex<State>>,
    instance: Arc<str>,
    epoch: Arc<str>,
}

impl Receiver {
    /// Listens at this address; port 0 takes a free one.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn bind(address: impl Into<Address>) -> io::Result<Self> {
        let (listener, address) = match address.into() {
            Address::Unix(path) => (Listener::Unix(bind_unix(&path)?), Address::Unix(path)),
            Address::Local(address) => {
                let listener = TcpListener::bind(address).await?;
                let address = listener.local_addr()?;
                (Listener::Tcp(listener), Address::Local(address))
            }
            Address::Tcp(address) => {
                let listener = TcpListener::bind(address).await?;
                let address = listener.local_addr()?;
                (Listener::Tcp(listener), Address::Tcp(address))
            }
        };
        let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let epoch = format!("{}-{}", std::process::id(), since.as_nanos());
        let handle = Handle {
            state: Arc::default(),
            instance: "local".into(),
            epoch: epoch.into(),
        };
        Ok(Self {
            listener,
            address,
            handle,
            proof: None,
        })
    }

    /// Takes only lines that begin with this secret.
    #[must_use]
    pub fn proven_by(mut self, proof: Option<Proof>) -> Self {
        self.handle.state().own(proof.clone());
        self.proof = proof;
        self
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Reads the counters.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Receives until the token is cancelled.
    pub async fn run(self, shutdown: CancellationToken) {
        let tasks = TaskTracker::new();
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let strangers = Strangers::at_most(MAX_STRANGERS);
        loop {
            let accepted = tokio::select! {
                () = shutdown.cancelled() => break,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok(stream) => {
                    let (handle, shutdown) = (self.handle.clone(), shutdown.clone());
                    let places = Arc::clone(&places);
                    // Whoever has nothing to show has shown everything.
                    let stranger = self.proof.as_ref().map(|_| strangers.enter());
                    let lines = Lines::proven_by(self.proof.clone());
                    tasks.spawn(async move {
                        tokio::select! {
                            () = shutdown.cancelled() => {}
                            () = handle.receive(stream, stranger, lines, &places) => {}
                        }
                    });
                }
                Err(error) => {
                    // Most likely no descriptor is free; accepting again at once would only spin.
                    tracing::warn!(%error, "the log receiver cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        tasks.close();
        tasks.wait().await;
    }
}

impl Handle {
    /// The same counters under the agent's own name, and an epoch of the caller's choice.
    #[must_use]
    pub fn named(mut self, instance: &str, epoch: &str) -> Self {
        self.instance = instance.into();
        self.epoch = epoch.into();
        self
    }

    /// The epoch: differs for each process and each receiver in it.
    #[must_use]
    pub fn epoch(&self) -> &str {
        &self.epoch
    }

    /// Everything counted so far, under these names.
    #[must_use]
    pub fn snapshot(&self, instance: &str, epoch: &str, now: Timestamp) -> Snapshot {
        Snapshot {
            instance: instance.to_owned(),
            epoch: epoch.to_owned(),
            at: Some(now),
            ..self.state().snapshot(Instant::now())
        }
    }

    /// Everything counted so far, under the handle's own names and without a time.
    pub(crate) fn current(&self) -> Snapshot {
        Snapshot {
            instance: self.instance.to_string(),
            epoch: self.epoch.to_string(),
            ..self.state().snapshot(Instant::now())
        }
    }

    /// A message of some other transport: a line of ours in whatever syslog wrapper. What is no request is passed over.
    pub(crate) fn take_message(
        &self,
        message: &[u8],
        way: Way,
        proof: Option<&Proof>,
        now: Instant,
    ) -> Whose {
        let mut state = self.state();
        let whose = state.take_message(message, way, proof, now);
        complain(state);
        whose
    }

    /// Something that does not show the secret and is too long to be read.
    pub(crate) fn unproven(&self) {
        let mut state = self.state();
        state.unproven();
        complain(state);
    }

    /// Something that cannot be read at all.
    pub(crate) fn refuse(&self, sample: &[u8]) {
        let mut state = self.state();
        state.overlong(sample);
        complain(state);
    }

    pub(crate) fn connected(&self) {
        self.state().connected();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Counting does not panic; should it ever, the counters are still whole numbers.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What each server answered, of one release (`namespace/name`) or of all.
    #[must_use]
    pub fn endpoints(&self, release: Option<&str>) -> ByEndpoint {
        self.state().endpoints(release, Instant::now())
    }

    /// From now on lines may come by more than one way, and one that does counts once.
    pub(crate) fn more_ways(&self) {
        self.state().more_ways();
    }

    /// From now on lines are sent on to it, too.
    pub(crate) fn send_to(&self, queue: Arc<Queue>) {
        self.state().send_to(queue);
    }

    /// How those fare that lines are sent on to.
    #[must_use]
    pub fn outflows(&self) -> Vec<outflow::Status> {
        self.state().outflows()
    }

    /// Which backends there are now: by them classic lines tell a revision.
    pub fn set_backends(&self, now: impl IntoIterator<Item = (String, Backend)>) {
        self.state().set_backends(now);
    }

    /// More lines that HAProxy itself says it has dropped.
    pub fn dropped(&self, more: u64) {
        self.state().dropped(more);
    }

    /// Counts requests that HAProxy dropped without an answer and without a line: failures of the revision that was given
    /// them; `copies`: answers to mirrored requests.
    pub fn silent(&self, release: &ReleaseKey, revision: &RevisionId, more: u64, copies: bool) {
        let (release, revision) = (release.to_string(), revision.as_str());
        let now = Instant::now();
        self.state().silent((&release, revision), more, copies, now);
    }

    /// Counts that nobody sends to yet, without a receiver.
    #[must_use]
    pub fn unattached() -> Self {
        Self {
            state: Arc::default(),
            instance: "local".into(),
            epoch: "0".into(),
        }
    }

    /// A connection that was opened; whoever has its bytes feeds them.
    #[must_use]
    pub fn connection(&self) -> Connection {
        self.connected();
        Connection {
            handle: self.clone(),
            lines: Lines::default(),
        }
    }

    async fn receive(
        &self,
        mut stream: impl AsyncRead + Unpin,
        mut stranger: Option<Place>,
        lines: Lines,
        places: &Arc<Semaphore>,
    ) {
        let mut connection = Connection {
            handle: self.clone(),
            lines,
        };
        // A stranger gets little of us.
        let mut chunk = vec![0; if stranger.is_some() { MAX_LINE } else { CHUNK }];
        let mut place = None;
        loop {
            if place.is_none() && connection.lines.is_proven() {
                let Ok(free) = places.try_acquire() else {
                    tracing::warn!("too many connections to the log receiver: refused");
                    return;
                };
                place = Some(free);
                stranger = None;
                chunk.resize(CHUNK, 0);
                self.connected();
            }
            let read = match &stranger {
                None => stream.read(&mut chunk).await,
                Some(waits) => tokio::select! {
                    read = stream.read(&mut chunk) => read,
                    () = waits.taken() => return,
                },
            };
            match read {
                Ok(0) => return,
                Ok(n) => connection.feed(chunk.get(..n).unwrap_or_default()),
                Err(error) => {
                    tracing::debug!(%error, "a log connection broke");
                    return;
                }
            }
            if connection.lines.hopeless {
                return;
            }
        }
    }
}

/// One connection's bytes, cut into lines and counted as they come.
#[derive(Debug)]
pub struct Connection {
    handle: Handle,
    lines: Lines,
}

impl Connection {
    /// The next bytes, however they were cut.
    pub fn feed(&mut self, bytes: &[u8]) {
        let mut state = self.handle.state();
        self.lines.feed(bytes, &mut state);
        complain(state);
    }
}

/// Says what could not be read, when it is time to; the counters are free while it is written.
fn complain(mut state: MutexGuard<'_, State>) {
    let now = Instant::now();
    let (complaint, unproven) = (state.complaint(now), state.unproven_to_tell(now));
    drop(state);
    if let Some(count) = unproven {
        tracing::warn!(
            count,
            "lines came for HAProxy's log without the secret of its configuration; they count nowhere: somebody else writes \
             there, or a HAProxy with an older configuration"
        );
    }
    if let Some((count, sample)) = complaint {
        tracing::warn!(
            count,
            sample,
            "lines of HAProxy's log cannot be read; they count nowhere"
        );
    }
}
