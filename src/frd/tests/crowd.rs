//! Many and bad callers, over real sockets: whoever has something to ask is heard, and the work keeps its descriptors.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what a test is made of fails it at once"
)]

#[cfg(test)]
mod support;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::routing::{get, post};
use frd_daemon::door::{self, Limits};
use support::{Server, manifest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixStream};
use tokio_util::sync::CancellationToken;

const SHOP: &str = "/v1/namespaces/default/releases/shop";
const ASK: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: frd\r\n\r\n";

fn limits() -> Limits {
    Limits {
        connections: 40,
        per_caller: 20,
        head: Duration::from_millis(500),
        stalled: Duration::from_millis(500),
    }
}

/// A door of TCP; `/much` answers without end.
async fn tcp(limits: Limits) -> (SocketAddr, CancellationToken) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let much = || async {
        let piece = std::iter::repeat(Ok::<_, std::convert::Infallible>(vec![b'x'; 1 << 16]));
        Body::from_stream(tokio_stream::iter(piece))
    };
    let slowly = || async {
        tokio::time::sleep(Duration::from_secs(20)).await;
        "late"
    };
    let router = Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/much", get(much))
        .route("/slowly", get(slowly))
        .route("/taken", post(|| async { "" }));
    let stop = CancellationToken::new();
    tokio::spawn(door::serve("test", listener, router, limits, stop.clone()));
    (address, stop)
}

async fn from(source: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{source}:0").parse().unwrap()).unwrap();
    socket.connect(to).await.unwrap()
}

/// What comes until the other side closes.
async fn heard(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut text = Vec::new();
    let mut piece = [0; 4096];
    let end = tokio::time::Instant::now() + Duration::from_secs(40);
    while let Ok(Ok(size)) = tokio::time::timeout_at(end, stream.read(&mut piece)).await {
        if size == 0 {
            return String::from_utf8_lossy(&text).into_owned();
        }
        text.extend_from_slice(&piece[..size]);
    }
    panic!("not closed: {}", String::from_utf8_lossy(&text));
}

async fn answered(stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin)) -> String {
    stream.write_all(ASK).await.unwrap();
    let mut text = [0; 4096];
    let read = stream.read(&mut text);
    let size = tokio::time::timeout(Duration::from_secs(5), read).await;
    String::from_utf8_lossy(&text[..size.unwrap().unwrap()]).into_owned()
}

#[tokio::test]
async fn fifteen_hundred_idle_connections_keep_nobody_from_being_answered() {
    assert!(
        door::raise() > 4000,
        "this test needs both ends' descriptors"
    );
    let server = Server::start().await;
    server.put(SHOP, &manifest("shop", "shop:1")).await;
    // An honest client that came first, and holds a watch.
    let mut watch = server.watch(&format!("{SHOP}?watch=true"), &[]).await;
    watch.next().await;
    let mut idle = Vec::new();
    for _ in 0..1500 {
        idle.push(UnixStream::connect(&server.socket).await.unwrap());
    }
    let began = Instant::now();
    assert_eq!(server.get("/readyz").await.status, 200);
    assert_eq!(
        server.put(SHOP, &manifest("shop", "shop:2")).await.status,
        200
    );
    assert_eq!(watch.next().await.data["metadata"]["generation"], 2);
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    let metrics = server.text("/metrics").await;
    assert!(
        metrics.contains("fridaymorning_connections_closed_total{reason=\"made-room\"}"),
        "{metrics}"
    );
    drop(idle);
}

/// Asks from this address for what takes long.
async fn slowly(from_address: &str, to: SocketAddr) -> TcpStream {
    let mut stream = from(from_address, to).await;
    stream
        .write_all(b"GET /slowly HTTP/1.1\r\nhost: frd\r\n\r\n")
        .await
        .unwrap();
    stream
}

