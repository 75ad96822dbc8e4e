//! The embedded store: one file on one machine, one process.
//!
//! A thread of its own writes: transactions that wait at the same time share one fsync, each with its own revision and
//! its own outcome, and nobody is answered before the file is durable. Reads see only what is durable. Recent changes
//! are kept in memory for watches; after a restart every change before it counts as compacted.
//!
//! Exactly one process has the file open, so at the start every lease of at most [`SIGN_OF_LIFE`] belongs to a process
//! that is gone: it ends at once and its keys go with it. Longer leases (how long events are kept) run on by the
//! machine's clock.
//!
//! What must never happen: an answer before the fsync; two processes on one file.

mod copies;
mod damage;
mod reserve;
mod ring;
mod tables;
mod writer;

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, mpsc};
use std::time::Duration;

use async_trait::async_trait;
use redb::{Database, DatabaseError, ReadableDatabase, StorageError};
use tokio::sync::{oneshot, watch};

pub use self::copies::{Checked, Copy, KEPT, back_up, check, copies, restore};
use self::damage::caught;
use self::reserve::Reserve;
use self::ring::Ring;
use self::writer::{Command, Request, Writer};
use crate::{
    Entry, Health, LeaseId, Listing, Lost, SharedStore, Space, Store, StoreError, Txn, Watch,
    limits,
};

/// Leases up to this long say that a process lives; they do not outlast it.
pub const SIGN_OF_LIFE: Duration = Duration::from_secs(60);

/// The file's name in the data directory.
const FILE: &str = "store.redb";

/// What redb may keep in memory. The kernel's page cache does the rest.
const CACHE: usize = 2 << 20;

/// A file up to this size is checked whole when it is opened: a second or so.
const CHECKED: u64 = 256 << 20;

/// The kernel's word for a disk that fails.
const EIO: i32 = 5;

/// How many batches wait for a slow reader of a watch before it must take from the ring again.
const WATCH_BUFFER: usize = 64;

/// Opens the store in this directory. A new one is made only where none of these traces of an earlier one exists: a folder
/// that is not mounted, or a file that somebody removed, must not look like a fresh start.
///
/// # Errors
/// As [`open`]; [`StoreError::Refused`] also where there is a trace and no store.
pub fn open_beside(directory: &Path, traces: &[PathBuf]) -> Result<SharedStore, StoreError> {
    let path = directory.join(FILE);
    let there = std::fs::metadata(&path).is_ok_and(|meta| meta.len() > 0);
    let trace = traces.iter().find(|trace| trace.exists());
    if let (false, Some(trace)) = (there, trace) {
        return Err(StoreError::Refused(format!(
            "{} is {}, but {} shows that there was a store: mount the folder or bring the file back from a backup; \
             where everything is to begin anew, start once with --new-store",
            path.display(),
            if path.exists() { "empty" } else { "not there" },
            trace.display()
        )));
    }
    open(directory)
}

/// Opens, or makes, the store in this directory.
///
/// # Errors
/// [`StoreError::Locked`] when another process has it open; [`StoreError::Unavailable`] when it cannot be read or
/// written; [`StoreError::Refused`] when it is no store of ours.
pub fn open(directory: &Path) -> Result<SharedStore, StoreError> {
    let unavailable =
        |error: &io::Error| StoreError::Unavailable(format!("{}: {error}", directory.display()));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|error| unavailable(&error))?;
    let path = directory.join(FILE);
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(|error| unavailable(&error))?;
    // The file's name must be as durable as what will be in it.
    File::open(directory)
        .and_then(|opened| opened.sync_all())
        .map_err(|error| unavailable(&error))?;

    let small = std::fs::metadata(&path).is_ok_and(|meta| meta.len() <= CHECKED);
    let database = open_file(&path, small)?;
    let (revision, leases) =
        caught(|| tables::begin(&database)).map_err(|error| broken(&path, &error))?;
    let reserve = Reserve::of(&path).map_err(|error| unavailable(&error))?;
    let shared = Arc::new(Shared {
        path,
        reserve,
        database: RwLock::new(Some(database)),
        damage: Mutex::new(None),
        ring: Mutex::new(Ring::new(revision)),
    });
    let (commands, waiting) = mpsc::channel();
    let (news, latest) = watch::channel(revision);
    let writer = Writer::new(Arc::clone(&shared), news, leases);
    std::thread::Builder::new()
        .name("store-writer".to_owned())
        .spawn(move || writer.run(&waiting))
        .map_err(|error| unavailable(&error))?;
    Ok(Arc::new(Embedded {
        shared,
        commands,
        latest,
    }))
}

