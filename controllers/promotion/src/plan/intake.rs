//! Takes the spec in: what needs no new revision at once, a new workload by way of the swarm controller's resolution.
//!
//! The image is resolved again only when the workload or the ports, as written, differ from those of the revision that
//! the spec asked for last. So scaling, routes, steps and criteria never wait for a registry, and a tag that moved
//! starts no rollout by itself.
//!
//! Routes follow at once unless they name a port that stable does not publish: then the old routes stay until a
//! revision that publishes it is stable, because nothing could answer the new ones before.

use fm_api::event::Severity;
use fm_api::keys::RevisionId;
use fm_api::loosening::Kept;
use fm_api::observed::Resolution;
use fm_api::quantity::Weight;
use fm_api::release::Release;
use fm_api::rollout::{Rollout, Settings, Stage};
use fm_api::strategy::{Course, Preview, filled};
use fm_api::target::{AnalysisTarget, Resolve, ResolvedImage, RevisionRecord};

use super::draft::Draft;
use super::why::Why;

/// Takes the spec in, and says what it waits for.
pub(super) fn step(draft: &mut Draft<'_>) -> Option<Why> {
    let world = draft.world;
    let Some(spec) = &world.spec else {
        return Some(Why::SpecMissing);
    };
    let why = match &spec.body {
        Err(problems) => Some(Why::InvalidSpec {
            problems: problems.clone(),
        }),
        Ok(release) => {
            if draft.target.spec_generation != spec.generation || draft.settings().is_none() {
                take_in(draft, release, spec.generation);
            }
            resolution(draft)
        }
    };
    adopt_routes(draft);
    why
}

fn take_in(draft: &mut Draft<'_>, release: &Release, generation: u64) {
    let spec = &release.spec;
    let course = Course::of(&spec.strategy);
    let preview = spec.strategy.preview.as_ref();
    // Validation refuses a spec without a strategy.
    if course.is_none() && preview.is_none() {
        return;
    }
    let asked = draft
        .target
        .wanted
        .as_ref()
        .and_then(|wanted| draft.record(wanted));
    let same = asked
        .is_some_and(|record| record.workload == spec.workload && record.ports == spec.ports());
    let target = &mut draft.target;
    let pulled = release.metadata.pulled;
    let pulled = pulled.is_some_and(|pulled| pulled > target.spec_generation);
    // What somebody kept from beginning stays so, whatever else of the manifest changes meanwhile.
    let before = target.resolve.take().filter(|was| {
        was.side.is_none() && was.workload == spec.workload && was.ports == spec.ports()
    });
    // Whoever asks what a tag means is answered, whatever else changes meanwhile.
    let pull = pulled || before.as_ref().is_some_and(|was| was.pull);
    target.resolve = (!same || pull).then(|| Resolve {
        generation,
        workload: spec.workload.clone(),
        ports: spec.ports(),
        side: None,
        pull,
        // Only the first revision can be one that runs already.
        adopt: if target.stable.is_none() && target.rollout.is_none() {
            release.metadata.adopted.clone()
        } else {
            None
        },
        aborted: before.and_then(|was| was.aborted),
    });
    let kept = match (&target.rollout, &target.settings) {
        (Some(rollout), Some(before)) => {
            Kept::of(rollout, before, spec, &release.metadata.changed_roles)
        }
        (None, _) | (_, None) => Kept::default(),
    };
    target.spec_generation = generation;
    target.preview_hosts = spec.strategy.preview_hosts().to_vec();
    target.mirrors = course.as_ref().is_some_and(Course::mirrors) && !spec.routes.is_empty();
    target.match_rules.clone_from(&spec.match_rules);
    target.affinity.clone_from(&spec.affinity);
    target.on_control_loss = spec.on_control_loss.clone();
    target.drift = spec.drift;
    target.settings = Some(Settings {
        replicas: spec.replicas,
        course: course.clone(),
        preview: preview.map(|preview| named(preview, release)),
        analysis: spec.analysis.clone(),
        on_failure: spec.on_failure,
        rollback: spec.rollback,
        keep_failed: spec.keep_failed,
        on_new_revision: spec.on_new_revision,
        progress_deadline: spec.progress_deadline,
        history_limit: spec.history_limit,
        before_traffic: spec.before_traffic.clone(),
        webhooks: spec.webhooks.clone(),
        freeze: spec.freeze.clone(),
        experiment: spec.experiment.clone(),
        group: spec.group.clone(),
        routes: spec.routes.clone(),
        changed_by: release.metadata.changed_by.clone(),
    });
    let course = course.map(|course| kept.course(&course, spec.replicas));
    keep(draft, kept);
    follow(draft, course.as_ref());
}

/// What the running rollout must pass although this manifest asks for less.
fn keep(draft: &mut Draft<'_>, kept: Kept) {
    let Some(rollout) = &mut draft.target.rollout else {
        return;
    };
    if rollout.kept == kept {
        return;
    }
    let told = kept.told();
    rollout.kept = kept;
    let revision = rollout.revision.clone();
    if let Some(told) = told {
        let message = format!(
            "the manifest asks for less than before; the rollout of {} must still pass {told}, the next one need not",
            draft.name(&revision)
        );
        draft.note(Severity::Warning, "RulesKept", message);
    }
}

