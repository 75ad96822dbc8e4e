//! The status, derived: what people read of a target and of what is seen. Nothing is decided from it.

use fm_api::experiment::{ExperimentStatus, ExperimentTarget, SideStatus, SideTarget};
use fm_api::keys::RevisionId;
use fm_api::quantity::Weight;
use fm_api::release::Approval;
use fm_api::rollout::{PreviewTarget, Rollout, Settings, Stage};
use fm_api::status::{
    Condition, Impaired, OperationAnswer, Phase, PreviewStatus, RevisionStatus, Status, StepStatus,
    conditions, reasons,
};

use super::draft::Draft;
use super::kept;
use super::phrases::clock;
use super::why::Why;
use super::{edges, preview, traffic, users};

/// So many answers of earlier looks are kept, for whoever asks again with the same id.
const KEPT: usize = 8;

/// The status that goes with this plan.
pub(super) fn derive(draft: &Draft<'_>, why: &Why, impaired: Option<Impaired>) -> Status {
    let old = draft
        .world
        .status
        .as_ref()
        .filter(|old| old.uid == draft.target.uid);
    let decided = phase(draft, why);
    let said = users::said(draft, why, decided, impaired.as_ref());
    let phase = said.phase;
    // The first revision has no steps: there is nothing to compare it with.
    let rollout = draft
        .target
        .rollout
        .as_ref()
        .filter(|_| draft.target.stable.is_some());
    let since = old
        .filter(|old| old.phase == phase)
        .map_or(draft.now, |old| old.since);
    let (last_operation, earlier_operations) = answers(draft, old);
    let mut status = Status {
        uid: draft.target.uid.clone(),
        observed_generation: draft.target.spec_generation,
        phase,
        why: kept::sentence(draft, said.why),
        reason: said.reason,
        until: why.until(),
        waits_for_person: why.waits_for_person(),
        step: rollout.map_or(0, |r| (r.step + 1).min(r.plan.steps.len())),
        strategy: rollout.map(|r| r.plan.kind).unwrap_or_default(),
        steps: rollout.map(|r| steps(draft, r)).unwrap_or_default(),
        weight: draft
            .target
            .traffic
            .as_ref()
            .map_or(Weight::ZERO, |split| split.weight),
        stable: draft.target.stable.as_ref().map(|r| revision(draft, r)),
        canary: draft.target.canary.as_ref().map(|r| revision(draft, r)),
        previews: previews(draft),
        experiment: draft
            .target
            .experiment
            .as_ref()
            .map(|e| experiment(draft, e)),
        conditions: conditions(draft, why, impaired.as_ref()),
        impaired,
        edges_gone: edges::gone(draft),
        last_operation,
        earlier_operations,
        last_rollout: draft.target.history.last().cloned(),
        since,
    };
    for condition in &mut status.conditions {
        let before = old.and_then(|old| old.conditions.iter().find(|c| c.kind == condition.kind));
        if let Some(before) = before
            && before.status == condition.status
            && before.reason == condition.reason
        {
            condition.since = before.since;
        }
    }
    status
}

/// The last answer, and those before it. Several may be given in one look, and whoever asked waits for each.
fn answers(
    draft: &Draft<'_>,
    old: Option<&Status>,
) -> (Option<OperationAnswer>, Vec<OperationAnswer>) {
    let (last, mut earlier) = old.map_or_else(Default::default, |old| {
        (old.last_operation.clone(), old.earlier_operations.clone())
    });
    if draft.answers.is_empty() {
        return (last, earlier);
    }
    earlier.extend(last);
    let excess = earlier.len().saturating_sub(KEPT);
    earlier.drain(..excess);
    earlier.extend(draft.answers.iter().cloned());
    (earlier.pop(), earlier)
}

fn steps(draft: &Draft<'_>, rollout: &Rollout) -> Vec<StepStatus> {
    let steps = rollout.plan.steps.iter().enumerate();
    steps
        .map(|(index, step)| StepStatus {
            weight: step.weight,
            mirror: step.mirror,
            tasks: (!draft.routed()).then(|| rollout.plan.tasks(index, draft.replicas())),
            hold: step.hold,
            approval: step.approval.is_some(),
            role: step
                .approval
                .as_ref()
                .and_then(Approval::role)
                .map(str::to_owned),
        })
        .collect()
}

