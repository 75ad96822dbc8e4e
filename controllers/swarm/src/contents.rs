//! Configs and secrets as Swarm objects, named by a keyed hash of their content.
//!
//! The content goes to Swarm and nowhere else: the store and every manifest that is read back hold the hash alone. The
//! hash needs a key, because that of a weak secret could be guessed by whoever sees it. The key lies in Swarm too, as a
//! config, which only those can read who may use Docker's API at a manager, and they could show any secret to a service
//! of theirs anyway. Without the key a hash says no more than whether two contents of one release are the same.
//!
//! What must never happen: a content in the store, in a log line or in an error.

pub(crate) mod sweep;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fm_api::keys::ReleaseKey;
use fm_api::workload::object_name;
use fm_store::{SharedStore, StoreError};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::docker::{Docker, DockerError};
use crate::world::label;

/// The most that Swarm keeps of a secret. It would keep more of a config; one limit is easier to know.
const LARGEST: usize = 500 * 1024;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nobody reads it back.
    Secret,
    /// Whoever may use Docker's API reads it back.
    Config,
}

impl Kind {
    pub(crate) const BOTH: [Kind; 2] = [Kind::Secret, Kind::Config];

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Kind::Secret => "secret",
            Kind::Config => "config",
        }
    }

    pub(crate) const fn path(self) -> &'static str {
        match self {
            Kind::Secret => "/secrets",
            Kind::Config => "/configs",
        }
    }
}

/// Why a content was not kept.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// It cannot be one.
    #[error("{0}")]
    Invalid(String),
    /// Docker does not do it, in its own words.
    #[error("{0}")]
    Docker(String),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<DockerError> for ContentError {
    fn from(error: DockerError) -> Self {
        ContentError::Docker(format!("Docker does not keep it: {error}"))
    }
}

/// Keeps contents in Swarm.
#[derive(Clone)]
pub struct Contents {
    docker: Docker,
    store: SharedStore,
    observe_only: bool,
}

/// A config or secret, as far as it is read.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Object {
    #[serde(rename = "ID")]
    pub(crate) id: String,
    pub(crate) version: Version,
    pub(crate) updated_at: jiff::Timestamp,
    pub(crate) spec: ObjectSpec,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Version {
    pub(crate) index: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ObjectSpec {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) labels: Option<std::collections::BTreeMap<String, String>>,
    /// Of a config alone; asked for where the key is read, and never kept.
    #[serde(default)]
    data: Option<String>,
}

impl ObjectSpec {
    pub(crate) fn label(&self, name: &str) -> &str {
        let labels = self.labels.as_ref();
        labels
            .and_then(|labels| labels.get(name))
            .map_or("", String::as_str)
    }
}

impl Contents {
    /// Over the Docker at this address, which must be a manager of the Swarm by the time something is kept.
    ///
    /// # Errors
    /// When the address cannot be read.
    pub fn new(docker: &str, store: SharedStore, observe_only: bool) -> Result<Self, ContentError> {
        Ok(Self {
            docker: Docker::new(docker)?,
            store,
            observe_only,
        })
    }

