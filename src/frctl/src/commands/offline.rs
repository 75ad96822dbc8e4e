//! Commands that need no server: `validate`, `explain`, `completion`, `version`.

use clap::CommandFactory;
use clap_complete::Shell;
use fm_api::explain::{self, Explanation};
use fm_api::http::VersionBody;
use serde_json::json;

use crate::cli::{Cli, Files, Output};
use crate::client::shown;
use crate::error::{Error, Exit, Result};
use crate::session::Session;
use crate::text::{Look, clean, pad, wrap};
use crate::{files, term};

pub(super) fn validate(session: &Session, files: &Files) -> Result<Exit> {
    let sources = files::read(files)?;
    if sources.is_empty() {
        return Err(Error::new("there is no document in what was given"));
    }
    let programs = matches!(session.output(), Output::Json | Output::Yaml);
    let mut exit = Exit::Done;
    let mut items = Vec::new();
    for source in sources {
        match source.document {
            Ok(release) => {
                let key = release.key().to_string();
                if !programs {
                    term::line(&format!("release {key} valid"))?;
                }
                items.push(json!({ "release": key, "file": source.name, "problems": [] }));
            }
            Err(problems) => {
                exit = Exit::Error;
                if !programs {
                    for problem in &problems {
                        term::complain(&clean(&problem.to_string()));
                    }
                }
                items.push(json!({ "release": null, "file": source.name, "problems": problems }));
            }
        }
    }
    session.object(&json!({ "items": items }))?;
    Ok(exit)
}

pub(super) fn explain(session: &Session, path: Option<&str>) -> Result<Exit> {
    let path = path.unwrap_or("release");
    let Some(explanation) = explain::explain(path) else {
        return Err(Error::new(format!("a release has no field `{path}`"))
            .hint("`frctl explain` lists the first level, `frctl explain spec` the next"));
    };
    if session.object(&explanation)? {
        return Ok(Exit::Done);
    }
    term::print(&explained(&explanation, &session.look()))?;
    Ok(Exit::Done)
}

fn explained(field: &Explanation, look: &Look) -> String {
    let paint = look.paint;
    let mut out = format!("{}  {}\n", paint.bold(&field.path), kind(field));
    for line in wrap(&field.description, look.columns().saturating_sub(2)) {
        out.push_str(&format!("  {line}\n"));
    }
    if let Some(allowed) = &field.allowed {
        out.push_str(&format!("  allowed: {allowed}\n"));
    }
    if field.children.is_empty() {
        return out;
    }
    out.push('\n');
    let names: Vec<&str> = field
        .children
        .iter()
        .map(|child| child.path.rsplit('.').next().unwrap_or(&child.path))
        .collect();
    let widest = names.iter().map(|name| name.len()).max().unwrap_or(0);
    for (child, name) in field.children.iter().zip(names) {
        out.push_str(&format!(
            "  {}  {}\n",
            paint.bold(&pad(name, widest)),
            kind(child)
        ));
        let left = " ".repeat(widest + 4);
        for line in wrap(
            &child.description,
            look.columns().saturating_sub(widest + 4),
        ) {
            out.push_str(&format!("{left}{line}\n"));
        }
        if let Some(allowed) = child.allowed.as_ref().filter(|_| child.children.is_empty()) {
            out.push_str(&format!("{left}allowed: {allowed}\n"));
        }
    }
    out
}

fn kind(field: &Explanation) -> String {
    let mut text = field.kind.clone();
    if field.required {
        text.push_str(", required");
    }
    if let Some(default) = &field.default {
        text.push_str(&format!(", default {default}"));
    }
    text
}

pub(super) fn completion(shell: Shell) -> Result<Exit> {
    // Into memory first: writing straight to a closed pipe would panic.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "frctl", &mut script);
    term::print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}

pub(super) async fn version(session: &Session, only_client: bool) -> Result<Exit> {
    let client = env!("CARGO_PKG_VERSION");
    let server = if only_client {
        None
    } else {
        let frd = session.client()?;
        Some(frd.get("/version").await)
    };
    let server = match server {
        Some(Ok(value)) => Some(value),
        Some(Err(error)) => {
            if !session.object(&json!({ "client": client, "server": null }))? {
                term::line(&format!("frctl {client}"))?;
            }
            return Err(error);
        }
        None => None,
    };
    if session.object(&json!({ "client": client, "server": server }))? {
        return Ok(Exit::Done);
    }
    term::line(&format!("frctl {client}"))?;
    if let Some(value) = server {
        let body: VersionBody = shown(value)?;
        term::line(&format!("frd   {} (store: {})", body.version, body.store))?;
        if body.version != client {
            term::complain("the two are of different versions; newer fields may not be shown");
        }
    }
    Ok(Exit::Done)
}
