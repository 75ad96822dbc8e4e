//! A watch cache over several prefixes: list, then watch; list again when changes may have been missed.
//!
//! One watch over the prefixes' common beginning feeds it, so that the keys of one transaction appear together and
//! [`Cache::revision`] is one number. It keeps its last state while the store is away. Owner of that state: the one task
//! that follows the store. What must never happen: a change that no subscriber is told of; waiting for a subscriber.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use fm_api::keys::ReleaseKey;
use fm_store::{Change, Entry, SharedStore, StoreError, Watch};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, watch};

use crate::backoff::Backoff;
use crate::{Context, SharedClock};

/// How often the store is asked for a sign of life: a watch that resumes by itself does not tell of an outage.
const PROBE: Duration = Duration::from_secs(2);
/// How long a probe may take: the death of etcd's leader makes a call wait for the election.
const ANSWER: Duration = Duration::from_secs(4);

/// What the store holds below some prefixes, as last seen.
#[derive(Clone)]
pub struct Cache {
    inner: Arc<Inner>,
}

/// Tells which keys of a [`Cache`] changed.
pub struct Changes {
    mailbox: Arc<Mailbox>,
}

struct Inner {
    prefixes: Vec<String>,
    clock: SharedClock,
    store: SharedStore,
    state: Mutex<State>,
    /// The revision, once everything was listed: zero before.
    reached: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    /// At which revision each prefix was listed: older changes are in the list already.
    listed: Vec<u64>,
    entries: BTreeMap<String, Arc<Entry>>,
    /// How many keys each release has.
    releases: HashMap<ReleaseKey, usize>,
    lost_since: Option<Timestamp>,
    /// When the store was last heard of.
    heard: Option<tokio::time::Instant>,
    subscribers: Vec<Weak<Mailbox>>,
    ended: bool,
}

#[derive(Default)]
struct Mailbox {
    keys: Mutex<Waiting>,
    arrived: Notify,
}

#[derive(Default)]
struct Waiting {
    keys: BTreeSet<String>,
    ended: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cache {
    /// Starts to follow these prefixes, until the context is shut down. Call it inside the runtime.
    #[must_use]
    pub fn start(ctx: &Context, prefixes: Vec<String>) -> Cache {
        let inner = Arc::new(Inner {
            prefixes,
            clock: Arc::clone(&ctx.clock),
            store: Arc::clone(&ctx.store),
            state: Mutex::default(),
            reached: watch::Sender::new(0),
        });
        let (follower, store) = (Arc::clone(&inner), Arc::clone(&ctx.store));
        let shutdown = ctx.shutdown.clone();
        tokio::spawn(async move {
            shutdown
                .run_until_cancelled(async {
                    tokio::join!(follower.follow(&store), follower.probe(&store))
                })
                .await;
            follower.end();
        });
        Cache { inner }
    }

    /// Returns when all prefixes were listed once.
    pub async fn synced(&self) {
        self.reached(1).await;
    }

    /// Returns when everything up to this revision of the store is reflected. Only for revisions at which a key below
    /// the prefixes' common beginning changed.
    pub async fn reached(&self, revision: u64) {
        let mut reached = self.inner.reached.subscribe();
        // The sender lives as long as this cache.
        let _ = reached.wait_for(|at| *at >= revision.max(1)).await;
    }

    /// The key as last seen.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Arc<Entry>> {
        lock(&self.inner.state).entries.get(key).cloned()
    }

