//! How stable's requests come in clusters, seen before there is anything to judge: the last hour of each release.
//!
//! Pure. Owner: analysis' memory; a run takes a copy when it begins, and keeps that with its evidence. What must never happen: a
//! task that is known to be bad making all evidence count less.

use std::collections::BTreeMap;

use fm_api::criteria::Analysis;
use fm_api::verdict::Counted;
use fm_telemetry::endpoints::Endpoint;

use crate::clusters::{Cell, Clusters, Kind};
use crate::evidence::Calm;
use crate::latency::{self, Decayed, Limit};
use crate::pmix::Question;

/// The quantiles that are watched; a criterion takes the one that is nearest to its own.
const QUANTILES: [f64; 3] = [0.75, 0.95, 0.99];

/// Stable's last hour.
#[derive(Debug, Clone, PartialEq)]
pub struct History<Task: Ord> {
    clusters: Clusters,
    /// What each task did in this window: errors, and slow answers at each quantile.
    tasks: BTreeMap<Task, [Cell; 4]>,
    lately: Decayed,
    calm: Calm,
}

impl<Task: Ord> Default for History<Task> {
    fn default() -> Self {
        Self {
            clusters: Clusters::default(),
            tasks: BTreeMap::new(),
            lately: Decayed::default(),
            calm: Calm::default(),
        }
    }
}

impl<Task: Ord> History<Task> {
    /// Takes in what stable's tasks did in so many milliseconds, and how many of its requests were refused as clients' mistakes.
    pub fn take<'a>(
        &mut self,
        tasks: impl IntoIterator<Item = (Task, &'a Endpoint)>,
        refused: Option<Cell>,
        ms: u64,
    ) {
        let mut all = Endpoint::default();
        self.clusters
            .slow
            .resize_with(QUANTILES.len(), Kind::default);
        for (task, did) in tasks {
            all.merge(did);
            let cells = self.tasks.entry(task).or_default();
            add(&mut cells[0], (did.requests, did.bad));
            for (cell, q) in cells[1..].iter_mut().zip(QUANTILES) {
                add(cell, slow(&self.lately, q, did));
            }
        }
        self.clusters.errors.add((all.requests, all.bad));
        if let Some(refused) = refused {
            self.clusters.client_errors.add(refused);
        }
        for (kind, q) in self.clusters.slow.iter_mut().zip(QUANTILES) {
            kind.judge_by(self.lately.quantile_bin(q));
            kind.add(slow(&self.lately, q, &all));
        }
        self.lately.add(&all.latency, ms as f64 / 1000.0);
        let counted = Counted {
            requests: all.requests,
            bad: all.bad,
        };
        self.calm.add(counted, ms);
        if self.calm.out {
            self.clusters.forget_window();
            self.tasks.clear();
        } else if self.clusters.pass(ms) {
            self.close();
        }
    }

    fn close(&mut self) {
        let tasks: Vec<[Cell; 4]> = std::mem::take(&mut self.tasks).into_values().collect();
        let of = |place: usize| {
            tasks
                .iter()
                .map(move |cells| cells[place])
                .collect::<Vec<_>>()
        };
        self.clusters.errors.close(&of(0));
        self.clusters.client_errors.close(&[]);
        for (place, kind) in self.clusters.slow.iter_mut().enumerate() {
            kind.close(&of(place + 1));
        }
    }

    /// What a run by these criteria begins with.
    #[must_use]
    pub fn seed(&self, criteria: &Analysis) -> Clusters {
        let nearest = |q: f64| {
            let far = |place: &usize| (QUANTILES[*place] - q).abs();
            let place = (0..QUANTILES.len()).min_by(|a, b| far(a).total_cmp(&far(b)));
            let kind = place.and_then(|place| self.clusters.slow.get(place));
            kind.copied().unwrap_or_default()
        };
        let quantiles = criteria.latency.rollback.quantiles.iter();
        let quantiles = quantiles.chain([&criteria.latency.promote.quantile]);
        let mut seed = self.clusters.clone();
        seed.slow = quantiles.map(|q| nearest(*q)).collect();
        // The run's windows begin with it.
        seed.forget_window();
        seed
    }
}

fn slow(lately: &Decayed, q: f64, did: &Endpoint) -> Cell {
    let limit = Limit {
        q,
        shift: 0.0,
        least_ms: 0.0,
    };
    let counts = latency::slow(lately, Question::Harm, limit, &did.latency, &did.latency);
    counts.map_or((0, 0), |counts| (counts.n_s, counts.y))
}

fn add(cell: &mut Cell, more: Cell) {
    cell.0 += more.0;
    cell.1 += more.1;
}
