//! Experiments: what a user writes of one, and what promotion remembers of it inside the target.
//!
//! Sides are revisions beside the normal shares, like previews; each has a fixed range of the 10,000 buckets. What must
//! never happen: two sides with one range, or a side that gains what another one loses.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::criteria::Analysis;
use crate::keys::RevisionId;
use crate::quantity::{Span, Weight};
use crate::target::AnalysisTarget;
use crate::workload::Workload;

/// The name of the side that the others are compared with.
pub const BASELINE: &str = "baseline";
/// Sides that an experiment has at most, the baseline among them: HAProxy looks at each range of a route in turn.
pub const MOST: usize = 8;

/// Several candidates at once, each with a share, compared with a baseline that is started with them. It runs once for
/// each change of this section, and promotes nothing by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Experiment {
    /// How long the shares are given at most; less where each candidate is decided before.
    #[serde(default = "one_hour")]
    pub duration: Span,
    /// Tasks of each side.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1000))]
    pub replicas: u32,
    /// Stable's workload, started anew: what the candidates are compared with.
    pub baseline: Baseline,
    /// What is tried.
    #[schemars(length(min = 1, max = 7))]
    pub candidates: Vec<Candidate>,
}

/// Stable's workload, started anew with the candidates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Baseline {
    /// Its share in percent.
    pub weight: Weight,
}

/// Stable's workload with a difference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Candidate {
    /// Its name, for people and for `frctl rollout promote --candidate`.
    pub name: String,
    /// Its share in percent.
    pub weight: Weight,
    /// Another image; absent: the one that stable runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Environment variables that are added or replaced.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 256))]
    pub env: BTreeMap<String, String>,
}

impl Candidate {
    /// The workload with this candidate's difference.
    #[must_use]
    pub fn applied(&self, workload: &Workload) -> Workload {
        let mut workload = workload.clone();
        if let Some(image) = &self.image {
            workload.image.clone_from(image);
        }
        workload.env.extend(self.env.clone());
        workload
    }
}

impl Experiment {
    /// The candidate of this name.
    #[must_use]
    pub fn candidate(&self, name: &str) -> Option<&Candidate> {
        self.candidates.iter().find(|one| one.name == name)
    }

    /// The criteria for one of several candidates: each false alarm's probability is divided by their number, and other
    /// systems are not asked.
    #[must_use]
    pub fn criteria(&self, analysis: &Analysis) -> Analysis {
        let mut criteria = analysis.clone();
        // At most seven.
        let many = f64::from(u32::try_from(self.candidates.len().max(1)).unwrap_or(u32::MAX));
        criteria.metrics.clear();
        criteria.errors.rollback.alpha /= many;
        criteria.errors.promote.alpha /= many;
        criteria.errors.client_errors.alpha /= many;
        criteria.latency.rollback.alpha /= many;
        criteria.latency.promote.alpha /= many;
        criteria
    }
}

/// An experiment that runs, or ran last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExperimentTarget {
    /// As it was written.
    pub plan: Experiment,
    /// What makes its revisions its own: the target's generation when it began.
    pub number: u64,
    /// The revision it runs beside, and whose workload its sides are made of.
    pub stable: RevisionId,
    /// When it was asked for.
    pub began: Timestamp,
    /// Who asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The target's generation that last changed its shares; 0: none were given yet.
    #[serde(default)]
    pub shares_generation: u64,
    /// Since when the shares are in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// The baseline, then the candidates as they are written.
    pub sides: Vec<SideTarget>,
    /// When and why it ended; its sides have no shares then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
}

/// One side of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SideTarget {
    /// `baseline`, or the candidate's name.
    pub name: String,
    /// Its share, where it has one: its place among the ranges stays when it has none.
    pub weight: Weight,
    /// Its revision, once its image is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<RevisionId>,
    /// What its tasks run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Requests are led to it.
    #[serde(default)]
    pub shared: bool,
    /// What analysis must judge of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub analysis: Option<AnalysisTarget>,
    /// How it came out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<SideOutcome>,
}

