//! TLS, HTTP/2 and certificates renewed without loss, on a real HAProxy with OpenSSL's and curl's own clients.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::{Load, Service, World, route, shop, split, target};
use fm_api::target::Slot;
use fm_haproxy::Bind;

pub(crate) fn make_certificate(path: &Path, name: &str) {
    let key = path.with_extension("key.tmp");
    let cert = path.with_extension("crt.tmp");
    let done = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ])
        .arg("-subj")
        .arg(format!("/CN={name}"))
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .output()
        .expect("these tests need the program openssl (Debian: apt-get install openssl)");
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    let text = std::fs::read_to_string(&cert).unwrap() + &std::fs::read_to_string(&key).unwrap();
    std::fs::remove_file(key).unwrap();
    std::fs::remove_file(cert).unwrap();
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).unwrap();
    std::fs::rename(beside, path).unwrap();
}

/// Subject of the certificate and the protocol that was agreed on.
fn handshake(port: u16) -> (String, String) {
    let output = Command::new("openssl")
        .args([
            "s_client",
            "-alpn",
            "h2,http/1.1",
            "-connect",
            &format!("127.0.0.1:{port}"),
        ])
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = |start: &str| {
        text.lines()
            .find(|line| line.starts_with(start))
            .unwrap_or("")
            .to_owned()
    };
    (line("subject="), line("ALPN protocol:"))
}

fn curl(port: u16, version: &str) -> String {
    let output = Command::new("curl")
        .args(["-sk", version, "-w", " %{http_version} %{http_code}"])
        .args(["--resolve", &format!("shop.example.com:{port}:127.0.0.1")])
        .arg(format!("https://shop.example.com:{port}/x"))
        .output()
        .expect("these tests need the program curl (Debian: apt-get install curl)");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_and_http2_with_a_certificate_renewed_without_a_reload_or_a_lost_request() {
    let folder = tempfile::tempdir().unwrap();
    let pem = folder.path().join("site.pem");
    make_certificate(&pem, "first.example.com");
    let mut world = World::new().await;
    let tls = fm_harness::free_port().unwrap();
    world.binds.push(Bind {
        address: format!("127.0.0.1:{tls}"),
        crt: Some(pem.clone()),
        alpn: Vec::new(),
    });
    world.start_agent().await;
    let a = Service::named("a").await;
    let mut wanted = target(
        "u1",
        &[("aaaaaaaaaa", Slot::A, 1)],
        vec![route("shop.example.com", "/")],
    );
    split(&mut wanted, "aaaaaaaaaa", None, 0);
    world
        .put_swarm(&shop(), "u1", &[("aaaaaaaaaa", vec![a.address])])
        .await;
    world.put_target(&shop(), &wanted).await;
    world.until_healthy(&shop(), &wanted, "aaaaaaaaaa", 1).await;
    let (subject, alpn) = handshake(tls);
    assert!(
        subject.contains("first.example.com") && alpn.contains("h2"),
        "{subject} {alpn}"
    );
    assert_eq!(curl(tls, "--http1.1"), "a 1.1 200");
    assert_eq!(curl(tls, "--http2"), "a 2 200");
    let before = world.master_process().await;
    let load = Load::start(world.port, "shop.example.com", 4);
    make_certificate(&pem, "second.example.com");
    until_subject(tls, "second.example.com").await;
    // Half a file, as a careless tool leaves it for a moment, changes nothing.
    std::fs::write(&pem, "-----BEGIN CERTIFICATE-----\nMIIB\n").unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(handshake(tls).0.contains("second.example.com"));
    make_certificate(&pem, "third.example.com");
    until_subject(tls, "third.example.com").await;
    assert_eq!(curl(tls, "--http2"), "a 2 200");
    assert_eq!(world.master_process().await, before, "no reload");
    let (count, wrong) = load.end().await;
    assert!(
        count > 50 && wrong.is_empty(),
        "{count} requests, {wrong:#?}"
    );
}

async fn until_subject(port: u16, name: &str) {
    let begin = Instant::now();
    while !handshake(port).0.contains(name) {
        assert!(
            begin.elapsed() < Duration::from_secs(8),
            "{name} is not in force"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
