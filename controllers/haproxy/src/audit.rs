//! Requests that HAProxy dropped without an answer and without a line in its log, found in its own counters.
//!
//! HAProxy 2.6 does that where a server closes without an answer on a request that is not a connection's first and may not, or
//! no longer, be tried again. A backend has counted each request that it was given (`stot`), each that ended in any other way
//! (`req_tot`), and those under way (`scur`): what is missing was dropped. The three are read one after the other while
//! requests go on, so only what two readings show counts. It is a failure of the revision whose backend it is; where requests are
//! mirrored, of the canary's answers to copies, which are then all that it gets by the split ([`crate::config`]).
//!
//! What must never happen: a request counted here that a line tells of, or one counted twice.

use std::collections::BTreeMap;

use fm_api::keys::{ReleaseKey, RevisionId};
use fm_api::quantity::Weight;
use fm_telemetry::Handle;
use fm_telemetry::record::{Mode, SplitRecord};
use tokio::time::{Duration, Instant};

use crate::maps::{Entries, Map};
use crate::runtime::Client;
use crate::state::Running;

/// How often the counters are read; twice that is how long a dropped request stays unknown at most, while a rollout runs.
const EVERY: Duration = Duration::from_millis(400);

/// Between readings.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    asked: Option<Instant>,
    worker: Option<u32>,
    books: BTreeMap<String, Book>,
}

/// Whose backend it is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Owner {
    release: ReleaseKey,
    revision: RevisionId,
    /// All that it gets are copies.
    copies: bool,
}

/// What is known of one backend.
#[derive(Debug)]
struct Book {
    owner: Owner,
    /// Dropped before it was ours to count.
    before: u64,
    /// Dropped by the last reading.
    last: u64,
    /// Told so far.
    told: u64,
}

impl Audit {
    /// Reads HAProxy's counters when it is time, and counts what was dropped. No answer is none: it is asked again.
    pub(crate) async fn look(
        &mut self,
        client: &mut Client,
        worker: Option<u32>,
        running: &Running,
        handle: &Handle,
    ) {
        if self.asked.is_some_and(|at| at.elapsed() < EVERY) {
            return;
        }
        self.asked = Some(Instant::now());
        // In the moment of a reload it may not be known whose counters these are.
        let (Some(worker), Some(split)) = (worker, running.maps.get(&Map::Split)) else {
            return;
        };
        let Ok(answers) = client.run(&["show stat -1 2 -1".to_owned()]).await else {
            return;
        };
        let seen = answers
            .first()
            .map(|text| dropped(text))
            .unwrap_or_default();
        for (owner, more) in self.take(worker, &owners(split), &seen) {
            tracing::info!(release = %owner.release, revision = %owner.revision, more, "HAProxy dropped requests without an answer");
            handle.silent(&owner.release, &owner.revision, more, owner.copies);
        }
    }

    /// Takes in a reading; gives what it adds.
    fn take(
        &mut self,
        worker: u32,
        owners: &BTreeMap<String, Owner>,
        seen: &BTreeMap<String, u64>,
    ) -> Vec<(Owner, u64)> {
        // A new worker has counted nothing before: all of it is new. Of one that was there before us nothing is.
        let fresh = self
            .worker
            .replace(worker)
            .is_some_and(|before| before != worker);
        if fresh {
            self.books.clear();
        }
        self.books.retain(|name, _| owners.contains_key(name));
        let mut more = Vec::new();
        for (name, owner) in owners {
            let Some(now) = seen.get(name).copied() else {
                continue;
            };
            let known = self.books.get_mut(name).filter(|book| book.owner == *owner);
            let Some(book) = known else {
                let before = if fresh { 0 } else { now };
                let book = Book {
                    owner: owner.clone(),
                    before,
                    last: now,
                    told: 0,
                };
                self.books.insert(name.clone(), book);
                continue;
            };
            let sure = now.min(book.last).saturating_sub(book.before);
            book.last = now;
            if let Some(added) = sure.checked_sub(book.told).filter(|added| *added > 0) {
                book.told = sure;
                more.push((owner.clone(), added));
            }
        }
        more
    }
}

