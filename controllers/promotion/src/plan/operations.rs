//! People's words. Each is answered once, whatever the answer; the same id again changes nothing.

use fm_api::event::Severity;
use fm_api::experiment::ExperimentTarget;
use fm_api::keys::RevisionId;
use fm_api::operation::{Operation, Verb};
use fm_api::release::Approval;
use fm_api::rollout::{
    Ending, Failed, Outcome, Pause, Progress, Rollout, Stage, Thawed, Wait, Word,
};
use fm_api::status::{OperationAnswer, reasons};

use super::draft::{Draft, after};
use super::{experiment, gates, group, hold, preview, rollout, taking_back};

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

/// The word stays with the rollout that it was said of, or with the one that it lets begin.
fn keep(draft: &mut Draft<'_>, operation: &Operation, answer: &str) {
    let word = Word {
        asked: asked_to(operation),
        by: by(operation),
        at: draft.now,
        why: operation.why.clone(),
        answer: answer.to_owned(),
    };
    let back = operation.revision.is_some() && operation.revision == draft.target.stable;
    let begins = matches!(operation.verb, Verb::Undo | Verb::Retry) && !back;
    let words = match &mut draft.target.rollout {
        Some(rollout) if !begins => &mut rollout.words,
        Some(_) | None if begins => &mut draft.target.words,
        Some(_) | None => return,
    };
    words.push(word);
    let excess = words.len().saturating_sub(REMEMBERED);
    words.drain(..excess);
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
        Verb::Promote if operation.full => promote_full(draft, operation),
        Verb::Promote => promote(draft, operation),
        Verb::Abort => abort(draft, operation),
        Verb::Retry => retry(draft, operation),
        Verb::Undo => undo(draft, operation),
        Verb::Pause => pause(draft, operation),
        Verb::Resume => resume(draft),
        Verb::Restart => restart(draft),
    }
}

