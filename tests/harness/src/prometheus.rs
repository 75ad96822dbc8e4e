//! A real Prometheus of our own, on a free loopback port, that scrapes a `frd`.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use crate::{free_port, until};

/// A running Prometheus; it ends with this value.
pub struct Prometheus {
    _folder: TempDir,
    _child: Child,
    door: JoinHandle<()>,
    port: u16,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.door.abort();
    }
}

impl Prometheus {
    /// Starts one that scrapes `/metrics` behind this socket five times a second.
    ///
    /// # Errors
    /// When `prometheus` is not installed or does not come up.
    pub async fn scraping(socket: &Path) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("fm-prom-").tempdir()?;
        // Prometheus speaks to no unix socket: a door of ours leads there.
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let target = listener.local_addr()?.port();
        let socket = socket.to_owned();
        let door = tokio::spawn(async move {
            while let Ok((mut outside, _)) = listener.accept().await {
                let socket = socket.clone();
                tokio::spawn(async move {
                    if let Ok(mut inside) = UnixStream::connect(socket).await {
                        // A side that hangs up ends it.
                        let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
                    }
                });
            }
        });
        let config = format!(
            "global: {{ scrape_interval: 200ms, scrape_timeout: 200ms }}\nscrape_configs:\n  - job_name: frd\n    static_configs: [{{ targets: [\"127.0.0.1:{target}\"] }}]\n"
        );
        std::fs::write(folder.path().join("prometheus.yml"), config)?;
        let port = free_port()?;
        let child = Command::new("prometheus")
            .current_dir(folder.path())
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start prometheus (Debian: apt-get install prometheus)")?;
        until("Prometheus to answer", Duration::from_secs(20), || async {
            TcpStream::connect(("127.0.0.1", port)).await.ok()
        })
        .await?;
        Ok(Self {
            _folder: folder,
            _child: child,
            door,
            port,
        })
    }

    /// Where it is asked.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}
