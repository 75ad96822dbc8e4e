//! Has the swarm controller run a job: it is asked by one key of the store and answers by another.
//!
//! What must never happen: a request that outlives the measurement it was made for, or one that a leader writes who leads no more.

use std::time::Duration;

use async_trait::async_trait;
use fm_api::job::{JobObserved, JobRequest};
use fm_runtime::decode;
use fm_store::{Expect, SharedStore, StoreError, Txn};

use super::{End, Job, Jobs};

/// How often the answer is looked for.
const LOOK: Duration = Duration::from_millis(250);

/// Jobs that the swarm controller runs, wherever it is.
pub struct StoreJobs {
    store: SharedStore,
}

impl StoreJobs {
    /// Through this store.
    #[must_use]
    pub fn new(store: SharedStore) -> Self {
        Self { store }
    }
}

#[async_trait]
impl Jobs for StoreJobs {
    async fn run(&self, job: Job) -> Result<End, String> {
        let id = format!("{:x}", job.now.as_nanosecond());
        let request = JobRequest {
            id: id.clone(),
            run: job.run,
            revision: None,
            image: job.image,
            registry_auth: job.registry_auth,
            command: job.command,
            args: job.args,
            env: job.env,
            networks: job.networks,
            like: None,
            limit: job.limit,
            until: job.until,
        };
        let key = job.release.job(&job.measurement);
        let value = serde_json::to_vec(&request).map_err(|error| error.to_string())?;
        let txn = Txn::new()
            .expect(Expect::Exists(job.release.target()))
            .fenced(job.fence.as_ref())
            .put(&key, value);
        let revision = self.store.commit(txn).await.map_err(words)?;
        let _asked = Asked {
            store: SharedStore::clone(&self.store),
            remove: Some(
                Txn::new()
                    .expect(Expect::Unchanged(key.clone(), revision))
                    .fenced(job.fence.as_ref())
                    .delete(key),
            ),
        };
        let answers = job.release.observed_job(&job.measurement);
        loop {
            tokio::time::sleep(LOOK).await;
            // A store that does not answer for a moment is asked again; the measurement has a time limit of its own.
            let Ok(Some(entry)) = self.store.get(&answers).await else {
                continue;
            };
            let answer: Option<JobObserved> = decode(&entry).ok();
            if let Some(answer) = answer.filter(|answer| answer.id == id) {
                return end(answer);
            }
        }
    }
}

fn end(answer: JobObserved) -> Result<End, String> {
    match (answer.exit_code, answer.failure) {
        (Some(exit_code), None) => Ok(End {
            exit_code,
            output: answer.line.unwrap_or_default().into_bytes(),
        }),
        (_, Some(failure)) => Err(failure),
        (None, None) => Err("the job came to no end".to_owned()),
    }
}

fn words(error: StoreError) -> String {
    format!("the job cannot be asked for: {error}")
}

/// A request in the store. It is removed whatever becomes of the measurement; the swarm controller removes the job then.
struct Asked {
    store: SharedStore,
    remove: Option<Txn>,
}

impl Drop for Asked {
    fn drop(&mut self) {
        let (Some(txn), Ok(runtime)) = (self.remove.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        let store = SharedStore::clone(&self.store);
        runtime.spawn(async move {
            // A successor that asked anew, or the end of our leadership: then it is theirs to remove.
            let _ = store.commit(txn).await;
        });
    }
}
