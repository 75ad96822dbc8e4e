//! Operations: a person's word on a rollout, stored once for each id. Promotion answers and removes them.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use fm_api::http::{ListBody, OperationAccepted};
use fm_api::keys::ReleaseKey;
use fm_api::operation::{Operation, Verb};
use fm_api::problem::Problem;
use fm_api::quantity::Span;
use fm_store::{Expect, StoreError, Txn};
use serde_json::Value;

use super::Api;
use super::body;
use super::doors::Shared;
use super::error::{Answer, ApiError};
use super::extract::{Key, Uid, Who};
use super::stored::{decode, encode, no_release};

/// Operations that may wait at once for one release: beyond it something else is wrong.
const MOST_PENDING: usize = 100;
/// The longest hold: what is forgotten ends by itself.
const LONGEST_HOLD: Span = Span::secs(7 * 86_400);
/// The longest reason that is kept.
pub(super) const LONGEST_WHY: usize = 1000;

pub(super) async fn pending(
    State(api): State<Shared>,
    Key(key): Key,
) -> Answer<ListBody<Operation>> {
    let listing = api.ctx.store.list(&key.operations_prefix()).await?;
    let items: Vec<Operation> = listing.entries.iter().filter_map(decode).collect();
    if items.is_empty() {
        api.must_exist(&key).await?;
    }
    Ok(Json(ListBody {
        items,
        revision: listing.revision,
        more: None,
    }))
}

pub(super) async fn ask(
    State(api): State<Shared>,
    Key(key): Key,
    Who(who): Who,
    Uid(uid): Uid,
    body: Body,
) -> Result<(StatusCode, Json<OperationAccepted>), ApiError> {
    let (mut operation, to) = read(body::json(body).await?, api.ids)?;
    operation.by = who;
    operation.roles = uid.map(|uid| api.here.roles.of(uid)).unwrap_or_default();
    operation.at = Some(api.ctx.clock.now());
    if operation.verb == Verb::Undo {
        let id = operation.id.clone();
        super::undo::back(&api, &key, operation, to).await?;
        return Ok(accepted(id, false));
    }
    let stored = api.existing(&key).await?;
    match api.asked(&key, &operation.id).await? {
        Asked::Never => {}
        Asked::Waits => return Ok(accepted(operation.id, false)),
        Asked::Answered => return Ok(accepted(operation.id, true)),
    }
    if stored.deleted_at.is_some() {
        return Err(ApiError::refused(format!(
            "{key} is being deleted: its rollout cannot be changed any more"
        )));
    }
    let waiting = api
        .ctx
        .store
        .list(&key.operations_prefix())
        .await?
        .entries
        .len();
    if waiting >= MOST_PENDING {
        return Err(ApiError::refused(format!(
            "{waiting} operations on {key} wait for an answer already; is promotion running?"
        )));
    }
    api.say(&key, &operation).await?;
    Ok(accepted(operation.id, false))
}

fn accepted(id: String, answered: bool) -> (StatusCode, Json<OperationAccepted>) {
    (
        StatusCode::ACCEPTED,
        Json(OperationAccepted { id, answered }),
    )
}

/// What became of an operation's id before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Never,
    Waits,
    Answered,
}

impl Api {
    async fn asked(&self, key: &ReleaseKey, id: &str) -> Result<Asked, ApiError> {
        let target = self.target(key).await?;
        if target.is_some_and(|target| target.answered.iter().any(|known| known == id)) {
            return Ok(Asked::Answered);
        }
        let waits = self.ctx.store.get(&key.operation(id)).await?.is_some();
        Ok(if waits { Asked::Waits } else { Asked::Never })
    }

    /// Whether an operation with this id waits for its answer, or has it.
    pub(super) async fn asked_already(&self, key: &ReleaseKey, id: &str) -> Result<bool, ApiError> {
        Ok(self.asked(key, id).await? != Asked::Never)
    }

