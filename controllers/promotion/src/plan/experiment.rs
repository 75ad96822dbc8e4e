//! Experiments: a baseline and its candidates, up beside stable, each with a share that nothing else of the split knows.
//!
//! ```text
//! asked for ──▶ images known ──▶ all started at once ──▶ all up: shares, trials ──▶ each decided, time over, aborted ──▶ ended
//!                                                  harm, or tasks that do not come up: that one side goes alone
//! ```
//!
//! Its sides are previews that no host and no header leads to, so they come up, drain and go as previews do. What must
//! never happen: a share for a side that is not up; a side that outlives its experiment; a promotion.

use fm_api::event::Severity;
use fm_api::experiment::{
    BASELINE, Ended, Experiment, ExperimentTarget, SideOutcome, SideResult, SideTarget,
};
use fm_api::keys::RevisionId;
use fm_api::quantity::{Span, Weight};
use fm_api::target::AnalysisTarget;
use fm_api::verdict::{Decision, Verdict};
use jiff::Timestamp;

use super::draft::{Draft, after};
use super::why::Why;
use super::{gates, intake, preview, removal, traffic};

mod starting;
mod telling;

use starting::{resolve, start};
pub(super) use telling::{harm, says, why};

/// Looks after it: begins what the spec asks for, and moves what runs as far as it goes now.
pub(super) fn tend(draft: &mut Draft<'_>) {
    follow(draft);
    if draft.target.experimenting().is_none() {
        return;
    }
    resolve(draft);
    start(draft);
    watch(draft);
    judge(draft);
    share(draft);
    over(draft);
}

fn running<'a>(draft: &'a mut Draft<'_>) -> Option<&'a mut ExperimentTarget> {
    let experiment = draft.target.experiment.as_mut();
    experiment.filter(|experiment| experiment.ended.is_none())
}

fn side_mut<'a>(draft: &'a mut Draft<'_>, name: &str) -> Option<&'a mut SideTarget> {
    running(draft)?.named_mut(name)
}

/// The sides as they are now.
fn sides(draft: &Draft<'_>) -> Vec<SideTarget> {
    let running = draft.target.experimenting();
    running.map_or_else(Vec::new, |experiment| experiment.sides.clone())
}

/// What the spec asks for runs once; what it asks for no more ends.
fn follow(draft: &mut Draft<'_>) {
    let Some(settings) = draft.settings() else {
        return;
    };
    let asked = settings.experiment.clone();
    if let Some(there) = &draft.target.experiment {
        if asked.as_ref() == Some(&there.plan) {
            return;
        }
        end(draft, "the manifest does not ask for it any more");
    }
    // Its sides go first: two at once would be more tasks than anybody asked for.
    if draft.target.previews.values().any(|p| p.side.is_some()) {
        return;
    }
    draft.target.experiment = None;
    if let Some(plan) = asked {
        begin(draft, plan);
    }
}

fn begin(draft: &mut Draft<'_>, plan: Experiment) {
    let target = &draft.target;
    let settled = target.rollout.is_none() && target.resolve.is_none() && target.traffic.is_some();
    let Some(stable) = target.stable.clone().filter(|_| settled) else {
        return;
    };
    if target.wanted.as_ref() != Some(&stable) || preview::asked_for(draft) {
        return;
    }
    let side = |name: &str, weight: Weight| SideTarget {
        name: name.to_owned(),
        weight,
        revision: None,
        image: None,
        shared: false,
        analysis: None,
        outcome: None,
    };
    let mut sides = vec![side(BASELINE, plan.baseline.weight)];
    sides.extend(
        plan.candidates
            .iter()
            .map(|one| side(&one.name, one.weight)),
    );
    let names: Vec<&str> = plan.candidates.iter().map(|c| c.name.as_str()).collect();
    let message = format!(
        "{} against a baseline of {}",
        names.join(", "),
        draft.name(&stable)
    );
    draft.target.experiment = Some(ExperimentTarget {
        number: draft.next,
        stable,
        began: draft.now,
        by: draft.settings().and_then(|s| s.changed_by.clone()),
        shares_generation: 0,
        since: None,
        sides,
        ended: None,
        plan,
    });
    draft.note(Severity::Normal, "ExperimentStarted", message);
}

