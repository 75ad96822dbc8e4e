//! Laws of the pure parts, over many worlds; and the texts as they are written, for people to read.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use fm_api::keys::{ReleaseKey, RevisionId};
use fm_api::observed::{Endpoint, SwarmObserved, SwarmRevision};
use fm_api::quantity::{Span, Weight};
use fm_api::target::{RevisionTarget, Slot, Target, Traffic};
use fm_haproxy::config::{self, Settings};
use fm_haproxy::desired::{Desired, Input};
use fm_haproxy::maps::{self, Map};
use fm_haproxy::plan::{Files, Look, Plan, plan};
use fm_haproxy::state::{Action, Admin, Running};
use fm_telemetry::record::SplitRecord;
use proptest::prelude::*;

fn settings() -> Settings {
    Settings {
        dir: "/run/fm".into(),
        admin_socket: "/run/fm/admin.sock".into(),
        binds: vec![config::Bind {
            address: "127.0.0.1:8080".into(),
            crt: None,
            alpn: vec![],
        }],
        log: "127.0.0.1:5140".parse().unwrap(),
        maxconn: 4000,
    }
}

fn blank(uid: &str) -> Target {
    serde_json::from_value(serde_json::json!({ "uid": uid, "generation": 1, "specGeneration": 1 }))
        .unwrap()
}

fn route(hosts: &[&str], paths: &[&str], port: u16) -> fm_api::release::Route {
    serde_json::from_value(serde_json::json!({ "hosts": hosts, "paths": paths, "port": port }))
        .unwrap()
}

fn shop() -> (ReleaseKey, Target, SwarmObserved) {
    let mut target = blank("u1");
    target.routes = vec![route(
        &["shop.example.com", "*.shops.example.com"],
        &["/", "/api"],
        8080,
    )];
    target.match_rules = vec![fm_api::release::MatchRule {
        header: "X-QA".into(),
        value: "canary".into(),
    }];
    target.affinity = serde_json::from_value(serde_json::json!({ "cookie": {} })).unwrap();
    for (id, slot) in [("aaaaaaaaaa", Slot::A), ("bbbbbbbbbb", Slot::B)] {
        let revision = RevisionTarget {
            replicas: 2,
            slot: Some(slot),
            draining: false,
            restarts: 0,
        };
        target.revisions.insert(RevisionId::new(id), revision);
    }
    target.traffic = Some(traffic("aaaaaaaaaa", Some("bbbbbbbbbb"), 1000, 7));
    let swarm = swarm("u1", &[("aaaaaaaaaa", &[1, 2]), ("bbbbbbbbbb", &[3])]);
    (ReleaseKey::new("default", "shop"), target, swarm)
}

fn traffic(stable: &str, canary: Option<&str>, bp: u16, generation: u64) -> Traffic {
    Traffic {
        stable: RevisionId::new(stable),
        canary: canary.map(RevisionId::new),
        weight: Weight::from_basis_points(bp),
        seed: "0badcafe".into(),
        generation,
    }
}

fn swarm(uid: &str, revisions: &[(&str, &[u16])]) -> SwarmObserved {
    let revisions = revisions
        .iter()
        .map(|(id, ports)| {
            let ready = ports
                .iter()
                .map(|port| Endpoint {
                    task: format!("task{port}"),
                    node: String::new(),
                    addresses: BTreeMap::from([(8080, format!("10.0.0.{port}:32{port:03}"))]),
                })
                .collect();
            (
                RevisionId::new(id),
                SwarmRevision {
                    ready,
                    ..SwarmRevision::default()
                },
            )
        })
        .collect();
    SwarmObserved {
        uid: uid.into(),
        revisions,
        ..SwarmObserved::default()
    }
}

/// A HAProxy that does everything as told.
#[derive(Default)]
struct World {
    running: Option<Running>,
    disk: Option<Files>,
}

impl World {
    fn plan(&self, desired: &Desired) -> Plan {
        plan(
            &settings(),
            desired,
            self.running.as_ref(),
            &BTreeMap::new(),
            self.disk.as_ref(),
        )
    }

