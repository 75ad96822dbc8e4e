//! Which client reaches which side, and for how long: affinity, match rules, long connections, ways back.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use fm_e2e::{Plan, World, in_force, runs, visit, visit_from};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// A person with a browser: what it was given it sends back.
#[derive(Debug, Clone)]
struct User {
    address: Ipv4Addr,
    jar: Vec<String>,
    /// Which version answered each visit.
    seen: Vec<String>,
}

impl User {
    /// So many people.
    fn crowd(number: usize, address: impl Fn(u8, u8) -> Ipv4Addr) -> Vec<Self> {
        let one = |nth: usize| {
            let [.., high, low] = nth.to_be_bytes();
            Self {
                address: address(high, low),
                jar: Vec::new(),
                seen: Vec::new(),
            }
        };
        (0..number).map(one).collect()
    }

    async fn visits(&mut self, port: u16, host: &str) -> Result<()> {
        let cookies = self.jar.join("; ");
        let sent = [("Cookie", cookies.as_str())];
        let sent = if self.jar.is_empty() { &[] } else { &sent[..] };
        let answer = visit_from(self.address, port, host, "/", sent).await?;
        anyhow::ensure!(answer.status == 200, "answered {}", answer.status);
        for cookie in answer.cookies {
            let name = cookie.split('=').next().unwrap_or_default().to_owned();
            self.jar
                .retain(|kept| kept.split('=').next() != Some(&name));
            self.jar.push(cookie);
        }
        self.seen.push(answer.version);
        Ok(())
    }
}

/// Every user visits once, some at a time.
async fn all_visit(users: Vec<User>, port: u16, host: &str) -> Result<Vec<User>> {
    let host: Arc<str> = host.into();
    let mut groups = JoinSet::new();
    for group in users.chunks(users.len().div_ceil(16)) {
        let (mut group, host) = (group.to_vec(), Arc::clone(&host));
        groups.spawn(async move {
            for user in &mut group {
                user.visits(port, &host).await?;
            }
            anyhow::Ok(group)
        });
    }
    let mut all = Vec::new();
    while let Some(group) = groups.join_next().await {
        all.extend(group??);
    }
    Ok(all)
}

fn on(users: &[User], version: &str) -> usize {
    let last = |user: &&User| user.seen.last().is_some_and(|seen| seen == version);
    users.iter().filter(last).count()
}

/// Waits for the approval of the step at this weight.
async fn stands_at(world: &World, plan: &Plan, weight: f64) -> Result<()> {
    world
        .wait(plan, "the step to be in force", 60, |view| {
            view["status"]["waitsForPerson"] == true && in_force(view) == Some(weight)
        })
        .await?;
    Ok(())
}

async fn promote(world: &mut World) -> Result<()> {
    let (code, text) = world.frctl(&["rollout", "promote", "shop"]).await?;
    anyhow::ensure!(code == 0, "{text}");
    Ok(())
}

async fn taken_back(world: &World, plan: &Plan) -> Result<serde_json::Value> {
    world
        .wait(plan, "the canary to be taken back", 60, |view| {
            view["status"]["lastRollout"]["outcome"] != "promoted"
                && view["status"]["canary"].is_null()
                && in_force(view) == Some(0.0)
        })
        .await
}

