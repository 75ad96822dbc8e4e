//! Gates: freeze windows, webhooks and jobs that a rollout must pass before it goes on; and whom it tells at its end.
//!
//! Promotion asks nobody: it writes what is due into the target, and reads the answer that the gates controller saw.
//! What must never happen: a rise past a gate that did not say yes; a way back that waits for one.

use fm_api::event::Severity;
use fm_api::freeze;
use fm_api::gates::{About, BeforeTraffic, Due, GateAnswer, GateVerdict, Webhook, When};
use fm_api::keys::RevisionId;
use fm_api::quantity::Weight;
use fm_api::rollout::{Ending, FailedGate, HistoryEntry, Outcome, Rollout, Stage, Thawed};
use fm_api::status::reasons;
use fm_api::strategy::Kind;

use super::draft::{Draft, after};
use super::rollout::Move;
use super::taking_back;
use super::why::{GateWait, Why};

/// More that was only to be told waits for nobody.
const MOST_AFTER: usize = 16;

/// A place in a rollout at which gates stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// Before the first task starts.
    Rollout,
    /// Before the revision gets the share of this step, counted from 0.
    Step(usize),
    /// Before it gets everything.
    Promotion,
}

/// Whether anything must be asked, run or waited for before a rollout's first task starts.
pub(super) fn prepares(draft: &Draft<'_>, revision: &RevisionId) -> bool {
    let Some(settings) = draft.settings() else {
        return false;
    };
    let asks = |hook: &Webhook| matches!(hook.when, When::ConfirmRollout | When::BeforeRollout);
    let runs = |job: &BeforeTraffic| !job.with_tasks && !has_run(draft, revision, &job.name);
    settings.webhooks.iter().any(asks)
        || settings.before_traffic.iter().any(runs)
        || !settings.freeze.is_empty()
        || !draft.world.freezes.is_empty()
}

/// The stage before the first task starts.
pub(super) fn preparing(draft: &mut Draft<'_>) -> Move {
    if let Some(stopped) = pass(draft, Moment::Rollout) {
        return stopped;
    }
    let now = draft.now;
    if let Some(rollout) = &mut draft.target.rollout {
        rollout.stage = Stage::Scaling;
        rollout.stage_since = now;
    }
    Move::Again
}

/// What stops the rollout at this place, if anything does.
pub(super) fn pass(draft: &mut Draft<'_>, moment: Moment) -> Option<Move> {
    let rollout = draft.target.rollout.clone()?;
    if rollout.warm {
        return None;
    }
    if let Some(why) = frozen(draft, rollout.thawed.as_ref()) {
        return Some(Move::Wait(why));
    }
    gates(draft, &rollout, moment)
        .into_iter()
        .find_map(|due| one(draft, due))
}

/// The freeze window that holds everything that somebody's word did not free.
pub(super) fn frozen(draft: &mut Draft<'_>, thawed: Option<&Thawed>) -> Option<Why> {
    let own = windows(draft);
    let windows = own.iter().chain(&draft.world.freezes);
    // Whoever overrides freezes does so for the windows that this person may override.
    let holds = |window: &&freeze::Freeze| {
        thawed.is_none_or(|thawed| {
            let role = window.role();
            role.is_some_and(|role| thawed.roles.iter().all(|has| has != role))
        })
    };
    let frozen = freeze::frozen(windows.filter(holds), draft.now)?;
    draft.wake(frozen.until);
    Some(Why::Frozen {
        until: frozen.until,
        message: frozen.message,
        role: frozen.role,
    })
}

/// The manifest's freeze windows, and those that the running rollout keeps.
fn windows(draft: &Draft<'_>) -> Vec<freeze::Freeze> {
    let own = draft.settings().map(|s| s.freeze.as_slice());
    let own = own.unwrap_or_default();
    let rollout = draft.target.rollout.as_ref();
    rollout.map_or_else(|| own.to_vec(), |rollout| rollout.kept.freeze(own))
}

