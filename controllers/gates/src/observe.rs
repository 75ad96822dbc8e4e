//! What the store shows of one release's gates.
//!
//! The target and our own answers are read from the store itself: a question that was answered must not be asked again
//! because the cache lags behind.

use std::collections::BTreeMap;

use fm_api::gates::GatesObserved;
use fm_api::job::{JobObserved, JobRequest};
use fm_api::keys::ReleaseKey;
use fm_api::target::{RevisionRecord, Target};
use fm_runtime::{Cache, Context, ReconcileError, decode};

use crate::plan::Seen;

/// One release's gates. It asks the store nothing where there are none.
pub(crate) async fn seen(
    ctx: &Context,
    cache: &Cache,
    key: &ReleaseKey,
) -> Result<Seen, ReconcileError> {
    let cached: Option<Target> = cache.get(&key.target()).and_then(|e| decode(&e).ok());
    let idle = cached.as_ref().is_some_and(|target| target.due.is_empty());
    let known = cache.get(&key.observed_gates()).is_some();
    let asked = !cache.list(&jobs_prefix(key)).is_empty();
    if (idle || cached.is_none()) && !known && !asked {
        return Ok(Seen::default());
    }
    let store = &ctx.store;
    let target: Option<Target> = read(store.get(&key.target()).await?)?;
    let observed = store.get(&key.observed_gates()).await?;
    let old: Option<GatesObserved> = observed.as_ref().and_then(|entry| decode(entry).ok());
    let uid = target.as_ref().map(|target| target.uid.clone());
    let mut seen = Seen {
        old: old
            .filter(|old| Some(&old.uid) == uid.as_ref())
            .unwrap_or_default(),
        stored: observed.is_some(),
        ..Seen::default()
    };
    for entry in store.list(&jobs_prefix(key)).await?.entries {
        // What cannot be read is asked for anew.
        let request = decode::<JobRequest>(&entry).ok();
        seen.requests.insert(entry.key, request.map(|r| r.id));
    }
    let Some(target) = target.filter(|target| !target.deleting) else {
        return Ok(seen);
    };
    for due in target.due.iter().filter(|due| due.job.is_some()) {
        let answer = store.get(&key.observed_job(&due.measurement())).await?;
        let answer: Option<JobObserved> = answer.as_ref().and_then(|e| decode(e).ok());
        seen.jobs
            .extend(answer.map(|answer| (due.id.clone(), answer)));
        let record = store.get(&key.revision(&due.about.revision)).await?;
        let record: Option<RevisionRecord> = read(record)?;
        seen.records
            .extend(record.map(|record| (due.about.revision.clone(), record)));
    }
    seen.uid = target.uid;
    seen.due = target.due;
    Ok(seen)
}

/// Where the jobs of gates are asked for.
pub(crate) fn jobs_prefix(key: &ReleaseKey) -> String {
    format!("{}_beforeTraffic/", key.jobs_prefix())
}

fn read<T: serde::de::DeserializeOwned>(
    entry: Option<fm_store::Entry>,
) -> Result<Option<T>, ReconcileError> {
    entry
        .map(|entry| decode(&entry))
        .transpose()
        .map_err(ReconcileError::Terminal)
}

/// Requests by their key, with their id; `None`: it cannot be read.
pub(crate) type Requests = BTreeMap<String, Option<String>>;
