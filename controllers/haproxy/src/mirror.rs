//! Requests that the canary is asked as well: HAProxy tells of each (SPOE), and the agent sends a copy through a frontend of
//! HAProxy's own, so that health checks, balancing, timeouts and the log are the same as for any other request.
//!
//! ```text
//! request ─> HAProxy ──> stable ──> the user
//!               │ told, acknowledged at once
//!               └──> agent ── copy ──> HAProxy (copies.sock) ──> canary ──> nobody; the log line counts
//! ```
//!
//! Owner of `mirror.sock`. What must never happen: a user's request that waits for the canary, a copy of one that is not safe to
//! repeat, or more copies at once than `MOST`: where the canary is slow, fewer requests are copied, and no original counts without its copy.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

mod copy;
pub mod spop;

use copy::Copy;
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
/// Copies under way at once.
const MOST: usize = 256;

/// Listens where HAProxy tells of requests.
#[derive(Debug)]
pub(crate) struct Mirror {
    listener: UnixListener,
    copies: PathBuf,
    room: Arc<Semaphore>,
}

impl Mirror {
    /// Writes the filter's file and begins to listen.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub(crate) fn new(dir: &Path) -> std::io::Result<Self> {
        use std::os::unix::fs::PermissionsExt;
        crate::files::replace(&dir.join(SPOE_FILE), SPOE)?;
        let socket = dir.join(TOLD_AT);
        match std::fs::remove_file(&socket) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&socket)?;
        std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self {
            listener,
            copies: dir.join(COPIES_AT),
            room: Arc::new(Semaphore::new(MOST)),
        })
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
                    let served = serve(stream, self.copies.clone(), self.room.clone());
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
async fn serve(stream: UnixStream, copies: PathBuf, room: Arc<Semaphore>) -> std::io::Result<()> {
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
                let place = room.clone().try_acquire_owned().ok();
                let taken = copy.zip(place);
                writer
                    .write_all(&spop::acknowledge(stream, frame, taken.is_some()))
                    .await?;
                if let Some((copy, place)) = taken {
                    let copies = copies.clone();
                    tokio::spawn(async move {
                        if let Err(error) = copy.send(&copies).await {
                            tracing::debug!(error = %format_args!("{error:#}"), "a copy was not sent to its end");
                        }
                        drop(place);
                    });
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
