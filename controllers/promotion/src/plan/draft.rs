//! The plan in the making: the target as it will be, and what is seen of the world under it.

use std::collections::BTreeMap;

use fm_api::event::Severity;
use fm_api::keys::RevisionId;
use fm_api::observed::{HaproxyObserved, SwarmObserved, SwarmRevision};
use fm_api::quantity::Span;
use fm_api::rollout::{Rollout, Settings, Stage};
use fm_api::status::OperationAnswer;
use fm_api::target::{RevisionRecord, Slot, Target};
use fm_api::verdict::Verdict;
use jiff::Timestamp;

use super::routing;
use super::step::Notice;
use super::why::Stable;
use super::world::World;

/// So long a task's end explains what is seen of a revision that has all its tasks.
const EXPLAINS: Span = Span::secs(300);

/// The plan in the making.
pub(super) struct Draft<'a> {
    pub(super) world: &'a World,
    pub(super) now: Timestamp,
    /// The target as it will be written.
    pub(super) target: Target,
    /// The generation that this write will have.
    pub(super) next: u64,
    pub(super) records: BTreeMap<RevisionId, RevisionRecord>,
    pub(super) notices: Vec<Notice>,
    pub(super) answers: Vec<OperationAnswer>,
    pub(super) answered: Vec<String>,
    /// The gate that is waited for.
    pub(super) asked: Option<String>,
    wakes: Vec<Timestamp>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(world: &'a World, target: Target, now: Timestamp) -> Self {
        Self {
            world,
            now,
            next: target.generation.saturating_add(1),
            target,
            records: BTreeMap::new(),
            notices: Vec::new(),
            answers: Vec::new(),
            answered: Vec::new(),
            asked: None,
            wakes: Vec::new(),
        }
    }

    pub(super) fn note(&mut self, severity: Severity, reason: &str, message: String) {
        self.notices.push(Notice {
            severity,
            reason: reason.to_owned(),
            message,
        });
    }

    /// Looks again at that time at the latest.
    pub(super) fn wake(&mut self, at: Timestamp) {
        self.wakes.push(at);
    }

    pub(super) fn next_look(&self) -> Option<Timestamp> {
        self.wakes.iter().min().copied()
    }

    pub(super) fn settings(&self) -> Option<&Settings> {
        self.target.settings.as_ref()
    }

    pub(super) fn replicas(&self) -> u32 {
        self.settings().map_or(0, |settings| settings.replicas)
    }

    pub(super) fn routed(&self) -> bool {
        !self.target.routes.is_empty()
    }

    pub(super) fn record(&self, revision: &RevisionId) -> Option<&RevisionRecord> {
        self.records
            .get(revision)
            .or_else(|| self.world.records.get(revision))
    }

    /// `revision 3 (shop:1.4)`, for people.
    pub(super) fn name(&self, revision: &RevisionId) -> String {
        self.record(revision).map_or_else(
            || format!("revision {revision}"),
            |record| format!("revision {} ({})", record.number, record.workload.image),
        )
    }

    /// What swarm saw of this release; never of a deleted namesake.
    pub(super) fn swarm(&self) -> Option<&'a SwarmObserved> {
        self.world
            .swarm
            .as_ref()
            .filter(|seen| seen.uid == self.target.uid)
    }

    /// Why Swarm is not seen now.
    pub(super) fn swarm_problem(&self) -> Option<String> {
        match self.swarm() {
            None => Some("the swarm controller has not reported yet".to_owned()),
            Some(seen) => seen.problem.clone(),
        }
    }

    pub(super) fn service(&self, revision: &RevisionId) -> Option<&'a SwarmRevision> {
        self.swarm()?.revisions.get(revision)
    }

    /// Tasks ready in Swarm, as last seen.
    pub(super) fn ready(&self, revision: &RevisionId) -> u32 {
        self.service(revision).map_or(0, |seen| {
            u32::try_from(seen.ready.len()).unwrap_or(u32::MAX)
        })
    }

    /// How stable does, as last seen.
    pub(super) fn stable(&self) -> Option<Stable> {
        let ready = self.ready(self.target.stable.as_ref()?);
        Some(Stable {
            ready,
            replicas: self.replicas(),
        })
    }

    /// Tasks of the revision that are there or will be, with so many wanted: its service may still be set to more.
    pub(super) fn present(&self, revision: &RevisionId, wanted: u32) -> u32 {
        let seen = self.service(revision).map_or(0, |seen| {
            let leaving = u32::try_from(seen.leaving.len()).unwrap_or(u32::MAX);
            let there = self.ready(revision).saturating_add(seen.starting);
            seen.replicas.max(there.saturating_add(leaving))
        });
        wanted.max(seen)
    }

    /// Tasks of the revision that failed since its service was created, as last seen.
    pub(super) fn failed_tasks(&self, revision: &RevisionId) -> u32 {
        self.service(revision).map_or(0, |seen| seen.failed_tasks)
    }

    /// Each live agent that counts, with what it saw: not those that are about to be taken out.
    pub(super) fn live(&self) -> impl Iterator<Item = (&'a str, Option<&'a HaproxyObserved>)> {
        let world = self.world;
        self.alive()
            .filter(move |(instance, _)| !world.draining.contains(*instance))
    }

    /// Whether no live agent counts.
    pub(super) fn no_agent(&self) -> bool {
        self.live().next().is_none()
    }

    /// Each live agent with what it saw.
    pub(super) fn alive(&self) -> impl Iterator<Item = (&'a str, Option<&'a HaproxyObserved>)> {
        let world = self.world;
        let uid = self.target.uid.clone();
        world.live.iter().map(move |instance| {
            let seen = world.haproxy.get(instance).filter(|seen| seen.uid == uid);
            (instance.as_str(), seen)
        })
    }

    /// Agents that have reported on this release and are not alive now, with what they last saw. One that was about to be
    /// taken out has been.
    pub(super) fn reported_and_gone(&self) -> impl Iterator<Item = (&'a str, &'a HaproxyObserved)> {
        let world = self.world;
        let uid = self.target.uid.clone();
        world
            .haproxy
            .iter()
            .filter(move |(instance, seen)| {
                let counts = !world.live.contains(*instance) && !world.draining.contains(*instance);
                seen.uid == uid && counts
            })
            .map(|(instance, seen)| (instance.as_str(), seen))
    }

    /// Tasks healthy in HAProxy, the fewest over all live agents; `None`: not routed, or no agent lives.
    pub(super) fn healthy(&self, revision: &RevisionId) -> Option<u32> {
        if !self.routed() {
            return None;
        }
        self.live()
            .map(|(_, seen)| {
                seen.and_then(|seen| seen.revisions.get(revision))
                    .map_or(0, |servers| servers.healthy)
            })
            .min()
    }

    /// The most healthy tasks that any live agent sees.
    pub(super) fn healthy_somewhere(&self, revision: &RevisionId) -> u32 {
        self.live()
            .filter_map(|(_, seen)| seen?.revisions.get(revision))
            .map(|servers| servers.healthy)
            .max()
            .unwrap_or(0)
    }

    /// Whether so many tasks are ready in Swarm and healthy on every live agent. Unknown is not ready.
    pub(super) fn complete(&self, revision: &RevisionId, needed: u32) -> bool {
        self.swarm_problem().is_none()
            && self.ready(revision) >= needed
            && (!self.routed()
                || needed == 0
                || self.healthy(revision).is_some_and(|n| n >= needed))
    }

    /// Tasks the canary needs for where it stands.
    pub(super) fn needed(&self, rollout: &Rollout) -> u32 {
        let replicas = self.replicas();
        if rollout.stage == Stage::Preparing {
            return 0;
        }
        // With little room the steps are passed one by one, if without waiting: each finds the room that the last one left.
        if rollout.full && (rollout.warm || rollout.plan.max_surge.is_none()) {
            return replicas;
        }
        if routing::outdoes(self, rollout) {
            return replicas;
        }
        rollout.plan.tasks(rollout.step, replicas)
    }

    /// The verdict on the running trial; an older run's says nothing.
    pub(super) fn verdict(&self) -> Option<&'a Verdict> {
        let analysis = self.target.analysis.as_ref()?;
        self.world
            .verdict
            .as_ref()
            .filter(|verdict| verdict.uid == self.target.uid && verdict.run == analysis.run)
    }

    /// The newest failure of the revision's tasks in Docker's own words, as long as it explains anything: Docker remembers a
    /// task that ended long ago, and that says nothing about what happens now.
    pub(super) fn docker_says(&self, revision: &RevisionId) -> Option<String> {
        let failure = self.service(revision)?.failures.last()?;
        let target = self.target.revisions.get(revision)?;
        let short = !target.draining && self.ready(revision) < target.replicas;
        let fresh = self.now < after(failure.at, EXPLAINS);
        (short || fresh).then(|| failure.message.clone())
    }

    /// Looks again when what Docker said stops to explain anything.
    pub(super) fn wake_for_words(&mut self) {
        let services = self.target.revisions.keys();
        let last = services.filter_map(|revision| self.service(revision)?.failures.last());
        let ends: Vec<Timestamp> = last.map(|failure| after(failure.at, EXPLAINS)).collect();
        let now = self.now;
        for end in ends.into_iter().filter(|end| *end > now) {
            self.wake(end);
        }
    }

    /// A backend that no revision has.
    pub(super) fn free_slot(&self) -> Option<Slot> {
        Slot::ALL.into_iter().find(|slot| {
            self.target
                .revisions
                .values()
                .all(|revision| revision.slot != Some(*slot))
        })
    }

    /// The longest time any route gives connections to end.
    pub(super) fn drain_limit(&self) -> Span {
        let previews = self.target.previews.values();
        self.target
            .routes
            .iter()
            .chain(previews.flat_map(|preview| &preview.routes))
            .map(|route| route.timeouts.drain)
            .max()
            .unwrap_or(Span::ZERO)
    }
}

/// That much later; the end of time where it would be beyond.
pub(super) fn after(at: Timestamp, span: Span) -> Timestamp {
    at.checked_add(span.to_signed()).unwrap_or(Timestamp::MAX)
}
