//! The tables in the file, and every read of them.
//!
//! `entries`: key -> (revision, lease or 0, value); `bound`: (lease, key), the other way round; `leases`: the long ones,
//! lease -> (ttl, end) in milliseconds; `meta`: the store's revision.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use redb::{
    Database, Error, ReadTransaction, ReadableDatabase, ReadableTable, Table, TableDefinition,
    WriteTransaction,
};

use super::writer::Lease;
use crate::{Change, Entry, LeaseId, Listing};

const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const ENTRIES: TableDefinition<&str, (u64, i64, &[u8])> = TableDefinition::new("entries");
const BOUND: TableDefinition<(i64, &str), ()> = TableDefinition::new("bound");
const LEASES: TableDefinition<i64, (u64, u64)> = TableDefinition::new("leases");
const REVISION: &str = "revision";
/// The revision of an empty store, as in etcd.
const FIRST: u64 = 1;

/// All tables, open for writing.
pub(super) struct Tables<'txn> {
    meta: Table<'txn, &'static str, u64>,
    entries: Table<'txn, &'static str, (u64, i64, &'static [u8])>,
    bound: Table<'txn, (i64, &'static str), ()>,
    leases: Table<'txn, i64, (u64, u64)>,
}

impl<'txn> Tables<'txn> {
    pub(super) fn open(write: &'txn WriteTransaction) -> Result<Self, Error> {
        Ok(Self {
            meta: write.open_table(META)?,
            entries: write.open_table(ENTRIES)?,
            bound: write.open_table(BOUND)?,
            leases: write.open_table(LEASES)?,
        })
    }

    pub(super) fn revision(&self) -> Result<u64, Error> {
        Ok(self
            .meta
            .get(REVISION)?
            .map_or(FIRST, |value| value.value()))
    }

    pub(super) fn set_revision(&mut self, revision: u64) -> Result<(), Error> {
        self.meta.insert(REVISION, revision)?;
        Ok(())
    }

    /// The revision of a key's last change.
    pub(super) fn revision_of(&self, key: &str) -> Result<Option<u64>, Error> {
        Ok(self.entries.get(key)?.map(|entry| entry.value().0))
    }

    pub(super) fn put(
        &mut self,
        key: &str,
        value: &[u8],
        lease: Option<LeaseId>,
        revision: u64,
    ) -> Result<(), Error> {
        let lease = lease.map_or(0, |lease| lease.0);
        let before = self
            .entries
            .insert(key, (revision, lease, value))?
            .map_or(0, |old| old.value().1);
        if before != lease {
            if before != 0 {
                self.bound.remove((before, key))?;
            }
            if lease != 0 {
                self.bound.insert((lease, key), ())?;
            }
        }
        Ok(())
    }

    /// Whether there was anything to delete.
    pub(super) fn delete(&mut self, key: &str) -> Result<bool, Error> {
        let lease = match self.entries.remove(key)? {
            Some(old) => old.value().1,
            None => return Ok(false),
        };
        if lease != 0 {
            self.bound.remove((lease, key))?;
        }
        Ok(true)
    }

    pub(super) fn keep_lease(&mut self, lease: LeaseId, ttl: Duration) -> Result<(), Error> {
        let (ttl, now) = (milliseconds(ttl), now());
        self.leases
            .insert(lease.0, (ttl, now.saturating_add(ttl)))?;
        Ok(())
    }

    /// Removes a lease and the keys bound to it, which all change at this revision.
    pub(super) fn end_lease(
        &mut self,
        lease: LeaseId,
        revision: u64,
    ) -> Result<Vec<Change>, Error> {
        self.leases.remove(lease.0)?;
        let mut keys = Vec::new();
        for bound in self
            .bound
            .range((lease.0, "")..(lease.0.saturating_add(1), ""))?
        {
            keys.push(bound?.0.value().1.to_owned());
        }
        for key in &keys {
            self.delete(key)?;
        }
        Ok(keys
            .into_iter()
            .map(|key| Change::Deleted { key, revision })
            .collect())
    }

    /// Every lease that some key is bound to, and every long one.
    fn known_leases(&self) -> Result<Vec<i64>, Error> {
        let mut known = Vec::new();
        for lease in self.leases.iter()? {
            known.push(lease?.0.value());
        }
        let mut after = i64::MIN;
        while let Some(bound) = self.bound.range((after, "")..)?.next() {
            let lease = bound?.0.value().0;
            known.push(lease);
            after = lease.saturating_add(1);
        }
        known.sort_unstable();
        known.dedup();
        Ok(known)
    }
}

