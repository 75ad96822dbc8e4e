//! Which elections this process may win: not those for work that it has no means for now, while another has them.
//!
//! Who leads and cannot do the work for [`PATIENCE`] gives the lease back to a daemon that can. Who gave it back stands
//! again once it has been fit for as long. With nobody fit, who leads goes on: it says what is wrong, and nothing flaps.
//! What must never happen: a leader without means while another has them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use fm_api::daemon::Candidate;
use tokio::sync::watch;
use tokio::time::Instant;

/// How long a leader may be unfit, and how long who was must be fit.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// What this process may lead. A clone is cheap and sees the same.
#[derive(Debug, Clone)]
pub struct Fitness {
    state: Arc<watch::Sender<State>>,
}

#[derive(Debug)]
struct State {
    /// Nothing is stood for before our clock was compared and the others are known.
    known: bool,
    clock: Verdict,
    /// What other daemons can do, and since when that is so.
    rivals: (BTreeSet<String>, Instant),
    /// How many seconds our clock is ahead of the others'; `None` while there is none to compare.
    offset: Option<f64>,
    candidates: BTreeMap<&'static str, Standing>,
}

#[derive(Debug, Clone)]
struct Standing {
    leads: bool,
    means: Verdict,
}

/// What stands in the way, if anything, and since when it is so.
#[derive(Debug, Clone)]
struct Verdict {
    problem: Option<String>,
    since: Instant,
}

impl Verdict {
    fn new(problem: Option<String>) -> Self {
        Self {
            problem,
            since: Instant::now(),
        }
    }

    /// Whether anything changed. Other words for the same are no new beginning.
    fn set(&mut self, problem: Option<String>) -> bool {
        if self.problem == problem {
            return false;
        }
        if self.problem.is_some() != problem.is_some() {
            self.since = Instant::now();
        }
        self.problem = problem;
        true
    }
}

impl Default for Fitness {
    /// Fit for everything, until something else is said.
    fn default() -> Self {
        Self::new(true)
    }
}

impl Fitness {
    /// Stands for nothing until the clock was [compared](crate::daemon::live) with the others'.
    #[must_use]
    pub fn unknown() -> Self {
        Self::new(false)
    }

    fn new(known: bool) -> Self {
        Self {
            state: Arc::new(watch::Sender::new(State {
                known,
                clock: Verdict::new(None),
                rivals: (BTreeSet::new(), Instant::now()),
                offset: None,
                candidates: BTreeMap::new(),
            })),
        }
    }

    /// Says why this process cannot do a controller's work now, or that it can.
    pub fn set(&self, controller: &'static str, problem: Option<String>) {
        self.state
            .send_if_modified(|state| state.of(controller).means.set(problem));
    }

    /// Says why its clock is not fit to lead by, or that it is.
    pub(crate) fn set_clock(&self, problem: Option<String>) {
        self.state.send_if_modified(|state| {
            let first = !std::mem::replace(&mut state.known, true);
            state.clock.set(problem) || first
        });
    }

    /// Says what other daemons can do.
    pub(crate) fn set_rivals(&self, rivals: BTreeSet<String>) {
        self.state.send_if_modified(|state| {
            let differs = state.rivals.0 != rivals;
            if differs {
                state.rivals = (rivals, Instant::now());
            }
            differs
        });
    }

    /// Notes how far our clock is ahead of the others'. Nobody is woken by it.
    pub(crate) fn set_offset(&self, seconds: Option<f64>) {
        self.state.send_if_modified(|state| {
            state.offset = seconds;
            false
        });
    }

    /// How many seconds our clock is ahead of the one that most daemons agree on; `None` while there is no other.
    #[must_use]
    pub fn clock_offset(&self) -> Option<f64> {
        self.state.borrow().offset
    }

    pub(crate) fn set_leads(&self, controller: &'static str, leads: bool) {
        self.state.send_if_modified(|state| {
            let standing = state.of(controller);
            std::mem::replace(&mut standing.leads, leads) != leads
        });
    }

    /// Whether this process leads a controller now.
    #[must_use]
    pub fn leads(&self, controller: &str) -> bool {
        let state = self.state.borrow();
        let standing = state.candidates.get(controller);
        standing.is_some_and(|standing| standing.leads)
    }

    /// Why it cannot do a controller's work now.
    #[must_use]
    pub fn problem(&self, controller: &str) -> Option<String> {
        self.state
            .borrow()
            .unfit(controller)
            .map(|(_, problem)| problem)
    }

    /// The controllers it stands for, as the others are told.
    #[must_use]
    pub fn candidates(&self) -> BTreeMap<String, Candidate> {
        let state = self.state.borrow();
        let told = |(name, standing): (&&'static str, &Standing)| {
            let candidate = Candidate {
                leads: standing.leads,
                unfit: state.unfit(name).map(|(_, problem)| problem),
            };
            ((*name).to_owned(), candidate)
        };
        state.candidates.iter().map(told).collect()
    }

    /// Returns once nothing has kept it from standing for so long.
    pub(crate) async fn fit(&self, controller: &'static str, steady: Duration) {
        self.until(|state| Some(state.may_stand_since(controller)? + steady))
            .await;
    }

