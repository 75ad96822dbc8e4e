//! `frctl plan`: what apply would do, step by step. Nothing is stored.

use fm_api::http::{ApplyResult, ListBody, View};
use fm_api::keys::ReleaseKey;
use fm_api::target::RevisionRecord;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cli::{Files, Output};
use crate::client::{Client, Refusal, typed};
use crate::error::{Error, Exit, Result};
use crate::render::plan::{Known, lines, plan};
use crate::session::Session;
use crate::text::clean;
use crate::{contents, files, term};

pub(super) async fn run(session: &Session, files: &Files) -> Result<Exit> {
    let client = session.client()?;
    let mut exit = Exit::Done;
    let mut items = Vec::new();
    for source in files::read(files)? {
        let release = source
            .document
            .and_then(|release| super::apply::in_namespace(session, release));
        let planned = match release {
            Ok(release) => {
                let key = release.key();
                match contents::looked_at(&client, &release, &source.name).await {
                    Ok((mut result, notes)) => {
                        result.warnings.extend(notes);
                        Ok(one(session, &client, &key, &result).await?)
                    }
                    Err(refusal) => Err(refusal),
                }
            }
            Err(problems) => Err(Refusal {
                error: Error::new("invalid"),
                problems,
            }),
        };
        match planned {
            Ok(item) => items.push(item),
            Err(Refusal { error, problems }) => {
                exit = Exit::Error;
                if problems.is_empty() {
                    term::complain(&format!("{}: {error:#}", source.name));
                }
                for problem in problems {
                    term::complain(&format!("{}: {}", source.name, clean(&problem.to_string())));
                }
            }
        }
    }
    session.object(&json!({ "items": items }))?;
    Ok(exit)
}

async fn one(
    session: &Session,
    client: &Client,
    key: &ReleaseKey,
    result: &ApplyResult,
) -> Result<Value> {
    // A release that is not there yet has no picture.
    let view: Option<View> = match &result.before {
        Some(_) => Some(
            client
                .shown(&format!("{}/view", Client::release(key)))
                .await?,
        ),
        None => None,
    };
    let records = match &view {
        // As they are: they are compared with the manifest.
        Some(_) => {
            let path = format!("{}/revisions", Client::release(key));
            typed::<ListBody<RevisionRecord>>(client.get(&path).await?)?.items
        }
        None => Vec::new(),
    };
    let all = plan(
        result.before.as_ref(),
        &result.release,
        result.result,
        Known {
            view: view.as_ref(),
            records: &records,
            now: Timestamp::now(),
        },
    );
    if matches!(session.output(), Output::Table | Output::Wide) {
        term::line(&format!(
            "{key}: {} (nothing was stored)",
            result.result.as_str()
        ))?;
        term::print(&lines(&all))?;
        for warning in &result.warnings {
            term::complain(&format!("warning: {key}: {}", clean(warning)));
        }
    }
    Ok(
        json!({ "release": key.to_string(), "result": result.result, "plan": all, "warnings": result.warnings }),
    )
}
