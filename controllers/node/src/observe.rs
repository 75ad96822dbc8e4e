//! Asks Docker for the containers of this node and what they use.
//!
//! Docker answers for its own containers only, and each answer may take it a second: the questions are asked a few at a
//! time, each with a limit, and only for containers whose control groups cannot be read from here. Owner of what was
//! read last, by container.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bollard::errors::Error;
use bollard::models::{ContainerStatsResponse, ContainerSummary};
use bollard::query_parameters::{ListContainersOptionsBuilder, StatsOptionsBuilder};
use fm_api::keys::ReleaseKey;
use fm_api::target::Target;
use fm_runtime::decode;
use fm_store::SharedStore;
use fm_telemetry::usage::{NodeUsage, TaskUsage};
use futures_util::StreamExt;
use jiff::Timestamp;

use crate::control_groups::{Group, Kernel};
use crate::plan::{self, Container, Reading, label};

const LIMIT: Duration = Duration::from_secs(4);
/// Questions at once.
const AT_ONCE: usize = 8;

/// Docker on this node.
pub(crate) struct Docker {
    library: bollard::Docker,
    store: SharedStore,
    kernel: Kernel,
    known: HashMap<String, Known>,
    /// Containers that another store's daemon has made in the same Swarm.
    strangers: HashSet<String>,
    /// Why the last look saw nothing.
    problem: Option<String>,
}

/// A container of ours, and what was last read of it.
struct Known {
    container: Container,
    /// Where it can be read without Docker.
    group: Option<Group>,
    last: Option<Reading>,
    usage: Option<TaskUsage>,
}

impl Known {
    fn take(&mut self, now: Reading) {
        if let Some(before) = self.last {
            self.usage = plan::usage(&self.container, before, now).or(self.usage.take());
        }
        self.last = Some(now);
    }
}

impl Docker {
    /// Connects lazily.
    pub(crate) fn new(address: &str, store: SharedStore) -> Result<Self, Error> {
        let (seconds, version) = (LIMIT.as_secs(), bollard::API_DEFAULT_VERSION);
        let library = if address.starts_with("unix://") {
            bollard::Docker::connect_with_unix(address, seconds, version)?
        } else {
            bollard::Docker::connect_with_http(address, seconds, version)?
        };
        Ok(Self {
            library,
            store,
            kernel: Kernel::default(),
            known: HashMap::new(),
            strangers: HashSet::new(),
            problem: None,
        })
    }

    /// Looks for what has come and gone, and measures every task of ours on this node. One that cannot be read now keeps
    /// what was said of it before.
    pub(crate) async fn look(&mut self, instance: &str, now: Timestamp) -> NodeUsage {
        self.problem = self.measure().await.err().map(|error| error.to_string());
        if self.problem.is_some() {
            // What they use now is not known.
            self.known.clear();
        }
        self.again(instance, now).await
    }

    /// Measures again those that can be read without Docker.
    pub(crate) async fn again(&mut self, instance: &str, now: Timestamp) -> NodeUsage {
        self.read_groups(now).await;
        let mut tasks: Vec<TaskUsage> = (self.known.values())
            .filter_map(|known| known.usage.clone())
            .collect();
        tasks.sort_by(|a, b| a.task.cmp(&b.task));
        NodeUsage {
            instance: instance.to_owned(),
            tasks,
            problem: self.problem.clone(),
        }
    }

    /// A container without files has ended: the next look forgets it.
    async fn read_groups(&mut self, now: Timestamp) {
        let groups = (self.known.iter())
            .filter_map(|(id, known)| Some((id.clone(), known.group.clone()?)))
            .collect::<Vec<_>>();
        let read = move || {
            let readings = groups.into_iter();
            readings
                .filter_map(|(id, group)| Some((id, group.read(now)?)))
                .collect::<Vec<_>>()
        };
        for (id, reading) in tokio::task::spawn_blocking(read).await.unwrap_or_default() {
            if let Some(known) = self.known.get_mut(&id) {
                known.take(reading);
            }
        }
    }

