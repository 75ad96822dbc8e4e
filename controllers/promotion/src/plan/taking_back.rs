//! What ends a trial early, and how stable gets everything back. Looked at first, in every stage; what shows that it fails
//! is in [`super::failing`].

use fm_api::event::Severity;
use fm_api::quantity::{Span, Weight};
use fm_api::release::{OnFailure, OnNewRevision};
use fm_api::rollout::{Ending, Failed, FailedGate, HistoryEntry, Outcome, Pause, Stage};
use fm_api::status::reasons;

use super::draft::Draft;
use super::rollout::Move;
use super::why::Why;
use super::{edges, gates, group, removal, returning, traffic};

/// Why the spec wants this trial no more, if so.
pub(super) fn superseded(draft: &Draft<'_>) -> Option<Ending> {
    let rollout = draft.target.rollout.as_ref()?;
    let wanted = draft.target.wanted.as_ref()?;
    if *wanted == rollout.revision {
        return None;
    }
    let (reason, why) = if draft.target.stable.as_ref() == Some(wanted) {
        (
            reasons::STABLE_REAPPLIED,
            "the spec asks for stable again".to_owned(),
        )
    } else {
        let settings = draft.settings()?;
        let replace = match settings.on_new_revision {
            OnNewRevision::Replace => true,
            // A spec that asks for a failed revision has nothing to wait for.
            OnNewRevision::Queue | OnNewRevision::Reject => {
                draft.target.failed.contains_key(wanted)
            }
        };
        if !replace && draft.target.stable.is_some() {
            return None;
        }
        (
            reasons::NEW_REVISION,
            format!("the spec asks for {}", draft.name(wanted)),
        )
    };
    Some(Ending {
        outcome: Outcome::Replaced,
        reason: reason.to_owned(),
        why,
    })
}

/// A rule's word: back, or stop where it is, as the spec says. `gate`: the one that failed, if that is the rule.
pub(super) fn fail(draft: &mut Draft<'_>, ending: Ending, gate: Option<FailedGate>) -> Move {
    let revision = draft.target.rollout.as_ref().map(|r| r.revision.clone());
    let locked = revision.and_then(|revision| gates::irreversible(draft, &revision));
    let pause = draft
        .settings()
        .is_some_and(|settings| settings.on_failure == OnFailure::Pause);
    let why = match locked {
        Some(job) => format!("{}; {}", ending.why, no_way_back(&job)),
        None if pause => ending.why.clone(),
        None => String::new(),
    };
    if why.is_empty() {
        begin(draft, ending);
        return Move::Again;
    }
    let now = draft.now;
    // Harm that is shown of one that a gate has stopped is what a person must decide on first.
    let told = |pause: &Pause| pause.by.is_none() && (pause.gate.is_none() || gate.is_some());
    if let Some(rollout) = &mut draft.target.rollout
        && !rollout.paused.as_ref().is_some_and(told)
    {
        rollout.paused = Some(Pause {
            at: now,
            by: None,
            why: why.clone(),
            gate: gate.clone(),
        });
        draft.note(Severity::Warning, &ending.reason, format!("stopped: {why}"));
    }
    Move::Wait(Why::Paused {
        by: None,
        why,
        gate,
    })
}

/// What harm does to the rollout from now on, for people.
pub(super) fn upon_harm(draft: &Draft<'_>) -> String {
    let (Some(rollout), Some(settings)) = (&draft.target.rollout, draft.settings()) else {
        return "no rollout runs".to_owned();
    };
    if draft.target.stable.is_none() {
        return "there is nothing yet that harm could take it back to".to_owned();
    }
    if rollout.overruled {
        return "harm takes it back no more".to_owned();
    }
    if let Some(job) = gates::irreversible(draft, &rollout.revision) {
        return format!(
            "harm does not take it back by itself, for the job {job} is not reversible"
        );
    }
    match settings.on_failure {
        OnFailure::Pause => "harm does not take it back by itself (onFailure: pause)".to_owned(),
        OnFailure::Rollback if settings.analysis.disabled => {
            "nothing looks for harm, for the analysis is off".to_owned()
        }
        OnFailure::Rollback => "harm still takes it back".to_owned(),
    }
}

