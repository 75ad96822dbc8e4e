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
use frames::Frames;

/// The longest datagram there is.
const MAX_DATAGRAM: usize = 64 * 1024;
/// Datagrams taken at once before other tasks get their turn.
const BATCH: usize = 512;
/// What the kernel keeps for us while we are busy (it may grant less).
const RECEIVE_BUFFER: usize = 8 << 20;
/// Connections of one receiver at once.
const MAX_CONNECTIONS: usize = 256;
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
    bound: Vec<Bound>,
    handle: Handle,
}

impl Intake {
    /// Listens at all of them.
    ///
    /// # Errors
    /// When one cannot be bound; the message names it.
    pub async fn bind(inputs: &[Input], handle: Handle) -> io::Result<Self> {
        let mut bound = Vec::new();
        for input in inputs {
            let named = |name: String| {
                move |error: io::Error| io::Error::new(error.kind(), format!("{name}: {error}"))
            };
            bound.push(match input {
                Input::Udp(address) => {
                    Bound::Udp(udp(*address).map_err(named(format!("udp://{address}")))?)
                }
                Input::Tcp(address) => {
                    let listener = TcpListener::bind(address).await;
                    Bound::Tcp(listener.map_err(named(format!("tcp://{address}")))?)
                }
                Input::Unix(path) => {
                    Bound::Unix(unix(path).map_err(named(format!("unix:{}", path.display())))?)
                }
                Input::Forward(forward) => {
                    let listener = TcpListener::bind(forward.address).await;
                    let listener =
                        listener.map_err(named(format!("forward {}", forward.address)))?;
                    Bound::Forward(listener, Box::new(forward::Server::new(forward)))
                }
            });
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
        for bound in &self.bound {
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
        for (at, bound) in self.bound.into_iter().enumerate() {
            let handle = Door {
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
                    tasks.spawn(accept(listener, move |stream, _| {
                        let handle = handle.clone();
                        async move { syslog(stream, &handle).await }
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
    way: Way,
}

impl Door {
    fn take_message(&self, message: &[u8], now: Instant) {
        self.handle.take_message(message, self.way, now);
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
            Ok(length) => handle.take_message(buffer.get(..length).unwrap_or_default(), now),
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

async fn syslog(mut stream: impl AsyncRead + Unpin, handle: &Door) {
    handle.connected();
    let (mut frames, mut chunk) = (Frames::default(), vec![0; CHUNK]);
    while let Ok(length @ 1..) = stream.read(&mut chunk).await {
        let now = Instant::now();
        frames.feed(
            chunk.get(..length).unwrap_or_default(),
            |message| match message {
                Some(message) => handle.take_message(message, now),
                None => {
                    handle.refuse(b"syslog over TCP: a message that is too long");
                }
            },
        );
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
