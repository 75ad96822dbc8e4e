//! A real etcd on free loopback ports, with its data in a temporary folder; ended with its owner, also when a test fails.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fm_harness::free_port;
use fm_store::{SharedStore, StoreError, etcd};
use tempfile::TempDir;

pub(crate) struct Server {
    folder: TempDir,
    child: Child,
    client: u16,
    peer: u16,
    secure: bool,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Server {
    /// Starts a server without encryption or users.
    pub(crate) fn start() -> Self {
        Self::start_in(TempDir::new().unwrap(), false)
    }

    /// Starts a server that demands TLS with a client certificate; the certificates must be in the folder.
    pub(crate) fn start_in(folder: TempDir, secure: bool) -> Self {
        let (client, peer) = (free_port().unwrap(), free_port().unwrap());
        let child = spawn(folder.path(), client, peer, secure);
        let server = Self {
            folder,
            child,
            client,
            peer,
            secure,
        };
        server.wait();
        server
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn endpoint(&self) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.client)
    }

    pub(crate) async fn connect(&self) -> SharedStore {
        let options = etcd::Options {
            endpoints: vec![self.endpoint()],
            ..etcd::Options::default()
        };
        connect(options).await.unwrap()
    }

    /// `kill -9`, as the kernel does it.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// The same server again, with the same data on the same ports.
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.child = spawn(self.folder.path(), self.client, self.peer, self.secure);
        self.wait();
    }

    pub(crate) fn etcdctl(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("etcdctl");
        command
            .env("ETCDCTL_API", "3")
            .args(["--endpoints", &self.endpoint()])
            .args(arguments);
        if self.secure {
            for (option, file) in [
                ("--cacert", "ca.pem"),
                ("--cert", "client.pem"),
                ("--key", "client.key"),
            ] {
                command.arg(option).arg(self.path(file));
            }
        }
        run(&mut command)
    }

    fn wait(&self) {
        let limit = Instant::now() + Duration::from_secs(30);
        while std::net::TcpStream::connect(("127.0.0.1", self.client)).is_err() {
            let log = std::fs::read_to_string(self.path("log")).unwrap_or_default();
            assert!(Instant::now() < limit, "etcd does not start:\n{log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Connects, with patience for a server that has only just opened its port.
pub(crate) async fn connect(options: etcd::Options) -> Result<SharedStore, StoreError> {
    let limit = Instant::now() + Duration::from_secs(20);
    loop {
        match etcd::connect(options.clone()).await {
            Err(StoreError::Unavailable(_)) if Instant::now() < limit => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            result => return result,
        }
    }
}

/// Runs a program to its end; it must succeed.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?} is needed by this test: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn spawn(folder: &Path, client: u16, peer: u16, secure: bool) -> Child {
    let scheme = if secure { "https" } else { "http" };
    let (client, peer) = (
        format!("{scheme}://127.0.0.1:{client}"),
        format!("http://127.0.0.1:{peer}"),
    );
    let log = File::options()
        .create(true)
        .append(true)
        .open(folder.join("log"))
        .unwrap();
    let mut command = Command::new("etcd");
    command
        .arg("--data-dir")
        .arg(folder.join("data"))
        .args(["--listen-client-urls", &client])
        .args(["--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer])
        .args(["--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("default={peer}")])
        .stdout(Stdio::null())
        .stderr(log);
    if secure {
        command
            .arg("--cert-file")
            .arg(folder.join("server.pem"))
            .arg("--key-file")
            .arg(folder.join("server.key"))
            .arg("--trusted-ca-file")
            .arg(folder.join("ca.pem"))
            .arg("--client-cert-auth");
    }
    command.spawn().unwrap_or_else(|error| {
        panic!("etcd (Debian's etcd-server) is needed by this test: {error}")
    })
}
