//! What the real servers need: a folder, a port, a certificate, and an end.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fm_harness::free_port;

/// A program that is stopped with the test.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
    pub(crate) folder: tempfile::TempDir,
    log: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Starts a program; `prepare` fills its folder, and knows its port.
    pub(crate) fn start(
        program: &str,
        package: &str,
        prepare: impl FnOnce(&Path, u16) -> Vec<String>,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port().unwrap();
        let arguments = prepare(folder.path(), port);
        let log = folder.path().join("log");
        let out = std::fs::File::create(&log).unwrap();
        let child = Command::new(program)
            .args(arguments)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .spawn()
            .unwrap_or_else(|error| {
                panic!("these tests need {program} (Debian: apt-get install {package}): {error}")
            });
        Self {
            child,
            port,
            folder,
            log,
        }
    }

    /// Waits until it accepts connections.
    pub(crate) async fn accepts(&mut self) {
        let begun = Instant::now();
        while tokio::net::TcpStream::connect(("127.0.0.1", self.port))
            .await
            .is_err()
        {
            let log = || std::fs::read_to_string(&self.log).unwrap();
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "it ended: {}", log());
            assert!(begun.elapsed() < Duration::from_secs(30), "{}", log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Makes a certificate authority `NAME-ca.pem`, and `NAME.crt` and `NAME.key` of 127.0.0.1 that it signed.
pub(crate) fn certificate(folder: &Path, name: &str) {
    let file = |ending: &str| folder.join(format!("{name}{ending}")).display().to_string();
    let (ca, ca_key) = (file("-ca.pem"), file("-ca.key"));
    let curve = [
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
    ];
    let of_ca = ["req", "-x509", "-days", "2", "-subj", "/CN=test authority"];
    openssl(&[&of_ca[..], &curve, &["-keyout", &ca_key, "-out", &ca]].concat());
    let (key, crt) = (file(".key"), file(".crt"));
    let of_server = ["req", "-x509", "-days", "2", "-subj", "/CN=127.0.0.1"];
    let signed = [
        "-CA",
        &ca,
        "-CAkey",
        &ca_key,
        "-addext",
        "subjectAltName=IP:127.0.0.1",
    ];
    // Not an authority itself: verifiers refuse one in a server's place.
    let leaf = ["-addext", "basicConstraints=critical,CA:FALSE"];
    openssl(
        &[
            &of_server[..],
            &curve,
            &signed,
            &leaf,
            &["-keyout", &key, "-out", &crt],
        ]
        .concat(),
    );
}

fn openssl(arguments: &[&str]) {
    let done = Command::new("openssl")
        .args(arguments)
        .output()
        .expect("these tests need openssl (Debian: apt-get install openssl)");
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
}

/// Asks again until the answer is as wanted.
pub(crate) async fn until<T, F: Future<Output = T>>(
    what: &str,
    mut ask: impl FnMut() -> F,
    wanted: impl Fn(&T) -> bool,
) -> T
where
    T: std::fmt::Debug,
{
    let begun = Instant::now();
    loop {
        let answer = ask().await;
        if wanted(&answer) {
            return answer;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "{what}: {answer:?}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