    async fn measure(&mut self) -> Result<(), Error> {
        let running = self.running().await?;
        let ids: HashSet<String> = running.iter().map(|(id, _)| id.clone()).collect();
        self.known.retain(|id, _| ids.contains(id));
        self.strangers.retain(|id| ids.contains(id));
        for (id, container) in running {
            if !self.known.contains_key(&id) && !self.strangers.contains(&id) {
                match self.is_ours(&container).await {
                    Some(true) => {}
                    Some(false) => {
                        self.strangers.insert(id);
                        continue;
                    }
                    // The store does not answer: it is asked again at the next look.
                    None => continue,
                }
                // It may have ended since.
                if let Ok(known) = self.inspected(&id, container).await {
                    self.known.insert(id, known);
                }
            }
        }
        let asked = self.known.iter().filter(|(_, known)| known.group.is_none());
        let ids: Vec<String> = asked.map(|(id, _)| id.clone()).collect();
        let library = &self.library;
        let asked = ids.into_iter().map(|id| async move {
            let read = read(library, &id).await;
            (id, read)
        });
        let mut readings = futures_util::stream::iter(asked).buffer_unordered(AT_ONCE);
        let mut taken = Vec::new();
        while let Some((id, reading)) = readings.next().await {
            taken.push((id, reading));
        }
        drop(readings);
        for (id, reading) in taken {
            if let (Some(known), Some(now)) = (self.known.get_mut(&id), reading) {
                known.take(now);
            }
        }
        Ok(())
    }

    /// Running containers of ours.
    async fn running(&self) -> Result<Vec<(String, Container)>, Error> {
        let filters = HashMap::from([("label", vec![label::RELEASE, label::UID])]);
        let options = ListContainersOptionsBuilder::default()
            .filters(&filters)
            .build();
        let listed = self.library.list_containers(Some(options)).await?;
        let ours = |summary: ContainerSummary| {
            let container = Container::of(&summary.labels.unwrap_or_default())?;
            Some((summary.id?, container))
        };
        Ok(listed.into_iter().filter_map(ours).collect())
    }

    /// Whether this store's release made it; `None` while that is not known.
    async fn is_ours(&self, container: &Container) -> Option<bool> {
        let key: ReleaseKey = container.release.parse().ok()?;
        let entry = self.store.get(&key.target()).await.ok()?;
        let target = entry.and_then(|entry| decode::<Target>(&entry).ok());
        Some(target.is_some_and(|target| target.uid == container.uid))
    }

    /// Its limits, and where it can be read.
    async fn inspected(&self, id: &str, container: Container) -> Result<Known, Error> {
        let seen = self.library.inspect_container(id, None).await?;
        let limits = seen.host_config.unwrap_or_default();
        let (cpus, memory) = (limits.nano_cpus, limits.memory);
        let pid = seen.state.and_then(|state| state.pid);
        Ok(Known {
            container: container.limited(cpus.unwrap_or_default(), memory.unwrap_or_default()),
            group: pid.and_then(|pid| self.kernel.group(pid, id)),
            last: None,
            usage: None,
        })
    }
}

/// What a container used until now; `None` if it has ended, or Docker does not say so in time.
async fn read(docker: &bollard::Docker, id: &str) -> Option<Reading> {
    let options = StatsOptionsBuilder::default()
        .stream(false)
        .one_shot(true)
        .build();
    let mut answers = std::pin::pin!(docker.stats(id, Some(options)));
    let answer = tokio::time::timeout(LIMIT, answers.next()).await;
    reading(&answer.ok()??.ok()?)
}

fn reading(stats: &ContainerStatsResponse) -> Option<Reading> {
    let memory = stats.memory_stats.as_ref()?;
    let at = stats.read.as_ref()?.unix_timestamp_nanos();
    Some(Reading {
        at: Timestamp::from_nanosecond(at).ok()?,
        cpu: stats.cpu_stats.as_ref()?.cpu_usage.as_ref()?.total_usage?,
        memory: memory.usage?,
        droppable: memory.stats.as_ref().map_or(0, plan::droppable),
    })
}
