//! Our own configuration with HAProxy's classic log format: the backends' names tell the revision.

use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use fm_harness::free_port;
use fm_telemetry::intake::{Input, Intake};

use crate::http::get;
use crate::support::{Service, World, shop, split, two_revisions};

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A second HAProxy with the configuration that the agent wrote, but that it logs `httplog` to this address.
fn classic(world: &World, port: u16, log: &str, file: &Path) -> Killed {
    let text = std::fs::read_to_string(world.dir.join("haproxy.cfg")).unwrap();
    let changed = |line: &str| match line.trim_start() {
        text if text.starts_with("stats socket") => String::new(),
        text if text.starts_with("log ring@") => format!("  log udp@{log} format rfc5424 local0"),
        text if text.starts_with("log-format") => "  option httplog".to_owned(),
        text if text.starts_with("bind 127.") => format!("  bind 127.0.0.1:{port}"),
        // Its own sockets between its frontends.
        _ => line
            .replace("/relay-", "/2-relay-")
            .replace("/other-", "/2-other-"),
    };
    let text: Vec<String> = text.lines().map(changed).collect();
    std::fs::write(file, text.join("\n") + "\n").unwrap();
    let mut command = std::process::Command::new("/usr/sbin/haproxy");
    Killed(command.arg("-db").arg("-f").arg(file).spawn().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_classic_line_of_our_configuration_counts_for_its_revision() {
    let world = World::started().await;
    let (a, b) = (Service::named("a").await, Service::named("b").await);
    let mut wanted = two_revisions(&world, &a, &b).await;
    split(&mut wanted, "aaaaaaaaaa", Some("bbbbbbbbbb"), 5_000);
    world.put_target(&shop(), &wanted).await;
    world.until_split(&shop(), &wanted).await;
    let handle = world.telemetry.clone().unwrap();
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let intake = Intake::bind(&[Input::Udp(any)], handle.clone())
        .await
        .unwrap();
    let log = intake.addresses().unwrap()[0].to_string();
    let receiving = tokio::spawn(intake.run());
    let port = free_port().unwrap();
    let file = world.dir.join("classic.cfg");
    let second = classic(&world, port, &log, &file);
    let own = handle
        .snapshot("edge", "e", jiff::Timestamp::now())
        .log
        .lines;
    let (mut sent, begin) = ([0u64; 2], Instant::now());
    while sent.iter().sum::<u64>() < 60 {
        let answer = get(port, "shop.example.com", "/", "").await;
        match answer.as_ref().map(|answer| answer.body.as_str()) {
            Ok("a") => sent[0] += 1,
            Ok("b") => sent[1] += 1,
            // It is not up, or has not checked its servers yet.
            Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
        assert!(begin.elapsed() < Duration::from_secs(20), "{sent:?}");
    }
    loop {
        let seen = handle.snapshot("edge", "e", jiff::Timestamp::now());
        let shop = seen.releases.get("default/shop");
        let of = |revision: &str| {
            shop.and_then(|all| all.get(revision))
                .map_or(0, |c| c.requests - c.bad)
        };
        if seen.log.lines >= own + 60 && [of("aaaaaaaaaa"), of("bbbbbbbbbb")] == sent {
            break;
        }
        assert!(
            begin.elapsed() < Duration::from_secs(25),
            "{sent:?} {seen:#?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(sent[0] > 5 && sent[1] > 5, "{sent:?}");
    receiving.abort();
    drop(second);
}
