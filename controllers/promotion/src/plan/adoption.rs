//! A service that was there before the release. It serves already, so its revision is stable from the start: what comes next
//! is a canary beside it.
//!
//! What must never happen: it is removed without a person's word. A rollout that is promoted in its place is one, and so is a
//! deletion that says so; on every other way out it is given back, as it runs.

use std::collections::BTreeSet;

use fm_api::adoption::{Adoption, AdoptionState};
use fm_api::event::Severity;
use fm_api::keys::RevisionId;
use fm_api::rollout::{HistoryEntry, Outcome};
use fm_api::status::reasons;
use fm_api::target::RevisionTarget;

use super::draft::{Draft, after};
use super::failing;
use super::intake;
use super::phrases::{plain, tasks};
use super::why::{Adopted, Why};

/// Notes what an earlier version did not: that a revision runs in a service that was there before.
pub(super) fn remember(draft: &mut Draft<'_>) {
    let target = &draft.target;
    if target.adoption.is_some() {
        return;
    }
    let there = |id: &&RevisionId| draft.record(id).is_some_and(|r| r.adopted.is_some());
    let Some(revision) = target.revisions.keys().find(there).cloned() else {
        return;
    };
    let state = if target.leaving.contains_key(&revision) && !target.deleting {
        AdoptionState::Replaced
    } else {
        AdoptionState::Serves
    };
    note(draft, &revision, state);
}

fn note(draft: &mut Draft<'_>, revision: &RevisionId, state: AdoptionState) {
    let record = draft.record(revision);
    let Some(adopted) = record.and_then(|record| record.adopted.clone()) else {
        return;
    };
    draft.target.adoption = Some(Adoption {
        revision: revision.clone(),
        service: adopted.name,
        at: draft.now,
        state,
    });
}

/// Whether a revision runs in a service that was there before, and nothing serves yet: then it is stable.
pub(super) fn is_first(draft: &Draft<'_>, wanted: &RevisionId) -> bool {
    let record = draft.record(wanted);
    draft.target.stable.is_none() && record.is_some_and(|record| record.adopted.is_some())
}

/// Makes it stable: it serves already, so nothing is asked and nothing is waited for.
pub(super) fn begin(draft: &mut Draft<'_>, wanted: &RevisionId) {
    draft.target.rollout = None;
    draft.target.canary = None;
    draft.target.leaving.remove(wanted);
    draft.target.previews.remove(wanted);
    draft.target.words.clear();
    let slot = draft.free_slot().filter(|_| draft.routed());
    let fresh = RevisionTarget::new(draft.replicas(), slot);
    let entry = draft.target.revisions.entry(wanted.clone());
    entry.or_insert(fresh);
    draft.target.stable = Some(wanted.clone());
    note(draft, wanted, AdoptionState::Serves);
    intake::adopt_routes(draft);
    let record = draft.record(wanted);
    let by = draft.settings().and_then(|s| s.changed_by.clone());
    let service = draft.target.adoption.as_ref();
    let entry = HistoryEntry {
        revision: wanted.clone(),
        number: record.map_or(0, |record| record.number),
        image: record.map(|r| r.workload.image.clone()).unwrap_or_default(),
        by,
        started_at: draft.now,
        ended_at: draft.now,
        outcome: Outcome::Promoted,
        reason: reasons::PROMOTED.to_owned(),
        why: format!(
            "the service {} was there before, and is stable from the start",
            service.map_or("", |adoption| &adoption.service)
        ),
        thawed: None,
        words: Vec::new(),
        afterwards: Vec::new(),
    };
    draft.target.history.push(entry);
}

fn of<'a>(draft: &'a Draft<'_>, revision: &RevisionId) -> Option<&'a Adoption> {
    let adoption = draft.target.adoption.as_ref();
    adoption.filter(|adoption| adoption.revision == *revision)
}

/// Whether the revision runs in a service that was there before, and nothing was promoted in its place.
pub(super) fn serves(draft: &Draft<'_>, revision: &RevisionId) -> bool {
    of(draft, revision).is_some_and(|adoption| adoption.state == AdoptionState::Serves)
}

/// Whether users may reach the adopted service by another way than HAProxy. One whose tasks fail, so that none is ready, is
/// reached by nobody, and the next revision may be what mends it.
pub(super) fn reached(draft: &Draft<'_>, revision: &RevisionId) -> bool {
    serves(draft, revision)
        && (draft.ready(revision) > 0 || failing::says(draft, revision).is_none())
}

