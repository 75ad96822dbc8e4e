//! Between daemons: only who shows a certificate of the same authority is answered, and nobody holds a place for long.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "the steps that tests share fail the test"
)]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use fm_telemetry::peers::{Callers, Peers};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

fn openssl(folder: &Path, arguments: &str) {
    let output = Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(folder)
        .output()
        .expect("openssl is needed: tests/setup/packages.sh installs it");
    assert!(output.status.success(), "{output:?}");
}

/// An authority, and a certificate of it for this machine.
fn authority(folder: &Path, name: &str) -> Peers {
    let new = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(
        folder,
        &format!(
            "req -x509 {new} -days 2 -subj /CN={name}-ca -keyout {name}-ca.key -out {name}-ca.pem"
        ),
    );
    openssl(
        folder,
        &format!(
            "req {new} -subj /CN={name} -addext subjectAltName=IP:127.0.0.1 -keyout {name}.key -out {name}.csr"
        ),
    );
    openssl(
        folder,
        &format!(
            "x509 -req -in {name}.csr -copy_extensions copy -CA {name}-ca.pem -CAkey {name}-ca.key -CAcreateserial -days 2 -out {name}.pem"
        ),
    );
    let file = |end: &str| folder.join(format!("{name}{end}"));
    Peers::read(&file(".pem"), &file(".key"), &file("-ca.pem")).unwrap()
}

/// Answers each caller with what it said.
async fn echo(peers: Option<Peers>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut callers = Callers::of(listener, peers).unwrap();
    let address = callers.address().to_string();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = callers.next().await;
            tokio::spawn(async move {
                let mut bytes = [0; 5];
                if stream.read_exact(&mut bytes).await.is_ok() {
                    let _ = stream.write_all(&bytes).await;
                    let _ = stream.shutdown().await;
                }
            });
        }
    });
    address
}

async fn says(stream: &mut (impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin)) -> String {
    let mut text = String::new();
    if stream.write_all(b"hello").await.is_ok() {
        let _ = stream.read_to_string(&mut text).await;
    }
    text
}

#[tokio::test]
async fn only_a_certificate_of_the_same_authority_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, others) = (
        authority(folder.path(), "ours"),
        authority(folder.path(), "others"),
    );
    let address = echo(Some(ours.clone())).await;
    assert_eq!(
        says(&mut ours.connect(&address).await.unwrap()).await,
        "hello"
    );
    // Neither believes the other.
    assert!(others.connect(&address).await.is_err());
    // One that believes us, and shows nothing that we know.
    let file = |name: &str| folder.path().join(name);
    let strange = Peers::read(
        &file("others.pem"),
        &file("others.key"),
        &file("ours-ca.pem"),
    )
    .unwrap();
    if let Ok(mut stream) = strange.connect(&address).await {
        assert_eq!(says(&mut stream).await, "");
    }
    let mut plain = TcpStream::connect(&address).await.unwrap();
    assert!(!says(&mut plain).await.contains("hello"));
    // Its certificate is for this machine's address, and for no other name.
    let port = address.rsplit_once(':').unwrap().1;
    assert!(ours.connect(&format!("localhost:{port}")).await.is_err());
    let error =
        Peers::read(&file("ours.pem"), &file("others.key"), &file("ours-ca.pem")).unwrap_err();
    assert!(error.to_string().contains("ours.pem"), "{error}");
}

#[tokio::test]
async fn who_says_nothing_loses_its_place_and_takes_none_from_others() {
    let folder = tempfile::tempdir().unwrap();
    let ours = authority(folder.path(), "ours");
    for peers in [None, Some(ours.clone())] {
        let address = echo(peers.clone()).await;
        let begun = Instant::now();
        let mut idle = Vec::new();
        for _ in 0..40 {
            idle.push(TcpStream::connect(&address).await.unwrap());
        }
        // The address has had its places: the rest of them were closed at once.
        let mut last = idle.pop().unwrap();
        let read = tokio::time::timeout(Duration::from_secs(1), last.read(&mut [0; 1])).await;
        assert!(matches!(read, Ok(Ok(0) | Err(_))));
        // And the others go in time.
        let read = tokio::time::timeout(Duration::from_secs(14), idle[0].read(&mut [0; 1])).await;
        assert!(matches!(read, Ok(Ok(0) | Err(_))), "{:?}", begun.elapsed());
        tokio::time::sleep(Duration::from_millis(300)).await;
        let said = match &peers {
            Some(peers) => says(&mut peers.connect(&address).await.unwrap()).await,
            None => says(&mut TcpStream::connect(&address).await.unwrap()).await,
        };
        assert_eq!(said, "hello");
    }
}
