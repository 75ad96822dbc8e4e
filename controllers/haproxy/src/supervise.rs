//! Starts HAProxy, watches it, and starts it again when it dies.
//!
//! Owner of the HAProxy process in owned mode, but not of its life: HAProxy runs in a session of its own, outlives the
//! daemon, and is adopted again by its master socket. What must never happen: a second HAProxy beside a living one, or
//! a signal to a process that is not ours.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::process::Command;
use tokio::time::Instant;

use crate::files;
use crate::master;
use crate::ports::{self, Other, Ports};

/// How often the process is looked at.
const EVERY: Duration = Duration::from_millis(50);
/// How long its sockets may be missing until a living HAProxy is given up.
const UNLED: Duration = Duration::from_secs(2);
/// How long a start may take.
const START_LIMIT: Duration = Duration::from_secs(10);

/// Why HAProxy does not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The program cannot be started.
    #[error("{binary} cannot be started: {message}")]
    Start {
        /// The program.
        binary: String,
        /// What went wrong.
        message: String,
    },
    /// HAProxy refused its configuration.
    #[error("HAProxy refused the configuration: {0}")]
    Refused(String),
    /// Somebody else listens where it would.
    #[error("HAProxy was not started: {0}")]
    Taken(String),
    /// It ended at once, or never answered.
    #[error("HAProxy did not come up: {0}")]
    Down(String),
}

/// How to run HAProxy.
#[derive(Debug, Clone)]
pub(crate) struct Runner {
    /// The program.
    pub(crate) binary: PathBuf,
    /// The folder of configuration, maps and sockets.
    pub(crate) dir: PathBuf,
    /// The master socket.
    pub(crate) master: PathBuf,
    /// Where it listens.
    pub(crate) binds: Vec<String>,
    /// Its folder holds what an earlier HAProxy of ours serves, or a person accepted that it does not.
    pub(crate) remembers: Arc<AtomicBool>,
}

impl Runner {
    fn client(&self) -> master::Client {
        master::Client::new(&self.master)
    }

    /// The HAProxy that runs already, if one does.
    pub(crate) async fn adopt(&self) -> Option<master::Processes> {
        let seen = self.client().processes().await.ok()?;
        alive(seen.master).then_some(seen)
    }

    /// Starts HAProxy where nobody else would share its requests. An earlier one of ours that cannot be led any more
    /// finishes what it has, once the new one serves.
    async fn start_alone(&self) -> Result<master::Processes, Error> {
        let mut ports = Ports::new(&files::config(&self.dir), self.binds.iter().cloned());
        let (ours, strangers): (Vec<Other>, Vec<Other>) =
            (ports.others(&[], false).into_iter()).partition(|other| other.ours);
        if !strangers.is_empty() {
            return Err(Error::Taken(ports::sentence(&strangers)));
        }
        if !ours.is_empty() && !self.remembers.load(Ordering::Relaxed) {
            return Err(Error::Taken(ports::forgotten(&ours)));
        }
        let seen = self.start().await?;
        for other in ours.iter().filter(|other| other.pid != Some(seen.master)) {
            if ports.stop_softly(other) {
                tracing::warn!(
                    "{other}: an earlier HAProxy of ours that could not be led any more; it finishes what it has"
                );
            }
        }
        Ok(seen)
    }

    /// Asks HAProxy whether it would take this configuration.
    ///
    /// # Errors
    /// HAProxy's own words when it would not.
    pub(crate) async fn check(&self, config: &Path) -> Result<(), Error> {
        let output = Command::new(&self.binary)
            .args(["-c", "-f"])
            .arg(config)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(START_LIMIT, output)
            .await
            .map_err(|_| Error::Refused("the check did not end in time".to_owned()))?
            .map_err(|error| self.not_started(&error))?;
        if output.status.success() {
            return Ok(());
        }
        let words = String::from_utf8_lossy(&output.stderr);
        Err(Error::Refused(alerts(&words)))
    }

