//! What each agent counted since the last look. Pure.
//!
//! An agent seen for the first time only sets the mark: what it counted before belongs to no second. A new epoch has
//! counted everything since then, so all of it is new.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use fm_telemetry::counters::{Counters, Snapshot};
use fm_telemetry::endpoints::Endpoint;

use crate::model::{Sample, Series};

/// What was last read of each agent.
#[derive(Debug, Default)]
pub struct Marks {
    agents: BTreeMap<String, Mark>,
}

type Of<T> = BTreeMap<String, BTreeMap<String, T>>;

#[derive(Debug, Default)]
struct Mark {
    epoch: String,
    counters: Of<Counters>,
    servers: Of<BTreeMap<SocketAddr, Endpoint>>,
}

impl Marks {
    /// Takes in what the agents say now, and gives what is new. An agent that two answers claim counts once. `task` names
    /// the task behind a server; where it is not known, the server's address stands for it.
    pub fn take<'a>(
        &mut self,
        snapshots: impl IntoIterator<Item = &'a Snapshot>,
        task: impl Fn(&SocketAddr) -> Option<String>,
    ) -> BTreeMap<Series, Sample> {
        let mut new: BTreeMap<Series, Sample> = BTreeMap::new();
        let mut taken = BTreeSet::new();
        for snapshot in snapshots {
            if taken.insert(&snapshot.instance) {
                let known = self.agents.remove(&snapshot.instance);
                let first = known.is_none();
                let mut mark = known.unwrap_or_default();
                if mark.epoch != snapshot.epoch {
                    mark = Mark {
                        epoch: snapshot.epoch.clone(),
                        ..Mark::default()
                    };
                }
                let mut fresh = BTreeMap::new();
                mark.revisions(snapshot, &mut fresh);
                mark.servers(snapshot, &task, &mut fresh);
                self.agents.insert(snapshot.instance.clone(), mark);
                if first {
                    continue;
                }
                for (series, sample) in fresh {
                    new.entry(series).or_default().merge(&sample);
                }
            }
        }
        new.retain(|_, sample| !sample.is_empty());
        new
    }
}

impl Mark {
    fn revisions(&mut self, snapshot: &Snapshot, new: &mut BTreeMap<Series, Sample>) {
        let since = |known: Option<&Counters>, now: &Counters| {
            known.map_or_else(|| now.clone(), |before| now.since(before))
        };
        for (release, revision, counted) in news(&snapshot.releases, &mut self.counters, since) {
            let series = Series {
                release,
                revision,
                endpoint: None,
            };
            new.entry(series).or_default().merge(&counted.into());
        }
    }

    fn servers(
        &mut self,
        snapshot: &Snapshot,
        task: impl Fn(&SocketAddr) -> Option<String>,
        new: &mut BTreeMap<Series, Sample>,
    ) {
        let since = |known: Option<&BTreeMap<SocketAddr, Endpoint>>,
                     now: &BTreeMap<SocketAddr, Endpoint>| {
            let fresh = |(address, counted): (&SocketAddr, &Endpoint)| {
                let before = known.and_then(|known| known.get(address));
                let counted = before.map_or_else(|| counted.clone(), |b| counted.since(b));
                (*address, counted)
            };
            now.iter().map(fresh).collect::<BTreeMap<_, _>>()
        };
        for (release, revision, servers) in news(&snapshot.endpoints, &mut self.servers, since) {
            for (address, counted) in servers {
                let series = Series {
                    release: release.clone(),
                    revision: revision.clone(),
                    endpoint: Some(task(&address).unwrap_or_else(|| address.to_string())),
                };
                new.entry(series).or_default().merge(&counted.into());
            }
        }
    }
}

/// What of one kind is new, by release and revision. Whatever is as it was costs one comparison.
fn news<T: Clone + PartialEq>(
    now: &Of<T>,
    marked: &mut Of<T>,
    since: impl Fn(Option<&T>, &T) -> T,
) -> Vec<(String, String, T)> {
    // What an agent has forgotten begins at nothing when it comes back.
    marked.retain(|release, revisions| {
        let kept = now.get(release);
        revisions.retain(|revision, _| kept.is_some_and(|kept| kept.contains_key(revision)));
        kept.is_some()
    });
    let mut news = Vec::new();
    for (release, revisions) in now {
        let marked = marked.entry(release.clone()).or_default();
        for (revision, counted) in revisions {
            let known = marked.get(revision);
            if known != Some(counted) {
                news.push((release.clone(), revision.clone(), since(known, counted)));
                marked.insert(revision.clone(), counted.clone());
            }
        }
    }
    news
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(instance: &str, epoch: &str, requests: u64) -> Snapshot {
        let of = |value| BTreeMap::from([("r1".to_owned(), value)]);
        let counted = Counters {
            requests,
            ..Counters::default()
        };
        let server = Endpoint {
            requests,
            ..Endpoint::default()
        };
        let servers = BTreeMap::from([("10.0.0.1:80".parse().unwrap(), server)]);
        Snapshot {
            instance: instance.to_owned(),
            epoch: epoch.to_owned(),
            releases: BTreeMap::from([("default/shop".to_owned(), of(counted))]),
            endpoints: BTreeMap::from([(
                "default/shop".to_owned(),
                BTreeMap::from([("r1".to_owned(), servers)]),
            )]),
            ..Snapshot::default()
        }
    }

    fn requests(new: &BTreeMap<Series, Sample>, endpoint: Option<&str>) -> u64 {
        let of = |series: &&Series| series.endpoint.as_deref() == endpoint;
        let found = new.keys().filter(of);
        found.map(|series| new[series].requests).sum()
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
            let new = marks.take(&snapshots, |_| Some("task1".to_owned()));
            assert_eq!(requests(&new, None), wanted, "{why}");
            assert_eq!(requests(&new, Some("task1")), wanted, "{why}: its server");
        }
    }

    #[test]
    fn a_server_that_was_forgotten_begins_at_nothing_and_an_unknown_one_keeps_its_address() {
        let mut marks = Marks::default();
        let mut forgotten = says("a", "1", 100);
        forgotten.endpoints.clear();
        for (snapshot, wanted) in [
            (says("a", "1", 100), 0),
            (forgotten, 0),
            (says("a", "1", 102), 102),
        ] {
            let new = marks.take([&snapshot], |_| None);
            assert_eq!(requests(&new, Some("10.0.0.1:80")), wanted);
        }
    }
}
