//! A watch cache over several prefixes.

use std::sync::Arc;

use fm_store::Entry;
use jiff::Timestamp;
use serde::de::DeserializeOwned;

use crate::Context;

/// What the store holds below some prefixes, as last seen.
#[derive(Clone)]
pub struct Cache {}

/// Tells which keys of a [`Cache`] changed.
pub struct Changes {}

impl Cache {
    /// Starts to follow these prefixes, until the context is shut down.
    #[must_use]
    pub fn start(_ctx: &Context, _prefixes: Vec<String>) -> Cache {
        Cache {}
    }
    /// Returns when all prefixes were listed once.
    pub async fn synced(&self) {}
    /// The key as last seen.
    #[must_use]
    pub fn get(&self, _key: &str) -> Option<Arc<Entry>> {
        None
    }
    /// Everything below a prefix as last seen, in the order of the keys.
    #[must_use]
    pub fn list(&self, _prefix: &str) -> Vec<Arc<Entry>> {
        Vec::new()
    }
    /// Tells of changes from now on.
    #[must_use]
    pub fn subscribe(&self) -> Changes {
        Changes {}
    }
    /// The store's revision that it reflects.
    #[must_use]
    pub fn revision(&self) -> u64 {
        0
    }
    /// Since when the store cannot be reached; `None` while it can.
    #[must_use]
    pub fn lost_since(&self) -> Option<Timestamp> {
        None
    }
}

impl Changes {
    /// The keys that changed since the last call; `None` after the end.
    pub async fn next(&mut self) -> Option<Vec<String>> {
        None
    }
}

/// An entry's value as a typed object.
///
/// # Errors
/// What is wrong with it, with its key.
pub fn decode<T: DeserializeOwned>(entry: &Entry) -> Result<T, String> {
    serde_json::from_slice(&entry.value).map_err(|error| format!("{}: {error}", entry.key))
}
