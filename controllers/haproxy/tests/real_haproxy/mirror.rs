//! Requests that the canary is asked as well: which, how many, what counts, and that no user notices.

use std::time::{Duration, Instant};

use fm_api::quantity::Weight;
use fm_api::target::Target;
use fm_telemetry::counters::Counters;

use crate::support::{Client, Load, Service, World, shop, split, two_revisions};

const STABLE: &str = "aaaaaaaaaa";
const CANARY: &str = "bbbbbbbbbb";

/// Stable and canary, of which the second has no share yet, in a HAProxy that is made ready for copies.
async fn ready(world: &World, a: &Service, b: &Service) -> Target {
    let mut wanted = two_revisions(world, a, b).await;
    wanted.mirrors = true;
    mirror(world, &mut wanted, 0).await;
    let begin = Instant::now();
    while !world
        .admin("show stat be_mirror 4 -1")
        .await
        .contains(",UP,")
    {
        assert!(
            begin.elapsed() < Duration::from_secs(10),
            "the agent is not seen"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    wanted
}

async fn mirror(world: &World, wanted: &mut Target, basis_points: u16) {
    split(wanted, STABLE, Some(CANARY), 0);
    wanted.traffic.as_mut().unwrap().mirror = Weight::from_basis_points(basis_points);
    world.put_target(&shop(), wanted).await;
    world.until_split(&shop(), wanted).await;
}

fn counted(world: &World, revision: &str) -> Counters {
    let seen = world
        .telemetry
        .as_ref()
        .unwrap()
        .snapshot("edge", "e", jiff::Timestamp::now());
    let release = seen.releases.get("default/shop");
    release
        .and_then(|all| all.get(revision))
        .cloned()
        .unwrap_or_default()
}

fn mirrored(world: &World, revision: &str) -> u64 {
    counted(world, revision)
        .mirrored
        .kinds()
        .map(|(_, count)| count)
        .sum()
}

/// Waits until both revisions' logs tell of so many mirrored requests: of the same, for they count in pairs. One in a hundred
/// may lack on both sides: where a busy machine lets HAProxy not wait for the agent's answer, a copy counts for neither.
async fn until_mirrored(world: &World, count: u64) {
    let begin = Instant::now();
    let fits = |[original, copy]: [u64; 2]| {
        original == copy && (count - count / 100..=count).contains(&original)
    };
    while !fits([STABLE, CANARY].map(|revision| mirrored(world, revision))) {
        let seen = [STABLE, CANARY].map(|revision| counted(world, revision));
        assert!(
            begin.elapsed() < Duration::from_secs(10),
            "not {count} of each: {seen:#?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_of_the_safe_requests_reaches_the_canary_and_its_answers_reach_nobody() {
    const EACH: u64 = 1000;
    let world = World::started().await;
    let (a, b) = (Service::named("a").await, Service::named("b").await);
    let mut wanted = ready(&world, &a, &b).await;
    let (_, reloads) = world.master_process().await;
    let mut client = Client::connect(world.port).await.unwrap();
    let mut copies = 0;
    for (basis_points, percent) in [(0, 0.0), (5_000, 50.0), (10_000, 100.0)] {
        mirror(&world, &mut wanted, basis_points).await;
        for _ in 0..EACH {
            let answer = client
                .get("shop.example.com", "/cart?id=1", "")
                .await
                .unwrap();
            assert_eq!((answer.status, answer.body.as_str()), (200, "a"));
        }
        let is = b.hits() - copies;
        copies = b.hits();
        let wanted = EACH as f64 * percent / 100.0;
        println!("{percent} %: {is} of {EACH}");
        assert!(
            (is as f64 - wanted).abs() < 100.0,
            "{is} instead of {wanted}"
        );
        until_mirrored(&world, copies).await;
    }
    assert_eq!(
        world.master_process().await.1,
        reloads,
        "it needs no reload"
    );
    let (stable, canary) = (counted(&world, STABLE), counted(&world, CANARY));
    assert_eq!(
        (stable.requests, canary.requests),
        (3 * EACH, 0),
        "copies are no requests of the canary's"
    );

    let head = "X-FM-Mirrored: forged\r\nX-FM-Record: forged\r\nCookie: user=7\r\nX-Forwarded-For: 192.0.2.7\r\n";
    client
        .get("shop.example.com", "/cart?id=1", head)
        .await
        .unwrap();
    let begin = Instant::now();
    while b.hits() != copies + 1 {
        assert!(begin.elapsed() < Duration::from_secs(10), "no copy came");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    until_mirrored(&world, copies + 1).await;
    let (original, copy) = (a.last().to_lowercase(), b.last().to_lowercase());
    assert!(!original.contains("x-fm-mirrored"), "{original}");
    assert!(copy.starts_with("get /cart?id=1 http/1.1"), "{copy}");
    for line in [
        "host: shop.example.com",
        "x-fm-mirrored: 1",
        "cookie: user=7",
        "x-forwarded-for: 127.0.0.1",
    ] {
        assert!(copy.contains(&format!("{line}\r\n")), "{line}: {copy}");
    }
    assert!(
        !copy.contains("forged") && !copy.contains("192.0.2.7") && !copy.contains("x-fm-record"),
        "{copy}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_safe_to_ask_twice_is_asked_once() {
    let world = World::started().await;
    let (a, b) = (Service::named("a").await, Service::named("b").await);
    let mut wanted = ready(&world, &a, &b).await;
    mirror(&world, &mut wanted, 10_000).await;
    for (method, head) in [
        ("POST", "Content-Length: 0\r\n"),
        ("PUT", "Content-Length: 0\r\n"),
        ("DELETE", ""),
        ("GET", "Content-Length: 1\r\n\r\nx"),
        ("PATCH", "Content-Length: 0\r\n"),
        ("GET", "Connection: Upgrade\r\nUpgrade: other\r\n"),
    ] {
        let mut client = Client::connect(world.port).await.unwrap();
        let answer = client
            .ask(method, "shop.example.com", "/", head)
            .await
            .unwrap();
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (200, "a"),
            "{method}"
        );
    }
    let begin = Instant::now();
    while counted(&world, STABLE).requests < 6 {
        assert!(begin.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!((b.hits(), mirrored(&world, STABLE)), (0, 0));
    let options = world.get("shop.example.com", "/", "").await;
    assert_eq!(options.body, "a");
    until_mirrored(&world, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_a_canary_that_hangs_and_its_failures_count() {
    let world = World::started().await;
    let (a, b) = (
        Service::named("a").await,
        Service::slow("b", Duration::from_secs(3600)).await,
    );
    let mut wanted = ready(&world, &a, &b).await;
    mirror(&world, &mut wanted, 10_000).await;
    let mut client = Client::connect(world.port).await.unwrap();
    let begin = Instant::now();
    for _ in 0..1000 {
        let answer = client.get("shop.example.com", "/", "").await.unwrap();
        assert_eq!(answer.body, "a");
    }
    let took = begin.elapsed();
    // No more than so many are under way at once; the others were asked once only.
    assert!((50..=64).contains(&b.hits()), "{}", b.hits());
    assert!(took < Duration::from_secs(15), "{took:?}");
    b.kill();
    until_mirrored(&world, b.hits()).await;
    let bad = counted(&world, CANARY).mirrored;
    assert!(bad.kinds().all(|(kind, _)| kind.is_bad()), "{bad:?}");
    assert_eq!(counted(&world, STABLE).bad, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_served_and_haproxy_rests_while_the_agent_is_away() {
    let mut world = World::started().await;
    let (a, b) = (Service::named("a").await, Service::named("b").await);
    let mut wanted = ready(&world, &a, &b).await;
    mirror(&world, &mut wanted, 10_000).await;
    let load = Load::start(world.port, "shop.example.com", 4);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(b.hits() > 0);
    world.stop_agent().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (asked, hits) = (a.hits(), b.hits());
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(
        a.hits() > asked && b.hits() == hits,
        "stable alone is asked"
    );
    world.start_agent().await;
    let begin = Instant::now();
    while b.hits() == hits {
        assert!(
            begin.elapsed() < Duration::from_secs(10),
            "copies come again"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (requests, wrong) = load.end().await;
    assert!(
        requests > 100 && wrong.is_empty(),
        "of {requests}: {wrong:?}"
    );
    world.stop_agent().await;
    let (master, _) = world.master_process().await;
    let before = processor(master);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let used = processor(master) - before;
    assert!(used < 40, "{used} hundredths of a second in two");
}

/// Hundredths of a second of processor that a process and its children have used.
fn processor(master: u32) -> u64 {
    let ticks = |pid: u32| -> Option<(u32, u64)> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let number = |place: usize| fields.get(place)?.parse::<u64>().ok();
        Some((u32::try_from(number(1)?).ok()?, number(11)? + number(12)?))
    };
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: u32| {
        let (parent, used) = ticks(pid)?;
        (pid == master || parent == master).then_some(used)
    })
    .sum()
}

/// What the agent says, while it is so, of the reason why nothing is mirrored.
async fn until_said(world: &World, words: Option<&str>) {
    let what = format!("{words:?} is said");
    let fits = |seen: &fm_api::observed::HaproxyObserved| match (&seen.problem, words) {
        (Some(problem), Some(words)) => problem.contains(words),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    };
    world.until(&shop(), &what, fits).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_can_be_mirrored_it_is_said() {
    let world = World::started().await;
    let (a, b) = (Service::named("a").await, Service::named("b").await);
    let mut wanted = ready(&world, &a, &b).await;
    mirror(&world, &mut wanted, 10_000).await;
    until_said(&world, None).await;
    let (jailed, open) = (
        world.dir.join("jail/mirror.sock"),
        world.dir.join("mirror.sock"),
    );
    let socket = if jailed.exists() { jailed } else { open };
    std::fs::rename(&socket, world.dir.join("elsewhere")).unwrap();
    until_said(&world, Some("does not reach mirror.sock")).await;
    std::fs::rename(world.dir.join("elsewhere"), &socket).unwrap();
    until_said(&world, None).await;
    std::fs::rename(world.dir.join("copies.sock"), world.dir.join("elsewhere")).unwrap();
    // Connections that are kept go on; these are more than that.
    let load = Load::start(world.port, "shop.example.com", 40);
    until_said(&world, Some("copies.sock does not answer")).await;
    std::fs::rename(world.dir.join("elsewhere"), world.dir.join("copies.sock")).unwrap();
    until_said(&world, None).await;
    let (_, wrong) = load.end().await;
    assert!(wrong.is_empty(), "{wrong:?}");
}
