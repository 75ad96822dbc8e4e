//! The client of HAProxy's master socket: which processes there are, and reloads.
//!
//! One connection a command: the master closes its side only when ours is half closed, and refuses for a moment while
//! it reloads. What must never happen: a reload that failed taken for one that worked.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::Instant;

/// How long one command may take.
const LIMIT: Duration = Duration::from_secs(2);
/// How long a reload may take.
const RELOAD_LIMIT: Duration = Duration::from_secs(30);

/// Why the master did not do as asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// It does not answer.
    #[error("HAProxy's master socket {path} does not answer: {message}")]
    Socket {
        /// The socket.
        path: String,
        /// What went wrong.
        message: String,
    },
    /// The answer is none that we know.
    #[error("HAProxy's master gave no list of processes: {0}")]
    Answer(String),
    /// The new configuration was not taken; the old worker still serves.
    #[error("the reload failed, the old configuration still serves")]
    Failed,
    /// It did not end in time.
    #[error("the reload did not end within {} s", RELOAD_LIMIT.as_secs())]
    TooLong,
}

/// HAProxy's processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Processes {
    /// The master's process id.
    pub(crate) master: u32,
    /// Reloads since it started.
    pub(crate) reloads: u64,
    /// Reloads that failed since the last good one.
    pub(crate) failed: u64,
    /// The worker that serves; `None` for a moment while it starts.
    pub(crate) worker: Option<u32>,
    /// Workers from before the last reload that still have connections.
    pub(crate) old: Vec<u32>,
    /// HAProxy's version.
    pub(crate) version: String,
}

/// The client.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    path: PathBuf,
}

impl Client {
    /// For the socket at this path.
    #[must_use]
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    async fn command(&self, command: &str) -> Result<String, Error> {
        let talk = async {
            let mut stream = UnixStream::connect(&self.path).await?;
            stream.write_all(format!("{command}\n").as_bytes()).await?;
            stream.shutdown().await?;
            let mut text = Vec::new();
            stream.read_to_end(&mut text).await?;
            Ok(String::from_utf8_lossy(&text).into_owned())
        };
        let done = match tokio::time::timeout(LIMIT, talk).await {
            Ok(done) => done,
            Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut)),
        };
        done.map_err(|error: std::io::Error| Error::Socket {
            path: self.path.display().to_string(),
            message: error.to_string(),
        })
    }

    /// Which processes there are.
    ///
    /// # Errors
    /// When the master does not answer.
    pub(crate) async fn processes(&self) -> Result<Processes, Error> {
        let text = self.command("show proc").await?;
        parse(&text).ok_or_else(|| Error::Answer(text.chars().take(200).collect()))
    }

    /// Runs a command in one worker, an old one too.
    ///
    /// # Errors
    /// When the master does not answer.
    pub(crate) async fn in_worker(&self, pid: u32, command: &str) -> Result<String, Error> {
        self.command(&format!("@!{pid} {command}")).await
    }

    /// Loads the files anew and waits until the new worker serves.
    ///
    /// # Errors
    /// When the master does not answer in time or the new configuration was not taken.
    pub(crate) async fn reload(&self) -> Result<Processes, Error> {
        let before = self.processes().await?;
        // The master may close without an answer: what counts is what `show proc` says next.
        let _ = self.command("reload").await;
        let deadline = Instant::now() + RELOAD_LIMIT;
        loop {
            if let Ok(now) = self.processes().await {
                if now.failed > before.failed {
                    return Err(Error::Failed);
                }
                if now.reloads > before.reloads
                    && now.worker.is_some()
                    && now.worker != before.worker
                {
                    return Ok(now);
                }
            }
            if Instant::now() >= deadline {
                return Err(Error::TooLong);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Reads `show proc`.
fn parse(text: &str) -> Option<Processes> {
    let mut found: Option<Processes> = None;
    let mut old = false;
    for line in text.lines() {
        if line.starts_with("# old workers") {
            old = true;
        } else if line.starts_with("# programs") {
            break;
        }
        let field: Vec<&str> = line.split_ascii_whitespace().collect();
        let Some(pid) = field.first().and_then(|pid| pid.parse::<u32>().ok()) else {
            continue;
        };
        match (*field.get(1)?, &mut found) {
            ("master", _) => {
                let failed = line
                    .split_once("[failed: ")
                    .and_then(|(_, rest)| rest.split_once(']'))
                    .map_or(Some(0), |(number, _)| number.parse().ok())?;
                found = Some(Processes {
                    master: pid,
                    reloads: field.get(2)?.parse().ok()?,
                    failed,
                    worker: None,
                    old: Vec::new(),
                    version: (*field.last()?).to_owned(),
                });
            }
            ("worker", Some(all)) if old => all.old.push(pid),
            ("worker", Some(all)) => all.worker = Some(pid),
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_read() {
        let text = "#<PID>          <type>          <reloads>       <uptime>        <version>      \n\
            29140           master          3 [failed: 1]   0d00h00m02s     2.6.12-1+deb12u4\n# workers\n\
            29143           worker          0               0d00h00m02s     2.6.12-1+deb12u4\n# old workers\n\
            29141           worker          1               0d00h00m02s     2.6.12-1+deb12u4\n# programs\n\n";
        assert_eq!(
            parse(text),
            Some(Processes {
                master: 29140,
                reloads: 3,
                failed: 1,
                worker: Some(29143),
                old: vec![29141],
                version: "2.6.12-1+deb12u4".into(),
            })
        );
        assert_eq!(parse(""), None);
    }
}
