//! `frctl scale` and `frctl set`: read, change one thing, store; again if somebody was faster.

use fm_api::http::{ApplyOutcome, ApplyResult, ErrorKind};
use fm_api::keys::ReleaseKey;
use fm_api::release::Release;

use crate::changes::{changes, portable};
use crate::cli::{Output, Scale, SetImage};
use crate::client::{Client, typed};
use crate::error::{Error, Exit, Result};
use crate::render::estimate;
use crate::session::{Session, short};
use crate::{term, text, wait};

/// How often somebody may be faster.
const TRIES: usize = 5;

pub(super) async fn scale(session: &Session, options: &Scale) -> Result<Exit> {
    let client = session.client()?;
    let key = session.key(&options.name)?;
    let replicas = options.replicas;
    let why = options.why.why.as_deref();
    edit(session, &client, &key, &Client::why(why), |release| {
        release.spec.replicas = replicas
    })
    .await?;
    Ok(Exit::Done)
}

pub(super) async fn image(session: &Session, options: &SetImage) -> Result<Exit> {
    let client = session.client()?;
    let key = session.key(&options.name)?;
    let image = &options.image;
    let mut query = Client::why(options.why.why.as_deref());
    // What a tag means is asked anew, also where it is the same one; an id or a digest means one image for ever.
    if !image.contains('@') && !image.starts_with("sha256:") {
        query.push_str(if query.is_empty() {
            "?pull=true"
        } else {
            "&pull=true"
        });
    }
    let result = edit(session, &client, &key, &query, |release| {
        release.spec.workload.image.clone_from(image);
    })
    .await?;
    if options.waiting.wait {
        let generation = result.release.metadata.generation;
        return wait::to_the_end(session, &client, &key, generation, options.waiting.timeout).await;
    }
    Ok(Exit::Done)
}

/// Reads a release, changes it and stores it; again if somebody was faster.
pub(super) async fn edit(
    session: &Session,
    client: &Client,
    key: &ReleaseKey,
    query: &str,
    change: impl Fn(&mut Release),
) -> Result<ApplyResult> {
    let mut faster = None;
    for _ in 0..TRIES {
        let before: Release = typed(client.get(&Client::release(key)).await?)?;
        let generation = before.metadata.generation;
        let mut release = portable(&before);
        change(&mut release);
        match client.put(key, &release, query, generation).await {
            Ok(result) => {
                say(session, key, &before, &result)?;
                return Ok(result);
            }
            Err(refusal)
                if refusal.error.is(ErrorKind::Conflict) && refusal.problems.is_empty() =>
            {
                faster = Some(Error::from(refusal));
            }
            Err(refusal) if !refusal.problems.is_empty() => {
                for problem in &refusal.problems {
                    term::complain(&problem.to_string());
                }
                return Err(Error::new(format!(
                    "release {key} would not be valid, and stays as it is"
                )));
            }
            Err(refusal) => return Err(refusal.into()),
        }
    }
    Err(faster.unwrap_or_else(|| Error::new("somebody else changes this release all the time")))
}

/// What came of it.
pub(super) fn say(
    session: &Session,
    key: &ReleaseKey,
    before: &Release,
    result: &ApplyResult,
) -> Result<()> {
    for warning in &result.warnings {
        term::complain(&format!("warning: {key}: {}", text::clean(warning)));
    }
    match session.output() {
        Output::Name => return term::line(&key.to_string()),
        Output::Json | Output::Yaml => {
            session.object(result)?;
            return Ok(());
        }
        Output::Table | Output::Wide => {}
    }
    term::line(&format!("release {key} {}", result.result.as_str()))?;
    if let Some(message) = &result.message {
        term::line(&format!("  {}", text::clean(message)))?;
    }
    if result.result != ApplyOutcome::Configured {
        return Ok(());
    }
    let changes = changes(before, &result.release);
    let revision = changes.iter().any(|change| change.revision);
    let text = if revision && result.message.is_none() {
        estimate(&result.release, None)
    } else if !revision && !changes.is_empty() {
        let effects: Vec<String> = changes
            .iter()
            .map(|change| format!("{}: {}", change.part, change.effect))
            .collect();
        effects.join("; ")
    } else {
        // The server has said what comes of it.
        return Ok(());
    };
    let name = short(key);
    let text = format!("  {text}; `frctl watch {name}` shows it");
    term::line(&session.paint().dim(&text))
}
