//! The observer: keeps what Docker shows up to date, and wakes the releases for which it changed.
//!
//! Owner of the [`World`]. Docker tells of services, nodes and this node's containers by events, but never of tasks:
//! events make it look at once, and while any release is on its way somewhere it looks several times a second. What must
//! never happen: a look that failed taken for an empty world.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bollard::models::{EventMessage, EventMessageTypeEnum as Kind};
use fm_api::keys::ReleaseKey;
use fm_runtime::{Cache, Context, Fitness, Wake};
use futures_util::StreamExt;
use tokio::sync::{Notify, mpsc, watch};

use crate::docker::{Docker, DockerError};
use crate::world::{NAME_PREFIX, Service, World};

/// While tasks are on their way.
const FAST: Duration = Duration::from_millis(200);
/// Right after a local container started or ended: its task follows within moments.
const FASTER: Duration = Duration::from_millis(50);
/// How long that lasts.
const FASTER_FOR: Duration = Duration::from_secs(1);
/// While tasks should move and have not for long, as in a crash loop or without a suitable node.
const PATIENT: Duration = Duration::from_secs(1);
/// After which time that is so.
const PATIENT_AFTER: Duration = Duration::from_secs(30);
/// Between attempts to reach a Docker that does not answer.
const AWAY: Duration = Duration::from_secs(1);
/// Events that come together are looked at together.
const TOGETHER: Duration = Duration::from_millis(10);

/// What was seen, and when.
#[derive(Clone)]
pub(crate) struct Look {
    /// What Docker showed; after a problem what it showed last.
    pub(crate) world: Arc<World>,
    /// When this look began.
    pub(crate) began: Option<Instant>,
    /// Why Docker cannot be seen now.
    pub(crate) problem: Option<String>,
}

/// The observer.
pub(crate) struct Observer {
    docker: Docker,
    installation: String,
    cache: Cache,
    /// Who cannot see Docker does not lead.
    fitness: Fitness,
    resync: Duration,
    look: watch::Sender<Look>,
    poke: Notify,
    /// Services and nodes must be read too, not only tasks.
    whole: AtomicBool,
    /// Grows when an image, a secret, a config or a network came: what could not be resolved may be now.
    epoch: AtomicU64,
    wakes: mpsc::Sender<Wake>,
    /// A wake-up did not fit into the channel.
    missed: AtomicBool,
    moving: Mutex<HashMap<ReleaseKey, Moving>>,
    container_event: Mutex<Option<Instant>>,
}

/// A release whose tasks are on their way.
struct Moving {
    /// When it was last said so.
    said: Instant,
    /// When what Docker shows of it last changed.
    changed: Instant,
}

impl Observer {
    /// An observer that has seen nothing yet.
    pub(crate) fn new(
        ctx: &Context,
        docker: Docker,
        installation: String,
        cache: Cache,
        wakes: mpsc::Sender<Wake>,
    ) -> Arc<Observer> {
        let unseen = Look {
            world: Arc::default(),
            began: None,
            problem: None,
        };
        Arc::new(Observer {
            docker,
            installation,
            cache,
            fitness: ctx.fitness.clone(),
            resync: ctx.resync,
            look: watch::channel(unseen).0,
            poke: Notify::new(),
            whole: AtomicBool::new(true),
            epoch: AtomicU64::new(0),
            wakes,
            missed: AtomicBool::new(false),
            moving: Mutex::default(),
            container_event: Mutex::default(),
        })
    }

    /// A look that began after `after`, or any at all.
    pub(crate) async fn look(&self, after: Option<Instant>) -> Look {
        let mut looks = self.look.subscribe();
        let fresh = |look: &Look| match after {
            None => look.began.is_some(),
            Some(after) => look.began.is_some_and(|began| began > after),
        };
        if !fresh(&looks.borrow()) {
            self.whole.store(true, Ordering::SeqCst);
            self.poke.notify_one();
        }
        // The sender lives as long as `self`, so that waiting cannot fail.
        match looks.wait_for(fresh).await {
            Ok(look) => look.clone(),
            Err(_) => self.look.borrow().clone(),
        }
    }

