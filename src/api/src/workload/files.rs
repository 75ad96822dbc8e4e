//! Configs and secrets. What a manifest says of them, and what is stored: never the content itself.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::keys::ReleaseKey;

/// A config or secret, shown to the container as a file: one of Swarm that exists (`source`), or one of the release's own
/// (`name`), whose content `frctl` reads and hands on to Swarm. What is stored of the content is a keyed hash alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileReference {
    /// The name of a Swarm object that exists. It is another's: its content is no part of the revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The name of one of the release's own. Another content makes a new revision; the Swarm object goes when no revision
    /// refers to it any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where `frctl` reads the content: a file, from the manifest's folder on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Where `frctl` reads the content: an environment variable of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
    /// The content itself. Of a config alone: a manifest never holds a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Which content: a hash by this installation's key, as the server gave it. `frctl` writes it in the place of `file`,
    /// `env` and `content`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    /// The file: absolute, or below `/run/secrets` for a secret and `/` for a config. Default: the name or source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The file's owner. Default: `0`.
    #[serde(default = "zero")]
    pub uid: String,
    /// The file's group. Default: `0`.
    #[serde(default = "zero")]
    pub gid: String,
    /// The file's mode in octal digits. Default: `0444`.
    #[serde(default = "world_readable")]
    #[schemars(regex(pattern = r"^0?[0-7]{3}$"))]
    pub mode: String,
}

impl FileReference {
    /// The name by which people know it.
    #[must_use]
    pub fn shown(&self) -> &str {
        let name = self.name.as_deref().or(self.source.as_deref());
        name.unwrap_or_default()
    }

    /// The file's name inside the container.
    #[must_use]
    pub fn inside(&self) -> &str {
        self.target.as_deref().unwrap_or_else(|| self.shown())
    }

    /// The name of the Swarm object; `None` while the content is not there yet.
    #[must_use]
    pub fn object(&self, key: &ReleaseKey) -> Option<String> {
        match (&self.source, &self.hash) {
            (Some(source), _) => Some(source.clone()),
            (None, Some(hash)) => Some(object_name(key, hash)),
            (None, None) => None,
        }
    }

    /// Whether it is the release's own and its content was not handed on yet.
    #[must_use]
    pub const fn lacks_content(&self) -> bool {
        self.source.is_none() && self.hash.is_none()
    }
}

/// The name of the Swarm object that holds a release's content of this hash. Swarm allows 64 characters.
#[must_use]
pub fn object_name(key: &ReleaseKey, hash: &str) -> String {
    let short = hash.get(..12).unwrap_or(hash);
    format!("fm_{}_{}_{short}", key.namespace(), key.name())
}

fn zero() -> String {
    "0".to_owned()
}
fn world_readable() -> String {
    "0444".to_owned()
}
