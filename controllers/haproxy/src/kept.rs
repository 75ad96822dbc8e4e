//! The last good certificates: what was found good is copied into the agent's folder, and HAProxy starts from the copies.
//!
//! Owner of `certs/` in that folder. A source that is broken, empty, unreadable or gone changes nothing that serves: its last
//! good copy stays and the file is named at once, with what is wrong. An address that has no good certificate at all is left
//! out until there is one, so that the others serve. What must never happen: HAProxy reading a file that somebody else may
//! break; a copy that HAProxy itself did not find good.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::config;
use crate::files;
use crate::names::hash10;
use crate::options::{Bind, Mode, Options};
use crate::supervise::{Error, Runner};

mod source;

use source::Source;

/// Larger files do not fit into HAProxy's buffer with their command: they are taken in by a reload.
pub(crate) const LARGEST: usize = 14_000;
const INDEX: &str = "index.json";
const TRIAL: &str = "trial";

/// What a file was found to hold.
type Hash = [u8; 32];

/// A certificate that was found good.
#[derive(Debug, Clone)]
pub(crate) struct Good {
    /// The copy that HAProxy reads.
    pub(crate) path: PathBuf,
    /// What stands in it.
    pub(crate) source: Source,
    /// Of all of it.
    pub(crate) hash: Hash,
}

/// What changed with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum News {
    /// It cannot be used: why, and what serves instead.
    Bad(PathBuf, String),
    /// It was bad and is good again.
    Mended(PathBuf),
}

/// The last good certificates.
#[derive(Debug)]
pub(crate) struct Kept {
    folder: PathBuf,
    binds: Vec<Bind>,
    /// Asks HAProxy; `None` where its program is not at hand.
    checker: Option<Runner>,
    /// Somebody else's HAProxy may see files that we do not.
    external: bool,
    instance: String,
    good: BTreeMap<PathBuf, Good>,
    /// Sources that HAProxy refused, as they were then.
    refused: BTreeMap<PathBuf, (Hash, String)>,
    /// What is wrong now.
    wrong: BTreeMap<PathBuf, String>,
}