/// Sides that do not come up.
fn watch(draft: &mut Draft<'_>) {
    for side in sides(draft) {
        let Some(revision) = side.revision.filter(|_| side.outcome.is_none()) else {
            continue;
        };
        if !draft.target.previews.contains_key(&revision) {
            continue;
        }
        preview::watch(draft, &revision);
        if let Some(ending) = preview::failure(draft, &revision) {
            take_out(draft, &side.name, SideResult::Failed, ending.why);
        }
    }
}

/// What analysis concludes of a candidate; what it said of another run says nothing.
fn verdict<'a>(draft: &Draft<'a>, side: &SideTarget) -> Option<&'a Verdict> {
    let run = &side.analysis.as_ref()?.run;
    let verdict = draft.world.trials.get(&side.name)?;
    (verdict.uid == draft.target.uid && verdict.run == *run).then_some(verdict)
}

fn judge(draft: &mut Draft<'_>) {
    for side in sides(draft) {
        let Some(verdict) = verdict(draft, &side).filter(|_| side.shared) else {
            continue;
        };
        let result = match verdict.decision {
            Decision::Wait => continue,
            // Harm counts to the end, also of what was good before.
            Decision::Rollback => {
                let why = verdict.sentence.clone();
                take_out(draft, &side.name, SideResult::Harms, why);
                continue;
            }
            Decision::Promote => SideResult::Good,
            Decision::Inconclusive => SideResult::Inconclusive,
        };
        if side.outcome.is_none() {
            conclude(draft, &side.name, result, verdict.sentence.clone());
        }
    }
}

fn conclude(draft: &mut Draft<'_>, name: &str, result: SideResult, why: String) {
    let at = draft.now;
    let (severity, reason) = match result {
        SideResult::Good => (Severity::Normal, "CandidateGood"),
        SideResult::Harms => (Severity::Warning, "CandidateHarms"),
        SideResult::Inconclusive => (Severity::Normal, "CandidateInconclusive"),
        SideResult::Failed => (Severity::Warning, "CandidateFailed"),
    };
    draft.note(severity, reason, format!("{name}: {why}"));
    if let Some(side) = side_mut(draft, name) {
        side.outcome = Some(SideOutcome { result, at, why });
    }
}

/// One side goes, with its share, and none of the others.
fn take_out(draft: &mut Draft<'_>, name: &str, result: SideResult, why: String) {
    conclude(draft, name, result, why);
    close(draft, name);
}

/// Nothing is led to it from now on; its connections end, then it goes.
fn close(draft: &mut Draft<'_>, name: &str) {
    let next = draft.next;
    let Some(experiment) = running(draft) else {
        return;
    };
    let Some(side) = experiment.named_mut(name) else {
        return;
    };
    let (shared, revision) = (std::mem::take(&mut side.shared), side.revision.clone());
    if shared {
        experiment.shares_generation = next;
    }
    let Some(revision) = revision else {
        return;
    };
    let open = draft.target.previews.get_mut(&revision);
    let Some(open) = open.filter(|open| !open.closed) else {
        return;
    };
    preview::shut(open);
    removal::drain(draft, &revision);
}

/// What keeps the shares from being given, or from being in force.
fn waits(draft: &mut Draft<'_>) -> Option<Why> {
    if let Some(why) = traffic::not_in_force(draft).or_else(|| traffic::frozen(draft)) {
        return Some(why);
    }
    gates::frozen(draft, None)
}

/// Once all that are left are up, each gets its share, in one write.
fn share(draft: &mut Draft<'_>) {
    let Some(experiment) = draft.target.experimenting().cloned() else {
        return;
    };
    if experiment.shares_generation != 0 && experiment.shared() {
        return in_force(draft, &experiment);
    }
    let open = experiment.sides.iter().filter(|s| s.outcome.is_none());
    let names: Vec<(String, Option<RevisionId>)> = open
        .map(|side| (side.name.clone(), side.revision.clone()))
        .collect();
    let up = names.iter().all(|(_, revision)| {
        revision.as_ref().is_some_and(|revision| {
            let there = draft.target.previews.get(revision);
            there.is_some_and(|there| preview::is_up(draft, revision, there))
        })
    });
    let baseline = names.iter().any(|(name, _)| name == BASELINE);
    if !up || !baseline || names.len() < 2 || waits(draft).is_some() {
        return;
    }
    let Some(seed) = new_seed(draft) else {
        return;
    };
    for (name, _) in &names {
        let analysis = trial(draft, &experiment, name, &seed);
        if let Some(side) = side_mut(draft, name) {
            side.shared = true;
            side.analysis = analysis;
        }
    }
    let next = draft.next;
    if let Some(experiment) = running(draft) {
        experiment.shares_generation = next;
    }
    let message = "all sides are up: each gets its share".to_owned();
    draft.note(Severity::Normal, "ExperimentShares", message);
}

