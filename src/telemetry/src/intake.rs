//! Further ways by which a log arrives, beside the default one: syslog over UDP, TCP and unix datagrams, and Forward.
//!
//! `socket -> frames | forward -> syslog wrapper off -> the counters that the default receiver counts into`
//!
//! Owner of the state: the [`Handle`]'s counters, and here only sockets and buffers. What must never happen: a sender that is
//! answered with back-pressure on HAProxy (datagrams are dropped by the kernel, and missing numbers count the loss),
//! memory that a sender decides about, or a log of ours that grows with what is hostile: one line a minute says it.

mod forward;
mod frames;

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, UdpSocket, UnixDatagram};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

pub use forward::{Forward, Tls, TlsError};

use crate::Handle;
use crate::counters::Way;
use crate::proof::{Proof, Strangers, Whose};
use frames::Frames;

/// The longest datagram there is.
const MAX_DATAGRAM: usize = 64 * 1024;
/// Datagrams taken at once before other tasks get their turn.
const BATCH: usize = 512;
/// What the kernel keeps for us while we are busy (it may grant less).
const RECEIVE_BUFFER: usize = 8 << 20;
/// Connections of one receiver at once.
const MAX_CONNECTIONS: usize = 256;
/// … of which so many have not shown the secret that is needed there; one more, and the oldest of them goes.
const MAX_STRANGERS: usize = 64;
const CHUNK: usize = 64 * 1024;

/// Receivers at most, so that each way is told apart from the others and from the default one.
pub const MAX_INPUTS: usize = crate::repeats::MAX_WAYS - 1;

/// Where a log arrives.
#[derive(Debug, Clone)]
pub enum Input {
    /// Syslog, a message in each datagram.
    Udp(SocketAddr),
    /// Syslog, octet-counted or ended by LF.
    Tcp(SocketAddr),
    /// Syslog, a message in each datagram.
    Unix(PathBuf),
    /// The protocol of Fluentd and Fluent Bit.
    Forward(Forward),
}

/// A receiver, and what each line must begin with there; nothing: whoever reaches it can tell of requests.
#[derive(Debug, Clone)]
pub struct Source {
    /// Where.
    pub input: Input,
    /// The secret of HAProxy's configuration; with Forward the shared key is in its place.
    pub proof: Option<Proof>,
}

impl Source {
    /// Whether who sends must show something that others do not know.
    #[must_use]
    pub fn is_proven(&self) -> bool {
        match &self.input {
            Input::Forward(forward) => forward.shared_key.is_some(),
            Input::Udp(_) | Input::Tcp(_) | Input::Unix(_) => self.proof.is_some(),
        }
    }
}

impl Input {
    /// What makes it known who sends.
    #[must_use]
    pub fn needs(&self) -> &'static str {
        match self {
            Input::Forward(_) => "sharedKey",
            Input::Udp(_) | Input::Tcp(_) | Input::Unix(_) => "secret",
        }
    }
}

impl std::fmt::Display for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Input::Udp(address) => write!(f, "udp://{address}"),
            Input::Tcp(address) => write!(f, "tcp://{address}"),
            Input::Unix(path) => write!(f, "unix:{}", path.display()),
            Input::Forward(forward) => write!(f, "forward {}", forward.address),
        }
    }
}

impl From<Input> for Source {
    fn from(input: Input) -> Self {
        Self { input, proof: None }
    }
}

#[derive(Debug)]
enum Bound {
    Udp(UdpSocket),
    Tcp(TcpListener),
    Unix(UnixDatagram),
    Forward(TcpListener, Box<forward::Server>),
}

/// Receivers that listen, and count into one [`Handle`].
#[derive(Debug)]
pub struct Intake {
    bound: Vec<(Bound, Option<Proof>)>,
    handle: Handle,
}

impl Intake {
    /// Listens at all of them.
    ///
    /// # Errors
    /// When one cannot be bound; the message names it.
    pub async fn bind(sources: &[impl Into<Source> + Clone], handle: Handle) -> io::Result<Self> {
        let mut bound = Vec::new();
        for source in sources {
            let Source { input, proof } = source.clone().into();
            let name = input.to_string();
            let named = |error: io::Error| io::Error::new(error.kind(), format!("{name}: {error}"));
            let listens = match input {
                Input::Udp(address) => Bound::Udp(udp(address).map_err(named)?),
                Input::Tcp(address) => {
                    let listener = TcpListener::bind(address).await;
                    Bound::Tcp(listener.map_err(named)?)
                }
                Input::Unix(path) => Bound::Unix(unix(&path).map_err(named)?),
                Input::Forward(forward) => {
                    let listener = TcpListener::bind(forward.address).await;
                    let listener = listener.map_err(named)?;
                    Bound::Forward(listener, Box::new(forward::Server::new(&forward)))
                }
            };
            bound.push((listens, proof));
        }
        if !bound.is_empty() {
            handle.more_ways();
        }
        Ok(Self { bound, handle })
    }

