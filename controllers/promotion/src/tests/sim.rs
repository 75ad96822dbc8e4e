//! A world that does what the target says, as well or badly as a test wants it.
//!
//! The image's name tells how its tasks behave: `crash…` never gets up, `stuck…` never gets ready, `sick…` is ready in
//! Swarm and never healthy in HAProxy, `lost…` is in no registry; anything else is well.

use std::collections::{BTreeMap, BTreeSet};

use fm_api::gates::{GateAnswer, GateVerdict, GatesObserved};
use fm_api::keys::RevisionId;
use fm_api::observed::{
    Endpoint, FailureKind, HaproxyObserved, HaproxyRevision, Resolution, SwarmObserved,
    SwarmRevision, TaskFailure, TrafficInForce,
};
use fm_api::operation::{Operation, Verb};
use fm_api::quantity::Span;
use fm_api::release::Release;
use fm_api::rollout::Rollout;
use fm_api::status::Status;
use fm_api::target::{ResolvedImage, Slot, Target};
use fm_api::verdict::{Decision, Reason, Side, Verdict};
use jiff::Timestamp;
use serde_json::json;

use super::laws;
use crate::plan::{Notice, Plan, Spec, World, step};

/// The world, and all that was told of it.
#[derive(Clone)]
pub(super) struct Sim {
    pub(super) world: World,
    pub(super) now: Timestamp,
    pub(super) events: Vec<Notice>,
    pub(super) next_look: Option<Timestamp>,
    /// Tasks that died and were not replaced yet.
    pub(super) dead: BTreeMap<RevisionId, u32>,
    pub(super) release: Release,
    /// Connections that stay open at each revision that drains.
    pub(super) open: u32,
    operations: u32,
}

/// The release that most tests begin with: two steps, the second one with a hold.
pub(super) fn release(image: &str) -> Release {
    let value = json!({
        "apiVersion": "fridaymorning.dev/v1",
        "kind": "Release",
        "metadata": { "namespace": "default", "name": "shop", "uid": "uid-1", "generation": 1, "changedBy": "ann" },
        "spec": {
            "replicas": 4,
            "workload": { "image": image },
            "routes": [{ "hosts": ["shop.example.com"], "port": 8080 }],
            "strategy": { "canary": { "steps": [
                { "weight": 10, "hold": "10s" },
                { "weight": 50, "hold": "20s" },
            ] } },
        },
    });
    serde_json::from_value(value).unwrap()
}

impl Sim {
    pub(super) fn new(release: Release) -> Self {
        let mut sim = Sim {
            world: World::default(),
            now: "2026-01-01T12:00:00Z".parse().unwrap(),
            events: Vec::new(),
            next_look: None,
            dead: BTreeMap::new(),
            release: release.clone(),
            open: 0,
            operations: 0,
        };
        sim.world.live.insert("edge".to_owned());
        sim.store(release);
        sim
    }

    /// A world in which the first revision serves.
    pub(super) fn serving(release: Release) -> Self {
        let mut sim = Self::new(release);
        sim.settle();
        assert!(sim.target().stable.is_some(), "{:?}", sim.world.status);
        sim.events.clear();
        sim
    }

    pub(super) fn target(&self) -> &Target {
        self.world.target.as_ref().unwrap()
    }
    pub(super) fn rollout(&self) -> &Rollout {
        self.target().rollout.as_ref().unwrap()
    }
    pub(super) fn status(&self) -> &Status {
        self.world.status.as_ref().unwrap()
    }
    pub(super) fn weight(&self) -> u16 {
        self.target()
            .traffic
            .as_ref()
            .map_or(0, |t| t.weight.basis_points())
    }

    fn store(&mut self, release: Release) {
        self.release = release.clone();
        self.world.spec = Some(Spec {
            uid: release.metadata.uid.clone().unwrap(),
            generation: release.metadata.generation.unwrap(),
            deleted: release.metadata.deleted_at.is_some(),
            orphan: false,
            remove_adopted: false,
            body: Ok(Box::new(release)),
        });
    }

