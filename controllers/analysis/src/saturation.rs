//! What both sides' tasks use of their limits, and what `guards.maxCpu` and `guards.maxMemory` make of it.
//!
//! Pure. Owner: the run, in memory: after a restart it is measured anew. A task counts with the mean of its measurements in the
//! guards' window, a side with its fullest task. What must never happen: a limit that cannot be checked taken for one that is kept.

use std::collections::{BTreeMap, VecDeque};

use fm_api::keys::RevisionId;
use fm_api::quantity::Weight;
use fm_api::target::AnalysisTarget;
use fm_telemetry::usage::{NodeUsage, TaskUsage};
use jiff::{SignedDuration, Timestamp};

/// Fewer moments of a task decide nothing: a single one may be a burst.
const ENOUGH: usize = 3;
/// Where a node must ask Docker it measures so often.
const EVERY: SignedDuration = SignedDuration::from_secs(5);
/// Measurements closer than this are one moment: most nodes measure each second.
const MOMENT: SignedDuration = SignedDuration::from_secs(4);

/// What was measured lately, by revision and task.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Saturation {
    tasks: BTreeMap<(RevisionId, String), VecDeque<Moment>>,
}

/// What was measured of one task in a few seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Moment {
    begin: Timestamp,
    last: Timestamp,
    count: u32,
    /// Sums of the shares.
    full: [Option<f64>; 2],
}

impl Moment {
    fn of(task: &TaskUsage) -> Self {
        Self {
            begin: task.at,
            last: task.at,
            count: 1,
            full: [task.cpu.share(), task.memory.share()],
        }
    }

    fn add(&mut self, task: &TaskUsage) {
        self.last = task.at;
        self.count += 1;
        for (sum, share) in (self.full.iter_mut()).zip([task.cpu.share(), task.memory.share()]) {
            *sum = sum.zip(share).map(|(sum, share)| sum + share);
        }
    }
}

/// What the guards make of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fullness {
    /// The canary is beyond a limit: the sentence.
    pub broken: Option<String>,
    /// Why nothing is promoted meanwhile.
    pub pending: Option<String>,
    /// Each guard that is set: its name, and whether it is broken.
    pub guards: Vec<(&'static str, bool)>,
}

/// One thing that has a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// Processors.
    Cpu,
    /// Memory.
    Memory,
}

impl Resource {
    const fn place(self) -> usize {
        match self {
            Resource::Cpu => 0,
            Resource::Memory => 1,
        }
    }
    const fn name(self) -> &'static str {
        match self {
            Resource::Cpu => "cpu",
            Resource::Memory => "memory",
        }
    }
    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Resource::Cpu => ("CPU", "guards.maxCpu"),
            Resource::Memory => ("memory", "guards.maxMemory"),
        }
    }
}

impl Saturation {
    /// Takes in what the nodes measured; each measurement once, and none of the warm-up.
    pub fn take(
        &mut self,
        release: &str,
        target: &AnalysisTarget,
        usage: &[NodeUsage],
        now: Timestamp,
    ) {
        let criteria = &target.criteria;
        let ours = [&target.canary, &target.stable];
        for task in usage.iter().flat_map(|node| &node.tasks) {
            let side = ours.into_iter().find(|side| side.as_str() == task.revision);
            let Some(side) = side.filter(|_| task.release == release) else {
                continue;
            };
            let warm = target.since.is_some_and(|since| {
                task.at.duration_since(since) >= criteria.warmup.0.to_signed()
            });
            let lately = self
                .tasks
                .entry((side.clone(), task.task.clone()))
                .or_default();
            match lately.back_mut() {
                _ if !warm => {}
                Some(moment) if task.at <= moment.last => {}
                Some(moment) if task.at.duration_since(moment.begin) < MOMENT => moment.add(task),
                _ => lately.push_back(Moment::of(task)),
            }
        }
        let window = criteria.guards.window.0.to_signed();
        self.tasks.retain(|(side, _), lately| {
            while let Some(oldest) = lately.front()
                && now.duration_since(oldest.last) > window
            {
                lately.pop_front();
            }
            ours.contains(&side) && !lately.is_empty()
        });
    }