    /// Keeps a content and gives its hash; with `dry_run` it gives the hash alone.
    ///
    /// # Errors
    /// When it is too large or empty, or Docker or the store do not do their part.
    pub async fn keep(
        &self,
        key: &ReleaseKey,
        kind: Kind,
        name: &str,
        content: &[u8],
        dry_run: bool,
    ) -> Result<String, ContentError> {
        let what = kind.word();
        if content.is_empty() {
            return Err(ContentError::Invalid(format!(
                "{what} `{name}` is empty, which Swarm does not keep"
            )));
        }
        if content.len() > LARGEST {
            return Err(ContentError::Invalid(format!(
                "{what} `{name}` has {} bytes, more than the maximum {LARGEST}",
                content.len()
            )));
        }
        let installation = fm_runtime::installation(&self.store).await?;
        let dry_run = dry_run || self.observe_only;
        let secret = self.key(&installation, dry_run).await?;
        let hash = keyed(&secret, key, kind, name, content);
        if dry_run {
            return Ok(hash);
        }
        let labels = json!({
            label::MANAGED_BY: installation,
            label::NAMESPACE: key.namespace(),
            label::RELEASE: key.name(),
            label::CONTENT_NAME: name,
            label::CONTENT: hash,
        });
        let spec = json!({
            "Name": object_name(key, &hash),
            "Labels": labels,
            "Data": STANDARD.encode(content),
        });
        match self.docker.create_object(kind, &spec).await {
            Ok(()) => Ok(hash),
            Err(error) if is_taken(&error) => {
                self.wanted_again(kind, &object_name(key, &hash), &hash)
                    .await?;
                Ok(hash)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// It is there already: it is marked as wanted, so that it is not swept before the release names it.
    async fn wanted_again(&self, kind: Kind, name: &str, hash: &str) -> Result<(), ContentError> {
        let Some(found) = self.docker.object(kind, name).await? else {
            return Err(ContentError::Docker(format!(
                "{name} was removed meanwhile; try again"
            )));
        };
        if found.spec.label(label::CONTENT) != hash {
            return Err(ContentError::Docker(format!(
                "Swarm has a {} named {name} that is not ours, and it is left untouched",
                kind.word()
            )));
        }
        let mut labels = found.spec.labels.clone().unwrap_or_default();
        let asked: u64 = found.spec.label(label::ASKED).parse().unwrap_or_default();
        labels.insert(label::ASKED.to_owned(), (asked + 1).to_string());
        let spec = json!({ "Name": found.spec.name, "Labels": labels });
        match self.docker.update_object(kind, &found, &spec).await {
            // Somebody else marked it just now.
            Ok(()) | Err(DockerError::Stale(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// This installation's key. Made once; a dry run before that makes one for itself.
    async fn key(&self, installation: &str, dry_run: bool) -> Result<Vec<u8>, ContentError> {
        let name = format!("fm_key_{installation}");
        for _ in 0..3 {
            if let Some(found) = self.docker.object(Kind::Config, &name).await? {
                let data = found.spec.data.unwrap_or_default();
                let key = STANDARD.decode(data).unwrap_or_default();
                if key.len() < 32 {
                    return Err(ContentError::Docker(format!(
                        "the Swarm config {name} is not the key that it should be; if it was made by hand, remove it"
                    )));
                }
                return Ok(key);
            }
            let fresh = fresh_key()?;
            if dry_run {
                return Ok(fresh);
            }
            let spec: Value = json!({
                "Name": name,
                "Labels": { label::MANAGED_BY: installation },
                "Data": STANDARD.encode(&fresh),
            });
            match self.docker.create_object(Kind::Config, &spec).await {
                Ok(()) => return Ok(fresh),
                // Somebody else was faster: theirs is the key.
                Err(error) if is_taken(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ContentError::Docker(format!(
            "the Swarm config {name} comes and goes; try again"
        )))
    }
}

fn is_taken(error: &DockerError) -> bool {
    matches!(error, DockerError::Stale(words) | DockerError::Refused(words) if words.contains("already exists") || words.contains("name conflicts"))
}

/// Two hundred and fifty-six random bits, from the operating system.
fn fresh_key() -> Result<Vec<u8>, ContentError> {
    let mut key = vec![0; 32];
    let filled = SystemRandom::new().fill(&mut key);
    filled.map_err(|_| ContentError::Docker("this machine gives no random numbers".to_owned()))?;
    Ok(key)
}

/// The first half of HMAC-SHA-256 of whose it is and what it holds, in hexadecimal digits.
fn keyed(secret: &[u8], key: &ReleaseKey, kind: Kind, name: &str, content: &[u8]) -> String {
    let mut mac = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret));
    // None of the four holds a zero byte but the content, which comes last.
    for part in [kind.word(), key.namespace(), key.name(), name] {
        mac.update(part.as_bytes());
        mac.update(&[0]);
    }
    mac.update(content);
    let digest = mac.sign();
    digest
        .as_ref()
        .iter()
        .take(16)
        .map(|b| format!("{b:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_differs_by_key_release_kind_name_and_content_and_by_nothing_else() {
        let shop = ReleaseKey::new("default", "shop");
        let hash = |secret: &[u8], key: &ReleaseKey, kind, name, content: &[u8]| {
            keyed(secret, key, kind, name, content)
        };
        let one = hash(b"k", &shop, Kind::Secret, "db", b"pw");
        assert_eq!(one.len(), 32);
        assert_eq!(one, hash(b"k", &shop, Kind::Secret, "db", b"pw"));
        let other = ReleaseKey::new("default", "other");
        for different in [
            hash(b"l", &shop, Kind::Secret, "db", b"pw"),
            hash(b"k", &other, Kind::Secret, "db", b"pw"),
            hash(b"k", &shop, Kind::Config, "db", b"pw"),
            hash(b"k", &shop, Kind::Secret, "dbp", b"w"),
            hash(b"k", &shop, Kind::Secret, "db", b"px"),
        ] {
            assert_ne!(one, different);
        }
        assert_ne!(fresh_key().unwrap(), fresh_key().unwrap());
    }

    #[test]
    fn the_longest_names_fit_what_swarm_allows() {
        let key = ReleaseKey::new(&"n".repeat(20), &"r".repeat(26));
        assert!(object_name(&key, &"0".repeat(32)).len() <= 64);
    }
}
