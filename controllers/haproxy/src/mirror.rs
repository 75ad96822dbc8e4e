//! Requests that the canary is asked as well: HAProxy tells of each (SPOE), and the agent sends a copy through a frontend of
//! HAProxy's own, so that health checks, balancing, timeouts and the log are the same as for any other request.
//!
//! ```text
//! request ─> HAProxy ──> stable ──> the user
//!               │ told, acknowledged at once (20 ms at most are waited for that)
//!               └──> agent ── copy ──> HAProxy (copies.sock) ──> canary ──> nobody; the log line counts
//! ```
//!
//! Owner of `mirror.sock`. What must never happen: a user's request that waits for the canary, a copy of one that is not safe to
//! repeat, or copies without bounds: where the canary is slow, fewer requests are copied.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

mod copy;
mod sender;
pub mod spop;

use crate::config::{JAIL, Jail};
use copy::Copy;
pub(crate) use sender::Sender;
use spop::Frame;

/// What HAProxy's configuration names as the filter's.
pub const SPOE_FILE: &str = "mirror.spoe";
/// Says to the canary that nobody waits for its answer.
pub const MARK: &str = "x-fm-mirrored";
const SPOE: &str = include_str!("mirror/mirror.spoe");
/// Where HAProxy tells of requests.
const TOLD_AT: &str = "mirror.sock";
/// Where HAProxy takes copies.
const COPIES_AT: &str = "copies.sock";

/// Listens where HAProxy tells of requests.
#[derive(Debug)]
pub(crate) struct Mirror {
    listener: UnixListener,
    sender: Arc<Sender>,
}

impl Mirror {
    /// Writes the filter's file and begins to listen. Where HAProxy's workers are shut in, the socket lies there and is theirs.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub(crate) fn new(dir: &Path, jail: Option<Jail>) -> std::io::Result<Self> {
        use std::os::unix::fs::{PermissionsExt, chown};
        Self::write_filter(dir)?;
        let socket = Self::socket(dir, jail);
        match std::fs::remove_file(&socket) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&socket)?;
        std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o600))?;
        if let Some(jail) = jail {
            chown(&socket, Some(jail.uid), None)?;
        }
        Ok(Self {
            listener,
            sender: Arc::new(Sender::new(dir.join(COPIES_AT))),
        })
    }

    /// Writes the filter's file where it does not lie as it should.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub(crate) fn write_filter(dir: &Path) -> std::io::Result<()> {
        let path = dir.join(SPOE_FILE);
        if std::fs::read_to_string(&path).is_ok_and(|text| text == SPOE) {
            return Ok(());
        }
        crate::files::replace(&path, SPOE)
    }

    /// Where it listens.
    pub(crate) fn socket(dir: &Path, jail: Option<Jail>) -> PathBuf {
        match jail {
            Some(_) => dir.join(JAIL).join(TOLD_AT),
            None => dir.join(TOLD_AT),
        }
    }

    /// Who sends the copies.
    pub(crate) fn sender(&self) -> Arc<Sender> {
        self.sender.clone()
    }

    /// Copies until the shutdown.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        loop {
            let accepted = tokio::select! {
                () = shutdown.cancelled() => return,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let served = serve(stream, self.sender.clone());
                    let ended = shutdown.clone();
                    tokio::spawn(async move {
                        tokio::select! {
                            () = ended.cancelled() => {}
                            result = served => {
                                if let Err(error) = result {
                                    tracing::debug!(%error, "HAProxy's mirror connection ended");
                                }
                            }
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "HAProxy's mirror connection could not be taken");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

/// One connection of HAProxy's, for as many requests as it likes.
async fn serve(stream: UnixStream, sender: Arc<Sender>) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = tokio::io::BufReader::new(reader);
    let mut bytes = Vec::new();
    loop {
        let length = match reader.read_u32().await {
            Ok(length) => usize::try_from(length).unwrap_or(usize::MAX),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        };
        if length > spop::MAX_FRAME {
            return writer
                .write_all(&spop::disconnect("the frame is too long"))
                .await;
        }
        bytes.resize(length, 0);
        reader.read_exact(&mut bytes).await?;
        match spop::read(&bytes) {
            Some(Frame::Hello { max_frame, check }) => {
                writer.write_all(&spop::hello(max_frame)).await?;
                if check {
                    return Ok(());
                }
            }
            Some(Frame::Notify {
                stream,
                frame,
                arguments,
            }) => {
                let copy = Copy::of(&arguments);
                let taken = copy.and_then(|copy| {
                    let place = sender.place(&copy.backend)?;
                    Some((copy, place))
                });
                let answer = spop::acknowledge(stream, frame, taken.is_some());
                writer.write_all(&answer).await?;
                if let Some((copy, place)) = taken {
                    tokio::spawn(sender.clone().send(copy, place));
                }
            }
            Some(Frame::Disconnect) => return Ok(()),
            None => {
                return writer
                    .write_all(&spop::disconnect("the frame cannot be read"))
                    .await;
            }
        }
    }
}
