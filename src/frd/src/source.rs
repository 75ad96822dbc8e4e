//! Where analysis gets its counters: from the haproxy agent of this process by a call, from the others over their sockets.
//!
//! What must never happen: an agent that does not answer holds up what the others said.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use fm_api::keys;
use fm_api::observed::Agent;
use fm_runtime::{Cache, Context, decode};
use fm_telemetry::counters::Snapshot;
use fm_telemetry::{CounterSource, Handle, SourceError};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// Analysis asks once a second: an answer must come well before that.
const TIME: Duration = Duration::from_millis(800);
/// The largest answer that is taken in.
const LARGEST: usize = 64 << 20;

/// The counters of this process' own agent; it changes when the agent is started again.
#[derive(Debug, Clone, Default)]
pub struct LocalTelemetry {
    current: Arc<RwLock<Option<(String, Handle)>>>,
}

impl LocalTelemetry {
    /// The agent has started.
    pub fn set(&self, instance: &str, handle: Handle) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) =
            Some((instance.to_owned(), handle));
    }

    /// What was counted so far; `None` while there is no agent.
    #[must_use]
    pub fn snapshot(&self, now: Timestamp) -> Option<Snapshot> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        let (instance, handle) = current.as_ref()?;
        Some(handle.snapshot(instance, handle.epoch(), now))
    }
}

/// The counters of every live agent.
pub(crate) struct AllAgents {
    ctx: Context,
    agents: Cache,
    local: LocalTelemetry,
    /// Where our own agent's counters are served.
    own_address: String,
}

impl AllAgents {
    pub(crate) fn new(ctx: &Context, local: LocalTelemetry, own_address: String) -> Self {
        Self {
            agents: Cache::start(ctx, vec![keys::prefix("agents")]),
            ctx: ctx.clone(),
            local,
            own_address,
        }
    }

    /// Waits until it is known which agents there are.
    pub(crate) async fn known(&self) {
        self.agents.synced().await;
    }
}

#[async_trait]
impl CounterSource for AllAgents {
    async fn pull(&self) -> Vec<Result<Snapshot, SourceError>> {
        let own = self.local.snapshot(self.ctx.clock.now());
        let own_name = own.as_ref().map(|snapshot| snapshot.instance.clone());
        let others = self.agents.list(&keys::prefix("agents"));
        let others = others
            .iter()
            .filter_map(|entry| match decode::<Agent>(entry) {
                Ok(agent) => Some(agent),
                Err(error) => {
                    tracing::warn!("an agent cannot be read: {error}");
                    None
                }
            });
        let is_own = |agent: &Agent| {
            own_name.as_ref() == Some(&agent.instance) && agent.telemetry == self.own_address
        };
        let asked = others.filter(|agent| !is_own(agent)).map(ask);
        let mut all = futures_util::future::join_all(asked).await;
        all.extend(own.map(Ok));
        all
    }
}

async fn ask(agent: Agent) -> Result<Snapshot, SourceError> {
    let problem = |message: String| SourceError {
        instance: agent.instance.clone(),
        message,
    };
    let answer = tokio::time::timeout(TIME, fetch(&agent.telemetry))
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {} ms", TIME.as_millis())));
    let bytes = answer.map_err(&problem)?;
    let snapshot: Snapshot = serde_json::from_slice(&bytes)
        .map_err(|error| problem(format!("the answer cannot be read: {error}")))?;
    if snapshot.instance == agent.instance {
        Ok(snapshot)
    } else {
        // A socket that another daemon has taken over must not count for the one that had it.
        Err(problem(format!(
            "{} answers at its address",
            snapshot.instance
        )))
    }
}

async fn fetch(address: &str) -> Result<Bytes, String> {
    if let Some(path) = address.strip_prefix("unix:") {
        let stream = UnixStream::connect(Path::new(path))
            .await
            .map_err(|error| format!("{path}: {error}"))?;
        get(stream, "localhost").await
    } else if let Some(host) = address.strip_prefix("http://") {
        let host = host.trim_end_matches('/');
        let stream = TcpStream::connect(host)
            .await
            .map_err(|error| format!("{host}: {error}"))?;
        get(stream, host).await
    } else {
        Err(format!(
            "its address `{address}` is of a kind that this version cannot reach"
        ))
    }
}

async fn get<S>(stream: S, host: &str) -> Result<Bytes, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let text = |error: hyper::Error| error.to_string();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(text)?;
    // It ends when the sender is dropped, at the end of this call or at its time limit.
    let driver = tokio::spawn(connection);
    let request = hyper::Request::get("/v1/agent/telemetry")
        .header("host", host)
        .header("accept", "application/json")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(text)?;
    let status = response.status();
    let body = Limited::new(response.into_body(), LARGEST)
        .collect()
        .await
        .map_err(|error| error.to_string())?
        .to_bytes();
    driver.abort();
    if status.is_success() {
        Ok(body)
    } else {
        Err(format!("it answered {status}"))
    }
}

#[cfg(test)]
mod tests;
