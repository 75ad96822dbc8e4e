//! What daemons tell one another over the network: over TLS, where each shows the other a certificate of the same authority.
//!
//! What must never happen: a caller without a certificate that is answered, or one that holds a place for long: a connection is
//! for one question, and has little time; each address has few of them.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::intake::TlsError;

/// A connection is over then, whatever it waits for: a slow reader and an idle one alike.
const LIFE: Duration = Duration::from_secs(10);
/// The handshake must be done by then.
const HANDSHAKE: Duration = Duration::from_secs(3);
/// Connections at once.
const MOST: usize = 128;
/// … of one address.
const MOST_EACH: usize = 16;

/// What a connection can do.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Our certificate, and the authority that ours and theirs are of.
#[derive(Clone)]
pub struct Peers {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Peers")
    }
}

impl Peers {
    /// Reads a chain of certificates, its private key and the authorities, all PEM.
    ///
    /// # Errors
    /// When one of them cannot be read, or they do not belong together.
    pub fn read(chain: &Path, key: &Path, authorities: &Path) -> Result<Self, TlsError> {
        let wrong = TlsError::new;
        let certificates: Vec<_> = CertificateDer::pem_file_iter(chain)
            .and_then(Iterator::collect)
            .map_err(|error| wrong(chain, &error))?;
        let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, &error))?;
        let mut roots = RootCertStore::empty();
        let found = CertificateDer::pem_file_iter(authorities);
        for certificate in found.map_err(|error| wrong(authorities, &error))? {
            let certificate = certificate.map_err(|error| wrong(authorities, &error))?;
            (roots.add(certificate)).map_err(|error| wrong(authorities, &error))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let roots = Arc::new(roots);
        let callers =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
                .build()
                .map_err(|error| wrong(authorities, &error))?;
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                builder
                    .with_client_cert_verifier(callers)
                    .with_single_cert(certificates.clone(), secret.clone_key())
            })
            .map_err(|error| wrong(chain, &error))?;
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                builder
                    .with_root_certificates(roots)
                    .with_client_auth_cert(certificates, secret)
            })
            .map_err(|error| wrong(chain, &error))?;
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(server)),
            connector: TlsConnector::from(Arc::new(client)),
        })
    }

    /// A connection to `host:port`, whose certificate must be for the host.
    ///
    /// # Errors
    /// When it cannot be reached, or is not whom it should be.
    pub async fn connect(&self, address: &str) -> io::Result<Box<dyn Stream>> {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let stream = TcpStream::connect(address).await?;
        Ok(Box::new(self.connector.connect(name, stream).await?))
    }
}

/// Callers that may be answered, as they come.
#[derive(Debug)]
pub struct Callers {
    ready: mpsc::Receiver<(Limited, SocketAddr)>,
    address: SocketAddr,
    _accepting: JoinSet<()>,
}

impl Callers {
    /// Takes what comes to this listener: over TLS alone, if there is a certificate.
    ///
    /// # Errors
    /// When the listener has no address.
    pub fn of(listener: TcpListener, peers: Option<Peers>) -> io::Result<Self> {
        let (give, ready) = mpsc::channel(16);
        let address = listener.local_addr()?;
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, peers, give));
        Ok(Self {
            ready,
            address,
            _accepting: accepting,
        })
    }

    /// The next one.
    pub async fn next(&mut self) -> (Limited, SocketAddr) {
        match self.ready.recv().await {
            Some(caller) => caller,
            None => std::future::pending().await,
        }
    }

    /// Where they come to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn accept(
    listener: TcpListener,
    peers: Option<Peers>,
    give: mpsc::Sender<(Limited, SocketAddr)>,
) {
    let places = Arc::new(Semaphore::new(MOST));
    let each = Each::default();
    let mut handshakes = JoinSet::new();
    loop {
        while handshakes.try_join_next().is_some() {}
        let (stream, caller) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection of another daemon cannot be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let place = Arc::clone(&places).try_acquire_owned();
        let (Ok(place), Some(own)) = (place, each.enter(caller.ip())) else {
            tracing::debug!(%caller, "too many connections: refused");
            continue;
        };
        let (peers, give) = (peers.clone(), give.clone());
        handshakes.spawn(async move {
            let until = Instant::now() + LIFE;
            let stream: Box<dyn Stream> = match peers {
                None => Box::new(stream),
                Some(peers) => {
                    let shaken = peers.acceptor.accept(stream);
                    match tokio::time::timeout(HANDSHAKE, shaken).await {
                        Ok(Ok(stream)) => Box::new(stream),
                        Ok(Err(error)) => {
                            tracing::debug!(%caller, %error, "it shows no certificate of ours");
                            return;
                        }
                        Err(_) => return,
                    }
                }
            };
            let limited = Limited {
                stream,
                until: Box::pin(tokio::time::sleep_until(until)),
                _place: place,
                _own: own,
            };
            let _ = give.send((limited, caller)).await;
        });
    }
}

/// How many connections each address has.
#[derive(Debug, Clone, Default)]
struct Each(Arc<Mutex<HashMap<IpAddr, usize>>>);

#[derive(Debug)]
struct Own(Each, IpAddr);

impl Each {
    fn enter(&self, address: IpAddr) -> Option<Own> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = all.entry(address).or_default();
        (*count < MOST_EACH).then(|| {
            *count += 1;
            Own(self.clone(), address)
        })
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let Own(each, address) = self;
        let mut all = each.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = all.get_mut(address) {
            *count -= 1;
            if *count == 0 {
                all.remove(address);
            }
        }
    }
}

/// A connection that ends when its time is over.
pub struct Limited {
    stream: Box<dyn Stream>,
    until: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
    _own: Own,
}

impl fmt::Debug for Limited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Limited")
    }
}

impl Limited {
    fn over(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.until.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Limited {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.over(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Limited {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.over(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.over(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.over(cx)?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
