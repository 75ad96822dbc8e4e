//! One release's round: look, plan, act, look again, report.
//!
//! What must never happen: an action on a target that the store does not hold any more, or after leadership was lost.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use fm_api::event::Severity;
use fm_api::keys::{ReleaseKey, RevisionId};
use fm_api::observed::{FailureKind, SwarmObserved, TaskFailure};
use fm_api::target::{RevisionRecord, Target};
use fm_runtime::{Cache, Next, ReconcileError, Reconciler, Recorder, SharedClock, Wake, decode};
use fm_store::{Entry, Fence, SharedStore, Txn};
use tokio::sync::mpsc;

use crate::Options;
use crate::act::{describe, perform};
use crate::docker::{Docker, DockerError};
use crate::drift::{Difference, differences};
use crate::jobs::Jobs;
use crate::memory::{Memory, Refusal, Retry};
use crate::observe::{Look, Observer, lock};
use crate::plan::{Action, Input, Plan, Post, plan};
use crate::registry::without_values;
use crate::report::{Seen, report};
use crate::resolve::Resolver;
use crate::tasks::moving;
use crate::world::{Service, TaskState, World};

/// Plan and act so often before leaving the rest to the next wake-up: a service changed again and again by others must
/// not keep a release from being reported.
const ROUNDS: usize = 4;
/// While Docker or the store does not answer.
const AWAY: Duration = Duration::from_secs(1);

/// After the rounds were used up.
const AGAIN: Duration = Duration::from_millis(200);

/// The controller.
pub(crate) struct Swarm {
    pub(crate) recorder: Recorder,
    pub(crate) store: SharedStore,
    pub(crate) clock: SharedClock,
    pub(crate) cache: Cache,
    pub(crate) docker: Docker,
    pub(crate) observer: Arc<Observer>,
    pub(crate) resolver: Resolver,
    pub(crate) installation: String,
    pub(crate) jobs: Jobs,
    pub(crate) options: Options,
    pub(crate) wakes: mpsc::Sender<Wake>,
    pub(crate) memories: Mutex<HashMap<ReleaseKey, Arc<Mutex<Memory>>>>,
}

/// What one round works with.
pub(crate) struct Round<'a> {
    pub(crate) key: &'a ReleaseKey,
    fence: Option<&'a Fence>,
    entry: Option<Arc<Entry>>,
    pub(crate) target: Option<Target>,
    records: BTreeMap<RevisionId, RevisionRecord>,
    /// Services that were there before and are to be ours.
    adoptable: BTreeMap<RevisionId, Service>,
    pub(crate) memory: Arc<Mutex<Memory>>,
}

impl Round<'_> {
    pub(crate) fn fence(&self) -> Option<&Fence> {
        self.fence
    }
    /// A revision's number; 0 while it is not known.
    pub(crate) fn number(&self, id: &RevisionId) -> u64 {
        self.records.get(id).map_or(0, |record| record.number)
    }
}

#[async_trait]
impl Reconciler for Swarm {
    async fn reconcile(
        &self,
        key: &ReleaseKey,
        fence: Option<&Fence>,
    ) -> Result<Next, ReconcileError> {
        if self.cache.lost_since().is_some() {
            // What the store wants now is not known: everything stays as it is.
            return Ok(Next::After(AWAY));
        }
        let next = self.release(key, fence).await?;
        Ok(sooner(next, self.jobs.round(key, fence).await?))
    }
}

impl Swarm {
    /// One release's services.
    async fn release(
        &self,
        key: &ReleaseKey,
        fence: Option<&Fence>,
    ) -> Result<Next, ReconcileError> {
        let mut round = self.round(key, fence)?;
        if let Some(target) = &round.target {
            self.resolve(&round, target).await;
        }
        let after = lock(&round.memory).last_write;
        let look = self.observer.look(after).await;
        let (look, plan) = match look.problem {
            Some(problem) => return self.freeze(&round, problem).await,
            None => {
                if let Err(problem) = self.find_adoptable(&mut round, &look.world).await {
                    return self.freeze(&round, problem.to_string()).await;
                }
                if let Some(target) = &round.target {
                    // Before anything is removed: with the service its log is gone.
                    self.keep_logs(&round, target, &look.world).await?;
                }
                self.settle(&round, look).await?
            }
        };
        if let Some(problem) = look.problem {
            return self.freeze(&round, problem).await;
        }
        self.tell(&round, &plan).await;
        match &round.target {
            Some(target) => self.observed(&round, target, &look.world, &plan).await,
            None => self.forget(&round, &look.world).await,
        }
    }

