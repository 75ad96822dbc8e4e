//! Jobs that measure: services that run once, whose end is read and written down.
//!
//! `jobs/<ns>/<name>/<metric>/<side> -> plan -> Docker -> observed/<ns>/<name>/jobs/<metric>/<side>`
//!
//! What must never happen: a job that outlives its request, or Docker asked for anything while no release has a job.

mod log;
mod plan;
mod render;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use fm_api::job::{JobObserved, JobRequest, of_revision};
use fm_api::keys::ReleaseKey;
use fm_api::target::Target;
use fm_runtime::{Cache, Next, ReconcileError, SharedClock, decode};
use fm_store::{Entry, Expect, Fence, SharedStore, StoreError, Txn};

use crate::docker::{Docker, DockerError};
use crate::observe::lock;
use crate::registry::{image, without_values};
use crate::resolve::{Resolver, admitted};
use plan::{Action, End, JobService, Seen, plan};

/// While a job runs it is looked at so often.
const LOOK: Duration = Duration::from_millis(250);
/// While Docker does not answer.
const AWAY: Duration = Duration::from_secs(1);
/// How often services are looked for that no request stands for any more.
const SWEEP: Duration = Duration::from_secs(60);

/// Runs jobs.
pub(crate) struct Jobs {
    pub(crate) docker: Docker,
    pub(crate) store: SharedStore,
    pub(crate) cache: Cache,
    pub(crate) clock: SharedClock,
    pub(crate) resolver: Resolver,
    pub(crate) installation: String,
    pub(crate) observe_only: bool,
    pub(crate) known: Mutex<Known>,
}

/// What is remembered between two looks.
#[derive(Default)]
pub(crate) struct Known {
    /// Releases that may have job services.
    active: HashSet<ReleaseKey>,
    /// When services of nobody were last looked for.
    swept: Option<Instant>,
}

/// What the store holds of one release's jobs.
struct Held {
    /// What jobs may belong to now.
    runs: BTreeSet<String>,
    requests: BTreeMap<String, JobRequest>,
    answered: BTreeMap<String, String>,
}

/// The analysis run, and the gates that are due.
fn runs(target: Target) -> BTreeSet<String> {
    let gates = target.due.into_iter().map(|due| due.id);
    gates
        .chain(target.analysis.map(|analysis| analysis.run))
        .collect()
}

impl Jobs {
    /// One release's round. It asks Docker nothing where there are no jobs.
    pub(crate) async fn round(
        &self,
        key: &ReleaseKey,
        fence: Option<&Fence>,
    ) -> Result<Next, ReconcileError> {
        self.sweep().await;
        let asked = !self.cache.list(&key.jobs_prefix()).is_empty();
        let gone = self.cache.get(&key.target()).is_none();
        if gone && !asked {
            self.forget(key, fence).await?;
        }
        self.forget_old(key, fence).await?;
        if !asked && !lock(&self.known).active.contains(key) {
            return Ok(Next::OnChange);
        }
        let held = self.held(key).await?;
        let services = match self.services(Some(key)).await {
            Ok(services) => services,
            Err(error) => return self.unseen(key, fence, &held, &error).await,
        };
        let actions = plan(&Seen {
            runs: &held.runs,
            requests: &held.requests,
            answered: &held.answered,
            services: &services,
            now: self.clock.now(),
        });
        let idle = actions.is_empty() && services.is_empty();
        for action in actions {
            self.act(key, fence, &held, &services, action).await?;
        }
        if idle {
            lock(&self.known).active.remove(key);
            return Ok(Next::OnChange);
        }
        Ok(Next::After(LOOK))
    }

    /// The store itself is read, not the cache: a job whose answer is on its way must not be run again.
    async fn held(&self, key: &ReleaseKey) -> Result<Held, StoreError> {
        let target = self.store.get(&key.target()).await?;
        let target: Option<Target> = target.as_ref().and_then(|entry| decode(entry).ok());
        let target = target.filter(|target| !target.deleting);
        let listed = |prefix: String, entries: Vec<Entry>| {
            entries.into_iter().filter_map(move |entry| {
                let measurement = entry.key.strip_prefix(&prefix)?.to_owned();
                Some((measurement, entry))
            })
        };
        let (asked, answers) = (key.jobs_prefix(), key.observed_jobs_prefix());
        let requests = self.store.list(&asked).await?.entries;
        let answered = self.store.list(&answers).await?.entries;
        Ok(Held {
            runs: target.map(runs).unwrap_or_default(),
            requests: listed(asked, requests)
                .filter_map(|(name, entry)| Some((name, decode(&entry).ok()?)))
                .collect(),
            answered: listed(answers, answered)
                .filter_map(|(name, entry)| {
                    let answer: JobObserved = decode(&entry).ok()?;
                    Some((name, answer.id))
                })
                .collect(),
        })
    }

