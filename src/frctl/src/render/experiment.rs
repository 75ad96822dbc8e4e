//! An experiment: its sides, what each has and how it does. Pure.

use fm_api::experiment::{BASELINE, Experiment, ExperimentStatus, SideResult};
use fm_api::status::Status;

use super::frame::labelled;
use super::percent;
use crate::text::{Look, clean, count, image};

/// What an experiment would do, each a sentence.
pub(super) fn would_do(experiment: &Experiment) -> Vec<String> {
    let Experiment {
        duration,
        replicas,
        baseline,
        candidates,
    } = experiment;
    let mut what = vec![format!(
        "once a revision serves and no rollout runs: {} each of stable's workload and of {}, started together",
        count(u64::from(*replicas), "task"),
        count(candidates.len() as u64, "candidate")
    )];
    for candidate in candidates {
        let image = candidate.image.iter().map(|image| format!("image {image}"));
        let env = candidate.env.keys().map(|name| format!("another {name}"));
        let differs: Vec<String> = image.chain(env).collect();
        let weight = percent(candidate.weight);
        what.push(format!(
            "{}: {weight} of the requests, {}",
            candidate.name,
            differs.join(", ")
        ));
    }
    let weight = percent(baseline.weight);
    what.push(format!(
        "{BASELINE}: {weight} of the requests; each candidate is compared with it, for {duration} at most"
    ));
    what.push("harm takes a candidate out alone, and none is promoted by itself".to_owned());
    what.push("no rollout begins before it has ended".to_owned());
    what
}

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
