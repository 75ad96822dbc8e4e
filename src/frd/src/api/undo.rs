//! Undo: an earlier workload becomes the new spec. Which one is decided by a pure function.

use std::fmt::Write as _;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use fm_api::http::{ApplyOutcome, ApplyResult, UndoRequest};
use fm_api::keys::{ReleaseKey, RevisionId};
use fm_api::operation::{Operation, Verb};
use fm_api::problem::Problem;
use fm_api::release::ReleaseSpec;
use fm_api::rollout::{Failed, Held, Outcome};
use fm_api::target::{RevisionRecord, Target};
use jiff::Timestamp;
use serde_json::json;

use super::apply::{Wish, kept};
use super::body;
use super::doors::Shared;
use super::error::{Answer, ApiError};
use super::extract::{Key, Uid, Who};
use super::operations;

/// A beginning of a revision's id must be at least so long.
const SHORTEST: usize = 4;

pub(super) async fn undo(
    State(api): State<Shared>,
    Key(key): Key,
    Who(who): Who,
    Uid(uid): Uid,
    body: Body,
) -> Answer<ApplyResult> {
    let request: UndoRequest =
        serde_json::from_value(body::json_or_nothing(body).await?).map_err(|error| {
            ApiError::invalid("the request", vec![Problem::new("", error.to_string())])
        })?;
    let mut asked = json!({ "operation": Verb::Undo, "to": request.to, "force": request.force, "why": request.why });
    if let Some(id) = request.id {
        asked["id"] = id.into();
    }
    let (mut operation, to) = operations::read(asked, api.ids)?;
    operation.by = who;
    operation.roles = uid.map(|uid| api.here.roles.of(uid)).unwrap_or_default();
    operation.at = Some(api.ctx.clock.now());
    Ok(Json(back(&api, &key, operation, to).await?))
}

/// Goes back to a revision, unless that was asked with the same id before.
pub(super) async fn back(
    api: &Shared,
    key: &ReleaseKey,
    mut operation: Operation,
    to: Option<String>,
) -> Result<ApplyResult, ApiError> {
    let stored = api.existing(key).await?;
    let Some(mut release) = stored.release else {
        return Err(ApiError::refused(format!(
            "the stored release {key} cannot be read; apply a valid one instead"
        )));
    };
    if api.asked_already(key, &operation.id).await? {
        return Ok(ApplyResult {
            result: ApplyOutcome::Unchanged,
            message: Some(format!(
                "{key}: that was asked already, and changes nothing again"
            )),
            warnings: Vec::new(),
            before: Some(release.clone()),
            release,
        });
    }
    let Some(target) = api.target(key).await? else {
        return Err(ApiError::refused(format!(
            "{key} has no earlier revision: promotion has not taken it in yet"
        )));
    };
    let (_, records) = api.records(key).await?;
    let wanted = wanted(&release.spec, stored.generation, &target, &records).cloned();
    let record = choose(key, to.as_deref(), &target, &records, wanted.as_ref())?.clone();
    if !operation.force {
        still_there(api, key, &record, &target).await?;
        not_failed(key, &record, &target)?;
        reversible(key, &record, &target, &records)?;
    }
    let force = operation.force;
    // Promotion begins by force only what it would not begin by itself.
    operation.force =
        behind(&record, &target, &records).is_some() || failed(&record, &target).is_some();
    operation.revision = Some(record.id.clone());
    let now = api.ctx.clock.now();
    let held = target.held.as_ref().filter(|held| now < held.until);
    if let Some(held) = held.filter(|_| operation.force) {
        return Err(ApiError::refused(begins_at_once(key, held)));
    }
    let ports = release.spec.ports();
    let asks_for_it = wanted.as_ref() == Some(&record.id);
    if !asks_for_it {
        release.spec.workload = record.workload.clone();
        // The same tag may mean another image by now; what ran was this one.
        release.spec.workload.image.clone_from(&record.image.pinned);
    }
    let wish = Wish {
        release,
        who: operation.by.clone(),
        roles: operation.roles.clone(),
        why: operation.why.as_deref().and_then(kept),
        dry_run: false,
        force,
        pull: false,
        if_generation: Some(stored.generation),
        adopted: None,
        word: Some(operation.clone()),
    };
    let mut result = api.apply(wish).await?;
    if result.result == ApplyOutcome::Unchanged {
        // There was nothing to store it with.
        api.say(key, &operation).await?;
    }
    result.message = Some(sentence(key, &record, &target, result.result, now));
    let serves = target.stable.as_ref() == Some(&record.id);
    if !serves && warm_until(&target, &record.id).is_none_or(|until| until <= now) {
        let (spec, freeze) = (&result.release.spec, &api.here.freeze);
        let frozen = super::apply::frozen(None, spec, freeze, now);
        result.warnings.extend(frozen);
    }
    if ports != record.ports {
        result.warnings.push(format!(
            "spec.routes: they name other ports ({ports:?}) than revision {} had ({:?}): this makes a new revision of the earlier workload",
            record.id, record.ports
        ));
    }
    Ok(result)
}

