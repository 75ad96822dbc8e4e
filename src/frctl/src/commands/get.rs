//! `frctl get` and `frctl describe`.

use std::time::Duration;

use fm_api::cluster::ClusterProblems;
use fm_api::event::Event;
use fm_api::http::{ErrorKind, ListBody, View};
use fm_api::signals::Top;
use serde_json::{Value, json};

use crate::changes::portable;
use crate::cli::{Get, Output};
use crate::client::{Client, shown, typed};
use crate::error::{Error, Exit, Result};
use crate::session::{Session, yaml};
use crate::{live, render, term};

pub(super) async fn run(session: &Session, options: &Get) -> Result<Exit> {
    let client = session.client()?;
    if options.watch {
        return watch(session, &client, options).await;
    }
    let (values, missing) = fetch(session, &client, options).await?;
    let cluster = cluster(&client, options).await?;
    match session.output() {
        Output::Json => {
            let object = match (&values[..], options.names.len()) {
                ([only], 1) => only.clone(),
                _ if options.problems => json!({ "items": values, "cluster": cluster.items }),
                _ => json!({ "items": values }),
            };
            session.object(&object)?;
        }
        Output::Yaml => term::print(&manifests(&values)?)?,
        Output::Name => term::print(&names(&values, options)?)?,
        Output::Table | Output::Wide => {
            let views = views(values)?;
            if options.problems {
                term::print(&problems(session, &cluster, &views, &missing))?;
            } else if !views.is_empty() {
                term::print(&table(session, &views, options))?;
            } else if missing.is_empty() {
                term::complain(&nothing(session, options));
            }
        }
    }
    Ok(complain(&missing))
}

/// What is wrong with the whole, where problems are asked for and no release is named. An older frd knows of none.
async fn cluster(client: &Client, options: &Get) -> Result<ClusterProblems> {
    if !options.problems || !options.names.is_empty() {
        return Ok(ClusterProblems::default());
    }
    match client.get("/v1/problems").await {
        Ok(value) => shown(value),
        Err(error) if error.is(ErrorKind::NotFound) => Ok(ClusterProblems::default()),
        Err(error) => Err(error),
    }
}

fn problems(
    session: &Session,
    cluster: &ClusterProblems,
    views: &[View],
    missing: &[Error],
) -> String {
    let look = session.look();
    let mut text = render::cluster(&cluster.items, &look);
    if !text.is_empty() && !views.is_empty() {
        text.push('\n');
    }
    text.push_str(&render::problems(views, &look));
    if text.is_empty() && missing.is_empty() {
        text.push_str("nothing needs you\n");
    }
    text
}

fn complain(missing: &[Error]) -> Exit {
    for error in missing {
        term::complain_of(error);
    }
    if missing.is_empty() {
        Exit::Done
    } else {
        Exit::Error
    }
}

fn nothing(session: &Session, options: &Get) -> String {
    if options.all_namespaces {
        "there is no release yet: `frctl apply -f FILE` makes one".to_owned()
    } else {
        format!(
            "there is no release in the namespace {}; `frctl get -A` shows every namespace",
            session.namespace()
        )
    }
}

/// The views asked for, and why some of them are missing.
async fn fetch(
    session: &Session,
    client: &Client,
    options: &Get,
) -> Result<(Vec<Value>, Vec<Error>)> {
    if options.names.is_empty() {
        let path = if options.all_namespaces {
            "/v1/releases".to_owned()
        } else {
            format!("/v1/namespaces/{}/releases", session.namespace())
        };
        // What the narrow table shows is in the summaries.
        let narrow = matches!(session.output(), Output::Table | Output::Name);
        let path = if narrow && !options.problems {
            format!("{path}?summary=true")
        } else {
            path
        };
        let values = client.list(&path).await?;
        return Ok((chosen(session, options, values)?, Vec::new()));
    }
    let (mut values, mut missing) = (Vec::new(), Vec::new());
    for name in &options.names {
        let key = session.key(name)?;
        match client.get(&format!("{}/view", Client::release(&key))).await {
            Ok(value) => values.push(value),
            Err(error) if error.is(ErrorKind::NotFound) => missing.push(error),
            Err(error) => return Err(error),
        }
    }
    Ok((chosen(session, options, values)?, missing))
}

