//! The target: what promotion wants of a release this instant, and promotion's whole durable state.
//!
//! Writer: promotion, by compare-and-swap. Readers: swarm, haproxy, analysis. It is self-contained but for the
//! revisions' workloads, which lie in [`RevisionRecord`]s that never change.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::adoption::{Adoption, one_or_more};
use crate::criteria::Analysis;
use crate::experiment::ExperimentTarget;
use crate::gates::Due;
use crate::keys::RevisionId;
use crate::quantity::{Span, Weight};
use crate::release::{Adopted, Affinity, Drift, MatchRule, OnControlLoss, Route};
use crate::rollout::{
    Failed, Held, HistoryEntry, Leaving, PreviewTarget, Ran, Rollout, Settings, Word,
};
use crate::workload::Workload;

/// What is wanted of a release this instant.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// The release's uid; a target with another uid belongs to a deleted namesake.
    pub uid: String,
    /// Grows by one with each write of the target.
    pub generation: u64,
    /// The last generation of the spec that was taken in.
    pub spec_generation: u64,
    /// What the swarm controller must resolve and render before promotion can name a revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolve: Option<Resolve>,
    /// The revision that serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable: Option<RevisionId>,
    /// The revision on trial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<RevisionId>,
    /// Every revision that must have a service. A service of ours that is not named here must go.
    #[serde(default)]
    pub revisions: BTreeMap<RevisionId, RevisionTarget>,
    /// Revisions that are up beside the normal shares, reached by their own hosts and headers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub previews: BTreeMap<RevisionId, PreviewTarget>,
    /// The experiment that runs beside stable, or ran last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub experiment: Option<ExperimentTarget>,
    /// Previews whose time was over, and when; they are not brought back by themselves. Only promotion reads it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub expired: BTreeMap<RevisionId, Timestamp>,
    /// How requests are split; absent: the routes have nowhere to go yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Traffic>,
    /// Hosts and paths.
    #[serde(default)]
    pub routes: Vec<Route>,
    /// The strategy mirrors requests: HAProxy is made ready for it, so that a rollout needs no reload.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mirrors: bool,
    /// Hosts that lead to the revision on trial alone, with the routes' paths.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub preview_hosts: Vec<String>,
    /// Requests that always reach a named side; the first rule that fits decides.
    #[serde(default)]
    pub match_rules: Vec<MatchRule>,
    /// How a client stays on its side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// What analysis must judge; absent: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub analysis: Option<AnalysisTarget>,
    /// What an agent does alone when the store stays out of reach.
    #[serde(default)]
    pub on_control_loss: OnControlLoss,
    /// What swarm does with a service that was changed by hand.
    #[serde(default)]
    pub drift: Drift,
    /// The revision that the spec asks for, once its image is known; it may be one that failed. Only promotion reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted: Option<RevisionId>,
    /// The rest of the last good spec that was taken in. Only promotion reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<Settings>,
    /// Revisions that serve nothing any more and go in time. Only promotion reads it.
    #[serde(default)]
    pub leaving: BTreeMap<RevisionId, Leaving>,
    /// The running rollout, if any. Only promotion reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
    /// Revisions that failed; they are not tried again by themselves.
    #[serde(default)]
    pub failed: BTreeMap<RevisionId, Failed>,
    /// Finished rollouts, the newest last.
    #[serde(default)]
    pub history: Vec<HistoryEntry>,
    /// Ids of operations answered lately, the newest last, so that asking twice changes nothing.
    #[serde(default)]
    pub answered: Vec<String>,
    /// What people said that lets the next rollout begin.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub words: Vec<Word>,
    /// Nothing is repaired, promoted or moved meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
    /// Gates that are asked now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub due: Vec<Due>,
    /// What jobs have done with each revision. Only promotion reads it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ran: BTreeMap<RevisionId, Ran>,
    /// When revisions whose record is gone were first asked for, while a job has done something for good: one that comes
    /// back is no newer for it. Only promotion reads it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub forgotten: BTreeMap<RevisionId, Timestamp>,
    /// A revision that somebody lets begin although it is older than what a job has done for good. Only promotion reads
    /// it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub let_back: Option<RevisionId>,
    /// Deletion was asked for: traffic goes first, then services, then this target.
    #[serde(default)]
    pub deleting: bool,
    /// The service that was there before the release, and what has become of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adoption: Option<Adoption>,
    /// The services of these revisions are given back: they lose our labels and go on.
    #[serde(
        default,
        alias = "orphan",
        deserialize_with = "one_or_more",
        skip_serializing_if = "BTreeSet::is_empty"
    )]
    pub orphans: BTreeSet<RevisionId>,
}