/// The roles that whoever overrides what is frozen now must have.
pub(super) fn overriding(draft: &Draft<'_>) -> Vec<String> {
    let own = windows(draft);
    let windows = own.iter().chain(&draft.world.freezes);
    let now = windows.filter(|window| window.until(draft.now).is_some());
    now.filter_map(|window| Some(window.role()?.to_owned()))
        .collect()
}

/// Everything that stands at this place, in the order in which it is asked: jobs, who must say yes, the rest.
fn gates(draft: &Draft<'_>, rollout: &Rollout, moment: Moment) -> Vec<Due> {
    let Some(settings) = draft.settings() else {
        return Vec::new();
    };
    let step = match moment {
        Moment::Rollout => None,
        Moment::Step(step) => Some(step),
        Moment::Promotion => Some(rollout.plan.steps.len()),
    };
    let weight = step.filter(|_| draft.routed()).map(|step| {
        let of_step = rollout.plan.steps.get(step).map(|step| step.weight);
        of_step.unwrap_or(Weight::FULL)
    });
    // Each is asked once; a program that tests tasks runs before the first share, whichever step that is.
    let runs = |job: &&BeforeTraffic| {
        job.with_tasks == (moment != Moment::Rollout)
            && !has_run(draft, &rollout.revision, &job.name)
    };
    let (confirm, before) = match moment {
        Moment::Rollout => (When::ConfirmRollout, When::BeforeRollout),
        Moment::Step(_) => (When::ConfirmStep, When::BeforeStep),
        Moment::Promotion => (When::ConfirmPromotion, When::BeforePromotion),
    };
    let here = |hook: &&Webhook| {
        let number = step.and_then(|step| u32::try_from(step + 1).ok());
        hook.step.is_none() || hook.step == number
    };
    let all = rollout.kept.webhooks(&settings.webhooks);
    let hooks = |when: When| {
        let hooks = all.iter().filter(move |hook| hook.when == when);
        hooks.filter(here).map(|hook| (Some(hook.clone()), None))
    };
    let jobs = rollout.kept.before_traffic(&settings.before_traffic);
    let jobs = jobs.iter().filter(runs);
    let jobs = jobs.map(|job| (None, Some(job.clone())));
    let place = match moment {
        Moment::Step(step) => format!("{}", step + 1),
        Moment::Rollout | Moment::Promotion => "0".to_owned(),
    };
    let confirms = hooks(confirm).chain(hooks(before));
    let all: Vec<_> = match moment {
        // A program that changes something runs once everybody agreed to it.
        Moment::Rollout => confirms.chain(jobs).collect(),
        // One that tests runs before anybody is asked to agree.
        Moment::Step(_) | Moment::Promotion => jobs.chain(confirms).collect(),
    };
    all.into_iter()
        .map(|(webhook, job)| {
            let mut due = Due {
                id: String::new(),
                webhook,
                job,
                since: draft.now,
                about: about(draft, rollout, step, weight),
            };
            due.id = id(rollout, &due, &place);
            due
        })
        .collect()
}

/// The same question has the same id; a retry asks anew, since its seed is another.
fn id(rollout: &Rollout, due: &Due, place: &str) -> String {
    let place = if due.job.is_some() { "0" } else { place };
    let seed = rollout.gate_seed.as_ref().unwrap_or(&rollout.seed);
    let begin = beginning(rollout, seed);
    format!("{begin}{}-{place}-{}", due.word(), due.name())
}

fn beginning(rollout: &Rollout, seed: &str) -> String {
    format!("{}-{seed}-", rollout.revision)
}