#[tokio::test]
async fn one_address_never_takes_the_places_of_another() {
    let (address, stop) = tcp(Limits {
        stalled: Duration::from_secs(30),
        ..limits()
    })
    .await;
    let mut busy = Vec::new();
    for _ in 0..20 {
        busy.push(slowly("127.0.0.1", address).await);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut one_more = from("127.0.0.1", address).await;
    one_more.write_all(ASK).await.unwrap();
    let text = heard(&mut one_more).await;
    assert!(text.starts_with("HTTP/1.1 429 "), "{text}");
    assert!(
        text.contains("retry-after: ") && text.contains("you have 20 requests open"),
        "{text}"
    );
    let other = answered(&mut from("127.0.0.2", address).await).await;
    assert!(other.starts_with("HTTP/1.1 200 "), "{other}");
    stop.cancel();
}

#[tokio::test]
async fn a_full_door_says_so_to_a_stranger() {
    let (address, stop) = tcp(limits()).await;
    let mut busy = Vec::new();
    for number in 0..40 {
        busy.push(slowly(&format!("127.0.0.{}", 1 + number % 4), address).await);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut stranger = from("127.0.0.9", address).await;
    stranger.write_all(ASK).await.unwrap();
    let text = heard(&mut stranger).await;
    assert!(
        text.starts_with("HTTP/1.1 503 ") && text.contains("40 requests are open"),
        "{text}"
    );
    stop.cancel();
}

#[tokio::test]
async fn a_head_that_does_not_come_ends_the_connection() {
    let (address, stop) = tcp(limits()).await;
    let mut silent = from("127.0.0.1", address).await;
    let mut slow = from("127.0.0.1", address).await;
    let mut done = from("127.0.0.1", address).await;
    assert!(answered(&mut done).await.starts_with("HTTP/1.1 200 "));
    let began = Instant::now();
    let drip = async {
        // Each byte comes in time; the head as a whole does not.
        for byte in ASK.iter().cycle() {
            if slow.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let ends = async { tokio::join!(heard(&mut silent), heard(&mut done)) };
    // What was sent after the end is answered with a reset, at which the drip stops.
    tokio::join!(drip, ends);
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    stop.cancel();
}

#[tokio::test]
async fn a_reader_that_never_reads_loses_its_connection() {
    let (address, stop) = tcp(limits()).await;
    let mut deaf = from("127.0.0.1", address).await;
    deaf.write_all(b"GET /much HTTP/1.1\r\nhost: frd\r\n\r\n")
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    // What lay in the kernel's buffers comes; the rest does not.
    let mut sink = vec![0; 1 << 16];
    let end = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        match tokio::time::timeout_at(end, deaf.read(&mut sink)).await {
            Ok(Ok(0) | Err(_)) => break,
            Ok(Ok(_)) => {}
            Err(_) => panic!("it is answered for ever"),
        }
    }
    stop.cancel();
}

#[tokio::test]
async fn a_body_that_does_not_come_is_refused_and_so_is_one_without_end() {
    let server = Server::start().await;
    let head = format!("PUT {SHOP} HTTP/1.1\r\nhost: frd\r\ncontent-length: 1000\r\n\r\n{{");
    let mut slow = UnixStream::connect(&server.socket).await.unwrap();
    slow.write_all(head.as_bytes()).await.unwrap();
    let mut large = manifest("shop", "shop:1");
    large["metadata"]["name"] = "x".repeat(2 << 20).into();
    assert_eq!(server.put(SHOP, &large).await.status, 413);
    let text = heard(&mut slow).await;
    assert!(
        text.starts_with("HTTP/1.1 408 ") && text.contains("did not come"),
        "{text}"
    );
}

#[tokio::test]
async fn http_2_is_not_spoken() {
    let (address, stop) = tcp(limits()).await;
    let mut stream = from("127.0.0.1", address).await;
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await
        .unwrap();
    let text = heard(&mut stream).await;
    assert!(
        text.is_empty() || text.starts_with("HTTP/1.1 4"),
        "{text:?}"
    );
    stop.cancel();
}
