//! What the store says of each release, as last understood.
//!
//! Owner of the last good target of each release, also on disk, so that neither a broken object nor a restart with a
//! broken object in the store takes a release's routes away.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fm_api::edge::Deleted;
use fm_api::keys::{self, ReleaseKey};
use fm_api::observed::SwarmObserved;
use fm_api::target::Target;
use fm_runtime::{Cache, SharedClock, decode};

use crate::desired::Input;
use crate::hold::Hold;

/// All releases.
pub(crate) struct Inputs {
    path: PathBuf,
    pub(crate) hold: Hold,
    clock: SharedClock,
    releases: BTreeMap<ReleaseKey, Known>,
    last_good: BTreeMap<String, serde_json::Value>,
    /// What is on disk of it.
    kept: Option<String>,
    /// What is on disk may be older.
    changed: bool,
}

/// One release.
#[derive(Debug, Clone, Default)]
struct Known {
    target: Option<Arc<Target>>,
    /// Why the stored target cannot be followed.
    bad: Option<String>,
    swarm: Option<Arc<SwarmObserved>>,
}

impl Inputs {
    /// With the last good targets that were kept in this folder.
    #[must_use]
    pub(crate) fn new(dir: &Path, clock: SharedClock) -> Self {
        let path = dir.join("targets.json");
        let kept = std::fs::read_to_string(&path).ok();
        let last_good: BTreeMap<String, serde_json::Value> = kept
            .as_ref()
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default();
        let hold = Hold::new(dir);
        // What was followed is followed on until the store says otherwise in so many words.
        let followed = hold.releases().filter_map(|name| {
            let key: ReleaseKey = name.parse().ok()?;
            let target = serde_json::from_value(last_good.get(name)?.clone()).ok()?;
            let known = Known {
                target: Some(Arc::new(target)),
                ..Known::default()
            };
            Some((key, known))
        });
        Self {
            path,
            releases: followed.collect(),
            hold,
            clock,
            last_good,
            kept,
            changed: false,
        }
    }

    /// Reads everything, at the start and on each resync.
    pub(crate) fn read_all(&mut self, cache: &Cache) {
        if !self.follows(cache) {
            return;
        }
        let mut all: BTreeSet<ReleaseKey> = self.releases.keys().cloned().collect();
        all.extend(
            cache
                .list(&keys::prefix("targets"))
                .iter()
                .filter_map(|e| ReleaseKey::of(&e.key)),
        );
        for key in all {
            self.read(cache, &key);
        }
        self.changed = true;
    }

    /// Reads the releases of these keys; returns whether any key was of interest.
    pub(crate) fn read_changed(&mut self, cache: &Cache, changed: &[String]) -> bool {
        let held = self.hold.holds_store();
        if !self.follows(cache) {
            return false;
        }
        if held {
            // The right store is back.
            self.read_all(cache);
            return true;
        }
        let mut any = false;
        let releases: BTreeSet<ReleaseKey> = changed
            .iter()
            .filter_map(|text| {
                let key = ReleaseKey::of(text)?;
                self.changed |= *text == key.target();
                (*text == key.target() || *text == key.observed_swarm()).then_some(key)
            })
            .collect();
        for key in releases {
            self.read(cache, &key);
            any = true;
        }
        any
    }

    fn read(&mut self, cache: &Cache, key: &ReleaseKey) {
        let Some(entry) = cache.get(&key.target()) else {
            self.miss(cache, key);
            return;
        };
        let known = self.releases.entry(key.clone()).or_default();
        match decode::<Target>(&entry) {
            Ok(target) => {
                if let Ok(value) = serde_json::to_value(&target) {
                    self.last_good.insert(key.to_string(), value);
                }
                self.hold.settle(key, !target.deleting);
                known.target = Some(Arc::new(target));
                known.bad = None;
            }
            Err(error) => {
                known.bad = Some(error);
                if known.target.is_none() {
                    known.target = self
                        .last_good
                        .get(&key.to_string())
                        .and_then(|value| serde_json::from_value(value.clone()).ok())
                        .map(Arc::new);
                }
            }
        }
        // An observation that cannot be read says nothing: the last one stands.
        match cache
            .get(&key.observed_swarm())
            .map(|entry| decode::<SwarmObserved>(&entry))
        {
            Some(Ok(seen)) => known.swarm = Some(Arc::new(seen)),
            Some(Err(_)) => {}
            None => known.swarm = None,
        }
    }

    /// There is no target: it goes where somebody deleted the release, and stays otherwise.
    fn miss(&mut self, cache: &Cache, key: &ReleaseKey) {
        let known = self
            .releases
            .get(key)
            .and_then(|known| known.target.as_ref());
        let deleted = known.is_none_or(|target| {
            let trace = cache.get(&key.deleted());
            let trace = trace.and_then(|entry| decode::<Deleted>(&entry).ok());
            target.deleting || trace.is_some_and(|trace| trace.uid == target.uid)
        });
        if deleted {
            self.forget(key);
        } else {
            self.hold.vanish(key, self.clock.now());
        }
    }

    fn forget(&mut self, key: &ReleaseKey) {
        self.hold.settle(key, false);
        self.releases.remove(key);
        self.last_good.remove(&key.to_string());
        self.changed = true;
    }

    /// Whether the store that is there is the one that was followed.
    fn follows(&mut self, cache: &Cache) -> bool {
        let mark = cache.get(&keys::installation());
        let mark = mark.map(|entry| String::from_utf8_lossy(&entry.value).into_owned());
        self.hold.see_store(mark.as_deref())
    }

    /// Looks again at what is kept, and gives up what a person accepted.
    pub(crate) fn look_at_the_held(&mut self, cache: &Cache, accepted: &[String]) {
        if self.hold.accept_store(accepted) {
            self.releases.clear();
            self.last_good.clear();
            self.read_all(cache);
        }
        for key in self.hold.accept_vanished(accepted) {
            self.forget(&key);
        }
        if !self.hold.holds_store() {
            for key in self.hold.vanished() {
                self.read(cache, &key);
            }
        }
    }

    /// Keeps the last good targets on disk, if they changed. A failure costs nothing now: the store still has them.
    pub(crate) fn keep(&mut self) {
        self.hold.keep();
        if !std::mem::take(&mut self.changed) {
            return;
        }
        if let Ok(text) = serde_json::to_string(&self.last_good)
            && self.kept.as_ref() != Some(&text)
            && crate::files::replace(&self.path, &text).is_ok()
        {
            self.kept = Some(text);
        }
    }

    /// For [`crate::desired::Desired::of`].
    #[must_use]
    pub(crate) fn all(&self) -> Vec<Input<'_>> {
        self.releases
            .iter()
            .filter_map(|(key, known)| {
                Some(Input {
                    key,
                    target: known.target.as_deref()?,
                    swarm: known.swarm.as_deref(),
                })
            })
            .collect()
    }

    /// Targets that cannot be followed, and why.
    pub(crate) fn bad(&self) -> impl Iterator<Item = (&ReleaseKey, &String)> {
        self.releases
            .iter()
            .filter_map(|(key, known)| Some((key, known.bad.as_ref()?)))
    }

    /// Each release with the target that is followed.
    pub(crate) fn targets(&self) -> impl Iterator<Item = (&ReleaseKey, &Arc<Target>)> {
        self.releases
            .iter()
            .filter_map(|(key, known)| Some((key, known.target.as_ref()?)))
    }
}