/// Has what failed asked, or run, anew, under another id: an answer stays with its own. What has said yes stays so. Says
/// what is asked; `None`: nothing has failed.
pub(super) fn ask_anew(draft: &mut Draft<'_>) -> Option<String> {
    let refused = |due: &Due| {
        let answer = answer(draft, &due.id);
        answer.is_some_and(|answer| answer.verdict == GateVerdict::No) && !due.is_after()
    };
    let failed: Vec<Due> = (draft.target.due.iter())
        .filter(|due| refused(due))
        .cloned()
        .collect();
    let rollout = draft.target.rollout.as_ref()?;
    let stopped = rollout.paused.as_ref().and_then(|by| by.gate.clone());
    let what = match (&stopped, failed.first()) {
        (Some(gate), _) if gate.job => format!("the job {} runs again", gate.name),
        (Some(gate), _) => format!("the webhook {} is asked again", gate.name),
        (None, Some(due)) if due.job.is_some() => format!("{} runs again", title(due)),
        (None, Some(due)) => format!("{} is asked again", title(due)),
        (None, None) => return None,
    };
    let seed = format!("{:08x}", draft.world.fresh_seed);
    let rollout = draft.target.rollout.as_mut()?;
    let old = beginning(rollout, rollout.gate_seed.as_ref().unwrap_or(&rollout.seed));
    let new = beginning(rollout, &seed);
    for gate in &mut rollout.gates {
        if let Some(rest) = gate.strip_prefix(&old) {
            *gate = format!("{new}{rest}");
        }
    }
    rollout.gate_seed = Some(seed);
    rollout.paused = rollout.paused.take().filter(|_| stopped.is_none());
    draft
        .target
        .due
        .retain(|due| !failed.iter().any(|failed| failed.id == due.id));
    Some(what)
}

fn about(
    draft: &Draft<'_>,
    rollout: &Rollout,
    step: Option<usize>,
    weight: Option<Weight>,
) -> About {
    let record = draft.record(&rollout.revision);
    let steps = rollout.plan.steps.len();
    About {
        revision: rollout.revision.clone(),
        number: record.map_or(0, |record| record.number),
        image: record.map(|r| r.workload.image.clone()).unwrap_or_default(),
        stable: draft.target.stable.clone(),
        by: rollout.by.clone(),
        step: step.map(|step| (step + 1).min(steps)),
        steps,
        weight,
        outcome: None,
        reason: None,
        why: None,
    }
}

/// Asks one gate; what stops the rollout there, if it did not say yes.
fn one(draft: &mut Draft<'_>, due: Due) -> Option<Move> {
    let rollout = draft.target.rollout.as_ref()?;
    // Who went on after a rule had stopped it has decided that, too; but never that a migration need not run.
    let decided = rollout.overruled && due.webhook.is_some();
    // Who passes every wait passes those for somebody else's yes, too.
    let confirms = due
        .webhook
        .as_ref()
        .is_some_and(|hook| hook.when.confirms());
    let passed_by = rollout.full && confirms;
    if decided || passed_by || rollout.gates.contains(&due.id) {
        return None;
    }
    draft.asked = Some(due.id.clone());
    let known = draft.target.due.iter().any(|known| known.id == due.id);
    if !known {
        draft.target.due.push(due.clone());
    }
    let answer = answer(draft, &due.id).cloned();
    match answer.as_ref().map(|answer| answer.verdict) {
        Some(GateVerdict::Yes) => {
            passed(draft, &due);
            None
        }
        Some(GateVerdict::No) => Some(failed(draft, &due, &answer?)),
        Some(GateVerdict::Open) | None => Some(Move::Wait(Why::Gate(wait(draft, &due, answer)))),
    }
}

/// What the gates controller saw of this release; never of a deleted namesake.
fn answer<'a>(draft: &Draft<'a>, id: &str) -> Option<&'a GateAnswer> {
    let seen = draft.world.gates.as_ref()?;
    (seen.uid == draft.target.uid).then(|| seen.answers.get(id))?
}

