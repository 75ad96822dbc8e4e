//! The one thread that writes.
//!
//! It takes everything that waits, applies it in order inside one database transaction, makes that durable once, tells
//! the watches, and only then answers. Owner of: the leases and their ends. What must never happen: an answer, or a
//! change shown to a watch, that is not durable.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use redb::Error;
use tokio::sync::{oneshot, watch};

use super::tables::Tables;
use super::{SIGN_OF_LIFE, Shared};
use crate::{Change, Entry, Expect, LeaseId, StoreError, Txn, Write};

/// How many requests share one fsync at most.
const BATCH: usize = 256;
/// How long to wait after the disk failed while leases are due.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Something to write, and who waits for it.
pub(super) struct Command {
    pub(super) request: Request,
    pub(super) reply: oneshot::Sender<Answer>,
}

pub(super) enum Request {
    /// Answered with the store's revision.
    Commit(Txn),
    /// Answered with the lease.
    Grant(Duration),
    KeepAlive(LeaseId),
    Revoke(LeaseId),
}

type Answer = Result<u64, StoreError>;

#[derive(Debug, Clone, Copy)]
pub(super) struct Lease {
    pub(super) ttl: Duration,
    pub(super) ends: Instant,
}

impl Lease {
    /// Whether it outlasts the process.
    fn is_long(&self) -> bool {
        self.ttl > SIGN_OF_LIFE
    }
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    news: watch::Sender<u64>,
    leases: HashMap<LeaseId, Lease>,
    last_lease: i64,
}

/// A batch while it is applied; becomes the writer's state once it is durable.
struct Stage {
    revision: u64,
    leases: HashMap<LeaseId, Lease>,
    last_lease: i64,
    published: Vec<(u64, Vec<Change>)>,
    dirty: bool,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        news: watch::Sender<u64>,
        leases: HashMap<LeaseId, Lease>,
    ) -> Self {
        let last_lease = leases.keys().map(|lease| lease.0).max().unwrap_or(0);
        Self {
            shared,
            news,
            leases,
            last_lease,
        }
    }

    /// Until nobody can send any more.
    pub(super) fn run(mut self, commands: &Receiver<Command>) {
        loop {
            let first = match self.leases.values().map(|lease| lease.ends).min() {
                Some(end) => {
                    match commands.recv_timeout(end.saturating_duration_since(Instant::now())) {
                        Ok(command) => Some(command),
                        Err(RecvTimeoutError::Timeout) => None,
                        Err(RecvTimeoutError::Disconnected) => return,
                    }
                }
                None => match commands.recv() {
                    Ok(command) => Some(command),
                    Err(_) => return,
                },
            };
            let mut batch: Vec<Command> = first.into_iter().collect();
            batch.extend(commands.try_iter().take(BATCH));
            self.process(batch);
        }
    }

    fn process(&mut self, batch: Vec<Command>) {
        match self.attempt(&batch) {
            Ok((stage, answers)) => {
                if stage.dirty {
                    self.shared.reserve.keep();
                }
                self.publish(stage);
                for (command, answer) in batch.into_iter().zip(answers) {
                    // Who no longer waits does not need to know.
                    let _ = command.reply.send(answer);
                }
            }
            Err(error) => {
                tracing::error!(path = %self.shared.path.display(), %error, "cannot write the store");
                for command in batch {
                    let _ = command.reply.send(Err(self.shared.broken(&error)));
                }
                if let Err(error) = self.shared.reopen() {
                    tracing::error!(%error, "cannot open the store again");
                    std::thread::sleep(AFTER_FAILURE);
                }
            }
        }
    }

    fn attempt(&self, batch: &[Command]) -> Result<(Stage, Vec<Answer>), Error> {
        self.shared.with(|database| {
            let write = database.begin_write()?;
            let mut tables = Tables::open(&write)?;
            let mut stage = Stage {
                revision: tables.revision()?,
                leases: self.leases.clone(),
                last_lease: self.last_lease,
                published: Vec::new(),
                dirty: false,
            };
            stage.end_due(&mut tables)?;
            let answers = batch
                .iter()
                .map(|command| stage.answer(&mut tables, &command.request))
                .collect::<Result<Vec<_>, _>>()?;
            if stage.dirty {
                tables.set_revision(stage.revision)?;
            }
            drop(tables);
            if stage.dirty {
                write.commit()?;
            } else {
                write.abort()?;
            }
            Ok((stage, answers))
        })
    }

    fn publish(&mut self, stage: Stage) {
        self.leases = stage.leases;
        self.last_lease = stage.last_lease;
        if stage.published.is_empty() {
            return;
        }
        let mut ring = self
            .shared
            .ring
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for (revision, changes) in stage.published {
            ring.push(revision, changes);
        }
        drop(ring);
        self.news.send_replace(stage.revision);
    }
}

