//! Sinks: golden signals to InfluxDB, and everything at `/metrics` to Prometheus, while they come.
//!
//! `signals, /metrics ─▶ gather, every interval ─▶ queue (bounded) ─▶ deliver ─▶ HTTP`, for each sink by itself.
//!
//! Owner of the queues, in memory. What must never happen: anything that waits for a sink; memory without bound while one
//! is away; a point lost that is not counted.

mod deliver;
mod line;
mod queue;
mod remote;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use fm_analysis::metrics::Login;
use fm_runtime::Context;
use reqwest::Url;

use crate::api::Api;
use crate::source::Sources;
use queue::Batch;
pub use queue::Queue;

/// Where signals go.
#[derive(Debug, Clone)]
pub struct Sink {
    /// What it is called in `/metrics` and in the log.
    pub name: String,
    /// How it is spoken to.
    pub kind: Kind,
    /// Where it is written to.
    pub url: Url,
    /// The login.
    pub login: Option<Login>,
    /// Added to each point.
    pub labels: BTreeMap<String, String>,
    /// Seconds between two points.
    pub interval: u32,
}

/// How a sink is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// InfluxDB's line protocol; a bearer is shown as `Token`.
    Influx,
    /// Prometheus' remote write, version 1.
    RemoteWrite,
}

/// Each sink with its queue.
pub type Outlets = Arc<Vec<(Sink, Arc<Queue>)>>;

/// The sinks with empty queues. As for a scrape, a series says which daemon it is of: several may write to one Prometheus.
#[must_use]
pub fn outlets(sinks: Vec<Sink>, instance: &str) -> Outlets {
    let with_queue = |mut sink: Sink| {
        if sink.kind == Kind::RemoteWrite {
            for (name, value) in [("job", "fridaymorning"), ("instance", instance)] {
                let place = sink.labels.entry(name.to_owned());
                place.or_insert_with(|| value.to_owned());
            }
        }
        (sink, Arc::new(Queue::default()))
    };
    Arc::new(sinks.into_iter().map(with_queue).collect())
}

/// Writes to every sink until shutdown.
///
/// # Errors
/// None: a sink that does not answer is tried again, and what is lost is counted.
pub async fn run(
    ctx: Context,
    outlets: Outlets,
    sources: Sources,
    api: Arc<Api>,
) -> Result<(), Infallible> {
    let each = outlets.iter().map(|(sink, queue)| {
        let gathering = gather(&ctx, sink, queue, &sources, &api);
        let delivering = deliver::deliver(&ctx, sink, queue);
        async move { tokio::join!(gathering, delivering) }
    });
    futures_util::future::join_all(each).await;
    Ok(())
}

/// Puts a batch into the queue for each span that has passed.
async fn gather(ctx: &Context, sink: &Sink, queue: &Queue, sources: &Sources, api: &Api) {
    let span = i64::from(sink.interval.max(1));
    let mut done = ctx.clock.now().as_second().div_euclid(span);
    loop {
        let now = ctx.clock.now();
        // A second counts once it is over, and is surely counted a second later.
        let closed = now.as_second().saturating_sub(1).div_euclid(span);
        if closed > done {
            let batch = match sink.kind {
                Kind::Influx => {
                    let counted = sources.signals.span((closed - 1) * span, closed * span);
                    line::batch(&counted, (closed - 1) * span, span, &sink.labels)
                }
                // While the store does not answer there is nothing to say.
                Kind::RemoteWrite => (api.exposition().await).map_or_else(Batch::default, |text| {
                    remote::batch(&text, now, &sink.labels)
                }),
            };
            queue.put(batch);
            done = closed;
        } else if closed < done - 1 {
            // The clock was put back.
            done = closed;
        }
        tokio::select! {
            () = ctx.shutdown.cancelled() => return,
            () = tokio::time::sleep(Duration::from_millis(250)) => {}
        }
    }
}