fn phase(draft: &Draft<'_>, why: &Why) -> Phase {
    if draft.target.deleting {
        return Phase::Deleting;
    }
    match why {
        Why::InvalidSpec { .. } | Why::SpecMissing => return Phase::Invalid,
        Why::FirstFails { .. }
        | Why::Failed { .. }
        | Why::TakenBackWithGroup { .. }
        | Why::Behind { .. } => {
            return Phase::Degraded;
        }
        Why::Unresolved {
            transient: false, ..
        } => return Phase::Degraded,
        Why::Adopted(adopted) if adopted.overdue => return Phase::Degraded,
        Why::Serving {
            ready: 0, replicas, ..
        } if *replicas > 0 => return Phase::Degraded,
        Why::Serving { .. } => return Phase::Healthy,
        Why::Preview(_) | Why::Experiment(_) => return Phase::Healthy,
        Why::PreviewOver { .. } => return Phase::Over,
        Why::PreviewFails { .. } => return Phase::Degraded,
        Why::Paused { .. }
        | Why::Inconclusive { .. }
        | Why::Harm { .. }
        | Why::Spared { .. }
        | Why::Held { .. } => {
            return Phase::Paused;
        }
        Why::Nothing
        | Why::Resolving { .. }
        | Why::Unresolved { .. }
        | Why::NoSlot { .. }
        | Why::StillLeaving { .. }
        | Why::ExperimentRuns { .. }
        | Why::Scaling(_)
        | Why::SwarmUnknown { .. }
        | Why::NoAgent
        | Why::AgentBehind { .. }
        | Why::AgentGone { .. }
        | Why::Holding(_)
        | Why::Evidence(_)
        | Why::Approval { .. }
        | Why::Gate(_)
        | Why::Frozen { .. }
        | Why::Depends { .. }
        | Why::Group { .. }
        | Why::Adopted(_)
        | Why::Switching { .. }
        | Why::TakingBack { .. }
        | Why::Returning { .. }
        | Why::StableBroken { .. }
        | Why::BothDown { .. }
        | Why::NoReplicas { .. }
        | Why::Deleting { .. } => {}
    }
    let stage = draft.target.rollout.as_ref().map(|rollout| rollout.stage);
    match stage {
        Some(Stage::RollingBack) => Phase::RollingBack,
        Some(
            Stage::Preparing | Stage::Draining | Stage::Scaling | Stage::Shifting | Stage::Holding,
        )
        | None => {
            if draft.target.stable.is_some() {
                Phase::Progressing
            } else {
                Phase::Pending
            }
        }
    }
}

fn revision(draft: &Draft<'_>, id: &RevisionId) -> RevisionStatus {
    let record = draft.record(id);
    RevisionStatus {
        revision: id.clone(),
        number: record.map_or(0, |record| record.number),
        image: record
            .map(|record| record.workload.image.clone())
            .unwrap_or_default(),
        replicas: draft.target.revisions.get(id).map_or(0, |r| r.replicas),
        ready: draft.ready(id),
        healthy: draft.healthy(id),
        last_failure: draft.docker_says(id),
    }
}

fn previews(draft: &Draft<'_>) -> Vec<PreviewStatus> {
    let mut open: Vec<_> = draft
        .target
        .previews
        .iter()
        .filter(|(_, preview)| !preview.closed && preview.side.is_none())
        .collect();
    open.sort_by_key(|(id, preview)| (std::cmp::Reverse(preview.since), *id));
    let one = |(id, preview): (&RevisionId, &PreviewTarget)| PreviewStatus {
        side: RevisionStatus {
            healthy: preview::healthy(draft, id, preview),
            ..revision(draft, id)
        },
        hosts: preview.hosts.clone(),
        headers: preview
            .match_rules
            .iter()
            .map(|rule| format!("{}: {}", rule.header, rule.value))
            .collect(),
        until: preview.until,
        up: !preview.progress.short,
    };
    open.into_iter().map(one).collect()
}

