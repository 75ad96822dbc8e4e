//! How its sides begin: their images one after the other, their tasks all at once.

use fm_api::experiment::{SideResult, SideTarget};
use fm_api::keys::RevisionId;
use fm_api::rollout::PreviewTarget;
use fm_api::target::Resolve;
use fm_api::workload::Workload;
use jiff::Timestamp;

use super::super::draft::{Draft, after};
use super::super::{intake, preview};
use super::{side_mut, sides, take_out};

/// Requests to resolve a side's image are numbered apart from those of the spec's generations.
const SIDES: u64 = 1 << 40;
/// The label that makes a side's revision another one than stable's, and than that of an earlier experiment.
const LABEL: &str = "fridaymorning.experiment";

/// Has each side's image resolved, one after the other.
pub(super) fn resolve(draft: &mut Draft<'_>) {
    loop {
        if let Some(asked) = draft.target.resolve.clone() {
            let Some(name) = asked.side.clone() else {
                // The spec's comes first.
                return;
            };
            match intake::answer(draft, &asked) {
                None => return too_late(draft, &name),
                Some(Ok(record)) => {
                    let image = draft.record(&record).map(|r| r.image.pinned.clone());
                    if let Some(side) = side_mut(draft, &name) {
                        side.revision = Some(record);
                        side.image = image;
                    }
                }
                Some(Err((_, true))) => return too_late(draft, &name),
                Some(Err((error, false))) => take_out(draft, &name, SideResult::Failed, error),
            }
            draft.target.resolve = None;
        }
        let mut sides = sides(draft).into_iter();
        let next = sides.find(|side| side.revision.is_none() && side.outcome.is_none());
        let Some(resolve) = next.and_then(|side| wanted(draft, &side.name)) else {
            return;
        };
        draft.target.resolve = Some(resolve);
    }
}

/// The request for one side's image.
fn wanted(draft: &Draft<'_>, name: &str) -> Option<Resolve> {
    let experiment = draft.target.experimenting()?;
    let record = draft.record(&experiment.stable)?;
    let mut workload = Workload {
        // The same tag may mean another image by now; what runs is this one.
        image: record.image.pinned.clone(),
        ..record.workload.clone()
    };
    if let Some(candidate) = experiment.plan.candidate(name) {
        workload = candidate.applied(&workload);
    }
    let value = format!("{name}.{}", experiment.number);
    workload.labels.insert(LABEL.to_owned(), value);
    Some(Resolve {
        generation: SIDES + draft.next,
        workload,
        ports: record.ports.clone(),
        side: Some(name.to_owned()),
        pull: false,
        adopt: None,
        aborted: None,
    })
}

/// An image that stays unknown holds the others up no longer than tasks that stay away.
fn too_late(draft: &mut Draft<'_>, name: &str) {
    let began = draft.target.experimenting().map(|e| e.began);
    let limit = draft.settings().map(|s| s.progress_deadline);
    let (Some(began), Some(limit)) = (began, limit) else {
        return;
    };
    if draft.now < after(began, limit) {
        draft.wake(after(began, limit));
        return;
    }
    draft.target.resolve = None;
    let why = format!("its image was not resolved in {limit}");
    take_out(draft, name, SideResult::Failed, why);
}

/// All of them at once, so that all are equally warm.
pub(super) fn start(draft: &mut Draft<'_>) {
    let sides: Vec<SideTarget> = sides(draft);
    let open = sides.iter().filter(|side| side.outcome.is_none());
    let known: Option<Vec<(String, RevisionId)>> = open
        .map(|side| Some((side.name.clone(), side.revision.clone()?)))
        .collect();
    let Some(known) = known else {
        return;
    };
    let replicas = draft.target.experimenting().map_or(0, |e| e.plan.replicas);
    let routes = draft.target.routes.clone();
    for (name, revision) in known {
        if let Some(there) = draft.target.previews.get_mut(&revision) {
            there.routes.clone_from(&routes);
            continue;
        }
        let beside = PreviewTarget {
            by: draft.target.experimenting().and_then(|e| e.by.clone()),
            until: Timestamp::MAX,
            side: Some(name),
            ..preview::fresh(draft, &revision, routes.clone())
        };
        preview::stand_up(draft, &revision, replicas, beside);
    }
}