/// The revision that the spec asks for now, as far as it is known.
fn wanted<'a>(
    spec: &ReleaseSpec,
    generation: u64,
    target: &'a Target,
    records: &'a [RevisionRecord],
) -> Option<&'a RevisionId> {
    if target.spec_generation == generation && target.resolve.is_none() && target.wanted.is_some() {
        return target.wanted.as_ref();
    }
    let ports = spec.ports();
    records
        .iter()
        .rev()
        .find(|record| record.runs(&spec.workload) && record.ports == ports)
        .map(|record| &record.id)
}

fn choose<'a>(
    key: &ReleaseKey,
    to: Option<&str>,
    target: &Target,
    records: &'a [RevisionRecord],
    wanted: Option<&RevisionId>,
) -> Result<&'a RevisionRecord, ApiError> {
    match to.map(str::trim) {
        Some(to) => named(key, to, records),
        None => before(target, records, wanted).ok_or_else(|| {
            ApiError::refused(format!(
                "{key} has no earlier revision that was promoted and is still known"
            ))
        }),
    }
}

/// The revision that somebody names: its id, its number, or a unique beginning of its id.
pub(super) fn named<'a>(
    key: &ReleaseKey,
    to: &str,
    records: &'a [RevisionRecord],
) -> Result<&'a RevisionRecord, ApiError> {
    if let Some(record) = records.iter().find(|record| record.id.as_str() == to) {
        return Ok(record);
    }
    if let Ok(number) = to.parse::<u64>()
        && let Some(record) = records.iter().find(|record| record.number == number)
    {
        return Ok(record);
    }
    let mut begins = records
        .iter()
        .filter(|record| to.len() >= SHORTEST && record.id.as_str().starts_with(to));
    match (begins.next(), begins.next()) {
        (Some(record), None) => Ok(record),
        (Some(_), Some(_)) => Err(ApiError::refused(format!(
            "more than one revision of {key} begins with `{to}`"
        ))),
        (None, _) => {
            let mut known = String::new();
            for record in records.iter().rev().take(10) {
                let separator = if known.is_empty() { "" } else { ", " };
                // Writing to a string does not fail.
                let _ = write!(known, "{separator}{} ({})", record.id, record.number);
            }
            Err(ApiError::not_found(format!(
                "{key} has no revision `{}`; known: {known}",
                to.escape_debug()
            )))
        }
    }
}

/// What served last before what is asked for now: stable while something else is asked for, else its predecessor.
fn before<'a>(
    target: &Target,
    records: &'a [RevisionRecord],
    wanted: Option<&RevisionId>,
) -> Option<&'a RevisionRecord> {
    let promoted = target
        .history
        .iter()
        .rev()
        .filter(|entry| entry.outcome == Outcome::Promoted)
        .map(|entry| &entry.revision);
    target
        .stable
        .iter()
        .chain(promoted)
        .filter(|revision| Some(*revision) != wanted)
        .find_map(|revision| records.iter().find(|record| record.id == *revision))
}

/// Refuses to go back to an image that is nowhere any more. What has tasks needs none.
async fn still_there(
    api: &Shared,
    key: &ReleaseKey,
    record: &RevisionRecord,
    target: &Target,
) -> Result<(), ApiError> {
    let runs = target
        .revisions
        .get(&record.id)
        .is_some_and(|revision| revision.replicas > 0);
    let Some(images) = api.here.images.as_ref().filter(|_| !runs) else {
        return Ok(());
    };
    let auth = record.workload.registry_auth.as_deref();
    match images.gone(&record.image.pinned, auth).await {
        None => Ok(()),
        Some(why) => Err(ApiError::refused(format!(
            "there is no way back to revision {} of {key}: its image {} ({}) is gone: {why}; name another revision with \
             `--to`; `--force` asks for it all the same",
            record.number, record.image.reference, record.image.pinned
        ))),
    }
}

