//! Tasks, agents and HAProxys that come and go.

use std::time::{Duration, Instant};

use fm_api::keys::{self, ReleaseKey, RevisionId};
use fm_api::observed::Agent;
use fm_api::target::Slot;
use fm_haproxy::Mode;

use crate::support::{self, Load, Service, World, route, shop, split, target, two_revisions};

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_else_changes_is_put_back() {
    let world = World::started().await;
    let (a, b) = (Service::named("a").await, Service::named("b").await);
    two_revisions(&world, &a, &b).await;
    let map = world.dir.join("maps/split.map").display().to_string();
    let text = world.admin(&format!("show map {map}")).await;
    let field: Vec<&str> = text.split_ascii_whitespace().collect();
    let (key, value) = (field[1].to_owned(), field[2].to_owned());
    let other = value.replacen("|0|", "|10000|", 1);
    for bad in [other.as_str(), "nonsense"] {
        world.admin(&format!("set map {map} {key} {bad}")).await;
        let begin = Instant::now();
        while !world
            .admin(&format!("show map {map}"))
            .await
            .contains(&value)
        {
            assert!(
                begin.elapsed() < Duration::from_secs(5),
                "the map was not put back"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    assert_eq!(world.get("shop.example.com", "/", "").await.body, "a");
    for command in ["state maint", "state drain", "weight 0"] {
        world
            .admin(&format!("set server {key}_a/t1 {command}"))
            .await;
        let begin = Instant::now();
        while world.get("shop.example.com", "/", "").await.status != 200 {
            assert!(
                begin.elapsed() < Duration::from_secs(8),
                "`{command}` was not put back"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let events = world
        .store
        .list(&fm_api::keys::prefix("events"))
        .await
        .unwrap();
    let told = events
        .entries
        .iter()
        .any(|entry| String::from_utf8_lossy(&entry.value).contains("DriftRepaired"));
    assert!(told, "an event tells what was found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_haproxy_is_back_at_once_with_the_same_shares() {
    let world = World::started().await;
    let (a, b) = (Service::named("a").await, Service::named("b").await);
    let mut wanted = two_revisions(&world, &a, &b).await;
    split(&mut wanted, "aaaaaaaaaa", Some("bbbbbbbbbb"), 10_000);
    world.put_target(&shop(), &wanted).await;
    world.until_split(&shop(), &wanted).await;
    for _ in 0..2 {
        let (pid, _) = world.master_process().await;
        assert!(
            std::process::Command::new("sh")
                .args(["-c", &format!("kill -9 {pid}")])
                .status()
                .unwrap()
                .success()
        );
        let begin = Instant::now();
        // The old worker may still answer for a moment: what counts is the new process.
        while world.dir.join("master.sock").exists()
            && std::path::Path::new(&format!("/proc/{pid}/cmdline")).exists()
            && !std::fs::read(format!("/proc/{pid}/cmdline"))
                .unwrap_or_default()
                .is_empty()
        {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        loop {
            match support::get(world.port, "shop.example.com", "/", "").await {
                Ok(answer) if answer.status == 200 => {
                    assert_eq!(answer.body, "b");
                    for _ in 0..50 {
                        assert_eq!(world.get("shop.example.com", "/", "").await.body, "b");
                    }
                    break;
                }
                Ok(answer) => panic!("{answer:?}"),
                Err(_) => {}
            }
            assert!(begin.elapsed() < Duration::from_secs(10), "not back");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        println!("serving again after {:?}", begin.elapsed());
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    split(&mut wanted, "aaaaaaaaaa", Some("bbbbbbbbbb"), 0);
    world.put_target(&shop(), &wanted).await;
    world.until_split(&shop(), &wanted).await;
    assert_eq!(world.get("shop.example.com", "/", "").await.body, "a");
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxy_outlives_the_agent_and_is_adopted_again() {
    let mut world = World::started().await;
    let (a, b) = (Service::named("a").await, Service::named("b").await);
    let mut wanted = two_revisions(&world, &a, &b).await;
    let before = world.master_process().await;
    let load = Load::start(world.port, "shop.example.com", 4);
    world.stop_agent().await;
    assert_eq!(world.get("shop.example.com", "/", "").await.body, "a");
    split(&mut wanted, "aaaaaaaaaa", Some("bbbbbbbbbb"), 10_000);
    world.put_target(&shop(), &wanted).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(
        world.get("shop.example.com", "/", "").await.body,
        "a",
        "nobody changes shares without the agent"
    );
    world.start_agent().await;
    world.until_split(&shop(), &wanted).await;
    assert_eq!(world.get("shop.example.com", "/", "").await.body, "b");
    assert_eq!(
        world.master_process().await,
        before,
        "neither restarted nor reloaded"
    );
    let (count, wrong) = load.end().await;
    assert!(
        count > 100 && wrong.is_empty(),
        "{count} requests, {wrong:#?}"
    );
    let handle = world.telemetry.clone().unwrap();
    let begin = Instant::now();
    while handle
        .snapshot("edge", "e", jiff::Timestamp::now())
        .log
        .lines
        == 0
    {
        assert!(
            begin.elapsed() < Duration::from_secs(5),
            "the adopted HAProxy logs to the new agent"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_target_keeps_the_last_good_one_and_harms_nobody() {
    let mut world = World::started().await;
    let (a, b) = (Service::named("a").await, Service::named("b").await);
    two_revisions(&world, &a, &b).await;
    world
        .put(&shop().target(), &serde_json::json!({ "uid": 7 }))
        .await;
    world
        .until(&shop(), "the problem is told", |seen| {
            seen.problem
                .as_ref()
                .is_some_and(|p| p.contains("cannot be read"))
        })
        .await;
    assert_eq!(world.get("shop.example.com", "/", "").await.body, "a");
    world.stop_agent().await;
    world.start_agent().await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(
        world.get("shop.example.com", "/", "").await.body,
        "a",
        "also after a restart of the agent"
    );
}
#[tokio::test(flavor = "multi_thread")]
async fn a_draining_revision_finishes_what_is_open() {
    let world = World::started().await;
    let (a, b) = (
        Service::named("a").await,
        Service::slow("b", Duration::from_millis(1500)).await,
    );
    let mut wanted = two_revisions(&world, &a, &b).await;
    split(&mut wanted, "aaaaaaaaaa", Some("bbbbbbbbbb"), 10_000);
    world.put_target(&shop(), &wanted).await;
    world.until_split(&shop(), &wanted).await;
    let port = world.port;
    let open = tokio::spawn(async move {
        support::get(port, "shop.example.com", "/", "")
            .await
            .unwrap()
    });
    while b.hits() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    split(&mut wanted, "aaaaaaaaaa", Some("bbbbbbbbbb"), 0);
    let id = RevisionId::new("bbbbbbbbbb");
    wanted.revisions.get_mut(&id).unwrap().draining = true;
    world.put_target(&shop(), &wanted).await;
    let seen = world
        .until(&shop(), "it drains", |seen| {
            seen.generation == wanted.generation
        })
        .await;
    assert_eq!(
        (seen.revisions[&id].open, seen.revisions[&id].healthy),
        (1, 0),
        "{seen:#?}"
    );
    assert_eq!(open.await.unwrap().body, "b");
    world
        .until(&shop(), "nothing is open", |seen| {
            seen.revisions[&id].open == 0
        })
        .await;
    assert_eq!(world.get("shop.example.com", "/", "").await.body, "a");
    assert_eq!(b.hits(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn why_haproxy_does_not_start_stands_beside_the_agents_name() {
    let mut world = World::new().await;
    let taken = std::net::TcpListener::bind(("127.0.0.1", world.port)).unwrap();
    world.start_agent().await;
    let agent = async |world: &World| -> Option<Agent> {
        let entry = world.store.get(&keys::agent("edge")).await.unwrap()?;
        serde_json::from_slice(&entry.value).unwrap()
    };
    let begun = Instant::now();
    let words = loop {
        match agent(&world).await.and_then(|agent| agent.problem) {
            Some(words) if words.contains("is taken by process") => break words,
            said => assert!(begun.elapsed() < Duration::from_secs(10), "{said:?}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(
        words.contains(&format!("127.0.0.1:{}", world.port)),
        "{words}"
    );
    drop(taken);
    loop {
        let agent = agent(&world).await.unwrap();
        if !agent.haproxy.is_empty() && agent.problem.is_none() {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{agent:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_gets_no_request_before_its_first_good_check() {
    let world = World::started().await;
    let (a, sick) = (Service::named("a").await, Service::named("sick").await);
    let nobody = std::net::SocketAddr::from(([127, 0, 0, 1], fm_harness::free_port().unwrap()));
    let mut checked = route("shop.example.com", "/");
    checked.health_check.path = Some("/healthz".into());
    let mut wanted = target("u1", &[("aaaaaaaaaa", Slot::A, 3)], vec![checked]);
    split(&mut wanted, "aaaaaaaaaa", None, 0);
    world
        .put_swarm(&shop(), "u1", &[("aaaaaaaaaa", vec![a.address])])
        .await;
    world.put_target(&shop(), &wanted).await;
    world.until_healthy(&shop(), &wanted, "aaaaaaaaaa", 1).await;
    let load = Load::start(world.port, "shop.example.com", 4);
    let tasks = vec![a.address, sick.address, nobody];
    world
        .put_swarm(&shop(), "u1", &[("aaaaaaaaaa", tasks)])
        .await;
    let id = RevisionId::new("aaaaaaaaaa");
    let seen = world
        .until(&shop(), "three servers", |seen| {
            seen.revisions[&id].servers == 3
        })
        .await;
    assert_eq!(seen.revisions[&id].healthy, 1);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let seen = world.observed(&shop()).await.unwrap();
    assert_eq!(
        (seen.revisions[&id].servers, seen.revisions[&id].healthy),
        (3, 1),
        "{seen:#?}"
    );
    assert_eq!(seen.revisions[&id].down.len(), 2, "{seen:#?}");
    let (count, wrong) = load.end().await;
    assert!(
        count > 100 && wrong.is_empty(),
        "{count} requests, {wrong:#?}"
    );
    assert_eq!(sick.hits(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_release_takes_one_reload_and_loses_no_request() {
    let world = World::started().await;
    let (a, b, c) = (
        Service::named("a").await,
        Service::named("b").await,
        Service::named("c").await,
    );
    two_revisions(&world, &a, &b).await;
    let load = Load::start(world.port, "shop.example.com", 8);
    let mut expected = world.master_process().await.1;
    for name in ["one", "two", "three"] {
        let key = ReleaseKey::new("default", name);
        let host = format!("{name}.example.com");
        let mut wanted = target(name, &[("cccccccccc", Slot::A, 1)], vec![route(&host, "/")]);
        world.put_target(&key, &wanted).await;
        world
            .put_swarm(&key, name, &[("cccccccccc", vec![c.address])])
            .await;
        world.until_healthy(&key, &wanted, "cccccccccc", 1).await;
        assert_eq!(
            world.get(&host, "/", "").await.status,
            503,
            "no revision serves yet"
        );
        split(&mut wanted, "cccccccccc", None, 0);
        world.put_target(&key, &wanted).await;
        world.until_split(&key, &wanted).await;
        assert_eq!(world.get(&host, "/", "").await.body, "c");
        expected += 1;
        assert_eq!(world.master_process().await.1, expected, "one reload each");
    }
    let (count, wrong) = load.end().await;
    assert!(
        count > 100 && wrong.is_empty(),
        "{count} requests, {wrong:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_awaited_task_serves_soon_after_it_is_ready() {
    let world = World::started().await;
    let a = Service::named("a").await;
    let mut usual = route("shop.example.com", "/");
    usual.health_check.interval = fm_api::quantity::Span::secs(2);
    let wanted = target("u1", &[("aaaaaaaaaa", Slot::A, 1)], vec![usual]);
    world.put_swarm(&shop(), "u1", &[]).await;
    world.put_target(&shop(), &wanted).await;
    world
        .until(&shop(), "the target is in force", |seen| {
            seen.generation == wanted.generation
        })
        .await;
    // Longer than the pause between checks: an armed server is checked often from then on.
    tokio::time::sleep(Duration::from_millis(2200)).await;
    let begin = Instant::now();
    world
        .put_swarm(&shop(), "u1", &[("aaaaaaaaaa", vec![a.address])])
        .await;
    world.until_healthy(&shop(), &wanted, "aaaaaaaaaa", 1).await;
    println!("ready to healthy: {:?}", begin.elapsed());
    assert!(
        begin.elapsed() < Duration::from_millis(1500),
        "{:?}",
        begin.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_haproxy_that_somebody_else_starts_is_led_through_its_sockets() {
    let mut world = World::new().await;
    world.mode = Mode::External {
        master: world.dir.join("master.sock"),
        admin: world.dir.join("admin.sock"),
        binary: None,
        log: None,
    };
    world.start_agent().await;
    let config = world.dir.join("haproxy.cfg");
    let begin = Instant::now();
    while !config.exists() {
        assert!(
            begin.elapsed() < Duration::from_secs(5),
            "the configuration is written for whoever starts HAProxy"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut haproxy = std::process::Command::new("/usr/sbin/haproxy")
        .arg("-W")
        .arg("-S")
        .arg(world.dir.join("master.sock"))
        .arg("-f")
        .arg(&config)
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let (a, b) = (Service::named("a").await, Service::named("b").await);
    two_revisions(&world, &a, &b).await;
    assert_eq!(world.get("shop.example.com", "/", "").await.body, "a");
    assert_eq!(world.master_process().await.0, haproxy.id());
    world.stop_agent().await;
    assert_eq!(world.get("shop.example.com", "/", "").await.body, "a");
    haproxy.kill().unwrap();
    haproxy.wait().unwrap();
}