    /// Where the receivers of UDP, TCP and Forward listen, in their order.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        let mut addresses = Vec::new();
        for (bound, _) in &self.bound {
            match bound {
                Bound::Udp(socket) => addresses.push(socket.local_addr()?),
                Bound::Tcp(listener) | Bound::Forward(listener, _) => {
                    addresses.push(listener.local_addr()?)
                }
                Bound::Unix(_) => {}
            }
        }
        Ok(addresses)
    }

    /// Receives until it is dropped.
    pub async fn run(self) -> std::convert::Infallible {
        let mut tasks = JoinSet::new();
        for (at, (bound, proof)) in self.bound.into_iter().enumerate() {
            let handle = Door {
                proof,
                handle: self.handle.clone(),
                way: Way {
                    number: at + 1,
                    sent_on: !matches!(bound, Bound::Forward(..)),
                },
            };
            match bound {
                Bound::Udp(socket) => {
                    tasks.spawn(async move {
                        loop {
                            let ready = socket.readable().await;
                            drain(ready, |buffer| socket.try_recv(buffer), &handle).await;
                        }
                    });
                }
                Bound::Unix(socket) => {
                    tasks.spawn(async move {
                        loop {
                            let ready = socket.readable().await;
                            drain(ready, |buffer| socket.try_recv(buffer), &handle).await;
                        }
                    });
                }
                Bound::Tcp(listener) => {
                    let strangers = Strangers::at_most(MAX_STRANGERS);
                    tasks.spawn(accept(listener, move |stream, _| {
                        let (handle, strangers) = (handle.clone(), strangers.clone());
                        async move { syslog(stream, &handle, &strangers).await }
                    }));
                }
                Bound::Forward(listener, server) => {
                    let server = Arc::new(*server);
                    tasks.spawn(accept(listener, move |stream, peer| {
                        let (server, handle) = (Arc::clone(&server), handle.clone());
                        async move {
                            handle.connected();
                            if let Err(error) = server.serve(stream, &handle).await {
                                handle.refuse(format!("Forward from {peer}: {error}").as_bytes());
                            }
                        }
                    }));
                }
            }
        }
        while tasks.join_next().await.is_some() {}
        // Nothing to receive: whoever waits for the end of this waits for ever, as with receivers.
        std::future::pending().await
    }
}

/// What comes by one of the receivers.
#[derive(Debug, Clone)]
struct Door {
    handle: Handle,
    proof: Option<Proof>,
    way: Way,
}

impl Door {
    fn take_message(&self, message: &[u8], now: Instant) -> Whose {
        (self.handle).take_message(message, self.way, self.proof.as_ref(), now)
    }

    fn refuse(&self, sample: &[u8]) {
        self.handle.refuse(sample);
    }

    fn connected(&self) {
        self.handle.connected();
    }
}

fn udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    socket2::SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER)?;
    UdpSocket::from_std(socket)
}

/// What a process that is gone left behind is replaced; one that listens is not.
fn unix(path: &PathBuf) -> io::Result<UnixDatagram> {
    if std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        let probe = std::os::unix::net::UnixDatagram::unbound()?;
        if probe.connect(path).is_ok() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        std::fs::remove_file(path)?;
    }
    let socket = UnixDatagram::bind(path)?;
    socket2::SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER)?;
    Ok(socket)
}

/// Takes what has arrived, a batch at most.
async fn drain(
    ready: io::Result<()>,
    receive: impl Fn(&mut [u8]) -> io::Result<usize>,
    handle: &Door,
) {
    let mut buffer = vec![0; MAX_DATAGRAM];
    let now = Instant::now();
    let mut failed = ready.err();
    for _ in 0..BATCH {
        match receive(&mut buffer) {
            Ok(length) => {
                handle.take_message(buffer.get(..length).unwrap_or_default(), now);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => {
                failed = Some(error);
                break;
            }
        }
    }
    if let Some(error) = failed {
        tracing::debug!(%error, "a log socket cannot be read");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn syslog(mut stream: impl AsyncRead + Unpin, handle: &Door, strangers: &Strangers) {
    let (mut frames, mut chunk) = (Frames::default(), vec![0; CHUNK]);
    let mut stranger = handle.proof.as_ref().map(|_| strangers.enter());
    let mut greeted = false;
    loop {
        if stranger.is_none() && !std::mem::replace(&mut greeted, true) {
            handle.connected();
        }
        let read = match &stranger {
            None => stream.read(&mut chunk).await,
            Some(waits) => tokio::select! {
                read = stream.read(&mut chunk) => read,
                () = waits.taken() => return,
            },
        };
        let Ok(length @ 1..) = read else { return };
        let now = Instant::now();
        let (mut ours, mut strange) = (false, false);
        frames.feed(
            chunk.get(..length).unwrap_or_default(),
            |message| match message {
                Some(message) => {
                    let whose = handle.take_message(message, now);
                    ours |= whose == Whose::Ours;
                    strange |= whose == Whose::Strange;
                }
                None if handle.proof.is_some() => {
                    handle.handle.unproven();
                    strange = true;
                }
                None => handle.refuse(b"syslog over TCP: a message that is too long"),
            },
        );
        if ours {
            stranger = None;
        } else if strange && stranger.is_some() {
            return;
        }
    }
}

/// Serves connections, so many at once; one more is closed.
async fn accept<F, Served>(listener: TcpListener, serve: F)
where
    F: Fn(tokio::net::TcpStream, SocketAddr) -> Served,
    Served: Future<Output = ()> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut tasks = JoinSet::new();
    loop {
        while tasks.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, peer)) => {
                let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                    tracing::warn!(%peer, "too many connections to a log receiver: refused");
                    continue;
                };
                let served = serve(stream, peer);
                tasks.spawn(async move {
                    served.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a log receiver cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
