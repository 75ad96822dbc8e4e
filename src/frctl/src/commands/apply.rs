//! `frctl apply`: stores releases, each document for itself.

use fm_api::http::{ApplyOutcome, View};
use fm_api::problem::Problem;
use fm_api::release::Release;
use serde_json::{Value, json};

use crate::changes::changes;
use crate::cli::{Apply, DryRun, Output};
use crate::client::{Client, Refusal};
use crate::error::{Error, Exit, Result};
use crate::files::{self, Source};
use crate::render::estimate;
use crate::session::{Session, short};
use crate::{term, text, wait};

pub(super) async fn run(session: &Session, options: Apply) -> Result<Exit> {
    let sources = files::read(&options.files)?;
    if sources.is_empty() {
        return Err(Error::new("there is no document in what was given"));
    }
    let client = match options.dry_run {
        Some(DryRun::Client) => None,
        Some(DryRun::Server) | None => Some(session.client()?),
    };
    let mut exit = Exit::Done;
    let mut items = Vec::new();
    let mut applied = Vec::new();
    for source in sources {
        match one(session, client.as_ref(), &options, source).await {
            Ok((item, release)) => {
                items.push(item);
                applied.extend(release);
            }
            Err(Failed::Whole(error)) => return Err(error),
            Err(Failed::Document(item)) => {
                items.push(item);
                exit = Exit::Error;
            }
        }
    }
    session.object(&json!({ "items": items }))?;
    if let (Some(client), true, None) = (&client, options.wait, options.dry_run) {
        exit = exit.worse(follow(session, client, &applied, &options).await?);
    }
    Ok(exit)
}

async fn follow(
    session: &Session,
    client: &Client,
    applied: &[Release],
    options: &Apply,
) -> Result<Exit> {
    let follows = applied.iter().map(|release| async {
        wait::to_the_end(
            session,
            client,
            &release.key(),
            release.metadata.generation,
            options.timeout,
        )
        .await
    });
    let mut exit = Exit::Done;
    for end in futures_util::future::join_all(follows).await {
        exit = exit.worse(end?);
    }
    Ok(exit)
}

/// Why one document was not applied.
enum Failed {
    /// Nothing further makes sense.
    Whole(Error),
    /// Its neighbours may still be fine.
    Document(Value),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Failed::Whole(error)
    }
}

async fn one(
    session: &Session,
    client: Option<&Client>,
    options: &Apply,
    source: Source,
) -> Result<(Value, Option<Release>), Failed> {
    let release = source
        .document
        .map_err(|problems| refused(&source.name, None, &problems))?;
    let release = in_namespace(session, release)
        .map_err(|problems| refused(&source.name, None, &problems))?;
    let key = release.key();
    let Some(client) = client else {
        say(session, &key.to_string(), "valid (nothing was sent)")?;
        return Ok((
            json!({ "release": key.to_string(), "result": "valid" }),
            None,
        ));
    };
    // What was there before tells a new revision from a change that acts at once.
    let before: Option<View> = client
        .shown(&format!("{}/view", Client::release(&key)))
        .await
        .ok();
    let query = match options.dry_run {
        Some(_) => "?dryRun=server",
        None => "",
    };
    let result = match client.put(&release, query, None).await {
        Ok(result) => result,
        Err(refusal) => return Err(not_stored(&source.name, &key.to_string(), refusal)),
    };
    let note = if options.dry_run.is_some() {
        " (dry run: nothing was stored)"
    } else {
        ""
    };
    say(
        session,
        &key.to_string(),
        &format!("{}{note}", result.result.as_str()),
    )?;
    for warning in &result.warnings {
        term::complain(&format!("warning: {key}: {}", text::clean(warning)));
    }
    if session.output() == Output::Table {
        outlook(session, &result.release, before.as_ref(), result.result)?;
    }
    let item =
        json!({ "release": key.to_string(), "result": result.result, "warnings": result.warnings });
    Ok((item, Some(result.release)))
}

fn say(session: &Session, key: &str, what: &str) -> Result<()> {
    match session.output() {
        Output::Json | Output::Yaml => Ok(()),
        Output::Name => term::line(key),
        Output::Table | Output::Wide => term::line(&format!("release {key} {what}")),
    }
}

/// How long it is expected to take, and what happens next.
fn outlook(
    session: &Session,
    release: &Release,
    before: Option<&View>,
    outcome: ApplyOutcome,
) -> Result<()> {
    let paint = session.look().paint;
    let name = short(&release.key());
    let say = |text: &str| {
        let text = format!("{text}; `frctl watch {name}` shows it");
        term::line(&paint.dim(&format!("  {text}")))
    };
    match outcome {
        ApplyOutcome::Unchanged => Ok(()),
        ApplyOutcome::Created => {
            say("the first revision serves everything as soon as its tasks are ready")
        }
        ApplyOutcome::Configured => {
            let old = before.and_then(|view| view.release.as_ref());
            let Some(old) = old else { return Ok(()) };
            let changes = changes(old, release);
            if changes.iter().any(|change| change.revision) {
                let rps = before
                    .and_then(|view| view.verdict.as_ref())
                    .map(|verdict| verdict.stable.rps + verdict.canary.rps);
                return say(&estimate(release, rps));
            }
            let effects: Vec<String> = changes
                .iter()
                .map(|change| format!("{}: {}", change.part, change.effect))
                .collect();
            if effects.is_empty() {
                Ok(())
            } else {
                say(&effects.join("; "))
            }
        }
    }
}

/// The release in the namespace that `-n` names.
pub(super) fn in_namespace(
    session: &Session,
    mut release: Release,
) -> Result<Release, Vec<Problem>> {
    let Some(named) = session.named_namespace() else {
        return Ok(release);
    };
    let written = &mut release.metadata.namespace;
    // A manifest that names no namespace reads as one in `default`.
    if written == "default" {
        named.clone_into(written);
    }
    if written != named {
        let message = format!("`{written}` is not the namespace that -n names");
        let problem = Problem::new("metadata.namespace", message);
        return Err(vec![problem.allowed(named)]);
    }
    Ok(release)
}

/// Says every problem of one document.
fn refused(source: &str, key: Option<&str>, problems: &[Problem]) -> Failed {
    for problem in problems {
        let mut shown = problem.clone();
        if shown.file.is_none() {
            shown.file = Some(source.to_owned());
        }
        let text = text::clean(&shown.to_string());
        match key {
            Some(key) => term::complain(&format!("release {key} refused: {text}")),
            None => term::complain(&text),
        }
    }
    Failed::Document(
        json!({ "release": key, "file": source, "result": "invalid", "problems": problems }),
    )
}

fn not_stored(source: &str, key: &str, refusal: Refusal) -> Failed {
    use fm_api::http::ErrorKind;
    let Refusal { error, problems } = refusal;
    if error.is(ErrorKind::Unavailable) {
        return Failed::Whole(error);
    }
    if problems.is_empty() {
        let message = format!("{error:#}");
        return refused(source, Some(key), &[Problem::new("", message)]);
    }
    refused(source, Some(key), &problems)
}