/// Other users than those that the last canary had.
fn new_seed(draft: &mut Draft<'_>) -> Option<String> {
    let seed = format!("{:08x}", draft.world.fresh_seed);
    let next = draft.next;
    let split = draft.target.traffic.as_mut()?;
    split.seed.clone_from(&seed);
    split.generation = next;
    Some(seed)
}

fn trial(
    draft: &Draft<'_>,
    experiment: &ExperimentTarget,
    name: &str,
    seed: &str,
) -> Option<AnalysisTarget> {
    let revision = |name: &str| experiment.named(name)?.revision.clone();
    let settings = draft.settings()?;
    if name == BASELINE || settings.analysis.disabled {
        return None;
    }
    let criteria = experiment.plan.criteria(&settings.analysis);
    let fresh = AnalysisTarget::new(&revision(name)?, &revision(BASELINE)?, seed, &criteria);
    Some(AnalysisTarget {
        request_timeout: intake::request_timeout(draft),
        ..fresh
    })
}

/// Time counts from when every live agent has the shares in force.
fn in_force(draft: &mut Draft<'_>, experiment: &ExperimentTarget) {
    if experiment.since.is_some() || waits(draft).is_some() {
        return;
    }
    let wanted = experiment.shares_generation;
    let taken_in = draft
        .live()
        .all(|(_, seen)| seen.is_some_and(|seen| seen.generation >= wanted));
    if !taken_in {
        return;
    }
    let now = draft.now;
    if let Some(experiment) = running(draft) {
        experiment.since = Some(now);
        let judged = experiment.sides.iter_mut();
        for analysis in judged.filter_map(|side| side.analysis.as_mut()) {
            analysis.since = Some(now);
            analysis.awaiting_since = Some(now);
        }
    }
}

/// Whether it has ended.
fn over(draft: &mut Draft<'_>) {
    let Some(experiment) = draft.target.experimenting().cloned() else {
        return;
    };
    let (baseline, candidates): (Vec<_>, Vec<_>) = experiment
        .sides
        .iter()
        .partition(|side| side.name == BASELINE);
    if draft.target.stable.as_ref() != Some(&experiment.stable) || !draft.routed() {
        return end(draft, "what it was compared beside serves no more");
    }
    if let Some(lost) = baseline.iter().find_map(|side| side.outcome.as_ref()) {
        let why = format!("there is no baseline: {}", lost.why);
        return end(draft, &why);
    }
    if candidates.iter().all(|side| side.outcome.is_some()) {
        return end(draft, "each candidate is decided");
    }
    let Some(until) = until(&experiment) else {
        return;
    };
    if draft.now < until {
        draft.wake(until);
        return;
    }
    let span = experiment.plan.duration;
    for side in candidates.iter().filter(|side| side.outcome.is_none()) {
        let why = verdict(draft, side).map_or_else(
            || "it was not judged".to_owned(),
            |verdict| verdict.sentence.clone(),
        );
        conclude(draft, &side.name, SideResult::Inconclusive, why);
    }
    end(draft, &format!("its time of {span} is over"));
}

/// Until when it runs at most; unknown before the shares are in force.
pub(super) fn until(experiment: &ExperimentTarget) -> Option<Timestamp> {
    let duration: Span = experiment.plan.duration;
    Some(after(experiment.since?, duration))
}

/// Ends what runs: stable takes every share back.
pub(super) fn end(draft: &mut Draft<'_>, why: &str) {
    if running(draft).is_none() {
        return;
    }
    let asked = draft.target.resolve.as_ref();
    if asked.is_some_and(|asked| asked.side.is_some()) {
        draft.target.resolve = None;
    }
    for side in sides(draft) {
        close(draft, &side.name);
    }
    let at = draft.now;
    if let Some(experiment) = running(draft) {
        experiment.ended = Some(Ended {
            at,
            why: why.to_owned(),
        });
    }
    let message = format!("{why}; stable has every share, and nothing is promoted");
    draft.note(Severity::Normal, "ExperimentEnded", message);
}
