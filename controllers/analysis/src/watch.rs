//! Looks at every release's tasks every ten seconds, names those that are worse than their siblings, and takes it back.
//!
//! Owner of `outliers/<ns>/<name>`, and in memory of the evidence. It costs a release at rest one look in ten seconds.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fm_api::criteria::Analysis;
use fm_api::event::Severity;
use fm_api::keys::ReleaseKey;
use fm_api::observed::SwarmObserved;
use fm_api::outlier::{Outlier, Outliers};
use fm_api::target::Target;
use fm_runtime::decode;
use fm_store::{Fence, StoreError};
use fm_telemetry::Pulled;
use jiff::{SignedDuration, Timestamp};

use crate::clusters::{Cell, Clusters};
use crate::history::History;
use crate::outliers::{BATCH, Finding, Watch};
use crate::{Analyst, act};

/// What another reader has pulled is as good.
const SHARED: SignedDuration = SignedDuration::from_millis(900);

/// The tasks of every release.
#[derive(Default)]
pub(crate) struct Watches(Mutex<HashMap<ReleaseKey, Watched>>);

struct Watched {
    uid: String,
    /// Another leader may have named others meanwhile.
    fence: Option<Fence>,
    watch: Watch,
    named: Vec<Outlier>,
    /// How stable's requests come in clusters. It begins anew with the process, and says little until it has seen some minutes.
    history: History<SocketAddr>,
    refusals: Refusals,
}

/// Stable's requests, and those refused as clients' mistakes, as last read of each agent.
#[derive(Default)]
struct Refusals(BTreeMap<String, (String, Cell)>);

impl Refusals {
    /// What is new of one revision.
    fn take(&mut self, release: &str, revision: &str, pulled: &Pulled) -> Option<Cell> {
        let mut sum: Option<Cell> = None;
        for snapshot in pulled.answers.iter().flatten() {
            let counters = snapshot
                .releases
                .get(release)
                .and_then(|all| all.get(revision));
            let Some(counters) = counters else { continue };
            let [_, _, _, _, refused, _] = counters.classes;
            let series = format!("{} {revision}", snapshot.epoch);
            let now = (series, (counters.requests, refused));
            let before = self.0.insert(snapshot.instance.clone(), now.clone());
            // Another revision or epoch only sets the mark.
            let (_, (n, k)) = before.filter(|before| before.0 == now.0).unwrap_or(now);
            let new = (
                counters.requests.saturating_sub(n),
                refused.saturating_sub(k),
            );
            let sum = sum.get_or_insert((0, 0));
            *sum = (sum.0 + new.0, sum.1 + new.1);
        }
        sum
    }
}

impl Watches {
    /// The release is gone.
    pub(crate) fn forget(&self, key: &ReleaseKey) {
        self.lock().remove(key);
    }

    /// The tasks that are named now.
    pub(crate) fn named(&self, key: &ReleaseKey) -> Vec<Outlier> {
        let all = self.lock();
        all.get(key)
            .map_or_else(Vec::new, |watched| watched.named.clone())
    }

    /// How stable's requests came in clusters lately, for a run that begins.
    pub(crate) fn seed(&self, key: &ReleaseKey, criteria: &Analysis) -> Clusters {
        let all = self.lock();
        all.get(key)
            .map_or_else(Clusters::default, |watched| watched.history.seed(criteria))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ReleaseKey, Watched>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    /// Takes in a batch, of all tasks for their comparison and of stable's for its history.
    fn take(&mut self, key: &ReleaseKey, target: &Target, pulled: &Pulled, now: Timestamp) {
        let release = key.to_string();
        let batch = self.watch.take(&release, pulled, now);
        let Some(stable) = target
            .traffic
            .as_ref()
            .map(|traffic| traffic.stable.as_str())
        else {
            return;
        };
        let refused = self.refusals.take(&release, stable, pulled);
        let named: Vec<SocketAddr> = (self.watch.findings().into_iter())
            .map(|found| found.address)
            .collect();
        let tasks = batch.get(stable).into_iter().flatten();
        let tasks = tasks.filter(|(address, _)| !named.contains(address));
        let tasks = tasks.map(|(address, did)| (*address, did));
        // Batches close by the clock, near enough to their time.
        let ms = u64::try_from(BATCH.as_millis()).unwrap_or(0);
        self.history.take(tasks, refused, ms);
    }
}

impl Analyst {
    /// Compares a release's tasks with each other, if it is time to. Gives when it is time again; `None`: nothing of it is routed.
    pub(crate) async fn siblings(
        &self,
        key: &ReleaseKey,
        target: &Target,
        fence: Option<&Fence>,
    ) -> Result<Option<Duration>, StoreError> {
        if target.traffic.is_none() {
            self.watches.forget(key);
            return Ok(None);
        }
        let now = self.ctx.clock.now();
        // Taken out, so that nothing is locked across a wait; a failure begins it anew from the store.
        let known = self.watches.lock().remove(key);
        let known = known.filter(|known| known.uid == target.uid && known.fence.as_ref() == fence);
        let mut watched = match known {
            Some(known) => known,
            None => self.begin(key, target, fence).await?,
        };
        let wait = watched.watch.due_in(now);
        let wait = if wait.is_zero() {
            let pulled = self.pulls.get(now, SHARED).await;
            watched.take(key, target, &pulled, now);
            self.name(key, target, fence, &mut watched, now).await?;
            watched.watch.due_in(now)
        } else {
            wait
        };
        self.watches.lock().insert(key.clone(), watched);
        Ok(Some(Duration::try_from(wait).unwrap_or_default()))
    }

