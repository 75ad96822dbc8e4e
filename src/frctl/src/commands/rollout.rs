//! `frctl rollout …`: says where a rollout stands, and steers it.

use std::time::Duration;

use fm_api::http::{ApplyResult, ErrorKind, OperationAccepted, UndoRequest, View};
use fm_api::keys::ReleaseKey;
use fm_api::operation::{Operation, Verb};
use fm_api::quantity::Span;
use fm_api::release::Release;
use fm_api::rollout::Settings;
use fm_api::status::{OperationAnswer, Status};
use fm_api::target::Target;
use tokio::time::Instant;

use crate::cli::{self, Output, Promote, Rollout, RolloutStatus, Undo};
use crate::client::{Client, shown, typed};
use crate::error::{Error, Exit, Result};
use crate::follow::{News, follow, next};
use crate::render::{self, verb};
use crate::session::{Session, short};
use crate::{term, wait};

mod history;

/// How long promotion has for its answer.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn run(session: &Session, command: Rollout) -> Result<Exit> {
    let plain = |verb, options: cli::Operation| (options.name.clone(), Asked::of(verb, options));
    let (name, asked) = match command {
        Rollout::Status(options) => return status(session, &options).await,
        Rollout::History(options) => return history::run(session, &options).await,
        Rollout::Undo(options) => return undo(session, &options).await,
        Rollout::Abort(options) => return abort(session, options).await,
        Rollout::Promote(Promote {
            operation,
            candidate: Some(candidate),
            ..
        }) => {
            let why = operation.why.as_deref();
            return super::candidate::promote(session, &operation.name, why, &candidate).await;
        }
        Rollout::Promote(options) => {
            let (name, asked) = plain(Verb::Promote, options.operation);
            let asked = Asked {
                full: options.full,
                override_freeze: options.override_freeze,
                ..asked
            };
            (name, asked)
        }
        Rollout::Retry(options) => plain(Verb::Retry, options),
        Rollout::Pause(options) => plain(Verb::Pause, options),
        Rollout::Resume(options) => plain(Verb::Resume, options),
        Rollout::Restart(options) => plain(Verb::Restart, options),
    };
    ask(session, &name, &asked).await
}

/// What is asked, of one release or of many.
struct Asked {
    verb: Verb,
    full: bool,
    override_freeze: bool,
    force: bool,
    period: Option<Span>,
    why: Option<String>,
    id: Option<String>,
}

impl Asked {
    fn of(verb: Verb, options: cli::Operation) -> Self {
        Self {
            verb,
            full: false,
            override_freeze: false,
            force: false,
            period: None,
            why: options.why,
            id: options.id,
        }
    }
}

async fn abort(session: &Session, options: cli::Abort) -> Result<Exit> {
    let asked = Asked {
        verb: Verb::Abort,
        full: false,
        override_freeze: false,
        force: options.force,
        period: None,
        why: options.why,
        id: options.id,
    };
    let Some(name) = options.name else {
        let moves = |view: &View| view.target.as_ref().is_some_and(moves);
        return everywhere(session, options.all_namespaces, moves, &asked).await;
    };
    ask(session, &name, &asked).await
}

/// Whether anything is on its way beside stable, or waits to be. A preview is not: only who asks for it reaches it.
fn moves(target: &Target) -> bool {
    let Some(stable) = &target.stable else {
        return false;
    };
    if target.rollout.is_some() || target.experimenting().is_some() {
        return true;
    }
    let preview = |settings: &Settings| settings.preview.is_some();
    if target.settings.as_ref().is_some_and(preview) {
        return false;
    }
    let resolves = target.resolve.as_ref().filter(|asked| asked.side.is_none());
    if let Some(asked) = resolves {
        return asked.aborted.is_none();
    }
    let waits = |wanted| wanted != stable && !target.failed.contains_key(wanted);
    target.wanted.as_ref().is_some_and(waits)
}

/// `frctl hold`.
pub(super) async fn hold(session: &Session, options: cli::Hold) -> Result<Exit> {
    let asked = Asked {
        verb: if options.end {
            Verb::EndHold
        } else {
            Verb::Hold
        },
        full: false,
        override_freeze: false,
        force: false,
        period: (!options.end).then_some(options.period),
        why: options.why,
        id: options.id,
    };
    let Some(name) = options.name else {
        let held = |view: &View| {
            let held = view
                .target
                .as_ref()
                .is_some_and(|target| target.held.is_some());
            held || !options.end
        };
        return everywhere(session, options.all_namespaces, held, &asked).await;
    };
    ask(session, &name, &asked).await
}

