//! HAProxy itself logs each request by UDP, by unix datagram and by a ring over TCP, in JSON and in `httplog`: each
//! request counts once, and for its revision.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends where its set-up fails"
)]

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use fm_telemetry::backends::Backend;
use fm_telemetry::counters::Snapshot;
use fm_telemetry::intake::{Input, Intake};
use fm_telemetry::{Handle, Receiver};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const RECORD: &str = "r|0badcafe|500|r0_a|r0_b|default/shop|aaaa|bbbb|7";

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Two frontends, one for each format, that log by all three ways; `/c` goes to the canary's backend, which fails.
fn config(folder: &Path, udp: SocketAddr, tcp: SocketAddr) -> String {
    let json = format!(
        r#"log-format '{{"rc":"{RECORD}","sd":"s","st":%ST,"ts":"%ts","tr":-1,"ta":%Ta,"p":%pid,"n":%lc}}'"#
    );
    let folder = folder.display();
    format!(
        "global\n  log udp@{udp} format rfc5424 local0\n  log {folder}/log format rfc3164 local0\n  log ring@out local0\n\
         ring out\n  format rfc5424\n  size 65536\n  server s {tcp} log-proto octet-count\n\
         defaults\n  mode http\n  log global\n  timeout client 5s\n  timeout connect 5s\n  timeout server 5s\n\
         frontend json\n  bind unix@{folder}/json\n  {json}\n  default_backend r0_a\n\
         frontend classic\n  bind unix@{folder}/classic\n  option httplog\n  use_backend r0_b if {{ path /c }}\n  default_backend r0_a\n\
         backend r0_a\n  http-request return status 200\n\
         backend r0_b\n  http-request return status 500\n"
    )
}

fn started(file: &Path) -> Killed {
    let haproxy = Command::new("haproxy")
        .arg("-db")
        .arg("-f")
        .arg(file)
        .spawn();
    Killed(haproxy.expect("haproxy is needed: tests/setup/packages.sh installs it"))
}

async fn get(path: &Path, target: &str) {
    for _ in 0..400 {
        if let Ok(mut stream) = UnixStream::connect(path).await {
            let request = format!("GET {target} HTTP/1.0\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            stream.read_to_end(&mut Vec::new()).await.unwrap();
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert!(path.exists(), "haproxy does not serve {}", path.display());
}

/// Waits until each of so many requests has come by all three ways.
async fn counted(handle: &Handle, requests: u64) -> Snapshot {
    let now = || handle.snapshot("a", "1", jiff::Timestamp::UNIX_EPOCH);
    for _ in 0..400 {
        let log = now().log;
        if log.lines + log.repeated >= requests * 3 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    now()
}

#[tokio::test]
async fn a_request_that_haproxy_logs_by_three_ways_counts_once_and_for_its_revision() {
    let folder = tempfile::tempdir().unwrap();
    let handle = Receiver::bind(ANY).await.unwrap().handle();
    let unix = Input::Unix(folder.path().join("log"));
    let inputs = [Input::Udp(ANY), Input::Tcp(ANY), unix];
    let intake = Intake::bind(&inputs, handle.clone()).await.unwrap();
    let at = intake.addresses().unwrap();
    tokio::spawn(intake.run());
    let backend = |canary| Backend {
        record: RECORD.to_owned(),
        canary,
    };
    handle.set_backends([
        ("r0_a".to_owned(), backend(false)),
        ("r0_b".to_owned(), backend(true)),
    ]);
    let file = folder.path().join("haproxy.cfg");
    std::fs::write(&file, config(folder.path(), at[0], at[1])).unwrap();
    let haproxy = started(&file);
    for _ in 0..5 {
        get(&folder.path().join("json"), "/").await;
        get(&folder.path().join("classic"), "/").await;
        get(&folder.path().join("classic"), "/c").await;
    }
    let snapshot = counted(&handle, 15).await;
    let log = snapshot.log;
    assert_eq!(
        (log.lines, log.repeated, log.malformed),
        (15, 30, 0),
        "{snapshot:?}"
    );
    assert_eq!((log.unrouted, log.lost), (0, 0));
    let shop = &snapshot.releases["default/shop"];
    assert_eq!((shop["aaaa"].requests, shop["aaaa"].bad), (10, 0));
    assert_eq!((shop["bbbb"].requests, shop["bbbb"].bad), (5, 5));
    drop(haproxy);
}
