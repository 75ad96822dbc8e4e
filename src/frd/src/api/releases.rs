//! `/v1/namespaces/{ns}/releases/{name}`: read, store, delete.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use fm_api::event::Severity;
use fm_api::gates::{Due, GateVerdict, GatesObserved};
use fm_api::http::{ApplyOutcome, DeleteResult};
use fm_api::keys::ReleaseKey;
use fm_api::problem::Problem;
use fm_api::release::Release;
use fm_api::validate;
use fm_api::workload::FileReference;
use fm_store::{Expect, StoreError, Txn};
use serde::Deserialize;
use serde_json::Value;

use super::Api;
use super::apply::{Wish, kept};
use super::body;
use super::doors::Shared;
use super::error::{Answer, ApiError};
use super::extract::{From, Key, Params, Uid, Who, if_match};
use super::operations::LONGEST_WHY;
use super::stored::{Stored, decode, encode, no_release};
use super::watch::{self, WatchQuery};

/// How often a delete is tried again because somebody else was faster.
const ATTEMPTS: usize = 8;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct PutQuery {
    dry_run: Option<DryRun>,
    force: bool,
    /// Ask anew what the image's tag means.
    pull: bool,
    why: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum DryRun {
    Server,
}

pub(super) async fn get(
    State(api): State<Shared>,
    Key(key): Key,
    Params(query): Params<WatchQuery>,
    From(caller): From,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    if query.watch {
        let place = api.watchers.enter(caller)?;
        return watch::release(api, key, place, query.resume(&headers)?).await;
    }
    let entry = api
        .ctx
        .store
        .get(&key.release())
        .await?
        .ok_or_else(|| no_release(&key))?;
    let value: Value = serde_json::from_slice(&entry.value).map_err(|error| {
        ApiError::internal(format!("the stored release {key} is no JSON: {error}"))
    })?;
    Ok(Json(value).into_response())
}

pub(super) async fn put(
    State(api): State<Shared>,
    Key(key): Key,
    Params(query): Params<PutQuery>,
    Who(who): Who,
    Uid(uid): Uid,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let release = read(&key, body::json(body).await?)?;
    let why = query.why.as_deref().and_then(kept);
    if why.as_ref().is_some_and(|why| why.len() > LONGEST_WHY) {
        return Err(ApiError::request(format!(
            "why: it is too long; allowed: up to {LONGEST_WHY} bytes"
        )));
    }
    let wish = Wish {
        release,
        who,
        roles: uid.map(|uid| api.here.roles.of(uid)).unwrap_or_default(),
        why,
        dry_run: query.dry_run.is_some(),
        force: query.force,
        pull: query.pull,
        if_generation: if_match(&headers)?,
        adopted: None,
        word: None,
    };
    let result = api.apply(wish).await?;
    let status = match result.result {
        ApplyOutcome::Created => StatusCode::CREATED,
        ApplyOutcome::Configured | ApplyOutcome::Unchanged => StatusCode::OK,
    };
    Ok((status, Json(result)).into_response())
}

/// The release in a body: valid, and the one that the address names. What only the server sets is left out.
fn read(key: &ReleaseKey, mut value: Value) -> Result<Release, ApiError> {
    let what = format!("release {key}");
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        for (field, wanted) in [("namespace", key.namespace()), ("name", key.name())] {
            let found = metadata.entry(field).or_insert_with(|| wanted.into());
            if found.is_string() && found != wanted {
                let problem = Problem::new(
                    format!("metadata.{field}"),
                    format!("{found} is not what the address names"),
                )
                .allowed(format!("`{wanted}`"));
                return Err(ApiError::invalid(&what, vec![problem]));
            }
        }
        for field in [
            "uid",
            "generation",
            "createdAt",
            "deletedAt",
            "changedBy",
            "changedRoles",
            "pulled",
            "changedWhy",
            "adopted",
            "orphan",
            "removeAdopted",
        ] {
            metadata.remove(field);
        }
    }
    let release = validate::json(&value).map_err(|problems| ApiError::invalid(&what, problems))?;
    let lacking = without_content(&release);
    if lacking.is_empty() {
        Ok(release)
    } else {
        Err(ApiError::invalid(&what, lacking))
    }
}

