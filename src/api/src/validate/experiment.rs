//! Experiments: shares that fit, names that tell sides apart, and something to compare.

use std::collections::BTreeSet;

use crate::experiment::{BASELINE, Experiment};
use crate::problem::Problem;
use crate::quantity::Span;
use crate::release::ReleaseSpec;

use super::image;
use super::meaning::{MONTH, span};

const PATH: &str = "spec.experiment";

/// Everything that is wrong with an experiment of the right shape.
pub(super) fn problems(found: &mut Vec<Problem>, experiment: &Experiment, spec: &ReleaseSpec) {
    let least = Span::secs(1);
    span(
        found,
        format!("{PATH}.duration"),
        experiment.duration,
        least,
        MONTH,
    );
    if spec.routes.is_empty() {
        found.push(
            Problem::new(PATH, "there are no routes, so there are no shares to give")
                .allowed("routes, or no experiment"),
        );
    }
    if spec.strategy.preview.is_some() {
        found.push(
            Problem::new(
                PATH,
                "under `preview` nothing is stable, so there is no baseline",
            )
            .allowed("`canary` or `blueGreen`, or no experiment"),
        );
    }
    shares(found, experiment);
    let mut names = BTreeSet::from([BASELINE]);
    for (index, candidate) in experiment.candidates.iter().enumerate() {
        let path = format!("{PATH}.candidates[{index}]");
        if !names.insert(&candidate.name) {
            found.push(
                Problem::new(format!("{path}.name"), "another side has this name")
                    .allowed("a name that tells it apart"),
            );
        }
        if candidate.image.is_none() && candidate.env.is_empty() {
            found.push(
                Problem::new(path.clone(), "it is the same as the baseline")
                    .allowed("an `image`, or `env`"),
            );
        }
        if let Some(wrong) = candidate.image.as_deref().and_then(image::wrong) {
            found.push(
                Problem::new(format!("{path}.image"), wrong).allowed("a reference to an image"),
            );
        }
    }
}

fn shares(found: &mut Vec<Problem>, experiment: &Experiment) {
    let candidates = experiment.candidates.iter().map(|one| one.weight);
    let all = candidates.chain([experiment.baseline.weight]);
    let sum: u32 = all.map(|weight| u32::from(weight.basis_points())).sum();
    if sum > 10_000 {
        let sum = f64::from(sum) / 100.0;
        found.push(
            Problem::new(PATH, format!("its shares sum to {sum} %"))
                .allowed("at most 100 % together"),
        );
    }
}