fn passed(draft: &mut Draft<'_>, due: &Due) {
    if let Some(rollout) = &mut draft.target.rollout {
        rollout.gates.push(due.id.clone());
    }
    draft.asked = None;
    draft.target.due.retain(|known| known.id != due.id);
    let began = draft.target.rollout.as_ref().map(|r| r.started_at);
    if let Some(job) = &due.job {
        let ran = draft.target.ran.entry(due.about.revision.clone());
        let ran = ran.or_default();
        ran.jobs.push(job.name.clone());
        if !job.reversible {
            ran.irreversible = Some(job.name.clone());
            ran.since = began;
        }
    }
    let message = format!(
        "{} lets {} pass",
        title(due),
        draft.name(&due.about.revision)
    );
    draft.note(Severity::Normal, "GatePassed", message);
}

fn failed(draft: &mut Draft<'_>, due: &Due, answer: &GateAnswer) -> Move {
    let reason = if due.job.is_some() {
        reasons::BEFORE_TRAFFIC_FAILED
    } else {
        reasons::WEBHOOK_FAILED
    };
    let ending = Ending {
        outcome: Outcome::Failed,
        reason: reason.to_owned(),
        why: format!("{} failed: {}", title(due), answer.said),
    };
    if draft.target.stable.is_none() {
        // There is nothing to go back to: `retry`, or another revision, begins anew.
        return Move::Wait(Why::FirstFails {
            reason: ending.reason,
            why: ending.why,
            asked: true,
        });
    }
    draft.asked = None;
    let gate = FailedGate {
        id: due.id.clone(),
        name: due.name().to_owned(),
        job: due.job.is_some(),
    };
    taking_back::fail(draft, ending, Some(gate))
}

/// `the webhook smoke (beforeStep 2 of 3)`, for people.
fn title(due: &Due) -> String {
    let name = due.name();
    match (&due.webhook, due.about.step) {
        (None, _) => format!("the job {name} (beforeTraffic)"),
        (Some(hook), Some(step)) if matches!(hook.when, When::BeforeStep | When::ConfirmStep) => {
            let steps = due.about.steps;
            format!("the webhook {name} ({} {step} of {steps})", due.word())
        }
        (Some(_), _) => format!("the webhook {name} ({})", due.word()),
    }
}

fn wait(draft: &Draft<'_>, due: &Due, answer: Option<GateAnswer>) -> GateWait {
    let job = due.job.as_ref();
    // The time that a job may take counts from when it was first asked for.
    let since = draft.target.due.iter().find(|known| known.id == due.id);
    let since = since.map_or(due.since, |known| known.since);
    GateWait {
        title: title(due),
        confirms: (due.webhook.as_ref()).is_some_and(|hook| hook.when.confirms()),
        said: answer.as_ref().map(|answer| answer.said.clone()),
        next: answer.and_then(|answer| answer.next),
        until: job.map(|job| after(since, job.timeout)),
    }
}

fn has_run(draft: &Draft<'_>, revision: &RevisionId, job: &str) -> bool {
    let ran = draft.target.ran.get(revision);
    ran.is_some_and(|ran| ran.jobs.iter().any(|name| name == job))
}

/// The job after which there is no way back from this revision: it has run, or is at it.
pub(super) fn irreversible(draft: &Draft<'_>, revision: &RevisionId) -> Option<String> {
    let ran = draft.target.ran.get(revision);
    let ran = ran.and_then(|ran| ran.irreversible.clone());
    ran.or_else(|| under_way(draft, revision))
}

/// The job that is not to be stopped in the middle.
pub(super) fn under_way(draft: &Draft<'_>, revision: &RevisionId) -> Option<String> {
    let open = |due: &&Due| {
        let answer = answer(draft, &due.id);
        answer.is_none_or(|answer| answer.verdict == GateVerdict::Open)
    };
    let mut due = draft.target.due.iter();
    let at_it = due.find(|due| {
        let lasting = due.job.as_ref().is_some_and(|job| !job.reversible);
        lasting && due.about.revision == *revision && open(due)
    });
    at_it.map(|due| due.name().to_owned())
}