/// How a side came out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SideOutcome {
    /// In one word.
    pub result: SideResult,
    /// When.
    pub at: Timestamp,
    /// One sentence with the evidence.
    pub why: String,
}

/// How a side came out, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SideResult {
    /// Not worse than the baseline by every criterion.
    Good,
    /// It harms: its share was taken back at once.
    Harms,
    /// Neither was shown in time.
    Inconclusive,
    /// It never became ready, or its image is not known.
    Failed,
}

/// When and why an experiment ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ended {
    /// When.
    pub at: Timestamp,
    /// One sentence.
    pub why: String,
}

impl ExperimentTarget {
    /// Where each side's range of the buckets ends, in order. Ranges stay where they are when a side loses its own.
    #[must_use]
    pub fn ranges(&self) -> Vec<(u16, &SideTarget)> {
        let mut end = 0_u16;
        let mut ranges = Vec::new();
        for side in &self.sides {
            end = end.saturating_add(side.weight.basis_points()).min(10_000);
            ranges.push((end, side));
        }
        ranges
    }

    /// The side of this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&SideTarget> {
        self.sides.iter().find(|side| side.name == name)
    }

    /// The same, to be changed.
    pub fn named_mut(&mut self, name: &str) -> Option<&mut SideTarget> {
        self.sides.iter_mut().find(|side| side.name == name)
    }

    /// The side of this revision.
    #[must_use]
    pub fn side(&self, revision: &RevisionId) -> Option<&SideTarget> {
        let mut sides = self.sides.iter();
        sides.find(|side| side.revision.as_ref() == Some(revision))
    }

    /// What is compared with it.
    #[must_use]
    pub fn baseline(&self) -> Option<&SideTarget> {
        self.sides.first()
    }

    /// Whether any requests are led to any side.
    #[must_use]
    pub fn shared(&self) -> bool {
        self.ended.is_none() && self.sides.iter().any(|side| side.shared)
    }

    /// What analysis judges now: each candidate that has a share, by its name.
    pub fn trials(&self) -> impl Iterator<Item = (&str, &AnalysisTarget)> {
        let mut sides: &[SideTarget] = &self.sides;
        if self.ended.is_some() {
            sides = &[];
        }
        let judged = sides.iter().filter(|side| side.shared);
        judged.filter_map(|side| Some((side.name.as_str(), side.analysis.as_ref()?)))
    }

    /// The candidate's share of what it and the baseline have together.
    #[must_use]
    pub fn of_both(&self, candidate: &RevisionId) -> Weight {
        let points = |side: Option<&SideTarget>| {
            let shared = side.filter(|side| side.shared);
            shared.map_or(0, |side| u32::from(side.weight.basis_points()))
        };
        let (mine, base) = (points(self.side(candidate)), points(self.baseline()));
        if mine == 0 || base == 0 {
            return Weight::ZERO;
        }
        let share = mine * 10_000 / (mine + base);
        // Less than 10,000, for the baseline has some.
        Weight::from_basis_points(u16::try_from(share).unwrap_or(0).clamp(1, 9_999))
    }
}

/// An experiment, for people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExperimentStatus {
    /// The baseline, then the candidates.
    pub sides: Vec<SideStatus>,
    /// Since when the shares are in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Until when at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// When and why it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
}

/// A side, for people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SideStatus {
    /// `baseline`, or the candidate's name.
    pub name: String,
    /// Its share as wanted now.
    pub weight: Weight,
    /// Its revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<RevisionId>,
    /// The image as the user wrote it.
    pub image: String,
    /// Tasks wanted.
    pub replicas: u32,
    /// Tasks ready in Swarm.
    pub ready: u32,
    /// What is said of it now, with the evidence.
    pub says: String,
    /// How it came out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<SideResult>,
}

const fn one() -> u32 {
    1
}
const fn one_hour() -> Span {
    Span::secs(3600)
}
