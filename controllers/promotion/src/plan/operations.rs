//! People's words. Each is answered once, whatever the answer; the same id again changes nothing.

use fm_api::event::Severity;
use fm_api::keys::RevisionId;
use fm_api::operation::{Operation, Verb};
use fm_api::release::Approval;
use fm_api::rollout::{FailedGate, Pause, Stage, Thawed, Word};
use fm_api::status::OperationAnswer;

use super::draft::Draft;
use super::why::Why;
use super::{gates, hold, intake, rollout, taking_back};

mod aborting;
mod promoting;
mod retrying;

/// How many ids of answered operations are remembered.
const REMEMBERED: usize = 32;

type Answer = Result<String, String>;

/// Answers everything that was asked, in the order it was asked.
pub(super) fn answer(draft: &mut Draft<'_>) {
    each(draft, one);
}

/// Refuses everything that was asked.
pub(super) fn refuse_all(draft: &mut Draft<'_>, why: &str) {
    each(draft, |_, _| Err(why.to_owned()));
}

fn each(draft: &mut Draft<'_>, decide: impl Fn(&mut Draft<'_>, &Operation) -> Answer) {
    let mut asked: Vec<&Operation> = draft.world.operations.iter().collect();
    asked.sort_by(|a, b| (a.at, &a.id).cmp(&(b.at, &b.id)));
    for operation in asked {
        draft.answered.push(operation.id.clone());
        if draft.target.answered.contains(&operation.id) {
            continue;
        }
        let answer = decide(draft, operation);
        record(draft, operation, answer);
    }
}

fn record(draft: &mut Draft<'_>, operation: &Operation, answer: Answer) {
    let (accepted, message) = match answer {
        Ok(message) => (true, message),
        Err(message) => (false, message),
    };
    draft.target.answered.push(operation.id.clone());
    let excess = draft.target.answered.len().saturating_sub(REMEMBERED);
    draft.target.answered.drain(..excess);
    let (severity, reason) = if accepted {
        (Severity::Normal, "OperationAccepted")
    } else {
        (Severity::Warning, "OperationRefused")
    };
    let verb = asked_to(operation);
    let why = operation
        .why
        .as_ref()
        .map_or_else(String::new, |why| format!(" ({why})"));
    let who = by(operation);
    draft.note(
        severity,
        reason,
        format!("{who} asked to {verb}{why}: {message}"),
    );
    if accepted {
        keep(draft, operation, &message);
    }
    draft.answers.push(OperationAnswer {
        id: operation.id.clone(),
        operation: operation.verb,
        by: operation.by.clone(),
        at: draft.now,
        accepted,
        message,
    });
}

/// What was asked, for people.
fn asked_to(operation: &Operation) -> String {
    let flags = [
        (operation.full, " --full"),
        (operation.force, " --force"),
        (operation.override_freeze, " --override-freeze"),
    ];
    let flags = flags.iter().filter(|(given, _)| *given);
    let flags: String = flags.map(|(_, flag)| *flag).collect();
    let verb = match operation.verb {
        Verb::Promote => "promote",
        Verb::Abort => "abort",
        Verb::Retry => "retry",
        Verb::Pause => "pause",
        Verb::Resume => "resume",
        Verb::Undo => "undo",
        Verb::Restart => "restart",
        Verb::Hold => "hold",
        Verb::EndHold => "end the hold",
    };
    format!("{verb}{flags}")
}

/// The word stays with the rollout that it was said of, or with the one that it lets begin; at rest with the last one.
fn keep(draft: &mut Draft<'_>, operation: &Operation, answer: &str) {
    let word = Word {
        asked: asked_to(operation),
        by: by(operation),
        at: draft.now,
        why: operation.why.clone(),
        answer: answer.to_owned(),
    };
    let back = operation.revision.is_some() && operation.revision == draft.target.stable;
    let begins = match operation.verb {
        Verb::Undo => !back,
        Verb::Retry => !back && !goes_on(draft, operation),
        Verb::Promote
        | Verb::Abort
        | Verb::Pause
        | Verb::Resume
        | Verb::Restart
        | Verb::Hold
        | Verb::EndHold => false,
    };
    let target = &mut draft.target;
    let words = match (&mut target.rollout, target.history.last_mut()) {
        (Some(_) | None, _) if begins => &mut target.words,
        (Some(rollout), _) => &mut rollout.words,
        (None, Some(last)) => &mut last.afterwards,
        (None, None) => &mut target.words,
    };
    words.push(word);
    let excess = words.len().saturating_sub(REMEMBERED);
    words.drain(..excess);
}

/// Whether what a retry asks for is no other rollout: the one that runs goes on by it, or at rest an experiment begins anew.
fn goes_on(draft: &Draft<'_>, operation: &Operation) -> bool {
    let target = &draft.target;
    let meant = operation.revision.as_ref().or(target.wanted.as_ref());
    match &target.rollout {
        Some(run) => {
            let stays = run.stage != Stage::RollingBack || taking_back::kept_for_stable(draft);
            stays && meant == Some(&run.revision)
        }
        None => meant.is_some() && meant == target.stable.as_ref(),
    }
}