impl Target {
    /// The experiment, while it runs.
    #[must_use]
    pub fn experimenting(&self) -> Option<&ExperimentTarget> {
        self.experiment
            .as_ref()
            .filter(|experiment| experiment.ended.is_none())
    }

    /// Whether the canary is to be asked what stable is asked, and has no share of its own.
    #[must_use]
    pub fn mirroring(&self) -> bool {
        let split = self.traffic.as_ref();
        split.is_some_and(|split| !split.mirror.is_zero())
    }

    /// Whether a revision is a side of the experiment, and no preview of its own.
    #[must_use]
    pub fn is_side(&self, revision: &RevisionId) -> bool {
        let preview = self.previews.get(revision);
        preview.is_some_and(|preview| preview.side.is_some())
    }

    /// The job of another revision that did for good what this one knows nothing of; `number` is that of a revision.
    #[must_use]
    pub fn behind(
        &self,
        record: &RevisionRecord,
        number: impl Fn(&RevisionId) -> Option<u64>,
    ) -> Option<&str> {
        if self.stable.as_ref() == Some(&record.id) {
            return None;
        }
        let own = self.ran.get(&record.id);
        let own = own.filter(|own| own.irreversible.is_some());
        self.ran.iter().find_map(|(id, ran)| {
            let job = ran.irreversible.as_deref().filter(|_| *id != record.id)?;
            let behind = match ran.since {
                Some(since) => {
                    let later = own.and_then(|own| own.since).is_some_and(|own| own > since);
                    record.created_at < since && !later
                }
                // Written before that time was kept.
                None => number(id).is_some_and(|number| number > record.number),
            };
            behind.then_some(job)
        })
    }
}

/// What the swarm controller must resolve and render.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resolve {
    /// The spec's generation: an answer names it.
    pub generation: u64,
    /// What runs, as the user wrote it with defaults filled in.
    pub workload: Workload,
    /// The container ports to publish.
    pub ports: Vec<u16>,
    /// The side of an experiment that it is for; absent: for what the spec asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub side: Option<String>,
    /// It runs already: in this service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopt: Option<Adopted>,
    /// Somebody asks what its tag means today.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pull: bool,
    /// Somebody said that what it makes is not to begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aborted: Option<Failed>,
}

/// What is wanted of one revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevisionTarget {
    /// Tasks wanted.
    pub replicas: u32,
    /// Its place in each route's backends; absent: it has no traffic (a worker, or not started yet).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<Slot>,
    /// Its servers finish open connections and take no new ones; set before its tasks are stopped.
    #[serde(default)]
    pub draining: bool,
    /// Its upgraded connections are closed, whatever drains: it was taken back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
    /// Grows by one with each `restart`: new tasks of the same revision.
    #[serde(default)]
    pub restarts: u32,
}

impl RevisionTarget {
    /// So many tasks at this place, as they begin.
    #[must_use]
    pub fn new(replicas: u32, slot: Option<Slot>) -> Self {
        Self {
            replicas,
            slot,
            draining: false,
            cut: false,
            restarts: 0,
        }
    }
}

/// One of a route's three backends.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum Slot {
    /// Backend `…_a`.
    A,
    /// Backend `…_b`.
    B,
    /// Backend `…_c`.
    C,
}

impl Slot {
    /// All three.
    pub const ALL: [Slot; 3] = [Slot::A, Slot::B, Slot::C];

    /// The letter in backend names.
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Slot::A => 'a',
            Slot::B => 'b',
            Slot::C => 'c',
        }
    }
}

/// How requests are split. The shares are `weight` for the canary and the rest for stable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Traffic {
    /// Who serves what the canary does not.
    pub stable: RevisionId,
    /// Who serves `weight`, and the requests that `matchRules` send there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<RevisionId>,
    /// The canary's share.
    pub weight: Weight,
    /// The share of stable's safe requests that are sent to the canary as well, while it has none of its own.
    #[serde(default, skip_serializing_if = "Weight::is_zero")]
    pub mirror: Weight,
    /// Which clients are the canary's under affinity; new with each rollout. Eight hex digits.
    pub seed: String,
    /// The target's generation when this split was decided: agents report it back once it is in force.
    pub generation: u64,
}

