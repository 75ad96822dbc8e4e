//! Previews: revisions that are up beside the normal shares for a while.
//!
//! ```text
//! wanted ──▶ starting ──▶ up ──▶ its time over, aborted, or another took its place ──▶ closed ──▶ drained ──▶ gone
//!               └─ crash loop, no progress ─▶ closed
//! ```
//!
//! What must never happen: a preview in the split, or one that outlives its time, its limit or its release.

use std::collections::{BTreeMap, BTreeSet};

use fm_api::event::Severity;
use fm_api::keys::RevisionId;
use fm_api::release::{OnFailure, Route};
use fm_api::rollout::{Ending, Failed, HistoryEntry, Outcome, PreviewTarget, Progress};
use fm_api::status::reasons;
use fm_api::strategy::{Preview, PreviewMatch, filled};
use fm_api::target::RevisionTarget;

use super::draft::{Draft, after};
use super::rollout::Move;
use super::why::{PreviewUp, Scaling, Why};
use super::{failing, removal};

/// Whether the spec asks for previews.
pub(super) fn asked_for(draft: &Draft<'_>) -> bool {
    draft.settings().is_some_and(|s| s.preview.is_some())
}

/// Begins the preview that the spec asks for, or says how it does.
pub(super) fn wanted(draft: &mut Draft<'_>, wanted: &RevisionId) -> Move {
    let now = draft.now;
    let name = draft.name(wanted);
    if let Some(leaving) = draft.target.leaving.get_mut(wanted) {
        // It served, or was a preview before: those tasks go, and new ones come.
        leaving.warm_until = leaving.warm_until.map(|until| until.min(now));
        return Move::Wait(Why::StillLeaving { revision: name });
    }
    if let Some(at) = draft.target.expired.get(wanted) {
        let at = *at;
        return Move::Wait(Why::PreviewOver { revision: name, at });
    }
    if draft.target.previews.contains_key(wanted) {
        return Move::Wait(stands(draft, wanted));
    }
    begin(draft, wanted);
    Move::Again
}

fn begin(draft: &mut Draft<'_>, wanted: &RevisionId) {
    let routes = draft.settings().map(|s| s.routes.clone());
    let preview = fresh(draft, wanted, routes.unwrap_or_default());
    let replicas = draft.replicas();
    stand_up(draft, wanted, replicas, preview);
    tend(draft);
    let message = format!("{} begins as a preview", draft.name(wanted));
    draft.note(Severity::Normal, "PreviewStarted", message);
}

/// A revision beside the shares as it begins; nothing leads to it yet, and its time is told by what it follows.
pub(super) fn fresh(draft: &Draft<'_>, revision: &RevisionId, routes: Vec<Route>) -> PreviewTarget {
    PreviewTarget {
        since: draft.now,
        by: draft.settings().and_then(|s| s.changed_by.clone()),
        until: draft.now,
        hosts: Vec::new(),
        match_rules: Vec::new(),
        routes,
        came_up: false,
        closed: false,
        progress: Progress::begins(draft.now),
        blind_since: None,
        failed_before: draft.failed_tasks(revision),
        side: None,
    }
}

/// Its tasks start.
pub(super) fn stand_up(
    draft: &mut Draft<'_>,
    revision: &RevisionId,
    replicas: u32,
    preview: PreviewTarget,
) {
    let target = &mut draft.target;
    let wanted = RevisionTarget::new(replicas, None);
    target.revisions.insert(revision.clone(), wanted);
    target.previews.insert(revision.clone(), preview);
}

/// Looks after all of them: what they follow of the spec, who leads where, and whose time is over.
pub(super) fn tend(draft: &mut Draft<'_>) {
    for revision in open(draft) {
        follow(draft, &revision);
        watch(draft, &revision);
        if let Some(ending) = over(draft, &revision) {
            close(draft, &revision, ending);
        }
    }
    bound(draft);
    lead(draft);
}

