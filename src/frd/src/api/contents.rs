//! `…/contents`: takes the contents of configs and secrets in, hands them on to Swarm, and answers their hashes.
//!
//! What must never happen: a content in an answer, in an error, in a log line or in the store.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fm_api::http::{ContentHashes, ContentRequest};
use fm_api::keys::ReleaseKey;
use fm_swarm::{ContentError, Contents, Kind};
use serde::Deserialize;

use super::body;
use super::doors::Shared;
use super::error::{Answer, ApiError};
use super::extract::{Key, Params};
use super::releases::DryRun;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Query {
    dry_run: Option<DryRun>,
}

impl Query {
    pub(super) const fn is_dry(&self) -> bool {
        self.dry_run.is_some()
    }
}

pub(super) async fn keep(
    State(api): State<Shared>,
    Key(key): Key,
    Params(query): Params<Query>,
    body: Body,
) -> Answer<ContentHashes> {
    let body = body::json(body).await?;
    // The reader's own words could show what was sent.
    let asked: ContentRequest = serde_json::from_value(body).map_err(|_| {
        ApiError::request(
            "the body is not what is asked for: `secrets` and `configs`, each a mapping from names to contents in base64",
        )
    })?;
    let contents = api.here.contents.as_ref().ok_or_else(|| {
        ApiError::refused("this frd has no Docker to keep configs and secrets in; ask one at a manager of the Swarm")
    })?;
    let dry_run = query.is_dry();
    let all = |kind, asked| each(contents, &key, kind, asked, dry_run);
    Ok(Json(ContentHashes {
        secrets: all(Kind::Secret, asked.secrets).await?,
        configs: all(Kind::Config, asked.configs).await?,
    }))
}

async fn each(
    contents: &Contents,
    key: &ReleaseKey,
    kind: Kind,
    asked: BTreeMap<String, String>,
    dry_run: bool,
) -> Result<BTreeMap<String, String>, ApiError> {
    let mut hashes = BTreeMap::new();
    for (name, encoded) in asked {
        let content = STANDARD
            .decode(encoded)
            .map_err(|_| ApiError::request(format!("the content of `{name}` is no base64")))?;
        let hash = contents.keep(key, kind, &name, &content, dry_run).await;
        let hash = hash.map_err(|error| match error {
            ContentError::Invalid(message) => ApiError::request(message),
            ContentError::Docker(message) => ApiError::unavailable(message),
            ContentError::Store(error) => error.into(),
        })?;
        hashes.insert(name, hash);
    }
    Ok(hashes)
}