    /// How often something came that may let a failed resolution succeed.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    /// Says whether a release's tasks are on their way, so that they are looked at often.
    pub(crate) fn set_moving(&self, key: &ReleaseKey, moving: bool) {
        let now = Instant::now();
        let mut all = lock(&self.moving);
        if !moving {
            all.remove(key);
        } else if let Some(known) = all.get_mut(key) {
            known.said = now;
        } else {
            let fresh = Moving {
                said: now,
                changed: now,
            };
            all.insert(key.clone(), fresh);
            // It may be resting for long.
            self.poke.notify_one();
        }
    }

    /// Looks until shutdown.
    pub(crate) async fn run(self: Arc<Self>, ctx: Context) {
        let events = tokio::spawn(Arc::clone(&self).follow(ctx.clone()));
        let mut last_whole: Option<Instant> = None;
        while !ctx.shutdown.is_cancelled() {
            let due = last_whole.is_none_or(|last| last.elapsed() >= self.resync);
            let whole = self.whole.swap(false, Ordering::SeqCst) || due;
            let began = Instant::now();
            let seen = self.fetch(whole).await;
            if let Some(world) = seen.as_ref().ok().filter(|_| whole) {
                last_whole = Some(began);
                self.wake_orphans(world);
            }
            self.publish(began, seen);
            self.rest(&ctx, began).await;
        }
        events.abort();
    }

    /// Waits until it is time to look again.
    async fn rest(&self, ctx: &Context, began: Instant) {
        let pause = self.pause().saturating_sub(began.elapsed());
        let long = tokio::time::sleep(pause.max(TOGETHER));
        tokio::select! {
            () = ctx.shutdown.cancelled() => {}
            () = long => {}
            // A look that somebody waits for, or the first of several events.
            () = self.poke.notified() => tokio::time::sleep(TOGETHER).await,
        }
    }

    fn is_faster(&self) -> bool {
        lock(&self.container_event).is_some_and(|at| at.elapsed() < FASTER_FOR)
    }

    fn pause(&self) -> Duration {
        if self.look.borrow().problem.is_some() {
            return AWAY;
        }
        let mut all = lock(&self.moving);
        // A release that nobody speaks of any more, because leadership was lost, is no reason to look often.
        let limit = self.resync.saturating_mul(3);
        all.retain(|_, moving| moving.said.elapsed() < limit);
        let moves = |moving: &Moving| moving.changed.elapsed() < PATIENT_AFTER;
        if all.values().any(moves) {
            if self.is_faster() { FASTER } else { FAST }
        } else if all.is_empty() {
            self.resync
        } else {
            PATIENT
        }
    }

    async fn fetch(&self, whole: bool) -> Result<World, DockerError> {
        if whole {
            let (services, nodes) = tokio::try_join!(self.docker.services(), self.docker.nodes())?;
            let adopted = adopted(&services);
            let tasks = self.docker.tasks(&self.installation, &adopted).await?;
            return Ok(World::sort(&self.installation, services, tasks, nodes));
        }
        let last = Arc::clone(&self.look.borrow().world);
        let services: Vec<Service> = last
            .releases
            .values()
            .flat_map(|view| view.services.iter().cloned())
            .collect();
        let tasks = self
            .docker
            .tasks(&self.installation, &adopted(&services))
            .await?;
        let mut world = World::sort(&self.installation, services, tasks, last.nodes.clone());
        world.foreign.clone_from(&last.foreign);
        Ok(world)
    }

