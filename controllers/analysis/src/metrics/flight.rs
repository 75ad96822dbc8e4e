//! Measurements under way, each in a task of its own with a time limit, so that no tick waits for a provider.
//!
//! Owner of the tasks. What must never happen: a task that outlives its run, or more of them at once than there are permits.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fm_api::keys::ReleaseKey;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::plan::Answer;
use super::providers::{Measure, Question};

/// Questions to web servers at once, of all releases together.
const ASKED: usize = 64;
/// Jobs at once.
const JOBS: usize = 8;
/// A job is given up by who runs it, who can say why it did not come to an end. He is waited for so much longer.
const GRACE: Duration = Duration::from_secs(15);

/// Measurements under way.
pub struct Flights {
    measure: Arc<dyn Measure>,
    asked: Arc<Semaphore>,
    jobs: Arc<Semaphore>,
    flying: Mutex<HashMap<ReleaseKey, Flying>>,
}

/// Those of one release, by metric. Dropping it ends them.
#[derive(Default)]
struct Flying(BTreeMap<String, JoinHandle<Answer>>);

impl Drop for Flying {
    fn drop(&mut self) {
        self.0.values().for_each(JoinHandle::abort);
    }
}

impl Flights {
    /// Nothing under way yet.
    #[must_use]
    pub fn new(measure: Arc<dyn Measure>) -> Self {
        Self {
            measure,
            asked: Arc::new(Semaphore::new(ASKED)),
            jobs: Arc::new(Semaphore::new(JOBS)),
            flying: Mutex::default(),
        }
    }

    /// Starts a measurement. One of the same metric that still runs is ended.
    pub fn start(&self, question: Question) {
        let measure = Arc::clone(&self.measure);
        let permits = if question.metric.job.is_some() {
            &self.jobs
        } else {
            &self.asked
        };
        let permits = Arc::clone(permits);
        let (key, name) = (question.release.clone(), question.metric.name.clone());
        let limit = question.metric.time_limit();
        let grace = match question.metric.job {
            Some(_) => GRACE,
            None => Duration::ZERO,
        };
        let asked = async move {
            let work = async {
                // It is closed only with all of this.
                let _permit = permits.acquire().await;
                measure.measure(question).await
            };
            tokio::time::timeout(limit.to_std() + grace, work)
                .await
                .unwrap_or_else(|_| Answer::Error(format!("no answer within {limit}")))
        };
        let task = tokio::spawn(asked);
        let earlier = self.lock().entry(key).or_default().0.insert(name, task);
        if let Some(earlier) = earlier {
            earlier.abort();
        }
    }

    /// The answers that came since the last call.
    pub async fn answers(&self, key: &ReleaseKey) -> Vec<(String, Answer)> {
        let landed: Vec<(String, JoinHandle<Answer>)> = {
            let mut all = self.lock();
            let Some(flying) = all.get_mut(key) else {
                return Vec::new();
            };
            flying
                .0
                .extract_if(.., |_, task| task.is_finished())
                .collect()
        };
        let mut answers = Vec::with_capacity(landed.len());
        for (name, task) in landed {
            // It has finished: nothing is waited for.
            let answer = task.await.unwrap_or_else(|error| {
                if error.is_cancelled() {
                    Answer::Terminated
                } else {
                    Answer::Error("the measurement panicked".to_owned())
                }
            });
            answers.push((name, answer));
        }
        answers
    }

    /// Ends all of a release's measurements.
    pub fn end(&self, key: &ReleaseKey) {
        self.lock().remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ReleaseKey, Flying>> {
        self.flying.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
