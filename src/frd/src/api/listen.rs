//! The unix socket. What must never happen: two daemons on one path, or a socket that others than its owner and group can open.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use axum::Router;
use rustix::fs::OFlags;
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use crate::door::{self, Limits};
use crate::users;

/// A socket that is ours alone.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
    limits: Limits,
    // Held for as long as the socket is: a second daemon cannot take its path over.
    _lock: File,
}

impl Socket {
    /// Makes the socket, with mode 0660, in a folder that is made with mode 0750 if it is missing.
    ///
    /// # Errors
    /// When another process answers on it, when something else lies there, or when it cannot be made.
    pub async fn bind(path: &Path, group: Option<&str>) -> Result<Self> {
        let gid = match group {
            Some(name) => {
                Some(users::group_id(name).with_context(|| format!("there is no group `{name}`"))?)
            }
            None => None,
        };
        let folder = path.parent().context("the socket's path has no folder")?;
        if !folder.exists() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o750)
                .create(folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
            std::os::unix::fs::chown(folder, None, gid)
                .with_context(|| format!("cannot give {} to its group", folder.display()))?;
        }
        let lock = lock(path)?;
        remove_stale(path).await?;
        let listener = UnixListener::bind(path)
            .with_context(|| format!("cannot listen on {}", path.display()))?;
        std::os::unix::fs::chown(path, None, gid)
            .with_context(|| format!("cannot give {} to its group", path.display()))?;
        std::fs::set_permissions(path, Permissions::from_mode(0o660))
            .with_context(|| format!("cannot set the mode of {}", path.display()))?;
        Ok(Self {
            listener,
            path: path.to_owned(),
            limits: Limits::api(),
            _lock: lock,
        })
    }

    /// The same with other limits.
    #[must_use]
    pub fn bearing(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Answers requests until the token is cancelled; then open requests have a moment to end.
    ///
    /// # Errors
    /// When the socket fails.
    pub async fn serve(self, router: Router, shutdown: CancellationToken) -> io::Result<()> {
        let Self {
            listener,
            path,
            limits,
            _lock,
        } = self;
        door::serve("api", listener, router, limits, shutdown).await;
        // The lock is still held: nobody else's socket can lie there.
        let _ = std::fs::remove_file(path);
        Ok(())
    }
}

fn lock(path: &Path) -> Result<File> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(false)
        .mode(0o600)
        // A link that somebody put there would lead to a file of theirs, or to one of ours.
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(&name)
        .with_context(|| format!("cannot open {}", Path::new(&name).display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!(
            "another frd listens on {}; stop it, or give this one its own with --listen unix:PATH",
            path.display()
        ),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", Path::new(&name).display()))
        }
    }
}

/// Removes a socket that a dead process left behind, and nothing else.
async fn remove_stale(path: &Path) -> Result<()> {
    let shown = path.display();
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("cannot look at {shown}")),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            bail!("{shown} exists and is no socket; it is left as it is")
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path).await {
        Ok(_) => bail!(
            "another process answers on {shown}; stop it, or listen elsewhere with --listen unix:PATH"
        ),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
                .with_context(|| format!("cannot remove the stale socket {shown}"))
        }
        Err(error) => {
            Err(error).with_context(|| format!("cannot tell whether anybody answers on {shown}"))
        }
    }
}