    /// Shows what was seen, and only then wakes those whom it concerns: woken first, they would look at the old picture
    /// and be satisfied.
    fn publish(&self, began: Instant, seen: Result<World, DockerError>) {
        let last = self.look.borrow().clone();
        let (world, problem) = match seen {
            Ok(world) => (Arc::new(world), None),
            Err(error) => (Arc::clone(&last.world), Some(error.to_string())),
        };
        self.fitness.set(crate::NAME, problem.clone());
        self.look.send_replace(Look {
            world: Arc::clone(&world),
            began: Some(began),
            problem: problem.clone(),
        });
        match problem {
            None => self.wake_changed(&last, &world),
            Some(problem) if last.problem.as_ref() != Some(&problem) => {
                tracing::warn!(problem, "Docker cannot be seen; nothing is changed");
                self.wake(Wake::All);
            }
            Some(_) => {}
        }
        if self.missed.swap(false, Ordering::SeqCst) {
            self.wake(Wake::All);
        }
    }

    fn wake_changed(&self, last: &Look, world: &World) {
        if last.problem.is_some() || last.world.nodes != world.nodes {
            self.wake(Wake::All);
        }
        let before = &last.world;
        let mut changed: BTreeSet<&ReleaseKey> = world
            .releases
            .iter()
            .filter(|(key, view)| before.releases.get(*key) != Some(*view))
            .map(|(key, _)| key)
            .collect();
        let gone = before.releases.keys();
        changed.extend(gone.filter(|key| !world.releases.contains_key(*key)));
        let now = Instant::now();
        for key in changed {
            if let Some(moving) = lock(&self.moving).get_mut(key) {
                moving.changed = now;
            }
            self.wake(Wake::One(key.clone()));
        }
        // Whose name was taken or given back is found out by looking at all.
        if before.foreign != world.foreign {
            self.wake(Wake::All);
        }
    }

    /// The store does not wake releases that it does not know, and an earlier wake-up may have come while another led.
    fn wake_orphans(&self, world: &World) {
        let known = |key: &ReleaseKey| self.cache.get(&key.target()).is_some();
        for key in world.releases.keys().filter(|key| !known(key)) {
            self.wake(Wake::One(key.clone()));
        }
    }

    fn wake(&self, wake: Wake) {
        if self.wakes.try_send(wake).is_err() {
            self.missed.store(true, Ordering::SeqCst);
        }
    }

    /// Follows Docker's events until shutdown.
    async fn follow(self: Arc<Self>, ctx: Context) {
        while !ctx.shutdown.is_cancelled() {
            let mut events = std::pin::pin!(self.docker.events());
            while let Some(Ok(event)) = events.next().await {
                self.take(&event);
            }
            // The stream ended: what happened meanwhile is seen by looking.
            self.whole.store(true, Ordering::SeqCst);
            self.poke.notify_one();
            tokio::time::sleep(AWAY).await;
        }
    }

    fn take(&self, event: &EventMessage) {
        match event.typ {
            Some(Kind::CONTAINER) => {
                let named = event.actor.as_ref().and_then(|actor| {
                    let attributes = actor.attributes.as_ref()?;
                    attributes.get("com.docker.swarm.service.name")
                });
                if named.is_none_or(|name| !name.starts_with(NAME_PREFIX)) {
                    return;
                }
                *lock(&self.container_event) = Some(Instant::now());
            }
            Some(Kind::SERVICE | Kind::NODE) => self.whole.store(true, Ordering::SeqCst),
            Some(Kind::IMAGE | Kind::SECRET | Kind::CONFIG | Kind::NETWORK) => {
                self.epoch.fetch_add(1, Ordering::SeqCst);
                self.wake(Wake::All);
                return;
            }
            _ => return,
        }
        self.poke.notify_one();
    }
}

/// The ids of services that were there before.
fn adopted(services: &[Service]) -> Vec<String> {
    let adopted = services.iter().filter(|service| service.is_adopted());
    adopted.map(|service| service.id.clone()).collect()
}

/// A panic elsewhere leaves nothing half done in these maps.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
