//! Taking everything down: traffic first, then services, then the target. The API removes the spec last.

use std::collections::BTreeSet;

use fm_api::event::Severity;
use fm_api::keys::RevisionId;
use fm_api::rollout::Leaving;

use super::draft::{Draft, after};
use super::why::Why;
use super::{adoption, edges, operations, preview};

/// Whether this release is to go: somebody deleted it, or a namesake has taken its name.
pub(super) fn wanted(draft: &Draft<'_>) -> bool {
    let asked =
        draft.world.spec.as_ref().is_some_and(|spec| {
            spec.deleted || (!spec.uid.is_empty() && spec.uid != draft.target.uid)
        });
    draft.target.deleting || asked
}

/// One step of it; `true` when nothing is left.
pub(super) fn step(draft: &mut Draft<'_>) -> (Why, bool) {
    operations::refuse_all(draft, "the release is being deleted");
    if !draft.target.deleting {
        begin(draft);
    }
    let before = draft.target.orphans.clone();
    if let Some(agents) = still_routed(draft) {
        return (waits(&agents), false);
    }
    let had = draft.target.revisions.len();
    let stays = adoption::stays(draft);
    draft
        .target
        .revisions
        .retain(|revision, _| stays.contains(revision));
    let changed = had != draft.target.revisions.len() || stays != before;
    draft.target.leaving.clear();
    draft.target.previews.clear();
    let generation = if changed {
        draft.next
    } else {
        draft.target.generation
    };
    match services(draft, generation) {
        Some(left) => (waits(&left), false),
        None => (waits("nothing is left"), true),
    }
}

fn waits(text: &str) -> Why {
    Why::Deleting {
        waits: text.to_owned(),
    }
}

fn begin(draft: &mut Draft<'_>) {
    let (now, next) = (draft.now, draft.next);
    let target = &mut draft.target;
    target.deleting = true;
    target.traffic = None;
    target.analysis = None;
    target.rollout = None;
    target.canary = None;
    target.resolve = None;
    target.experiment = None;
    target.previews.values_mut().for_each(preview::shut);
    let revisions: Vec<RevisionId> = target.revisions.keys().cloned().collect();
    for revision in revisions {
        if let Some(revision) = target.revisions.get_mut(&revision) {
            revision.draining = true;
        }
        // One that leaves already is named by no split since then.
        let unled = target.leaving.get(&revision).map_or(next, |l| l.unled);
        target.leaving.insert(
            revision,
            Leaving {
                unled,
                since: now,
                warm_until: None,
                inspected: false,
                draining_since: Some(now),
                generation: next,
            },
        );
    }
    draft.note(
        Severity::Normal,
        "Deleting",
        "traffic goes first, then services, then the rest".to_owned(),
    );
}

/// Which edges may still route to it, or still have connections open within the time for that.
fn still_routed(draft: &mut Draft<'_>) -> Option<String> {
    let reached = draft.routed() || !draft.target.previews.is_empty();
    // Nothing leaves any more once all of it has ended.
    if !reached || draft.target.leaving.is_empty() {
        return None;
    }
    let agents: Vec<&str> = draft
        .alive()
        .filter(|(_, seen)| seen.is_some_and(|seen| seen.traffic.is_some()))
        .map(|(instance, _)| instance)
        .collect();
    if !agents.is_empty() {
        return Some(format!("{} still routes to it", agents.join(", ")));
    }
    let open: Vec<(RevisionId, Leaving)> = draft.target.leaving.clone().into_iter().collect();
    let gone = open
        .iter()
        .flat_map(|(revision, leaving)| edges::gone_leading(draft, revision, leaving));
    let gone: BTreeSet<String> = gone.collect();
    if let Some(first) = gone.first() {
        let names: Vec<&str> = gone.iter().map(String::as_str).collect();
        return Some(format!(
            "{} may still lead to it, for its agent is gone: its tasks stay until it is back; {}",
            names.join(", "),
            edges::ends(first)
        ));
    }
    if (open.iter()).any(|(revision, leaving)| edges::may_lead_anywhere(draft, revision, leaving)) {
        return Some("an HAProxy still leads to it".to_owned());
    }
    let mut left = None;
    for (revision, leaving) in open {
        let since = leaving.draining_since.unwrap_or(leaving.since);
        let limit = after(since, draft.drain_limit());
        let seen = draft.alive().any(|(_, seen)| seen.is_some());
        if seen && draft.now < limit && !edges::drained(draft, &revision, leaving.generation) {
            draft.wake(limit);
            left = Some("open connections end".to_owned());
        }
    }
    left
}

/// What of it Swarm still shows, or may have before it took `generation` in.
fn services(draft: &Draft<'_>, generation: u64) -> Option<String> {
    match draft.swarm() {
        None if draft.world.records.is_empty() => None,
        None => Some("the swarm controller has not reported yet".to_owned()),
        Some(seen) => {
            if let Some(problem) = &seen.problem {
                Some(format!("Swarm cannot be seen ({problem})"))
            } else if !seen.revisions.is_empty() || seen.generation < generation {
                Some("Swarm removes its services".to_owned())
            } else {
                None
            }
        }
    }
}