    fn act(&mut self, plan: &Plan) {
        for action in &plan.actions {
            if *action == Action::WriteFiles {
                self.disk = Some(plan.files.clone());
            }
            if let Action::Reload(_) = action {
                self.restart(plan);
            } else if let Some(running) = &mut self.running {
                running.apply(action);
            }
        }
    }

    /// HAProxy reads the files.
    fn restart(&mut self, plan: &Plan) {
        let mut backends = plan.layout.clone();
        for server in backends.values_mut().flatten() {
            if server.admin != Admin::Ready || !server.up || server.address.is_none() {
                server.admin = Admin::Maint;
                server.up = false;
            }
        }
        let maps = plan
            .files
            .maps
            .iter()
            .map(|(map, text)| {
                let entries = text
                    .lines()
                    .map(|line| line.split_once(' ').unwrap())
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .collect();
                (*map, entries)
            })
            .collect();
        self.running = Some(Running {
            structure: plan.structure.clone(),
            maps,
            backends,
            ..Running::default()
        });
    }

    /// HAProxy is started, and the plan followed to its end; returns the reloads it took.
    fn settle(&mut self, desired: &Desired) -> usize {
        let first = self.plan(desired);
        if self.running.is_none() {
            self.act(&first);
            self.restart(&first);
        }
        let mut reloads = 0;
        for _ in 0..4 {
            let next = self.plan(desired);
            reloads += next
                .actions
                .iter()
                .filter(|a| matches!(a, Action::Reload(_)))
                .count();
            self.act(&next);
        }
        reloads
    }

    /// Checks succeed and connections end, as HAProxy would show at the next reading.
    fn observe(&mut self) {
        for server in self
            .running
            .iter_mut()
            .flat_map(|r| r.backends.values_mut())
            .flatten()
        {
            server.up = server.admin == Admin::Ready && server.address.is_some();
            server.unseen = false;
        }
    }
}

#[test]
fn the_texts_as_they_are_written() {
    let (key, target, swarm) = shop();
    let desired = Desired::of(
        &[Input {
            key: &key,
            target: &target,
            swarm: Some(&swarm),
        }],
        None,
    );
    let mut world = World::default();
    world.settle(&desired);
    world.observe();
    let plan = world.plan(&desired);
    let maps: String = plan
        .files
        .maps
        .iter()
        .map(|(map, text)| format!("--- {}\n{text}", map.file()))
        .collect();
    insta::assert_snapshot!("configuration", plan.files.config);
    insta::assert_snapshot!("maps", maps);
}

#[test]
fn a_weight_is_one_map_entry_and_the_files() {
    let (key, mut target, swarm) = shop();
    let mut world = World::default();
    let desired = Desired::of(
        &[Input {
            key: &key,
            target: &target,
            swarm: Some(&swarm),
        }],
        None,
    );
    world.settle(&desired);
    world.observe();
    world.settle(&desired);
    target.traffic = Some(traffic("aaaaaaaaaa", Some("bbbbbbbbbb"), 5000, 8));
    let desired = Desired::of(
        &[Input {
            key: &key,
            target: &target,
            swarm: Some(&swarm),
        }],
        None,
    );
    let plan = world.plan(&desired);
    assert!(
        matches!(
            plan.actions.as_slice(),
            [Action::WriteFiles, Action::SetMap(Map::Split, _, _)]
        ),
        "{:#?}",
        plan.actions
    );
    assert_eq!(plan.next_look, Look::Later);
}

