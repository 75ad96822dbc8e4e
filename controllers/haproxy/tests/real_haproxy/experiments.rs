//! Experiments: each side has its range of the buckets, stable has the rest.

use std::collections::BTreeMap;

use fm_api::experiment::ExperimentTarget;
use fm_api::keys::RevisionId;
use fm_api::release::MatchRule;
use fm_api::target::{RevisionTarget, Slot, Target};

use crate::support::{Client, Service, World, cookie, route, shop, split, target};

const STABLE: &str = "aaaaaaaaaa";
const SIDES: [(&str, &str, u16); 3] = [
    ("baseline", "bbbbbbbbbb", 10),
    ("fast", "cccccccccc", 20),
    ("small", "dddddddddd", 30),
];

/// Stable, and three sides up beside it, without shares yet.
async fn sides(world: &World, services: &[&Service; 4]) -> Target {
    let route = route("shop.example.com", "/");
    let mut wanted = target("u1", &[(STABLE, Slot::A, 1)], vec![route.clone()]);
    wanted.affinity = cookie();
    wanted.match_rules = vec![MatchRule::header("X-QA", "canary")];
    let mut sides = Vec::new();
    for (name, revision, weight) in SIDES {
        let preview = serde_json::json!({
            "since": "2026-01-01T00:00:00Z", "until": "9999-12-30T22:00:00Z", "routes": [route],
            "progress": { "at": "2026-01-01T00:00:00Z", "ready": 0 }, "side": name,
        });
        let id = RevisionId::new(revision);
        let preview = serde_json::from_value(preview).unwrap();
        wanted.previews.insert(id.clone(), preview);
        let one = RevisionTarget {
            replicas: 1,
            slot: None,
            draining: false,
            cut: false,
            restarts: 0,
        };
        wanted.revisions.insert(id, one);
        sides.push(serde_json::json!({ "name": name, "weight": weight, "revision": revision }));
    }
    let experiment = serde_json::json!({
        "plan": { "baseline": { "weight": 10 }, "candidates": [
            { "name": "fast", "weight": 20, "env": { "A": "1" } },
            { "name": "small", "weight": 30, "env": { "A": "2" } },
        ] },
        "number": 3, "stable": STABLE, "began": "2026-01-01T00:00:00Z", "sides": sides,
    });
    wanted.experiment = Some(serde_json::from_value(experiment).unwrap());
    split(&mut wanted, STABLE, None, 0);
    let revisions = [STABLE, SIDES[0].1, SIDES[1].1, SIDES[2].1];
    let tasks: Vec<_> = revisions
        .iter()
        .zip(services)
        .map(|(revision, service)| (*revision, vec![service.address]))
        .collect();
    world.put_swarm(&shop(), "u1", &tasks).await;
    world.put_target(&shop(), &wanted).await;
    for revision in revisions {
        world.until_healthy(&shop(), &wanted, revision, 1).await;
    }
    world.until_split(&shop(), &wanted).await;
    wanted
}

fn experiment(target: &mut Target) -> &mut ExperimentTarget {
    target.experiment.as_mut().unwrap()
}

async fn in_force(world: &World, wanted: &mut Target) {
    wanted.generation += 1;
    world.put_target(&shop(), wanted).await;
    let generation = wanted.generation;
    let until = |seen: &fm_api::observed::HaproxyObserved| seen.generation == generation;
    world.until(&shop(), "it is in force", until).await;
}

/// Who answers each of these users, or as many new ones.
async fn asked(world: &World, users: &[String], new: usize) -> Vec<(String, String)> {
    let mut client = Client::connect(world.port).await.unwrap();
    let mut seen = Vec::new();
    for user in users {
        let header = format!("Cookie: fm_uid={user}\r\n");
        let answer = client.get("shop.example.com", "/", &header).await.unwrap();
        assert_eq!((answer.status, answer.cookie()), (200, None));
        seen.push((user.clone(), answer.body));
    }
    for _ in 0..new {
        let answer = client.get("shop.example.com", "/", "").await.unwrap();
        assert_eq!(answer.status, 200);
        seen.push((answer.cookie().unwrap(), answer.body));
    }
    seen
}

fn shares(seen: &[(String, String)]) -> BTreeMap<&str, usize> {
    let mut shares = BTreeMap::new();
    for (_, body) in seen {
        *shares.entry(body.as_str()).or_default() += 1;
    }
    shares
}

#[tokio::test(flavor = "multi_thread")]
async fn each_side_has_its_share_a_user_stays_and_what_one_loses_is_stables() {
    const USERS: usize = 1500;
    let world = World::started().await;
    let (a, b) = (Service::named("a").await, Service::named("b").await);
    let (c, d) = (Service::named("c").await, Service::named("d").await);
    let mut wanted = sides(&world, &[&a, &b, &c, &d]).await;
    assert_eq!(world.get("shop.example.com", "/", "").await.body, "a");
    let (_, reloads) = world.master_process().await;
    experiment(&mut wanted)
        .sides
        .iter_mut()
        .for_each(|side| side.shared = true);
    in_force(&world, &mut wanted).await;
    let first = asked(&world, &[], USERS).await;
    for (body, percent) in [("a", 40.0), ("b", 10.0), ("c", 20.0), ("d", 30.0)] {
        let got = shares(&first)[body] as f64 / USERS as f64 * 100.0;
        println!("{body}: {got:.1} % instead of {percent}");
        assert!(
            (got - percent).abs() < 7.0,
            "{body}: {got} instead of {percent}"
        );
    }
    let users: Vec<String> = first.iter().map(|(user, _)| user.clone()).collect();
    assert_eq!(asked(&world, &users, 0).await, first, "everybody stays");
    let qa = world.get("shop.example.com", "/", "x-qa: canary\r\n").await;
    assert_eq!(qa.body, "a", "a rule for a canary reaches no side");

    experiment(&mut wanted).sides[1].shared = false;
    in_force(&world, &mut wanted).await;
    let second = asked(&world, &users, 0).await;
    for ((_, was), (_, is)) in first.iter().zip(&second) {
        let expected = if was == "c" { "a" } else { was };
        assert_eq!(is, expected, "only those of one side have moved");
    }
    assert_eq!(
        world.master_process().await.1,
        reloads,
        "shares need no reload"
    );

    // Without any controller: the side that is dead is stable's.
    d.kill();
    let dead = RevisionId::new(SIDES[2].1);
    let down = |seen: &fm_api::observed::HaproxyObserved| seen.revisions[&dead].healthy == 0;
    world.until(&shop(), "it is down", down).await;
    let third = asked(&world, &users, 0).await;
    assert!(!shares(&third).contains_key("d") && shares(&third)["b"] == shares(&first)["b"]);

    wanted.experiment = None;
    in_force(&world, &mut wanted).await;
    assert_eq!(shares(&asked(&world, &users, 0).await)["a"], USERS);
}