    /// The share of its limit that a revision's fullest task used; `None`: too little was measured, or no task has a limit.
    #[must_use]
    pub fn fullest(&self, target: &AnalysisTarget, side: &RevisionId, of: Resource) -> Option<f64> {
        let window = target.criteria.guards.window.0.to_signed();
        let possible = window.as_secs() / EVERY.as_secs();
        let enough = usize::try_from(possible).unwrap_or(ENOUGH).clamp(1, ENOUGH);
        let mean = |lately: &VecDeque<Moment>| {
            let moments =
                (lately.iter()).filter_map(|moment| Some((moment.full[of.place()]?, moment.count)));
            let (many, sum, count) = moments
                .fold((0, 0.0, 0), |(many, sums, counts), (sum, count)| {
                    (many + 1, sums + sum, counts + count)
                });
            (many >= enough).then(|| sum / f64::from(count))
        };
        let tasks = self
            .tasks
            .iter()
            .filter(|((revision, _), _)| revision == side);
        tasks
            .filter_map(|(_, lately)| mean(lately))
            .reduce(f64::max)
    }

    /// What the guards make of it.
    #[must_use]
    pub fn judge(&self, target: &AnalysisTarget, weight: Weight) -> Fullness {
        let guards = &target.criteria.guards;
        let mut fullness = Fullness::default();
        for (of, limit) in [
            (Resource::Cpu, guards.max_cpu),
            (Resource::Memory, guards.max_memory),
        ] {
            let Some(limit) = limit else { continue };
            let (what, guard) = of.words();
            let canary = self.fullest(target, &target.canary, of);
            let stable = self.fullest(target, &target.stable, of);
            let limit_text = percent(limit);
            let mut broken = false;
            match canary {
                None => {
                    let wait = format!(
                        "the {what} that the canary's tasks use of their limit is not measured yet, which {guard} asks for"
                    );
                    fullness.pending.get_or_insert(wait);
                }
                // What stable does too is not the canary's doing; at full weight there is nobody to ask.
                Some(share) if share > limit => match stable.filter(|s| *s > limit) {
                    Some(stable) if weight < Weight::FULL => {
                        let wait = format!(
                            "a task of stable itself uses {} of its {what} limit, over {guard} of {limit_text}: nothing is promoted meanwhile",
                            percent(stable)
                        );
                        fullness.pending.get_or_insert(wait);
                    }
                    _ => {
                        broken = true;
                        let against = stable.map_or_else(String::new, |stable| {
                            format!(", stable's {}", percent(stable))
                        });
                        fullness.broken.get_or_insert(format!(
                            "the canary's fullest task used {} of its {what} limit in the last {}{against}: the limit, {guard}, is {limit_text}",
                            percent(share),
                            guards.window.0,
                        ));
                    }
                },
                Some(_) => {}
            }
            fullness.guards.push((of.name(), broken));
        }
        fullness
    }
}

fn percent(share: f64) -> String {
    format!("{} %", (share * 1000.0).round() / 10.0)
}

#[cfg(test)]
mod tests {
    use fm_api::criteria::Analysis;
    use fm_telemetry::usage::Amount;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    fn target() -> AnalysisTarget {
        let mut criteria = Analysis::default();
        criteria.guards.max_cpu = Some(0.9);
        let (canary, stable) = (RevisionId::new("bbbb"), RevisionId::new("aaaa"));
        let mut target = AnalysisTarget::new(&canary, &stable, "seed", &criteria);
        target.since = Some(at(0));
        target
    }

    fn uses(revision: &str, task: &str, second: i64, share: Option<f64>) -> TaskUsage {
        TaskUsage {
            release: "default/shop".into(),
            uid: "u".into(),
            revision: revision.into(),
            task: task.into(),
            at: at(second),
            cpu: Amount {
                used: share.unwrap_or(0.3) * 0.5,
                limit: share.map(|_| 0.5),
            },
            memory: Amount::default(),
        }
    }

    /// Measures so many times, five seconds apart, the same of each.
    fn after(tasks: &[(&str, &str, Option<f64>)], begin: i64, count: i64) -> Saturation {
        let (mut saturation, target) = (Saturation::default(), target());
        for second in (begin..).step_by(5).take(count as usize) {
            let tasks = tasks
                .iter()
                .map(|(revision, task, share)| uses(revision, task, second, *share));
            let usage = NodeUsage {
                instance: "n".into(),
                tasks: tasks.collect(),
                problem: None,
            };
            // Pulled more often than measured.
            for _ in 0..3 {
                saturation.take(
                    "default/shop",
                    &target,
                    std::slice::from_ref(&usage),
                    at(second),
                );
            }
        }
        saturation
    }

