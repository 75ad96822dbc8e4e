//! By how much stable's own bad and slow requests come in clusters: what makes a canary unlucky, not worse.
//!
//! A test of counts takes requests as independent. Where errors come in bursts, or by user, the counts of a minute vary
//! more than that, so many times; evidence then counts so many times less. `E^(1/deff)` is evidence as `E` is (Jensen) for any `deff`
//! that was fixed before the batch; that it makes up for the clusters is approximate, and was measured by simulation.
//!
//! Two looks at windows of a minute: stable's tasks at the same time, and all of stable in neighbouring windows. What is shared by
//! all tasks at once (a database that fails) befalls the canary too, unless clients are kept on a side. So where each request is
//! decided alone the tasks' is taken if there are several; with affinity the larger of both.
//!
//! Pure. What must never happen: the canary's own requests making its evidence count less.

use serde::{Deserialize, Serialize};

/// Milliseconds of a window.
const WINDOW: u64 = 60_000;
/// Windows in which what was seen loses its weight by a factor of e: an hour.
const MEMORY: f64 = 60.0;
/// By how many standard deviations of chance alone the spread must exceed that of independent requests.
const BEYOND: f64 = 2.0;
/// Comparisons of tasks that are enough to go by them alone.
const ENOUGH: f64 = 10.0;
/// So many bins are a jump of some 40 %.
const JUMP: u16 = 14;
/// Nothing makes evidence count less than this.
const MOST: f64 = 1000.0;

/// Requests, and how many of them were bad, or slow.
pub type Cell = (u64, u64);

/// How much counts differ, against how much they would if each request were by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spread {
    seen: f64,
    expected: f64,
    /// Requests of a cell, weighted as `expected` is.
    size: f64,
    /// Degrees of freedom.
    freedom: f64,
    /// Bad requests of a cell, weighted by degrees of freedom.
    bad: f64,
}

impl Spread {
    /// Compares cells that would have the same rate.
    pub fn compare(&mut self, cells: &[Cell]) {
        let cells = cells.iter().filter(|(requests, _)| *requests > 0);
        let sums = cells.clone().fold((0, 0, 0), |(t, n, k), (requests, bad)| {
            (t + 1, n + requests, k + bad)
        });
        let (count, requests, bad) = (f64::from(sums.0), sums.1 as f64, sums.2 as f64);
        if count < 2.0 || bad <= 0.0 || bad >= requests {
            return;
        }
        let rate = bad / requests;
        let seen = cells.map(|(n, k)| (*k as f64 - *n as f64 * rate).powi(2) / *n as f64);
        let expected = (count - 1.0) * rate * (1.0 - rate);
        self.seen += seen.sum::<f64>();
        self.expected += expected;
        self.size += expected * requests / count;
        self.freedom += count - 1.0;
        self.bad += (count - 1.0) * bad / count;
    }

    fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// Lets one window pass.
    pub fn fade(&mut self) {
        let factor = (-1.0 / MEMORY).exp();
        for sum in [
            &mut self.seen,
            &mut self.expected,
            &mut self.size,
            &mut self.freedom,
            &mut self.bad,
        ] {
            *sum *= factor;
        }
    }

    /// By how much the requests come in clusters, in cells of their own size, or for a side with so many `requests` of them in a
    /// window: of a burst it gets its part. 1 unless there is more than chance.
    #[must_use]
    pub fn design_effect(&self, requests: Option<f64>) -> f64 {
        if self.freedom < 1.0 || self.expected <= 0.0 || self.bad <= 0.0 {
            return 1.0;
        }
        let (found, each) = (self.seen / self.expected, self.bad / self.freedom);
        let chance = BEYOND * ((2.0 + 1.0 / each) / self.freedom).sqrt();
        if found <= 1.0 + chance {
            return 1.0;
        }
        let part = requests.map_or(1.0, |n| (n * self.expected / self.size).min(1.0));
        (1.0 + (found - 1.0) * part).min(MOST)
    }
}

/// One kind of requests that may come in clusters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Kind {
    now: Cell,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    before: Option<Cell>,
    /// The bin of response times above which an answer is slow now.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    limit: Option<u16>,
    #[serde(skip_serializing_if = "Spread::is_nothing", default)]
    times: Spread,
    #[serde(skip_serializing_if = "Spread::is_nothing", default)]
    tasks: Spread,
}

/// For whom it is asked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Side {
    /// Clients are kept on a side.
    pub sticky: bool,
    /// The canary's requests in a minute.
    pub per_minute: f64,
}

impl Kind {
    /// Adds what all of stable did.
    pub fn add(&mut self, (requests, bad): Cell) {
        self.now.0 += requests;
        self.now.1 += bad;
    }

    /// What is slow begins at this bin. Where that jumps (a quantile in the gap between two modes), windows before and after it
    /// cannot be compared.
    pub fn judge_by(&mut self, limit: Option<u16>) {
        let jumped = |(old, new): (u16, u16)| old.abs_diff(new) > JUMP;
        if self.limit.zip(limit).is_some_and(jumped) {
            self.forget_window();
        }
        self.limit = limit.or(self.limit);
    }

