//! `frctl import`: a Compose file as releases. The manifests go to standard output, everything else beside it.

use std::path::Path;

use serde_json::json;

use crate::cli::{Import, Output};
use crate::compose::{Options, import};
use crate::error::{Error, Exit, Result};
use crate::session::{Session, yaml};
use crate::term;
use crate::text::clean;

pub(super) fn run(session: &Session, options: &Import) -> Result<Exit> {
    let text = crate::files::text(&options.file)?;
    let variables = |name: &str| std::env::var(name).ok();
    let beside = options
        .file
        .parent()
        .map(Path::to_owned)
        .unwrap_or_default();
    let files =
        |name: &str| std::fs::read_to_string(beside.join(name)).map_err(|error| error.to_string());
    let stack = options
        .stack
        .clone()
        .unwrap_or_else(|| folder(&options.file));
    let wanted = Options {
        namespace: session.namespace(),
        stack: &stack,
        domain: &options.domain,
        variables: &variables,
        files: &files,
    };
    let made = import(&text, &wanted).map_err(|what| {
        Error::new(format!("{}: {what}", options.file.display()))
            .hint("a Compose file has a mapping `services`")
    })?;
    if session.output() == Output::Json {
        session.object(&json!({ "items": made.releases, "notes": made.notes }))?;
    } else {
        let mut documents = Vec::new();
        for release in &made.releases {
            documents.push(yaml(release)?);
        }
        term::print(&documents.join("---\n"))?;
    }
    for note in &made.notes {
        term::complain(&clean(note));
    }
    Ok(if made.unfinished {
        Exit::Error
    } else {
        Exit::Done
    })
}

/// As Compose does: the stack is named as the folder that the file lies in.
fn folder(file: &Path) -> String {
    let whole = std::fs::canonicalize(file).ok();
    let name = whole
        .as_deref()
        .and_then(Path::parent)
        .and_then(Path::file_name);
    name.map_or_else(
        || "stack".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}
