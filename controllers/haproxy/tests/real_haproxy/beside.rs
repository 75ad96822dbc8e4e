//! Two HAProxys on one address: found before a start and while one runs, told, and never half of the requests for each.

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use fm_api::edge::Accepted;
use fm_api::keys;
use fm_api::observed::{Agent, Trouble, TroubleKind};

use crate::support::{Service, World, shop, split, two_revisions};

async fn agent(world: &World) -> Option<Agent> {
    let entry = world.store.get(&keys::agent("edge")).await.unwrap()?;
    serde_json::from_slice(&entry.value).unwrap()
}

async fn until(world: &World, what: &str, fits: impl Fn(&Agent) -> bool) -> Agent {
    let begin = Instant::now();
    loop {
        let seen = agent(world).await;
        if let Some(seen) = seen.as_ref().filter(|seen| fits(seen)) {
            return seen.clone();
        }
        assert!(
            begin.elapsed() < Duration::from_secs(15),
            "{what}: {seen:#?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn shared(agent: &Agent) -> Option<&Trouble> {
    agent
        .troubles
        .iter()
        .find(|one| one.kind == TroubleKind::Address)
}

async fn all_serve(world: &World, body: &str) {
    for _ in 0..40 {
        let answer = world.get("shop.example.com", "/", "").await;
        assert_eq!((answer.status, answer.body.as_str()), (200, body));
    }
}

fn kill(pid: u32) {
    let kill = format!("kill -9 {pid}");
    assert!(
        Command::new("sh")
            .args(["-c", &kill])
            .status()
            .unwrap()
            .success()
    );
}

/// A HAProxy of somebody else on the same address.
struct Stranger {
    child: Child,
    _folder: tempfile::TempDir,
}

impl Stranger {
    fn start(port: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("other.cfg");
        let text = format!(
            "defaults\n  mode http\n  timeout connect 1s\n  timeout client 9s\n  timeout server 9s\n\
             frontend other\n  bind 127.0.0.1:{port}\n  http-request return status 418\n"
        );
        std::fs::write(&config, text).unwrap();
        let child = Command::new("/usr/sbin/haproxy")
            .arg("-f")
            .arg(&config)
            .spawn()
            .unwrap();
        Self {
            child,
            _folder: folder,
        }
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_agent_on_an_address_does_not_start_and_names_the_first() {
    let mut first = World::started().await;
    let (a, b) = (Service::named("a").await, Service::named("b").await);
    two_revisions(&first, &a, &b).await;
    let mut second = World::new().await;
    second.port = first.port;
    second.binds.clone_from(&first.binds);
    second.start_agent().await;
    let (master, _) = first.master_process().await;
    let seen = until(&second, "it says why", |seen| {
        seen.problem
            .as_ref()
            .is_some_and(|words| words.contains("is taken by"))
    })
    .await;
    let words = seen.problem.unwrap_or_default();
    let folder = first.dir.display().to_string();
    assert!(
        words.contains(&format!("127.0.0.1:{} is taken by process", first.port))
            && words.contains(&folder),
        "{words}"
    );
    all_serve(&first, "a").await;
    until(&second, "the address is named", |seen| {
        shared(seen).is_some()
    })
    .await;
    assert!(
        shared(&agent(&first).await.unwrap()).is_none(),
        "the first has its address alone"
    );
    // The first goes: the second takes over by itself.
    first.stop_agent().await;
    kill(master);
    until(&second, "it serves", |seen| {
        seen.problem.is_none() && !seen.haproxy.is_empty()
    })
    .await;
    until(&second, "nobody shares it", |seen| shared(seen).is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_on_the_address_is_told_while_haproxy_runs() {
    let world = World::started().await;
    let (a, b) = (Service::named("a").await, Service::named("b").await);
    two_revisions(&world, &a, &b).await;
    assert!(shared(&agent(&world).await.unwrap()).is_none());
    let stranger = Stranger::start(world.port);
    let pid = stranger.child.id();
    let seen = until(&world, "it is told", |seen| shared(seen).is_some()).await;
    let words = &shared(&seen).unwrap().message;
    assert!(
        words.contains(&format!("process {pid} (`/usr/sbin/haproxy"))
            && words.contains("other.cfg"),
        "{words}"
    );
    drop(stranger);
    until(&world, "it is over", |seen| shared(seen).is_none()).await;
    all_serve(&world, "a").await;
    // A reload has two of our own for a while: that is no trouble.
    world.master("reload").await;
    for _ in 0..40 {
        assert!(shared(&agent(&world).await.unwrap()).is_none());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_haproxy_whose_folder_was_lost_is_replaced_and_does_not_serve_beside_the_new_one() {
    let world = World::started().await;
    let (a, b) = (Service::named("a").await, Service::named("b").await);
    let mut wanted = two_revisions(&world, &a, &b).await;
    let (before, _) = world.master_process().await;
    std::fs::remove_dir_all(&world.dir).unwrap();
    let begin = Instant::now();
    loop {
        let now = world.try_master("show proc").await.unwrap_or_default();
        if now.contains("worker ") {
            break;
        }
        assert!(
            begin.elapsed() < Duration::from_secs(15),
            "no HAProxy that can be led"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_ne!(world.master_process().await.0, before);
    split(&mut wanted, "aaaaaaaaaa", Some("bbbbbbbbbb"), 10_000);
    world.put_target(&shop(), &wanted).await;
    world.until_split(&shop(), &wanted).await;
    let begin = Instant::now();
    while std::path::Path::new(&format!("/proc/{before}")).exists()
        && !std::fs::read(format!("/proc/{before}/cmdline"))
            .unwrap_or_default()
            .is_empty()
    {
        assert!(
            begin.elapsed() < Duration::from_secs(10),
            "the old one goes on"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    all_serve(&world, "b").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_haproxy_that_outlived_its_folder_serves_on_until_a_person_accepts_its_end() {
    let mut world = World::started().await;
    let (a, b) = (Service::named("a").await, Service::named("b").await);
    two_revisions(&world, &a, &b).await;
    let (before, _) = world.master_process().await;
    world.stop_agent().await;
    std::fs::remove_dir_all(&world.dir).unwrap();
    world.start_agent().await;
    let seen = until(&world, "it is told", |seen| {
        shared(seen).is_some_and(|one| one.keeps.is_some())
    })
    .await;
    let words = &shared(&seen).unwrap().message;
    assert!(words.contains("frctl edge accept edge"), "{words}");
    all_serve(&world, "a").await;
    let word = Accepted {
        kept: seen
            .troubles
            .iter()
            .filter_map(|one| one.keeps.clone())
            .collect(),
        at: jiff::Timestamp::now(),
        by: "ann".into(),
    };
    world.put(&keys::accepted("edge"), &word).await;
    until(&world, "it is led again", |seen| {
        seen.problem.is_none() && shared(seen).is_none()
    })
    .await;
    assert_ne!(world.master_process().await.0, before);
    let begin = Instant::now();
    while world.get("shop.example.com", "/", "").await.status != 200 {
        assert!(begin.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    all_serve(&world, "a").await;
}