/// The job of another revision that did for good what this one knows nothing of.
fn behind<'a>(
    record: &RevisionRecord,
    target: &'a Target,
    records: &[RevisionRecord],
) -> Option<&'a str> {
    let number = |id: &RevisionId| {
        let known = records.iter().find(|known| known.id == *id);
        known.map(|known| known.number)
    };
    target.behind(record, number)
}

/// Refuses to go back behind a revision for which a job did what cannot be undone.
fn reversible(
    key: &ReleaseKey,
    record: &RevisionRecord,
    target: &Target,
    records: &[RevisionRecord],
) -> Result<(), ApiError> {
    match behind(record, target, records) {
        None => Ok(()),
        Some(job) => Err(ApiError::refused(format!(
            "{key}: the job {job} of a later revision is not reversible, so there is no way back to revision {}; `--force` goes there all the same",
            record.number
        ))),
    }
}

fn not_failed(key: &ReleaseKey, record: &RevisionRecord, target: &Target) -> Result<(), ApiError> {
    match failed(record, target) {
        Some(failed) => {
            let what = if failed.unbegun {
                "was kept from beginning"
            } else {
                "failed"
            };
            Err(ApiError::refused(format!(
                "revision {} of {key} {what} at {}: {}; `--force` tries it again all the same",
                record.id, failed.at, failed.why
            )))
        }
        None => Ok(()),
    }
}

/// How it failed, unless it serves: that may have failed once and been tried again.
fn failed<'a>(record: &RevisionRecord, target: &'a Target) -> Option<&'a Failed> {
    let failed = target.failed.get(&record.id);
    failed.filter(|_| target.stable.as_ref() != Some(&record.id))
}

/// Why nobody is forced back under a hold: promotion would refuse the word, and the spec would be stored all the same.
fn begins_at_once(key: &ReleaseKey, held: &Held) -> String {
    format!(
        "{key} is held by {} until {}, and going back by force begins at once: end the hold first (`frctl hold {key} --end`)",
        held.by,
        shown(held.until)
    )
}

fn shown(at: Timestamp) -> impl std::fmt::Display {
    at.strftime("%Y-%m-%d %H:%M:%S UTC")
}

/// Until when the revision's tasks stay, if it served before.
fn warm_until(target: &Target, revision: &RevisionId) -> Option<Timestamp> {
    let leaving = target.leaving.get(revision)?;
    leaving.warm_until.filter(|_| !leaving.inspected)
}

fn sentence(
    key: &ReleaseKey,
    record: &RevisionRecord,
    target: &Target,
    outcome: ApplyOutcome,
    now: Timestamp,
) -> String {
    let what = format!(
        "revision {} (number {}, image {})",
        record.id, record.number, record.image.reference
    );
    if outcome == ApplyOutcome::Unchanged {
        return format!("{key} asks for {what} already");
    }
    if let Some(held) = target.held.as_ref().filter(|held| now < held.until) {
        return format!(
            "{key} asks for {what}; it is held by {}, so that acts when the hold ends, at {} at the latest",
            held.by,
            shown(held.until)
        );
    }
    let serves = target.stable.as_ref() == Some(&record.id);
    let then = if serves && target.canary.is_some() {
        "; it serves already, and the running canary is taken back"
    } else if serves {
        "; it serves already"
    } else if target.failed.contains_key(&record.id) {
        "; it failed before and is tried again from its first step"
    } else if let Some(until) = warm_until(target, &record.id).filter(|until| now < *until) {
        let until = until.strftime("%H:%M:%S UTC");
        return format!(
            "{key} went back to {what}; its tasks are warm until {until}: it is one change of weight"
        );
    } else {
        "; its tasks are gone: it is rolled out by the strategy like any other"
    };
    format!("{key} went back to {what}{then}")
}

#[cfg(test)]
mod tests;
