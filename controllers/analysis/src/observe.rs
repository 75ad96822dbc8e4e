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
    /// side only the requests that both were asked.
    pub fn take(
        &mut self,
        release: &str,
        target: &AnalysisTarget,
        pulled: &Pulled,
        mirrored: bool,
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
                    let (c, s, log) = self.difference(release, target, snapshot);
                    // Each by itself: one of them may know no kinds.
                    let tally = |counters: Counters| match mirrored {
                        true => Tally::of_mirrored(&counters, bad),
                        false => Tally::of(counters, bad),
                    };
                    canary.merge(&tally(c));
                    stable.merge(&tally(s));
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