    #[test]
    fn a_guard_breaks_by_the_canarys_fullest_task_alone_and_unknown_is_not_kept() {
        let (hot, cool) = (Some(0.95), Some(0.2));
        let quarter = Weight::percent(25);
        for (tasks, begin, count, weight, broken, pending, why) in [
            (
                vec![("bbbb", "t1", cool)],
                20,
                3,
                quarter,
                false,
                false,
                "within",
            ),
            (
                vec![("bbbb", "t1", hot)],
                20,
                3,
                quarter,
                true,
                false,
                "beyond",
            ),
            (
                vec![("bbbb", "t1", hot), ("bbbb", "t2", cool)],
                20,
                3,
                quarter,
                true,
                false,
                "one of two",
            ),
            (
                vec![("bbbb", "t1", hot), ("aaaa", "t2", cool)],
                20,
                3,
                quarter,
                true,
                false,
                "stable is within",
            ),
            (
                vec![("bbbb", "t1", hot), ("aaaa", "t2", hot)],
                20,
                3,
                quarter,
                false,
                true,
                "so is stable",
            ),
            (
                vec![("bbbb", "t1", hot), ("aaaa", "t2", hot)],
                20,
                3,
                Weight::FULL,
                true,
                false,
                "nobody to ask",
            ),
            (
                vec![("bbbb", "t1", hot)],
                20,
                2,
                quarter,
                false,
                true,
                "too few",
            ),
            (
                vec![("bbbb", "t1", hot)],
                0,
                2,
                quarter,
                false,
                true,
                "still warming up",
            ),
            (
                vec![("bbbb", "t1", None)],
                20,
                9,
                quarter,
                false,
                true,
                "no limit",
            ),
            (
                vec![("aaaa", "t1", hot)],
                20,
                9,
                quarter,
                false,
                true,
                "nothing of the canary",
            ),
        ] {
            let full = after(&tasks, begin, count).judge(&target(), weight);
            assert_eq!(
                (full.broken.is_some(), full.pending.is_some()),
                (broken, pending),
                "{why}"
            );
            assert_eq!(full.guards, [("cpu", broken)], "{why}");
        }
        let without = AnalysisTarget {
            criteria: Analysis::default(),
            ..target()
        };
        let full = Saturation::default().judge(&without, quarter);
        assert_eq!(full, Fullness::default(), "no guard asks");
    }

    #[test]
    fn seconds_are_no_more_evidence_than_the_moments_that_they_make() {
        let (mut saturation, target) = (Saturation::default(), target());
        for (second, share, broken) in [
            // Three seconds of a burst are one moment.
            (20, 1.0, false),
            (21, 1.0, false),
            (22, 1.0, false),
            (23, 0.5, false),
            (24, 0.9, false),
            (27, 1.0, false),
            // The third moment: the mean of all seven is 0.914.
            (28, 1.0, true),
        ] {
            let usage = NodeUsage {
                tasks: vec![uses("bbbb", "t1", second, Some(share))],
                ..NodeUsage::default()
            };
            saturation.take("default/shop", &target, &[usage], at(second));
            let full = saturation.judge(&target, Weight::percent(25));
            assert_eq!(full.broken.is_some(), broken, "at second {second}");
        }
        let full = saturation.fullest(&target, &target.canary, Resource::Cpu);
        assert!((full.unwrap() - 6.4 / 7.0).abs() < 1e-9);
    }

    #[test]
    fn a_burst_that_is_over_is_forgotten_and_the_sentence_has_the_numbers() {
        let mut saturation = after(&[("bbbb", "t1", Some(0.95))], 20, 12);
        let full = saturation.judge(&target(), Weight::percent(25));
        assert_eq!(
            full.broken.unwrap(),
            "the canary's fullest task used 95 % of its CPU limit in the last 1m: the limit, guards.maxCpu, is 90 %"
        );
        let later = NodeUsage {
            tasks: vec![uses("bbbb", "t2", 200, Some(0.1))],
            ..NodeUsage::default()
        };
        saturation.take("default/shop", &target(), &[later], at(200));
        assert_eq!(saturation.tasks.len(), 1, "what has gone is forgotten");
        saturation.take("default/shop", &target(), &[], at(300));
        assert!(saturation.tasks.is_empty(), "silence is no measurement");
    }
}
