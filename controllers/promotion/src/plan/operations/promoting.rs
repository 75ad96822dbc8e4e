//! `promote`: one wait that a person passes, or all of them; and what of those that nobody passes is in the way.

use fm_api::operation::Operation;
use fm_api::rollout::{Rollout, Stage, Wait};

use super::super::draft::{Draft, after};
use super::super::why::Why;
use super::super::{evidence, gates, taking_back};
use super::{Answer, may_approve, pass, running, stands};

/// Passes a webhook that is asked to agree, and did not yet.
fn confirm(draft: &mut Draft<'_>) -> Option<Answer> {
    let due = gates::confirming(draft)?;
    let run = draft.target.rollout.as_mut()?;
    run.gates.push(due.id.clone());
    Some(Ok(format!("it goes on without the yes of {}", due.name())))
}

pub(super) fn one_wait(draft: &mut Draft<'_>, operation: &Operation) -> Answer {
    let stage = running(draft)?;
    let Some(run) = draft.target.rollout.clone() else {
        return Err("no rollout runs".to_owned());
    };
    if let Some(pause) = &run.paused {
        let job = pause.gate.as_ref().is_some_and(|gate| gate.job);
        return Err(if job {
            "the rollout is stopped by a job that failed: retry runs it again".to_owned()
        } else {
            "the rollout is paused: resume it first, or promote in full".to_owned()
        });
    }
    if stage != Stage::Holding
        && let Some(answer) = confirm(draft)
    {
        return answer;
    }
    let wait = passable(draft, &run, operation)?;
    let harm = wait == Wait::Evidence && evidence::harm_shown(draft);
    if let Some(run) = &mut draft.target.rollout {
        run.passed.push(wait);
    }
    Ok(match wait {
        Wait::Hold => "the hold is passed".to_owned(),
        Wait::Evidence if harm => "it goes on in spite of the harm".to_owned(),
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
        Stage::Preparing | Stage::Scaling | Stage::Shifting => return Err(in_the_way(draft)),
        Stage::Holding | Stage::Draining | Stage::RollingBack => {}
    }
    let step = run.plan.steps.get(run.step);
    let hold = step.map(|step| step.hold).unwrap_or_default();
    let approval = step.and_then(|step| step.approval.clone());
    if !passed(Wait::Hold) && draft.now < after(run.stage_since, hold) {
        return Ok(Wait::Hold);
    }
    if !evidence::given(draft) {
        return Ok(Wait::Evidence);
    }
    match approval.filter(|_| !passed(Wait::Approval)) {
        Some(approval) => may_approve(draft, &approval, operation).map(|()| Wait::Approval),
        None => Err(in_the_way(draft)),
    }
}

/// What is waited for, where it is nothing that a person's word passes.
fn in_the_way(draft: &Draft<'_>) -> String {
    let why = stands(draft);
    let says = why.sentence();
    let comes = matches!(
        &why,
        Why::Holding(_)
            | Why::Evidence(_)
            | Why::Inconclusive { .. }
            | Why::Harm { .. }
            | Why::Approval { .. }
            | Why::Group { .. }
    );
    let asked = matches!(&why, Why::Gate(gate) if gate.confirms);
    if comes || asked {
        return format!("it comes to where it waits only now; ask again ({says})");
    }
    if matches!(why, Why::Frozen { .. }) {
        return format!("{says} (`promote --override-freeze` passes that)");
    }
    format!("{says}; that cannot be passed")
}

pub(super) fn in_full(draft: &mut Draft<'_>, operation: &Operation) -> Answer {
    running(draft)?;
    if draft.target.stable.is_none()
        && let why @ Why::FirstFails { asked: true, .. } = stands(draft)
    {
        return Err(why.sentence());
    }
    let left = draft.target.rollout.as_ref().map(|run| {
        let steps = run.plan.steps.iter().skip(run.step);
        steps
            .filter_map(|step| step.approval.clone())
            .collect::<Vec<_>>()
    });
    for approval in left.unwrap_or_default() {
        may_approve(draft, &approval, operation)?;
    }
    let pause = draft.target.rollout.as_ref().and_then(|r| r.paused.clone());
    let gate = pause.as_ref().and_then(|pause| pause.gate.as_ref());
    if let Some(gate) = gate {
        pass(draft, gate)?;
    }
    let by_rule = gate.is_none() && pause.as_ref().is_some_and(|pause| pause.by.is_none());
    let Some(run) = &mut draft.target.rollout else {
        return Err("no rollout runs".to_owned());
    };
    if run.full && pause.is_none() {
        return Ok("every wait is passed already".to_owned());
    }
    run.full = true;
    // Who promotes in full where a rule had stopped it has seen the harm that was shown.
    run.overruled |= by_rule;
    run.paused = None;
    let thawed = run.thawed.clone();
    let harm = taking_back::upon_harm(draft);
    let mut message = format!("every wait is passed; capacity is still waited for, and {harm}");
    if gates::frozen(draft, thawed.as_ref()).is_some() {
        message.push_str("; the freeze window holds on (promote --override-freeze)");
    }
    Ok(message)
}
