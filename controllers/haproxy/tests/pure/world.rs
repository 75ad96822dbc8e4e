//! A HAProxy that does everything as told, and what it is told.

use std::collections::BTreeMap;

use fm_api::keys::{ReleaseKey, RevisionId};
use fm_api::observed::{Endpoint, SwarmObserved, SwarmRevision};
use fm_api::quantity::Weight;
use fm_api::target::{RevisionTarget, Slot, Target, Traffic};
use fm_haproxy::config::{self, Settings};
use fm_haproxy::desired::Desired;
use fm_haproxy::plan::{Files, Plan, plan};
use fm_haproxy::state::{Action, Admin, Running};

pub(crate) fn settings() -> Settings {
    Settings {
        dir: "/run/fm".into(),
        admin_socket: "/run/fm/admin.sock".into(),
        binds: vec![config::Bind {
            address: "127.0.0.1:8080".into(),
            crt: None,
            alpn: vec![],
        }],
        trusted: vec![],
        jail: None,
        log: fm_telemetry::Address::Local(([127, 0, 0, 1], 5140).into()),
        proof: fm_telemetry::proof::Proof::new("a-secret-of-tests"),
        maxconn: 4000,
    }
}

pub(crate) fn blank(uid: &str) -> Target {
    serde_json::from_value(serde_json::json!({ "uid": uid, "generation": 1, "specGeneration": 1 }))
        .unwrap()
}

pub(crate) fn route(hosts: &[&str], paths: &[&str], port: u16) -> fm_api::release::Route {
    serde_json::from_value(serde_json::json!({ "hosts": hosts, "paths": paths, "port": port }))
        .unwrap()
}

pub(crate) fn shop() -> (ReleaseKey, Target, SwarmObserved) {
    let mut target = blank("u1");
    target.routes = vec![route(
        &["shop.example.com", "*.shops.example.com"],
        &["/", "/api"],
        8080,
    )];
    target.match_rules = serde_json::from_value(serde_json::json!([
        { "header": "X-QA", "value": "canary" },
        { "cookie": "beta", "value": "no", "to": "stable" },
        { "path": "/api/v2", "to": "canary" },
        { "path": "/api", "to": "stable" },
    ]))
    .unwrap();
    target.affinity = serde_json::from_value(serde_json::json!({ "cookie": {} })).unwrap();
    for (id, slot) in [("aaaaaaaaaa", Slot::A), ("bbbbbbbbbb", Slot::B)] {
        let revision = RevisionTarget {
            cut: false,
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

/// The same, with a host that leads to the revision on trial alone.
pub(crate) fn shop_with_preview() -> (ReleaseKey, Target, SwarmObserved) {
    let (key, mut target, swarm) = shop();
    target.preview_hosts = vec!["next.example.com".into()];
    (key, target, swarm)
}

/// The same, with a preview `cccccccccc` at a host of its own, and by header at the shop's.
pub(crate) fn shop_with_previews() -> (ReleaseKey, Target, SwarmObserved) {
    let (key, mut target, mut seen) = shop();
    let id = RevisionId::new("cccccccccc");
    let preview = serde_json::json!({
        "since": "2026-01-01T00:00:00Z", "until": "2026-01-01T02:00:00Z",
        "hosts": ["c.example.com"], "matchRules": [{ "header": "X-Preview", "value": "c" }],
        "routes": [route(&["shop.example.com"], &["/"], 8080)],
        "progress": { "at": "2026-01-01T00:00:00Z", "ready": 0 },
    });
    let preview = serde_json::from_value(preview).unwrap();
    target.previews.insert(id.clone(), preview);
    let revision = RevisionTarget {
        cut: false,
        replicas: 1,
        slot: None,
        draining: false,
        restarts: 0,
    };
    target.revisions.insert(id.clone(), revision);
    let more = swarm("u1", &[("cccccccccc", &[7])]);
    seen.revisions.extend(more.revisions);
    (key, target, seen)
}

pub(crate) fn traffic(stable: &str, canary: Option<&str>, bp: u16, generation: u64) -> Traffic {
    Traffic {
        stable: RevisionId::new(stable),
        canary: canary.map(RevisionId::new),
        weight: Weight::from_basis_points(bp),
        mirror: Weight::ZERO,
        seed: "0badcafe".into(),
        generation,
    }
}

pub(crate) fn swarm(uid: &str, revisions: &[(&str, &[u16])]) -> SwarmObserved {
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
pub(crate) struct World {
    pub(crate) running: Option<Running>,
    pub(crate) disk: Option<Files>,
}

impl World {
    pub(crate) fn plan(&self, desired: &Desired) -> Plan {
        plan(
            &settings(),
            desired,
            self.running.as_ref(),
            None,
            self.disk.as_ref(),
        )
    }

    pub(crate) fn act(&mut self, plan: &Plan) {
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
    pub(crate) fn restart(&mut self, plan: &Plan) {
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
    pub(crate) fn settle(&mut self, desired: &Desired) -> usize {
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
    pub(crate) fn observe(&mut self) {
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
