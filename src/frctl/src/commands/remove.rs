//! `frctl delete`.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use fm_api::branch;
use fm_api::http::{ErrorKind, View};
use fm_api::keys::ReleaseKey;
use fm_api::manifest::Draft;
use fm_api::problem::Problem;
use fm_api::release::{API_VERSION, KIND};
use reqwest::Method;

use super::apply;
use crate::cli::{Delete, Files};
use crate::client::{Client, typed};
use crate::error::{Error, Exit, Result};
use crate::session::Session;
use crate::text::clean;
use crate::{files, term};

pub(super) async fn run(session: &Session, options: &Delete) -> Result<Exit> {
    let client = session.client()?;
    let mut exit = Exit::Done;
    let mut deleting = Vec::new();
    let keys = if options.files.is_empty() {
        asked_for(session, &client, options).await?
    } else {
        let (keys, all) = manifests(session, options)?;
        exit = all;
        keys
    };
    for key in keys {
        let path = format!("{}{}", Client::release(&key), query(options));
        let request = client.request(Method::DELETE, &path);
        match client.send(request).await.map_err(Error::from) {
            Ok(_) => {
                term::line(&format!("release {key} deleting"))?;
                deleting.push(key);
            }
            // Without frd nothing further makes sense, except to wait for what was begun.
            Err(error) if error.is(ErrorKind::Unavailable) && deleting.is_empty() => {
                return Err(error);
            }
            Err(error) => {
                term::complain_of(&error);
                exit = Exit::Error;
            }
        }
    }
    if !options.wait {
        return Ok(exit);
    }
    Ok(exit.worse(gone(&client, deleting, options).await?))
}

fn query(options: &Delete) -> String {
    let asked = [
        ("orphan", options.orphan),
        ("removeAdopted", options.remove_adopted),
        ("force", options.force),
    ];
    let asked: Vec<String> = asked
        .iter()
        .filter(|(_, given)| *given)
        .map(|(name, _)| format!("{name}=true"))
        .collect();
    // An older frd refuses what it does not know: nothing is said that was not asked for.
    if asked.is_empty() {
        String::new()
    } else {
        format!("?{}", asked.join("&"))
    }
}

/// Waits until everything that was begun is gone.
async fn gone(client: &Client, deleting: Vec<ReleaseKey>, options: &Delete) -> Result<Exit> {
    let deadline = tokio::time::Instant::now() + options.timeout;
    let mut lost = false;
    for key in deleting {
        loop {
            match client.get(&Client::release(&key)).await {
                Ok(_) => lost = false,
                Err(error) if error.is(ErrorKind::NotFound) => {
                    term::line(&format!("release {key} deleted"))?;
                    break;
                }
                Err(error) if error.is(ErrorKind::Unavailable) => {
                    if !std::mem::replace(&mut lost, true) {
                        term::complain(&format!("{error}; trying again…"));
                    }
                }
                Err(error) => return Err(error),
            }
            if tokio::time::Instant::now() >= deadline {
                let hint = format!("`frctl describe {key}` says what it waits for");
                return Err(Error::new(format!("{key} is not gone yet"))
                    .hint(hint)
                    .exit(Exit::TimedOut));
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }
    Ok(Exit::Done)
}

/// The releases of manifests, of which only the names are read: what is no longer valid may be deleted all the same.
fn manifests(session: &Session, options: &Delete) -> Result<(Vec<ReleaseKey>, Exit)> {
    let files = Files {
        files: options.files.clone(),
        recursive: options.recursive,
        branch: None,
        set: Vec::new(),
    };
    let (sources, _) = files::drafts(&files)?;
    if sources.is_empty() {
        return Err(Error::new("there is no document in what was given"));
    }
    let (mut keys, mut exit) = (Vec::new(), Exit::Done);
    for source in sources {
        match source.document.and_then(|draft| named(session, &draft)) {
            Ok(key) => keys.push(key),
            Err(problems) => {
                exit = Exit::Error;
                apply::complain(&source.name, None, &problems);
            }
        }
    }
    Ok((keys, exit))
}

/// The release that a document names.
fn named(session: &Session, draft: &Draft) -> Result<ReleaseKey, Vec<Problem>> {
    let mut value = draft.value();
    for (field, wanted) in [("apiVersion", API_VERSION), ("kind", KIND)] {
        if value[field] != wanted {
            let problem = Problem::new(field, "this is no release").allowed(format!("`{wanted}`"));
            return Err(draft.place(vec![problem]));
        }
    }
    if let Some(key) = apply::named(session, &mut value) {
        return Ok(key);
    }
    // It has no name that can be used: whoever validates it says why.
    let release = draft.validate()?;
    apply::in_namespace(session, release).map(|release| release.key())
}

/// The releases that are meant, by name or by branch.
async fn asked_for(
    session: &Session,
    client: &Client,
    options: &Delete,
) -> Result<Vec<ReleaseKey>> {
    let kept = options.keep_branches.as_deref().map(branches).transpose()?;
    let meant = |of: &str| match (&options.branch, &kept) {
        (Some(branch), _) => of == branch,
        (None, Some(kept)) => !kept.contains(of),
        (None, None) => false,
    };
    if options.branch.is_none() && kept.is_none() {
        return options.names.iter().map(|name| session.key(name)).collect();
    }
    let path = format!(
        "/v1/namespaces/{}/releases?summary=true",
        session.namespace()
    );
    let values = client.list(&path).await?;
    let views: Vec<View> = values.into_iter().map(typed).collect::<Result<_>>()?;
    let mut keys = Vec::new();
    for release in views.iter().filter_map(|view| view.release.as_ref()) {
        if let Some(of) = branch::of(release)
            && meant(of)
        {
            term::line(&format!(
                "release {} is of the branch {}",
                release.key(),
                clean(of)
            ))?;
            keys.push(release.key());
        }
    }
    if keys.is_empty() {
        let namespace = session.namespace();
        term::line(&format!(
            "no release in {namespace} is of a branch that this concerns"
        ))?;
    }
    Ok(keys)
}

/// The branches that are left, as `git ls-remote --heads` or `git branch --format='%(refname:short)'` lists them.
fn branches(path: &Path) -> Result<BTreeSet<String>> {
    let text = files::text(path)?;
    let name = |line: &str| match line.split_once("refs/heads/") {
        Some((_, name)) => name.trim_end().to_owned(),
        None => line.trim().to_owned(),
    };
    let names: BTreeSet<String> = text
        .lines()
        .map(name)
        .filter(|name| !name.is_empty())
        .collect();
    if names.is_empty() {
        let wrong = format!("no branch is listed in {}", path.display());
        return Err(
            Error::new(wrong).hint("nothing was deleted: a repository has at least one branch")
        );
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_are_read_as_git_lists_them_and_none_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("branches");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            branches(&path)
        };
        let text = "4b825dc6\trefs/heads/main\n4b825dc7\trefs/heads/fix/7\n\n  plain \n";
        let names: Vec<String> = read(text).unwrap().into_iter().collect();
        assert_eq!(names, ["fix/7", "main", "plain"]);
        assert!(
            read(" \n\n")
                .unwrap_err()
                .to_string()
                .contains("no branch is listed")
        );
    }
}
