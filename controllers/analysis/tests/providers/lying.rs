//! Servers that lie, hang, break off or never end: each is an error or no data, soon, and in little memory.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fm_analysis::metrics::plan::Answer;
use fm_analysis::metrics::{Access, Credential, Login, Secret};
use fm_api::quantity::{Memory, Span};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::ask::{access, ask, error, prometheus, web};

/// What a server does after it read a request.
#[derive(Clone, Copy, Debug)]
enum Lie {
    /// Says these bytes, and closes.
    Says(&'static str),
    /// A body of this length, as fast as it is taken; the length told, or not.
    Floods(u64, bool),
    /// Says the beginning, then a byte now and then, for ever.
    Drips(&'static str),
    /// Sends header after header.
    Headers,
    /// Resets the connection after the beginning.
    Resets(&'static str),
    /// Says nothing.
    Hangs,
}

/// A server that lies, and how many bytes of it were taken.
struct Liar {
    address: String,
    taken: Arc<AtomicU64>,
    asked: Arc<AtomicU64>,
}

impl Liar {
    async fn start(lie: Lie) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (taken, asked) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let (taking, asking) = (Arc::clone(&taken), Arc::clone(&asked));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (taking, asking) = (Arc::clone(&taking), Arc::clone(&asking));
                tokio::spawn(async move {
                    // That the other side has had enough is what is wanted.
                    let _ = serve(stream, lie, port, &taking, &asking).await;
                });
            }
        });
        Self {
            address: format!("http://127.0.0.1:{port}"),
            taken,
            asked,
        }
    }
}