/// Configs and secrets whose content would have to be read from where the manifest is.
fn without_content(release: &Release) -> Vec<Problem> {
    let workload = &release.spec.workload;
    let both = [
        ("secrets", &workload.secrets),
        ("configs", &workload.configs),
    ];
    let each = both
        .iter()
        .flat_map(|(field, files)| files.iter().enumerate().map(move |file| (field, file)));
    let lacking = each.filter(|(_, (_, file))| file.lacks_content());
    let problem = |(field, (index, file)): (&&str, (usize, &FileReference))| {
        let wrong = format!("the content of `{}` is not here", file.shown());
        Problem::new(format!("spec.workload.{field}[{index}]"), wrong).allowed(
            "`hash`, as POST …/contents answers it once it has the content; `frctl apply` does both",
        )
    };
    lacking.map(problem).collect()
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct DeleteQuery {
    orphan: bool,
    remove_adopted: bool,
    force: bool,
}

pub(super) async fn delete(
    State(api): State<Shared>,
    Key(key): Key,
    Params(query): Params<DeleteQuery>,
    Who(who): Who,
) -> Result<(StatusCode, Json<DeleteResult>), ApiError> {
    if query.orphan && query.remove_adopted {
        let words = "`orphan` gives the adopted service back, and `removeAdopted` removes it: say one of them";
        return Err(ApiError::request(words));
    }
    let _one_at_a_time = api.changes.lock().await;
    for _ in 0..ATTEMPTS {
        let entry = api
            .ctx
            .store
            .get(&key.release())
            .await?
            .ok_or_else(|| no_release(&key))?;
        let stored = Stored::read(&entry);
        if stored.deleted_at.is_some() && !query.orphan {
            return Ok(deleting());
        }
        let expect = Expect::Unchanged(key.release(), entry.revision);
        api.check_adopted(&key, &query, &stored).await?;
        if !query.force {
            api.check_jobs(&key).await?;
        }
        let now = api.ctx.clock.now().to_string();
        let txn = match marked(&entry.value, &now, &query) {
            Some(value) => Txn::new()
                .expect(expect)
                .put(key.release(), encode(&value)?),
            // Nothing can be noted in what is no object: it goes at once, and promotion sees that it has gone.
            None => Txn::new().expect(expect).delete(key.release()),
        };
        match api.ctx.store.commit(txn).await {
            Ok(_) => {
                let message = if query.orphan {
                    format!("{who} asked for its deletion; stable's service stays")
                } else if query.remove_adopted {
                    format!(
                        "{who} asked for its deletion, and that of the service that was adopted"
                    )
                } else {
                    format!("{who} asked for its deletion")
                };
                api.recorder
                    .record(Some(&key), Severity::Normal, "DeletionRequested", message)
                    .await;
                return Ok(deleting());
            }
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(ApiError::conflict(format!(
        "{key} is being changed by others all the time; try again"
    )))
}

fn deleting() -> (StatusCode, Json<DeleteResult>) {
    (
        StatusCode::ACCEPTED,
        Json(DeleteResult {
            result: "deleting".to_owned(),
        }),
    )
}

/// The stored object with the time of its deletion, also when the rest of it does not parse.
fn marked(value: &[u8], now: &str, query: &DeleteQuery) -> Option<Value> {
    let mut value: Value = serde_json::from_slice(value).ok()?;
    let metadata = value.get_mut("metadata")?.as_object_mut()?;
    // One that began before goes on; what becomes of the services may still be said.
    metadata.entry("deletedAt").or_insert_with(|| now.into());
    if query.orphan {
        metadata.insert("orphan".to_owned(), true.into());
        metadata.remove("removeAdopted");
    }
    if query.remove_adopted {
        metadata.insert("removeAdopted".to_owned(), true.into());
    }
    Some(value)
}

impl Api {
    /// What was there before goes only where somebody says so, and can always be given back.
    async fn check_adopted(
        &self,
        key: &ReleaseKey,
        query: &DeleteQuery,
        stored: &Stored,
    ) -> Result<(), ApiError> {
        let target = self.target(key).await?;
        let kept = target.as_ref().and_then(|target| target.keeps_adopted());
        if query.orphan {
            // Not taken in yet: then there is nothing to give back, and nothing goes.
            let untouched = target.as_ref().is_none_or(|t| t.revisions.is_empty());
            let release = stored.release.as_ref();
            let adopts = release.is_some_and(|release| release.metadata.adopted.is_some());
            if kept.is_some() || (adopts && untouched && stored.deleted_at.is_none()) {
                return Ok(());
            }
            return self.check_orphan(key).await;
        }
        match kept {
            Some(adoption) if !query.remove_adopted => Err(ApiError::refused(format!(
                "{key} runs the service {}, which was there before it: `frctl delete {key} --orphan` gives it back and its \
                 tasks run on, `frctl delete {key} --remove-adopted` removes it as well",
                adoption.service
            ))),
            Some(_) | None => Ok(()),
        }
    }

    /// A deletion would stop it in the middle.
    async fn check_jobs(&self, key: &ReleaseKey) -> Result<(), ApiError> {
        let Some(target) = self.target(key).await? else {
            return Ok(());
        };
        let lasting = |due: &&Due| due.job.as_ref().is_some_and(|job| !job.reversible);
        let mut lasting = target.due.iter().filter(lasting).peekable();
        if lasting.peek().is_none() {
            return Ok(());
        }
        let seen = self.ctx.store.get(&key.observed_gates()).await?;
        let seen: Option<GatesObserved> = seen.as_ref().and_then(decode);
        let seen = seen.filter(|seen| seen.uid == target.uid);
        let answers = seen.map(|seen| seen.answers).unwrap_or_default();
        let open = |due: &&Due| {
            let answer = answers.get(&due.id);
            answer.is_none_or(|answer| answer.verdict == GateVerdict::Open)
        };
        match lasting.find(open) {
            None => Ok(()),
            Some(due) => Err(ApiError::refused(format!(
                "the job {} of revision {} of {key} is not reversible, and runs: deletion would stop it in the middle; \
                 delete the release when it has ended, or by force",
                due.name(),
                due.about.number
            ))),
        }
    }

    pub(super) async fn must_exist(&self, key: &ReleaseKey) -> Result<(), ApiError> {
        self.existing(key).await.map(drop)
    }
}

/// One stored object of a release, as it is stored.
pub(super) async fn part(
    api: &Api,
    key: &ReleaseKey,
    stored_at: &str,
    what: &str,
) -> Answer<Value> {
    let Some(entry) = api.ctx.store.get(stored_at).await? else {
        api.must_exist(key).await?;
        return Err(ApiError::not_found(format!("{key} has no {what} yet")));
    };
    serde_json::from_slice(&entry.value)
        .map(Json)
        .map_err(|error| {
            ApiError::internal(format!("the stored {what} of {key} is no JSON: {error}"))
        })
}