    /// The job services of one release, or of all.
    async fn services(&self, key: Option<&ReleaseKey>) -> Result<Vec<JobService>, DockerError> {
        let of = format!("{}={}", render::label::JOB_OF, self.installation);
        let (services, tasks) = self.docker.labelled(&of).await?;
        let mut newest = HashMap::new();
        for task in tasks {
            let id = task
                .spec
                .container_spec
                .labels
                .get(render::label::JOB)
                .cloned();
            let measurement = (task.spec.container_spec.labels).get(render::label::MEASUREMENT);
            let release = task
                .spec
                .container_spec
                .labels
                .get(render::label::JOB_RELEASE);
            let whose = (release.cloned(), measurement.cloned(), id);
            let known: &mut crate::world::Task =
                newest.entry(whose).or_insert_with(|| task.clone());
            if task.status.timestamp > known.status.timestamp {
                *known = task;
            }
        }
        let release = key.map(ToString::to_string);
        let ours = services.into_iter().filter(|service| {
            let label = service.label(render::label::JOB_RELEASE);
            release.as_deref().is_none_or(|release| release == label)
        });
        let read = ours.map(|service| {
            let label = |name: &str| service.label(name).to_owned();
            let (measurement, job) = (label(render::label::MEASUREMENT), label(render::label::JOB));
            let release = label(render::label::JOB_RELEASE);
            let whose = (Some(release), Some(measurement.clone()), Some(job.clone()));
            JobService {
                task: newest.remove(&whose),
                id: service.id,
                name: service.name,
                measurement,
                job,
            }
        });
        Ok(read.collect())
    }

    async fn act(
        &self,
        key: &ReleaseKey,
        fence: Option<&Fence>,
        held: &Held,
        services: &[JobService],
        action: Action,
    ) -> Result<(), ReconcileError> {
        match action {
            Action::Create(measurement) => {
                if let Some(request) = held.requests.get(&measurement) {
                    self.create(key, fence, &measurement, request).await?;
                }
                Ok(())
            }
            Action::Answer {
                measurement,
                end,
                service,
            } => {
                let Some(request) = held.requests.get(&measurement) else {
                    return Ok(());
                };
                let service = service.and_then(|place| services.get(place));
                let answer = self.ended(request, service, end).await;
                self.answer(key, fence, &measurement, request, answer).await
            }
            Action::Remove(id) => {
                if let Err(error) = self.docker.remove(&id).await {
                    tracing::debug!(release = %key, %error, "a job's service is not removed yet");
                }
                Ok(())
            }
        }
    }

    async fn create(
        &self,
        key: &ReleaseKey,
        fence: Option<&Fence>,
        measurement: &str,
        request: &JobRequest,
    ) -> Result<(), ReconcileError> {
        let failed = |words: String| JobObserved {
            id: request.id.clone(),
            failure: Some(words),
            at: Some(self.clock.now()),
            ..JobObserved::default()
        };
        if self.observe_only {
            let words = "frd only observes, so no job is run".to_owned();
            return self
                .answer(key, fence, measurement, request, failed(words))
                .await;
        }
        let auth = request.registry_auth.as_deref();
        // A revision's own image has been looked at with the revision.
        let own = request.like.as_ref().map(image) == Some(request.image.as_str());
        let policy = &self.resolver.policy;
        let refused = match own {
            true => Vec::new(),
            false => policy.job("job", &request.image, &request.networks),
        };
        let pinned = match admitted(&refused) {
            Ok(()) => self.resolver.images.pin(&request.image, auth, false).await,
            Err(refused) => Err(refused),
        };
        let pinned = match pinned {
            Ok(pinned) => pinned,
            // Tried again until the job's time is over.
            Err(failure) if failure.transient => return Ok(()),
            Err(failure) => {
                return self
                    .answer(key, fence, measurement, request, failed(failure.words))
                    .await;
            }
        };
        lock(&self.known).active.insert(key.clone());
        let spec = render::spec(&self.installation, key, measurement, request, &pinned);
        let login = auth.and_then(|name| self.resolver.images.logins.get(name));
        match self.docker.create(&spec, login).await {
            // There already, or Docker is away for a moment: the next look shows it.
            Ok(()) | Err(DockerError::Stale(_) | DockerError::Silent(_)) => Ok(()),
            Err(DockerError::Refused(words) | DockerError::Missing(words)) => {
                let words = without_values(&words, &spec);
                let words = format!("Docker refuses the job: {words}");
                self.answer(key, fence, measurement, request, failed(words))
                    .await
            }
        }
    }

