//! Which request reaches which revision.

use std::time::{Duration, Instant};

use fm_api::keys::{ReleaseKey, RevisionId};
use fm_api::target::Slot;

use fm_api::release::MatchRule;

use crate::support::{
    Client, Service, World, cookie, route, shop, source, split, target, two_revisions,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_weight_is_in_force_within_milliseconds_and_needs_no_reload() {
    let world = World::started().await;
    let (a, b) = (Service::named("a").await, Service::named("b").await);
    let mut wanted = two_revisions(&world, &a, &b).await;
    assert_eq!(world.get("shop.example.com", "/x", "").await.body, "a");
    let (_, reloads) = world.master_process().await;
    let mut slowest = Duration::ZERO;
    for weight in [10_000, 0, 10_000, 0, 10_000] {
        split(&mut wanted, "aaaaaaaaaa", Some("bbbbbbbbbb"), weight);
        let begin = Instant::now();
        world.put_target(&shop(), &wanted).await;
        world.until_split(&shop(), &wanted).await;
        slowest = slowest.max(begin.elapsed());
        let body = if weight == 0 { "a" } else { "b" };
        assert_eq!(world.get("shop.example.com", "/x", "").await.body, body);
    }
    println!("slowest change of weight, store to report: {slowest:?}");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    assert_eq!(world.master_process().await.1, reloads);
}

#[tokio::test(flavor = "multi_thread")]
async fn shares_are_binomial_at_every_weight() {
    let world = World::started().await;
    let (a, b) = (Service::named("a").await, Service::named("b").await);
    let mut wanted = two_revisions(&world, &a, &b).await;
    for weight in [1u16, 10, 100, 1000, 5000] {
        split(&mut wanted, "aaaaaaaaaa", Some("bbbbbbbbbb"), weight);
        world.put_target(&shop(), &wanted).await;
        world.until_split(&shop(), &wanted).await;
        let before = b.hits();
        let each = 2500u32;
        let clients: Vec<_> = (0..8)
            .map(|_| {
                let port = world.port;
                tokio::spawn(async move {
                    let mut client = Client::connect(port).await.unwrap();
                    for _ in 0..each {
                        assert_eq!(
                            client
                                .get("shop.example.com", "/", "")
                                .await
                                .unwrap()
                                .status,
                            200
                        );
                    }
                })
            })
            .collect();
        for client in clients {
            client.await.unwrap();
        }
        let (n, p) = (f64::from(each) * 8.0, f64::from(weight) / 10_000.0);
        let (got, mean, deviation) = (
            (b.hits() - before) as f64,
            n * p,
            (n * p * (1.0 - p)).sqrt(),
        );
        println!("{} %: {:.3} % of {n}", p * 100.0, got / n * 100.0);
        // Six deviations and a little, because the smallest share is far from normal.
        assert!(
            (got - mean).abs() <= 6.0 * deviation + 4.0,
            "{weight}: {got} instead of {mean}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_fall_back_to_stable_when_no_server_of_the_canary_is_usable() {
    let world = World::started().await;
    let (a, b) = (Service::named("a").await, Service::named("b").await);
    let mut wanted = two_revisions(&world, &a, &b).await;
    split(&mut wanted, "aaaaaaaaaa", Some("bbbbbbbbbb"), 10_000);
    world.put_target(&shop(), &wanted).await;
    world.until_split(&shop(), &wanted).await;
    assert_eq!(world.get("shop.example.com", "/", "").await.body, "b");
    b.kill();
    let dead = world
        .until(&shop(), "the canary is down", |seen| {
            seen.revisions[&RevisionId::new("bbbbbbbbbb")].healthy == 0
        })
        .await;
    assert!(
        !dead.revisions[&RevisionId::new("bbbbbbbbbb")]
            .down
            .is_empty(),
        "{dead:#?}"
    );
    for _ in 0..50 {
        assert_eq!(world.get("shop.example.com", "/", "").await.body, "a");
    }
    let handle = world.telemetry.clone().unwrap();
    let begin = Instant::now();
    loop {
        let seen = handle.snapshot("edge", "e", jiff::Timestamp::now());
        let canary = seen
            .releases
            .get("default/shop")
            .and_then(|r| r.get("bbbbbbbbbb"))
            .cloned()
            .unwrap_or_default();
        if canary.fallback >= 50 {
            assert_eq!(seen.log.malformed, 0);
            break;
        }
        assert!(begin.elapsed() < Duration::from_secs(5), "{seen:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_stays_on_its_side_by_cookie_and_by_source() {
    let world = World::started().await;
    let (a, b) = (Service::named("a").await, Service::named("b").await);
    let mut wanted = two_revisions(&world, &a, &b).await;
    wanted.affinity = cookie();
    let mut canary_clients: Vec<String> = Vec::new();
    let mut clients: Vec<String> = Vec::new();
    for weight in [2000, 5000, 9000] {
        split(&mut wanted, "aaaaaaaaaa", Some("bbbbbbbbbb"), weight);
        world.put_target(&shop(), &wanted).await;
        world.until_split(&shop(), &wanted).await;
        if clients.is_empty() {
            for _ in 0..100 {
                let answer = world.get("shop.example.com", "/", "").await;
                assert!(answer.head.contains("HttpOnly; SameSite=Lax"), "{answer:?}");
                let cookie = answer.cookie().unwrap();
                if answer.body == "b" {
                    canary_clients.push(cookie.clone());
                }
                clients.push(cookie);
            }
        }
        for client in &clients {
            let header = format!("Cookie: other=1; fm_uid={client}\r\n");
            let answer = world.get("shop.example.com", "/", &header).await;
            assert_eq!(answer.cookie(), None);
            let was = canary_clients.contains(client);
            assert!(
                !was || answer.body == "b",
                "a client left the canary while its share grew"
            );
            if answer.body == "b" && !was {
                canary_clients.push(client.clone());
            }
        }
        let share = canary_clients.len() as f64 / 100.0 - f64::from(weight) / 10_000.0;
        assert!(share.abs() < 0.25, "{weight}: {}", canary_clients.len());
    }
    wanted.affinity = source();
    split(&mut wanted, "aaaaaaaaaa", Some("bbbbbbbbbb"), 5000);
    world.put_target(&shop(), &wanted).await;
    world.until_split(&shop(), &wanted).await;
    let first = world.get("shop.example.com", "/", "").await.body;
    for _ in 0..30 {
        assert_eq!(world.get("shop.example.com", "/", "").await.body, first);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_matching_header_always_reaches_the_canary() {
    let world = World::started().await;
    let (a, b) = (Service::named("a").await, Service::named("b").await);
    let mut wanted = two_revisions(&world, &a, &b).await;
    wanted.match_rules = vec![MatchRule::header("X-QA", "canary")];
    split(&mut wanted, "aaaaaaaaaa", Some("bbbbbbbbbb"), 0);
    world.put_target(&shop(), &wanted).await;
    world
        .until(&shop(), "the rule is in force", |seen| {
            seen.generation == wanted.generation
        })
        .await;
    let (_, reloads) = world.master_process().await;
    assert_eq!(
        world
            .get("shop.example.com", "/", "x-qa: canary\r\n")
            .await
            .body,
        "b"
    );
    assert_eq!(
        world
            .get("shop.example.com", "/", "x-qa: other\r\n")
            .await
            .body,
        "a"
    );
    wanted.match_rules.push(MatchRule::header("x-qa", "v=2"));
    wanted.generation += 1;
    world.put_target(&shop(), &wanted).await;
    world
        .until(&shop(), "the rule is in force", |seen| {
            seen.generation == wanted.generation
        })
        .await;
    assert_eq!(
        world
            .get("shop.example.com", "/", "x-qa: v=2\r\n")
            .await
            .body,
        "b"
    );
    assert_eq!(
        world.master_process().await.1,
        reloads,
        "another value needs no reload"
    );
    b.kill();
    world
        .until(&shop(), "the canary is down", |seen| {
            seen.revisions[&RevisionId::new("bbbbbbbbbb")].healthy == 0
        })
        .await;
    assert_eq!(
        world
            .get("shop.example.com", "/", "x-qa: canary\r\n")
            .await
            .body,
        "a",
        "a forced request falls back too"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_rules_the_first_that_fits_decides_and_none_counts() {
    let world = World::started().await;
    let (a, b) = (Service::named("a").await, Service::named("b").await);
    let mut wanted = two_revisions(&world, &a, &b).await;
    wanted.match_rules = serde_json::from_value(serde_json::json!([
        { "header": "x-qa", "value": "no", "to": "stable" },
        { "cookie": "beta", "value": "yes" },
        { "path": "/next/old", "to": "stable" },
        { "path": "/next" },
    ]))
    .unwrap();
    for weight in [10_000u16, 0] {
        split(&mut wanted, "aaaaaaaaaa", Some("bbbbbbbbbb"), weight);
        world.put_target(&shop(), &wanted).await;
        world
            .until(&shop(), "the rules are in force", |seen| {
                seen.generation == wanted.generation
            })
            .await;
        let split = if weight == 0 { "a" } else { "b" };
        for (path, headers, body) in [
            ("/", "", split),
            ("/nextx", "Cookie: beta=no; xbeta=yes\r\n", split),
            ("/", "x-qa: no\r\n", "a"),
            ("/", "x-qa: no|x\r\n", split),
            ("/", "Cookie: a=b; beta=yes\r\n", "b"),
            ("/next/page?x", "", "b"),
            ("/next/old/page", "", "a"),
            ("/next", "X-Qa: no\r\n", "a"),
            ("/next/old", "Cookie: beta=yes\r\n", "b"),
        ] {
            let answer = world.get("shop.example.com", path, headers).await;
            assert_eq!(answer.body, body, "{path} {headers:?} at {weight}");
        }
    }
    let handle = world.telemetry.clone().unwrap();
    let begin = Instant::now();
    loop {
        let seen = handle.snapshot("edge", "e", jiff::Timestamp::now());
        let of = |revision: &str| {
            let all = seen.releases.get("default/shop");
            all.and_then(|all| all.get(revision))
                .cloned()
                .unwrap_or_default()
        };
        let (stable, canary) = (of("aaaaaaaaaa"), of("bbbbbbbbbb"));
        if (
            stable.requests,
            stable.forced,
            canary.requests,
            canary.forced,
        ) == (3, 6, 3, 6)
        {
            break;
        }
        assert!(begin.elapsed() < Duration::from_secs(5), "{seen:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_and_paths_lead_where_they_should() {
    let world = World::started().await;
    let services = [
        Service::named("root").await,
        Service::named("api").await,
        Service::named("wild").await,
        Service::named("any").await,
    ];
    let routes = [
        ("r.example.com", "/"),
        ("r.example.com", "/api"),
        ("*.example.com", "/"),
        ("*", "/any"),
    ];
    for (index, ((host, path), service)) in routes.iter().zip(&services).enumerate() {
        let name = format!("n{index}");
        let key = ReleaseKey::new("default", &name);
        let mut wanted = target(
            &name,
            &[("aaaaaaaaaa", Slot::A, 1)],
            vec![route(host, path)],
        );
        split(&mut wanted, "aaaaaaaaaa", None, 0);
        world
            .put_swarm(&key, &name, &[("aaaaaaaaaa", vec![service.address])])
            .await;
        world.put_target(&key, &wanted).await;
        world.until_healthy(&key, &wanted, "aaaaaaaaaa", 1).await;
        world.until_split(&key, &wanted).await;
    }
    for (host, path, body) in [
        ("r.example.com", "/", "root"),
        ("R.Example.COM:8080", "/x/y?z=/api", "root"),
        ("r.example.com", "/api", "api"),
        ("r.example.com", "/api/", "api"),
        ("r.example.com", "/api/x", "api"),
        ("r.example.com", "/apix", "root"),
        ("r.example.com", "/any", "root"),
        ("a.b.example.com", "/", "wild"),
        ("example.com", "/any", "any"),
        ("other.net", "/any/x", "any"),
    ] {
        assert_eq!(world.get(host, path, "").await.body, body, "{host}{path}");
    }
    for (host, path) in [
        ("example.com", "/"),
        ("other.net", "/anyx"),
        ("badexample.com", "/"),
    ] {
        assert_eq!(world.get(host, path, "").await.status, 404, "{host}{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_strings_reach_no_configuration_and_harm_nobody_else() {
    let world = World::started().await;
    let (a, b) = (Service::named("a").await, Service::named("b").await);
    two_revisions(&world, &a, &b).await;
    let key = ReleaseKey::new("default", "evil");
    let mut evil = route("evil.example.com", "/");
    evil.hosts.extend([
        "shop.example.com\n".into(),
        "-f".into(),
        "x y".into(),
        "#".into(),
        "shop.example.com".into(),
    ]);
    let paths = [
        "/a } || { always_true",
        "/a\n  http-request deny",
        "-f /etc/passwd",
        "\"/${SECRET}\"",
        "'-i'",
        "%[env(SECRET)]",
        "/;x",
    ];
    evil.paths.extend(paths.map(String::from));
    evil.health_check.path = Some("/%[env(HOME)] '\"#\n  http-request deny".into());
    let mut wanted = target("z-evil", &[("cccccccccc", Slot::A, 1)], vec![evil]);
    wanted.match_rules = vec![MatchRule::header("x } || { always_true", "a b;c\n")];
    split(&mut wanted, "cccccccccc", None, 0);
    world
        .put_swarm(&key, "z-evil", &[("cccccccccc", vec![b.address])])
        .await;
    world.put_target(&key, &wanted).await;
    world.until_healthy(&key, &wanted, "cccccccccc", 1).await;
    let seen = world.until_split_seen(&key).await;
    assert!(seen.problem.is_some(), "{seen:#?}");
    assert_eq!(
        world.get("evil.example.com", "/", "").await.body,
        "b",
        "what is sound of it serves"
    );
    assert_eq!(
        world.get("shop.example.com", "/", "").await.body,
        "a",
        "the older release keeps its host"
    );
    let config = std::fs::read_to_string(world.dir.join("haproxy.cfg")).unwrap();
    for word in ["always_true", "env(", "passwd", "SECRET", "deny"] {
        assert!(!config.contains(word), "{word}");
    }
}
