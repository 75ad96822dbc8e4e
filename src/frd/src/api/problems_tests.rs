use fm_api::daemon::Candidate;
use fm_api::edge::{EdgeRecord, EdgeRelease};
use fm_api::observed::{Trouble, TroubleKind};

use super::*;

fn now() -> Timestamp {
    Timestamp::from_second(1_000_000).unwrap()
}

fn daemon(name: &str, controllers: &[(&str, Option<&str>)]) -> Daemon {
    let controllers = controllers.iter().map(|(name, unfit)| {
        let candidate = Candidate {
            leads: unfit.is_none(),
            unfit: unfit.map(str::to_owned),
        };
        ((*name).to_owned(), candidate)
    });
    Daemon {
        identity: format!("{name}-1"),
        instance: name.to_owned(),
        version: "0.1.0".to_owned(),
        at: now(),
        controllers: controllers.collect(),
        clock: None,
    }
}

fn whole(name: &str) -> Daemon {
    daemon(
        name,
        &[("promotion", None), ("swarm", None), ("analysis", None)],
    )
}

fn an_edge(name: &str) -> Edge {
    Edge {
        name: name.to_owned(),
        live: true,
        since: Some(now() - SignedDuration::from_mins(5)),
        version: "0.1.0".to_owned(),
        haproxy: "2.6.12".to_owned(),
        draining: None,
        releases: Vec::new(),
        problem: None,
        troubles: Vec::new(),
    }
}

fn cluster(daemons: Vec<Daemon>, edges: Vec<Edge>) -> Vec<String> {
    let cluster = Cluster {
        store: ("embedded".to_owned(), None),
        daemons: Some(daemons),
        edges,
        now: now(),
    };
    let all = plan(&cluster);
    assert!(all.iter().all(|problem| !problem.next.is_empty()));
    all.iter()
        .map(|p| format!("{} {}: {}", p.subject.word(), p.name, p.message))
        .collect()
}

#[test]
fn nothing_is_said_while_all_is_well() {
    assert_eq!(
        cluster(vec![whole("a"), whole("b")], vec![an_edge("a")]),
        Vec::<String>::new()
    );
}

#[test]
fn a_store_that_takes_no_writes_comes_first() {
    let cluster = Cluster {
        store: ("etcd".to_owned(), Some("it takes no writes".to_owned())),
        daemons: Some(Vec::new()),
        ..Cluster::default()
    };
    let all = plan(&cluster);
    assert_eq!(all[0].subject, Subject::Store);
    assert_eq!(all[0].message, "it takes no writes");
}

#[test]
fn while_the_store_cannot_be_read_nothing_else_is_guessed() {
    let cluster = Cluster {
        store: ("etcd".to_owned(), Some("no answer".to_owned())),
        ..Cluster::default()
    };
    assert_eq!(plan(&cluster).len(), 1);
}

#[test]
fn work_that_nobody_can_do_is_told_apart_from_work_that_another_does() {
    let deaf = Some("Docker does not answer");
    let sick = daemon(
        "a",
        &[("promotion", None), ("swarm", deaf), ("analysis", None)],
    );
    assert_eq!(
        cluster(vec![sick.clone(), whole("b")], Vec::new()),
        ["daemon a: it leaves swarm to others: Docker does not answer"]
    );
    let told = cluster(vec![sick], Vec::new());
    assert_eq!(
        told[0],
        "controller swarm: no daemon can do its work: no task is started, scaled or removed (a: Docker does not answer)"
    );
}

#[test]
fn a_controller_that_nobody_runs_is_a_problem() {
    let told = cluster(
        vec![daemon("a", &[("promotion", None), ("swarm", None)])],
        Vec::new(),
    );
    assert_eq!(told.len(), 1);
    assert!(
        told[0].starts_with("controller analysis: no live daemon runs it"),
        "{told:?}"
    );
}

#[test]
fn a_wrong_clock_is_said_once_though_it_keeps_from_all_work() {
    let words = "its clock is 600 s ahead of the others'";
    let mut ahead = daemon("a", &[("promotion", Some(words)), ("swarm", Some(words))]);
    ahead.clock = Some(words.to_owned());
    assert_eq!(
        cluster(vec![ahead, whole("b")], Vec::new()),
        [format!("daemon a: {words}")]
    );
}

#[test]
fn an_edge_that_is_gone_names_what_it_holds_up() {
    let mut gone = an_edge("edge-2");
    gone.live = false;
    assert!(
        cluster(vec![whole("a")], vec![gone.clone()]).is_empty(),
        "it led to nothing"
    );
    gone.releases = (0..5)
        .map(|index| EdgeRelease {
            namespace: "default".to_owned(),
            name: format!("r{index}"),
            leads: Vec::new(),
            keeps: Vec::new(),
        })
        .collect();
    let told = cluster(vec![whole("a")], vec![gone.clone()]);
    assert!(
        told[0].contains("default/r0, default/r1, default/r2 and 2 more"),
        "{told:?}"
    );
    gone.draining = Some(EdgeRecord {
        draining_since: now(),
        by: "ann".to_owned(),
    });
    assert!(cluster(vec![whole("a")], vec![gone]).is_empty());
}

#[test]
fn what_an_edge_keeps_against_the_world_names_the_word_that_ends_it() {
    let mut keeps = an_edge("edge-1");
    keeps.troubles = vec![Trouble {
        kind: TroubleKind::Certificate,
        message: "/certs/a.pem is gone; its last good copy serves".to_owned(),
        keeps: Some("certificates:1".to_owned()),
    }];
    let cluster = Cluster {
        daemons: Some(vec![whole("a")]),
        edges: vec![keeps],
        now: now(),
        ..Cluster::default()
    };
    let all = plan(&cluster);
    assert_eq!(all.len(), 1);
    assert!(all[0].next.contains("frctl edge accept edge-1"));
}

#[test]
fn a_haproxy_that_does_not_answer_is_told_and_one_that_starts_is_not() {
    let mut sick = an_edge("a");
    sick.problem = Some("cannot bind 0.0.0.0:80".to_owned());
    let told = cluster(vec![whole("a")], vec![sick]);
    assert!(told[0].contains("cannot bind 0.0.0.0:80"), "{told:?}");
    let mut starts = an_edge("a");
    starts.haproxy = String::new();
    assert_eq!(cluster(vec![whole("a")], vec![starts.clone()]).len(), 1);
    starts.since = Some(now());
    assert!(cluster(vec![whole("a")], vec![starts]).is_empty());
}