/// Whether the operation speaks of what is there now.
fn meant(draft: &Draft<'_>, verb: Verb, revision: &RevisionId) -> Result<(), String> {
    let rolling = draft.target.rollout.as_ref().map(|r| &r.revision);
    let preview = draft.target.wanted.as_ref();
    let preview = preview.filter(|wanted| draft.target.previews.contains_key(*wanted));
    let there = match verb {
        Verb::Abort if rolling.is_none() => preview,
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

/// Why nothing can be asked of the rollout now, or where it stands.
fn running(draft: &Draft<'_>) -> Result<Stage, String> {
    match &draft.target.rollout {
        None => Err("no rollout runs".to_owned()),
        Some(rollout) => match rollout.stage {
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

/// Passes a webhook that is asked to agree, and did not yet.
fn confirm(draft: &mut Draft<'_>) -> Option<Answer> {
    let due = gates::confirming(draft)?;
    let run = draft.target.rollout.as_mut()?;
    run.gates.push(due.id.clone());
    Some(Ok(format!("it goes on without the yes of {}", due.name())))
}

fn promote(draft: &mut Draft<'_>, operation: &Operation) -> Answer {
    let stage = running(draft)?;
    let Some(run) = draft.target.rollout.clone() else {
        return Err("no rollout runs".to_owned());
    };
    if run.paused.is_some() {
        return Err("the rollout is paused: resume it first, or promote in full".to_owned());
    }
    if stage != Stage::Holding
        && let Some(answer) = confirm(draft)
    {
        return answer;
    }
    let wait = passable(draft, &run, operation)?;
    if let Some(run) = &mut draft.target.rollout {
        run.passed.push(wait);
    }
    Ok(match wait {
        Wait::Hold => "the hold is passed".to_owned(),
        Wait::Evidence => "it goes on without the evidence".to_owned(),
        Wait::Approval => "approved".to_owned(),
        Wait::Group => "it goes on without the others of its group".to_owned(),
    })
}

/// The wait that a person's word passes now.
fn passable(draft: &Draft<'_>, run: &Rollout, operation: &Operation) -> Result<Wait, String> {
    let passed = |wait| run.passed.contains(&wait);
    match run.stage {
        Stage::Scaling if run.meets.is_some() => return Ok(Wait::Group),
        Stage::Preparing => {
            return Err("what comes before the first task cannot be passed".to_owned());
        }
        Stage::Scaling => return Err("tasks are starting; that cannot be passed".to_owned()),
        Stage::Shifting => {
            return Err(
                "the agents are putting the weight in force; that cannot be passed".to_owned(),
            );
        }
        Stage::Holding | Stage::Draining | Stage::RollingBack => {}
    }
    let step = run.plan.steps.get(run.step);
    let hold = step.map(|step| step.hold).unwrap_or_default();
    let approval = step.and_then(|step| step.approval.clone());
    if !passed(Wait::Hold) && draft.now < after(run.stage_since, hold) {
        return Ok(Wait::Hold);
    }
    if !rollout::evidence_given(draft) {
        return Ok(Wait::Evidence);
    }
    match approval.filter(|_| !passed(Wait::Approval)) {
        Some(approval) => may_approve(draft, &approval, operation).map(|()| Wait::Approval),
        None => Err("nothing is waited for that could be passed".to_owned()),
    }
}

fn promote_full(draft: &mut Draft<'_>, operation: &Operation) -> Answer {
    running(draft)?;
    let left = draft.target.rollout.as_ref().map(|run| {
        let steps = run.plan.steps.iter().skip(run.step);
        steps
            .filter_map(|step| step.approval.clone())
            .collect::<Vec<_>>()
    });
    for approval in left.unwrap_or_default() {
        may_approve(draft, &approval, operation)?;
    }
    let Some(run) = &mut draft.target.rollout else {
        return Err("no rollout runs".to_owned());
    };
    if run.full && run.paused.is_none() {
        return Ok("every wait is passed already".to_owned());
    }
    run.full = true;
    // Who promotes in full where a rule had stopped it has seen the harm that was shown.
    run.overruled |= run.paused.as_ref().is_some_and(|pause| pause.by.is_none());
    run.paused = None;
    let thawed = run.thawed.clone();
    let mut message =
        "every wait is passed; capacity is still waited for, and harm still takes it back"
            .to_owned();
    if gates::frozen(draft, thawed.as_ref()).is_some() {
        message.push_str("; the freeze window holds on (promote --override-freeze)");
    }
    Ok(message)
}

fn abort(draft: &mut Draft<'_>, operation: &Operation) -> Answer {
    let why = operation.why.as_ref().map_or_else(
        || format!("aborted by {}", by(operation)),
        |why| format!("aborted by {}: {why}", by(operation)),
    );
    match &draft.target.rollout {
        None if draft.target.experimenting().is_some() => {
            experiment::end(draft, &why);
            Ok("the experiment ends; stable takes every share back".to_owned())
        }
        None => abort_waiting(draft, why),
        Some(run) if run.stage == Stage::RollingBack => {
            let slowly = run.returns_from.is_some();
            if let Some(run) = &mut draft.target.rollout {
                run.returns_from = None;
            }
            Ok(match slowly {
                true => "stable takes the rest back at once".to_owned(),
                false => "it is being taken back already".to_owned(),
            })
        }
        Some(run) if run.stage == Stage::Draining => running(draft).map(|_| String::new()),
        Some(_) if draft.target.stable.is_none() => Err(
            "there is no stable revision to go back to; apply another, or delete the release"
                .to_owned(),
        ),
        Some(run) => {
            if let Some(job) = gates::irreversible(draft, &run.revision)
                && !operation.force
            {
                return Err(taking_back::no_way_back(&job));
            }
            let ending = Ending {
                outcome: Outcome::Aborted,
                reason: reasons::ABORTED.to_owned(),
                why,
            };
            taking_back::begin(draft, ending);
            Ok("stable takes everything back".to_owned())
        }
    }
}

/// A revision that is wanted and has not begun is not begun.
fn abort_waiting(draft: &mut Draft<'_>, why: String) -> Answer {
    let wanted = draft.target.wanted.clone();
    match wanted {
        Some(wanted)
            if draft
                .target
                .previews
                .get(&wanted)
                .is_some_and(|preview| !preview.closed) =>
        {
            let message = format!("the preview of {} is taken down", draft.name(&wanted));
            let ending = Ending {
                outcome: Outcome::Aborted,
                reason: reasons::ABORTED.to_owned(),
                why,
            };
            preview::close(draft, &wanted, ending);
            Ok(message)
        }
        Some(wanted)
            if draft.target.stable.is_some()
                && draft.target.stable.as_ref() != Some(&wanted)
                && !draft.target.failed.contains_key(&wanted) =>
        {
            let message = format!("{} is not begun", draft.name(&wanted));
            let failed = Failed {
                at: draft.now,
                reason: reasons::ABORTED.to_owned(),
                why,
            };
            draft.target.failed.insert(wanted, failed);
            Ok(message)
        }
        Some(_) | None => Err("no rollout runs".to_owned()),
    }
}

fn retry(draft: &mut Draft<'_>, operation: &Operation) -> Answer {
    let meant = operation.revision.clone().or(draft.target.wanted.clone());
    if let Some(older) = meant.clone()
        && draft.target.rollout.as_ref().map(|run| &run.revision) != Some(&older)
        && let Some(job) = gates::behind(draft, &older)
    {
        draft.target.failed.remove(&older);
        let message = format!(
            "{} may begin, although it is older than what the job {job} has done for good",
            draft.name(&older)
        );
        draft.target.let_back = Some(older);
        return Ok(message);
    }
    if let Some(wanted) = draft.target.wanted.clone()
        && preview::asked_for(draft)
        && draft.target.expired.remove(&wanted).is_some()
    {
        return Ok(format!("the preview of {} comes back", draft.name(&wanted)));
    }
    if let Some(meant) = meant
        && draft.target.failed.remove(&meant).is_some()
    {
        return Ok(format!(
            "{} is tried again from the first step",
            draft.name(&meant)
        ));
    }
    if draft.target.stable.is_none()
        && let Some(mut run) = draft.target.rollout.clone()
    {
        let revision = run.revision.clone();
        run.progress = Progress::begins(draft.now);
        run.failed_before = draft.failed_tasks(&revision);
        run.seed = format!("{:08x}", draft.world.fresh_seed);
        draft.target.rollout = Some(run);
        renew(draft, &revision);
        return Ok("the first revision gets new tasks".to_owned());
    }
    let ended = |experiment: &ExperimentTarget| experiment.ended.is_some();
    if draft.target.rollout.is_none() && draft.target.experiment.as_ref().is_some_and(ended) {
        // What the spec asks for begins anew once its sides are gone.
        draft.target.experiment = None;
        return Ok("the experiment begins anew, with new tasks and no evidence".to_owned());
    }
    match group::waits_for(draft) {
        Some(failed) => Err(format!(
            "it begins again with {failed}, which is of the same group: retry that one"
        )),
        None => Err("nothing failed that could be tried again".to_owned()),
    }
}

/// The manifest asks for the earlier revision already: the API wrote it with this word.
fn undo(draft: &mut Draft<'_>, operation: &Operation) -> Answer {
    if operation.force
        && let Ok(answer) = retry(draft, operation)
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
    });
    Ok("it stays where it is; harm still takes it back".to_owned())
}

fn resume(draft: &mut Draft<'_>) -> Answer {
    running(draft)?;
    let Some(run) = &mut draft.target.rollout else {
        return Err("no rollout runs".to_owned());
    };
    match run.paused.take() {
        None => Ok("it was not paused".to_owned()),
        Some(pause) => {
            // A rule stopped it and a person goes on: the same rule would only stop it again.
            run.overruled |= pause.by.is_none();
            Ok("it goes on".to_owned())
        }
    }
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
