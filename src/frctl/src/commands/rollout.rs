//! `frctl rollout …`: says where a rollout stands, and steers it.

use std::time::Duration;

use fm_api::http::{ApplyResult, ErrorKind, OperationAccepted, UndoRequest, View};
use fm_api::keys::ReleaseKey;
use fm_api::operation::{Operation, Verb};
use fm_api::release::Release;
use fm_api::rollout::HistoryEntry;
use fm_api::status::{OperationAnswer, Status};
use serde_json::Value;
use tokio::time::Instant;

use crate::cli::{self, Output, Rollout, RolloutStatus, Undo};
use crate::client::{Client, shown, typed};
use crate::error::{Error, Exit, Result};
use crate::follow::{News, follow, next};
use crate::render::{self, verb};
use crate::session::{Session, short};
use crate::{term, wait};

/// How long promotion has for its answer.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn run(session: &Session, command: Rollout) -> Result<Exit> {
    match command {
        Rollout::Status(options) => status(session, &options).await,
        Rollout::History(named) => history(session, &named.name).await,
        Rollout::Promote(options) => {
            ask(session, Verb::Promote, options.full, &options.operation).await
        }
        Rollout::Abort(options) => ask(session, Verb::Abort, false, &options).await,
        Rollout::Retry(options) => ask(session, Verb::Retry, false, &options).await,
        Rollout::Pause(options) => ask(session, Verb::Pause, false, &options).await,
        Rollout::Resume(options) => ask(session, Verb::Resume, false, &options).await,
        Rollout::Restart(options) => ask(session, Verb::Restart, false, &options).await,
        Rollout::Undo(options) => undo(session, &options).await,
    }
}

async fn status(session: &Session, options: &RolloutStatus) -> Result<Exit> {
    let client = session.client()?;
    let key = session.key(&options.name)?;
    if options.watch {
        // A release that is not there is told at once, not waited for.
        client.get(&Client::release(&key)).await?;
        return wait::to_the_end(session, &client, &key, None, options.timeout).await;
    }
    let value = client
        .get(&format!("{}/view", Client::release(&key)))
        .await?;
    let view: View = shown(value.clone())?;
    if !session.object(&value["status"])? {
        match &view.status {
            None => term::line(&format!("{}: {}", short(&key), render::NO_STATUS))?,
            Some(status) => {
                term::line(&wait::line(&key, status, &session.look()))?;
                if status.waits_for_person {
                    term::line(&render::person(&view, status))?;
                }
            }
        }
    }
    let end = wait::ended(&view, wait::generation(&view));
    Ok(end.unwrap_or(Exit::Done))
}

async fn history(session: &Session, name: &str) -> Result<Exit> {
    let client = session.client()?;
    let key = session.key(name)?;
    let value = client
        .get(&format!("{}/view", Client::release(&key)))
        .await?;
    let entries = match value.pointer("/target/history") {
        Some(entries) => entries.clone(),
        None => Value::Array(Vec::new()),
    };
    if session.object(&serde_json::json!({ "items": entries }))? {
        return Ok(Exit::Done);
    }
    let entries: Vec<HistoryEntry> = shown(entries)?;
    if session.output() == Output::Name {
        for entry in entries.iter().rev() {
            term::line(entry.revision.as_str())?;
        }
    } else if entries.is_empty() {
        term::complain("no rollout has ended yet");
    } else {
        term::print(&render::history(&entries, &session.look()))?;
    }
    Ok(Exit::Done)
}

/// Posts an operation and waits for its answer.
async fn ask(session: &Session, asked: Verb, full: bool, options: &cli::Operation) -> Result<Exit> {
    let client = session.client()?;
    let key = session.key(&options.name)?;
    let operation = Operation {
        id: options
            .id
            .clone()
            .unwrap_or_else(|| uuid::Uuid::now_v7().to_string()),
        verb: asked,
        full,
        revision: None,
        why: options.why.clone(),
        by: String::new(),
        at: None,
    };
    let path = format!("{}/operations", Client::release(&key));
    let accepted = post(&client, &path, &operation).await?;
    let Some(answer) = answer(&client, &key, &accepted.id).await? else {
        let hint = format!(
            "it stays asked for; `frctl describe {}` shows the answer when it comes, `frctl doctor` whether promotion runs",
            short(&key)
        );
        return Err(Error::new(format!(
            "{} was taken in, but not answered within {} s",
            verb(asked),
            PATIENCE.as_secs()
        ))
        .hint(hint)
        .exit(Exit::TimedOut));
    };
    if session.output() == Output::Json || session.output() == Output::Yaml {
        session.object(&answer)?;
    }
    if !answer.accepted {
        return Err(
            Error::new(format!("{} refused: {}", verb(asked), answer.message)).hint(format!(
                "`frctl watch {}` shows where it stands",
                short(&key)
            )),
        );
    }
    if !matches!(session.output(), Output::Json | Output::Yaml) {
        term::line(&format!("{key} {}: {}", verb(asked), answer.message))?;
    }
    Ok(Exit::Done)
}

/// Posts an operation; again while frd says that its store is away. The id makes sure that it is asked once.
async fn post(client: &Client, path: &str, operation: &Operation) -> Result<OperationAccepted> {
    let deadline = Instant::now() + PATIENCE;
    let mut said = false;
    loop {
        match client.post(path, operation).await {
            Ok(value) => return typed(value),
            Err(error)
                if error.is(ErrorKind::Unavailable)
                    && error.is_answer()
                    && Instant::now() < deadline =>
            {
                if !std::mem::replace(&mut said, true) {
                    term::complain(&format!("{error}; trying again…"));
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// The answer to operation `id`, if it comes in time.
async fn answer(client: &Client, key: &ReleaseKey, id: &str) -> Result<Option<OperationAnswer>> {
    let mut news = follow(client, &format!("{}/status", Client::release(key)));
    let deadline = Instant::now() + PATIENCE;
    let mut patience = Instant::now() + Duration::from_secs(2);
    loop {
        let news = tokio::select! {
            news = next(&mut news) => news?,
            () = tokio::time::sleep_until(deadline) => return Ok(None),
            () = tokio::time::sleep_until(patience) => {
                term::complain("taken in; waiting for promotion's answer…");
                patience = deadline + PATIENCE;
                continue;
            }
        };
        match news {
            News::Put(value) => {
                let status: Status = shown(value)?;
                if let Some(answer) = status.last_operation.filter(|answer| answer.id == id) {
                    return Ok(Some(answer));
                }
            }
            // Without a status there is no answer yet.
            News::Delete => {}
            News::Lost(message) => term::complain(&format!("{message}; trying again…")),
            News::Back => term::complain("frd answers again"),
            News::Refused(error) if error.is(ErrorKind::NotFound) => {
                return Ok(None);
            }
            News::Refused(error) => return Err(error),
        }
    }
}

async fn undo(session: &Session, options: &Undo) -> Result<Exit> {
    let client = session.client()?;
    let key = session.key(&options.name)?;
    let before: Release = typed(client.get(&Client::release(&key)).await?)?;
    let request = UndoRequest {
        to: options.to.clone(),
        force: options.force,
    };
    let path = format!("{}/undo", Client::release(&key));
    let result: ApplyResult = typed(client.post(&path, &request).await?)?;
    super::edit::say(session, &key, &before, &result)?;
    Ok(Exit::Done)
}