/// Asks it of every release that it concerns, at once: none waits for another's answer.
async fn everywhere(
    session: &Session,
    all_namespaces: bool,
    concerns: impl Fn(&View) -> bool,
    asked: &Asked,
) -> Result<Exit> {
    let path = if all_namespaces {
        "/v1/releases".to_owned()
    } else {
        format!("/v1/namespaces/{}/releases", session.namespace())
    };
    let values = session.client()?.list(&path).await?;
    let views: Vec<View> = values.into_iter().map(typed).collect::<Result<_>>()?;
    let keys: Vec<ReleaseKey> = views
        .iter()
        .filter(|view| concerns(view))
        .map(|view| ReleaseKey::new(&view.namespace, &view.name))
        .collect();
    if keys.is_empty() {
        term::complain("there is no release that this concerns");
        return Ok(Exit::Done);
    }
    let mut exit = Exit::Done;
    let answers = keys.iter().map(|key| ask_of(session, key, asked));
    for answer in futures_util::future::join_all(answers).await {
        match answer {
            Ok(end) => exit = exit.worse(end),
            Err(error) => {
                term::complain_of(&error);
                exit = exit.worse(Exit::Error);
            }
        }
    }
    Ok(exit)
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
    let impaired = view.status.is_some_and(|status| status.impaired.is_some());
    Ok(end.unwrap_or(if impaired { Exit::Error } else { Exit::Done }))
}

/// Posts an operation and waits for its answer.
async fn ask(session: &Session, name: &str, asked: &Asked) -> Result<Exit> {
    ask_of(session, &session.key(name)?, asked).await
}

async fn ask_of(session: &Session, key: &ReleaseKey, asked: &Asked) -> Result<Exit> {
    let client = session.client()?;
    let Asked {
        full,
        override_freeze,
        force,
        period,
        ..
    } = *asked;
    let operation = Operation {
        id: asked
            .id
            .clone()
            .unwrap_or_else(|| uuid::Uuid::now_v7().to_string()),
        verb: asked.verb,
        full,
        override_freeze,
        force,
        period,
        revision: None,
        why: asked.why.clone(),
        by: String::new(),
        roles: Vec::new(),
        at: None,
    };
    let asked = asked.verb;
    let path = format!("{}/operations", Client::release(key));
    let accepted = post(&client, &path, &operation).await?;
    let Some(answer) = answer(&client, key, &accepted, asked).await? else {
        let hint = format!(
            "it stays asked for; `frctl describe {}` shows the answer when it comes, `frctl doctor` whether promotion runs",
            short(key)
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
                short(key)
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

/// The answer to an operation, if it comes in time.
async fn answer(
    client: &Client,
    key: &ReleaseKey,
    accepted: &OperationAccepted,
    asked: Verb,
) -> Result<Option<OperationAnswer>> {
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
                if let Some(answer) = answered(status, &accepted.id) {
                    return Ok(Some(answer));
                }
                if accepted.answered {
                    return Err(forgotten(key, asked, &accepted.id));
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

/// What a status says of one operation: several may have been answered in one look.
fn answered(status: Status, id: &str) -> Option<OperationAnswer> {
    let earlier = status.earlier_operations.into_iter().rev();
    let mut all = status.last_operation.into_iter().chain(earlier);
    all.find(|answer| answer.id == id)
}

fn forgotten(key: &ReleaseKey, asked: Verb, id: &str) -> Error {
    let (what, name) = (verb(asked), short(key));
    Error::new(format!(
        "{what} was asked before with the id {id}, and answered; the answer is not kept any more"
    ))
    .hint(format!(
        "it is not asked again; `frctl events {name}` may still tell of it, and another --id asks anew"
    ))
}

async fn undo(session: &Session, options: &Undo) -> Result<Exit> {
    let client = session.client()?;
    let asked = &options.operation;
    let key = session.key(&asked.name)?;
    let before: Release = typed(client.get(&Client::release(&key)).await?)?;
    let request = UndoRequest {
        to: options.to.clone(),
        force: options.force,
        why: asked.why.clone(),
        id: asked.id.clone(),
    };
    let path = format!("{}/undo", Client::release(&key));
    let result: ApplyResult = typed(client.post(&path, &request).await?)?;
    super::edit::say(session, &key, &before, &result)?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use fm_api::keys::RevisionId;
    use fm_api::rollout::Failed;
    use fm_api::target::{Resolve, Target};

    use super::moves;

    #[test]
    fn an_abort_of_all_is_for_what_waits_to_begin_too() {
        let id = |id: &str| Some(RevisionId::new(id));
        let rests = Target {
            stable: id("aaaaaaaaaa"),
            wanted: id("aaaaaaaaaa"),
            ..Target::default()
        };
        assert!(!moves(&rests));
        let mut waits = Target {
            wanted: id("bbbbbbbbbb"),
            ..rests.clone()
        };
        assert!(moves(&waits), "for another release, its group, or a place");
        let failed = Failed {
            at: jiff::Timestamp::UNIX_EPOCH,
            reason: String::new(),
            why: String::new(),
            unbegun: true,
        };
        let wanted = waits.wanted.clone().unwrap();
        waits.failed.insert(wanted, failed.clone());
        assert!(!moves(&waits));
        let workload = serde_json::from_value(serde_json::json!({ "image": "shop:2" })).unwrap();
        let mut resolves = rests.clone();
        resolves.resolve = Some(Resolve {
            generation: 2,
            workload,
            ports: Vec::new(),
            side: None,
            pull: false,
            adopt: None,
            aborted: None,
        });
        assert!(moves(&resolves));
        resolves.resolve.as_mut().unwrap().aborted = Some(failed);
        assert!(!moves(&resolves));
        let first = Target {
            stable: None,
            ..waits
        };
        assert!(!moves(&first), "there is nothing to go back to");
    }
}
