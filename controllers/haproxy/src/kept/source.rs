//! One certificate's file, with what HAProxy reads beside it.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::{Hash, LARGEST, digest};
use crate::files;

/// No certificate with its chain and key is larger.
const MOST: u64 = 1 << 20;
/// What HAProxy looks for beside a certificate, besides its key.
const BESIDE: [&str; 3] = ["issuer", "ocsp", "sctl"];

/// A certificate with its key, and what lies beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    /// Certificate, chain and key, in PEM.
    pub(crate) pem: Vec<u8>,
    beside: BTreeMap<&'static str, Vec<u8>>,
}

impl Source {
    /// Reads a source, the key beside it too where it holds none.
    ///
    /// # Errors
    /// With why it cannot be read.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let mut read = Self::read_copy(path)?;
        let key = extended(path, "key");
        if !has_key(&read.pem) && key.exists() {
            let words = |words| format!("{}: {words}", key.display());
            read.pem.push(b'\n');
            read.pem.extend(bytes(&key).map_err(words)?);
        }
        Ok(read)
    }

    /// Reads a copy of ours.
    ///
    /// # Errors
    /// With why it cannot be read.
    pub(crate) fn read_copy(path: &Path) -> Result<Self, String> {
        let pem = bytes(path)?;
        let beside = BESIDE.into_iter().filter_map(|end| {
            let found = bytes(&extended(path, end)).ok()?;
            Some((end, found))
        });
        Ok(Self {
            pem,
            beside: beside.collect(),
        })
    }

    /// Writes a copy.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn write(&self, copy: &Path) -> std::io::Result<()> {
        for end in BESIDE {
            let path = extended(copy, end);
            match self.beside.get(end) {
                Some(content) => files::replace(&path, content)?,
                None if path.exists() => std::fs::remove_file(&path)?,
                None => {}
            }
        }
        files::replace(copy, &self.pem)
    }

    /// The files of a copy.
    pub(crate) fn names(&self, copy: &Path) -> Vec<PathBuf> {
        let beside = self.beside.keys().map(|end| extended(copy, end));
        std::iter::once(copy.to_owned()).chain(beside).collect()
    }

    /// Of everything.
    pub(crate) fn hash(&self) -> Hash {
        let beside = self
            .beside
            .iter()
            .flat_map(|(end, content)| [end.as_bytes(), content]);
        let parts: Vec<&[u8]> = std::iter::once(self.pem.as_slice()).chain(beside).collect();
        digest(&parts)
    }

    /// Of what only a reload takes in.
    pub(crate) fn reloaded_hash(&self) -> Hash {
        if self.pem.len() > LARGEST {
            return self.hash();
        }
        let parts: Vec<&[u8]> = (self.beside.iter())
            .flat_map(|(end, content)| [end.as_bytes(), content.as_slice()])
            .collect();
        digest(&parts)
    }

    /// What is wrong without asking HAProxy.
    pub(crate) fn plainly_bad(&self) -> Option<&'static str> {
        let holds = |word: &str| holds(&self.pem, word);
        if !holds("-----BEGIN CERTIFICATE-----") {
            return Some(NO_CERTIFICATE);
        }
        (!has_key(&self.pem)).then_some(NO_KEY)
    }
}

const NO_CERTIFICATE: &str =
    "it holds no certificate in PEM; put certificate, chain and key into it";
const NO_KEY: &str =
    "it holds no private key, nor does a file of the same name with `.key` beside it; add the key";

fn has_key(pem: &[u8]) -> bool {
    holds(pem, "PRIVATE KEY-----")
}

fn holds(text: &[u8], word: &str) -> bool {
    text.windows(word.len()).any(|part| part == word.as_bytes())
}

fn extended(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(end);
    name.into()
}

/// What stands in a file, or why that is not known. Never waits: a pipe is no file.
fn bytes(path: &Path) -> Result<Vec<u8>, String> {
    let words = |error: std::io::Error| {
        let kind = error.kind();
        if kind == ErrorKind::NotFound {
            "it is gone; put it back".to_owned()
        } else if kind == ErrorKind::PermissionDenied {
            "frd may not read it; see its owner and mode".to_owned()
        } else {
            format!("it cannot be read: {error}")
        }
    };
    let meta = std::fs::metadata(path).map_err(words)?;
    if meta.is_dir() {
        return Err("it is a folder; a file is needed".to_owned());
    }
    if !meta.is_file() {
        return Err("it is no regular file".to_owned());
    }
    let mut content = Vec::new();
    let file = std::fs::File::open(path).map_err(words)?;
    file.take(MOST + 1)
        .read_to_end(&mut content)
        .map_err(words)?;
    if content.is_empty() {
        return Err("it is empty; put certificate, chain and key into it".to_owned());
    }
    if content.len() as u64 > MOST {
        return Err("it is larger than 1 MiB, so it is no certificate".to_owned());
    }
    Ok(content)
}

