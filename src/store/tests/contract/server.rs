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
    ports: Ports,
    secure: bool,
    /// Beyond what every server is started with.
    options: Vec<String>,
}

#[derive(Clone, Copy)]
struct Ports {
    client: u16,
    peer: u16,
}

impl Ports {
    fn free() -> Self {
        Self {
            client: free_port().unwrap(),
            peer: free_port().unwrap(),
        }
    }

    fn member(self) -> String {
        format!("m{}=http://127.0.0.1:{}", self.peer, self.peer)
    }
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
        let ports = Ports::free();
        let server = Self::spawn(folder, ports, secure, &ports.member(), &[]);
        server.wait();
        server
    }

    /// Starts a server with options of etcd's own.
    pub(crate) fn start_with(options: &[&str]) -> Self {
        let ports = Ports::free();
        let server = Self::spawn(
            TempDir::new().unwrap(),
            ports,
            false,
            &ports.member(),
            options,
        );
        server.wait();
        server
    }

    /// Starts the members of one cluster.
    pub(crate) fn cluster(size: usize) -> Vec<Self> {
        let ports: Vec<Ports> = (0..size).map(|_| Ports::free()).collect();
        let members: Vec<String> = ports.iter().map(|ports| ports.member()).collect();
        let members = members.join(",");
        let servers: Vec<Self> = ports
            .into_iter()
            .map(|ports| Self::spawn(TempDir::new().unwrap(), ports, false, &members, &[]))
            .collect();
        for server in &servers {
            server.wait();
        }
        servers
    }

    fn spawn(folder: TempDir, ports: Ports, secure: bool, cluster: &str, options: &[&str]) -> Self {
        let mut options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        options.extend(["--initial-cluster".to_owned(), cluster.to_owned()]);
        Self {
            child: spawn(folder.path(), ports, secure, &options),
            folder,
            ports,
            secure,
            options,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn endpoint(&self) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.ports.client)
    }

    pub(crate) async fn connect(&self) -> SharedStore {
        Self::connect_to([self]).await
    }

    /// A client that knows the server's quota.
    pub(crate) async fn connect_with_quota(&self, quota: u64) -> SharedStore {
        let options = etcd::Options {
            endpoints: vec![self.endpoint()],
            quota: Some(quota),
            ..etcd::Options::default()
        };
        connect(options).await.unwrap()
    }

    /// A client of several, the first of them first.
    pub(crate) async fn connect_to<'a>(servers: impl IntoIterator<Item = &'a Self>) -> SharedStore {
        let options = etcd::Options {
            endpoints: servers.into_iter().map(Self::endpoint).collect(),
            ..etcd::Options::default()
        };
        connect(options).await.unwrap()
    }

    /// `kill -9`, as the kernel does it.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Stops it where it stands, with all its connections open.
    pub(crate) fn hang(&self) {
        self.signal("STOP");
    }

    /// Lets it go on after it hung.
    pub(crate) fn go_on(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        run(Command::new("kill").args([&format!("-{name}"), &id]));
    }

    /// The same server again, with the same data on the same ports.
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.child = spawn(self.folder.path(), self.ports, self.secure, &self.options);
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
        while std::net::TcpStream::connect(("127.0.0.1", self.ports.client)).is_err() {
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

fn spawn(folder: &Path, ports: Ports, secure: bool, options: &[String]) -> Child {
    let scheme = if secure { "https" } else { "http" };
    let (client, peer) = (
        format!("{scheme}://127.0.0.1:{}", ports.client),
        format!("http://127.0.0.1:{}", ports.peer),
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
        .args(["--name", &format!("m{}", ports.peer)])
        .args(["--listen-client-urls", &client])
        .args(["--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer])
        .args(["--initial-advertise-peer-urls", &peer])
        .args(options)
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