/// What the writer and the readers share.
struct Shared {
    path: PathBuf,
    reserve: Reserve,
    /// Absent while it is being opened again after the disk failed.
    database: RwLock<Option<Database>>,
    ring: Mutex<Ring>,
    /// That a page was found damaged: since when, and which words. Other pages may read well, but nothing is to be built on
    /// them.
    damage: Mutex<Option<Lost>>,
}

impl Shared {
    fn with<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, redb::Error> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        match &*database {
            Some(database) => caught(|| work(database)),
            None => Err(redb::Error::PreviousIo),
        }
    }

    /// The error in words; damage is remembered.
    fn broken(&self, error: &redb::Error) -> StoreError {
        let told = broken(&self.path, error);
        if let (true, StoreError::Unavailable(words)) = (is_damage(error), &told) {
            let mut damage = self.damage.lock().unwrap_or_else(PoisonError::into_inner);
            damage.get_or_insert_with(|| Lost {
                since: tokio::time::Instant::now(),
                words: words.clone(),
            });
        }
        told
    }

    /// Opens the file again: after an I/O error, such as a full disk, redb refuses everything until then.
    fn reopen(&self) -> Result<(), StoreError> {
        let mut database = self
            .database
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        close(database.take());
        let opened = open_file(&self.path, false)?;
        // Whether the last transaction became durable is only known now.
        let revision = caught(|| tables::revision(&opened)).map_err(|error| self.broken(&error))?;
        *self.ring.lock().unwrap_or_else(PoisonError::into_inner) = Ring::new(revision);
        *database = Some(opened);
        Ok(())
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let database = self.database.get_mut();
        close(database.unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// Closes a file that may be damaged.
fn close(database: Option<Database>) {
    let closed = caught::<(), redb::Error>(|| {
        drop(database);
        Ok(())
    });
    if let Err(error) = closed {
        tracing::debug!(%error, "the store's file is not closed in order");
    }
}

/// Opens the file; with `checked`, every page is read and compared with its checksum first.
fn open_file(path: &Path, checked: bool) -> Result<Database, StoreError> {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE);
    builder.set_check_integrity_on_open(checked);
    caught(|| builder.create(path)).map_err(|error| match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            StoreError::Locked(format!(
                "{} is in use by another process; a data directory serves one frd: stop the other one, or give this one a data directory of its own",
                path.display()
            ))
        }
        DatabaseError::UpgradeRequired(version) => StoreError::Refused(format!(
            "{} has format {version}, which this version does not read; was it not an upgrade, then it is damaged: {}",
            path.display(),
            copies::way_out(path)
        )),
        DatabaseError::Storage(StorageError::Io(error))
            if error.kind() == io::ErrorKind::InvalidData =>
        {
            StoreError::Refused(format!(
                "{} is no store of ours, or damaged ({error}): {}",
                path.display(),
                copies::way_out(path)
            ))
        }
        error @ (DatabaseError::RepairAborted
        | DatabaseError::TransactionInProgress
        | DatabaseError::Storage(_)
        | _) => {
            let error = redb::Error::from(error);
            if is_damage(&error) {
                // Trying again changes nothing here.
                return StoreError::Refused(damaged(path, &error.to_string()));
            }
            broken(path, &error)
        }
    })
}

/// Whether the file's content is the trouble, and not how it is reached.
fn is_damage(error: &redb::Error) -> bool {
    if let redb::Error::Io(error) = error {
        // A file that was cut short; a disk that cannot read what it wrote.
        return error.kind() == io::ErrorKind::UnexpectedEof || error.raw_os_error() == Some(EIO);
    }
    matches!(
        error,
        redb::Error::Corrupted(_) | redb::Error::RepairAborted
    )
}

