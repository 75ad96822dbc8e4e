//! Carries a plan out: one transaction, fenced by the lease and by the target's own revision.

use fm_api::event::Severity;
use fm_api::keys::ReleaseKey;
use fm_runtime::{Context, ReconcileError, Recorder};
use fm_store::{Expect, Fence, Txn};
use serde::Serialize;

use crate::observe::Seen;
use crate::plan::Plan;

/// Writes what changed and tells what happened. Nothing is written when nothing changed.
pub(crate) async fn carry_out(
    ctx: &Context,
    recorder: &Recorder,
    key: &ReleaseKey,
    seen: &Seen,
    plan: &Plan,
    fence: Option<&Fence>,
) -> Result<(), ReconcileError> {
    let txn = transaction(key, seen, plan)?;
    if txn.writes.is_empty() {
        return Ok(());
    }
    ctx.store.commit(txn.fenced(fence)).await?;
    for event in &plan.events {
        recorder
            .record(
                Some(key),
                event.severity,
                &event.reason,
                event.message.clone(),
            )
            .await;
    }
    for (id, error) in &seen.unreadable {
        let message = format!("operation {id} cannot be read: {error}");
        recorder
            .record(Some(key), Severity::Warning, "OperationRefused", message)
            .await;
    }
    Ok(())
}

fn transaction(key: &ReleaseKey, seen: &Seen, plan: &Plan) -> Result<Txn, ReconcileError> {
    let mut txn = Txn::new();
    // Even a status is of the target it was derived from.
    txn = txn.expect(match seen.target_revision {
        Some(revision) => Expect::Unchanged(key.target(), revision),
        None => Expect::Absent(key.target()),
    });
    let unreadable = seen.unreadable.iter().map(|(id, _)| id);
    for id in plan.answered.iter().chain(unreadable) {
        txn = txn.delete(key.operation(id));
    }
    if plan.remove {
        for revision in seen.world.records.keys() {
            txn = txn.delete(key.revision(revision));
        }
        return Ok(txn.delete(key.target()).delete(key.status()));
    }
    for record in &plan.records {
        txn = txn
            .expect(Expect::Absent(key.revision(&record.id)))
            .put(key.revision(&record.id), json(record)?);
    }
    for revision in &plan.forget {
        txn = txn.delete(key.revision(revision));
    }
    if let Some(target) = &plan.target {
        txn = txn.put(key.target(), json(target)?);
    }
    if let Some(status) = &plan.status
        && seen.world.status.as_ref() != Some(status)
    {
        txn = txn.put(key.status(), json(status)?);
    }
    Ok(txn)
}

fn json<T: Serialize>(value: &T) -> Result<Vec<u8>, ReconcileError> {
    serde_json::to_vec(value).map_err(|error| ReconcileError::Terminal(error.to_string()))
}