    fn not_started(&self, error: &std::io::Error) -> Error {
        Error::Start {
            binary: self.binary.display().to_string(),
            message: error.to_string(),
        }
    }

    /// Starts HAProxy from the files on disk and waits until it serves.
    ///
    /// # Errors
    /// When it does not come up; the message holds its own words.
    pub(crate) async fn start(&self) -> Result<master::Processes, Error> {
        let log_path = self.dir.join("haproxy.log");
        let log = std::fs::File::create(&log_path).map_err(|error| self.not_started(&error))?;
        let log_again = log.try_clone().map_err(|error| self.not_started(&error))?;
        // A session of its own: a hang-up or an interrupt of the daemon's terminal must not reach it.
        let mut command = match find("setsid") {
            Some(setsid) => {
                let mut command = Command::new(setsid);
                command.arg(&self.binary);
                command
            }
            None => {
                let mut command = Command::new(&self.binary);
                command.process_group(0);
                command
            }
        };
        let mut child = command
            .arg("-W")
            .arg("-S")
            .arg(format!("{},mode,600", self.master.display()))
            .arg("-f")
            .arg(files::config(&self.dir))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(log_again)
            .kill_on_drop(false)
            .spawn()
            .map_err(|error| self.not_started(&error))?;
        let deadline = Instant::now() + START_LIMIT;
        loop {
            if let Some(seen) = self.adopt().await.filter(|seen| seen.worker.is_some()) {
                return Ok(seen);
            }
            let ended = child.try_wait().ok().flatten().is_some();
            if ended || Instant::now() >= deadline {
                let words = std::fs::read_to_string(&log_path).unwrap_or_default();
                return Err(Error::Down(alerts(&words)));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Keeps HAProxy alive until the shutdown, and tells its processes to whoever listens. It leaves HAProxy running.
pub(crate) async fn keep_alive(
    runner: Runner,
    told: tokio::sync::watch::Sender<Result<master::Processes, String>>,
    shutdown: tokio_util::sync::CancellationToken,
) {
    let mut pause = Duration::ZERO;
    // Since when a HAProxy that lives cannot be led.
    let mut unled: Option<Instant> = None;
    while !shutdown.is_cancelled() {
        let current = told.borrow().as_ref().ok().map(|seen| seen.master);
        let led = runner.master.exists();
        unled = unled.filter(|_| !led).or_else(|| (!led).then(Instant::now));
        let given_up = unled.is_some_and(|since| since.elapsed() >= UNLED);
        if current.is_some_and(alive) && !given_up {
            pause = Duration::ZERO;
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(EVERY) => continue,
            }
        }
        let next = match runner.adopt().await {
            Some(seen) => Ok(seen),
            None => runner
                .start_alone()
                .await
                .map_err(|error| error.to_string()),
        };
        if next.is_ok() {
            runner.remembers.store(true, Ordering::Relaxed);
        }
        // The first retry comes at once, the next ones ever later: a configuration that cannot start must not spin.
        if next.is_err() {
            pause = (pause * 2).clamp(Duration::from_millis(100), Duration::from_secs(2));
        }
        let failed = next.is_err();
        drop(told.send_replace(next));
        if failed {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}

/// Whether a process lives; one that has ended and was not yet collected does not.
#[must_use]
pub(crate) fn alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|text| {
            text.rsplit_once(')')
                .map(|(_, rest)| rest.trim_start().to_owned())
        })
        .is_some_and(|rest| !rest.starts_with(['Z', 'X']))
}

/// What HAProxy says is wrong, without its chatter.
fn alerts(text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("[ALERT]"))
        .take(5)
        .collect();
    if lines.is_empty() {
        return text
            .lines()
            .last()
            .unwrap_or("no reason was given")
            .to_owned();
    }
    lines.join("; ")
}

fn find(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}
