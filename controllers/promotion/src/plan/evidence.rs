//! The evidence that a step needs, and whether it will ever come.

use fm_api::criteria::{Analysis, OnInconclusive};
use fm_api::release::Require;
use fm_api::rollout::{Rollout, Wait};
use fm_api::strategy::Kind;
use fm_api::verdict::{Decision, Measured, Reason, Standing};

use super::draft::Draft;
use super::why::{At, Why};

/// Whether the step has the evidence it needs; the last one always needs it.
pub(super) fn given(draft: &Draft<'_>) -> bool {
    let (Some(rollout), Some(settings)) = (&draft.target.rollout, draft.settings()) else {
        return true;
    };
    let last = rollout.step + 1 >= rollout.plan.steps.len();
    let asked = rollout
        .plan
        .steps
        .get(rollout.step)
        .is_some_and(|step| step.require == Some(Require::NonInferior));
    let judged = !settings.analysis.disabled;
    let switched = last && rollout.plan.kind == Kind::BlueGreen;
    if judged && (!last || switched) && !step_measured(draft, rollout, &settings.analysis) {
        return false;
    }
    if switched {
        // Nobody serves beside it any more: there is nothing to compare it with, only limits and metrics of its own.
        return true;
    }
    let needed = (last || asked) && judged;
    if !needed || rollout.full || rollout.passed.contains(&Wait::Evidence) {
        return true;
    }
    let promote = settings.analysis.on_inconclusive == OnInconclusive::Promote;
    let Some(verdict) = draft.verdict() else {
        return false;
    };
    match verdict.decision {
        Decision::Promote => true,
        Decision::Inconclusive => promote,
        // Time is still missing, evidence is not; and only the last promotion needs the bake.
        Decision::Wait => !last && matches!(verdict.reason, Reason::Baking | Reason::Holding),
        Decision::Rollback => false,
    }
}

/// Whether the metrics that are measured in this step alone have passed, or a person or the manifest passes them. After
/// a switch those that are measured all the time must have, too.
fn step_measured(draft: &Draft<'_>, rollout: &Rollout, analysis: &Analysis) -> bool {
    if rollout.full || rollout.passed.contains(&Wait::Evidence) {
        return true;
    }
    let here = |step: u32| usize::try_from(step).is_ok_and(|step| step == rollout.step + 1);
    let promote = analysis.on_inconclusive == OnInconclusive::Promote;
    let measured = draft.verdict().map(|verdict| verdict.measured.as_slice());
    let passes = |name: &str| {
        let told = measured?.iter().find(|told| told.name == name)?;
        Some(match told.standing {
            Standing::Passing => true,
            Standing::Inconclusive => promote,
            Standing::Pending | Standing::Failed => false,
        })
    };
    let switched =
        rollout.plan.kind == Kind::BlueGreen && rollout.step + 1 >= rollout.plan.steps.len();
    let mut asked = analysis
        .metrics
        .iter()
        .filter(|metric| metric.step.map_or(switched, here));
    asked.all(|metric| passes(&metric.name) == Some(true))
}

/// Whether what is shown of the canary is harm, and it goes on in spite of it.
pub(super) fn harm_shown(draft: &Draft<'_>) -> bool {
    let failed = |told: &Measured| told.standing == Standing::Failed;
    draft.verdict().is_some_and(|verdict| {
        verdict.decision == Decision::Rollback
            || (verdict.decision != Decision::Inconclusive && verdict.measured.iter().any(failed))
    })
}

/// What is waited for where evidence is missing.
pub(super) fn awaited(draft: &mut Draft<'_>, at: At) -> Why {
    let now = draft.now;
    if let Some(analysis) = &mut draft.target.analysis {
        analysis.awaiting_since.get_or_insert(now);
    }
    let Some(verdict) = draft.verdict() else {
        return Why::Evidence(at);
    };
    let sentence = verdict.sentence.clone();
    match verdict.decision {
        Decision::Inconclusive => Why::Inconclusive { at, sentence },
        // Evidence for it will not come any more.
        Decision::Rollback | Decision::Wait | Decision::Promote if harm_shown(draft) => {
            Why::Harm { at, sentence }
        }
        Decision::Rollback | Decision::Wait | Decision::Promote => Why::Evidence(at),
    }
}
