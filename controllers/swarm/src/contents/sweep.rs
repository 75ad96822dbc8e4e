//! Removes configs and secrets of ours that nothing refers to any more.
//!
//! Referred to is whatever hash stands anywhere in what the store holds of the release: its spec, its target, any of its
//! revisions, also where those cannot be parsed. What must never happen: an object removed while the store does not
//! answer. Swarm itself refuses to remove what a service uses.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fm_api::keys::ReleaseKey;
use fm_store::{SharedStore, StoreError};

use super::{Kind, Object};
use crate::docker::{Docker, DockerError};
use crate::world::{label, release_of};

/// How often it looks.
const PAUSE: Duration = Duration::from_secs(60);

/// Sweeps.
pub(crate) struct Sweeper {
    pub(crate) docker: Docker,
    pub(crate) store: SharedStore,
    pub(crate) installation: String,
    pub(crate) grace: Duration,
}

impl Sweeper {
    /// Sweeps until it is dropped. Several may: each reads the store itself, and what is gone is gone.
    pub(crate) async fn run(self) {
        loop {
            tokio::time::sleep(PAUSE.min(self.grace)).await;
            for kind in Kind::BOTH {
                if let Err(error) = self.sweep(kind).await {
                    tracing::debug!("{}s that nobody needs stay for now: {error}", kind.word());
                }
            }
        }
    }

    async fn sweep(&self, kind: Kind) -> Result<(), String> {
        let words = |error: DockerError| error.to_string();
        let found = self.docker.objects(kind, &self.installation).await;
        for (key, objects) in by_release(found.map_err(words)?, self.grace) {
            let stored = self.stored(&key).await.map_err(|error| error.to_string())?;
            for object in objects {
                if stored
                    .iter()
                    .any(|text| text.contains(object.spec.label(label::CONTENT)))
                {
                    continue;
                }
                match self.docker.remove_object(kind, &object.id).await {
                    Ok(()) => {
                        tracing::info!(release = %key, "removed {} {}: nothing refers to it", kind.word(), object.spec.name)
                    }
                    // A service that still stops uses it: another time.
                    Err(error) => {
                        tracing::debug!(release = %key, "{} stays: {error}", object.spec.name)
                    }
                }
            }
        }
        Ok(())
    }

    /// Everything that the store holds of a release that may name a hash.
    async fn stored(&self, key: &ReleaseKey) -> Result<BTreeSet<String>, StoreError> {
        let mut entries = self.store.list(&key.revisions_prefix()).await?.entries;
        for single in [key.release(), key.target()] {
            entries.extend(self.store.get(&single).await?);
        }
        let text = |entry: fm_store::Entry| String::from_utf8_lossy(&entry.value).into_owned();
        Ok(entries.into_iter().map(text).collect())
    }
}

/// What is old enough to be looked at, by release.
fn by_release(objects: Vec<Object>, grace: Duration) -> BTreeMap<ReleaseKey, Vec<Object>> {
    let now = jiff::Timestamp::now();
    let mut all: BTreeMap<ReleaseKey, Vec<Object>> = BTreeMap::new();
    for object in objects {
        let labels = object.spec.labels.clone().unwrap_or_default();
        let aged = now.duration_since(object.updated_at).unsigned_abs() >= grace;
        // The key of the hashes belongs to no release.
        let hashed = !object.spec.label(label::CONTENT).is_empty();
        if let Some(key) = release_of(&labels).filter(|_| aged && hashed) {
            all.entry(key).or_default().push(object);
        }
    }
    all
}