impl Stage {
    fn answer(&mut self, tables: &mut Tables<'_>, request: &Request) -> Result<Answer, Error> {
        match request {
            Request::Commit(txn) => self.commit(tables, txn),
            Request::Grant(ttl) => {
                self.last_lease += 1;
                let id = LeaseId(self.last_lease);
                self.keep(tables, id, *ttl)?;
                Ok(Ok(id.0.unsigned_abs()))
            }
            Request::KeepAlive(id) => match self.leases.get(id) {
                Some(lease) => {
                    let ttl = lease.ttl;
                    self.keep(tables, *id, ttl)?;
                    Ok(Ok(0))
                }
                None => Ok(Err(StoreError::LeaseEnded)),
            },
            Request::Revoke(id) => {
                if self.leases.contains_key(id) {
                    self.end(tables, *id)?;
                }
                Ok(Ok(0))
            }
        }
    }

    fn commit(&mut self, tables: &mut Tables<'_>, txn: &Txn) -> Result<Answer, Error> {
        for expect in &txn.expect {
            let (key, holds) = match expect {
                Expect::Absent(key) => (key, tables.revision_of(key)?.is_none()),
                Expect::Exists(key) => (key, tables.revision_of(key)?.is_some()),
                Expect::Unchanged(key, revision) => {
                    (key, tables.revision_of(key)? == Some(*revision))
                }
            };
            if !holds {
                return Ok(Err(StoreError::Conflict { key: key.clone() }));
            }
        }
        let ended = txn.writes.iter().any(|write| match write {
            Write::Put {
                lease: Some(lease), ..
            } => !self.leases.contains_key(lease),
            Write::Put { lease: None, .. } | Write::Delete { .. } => false,
        });
        if ended {
            return Ok(Err(StoreError::LeaseEnded));
        }
        let revision = self.revision + 1;
        let mut changes = Vec::with_capacity(txn.writes.len());
        for write in &txn.writes {
            match write {
                Write::Put { key, value, lease } => {
                    tables.put(key, value, *lease, revision)?;
                    changes.push(Change::Put(Entry {
                        key: key.clone(),
                        value: value.clone(),
                        revision,
                    }));
                }
                Write::Delete { key } => {
                    if tables.delete(key)? {
                        changes.push(Change::Deleted {
                            key: key.clone(),
                            revision,
                        });
                    }
                }
            }
        }
        self.changed(changes);
        Ok(Ok(self.revision))
    }

    /// Counts a revision, unless nothing changed.
    fn changed(&mut self, changes: Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        self.revision += 1;
        self.dirty = true;
        self.published.push((self.revision, changes));
    }

    fn keep(&mut self, tables: &mut Tables<'_>, id: LeaseId, ttl: Duration) -> Result<(), Error> {
        // An end beyond what the clock can count is as good as a year.
        let now = Instant::now();
        let ends = now
            .checked_add(ttl)
            .unwrap_or(now + Duration::from_secs(365 * 24 * 3600));
        let lease = Lease { ttl, ends };
        self.leases.insert(id, lease);
        // Signs of life are not worth an fsync: nobody reads them after a restart.
        if lease.is_long() {
            tables.keep_lease(id, ttl)?;
            self.dirty = true;
        }
        Ok(())
    }

    fn end(&mut self, tables: &mut Tables<'_>, id: LeaseId) -> Result<(), Error> {
        if let Some(lease) = self.leases.remove(&id) {
            self.dirty |= lease.is_long();
        }
        let changes = tables.end_lease(id, self.revision + 1)?;
        self.changed(changes);
        Ok(())
    }

    fn end_due(&mut self, tables: &mut Tables<'_>) -> Result<(), Error> {
        let now = Instant::now();
        let mut due: Vec<LeaseId> = self
            .leases
            .iter()
            .filter(|(_, lease)| lease.ends <= now)
            .map(|(id, _)| *id)
            .collect();
        due.sort_unstable();
        for id in due {
            self.end(tables, id)?;
        }
        Ok(())
    }
}