/// Those that are not closed, the oldest first; what the spec asks for now is the newest.
fn open(draft: &Draft<'_>) -> Vec<RevisionId> {
    let wanted = draft.target.wanted.as_ref();
    let mut open: Vec<(bool, &PreviewTarget, &RevisionId)> = draft
        .target
        .previews
        .iter()
        .filter(|(_, preview)| !preview.closed && preview.side.is_none())
        .map(|(revision, preview)| (wanted == Some(revision), preview, revision))
        .collect();
    open.sort_by_key(|(wanted, preview, revision)| (*wanted, preview.since, *revision));
    open.into_iter()
        .map(|(_, _, revision)| revision.clone())
        .collect()
}

/// Time, tasks and routes are the spec's as it is now.
fn follow(draft: &mut Draft<'_>, revision: &RevisionId) {
    let Some(settings) = draft.target.settings.clone() else {
        return;
    };
    let publishes = draft.record(revision).is_some_and(|record| {
        let mut routes = settings.routes.iter();
        routes.all(|route| record.ports.contains(&route.port))
    });
    if let Some(target) = draft.target.revisions.get_mut(revision) {
        target.replicas = settings.replicas;
    }
    if let (Some(preview), Some(asked)) =
        (draft.target.previews.get_mut(revision), &settings.preview)
    {
        preview.until = after(preview.since, asked.ttl);
        if publishes {
            preview.routes = settings.routes;
        }
    }
}

/// Keeps the time since its tasks last made progress.
pub(super) fn watch(draft: &mut Draft<'_>, revision: &RevisionId) {
    let Some(mut preview) = draft.target.previews.get(revision).cloned() else {
        return;
    };
    let now = draft.now;
    if preview.side.is_none() {
        draft.wake(preview.until);
    }
    if draft.swarm_problem().is_some() || (!preview.routes.is_empty() && draft.no_agent()) {
        preview.blind_since.get_or_insert(now);
    } else {
        if let Some(since) = preview.blind_since.take() {
            let unseen = now.duration_since(since);
            preview.progress.at = preview.progress.at.checked_add(unseen).unwrap_or(now);
        }
        let up = is_up(draft, revision, &preview);
        preview.came_up |= up;
        let ready = draft.ready(revision);
        let healthy = healthy(draft, revision, &preview).unwrap_or(ready);
        preview.progress = failing::progressed(&preview.progress, now, ready, healthy, !up);
    }
    draft.target.previews.insert(revision.clone(), preview);
}

pub(super) fn is_up(draft: &Draft<'_>, revision: &RevisionId, preview: &PreviewTarget) -> bool {
    let needed = needed(draft, revision);
    draft.swarm_problem().is_none()
        && draft.ready(revision) >= needed
        && (preview.routes.is_empty()
            || healthy(draft, revision, preview).is_some_and(|n| n >= needed))
}

/// Tasks that are asked for.
fn needed(draft: &Draft<'_>, revision: &RevisionId) -> u32 {
    let target = draft.target.revisions.get(revision);
    target.map_or(0, |target| target.replicas)
}

/// Tasks healthy in HAProxy, the fewest over all live agents.
pub(super) fn healthy(
    draft: &Draft<'_>,
    revision: &RevisionId,
    preview: &PreviewTarget,
) -> Option<u32> {
    if preview.routes.is_empty() {
        return None;
    }
    draft
        .live()
        .map(|(_, seen)| {
            seen.and_then(|seen| seen.revisions.get(revision))
                .map_or(0, |servers| servers.healthy)
        })
        .min()
}

/// Why it is closed, if it is to be.
fn over(draft: &mut Draft<'_>, revision: &RevisionId) -> Option<Ending> {
    let preview = draft.target.previews.get(revision)?;
    if draft.now >= preview.until {
        let ttl = draft
            .settings()
            .and_then(|s| s.preview.as_ref())
            .map(|p| p.ttl);
        let ttl = ttl.map_or_else(String::new, |ttl| format!(" of {ttl}"));
        return Some(Ending {
            outcome: Outcome::Over,
            reason: reasons::PREVIEW_OVER.to_owned(),
            why: format!("its time{ttl} is over"),
        });
    }
    let pauses = draft
        .settings()
        .is_some_and(|s| s.on_failure == OnFailure::Pause);
    failure(draft, revision).filter(|_| !pauses)
}

