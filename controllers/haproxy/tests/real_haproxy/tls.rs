//! TLS, HTTP/2 and certificates renewed without loss, on a real HAProxy with OpenSSL's and curl's own clients.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::{Load, Service, World, route, shop, split, target};
use fm_api::edge::Accepted;
use fm_api::keys;
use fm_api::observed::{Agent, Trouble, TroubleKind};
use fm_api::target::Slot;

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
    let (world, tls, _a) = secured(&pem).await;
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

async fn until_trouble(world: &World, what: &str, fits: impl Fn(&[Trouble]) -> bool) {
    let begin = Instant::now();
    loop {
        let entry = world.store.get(&keys::agent("edge")).await.unwrap();
        let agent: Option<Agent> = entry.map(|entry| serde_json::from_slice(&entry.value).unwrap());
        let troubles = agent.map(|agent| agent.troubles).unwrap_or_default();
        if fits(&troubles) {
            return;
        }
        assert!(
            begin.elapsed() < Duration::from_secs(8),
            "{what}: {troubles:#?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn says(troubles: &[Trouble], words: &str) -> bool {
    troubles
        .iter()
        .any(|trouble| trouble.message.contains(words))
}

/// A shop behind a port of its own and one with TLS.
async fn secured(crt: &Path) -> (World, u16, Service) {
    let (world, tls) = World::secured(crt).await;
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
    (world, tls, a)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_certificate_is_named_and_the_last_good_one_serves_also_after_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let pem = folder.path().join("site.pem");
    make_certificate(&pem, "first.example.com");
    let (world, tls, _a) = secured(&pem).await;
    let other = folder.path().join("other.tmp");
    make_certificate(&other, "other.example.com");
    let (mine, theirs) = (
        std::fs::read_to_string(&pem).unwrap(),
        std::fs::read_to_string(&other).unwrap(),
    );
    let key = theirs.find("-----BEGIN PRIVATE KEY").unwrap();
    let end = mine.find("-----BEGIN PRIVATE KEY").unwrap();
    let mismatch = mine[..end].to_owned() + &theirs[key..];
    let cut = mine[..100].to_owned() + &mine[end..];
    let breaks: [(&str, Option<&str>); 5] = [
        ("damaged", Some(&cut)),
        ("does not belong to its certificate", Some(&mismatch)),
        ("holds no private key", Some(&mine[..end])),
        ("it is empty", Some("")),
        ("it is gone", None),
    ];
    for (words, content) in breaks {
        match content {
            Some(content) => std::fs::write(&pem, content).unwrap(),
            None => std::fs::remove_file(&pem).unwrap(),
        }
        until_trouble(&world, words, |all| {
            says(all, words) && says(all, "site.pem")
        })
        .await;
        world.kill_haproxy().await;
        until_subject(tls, "first.example.com").await;
        assert_eq!(
            world.get("shop.example.com", "/", "").await.body,
            "a",
            "{words}"
        );
        assert_eq!(curl(tls, "--http2"), "a 2 200", "{words}");
    }
    make_certificate(&pem, "second.example.com");
    until_subject(tls, "second.example.com").await;
    until_trouble(&world, "nothing is wrong any more", <[Trouble]>::is_empty).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_good_certificate_the_other_addresses_serve() {
    let folder = tempfile::tempdir().unwrap();
    let pem = folder.path().join("site.pem");
    std::fs::write(&pem, "junk").unwrap();
    let (world, tls, _a) = secured(&pem).await;
    assert_eq!(world.get("shop.example.com", "/", "").await.body, "a");
    until_trouble(&world, "the address is named", |all| {
        let left_out = |one: &Trouble| one.kind == TroubleKind::NoCertificate;
        all.iter().any(left_out) && says(all, &format!("nothing is served at 127.0.0.1:{tls}"))
    })
    .await;
    make_certificate(&pem, "first.example.com");
    until_subject(tls, "first.example.com").await;
    until_trouble(&world, "nothing is wrong any more", <[Trouble]>::is_empty).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_certificate_of_a_folder_is_named_and_one_that_is_gone_waits_for_a_word() {
    let folder = tempfile::tempdir().unwrap();
    let crt = folder.path().join("certs");
    std::fs::create_dir(&crt).unwrap();
    make_certificate(&crt.join("one.pem"), "one.example.com");
    make_certificate(&crt.join("two.pem"), "two.example.com");
    let (world, tls, _a) = secured(&crt).await;
    until_subject(tls, "one.example.com").await;
    std::fs::write(crt.join("one.pem"), "junk").unwrap();
    until_trouble(&world, "the bad one", |all| {
        says(all, "one.pem") && !says(all, "two.pem")
    })
    .await;
    // A new one is taken in beside a bad one.
    make_certificate(&crt.join("a.pem"), "a.example.com");
    until_subject(tls, "a.example.com").await;
    std::fs::remove_file(crt.join("a.pem")).unwrap();
    until_trouble(&world, "the one that is gone", |all| {
        says(all, "frctl edge accept edge")
    })
    .await;
    world.kill_haproxy().await;
    until_subject(tls, "a.example.com").await;
    let entry = world
        .store
        .get(&keys::agent("edge"))
        .await
        .unwrap()
        .unwrap();
    let agent: Agent = serde_json::from_slice(&entry.value).unwrap();
    let accepted = Accepted {
        kept: agent
            .troubles
            .into_iter()
            .filter_map(|one| one.keeps)
            .collect(),
        at: jiff::Timestamp::now(),
        by: "ann".into(),
    };
    world.put(&keys::accepted("edge"), &accepted).await;
    // The first of a folder serves whoever names no host.
    until_subject(tls, "one.example.com").await;
    until_trouble(&world, "only the bad one is left", |all| {
        says(all, "one.pem") && !says(all, "a.pem")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_haproxy_that_somebody_removed_are_there_again_when_it_needs_them() {
    let folder = tempfile::tempdir().unwrap();
    let pem = folder.path().join("site.pem");
    make_certificate(&pem, "first.example.com");
    let (world, tls, _a) = secured(&pem).await;
    for name in ["maps", "certs"] {
        std::fs::remove_dir_all(world.dir.join(name)).unwrap();
    }
    std::fs::write(world.dir.join("haproxy.cfg"), "nonsense\n").unwrap();
    world.kill_haproxy().await;
    until_subject(tls, "first.example.com").await;
    let begin = Instant::now();
    while world.get("shop.example.com", "/", "").await.status != 200 {
        assert!(
            begin.elapsed() < Duration::from_secs(8),
            "it does not serve again"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