/// What people are told where a job forbids going back.
pub(super) fn no_way_back(job: &str) -> String {
    format!(
        "the job {job} is not reversible, so it is not taken back by itself (`rollout abort --force` does it)"
    )
}

/// Begins to take the canary back. Nothing is waited for.
pub(super) fn begin(draft: &mut Draft<'_>, ending: Ending) {
    let now = draft.now;
    let returns_from = returning::begins(draft, ending.outcome);
    let Some(rollout) = &mut draft.target.rollout else {
        return;
    };
    rollout.returns_from = returns_from;
    rollout.stage = Stage::RollingBack;
    rollout.stage_since = now;
    rollout.paused = None;
    rollout.ending = Some(ending.clone());
    let revision = rollout.revision.clone();
    draft.target.analysis = None;
    match ending.outcome {
        // It begins again by itself once the other one has not failed any more.
        Outcome::RolledBack if group::for_another(&ending) => {}
        Outcome::RolledBack | Outcome::Aborted | Outcome::Failed => {
            let failed = Failed {
                at: now,
                reason: ending.reason.clone(),
                why: ending.why.clone(),
                unbegun: false,
            };
            draft.target.failed.insert(revision.clone(), failed);
        }
        Outcome::Promoted | Outcome::Replaced | Outcome::Over => {}
    }
    let message = format!("{} is taken back: {}", draft.name(&revision), ending.why);
    let severity = match ending.outcome {
        Outcome::RolledBack | Outcome::Failed => Severity::Warning,
        Outcome::Promoted | Outcome::Aborted | Outcome::Replaced | Outcome::Over => {
            Severity::Normal
        }
    };
    draft.note(severity, "TakingBack", message);
    back_to_stable(draft, true);
}

/// Whether stable cannot serve and the canary can, on its way back.
fn stable_broken(draft: &Draft<'_>, begins: bool) -> bool {
    let (Some(rollout), Some(stable)) = (&draft.target.rollout, &draft.target.stable) else {
        return false;
    };
    let canary = &rollout.revision;
    let split = draft.target.traffic.as_ref();
    let kept = split.is_some_and(|split| split.canary.is_some() && split.weight == Weight::FULL);
    let broken = if draft.swarm_problem().is_some() {
        // Not seen: whichever side was chosen last on the way back stays. A switch that is only now taken back was no
        // such choice.
        kept && !begins
    } else {
        draft.replicas() > 0
            && draft.ready(stable) == 0
            && draft.ready(canary) > 0
            && draft.healthy_somewhere(canary) > 0
    };
    broken && draft.routed()
}

/// Whether the canary is all that serves while it is to be taken back.
pub(super) fn kept_for_stable(draft: &Draft<'_>) -> bool {
    let rollout = draft.target.rollout.as_ref();
    rollout.is_some_and(|rollout| rollout.stage == Stage::RollingBack)
        && stable_broken(draft, false)
}

/// Gives stable everything, unless stable cannot serve and the canary can.
fn back_to_stable(draft: &mut Draft<'_>, begins: bool) -> Option<Why> {
    let rollout = draft.target.rollout.clone()?;
    let stable = draft.target.stable.clone()?;
    let canary = rollout.revision.clone();
    if stable_broken(draft, begins) {
        traffic::set(draft, &stable, Some(&canary), Weight::FULL);
        return Some(Why::StableBroken {
            why: rollout.ending.map(|e| e.why).unwrap_or_default(),
            canary: draft.ready(&canary),
        });
    }
    if draft.routed()
        && let Some((weight, until)) = returning::keeps(draft, &rollout)
    {
        traffic::set(draft, &stable, Some(&canary), weight);
        return Some(Why::Returning {
            why: rollout.ending.map(|e| e.why).unwrap_or_default(),
            weight,
            until,
        });
    }
    if let Some(rollout) = &mut draft.target.rollout {
        // Its tasks may be seen again: what was given back stays given back.
        rollout.returns_from = None;
    }
    if draft.target.traffic.is_some() {
        traffic::set(draft, &stable, None, Weight::ZERO);
    }
    None
}