    async fn begin(
        &self,
        key: &ReleaseKey,
        target: &Target,
        fence: Option<&Fence>,
    ) -> Result<Watched, StoreError> {
        let stored = act::outliers(&self.ctx, key).await?;
        let stored = stored.filter(|stored| stored.uid == target.uid);
        let named = stored.map_or_else(Vec::new, |stored| stored.tasks);
        let mut watch = Watch::default();
        watch.resume(named.iter().filter_map(|outlier| {
            let address = outlier.address.parse().ok()?;
            Some((outlier.revision.clone(), address, outlier.by))
        }));
        Ok(Watched {
            uid: target.uid.clone(),
            fence: fence.cloned(),
            watch,
            named,
            history: History::default(),
            refusals: Refusals::default(),
        })
    }

    /// Writes and tells what has changed.
    async fn name(
        &self,
        key: &ReleaseKey,
        target: &Target,
        fence: Option<&Fence>,
        watched: &mut Watched,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let there = |found: &Finding| {
            let mut revisions = target.revisions.keys();
            revisions.any(|revision| revision.as_str() == found.revision)
        };
        let found: Vec<Finding> = watched.watch.findings().into_iter().filter(there).collect();
        let is = |found: &Finding, outlier: &Outlier| {
            let address = outlier.address.parse().ok() == Some(found.address);
            (found.by, &found.revision) == (outlier.by, &outlier.revision) && address
        };
        let same = found.len() == watched.named.len()
            && found.iter().all(|f| watched.named.iter().any(|o| is(f, o)));
        if same {
            return Ok(());
        }
        let entry = self.ctx.store.get(&key.observed_swarm()).await?;
        let swarm: Option<SwarmObserved> = entry.as_ref().and_then(|entry| decode(entry).ok());
        let mut tasks = Vec::new();
        let mut news = Vec::new();
        for found in &found {
            match watched.named.iter().find(|outlier| is(found, outlier)) {
                Some(known) => tasks.push(known.clone()),
                None => {
                    let outlier = outlier(key, found, swarm.as_ref(), now);
                    news.push((Severity::Warning, "TaskOutlier", outlier.sentence.clone()));
                    tasks.push(outlier);
                }
            }
        }
        for over in watched
            .named
            .iter()
            .filter(|o| !found.iter().any(|f| is(f, o)))
        {
            let text = format!(
                "{} does as well as its siblings again, or is gone",
                called(over)
            );
            news.push((Severity::Normal, "TaskOutlierOver", text));
        }
        let outliers = Outliers {
            uid: target.uid.clone(),
            tasks,
        };
        act::write_outliers(&self.ctx, fence, key, &outliers).await?;
        watched.named = outliers.tasks;
        for (severity, reason, text) in news {
            self.recorder
                .record(Some(key), severity, reason, text)
                .await;
        }
        Ok(())
    }
}

fn outlier(
    key: &ReleaseKey,
    found: &Finding,
    swarm: Option<&SwarmObserved>,
    now: Timestamp,
) -> Outlier {
    let address = found.address.to_string();
    let revisions = swarm.into_iter().flat_map(|swarm| &swarm.revisions);
    let of = revisions.filter(|(revision, _)| revision.as_str() == found.revision);
    let mut tasks = of.flat_map(|(_, seen)| seen.ready.iter().chain(&seen.leaving));
    let task = tasks.find(|task| task.addresses.values().any(|known| *known == address));
    let mut outlier = Outlier {
        namespace: key.namespace().to_owned(),
        name: key.name().to_owned(),
        revision: found.revision.clone(),
        address,
        task: task.map_or_else(String::new, |task| task.task.clone()),
        node: task.map_or_else(String::new, |task| task.node.clone()),
        by: found.by,
        counted: found.counted,
        others: found.others,
        since: now,
        sentence: String::new(),
    };
    let revision = format!("revision {}", found.revision);
    outlier.sentence = found.sentence(&called(&outlier), &revision);
    outlier
}

/// How a task is called: by what Docker takes, where it runs, and where it answers.
fn called(outlier: &Outlier) -> String {
    let address = &outlier.address;
    if outlier.task.is_empty() {
        return format!("the task at {address}");
    }
    let task: String = outlier.task.chars().take(12).collect();
    if outlier.node.is_empty() {
        format!("task {task} ({address})")
    } else {
        format!("task {task} on {} ({address})", outlier.node)
    }
}
