//! A real etcd of our own, on free loopback ports, with its data in a temporary folder.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::{free_port, until};

/// A running etcd; it ends with this value.
pub struct Etcd {
    folder: TempDir,
    client: u16,
    peer: u16,
    child: Child,
}

impl Etcd {
    /// Starts one.
    ///
    /// # Errors
    /// When `etcd` is not installed or does not come up.
    pub async fn start() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("fm-etcd-").tempdir()?;
        let (client, peer) = (free_port()?, free_port()?);
        let child = spawn(&folder, client, peer)?;
        let etcd = Self {
            folder,
            client,
            peer,
            child,
        };
        etcd.ready().await?;
        Ok(etcd)
    }

    /// What `frd --etcd` is given.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.client)
    }

    /// Kills it and starts it again with its old data.
    ///
    /// # Errors
    /// When it does not come up again.
    pub async fn kill_and_restart(&mut self, away: Duration) -> Result<()> {
        self.child.kill().await?;
        tokio::time::sleep(away).await;
        self.child = spawn(&self.folder, self.client, self.peer)?;
        self.ready().await
    }

    async fn ready(&self) -> Result<()> {
        until("etcd to answer", Duration::from_secs(20), || async {
            tokio::net::TcpStream::connect(("127.0.0.1", self.client))
                .await
                .ok()
        })
        .await
        .map(drop)
    }
}

fn spawn(folder: &TempDir, client: u16, peer: u16) -> Result<Child> {
    let (client, peer) = (
        format!("http://127.0.0.1:{client}"),
        format!("http://127.0.0.1:{peer}"),
    );
    Command::new("etcd")
        .arg("--data-dir")
        .arg(folder.path().join("data"))
        .args([
            "--listen-client-urls",
            &client,
            "--advertise-client-urls",
            &client,
            "--listen-peer-urls",
            &peer,
        ])
        .args([
            "--initial-advertise-peer-urls",
            &peer,
            "--initial-cluster",
            &format!("default={peer}"),
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(folder.path().join("log"))?)
        .kill_on_drop(true)
        .spawn()
        .context("cannot start etcd: is Debian's etcd-server installed?")
}
