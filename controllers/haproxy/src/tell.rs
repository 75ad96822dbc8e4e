//! Writes reports into the store: one key for each release, only when it changed.
//!
//! The agent is the only writer of these keys. What must never happen: a generation told as in force that is not.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fm_api::edge::Accepted;
use fm_api::event::Severity;
use fm_api::keys::{self, ReleaseKey};
use fm_api::observed::{HaproxyObserved, Trouble, TroubleKind};
use fm_api::target::Target;
use fm_runtime::decode;
use fm_store::Txn;
use jiff::Timestamp;
use tokio::time::Instant;

use crate::agent::note;
use crate::alone;
use crate::desired::Desired;
use crate::report;
use crate::turn::Turn;

/// How often a report is written that differs in open connections alone.
const OPEN_EVERY: Duration = Duration::from_millis(500);

/// How long reports of one turn may keep the agent from looking again, where the store does not answer.
const LONGEST: Duration = Duration::from_secs(1);

/// How many troubles of one kind are told.
const MOST_TOLD: usize = 8;

impl Turn {
    /// Notes what was done without the store; tells it once the store is back and HAProxy has what it says.
    pub(crate) async fn tell_of_alone(&mut self, lost_since: Option<Timestamp>, now: Timestamp) {
        let targets: BTreeMap<&ReleaseKey, &Target> = self
            .inputs
            .targets()
            .map(|(key, target)| (key, target.as_ref()))
            .collect();
        if let Some(since) = lost_since {
            let each = targets.iter().map(|(key, target)| (*key, *target));
            self.alone.note(each, since, now);
            return;
        }
        let target = |key: &ReleaseKey| targets.get(key).copied();
        for (key, done, ended) in self.alone.tell(&self.instance, target, now) {
            let told = [
                (Severity::Warning, "ControlLossActed", done),
                (Severity::Normal, "ControlLossEnded", ended),
            ];
            for (severity, reason, message) in told {
                self.recorder
                    .record(Some(&key), severity, reason, message)
                    .await;
            }
        }
    }

    /// When to look again at the latest, while the store is away: a release may be to act alone by then.
    pub(crate) fn alone_due(&self) -> Option<Duration> {
        let since = self.cache.lost_since()?;
        let now = self.ctx.clock.now();
        let targets = self.inputs.targets().map(|(_, target)| target.as_ref());
        let due = alone::next_due(targets, since, now)?;
        Duration::try_from(due.duration_since(now)).ok()
    }

    /// Writes what is in force for each release where it changed.
    pub(crate) async fn report(&mut self, desired: &Desired, in_full: bool) {
        let problem = match (&self.processes, &self.told) {
            (Some(Err(words)), _) => Some(words.clone()),
            (_, Some(words)) if !in_full => Some(words.clone()),
            _ if self.running.is_none() => Some("HAProxy cannot be read yet".to_owned()),
            _ => None,
        };
        if self.inputs.hold.holds_store() {
            // That store knows nothing of what is in force here.
            return;
        }
        let bad: BTreeMap<&ReleaseKey, &String> = self.inputs.bad().collect();
        let wanted = report::Wanted::new(desired);
        let mut changed: Vec<(ReleaseKey, HaproxyObserved)> = Vec::new();
        for (key, target) in self.inputs.targets() {
            if self.inputs.hold.keeps(key) {
                continue;
            }
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
        // A store that is away would keep the agent waiting for each of them, and nothing of it would be known anyway.
        if self.cache.lost_since().is_some() {
            return;
        }
        let written = async {
            for (key, seen) in changed {
                self.write(key, seen).await;
            }
            self.remove_reports().await;
        };
        // What was not acknowledged is written again.
        let _ = tokio::time::timeout(LONGEST, written).await;
    }

    /// What is wrong although HAProxy answers: of each kind a few, so that what is told stays small.
    pub(crate) fn troubles(&self) -> Vec<Trouble> {
        let (certificates, left_out) = self.certificate_troubles();
        let of = [
            (TroubleKind::NoCertificate, left_out, None),
            (
                TroubleKind::Certificate,
                certificates,
                self.kept.keeps_the_gone(),
            ),
        ];
        let held = self.held.iter().map(|one| Trouble {
            kind: TroubleKind::Held,
            message: one.message.clone(),
            keeps: Some(one.word.clone()),
        });
        let mut all: Vec<Trouble> = held.chain(self.trouble_beside()).collect();
        for (kind, mut messages, keeps) in of {
            let more = messages.len().saturating_sub(MOST_TOLD);
            messages.truncate(MOST_TOLD);
            if more > 0 {
                messages.push(format!("and {more} more of the kind; frd's log names each"));
            }
            all.extend(messages.into_iter().map(|message| Trouble {
                kind,
                message,
                keeps: keeps.clone(),
            }));
        }
        all
    }

    /// What a person has said may be given up.
    pub(crate) async fn follow_accepted(&mut self) {
        let entry = self.cache.get(&keys::accepted(&self.instance));
        let word = entry.and_then(|entry| decode::<Accepted>(&entry).ok());
        let accepted = word.map(|word| word.kept).unwrap_or_default();
        self.give_up_certificates(&accepted);
        self.accept_beside(&accepted);
        self.inputs.look_at_the_held(&self.cache, &accepted);
        let held = self.inputs.hold.held(&self.instance, self.ctx.clock.now());
        if held == self.held {
            return;
        }
        for one in &held {
            tracing::warn!(problem = %one.message, "the store");
            let message = format!("{}: {}", self.instance, one.message);
            note(&self.recorder, Severity::Warning, "EdgeHolds", message).await;
        }
        if held.is_empty() {
            let message = format!("{} follows the store again in everything", self.instance);
            note(&self.recorder, Severity::Normal, "EdgeFollows", message).await;
        }
        self.held = held;
    }

    /// Somebody forgot this edge while it was cut off: it tells everything again.
    pub(crate) fn miss_reports(&mut self, changed: &[String]) {
        for text in changed {
            if let Some(key) = ReleaseKey::of(text)
                && *text == key.observed_haproxy(&self.instance)
                && self.cache.get(text).is_none()
            {
                self.written.remove(&key);
            }
        }
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