impl Kept {
    /// With the copies of earlier lives.
    pub(crate) fn new(options: &Options, checker: Option<Runner>) -> Self {
        let binds = &options.binds;
        let mut kept = Self {
            folder: options.dir.join("certs"),
            binds: binds.clone(),
            checker,
            external: matches!(options.mode, Mode::External { .. }),
            instance: options.instance.clone(),
            good: BTreeMap::new(),
            refused: BTreeMap::new(),
            wrong: BTreeMap::new(),
        };
        let index: BTreeMap<PathBuf, String> = std::fs::read(kept.folder.join(INDEX))
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok())
            .unwrap_or_default();
        let asked: BTreeSet<&Path> = binds
            .iter()
            .filter_map(|bind| bind.crt.as_deref())
            .collect();
        for (source, expected) in index {
            let path = kept.copy_of(&source);
            // A copy that somebody damaged is none.
            if asked.iter().any(|crt| is_of(&source, crt))
                && let Ok(content) = Source::read_copy(&path)
                && hex(&content.hash()) == expected
            {
                kept.put(source, content);
            }
        }
        kept
    }

    fn copy_of(&self, source: &Path) -> PathBuf {
        let name = hash10(&[&source.to_string_lossy()]);
        self.folder.join(format!("{name}.pem"))
    }

    fn put(&mut self, source: PathBuf, content: Source) {
        let good = Good {
            path: self.copy_of(&source),
            hash: content.hash(),
            source: content,
        };
        self.good.insert(source, good);
    }

    /// Looks at every source and copies what is new and good.
    ///
    /// # Errors
    /// When the agent's folder cannot be written.
    pub(crate) async fn take_in(&mut self) -> std::io::Result<Vec<News>> {
        let mut wrong = BTreeMap::new();
        let mut fresh: Vec<(PathBuf, Source)> = Vec::new();
        for crt in self.asked() {
            let (found, trouble) = source::files(&crt);
            for path in self.good.keys().filter(|path| is_of(path, &crt)) {
                if !found.contains(path) {
                    wrong.insert(path.clone(), self.gone(path));
                }
            }
            if let Some(words) = trouble {
                wrong.insert(crt.clone(), words);
            }
            for path in found {
                match Source::read(&path) {
                    Err(words) => drop(wrong.insert(path, words)),
                    Ok(content) => {
                        let hash = content.hash();
                        let known = self.good.get(&path).map(|good| good.hash);
                        match self.refused.get(&path) {
                            _ if known == Some(hash) => drop(self.refused.remove(&path)),
                            Some((same, words)) if *same == hash => {
                                wrong.insert(path, words.clone());
                            }
                            _ => fresh.push((path, content)),
                        }
                    }
                }
            }
        }
        let taken = !fresh.is_empty();
        for (path, content) in self.checked(fresh, &mut wrong).await? {
            content.write(&self.copy_of(&path))?;
            self.put(path, content);
        }
        if taken {
            self.write_index()?;
        }
        Ok(self.news(wrong))
    }

    fn gone(&self, path: &Path) -> String {
        let taken_out = if self.asked().contains(path) {
            "put it back".to_owned()
        } else {
            format!(
                "put it back, or take it out for good: `frctl edge accept {}`",
                self.instance
            )
        };
        format!("it is gone; {taken_out}")
    }

    /// What HAProxy takes of these; the others are noted as refused.
    async fn checked(
        &mut self,
        fresh: Vec<(PathBuf, Source)>,
        wrong: &mut BTreeMap<PathBuf, String>,
    ) -> std::io::Result<Vec<(PathBuf, Source)>> {
        if fresh.is_empty() {
            return Ok(fresh);
        }
        // Most are good, so one question usually is enough.
        if let Ok(Ok(())) = self.ask(&fresh).await {
            for (path, _) in &fresh {
                self.refused.remove(path);
            }
            return Ok(fresh);
        }
        let mut good = Vec::new();
        for one in fresh {
            let answer = self.ask(std::slice::from_ref(&one)).await?;
            match answer {
                Ok(()) => {
                    self.refused.remove(&one.0);
                    good.push(one);
                }
                Err(Error::Refused(words)) => {
                    let words = source::plainly(&words, &one.0);
                    wrong.insert(one.0.clone(), words.clone());
                    self.refused.insert(one.0, (one.1.hash(), words));
                }
                // Not known: it is asked again.
                Err(error) => {
                    wrong.insert(one.0, format!("it could not be checked: {error}"));
                }
            }
        }
        Ok(good)
    }

    /// Asks HAProxy whether it would take these.
    async fn ask(&self, some: &[(PathBuf, Source)]) -> std::io::Result<Result<(), Error>> {
        let plain = some.iter().find_map(|(_, content)| content.plainly_bad());
        if let Some(words) = plain {
            return Ok(Err(Error::Refused(words.to_owned())));
        }
        let Some(checker) = &self.checker else {
            return Ok(Ok(()));
        };
        let folder = self.folder.join(TRIAL);
        files::make_folder(&folder)?;
        let mut list = String::new();
        for (path, content) in some {
            let copy = folder.join(self.copy_of(path).file_name().unwrap_or_default());
            content.write(&copy)?;
            list.push_str(&format!("{}\n", copy.display()));
        }
        let (listed, trial) = (folder.join("list"), folder.join("haproxy.cfg"));
        files::replace(&listed, list)?;
        files::replace(
            &trial,
            config::certificate_trial(&listed.display().to_string()),
        )?;
        let checked = checker.check(&trial).await;
        // Keys do not lie about longer than they must.
        std::fs::remove_dir_all(&folder)?;
        Ok(checked)
    }

    fn write_index(&self) -> std::io::Result<()> {
        let index: BTreeMap<&PathBuf, String> = (self.good.iter())
            .map(|(path, good)| (path, hex(&good.hash)))
            .collect();
        files::replace(&self.folder.join(INDEX), serde_json::to_vec(&index)?)
    }

    fn news(&mut self, wrong: BTreeMap<PathBuf, String>) -> Vec<News> {
        let before = std::mem::replace(&mut self.wrong, wrong);
        let bad = self
            .wrong
            .iter()
            .filter(|(path, words)| before.get(*path) != Some(*words));
        let mended = before.keys().filter(|path| !self.wrong.contains_key(*path));
        bad.map(|(path, words)| News::Bad(path.clone(), self.sentence(path, words)))
            .chain(mended.map(|path| News::Mended(path.clone())))
            .collect()
    }

    fn sentence(&self, path: &Path, words: &str) -> String {
        let serves = match self.good.contains_key(path) {
            true => "its last good certificate still serves",
            false => "there is no earlier good one to serve instead",
        };
        format!("{}: {words}; {serves}", path.display())
    }

    /// What is wrong now, for people.
    pub(crate) fn wrong(&self) -> impl Iterator<Item = String> {
        (self.wrong.iter()).map(|(path, words)| self.sentence(path, words))
    }

    /// The word by which a person accepts that what is gone stays gone.
    pub(crate) fn keeps_the_gone(&self) -> Option<String> {
        let gone: Vec<String> = (self.wrong.keys())
            .filter(|path| !path.exists() && !self.asked().contains(*path))
            .map(|path| path.display().to_string())
            .collect();
        let gone: Vec<&str> = gone.iter().map(String::as_str).collect();
        (!gone.is_empty()).then(|| format!("certificates-{}", hash10(&gone)))
    }

    /// Addresses that are left out, as there is no certificate for them.
    pub(crate) fn left_out(&self) -> impl Iterator<Item = String> {
        let out = self
            .binds
            .iter()
            .filter(|bind| self.written(bind).is_none());
        out.map(|bind| {
            let crt = bind.crt.as_deref().unwrap_or(Path::new(""));
            format!(
                "nothing is served at {}: no certificate of {} can be used",
                bind.address,
                crt.display()
            )
        })
    }

    /// A person has said that what is gone is gone for good.
    ///
    /// # Errors
    /// When the agent's folder cannot be written.
    pub(crate) fn forget_the_gone(&mut self) -> std::io::Result<()> {
        let asked = self.asked();
        let there: BTreeSet<PathBuf> = asked.iter().flat_map(|crt| source::files(crt).0).collect();
        let before = self.good.len();
        self.good.retain(|path, _| there.contains(path));
        if self.good.len() == before {
            return Ok(());
        }
        self.write_index()
    }

    fn asked(&self) -> BTreeSet<PathBuf> {
        self.binds
            .iter()
            .filter_map(|bind| bind.crt.clone())
            .collect()
    }

    /// What is good, by source.
    pub(crate) fn good(&self) -> impl Iterator<Item = (&PathBuf, &Good)> {
        self.good.iter()
    }

    /// The binds as the configuration writes them.
    pub(crate) fn binds(&self) -> Vec<config::Bind> {
        self.binds
            .iter()
            .filter_map(|bind| self.written(bind))
            .collect()
    }

    fn written(&self, bind: &Bind) -> Option<config::Bind> {
        let crt = match &bind.crt {
            None => None,
            Some(crt) => Some(self.certificates(crt)?),
        };
        Some(config::Bind {
            address: bind.address.clone(),
            crt,
            alpn: bind.alpn.clone(),
        })
    }

    fn certificates(&self, crt: &Path) -> Option<config::Certificates> {
        let mine: Vec<&Good> = self.of(crt).collect();
        if mine.is_empty() {
            let unseen = self.external && !crt.exists();
            return unseen.then(|| config::Certificates::Path(crt.display().to_string()));
        }
        // What the runtime socket cannot renew is part of the structure: it is taken in by a reload.
        let parts: Vec<String> = mine.iter().map(|good| good.version()).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        Some(config::Certificates::List {
            path: self.list_of(crt).display().to_string(),
            version: hash10(&parts),
        })
    }

    fn of<'a>(&'a self, crt: &'a Path) -> impl Iterator<Item = &'a Good> {
        let mine = self.good.iter().filter(|(path, _)| is_of(path, crt));
        mine.map(|(_, good)| good)
    }

    fn list_of(&self, crt: &Path) -> PathBuf {
        let name = hash10(&[&crt.to_string_lossy()]);
        self.folder.join(format!("{name}.list"))
    }

    /// Writes whatever HAProxy reads of this and does not lie there: somebody may have removed it. `all`: or changed it.
    ///
    /// # Errors
    /// When the agent's folder cannot be written.
    pub(crate) fn write(&self, all: bool) -> std::io::Result<()> {
        files::make_folder(&self.folder)?;
        for good in self.good.values() {
            let lies = match all {
                true => Source::read_copy(&good.path).map(|copy| copy.hash()) == Ok(good.hash),
                false => good.path.exists(),
            };
            if !lies {
                good.source.write(&good.path)?;
            }
        }
        for crt in self.asked() {
            let lines: String = self
                .of(&crt)
                .map(|good| format!("{}\n", good.path.display()))
                .collect();
            let path = self.list_of(&crt);
            if !lines.is_empty() && std::fs::read_to_string(&path).ok().as_ref() != Some(&lines) {
                files::replace(&path, lines)?;
            }
        }
        Ok(())
    }

    /// Removes copies that nothing names any more. Only once HAProxy runs without them.
    pub(crate) fn clean(&self) {
        let lists = self.asked().into_iter().map(|crt| self.list_of(&crt));
        let mut ours: BTreeSet<PathBuf> = lists.collect();
        ours.insert(self.folder.join(INDEX));
        ours.extend(
            self.good
                .values()
                .flat_map(|good| good.source.names(&good.path)),
        );
        for entry in std::fs::read_dir(&self.folder)
            .into_iter()
            .flatten()
            .flatten()
        {
            if !ours.contains(&entry.path()) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

impl Good {
    fn version(&self) -> String {
        let file = self.path.file_name().unwrap_or_default().to_string_lossy();
        format!("{file} {}", hex(&self.source.reloaded_hash()))
    }
}

/// Whether a source is what a bind names, or lies in the folder that it names.
fn is_of(source: &Path, crt: &Path) -> bool {
    source == crt || source.parent() == Some(crt)
}

fn hex(hash: &Hash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn digest(parts: &[&[u8]]) -> Hash {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}
