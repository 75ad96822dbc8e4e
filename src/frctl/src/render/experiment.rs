//! An experiment: its sides, what each has and how it does. Pure.

use fm_api::experiment::{BASELINE, ExperimentStatus, SideResult};
use fm_api::status::Status;

use super::frame::labelled;
use super::percent;
use crate::text::{Look, clean, image};

/// The sides, each with its share, its tasks and what is said of it.
pub(super) fn experiment(status: &Status, look: &Look) -> Vec<String> {
    let Some(experiment) = &status.experiment else {
        return Vec::new();
    };
    let mut lines = labelled("trial", &stands(experiment, look), look);
    for side in &experiment.sides {
        let result = match side.result {
            Some(SideResult::Good) => look.paint.green("good"),
            Some(SideResult::Harms) => look.paint.red("harms"),
            Some(SideResult::Failed) => look.paint.red("failed"),
            Some(SideResult::Inconclusive) => look.paint.yellow("inconclusive"),
            None => "undecided".to_owned(),
        };
        let result = if side.name == BASELINE && side.result.is_none() {
            BASELINE.to_owned()
        } else {
            format!("{}: {result}", side.name)
        };
        let text = format!(
            "{result}, {}, {}, {} of {} ready",
            percent(side.weight),
            image(&side.image),
            side.ready,
            side.replicas
        );
        lines.extend(labelled("", &text, look));
        lines.extend(labelled("", &clean(&side.says), look));
    }
    lines
}

fn stands(experiment: &ExperimentStatus, look: &Look) -> String {
    match (&experiment.ended, experiment.until) {
        (Some(ended), _) => format!("ended {}: {}", look.clock(ended.at), clean(&ended.why)),
        (None, Some(until)) => format!("runs until {} at most", look.clock(until)),
        (None, None) => "its sides start".to_owned(),
    }
}
