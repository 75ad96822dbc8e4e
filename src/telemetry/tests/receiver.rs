//! The receiver over real connections.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper of tests fails the test"
)]

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use fm_telemetry::{Address, CounterSource, Handle, Receiver};
use jiff::Timestamp;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UnixStream};
use tokio_util::sync::CancellationToken;

fn line(side: &str, status: u16, number: u64) -> String {
    format!(
        "{{\"rc\":\"r|0badcafe|500|r0_a|r0_b|default/shop|aaaa|bbbb|7\",\"sd\":\"{side}\",\"st\":{status},\"ts\":\"--\",\"tr\":3,\"p\":1,\"n\":{number}}}\n"
    )
}

async fn start() -> (
    String,
    Handle,
    CancellationToken,
    tokio::task::JoinHandle<()>,
) {
    let receiver = Receiver::bind(std::net::SocketAddr::from(([127, 0, 0, 1], 0)))
        .await
        .unwrap();
    let (address, handle) = (receiver.address().to_string(), receiver.handle());
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(receiver.run(shutdown.clone()));
    (address, handle, shutdown, running)
}

/// Waits for a level, not an edge.
async fn until(handle: &Handle, what: impl Fn(&fm_telemetry::counters::Snapshot) -> bool) {
    for _ in 0..1000 {
        if what(&handle.snapshot("edge", "1", Timestamp::UNIX_EPOCH)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{:?}", handle.snapshot("edge", "1", Timestamp::UNIX_EPOCH));
}

#[tokio::test]
async fn lines_of_many_connections_are_counted_once_each() {
    let (address, handle, shutdown, running) = start().await;
    let mut senders = Vec::new();
    for connection in 0..8u64 {
        let address = address.clone();
        senders.push(tokio::spawn(async move {
            let mut stream = TcpStream::connect(&address).await.unwrap();
            for n in 0..1000 {
                let side = if n % 20 == 0 { "c" } else { "s" };
                let status = if n % 100 == 0 { 500 } else { 200 };
                let text = line(side, status, connection * 1000 + n);
                // In two pieces, so that lines are cut anywhere.
                let (first, rest) = text.split_at(n as usize % text.len());
                stream.write_all(first.as_bytes()).await.unwrap();
                stream.write_all(rest.as_bytes()).await.unwrap();
            }
        }));
    }
    for sender in senders {
        sender.await.unwrap();
    }
    until(&handle, |snapshot| snapshot.log.lines == 8000).await;
    let snapshot = handle.snapshot("edge", "1", Timestamp::UNIX_EPOCH);
    let shop = &snapshot.releases["default/shop"];
    assert_eq!((shop["bbbb"].requests, shop["bbbb"].bad), (400, 80));
    assert_eq!((shop["aaaa"].requests, shop["aaaa"].bad), (7600, 0));
    assert_eq!((snapshot.log.malformed, snapshot.log.connections), (0, 8));
    assert_eq!(
        (snapshot.instance.as_str(), snapshot.epoch.as_str()),
        ("edge", "1")
    );
    let pulled = handle.named("edge-1", "e").pull().await;
    let pulled = pulled[0].as_ref().unwrap();
    assert_eq!(
        (pulled.instance.as_str(), pulled.epoch.as_str()),
        ("edge-1", "e")
    );
    assert_eq!(pulled.releases, snapshot.releases);
    shutdown.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn a_hostile_connection_harms_only_itself() {
    let (address, handle, shutdown, running) = start().await;
    let mut hostile = TcpStream::connect(&address).await.unwrap();
    let mut bytes = vec![b'{'; 64 * 1024];
    bytes.extend_from_slice(b"\n{\"rc\":\"\0\"}\n\xff\xfe\n{}\n<134>Server x is DOWN\n{\"rc\":");
    hostile.write_all(&bytes).await.unwrap();
    drop(hostile);
    let mut good = TcpStream::connect(&address).await.unwrap();
    good.write_all(line("f", 200, 1).as_bytes()).await.unwrap();
    until(&handle, |s| s.log.lines == 1 && s.log.malformed == 3).await;
    let snapshot = handle.snapshot("edge", "1", Timestamp::UNIX_EPOCH);
    let canary = &snapshot.releases["default/shop"]["bbbb"];
    assert_eq!((canary.requests, canary.bad, canary.fallback), (1, 1, 1));
    shutdown.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn a_unix_socket_is_ours_alone_and_one_left_behind_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.sock");
    drop(Receiver::bind(Address::Unix(path.clone())).await.unwrap());
    let receiver = Receiver::bind(Address::Unix(path.clone())).await.unwrap();
    assert_eq!(
        receiver.address().to_string(),
        format!("unix@{}", path.display())
    );
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let taken = Receiver::bind(Address::Unix(path.clone())).await;
    assert_eq!(taken.unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
    let (handle, shutdown) = (receiver.handle(), CancellationToken::new());
    let running = tokio::spawn(receiver.run(shutdown.clone()));
    let mut stream = UnixStream::connect(&path).await.unwrap();
    stream
        .write_all(line("s", 200, 1).as_bytes())
        .await
        .unwrap();
    until(&handle, |snapshot| snapshot.log.lines == 1).await;
    shutdown.cancel();
    running.await.unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "mine").unwrap();
    assert!(Receiver::bind(Address::Unix(file.clone())).await.is_err());
    assert_eq!(std::fs::read_to_string(file).unwrap(), "mine");
}