    /// Applies a changed spec.
    pub(super) fn apply(&mut self, change: impl FnOnce(&mut Release)) {
        let mut release = self.release.clone();
        change(&mut release);
        *release.metadata.generation.as_mut().unwrap() += 1;
        self.store(release);
    }
    pub(super) fn image(&mut self, image: &str) {
        self.apply(|release| release.spec.workload.image = image.to_owned());
    }
    pub(super) fn spoil(&mut self) {
        if let Some(spec) = &mut self.world.spec {
            spec.generation += 1;
            spec.body = Err(vec!["spec.replicas: -1 is not allowed".to_owned()]);
        }
    }

    pub(super) fn ask(&mut self, verb: Verb, full: bool) -> String {
        self.operations += 1;
        let id = format!("op-{:03}", self.operations);
        self.world.operations.push(Operation {
            id: id.clone(),
            verb,
            full,
            override_freeze: false,
            force: verb == Verb::Abort,
            period: None,
            revision: None,
            why: None,
            by: "bob".to_owned(),
            roles: Vec::new(),
            at: Some(self.now),
        });
        id
    }

    pub(super) fn pass(&mut self, seconds: u64) {
        self.now = self
            .now
            .checked_add(Span::secs(seconds).to_signed())
            .unwrap();
    }

    /// One look of promotion, written to the store as it would be; every law is checked on the way.
    pub(super) fn promote(&mut self) -> Plan {
        self.world.fresh_seed = self.world.fresh_seed.wrapping_mul(31).wrapping_add(7);
        let before = self.world.clone();
        let plan = step(&self.world, self.now);
        self.write(&plan);
        laws::check(&before, &plan, self.now);
        if !plan.remove {
            laws::empty(&self.world, &step(&self.world, self.now));
        }
        plan
    }

    fn write(&mut self, plan: &Plan) {
        self.events.extend(plan.events.iter().cloned());
        self.next_look = plan.next_look;
        self.world
            .operations
            .retain(|op| !plan.answered.contains(&op.id));
        if plan.remove {
            self.world.target = None;
            self.world.status = None;
            self.world.records.clear();
            return;
        }
        for record in &plan.records {
            assert!(
                !self.world.records.contains_key(&record.id),
                "a record is written once"
            );
            self.world.records.insert(record.id.clone(), record.clone());
        }
        for revision in &plan.forget {
            self.world.records.remove(revision);
        }
        if let Some(target) = &plan.target {
            // Through its stored form: what is not stored is lost with every restart.
            let text = serde_json::to_string(target).unwrap();
            self.world.target = Some(serde_json::from_str(&text).unwrap());
        }
        if let Some(status) = &plan.status {
            self.world.status = Some(status.clone());
        }
    }

    /// The swarm controller acts on the whole target, and sees at most `most` tasks of each revision ready.
    pub(super) fn swarm(&mut self, most: u32) {
        let Some(target) = self.world.target.clone() else {
            self.world.swarm = None;
            return;
        };
        let old = self
            .world
            .swarm
            .take()
            .filter(|old| old.uid == target.uid)
            .unwrap_or_default();
        let mut seen = SwarmObserved {
            uid: target.uid.clone(),
            generation: target.generation,
            resolution: target.resolve.as_ref().map(|resolve| {
                let image = &resolve.workload.image;
                let known = !image.starts_with("lost");
                Resolution {
                    generation: resolve.generation,
                    image: known.then(|| ResolvedImage {
                        reference: image.clone(),
                        // What somebody asks for anew has moved.
                        pinned: format!("{image}@sha256:{}0", u8::from(resolve.pull)),
                    }),
                    service: known.then(|| json!({ "Name": "shop" })),
                    error: (!known).then(|| format!("No such image: {image}")),
                    transient: false,
                }
            }),
            ..SwarmObserved::default()
        };
        for (revision, wanted) in &target.revisions {
            if target.orphans.contains(revision) {
                // Given back: it is none of ours any more.
                continue;
            }
            let image = self.world.records[revision].workload.image.clone();
            let before = old.revisions.get(revision);
            let service = self.service(revision, wanted.replicas, most, &image, before);
            seen.revisions.insert(revision.clone(), service);
        }
        self.dead
            .retain(|revision, _| target.revisions.contains_key(revision));
        self.world.swarm = Some(seen);
    }