/// The preview with this release's namespace and name filled in.
fn named(preview: &Preview, release: &Release) -> Preview {
    let (namespace, name) = (&release.metadata.namespace, &release.metadata.name);
    let mut preview = preview.clone();
    let hosts = preview.hosts.iter_mut();
    let values = preview.match_rules.iter_mut().map(|rule| &mut rule.value);
    for text in hosts.chain(values) {
        *text = filled(text, None, namespace, name);
    }
    preview
}

/// A running rollout follows changed steps, deadline and criteria. What it has passed it does not repeat; under another
/// strategy its steps would mean something else, so it ends as it began.
fn follow(draft: &mut Draft<'_>, course: Option<&Course>) {
    let Some(settings) = draft.target.settings.clone() else {
        return;
    };
    let now = draft.now;
    let tasks = (!draft.routed()).then(|| draft.replicas());
    if let Some(rollout) = &mut draft.target.rollout {
        rollout.progress_deadline = settings.progress_deadline;
        if let Some(course) = course
            && rollout.plan != *course
            && rollout.plan.kind == course.kind
        {
            let last = rollout.step >= rollout.plan.steps.len();
            let step = if last {
                course.steps.len()
            } else {
                place_in(course, rollout, tasks)
            };
            let share = |plan: &Course, at: usize| {
                let step = plan.steps.get(at)?;
                Some((step.weight, step.mirror, step.replicas))
            };
            let moved =
                step != rollout.step || share(&rollout.plan, rollout.step) != share(course, step);
            rollout.plan = course.clone();
            rollout.step = step;
            if moved {
                rollout.passed.clear();
            }
            if moved && matches!(rollout.stage, Stage::Shifting | Stage::Holding) {
                rollout.stage = Stage::Scaling;
                rollout.stage_since = now;
            }
        }
    }
    let mirrors = draft.target.rollout.as_ref();
    draft.target.mirrors |= mirrors.is_some_and(|rollout| rollout.plan.mirrors());
    refresh_analysis(draft);
}

/// The step of another course at which a rollout goes on: where it is, if that comes next there too; else the last one
/// that gives no more than is in force. So no hold is passed by what is written in front of it. `tasks`: of how many, where
/// there are no requests to share.
fn place_in(course: &Course, rollout: &Rollout, tasks: Option<u32>) -> usize {
    let gives = |plan: &Course, at: usize| -> Option<(u32, Weight, Weight)> {
        let step = plan.steps.get(at)?;
        Some(match tasks {
            Some(replicas) => (plan.tasks(at, replicas), Weight::ZERO, Weight::ZERO),
            None => (0, step.weight, step.mirror),
        })
    };
    let now = rollout.step;
    let reached = match rollout.stage {
        Stage::Shifting | Stage::Holding | Stage::Draining | Stage::RollingBack => Some(now),
        Stage::Preparing | Stage::Scaling => now.checked_sub(1),
    };
    let reached = reached.and_then(|step| gives(&rollout.plan, step));
    let reached = reached.unwrap_or_default();
    let given = |at: usize| gives(course, at).is_some_and(|gives| gives <= reached);
    let same = gives(course, now).is_some() && gives(course, now) == gives(&rollout.plan, now);
    if same && now.checked_sub(1).is_none_or(given) {
        return now;
    }
    (0..course.steps.len())
        .rev()
        .find(|at| given(*at))
        .unwrap_or(0)
}

/// What analysis judges, after a change of criteria, steps or routes. Other criteria are another run.
pub(super) fn refresh_analysis(draft: &mut Draft<'_>) {
    let (Some(old), Some(settings), Some(rollout)) = (
        draft.target.analysis.clone(),
        draft.target.settings.as_ref(),
        draft.target.rollout.as_ref(),
    ) else {
        return;
    };
    if settings.analysis.disabled {
        draft.target.analysis = None;
        return;
    }
    let fresh = AnalysisTarget::new(
        &old.canary,
        &old.stable,
        &rollout.trial_seed(),
        &settings.analysis,
    );
    let awaiting_since = old.awaiting_since.filter(|_| old.run == fresh.run);
    draft.target.analysis = Some(AnalysisTarget {
        worker: !draft.routed(),
        request_timeout: request_timeout(draft),
        last_hold: last_hold(&rollout.plan),
        since: old.since,
        awaiting_since,
        step: old.step,
        ..fresh
    });
}

/// The longest time any route waits for an answer.
pub(super) fn request_timeout(draft: &Draft<'_>) -> fm_api::quantity::Span {
    draft
        .target
        .routes
        .iter()
        .map(|route| route.timeouts.server)
        .max()
        .unwrap_or_default()
}

/// The last step's hold.
pub(super) fn last_hold(plan: &Course) -> fm_api::quantity::Span {
    plan.steps.last().map(|step| step.hold).unwrap_or_default()
}