/// The job of another revision that did for good what this one knows nothing of.
pub(super) fn behind(draft: &Draft<'_>, revision: &RevisionId) -> Option<String> {
    let record = draft.record(revision)?;
    let number = |id: &RevisionId| Some(draft.record(id)?.number);
    draft.target.behind(record, number).map(str::to_owned)
}

/// The webhook that is being asked to agree, if that is what is waited for.
pub(super) fn confirming(draft: &Draft<'_>) -> Option<Due> {
    let rollout = draft.target.rollout.as_ref()?;
    let asked = draft.target.due.iter().find(|due| {
        let hook = due.webhook.as_ref();
        hook.is_some_and(|hook| hook.when.confirms()) && !rollout.gates.contains(&due.id)
    });
    asked.cloned()
}

/// Whether this place is the one before it gets everything.
pub(super) fn promotes(rollout: &Rollout) -> bool {
    match rollout.plan.steps.get(rollout.step) {
        None => rollout.plan.kind == Kind::Canary || rollout.plan.steps.is_empty(),
        Some(step) => rollout.plan.kind == Kind::BlueGreen && step.weight == Weight::FULL,
    }
}

/// Tells, at the end of a rollout, whoever wants to know.
pub(super) fn tell(draft: &mut Draft<'_>, rollout: &Rollout, entry: &HistoryEntry) {
    let when = match entry.outcome {
        Outcome::Promoted => When::AfterPromotion,
        Outcome::RolledBack | Outcome::Aborted | Outcome::Replaced | Outcome::Failed => {
            When::AfterRollback
        }
        Outcome::Over => return,
    };
    let hooks = draft.settings().map(|s| s.webhooks.clone());
    for hook in hooks
        .unwrap_or_default()
        .into_iter()
        .filter(|h| h.when == when)
    {
        let mut due = Due {
            id: String::new(),
            webhook: Some(hook),
            job: None,
            since: draft.now,
            about: About {
                outcome: Some(entry.outcome),
                reason: Some(entry.reason.clone()),
                why: Some(entry.why.clone()),
                ..about(draft, rollout, None, None)
            },
        };
        due.id = id(rollout, &due, "0");
        draft.target.due.push(due);
    }
}

/// Ends what nobody waits for any more, and takes note of what was only told.
pub(super) fn tidy(draft: &mut Draft<'_>) {
    let told: Vec<(Due, GateAnswer)> = (draft.target.due.iter())
        .filter(|due| due.is_after())
        .filter_map(|due| Some((due.clone(), answer(draft, &due.id)?.clone())))
        .filter(|(_, answer)| answer.verdict != GateVerdict::Open)
        .collect();
    for (due, answer) in told {
        draft.target.due.retain(|known| known.id != due.id);
        if answer.verdict == GateVerdict::No {
            let message = format!("{} failed: {}", title(&due), answer.said);
            draft.note(Severity::Warning, "WebhookFailed", message);
        }
    }
    let asked = draft.asked.clone();
    let running = draft
        .target
        .rollout
        .as_ref()
        .filter(|rollout| !matches!(rollout.stage, Stage::RollingBack | Stage::Draining));
    let running = running.map(|rollout| rollout.revision.clone());
    // A program is not stopped in the middle because its rollout is paused, or held.
    draft.target.due.retain(|due| {
        due.is_after()
            || asked.as_ref() == Some(&due.id)
            || (due.job.is_some() && running.as_ref() == Some(&due.about.revision))
    });
    let after = draft.target.due.iter().filter(|due| due.is_after()).count();
    for _ in MOST_AFTER..after {
        if let Some(oldest) = draft.target.due.iter().position(Due::is_after) {
            draft.target.due.remove(oldest);
        }
    }
}
