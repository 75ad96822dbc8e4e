//! A transaction, done once although a member may fail in its midst.
//!
//! When a member may have done it unseen, the next one is asked for the keys that were to be written. As they were to be,
//! it happened. Else it is done again: its expectations keep out a second time. What must never happen: a transaction
//! reported as refused that may have been done.

use etcd_client::{
    Compare, CompareOp, Error, GetOptions, KvClient, PutOptions, ResponseHeader, Txn as EtcdTxn,
    TxnOp, TxnOpResponse,
};

use super::calls::Connection;
use super::{MAX_MESSAGE, revision};
use crate::{Expect, StoreError, Txn, Write, limits};

/// How a transaction ended.
enum Outcome {
    /// At this revision.
    Done(u64),
    /// This key was in the way.
    Conflict(String),
    /// This key is in the way, perhaps because it happened and was written over since.
    Unknown(String),
}

pub(super) async fn commit(connection: &Connection, txn: &Txn) -> Result<u64, StoreError> {
    let request = translate(txn)?;
    let work = |client: &etcd_client::Client, doubt| {
        let kv = client.kv_client().max_decoding_message_size(MAX_MESSAGE);
        attempt(kv, txn, request.clone(), doubt)
    };
    match connection.attempt(work).await?.1 {
        Outcome::Done(revision) => Ok(revision),
        Outcome::Conflict(key) => Err(StoreError::Conflict { key }),
        Outcome::Unknown(key) => Err(StoreError::Unavailable(format!(
            "etcd {}: a member failed while {key} was written, and it was changed since",
            connection.endpoints()
        ))),
    }
}

async fn attempt(
    mut kv: KvClient,
    txn: &Txn,
    request: EtcdTxn,
    doubt: bool,
) -> Result<Outcome, Error> {
    if doubt && let Some(revision) = happened(&mut kv, txn).await? {
        return Ok(Outcome::Done(revision));
    }
    let response = kv.txn(request).await?;
    if response.succeeded() {
        let at = response.header().map(ResponseHeader::revision);
        return Ok(Outcome::Done(revision(at)));
    }
    let key = blame(txn, &response.op_responses());
    if !doubt {
        return Ok(Outcome::Conflict(key));
    }
    // The failing member may have been late rather than dead.
    Ok(match happened(&mut kv, txn).await? {
        Some(revision) => Outcome::Done(revision),
        None => Outcome::Unknown(key),
    })
}

/// The revision at which everything came to be as the transaction wants it; `None` when it is not so.
async fn happened(kv: &mut KvClient, txn: &Txn) -> Result<Option<u64>, Error> {
    if txn.writes.is_empty() {
        return Ok(None);
    }
    let look: Vec<TxnOp> = txn
        .writes
        .iter()
        .map(|write| TxnOp::get(limits::write_key(write), None))
        .collect();
    let response = kv.txn(EtcdTxn::new().and_then(look)).await?;
    let mut at = None;
    for (write, seen) in txn.writes.iter().zip(response.op_responses()) {
        let TxnOpResponse::Get(found) = seen else {
            return Ok(None);
        };
        let stands = match (write, found.kvs().first()) {
            (Write::Delete { .. }, None) => true,
            (Write::Delete { .. }, Some(_)) | (Write::Put { .. }, None) => false,
            (Write::Put { key, value, lease }, Some(kv)) => {
                let changed = revision(Some(kv.mod_revision()));
                at = at.max(Some(changed));
                // What had this value before has it still.
                let before = |expect: &Expect| *expect == Expect::Unchanged(key.clone(), changed);
                kv.value() == value.as_slice()
                    && kv.lease() == lease.map_or(0, |lease| lease.0)
                    && !txn.expect.iter().any(before)
            }
        };
        if !stands {
            return Ok(None);
        }
    }
    let now = response.header().map(ResponseHeader::revision);
    Ok(at.or(Some(revision(now))))
}

fn translate(txn: &Txn) -> Result<EtcdTxn, StoreError> {
    let mut compares = Vec::with_capacity(txn.expect.len());
    let mut look = Vec::with_capacity(txn.expect.len());
    for expect in &txn.expect {
        compares.push(match expect {
            Expect::Absent(key) => Compare::create_revision(key.as_str(), CompareOp::Equal, 0),
            Expect::Exists(key) => Compare::create_revision(key.as_str(), CompareOp::Greater, 0),
            Expect::Unchanged(key, revision) => {
                let revision = i64::try_from(*revision).map_err(|_| {
                    StoreError::Refused(format!("{key}: {revision} is no revision of etcd"))
                })?;
                Compare::mod_revision(key.as_str(), CompareOp::Equal, revision)
            }
        });
        // To say which key was in the way.
        let options = GetOptions::new().with_keys_only();
        look.push(TxnOp::get(limits::expect_key(expect), Some(options)));
    }
    let writes: Vec<TxnOp> = txn
        .writes
        .iter()
        .map(|write| match write {
            Write::Put { key, value, lease } => TxnOp::put(
                key.as_str(),
                value.clone(),
                lease.map(|lease| PutOptions::new().with_lease(lease.0)),
            ),
            Write::Delete { key } => TxnOp::delete(key.as_str(), None),
        })
        .collect();
    Ok(EtcdTxn::new().when(compares).and_then(writes).or_else(look))
}

/// The first key whose expectation did not hold.
fn blame(txn: &Txn, seen: &[TxnOpResponse]) -> String {
    for (expect, seen) in txn.expect.iter().zip(seen) {
        let TxnOpResponse::Get(found) = seen else {
            continue;
        };
        let found = found
            .kvs()
            .first()
            .map(|kv| revision(Some(kv.mod_revision())));
        let holds = match expect {
            Expect::Absent(_) => found.is_none(),
            Expect::Exists(_) => found.is_some(),
            Expect::Unchanged(_, revision) => found == Some(*revision),
        };
        if !holds {
            return limits::expect_key(expect).to_owned();
        }
    }
    let keys: Vec<&str> = txn.expect.iter().map(limits::expect_key).collect();
    keys.join(", ")
}
