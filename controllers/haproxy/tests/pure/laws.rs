//! Laws, over many worlds.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use fm_api::keys::{ReleaseKey, RevisionId};
use fm_api::observed::{Endpoint, SwarmObserved};
use fm_api::quantity::Weight;
use fm_api::target::{RevisionTarget, Slot, Target, Traffic};
use fm_haproxy::desired::{Desired, Input};
use fm_haproxy::maps::Map;
use fm_haproxy::state::Admin;
use fm_telemetry::record::{Mode, SplitRecord};
use proptest::prelude::*;

use crate::world::{World, blank, route};

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
    target.preview_hosts = vec!["next.example.com".into()];
    for ((n, replicas, draining), slot) in step.revisions.iter().zip(Slot::ALL) {
        target.revisions.entry(id(*n)).or_insert(RevisionTarget {
            cut: false,
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
        mirror: Weight::ZERO,
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
                prop_assert!(record.mode != Mode::Preview || record.canary == target.traffic.as_ref().and_then(|t| t.canary.clone()));
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
        target.preview_hosts = hostile.hosts.clone();
        target.routes = vec![hostile];
        let rule = fm_api::strategy::PreviewMatch { header: header.clone(), value: value.clone() };
        let preview = serde_json::json!({
            "since": "2026-01-01T00:00:00Z", "until": "2026-01-01T00:00:00Z", "routes": target.routes, "matchRules": [rule],
            "hosts": target.preview_hosts, "progress": { "at": "2026-01-01T00:00:00Z", "ready": 0 },
        });
        target.previews.insert(RevisionId::new("cccccccccc"), serde_json::from_value(preview).unwrap());
        target.match_rules = vec![
            fm_api::release::MatchRule::header(&header, &value),
            fm_api::release::MatchRule { cookie: Some(header), value: Some(value), ..Default::default() },
            fm_api::release::MatchRule { path: target.routes[0].paths.first().cloned(), ..Default::default() },
        ];
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
