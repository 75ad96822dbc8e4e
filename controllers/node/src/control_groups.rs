//! What a container uses, read from the kernel's control groups.
//!
//! Three small files of the kernel, where one answer of Docker's may take a second: so it is read once a second. Only
//! where the container's process is seen from here; a daemon that runs in a container of its own asks Docker instead.
//! What must never happen: the numbers of another process taken for the container's.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::plan::{Reading, droppable};

/// Where the kernel shows what is read here.
#[derive(Debug, Clone)]
pub(crate) struct Kernel {
    processes: PathBuf,
    groups: PathBuf,
}

impl Default for Kernel {
    fn default() -> Self {
        Self {
            processes: "/proc".into(),
            groups: "/sys/fs/cgroup".into(),
        }
    }
}

/// A container's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Group {
    /// Version 1: a hierarchy for each resource.
    First { cpu: PathBuf, memory: PathBuf },
    /// Version 2: one folder.
    Second(PathBuf),
}

impl Kernel {
    /// The groups of the container with this id, whose first process this is; `None` if they cannot be read from here.
    pub(crate) fn group(&self, pid: i64, id: &str) -> Option<Group> {
        let text = fs::read_to_string(self.processes.join(format!("{pid}/cgroup"))).ok()?;
        let place = |controller: &str| {
            let line = text.lines().find(|line| controls(line, controller))?;
            let path = line.splitn(3, ':').nth(2)?.strip_prefix('/')?;
            // Numbers of processes are used again: the id in the path is the container's own.
            let its_own = path.contains(id) && !path.split('/').any(|part| part == "..");
            its_own.then(|| path.to_owned())
        };
        let group = match (place("cpuacct"), place("memory")) {
            (Some(cpu), Some(memory)) => Group::First {
                cpu: self.groups.join("cpuacct").join(cpu),
                memory: self.groups.join("memory").join(memory),
            },
            _ => Group::Second(self.groups.join(place("")?)),
        };
        group.read(Timestamp::UNIX_EPOCH).map(|_| group)
    }
}

/// Whether a line of `/proc/<pid>/cgroup`, `number:controllers:path`, speaks of a controller; version 2 names none.
fn controls(line: &str, controller: &str) -> bool {
    let mut fields = line.splitn(3, ':').skip(1);
    let named = fields.next().unwrap_or_default();
    named.split(',').any(|name| name == controller)
}

impl Group {
    /// What it used until now; `None` once it is gone.
    pub(crate) fn read(&self, now: Timestamp) -> Option<Reading> {
        let (cpu, memory, stat) = match self {
            Group::First { cpu, memory } => (
                number(&cpu.join("cpuacct.usage"))?,
                number(&memory.join("memory.usage_in_bytes"))?,
                table(&memory.join("memory.stat"))?,
            ),
            Group::Second(folder) => (
                // Microseconds.
                *table(&folder.join("cpu.stat"))?.get("usage_usec")? * 1000,
                number(&folder.join("memory.current"))?,
                table(&folder.join("memory.stat"))?,
            ),
        };
        Some(Reading {
            at: now,
            cpu,
            memory,
            droppable: droppable(&stat),
        })
    }
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Lines of a name and a number.
fn table(path: &Path) -> Option<HashMap<String, u64>> {
    let text = fs::read_to_string(path).ok()?;
    let pairs = text.lines().filter_map(|line| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    });
    Some(pairs.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4bf1c0ffee";

    /// A kernel with one process, and its files.
    fn kernel(cgroup: &str, files: &[(&str, &str)]) -> (tempfile::TempDir, Kernel) {
        let dir = tempfile::tempdir().unwrap();
        let kernel = Kernel {
            processes: dir.path().join("proc"),
            groups: dir.path().join("cgroup"),
        };
        let all = std::iter::once(("proc/77/cgroup".to_owned(), cgroup));
        let files = (files.iter()).map(|(name, text)| (format!("cgroup/{name}"), *text));
        for (name, text) in all.chain(files) {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        (dir, kernel)
    }

    fn expected() -> Reading {
        Reading {
            at: Timestamp::UNIX_EPOCH,
            cpu: 2_000_000,
            memory: 4096,
            droppable: 96,
        }
    }

    #[test]
    fn both_versions_of_control_groups_are_read() {
        let (_dir, first) = kernel(
            "5:cpu,cpuacct:/docker/4bf1c0ffee\n4:memory:/docker/4bf1c0ffee\n0::/docker/4bf1c0ffee\n",
            &[
                ("cpuacct/docker/4bf1c0ffee/cpuacct.usage", "2000000\n"),
                ("memory/docker/4bf1c0ffee/memory.usage_in_bytes", "4096\n"),
                (
                    "memory/docker/4bf1c0ffee/memory.stat",
                    "inactive_file 1\ntotal_inactive_file 96\n",
                ),
            ],
        );
        let folder = "system.slice/docker-4bf1c0ffee.scope";
        let (_dir2, second) = kernel(
            "0::/system.slice/docker-4bf1c0ffee.scope\n",
            &[
                (
                    &format!("{folder}/cpu.stat"),
                    "usage_usec 2000\nuser_usec 1500\n",
                ),
                (&format!("{folder}/memory.current"), "4096\n"),
                (
                    &format!("{folder}/memory.stat"),
                    "anon 4000\ninactive_file 96\n",
                ),
            ],
        );
        for kernel in [first, second] {
            let group = kernel.group(77, ID).unwrap();
            assert_eq!(group.read(Timestamp::UNIX_EPOCH), Some(expected()));
        }
    }

    #[test]
    fn what_is_not_the_containers_is_not_read() {
        let files = [
            ("x/cpu.stat", "usage_usec 2000\n"),
            ("x/memory.current", "4096\n"),
            ("x/memory.stat", "inactive_file 96\n"),
        ];
        for (cgroup, why) in [
            ("0::/x\n", "the process is another one"),
            ("0::/../x/4bf1c0ffee\n", "it lies outside of what is seen"),
            ("0::/4bf1c0ffee\n", "there are no files"),
            ("", "the kernel says nothing"),
        ] {
            let (_dir, kernel) = kernel(cgroup, &files);
            assert_eq!(kernel.group(77, ID), None, "{why}");
            assert_eq!(kernel.group(78, ID), None, "there is no such process");
        }
    }
}
