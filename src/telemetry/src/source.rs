//! Where counters come from: one process' own, or those of many agents. Everybody in a process who wants them shares one
//! reader, [`Pulls`], so that each agent is asked once.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};

use crate::counters::Snapshot;
use crate::receiver::Handle;
use crate::usage::NodeUsage;

/// Counters of every agent, as far as they can be read now.
#[async_trait]
pub trait CounterSource: Send + Sync {
    /// Each agent's counters, or why they cannot be read. `Snapshot::at` may be absent: who pulls knows the time.
    async fn pull(&self) -> Vec<Result<Snapshot, SourceError>>;

    /// What each node's tasks use. A node that does not answer is left out: nothing is concluded from its silence.
    async fn usage(&self) -> Vec<NodeUsage> {
        Vec::new()
    }
}

/// Why an agent's counters cannot be read now. It may work the next time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the counters of {instance} cannot be read: {message}")]
pub struct SourceError {
    /// The agent's instance name.
    pub instance: String,
    /// Why.
    pub message: String,
}

#[async_trait]
impl CounterSource for Handle {
    async fn pull(&self) -> Vec<Result<Snapshot, SourceError>> {
        vec![Ok(self.current())]
    }
}

/// Nodes measure once a second: asking more often tells nothing new.
const USAGE_AGE: SignedDuration = SignedDuration::from_millis(900);

/// Each agent's answer at one instant.
#[derive(Debug)]
pub struct Pulled {
    /// When it was asked for.
    pub at: Timestamp,
    /// The answers.
    pub answers: Vec<Result<Snapshot, SourceError>>,
    /// What the nodes' tasks use.
    pub usage: Arc<Vec<NodeUsage>>,
}

/// Asks the agents, once for all who look at about the same time.
pub struct Pulls {
    source: Arc<dyn CounterSource>,
    last: tokio::sync::Mutex<Last>,
}

#[derive(Default)]
struct Last {
    pulled: Option<Arc<Pulled>>,
    usage: Option<(Timestamp, Arc<Vec<NodeUsage>>)>,
}

impl Pulls {
    /// Asks this source.
    #[must_use]
    pub fn new(source: Arc<dyn CounterSource>) -> Self {
        Self {
            source,
            last: tokio::sync::Mutex::default(),
        }
    }

    /// Answers that are at most `age` old.
    pub async fn get(&self, now: Timestamp, age: SignedDuration) -> Arc<Pulled> {
        // Held across the question on purpose: who comes meanwhile shares the answer.
        let mut last = self.last.lock().await;
        if let Some(pulled) = last.pulled.as_ref()
            && is_young(pulled.at, now, age)
        {
            return Arc::clone(pulled);
        }
        let known = last.usage.take();
        let known = known.filter(|(at, _)| is_young(*at, now, USAGE_AGE));
        let (answers, usage) = match known {
            Some(known) => (self.source.pull().await, known),
            None => {
                let (answers, usage) = tokio::join!(self.source.pull(), self.source.usage());
                (answers, (now, Arc::new(usage)))
            }
        };
        let pulled = Arc::new(Pulled {
            at: now,
            answers,
            usage: Arc::clone(&usage.1),
        });
        last.usage = Some(usage);
        last.pulled = Some(Arc::clone(&pulled));
        pulled
    }
}

fn is_young(at: Timestamp, now: Timestamp, age: SignedDuration) -> bool {
    at <= now && now.duration_since(at) < age
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[derive(Default)]
    struct Counting(AtomicU32, AtomicU32);

    #[async_trait]
    impl CounterSource for Counting {
        async fn pull(&self) -> Vec<Result<Snapshot, SourceError>> {
            self.0.fetch_add(1, Ordering::SeqCst);
            Vec::new()
        }
        async fn usage(&self) -> Vec<NodeUsage> {
            self.1.fetch_add(1, Ordering::SeqCst);
            Vec::new()
        }
    }

    #[tokio::test]
    async fn who_looks_at_about_the_same_time_shares_one_question() {
        let source = Arc::new(Counting::default());
        let pulls = Pulls::new(Arc::clone(&source) as Arc<dyn CounterSource>);
        let at = |ms: i64| Timestamp::from_millisecond(1_000_000 + ms).unwrap();
        let age = SignedDuration::from_millis;
        for (ms, oldest, asked, measured, why) in [
            (0, 100, 1, 1, "nothing is known"),
            (99, 100, 1, 1, "it is young enough"),
            (100, 100, 2, 1, "it is too old; what tasks use is not"),
            (800, 800, 2, 1, "another reader takes an older one"),
            (850, 0, 3, 1, "this one wants it fresh"),
            (950, 50, 4, 2, "what tasks use is old too"),
            (500, 900, 5, 3, "the clock was put back"),
        ] {
            pulls.get(at(ms), age(oldest)).await;
            let counts = (
                source.0.load(Ordering::SeqCst),
                source.1.load(Ordering::SeqCst),
            );
            assert_eq!(counts, (asked, measured), "{why}");
        }
    }
}
