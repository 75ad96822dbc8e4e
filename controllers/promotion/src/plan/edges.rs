//! Edges: one HAProxy with its agent each. Who of them may still lead to a revision: the one rule by which tasks go.
//!
//! A revision's tasks go, on every way out, once no edge may still lead to them. Each edge counts that has reported on the
//! release and was not forgotten:
//!
//! - a *live* edge says itself what is in force: its split does not name the revision any more;
//! - a *gone* edge (its lease has ended) cannot say anything any more, but its HAProxy outlives its agent. Its last report
//!   stands: it may still lead there unless that report already shows a split, of the time since the revision left, that
//!   does not name it. A person ends the wait (`frctl edge forget`), for nobody else can know that the HAProxy is gone too;
//! - a *draining* edge counts while it is live, for people may still reach it; gone, it does not.
//!
//! A gone edge never keeps a share from falling. What must never happen: tasks stopped while an HAProxy leads to them.

use fm_api::keys::RevisionId;
use fm_api::observed::{HaproxyObserved, TrafficInForce};
use fm_api::rollout::Leaving;
use fm_api::status::EdgeGone;
use jiff::Timestamp;

use super::draft::Draft;
use super::traffic;

/// Edges that are gone and may still lead to this revision, which leaves.
pub(super) fn gone_leading(
    draft: &Draft<'_>,
    revision: &RevisionId,
    leaving: &Leaving,
) -> Vec<String> {
    let beside = draft.target.previews.contains_key(revision);
    draft
        .reported_and_gone()
        .filter(|(_, seen)| may_lead(seen, revision, leaving, beside))
        .map(|(instance, _)| instance.to_owned())
        .collect()
}

/// Whether any edge may still lead to this revision, which leaves.
pub(super) fn may_lead_anywhere(
    draft: &Draft<'_>,
    revision: &RevisionId,
    leaving: &Leaving,
) -> bool {
    let beside = draft.target.previews.contains_key(revision);
    let live = draft
        .alive()
        .any(|(_, seen)| seen.is_some_and(|seen| may_lead(seen, revision, leaving, beside)));
    // A live edge that is behind may have taken in a split that it has not reported yet.
    let unknown = !beside && !draft.target.deleting && traffic::not_in_force(draft).is_some();
    live || unknown || !gone_leading(draft, revision, leaving).is_empty()
}

/// Whether the HAProxy behind this report may lead to a revision that leaves. `beside`: no split leads to it, but hosts,
/// headers or ranges of its own, which are shut in the same write that begins to drain it.
fn may_lead(
    seen: &HaproxyObserved,
    revision: &RevisionId,
    leaving: &Leaving,
    beside: bool,
) -> bool {
    let knows = seen.revisions.contains_key(revision);
    if beside {
        return knows && seen.generation < leaving.generation;
    }
    match &seen.traffic {
        Some(split) => names(split, revision) || (knows && split.generation < leaving.unled),
        None => knows && seen.generation < leaving.unled,
    }
}

/// Whether a split leads to a revision.
pub(super) fn names(split: &TrafficInForce, revision: &RevisionId) -> bool {
    split.stable == *revision || split.canary.as_ref() == Some(revision)
}

/// Gone edges whose HAProxy may still give requests to this revision, which is on trial or was taken back just now.
pub(super) fn gone_naming(draft: &Draft<'_>, revision: &RevisionId) -> Vec<String> {
    draft
        .reported_and_gone()
        .filter(|(_, seen)| {
            let split = seen.traffic.as_ref();
            split.is_some_and(|split| names(split, revision))
        })
        .map(|(instance, _)| instance.to_owned())
        .collect()
}

/// Whether every edge that knows the revision has taken its draining in and has nothing open any more.
pub(super) fn drained(draft: &Draft<'_>, revision: &RevisionId, generation: u64) -> bool {
    let ended = |seen: &HaproxyObserved| {
        let servers = seen.revisions.get(revision);
        seen.problem.is_none()
            && seen.generation >= generation
            && servers.is_none_or(|servers| servers.open == 0)
    };
    // One that is gone tells of no connection that ends: what was open has its time.
    let mut gone = draft.reported_and_gone();
    draft.alive().all(|(_, seen)| seen.is_some_and(ended))
        && gone.all(|(_, seen)| !seen.revisions.contains_key(revision) || ended(seen))
}

/// Every edge that is gone while its HAProxy may still serve, with what stays for it.
pub(super) fn gone(draft: &Draft<'_>) -> Vec<EdgeGone> {
    let mut all: Vec<EdgeGone> = Vec::new();
    for (name, seen) in draft.reported_and_gone() {
        let keeps: Vec<RevisionId> = draft
            .target
            .leaving
            .iter()
            .filter(|(_, leaving)| leaving.warm_until.is_none_or(|until| until <= draft.now))
            .filter(|(revision, leaving)| {
                let beside = draft.target.previews.contains_key(*revision);
                may_lead(seen, revision, leaving, beside)
            })
            .map(|(revision, _)| revision.clone())
            .collect();
        if seen.traffic.is_some() || !keeps.is_empty() {
            all.push(EdgeGone {
                name: name.to_owned(),
                since: since(draft, name),
                keeps,
            });
        }
    }
    all
}

/// When an edge was first seen gone.
fn since(draft: &Draft<'_>, name: &str) -> Timestamp {
    let old = draft.world.status.as_ref();
    let old = old.filter(|old| old.uid == draft.target.uid);
    old.and_then(|old| old.edges_gone.iter().find(|edge| edge.name == name))
        .map_or(draft.now, |edge| edge.since)
}

/// What is kept for edges that are gone, and what ends it; for the end of a sentence.
pub(super) fn kept(draft: &Draft<'_>) -> Option<String> {
    let gone = gone(draft);
    let gone: Vec<&EdgeGone> = gone.iter().filter(|edge| !edge.keeps.is_empty()).collect();
    let first = gone.first()?;
    let mut kept: Vec<String> = gone
        .iter()
        .flat_map(|edge| &edge.keeps)
        .map(|revision| draft.name(revision))
        .collect();
    kept.sort();
    kept.dedup();
    let names: Vec<&str> = gone.iter().map(|edge| edge.name.as_str()).collect();
    let (kept, names) = (kept.join(" and "), names.join(", "));
    Some(format!(
        "{names} may still lead to {kept}, for its agent is gone: those tasks stay until it is back; {}",
        ends(&first.name)
    ))
}

/// The command that ends the wait for an edge.
pub(super) fn ends(name: &str) -> String {
    format!("`frctl edge forget {name}` if it is gone for good")
}
