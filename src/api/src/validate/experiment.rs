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

/// What is refused where it is newly written: sides that are the same, and shares that leave stable nothing.
pub(super) fn refused_today(experiment: &Experiment, spec: &ReleaseSpec) -> Vec<Problem> {
    let mut found = Vec::new();
    let workload = &spec.workload;
    let sides: Vec<_> = experiment
        .candidates
        .iter()
        .map(|candidate| candidate.applied(workload))
        .collect();
    for (index, side) in sides.iter().enumerate() {
        let path = format!("{PATH}.candidates[{index}]");
        let earlier = sides.iter().zip(&experiment.candidates).take(index);
        let same = earlier.filter(|(other, _)| *other == side);
        let same = same.map(|(_, other)| other.name.as_str()).next();
        let other = if side == workload {
            Some("the baseline, which runs what spec.workload says")
        } else {
            same
        };
        if let Some(other) = other {
            found.push(
                Problem::new(path, format!("it is the same as {other}")).allowed(
                    "another `image`, an `env` that differs, or no experiment once it has ended",
                ),
            );
        }
    }
    if sum(experiment) == 10_000 {
        found.push(
            Problem::new(
                PATH,
                "its shares sum to 100 %: stable would stand idle, and the sides alone would carry every request",
            )
            .allowed("less than 100 % together"),
        );
    }
    found
}

fn sum(experiment: &Experiment) -> u32 {
    let candidates = experiment.candidates.iter().map(|one| one.weight);
    let all = candidates.chain([experiment.baseline.weight]);
    all.map(|weight| u32::from(weight.basis_points())).sum()
}

fn shares(found: &mut Vec<Problem>, experiment: &Experiment) {
    let sum = sum(experiment);
    if sum > 10_000 {
        let sum = f64::from(sum) / 100.0;
        found.push(
            Problem::new(PATH, format!("its shares sum to {sum} %"))
                .allowed("at most 100 % together"),
        );
    }
}