fn damaged(path: &Path, why: &str) -> String {
    format!(
        "{} is damaged ({why}): {}",
        path.display(),
        copies::way_out(path)
    )
}

/// An error of the file, and what a person can do about it where only a person can.
fn broken(path: &Path, error: &redb::Error) -> StoreError {
    if is_damage(error) {
        return StoreError::Unavailable(damaged(path, &error.to_string()));
    }
    let kind = if let redb::Error::Io(error) = error {
        Some(error.kind())
    } else {
        None
    };
    let folder = path.parent().unwrap_or(path).display();
    let way_out = match kind {
        Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
            format!(": free space on the disk of {folder}; writes are then taken again")
        }
        Some(io::ErrorKind::ReadOnlyFilesystem) => {
            format!(
                ": the disk of {folder} is read-only; look at the kernel's log, then mount it writable"
            )
        }
        _ => String::new(),
    };
    StoreError::Unavailable(format!("{}: {error}{way_out}", path.display()))
}

struct Embedded {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
    latest: watch::Receiver<u64>,
}

impl Embedded {
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&redb::ReadTransaction) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = Arc::clone(&self.shared);
        tokio::task::spawn_blocking(move || {
            shared
                .with(|database| work(&database.begin_read()?))
                .map_err(|error| shared.broken(&error))
        })
        .await
        .map_err(|error| StoreError::Unavailable(error.to_string()))?
    }

    async fn ask(&self, request: Request) -> Result<u64, StoreError> {
        let stopped = || StoreError::Unavailable("the store's writer has stopped".to_owned());
        let (reply, answer) = oneshot::channel();
        self.commands
            .send(Command { request, reply })
            .map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

#[async_trait]
impl Store for Embedded {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let key = key.to_owned();
        self.read(move |read| tables::get(read, &key)).await
    }

    async fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        let prefix = prefix.to_owned();
        self.read(move |read| tables::list(read, &prefix)).await
    }

    async fn range(&self, from: &str, to: &str, most: usize) -> Result<Listing, StoreError> {
        let (from, to) = (from.to_owned(), to.to_owned());
        self.read(move |read| tables::range(read, &from, &to, most))
            .await
    }

    async fn commit(&self, txn: Txn) -> Result<u64, StoreError> {
        limits::check(&txn)?;
        self.ask(Request::Commit(txn)).await
    }

    async fn watch(&self, prefix: &str, from: u64) -> Result<Watch, StoreError> {
        let (sender, receiver) = tokio::sync::mpsc::channel(WATCH_BUFFER);
        tokio::spawn(ring::follow(
            Arc::clone(&self.shared),
            self.latest.clone(),
            prefix.to_owned(),
            from,
            sender,
        ));
        Ok(Watch::new(receiver))
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        let id = self.ask(Request::Grant(ttl)).await?;
        Ok(LeaseId(i64::try_from(id).unwrap_or(i64::MAX)))
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.ask(Request::KeepAlive(lease)).await.map(drop)
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.ask(Request::Revoke(lease)).await.map(drop)
    }

    async fn copy(&self, name: &str) -> Result<Copy, StoreError> {
        let (shared, name) = (Arc::clone(&self.shared), name.to_owned());
        tokio::task::spawn_blocking(move || {
            let database = shared
                .database
                .read()
                .unwrap_or_else(PoisonError::into_inner);
            match &*database {
                Some(database) => copies::keep(database, &shared.path, &name),
                None => Err(shared.broken(&redb::Error::PreviousIo)),
            }
        })
        .await
        .map_err(|error| StoreError::Unavailable(error.to_string()))?
    }

    fn health(&self) -> Health {
        let damage = &self.shared.damage;
        Health {
            reads: damage
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
            writes: None,
        }
    }

    fn space(&self) -> Option<Space> {
        self.shared.reserve.space()
    }

    fn describe(&self) -> String {
        format!("embedded {}", self.shared.path.display())
    }
}
