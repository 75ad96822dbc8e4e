//! Lines sent on by Forward, into our own receiver of it: keys, TLS, destinations that come late or break.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends where its set-up fails"
)]

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use fm_telemetry::intake::{Forward, Input, Intake, Tls};
use fm_telemetry::outflow::{Destination, Outflow, Status, Trust};
use fm_telemetry::{Handle, Receiver};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

fn line(n: u64) -> String {
    format!(
        r#"{{"rc":"r|s|500|a|b|n/s|aaaa|bbbb|1","sd":"c","st":200,"ts":"--","tr":3,"p":7,"n":{n}}}"#
    )
}

/// Where a Forward receiver of ours listens, and what it counts.
async fn receiver(key: Option<&[u8]>, tls: Option<Tls>) -> (SocketAddr, Handle) {
    let handle = Receiver::bind(ANY).await.unwrap().handle();
    let forward = Input::Forward(Forward {
        address: ANY,
        shared_key: key.map(<[u8]>::to_vec),
        tls,
    });
    let intake = Intake::bind(&[forward], handle.clone()).await.unwrap();
    let address = intake.addresses().unwrap()[0];
    tokio::spawn(intake.run());
    (address, handle)
}

struct Sender {
    log: TcpStream,
    handle: Handle,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<()>,
}

/// Counts lines of its own, and sends them on.
async fn sender(destination: Destination) -> Sender {
    let receiver = Receiver::bind(ANY).await.unwrap();
    let (address, handle) = (receiver.address().to_string(), receiver.handle());
    let stop = CancellationToken::new();
    tokio::spawn(receiver.run(stop.clone()));
    let outflow = Outflow::new(destination, &handle);
    let running = tokio::spawn(outflow.run(stop.clone()));
    let log = TcpStream::connect(address).await.unwrap();
    Sender {
        log,
        handle,
        stop,
        running,
    }
}

impl Sender {
    async fn send(&mut self, numbers: std::ops::Range<u64>) {
        let text: String = numbers.map(|n| line(n) + "\n").collect();
        self.log.write_all(text.as_bytes()).await.unwrap();
    }

    async fn until(&self, what: &str, holds: impl Fn(&Status) -> bool) {
        for _ in 0..800 {
            if holds(&self.handle.outflows()[0]) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        assert_eq!(what, "", "{:?}", self.handle.outflows());
    }
}

fn to(address: SocketAddr, key: Option<&[u8]>, tls: Option<Trust>) -> Destination {
    Destination {
        to: address.to_string(),
        tag: "haproxy".to_owned(),
        shared_key: key.map(<[u8]>::to_vec),
        tls,
        instance: "edge-1".to_owned(),
    }
}

fn requests(handle: &Handle) -> u64 {
    let snapshot = handle.snapshot("a", "1", jiff::Timestamp::UNIX_EPOCH);
    let counters = snapshot.releases.get("n/s").and_then(|all| all.get("bbbb"));
    counters.map_or(0, |counters| counters.requests)
}

/// An authority of our own, and a certificate for `localhost` by it.
fn certificates(folder: &Path) -> (PathBuf, PathBuf, PathBuf) {
    let at = |name: &str| folder.join(name);
    let run = |arguments: &str| {
        let output = std::process::Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(folder)
            .output()
            .expect("openssl is needed: tests/setup/packages.sh installs it");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    std::fs::write(at("san"), "subjectAltName=DNS:localhost\n").unwrap();
    let new = "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    run(&format!(
        "{new} -x509 -days 2 -subj /CN=authority -keyout ca.key -out ca.pem"
    ));
    run(&format!("{new} -subj /CN=frd -keyout frd.key -out frd.csr"));
    run(
        "x509 -req -in frd.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile san -out frd.pem",
    );
    (at("ca.pem"), at("frd.pem"), at("frd.key"))
}