/// Rules of each kind, to each side; the first that fits decides.
const RULES: &str = "  match:
    - { header: x-qa, value: \"no\", to: stable }
    - { cookie: beta, value: \"yes\", to: canary }
    - { path: /next/old, to: stable }
    - { path: /next, to: canary }
";

async fn rules_lead_to_their_sides(world: &World, plan: &Plan) -> Result<()> {
    let port = world.stack.port();
    for (path, headers, version) in [
        ("/", &[("x-qa", "no")] as &[(&str, &str)], "v1"),
        ("/", &[("Cookie", "a=b; beta=yes")], "v2"),
        ("/next", &[], "v2"),
        ("/next/page?x=1", &[], "v2"),
        ("/next/old", &[], "v1"),
        ("/next", &[("x-qa", "no")], "v1"),
        ("/next/old", &[("Cookie", "beta=yes")], "v2"),
    ] {
        for _ in 0..20 {
            let seen = visit(port, &plan.host, path, headers).await?;
            assert_eq!(seen.version, version, "{path} {headers:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn thousands_of_users_stay_on_the_canary_while_it_grows_and_leave_it_at_once() -> Result<()> {
    let users = User::crowd(4000, |_, _| Ipv4Addr::LOCALHOST);
    stay_and_leave("cookie", users).await
}

#[tokio::test]
async fn thousands_of_addresses_stay_on_the_canary_while_it_grows_and_leave_it_at_once()
-> Result<()> {
    // Without any cookie: each is known by the address that it comes from.
    let users = User::crowd(2500, |high, low| Ipv4Addr::new(127, 9, high, low.max(1)));
    stay_and_leave("source", users).await
}

async fn stay_and_leave(affinity: &str, mut users: Vec<User>) -> Result<()> {
    let number = users.len();
    let cookies = usize::from(affinity == "cookie");
    let mut world = World::new(None).await?;
    let steps = [1.0, 10.0, 50.0];
    let plan = Plan {
        steps: "[{ weight: 1, approval: manual }, { weight: 10, approval: manual }, { weight: 50, approval: manual }]".into(),
        analysis: "{ disabled: true }".into(),
        more: format!("  affinity: {{ {affinity}: {{}} }}\n{RULES}"),
        ..Plan::default()
    };
    world.first(&plan).await?;
    let port = world.stack.port();
    world.apply(&plan, "v2").await?;
    for (nth, weight) in steps.into_iter().enumerate() {
        stands_at(&world, &plan, weight).await?;
        // Twice: whoever was sent somewhere stays there as long as the weight does.
        users = all_visit(users, port, &plan.host).await?;
        users = all_visit(users, port, &plan.host).await?;
        let (share, p) = (on(&users, "v2") as f64 / number as f64, weight / 100.0);
        let deviation = (p * (1.0 - p) / number as f64).sqrt();
        println!(
            "{weight} %: {:.2} % of {number} users are the canary's",
            share * 100.0
        );
        assert!(
            (share - p).abs() < 5.0 * deviation,
            "{share} of the users instead of {p}"
        );
        for user in &users {
            let turns = user.seen.windows(2).filter(|two| two[0] != two[1]);
            assert!(
                turns.count() <= 1,
                "to the canary once at most: {:?}",
                user.seen
            );
            let last: Vec<&String> = user.seen.iter().rev().take(2).collect();
            assert_eq!(last[0], last[1], "one weight, one side");
            assert_eq!(
                user.jar.len(),
                cookies,
                "both sides carry the cookie: {:?}",
                user.jar
            );
        }
        rules_lead_to_their_sides(&world, &plan).await?;
        if nth + 1 < steps.len() {
            promote(&mut world).await?;
        }
    }
    let left: Vec<String> = users
        .iter()
        .filter_map(|user| user.seen.last().cloned())
        .collect();
    assert!(left.iter().any(|version| version == "v2"));
    let (code, text) = world.frctl(&["rollout", "abort", "shop"]).await?;
    assert_eq!(code, 0, "{text}");
    let view = taken_back(&world, &plan).await?;
    assert!(runs(&view["status"]["stable"], "v1"), "{view}");
    users = all_visit(users, port, &plan.host).await?;
    assert_eq!(on(&users, "v1"), number, "all left the canary at once");
    world.end().await;
    Ok(())
}

/// A WebSocket to the canary.
async fn websocket(port: u16, host: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let handshake = format!(
        "GET /ws HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nx-qa: canary\r\n\r\n"
    );
    stream.write_all(handshake.as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.context("no handshake")?);
    }
    let answer = String::from_utf8(answer)?;
    anyhow::ensure!(
        answer.starts_with("HTTP/1.1 101") && answer.contains("x-version: v2"),
        "{answer}"
    );
    assert!(echoes(&mut stream).await, "it works");
    Ok(stream)
}

async fn echoes(stream: &mut TcpStream) -> bool {
    let mut back = [0; 4];
    stream.write_all(b"ping").await.is_ok()
        && stream.read_exact(&mut back).await.is_ok()
        && &back == b"ping"
}

/// Waits until the other side closes it.
async fn closed(stream: &mut TcpStream) -> Result<()> {
    let ends = stream.read_u8();
    let ended = tokio::time::timeout(Duration::from_secs(30), ends).await;
    anyhow::ensure!(ended.context("it stayed open")?.is_err());
    Ok(())
}

#[tokio::test]
async fn websockets_of_a_canary_taken_back_drain_or_are_closed_as_the_manifest_says() -> Result<()>
{
    let mut world = World::new(None).await?;
    let with = |more: &str| Plan {
        steps: "[{ weight: 20, approval: manual }]".into(),
        analysis: "{ disabled: true }".into(),
        more: format!("  match: [{{ header: x-qa, value: canary }}]\n{more}"),
        ..Plan::default()
    };
    let drain = with("  rollback: { connections: drain }\n");
    world.first(&drain).await?;
    let port = world.stack.port();
    world.apply(&drain, "v2").await?;
    stands_at(&world, &drain, 20.0).await?;
    let mut socket = websocket(port, &drain.host).await?;
    let (code, text) = world.frctl(&["rollout", "abort", "shop"]).await?;
    assert_eq!(code, 0, "{text}");
    taken_back(&world, &drain).await?;
    assert!(echoes(&mut socket).await, "it goes on while it drains");
    // `timeouts.drain` is over after 5 s; then the tasks are stopped.
    closed(&mut socket).await?;

    // The tasks stay, so only HAProxy can close it.
    let close = with("  rollback: { connections: close }\n  keepFailed: 5m\n");
    world.apply(&close, "v2").await?;
    let (code, text) = world.frctl(&["rollout", "retry", "shop"]).await?;
    assert_eq!(code, 0, "{text}");
    stands_at(&world, &close, 20.0).await?;
    let mut socket = websocket(port, &close.host).await?;
    let (code, text) = world.frctl(&["rollout", "abort", "shop"]).await?;
    assert_eq!(code, 0, "{text}");
    closed(&mut socket).await?;
    let view = taken_back(&world, &close).await?;
    let kept = view["status"]["lastRollout"]["revision"].as_str();
    let ready = &view["swarm"]["revisions"][kept.unwrap_or_default()]["ready"];
    assert!(
        ready.as_array().is_some_and(|tasks| !tasks.is_empty()),
        "{view}"
    );
    world.end().await;
    Ok(())
}

#[tokio::test]
async fn a_way_back_over_time_falls_and_ends() -> Result<()> {
    let mut world = World::new(None).await?;
    let plan = Plan {
        steps: "[{ weight: 50, hold: 5m }]".into(),
        more: "  rollback: { over: 9s }\n".into(),
        ..Plan::default()
    };
    world.first(&plan).await?;
    let load = world.load(&plan, 100);
    world.apply(&plan, "bad").await?;
    let view = world
        .wait(&plan, "a share on its way back", 60, |view| {
            view["status"]["phase"] == "rollingBack"
                && in_force(view).is_some_and(|weight| weight > 0.0 && weight < 50.0)
        })
        .await?;
    let why = view["status"]["why"].as_str().unwrap_or_default();
    assert!(why.contains("gives its share back until"), "{why}");
    let view = taken_back(&world, &plan).await?;
    assert_eq!(
        view["status"]["lastRollout"]["outcome"], "rolledBack",
        "{view}"
    );
    load.stop().await;
    assert_eq!(load.all().failures(), 0, "{:?}", load.all().failed);
    world.end().await;
    Ok(())
}
