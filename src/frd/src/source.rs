//! Where counters come from: from the agents of this process by a call, from the others over their sockets. One reader serves
//! everybody in the process.
//!
//! What must never happen: an agent that does not answer holds up what the others said.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use fm_api::keys;
use fm_api::observed::{Agent, NodeAgent};
use fm_runtime::{Cache, Context, decode};
use fm_signals::Signals;
use fm_telemetry::counters::Snapshot;
use fm_telemetry::peers::Peers;
use fm_telemetry::usage::{LocalUsage, NodeUsage};
use fm_telemetry::{CounterSource, Handle, Pulls, SourceError};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
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

    /// How those fare that lines are sent on to.
    #[must_use]
    pub fn outflows(&self) -> Vec<fm_telemetry::outflow::Status> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        let handle = current.as_ref().map(|(_, handle)| handle);
        handle.map(Handle::outflows).unwrap_or_default()
    }
}

/// What is counted and kept, for all who look at it.
#[derive(Clone)]
pub struct Sources {
    /// What the haproxy agent of this process counts.
    pub telemetry: LocalTelemetry,
    /// What the node agent of this process measures.
    pub usage: LocalUsage,
    /// The golden signals.
    pub signals: Signals,
    /// The one reader of every agent.
    pub pulls: Arc<Pulls>,
}

impl Sources {
    /// The sources of this process, whose own agents are found at this address; the others show a certificate, where we have
    /// one. Call it inside the runtime.
    #[must_use]
    pub fn new(ctx: &Context, signals: Signals, own_address: String, peers: Option<Peers>) -> Self {
        let (telemetry, usage) = (LocalTelemetry::default(), LocalUsage::default());
        let all = AllAgents {
            agents: Cache::start(ctx, vec![keys::prefix("agents"), keys::prefix("nodes")]),
            ctx: ctx.clone(),
            local: telemetry.clone(),
            local_usage: usage.clone(),
            own_address,
            peers,
        };
        Self {
            telemetry,
            usage,
            signals,
            pulls: Arc::new(Pulls::new(Arc::new(all))),
        }
    }
}

/// The counters of every live agent.
struct AllAgents {
    ctx: Context,
    agents: Cache,
    local: LocalTelemetry,
    local_usage: LocalUsage,
    /// Where our own agents' counters are served.
    own_address: String,
    peers: Option<Peers>,
}

impl AllAgents {
    /// Every live agent of a kind; what cannot be read is told and left out.
    fn live<T: DeserializeOwned>(&self, kind: &str) -> Vec<T> {
        let entries = self.agents.list(&keys::prefix(kind));
        let read = |entry: &Arc<fm_store::Entry>| match decode::<T>(entry) {
            Ok(agent) => Some(agent),
            Err(error) => {
                tracing::warn!("an agent cannot be read: {error}");
                None
            }
        };
        entries.iter().filter_map(read).collect()
    }
}

#[async_trait]
impl CounterSource for AllAgents {
    async fn pull(&self) -> Vec<Result<Snapshot, SourceError>> {
        // Before the agents are known, none would look like none there.
        if self.agents.revision() == 0 {
            let _ = tokio::time::timeout(TIME, self.agents.synced()).await;
        }
        let own = self.local.snapshot(self.ctx.clock.now());
        let own_name = own.as_ref().map(|snapshot| snapshot.instance.clone());
        let is_own = |agent: &Agent| {
            own_name.as_ref() == Some(&agent.instance) && agent.telemetry == self.own_address
        };
        let others = self.live::<Agent>("agents").into_iter();
        let asked = others.filter(|agent| !is_own(agent));
        let asked = asked.map(|agent| ask(agent, self.peers.as_ref()));
        let mut all = futures_util::future::join_all(asked).await;
        all.extend(own.map(Ok));
        all
    }

    async fn usage(&self) -> Vec<NodeUsage> {
        let own = self.local_usage.get();
        let own_name = own.as_ref().map(|usage| usage.instance.clone());
        let is_own = |agent: &NodeAgent| {
            own_name.as_ref() == Some(&agent.instance) && agent.telemetry == self.own_address
        };
        let others = self.live::<NodeAgent>("nodes").into_iter();
        let asked = others.filter(|agent| !is_own(agent));
        let asked = asked.map(|agent| ask_node(agent, self.peers.as_ref()));
        let answers = futures_util::future::join_all(asked).await;
        let mut all: Vec<NodeUsage> = answers.into_iter().flatten().collect();
        all.extend(own);
        all
    }
}

/// What a node's tasks use; a node that does not answer is only told of in the log.
async fn ask_node(agent: NodeAgent, peers: Option<&Peers>) -> Option<NodeUsage> {
    let answer =
        tokio::time::timeout(TIME, fetch(&agent.telemetry, peers, "/v1/agent/usage")).await;
    let answer = answer.unwrap_or_else(|_| Err("no answer in time".to_owned()));
    let usage = answer.and_then(|bytes| {
        let usage: NodeUsage = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        if usage.instance == agent.instance {
            Ok(usage)
        } else {
            Err(format!("{} answers at its address", usage.instance))
        }
    });
    usage
        .inspect_err(|error| {
            tracing::debug!(
                "what the tasks of {} use is not known: {error}",
                agent.instance
            );
        })
        .ok()
}

async fn ask(agent: Agent, peers: Option<&Peers>) -> Result<Snapshot, SourceError> {
    let problem = |message: String| SourceError {
        instance: agent.instance.clone(),
        message,
    };
    let answer = tokio::time::timeout(TIME, fetch(&agent.telemetry, peers, "/v1/agent/telemetry"))
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

async fn fetch(address: &str, peers: Option<&Peers>, path: &str) -> Result<Bytes, String> {
    if let Some(socket) = address.strip_prefix("unix:") {
        let stream = UnixStream::connect(Path::new(socket))
            .await
            .map_err(|error| format!("{socket}: {error}"))?;
        get(stream, "localhost", path).await
    } else if let Some(host) = address.strip_prefix("https://") {
        let Some(peers) = peers else {
            return Err(format!(
                "{host} wants a certificate, and this daemon has none: give it `telemetry.tls`"
            ));
        };
        let stream = (peers.connect(host).await).map_err(|error| format!("{host}: {error}"))?;
        get(stream, host, path).await
    } else if let Some(host) = address.strip_prefix("http://") {
        if peers.is_some() {
            return Err(format!(
                "nothing shows who answers at {host}: give the daemon there `telemetry.tls`, too"
            ));
        }
        let host = host.trim_end_matches('/');
        let stream = TcpStream::connect(host)
            .await
            .map_err(|error| format!("{host}: {error}"))?;
        get(stream, host, path).await
    } else {
        Err(format!(
            "its address `{address}` is of a kind that this version cannot reach"
        ))
    }
}

async fn get<S>(stream: S, host: &str, path: &str) -> Result<Bytes, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let text = |error: hyper::Error| error.to_string();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(text)?;
    // It ends when the sender is dropped, at the end of this call or at its time limit.
    let driver = tokio::spawn(connection);
    let request = hyper::Request::get(path)
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
