//! One timer of many requests: counts in bins that merge by addition.
//!
//! Milliseconds below 128 are counted exactly; beyond, each doubling has 64 bins, so that a percentile is within 0.8 % of the
//! true one. (The bins of [`crate::histogram`] are for counters that travel and are kept: 2.5 %, sparse; these are for
//! counting millions a second.) From [`TOP`] on everything is in the last bin; the greatest value is kept as it is.

/// Milliseconds from which on values are no longer told apart: some four and a half hours.
pub const TOP: u32 = 1 << 24;
/// Values below are their own bin.
const EXACT: u32 = 128;
/// Bins to a doubling, as a power of two.
const BITS: u32 = 6;

/// One timer of many requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Timer {
    /// The most frequent value by far, at hand.
    zeros: u64,
    /// All others; the first is never used.
    bins: Vec<u64>,
    greatest: u32,
}

impl Timer {
    /// Counts a value in milliseconds.
    pub fn record(&mut self, ms: u32) {
        self.add(ms, bin(ms));
    }

    /// Counts a value whose bin was found before.
    pub(super) fn add(&mut self, ms: u32, index: usize) {
        if ms == 0 {
            self.zeros += 1;
            return;
        }
        match self.bins.get_mut(index) {
            Some(bin) => *bin += 1,
            None => self.grow(index),
        }
        if ms > self.greatest {
            self.greatest = ms;
        }
    }

    #[cold]
    fn grow(&mut self, index: usize) {
        // To the end of the doubling, so that it happens rarely.
        self.bins.resize((index | ((1 << BITS) - 1)) + 1, 0);
        if let Some(bin) = self.bins.get_mut(index) {
            *bin += 1;
        }
    }

    /// Adds another timer's counts.
    pub fn merge(&mut self, other: &Timer) {
        self.zeros += other.zeros;
        if self.bins.len() < other.bins.len() {
            self.bins.resize(other.bins.len(), 0);
        }
        for (bin, count) in self.bins.iter_mut().zip(&other.bins) {
            *bin += count;
        }
        self.greatest = self.greatest.max(other.greatest);
    }

    /// How many values were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.zeros + self.bins.iter().sum::<u64>()
    }

    /// The greatest value.
    #[must_use]
    pub fn greatest(&self) -> u32 {
        self.greatest
    }

    /// The `q`-quantile by nearest rank, at the middle of its bin; `None` when nothing was counted.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<u32> {
        let total = self.count();
        let rank = ((q.clamp(0.0, 1.0) * total as f64).ceil() as u64).clamp(1, total.max(1));
        let mut seen = self.zeros;
        if total > 0 && seen >= rank {
            return Some(0);
        }
        let bin = self.bins.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        Some(middle(bin).min(self.greatest))
    }
}

/// The bin of a value.
pub(super) fn bin(ms: u32) -> usize {
    if ms < EXACT {
        return ms as usize;
    }
    let ms = ms.min(TOP);
    let doubling = ms.ilog2() - BITS;
    (((doubling + 1) << BITS) + ((ms >> doubling) & ((1 << BITS) - 1))) as usize
}

/// The middle of a bin.
fn middle(index: usize) -> u32 {
    let index = u32::try_from(index).unwrap_or(u32::MAX);
    if index < EXACT {
        return index;
    }
    let doubling = (index >> BITS) - 1;
    let first = ((index & ((1 << BITS) - 1)) | (1 << BITS)) << doubling;
    first + (1 << doubling) / 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bins_follow_one_another_and_are_narrow() {
        let mut last = 0;
        for ms in 0..300_000u32 {
            let found = bin(ms);
            assert!(found == last || found == last + 1, "{ms}");
            last = found;
            let off = f64::from(middle(found)) - f64::from(ms);
            assert!(
                off.abs() <= f64::from(ms) * 0.008,
                "{ms}: {}",
                middle(found)
            );
        }
        assert_eq!(bin(TOP), bin(u32::MAX));
        assert!(bin(TOP) < 1300);
    }

    #[test]
    fn nothing_has_no_quantile_and_the_greatest_is_exact() {
        let mut timer = Timer::default();
        assert_eq!(timer.quantile(0.5), None);
        timer.record(u32::MAX);
        assert_eq!(timer.greatest(), u32::MAX);
        timer = Timer::default();
        timer.record(1001);
        assert_eq!(timer.quantile(0.999), Some(1001));
    }

    proptest! {
        #[test]
        fn quantiles_are_near_the_true_ones_and_merging_loses_nothing(
            values in proptest::collection::vec(0u32..1_000_000, 1..200), cut in 0usize..200, q in 0.0..1.0f64,
        ) {
            let of = |values: &[u32]| {
                let mut timer = Timer::default();
                values.iter().for_each(|ms| timer.record(*ms));
                timer
            };
            let (a, b) = values.split_at(cut.min(values.len()));
            let mut merged = of(a);
            merged.merge(&of(b));
            prop_assert_eq!(&merged, &of(&values));
            prop_assert_eq!(merged.count(), values.len() as u64);
            let mut sorted = values.clone();
            sorted.sort_unstable();
            let exact = sorted[((q * sorted.len() as f64).ceil() as usize).max(1) - 1];
            let found = merged.quantile(q).unwrap();
            prop_assert!((f64::from(found) - f64::from(exact)).abs() <= f64::from(exact) * 0.008, "{} for {}", found, exact);
        }
    }
}
