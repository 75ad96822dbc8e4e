//! When a resolve request is answered: once for each generation, in the background, and again after a failure.
//!
//! A registry may take long to answer; a release's endpoints must not wait for it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fm_api::event::Severity;
use fm_api::keys::ReleaseKey;
use fm_api::target::{Resolve, Target};
use fm_runtime::{Recorder, Wake};
use tokio::sync::mpsc;

use crate::memory::{Attempt, Memory, Retry};
use crate::observe::lock;
use crate::reconcile::{Round, Swarm};
use crate::resolve::Resolver;

/// So long a resolution may hold up the round; an image of this machine takes milliseconds.
const PATIENCE: Duration = Duration::from_millis(300);

/// One resolution.
struct Work {
    resolver: Resolver,
    recorder: Recorder,
    wakes: mpsc::Sender<Wake>,
    memory: Arc<Mutex<Memory>>,
    key: ReleaseKey,
    uid: String,
    wanted: Resolve,
    earlier: Option<Retry>,
    epoch: u64,
}

impl Work {
    async fn run(self) {
        let answer = self
            .resolver
            .resolve(&self.key, &self.uid, &self.wanted)
            .await;
        let problem = answer.error.clone();
        let asked = (self.uid.clone(), self.wanted.generation);
        {
            let mut memory = lock(&self.memory);
            // A newer request may be under way by now: its answer is the one that counts.
            if memory.resolving.as_ref() == Some(&asked) {
                memory.resolving = None;
                memory.resolved = Some(Attempt {
                    uid: self.uid,
                    answer,
                    retry: Retry::after(self.earlier, self.epoch),
                });
            }
        }
        if let Some(problem) = problem {
            let message = format!("{}: {problem}", self.wanted.workload.image);
            let key = Some(&self.key);
            self.recorder
                .record(key, Severity::Warning, "Unresolved", message)
                .await;
        }
        // Nobody listens any more only at the end.
        let _ = self.wakes.send(Wake::One(self.key)).await;
    }
}

impl Swarm {
    /// Asks for a resolution in the background if the target wants one that is not there yet.
    pub(crate) async fn resolve(&self, round: &Round<'_>, target: &Target) {
        let Some(wanted) = &target.resolve else {
            lock(&round.memory).resolved = None;
            return;
        };
        let Some(earlier) = self.must_resolve(round, target, wanted) else {
            return;
        };
        let work = Work {
            resolver: self.resolver.clone(),
            recorder: self.recorder.clone(),
            wakes: self.wakes.clone(),
            memory: Arc::clone(&round.memory),
            key: round.key.clone(),
            uid: target.uid.clone(),
            wanted: wanted.clone(),
            earlier,
            epoch: self.observer.epoch(),
        };
        // If it takes longer, it goes on and wakes the release when it is done.
        let _ = tokio::time::timeout(PATIENCE, tokio::spawn(work.run())).await;
    }

    /// Whether this request must be resolved now, and if it was before, when that was. Notes that it is under way.
    fn must_resolve(
        &self,
        round: &Round<'_>,
        target: &Target,
        wanted: &Resolve,
    ) -> Option<Option<Retry>> {
        let mut memory = lock(&round.memory);
        self.remember(round, target, &mut memory);
        let asked = (target.uid.clone(), wanted.generation);
        if memory.resolving.as_ref() == Some(&asked) {
            return None;
        }
        let epoch = self.observer.epoch();
        let answered = memory.resolved.as_ref().filter(|attempt| {
            attempt.uid == target.uid && attempt.answer.generation == wanted.generation
        });
        let stands = answered.is_some_and(|attempt| {
            let waits = !attempt.answer.transient || !attempt.retry.pause().is_zero();
            attempt.answer.error.is_none() || (waits && !attempt.retry.is_worth_it(epoch))
        });
        if stands {
            return None;
        }
        let earlier = answered.map(|attempt| attempt.retry);
        memory.resolving = Some(asked);
        Some(earlier)
    }

    /// After a restart the store still knows the answer: it must not change without a reason.
    fn remember(&self, round: &Round<'_>, target: &Target, memory: &mut Memory) {
        if memory.resolved.is_some() {
            return;
        }
        let earlier = self.stored(round.key).filter(|p| p.uid == target.uid);
        if let Some(answer) = earlier.and_then(|p| p.resolution) {
            memory.resolved = Some(Attempt {
                uid: target.uid.clone(),
                answer,
                retry: Retry::after(None, self.observer.epoch()),
            });
        }
    }
}