/// With `--problems` only those that need somebody.
fn chosen(session: &Session, options: &Get, values: Vec<Value>) -> Result<Vec<Value>> {
    if !options.problems {
        return Ok(values);
    }
    let look = session.look();
    let mut kept = Vec::new();
    for value in values {
        if render::is_problem(&typed::<View>(value.clone())?, &look) {
            kept.push(value);
        }
    }
    Ok(kept)
}

fn views(values: Vec<Value>) -> Result<Vec<View>> {
    values.into_iter().map(shown).collect()
}

fn table(session: &Session, views: &[View], options: &Get) -> String {
    let wide = session.output() == Output::Wide;
    let spread = options.all_namespaces || options.names.iter().any(|name| name.contains('/'));
    render::releases(views, &session.look(), wide, spread)
}

fn manifests(values: &[Value]) -> Result<String> {
    let mut text = String::new();
    for value in values {
        let view: View = typed(value.clone())?;
        let Some(release) = &view.release else {
            term::complain(&format!(
                "{}/{}: the stored spec cannot be read",
                view.namespace, view.name
            ));
            continue;
        };
        if !text.is_empty() {
            text.push_str("---\n");
        }
        text.push_str(&yaml(&portable(release))?);
    }
    Ok(text)
}

fn names(values: &[Value], options: &Get) -> Result<String> {
    let mut text = String::new();
    for view in views(values.to_vec())? {
        if options.all_namespaces {
            text.push_str(&format!("{}/", view.namespace));
        }
        text.push_str(&view.name);
        text.push('\n');
    }
    Ok(text)
}

/// The table again and again: in place on a terminal, otherwise each row when it changed.
async fn watch(session: &Session, client: &Client, options: &Get) -> Result<Exit> {
    if !matches!(session.output(), Output::Table | Output::Wide) {
        return Err(Error::new("-w shows tables only")
            .hint("`frctl watch NAME -o json` follows one release for programs"));
    }
    if term::size().is_none() {
        return changed_rows(session, client, options).await;
    }
    live::show(async || {
        let (values, _) = fetch(session, client, options).await?;
        drawn(session, client, options, &views(values)?).await
    })
    .await
}

/// One picture of what is asked for.
async fn drawn(
    session: &Session,
    client: &Client,
    options: &Get,
    views: &[View],
) -> Result<String> {
    if options.problems {
        let cluster = cluster(client, options).await?;
        return Ok(problems(session, &cluster, views, &[]));
    }
    Ok(table(session, views, options))
}

async fn changed_rows(session: &Session, client: &Client, options: &Get) -> Result<Exit> {
    let mut before: Vec<String> = Vec::new();
    let mut lost = false;
    loop {
        match fetch(session, client, options).await {
            Ok((values, _)) => {
                lost = false;
                let mut views = views(values)?;
                // Ages grow by themselves: they are no change.
                for view in &mut views {
                    if let Some(release) = &mut view.release {
                        release.metadata.created_at = None;
                    }
                }
                let text = drawn(session, client, options, &views).await?;
                let rows: Vec<String> = text.lines().map(str::to_owned).collect();
                for row in rows.iter().filter(|row| !before.contains(row)) {
                    term::line(row)?;
                }
                before = rows;
            }
            Err(error) if error.is(ErrorKind::Unavailable) => {
                if !std::mem::replace(&mut lost, true) {
                    term::complain(&format!("{error}; trying again…"));
                }
            }
            Err(error) => return Err(error),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

pub(super) async fn describe(session: &Session, name: &str) -> Result<Exit> {
    let client = session.client()?;
    let key = session.key(name)?;
    let view = client
        .get(&format!("{}/view", Client::release(&key)))
        .await?;
    let events = client
        .get(&super::events::path(Some(&key), None, 20))
        .await?;
    let top = client.get(&super::top::path(&key)).await?;
    if session.object(&json!({ "view": view, "events": events["items"], "top": top }))? {
        return Ok(Exit::Done);
    }
    let view: View = shown(view)?;
    let events: ListBody<Event> = shown(events)?;
    let top: Top = shown(top)?;
    let text = render::describe(&view, &events.items, Some(&top), &session.look());
    term::print(&text)?;
    Ok(Exit::Done)
}