#[test]
fn a_slot_is_let_go_by_the_record_before_its_servers_change() {
    let (key, mut target, _) = shop();
    let first = swarm("u1", &[("aaaaaaaaaa", &[1, 2]), ("bbbbbbbbbb", &[3])]);
    let mut world = World::default();
    let desired = Desired::of(
        &[Input {
            key: &key,
            target: &target,
            swarm: Some(&first),
        }],
        None,
    );
    world.settle(&desired);
    world.observe();
    world.settle(&desired);
    target.revisions.remove(&RevisionId::new("bbbbbbbbbb"));
    let next = RevisionTarget {
        replicas: 1,
        slot: Some(Slot::B),
        draining: false,
        restarts: 0,
    };
    target.revisions.insert(RevisionId::new("cccccccccc"), next);
    target.traffic = Some(traffic("aaaaaaaaaa", Some("cccccccccc"), 1000, 9));
    let second = swarm("u1", &[("aaaaaaaaaa", &[1, 2]), ("cccccccccc", &[4])]);
    let desired = Desired::of(
        &[Input {
            key: &key,
            target: &target,
            swarm: Some(&second),
        }],
        None,
    );
    let plan = world.plan(&desired);
    let kinds: Vec<&str> = plan
        .actions
        .iter()
        .map(|action| match action {
            Action::WriteFiles => "files",
            Action::SetMap(_, _, value) if value.contains("|-|") => "let go",
            Action::SetMap(..) => "take up",
            Action::Drain(_) => "drain",
            Action::Add(..) | Action::Fill(..) => "fill",
            other => panic!("{other:?}"),
        })
        .collect();
    let order = |what: &str| {
        kinds
            .iter()
            .position(|kind| *kind == what)
            .unwrap_or_else(|| panic!("{what}: {kinds:?}"))
    };
    assert!(
        order("let go") < order("drain") && order("drain") < order("take up"),
        "{kinds:?}"
    );
    assert!(order("fill") < order("take up"), "{kinds:?}");
}

#[test]
fn a_narrower_host_wins_and_inherits_what_it_does_not_cover() {
    let mut one = blank("u1");
    one.routes = vec![route(&["a.example.com"], &["/api"], 1)];
    let mut two = blank("u2");
    two.routes = vec![route(&["*.example.com"], &["/api/v2", "/web"], 1)];
    let mut three = blank("u3");
    three.routes = vec![route(&["*"], &["/"], 1)];
    let keys = ["one", "two", "three"].map(|name| ReleaseKey::new("d", name));
    let inputs: Vec<Input<'_>> = keys
        .iter()
        .zip([&one, &two, &three])
        .map(|(key, target)| Input {
            key,
            target,
            swarm: None,
        })
        .collect();
    let desired = Desired::of(&inputs, None);
    let routes = maps::wanted(&desired, None).remove(&Map::Routes).unwrap();
    let owner = |key: &str| {
        routes
            .get(key)
            .map(|group| desired.groups[group].release.name().to_owned())
    };
    assert_eq!(owner("a.example.com/api/").as_deref(), Some("one"));
    assert_eq!(owner("a.example.com/api/v2/"), None, "covered by /api");
    assert_eq!(owner("a.example.com/web/").as_deref(), Some("two"));
    assert_eq!(owner("a.example.com/").as_deref(), Some("three"));
    assert_eq!(owner("*.example.com/").as_deref(), Some("three"));
    assert_eq!(owner("*/").as_deref(), Some("three"));
}

#[test]
fn of_two_releases_the_older_keeps_a_route_whatever_the_order() {
    let mut old = blank("0190-old");
    old.routes = vec![route(&["x.example.com"], &["/"], 1)];
    let mut young = blank("0191-young");
    young.routes = vec![route(&["x.example.com", "y.example.com"], &["/"], 1)];
    let (old_key, young_key) = (
        ReleaseKey::new("d", "z-old"),
        ReleaseKey::new("d", "a-young"),
    );
    let a = Input {
        key: &old_key,
        target: &old,
        swarm: None,
    };
    let b = Input {
        key: &young_key,
        target: &young,
        swarm: None,
    };
    let one = Desired::of(&[a.clone(), b.clone()], None);
    assert_eq!(one, Desired::of(&[b, a], None));
    assert!(one.problems.contains_key(&young_key) && !one.problems.contains_key(&old_key));
    let routes = maps::wanted(&one, None).remove(&Map::Routes).unwrap();
    assert_eq!(one.groups[&routes["x.example.com/"]].release, old_key);
    assert_eq!(one.groups[&routes["y.example.com/"]].release, young_key);
}