    /// Everything below a prefix as last seen, in the order of the keys.
    #[must_use]
    pub fn list(&self, prefix: &str) -> Vec<Arc<Entry>> {
        lock(&self.inner.state)
            .entries
            .range(prefix.to_owned()..)
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(_, entry)| Arc::clone(entry))
            .collect()
    }

    /// Tells of changes from now on.
    #[must_use]
    pub fn subscribe(&self) -> Changes {
        let mailbox = Arc::new(Mailbox::default());
        let mut state = lock(&self.inner.state);
        lock(&mailbox.keys).ended = state.ended;
        state.subscribers.push(Arc::downgrade(&mailbox));
        Changes { mailbox }
    }

    /// The store's revision that it reflects; zero before the first lists are complete.
    #[must_use]
    pub fn revision(&self) -> u64 {
        *self.inner.reached.borrow()
    }

    /// Since when the store cannot be reached, or has taken no write that anybody here knows of: when it was last heard of, not
    /// when that was noticed. `None` while it is well.
    #[must_use]
    pub fn lost_since(&self) -> Option<Timestamp> {
        let away = lock(&self.inner.state).lost_since;
        // What is not written reaches nobody: a store that is only read is lost as well.
        let proven = self.inner.store.health().lost_since();
        let proven = proven.map(|at| {
            let now = self.inner.clock.now();
            now.checked_sub(at.elapsed()).unwrap_or(now)
        });
        [away, proven].into_iter().flatten().min()
    }

    /// Every release that has a key in here.
    #[must_use]
    pub fn releases(&self) -> Vec<ReleaseKey> {
        lock(&self.inner.state).releases.keys().cloned().collect()
    }

    /// How many they are.
    #[must_use]
    pub fn release_count(&self) -> usize {
        lock(&self.inner.state).releases.len()
    }

    /// Whether the release has a key in here.
    #[must_use]
    pub fn has_release(&self, release: &ReleaseKey) -> bool {
        lock(&self.inner.state).releases.contains_key(release)
    }
}

impl Inner {
    /// Lists and watches, again and again.
    async fn follow(&self, store: &SharedStore) {
        let mut backoff = Backoff::for_store();
        loop {
            match self.list_then_watch(store, &mut backoff).await {
                // Nothing is wrong with the store; only the changes are gone.
                Ok(()) | Err(StoreError::Compacted { .. }) => {
                    tracing::debug!(prefixes = ?self.prefixes, "listing again");
                }
                Err(error) => {
                    self.lost(&error);
                    tokio::time::sleep(backoff.next()).await;
                }
            }
        }
    }

    async fn list_then_watch(
        &self,
        store: &SharedStore,
        backoff: &mut Backoff,
    ) -> Result<(), StoreError> {
        let from = self.list(store).await?;
        backoff.reset();
        let mut changes: Watch = store.watch(common(&self.prefixes), from + 1).await?;
        while let Some(batch) = changes.next().await {
            self.apply(batch?);
        }
        // The store was closed; pause before the next attempt, which will say so.
        tokio::time::sleep(backoff.next()).await;
        Ok(())
    }

    /// Replaces everything by what the store has now; returns the revision from which to watch.
    async fn list(&self, store: &SharedStore) -> Result<u64, StoreError> {
        let mut found = BTreeMap::new();
        // The lists are of different revisions: the watch begins after the oldest and brings the others up.
        let mut listed = Vec::with_capacity(self.prefixes.len());
        for prefix in &self.prefixes {
            let listing = store.list(prefix).await?;
            listed.push(listing.revision);
            for entry in listing.entries {
                found.insert(entry.key.clone(), Arc::new(entry));
            }
        }
        let from = listed.iter().copied().min().unwrap_or(1);
        let mut state = lock(&self.state);
        let gone = state
            .entries
            .keys()
            .filter(|key| !found.contains_key(*key))
            .cloned();
        let mut changed: Vec<String> = gone.collect();
        for (key, entry) in &found {
            let before = state.entries.get(key).map(|entry| entry.revision);
            if before != Some(entry.revision) {
                changed.push(key.clone());
            }
        }
        state.releases.clear();
        for release in found.keys().filter_map(|key| ReleaseKey::of(key)) {
            *state.releases.entry(release).or_default() += 1;
        }
        state.entries = found;
        state.listed = listed;
        self.found(&mut state);
        state.tell(&changed);
        // A restored backup may be behind what was seen; what the store says now counts.
        self.reached.send_replace(from.max(1));
        drop(state);
        Ok(from)
    }

    fn apply(&self, batch: Vec<Change>) {
        let mut state = lock(&self.state);
        state.heard = Some(tokio::time::Instant::now());
        let mut changed = Vec::with_capacity(batch.len());
        let mut last = 0;
        for change in batch {
            last = last.max(change.revision());
            let ours = self
                .prefixes
                .iter()
                .zip(&state.listed)
                .any(|(prefix, listed)| {
                    change.key().starts_with(prefix) && change.revision() > *listed
                });
            if ours && state.apply(&change) {
                changed.push(change.key().to_owned());
            }
        }
        state.tell(&changed);
        drop(state);
        self.reached.send_if_modified(|reached| {
            let newer = last > *reached;
            *reached = last.max(*reached);
            newer
        });
    }

