//! What tasks write, read through Docker's log of their service: other nodes' tasks too.
//!
//! Swarm's managers fetch each task's log from its node, so that one address is enough. What must never happen: memory
//! that grows with a log; a reader who waits for ever for a node that does not answer (unless she follows).

pub(crate) mod frames;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use futures_util::StreamExt;
use http_body_util::BodyDataStream;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

pub use frames::Written;

use crate::docker::{Docker, DockerError};
use frames::Frames;

/// A node that does not answer is not waited for longer.
const PATIENCE: Duration = Duration::from_secs(8);
/// So much of one service is kept in memory at once.
const MOST: usize = 8 << 20;

/// What of a log is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// The last lines of each task; absent: all that Docker has.
    pub tail: Option<u32>,
    /// Only what came since.
    pub since: Option<Timestamp>,
}

/// Why there is no log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// There is no such service.
    #[error("{0}")]
    Missing(String),
    /// Docker does not answer, or refuses.
    #[error("{0}")]
    Docker(String),
}

impl From<DockerError> for LogError {
    fn from(error: DockerError) -> Self {
        match error {
            DockerError::Missing(words) => LogError::Missing(words),
            DockerError::Silent(words)
            | DockerError::Stale(words)
            | DockerError::Refused(words) => LogError::Docker(words),
        }
    }
}

/// Lines of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lines {
    /// The lines, sorted by time.
    pub lines: Vec<Written>,
    /// Not everything came: a node did not answer in time, or it was too much.
    pub incomplete: bool,
}

/// Reads logs.
#[derive(Clone)]
pub struct Logs {
    docker: Docker,
}

impl Logs {
    /// Of the Docker at this address.
    ///
    /// # Errors
    /// When the address cannot be read.
    pub fn new(docker: &str) -> Result<Self, LogError> {
        Ok(Self {
            docker: Docker::new(docker)?,
        })
    }

    /// Host names of nodes by their ids.
    ///
    /// # Errors
    /// When Docker does not answer.
    pub async fn nodes(&self) -> Result<BTreeMap<String, String>, LogError> {
        let nodes = self.docker.nodes().await?;
        Ok(nodes
            .into_iter()
            .map(|(id, node)| (id, node.hostname))
            .collect())
    }

    /// What there is.
    ///
    /// # Errors
    /// When there is no such service, or Docker does not answer.
    pub async fn read(&self, service: &str, part: Part) -> Result<Lines, LogError> {
        Ok(read(&self.docker, service, part, PATIENCE).await?)
    }

    /// Hands on what there is and what comes, until the service is gone or nobody listens.
    ///
    /// # Errors
    /// When there is no such service, or Docker does not answer.
    pub async fn follow(
        &self,
        service: &str,
        part: Part,
        lines: mpsc::Sender<Written>,
    ) -> Result<(), LogError> {
        let mut bytes = BodyDataStream::new(self.docker.log_stream(service, part, true).await?);
        let mut frames = Frames::default();
        loop {
            let chunk = tokio::select! {
                () = lines.closed() => return Ok(()),
                chunk = bytes.next() => match chunk {
                    Some(Ok(chunk)) => chunk,
                    // Docker ends it with the service, or was stopped itself: asking again tells which.
                    Some(Err(_)) | None => return Ok(()),
                },
            };
            for line in frames.push(&chunk) {
                if lines.send(line).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
}

/// What there is, as far as it comes in time.
pub(crate) async fn read(
    docker: &Docker,
    service: &str,
    part: Part,
    patience: Duration,
) -> Result<Lines, DockerError> {
    let deadline = Instant::now() + patience;
    let asked = timeout_at(deadline, docker.log_stream(service, part, false));
    let body = asked.await.unwrap_or_else(|_| {
        Err(DockerError::Silent(format!(
            "Docker did not give the log within {} s",
            patience.as_secs()
        )))
    })?;
    let mut bytes = BodyDataStream::new(body);
    let mut frames = Frames::default();
    let mut kept: VecDeque<Written> = VecDeque::new();
    let mut size = 0;
    let mut incomplete = false;
    loop {
        match timeout_at(deadline, bytes.next()).await {
            Ok(Some(Ok(chunk))) => {
                for line in frames.push(&chunk) {
                    size += weight(&line);
                    kept.push_back(line);
                }
            }
            Ok(None) => break,
            Ok(Some(Err(_))) | Err(_) => {
                incomplete = true;
                break;
            }
        }
        while size > MOST {
            incomplete = true;
            let Some(oldest) = kept.pop_front() else {
                break;
            };
            size -= weight(&oldest);
        }
    }
    let mut lines: Vec<Written> = kept.into();
    // Stable: lines of one task and one moment stay in their order.
    lines.sort_by_key(|line| line.at);
    Ok(Lines { lines, incomplete })
}

fn weight(line: &Written) -> usize {
    line.text.len() + line.task.len() + line.node.len() + size_of::<Written>()
}