    fn service(
        &self,
        revision: &RevisionId,
        replicas: u32,
        most: u32,
        image: &str,
        before: Option<&SwarmRevision>,
    ) -> SwarmRevision {
        let mut service = SwarmRevision {
            service: format!("fm_default_shop_{revision}"),
            replicas,
            ..before.cloned().unwrap_or_default()
        };
        let dead = self.dead.get(revision).copied().unwrap_or(0);
        let ready = match image {
            _ if image.starts_with("crash") => {
                service.failed_tasks = (service.failed_tasks + 1).min(3);
                service.failures = vec![TaskFailure {
                    kind: FailureKind::Crashed,
                    message: "task: non-zero exit (3)".to_owned(),
                    task: None,
                    exit_code: Some(3),
                    at: "2026-01-01T12:00:00Z".parse().unwrap(),
                }];
                0
            }
            _ if image.starts_with("stuck") => {
                service.failures = vec![TaskFailure {
                    kind: FailureKind::NoSuitableNode,
                    message: "no suitable node (scheduling constraints not satisfied on 1 node)"
                        .to_owned(),
                    task: None,
                    exit_code: None,
                    at: "2026-01-01T12:00:00Z".parse().unwrap(),
                }];
                0
            }
            _ => replicas.min(most).saturating_sub(dead),
        };
        service.ready = (0..ready)
            .map(|n| Endpoint {
                task: format!("{revision}-{n}"),
                node: "one".to_owned(),
                addresses: BTreeMap::from([(8080, format!("127.0.0.1:{}", 30_000 + n))]),
            })
            .collect();
        service
    }

    /// The agent acts on the whole target; it finds as many servers healthy as tasks are ready.
    pub(super) fn haproxy(&mut self, instance: &str) {
        if !self.world.live.contains(instance) {
            return;
        }
        let Some(target) = self.world.target.clone() else {
            self.world.haproxy.remove(instance);
            return;
        };
        let healthy = |revision: &RevisionId| {
            let sick = self.world.records[revision]
                .workload
                .image
                .starts_with("sick");
            let service = self
                .world
                .swarm
                .as_ref()
                .and_then(|seen| seen.revisions.get(revision));
            let ready = service.map_or(0, |seen| u32::try_from(seen.ready.len()).unwrap());
            (ready, if sick { 0 } else { ready })
        };
        let revisions = target.revisions.iter().filter_map(|(revision, wanted)| {
            let preview = target.previews.contains_key(revision).then_some(Slot::A);
            let slot: Slot = wanted.slot.or(preview)?;
            let (servers, healthy) = healthy(revision);
            let seen = HaproxyRevision {
                slot,
                servers,
                healthy: if wanted.draining { 0 } else { healthy },
                draining: if wanted.draining { servers } else { 0 },
                open: if wanted.draining { self.open.into() } else { 0 },
                down: if healthy < servers {
                    vec!["t0: Layer4 timeout".to_owned()]
                } else {
                    Vec::new()
                },
            };
            Some((revision.clone(), seen))
        });
        let seen = HaproxyObserved {
            uid: target.uid.clone(),
            generation: target.generation,
            traffic: target.traffic.as_ref().map(|split| TrafficInForce {
                generation: split.generation,
                stable: split.stable.clone(),
                canary: split.canary.clone(),
                weight: split.weight,
                mirror: split.mirror,
            }),
            revisions: revisions.collect(),
            config: String::new(),
            problem: None,
        };
        self.world.haproxy.insert(instance.to_owned(), seen);
    }

