//! How many events are kept: so many of a release, and so many in all. Beyond, the dullest go, of these the oldest.
//!
//! A warning outlives what was normal, but never takes all the room: a quarter is kept for what went well. One daemon does
//! it, the one that leads the API's work. What must never happen: events that fill the store.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use fm_api::event::{Event, Severity};
use fm_api::keys;
use fm_store::{Change, StoreError, Txn};
use jiff::Timestamp;

use crate::Context;
use crate::backoff::Backoff;

/// How often it is looked whether there are too many.
const LOOK: Duration = Duration::from_secs(1);
/// How many are removed together.
const AT_ONCE: usize = 100;

/// How many events are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// In all.
    pub all: usize,
    /// Of one release; those of no release together count as one.
    pub of_release: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            all: 10_000,
            of_release: 500,
        }
    }
}

/// The release that an event tells of: its namespace and name.
type Of = (String, String);

/// Every event, as far as the order needs it.
#[derive(Debug, Default)]
struct Shelf {
    events: BTreeMap<String, Known>,
    releases: HashMap<Of, usize>,
}

#[derive(Debug)]
struct Known {
    of: Of,
    warning: bool,
    seen: Timestamp,
}

impl Shelf {
    fn put(&mut self, key: &str, value: &[u8]) {
        self.remove(key);
        // What cannot be read is nothing to anybody, and goes first.
        let known = match serde_json::from_slice::<Event>(value) {
            Ok(event) => Known {
                warning: event.severity == Severity::Warning,
                seen: event.seen(),
                of: (event.namespace, event.name),
            },
            Err(_) => Known {
                of: Of::default(),
                warning: false,
                seen: Timestamp::MIN,
            },
        };
        *self.releases.entry(known.of.clone()).or_default() += 1;
        self.events.insert(key.to_owned(), known);
    }

    fn remove(&mut self, key: &str) {
        let Some(known) = self.events.remove(key) else {
            return;
        };
        if let Some(count) = self.releases.get_mut(&known.of) {
            *count -= 1;
            if *count == 0 {
                self.releases.remove(&known.of);
            }
        }
    }

    /// What must go, so that the rest is within the bounds.
    fn surplus(&self, bounds: Bounds) -> Vec<String> {
        let mut gone: Vec<&String> = Vec::new();
        for (of, count) in &self.releases {
            if *count > bounds.of_release {
                let own = self.events.iter().filter(|(_, known)| known.of == *of);
                gone.extend(beyond(bounds.of_release, own));
            }
        }
        if self.events.len() - gone.len() > bounds.all {
            let going: std::collections::BTreeSet<&String> = gone.iter().copied().collect();
            let rest = self.events.iter();
            let rest = rest.filter(|(key, _)| !going.contains(*key));
            gone.extend(beyond(bounds.all, rest));
        }
        gone.into_iter().cloned().collect()
    }
}

/// Which of these are too many: first what was normal, down to a quarter of the room, then warnings; the oldest first.
fn beyond<'a>(
    bound: usize,
    all: impl Iterator<Item = (&'a String, &'a Known)>,
) -> impl Iterator<Item = &'a String> {
    let (mut warnings, mut normal): (Vec<_>, Vec<_>) = all.partition(|(_, known)| known.warning);
    let excess = (warnings.len() + normal.len()).saturating_sub(bound);
    let dull = excess.min(normal.len().saturating_sub(bound / 4));
    let keep_newest = |list: &mut Vec<(&'a String, &'a Known)>, gone: usize| {
        list.sort_by_key(|(key, known)| (known.seen, *key));
        list.truncate(gone);
    };
    keep_newest(&mut normal, dull);
    keep_newest(&mut warnings, excess - dull);
    normal.into_iter().chain(warnings).map(|(key, _)| key)
}

/// Removes what is beyond the bounds while this process leads `leads`; until shutdown.
pub async fn keep_bounds(ctx: &Context, leads: &'static str, bounds: Bounds) {
    let mut backoff = Backoff::for_store();
    let work = async {
        loop {
            while !ctx.fitness.leads(leads) {
                tokio::time::sleep(LOOK).await;
            }
            match keep(ctx, leads, bounds, &mut backoff).await {
                Ok(()) | Err(StoreError::Compacted { .. }) => {}
                Err(error) => tracing::debug!(%error, "the events cannot be bounded yet"),
            }
            tokio::time::sleep(backoff.next()).await;
        }
    };
    let _: Option<std::convert::Infallible> = ctx.shutdown.run_until_cancelled(work).await;
}

