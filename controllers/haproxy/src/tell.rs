//! Writes reports into the store: one key for each release, only when it changed.
//!
//! The agent is the only writer of these keys. What must never happen: a generation told as in force that is not.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fm_api::keys::ReleaseKey;
use fm_api::observed::HaproxyObserved;
use fm_store::Txn;
use tokio::time::Instant;

use crate::desired::Desired;
use crate::report;
use crate::turn::Turn;

/// How often a report is written that differs in open connections alone.
const OPEN_EVERY: Duration = Duration::from_millis(500);

impl Turn {
    /// Writes what is in force for each release where it changed.
    pub(crate) async fn report(&mut self, desired: &Desired, in_full: bool) {
        let problem = match (&self.processes, &self.told) {
            (Some(Err(words)), _) => Some(words.clone()),
            (_, Some(words)) if !in_full => Some(words.clone()),
            _ if self.running.is_none() => Some("HAProxy cannot be read yet".to_owned()),
            _ => None,
        };
        let bad: BTreeMap<&ReleaseKey, &String> = self.inputs.bad().collect();
        let wanted = report::Wanted::new(desired);
        let mut changed: Vec<(ReleaseKey, HaproxyObserved)> = Vec::new();
        for (key, target) in self.inputs.targets() {
            let before = self.written.get(key).filter(|seen| seen.uid == target.uid);
            let mut seen = match &self.running {
                Some(running) => report::report(key, target, &wanted, running, in_full, &self.down),
                None => before.cloned().unwrap_or_else(|| HaproxyObserved {
                    uid: target.uid.clone(),
                    ..HaproxyObserved::default()
                }),
            };
            if !in_full {
                seen.generation = before.map_or(0, |before| before.generation);
            }
            let unread = bad
                .get(key)
                .map(|words| format!("the target cannot be read: {words}"));
            let uncopied = target.mirroring().then(|| self.uncopied()).flatten();
            seen.problem = problem.clone().or(unread).or(seen.problem).or(uncopied);
            if before != Some(&seen) && !self.is_idle_change(before, &seen) {
                changed.push((key.clone(), seen));
            }
        }
        for (key, seen) in changed {
            self.write(key, seen).await;
        }
        self.remove_reports().await;
    }

    /// Why copies do not reach HAProxy, if they do not.
    fn uncopied(&self) -> Option<String> {
        let words = match &self.mirror {
            Ok(sender) => sender.trouble()?,
            Err(words) => words.clone(),
        };
        Some(format!("no request is mirrored: {words}"))
    }

    /// Whether only counts of open connections differ, and the last write was a moment ago.
    fn is_idle_change(&self, before: Option<&HaproxyObserved>, seen: &HaproxyObserved) -> bool {
        let Some(before) = before else { return false };
        let ended = seen.revisions.iter().any(|(id, revision)| {
            revision.open == 0 && before.revisions.get(id).is_some_and(|old| old.open > 0)
        });
        let without = |of: &HaproxyObserved| {
            let mut of = of.clone();
            of.revisions
                .values_mut()
                .for_each(|revision| revision.open = 0);
            of
        };
        !ended && without(before) == without(seen) && self.written_open.elapsed() < OPEN_EVERY
    }

    async fn write(&mut self, key: ReleaseKey, seen: HaproxyObserved) {
        let Ok(bytes) = serde_json::to_vec(&seen) else {
            return;
        };
        let txn = Txn::new().put(key.observed_haproxy(&self.instance), bytes);
        match self.ctx.store.commit(txn).await {
            Ok(_) => {
                self.written_open = Instant::now();
                self.written.insert(key, seen);
            }
            Err(error) => tracing::debug!(%error, %key, "a report could not be written"),
        }
    }

    async fn remove_reports(&mut self) {
        let here: BTreeSet<ReleaseKey> =
            self.inputs.targets().map(|(key, _)| key.clone()).collect();
        let gone: Vec<ReleaseKey> = self
            .written
            .keys()
            .filter(|key| !here.contains(key))
            .cloned()
            .collect();
        for key in gone {
            // Its servers and routes go first, and its report last.
            let txn = Txn::new().delete(key.observed_haproxy(&self.instance));
            if self.ctx.store.commit(txn).await.is_ok() {
                self.written.remove(&key);
            }
        }
    }
}
