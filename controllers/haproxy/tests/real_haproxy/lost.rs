//! Requests that nobody answers: what clients lose is known, and nothing is asked twice that may not be.

use std::process::Command;
use std::time::{Duration, Instant};

use fm_api::quantity::Span;
use fm_api::target::Slot;
use fm_telemetry::counters::Counters;

use crate::http::Manner;
use crate::support::{Client, Service, World, route, shop, split, target, two_revisions};

const STABLE: &str = "aaaaaaaaaa";
const CANARY: &str = "bbbbbbbbbb";

fn counted(world: &World, revision: &str) -> Counters {
    let handle = world.telemetry.clone().unwrap();
    let seen = handle.snapshot("edge", "e", jiff::Timestamp::now());
    assert_eq!(seen.log.malformed, 0);
    let release = seen.releases.get("default/shop");
    let counters = release.and_then(|revisions| revisions.get(revision));
    counters.cloned().unwrap_or_default()
}

/// Waits until this many requests of a revision have failed, and sees that it stays so.
async fn until_bad(world: &World, revision: &str, wanted: u64) -> Counters {
    let begin = Instant::now();
    while counted(world, revision).bad < wanted {
        let now = counted(world, revision);
        assert!(
            begin.elapsed() < Duration::from_secs(10),
            "{wanted} failed requests of {revision} are not known: {now:?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("known after {:?}", begin.elapsed());
    tokio::time::sleep(Duration::from_millis(600)).await;
    let seen = counted(world, revision);
    assert_eq!(seen.bad, wanted, "{seen:?}");
    seen
}

/// Asks; returns how many requests failed for the client: by status, or without an answer.
pub(crate) async fn ask(port: u16, method: &str, count: usize, keep: bool) -> u64 {
    let mut client = None;
    let mut failed = 0;
    for _ in 0..count {
        let mut open = match client.take() {
            Some(open) => open,
            None => Client::connect(port).await.unwrap(),
        };
        let headers = if method == "POST" {
            "Content-Length: 0\r\n"
        } else {
            ""
        };
        let asked = open.ask(method, "shop.example.com", "/", headers);
        let asked = tokio::time::timeout(Duration::from_secs(20), asked).await;
        match asked.expect("an answer, or an end") {
            Ok(answer) => {
                failed += u64::from(answer.status >= 500);
                client = (keep && !Client::closes(&answer)).then_some(open);
            }
            Err(_) => failed += 1,
        }
    }
    failed
}

async fn with_canary(canary: Manner, basis_points: u16) -> (World, Service, Service) {
    let world = World::started().await;
    let (a, b) = (Service::named("a").await, Service::ill("b", canary).await);
    let mut wanted = two_revisions(&world, &a, &b).await;
    split(&mut wanted, STABLE, Some(CANARY), basis_points);
    world.put_target(&shop(), &wanted).await;
    world.until_split(&shop(), &wanted).await;
    (world, a, b)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_clients_lose_to_a_canary_is_what_counts_against_it() {
    for manner in [
        Manner::Close,
        Manner::ClosePosts,
        Manner::Reset,
        Manner::Half,
    ] {
        let (world, _a, b) = with_canary(manner, 5000).await;
        let mut bad = 0;
        for (method, keep) in [
            ("POST", true),
            ("POST", false),
            ("GET", true),
            ("GET", false),
        ] {
            let hits = b.hits();
            let failed = ask(world.port, method, 200, keep).await;
            let given = b.hits() - hits;
            assert!(given > 0, "{manner:?} {method}");
            match (manner, method) {
                // Half an answer cannot be taken back.
                (Manner::Half, _) | (_, "POST") => assert_eq!(failed, given, "{manner:?} {method}"),
                // What is safe to ask again is answered by stable, and counts all the same.
                _ => assert_eq!(failed, 0, "{manner:?} {method}"),
            }
            // HAProxy asks a canary four times before it gives up.
            bad += match (manner, method) {
                (Manner::ClosePosts, "GET") => 0,
                (Manner::Close | Manner::Reset, "GET") => given / 4,
                _ => given,
            };
            let seen = until_bad(&world, CANARY, bad).await;
            assert!(seen.requests >= seen.bad);
        }
        assert_eq!(counted(&world, STABLE).bad, 0, "{manner:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn small_and_whole_shares_are_counted_as_exactly() {
    for (basis_points, count) in [(100, 3000), (10_000, 100)] {
        let (world, _a, b) = with_canary(Manner::ClosePosts, basis_points).await;
        let failed = ask(world.port, "POST", count, true).await;
        assert_eq!(failed, b.hits());
        assert!(failed > 0, "of {count}");
        until_bad(&world, CANARY, failed).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_hangs_is_known_by_its_timeout() {
    let world = World::started().await;
    let (a, b) = (
        Service::named("a").await,
        Service::ill("b", Manner::Hang).await,
    );
    let mut path = route("shop.example.com", "/");
    path.timeouts.server = Span::millis(300);
    let mut wanted = target(
        "u1",
        &[(STABLE, Slot::A, 1), (CANARY, Slot::B, 1)],
        vec![path],
    );
    split(&mut wanted, STABLE, Some(CANARY), 10_000);
    let tasks = [(STABLE, vec![a.address]), (CANARY, vec![b.address])];
    world.put_swarm(&shop(), "u1", &tasks).await;
    world.put_target(&shop(), &wanted).await;
    world.until_healthy(&shop(), &wanted, CANARY, 1).await;
    for method in ["POST", "GET"] {
        assert_eq!(ask(world.port, method, 4, true).await, 4, "{method}");
    }
    assert_eq!(b.hits(), 8, "each was asked once");
    until_bad(&world, CANARY, 8).await;
}

/// curl's requests over one HTTP/2 connection; the statuses that it got.
fn http2(port: u16, post: bool, count: usize) -> Vec<String> {
    let mut curl = Command::new("curl");
    curl.args(["-sk", "--http2", "-o", "/dev/null", "-w", "%{http_code}\n"]);
    if post {
        curl.args(["-d", "order"]);
    }
    curl.args(["--resolve", &format!("shop.example.com:{port}:127.0.0.1")]);
    let url = format!("https://shop.example.com:{port}/[1-{count}]");
    let output = curl.arg(url).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http2_a_post_reaches_a_task_once_and_its_failure_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let pem = folder.path().join("site.pem");
    crate::tls::make_certificate(&pem, "shop.example.com");
    let (world, tls) = World::secured(&pem).await;
    let (a, b) = (
        Service::ill("a", Manner::ClosePosts).await,
        Service::ill("b", Manner::Close).await,
    );
    let mut wanted = two_revisions(&world, &a, &b).await;
    // Stable's are as safe as the canary's.
    assert_eq!(http2(tls, true, 5), ["502"; 5]);
    assert_eq!(a.hits(), 5);
    until_bad(&world, STABLE, 5).await;
    split(&mut wanted, STABLE, Some(CANARY), 10_000);
    world.put_target(&shop(), &wanted).await;
    world.until_split(&shop(), &wanted).await;
    assert_eq!(http2(tls, true, 5), ["502"; 5]);
    assert_eq!(b.hits(), 5, "each was offered once");
    until_bad(&world, CANARY, 5).await;
    assert_eq!(http2(tls, false, 5), ["200"; 5], "stable answers");
    until_bad(&world, CANARY, 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_death_of_a_canarys_only_task_costs_nobody_a_request() {
    let (world, _a, b) = with_canary(Manner::Answer, 5000).await;
    let port = world.port;
    let load = |method: &'static str| {
        tokio::spawn(async move {
            let mut failed = 0;
            for _ in 0..150 {
                failed += ask(port, method, 1, false).await;
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            (method, failed)
        })
    };
    let clients: Vec<_> = ["GET", "GET", "POST", "GET", "PUT"]
        .map(load)
        .into_iter()
        .collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    // No connection is open in between: what is asked from now on is refused.
    b.kill();
    for client in clients {
        // A POST that the task had already seen is lost, and only such a one.
        let (method, lost) = client.await.unwrap();
        let most = u64::from(method != "GET");
        assert!(lost <= most, "{lost} {method} failed");
    }
    let seen = counted(&world, CANARY);
    assert!(seen.fallback > 0 && seen.bad >= seen.fallback, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_canary_answers_for_a_stable_that_is_gone() {
    let (world, a, b) = with_canary(Manner::Answer, 0).await;
    a.kill();
    for method in ["GET", "POST"] {
        assert_eq!(ask(world.port, method, 30, true).await, 0, "{method}");
    }
    let seen = until_bad(&world, STABLE, 60).await;
    assert_eq!(seen.fallback, 60, "it counts against stable");
    assert_eq!(b.hits(), 60);
    // Nobody is left: that is an answer, too, and no circle.
    b.kill();
    let begin = Instant::now();
    let answer = world.get("shop.example.com", "/", "").await;
    assert_eq!(answer.status, 503);
    assert!(
        begin.elapsed() < Duration::from_secs(8),
        "{:?}",
        begin.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_haproxy_drops_in_silence_counts_against_stable() {
    let world = World::started().await;
    let (a, b) = (
        Service::ill("a", Manner::Close).await,
        Service::named("b").await,
    );
    two_revisions(&world, &a, &b).await;
    let failed = ask(world.port, "GET", 60, true).await;
    assert_eq!(failed, 60);
    let seen = until_bad(&world, STABLE, 60).await;
    let silent = seen.outcomes.kinds().filter(|(kind, _)| kind.status == 0);
    let silent: u64 = silent.map(|(_, count)| count).sum();
    assert!(silent > 0, "no line tells of some: {seen:?}");
    assert_eq!(counted(&world, CANARY), Counters::default());
}

/// Drops what is sent to a port of this machine, as a node that is gone does; until it is dropped itself.
pub(crate) struct Cut(String);

impl Cut {
    fn off(address: std::net::SocketAddr) -> Self {
        Self::with(address, "DROP")
    }

    /// What becomes of it is one of iptables' own words.
    pub(crate) fn with(address: std::net::SocketAddr, fate: &str) -> Self {
        let port = address.port();
        let rule = format!("INPUT -i lo -p tcp --dport {port} -j {fate}");
        iptables("-I", &rule);
        Self(rule)
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        iptables("-D", &self.0);
    }
}

fn iptables(verb: &str, rule: &str) {
    let mut command = Command::new("/usr/sbin/iptables");
    let status = command.args(["-w", verb]).args(rule.split(' ')).status();
    let done = status.expect("these tests need iptables (Debian: apt-get install iptables)");
    assert!(done.success(), "iptables {verb} {rule}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_vanishes_costs_no_request_that_may_be_asked_again() {
    let (world, _a, b) = with_canary(Manner::Answer, 10_000).await;
    let port = world.port;
    let load = |method: &'static str| {
        tokio::spawn(async move {
            let (mut asked, mut failed, mut longest) = (0, 0, Duration::ZERO);
            let begin = Instant::now();
            while begin.elapsed() < Duration::from_secs(9) {
                let one = Instant::now();
                failed += ask(port, method, 5, true).await;
                asked += 5;
                longest = longest.max(one.elapsed());
            }
            (method, asked, failed, longest)
        })
    };
    let clients: Vec<_> = ["GET", "GET", "POST", "GET", "POST"].map(load).into();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let cut = Cut::off(b.address);
    for client in clients {
        let (method, asked, failed, longest) = client.await.unwrap();
        println!("{method}: {asked} requests, {failed} failed, the slowest five took {longest:?}");
        // A POST was under way, and may have been seen: it is lost, and the next one is not.
        let most = u64::from(method == "POST");
        assert!(failed <= most, "{failed} {method} of {asked} failed");
        assert!(longest < Duration::from_secs(20), "{method}: {longest:?}");
    }
    drop(cut);
    assert!(counted(&world, CANARY).bad > 0);
}
