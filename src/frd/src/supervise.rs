//! The parts of the daemon. One that ends with an error, or panics, is logged and started again; the others do not notice.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fm_runtime::Context;
use tokio::time::Instant;

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A part that ran so long is taken to be well: its next failure counts as the first.
const WELL_AFTER: Duration = Duration::from_secs(60);

/// How each part fares. A clone is cheap and sees the same.
#[derive(Debug, Clone, Default)]
pub struct Health {
    parts: Arc<Mutex<BTreeMap<&'static str, Part>>>,
}

/// How one part fares.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Part {
    /// It runs now.
    pub running: bool,
    /// How often it was started again.
    pub restarts: u64,
    /// Why it last ended.
    pub last_error: Option<String>,
}

impl Health {
    /// Every part that was ever started.
    #[must_use]
    pub fn parts(&self) -> BTreeMap<&'static str, Part> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Part>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn started(&self, name: &'static str) {
        self.lock().entry(name).or_default().running = true;
    }

    fn ended(&self, name: &'static str, error: String) {
        let mut parts = self.lock();
        let part = parts.entry(name).or_default();
        part.running = false;
        part.restarts += 1;
        part.last_error = Some(error);
    }
}

/// Runs a part until shutdown, and starts it again with growing pauses whenever it ends before.
///
/// Each start gets a context whose shutdown ends with that start: nothing of a failed one goes on beside its successor.
pub async fn supervise<F, Fut, E>(name: &'static str, ctx: Context, health: Health, start: F)
where
    F: Fn(Context) -> Fut,
    Fut: Future<Output = Result<(), E>> + Send + 'static,
    E: Into<anyhow::Error> + Send + 'static,
{
    let mut pause = FIRST_PAUSE;
    while !ctx.shutdown.is_cancelled() {
        let shutdown = ctx.shutdown.child_token();
        let part = start(Context {
            shutdown: shutdown.clone(),
            ..ctx.clone()
        });
        let began = Instant::now();
        health.started(name);
        let outcome = tokio::spawn(part).await;
        shutdown.cancel();
        let why = match outcome {
            Ok(Ok(())) => "it ended by itself".to_owned(),
            Ok(Err(error)) => format!("{:#}", error.into()),
            Err(error) if error.is_panic() => {
                format!("it panicked: {}", words(error.into_panic().as_ref()))
            }
            Err(error) => error.to_string(),
        };
        if ctx.shutdown.is_cancelled() {
            tracing::debug!(part = name, "ended at shutdown: {why}");
            return;
        }
        if began.elapsed() >= WELL_AFTER {
            pause = FIRST_PAUSE;
        }
        tracing::error!(part = name, again_in = ?pause, "{why}");
        health.ended(name, why);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = ctx.shutdown.cancelled() => return,
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without words".to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio_util::sync::CancellationToken;

    use super::*;

    fn context(folder: &std::path::Path) -> Context {
        Context {
            store: fm_store::embedded::open(folder).unwrap(),
            clock: Arc::new(fm_runtime::SystemClock),
            identity: "test".to_owned(),
            fitness: fm_runtime::Fitness::default(),
            shutdown: CancellationToken::new(),
            resync: Duration::from_secs(10),
        }
    }

    #[tokio::test]
    async fn a_part_that_fails_or_panics_is_started_again_and_nothing_of_it_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let (ctx, health) = (context(folder.path()), Health::default());
        let lives = Arc::new(AtomicU32::new(0));
        let leftovers = Arc::new(AtomicU32::new(0));
        let (counted, left) = (Arc::clone(&lives), Arc::clone(&leftovers));
        let running = tokio::spawn(supervise("part", ctx.clone(), health.clone(), move |ctx| {
            let (counted, left) = (Arc::clone(&counted), Arc::clone(&left));
            async move {
                let child = ctx.shutdown.clone();
                tokio::spawn(async move {
                    child.cancelled().await;
                    left.fetch_add(1, Ordering::SeqCst);
                });
                match counted.fetch_add(1, Ordering::SeqCst) {
                    0 => anyhow::bail!("no"),
                    1 => panic!("boom"),
                    _ => ctx.shutdown.cancelled().await,
                }
                Ok::<(), anyhow::Error>(())
            }
        }));
        let ends = tokio::time::timeout(Duration::from_secs(10), async {
            while lives.load(Ordering::SeqCst) < 3 || leftovers.load(Ordering::SeqCst) < 2 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        ends.await.unwrap();
        let part = health.parts()["part"].clone();
        assert_eq!((part.running, part.restarts), (true, 2));
        assert_eq!(part.last_error.as_deref(), Some("it panicked: boom"));
        ctx.shutdown.cancel();
        running.await.unwrap();
    }
}