    pub(super) fn agents(&mut self) {
        let live: BTreeSet<String> = self.world.live.clone();
        for instance in live {
            self.haproxy(&instance);
        }
    }

    /// Analysis concludes this of the running trial.
    pub(super) fn verdict(&mut self, decision: Decision) {
        let Some(analysis) = self.world.target.as_ref().and_then(|t| t.analysis.clone()) else {
            return;
        };
        let reason = match decision {
            Decision::Wait => Reason::Gathering,
            Decision::Promote => Reason::NonInferior,
            Decision::Rollback => Reason::ErrorsHarm,
            Decision::Inconclusive => Reason::DeadlinePassed,
        };
        self.world.verdict = Some(Verdict {
            uid: self.target().uid.clone(),
            run: analysis.run,
            criteria_hash: analysis.criteria_hash,
            decision,
            reason,
            sentence: format!(
                "the canary answered 20 of 100 requests badly, stable 1 of 900 ({reason:?})"
            ),
            batch: 1,
            at: self.now,
            first_bad_at: None,
            metrics: Vec::new(),
            canary: Side::default(),
            stable: Side::default(),
            lost_lines: 0,
            measured: Vec::new(),
            notes: Vec::new(),
            outliers: Vec::new(),
            cut_off: Default::default(),
            state: serde_json::Value::Null,
        });
    }

    /// Analysis concludes this of a candidate.
    pub(super) fn trial(&mut self, name: &str, decision: Decision) {
        let target = self.world.target.as_ref();
        let experiment = target.and_then(|target| target.experimenting());
        let mut trials = experiment.into_iter().flat_map(|e| e.trials());
        let Some((_, analysis)) = trials.find(|(known, _)| *known == name) else {
            return;
        };
        let (before, main) = (self.world.verdict.take(), analysis.clone());
        drop(trials);
        let kept = self.world.target.as_ref().and_then(|t| t.analysis.clone());
        if let Some(target) = &mut self.world.target {
            target.analysis = Some(main);
        }
        self.verdict(decision);
        if let Some(target) = &mut self.world.target {
            target.analysis = kept;
        }
        if let Some(verdict) = std::mem::replace(&mut self.world.verdict, before) {
            self.world.trials.insert(name.to_owned(), verdict);
        }
    }

    /// Every gate that is due answers so.
    pub(super) fn gates(&mut self, verdict: GateVerdict) {
        let Some(target) = &self.world.target else {
            self.world.gates = None;
            return;
        };
        let answer = GateAnswer {
            verdict,
            attempts: 1,
            said: match verdict {
                GateVerdict::Yes => "HTTP 200".to_owned(),
                GateVerdict::Open | GateVerdict::No => "HTTP 403: not yet".to_owned(),
            },
            at: self.now,
            next: None,
        };
        let answers = target
            .due
            .iter()
            .map(|due| (due.id.clone(), answer.clone()));
        self.world.gates = Some(GatesObserved {
            uid: target.uid.clone(),
            answers: answers.collect(),
        });
    }

    /// Everybody acts until nothing changes any more. No time passes.
    pub(super) fn settle(&mut self) {
        for _ in 0..100 {
            let before = (self.world.swarm.clone(), self.world.haproxy.clone());
            let plan = self.promote();
            self.swarm(u32::MAX);
            self.agents();
            let same = before == (self.world.swarm.clone(), self.world.haproxy.clone());
            if plan.target.is_none() && !plan.remove && same {
                return;
            }
        }
        panic!("it never settles: {:?}", self.world.status);
    }

    /// The same, and after each wait of promotion it goes on, at most `looks` times.
    pub(super) fn run(&mut self, looks: usize) {
        self.settle();
        for _ in 0..looks {
            match self.next_look {
                Some(at) if at > self.now => self.now = at,
                Some(_) | None => return,
            }
            self.settle();
        }
    }

    pub(super) fn told(&self, reason: &str) -> bool {
        self.events.iter().any(|event| event.reason == reason)
    }
}
