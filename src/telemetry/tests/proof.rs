//! Who may write: only who knows the secret of HAProxy's configuration counts, and nobody else is in its way.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the steps that tests share fail the test"
)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fm_telemetry::counters::Snapshot;
use fm_telemetry::intake::{Input, Intake, Source};
use fm_telemetry::proof::Proof;
use fm_telemetry::{Address, Handle, Receiver};
use jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio_util::sync::CancellationToken;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

fn proof() -> Proof {
    Proof::new(SECRET).unwrap()
}

fn line(number: u64) -> String {
    format!(
        "{{\"rc\":\"r|0badcafe|500|r0_a|r0_b|default/shop|aaaa|bbbb|7\",\"sd\":\"c\",\"st\":500,\"ts\":\"--\",\"tr\":3,\"p\":1,\"n\":{number}}}\n"
    )
}

fn seen(handle: &Handle) -> Snapshot {
    handle.snapshot("edge", "1", Timestamp::UNIX_EPOCH)
}

async fn until(handle: &Handle, what: impl Fn(&Snapshot) -> bool) -> Snapshot {
    for _ in 0..1000 {
        let now = seen(handle);
        if what(&now) {
            return now;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{:?}", seen(handle));
}

async fn start() -> (String, Handle) {
    let receiver = Receiver::bind(Address::Local(ANY)).await.unwrap();
    let receiver = receiver.proven_by(Some(proof()));
    let (address, handle) = (receiver.address().to_string(), receiver.handle());
    tokio::spawn(receiver.run(CancellationToken::new()));
    (address, handle)
}

/// Whether the other side has closed the connection.
async fn closed(stream: &mut TcpStream) -> bool {
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut [0; 8])).await;
    matches!(read, Ok(Ok(0) | Err(_)))
}

#[tokio::test]
async fn a_forged_line_counts_nowhere_and_its_connection_ends() {
    let (address, handle) = start().await;
    for forged in [
        line(1),
        format!("{SECRET}{}", line(2)),
        format!("{} {}", SECRET.replace('f', "e"), line(3)),
        "{".repeat(20_000),
        format!("<134>{}", line(5)),
    ] {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let _ = stream.write_all(forged.as_bytes()).await;
        let ends = forged.starts_with('{');
        if ends {
            assert!(closed(&mut stream).await, "{forged}");
        }
    }
    let mut ours = TcpStream::connect(&address).await.unwrap();
    let text = format!("<6>Proxy fm started.\n{SECRET} {}{}", line(7), line(8));
    ours.write_all(text.as_bytes()).await.unwrap();
    let now = until(&handle, |now| now.log.unproven == 3 && now.log.lines == 1).await;
    assert_eq!(now.releases["default/shop"]["bbbb"].requests, 1);
    assert_eq!((now.log.malformed, now.log.connections), (0, 1));
    // What is broken behind the secret is HAProxy's own, and is told without it.
    ours.write_all(format!("{SECRET} {{\n").as_bytes())
        .await
        .unwrap();
    until(&handle, |now| now.log.malformed == 1).await;
}

#[tokio::test]
async fn strangers_keep_nobody_out_and_cost_no_time() {
    let (address, handle) = start().await;
    let mut ours = TcpStream::connect(&address).await.unwrap();
    ours.write_all(format!("{SECRET} {}", line(1)).as_bytes())
        .await
        .unwrap();
    until(&handle, |now| now.log.lines == 1).await;
    // Idle ones stay, more than there are places.
    let mut idle = Vec::new();
    for _ in 0..400 {
        idle.push(TcpStream::connect(&address).await.unwrap());
    }
    assert!(closed(&mut idle[0]).await, "the oldest gave way");
    let begun = Instant::now();
    let mut again = TcpStream::connect(&address).await.unwrap();
    again
        .write_all(format!("{SECRET} {}", line(2)).as_bytes())
        .await
        .unwrap();
    ours.write_all(format!("{SECRET} {}", line(3)).as_bytes())
        .await
        .unwrap();
    until(&handle, |now| now.log.lines == 3).await;
    assert!(
        begun.elapsed() < Duration::from_millis(500),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(seen(&handle).log.connections, 2);
}

#[tokio::test]
async fn a_further_receiver_takes_the_same_proof() {
    let handle = Handle::unattached();
    let source = |input| Source {
        input,
        proof: Some(proof()),
    };
    let sources = [source(Input::Udp(ANY)), source(Input::Tcp(ANY))];
    let intake = Intake::bind(&sources, handle.clone()).await.unwrap();
    let to = intake.addresses().unwrap();
    tokio::spawn(intake.run());
    let udp = UdpSocket::bind(ANY).await.unwrap();
    let head = "<134>Nov 22 18:45:07 edge-1 haproxy[4711]: ";
    let classic = "10.0.0.1:4000 [22/Nov/2026:18:45:07.388] web app/a1 0/0/1/2/3 200 90 - - ---- 1/1/0/0/0 0/0 \"GET / HTTP/1.1\"";
    for text in [
        format!("{head}{}", line(1)),
        format!("{head}{classic}"),
        format!("{head}Server app/a1 is DOWN."),
        format!("{head}{SECRET} {}", line(2)),
        format!("{head}{SECRET} {classic}"),
    ] {
        udp.send_to(text.as_bytes(), to[0]).await.unwrap();
    }
    let now = until(&handle, |now| now.log.lines == 2 && now.log.unproven == 2).await;
    assert_eq!(now.log.malformed, 0);
    let mut forged = TcpStream::connect(to[1]).await.unwrap();
    forged
        .write_all(format!("{head}{}", line(3)).as_bytes())
        .await
        .unwrap();
    assert!(closed(&mut forged).await);
    let mut ours = TcpStream::connect(to[1]).await.unwrap();
    ours.write_all(format!("{head}{SECRET} {}", line(4)).as_bytes())
        .await
        .unwrap();
    let now = until(&handle, |now| now.log.lines == 3 && now.log.unproven == 3).await;
    assert_eq!(now.releases["default/shop"]["bbbb"].requests, 2);
}
