//! Reads the contents of configs and secrets from where the manifest says, and hands them to frd, which answers what is
//! written in their place: a keyed hash.
//!
//! What must never happen: a content printed, or sent anywhere but to that one address of frd.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fm_api::http::{ApplyResult, ContentHashes, ContentRequest, ErrorKind};
use fm_api::keys::ReleaseKey;
use fm_api::problem::Problem;
use fm_api::release::Release;
use reqwest::Method;
use serde_json::{Map, Value};

use crate::client::{Client, Refusal, typed};
use crate::error::Error;

/// The most that Swarm keeps of one.
const LARGEST: usize = 500 * 1024;
/// What stands where a content is not known: nothing is stored with it.
const UNKNOWN: &str = "00000000000000000000000000000000";

/// What is done with contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// They are kept.
    Keep,
    /// Only their hashes are wanted. One that cannot be read here is taken as unchanged.
    Look,
}

/// Replaces every content that a manifest names by its hash. Gives what a person should know.
///
/// `source` is the manifest's file: relative paths begin in its folder.
pub(crate) async fn hand_on(
    client: &Client,
    key: &ReleaseKey,
    release: &mut Value,
    source: &str,
    purpose: Purpose,
) -> Result<Vec<String>, Refusal> {
    let folder = Path::new(source)
        .parent()
        .map_or_else(PathBuf::new, Path::to_owned);
    let mut notes = Vec::new();
    let mut problems = Vec::new();
    for field in ["secrets", "configs"] {
        for (index, entry) in entries(release, field) {
            let Some(name) = entry.get("name").and_then(Value::as_str).map(str::to_owned) else {
                continue;
            };
            let place = format!("spec.workload.{field}[{index}]");
            let hash = match read(entry, &folder) {
                None => continue,
                Some(Ok(content)) => ask(client, key, field, &name, &content, purpose).await?,
                Some(Err(wrong)) if purpose == Purpose::Look => {
                    let known = stored(client, key, field, &name).await?;
                    notes.push(match known {
                        Some(_) => format!("{place}: {wrong}; it is taken as unchanged here"),
                        None => format!("{place}: {wrong}; what it holds is not known here"),
                    });
                    known.unwrap_or_else(|| UNKNOWN.to_owned())
                }
                Some(Err(wrong)) => {
                    problems.push(Problem::new(place, wrong));
                    continue;
                }
            };
            for given in ["file", "env", "content"] {
                entry.remove(given);
            }
            entry.insert("hash".to_owned(), hash.into());
        }
    }
    if problems.is_empty() {
        return Ok(notes);
    }
    let error = Error::new("not every config and secret can be read").kind(ErrorKind::Invalid);
    Err(Refusal { error, problems })
}

/// What applying this release would come to, and what a person should know; nothing is stored or kept.
pub(crate) async fn looked_at(
    client: &Client,
    release: &Release,
    source: &str,
) -> Result<(ApplyResult, Vec<String>), Refusal> {
    let key = release.key();
    let mut value = serde_json::to_value(release)
        .map_err(|error| Error::new("the release is no JSON").because(error))?;
    let notes = hand_on(client, &key, &mut value, source, Purpose::Look).await?;
    let result = client.put(&key, &value, "?dryRun=server", None).await?;
    Ok((result, notes))
}

/// Whether any content has to be read.
pub(crate) fn any(release: &mut Value) -> bool {
    ["secrets", "configs"].into_iter().any(|field| {
        entries(release, field).into_iter().any(|(_, entry)| {
            ["file", "env", "content"]
                .iter()
                .any(|given| entry.contains_key(*given))
        })
    })
}

fn entries<'a>(release: &'a mut Value, field: &str) -> Vec<(usize, &'a mut Map<String, Value>)> {
    let list = release
        .pointer_mut(&format!("/spec/workload/{field}"))
        .and_then(Value::as_array_mut);
    let numbered = list.into_iter().flatten().enumerate();
    numbered
        .filter_map(|(index, entry)| Some((index, entry.as_object_mut()?)))
        .collect()
}