fn experiment(draft: &Draft<'_>, experiment: &ExperimentTarget) -> ExperimentStatus {
    let side = |side: &SideTarget| {
        let now = side.revision.as_ref();
        let written = experiment.plan.candidate(&side.name);
        let stable = draft.record(&experiment.stable);
        let image = written.and_then(|one| one.image.clone());
        SideStatus {
            name: side.name.clone(),
            weight: if side.shared {
                side.weight
            } else {
                Weight::ZERO
            },
            revision: side.revision.clone(),
            image: image
                .or_else(|| stable.map(|record| record.workload.image.clone()))
                .unwrap_or_default(),
            replicas: now
                .and_then(|id| draft.target.revisions.get(id))
                .map_or(0, |target| target.replicas),
            ready: now.map_or(0, |id| draft.ready(id)),
            says: super::experiment::says(draft, side),
            result: side.outcome.as_ref().map(|outcome| outcome.result),
        }
    };
    ExperimentStatus {
        sides: experiment.sides.iter().map(side).collect(),
        since: experiment.since,
        until: super::experiment::until(experiment),
        ended: experiment.ended.clone(),
    }
}

fn conditions(draft: &Draft<'_>, why: &Why, impaired: Option<&Impaired>) -> Vec<Condition> {
    let mut all = vec![
        valid(draft, why),
        available(draft, impaired),
        progressing(draft, why),
        routed(draft),
        observed(draft),
    ];
    all.extend(invalid(draft, why));
    all.extend(drifted(draft));
    all.extend(edge_gone(draft));
    all.extend(kept::condition(draft));
    all
}

/// Edges whose agent is gone; no condition while there is none.
fn edge_gone(draft: &Draft<'_>) -> Option<Condition> {
    let gone = edges::gone(draft);
    let first = gone.first()?;
    let since: Vec<String> = gone
        .iter()
        .map(|edge| format!("{} is gone since {}", edge.name, clock(edge.since)))
        .collect();
    let kept = edges::kept(draft).map_or_else(String::new, |kept| format!("; {kept}"));
    let ends = match kept.is_empty() {
        true => format!("; {}", edges::ends(&first.name)),
        false => String::new(),
    };
    let text = format!(
        "{}, and its HAProxy may still serve: no share rises until it is back{kept}{ends}",
        since.join(", ")
    );
    let reason = reasons::AGENT_GONE;
    Some(condition(
        draft,
        conditions::EDGE_GONE,
        Some(true),
        reason,
        text,
    ))
}

/// Why the stored spec cannot be used; no condition while it can.
fn invalid(draft: &Draft<'_>, why: &Why) -> Option<Condition> {
    let bad = matches!(why, Why::InvalidSpec { .. } | Why::SpecMissing);
    bad.then(|| {
        condition(
            draft,
            conditions::INVALID,
            Some(true),
            &why.reason(),
            why.sentence(),
        )
    })
}

/// What somebody else changed and what is left so; no condition while there is nothing of the kind.
fn drifted(draft: &Draft<'_>) -> Option<Condition> {
    let mut said = Vec::new();
    for id in draft.target.revisions.keys() {
        let Some(seen) = draft.service(id).filter(|seen| !seen.drift.is_empty()) else {
            continue;
        };
        said.push(format!("{}: {}", seen.service, seen.drift.join("; ")));
    }
    let text = format!("changed by somebody else and left so: {}", said.join(". "));
    let reason = if draft.target.held.is_some() {
        reasons::HELD
    } else {
        "DriftReported"
    };
    (!said.is_empty()).then(|| condition(draft, conditions::DRIFTED, Some(true), reason, text))
}

pub(super) fn condition(
    draft: &Draft<'_>,
    kind: &str,
    status: Option<bool>,
    reason: &str,
    message: impl Into<String>,
) -> Condition {
    Condition {
        kind: kind.to_owned(),
        status,
        reason: reason.to_owned(),
        message: message.into(),
        since: draft.now,
    }
}

fn valid(draft: &Draft<'_>, why: &Why) -> Condition {
    let bad = matches!(why, Why::InvalidSpec { .. } | Why::SpecMissing);
    let (reason, message) = if bad {
        (why.reason(), why.sentence())
    } else {
        ("Valid".to_owned(), "the stored spec can be used".to_owned())
    };
    condition(draft, conditions::VALID, Some(!bad), &reason, message)
}