/// Tasks that do not come up.
pub(super) fn failure(draft: &mut Draft<'_>, revision: &RevisionId) -> Option<Ending> {
    let preview = draft.target.previews.get(revision)?.clone();
    if preview.came_up || preview.blind_since.is_some() {
        return None;
    }
    let ends = |reason: &str, why: String| Ending {
        outcome: Outcome::Failed,
        reason: reason.to_owned(),
        why,
    };
    if draft.ready(revision) < needed(draft, revision)
        && let Some(why) = failing::crashes(draft, revision, preview.failed_before)
    {
        return Some(ends(reasons::CRASH_LOOP, why));
    }
    let limit = draft.settings()?.progress_deadline;
    let deadline = after(preview.progress.at, limit);
    if draft.now < deadline {
        draft.wake(deadline);
        return None;
    }
    let says = failing::says(draft, revision);
    let says = says.unwrap_or_else(|| "neither Docker nor HAProxy says why".to_owned());
    let why = format!("no progress of tasks for {limit}: {says}");
    Some(ends(reasons::PROGRESS_DEADLINE, why))
}

/// Nothing leads to it from now on; its connections end, then it goes.
pub(super) fn close(draft: &mut Draft<'_>, revision: &RevisionId, ending: Ending) {
    let now = draft.now;
    let Some(preview) = draft.target.previews.get_mut(revision) else {
        return;
    };
    shut(preview);
    let (started_at, by) = (preview.since, preview.by.clone());
    removal::drain(draft, revision);
    let severity = match ending.outcome {
        Outcome::Over => {
            draft.target.expired.insert(revision.clone(), now);
            Severity::Normal
        }
        Outcome::Failed | Outcome::Aborted | Outcome::RolledBack => {
            let (reason, why) = (ending.reason.clone(), ending.why.clone());
            let failed = Failed {
                at: now,
                reason,
                why,
                unbegun: false,
            };
            draft.target.failed.insert(revision.clone(), failed);
            Severity::Warning
        }
        Outcome::Promoted | Outcome::Replaced => Severity::Normal,
    };
    let message = format!(
        "the preview of {} ends: {}",
        draft.name(revision),
        ending.why
    );
    draft.note(severity, "PreviewEnded", message);
    let words = std::mem::take(&mut draft.target.words);
    let record = draft.record(revision);
    let entry = HistoryEntry {
        revision: revision.clone(),
        number: record.map_or(0, |record| record.number),
        image: record.map(|r| r.workload.image.clone()).unwrap_or_default(),
        by,
        started_at,
        ended_at: now,
        outcome: ending.outcome,
        reason: ending.reason,
        why: ending.why,
        thawed: None,
        words,
        afterwards: Vec::new(),
    };
    draft.target.history.push(entry);
}

/// Leads nowhere.
pub(super) fn shut(preview: &mut PreviewTarget) {
    preview.closed = true;
    preview.hosts.clear();
    preview.match_rules.clear();
}

/// No more at once than the limit.
fn bound(draft: &mut Draft<'_>) {
    let Some(asked) = draft.settings().and_then(|s| s.preview.clone()) else {
        return;
    };
    let open = open(draft);
    let excess = open.len().saturating_sub(asked.limit as usize);
    for revision in open.iter().take(excess) {
        let why = format!("no more than {} are up at once", asked.limit);
        close(draft, revision, replaced(why));
    }
}

/// Whether so many earlier ones still have connections that another one has to wait: applied each second, they would
/// become more and more.
pub(super) fn crowded(draft: &Draft<'_>, wanted: &RevisionId) -> bool {
    let Some(asked) = draft.settings().and_then(|s| s.preview.as_ref()) else {
        return false;
    };
    let previews = draft.target.previews.values();
    let going = previews.filter(|p| p.closed && p.side.is_none()).count();
    !draft.target.previews.contains_key(wanted) && going >= asked.limit as usize
}