/// The certificates that a bind names, a folder opened, and what is wrong with the folder.
pub(crate) fn files(crt: &Path) -> (Vec<PathBuf>, Option<String>) {
    if !crt.is_dir() {
        return (vec![crt.to_owned()], None);
    }
    let entries = match std::fs::read_dir(crt) {
        Ok(entries) => entries,
        Err(error) => {
            return (
                Vec::new(),
                Some(format!("the folder cannot be read: {error}")),
            );
        }
    };
    let mut all: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let extra = [".key", ".issuer", ".ocsp", ".sctl", ".dh"];
            !name.starts_with('.')
                && !extra.iter().any(|end| name.ends_with(end))
                // A link that leads nowhere is a certificate that is missing.
                && !entry.path().is_dir()
        })
        .map(|entry| entry.path())
        .collect();
    all.sort();
    let trouble = all.is_empty().then(|| {
        "the folder holds no certificate; put files with certificate, chain and key into it"
            .to_owned()
    });
    (all, trouble)
}

/// HAProxy's words on a certificate, as a sentence without the names of our own files.
pub(crate) fn plainly(words: &str, source: &Path) -> String {
    if words.contains("inconsistencies between private key") {
        return "its private key does not belong to its certificate; put the right pair into it"
            .to_owned();
    }
    if words.contains("No Private Key found") || words.contains("unable to load private key") {
        return NO_KEY.to_owned();
    }
    if words.contains("unable to load certificate from file") {
        return "its certificate cannot be read: it is damaged or cut short; put a whole one there"
            .to_owned();
    }
    let first = words.split("; ").next().unwrap_or(words);
    let said = first
        .rsplit_once("in section 'frontend' : ")
        .map_or(first, |(_, said)| said);
    match said.split_once("/certs/trial/") {
        None => said.to_owned(),
        Some(_) => {
            let folder = source.display().to_string();
            let mut out = String::new();
            for part in said.split('\'') {
                let part = if part.contains("/certs/trial/") {
                    &folder
                } else {
                    part
                };
                if !out.is_empty() {
                    out.push('\'');
                }
                out.push_str(part);
            }
            out
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_says_why_and_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("site.pem");
        let words = |path: &Path| Source::read(path).unwrap_err();
        assert!(words(&path).contains("gone"));
        std::fs::write(&path, "").unwrap();
        assert!(words(&path).contains("empty"));
        assert!(words(folder.path()).contains("folder"));
        std::fs::write(&path, vec![b'x'; (1 << 20) + 1]).unwrap();
        assert!(words(&path).contains("larger"));
        std::fs::write(&path, "junk").unwrap();
        assert_eq!(
            Source::read(&path).unwrap().plainly_bad(),
            Some(NO_CERTIFICATE)
        );
        std::fs::write(&path, "-----BEGIN CERTIFICATE-----").unwrap();
        assert_eq!(Source::read(&path).unwrap().plainly_bad(), Some(NO_KEY));
        let key = folder.path().join("site.pem.key");
        std::fs::write(&key, "-----BEGIN EC PRIVATE KEY-----").unwrap();
        let read = Source::read(&path).unwrap();
        assert_eq!(read.plainly_bad(), None);
        let copy = folder.path().join("copy");
        read.write(&copy).unwrap();
        assert_eq!(Source::read_copy(&copy), Ok(read));
    }

    #[test]
    fn haproxys_words_name_the_persons_own_file() {
        let words = "[ALERT] (1) : config : parsing [/a/certs/trial/haproxy.cfg:7] : 'bind 127.0.0.1:1' in section \
                     'frontend' : strange thing in '/a/certs/trial/x.pem'.; more";
        assert_eq!(
            plainly(words, Path::new("/etc/site.pem")),
            "strange thing in '/etc/site.pem'."
        );
    }
}