/// Whose backends there are, by the split in force. Previews stand in no comparison.
fn owners(split: &Entries) -> BTreeMap<String, Owner> {
    let mut all = BTreeMap::new();
    for record in split.values().filter_map(|text| SplitRecord::parse(text)) {
        let owner = |revision: &RevisionId, copies| Owner {
            release: record.release.clone(),
            revision: revision.clone(),
            copies,
        };
        if record.mode == Mode::Preview {
            continue;
        }
        if let (Some(backend), Some(revision)) = (&record.canary_backend, &record.canary) {
            all.insert(
                backend.clone(),
                owner(revision, record.mirror > Weight::ZERO),
            );
        }
        all.insert(record.stable_backend.clone(), owner(&record.stable, false));
    }
    all
}

/// Reads `show stat` of backends (CSV): how many requests each has dropped in silence.
fn dropped(text: &str) -> BTreeMap<String, u64> {
    let mut lines = text.lines();
    let header = lines.next().unwrap_or("").trim_start_matches("# ");
    let column = |name: &str| header.split(',').position(|column| column == name);
    let columns = [
        column("pxname"),
        column("stot"),
        column("req_tot"),
        column("scur"),
    ];
    let [Some(name), Some(given), Some(ended), Some(open)] = columns else {
        return BTreeMap::new();
    };
    let read = |line: &str| -> Option<(String, u64)> {
        // Names are ours and numbers need no quotes; what could stand in quotes comes later in the line.
        let field: Vec<&str> = line.split(',').collect();
        let number = |index: usize| field.get(index)?.parse::<u64>().ok();
        let (given, ended, open) = (number(given)?, number(ended)?, number(open)?);
        let missing = given.saturating_sub(ended).saturating_sub(open);
        Some(((*field.get(name)?).to_owned(), missing))
    };
    lines.filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(audit: &mut Audit, worker: u32, owner: &str, now: u64) -> u64 {
        let owner = Owner {
            release: ReleaseKey::new("default", "shop"),
            revision: RevisionId::new(owner),
            copies: false,
        };
        let owners = BTreeMap::from([("r0_a".to_owned(), owner)]);
        let seen = BTreeMap::from([("r0_a".to_owned(), now)]);
        let more = audit.take(worker, &owners, &seen);
        more.iter().map(|(_, more)| more).sum()
    }

    #[test]
    fn what_two_readings_show_is_told_once() {
        let mut audit = Audit::default();
        for (worker, owner, now, wanted, why) in [
            (1, "a", 7, 0, "from before us"),
            (1, "a", 9, 0, "one reading shows it"),
            (1, "a", 9, 2, "two do"),
            (1, "a", 9, 0, "it was told"),
            (1, "a", 12, 0, "a request that just ended"),
            (1, "a", 9, 0, "… is none"),
            (1, "a", 8, 0, "never less than told"),
            (1, "a", 11, 0, "one reading"),
            (1, "a", 12, 2, "the surer of both"),
            (2, "a", 1, 0, "a new worker begins at nothing"),
            (2, "a", 3, 1, "and all of it is new"),
            (2, "a", 3, 2, "told of both workers"),
            (2, "b", 5, 0, "another revision's backend"),
            (2, "b", 6, 0, "one reading"),
            (2, "b", 6, 1, "two"),
        ] {
            assert_eq!(told(&mut audit, worker, owner, now), wanted, "{why}: {now}");
        }
    }

    #[test]
    fn what_neither_ended_nor_is_under_way_was_dropped() {
        let text = "# pxname,svname,qcur,qmax,scur,smax,slim,stot,req_tot\n\
            r0_a,BACKEND,0,0,2,3,4,10,5\nr0_b,BACKEND,0,0,2,3,4,1,5\nx\n";
        let all = dropped(text);
        assert_eq!(
            all.into_iter().collect::<Vec<_>>(),
            [("r0_a".to_owned(), 3), ("r0_b".to_owned(), 0)]
        );
        assert!(dropped("Permission denied").is_empty());
    }
}