/// Stable was there before, and HAProxy has never found it well: until it does, nothing takes its place, for its users reach
/// it by another way. `waits`: the revision that would begin.
pub(super) fn unserved(draft: &mut Draft<'_>, waits: Option<&RevisionId>) -> Option<Why> {
    let stable = draft.target.stable.clone()?;
    if !draft.routed() || draft.target.traffic.is_some() || !serves(draft, &stable) {
        return None;
    }
    if let Some(problem) = draft.swarm_problem() {
        return Some(Why::SwarmUnknown { problem });
    }
    if draft.world.live.is_empty() {
        return Some(Why::NoAgent);
    }
    // With little room what mends it cannot run beside it: then a person decides.
    let course = draft
        .settings()
        .and_then(|settings| settings.course.as_ref());
    let room = course.is_none_or(|course| course.max_surge.is_none());
    if waits.is_some() && room && !reached(draft, &stable) {
        return None;
    }
    let adoption = of(draft, &stable)?.clone();
    let limit = draft.settings()?.progress_deadline;
    let until = after(adoption.at, limit);
    if draft.now < until {
        draft.wake(until);
    }
    Some(Why::Adopted(Adopted {
        service: adoption.service,
        waits: waits.map(|waits| draft.name(waits)),
        ready: draft.ready(&stable),
        replicas: draft.replicas(),
        says: failing::says(draft, &stable),
        overdue: draft.now >= until,
    }))
}

/// The pointers have moved from `old` to `new`.
pub(super) fn switched(draft: &mut Draft<'_>, old: Option<&RevisionId>, promoted: bool) {
    let new = draft.target.stable.clone();
    let Some(adoption) = &mut draft.target.adoption else {
        return;
    };
    if new.as_ref() == Some(&adoption.revision) && adoption.state != AdoptionState::Gone {
        adoption.state = AdoptionState::Serves;
    } else if old == Some(&adoption.revision) && adoption.state == AdoptionState::Serves && promoted
    {
        adoption.state = AdoptionState::Replaced;
    }
}

/// A revision is to be removed: `true` if it is given back instead, because nobody has said that it may go.
pub(super) fn spared(draft: &mut Draft<'_>, revision: &RevisionId) -> bool {
    let Some(adoption) = &mut draft.target.adoption else {
        return false;
    };
    if adoption.revision != *revision {
        return false;
    }
    match adoption.state {
        AdoptionState::Gone => return false,
        AdoptionState::Replaced => {
            adoption.state = AdoptionState::Gone;
            return false;
        }
        AdoptionState::Serves | AdoptionState::GivenBack => {}
    }
    adoption.state = AdoptionState::GivenBack;
    let service = adoption.service.clone();
    give_back(draft, revision);
    let message = format!(
        "the service {service} was there before, and no rollout was promoted in its place: it is given back as it runs"
    );
    draft.note(Severity::Warning, "GivingBack", message);
    true
}

/// Has swarm take our labels from its service, which goes on with all its tasks.
fn give_back(draft: &mut Draft<'_>, revision: &RevisionId) {
    let replicas = draft.settings().map(|settings| settings.replicas);
    let replaced = of(draft, revision).is_some_and(|a| a.state == AdoptionState::Replaced);
    if let Some(target) = draft.target.revisions.get_mut(revision) {
        target.slot = None;
        target.draining = false;
        if let Some(replicas) = replicas.filter(|_| !replaced) {
            target.replicas = replicas;
        }
        draft.target.orphans.insert(revision.clone());
    }
}

/// What was given back and is seen no more is forgotten. A deletion does that itself.
pub(super) fn let_go(draft: &mut Draft<'_>) {
    let Some(before) = draft.world.target.as_ref() else {
        return;
    };
    let Some(seen) = draft.swarm().filter(|seen| seen.problem.is_none()) else {
        return;
    };
    if seen.generation < before.generation {
        return;
    }
    for revision in before.orphans.clone() {
        if !seen.revisions.contains_key(&revision) && draft.target.orphans.remove(&revision) {
            draft.target.revisions.remove(&revision);
        }
    }
}

/// What a deletion leaves running: stable where that was asked for, and what was there before unless somebody said that it
/// goes too. A namesake's word is not this release's.
pub(super) fn stays(draft: &mut Draft<'_>) -> BTreeSet<RevisionId> {
    let spec = draft.world.spec.as_ref();
    let own = spec.filter(|spec| spec.uid.is_empty() || spec.uid == draft.target.uid);
    let orphan = own.is_some_and(|spec| spec.orphan);
    let removes = own.is_some_and(|spec| spec.remove_adopted) && !orphan;
    let adopted = draft.target.keeps_adopted().map(|a| a.revision.clone());
    let mut stays = draft.target.orphans.clone();
    stays.extend(draft.target.stable.clone().filter(|_| orphan));
    stays.extend(adopted.filter(|_| !removes));
    stays.retain(|revision| draft.target.revisions.contains_key(revision));
    for revision in &stays {
        if !draft.target.orphans.contains(revision) {
            give_back(draft, revision);
        }
    }
    stays
}

impl Adopted {
    /// One sentence for people.
    pub(super) fn sentence(&self) -> String {
        let says = self.says.as_deref().map(plain);
        let says = says.map_or_else(String::new, |says| format!(" ({says})"));
        let waits = self
            .waits
            .as_ref()
            .map_or_else(String::new, |waits| format!("{waits} waits until it is; "));
        format!(
            "the adopted service {} runs on with {} of {} {}, and HAProxy does not find it healthy{says}: {waits}mend the routes' \
             healthCheck, or give it back (`frctl delete --orphan`)",
            self.service,
            self.ready,
            self.replicas,
            tasks(self.replicas)
        )
    }
}