    /// A window is over; and what each task did in it, where that is known.
    pub fn close(&mut self, tasks: &[Cell]) {
        let now = std::mem::take(&mut self.now);
        self.times.fade();
        self.tasks.fade();
        // Windows are compared in pairs, each once, so that one burst is not taken for two.
        match self.before.take() {
            Some(before) => self.times.compare(&[before, now]),
            None => self.before = Some(now),
        }
        self.tasks.compare(tasks);
    }

    /// What goes on now says nothing of how requests are otherwise.
    pub fn forget_window(&mut self) {
        (self.now, self.before) = (Cell::default(), None);
    }

    /// How many times less evidence by response times counts. A side's times wander together (a node, a collection of
    /// garbage, a cache), whatever the other side's do, so all of stable in neighbouring windows counts too; and as both
    /// sides wander, the canary's part of it counts twice.
    #[must_use]
    pub fn design_effect_of_times(&self, side: Side) -> f64 {
        let own = self.times.design_effect(Some(2.0 * side.per_minute));
        own.max(self.design_effect(side))
    }

    /// How many times less evidence counts.
    #[must_use]
    pub fn design_effect(&self, side: Side) -> f64 {
        let times = |requests| self.times.design_effect(requests);
        let tasks = |requests| self.tasks.design_effect(requests);
        if side.sticky {
            return times(None).max(tasks(None));
        }
        if self.tasks.freedom >= ENOUGH {
            tasks(Some(side.per_minute))
        } else {
            times(Some(side.per_minute)).max(tasks(Some(side.per_minute)))
        }
    }
}

/// Stable's clusters of every kind.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Clusters {
    /// Milliseconds of the window so far.
    age: u64,
    /// Bad requests.
    pub errors: Kind,
    /// Clients' mistakes.
    pub client_errors: Kind,
    /// Slow answers, at each quantile that is looked at.
    pub slow: Vec<Kind>,
}

impl Clusters {
    /// Lets time pass; whether the window is over, and is to be closed.
    pub fn pass(&mut self, ms: u64) -> bool {
        self.age = self.age.saturating_add(ms);
        let over = self.age >= WINDOW;
        if over {
            self.age = 0;
        }
        over
    }

    /// Closes the window of every kind, without knowing its tasks.
    pub fn close(&mut self) {
        for kind in self.kinds() {
            kind.close(&[]);
        }
    }

    /// What goes on now says nothing of how requests are otherwise.
    pub fn forget_window(&mut self) {
        self.age = 0;
        for kind in self.kinds() {
            kind.forget_window();
        }
    }

    fn kinds(&mut self) -> impl Iterator<Item = &mut Kind> {
        [&mut self.errors, &mut self.client_errors]
            .into_iter()
            .chain(&mut self.slow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALONE: Side = Side {
        sticky: false,
        per_minute: 600.0,
    };
    const STICKY: Side = Side {
        sticky: true,
        per_minute: 600.0,
    };

    /// Windows of 1000 requests with so many bad ones.
    fn windows(bad: &[u64]) -> Kind {
        let mut kind = Kind::default();
        for bad in bad {
            kind.add((1000, *bad));
            kind.close(&[]);
        }
        kind
    }

    #[test]
    fn counts_that_vary_as_chance_does_cost_nothing() {
        let even = windows(&[9, 11, 12, 8, 10, 13, 7, 9, 10, 11, 12, 9, 6, 11]);
        assert_eq!(even.design_effect(ALONE), 1.0);
        assert_eq!(even.design_effect(STICKY), 1.0);
        assert_eq!(windows(&[0; 30]).design_effect(ALONE), 1.0);
        assert_eq!(Kind::default().design_effect(ALONE), 1.0);
    }

    #[test]
    fn bursts_are_seen_and_a_small_side_gets_its_part_of_them() {
        let bursts = windows(&[0, 60, 0, 0, 80, 0, 0, 0, 70, 0, 0, 60, 0, 90, 0, 0]);
        let sticky = bursts.design_effect(STICKY);
        assert!((30.0..100.0).contains(&sticky), "{sticky}");
        let alone = bursts.design_effect(ALONE);
        assert!((alone - (1.0 + (sticky - 1.0) * 0.6)).abs() < 1e-9);
    }

    #[test]
    fn a_limit_that_jumps_between_two_modes_is_no_cluster() {
        let mut kind = Kind::default();
        for window in 0..30 {
            let (limit, slow) = if window % 2 == 0 { (65, 50) } else { (186, 0) };
            kind.judge_by(Some(limit));
            kind.add((1000, slow));
            kind.close(&[]);
        }
        assert_eq!(kind.design_effect(STICKY), 1.0);
    }

    #[test]
    fn what_all_tasks_share_is_no_cluster_of_one_side() {
        let mut shared = Kind::default();
        for bad in [0, 100, 0, 0, 120, 0, 0, 90, 0, 0, 80, 0] {
            shared.add((4000, 4 * bad));
            shared.close(&[(1000, bad); 4]);
        }
        assert_eq!(shared.design_effect(ALONE), 1.0);
        assert!(shared.design_effect(STICKY) > 10.0);
    }
}