/// Routes follow once stable publishes their ports.
pub(super) fn adopt_routes(draft: &mut Draft<'_>) {
    let Some(settings) = draft.settings() else {
        return;
    };
    if draft.target.stable.is_none() && settings.preview.is_some() {
        // Previews carry their own: nothing serves the routes' hosts.
        draft.target.routes = Vec::new();
        return;
    }
    if settings.routes == draft.target.routes {
        return;
    }
    let published = match &draft.target.stable {
        None => true,
        Some(stable) => draft.record(stable).is_some_and(|record| {
            settings
                .routes
                .iter()
                .all(|route| record.ports.contains(&route.port))
        }),
    };
    if published {
        draft.target.routes = settings.routes.clone();
        refresh_analysis(draft);
    }
}

/// Makes a revision of the swarm controller's answer.
fn resolution(draft: &mut Draft<'_>) -> Option<Why> {
    let asked = draft.target.resolve.as_ref();
    let resolve = asked.filter(|resolve| resolve.side.is_none())?.clone();
    let image = resolve.workload.image.clone();
    let answer = answer(draft, &resolve);
    if let Some(aborted) = &resolve.aborted
        && !matches!(answer, Some(Ok(_)))
    {
        return Some(Why::Failed {
            revision: format!("the image {image}"),
            reason: aborted.reason.clone(),
            why: aborted.why.clone(),
            stable: draft.stable(),
            unbegun: true,
        });
    }
    match answer {
        None => Some(match draft.swarm().and_then(|seen| seen.problem.clone()) {
            Some(problem) => Why::SwarmUnknown { problem },
            None => Why::Resolving { image },
        }),
        Some(Ok(id)) => {
            draft.target.resolve = None;
            draft.target.wanted = Some(id.clone());
            failed_before(draft, &id);
            if let Some(aborted) = resolve.aborted
                && draft.target.stable.as_ref() != Some(&id)
            {
                draft.target.failed.entry(id).or_insert(aborted);
            }
            None
        }
        Some(Err((error, transient))) => Some(Why::Unresolved {
            image,
            error,
            transient,
        }),
    }
}

/// The revision that the swarm controller's answer makes, or why there is none and whether that may change; `None`: it
/// has not answered.
pub(super) fn answer(
    draft: &mut Draft<'_>,
    resolve: &Resolve,
) -> Option<Result<RevisionId, (String, bool)>> {
    let answer = draft
        .swarm()
        .and_then(|seen| seen.resolution.as_ref())
        .filter(|answer| answer.generation == resolve.generation)?;
    Some(match answer {
        Resolution {
            image: Some(resolved),
            service: Some(service),
            ..
        } => Ok(recorded(draft, resolve, resolved, service)),
        Resolution {
            error, transient, ..
        } => {
            let error = error.clone();
            let error = error.unwrap_or_else(|| "no reason given".to_owned());
            Err((error, *transient))
        }
    })
}

/// The revision's id; its record is made where there is none.
fn recorded(
    draft: &mut Draft<'_>,
    resolve: &Resolve,
    image: &ResolvedImage,
    service: &serde_json::Value,
) -> RevisionId {
    let id = RevisionId::of(&resolve.workload, &image.pinned, &resolve.ports);
    if draft.record(&id).is_some() {
        return id;
    }
    let generation = match resolve.side {
        None => resolve.generation,
        Some(_) => draft.target.spec_generation,
    };
    // What it was first asked for before it was forgotten says what it is older than.
    let created_at = draft.target.forgotten.remove(&id).unwrap_or(draft.now);
    let record = RevisionRecord {
        id: id.clone(),
        uid: draft.target.uid.clone(),
        number: highest_number(draft) + 1,
        generation,
        created_at,
        created_by: draft.settings().and_then(|s| s.changed_by.clone()),
        workload: resolve.workload.clone(),
        image: image.clone(),
        ports: resolve.ports.clone(),
        service: service.clone(),
        adopted: resolve.adopt.clone(),
    };
    let message = format!(
        "revision {} is {} as {}",
        record.number, record.workload.image, record.image.pinned
    );
    draft.records.insert(id.clone(), record);
    draft.note(Severity::Normal, "RevisionCreated", message);
    id
}

/// Says of what is asked for again that it failed before.
fn failed_before(draft: &mut Draft<'_>, id: &RevisionId) {
    if draft.records.contains_key(id) {
        return;
    }
    if let Some(failed) = draft.target.failed.get(id) {
        let message = format!(
            "{} failed before ({}) and is not tried again by itself; retry it, or apply another",
            draft.name(id),
            failed.reason
        );
        draft.note(Severity::Warning, "FailedBefore", message);
    }
}

fn highest_number(draft: &Draft<'_>) -> u64 {
    let records = draft.world.records.values().chain(draft.records.values());
    let recorded = records.map(|record| record.number);
    let remembered = draft.target.history.iter().map(|entry| entry.number);
    recorded.chain(remembered).max().unwrap_or(0)
}