    /// Returns once it has been unfit for [`PATIENCE`] and another can do the work, with the reason.
    pub(crate) async fn yields(&self, controller: &'static str) -> String {
        self.until(|state| {
            let (since, _) = state.unfit(controller)?;
            let rival = state.rivals.0.contains(controller);
            rival.then_some(since + PATIENCE)
        })
        .await;
        self.problem(controller).unwrap_or_default()
    }

    /// Returns once it has been unfit for so long, with nobody who is fit.
    pub(crate) async fn alone(&self, controller: &'static str, long: Duration) -> String {
        self.until(|state| {
            let (since, _) = state.unfit(controller)?;
            let rival = state.rivals.0.contains(controller);
            (!rival).then_some(since.max(state.rivals.1) + long)
        })
        .await;
        self.problem(controller).unwrap_or_default()
    }

    /// Returns once nothing is in the way.
    pub(crate) async fn well(&self, controller: &'static str) {
        self.until(|state| state.unfit(controller).is_none().then(Instant::now))
            .await;
    }

    /// Returns once it is so late as the state says, while it says anything.
    async fn until(&self, due: impl Fn(&State) -> Option<Instant>) {
        let mut states = self.state.subscribe();
        loop {
            let due = due(&states.borrow_and_update());
            match due {
                Some(due) if due <= Instant::now() => return,
                Some(due) => tokio::select! {
                    () = tokio::time::sleep_until(due) => {}
                    _ = states.changed() => {}
                },
                // The sender lives as long as `self`.
                None => {
                    let _ = states.changed().await;
                }
            }
        }
    }
}

impl State {
    fn of(&mut self, controller: &'static str) -> &mut Standing {
        self.candidates
            .entry(controller)
            .or_insert_with(|| Standing {
                leads: false,
                means: Verdict::new(None),
            })
    }

    fn verdicts(&self, controller: &str) -> impl Iterator<Item = &Verdict> {
        let means = self.candidates.get(controller);
        means
            .map(|standing| &standing.means)
            .into_iter()
            .chain([&self.clock])
    }

    /// Since when something is in the way, and what.
    fn unfit(&self, controller: &str) -> Option<(Instant, String)> {
        self.verdicts(controller)
            .filter_map(|verdict| Some((verdict.since, verdict.problem.clone()?)))
            .min_by_key(|(since, _)| *since)
    }

    /// Since when it may stand: it is fit, or nobody else is.
    fn may_stand_since(&self, controller: &str) -> Option<Instant> {
        let since = self.verdicts(controller).map(|verdict| verdict.since).max();
        let since = since.unwrap_or(self.clock.since);
        match self.unfit(controller) {
            _ if !self.known => None,
            None => Some(since),
            Some(_) if self.rivals.0.contains(controller) => None,
            Some(_) => Some(since.max(self.rivals.1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "test";

    #[tokio::test(start_paused = true)]
    async fn a_moment_without_means_ends_no_term() {
        let fitness = Fitness::default();
        fitness.set_rivals([NAME.to_owned()].into());
        let ends = tokio::spawn({
            let fitness = fitness.clone();
            async move { fitness.yields(NAME).await }
        });
        for _ in 0..5 {
            fitness.set(NAME, Some("away".to_owned()));
            tokio::time::sleep(PATIENCE - Duration::from_secs(1)).await;
            fitness.set(NAME, None);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert!(!ends.is_finished());
        let began = Instant::now();
        fitness.set(NAME, Some("away".to_owned()));
        tokio::time::sleep(Duration::from_secs(3)).await;
        fitness.set(NAME, Some("away, in other words".to_owned()));
        assert_eq!(ends.await.unwrap(), "away, in other words");
        assert_eq!(began.elapsed(), PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_unfit_stands_again_once_it_was_fit_for_a_while() {
        let fitness = Fitness::default();
        fitness.fit(NAME, Duration::ZERO).await;
        fitness.set_rivals([NAME.to_owned()].into());
        fitness.set(NAME, Some("away".to_owned()));
        let stands = tokio::spawn({
            let fitness = fitness.clone();
            async move { fitness.fit(NAME, PATIENCE).await }
        });
        tokio::time::sleep(Duration::from_secs(60)).await;
        fitness.set(NAME, None);
        tokio::time::sleep(PATIENCE / 2).await;
        fitness.set_clock(Some("ahead".to_owned()));
        tokio::time::sleep(PATIENCE * 2).await;
        assert!(!stands.is_finished());
        fitness.set_clock(None);
        let began = Instant::now();
        stands.await.unwrap();
        assert_eq!(began.elapsed(), PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn with_nobody_fit_who_leads_goes_on_until_another_is() {
        let fitness = Fitness::unknown();
        let stands = tokio::spawn({
            let fitness = fitness.clone();
            async move { fitness.fit(NAME, Duration::ZERO).await }
        });
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(!stands.is_finished(), "not before the others are known");
        fitness.set(NAME, Some("away".to_owned()));
        fitness.set_clock(None);
        stands.await.unwrap();
        assert_eq!(fitness.alone(NAME, PATIENCE).await, "away");
        let ends = tokio::spawn({
            let fitness = fitness.clone();
            async move { fitness.yields(NAME).await }
        });
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert!(!ends.is_finished());
        fitness.set_rivals([NAME.to_owned()].into());
        assert_eq!(ends.await.unwrap(), "away");
    }
}
