//! What people are told of it.

use fm_api::experiment::{BASELINE, SideResult, SideTarget};

use fm_api::verdict::Decision;

use super::super::draft::Draft;
use super::super::phrases::clock;
use super::super::why::{ExperimentUp, Why};
use super::{until, verdict};

/// How it does, where stable is what the spec asks for.
pub(in super::super) fn why(draft: &Draft<'_>) -> Option<Why> {
    let experiment = draft.target.experimenting()?;
    let names = |result: Option<SideResult>| -> Vec<String> {
        let sides = experiment.sides.iter();
        let candidates = sides.filter(|side| side.name != BASELINE);
        let these = candidates.filter(|side| side.outcome.as_ref().map(|o| o.result) == result);
        these.map(|side| side.name.clone()).collect()
    };
    Some(Why::Experiment(Box::new(ExperimentUp {
        stable: draft.name(&experiment.stable),
        until: until(experiment),
        shared: experiment.shared(),
        good: names(Some(SideResult::Good)),
        harms: names(Some(SideResult::Harms)),
        failed: names(Some(SideResult::Failed)),
        open: names(None),
    })))
}

/// A candidate that harms and still has its share, since nothing moves.
pub(in super::super) fn harm(draft: &Draft<'_>) -> Option<String> {
    let mut sides = draft.target.experimenting()?.sides.iter();
    sides.find_map(|side| {
        let verdict = verdict(draft, side).filter(|_| side.shared)?;
        (verdict.decision == Decision::Rollback)
            .then(|| format!("{}: {}", side.name, verdict.sentence))
    })
}

/// One sentence on a side as it is now.
pub(in super::super) fn says(draft: &Draft<'_>, side: &SideTarget) -> String {
    if let Some(outcome) = &side.outcome {
        return outcome.why.clone();
    }
    match verdict(draft, side) {
        Some(verdict) => verdict.sentence.clone(),
        None if side.revision.is_none() => "its image is being resolved".to_owned(),
        None if !side.shared => {
            "its tasks start; the shares are given once all sides are up".to_owned()
        }
        None if side.name == BASELINE => "the candidates are compared with it".to_owned(),
        None => "it is not judged yet".to_owned(),
    }
}

impl ExperimentUp {
    pub(in super::super) fn sentence(&self) -> String {
        let named = |names: &[String], what: &str| {
            (!names.is_empty()).then(|| format!("{} {what}", names.join(", ")))
        };
        let parts: Vec<String> = [
            named(&self.good, "good"),
            named(&self.harms, "harmful"),
            named(&self.failed, "failed"),
            named(&self.open, "undecided"),
        ]
        .into_iter()
        .flatten()
        .collect();
        let stands = match (self.shared, self.until) {
            (false, _) => "its sides start".to_owned(),
            (true, None) => "its shares are put in force".to_owned(),
            (true, Some(until)) => format!("until {} at most", clock(until)),
        };
        format!(
            "{} serves, and an experiment runs beside it, {stands}: {}",
            self.stable,
            parts.join("; ")
        )
    }
}
