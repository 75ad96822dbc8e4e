//! One connection to a destination: the handshake, chunks, acknowledgements.
//!
//! What must never happen: waiting for ever. Every step has its time, but for the rest between two chunks.

use std::io;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Destination;
use super::queue::Chunk;
use crate::forward::decoder::{Decoder, Unreadable};
use crate::forward::handshake::{self, Unproven};
use crate::forward::msgpack::{Malformed, Reader, put_bin, put_str, put_uint};

/// How long a connection or a handshake may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long an acknowledgement may take: a busy Fluentd writes to its disk first.
const ACKNOWLEDGED: Duration = Duration::from_secs(60);
/// What a destination may say in one message. Acknowledgements are short.
const MAX_ANSWER: usize = 64 * 1024;

/// Why a connection is given up.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}: no answer within {1:?}")]
    Slow(&'static str, Duration),
    #[error("it closed the connection{0}")]
    Closed(&'static str),
    #[error("the shared key: {0}")]
    Key(#[from] Unproven),
    #[error("it asks for a shared key, and none is given")]
    WantsKey,
    #[error("it asks for a user and a password, which frd does not send")]
    WantsUser,
    #[error("what it says is not Forward: {0}")]
    Unreadable(String),
    #[error("it acknowledged something else than was sent")]
    Acknowledgement,
    #[error("TLS: `{0}` is no name that a certificate can have")]
    Name(String),
}

impl From<Unreadable> for Lost {
    fn from(error: Unreadable) -> Self {
        Lost::Unreadable(error.to_string())
    }
}

impl From<Malformed> for Lost {
    fn from(error: Malformed) -> Self {
        Lost::Unreadable(error.to_string())
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for S {}

pub(super) struct Client {
    stream: Box<dyn Stream>,
    heard: Decoder,
    delivered: bool,
    /// A chunk was begun and not acknowledged.
    within: bool,
}

impl Client {
    /// Connects and, with a shared key, lets both sides prove that they know it.
    pub(super) async fn connect(destination: &Destination) -> Result<Self, Lost> {
        let slow = |_| Lost::Slow("connecting", PATIENCE);
        let opened = TcpStream::connect(&destination.to);
        let stream = timeout(PATIENCE, opened).await.map_err(slow)??;
        stream.set_nodelay(true)?;
        let mut client = Self {
            stream: secured(destination, stream).await?,
            heard: Decoder::default(),
            delivered: false,
            within: false,
        };
        if let Some(key) = &destination.shared_key {
            let slow = |_| Lost::Slow("the handshake (does it know a shared key?)", PATIENCE);
            let shaken = client.prove(destination, key);
            timeout(PATIENCE, shaken).await.map_err(slow)??;
        }
        Ok(client)
    }

    async fn prove(&mut self, destination: &Destination, key: &[u8]) -> Result<(), Lost> {
        let mut salt = [0; 16];
        let random = rustls::crypto::ring::default_provider().secure_random;
        let none = |_| io::Error::other("no randomness is to be had");
        random.fill(&mut salt).map_err(none)?;
        // As text: some receivers take strings for UTF-8.
        let salt = format!("{:032x}", u128::from_be_bytes(salt));
        let (salt, host) = (salt.as_bytes(), destination.instance.as_bytes());
        let length = self.hear().await?;
        let helo = handshake::read_helo(self.heard.front(length))?;
        if helo.wants_user {
            return Err(Lost::WantsUser);
        }
        let nonce = helo.nonce.to_vec();
        self.heard.done(length);
        let ping = handshake::ping(host, salt, &nonce, key);
        self.stream.write_all(&ping).await?;
        self.stream.flush().await?;
        let length = self.hear().await?;
        handshake::read_pong(self.heard.front(length), salt, &nonce, key)?;
        self.heard.done(length);
        Ok(())
    }

    /// Sends a chunk and waits until it is acknowledged.
    pub(super) async fn deliver(&mut self, to: &Destination, chunk: &Chunk) -> Result<(), Lost> {
        self.within = true;
        let message = message(to.tag.as_bytes(), chunk);
        let sent = async {
            self.stream.write_all(&message).await?;
            self.stream.flush().await
        };
        let slow = |_| Lost::Slow("sending a chunk", ACKNOWLEDGED);
        timeout(ACKNOWLEDGED, sent).await.map_err(slow)??;
        let slow = |_| Lost::Slow("a chunk's acknowledgement", ACKNOWLEDGED);
        let heard = timeout(ACKNOWLEDGED, self.hear());
        let length = heard.await.map_err(slow)??;
        let known = acknowledges(self.heard.front(length), chunk.name.as_bytes())?;
        self.heard.done(length);
        if !known {
            return Err(Lost::Acknowledgement);
        }
        (self.delivered, self.within) = (true, false);
        Ok(())
    }

    /// Whether a chunk was ever acknowledged over this connection.
    pub(super) fn has_delivered(&self) -> bool {
        self.delivered
    }

    /// Whether a chunk was begun over it and never acknowledged.
    pub(super) fn is_within_a_chunk(&self) -> bool {
        self.within
    }

    /// Waits until the other side closes, or says what nobody asked for.
    pub(super) async fn closed(&mut self) -> Lost {
        match self.hear().await {
            Ok(length) => match handshake::read_helo(self.heard.front(length)) {
                Ok(_) => Lost::WantsKey,
                Err(_) => Lost::Acknowledgement,
            },
            Err(lost) => lost,
        }
    }

    /// The length of the next message.
    async fn hear(&mut self) -> Result<usize, Lost> {
        let mut bytes = [0; 4096];
        loop {
            if let Some(length) = self.heard.whole()? {
                return Ok(length);
            }
            if self.heard.held() > MAX_ANSWER {
                return Err(Lost::Unreadable("an answer without an end".to_owned()));
            }
            match self.stream.read(&mut bytes).await? {
                0 if self.delivered => return Err(Lost::Closed("")),
                0 => return Err(Lost::Closed(" before it took anything")),
                read => self.heard.feed(bytes.get(..read).unwrap_or_default()),
            }
        }
    }
}

async fn secured(destination: &Destination, stream: TcpStream) -> Result<Box<dyn Stream>, Lost> {
    let Some(trust) = &destination.tls else {
        return Ok(Box::new(stream));
    };
    let host = destination.to.rsplit_once(':').map_or("", |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let name = match &trust.name {
        Some(name) => name.clone(),
        None => ServerName::try_from(host.to_owned()).map_err(|_| Lost::Name(host.to_owned()))?,
    };
    let slow = |_| Lost::Slow("the beginning of TLS", PATIENCE);
    let opened = trust.connector.connect(name, stream);
    Ok(Box::new(timeout(PATIENCE, opened).await.map_err(slow)??))
}

/// `[tag, entries, {"size": lines, "chunk": name}]`
fn message(tag: &[u8], chunk: &Chunk) -> Vec<u8> {
    let mut out = Vec::with_capacity(chunk.entries.len() + 256);
    out.push(0x93);
    put_str(&mut out, tag);
    put_bin(&mut out, &chunk.entries);
    out.push(0x82);
    put_str(&mut out, b"size");
    put_uint(&mut out, chunk.lines);
    put_str(&mut out, b"chunk");
    put_str(&mut out, chunk.name.as_bytes());
    out
}

/// Whether it is `{"ack": name}`.
fn acknowledges(answer: &[u8], name: &[u8]) -> Result<bool, Lost> {
    if handshake::read_helo(answer).is_ok() {
        return Err(Lost::WantsKey);
    }
    let mut reader = Reader(answer);
    let mut known = false;
    for _ in 0..reader.map()? {
        match reader.bytes()? {
            b"ack" => known = reader.bytes()? == name,
            _ => reader.skip()?,
        }
    }
    Ok(known)
}
