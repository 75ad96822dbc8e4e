//! What HAProxy's workers may do, and what tasks are told of clients.

use std::process::Command;

use fm_api::target::Slot;

use crate::support::{Service, World, cookie, route, shop, split, target, two_revisions};

const FORGED: &str = "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\nForwarded: for=192.0.2.7\r\n\
                      X-Real-IP: 192.0.2.7\r\nX-Forwarded-Host: evil.example.com\r\n";

/// The serving worker's process; none for a moment while the master reloads.
async fn worker(world: &World) -> Option<u32> {
    let text = world.try_master("show proc").await.ok()?;
    let line = text.lines().find(|line| line.contains("worker "))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// The real user id of a process.
fn user(pid: u32) -> u32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("Uid:"))
        .unwrap();
    line.split_ascii_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_are_no_root_and_shut_in_where_root_starts_haproxy() {
    let world = World::started().await;
    let (a, b) = (Service::named("a").await, Service::named("b").await);
    let mut wanted = two_revisions(&world, &a, &b).await;
    split(&mut wanted, "aaaaaaaaaa", Some("bbbbbbbbbb"), 10_000);
    world.put_target(&shop(), &wanted).await;
    world.until_split(&shop(), &wanted).await;
    // This way leads through sockets between HAProxy's own proxies.
    assert_eq!(world.get("shop.example.com", "/", "").await.body, "b");
    let me = user(std::process::id());
    for _ in 0..2 {
        let pid = worker(&world).await.unwrap();
        if me != 0 {
            assert_eq!(user(pid), me);
            continue;
        }
        assert_ne!(user(pid), 0);
        let root = std::fs::read_link(format!("/proc/{pid}/root")).unwrap();
        assert_eq!(root, world.dir.join("jail"));
        world.master("reload").await;
        let begin = std::time::Instant::now();
        while worker(&world).await.is_none_or(|now| now == pid) {
            assert!(begin.elapsed().as_secs() < 10);
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        assert_eq!(world.get("shop.example.com", "/", "").await.body, "b");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_are_told_the_true_source_and_protocol() {
    let world = World::started().await;
    let (a, b) = (Service::named("a").await, Service::named("b").await);
    let mut wanted = two_revisions(&world, &a, &b).await;
    // Straight to stable, and the longer way to the canary.
    for (service, weight) in [(&a, 0), (&b, 10_000)] {
        split(&mut wanted, "aaaaaaaaaa", Some("bbbbbbbbbb"), weight);
        world.put_target(&shop(), &wanted).await;
        world.until_split(&shop(), &wanted).await;
        assert_eq!(world.get("shop.example.com", "/", FORGED).await.status, 200);
        let seen = service.last().to_lowercase();
        assert!(
            !seen.contains("192.0.2.7") && !seen.contains("evil"),
            "{seen}"
        );
        assert_eq!(seen.matches("x-forwarded-for:").count(), 1, "{seen}");
        assert!(seen.contains("x-forwarded-for: 127.0.0.1\r\n"), "{seen}");
        assert!(seen.contains("x-forwarded-proto: http\r\n"), "{seen}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_word_of_a_trusted_proxy_is_kept() {
    let mut world = World::new().await;
    world.trusted = vec!["10.0.0.0/8".into(), "127.0.0.0/8".into()];
    world.start_agent().await;
    let (a, b) = (Service::named("a").await, Service::named("b").await);
    two_revisions(&world, &a, &b).await;
    assert_eq!(world.get("shop.example.com", "/", FORGED).await.status, 200);
    let seen = a.last().to_lowercase();
    for line in [
        "x-forwarded-for: 192.0.2.7",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-proto: https",
        "x-forwarded-host: evil.example.com",
    ] {
        assert!(seen.contains(&format!("{line}\r\n")), "{line}: {seen}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_the_cookie_is_secure_and_the_task_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let pem = folder.path().join("site.pem");
    crate::tls::make_certificate(&pem, "shop.example.com");
    let (world, tls) = World::secured(&pem).await;
    let (a, b) = (Service::named("a").await, Service::named("b").await);
    let mut wanted = target(
        "u1",
        &[("aaaaaaaaaa", Slot::A, 1), ("bbbbbbbbbb", Slot::B, 1)],
        vec![route("shop.example.com", "/")],
    );
    wanted.affinity = cookie();
    split(&mut wanted, "aaaaaaaaaa", Some("bbbbbbbbbb"), 1);
    let tasks = [
        ("aaaaaaaaaa", vec![a.address]),
        ("bbbbbbbbbb", vec![b.address]),
    ];
    world.put_swarm(&shop(), "u1", &tasks).await;
    world.put_target(&shop(), &wanted).await;
    world.until_healthy(&shop(), &wanted, "aaaaaaaaaa", 1).await;
    world.until_split(&shop(), &wanted).await;
    let plain = world.get("shop.example.com", "/", "").await;
    assert!(plain.head.contains("SameSite=Lax\r\n"), "{plain:?}");
    let output = Command::new("curl")
        .args(["-sk", "--http1.1", "-D", "-", "-o", "/dev/null"])
        .args(["--resolve", &format!("shop.example.com:{tls}:127.0.0.1")])
        .arg(format!("https://shop.example.com:{tls}/"))
        .output()
        .unwrap();
    let head = String::from_utf8_lossy(&output.stdout).to_lowercase();
    assert!(head.contains("samesite=lax; secure\r\n"), "{head}");
    assert_eq!(head.matches("set-cookie:").count(), 1, "{head}");
    let told = a.last().to_lowercase() + &b.last().to_lowercase();
    assert!(told.contains("x-forwarded-proto: https\r\n"), "{told}");
}
