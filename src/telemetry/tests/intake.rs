//! The further receivers, over real sockets; HAProxy itself logs to them.

#![expect(clippy::unwrap_used, reason = "a test ends where its set-up fails")]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use fm_telemetry::intake::{Forward, Input, Intake};
use fm_telemetry::{Handle, Receiver};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const LINE: &str = r#"{"rc":"r|s|500|a|b|n/s|aaaa|bbbb|1","sd":"c","st":200,"ts":"--","tr":3}"#;

async fn started(inputs: &[Input]) -> (Handle, Vec<SocketAddr>) {
    let handle = Receiver::bind(ANY).await.unwrap().handle();
    let intake = Intake::bind(inputs, handle.clone()).await.unwrap();
    let addresses = intake.addresses().unwrap();
    tokio::spawn(intake.run());
    (handle, addresses)
}

fn log(handle: &Handle) -> (u64, u64) {
    let log = handle.snapshot("a", "1", jiff::Timestamp::UNIX_EPOCH).log;
    (log.lines, log.malformed)
}

async fn until(handle: &Handle, wanted: (u64, u64)) {
    for _ in 0..400 {
        if log(handle) == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert_eq!(log(handle), wanted);
}

fn forward(key: Option<&[u8]>) -> Input {
    Input::Forward(Forward {
        address: ANY,
        shared_key: key.map(<[u8]>::to_vec),
        tls: None,
    })
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend([0xd9, u8::try_from(text.len()).unwrap()]);
    out.extend(text.as_bytes());
}

fn entry(line: &str) -> Vec<u8> {
    let mut out = vec![0x92, 0xd7, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0x81];
    text(&mut out, "log");
    text(&mut out, line);
    out
}

/// `[tag, packed, {chunk, compressed}]`
fn packed(bytes: &[u8], chunk: &str, compressed: bool) -> Vec<u8> {
    let mut out = vec![0x93];
    text(&mut out, "tag");
    out.push(0xc5);
    out.extend(u16::try_from(bytes.len()).unwrap().to_be_bytes());
    out.extend(bytes);
    out.push(0x82);
    text(&mut out, "chunk");
    text(&mut out, chunk);
    text(&mut out, "compressed");
    text(&mut out, if compressed { "gzip" } else { "text" });
    out
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn every_mode_counts_and_is_acknowledged_once() {
    let (handle, addresses) = started(&[forward(None)]).await;
    let mut stream = TcpStream::connect(addresses[0]).await.unwrap();
    let mut message = vec![0x93];
    text(&mut message, "tag");
    message.extend(entry(LINE).split_off(1));
    stream.write_all(&message).await.unwrap();
    let mut entries = vec![0x92];
    text(&mut entries, "tag");
    entries.push(0x92);
    entries.extend([entry(LINE), entry(LINE)].concat());
    stream.write_all(&entries).await.unwrap();
    until(&handle, (3, 0)).await;
    let two = [entry(LINE), entry(LINE)].concat();
    for (message, lines) in [
        (packed(&two, "one", false), 5),
        (packed(&gzip(&two), "two", true), 7),
        (packed(&gzip(&two), "two", true), 7),
    ] {
        stream.write_all(&message).await.unwrap();
        let mut ack = [0; 9];
        stream.read_exact(&mut ack).await.unwrap();
        assert!(ack.starts_with(b"\x81\xa3ack\xa3"));
        assert_eq!(log(&handle), (lines, 0));
    }
}

#[tokio::test]
async fn what_is_hostile_is_counted_and_the_next_connection_is_served() {
    let (handle, addresses) = started(&[forward(None)]).await;
    let bomb = gzip(&vec![0xc0; 40 << 20]);
    let half = [entry(LINE), vec![0x92, 0x01, 0x81]].concat();
    let hostile = [
        vec![0xc1],
        vec![0x91; 100],
        packed(&bomb, "x", true),
        packed(&half, "y", false),
        vec![0x93, 0xa1],
    ];
    for (at, bytes) in hostile.iter().enumerate() {
        let mut stream = TcpStream::connect(addresses[0]).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        until(&handle, (0, at as u64 + 1)).await;
    }
}

#[tokio::test]
async fn syslog_arrives_by_every_transport() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let (handle, at) =
        started(&[Input::Udp(ANY), Input::Tcp(ANY), Input::Unix(path.clone())]).await;
    let wrapped = format!("<134>1 2026-11-22T18:45:07Z h haproxy 1 - - {LINE}");
    std::net::UdpSocket::bind(ANY)
        .unwrap()
        .send_to(wrapped.as_bytes(), at[0])
        .unwrap();
    std::os::unix::net::UnixDatagram::unbound()
        .unwrap()
        .send_to(wrapped.as_bytes(), &path)
        .unwrap();
    let mut stream = TcpStream::connect(at[1]).await.unwrap();
    let both = format!(
        "{} {wrapped}<134>Nov 22 18:45:07 haproxy[1]: {LINE}\n",
        wrapped.len()
    );
    stream.write_all(both.as_bytes()).await.unwrap();
    until(&handle, (4, 0)).await;
}

/// What a client or a broken sender may put into a line, over each transport: counted, and the next line is read.
#[tokio::test]
async fn hostile_lines_are_counted_and_harm_nothing_behind_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let inputs = [Input::Udp(ANY), Input::Tcp(ANY), Input::Unix(path.clone())];
    let (handle, at) = started(&inputs).await;
    let classic = |client: &str, date: &str, uri: &str| {
        format!(
            r#"10.0.0.1:{client} [{date}] web app/a1 0/0/1/2/3 200 90 - - ---- 1/1/0/0/0 0/0 "GET {uri} HTTP/1.1""#
        )
    };
    let now = "22/Nov/2026:18:45:07.388";
    let forged = r#"/#22_10.9.9.9:1_[22/Nov/2026:18:45:07.388]_x_x/x_0/0/0/0/0_500_0_-_-_----"#;
    // Each with whether it is a request all the same.
    let lines = [
        (classic("1", now, &"/x".repeat(30_000)), true),
        (classic("2", now, "/\0\u{1}\u{7f}{}|\"\""), true),
        (classic("3", now, forged), true),
        (classic("4", "01/Jan/1970:00:00:00.000", "/"), true),
        (classic("5", "31/Dec/9999:23:59:59.999", "/"), true),
        (
            classic("6", now, "/")[..60].to_owned() + &classic("7", now, "/"),
            false,
        ),
        (LINE.replace("200", "99999999999999999999"), false),
        (LINE.replace("r|s|500", "r|s|\\u0035"), false),
        (LINE.replace("\"c\"", "\"\0\""), false),
        ("{".repeat(40_000), false),
    ];
    let requests = lines.iter().filter(|(_, request)| *request).count() as u64;
    let (mut read, mut bad) = (0, 0);
    let udp = std::net::UdpSocket::bind(ANY).unwrap();
    let unix = std::os::unix::net::UnixDatagram::unbound().unwrap();
    for (n, (line, _)) in lines.iter().enumerate() {
        // Clients' ports differ by transport, so that nothing is taken for the same line by another way.
        let by = |transport: &str| {
            format!(
                "<134>{}",
                line.replace("10.0.0.1:", &format!("10.0.0.1:{transport}{n}"))
            )
        };
        udp.send_to(by("1").as_bytes(), at[0]).unwrap();
        unix.send_to(by("2").as_bytes(), &path).unwrap();
    }
    read += 2 * requests;
    bad += 2 * (lines.len() as u64 - requests);
    until(&handle, (read, bad)).await;
    let mut stream = TcpStream::connect(at[1]).await.unwrap();
    for (n, (line, _)) in lines.iter().enumerate() {
        let message = format!(
            "<134>{}",
            line.replace("10.0.0.1:", &format!("10.0.0.1:3{n}"))
        );
        let framed = format!("{} {message}", message.len());
        stream.write_all(framed.as_bytes()).await.unwrap();
    }
    // Over a stream a message has 16 KB at most: the long ones are passed over and counted.
    read += requests - 1;
    bad += lines.len() as u64 - requests + 1;
    until(&handle, (read, bad)).await;
    stream
        .write_all(format!("<134>{LINE}\n").as_bytes())
        .await
        .unwrap();
    until(&handle, (read + 1, bad)).await;
}
