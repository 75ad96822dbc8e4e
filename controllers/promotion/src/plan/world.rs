//! The snapshot of one release that a plan is made from. Nothing here is newer than the cache it was read from.

use std::collections::{BTreeMap, BTreeSet};

use fm_api::freeze::Freeze;
use fm_api::gates::GatesObserved;
use fm_api::keys::RevisionId;
use fm_api::observed::{HaproxyObserved, SwarmObserved};
use fm_api::operation::Operation;
use fm_api::release::Release;
use fm_api::status::Status;
use fm_api::target::{RevisionRecord, Target};
use fm_api::verdict::Verdict;

use super::others::Other;

/// Everything known of one release.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct World {
    /// The stored spec; absent: there is none.
    pub spec: Option<Spec>,
    /// The target as it is stored.
    pub target: Option<Target>,
    /// The revisions on record.
    pub records: BTreeMap<RevisionId, RevisionRecord>,
    /// What people asked and was not removed yet.
    pub operations: Vec<Operation>,
    /// What the swarm controller saw.
    pub swarm: Option<SwarmObserved>,
    /// The agents whose lease is valid.
    pub live: BTreeSet<String>,
    /// Edges that are about to be taken out: nothing waits for them.
    pub draining: BTreeSet<String>,
    /// Why the HAProxy of a live agent does not answer, where it does not.
    pub troubles: BTreeMap<String, String>,
    /// What each haproxy agent saw, also those that are not alive now.
    pub haproxy: BTreeMap<String, HaproxyObserved>,
    /// What analysis concludes.
    pub verdict: Option<Verdict>,
    /// What analysis concludes of each candidate of an experiment, by its name.
    pub trials: BTreeMap<String, Verdict>,
    /// What gates have said.
    pub gates: Option<GatesObserved>,
    /// The releases that this one depends on.
    pub upstreams: Vec<Other>,
    /// The other releases of its group.
    pub fellows: Vec<Other>,
    /// Times without a rise, of all releases.
    pub freezes: Vec<Freeze>,
    /// Who has which role, for people.
    pub roles: BTreeMap<String, String>,
    /// The status as it is stored; only answers and times are carried over from it.
    pub status: Option<Status>,
    /// Drawn anew for each look; used when a rollout begins.
    pub fresh_seed: u32,
}

/// A stored spec, usable or not.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// Its uid, as far as it can be read.
    pub uid: String,
    /// Its generation, as far as it can be read.
    pub generation: u64,
    /// Deletion was asked for.
    pub deleted: bool,
    /// What serves is to stay when it is deleted.
    pub orphan: bool,
    /// What was there before it is to go, too, when it is deleted.
    pub remove_adopted: bool,
    /// The release, or why it cannot be used.
    pub body: Result<Box<Release>, Vec<String>>,
}