impl Traffic {
    /// The share of each revision in basis points; they sum to 10,000.
    #[must_use]
    pub fn shares(&self) -> BTreeMap<RevisionId, u16> {
        let canary = self
            .canary
            .as_ref()
            .map_or(0, |_| self.weight.basis_points());
        let mut shares = BTreeMap::from([(self.stable.clone(), 10_000_u16.saturating_sub(canary))]);
        if let Some(revision) = &self.canary {
            *shares.entry(revision.clone()).or_default() += canary;
        }
        shares
    }

    /// Whether HAProxy answers with exactly this split.
    #[must_use]
    pub fn is(&self, seen: &crate::observed::TrafficInForce) -> bool {
        self.generation == seen.generation
            && self.stable == seen.stable
            && self.canary == seen.canary
            && self.weight == seen.weight
            && self.mirror == seen.mirror
    }
}

impl AnalysisTarget {
    /// The judging of `canary` against `stable` under the rollout's seed.
    ///
    /// The run is `<canary>-<seed>-<hash of the criteria>`: another revision, a retry or other criteria start without evidence.
    #[must_use]
    pub fn new(canary: &RevisionId, stable: &RevisionId, seed: &str, criteria: &Analysis) -> Self {
        use sha2::{Digest, Sha256};
        // Our own types serialize without failing; an empty text would only make all criteria equal.
        let text = serde_json::to_string(criteria).unwrap_or_default();
        let digest = Sha256::digest(text.as_bytes());
        let hash: String = digest
            .iter()
            .take(4)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Self {
            run: format!("{canary}-{seed}-{hash}"),
            canary: canary.clone(),
            stable: stable.clone(),
            criteria: criteria.clone(),
            criteria_hash: hash,
            worker: false,
            request_timeout: Span::ZERO,
            last_hold: Span::ZERO,
            since: None,
            awaiting_since: None,
            step: None,
        }
    }
}

/// What analysis must judge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AnalysisTarget {
    /// The run: canary revision and seed. A new run starts with no evidence.
    pub run: String,
    /// The revision on trial.
    pub canary: RevisionId,
    /// What it is compared with.
    pub stable: RevisionId,
    /// The criteria, every default filled in.
    pub criteria: Analysis,
    /// Hash of the criteria: other criteria make a new run.
    pub criteria_hash: String,
    /// There are no requests to compare: metrics and what tasks use of their limits decide.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub worker: bool,
    /// The longest server timeout of the routes.
    pub request_timeout: Span,
    /// The last step's hold.
    pub last_hold: Span,
    /// When the canary first had traffic in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// When the last hold ended and only evidence was missing; the deadline counts from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub awaiting_since: Option<Timestamp>,
    /// The step that is in force now; absent: none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<StepNow>,
}

/// The step that is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepNow {
    /// Its number, from 1.
    pub number: u32,
    /// When its share came into force.
    pub since: Timestamp,
}

/// A revision, written once and never changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevisionRecord {
    /// The revision.
    pub id: RevisionId,
    /// The release's uid.
    pub uid: String,
    /// 1 for the release's first revision, then 2, …
    pub number: u64,
    /// The spec's generation that first asked for it.
    pub generation: u64,
    /// When it was first asked for.
    pub created_at: Timestamp,
    /// Who asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// What runs, as the user wrote it with defaults filled in.
    pub workload: Workload,
    /// What the image was resolved to.
    pub image: ResolvedImage,
    /// The published container ports.
    pub ports: Vec<u16>,
    /// The Swarm service spec (Docker's JSON), rendered once; replicas are set when it is used.
    pub service: serde_json::Value,
    /// It runs in this service, which was there before; `service` is its spec as it was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopted: Option<Adopted>,
}

impl RevisionRecord {
    /// Whether this workload is the revision's own, whether it names the image as it was written or as it was pinned.
    #[must_use]
    pub fn runs(&self, workload: &Workload) -> bool {
        if workload.image != self.workload.image && workload.image != self.image.pinned {
            return false;
        }
        let mut written = workload.clone();
        written.image.clone_from(&self.workload.image);
        written == self.workload
    }
}

/// What an image reference was resolved to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResolvedImage {
    /// As the user wrote it.
    pub reference: String,
    /// What the tasks run: `name@sha256:…`, or an image id `sha256:…` for an image that is in no registry.
    pub pinned: String,
}