/// What an entry's content is; `None` where it names none that is read here.
fn read(entry: &Map<String, Value>, folder: &Path) -> Option<Result<Vec<u8>, String>> {
    let text = |field: &str| entry.get(field).and_then(Value::as_str);
    let content = if let Some(path) = text("file") {
        let path = folder.join(path);
        std::fs::read(&path).map_err(|error| format!("{} cannot be read: {error}", path.display()))
    } else if let Some(variable) = text("env") {
        match std::env::var_os(variable) {
            Some(value) => Ok(std::os::unix::ffi::OsStringExt::into_vec(value)),
            None => Err(format!("the environment has no variable {variable}")),
        }
    } else {
        Ok(text("content")?.as_bytes().to_vec())
    };
    Some(content.and_then(|content| match content.len() {
        0 => Err("its content is empty, which Swarm does not keep".to_owned()),
        size if size > LARGEST => Err(format!(
            "it has {size} bytes, more than the maximum {LARGEST}"
        )),
        _ => Ok(content),
    }))
}

async fn ask(
    client: &Client,
    key: &ReleaseKey,
    field: &str,
    name: &str,
    content: &[u8],
    purpose: Purpose,
) -> Result<String, Refusal> {
    let one = BTreeMap::from([(name.to_owned(), STANDARD.encode(content))]);
    let mut asked = ContentRequest::default();
    match field {
        "secrets" => asked.secrets = one,
        _ => asked.configs = one,
    }
    let query = match purpose {
        Purpose::Keep => "",
        Purpose::Look => "?dryRun=server",
    };
    let path = format!("{}/contents{query}", Client::release(key));
    let request = client.request(Method::POST, &path).json(&asked);
    let hashes: ContentHashes = typed(client.send(request).await?)?;
    let hash = hashes
        .secrets
        .into_values()
        .chain(hashes.configs.into_values())
        .next();
    hash.ok_or_else(|| Error::new(format!("frd gave no hash for `{name}`")).into())
}

/// The hash that the stored release has for it.
async fn stored(
    client: &Client,
    key: &ReleaseKey,
    field: &str,
    name: &str,
) -> Result<Option<String>, Refusal> {
    let mut release = match client.get(&Client::release(key)).await {
        Ok(release) => release,
        Err(error) if error.is(ErrorKind::NotFound) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let known = entries(&mut release, field);
    let known = known.into_iter().map(|(_, entry)| entry);
    let named = known.filter(|entry| entry.get("name").and_then(Value::as_str) == Some(name));
    let mut hashes = named.filter_map(|entry| Some(entry.get("hash")?.as_str()?.to_owned()));
    Ok(hashes.next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_is_read_from_the_manifests_folder_and_an_absent_one_is_named_without_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("pw"), "s3cret").unwrap();
        std::fs::write(folder.path().join("nothing"), "").unwrap();
        let entry = |text: &str| serde_json::from_str::<Map<String, Value>>(text).unwrap();
        let read = |text: &str| read(&entry(text), folder.path());
        assert_eq!(
            read(r#"{"name":"a","file":"pw"}"#).unwrap().unwrap(),
            b"s3cret"
        );
        assert_eq!(
            read(r#"{"name":"a","content":"x: 1"}"#).unwrap().unwrap(),
            b"x: 1"
        );
        assert!(read(r#"{"name":"a","hash":"00"}"#).is_none());
        assert!(
            read(r#"{"name":"a","file":"nothing"}"#)
                .unwrap()
                .unwrap_err()
                .contains("empty")
        );
        let gone = read(r#"{"name":"a","file":"gone"}"#).unwrap().unwrap_err();
        assert!(gone.contains("gone cannot be read"), "{gone}");
        let unset = read(r#"{"name":"a","env":"FM_NO_SUCH_VARIABLE"}"#)
            .unwrap()
            .unwrap_err();
        assert_eq!(unset, "the environment has no variable FM_NO_SUCH_VARIABLE");
    }
}
