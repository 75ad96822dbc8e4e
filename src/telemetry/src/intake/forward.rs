//! The server side of Forward: one connection after the handshake, message by message, acknowledged once counted.
//!
//! Owner of the state: the budget of bytes that all connections share, and the names of chunks already counted (a sender
//! that did not see its acknowledgement sends again; that must not count twice).

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::{CHUNK, Door};
use crate::forward::decoder::{Decoder, Unreadable};
use crate::forward::handshake;
use crate::forward::message::{self, Refused};
use crate::forward::msgpack::{Malformed, put_str};

/// What all connections may hold together, in chunks.
const BUDGET: usize = (128 << 20) / CHUNK;
/// How long a handshake, or the rest of a message, may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Chunks remembered as counted.
const MAX_CHUNKS: usize = 10_000;
/// A chunk's name; Fluentd's have 24 bytes.
const MAX_CHUNK_NAME: usize = 128;

/// Where and how Forward is received.
#[derive(Clone)]
pub struct Forward {
    /// Where.
    pub address: SocketAddr,
    /// Senders must know it.
    pub shared_key: Option<Vec<u8>>,
    /// Senders must speak TLS.
    pub tls: Option<Tls>,
}

impl fmt::Debug for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "forward {} (keyed: {}, tls: {})",
            self.address,
            self.shared_key.is_some(),
            self.tls.is_some()
        )
    }
}

/// A certificate with its key.
#[derive(Clone)]
pub struct Tls(TlsAcceptor);

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TlsError(String);

impl TlsError {
    pub(crate) fn new(path: &Path, error: &dyn fmt::Display) -> Self {
        Self(format!("{}: {error}", path.display()))
    }
}

impl Tls {
    /// Reads a chain of certificates and its private key, both PEM.
    ///
    /// # Errors
    /// When one of them cannot be read, or they do not belong together.
    pub fn read(chain: &Path, key: &Path) -> Result<Self, TlsError> {
        let shown = TlsError::new;
        let certificates: Vec<_> = CertificateDer::pem_file_iter(chain)
            .and_then(Iterator::collect)
            .map_err(|error| shown(chain, &error))?;
        let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| shown(key, &error))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                builder
                    .with_no_client_auth()
                    .with_single_cert(certificates, secret)
            })
            .map_err(|error| shown(chain, &error))?;
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }
}

/// Why a connection is given up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    #[error("all connections together hold too much")]
    Budget,
    #[error("the rest of a message did not come")]
    Slow,
    #[error("cut off within a message")]
    Cut,
    #[error("it does not know the shared key")]
    Key,
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl From<Malformed> for Broken {
    fn from(malformed: Malformed) -> Self {
        Broken::Refused(malformed.into())
    }
}

#[derive(Debug)]
pub(crate) struct Server {
    forward: Forward,
    budget: Arc<Semaphore>,
    counted: Mutex<Counted>,
    /// One message at a time is inflated.
    inflates: Semaphore,
}

#[derive(Debug, Default)]
struct Counted {
    names: HashSet<Box<[u8]>>,
    order: VecDeque<Box<[u8]>>,
}

impl Server {
    pub(crate) fn new(forward: &Forward) -> Self {
        Self {
            forward: forward.clone(),
            budget: Arc::new(Semaphore::new(BUDGET)),
            counted: Mutex::default(),
            inflates: Semaphore::new(1),
        }
    }

    /// Serves a connection to its end.
    pub(crate) async fn serve(&self, stream: TcpStream, handle: &Door) -> Result<(), Broken> {
        match &self.forward.tls {
            Some(tls) => {
                let stream = timeout(PATIENCE, tls.0.accept(stream))
                    .await
                    .map_err(|_| Broken::Slow)??;
                self.talk(stream, handle).await
            }
            None => self.talk(stream, handle).await,
        }
    }