/// Ends the leases that did not outlast the last process; returns the revision and the leases that did.
pub(super) fn begin(database: &Database) -> Result<(u64, HashMap<LeaseId, Lease>), Error> {
    let write = database.begin_write()?;
    let mut alive = HashMap::new();
    let mut tables = Tables::open(&write)?;
    let mut revision = tables.revision()?;
    for id in tables.known_leases()? {
        let kept = tables.leases.get(id)?.map(|lease| lease.value());
        match kept {
            Some((ttl, end)) if end > now() => {
                // Never longer than granted, should the clock have been set back.
                let left = Duration::from_millis((end - now()).min(ttl));
                let lease = Lease {
                    ttl: Duration::from_millis(ttl),
                    ends: Instant::now() + left,
                };
                alive.insert(LeaseId(id), lease);
            }
            Some(_) | None => {
                if !tables.end_lease(LeaseId(id), revision + 1)?.is_empty() {
                    revision += 1;
                }
            }
        }
    }
    tables.set_revision(revision)?;
    drop(tables);
    write.commit()?;
    Ok((revision, alive))
}

pub(super) fn revision(database: &Database) -> Result<u64, Error> {
    read_revision(&database.begin_read()?)
}

fn read_revision(read: &ReadTransaction) -> Result<u64, Error> {
    Ok(read
        .open_table(META)?
        .get(REVISION)?
        .map_or(FIRST, |value| value.value()))
}

pub(super) fn get(read: &ReadTransaction, key: &str) -> Result<Option<Entry>, Error> {
    Ok(read.open_table(ENTRIES)?.get(key)?.map(|found| {
        let (revision, _, value) = found.value();
        Entry {
            key: key.to_owned(),
            value: value.to_vec(),
            revision,
        }
    }))
}

pub(super) fn list(read: &ReadTransaction, prefix: &str) -> Result<Listing, Error> {
    let mut entries = Vec::new();
    for found in read.open_table(ENTRIES)?.range(prefix..)? {
        let (key, value) = found?;
        if !key.value().starts_with(prefix) {
            break;
        }
        let (revision, _, value) = value.value();
        entries.push(Entry {
            key: key.value().to_owned(),
            value: value.to_vec(),
            revision,
        });
    }
    Ok(Listing {
        revision: read_revision(read)?,
        entries,
    })
}

pub(super) fn range(
    read: &ReadTransaction,
    from: &str,
    to: &str,
    most: usize,
) -> Result<Listing, Error> {
    let mut entries = Vec::new();
    // redb panics at a range that ends before it begins.
    if from < to {
        for found in read.open_table(ENTRIES)?.range(from..to)?.take(most) {
            let (key, value) = found?;
            let (revision, _, value) = value.value();
            entries.push(Entry {
                key: key.value().to_owned(),
                value: value.to_vec(),
                revision,
            });
        }
    }
    Ok(Listing {
        revision: read_revision(read)?,
        entries,
    })
}

/// Reads every key; returns how many there are, and the revision.
pub(super) fn everything(database: &Database) -> Result<(usize, u64), Error> {
    let read = database.begin_read()?;
    let all = list(&read, "")?;
    for bound in read.open_table(BOUND)?.iter()? {
        bound?;
    }
    for lease in read.open_table(LEASES)?.iter()? {
        lease?;
    }
    Ok((all.entries.len(), all.revision))
}

/// Writes what is stored at one moment to a new file.
pub(super) fn copy(from: &Database, to: &Database) -> Result<(), Error> {
    let read = from.begin_read()?;
    let write = to.begin_write()?;
    let mut tables = Tables::open(&write)?;
    for entry in read.open_table(ENTRIES)?.iter()? {
        let (key, value) = entry?;
        tables.entries.insert(key.value(), value.value())?;
    }
    for bound in read.open_table(BOUND)?.iter()? {
        tables.bound.insert(bound?.0.value(), ())?;
    }
    for lease in read.open_table(LEASES)?.iter()? {
        let (lease, value) = lease?;
        tables.leases.insert(lease.value(), value.value())?;
    }
    for entry in read.open_table(META)?.iter()? {
        let (key, value) = entry?;
        tables.meta.insert(key.value(), value.value())?;
    }
    drop(tables);
    write.commit()?;
    Ok(())
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn now() -> u64 {
    milliseconds(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default(),
    )
}