    /// Asks for a sign of life from time to time.
    async fn probe(&self, store: &SharedStore) {
        let mut ticks = tokio::time::interval(PROBE);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let asked = store.get(common(&self.prefixes));
            match tokio::time::timeout(ANSWER, asked).await {
                // What it refuses to tell us, it still answers.
                Ok(Ok(_) | Err(StoreError::Refused(_))) => self.found(&mut lock(&self.state)),
                Ok(Err(error)) => self.lost(&error),
                Err(_) => {
                    let words = format!("it does not answer within {} s", ANSWER.as_secs());
                    self.lost(&StoreError::Unavailable(words));
                }
            }
        }
    }

    fn lost(&self, error: &StoreError) {
        let mut state = lock(&self.state);
        if state.lost_since.is_none() {
            // Whoever counts from here must not count from when a call gave up.
            let silent = state.heard.map(|heard| heard.elapsed()).unwrap_or_default();
            let now = self.clock.now();
            state.lost_since = Some(now.checked_sub(silent).unwrap_or(now));
            tracing::warn!(%error, "the store is lost; the last known state stays");
        }
    }

    fn found(&self, state: &mut State) {
        state.heard = Some(tokio::time::Instant::now());
        if let Some(since) = state.lost_since.take() {
            tracing::info!(%since, "the store is back");
        }
    }

    fn end(&self) {
        let mut state = lock(&self.state);
        state.ended = true;
        for mailbox in state
            .subscribers
            .drain(..)
            .filter_map(|weak| weak.upgrade())
        {
            lock(&mailbox.keys).ended = true;
            mailbox.arrived.notify_one();
        }
    }
}

impl State {
    /// Whether anything is different now. What a list already showed is not applied again.
    fn apply(&mut self, change: &Change) -> bool {
        let before = self.entries.get(change.key()).map(|entry| entry.revision);
        if before.is_some_and(|before| before >= change.revision()) {
            return false;
        }
        let release = ReleaseKey::of(change.key());
        match change {
            Change::Put(entry) => {
                self.entries
                    .insert(entry.key.clone(), Arc::new(entry.clone()));
                if let (None, Some(release)) = (before, release) {
                    *self.releases.entry(release).or_default() += 1;
                }
                true
            }
            Change::Deleted { key, .. } => {
                let existed = self.entries.remove(key).is_some();
                if let (true, Some(release)) = (existed, release) {
                    self.uncount(&release);
                }
                existed
            }
        }
    }

    fn uncount(&mut self, release: &ReleaseKey) {
        if let Some(count) = self.releases.get_mut(release) {
            *count -= 1;
            if *count == 0 {
                self.releases.remove(release);
            }
        }
    }

    fn tell(&mut self, changed: &[String]) {
        if changed.is_empty() {
            return;
        }
        self.subscribers.retain(|weak| {
            let Some(mailbox) = weak.upgrade() else {
                return false;
            };
            lock(&mailbox.keys).keys.extend(changed.iter().cloned());
            mailbox.arrived.notify_one();
            true
        });
    }
}

impl Changes {
    /// The keys that changed since the last call, each once; `None` after the end. Dropping the call loses nothing.
    pub async fn next(&mut self) -> Option<Vec<String>> {
        loop {
            {
                let mut waiting = lock(&self.mailbox.keys);
                if !waiting.keys.is_empty() {
                    return Some(std::mem::take(&mut waiting.keys).into_iter().collect());
                }
                if waiting.ended {
                    return None;
                }
            }
            self.mailbox.arrived.notified().await;
        }
    }
}

/// The longest common beginning.
fn common(prefixes: &[String]) -> &str {
    let Some((first, rest)) = prefixes.split_first() else {
        return fm_api::keys::ROOT;
    };
    let mut length = first.len();
    for other in rest {
        let same = first.bytes().zip(other.bytes()).take_while(|(a, b)| a == b);
        length = length.min(same.count());
    }
    // Prefixes of ours are watched from our root, so that a leader sees its own lease go by.
    if first.starts_with(fm_api::keys::ROOT) && length >= fm_api::keys::ROOT.len() {
        return fm_api::keys::ROOT;
    }
    first.get(..length).unwrap_or_default()
}

/// An entry's value as a typed object.
///
/// # Errors
/// What is wrong with it, with its key.
pub fn decode<T: DeserializeOwned>(entry: &Entry) -> Result<T, String> {
    serde_json::from_slice(&entry.value).map_err(|error| format!("{}: {error}", entry.key))
}
