//! `frctl apply`: stores releases, each document for itself.

use fm_api::dependency::{self, Dependency};
use fm_api::http::{ApplyOutcome, ApplyResult, View};
use fm_api::keys::ReleaseKey;
use fm_api::manifest::Draft;
use fm_api::problem::Problem;
use fm_api::release::Release;
use serde_json::{Value, json};

use crate::changes::changes;
use crate::cli::{Apply, DryRun, Output};
use crate::client::{Client, Refusal};
use crate::contents::{self, Purpose};
use crate::error::{Error, Exit, Result};
use crate::files::{self, Source};
use crate::render::estimate;
use crate::session::{Session, short};
use crate::template::Template;
use crate::{term, text, wait};

pub(super) async fn run(session: &Session, options: Apply) -> Result<Exit> {
    let (sources, template) = files::drafts(&options.files)?;
    if sources.is_empty() {
        return Err(Error::new("there is no document in what was given"));
    }
    let sources = in_order(session, sources);
    let client = match options.dry_run {
        Some(DryRun::Client) => None,
        Some(DryRun::Server) | None => Some(session.client()?),
    };
    let mut exit = Exit::Done;
    let mut items = Vec::new();
    let mut applied = Vec::new();
    for source in sources {
        let outcome = match &client {
            Some(client) => one(session, client, &options, &template, source).await,
            None => checked(session, source).map(|item| (item, None)),
        };
        match outcome {
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
    if let (Some(client), true) = (&client, options.wait) {
        exit = exit.worse(follow(session, client, &applied, &options).await?);
    }
    Ok(exit)
}

/// What others depend on is stored before them: else they would begin with what it was before.
fn in_order(session: &Session, sources: Vec<Source<Draft>>) -> Vec<Source<Draft>> {
    let keys = sources.iter().map(|source| {
        let Ok(draft) = &source.document else {
            return (None, Vec::new());
        };
        let mut value = draft.value();
        let key = named(session, &mut value);
        let namespace = (key.as_ref()).map_or("default", ReleaseKey::namespace);
        let on: Vec<Dependency> =
            serde_json::from_value(value["spec"]["dependsOn"].take()).unwrap_or_default();
        let on = on.iter().map(|on| on.key(namespace)).collect();
        (key, on)
    });
    let order = dependency::order(&keys.collect::<Vec<_>>());
    let mut sources: Vec<Option<Source<Draft>>> = sources.into_iter().map(Some).collect();
    let taken = order
        .into_iter()
        .filter_map(|index| sources.get_mut(index)?.take());
    taken.collect()
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

/// `--dry-run=client`: validated here, and sent nowhere.
fn checked(session: &Session, source: Source<Draft>) -> Result<Value, Failed> {
    let release = source
        .document
        .and_then(|draft| draft.validate())
        .and_then(|release| in_namespace(session, release))
        .map_err(|problems| refused(&source.name, None, &problems))?;
    let key = release.key().to_string();
    say(session, &key, "valid (nothing was sent)")?;
    Ok(json!({ "release": key, "result": "valid" }))
}

/// What is sent: the document as it is written, and the name under which it is stored. The server validates it.
fn wanted(
    session: &Session,
    template: &Template,
    draft: &Draft,
) -> Result<(ReleaseKey, Value), Vec<Problem>> {
    let mut value = draft.value();
    template.mark(&mut value);
    let Some(key) = named(session, &mut value) else {
        // Without a good name there is no address to send it to; what else is wrong is found here as well.
        let release = in_namespace(session, draft.validate()?)?;
        let value = serde_json::to_value(&release)
            .map_err(|error| vec![Problem::new("", error.to_string())])?;
        return Ok((release.key(), value));
    };
    Ok((key, value))
}

/// The name that the document gives its release, if it is one, in the namespace that `-n` names.
pub(super) fn named(session: &Session, value: &mut Value) -> Option<ReleaseKey> {
    let metadata = value.get_mut("metadata")?.as_object_mut()?;
    let name = metadata.get("name")?.as_str()?.to_owned();
    let written = match metadata.get("namespace") {
        None => "default",
        Some(namespace) => namespace.as_str()?,
    };
    let namespace = match session.named_namespace() {
        // A manifest that names no namespace reads as one in `default`.
        Some(named) if written == "default" || written == named => named.to_owned(),
        Some(_) => return None,
        None => written.to_owned(),
    };
    let key = session.key(&format!("{namespace}/{name}")).ok()?;
    metadata.insert("namespace".to_owned(), namespace.into());
    Some(key)
}

async fn one(
    session: &Session,
    client: &Client,
    options: &Apply,
    template: &Template,
    source: Source<Draft>,
) -> Result<(Value, Option<Release>), Failed> {
    let draft = source
        .document
        .map_err(|problems| refused(&source.name, None, &problems))?;
    let (key, mut value) = wanted(session, template, &draft)
        .map_err(|problems| refused(&source.name, None, &problems))?;
    if contents::any(&mut value) {
        // Nothing is handed on for a manifest that would be refused.
        draft
            .validate()
            .map_err(|problems| refused(&source.name, None, &problems))?;
        let purpose = match options.dry_run {
            Some(_) => Purpose::Look,
            None => Purpose::Keep,
        };
        let handed = contents::hand_on(client, &key, &mut value, &source.name, purpose).await;
        let notes = handed
            .map_err(|refusal| not_stored(&source.name, &draft, &key.to_string(), refusal))?;
        for note in notes {
            term::complain(&format!("{key}: {}", text::clean(&note)));
        }
    }
    let mut query = match options.dry_run {
        Some(_) => "?dryRun=server".to_owned(),
        None => Client::why(options.why.why.as_deref()),
    };
    if options.pull {
        query.push_str(if query.is_empty() {
            "?pull=true"
        } else {
            "&pull=true"
        });
    }
    let result = match client.put(&key, &value, &query, None).await {
        Ok(result) => result,
        Err(refusal) => return Err(not_stored(&source.name, &draft, &key.to_string(), refusal)),
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
        outlook(session, client, &result).await?;
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
async fn outlook(session: &Session, client: &Client, result: &ApplyResult) -> Result<()> {
    let paint = session.paint();
    let release = &result.release;
    let key = release.key();
    let name = short(&key);
    let say = |text: &str| {
        let text = format!("{text}; `frctl watch {name}` shows it");
        term::line(&paint.dim(&format!("  {text}")))
    };
    match result.result {
        ApplyOutcome::Unchanged => Ok(()),
        ApplyOutcome::Created => {
            say("the first revision serves everything as soon as its tasks are ready")
        }
        ApplyOutcome::Configured => {
            let Some(old) = &result.before else {
                return Ok(());
            };
            let changes = changes(old, release);
            if changes.iter().any(|change| change.revision) {
                let view: Option<View> = client
                    .shown(&format!("{}/view", Client::release(&key)))
                    .await
                    .ok();
                let rps = view
                    .and_then(|view| view.verdict)
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
pub(super) fn complain(source: &str, key: Option<&str>, problems: &[Problem]) {
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
}

fn refused(source: &str, key: Option<&str>, problems: &[Problem]) -> Failed {
    complain(source, key, problems);
    Failed::Document(
        json!({ "release": key, "file": source, "result": "invalid", "problems": problems }),
    )
}

fn not_stored(source: &str, draft: &Draft, key: &str, refusal: Refusal) -> Failed {
    use fm_api::http::ErrorKind;
    let Refusal { error, problems } = refusal;
    if error.is(ErrorKind::Unavailable) {
        return Failed::Whole(error);
    }
    if problems.is_empty() {
        let message = format!("{error:#}");
        return refused(source, Some(key), &[Problem::new("", message)]);
    }
    // A document that is no release is refused for itself, one that collides with others by its name.
    let key = (!error.is(ErrorKind::Invalid)).then_some(key);
    refused(source, key, &draft.place(problems))
}
