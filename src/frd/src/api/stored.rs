//! Reading what is stored, also what somebody else put there and what does not parse.

use fm_api::keys::{ReleaseKey, RevisionId};
use fm_api::release::{Release, ReleaseSpec};
use fm_api::target::{RevisionRecord, Target};
use fm_store::Entry;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Api;
use super::error::ApiError;

/// A stored release. Of one that does not parse, what can be read of its metadata.
pub(super) struct Stored {
    pub(super) revision: u64,
    pub(super) release: Option<Release>,
    pub(super) uid: Option<String>,
    pub(super) generation: u64,
    pub(super) created_at: Option<Timestamp>,
    pub(super) deleted_at: Option<Timestamp>,
}

impl Stored {
    pub(super) fn read(entry: &Entry) -> Self {
        let value: Value = serde_json::from_slice(&entry.value).unwrap_or_default();
        let release: Option<Release> = serde_json::from_value(value.clone()).ok();
        let metadata = value.get("metadata").cloned().unwrap_or_default();
        let time = |name: &str| {
            metadata
                .get(name)
                .and_then(Value::as_str)
                .and_then(|text| text.parse().ok())
        };
        Self {
            revision: entry.revision,
            uid: metadata
                .get("uid")
                .and_then(Value::as_str)
                .map(str::to_owned),
            generation: metadata
                .get("generation")
                .and_then(Value::as_u64)
                .unwrap_or(0),
            created_at: time("createdAt"),
            deleted_at: time("deletedAt"),
            release,
        }
    }
    pub(super) fn spec(&self) -> Option<&ReleaseSpec> {
        self.release.as_ref().map(|release| &release.spec)
    }
}

/// A stored value as text of a type; one that does not parse counts as absent here, and its writer will mend it.
pub(super) fn decode<T: DeserializeOwned>(entry: &Entry) -> Option<T> {
    match serde_json::from_slice(&entry.value) {
        Ok(value) => Some(value),
        Err(error) => {
            tracing::warn!(key = entry.key, "cannot be read: {error}");
            None
        }
    }
}

/// Our own objects serialize without failing.
pub(super) fn encode<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, ApiError> {
    serde_json::to_vec(value)
        .map_err(|error| ApiError::internal(format!("cannot be written as JSON: {error}")))
}

impl Api {
    /// One release as it is stored.
    pub(super) async fn stored(&self, key: &ReleaseKey) -> Result<Option<Stored>, ApiError> {
        Ok(self
            .ctx
            .store
            .get(&key.release())
            .await?
            .as_ref()
            .map(Stored::read))
    }

    /// One release, or an answer that says that there is none.
    pub(super) async fn existing(&self, key: &ReleaseKey) -> Result<Stored, ApiError> {
        self.stored(key).await?.ok_or_else(|| no_release(key))
    }

    /// The release's target, if promotion has written one for this uid.
    pub(super) async fn target(&self, key: &ReleaseKey) -> Result<Option<Target>, ApiError> {
        Ok(self
            .ctx
            .store
            .get(&key.target())
            .await?
            .as_ref()
            .and_then(decode))
    }

    /// A revision's record.
    pub(super) async fn record(
        &self,
        key: &ReleaseKey,
        id: &RevisionId,
    ) -> Result<Option<RevisionRecord>, ApiError> {
        Ok(self
            .ctx
            .store
            .get(&key.revision(id))
            .await?
            .as_ref()
            .and_then(decode))
    }

    /// All revisions' records, the oldest first.
    pub(super) async fn records(
        &self,
        key: &ReleaseKey,
    ) -> Result<(u64, Vec<RevisionRecord>), ApiError> {
        let listing = self.ctx.store.list(&key.revisions_prefix()).await?;
        let mut records: Vec<RevisionRecord> = listing.entries.iter().filter_map(decode).collect();
        records.sort_by_key(|record| record.number);
        Ok((listing.revision, records))
    }
}

/// There is no such release.
pub(super) fn no_release(key: &ReleaseKey) -> ApiError {
    ApiError::not_found(format!("there is no release {key}"))
}
