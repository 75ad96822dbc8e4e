//! What each agent counted since the last look. Pure.
//!
//! An agent seen for the first time only sets the mark: what it counted before belongs to no second. A new epoch has
//! counted everything since then, so all of it is new.

use std::collections::{BTreeMap, BTreeSet};

use fm_telemetry::counters::{Counters, Snapshot};

use crate::model::{Sample, Series};

/// What was last read of each agent.
#[derive(Debug, Default)]
pub struct Marks {
    agents: BTreeMap<String, Mark>,
}

#[derive(Debug)]
struct Mark {
    epoch: String,
    counters: BTreeMap<(String, String), Counters>,
}

impl Marks {
    /// Takes in what the agents say now, and gives what is new. An agent that two answers claim counts once.
    pub fn take(&mut self, snapshots: Vec<Snapshot>) -> BTreeMap<Series, Sample> {
        let mut new: BTreeMap<Series, Sample> = BTreeMap::new();
        let mut taken = BTreeSet::new();
        for snapshot in snapshots {
            if taken.insert(snapshot.instance.clone()) {
                self.difference(snapshot, &mut new);
            }
        }
        new.retain(|_, sample| !sample.is_empty());
        new
    }

    fn difference(&mut self, snapshot: Snapshot, new: &mut BTreeMap<Series, Sample>) {
        let last = self.agents.remove(&snapshot.instance);
        let mut counters = BTreeMap::new();
        for (release, revisions) in snapshot.releases {
            for (revision, counted) in revisions {
                let key = (release.clone(), revision);
                let since = match &last {
                    None => Counters::default(),
                    Some(last) if last.epoch == snapshot.epoch => last
                        .counters
                        .get(&key)
                        .map_or_else(|| counted.clone(), |before| counted.since(before)),
                    Some(_) => counted.clone(),
                };
                let series = Series {
                    release: key.0.clone(),
                    revision: key.1.clone(),
                    endpoint: None,
                };
                new.entry(series).or_default().merge(&since.into());
                counters.insert(key, counted);
            }
        }
        let epoch = snapshot.epoch;
        self.agents
            .insert(snapshot.instance, Mark { epoch, counters });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(instance: &str, epoch: &str, requests: u64) -> Snapshot {
        let counted = Counters {
            requests,
            ..Counters::default()
        };
        let revisions = BTreeMap::from([("r1".to_owned(), counted)]);
        Snapshot {
            instance: instance.to_owned(),
            epoch: epoch.to_owned(),
            releases: BTreeMap::from([("default/shop".to_owned(), revisions)]),
            ..Snapshot::default()
        }
    }

    fn requests(new: &BTreeMap<Series, Sample>) -> u64 {
        new.values().map(|sample| sample.requests).sum()
    }

    #[test]
    fn each_request_counts_once() {
        let mut marks = Marks::default();
        for (snapshots, wanted, why) in [
            (vec![says("a", "1", 100)], 0, "the first look sets the mark"),
            (vec![says("a", "1", 103)], 3, "what came since"),
            (vec![says("a", "1", 103)], 0, "nothing came"),
            (vec![], 0, "it did not answer"),
            (vec![says("a", "1", 105)], 2, "it answers again"),
            (vec![says("a", "2", 4)], 4, "a new epoch is new as a whole"),
            (
                vec![says("a", "2", 6), says("a", "9", 500)],
                2,
                "two claim one name",
            ),
            (
                vec![says("a", "2", 6), says("b", "1", 50)],
                0,
                "another agent",
            ),
            (vec![says("a", "2", 7), says("b", "1", 51)], 2, "both"),
            (
                vec![says("a", "2", 1), says("b", "1", 51)],
                1,
                "a forgotten revision begins again",
            ),
        ] {
            assert_eq!(requests(&marks.take(snapshots)), wanted, "{why}");
        }
    }
}