    /// Reads the services that revisions are to run in and that are not ours yet.
    async fn find_adoptable(
        &self,
        round: &mut Round<'_>,
        world: &World,
    ) -> Result<(), DockerError> {
        let view = world.releases.get(round.key);
        for (id, record) in &round.records {
            let Some(adopted) = &record.adopted else {
                continue;
            };
            let ours = view.is_some_and(|view| view.services.iter().any(|s| s.id == adopted.id));
            if !ours && let Some(service) = self.docker.service(&adopted.id).await? {
                round.adoptable.insert(id.clone(), service);
            }
        }
        Ok(())
    }

    fn round<'a>(
        &self,
        key: &'a ReleaseKey,
        fence: Option<&'a Fence>,
    ) -> Result<Round<'a>, ReconcileError> {
        let entry = self.cache.get(&key.target());
        let target: Option<Target> = match &entry {
            // A target that cannot be read wants nothing to be changed.
            Some(entry) => Some(decode(entry).map_err(ReconcileError::Terminal)?),
            None => None,
        };
        let mut records = BTreeMap::new();
        for id in target.iter().flat_map(|target| target.revisions.keys()) {
            if let Some(entry) = self.cache.get(&key.revision(id)) {
                let record = decode(&entry).map_err(ReconcileError::Terminal)?;
                records.insert(id.clone(), record);
            }
        }
        Ok(Round {
            key,
            fence,
            entry,
            target,
            records,
            adoptable: BTreeMap::new(),
            memory: Arc::clone(lock(&self.memories).entry(key.clone()).or_default()),
        })
    }

    /// Plans and acts until nothing is left to do.
    async fn settle(
        &self,
        round: &Round<'_>,
        mut look: Look,
    ) -> Result<(Look, Plan), ReconcileError> {
        let mut plan = self.plan(round, &look.world);
        for _ in 0..ROUNDS {
            let actions: Vec<&Action> =
                plan.actions.iter().filter(|a| self.due(round, a)).collect();
            if actions.is_empty() || self.options.observe_only {
                break;
            }
            self.confirm(round).await?;
            let mut done = Vec::new();
            for action in actions {
                if self.act(round, action).await? {
                    done.push(action);
                }
            }
            let before = look.world;
            look = self.observer.look(Some(Instant::now())).await;
            if look.problem.is_some() {
                break;
            }
            Self::tolerate(round, &before, &look.world, &done);
            plan = self.plan(round, &look.world);
        }
        Ok((look, plan))
    }

    fn plan(&self, round: &Round<'_>, world: &World) -> Plan {
        let memory = lock(&round.memory);
        plan(Input {
            installation: &self.installation,
            key: round.key,
            target: round.target.as_ref(),
            records: &round.records,
            world,
            tolerated: &memory.tolerated,
            adoptable: &round.adoptable,
            store_known: self.cache.lost_since().is_none(),
        })
    }

    /// Whether an action is tried now: what Docker refused waits, unless something came that may change its mind.
    fn due(&self, round: &Round<'_>, action: &Action) -> bool {
        let (Action::Create(post) | Action::Update { post, .. }) = action else {
            return true;
        };
        let memory = lock(&round.memory);
        memory.refusals.get(&post.revision).is_none_or(|refusal| {
            refusal.retry.pause().is_zero() || refusal.retry.is_worth_it(self.observer.epoch())
        })
    }

    /// The cache may be behind: before anything is changed, the store itself must still hold this target and this lead.
    async fn confirm(&self, round: &Round<'_>) -> Result<(), ReconcileError> {
        let now = self.store.get(&round.key.target()).await?;
        let revision = |entry: &Entry| entry.revision;
        let same = now.as_ref().map(revision) == round.entry.as_deref().map(revision);
        let leads = match round.fence {
            None => true,
            Some(fence) => {
                let held = self.store.get(&fence.key).await?;
                held.as_ref().map(revision) == Some(fence.revision)
            }
        };
        if same && leads {
            return Ok(());
        }
        Err(ReconcileError::Retry {
            message: "the target was changed meanwhile".to_owned(),
            after: Some(Duration::from_millis(5)),
        })
    }

    /// Does one action; whether it was done. What was refused or came too late shows at the next look.
    async fn act(&self, round: &Round<'_>, action: &Action) -> Result<bool, ReconcileError> {
        let was_there = matches!(action, Action::Create(post) if self.was_there(round, post));
        // Also before: if this is broken off in the middle, an older look must not be trusted either.
        lock(&round.memory).last_write = Some(Instant::now());
        let done = perform(&self.docker, &self.options.registry_auth, action).await;
        lock(&round.memory).last_write = Some(Instant::now());
        let post = match action {
            Action::Create(post) | Action::Update { post, .. } => Some(post),
            Action::Remove { .. } => None,
        };
        match (done, post) {
            (Ok(()), _) => {
                if let Some(post) = post {
                    lock(&round.memory).refusals.remove(&post.revision);
                }
                let (severity, reason, message) = describe(action, was_there);
                tracing::info!(release = %round.key, reason, "{message}");
                let key = Some(round.key);
                self.recorder.record(key, severity, reason, message).await;
                Ok(true)
            }
            // Somebody else was faster: the next look shows what is there now.
            (Err(DockerError::Stale(words) | DockerError::Missing(words)), None) => {
                tracing::debug!(release = %round.key, words, "looking again");
                Ok(false)
            }
            (Err(DockerError::Stale(words)), Some(_)) => {
                tracing::debug!(release = %round.key, words, "looking again");
                Ok(false)
            }
            (Err(DockerError::Silent(message)), _) => Err(ReconcileError::Retry {
                message,
                after: Some(AWAY),
            }),
            (Err(DockerError::Missing(words) | DockerError::Refused(words)), Some(post)) => {
                self.refused(round, post, words).await;
                Ok(false)
            }
            (Err(DockerError::Refused(message)), None) => Err(ReconcileError::Retry {
                message,
                after: None,
            }),
        }
    }

    async fn refused(&self, round: &Round<'_>, post: &Post, words: String) {
        let words = without_values(&words, &post.spec);
        let message = format!("Docker refuses service {}: {words}", post.name);
        {
            let mut memory = lock(&round.memory);
            let earlier = memory.refusals.get(&post.revision);
            let retry = Retry::after(earlier.map(|e| e.retry), self.observer.epoch());
            // The first time counts, so that the same words again change nothing in the store.
            let at = earlier
                .filter(|earlier| earlier.failure.message == words)
                .map_or_else(|| self.clock.now(), |earlier| earlier.failure.at);
            let failure = TaskFailure {
                kind: FailureKind::Rejected,
                message: words,
                task: None,
                exit_code: None,
                at,
            };
            let refusal = Refusal { failure, retry };
            memory.refusals.insert(post.revision.clone(), refusal);
        }
        tracing::warn!(release = %round.key, "{message}");
        let key = Some(round.key);
        self.recorder
            .record(key, Severity::Warning, "ServiceRefused", message)
            .await;
    }

    /// What differs just as it did before our spec was posted is Docker's own doing, and no drift. Only an update can show
    /// that: what differs after a creation may be somebody's change in between.
    fn tolerate(round: &Round<'_>, before: &World, after: &World, actions: &[&Action]) {
        let find = |world: &World, name: &str| {
            let view = world.releases.get(round.key)?;
            view.services.iter().find(|s| s.name == name).cloned()
        };
        let mut memory = lock(&round.memory);
        for action in actions {
            let Action::Update { post, .. } = action else {
                continue;
            };
            let (Some(old), Some(new)) = (find(before, &post.name), find(after, &post.name)) else {
                continue;
            };
            if old.version != new.version {
                let stays: BTreeSet<Difference> = differences(&post.spec, &old.spec)
                    .intersection(&differences(&post.spec, &new.spec))
                    .cloned()
                    .collect();
                // Where somebody's change stays, only our own part was posted, and nothing differs from that.
                memory.tolerated.entry(new.id).or_default().extend(stays);
            }
        }
        if let Some(view) = after.releases.get(round.key) {
            let ids: Vec<&String> = view.services.iter().map(|s| &s.id).collect();
            memory.tolerated.retain(|id, _| ids.contains(&id));
        }
    }

    /// Docker cannot be seen: what was seen last stays, with the reason.
    async fn freeze(&self, round: &Round<'_>, problem: String) -> Result<Next, ReconcileError> {
        if let Some(target) = &round.target {
            let known = self.previous(round).filter(|known| known.uid == target.uid);
            let mut observed = known.unwrap_or_else(|| SwarmObserved {
                uid: target.uid.clone(),
                ..SwarmObserved::default()
            });
            observed.problem = Some(problem);
            self.write(round, observed).await?;
        }
        Ok(Next::After(AWAY))
    }

    async fn observed(
        &self,
        round: &Round<'_>,
        target: &Target,
        world: &World,
        plan: &Plan,
    ) -> Result<Next, ReconcileError> {
        let previous = self.previous(round);
        let (observed, next) = {
            let mut memory = lock(&round.memory);
            // A refusal ends with the wish for what was refused.
            memory
                .refusals
                .retain(|id, _| target.revisions.contains_key(id));
            let seen = Seen {
                key: round.key,
                target,
                records: &round.records,
                world,
                plan,
                endpoints: self.options.endpoints,
                previous: previous.as_ref(),
                now: self.clock.now(),
            };
            let observed = report(&seen, &mut memory);
            (observed, next_look(&memory))
        };
        let wanted = |id: &RevisionId| target.revisions.get(id).map_or(0, |r| r.replicas);
        let unsettled = !plan.is_complete()
            || observed
                .revisions
                .iter()
                .any(|(id, seen)| moving(seen, wanted(id)));
        self.observer.set_moving(round.key, unsettled);
        self.tell_failures(round, previous.as_ref(), &observed)
            .await;
        self.write(round, observed).await?;
        self.forget_logs(round).await?;
        // Others were faster in every round: what is left is not forgotten.
        let left = plan.actions.iter().any(|action| self.due(round, action));
        if left && !self.options.observe_only {
            return Ok(Next::After(AGAIN));
        }
        Ok(next)
    }

    /// The target is gone. When the services are too, nothing is left to be observed.
    async fn forget(&self, round: &Round<'_>, world: &World) -> Result<Next, ReconcileError> {
        // Tasks that go on belong to a service that was given back.
        let left = world.releases.get(round.key).is_some_and(|view| {
            let mut tasks = view.tasks.values().flatten();
            !view.services.is_empty() || tasks.any(|t| t.desired_state > TaskState::Running)
        });
        self.observer.set_moving(round.key, left);
        if left || self.options.observe_only {
            return Ok(Next::OnChange);
        }
        let key = round.key.observed_swarm();
        if self.cache.get(&key).is_some() {
            let txn = Txn::new().fenced(round.fence).delete(key);
            self.store.commit(txn).await?;
        }
        lock(&self.memories).remove(round.key);
        Ok(Next::OnChange)
    }

    pub(crate) fn stored(&self, key: &ReleaseKey) -> Option<SwarmObserved> {
        let entry = self.cache.get(&key.observed_swarm())?;
        decode(&entry).ok()
    }

    /// What the store holds of us, as far as it is known: the cache may be behind our own last write.
    pub(crate) fn previous(&self, round: &Round<'_>) -> Option<SwarmObserved> {
        let written = lock(&round.memory).written.clone();
        match written {
            Some((observed, revision)) if revision > self.cache.revision() => Some(observed),
            _ => self.stored(round.key),
        }
    }

    /// Writes what is observed, if that is not what the store holds.
    async fn write(
        &self,
        round: &Round<'_>,
        observed: SwarmObserved,
    ) -> Result<(), ReconcileError> {
        if self.previous(round).as_ref() == Some(&observed) {
            return Ok(());
        }
        let value = serde_json::to_vec(&observed)
            .map_err(|error| ReconcileError::Terminal(error.to_string()))?;
        let txn = Txn::new()
            .fenced(round.fence)
            .put(round.key.observed_swarm(), value);
        let revision = self.store.commit(txn).await?;
        lock(&round.memory).written = Some((observed, revision));
        Ok(())
    }
}

fn sooner(one: Next, other: Next) -> Next {
    match (one, other) {
        (Next::After(one), Next::After(other)) => Next::After(one.min(other)),
        (Next::OnChange, other) => other,
        (one, Next::OnChange) => one,
    }
}

/// When to look again without any wake-up.
fn next_look(memory: &Memory) -> Next {
    let refused = memory.refusals.values().map(|r| r.retry.pause());
    let unresolved = memory
        .resolved
        .iter()
        .filter(|attempt| attempt.answer.error.is_some() && attempt.answer.transient)
        .map(|attempt| attempt.retry.pause());
    match refused.chain(unresolved).min() {
        Some(pause) => Next::After(pause.max(Duration::from_millis(50))),
        None => Next::OnChange,
    }
}
