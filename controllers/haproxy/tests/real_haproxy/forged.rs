//! Lines that are not our HAProxy's, and what others could read.

use std::os::unix::fs::PermissionsExt;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::{Service, World, shop, split, two_revisions};

#[tokio::test(flavor = "multi_thread")]
async fn only_our_haproxy_tells_of_requests() {
    let mut world = World::started().await;
    let (a, b) = (Service::named("a").await, Service::named("b").await);
    let mut wanted = two_revisions(&world, &a, &b).await;
    split(&mut wanted, "aaaaaaaaaa", Some("bbbbbbbbbb"), 5_000);
    world.put_target(&shop(), &wanted).await;
    world.until_split(&shop(), &wanted).await;
    let handle = world.telemetry.clone().unwrap();
    let seen = || handle.snapshot("edge", "e", jiff::Timestamp::now());
    let address = std::fs::read_to_string(world.dir.join("log.address")).unwrap();
    let forged = "{\"rc\":\"r|0badcafe|500|r0_a|r0_b|default/shop|aaaaaaaaaa|bbbbbbbbbb|7\",\"sd\":\"c\",\"st\":500,\"ts\":\"--\"}\n";
    for _ in 0..100 {
        let mut stream = TcpStream::connect(address.trim()).await.unwrap();
        stream.write_all(forged.as_bytes()).await.unwrap();
    }
    for _ in 0..20 {
        assert_eq!(world.get("shop.example.com", "/", "").await.status, 200);
    }
    for _ in 0..200 {
        let log = seen().log;
        if (log.lines, log.unproven) == (20, 100) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let now = seen();
    assert_eq!(
        (now.log.lines, now.log.unproven, now.log.malformed),
        (20, 100, 0)
    );
    let canary = now.releases["default/shop"].get("bbbbbbbbbb");
    assert_eq!(canary.map_or(0, |canary| canary.bad), 0);
    // The secret stands in files that nobody else can read, and in no word of HAProxy's.
    let secret = std::fs::read_to_string(world.dir.join("log.secret")).unwrap();
    let mut holds = Vec::new();
    for entry in std::fs::read_dir(&world.dir).unwrap() {
        let entry = entry.unwrap();
        let Ok(text) = std::fs::read_to_string(entry.path()) else {
            continue;
        };
        if text.contains(&secret) {
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            holds.push((entry.file_name().into_string().unwrap(), mode));
        }
    }
    holds.sort();
    let private = |name: &str| (name.to_owned(), 0o600);
    assert_eq!(holds, [private("haproxy.cfg"), private("log.secret")]);
    // Another agent takes the same HAProxy over, and knows it by the same secret, without a reload.
    let workers = world.master("show proc").await;
    world.stop_agent().await;
    for _ in 0..5 {
        assert_eq!(world.get("shop.example.com", "/", "").await.status, 200);
    }
    world.start_agent().await;
    let handle = world.telemetry.clone().unwrap();
    for _ in 0..300 {
        if handle
            .snapshot("edge", "e", jiff::Timestamp::now())
            .log
            .lines
            == 5
        {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let log = handle.snapshot("edge", "e", jiff::Timestamp::now()).log;
    assert_eq!(
        (log.lines, log.unproven),
        (5, 0),
        "what came meanwhile was kept"
    );
    let pid = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| line.contains("worker"));
        lines
            .filter_map(|line| Some(line.split_whitespace().next()?.to_owned()))
            .collect()
    };
    assert_eq!(pid(&workers), pid(&world.master("show proc").await));
}