fn available(draft: &Draft<'_>, impaired: Option<&Impaired>) -> Condition {
    if let Some(impaired) = impaired {
        let (reason, text) = (&impaired.reason, &impaired.message);
        return condition(draft, conditions::AVAILABLE, Some(false), reason, text);
    }
    if draft.target.stable.is_none() && preview::asked_for(draft) {
        return available_previews(draft);
    }
    let Some(stable) = &draft.target.stable else {
        let text = "there is no stable revision yet";
        return condition(
            draft,
            conditions::AVAILABLE,
            Some(false),
            reasons::UNAVAILABLE,
            text,
        );
    };
    let replicas = draft.replicas();
    let ready = draft.ready(stable);
    let text = format!("{ready} of {replicas} tasks of stable are ready");
    let full = draft.complete(stable, replicas);
    let (status, reason) = match draft.swarm_problem() {
        Some(_) => (None, reasons::SWARM_UNKNOWN),
        None if full => (Some(true), reasons::SERVING),
        None => (Some(false), reasons::UNAVAILABLE),
    };
    condition(draft, conditions::AVAILABLE, status, reason, text)
}

fn available_previews(draft: &Draft<'_>) -> Condition {
    let all = previews(draft);
    let up = all.iter().filter(|preview| preview.up).count();
    let text = format!("{up} of {} previews are up", all.len());
    let (status, reason) = match draft.swarm_problem() {
        Some(_) => (None, reasons::SWARM_UNKNOWN),
        None if up == all.len() => (Some(true), reasons::PREVIEW),
        None => (Some(false), reasons::UNAVAILABLE),
    };
    condition(draft, conditions::AVAILABLE, status, reason, text)
}

fn progressing(draft: &Draft<'_>, why: &Why) -> Condition {
    let moving = draft
        .target
        .rollout
        .as_ref()
        .is_some_and(|rollout| rollout.paused.is_none())
        && !why.waits_for_person();
    let text = why.sentence();
    condition(
        draft,
        conditions::PROGRESSING,
        Some(moving),
        &why.reason(),
        text,
    )
}

fn routed(draft: &Draft<'_>) -> Condition {
    if !draft.routed() {
        let text = "it has no routes";
        return condition(draft, conditions::ROUTED, Some(true), "NoRoutes", text);
    }
    if routes_wait(draft) {
        let text = "the new routes name a port that stable does not publish; the old ones stay until a revision with it is stable";
        return condition(
            draft,
            conditions::ROUTED,
            Some(false),
            "PortNotPublished",
            text,
        );
    }
    if draft.target.traffic.is_none() {
        let text = "nothing can be routed to yet";
        return condition(
            draft,
            conditions::ROUTED,
            Some(false),
            reasons::UNAVAILABLE,
            text,
        );
    }
    match traffic::not_in_force(draft).or_else(|| traffic::frozen(draft)) {
        None => {
            let text = "every live agent has the wanted split in force";
            condition(draft, conditions::ROUTED, Some(true), "InForce", text)
        }
        Some(why) => {
            let text = why.sentence();
            condition(draft, conditions::ROUTED, Some(false), &why.reason(), text)
        }
    }
}

fn routes_wait(draft: &Draft<'_>) -> bool {
    let only = draft.target.stable.is_none() && preview::asked_for(draft);
    let differ = |settings: &Settings| settings.routes != draft.target.routes;
    !only && draft.settings().is_some_and(differ)
}

fn observed(draft: &Draft<'_>) -> Condition {
    if let Some(problem) = draft.swarm_problem() {
        let reason = reasons::SWARM_UNKNOWN;
        return condition(draft, conditions::OBSERVED, Some(false), reason, problem);
    }
    let silent: Vec<String> = draft
        .live()
        .filter_map(|(instance, seen)| {
            let problem = seen?.problem.as_ref()?;
            Some(format!("{instance}: {problem}"))
        })
        .collect();
    if silent.is_empty() {
        let text = "Swarm and HAProxy are seen";
        condition(draft, conditions::OBSERVED, Some(true), "Seen", text)
    } else {
        let text = silent.join("; ");
        condition(
            draft,
            conditions::OBSERVED,
            Some(false),
            "HaproxyUnknown",
            text,
        )
    }
}