/// The stage in which stable takes everything back.
pub(super) fn step(draft: &mut Draft<'_>) -> Move {
    let Some(rollout) = draft.target.rollout.clone() else {
        return Move::Again;
    };
    if let Some(why) = back_to_stable(draft, false) {
        // Somebody wants a third revision, or said yes to this one, and the canary is all that serves: it takes stable's
        // place.
        let for_another = rollout.ending.as_ref().is_some_and(group::for_another);
        let wanted = draft.target.wanted.as_ref().is_some_and(|wanted| {
            draft.target.stable.as_ref() != Some(wanted)
                && !draft.target.failed.contains_key(wanted)
                && !(*wanted == rollout.revision && for_another)
        });
        if wanted && matches!(why, Why::StableBroken { .. }) {
            super::rollout::switch(draft);
            return Move::Again;
        }
        return Move::Wait(why);
    }
    if let Some(cause) = traffic::not_in_force(draft) {
        // Only who lives is waited for: a gone edge keeps the tasks, not the way back.
        let gone = edges::gone_naming(draft, &rollout.revision);
        let cause = match cause {
            Why::NoAgent if !gone.is_empty() => Why::AgentGone { agents: gone },
            cause => cause,
        };
        return Move::Wait(Why::TakingBack {
            why: rollout.ending.map(|e| e.why).unwrap_or_default(),
            cause: Box::new(cause),
        });
    }
    close(draft);
    returning::cut(draft, &rollout.revision);
    let sound = rollout
        .ending
        .is_some_and(|e| e.outcome == Outcome::Replaced || group::for_another(&e));
    if sound {
        removal::leave(draft, &rollout.revision, Span::ZERO);
    } else {
        removal::leave_inspected(draft, &rollout.revision);
    }
    Move::Again
}

/// Ends the rollout and writes it into the history.
pub(super) fn close(draft: &mut Draft<'_>) {
    let Some(rollout) = draft.target.rollout.take() else {
        return;
    };
    draft.target.canary = None;
    let ending = rollout.ending.clone().unwrap_or(Ending {
        outcome: Outcome::Promoted,
        reason: reasons::PROMOTED.to_owned(),
        why: "it serves everything".to_owned(),
    });
    let record = draft.record(&rollout.revision);
    let entry = HistoryEntry {
        revision: rollout.revision.clone(),
        number: record.map_or(0, |record| record.number),
        image: record.map(|r| r.workload.image.clone()).unwrap_or_default(),
        by: rollout.by.clone(),
        started_at: rollout.started_at,
        ended_at: draft.now,
        outcome: ending.outcome,
        reason: ending.reason,
        why: ending.why,
        thawed: rollout.thawed.clone(),
        words: rollout.words.clone(),
        afterwards: Vec::new(),
    };
    gates::tell(draft, &rollout, &entry);
    let (severity, word) = match entry.outcome {
        Outcome::Promoted => (Severity::Normal, "Promoted"),
        Outcome::RolledBack => (Severity::Warning, "RolledBack"),
        Outcome::Aborted => (Severity::Normal, "Aborted"),
        Outcome::Replaced => (Severity::Normal, "Replaced"),
        Outcome::Failed => (Severity::Warning, "Failed"),
        Outcome::Over => (Severity::Normal, "Over"),
    };
    let message = format!("{}: {}", draft.name(&entry.revision), entry.why);
    draft.target.history.push(entry);
    draft.note(severity, word, message);
}
