//! A histogram of milliseconds in bins that grow by 2.5 %, sparse, mergeable by addition, exact in its counts.

use serde::{Deserialize, Serialize};

use crate::bins::Bins;

/// Each bin reaches this much further than the one before it.
pub const GROWTH: f64 = 1.025;

/// Counts by bin: bin `i` holds values in `[1.025^i, 1.025^(i+1))` milliseconds; bin 0 also everything below 1 ms.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Histogram {
    bins: Bins<u64>,
}

/// The bin of a value in milliseconds.
#[must_use]
pub fn bin(ms: f64) -> u16 {
    if ms > 1.0 {
        // In range: the largest finite value lies in bin 28,744; infinity is cut to the last bin by the cast.
        (ms.ln() / GROWTH.ln()).floor() as u16
    } else {
        0
    }
}

/// Where a bin begins, in milliseconds. Bin 0 begins at nothing.
#[must_use]
pub fn lower_edge(bin: u16) -> f64 {
    if bin == 0 {
        0.0
    } else {
        GROWTH.powi(i32::from(bin))
    }
}

impl Histogram {
    /// Counts one value.
    pub fn record(&mut self, ms: f64) {
        self.add(bin(ms), 1);
    }

    /// Counts values that lie in `bin`.
    pub fn add(&mut self, bin: u16, count: u64) {
        if count > 0 {
            let more = |sum: &mut u64| *sum = sum.saturating_add(count);
            self.bins.change(bin, more);
        }
    }

    /// Of counts by bin, as [`Histogram::iter`] gives them.
    #[must_use]
    pub fn from_bins(bins: impl IntoIterator<Item = (u16, u64)>) -> Self {
        Self {
            bins: bins.into_iter().filter(|(_, count)| *count > 0).collect(),
        }
    }

    /// Adds another histogram's counts.
    pub fn merge(&mut self, other: &Histogram) {
        let add = |sum: &mut u64, more| *sum = sum.saturating_add(more);
        self.bins.merge(&other.bins, add);
    }

    /// What was counted since `earlier`, of the same series; `None` when `earlier` is not an earlier state of it.
    #[must_use]
    pub fn since(&self, earlier: &Histogram) -> Option<Histogram> {
        // Both are in order: one walk along them finds what differs.
        let mut old = earlier.iter().filter(|(_, count)| *count > 0).peekable();
        let mut more = Vec::new();
        for (bin, count) in self.iter() {
            let before = match old.next_if(|(there, _)| *there <= bin) {
                // A bin that was there is gone.
                Some((there, _)) if there != bin => return None,
                Some((_, before)) => before,
                None => 0,
            };
            match count.checked_sub(before)? {
                0 => {}
                count => more.push((bin, count)),
            }
        }
        let whole = old.next().is_none();
        whole.then(|| Histogram {
            bins: Bins::of_sorted(more),
        })
    }

    /// Takes counts away that were added before.
    pub fn take_away(&mut self, other: &Histogram) {
        let less = |sum: &mut u64, count: u64| *sum = sum.saturating_sub(count);
        self.bins.merge(&other.bins, less);
        self.bins.retain(|_, count| *count > 0);
    }

    /// How many values were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.iter().fold(0, |sum, (_, n)| sum.saturating_add(n))
    }

    /// How many values lie in `bin` and above.
    #[must_use]
    pub fn count_from(&self, bin: u16) -> u64 {
        let above = self.bins.iter_from(bin);
        above.fold(0, |sum, (_, n)| sum.saturating_add(n))
    }

    /// The bins that hold something, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u16, u64)> + '_ {
        self.bins.iter()
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bins.is_empty()
    }

    /// The middle of the bin that holds the `q`-quantile, in milliseconds; `None` when nothing was counted.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let total = self.count();
        let rank = ((q.clamp(0.0, 1.0) * total as f64).ceil() as u64).max(1);
        let mut seen = 0u64;
        self.iter().find_map(|(bin, count)| {
            seen = seen.saturating_add(count);
            (seen >= rank).then(|| (lower_edge(bin) + lower_edge(bin.saturating_add(1))) / 2.0)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(values: &[f64]) -> Histogram {
        let mut histogram = Histogram::default();
        values.iter().for_each(|ms| histogram.record(*ms));
        histogram
    }

    #[test]
    fn bins_hold_what_they_say() {
        for (ms, wanted) in [
            (f64::NAN, 0),
            (-1.0, 0),
            (0.0, 0),
            (1.0, 0),
            (2.0, 28),
            (f64::INFINITY, u16::MAX),
        ] {
            assert_eq!(bin(ms), wanted, "{ms}");
        }
        for ms in 1..20_000u32 {
            let ms = f64::from(ms);
            let bin = bin(ms);
            assert!(
                lower_edge(bin) <= ms * (1.0 + 1e-12) && ms < lower_edge(bin + 1) * (1.0 + 1e-12),
                "{ms}"
            );
        }
    }

    #[test]
    fn a_histogram_survives_json() {
        let histogram = of(&[0.0, 3.0, 3.0, 1e6]);
        let text = serde_json::to_string(&histogram).unwrap();
        assert_eq!(serde_json::from_str::<Histogram>(&text).unwrap(), histogram);
        assert_eq!(Histogram::default().quantile(0.5), None);
    }

    proptest! {
        #[test]
        fn merging_and_taking_the_difference_undo_each_other(
            a in proptest::collection::vec(0.0..1e5f64, 0..50), b in proptest::collection::vec(0.0..1e5f64, 0..50),
        ) {
            let (first, second) = (of(&a), of(&b));
            let mut both = first.clone();
            both.merge(&second);
            prop_assert_eq!(both.count(), (a.len() + b.len()) as u64);
            prop_assert_eq!(both.since(&first), Some(second.clone()));
            if !second.is_empty() { prop_assert_eq!(first.since(&both), None); }
            let mut other = second;
            other.merge(&first);
            prop_assert_eq!(other, both);
        }

        #[test]
        fn a_quantile_is_within_a_bin_of_the_true_one(
            mut values in proptest::collection::vec(1.0..1e5f64, 1..100), q in 0.0..1.0f64,
        ) {
            let found = of(&values).quantile(q).unwrap();
            values.sort_by(f64::total_cmp);
            let rank = ((q * values.len() as f64).ceil() as usize).max(1);
            let exact = values[rank - 1];
            prop_assert!(found / exact < 1.026 && exact / found < 1.026, "{} for {}", found, exact);
        }
    }
}
