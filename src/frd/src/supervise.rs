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
        let part = start(Context { shutdown: shutdown.clone(), ..ctx.clone() });
        let began = Instant::now();
        health.started(name);
        let outcome = tokio::spawn(part).await;
        shutdown.cancel();
        let why = match outcome {
            Ok(Ok(())) => "it ended by itself".to_owned(),
            Ok(Err(error)) => format!("{:#}", error.into()),
            Err(error) if error.is_panic() => format!("it panicked: {}", words(error.into_panic().as_ref())),
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
