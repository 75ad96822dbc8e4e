//! One `frd` with its store, its HAProxy and its sockets, in a folder of its own.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::api::Api;
use crate::{alive, docker, free_port, program, signal, until};

/// A running stack. Whatever way it ends, its processes are gone then, and what it made in Docker.
pub struct Stack {
    folder: TempDir,
    port: u16,
    store: Vec<String>,
    namespaces: Vec<String>,
    extra: Vec<String>,
    child: Option<Child>,
}

impl Stack {
    /// Starts `frd` with the embedded store, or with the etcd at this address, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not come up; the text holds the end of its log.
    pub async fn start(etcd: Option<&str>) -> Result<Self> {
        Self::start_with(etcd, &[]).await
    }

    /// The same, with more arguments for `frd`.
    ///
    /// # Errors
    /// When it does not come up; the text holds the end of its log.
    pub async fn start_with(etcd: Option<&str>, extra: &[&str]) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("fm-").tempdir()?;
        let store = match etcd {
            Some(url) => vec!["--etcd".to_owned(), url.to_owned()],
            None => vec![
                "--data-dir".to_owned(),
                folder.path().join("data").to_string_lossy().into_owned(),
            ],
        };
        let extra = extra.iter().map(|text| (*text).to_owned()).collect();
        let mut stack = Self {
            folder,
            port: free_port()?,
            store,
            namespaces: Vec::new(),
            extra,
            child: None,
        };
        stack.spawn()?;
        stack.ready().await?;
        Ok(stack)
    }

    /// Starts `frd` again after it was killed or stopped.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(&mut self) -> Result<()> {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_file())?;
        let child = Command::new(program("frd")?)
            .args(&self.store)
            .arg("--listen")
            .arg(format!("unix:{}", self.socket().display()))
            .args(["--http-bind", &format!("127.0.0.1:{}", self.port)])
            .arg("--haproxy-dir")
            .arg(self.haproxy_folder())
            .args(&self.extra)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start frd")?;
        self.child = Some(child);
        Ok(())
    }

    /// Waits until `frd` says that it is ready.
    ///
    /// # Errors
    /// When it does not become ready in 30 s; the text holds the end of its log.
    pub async fn ready(&self) -> Result<()> {
        let api = self.api();
        let begun = Instant::now();
        while let Err(why) = api.get("/readyz").await {
            if begun.elapsed() > Duration::from_secs(30) {
                let log = format!(
                    "frd is not ready after 30 s; its log ends with:\n{}",
                    self.log_end()
                );
                return Err(why.context(log));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// The last lines of frd's log.
    #[must_use]
    pub fn log_end(&self) -> String {
        let text = std::fs::read_to_string(self.log_file()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(25)..].join("\n")
    }

    /// Where frd's log is.
    #[must_use]
    pub fn log_file(&self) -> PathBuf {
        self.folder.path().join("frd.log")
    }

    /// The folder of the stack.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The public port of its HAProxy.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The socket of its API.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("frd.sock")
    }

    /// Its API.
    #[must_use]
    pub fn api(&self) -> Api {
        Api::new(&self.socket())
    }

    /// The folder of its HAProxy.
    #[must_use]
    pub fn haproxy_folder(&self) -> PathBuf {
        self.folder.path().join("haproxy")
    }

    /// frd's process, while it runs.
    #[must_use]
    pub fn frd_pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// The processes of its HAProxy, the master first.
    #[must_use]
    pub fn haproxy_pids(&self) -> Vec<u32> {
        let folder = self.haproxy_folder().to_string_lossy().into_owned();
        let mut pids: Vec<u32> = std::fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().to_string_lossy().parse().ok())
            .filter(|pid| {
                let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                let command = String::from_utf8_lossy(&command);
                command
                    .split('\0')
                    .next()
                    .is_some_and(|program| program.ends_with("haproxy"))
                    && command.contains(&folder)
                    && alive(*pid)
            })
            .collect();
        pids.sort_unstable();
        pids
    }

    /// Kills `frd` with -9. Its HAProxy goes on.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn kill_frd(&mut self) -> Result<()> {
        self.child
            .take()
            .context("frd does not run")?
            .kill()
            .await
            .context("cannot kill frd")
    }

    /// Stops `frd` in order. Its HAProxy goes on.
    ///
    /// # Errors
    /// When it does not end within 20 s.
    pub async fn stop_frd(&mut self) -> Result<()> {
        let mut child = self.child.take().context("frd does not run")?;
        if let Some(pid) = child.id() {
            signal(pid, "TERM").await?;
        }
        tokio::time::timeout(Duration::from_secs(20), child.wait())
            .await
            .context("frd did not end in 20 s")?
            .map(drop)
            .context("frd")
    }

    /// Kills its HAProxy with -9, master and workers.
    ///
    /// # Errors
    /// When a process cannot be killed.
    pub async fn kill_haproxy(&self) -> Result<()> {
        for pid in self.haproxy_pids() {
            // A worker may be gone with its master.
            let _ = signal(pid, "KILL").await;
        }
        Ok(())
    }

    /// Waits until another HAProxy than these processes serves.
    ///
    /// # Errors
    /// When none does within 20 s.
    pub async fn haproxy_back(&self, old: &[u32]) -> Result<()> {
        until(
            "HAProxy to serve again",
            Duration::from_secs(20),
            || async {
                let pids = self.haproxy_pids();
                let fresh = pids.len() > 1 && pids.iter().all(|pid| !old.contains(pid));
                let answers = tokio::net::TcpStream::connect(("127.0.0.1", self.port))
                    .await
                    .is_ok();
                (fresh && answers).then_some(())
            },
        )
        .await
    }

    /// Runs `frctl` against this stack and gives its exit code and what it printed.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn frctl(&mut self, arguments: &[&str]) -> Result<Output> {
        self.frctl_with(arguments, "").await
    }

    /// The same, with text on its standard input.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn frctl_with(&mut self, arguments: &[&str], input: &str) -> Result<Output> {
        use tokio::io::AsyncWriteExt;
        let mut child = Command::new(program("frctl")?)
            .arg("--server")
            .arg(format!("unix:{}", self.socket().display()))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start frctl")?;
        if let Some(mut stdin) = child.stdin.take() {
            // Somebody who does not read to the end has seen enough.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        child.wait_with_output().await.context("frctl")
    }

    /// Applies a manifest and remembers its namespace for [`Stack::down`].
    ///
    /// # Errors
    /// When `frctl apply` does not exit 0; the text holds what it said.
    pub async fn apply(&mut self, namespace: &str, manifest: &str) -> Result<String> {
        if !self.namespaces.iter().any(|known| known == namespace) {
            self.namespaces.push(namespace.to_owned());
        }
        let output = self.frctl_with(&["apply", "-f", "-"], manifest).await?;
        let text = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        anyhow::ensure!(
            output.status.success(),
            "frctl apply exited with {:?}: {text}",
            output.status.code()
        );
        Ok(text)
    }

    /// Waits until the picture of a release is as asked, and gives it.
    ///
    /// # Errors
    /// When it is not so in time; the text holds the last status and frd's log.
    pub async fn wait(
        &self,
        namespace: &str,
        name: &str,
        what: &str,
        limit: Duration,
        holds: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let api = self.api();
        let answer = until(what, limit, || async {
            Some(api.view(namespace, name).await).filter(|view| holds(view))
        })
        .await;
        match answer {
            Ok(view) => Ok(view),
            Err(error) => {
                let view = api.view(namespace, name).await;
                Err(error.context(format!(
                    "status: {:#}\nverdict: {}\nfrd's log ends with:\n{}",
                    view["status"],
                    view["verdict"]["sentence"],
                    self.log_end()
                )))
            }
        }
    }

    /// Ends `frd` in order; then everything that it made goes, as it does when a test fails.
    pub async fn down(mut self) {
        if self.child.is_some() {
            // What does not end in order is killed.
            let _ = self.stop_frd().await;
        }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.child = None;
        for pid in self.haproxy_pids() {
            // A bare machine has no `kill` but the shell's.
            let _ = std::process::Command::new("sh")
                .args(["-c", &format!("kill -KILL {pid}")])
                .stderr(Stdio::null())
                .status();
        }
        for namespace in &self.namespaces {
            remove(namespace);
        }
    }
}