    async fn talk(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        handle: &Door,
    ) -> Result<(), Broken> {
        let mut wire = Wire {
            stream,
            decoder: Decoder::default(),
            budget: Arc::clone(&self.budget),
            held: Vec::new(),
        };
        if let Some(key) = &self.forward.shared_key {
            let mut nonce = [0; 16];
            let random = rustls::crypto::ring::default_provider().secure_random;
            random.fill(&mut nonce).map_err(|_| Broken::Key)?;
            // As text: clients whose strings are UTF-8 would garble other bytes, and never prove the key.
            let nonce = format!("{:032x}", u128::from_be_bytes(nonce));
            let nonce = nonce.as_bytes();
            wire.send(&handshake::helo(nonce)).await?;
            let length = timeout(PATIENCE, wire.next())
                .await
                .map_err(|_| Broken::Slow)??;
            let Some(length) = length else { return Ok(()) };
            let (pong, known) = handshake::pong(wire.decoder.front(length), nonce, key)?;
            wire.send(&pong).await?;
            if !known {
                return Err(Broken::Key);
            }
            wire.done(length);
        }
        while let Some(length) = wire.next().await? {
            let ack = self.count(wire.decoder.front(length), handle).await?;
            wire.done(length);
            if let Some(ack) = ack {
                wire.send(&ack).await?;
            }
        }
        Ok(())
    }

    /// Counts a message, and gives its acknowledgement if one is asked for.
    async fn count(&self, bytes: &[u8], handle: &Door) -> Result<Option<Vec<u8>>, Broken> {
        let message = message::read(bytes)?;
        let chunk = message.chunk.filter(|name| name.len() <= MAX_CHUNK_NAME);
        let place = match message.compressed() {
            true => self.inflates.acquire().await.ok(),
            false => None,
        };
        // Held over the counting, so that a chunk that comes over two connections at once counts once.
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if chunk.is_none_or(|name| !counted.names.contains(name)) {
            let now = Instant::now();
            message.lines(|line| {
                handle.take_message(line, now);
            })?;
            if let Some(name) = chunk {
                counted.remember(name);
            }
        }
        drop((counted, place));
        Ok(chunk.map(|name| {
            let mut ack = vec![0x81];
            put_str(&mut ack, b"ack");
            put_str(&mut ack, name);
            ack
        }))
    }
}

impl Counted {
    fn remember(&mut self, name: &[u8]) {
        if self.order.len() >= MAX_CHUNKS
            && let Some(oldest) = self.order.pop_front()
        {
            self.names.remove(&oldest);
        }
        self.names.insert(name.into());
        self.order.push_back(name.into());
    }
}

/// A connection and what has come over it.
struct Wire<S> {
    stream: S,
    decoder: Decoder,
    budget: Arc<Semaphore>,
    /// The part of the budget that the decoder takes.
    held: Vec<OwnedSemaphorePermit>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Waits until a whole message stands first: its length, or `None` at the end.
    async fn next(&mut self) -> Result<Option<usize>, Broken> {
        let mut chunk = Vec::new();
        loop {
            if let Some(length) = self.decoder.whole()? {
                return Ok(Some(length));
            }
            chunk.resize(CHUNK, 0);
            let begun = self.decoder.held() > 0;
            // A connection may rest between messages, but not within one.
            let read = if begun {
                timeout(PATIENCE, self.stream.read(&mut chunk))
                    .await
                    .map_err(|_| Broken::Slow)??
            } else {
                self.stream.read(&mut chunk).await?
            };
            if read == 0 {
                return if begun { Err(Broken::Cut) } else { Ok(None) };
            }
            self.decoder.feed(chunk.get(..read).unwrap_or_default());
            while self.held.len() < self.decoder.held() / CHUNK {
                let more = Arc::clone(&self.budget).try_acquire_owned();
                self.held.push(more.map_err(|_| Broken::Budget)?);
            }
        }
    }

    fn done(&mut self, length: usize) {
        self.decoder.done(length);
        self.held.truncate(self.decoder.held() / CHUNK);
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        let sent = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        Ok(timeout(PATIENCE, sent).await.map_err(|_| Broken::Slow)??)
    }
}
