//! From two readings of a container to what its task used between them. Pure.

use std::collections::HashMap;

use fm_telemetry::usage::{Amount, TaskUsage};
use jiff::Timestamp;

/// The labels that mark a container of ours.
pub mod label {
    /// Docker's: the task.
    pub const TASK: &str = "com.docker.swarm.task.id";
    /// The release's namespace.
    pub const NAMESPACE: &str = "fridaymorning.dev/namespace";
    /// The release's name.
    pub const RELEASE: &str = "fridaymorning.dev/release";
    /// The release's uid.
    pub const UID: &str = "fridaymorning.dev/uid";
    /// The revision.
    pub const REVISION: &str = "fridaymorning.dev/revision";
}

/// A container of ours.
#[derive(Debug, Clone, PartialEq)]
pub struct Container {
    /// `namespace/name`.
    pub release: String,
    /// The release's uid.
    pub uid: String,
    revision: String,
    task: String,
    /// Processors and bytes that it may use; absent: as much as there is.
    pub limits: (Option<f64>, Option<f64>),
}

impl Container {
    /// From its labels; `None` when it is no task of ours.
    #[must_use]
    pub fn of(labels: &HashMap<String, String>) -> Option<Self> {
        let get = |name: &str| labels.get(name).filter(|text| !text.is_empty()).cloned();
        Some(Self {
            release: format!("{}/{}", get(label::NAMESPACE)?, get(label::RELEASE)?),
            uid: get(label::UID)?,
            revision: get(label::REVISION)?,
            task: get(label::TASK)?,
            limits: (None, None),
        })
    }

    /// Docker's own numbers: billionths of a processor, and bytes; zero is no limit.
    #[must_use]
    pub fn limited(mut self, nano_cpus: i64, memory: i64) -> Self {
        let positive = |value: i64| (value > 0).then_some(value as f64);
        self.limits = (positive(nano_cpus).map(|nano| nano / 1e9), positive(memory));
        self
    }
}

/// What Docker said of a container at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// When Docker read it.
    pub at: Timestamp,
    /// Nanoseconds of processor time since its start.
    pub cpu: u64,
    /// Bytes of memory, the page cache among them.
    pub memory: u64,
    /// … of which the kernel can drop at once: files nobody used for a while.
    pub droppable: u64,
}

/// What the task used between two readings; `None` if no time passed, or if the second is of another process.
#[must_use]
pub fn usage(container: &Container, before: Reading, now: Reading) -> Option<TaskUsage> {
    let passed = now.at.duration_since(before.at).as_secs_f64();
    if passed < 0.1 {
        return None;
    }
    let busy = now.cpu.checked_sub(before.cpu)? as f64 / 1e9;
    let (cpus, bytes) = container.limits;
    Some(TaskUsage {
        release: container.release.clone(),
        uid: container.uid.clone(),
        revision: container.revision.clone(),
        task: container.task.clone(),
        at: now.at,
        cpu: Amount {
            used: busy / passed,
            limit: cpus,
        },
        memory: Amount {
            used: now.memory.saturating_sub(now.droppable) as f64,
            limit: bytes,
        },
    })
}

/// How much of a container's memory can be dropped, by Docker's names: `total_inactive_file` with version 1 of the
/// kernel's control groups, `inactive_file` with version 2.
#[must_use]
pub fn droppable(stats: &HashMap<String, u64>) -> u64 {
    let known = ["total_inactive_file", "inactive_file"];
    known
        .iter()
        .find_map(|name| stats.get(*name))
        .copied()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours() -> Container {
        let labels = [
            (label::TASK, "t1"),
            (label::NAMESPACE, "default"),
            (label::RELEASE, "shop"),
            (label::UID, "u"),
            (label::REVISION, "r1"),
        ];
        let owned = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Container::of(&owned.into()).unwrap()
    }

    fn reading(ms: i64, cpu: u64, memory: u64) -> Reading {
        Reading {
            at: Timestamp::from_millisecond(ms).unwrap(),
            cpu,
            memory,
            droppable: 24,
        }
    }

    #[test]
    fn shares_are_of_the_limit_and_there_is_none_without_a_limit() {
        let before = reading(1_000, 1_000_000_000, 0);
        let now = reading(6_000, 2_000_000_000, 1024);
        let limited = ours().limited(500_000_000, 2000);
        let used = usage(&limited, before, now).unwrap();
        assert_eq!((used.cpu.used, used.cpu.share()), (0.2, Some(0.4)));
        assert_eq!((used.memory.used, used.memory.share()), (1000.0, Some(0.5)));
        let used = usage(&ours().limited(0, 0), before, now).unwrap();
        assert_eq!((used.cpu.share(), used.memory.share()), (None, None));
        assert_eq!(used.cpu.used, 0.2);
    }

    #[test]
    fn a_reading_that_does_not_follow_says_nothing() {
        for (now, why) in [
            (reading(1_000, 2, 0), "no time passed"),
            (reading(500, 2, 0), "the clock was put back"),
            (reading(6_000, 0, 0), "the process is another one"),
        ] {
            assert_eq!(usage(&ours(), reading(1_000, 1, 0), now), None, "{why}");
        }
    }

    #[test]
    fn strangers_are_not_measured() {
        let mut labels: HashMap<String, String> =
            [(label::TASK.to_owned(), "t1".to_owned())].into();
        assert_eq!(Container::of(&labels), None);
        labels.insert(label::NAMESPACE.to_owned(), String::new());
        assert_eq!(Container::of(&labels), None);
    }

    #[test]
    fn both_kinds_of_control_groups_are_understood() {
        let stats = |names: &[(&str, u64)]| {
            let owned = names
                .iter()
                .map(|(name, value)| ((*name).to_owned(), *value));
            owned.collect::<HashMap<_, _>>()
        };
        let v1 = stats(&[("inactive_file", 1), ("total_inactive_file", 7)]);
        assert_eq!(droppable(&v1), 7);
        assert_eq!(droppable(&stats(&[("inactive_file", 3)])), 3);
        assert_eq!(droppable(&stats(&[])), 0);
    }
}