#[test]
fn without_the_store_the_canary_is_taken_back_only_where_that_was_asked_for() {
    let (key, mut target, swarm) = shop();
    let weight = |target: &Target, lost: Option<Span>| {
        let desired = Desired::of(
            &[Input {
                key: &key,
                target,
                swarm: Some(&swarm),
            }],
            lost,
        );
        let split = maps::wanted(&desired, None).remove(&Map::Split).unwrap();
        SplitRecord::parse(split.values().next().unwrap())
            .unwrap()
            .weight
            .basis_points()
    };
    assert_eq!(weight(&target, Some(Span::secs(100_000))), 1000);
    target.on_control_loss =
        serde_json::from_value(serde_json::json!({ "after": "5m", "action": "stable" })).unwrap();
    assert_eq!(weight(&target, None), 1000);
    assert_eq!(weight(&target, Some(Span::secs(299))), 1000);
    assert_eq!(weight(&target, Some(Span::secs(300))), 0);
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[a-z0-9./*:;|<>{}$%#'\"\\\\ \n-]{0,20}",
        Just("/a } || { always_true".to_owned()),
        Just("/x\n  http-request deny".to_owned()),
        Just("/%[env(SECRET)]".to_owned()),
        Just("\"/${SECRET}\"".to_owned()),
        Just("-f /etc/passwd".to_owned()),
        Just("'-i'".to_owned()),
        Just("/ok".to_owned()),
        Just("ok.example.com".to_owned()),
        Just("*".to_owned()),
    ]
}

#[derive(Debug, Clone)]
struct Step {
    revisions: Vec<(u8, u8, bool)>,
    traffic: Option<(u8, u8, u16)>,
    tasks: Vec<(u8, u8)>,
    healthy: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (
        prop::collection::vec((0u8..5, 1u8..5, prop::bool::weighted(0.2)), 0..4),
        prop::option::of((0u8..5, 0u8..5, 0u16..=10_000)),
        prop::collection::vec((0u8..5, 1u8..20), 0..14),
        any::<bool>(),
    )
        .prop_map(|(revisions, traffic, tasks, healthy)| Step {
            revisions,
            traffic,
            tasks,
            healthy,
        });
    prop::collection::vec(step, 1..8)
}

fn world_of(step: &Step, generation: u64) -> (Target, SwarmObserved) {
    let id = |n: u8| RevisionId::new(&format!("{n:010x}"));
    let mut target = blank("u1");
    target.generation = generation;
    target.routes = vec![route(&["shop.example.com"], &["/"], 8080)];
    for ((n, replicas, draining), slot) in step.revisions.iter().zip(Slot::ALL) {
        target.revisions.entry(id(*n)).or_insert(RevisionTarget {
            replicas: u32::from(*replicas),
            slot: Some(slot),
            draining: *draining,
            restarts: 0,
        });
    }
    target.traffic = step.traffic.map(|(stable, canary, bp)| Traffic {
        stable: id(stable),
        canary: (canary != stable).then(|| id(canary)),
        weight: Weight::from_basis_points(bp),
        seed: "s".into(),
        generation,
    });
    let mut observed = SwarmObserved {
        uid: "u1".into(),
        ..SwarmObserved::default()
    };
    for (n, port) in &step.tasks {
        observed
            .revisions
            .entry(id(*n))
            .or_default()
            .ready
            .push(Endpoint {
                task: format!("t{n}-{port}"),
                node: String::new(),
                addresses: BTreeMap::from([(
                    8080,
                    format!("10.0.0.1:{}", 1000 + u16::from(*port)),
                )]),
            });
    }
    (target, observed)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happened before, a plan followed perfectly leaves nothing to plan, and every request a place.
    #[test]
    fn a_plan_made_again_is_empty(all in steps()) {
        let key = ReleaseKey::new("default", "shop");
        let mut world = World::default();
        for (index, step) in all.iter().enumerate() {
            let (target, observed) = world_of(step, index as u64 + 1);
            let desired = Desired::of(&[Input { key: &key, target: &target, swarm: Some(&observed) }], None);
            world.settle(&desired);
            let again = world.plan(&desired);
            prop_assert!(again.actions.is_empty(), "{:#?}", again.actions);
            if step.healthy {
                world.observe();
                world.settle(&desired);
            }
            let running = world.running.as_ref().unwrap();
            for record in running.maps.get(&Map::Split).into_iter().flat_map(|m| m.values()) {
                let record = SplitRecord::parse(record).unwrap();
                prop_assert!(record.weight.basis_points() <= 10_000);
                prop_assert!(record.weight == Weight::ZERO || record.canary_backend.is_some());
                prop_assert!(Some(&record.stable_backend) != record.canary_backend.as_ref());
            }
        }
    }

    /// No server stands twice for one address in a backend and takes requests, and none takes any while draining.
    #[test]
    fn servers_are_the_ready_tasks_of_their_slot(all in steps()) {
        let key = ReleaseKey::new("default", "shop");
        let mut world = World::default();
        for (index, step) in all.iter().enumerate() {
            let (target, observed) = world_of(step, index as u64 + 1);
            let desired = Desired::of(&[Input { key: &key, target: &target, swarm: Some(&observed) }], None);
            world.settle(&desired);
            world.observe();
            world.settle(&desired);
            for (id, group) in &desired.groups {
                for slot in Slot::ALL {
                    let servers = &world.running.as_ref().unwrap().backends[&fm_haproxy::desired::backend(id, slot)];
                    let mut serving: Vec<SocketAddr> = servers.iter().filter(|s| s.admin == Admin::Ready).filter_map(|s| s.address).collect();
                    serving.sort();
                    let mut wanted: Vec<SocketAddr> = group
                        .slots
                        .get(&slot)
                        .filter(|target| !target.draining)
                        .into_iter()
                        .flat_map(|target| target.endpoints.iter().flatten().map(|(_, address)| *address))
                        .collect();
                    wanted.sort();
                    prop_assert_eq!(serving, wanted);
                }
            }
        }
    }

    /// No string of a user reaches the configuration or breaks a line of a map.
    #[test]
    fn hostile_strings_stay_out(
        hosts in prop::collection::vec(any_text(), 1..4),
        paths in prop::collection::vec(any_text(), 1..4),
        check in prop::option::of(any_text()),
        header in any_text(),
        value in any_text(),
    ) {
        let key = ReleaseKey::new("default", "shop");
        let mut target = blank("u1");
        let mut hostile = route(&["x"], &["/"], 80);
        hostile.hosts = hosts;
        hostile.paths = paths;
        hostile.health_check.path = check;
        target.routes = vec![hostile];
        target.match_rules = vec![fm_api::release::MatchRule { header, value }];
        let desired = Desired::of(&[Input { key: &key, target: &target, swarm: None }], None);
        let plan = World::default().plan(&desired);
        for text in plan.files.maps.values() {
            for line in text.lines() {
                prop_assert_eq!(line.split_whitespace().count(), 2, "{:?}", line);
                prop_assert!(!line.starts_with('#') && !line.contains(';') && line.is_ascii(), "{:?}", line);
            }
        }
        for line in plan.files.config.lines() {
            prop_assert!(line.is_ascii() && !line.contains("env(") && !line.contains("SECRET") && !line.contains("always_true"), "{:?}", line);
        }
        // Every line is one that a harmless release has too, but for its check path and header.
        let directives = ["frontend", "backend", "global", "defaults", "ring"];
        let sections = plan.files.config.lines().filter(|line| !line.starts_with(' ') && !line.is_empty() && !line.starts_with('#'));
        for line in sections {
            prop_assert!(directives.iter().any(|word| line.starts_with(word)), "{:?}", line);
        }
    }
}
