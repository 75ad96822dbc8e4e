//! Counters of every agent, and what was counted since the last look.
//!
//! Pure: the agents are asked elsewhere ([`fm_telemetry::Pulls`]).
//! What must never happen: a request counted twice, or an hour of stable's past taken for one batch.

use std::collections::{BTreeMap, BTreeSet};

use fm_api::target::AnalysisTarget;
use fm_telemetry::Pulled;
use fm_telemetry::counters::{Counters, Snapshot};
use serde::{Deserialize, Serialize};

use crate::evidence::{Lines, Tally};
use crate::reach::{Asked, Both, Take};

/// What was last read of each agent, for one run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Readings {
    /// By instance.
    pub instances: BTreeMap<String, Reading>,
    /// Log lines lost in this run, as far as known.
    pub lost_lines: i64,
}

/// What was last read of one agent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reading {
    /// The process and its start.
    pub epoch: String,
    /// The canary's counters.
    pub canary: Counters,
    /// Stable's counters.
    pub stable: Counters,
    /// Lost lines.
    pub lost: u64,
    /// Lines that came.
    #[serde(default)]
    pub lines: u64,
}

/// What was counted since the last look.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Seen {
    /// By the canary.
    pub canary: Tally,
    /// By stable.
    pub stable: Tally,
    /// The log lines that this rests on, of all releases.
    pub lines: Lines,
    /// Why some agent's counters could not be read.
    pub unseen: Option<String>,
}

impl Readings {
    /// Takes in a pull.
    ///
    /// An agent seen for the first time in a run only sets the mark: what it counted before belongs to no batch. An agent
    /// that began a new epoch has counted everything since then within the run, so all of it is new. `mirrored`: of each
    /// side only the requests that both were asked. `takes`: how each agent's counters are taken in, whole where it does not say.
    pub fn take(
        &mut self,
        release: &str,
        target: &AnalysisTarget,
        pulled: &Pulled,
        mirrored: bool,
        takes: &BTreeMap<String, Take>,
    ) -> Seen {
        let bad = &target.criteria.errors.bad;
        let (mut canary, mut stable) = (Tally::default(), Tally::default());
        let (mut unseen, mut lines) = (None, Lines::default());
        if pulled.answers.is_empty() {
            unseen = Some("no haproxy agent is there to ask".to_owned());
        }
        let mut taken = BTreeSet::new();
        for answer in &pulled.answers {
            match answer {
                // Their epochs would take turns, and each turn would count everything anew.
                Ok(snapshot) if !taken.insert(&snapshot.instance) => {
                    unseen = Some(format!("two agents call themselves {}", snapshot.instance));
                }
                Ok(snapshot) => {
                    let take = takes.get(&snapshot.instance).copied();
                    let without = match take.unwrap_or(Take::Whole) {
                        Take::Whole => [false, false],
                        Take::Without(sides) => sides,
                        Take::Later => continue,
                    };
                    let (c, s, log) = self.difference(release, target, snapshot);
                    // Each by itself: one of them may know no kinds.
                    let tally = |counters: Counters, without| match (mirrored, without) {
                        (true, false) => Tally::of_mirrored(&counters, bad),
                        (true, true) => Tally::of_mirrored(&counters, bad)
                            .without_unanswered(&counters.mirrored, bad),
                        (false, false) => Tally::of(counters, bad),
                        (false, true) => {
                            let outcomes = counters.outcomes.clone();
                            Tally::of(counters, bad).without_unanswered(&outcomes, bad)
                        }
                    };
                    let [canary_without, stable_without] = without;
                    canary.merge(&tally(c, canary_without));
                    stable.merge(&tally(s, stable_without));
                    lines.add(log);
                }
                Err(error) => unseen = Some(error.to_string()),
            }
        }
        Seen {
            canary,
            stable,
            lines,
            unseen,
        }
    }

    /// What each agent has counted since the last look, as far as it tells of who was reached. One that is seen for the first
    /// time in the run has counted nothing yet.
    #[must_use]
    pub fn asked(
        &self,
        release: &str,
        target: &AnalysisTarget,
        pulled: &Pulled,
        mirrored: bool,
    ) -> BTreeMap<String, Both> {
        let nothing = Counters::default();
        // Of two of one name the first counts.
        let answers = pulled.answers.iter().rev().flatten();
        let asked = answers.map(|snapshot| {
            let last = self.instances.get(&snapshot.instance);
            let side = |revision: &str, of: fn(&Reading) -> &Counters| {
                let Some(last) = last else {
                    return Asked::default();
                };
                let revisions = snapshot.releases.get(release);
                let now = revisions.and_then(|all| all.get(revision));
                let now = now.unwrap_or(&nothing);
                let last = match last.epoch == snapshot.epoch {
                    true => of(last),
                    false => &nothing,
                };
                let (now, last) = match mirrored {
                    true => (&now.mirrored, &last.mirrored),
                    false => (&now.outcomes, &last.outcomes),
                };
                now.since(last)
                    .map_or_else(|| Asked::of(now), |since| Asked::of(&since))
            };
            let both = [
                side(target.canary.as_str(), |reading| &reading.canary),
                side(target.stable.as_str(), |reading| &reading.stable),
            ];
            (snapshot.instance.clone(), both)
        });
        asked.collect()
    }

    fn difference(
        &mut self,
        release: &str,
        target: &AnalysisTarget,
        snapshot: &Snapshot,
    ) -> (Counters, Counters, Lines) {
        let revisions = snapshot.releases.get(release);
        let nothing = Counters::default();
        let of = |revision: &str| {
            revisions
                .and_then(|revisions| revisions.get(revision))
                .unwrap_or(&nothing)
        };
        let (canary, stable) = (of(target.canary.as_str()), of(target.stable.as_str()));
        let (lost, came) = (signed(snapshot.log.lost), snapshot.log.lines);
        let Some(last) = self.instances.get_mut(&snapshot.instance) else {
            let reading = Reading {
                epoch: snapshot.epoch.clone(),
                canary: canary.clone(),
                stable: stable.clone(),
                lost: snapshot.log.lost,
                lines: came,
            };
            self.instances.insert(snapshot.instance.clone(), reading);
            return <(Counters, Counters, Lines)>::default();
        };
        if last.epoch != snapshot.epoch {
            // Begun anew: all that it has counted is new.
            *last = Reading {
                epoch: snapshot.epoch.clone(),
                ..Reading::default()
            };
        }
        let lines = Lines {
            came: came.saturating_sub(last.lines),
            lost: lost - signed(last.lost),
        };
        (last.lost, last.lines) = (snapshot.log.lost, came);
        let (canary, stable) = (last.canary.advance(canary), last.stable.advance(stable));
        self.lost_lines += lines.lost;
        (canary, stable, lines)
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