#[tokio::test]
async fn every_line_arrives_once_over_tls_with_a_shared_key() {
    let folder = tempfile::tempdir().unwrap();
    let (ca, crt, key) = certificates(folder.path());
    let (address, counted) = receiver(Some(b"secret"), Some(Tls::read(&crt, &key).unwrap())).await;
    let trust = Trust::read(&ca, Some("localhost")).unwrap();
    let mut sender = sender(to(address, Some(b"secret"), Some(trust))).await;
    sender.send(0..5000).await;
    sender
        .until("all to be acknowledged", |s| s.sent == 5000)
        .await;
    assert_eq!((requests(&counted), requests(&sender.handle)), (5000, 5000));
    let status = sender.handle.outflows().remove(0);
    assert_eq!(
        (status.lost, status.waiting, status.connected),
        (0, 0, true)
    );
    // What was counted before the end still goes out.
    sender.send(5000..5100).await;
    for _ in 0..400 {
        if requests(&sender.handle) == 5100 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    sender.stop.cancel();
    sender.running.await.unwrap();
    assert_eq!(requests(&counted), 5100);
}

#[tokio::test]
async fn whoever_cannot_prove_the_key_or_the_name_is_sent_nothing_and_it_is_said_why() {
    let folder = tempfile::tempdir().unwrap();
    let (ca, crt, key) = certificates(folder.path());
    let (keyed, counted) = receiver(Some(b"secret"), None).await;
    let tls = Some(Tls::read(&crt, &key).unwrap());
    let (secured, counted_too) = receiver(None, tls).await;
    let trust = |name| Some(Trust::read(&ca, name).unwrap());
    for (destination, why) in [
        (to(keyed, Some(b"wrong"), None), "shared"),
        (to(keyed, None, None), "asks for a shared key"),
        (to(secured, None, trust(Some("other"))), "certificate"),
        // The certificate is for localhost, not for 127.0.0.1.
        (to(secured, None, trust(None)), "certificate"),
    ] {
        let mut sender = sender(destination).await;
        sender.send(0..10).await;
        let told = |s: &Status| s.why.as_ref().is_some_and(|text| text.contains(why));
        sender
            .until(why, |s| !s.connected && told(s) && s.waiting > 0)
            .await;
        assert_eq!(sender.handle.outflows()[0].sent, 0);
    }
    assert_eq!((requests(&counted), requests(&counted_too)), (0, 0));
}

/// Passes bytes on, and breaks every connection the moment the first acknowledgement would come back, as often as told.
async fn breaking(to: SocketAddr, breaks: usize) -> SocketAddr {
    let listener = TcpListener::bind(ANY).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut left = breaks;
        while let Ok((mut from, _)) = listener.accept().await {
            let mut to = TcpStream::connect(to).await.unwrap();
            if left == 0 {
                tokio::spawn(async move {
                    let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
                });
                continue;
            }
            left -= 1;
            let (mut from, _held) = from.into_split();
            let (mut answers, mut to) = to.into_split();
            let forth = tokio::spawn(async move { tokio::io::copy(&mut from, &mut to).await });
            // It was counted: what is lost is only that it was.
            answers.readable().await.unwrap();
            forth.abort();
            answers.peek(&mut [0]).await.unwrap();
        }
    });
    address
}

#[tokio::test]
async fn a_chunk_whose_acknowledgement_was_lost_is_sent_again_and_counts_once() {
    let (address, counted) = receiver(None, None).await;
    let mut sender = sender(to(breaking(address, 2).await, None, None)).await;
    sender.send(0..100).await;
    sender
        .until("all to be acknowledged", |s| s.sent == 100)
        .await;
    assert_eq!(requests(&counted), 100);
}

#[tokio::test]
async fn lines_wait_for_a_destination_that_is_not_there_yet() {
    let place = TcpListener::bind(ANY).await.unwrap();
    let address = place.local_addr().unwrap();
    drop(place);
    let mut sender = sender(to(address, None, None)).await;
    sender.send(0..100).await;
    sender
        .until("the failure to be told", |s| {
            s.why.is_some() && s.waiting > 0
        })
        .await;
    let handle = Receiver::bind(ANY).await.unwrap().handle();
    let forward = Input::Forward(Forward {
        address,
        shared_key: None,
        tls: None,
    });
    let intake = Intake::bind(&[forward], handle.clone()).await.unwrap();
    tokio::spawn(intake.run());
    sender
        .until("all to be acknowledged", |s| {
            s.sent == 100 && s.why.is_none()
        })
        .await;
    assert_eq!(requests(&handle), 100);
}