fn by(operation: &Operation) -> String {
    if operation.by.is_empty() {
        "somebody".to_owned()
    } else {
        operation.by.clone()
    }
}

fn one(draft: &mut Draft<'_>, operation: &Operation) -> Answer {
    if draft.settings().is_none() {
        return Err("the release has no usable spec yet".to_owned());
    }
    if let Some(revision) = &operation.revision {
        meant(draft, operation.verb, revision)?;
    }
    if let Some(held) = &draft.target.held {
        let allowed = match operation.verb {
            Verb::Abort | Verb::Hold | Verb::EndHold => true,
            // What the manifest asks for acts once the hold is over.
            Verb::Undo => !operation.force,
            Verb::Promote | Verb::Retry | Verb::Pause | Verb::Resume | Verb::Restart => false,
        };
        if !allowed {
            return Err(format!("it is held by {}: end the hold first", held.by));
        }
    }
    match operation.verb {
        Verb::Hold => Ok(hold::begin(draft, operation, by(operation))),
        Verb::EndHold => Ok(hold::end(draft)),
        Verb::Promote if operation.override_freeze => thaw(draft, operation),
        Verb::Promote if operation.full => promoting::in_full(draft, operation),
        Verb::Promote => promoting::one_wait(draft, operation),
        Verb::Abort => aborting::abort(draft, operation),
        Verb::Retry => retrying::retry(draft, operation),
        Verb::Undo => undo(draft, operation),
        Verb::Pause => pause(draft, operation),
        Verb::Resume => resume(draft),
        Verb::Restart => restart(draft),
    }
}

/// Whether the operation speaks of what is there now.
fn meant(draft: &Draft<'_>, verb: Verb, revision: &RevisionId) -> Result<(), String> {
    let rolling = draft.target.rollout.as_ref().map(|r| &r.revision);
    let there = match verb {
        // A preview, or what has not begun.
        Verb::Abort if rolling.is_none() => draft.target.wanted.as_ref(),
        Verb::Promote | Verb::Abort | Verb::Pause | Verb::Resume => rolling,
        Verb::Retry if gates::behind(draft, revision).is_some() => Some(revision),
        Verb::Retry if draft.target.failed.contains_key(revision) => Some(revision),
        Verb::Retry => rolling.or(draft.target.wanted.as_ref()),
        Verb::Restart if draft.target.stable.as_ref() == Some(revision) => Some(revision),
        Verb::Restart => draft.target.canary.as_ref(),
        Verb::Undo | Verb::Hold | Verb::EndHold => Some(revision),
    };
    match there {
        Some(there) if there == revision => Ok(()),
        Some(there) => Err(format!(
            "asked for revision {revision}, and it is {there} now"
        )),
        None => Err(format!(
            "asked for revision {revision}, and no rollout runs"
        )),
    }
}

/// What it waits for now, as far as what is seen now moves it.
fn stands(draft: &Draft<'_>) -> Why {
    let mut probe = Draft::new(draft.world, draft.target.clone(), draft.now);
    probe.records.clone_from(&draft.records);
    // Nothing is taken in during a hold.
    let held = probe.target.held.is_some();
    let taken_in = if held { None } else { intake::step(&mut probe) };
    let why = rollout::run(&mut probe);
    match taken_in {
        Some(taken_in) if probe.target.rollout.is_none() => taken_in,
        Some(_) | None => why,
    }
}

/// Why nothing can be asked of the rollout now, or where it stands.
fn running(draft: &Draft<'_>) -> Result<Stage, String> {
    match &draft.target.rollout {
        None => Err(format!("no rollout runs: {}", stands(draft).sentence())),
        Some(rollout) => match rollout.stage {
            Stage::RollingBack if taking_back::kept_for_stable(draft) => Err(
                "the rollout is being taken back as soon as stable serves; retry makes it stable instead"
                    .to_owned(),
            ),
            Stage::RollingBack => Err("the rollout is being taken back".to_owned()),
            Stage::Draining => Err("it is promoted already; undo goes back".to_owned()),
            stage @ (Stage::Preparing | Stage::Scaling | Stage::Shifting | Stage::Holding) => {
                Ok(stage)
            }
        },
    }
}