    /// Stores an operation for promotion to answer.
    pub(super) async fn say(
        &self,
        key: &ReleaseKey,
        operation: &Operation,
    ) -> Result<(), ApiError> {
        let txn = said(
            Txn::new().expect(Expect::Exists(key.release())),
            key,
            operation,
        )?;
        match self.ctx.store.commit(txn).await {
            Ok(_) => Ok(()),
            // Either it is there already, which is as good, or the release has gone meanwhile.
            Err(StoreError::Conflict { .. }) if self.asked_already(key, &operation.id).await? => {
                Ok(())
            }
            Err(StoreError::Conflict { .. }) => Err(no_release(key)),
            Err(error) => Err(error.into()),
        }
    }
}

/// Adds an operation to what is stored at once; one that was asked already is not asked again.
pub(super) fn said(txn: Txn, key: &ReleaseKey, operation: &Operation) -> Result<Txn, ApiError> {
    let path = key.operation(&operation.id);
    let txn = txn.expect(Expect::Absent(path.clone()));
    Ok(txn.put(path, encode(operation)?))
}

/// The operation; and of `undo`, where to.
pub(super) fn read(
    mut value: Value,
    ids: fn() -> String,
) -> Result<(Operation, Option<String>), ApiError> {
    const WHAT: &str = "the operation";
    let mut to = None;
    if let Some(object) = value.as_object_mut() {
        if object.get("operation").and_then(Value::as_str) == Some("undo") {
            let named = object.remove("to").filter(|to| !to.is_null());
            let named = named.or_else(|| object.remove("revision"));
            to = named
                .map(serde_json::from_value)
                .transpose()
                .map_err(|error| {
                    let wrong = Problem::new("to", format!("is no revision: {error}"));
                    ApiError::invalid(
                        WHAT,
                        vec![wrong.allowed("a revision's id or number, as text")],
                    )
                })?;
        }
        object.entry("id").or_insert_with(|| ids().into());
        // Who asks and when is for the server to say.
        object.remove("by");
        object.remove("at");
        object.remove("roles");
    }
    let operation: Operation = serde_json::from_value(value)
        .map_err(|error| ApiError::invalid(WHAT, vec![Problem::new("", error.to_string())]))?;
    let mut problems = Vec::new();
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if !(1..=64).contains(&operation.id.len()) || !operation.id.chars().all(fits) {
        problems.push(Problem::new("id", "is no id").allowed("1 to 64 letters, digits and `-`"));
    }
    if operation.full && operation.verb != Verb::Promote {
        problems.push(Problem::new("full", "only `promote` can be full").allowed("false"));
    }
    if operation.override_freeze && (operation.verb != Verb::Promote || operation.full) {
        let wrong = "only a plain `promote` overrides a freeze";
        problems.push(Problem::new("overrideFreeze", wrong).allowed("false"));
    }
    if operation.force && !matches!(operation.verb, Verb::Abort | Verb::Undo) {
        let wrong = "only `abort` and `undo` can be forced";
        problems.push(Problem::new("force", wrong).allowed("false"));
    }
    let unsaid = operation
        .why
        .as_ref()
        .is_none_or(|why| why.trim().is_empty());
    let abort = operation.force && operation.verb == Verb::Abort;
    if unsaid && (operation.override_freeze || abort) {
        let wrong = "overriding a freeze, or forcing an abort, needs a reason";
        problems.push(Problem::new("why", wrong).allowed("a reason, which is kept"));
    }
    if operation.period.is_some() && operation.verb != Verb::Hold {
        problems.push(Problem::new("for", "only `hold` has a time").allowed("nothing"));
    }
    if operation
        .period
        .is_some_and(|time| !(Span::secs(1)..=LONGEST_HOLD).contains(&time))
    {
        let allowed = format!("a duration from 1s to {LONGEST_HOLD}");
        problems.push(Problem::new("for", "is no time for a hold").allowed(allowed));
    }
    if operation
        .why
        .as_ref()
        .is_some_and(|why| why.len() > LONGEST_WHY)
    {
        problems
            .push(Problem::new("why", "is too long").allowed(format!("up to {LONGEST_WHY} bytes")));
    }
    if problems.is_empty() {
        Ok((operation, to))
    } else {
        Err(ApiError::invalid(WHAT, problems))
    }
}
