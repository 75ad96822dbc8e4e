//! What every store refuses, so that a transaction that one store takes is taken by the other too.

use std::collections::BTreeSet;

use crate::{Expect, MAX_VALUE, StoreError, Txn, Write};

/// Of a whole transaction, keys and values; etcd's own limit is 1.5 MiB a request, with its framing.
const MAX_TXN: usize = (3 << 19) - (64 << 10);
/// Of expectations, and of writes: what etcd takes by default.
const MAX_OPERATIONS: usize = 128;

pub(crate) fn check(txn: &Txn) -> Result<(), StoreError> {
    if txn.expect.len() > MAX_OPERATIONS || txn.writes.len() > MAX_OPERATIONS {
        return Err(StoreError::Refused(format!(
            "a transaction has at most {MAX_OPERATIONS} expectations and {MAX_OPERATIONS} writes; this has {} and {}",
            txn.expect.len(),
            txn.writes.len()
        )));
    }
    let mut total = 0;
    let mut written = BTreeSet::new();
    for write in &txn.writes {
        let (key, size) = match write {
            Write::Put { key, value, .. } => (key, value.len()),
            Write::Delete { key } => (key, 0),
        };
        if size > MAX_VALUE {
            return Err(too_large(key, size, MAX_VALUE));
        }
        total += key.len() + size;
        if total > MAX_TXN {
            return Err(too_large(key, total, MAX_TXN));
        }
        if key.is_empty() || !written.insert(key) {
            return Err(StoreError::Refused(format!(
                "a transaction writes each key once, and none is empty: `{key}`"
            )));
        }
    }
    if txn
        .expect
        .iter()
        .any(|expect| expect_key(expect).is_empty())
    {
        return Err(StoreError::Refused("a key is not empty".to_owned()));
    }
    Ok(())
}

pub(crate) fn expect_key(expect: &Expect) -> &str {
    match expect {
        Expect::Absent(key) | Expect::Unchanged(key, _) | Expect::Exists(key) => key,
    }
}

pub(crate) fn write_key(write: &Write) -> &str {
    match write {
        Write::Put { key, .. } | Write::Delete { key } => key,
    }
}

fn too_large(key: &str, size: usize, limit: usize) -> StoreError {
    StoreError::TooLarge {
        key: key.to_owned(),
        size,
        limit,
    }
}