/// No freeze window holds the rollout any more.
fn thaw(draft: &mut Draft<'_>, operation: &Operation) -> Answer {
    running(draft)?;
    let now = draft.now;
    let Some(why) = operation.why.clone() else {
        return Err("a freeze is overridden with a reason (--why)".to_owned());
    };
    for role in gates::overriding(draft) {
        has_role(draft, &role, operation)?;
    }
    let Some(run) = &mut draft.target.rollout else {
        return Err("no rollout runs".to_owned());
    };
    let mut roles = operation.roles.clone();
    roles.extend(run.thawed.take().map(|was| was.roles).unwrap_or_default());
    roles.sort();
    roles.dedup();
    run.thawed = Some(Thawed {
        at: now,
        by: by(operation),
        why: why.clone(),
        roles,
    });
    let message = format!("{} overrides freeze windows: {why}", by(operation));
    draft.note(Severity::Warning, "FreezeOverridden", message);
    Ok("no freeze window holds this rollout any more; that is kept in its history".to_owned())
}

/// Whether who asks may pass this approval.
fn may_approve(
    draft: &Draft<'_>,
    approval: &Approval,
    operation: &Operation,
) -> Result<(), String> {
    match approval.role() {
        Some(role) => has_role(draft, role, operation),
        None => Ok(()),
    }
}

fn has_role(draft: &Draft<'_>, role: &str, operation: &Operation) -> Result<(), String> {
    if operation.roles.iter().any(|has| has == role) {
        return Ok(());
    }
    let who = match draft.world.roles.get(role) {
        Some(who) => format!("which {who} may"),
        None => "which nobody may: frd's configuration does not have it (roles)".to_owned(),
    };
    Err(format!(
        "it needs the role {role}, {who}, and {} does not have",
        by(operation)
    ))
}

/// The manifest asks for the earlier revision already: the API wrote it with this word.
fn undo(draft: &mut Draft<'_>, operation: &Operation) -> Answer {
    if operation.force
        && let Ok(answer) = retrying::retry(draft, operation)
    {
        return Ok(answer);
    }
    Ok(match &operation.revision {
        Some(revision) => format!("the manifest asks for {} again", draft.name(revision)),
        None => "the manifest asks for an earlier revision again".to_owned(),
    })
}

fn pause(draft: &mut Draft<'_>, operation: &Operation) -> Answer {
    running(draft)?;
    let now = draft.now;
    let Some(run) = &mut draft.target.rollout else {
        return Err("no rollout runs".to_owned());
    };
    if draft.target.stable.is_none() {
        return Err("the first revision has no steps to pause at".to_owned());
    }
    if run.paused.is_some() {
        return Ok("it is paused already".to_owned());
    }
    let why = operation.why.clone();
    run.paused = Some(Pause {
        at: now,
        by: Some(by(operation)),
        why: why.unwrap_or_else(|| "no reason given".to_owned()),
        gate: None,
    });
    let harm = taking_back::upon_harm(draft);
    Ok(format!("it stays where it is; {harm}"))
}

fn resume(draft: &mut Draft<'_>) -> Answer {
    running(draft)?;
    let Some(run) = &mut draft.target.rollout else {
        return Err("no rollout runs".to_owned());
    };
    let Some(pause) = run.paused.clone() else {
        return Ok("it was not paused".to_owned());
    };
    let without = match &pause.gate {
        Some(gate) => format!(" without {}", pass(draft, gate)?),
        None => String::new(),
    };
    let Some(run) = &mut draft.target.rollout else {
        return Err("no rollout runs".to_owned());
    };
    run.paused = None;
    // A rule stopped it and a person goes on: the same rule would only stop it again.
    run.overruled |= pause.by.is_none() && pause.gate.is_none();
    if run.overruled || pause.gate.is_some() {
        let harm = taking_back::upon_harm(draft);
        return Ok(format!("it goes on{without}; {harm}"));
    }
    Ok("it goes on".to_owned())
}

/// Passes a webhook that failed; nobody's word makes that a job has run.
fn pass(draft: &mut Draft<'_>, gate: &FailedGate) -> Result<String, String> {
    if gate.job {
        return Err(format!(
            "the job {} failed, and nobody's word passes it: retry runs it again",
            gate.name
        ));
    }
    if let Some(run) = &mut draft.target.rollout {
        run.gates.push(gate.id.clone());
    }
    Ok(format!("the yes of {}", gate.name))
}

fn restart(draft: &mut Draft<'_>) -> Answer {
    let open = draft.target.previews.iter();
    let open = open.filter(|(_, preview)| !preview.closed);
    let revisions: Vec<RevisionId> = [&draft.target.stable, &draft.target.canary]
        .into_iter()
        .flatten()
        .chain(open.map(|(revision, _)| revision))
        .cloned()
        .collect();
    if revisions.is_empty() {
        return Err("nothing runs that could be restarted".to_owned());
    }
    for revision in &revisions {
        renew(draft, revision);
    }
    let names: Vec<String> = revisions.iter().map(|r| draft.name(r)).collect();
    Ok(format!("new tasks of {}", names.join(" and ")))
}

fn renew(draft: &mut Draft<'_>, revision: &RevisionId) {
    if let Some(target) = draft.target.revisions.get_mut(revision) {
        target.restarts = target.restarts.saturating_add(1);
    }
}