async fn serve(
    mut stream: TcpStream,
    lie: Lie,
    port: u16,
    taken: &AtomicU64,
    asked: &AtomicU64,
) -> std::io::Result<()> {
    loop {
        let mut request = [0; 16 * 1024];
        if stream.read(&mut request).await? == 0 {
            return Ok(());
        }
        asked.fetch_add(1, Ordering::Relaxed);
        match lie {
            Lie::Says(text) => {
                let text = text.replace("PORT", &port.to_string());
                stream.write_all(text.as_bytes()).await?;
                return stream.shutdown().await;
            }
            Lie::Floods(length, told) => {
                let told = if told {
                    format!("content-length: {length}")
                } else {
                    "connection: close".to_owned()
                };
                let head = format!("HTTP/1.1 200 OK\r\n{told}\r\n\r\n{{\"value\": 1, \"rest\": \"");
                stream.write_all(head.as_bytes()).await?;
                let piece = vec![b'x'; 64 * 1024];
                while taken.load(Ordering::Relaxed) < length {
                    let wrote = stream.write(&piece).await?;
                    taken.fetch_add(wrote as u64, Ordering::Relaxed);
                }
                return stream.shutdown().await;
            }
            Lie::Drips(begin) => {
                stream.write_all(begin.as_bytes()).await?;
                loop {
                    stream.write_all(b" ").await?;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            Lie::Headers => {
                stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
                loop {
                    stream.write_all(b"x-more: and more of it\r\n").await?;
                    taken.fetch_add(24, Ordering::Relaxed);
                }
            }
            Lie::Resets(begin) => {
                stream.write_all(begin.as_bytes()).await?;
                return socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            }
            Lie::Hangs => std::future::pending().await,
        }
    }
}

const GOOD: &str = "HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{\"value\":1}";

#[tokio::test]
async fn a_server_that_tells_the_truth_is_believed() {
    let liar = Liar::start(Lie::Says(GOOD)).await;
    assert_eq!(
        ask(web(&liar.address), Access::default()).await.0,
        Answer::Value(1.0)
    );
    // A redirect on the same host is followed.
    let moved =
        "HTTP/1.1 307 Moved\r\nlocation: http://127.0.0.1:PORT/\r\ncontent-length: 0\r\n\r\n";
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        for answer in [moved, GOOD] {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await;
            let answer = answer.replace("PORT", &port.to_string());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let metric = web(&format!("http://127.0.0.1:{port}/"));
    assert_eq!(ask(metric, Access::default()).await.0, Answer::Value(1.0));
}

#[tokio::test]
async fn what_is_said_wrongly_is_an_error_or_no_data() {
    let json = |body: &str| {
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        &*Box::leak(answer.into_boxed_str())
    };
    let deep = format!("{{\"value\":{}", "[".repeat(100_000));
    for (says, wanted) in [
        (json("{\"value\":\"NaN\"}"), "no data"),
        (json("{\"value\":null}"), "no data"),
        (json("{}"), "no data"),
        (json("{\"value\":1e999}"), "JSON"),
        (json("{\"value\":NaN}"), "JSON"),
        (json("{\"value\":\"1\"}"), "text"),
        (json("{\"value\":true}"), "truth"),
        (json("{\"value\":[1]}"), "list"),
        (json("{\"value\":1} {\"value\":2}"), "JSON"),
        (json("<html>It works!</html>"), "JSON"),
        (json(""), "JSON"),
        (json(&deep), "JSON"),
        ("HTTP/1.1 204 No Content\r\n\r\n", "JSON"),
        (
            "HTTP/1.1 500 Oh\r\ncontent-length: 11\r\n\r\n{\"value\":1}",
            "500",
        ),
        (
            "HTTP/1.1 404 Oh\r\ncontent-length: 11\r\n\r\n{\"value\":1}",
            "404",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"value\":1}",
            "broke off",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nB\r\n{\"value\":1}\r\n",
            "broke off",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n",
            "broke off",
        ),
        (
            "HTTP/1.1 302 Moved\r\nlocation: http://127.0.0.1:PORT/again\r\ncontent-length: 0\r\n\r\n",
            "redirect",
        ),
        (
            "HTTP/1.1 302 Moved\r\nlocation: http://localhost:PORT/\r\ncontent-length: 0\r\n\r\n",
            "redirect",
        ),
        (
            "HTTP/1.1 302 Moved\r\nlocation: file:///etc/passwd\r\ncontent-length: 0\r\n\r\n",
            "302",
        ),
        ("SSH-2.0-OpenSSH_9.2\r\n", "no answer"),
        ("", "no answer"),
    ] {
        let liar = Liar::start(Lie::Says(says)).await;
        let (answer, _) = ask(web(&liar.address), Access::default()).await;
        match (wanted, answer) {
            ("no data", Answer::NoData(_)) => {}
            (wanted, Answer::Error(said)) => assert!(said.contains(wanted), "{says:.90}: {said}"),
            (wanted, other) => panic!("{says:.90}: {other:?} instead of {wanted}"),
        }
        assert!(liar.asked.load(Ordering::Relaxed) <= 6, "{says:.90}");
    }
}

/// Neither a manifest's address nor a server's redirect takes a login to another server than its own.
#[tokio::test]
async fn a_login_goes_to_its_own_server_alone() {
    let thief = Liar::start(Lie::Says("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n1")).await;
    let turn = format!(
        "HTTP/1.1 307 x\r\nlocation: {}/\r\ncontent-length: 0\r\n\r\n",
        thief.address
    );
    let turning = Liar::start(Lie::Says(Box::leak(turn.into_boxed_str()))).await;
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("token");
    std::fs::write(&secret, "s3cret").unwrap();
    let login = |origins: &[&String]| Login {
        credential: Some(Credential::Bearer(Secret::File(secret.clone()))),
        origins: origins.iter().map(ToString::to_string).collect(),
        ..Login::default()
    };
    let own = turning.address.clone();
    for (address, origins, wanted) in [
        (&thief.address, vec![], "names them"),
        (&thief.address, vec![&own], "it is not sent to"),
        (&own, vec![&own], "redirect"),
    ] {
        let mut metric = web(address);
        metric.web.as_mut().unwrap().auth_ref = Some("main".into());
        let said = error(ask(metric, access("main", login(&origins))).await.0);
        assert!(said.contains(wanted) && !said.contains("s3cret"), "{said}");
    }
    assert_eq!(thief.asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn what_speaks_as_prometheus_does_is_not_believed_either() {
    let vector = |series: &str| {
        let body = format!(
            r#"{{"status":"success","data":{{"resultType":"vector","result":[{series}]}}}}"#
        );
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        &*Box::leak(answer.into_boxed_str())
    };
    for (says, value) in [
        (vector(r#"{"metric":{},"value":[1,"NaN"]}"#), false),
        (vector(r#"{"metric":{},"value":[1,"+Inf"]}"#), false),
        (vector(r#"{"metric":{},"value":[1,"high"]}"#), false),
        (vector(r#"{"metric":{},"value":[1,1]}"#), false),
        (
            vector(r#"{"metric":{},"value":[1,"1"]},{"metric":{},"value":[1,"1"]}"#),
            false,
        ),
        (vector(r#"{"metric":{},"value":[1,"1"]}"#), true),
    ] {
        let liar = Liar::start(Lie::Says(says)).await;
        let (answer, _) = ask(prometheus(&liar.address, "up", None), Access::default()).await;
        assert_eq!(
            matches!(answer, Answer::Value(_)),
            value,
            "{says}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn too_much_is_left_unread() {
    const LARGE: u64 = 50 << 20;
    // Sockets' buffers on both sides take a few megabytes.
    const LITTLE: u64 = 16 << 20;
    // Ten kilobytes that would unpack to ten megabytes are never unpacked.
    for (lie, says) in [
        (Lie::Floods(LARGE, false), "larger than 1048576"),
        (Lie::Floods(LARGE, true), "larger than 1048576"),
        (Lie::Headers, "no answer"),
    ] {
        let liar = Liar::start(lie).await;
        let said = error(ask(web(&liar.address), Access::default()).await.0);
        assert!(said.contains(says), "{lie:?}: {said}");
        let taken = liar.taken.load(Ordering::Relaxed);
        assert!(taken < LITTLE, "{lie:?}: {taken} bytes were taken");
    }
}

#[tokio::test]
async fn what_is_packed_stays_packed() {
    use std::io::Write;
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    bomb.write_all(b"{\"value\":1,\"rest\":\"").unwrap();
    (0..160).for_each(|_| bomb.write_all(&[b'x'; 64 * 1024]).unwrap());
    bomb.write_all(b"\"}").unwrap();
    let bomb = bomb.finish().unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 4096];
        let read = stream.read(&mut request).await.unwrap();
        let request = String::from_utf8_lossy(&request[..read]).to_lowercase();
        assert!(!request.contains("accept-encoding"), "{request}");
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
            bomb.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&bomb).await.unwrap();
    });
    let metric = web(&format!("http://127.0.0.1:{port}/"));
    let said = error(ask(metric, Access::default()).await.0);
    assert!(said.contains("JSON"), "{said}");
}

#[tokio::test]
async fn who_does_not_come_to_an_end_is_left() {
    let limit = Duration::from_millis(300);
    for (lie, says) in [
        (Lie::Hangs, "within"),
        (
            Lie::Drips("HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n{\"value\":1"),
            "within",
        ),
        (Lie::Drips("HTTP/1.1 200 OK\r\nx-slow: "), "within"),
        (Lie::Resets(""), "no answer"),
        (
            Lie::Resets("HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"value\":1}"),
            "broke off",
        ),
    ] {
        let liar = Liar::start(lie).await;
        let mut metric = web(&liar.address);
        metric.timeout = Some(Span::millis(300));
        let (answer, took) = ask(metric, Access::default()).await;
        let said = error(answer);
        assert!(said.contains(says), "{lie:?}: {said}");
        // It may be late, on a busy machine, but it does not wait for the server.
        assert!(
            took >= limit || !says.contains("within"),
            "{lie:?}: {took:?}"
        );
    }
}

#[tokio::test]
async fn nobody_is_asked_who_may_not_be() {
    let liar = Liar::start(Lie::Says(GOOD)).await;
    let access = Access {
        allowed: Some(BTreeSet::from(["http://prometheus:9090".to_owned()])),
        ..Access::default()
    };
    let said = error(ask(web(&liar.address), access).await.0);
    assert!(said.contains("metricAddresses"), "{said}");
    let mut unknown = web(&liar.address);
    unknown.web.as_mut().unwrap().auth_ref = Some("nobody".into());
    let said = error(ask(unknown, Access::default()).await.0);
    assert!(said.contains("`nobody`"), "{said}");
    assert_eq!(liar.asked.load(Ordering::Relaxed), 0);
    // A larger limit is the user's to allow.
    let many = Liar::start(Lie::Floods(3 << 20, false)).await;
    let mut metric = web(&many.address);
    metric.size_limit.0 = Memory::bytes_of(8 << 20);
    let said = error(ask(metric, Access::default()).await.0);
    assert!(said.contains("JSON"), "{said}");
}
