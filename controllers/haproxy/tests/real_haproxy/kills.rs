//! Tasks of the canary die again and again under load: what that costs, in requests.
//!
//! `KILLS=100` says how often, for each share, number of tasks and way to die; few by default, for that takes minutes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use fm_api::target::Slot;

use crate::lost::{Cut, ask};
use crate::support::{Service, World, route, shop, split, target};

const STABLE: &str = "aaaaaaaaaa";
const CANARY: &str = "bbbbbbbbbb";

#[derive(Debug, Clone, Copy)]
enum Death {
    /// Its port is closed, and so are its connections.
    Refused,
    /// Everything that is sent to it is answered by a reset.
    Reset,
    /// Nothing is answered at all.
    Silent,
}

/// What clients asked and lost.
#[derive(Default)]
struct Tally {
    gets: AtomicU64,
    lost_gets: AtomicU64,
    posts: AtomicU64,
    lost_posts: AtomicU64,
}

/// A client that asks until it is told to stop. Returns how many of its requests failed.
async fn client(
    port: u16,
    method: &'static str,
    keep: bool,
    tally: Arc<Tally>,
    stop: Arc<AtomicBool>,
) -> u64 {
    let (all, lost) = match method {
        "GET" => (&tally.gets, &tally.lost_gets),
        _ => (&tally.posts, &tally.lost_posts),
    };
    let mut mine = 0;
    while !stop.load(Ordering::Relaxed) {
        let failed = ask(port, method, 5, keep).await;
        all.fetch_add(5, Ordering::Relaxed);
        lost.fetch_add(failed, Ordering::Relaxed);
        mine += failed;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    mine
}

async fn kills(death: Death, basis_points: u16, tasks: usize, times: u32) {
    let world = World::started().await;
    let a = Service::named("a").await;
    let count = u32::try_from(tasks).unwrap();
    let mut wanted = target(
        "u1",
        &[(STABLE, Slot::A, 1), (CANARY, Slot::B, count)],
        vec![route("shop.example.com", "/")],
    );
    split(&mut wanted, STABLE, Some(CANARY), basis_points);
    let tally = Arc::<Tally>::default();
    for kill in 0..times {
        let mut canary = Vec::new();
        for _ in 0..tasks {
            canary.push(Service::named("b").await);
        }
        let addresses = canary.iter().map(|task| task.address).collect();
        let seen = [(STABLE, vec![a.address]), (CANARY, addresses)];
        world.put_swarm(&shop(), "u1", &seen).await;
        if kill == 0 {
            world.put_target(&shop(), &wanted).await;
            world.until_split(&shop(), &wanted).await;
        }
        // The agent has taken the new tasks in once their addresses are HAProxy's.
        let ports: Vec<String> = canary
            .iter()
            .map(|task| task.address.port().to_string())
            .collect();
        let up = |servers: &str| {
            ports.iter().all(|port| {
                let mut lines = servers
                    .lines()
                    .map(|line| line.split(' ').collect::<Vec<_>>());
                lines.any(|one| one.get(18) == Some(&port.as_str()) && one.get(5) == Some(&"2"))
            })
        };
        for _ in 0..1000 {
            if up(&world.admin("show servers state").await) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(
            up(&world.admin("show servers state").await),
            "new tasks take requests"
        );
        let stop = Arc::<AtomicBool>::default();
        let clients = [
            ("GET", true),
            ("GET", true),
            ("GET", false),
            ("POST", true),
            ("POST", false),
        ];
        let clients = clients.map(|(method, keep)| {
            let (tally, stop) = (Arc::clone(&tally), Arc::clone(&stop));
            (
                method,
                tokio::spawn(client(world.port, method, keep, tally, stop)),
            )
        });
        tokio::time::sleep(Duration::from_millis(150)).await;
        let cut = match death {
            Death::Refused => {
                canary[0].kill();
                None
            }
            Death::Reset => Some(Cut::with(
                canary[0].address,
                "REJECT --reject-with tcp-reset",
            )),
            Death::Silent => Some(Cut::with(canary[0].address, "DROP")),
        };
        let rest = if matches!(death, Death::Silent) {
            4500
        } else {
            400
        };
        tokio::time::sleep(Duration::from_millis(rest)).await;
        stop.store(true, Ordering::Relaxed);
        for (method, client) in clients {
            let lost = client.await.unwrap();
            // One may have been under way, and seen; the next one of the same client goes on to stable.
            assert!(
                lost <= u64::from(method == "POST"),
                "{death:?}: {lost} {method} of one client"
            );
        }
        drop(cut);
    }
    let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
    println!(
        "{death:?}, {} %, {tasks} task(s), {times} kills: {} of {} GETs failed, {} of {} POSTs",
        f64::from(basis_points) / 100.0,
        of(&tally.lost_gets),
        of(&tally.gets),
        of(&tally.lost_posts),
        of(&tally.posts),
    );
    assert_eq!(of(&tally.lost_gets), 0);
}

fn times(least: u32) -> u32 {
    let asked = std::env::var("KILLS").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(least)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_get_is_lost_to_tasks_that_are_gone() {
    for (basis_points, tasks) in [(100, 1), (2000, 1), (2000, 3), (5000, 1), (5000, 3)] {
        kills(Death::Refused, basis_points, tasks, times(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_get_is_lost_to_tasks_that_reset() {
    for (basis_points, tasks) in [(100, 1), (2000, 1), (2000, 3), (5000, 1), (5000, 3)] {
        kills(Death::Reset, basis_points, tasks, times(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_get_is_lost_to_tasks_that_fall_silent() {
    for (basis_points, tasks) in [(2000, 1), (5000, 3)] {
        kills(Death::Silent, basis_points, tasks, times(1)).await;
    }
}