/// Removes what Docker has of a namespace: services, also those that a test made itself, configs and secrets, and the jobs
/// and the key of the `frd` that they belong to.
fn remove(namespace: &str) {
    let mut owners = BTreeSet::new();
    for name in [
        format!("name=fm_{namespace}_"),
        format!("name={namespace}_"),
    ] {
        for kind in ["service", "config", "secret"] {
            for id in docker(&[kind, "ls", "-q", "--filter", &name]).split_whitespace() {
                let owner = docker(&[kind, "inspect", "-f", OWNER, id]);
                owners.insert(owner.trim().to_owned());
                docker(&[kind, "rm", id]);
            }
        }
        // Swarm stops them in its own time, and an image in use would only lose its name.
        for id in docker(&["ps", "-aq", "--filter", &name]).split_whitespace() {
            docker(&["rm", "-f", id]);
        }
    }
    for owner in owners.iter().filter(|owner| !owner.is_empty()) {
        let jobs = format!("label=fridaymorning.dev/job-of={owner}");
        for id in docker(&["service", "ls", "-q", "--filter", &jobs]).split_whitespace() {
            docker(&["service", "rm", id]);
        }
        docker(&["config", "rm", &format!("fm_key_{owner}")]);
    }
}

/// The installation whose service, config or secret it is.
const OWNER: &str = "{{index .Spec.Labels \"fridaymorning.dev/managed-by\"}}";