    /// How a job ended, with what it wrote.
    async fn ended(
        &self,
        request: &JobRequest,
        service: Option<&JobService>,
        end: End,
    ) -> JobObserved {
        let (exit_code, failure) = match end {
            End::Exit(code) => (Some(code), None),
            End::Failed(words) => (None, Some(words)),
        };
        let mut answer = JobObserved {
            id: request.id.clone(),
            exit_code,
            failure,
            at: Some(self.clock.now()),
            ..JobObserved::default()
        };
        let Some(service) = service else {
            return answer;
        };
        answer.service.clone_from(&service.name);
        if service.task.is_some() {
            match self.docker.log(&service.id, request.limit).await {
                Ok(bytes) => {
                    let log = log::read(&bytes);
                    (answer.line, answer.log) = (log.line, log.end);
                }
                Err(error) => answer.log = format!("the log cannot be read: {error}"),
            }
        }
        answer
    }

    async fn answer(
        &self,
        key: &ReleaseKey,
        fence: Option<&Fence>,
        measurement: &str,
        request: &JobRequest,
        answer: JobObserved,
    ) -> Result<(), ReconcileError> {
        let value = serde_json::to_vec(&answer)
            .map_err(|error| ReconcileError::Terminal(error.to_string()))?;
        let mut txn = Txn::new()
            .expect(Expect::Exists(key.target()))
            .fenced(fence)
            .put(key.observed_job(measurement), value.clone());
        if let Some(revision) = &request.revision {
            // The next revision's job is another measurement of the same name.
            txn = txn.put(key.observed_job_of(measurement, revision), value);
        }
        self.store.commit(txn).await?;
        Ok(())
    }

    /// Docker does not answer: jobs whose time is over are given up with what is known.
    async fn unseen(
        &self,
        key: &ReleaseKey,
        fence: Option<&Fence>,
        held: &Held,
        error: &DockerError,
    ) -> Result<Next, ReconcileError> {
        let now = self.clock.now();
        for (measurement, request) in &held.requests {
            let open = held.answered.get(measurement) != Some(&request.id);
            if open && now >= request.until {
                let answer = JobObserved {
                    id: request.id.clone(),
                    failure: Some(error.to_string()),
                    at: Some(now),
                    ..JobObserved::default()
                };
                self.answer(key, fence, measurement, request, answer)
                    .await?;
            }
        }
        Ok(Next::After(AWAY))
    }

    /// The target is gone: what became of its jobs interests nobody.
    async fn forget(&self, key: &ReleaseKey, fence: Option<&Fence>) -> Result<(), ReconcileError> {
        let answers = self.cache.list(&key.observed_jobs_prefix());
        if answers.is_empty() {
            return Ok(());
        }
        let txn = Txn::new()
            .expect(Expect::Absent(key.target()))
            .fenced(fence);
        let txn = answers
            .iter()
            .fold(txn, |txn, entry| txn.delete(entry.key.clone()));
        self.store.commit(txn).await?;
        Ok(())
    }

    /// What became of a revision's jobs goes with the revision.
    async fn forget_old(
        &self,
        key: &ReleaseKey,
        fence: Option<&Fence>,
    ) -> Result<(), ReconcileError> {
        let prefix = key.observed_jobs_prefix();
        for entry in self.cache.list(&prefix) {
            let measurement = entry.key.strip_prefix(&prefix);
            let Some((_, id)) = measurement.and_then(of_revision) else {
                continue;
            };
            let record = key.revision(&id);
            // The cache may have seen the job's end before the revision.
            if self.cache.get(&record).is_none() && self.store.get(&record).await?.is_none() {
                let txn = Txn::new().fenced(fence).delete(entry.key.clone());
                self.store.commit(txn).await?;
            }
        }
        Ok(())
    }

    /// Removes services whose request is gone: a predecessor may have died between the two.
    async fn sweep(&self) {
        {
            let mut known = lock(&self.known);
            if known.swept.is_some_and(|at| at.elapsed() < SWEEP) || self.observe_only {
                return;
            }
            known.swept = Some(Instant::now());
        }
        let of = format!("{}={}", render::label::JOB_OF, self.installation);
        let Ok((services, _)) = self.docker.labelled(&of).await else {
            return;
        };
        for service in services {
            let release: Option<ReleaseKey> =
                service.label(render::label::JOB_RELEASE).parse().ok();
            let asked = match &release {
                Some(key) => {
                    let at = key.job(service.label(render::label::MEASUREMENT));
                    // What cannot be read now is left for the next time.
                    let Ok(entry) = self.store.get(&at).await else {
                        return;
                    };
                    let request: Option<JobRequest> = entry.as_ref().and_then(|e| decode(e).ok());
                    request.is_some_and(|r| r.id == service.label(render::label::JOB))
                }
                None => false,
            };
            match release {
                Some(key) if asked => {
                    lock(&self.known).active.insert(key);
                }
                _ => {
                    // What is left of it is found again in a minute.
                    let _ = self.docker.remove(&service.id).await;
                }
            }
        }
    }
}
