//! A real registry of our own, which gives its images only to who logs in, on a free loopback port.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::{free_port, image, run, until};

/// Who may log in.
pub const USER: &str = "robot";
/// … and the password.
pub const PASSWORD: &str = "s3cret-4bd1";
/// `htpasswd -B`'s line of both.
const HTPASSWD: &str = "robot:$2b$04$qDtyt.VT4.iRoMTQxBB95.EwgHcBVDXypDwLfi7bsk5NyGV6atJKu\n";
/// Both as Docker's configuration has them: base64 of `user:password`.
const LOGIN: &str = "cm9ib3Q6czNjcmV0LTRiZDE=";

/// A running registry; it ends with this value, and its images with it.
pub struct Registry {
    folder: TempDir,
    port: u16,
    _child: Child,
}

impl Registry {
    /// Starts one.
    ///
    /// # Errors
    /// When `docker-registry` is not installed or does not come up.
    pub async fn start() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("fm-registry-").tempdir()?;
        let port = free_port()?;
        let path = |name: &str| folder.path().join(name);
        let config = format!(
            "version: 0.1\nlog: {{ accesslog: {{ disabled: true }} }}\nstorage: {{ filesystem: {{ rootdirectory: {} }} }}\nhttp: {{ addr: \"127.0.0.1:{port}\" }}\nauth: {{ htpasswd: {{ realm: test, path: {} }} }}\n",
            path("data").display(),
            path("htpasswd").display(),
        );
        std::fs::write(path("htpasswd"), HTPASSWD)?;
        std::fs::write(path("config.yml"), config)?;
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(path("config.yml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(path("log"))?)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start docker-registry: is Debian's docker-registry installed?")?;
        let registry = Self {
            folder,
            port,
            _child: child,
        };
        until(
            "the registry to answer",
            Duration::from_secs(20),
            || async {
                tokio::net::TcpStream::connect(("127.0.0.1", port))
                    .await
                    .ok()
            },
        )
        .await?;
        Ok(registry)
    }

    /// Its address, as images are named by it.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Moves a local image there: the machine has it no longer. The login is in a folder of our own and gone afterwards.
    ///
    /// # Errors
    /// When Docker or the registry refuses.
    pub async fn take(&self, image: &str, name: &str) -> Result<()> {
        let there = format!("{}/{name}", self.address());
        let folder = self.folder.path().join("docker");
        std::fs::create_dir_all(&folder)?;
        let config = format!(
            "{{\"auths\":{{\"{}\":{{\"auth\":\"{LOGIN}\"}}}}}}",
            self.address()
        );
        std::fs::write(folder.join("config.json"), config)?;
        run("docker", &["tag", image, &there]).await?;
        let folder = folder.to_string_lossy();
        run("docker", &["--config", &folder, "push", "-q", &there]).await?;
        run("docker", &["image", "rm", "-f", &there]).await?;
        Ok(())
    }

    /// Ends it, and removes what was pulled from there as soon as no task uses it any more.
    ///
    /// # Errors
    /// When it is used for longer than tasks take to stop.
    pub async fn end(self, name: &str) -> Result<()> {
        let repository = format!("{}/{name}", self.address());
        until(
            "the images to be used by nobody",
            Duration::from_secs(30),
            || async {
                let listed = run("docker", &["images", "-q", "--no-trunc", &repository]).await;
                let ids: Vec<String> = listed.ok()?.split_whitespace().map(str::to_owned).collect();
                image::remove(&ids);
                ids.is_empty().then_some(())
            },
        )
        .await
    }
}