/// Lists and follows the events, for as long as it leads and all goes well.
async fn keep(
    ctx: &Context,
    leads: &'static str,
    bounds: Bounds,
    backoff: &mut Backoff,
) -> Result<(), StoreError> {
    let prefix = keys::prefix("events");
    let listing = ctx.store.list(&prefix).await?;
    let mut shelf = Shelf::default();
    for entry in &listing.entries {
        shelf.put(&entry.key, &entry.value);
    }
    let next = listing.revision + 1;
    drop(listing);
    backoff.reset();
    let mut changes = ctx.store.watch(&prefix, next).await?;
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while ctx.fitness.leads(leads) {
        tokio::select! {
            _ = looks.tick() => remove(ctx, &shelf.surplus(bounds)).await?,
            batch = changes.next() => {
                let Some(batch) = batch else { return Ok(()) };
                for change in batch? {
                    match &change {
                        Change::Put(entry) => shelf.put(&entry.key, &entry.value),
                        Change::Deleted { key, .. } => shelf.remove(key),
                    }
                }
            }
        }
    }
    Ok(())
}

async fn remove(ctx: &Context, keys: &[String]) -> Result<(), StoreError> {
    for together in keys.chunks(AT_ONCE) {
        let txn = together
            .iter()
            .fold(Txn::new(), |txn, key| txn.delete(key.clone()));
        ctx.store.commit(txn).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(shelf: &mut Shelf, number: i64, name: &str, severity: Severity) {
        let event = Event {
            id: format!("{number:06}"),
            at: Timestamp::from_second(number).unwrap(),
            namespace: "default".to_owned(),
            name: name.to_owned(),
            severity,
            reason: "Told".to_owned(),
            message: String::new(),
            source: "test".to_owned(),
            count: 1,
            last_at: None,
        };
        shelf.put(&event.id, &serde_json::to_vec(&event).unwrap());
    }

    fn sweep(shelf: &mut Shelf, bounds: Bounds) -> Vec<String> {
        let gone = shelf.surplus(bounds);
        for key in &gone {
            shelf.remove(key);
        }
        gone
    }

    #[test]
    fn the_dullest_of_a_release_go_and_of_these_the_oldest() {
        let bounds = Bounds {
            all: 100,
            of_release: 8,
        };
        let mut shelf = Shelf::default();
        for number in 0..4 {
            put(&mut shelf, number, "a", Severity::Warning);
            put(&mut shelf, number + 10, "a", Severity::Normal);
            put(&mut shelf, number + 20, "b", Severity::Normal);
        }
        assert_eq!(sweep(&mut shelf, bounds), [""; 0]);
        put(&mut shelf, 30, "a", Severity::Warning);
        assert_eq!(sweep(&mut shelf, bounds), ["000010"]);
        for number in 31..40 {
            put(&mut shelf, number, "a", Severity::Warning);
        }
        // Two of what went well stay, whatever else happens.
        let gone = sweep(&mut shelf, bounds);
        assert_eq!(gone.len(), 9);
        assert_eq!(
            gone.iter()
                .filter(|key| *key < &"000020".to_owned() && *key > &"000009".to_owned())
                .count(),
            1
        );
        assert_eq!(shelf.releases.len(), 2);
        assert_eq!(shelf.events.len(), 12);
    }

    #[test]
    fn all_together_are_bounded_too_and_what_cannot_be_read_goes_first() {
        let bounds = Bounds {
            all: 20,
            of_release: 8,
        };
        let mut shelf = Shelf::default();
        for release in 0..5 {
            for number in 0..5 {
                let name = format!("r{release}");
                put(&mut shelf, 100 * number + release, &name, Severity::Normal);
            }
        }
        shelf.put("999999", b"no event");
        let gone = sweep(&mut shelf, bounds);
        assert_eq!(gone.len(), 6);
        assert_eq!(gone[0], "999999");
        assert!(
            gone[1..].iter().all(|key| key < &"000100".to_owned()),
            "{gone:?}"
        );
    }

    #[test]
    fn one_that_is_seen_again_is_not_counted_twice() {
        let mut shelf = Shelf::default();
        for _ in 0..5 {
            put(&mut shelf, 1, "a", Severity::Normal);
        }
        assert_eq!(shelf.releases.values().sum::<usize>(), 1);
        shelf.remove("000001");
        assert!(shelf.releases.is_empty());
    }
}
