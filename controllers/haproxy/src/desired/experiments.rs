//! Experiments: which buckets lead to which side. Pure.
//!
//! A side's record names stable's backend beside its own, so that a side without servers falls back to stable as a
//! canary does. What must never happen: a range that leads to a backend of another release or revision.

use fm_api::experiment::MOST;
use fm_api::quantity::{Span, Weight};
use fm_telemetry::record::{Mode, SplitRecord};

use super::{Desired, Input, Split, alone, backend, group_id, preview_group_id};
use crate::names;
use fm_api::target::Slot;

/// A range that leads nowhere: its requests stay with stable.
const NOBODY: &str = "-";

impl Desired {
    /// The ranges of the release's experiment, for each group of its routes.
    pub(super) fn add_experiment(&mut self, input: &Input<'_>, lost_for: Option<Span>) {
        let target = input.target;
        let Some(experiment) = target.experimenting() else {
            return;
        };
        // The rules are there before the first share is given: that is then one entry and no reload.
        self.ranges = self.ranges.max(experiment.sides.len().min(MOST));
        if !experiment.shared() || target.deleting || alone(target, lost_for) {
            return;
        }
        for route in &target.routes {
            let group = group_id(&target.uid, route);
            let Some(Split::Record(main)) = self.groups.get(&group).map(|g| g.split.clone()) else {
                continue;
            };
            let mut ranges = Vec::new();
            for (end, side) in experiment.ranges().into_iter().take(MOST) {
                let revision = side
                    .revision
                    .clone()
                    .filter(|id| side.shared && names::is_word(id.as_str()) && target.is_side(id));
                let own = revision.map(|revision| {
                    let group = preview_group_id(&target.uid, &revision, route);
                    (revision, group)
                });
                let own = own.filter(|(_, group)| self.groups.contains_key(group));
                let Some((revision, own)) = own else {
                    ranges.push((end, NOBODY.to_owned()));
                    continue;
                };
                let id = format!("x{}", names::hash10(&[&own, &group]));
                let record = SplitRecord {
                    mode: Mode::Random,
                    weight: Weight::FULL,
                    canary_backend: Some(backend(&own, Slot::A)),
                    canary: Some(revision),
                    generation: experiment.number,
                    ..main.clone()
                };
                self.previews.insert(id.clone(), Some(record));
                ranges.push((end, id));
            }
            // HAProxy reads as many fields as there are: the rest repeats the last end, below which nothing is left.
            let last = ranges.last().map_or(0, |(end, _)| *end);
            ranges.resize(MOST, (last, NOBODY.to_owned()));
            let fields: Vec<String> = ranges
                .iter()
                .map(|(end, id)| format!("{end}|{id}"))
                .collect();
            self.experiments
                .insert(main.stable_backend, fields.join("|"));
        }
    }
}