fn replaced(why: String) -> Ending {
    Ending {
        outcome: Outcome::Replaced,
        reason: reasons::NEW_REVISION.to_owned(),
        why,
    }
}

/// What leads to a preview.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Address {
    Host(String),
    Header(String, String),
}

fn addresses(asked: &Preview, revision: &RevisionId) -> BTreeSet<Address> {
    // Namespace and name were filled in when the spec was taken in.
    let fill = |text: &String| filled(text, Some(revision.as_str()), "", "");
    let hosts = asked.hosts.iter().map(|host| Address::Host(fill(host)));
    let headers = asked
        .match_rules
        .iter()
        .map(|rule| Address::Header(rule.header.clone(), fill(&rule.value)));
    hosts.chain(headers).collect()
}

/// Each address leads to the newest that came up; to the first while none has. One that lost all of its own goes.
fn lead(draft: &mut Draft<'_>) {
    let Some(asked) = draft.settings().and_then(|s| s.preview.clone()) else {
        return;
    };
    let open = open(draft);
    let came_up = |draft: &Draft<'_>, revision: &RevisionId| {
        let preview = draft.target.previews.get(revision);
        preview.is_some_and(|preview| preview.came_up)
    };
    let mut holders: BTreeMap<Address, RevisionId> = BTreeMap::new();
    for revision in &open {
        for address in addresses(&asked, revision) {
            if came_up(draft, revision) || !holders.contains_key(&address) {
                holders.insert(address, revision.clone());
            }
        }
    }
    for (index, revision) in open.iter().enumerate() {
        let held = holders.iter().filter(|(_, holder)| *holder == revision);
        let held: Vec<&Address> = held.map(|(address, _)| address).collect();
        let newer = open
            .iter()
            .skip(index + 1)
            .find(|newer| came_up(draft, newer));
        if let Some(newer) = newer
            && held.is_empty()
            && !addresses(&asked, revision).is_empty()
        {
            let why = format!("{} has taken its place", draft.name(newer));
            close(draft, revision, replaced(why));
            continue;
        }
        if let Some(preview) = draft.target.previews.get_mut(revision) {
            (preview.hosts, preview.match_rules) = (Vec::new(), Vec::new());
            for address in held {
                match address.clone() {
                    Address::Host(host) => preview.hosts.push(host),
                    Address::Header(header, value) => {
                        preview.match_rules.push(PreviewMatch { header, value });
                    }
                }
            }
        }
    }
}

/// How the preview that the spec asks for does.
fn stands(draft: &mut Draft<'_>, revision: &RevisionId) -> Why {
    let failure = failure(draft, revision);
    let Some(preview) = draft.target.previews.get(revision) else {
        return Why::Nothing;
    };
    let name = draft.name(revision);
    if let Some(ending) = failure {
        return Why::PreviewFails {
            revision: name,
            reason: ending.reason,
            why: ending.why,
        };
    }
    if let Some(problem) = draft.swarm_problem() {
        return Why::SwarmUnknown { problem };
    }
    if !preview.routes.is_empty() && draft.no_agent() {
        return Why::NoAgent;
    }
    let limit = draft.settings().map(|s| s.progress_deadline);
    if !is_up(draft, revision, preview) {
        return Why::Scaling(Scaling {
            revision: name,
            needed: draft.replicas(),
            ready: draft.ready(revision),
            healthy: healthy(draft, revision, preview),
            says: failing::says(draft, revision),
            no_node: failing::no_node(draft, revision),
            deadline: limit
                .filter(|_| !preview.came_up)
                .map(|limit| after(preview.progress.at, limit)),
        });
    }
    let headers = preview.match_rules.iter();
    let headers = headers.map(|rule| format!("{}: {}", rule.header, rule.value));
    Why::Preview(PreviewUp {
        revision: name,
        leads: preview.hosts.iter().cloned().chain(headers).collect(),
        until: preview.until,
        ready: draft.ready(revision),
        replicas: draft.replicas(),
        others: open(draft).len().saturating_sub(1),
    })
}
