//! The further receivers, over real sockets; HAProxy itself logs to them.

#![expect(clippy::unwrap_used, reason = "a test ends where its set-up fails")]

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command};
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

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// HAProxy answers by itself and logs each request by UDP, unix datagram and a ring over TCP, in JSON and `httplog`.
#[tokio::test]
async fn haproxy_itself_logs_by_every_transport() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let (handle, at) =
        started(&[Input::Udp(ANY), Input::Tcp(ANY), Input::Unix(path.clone())]).await;
    let mut frontends = String::new();
    for (offset, form) in ["option httplog".to_owned(), format!("log-format '{LINE}'")]
        .iter()
        .enumerate()
    {
        let bind = folder.path().join(format!("web{offset}"));
        frontends += &format!(
            "frontend f{offset}\n  mode http\n  bind unix@{}\n  {form}\n  log global\n  http-request return status 200\n",
            bind.display()
        );
    }
    let config = format!(
        "global\n  log udp@{} format rfc5424 local0\n  log {} format rfc3164 local0\n  log ring@out local0\n\
         ring out\n  format rfc5424\n  size 65536\n  server s {} log-proto octet-count\n\
         defaults\n  timeout client 5s\n  timeout connect 5s\n  timeout server 5s\n{frontends}",
        at[0],
        path.display(),
        at[1]
    );
    let file = folder.path().join("haproxy.cfg");
    std::fs::write(&file, config).unwrap();
    let haproxy = Command::new("haproxy")
        .arg("-db")
        .arg("-f")
        .arg(&file)
        .spawn();
    let _haproxy = Killed(haproxy.expect("haproxy is needed: tests/setup/packages.sh installs it"));
    for offset in 0..2 {
        let web = folder.path().join(format!("web{offset}"));
        let mut sent = false;
        for _ in 0..400 {
            if let Ok(mut stream) = tokio::net::UnixStream::connect(&web).await {
                stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
                stream.read_to_end(&mut Vec::new()).await.unwrap();
                sent = true;
                break;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        assert!(sent, "haproxy does not serve {}", web.display());
    }
    until(&handle, (6, 0)).await;
}
