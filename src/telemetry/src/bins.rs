//! Numbers by bin, in order and without the empty ones: what histograms and their fading sums are made of.
//!
//! One vector: there are some hundred bins, they are walked from end to end once a second for each side of each release,
//! and new ones are rare.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Numbers by bin. In JSON an object whose keys are the bins.
#[derive(Debug, Clone, PartialEq)]
pub struct Bins<N> {
    /// By bin, each once.
    all: Vec<(u16, N)>,
}

impl<N> Default for Bins<N> {
    fn default() -> Self {
        Self { all: Vec::new() }
    }
}

impl<N: Copy + Default> Bins<N> {
    /// Each bin that is there, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (u16, N)> + '_ {
        self.all.iter().copied()
    }

    /// Those at and above a bin.
    pub fn iter_from(&self, bin: u16) -> impl Iterator<Item = (u16, N)> + '_ {
        let place = self.place(bin).unwrap_or_else(|place| place);
        self.all.iter().skip(place).copied()
    }

    /// What is in a bin; nothing where it is not there.
    #[must_use]
    pub fn get(&self, bin: u16) -> N {
        let found = self.place(bin).ok().and_then(|place| self.all.get(place));
        found.map_or_else(N::default, |(_, number)| *number)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Changes what is in a bin, from nothing where it was not there.
    pub fn change(&mut self, bin: u16, change: impl FnOnce(&mut N)) {
        match self.place(bin) {
            Ok(place) => {
                if let Some((_, number)) = self.all.get_mut(place) {
                    change(number);
                }
            }
            Err(place) => {
                let mut number = N::default();
                change(&mut number);
                self.all.insert(place, (bin, number));
            }
        }
    }

    /// Puts each of another's numbers to the one in the same bin.
    pub fn merge(&mut self, other: &Self, put: impl Fn(&mut N, N)) {
        let mut place = 0;
        for (bin, number) in &other.all {
            let rest = self.all.get(place..).unwrap_or_default();
            place += rest.iter().take_while(|(there, _)| there < bin).count();
            match self.all.get_mut(place) {
                Some((there, sum)) if there == bin => put(sum, *number),
                _ => {
                    let mut sum = N::default();
                    put(&mut sum, *number);
                    self.all.insert(place, (*bin, sum));
                }
            }
        }
    }

    /// Changes each, and drops those that are not to stay.
    pub fn retain(&mut self, mut stays: impl FnMut(u16, &mut N) -> bool) {
        self.all.retain_mut(|(bin, number)| stays(*bin, number));
    }

    /// Of numbers that are in order, each bin once.
    pub(crate) fn of_sorted(all: Vec<(u16, N)>) -> Self {
        debug_assert!(
            all.is_sorted_by(|one, next| one.0 < next.0),
            "it is searched"
        );
        Self { all }
    }

    fn place(&self, bin: u16) -> Result<usize, usize> {
        self.all.binary_search_by_key(&bin, |(there, _)| *there)
    }
}

impl<N> FromIterator<(u16, N)> for Bins<N> {
    /// In any order; of those in one bin the last stays.
    fn from_iter<I: IntoIterator<Item = (u16, N)>>(numbers: I) -> Self {
        let sorted: BTreeMap<u16, N> = numbers.into_iter().collect();
        Self {
            all: sorted.into_iter().collect(),
        }
    }
}

impl<N: Copy + Serialize> Serialize for Bins<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.all.iter().copied())
    }
}

impl<'de, N: Deserialize<'de>> Deserialize<'de> for Bins<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = BTreeMap::<u16, N>::deserialize(deserializer)?;
        Ok(read.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn numbers() -> impl Strategy<Value = Vec<(u16, u64)>> {
        proptest::collection::vec((0..40u16, 1..100u64), 0..60)
    }

    fn summed(parts: &[&[(u16, u64)]]) -> BTreeMap<u16, u64> {
        let mut sums = BTreeMap::new();
        for (bin, number) in parts.iter().copied().flatten() {
            *sums.entry(*bin).or_default() += number;
        }
        sums
    }

    fn counted(numbers: &[(u16, u64)]) -> Bins<u64> {
        let mut bins = Bins::default();
        for (bin, number) in numbers {
            bins.change(*bin, |sum| *sum += number);
        }
        bins
    }

    proptest! {
        #[test]
        fn it_does_what_a_sorted_map_does(a in numbers(), b in numbers(), from in 0..41u16) {
            let (first, second, wanted) = (counted(&a), counted(&b), summed(&[&a, &b]));
            let mut both = first.clone();
            both.merge(&second, |sum, more| *sum += more);
            prop_assert_eq!(both.iter().collect::<Vec<_>>(), wanted.clone().into_iter().collect::<Vec<_>>());
            prop_assert_eq!(both.get(from), wanted.get(&from).copied().unwrap_or(0));
            prop_assert!(both.iter_from(from).eq(wanted.range(from..).map(|(bin, sum)| (*bin, *sum))));
            let text = serde_json::to_string(&both).unwrap();
            prop_assert_eq!(&text, &serde_json::to_string(&wanted).unwrap());
            prop_assert_eq!(serde_json::from_str::<Bins<u64>>(&text).unwrap(), both.clone());
            both.retain(|bin, sum| { *sum += 1; bin >= from });
            prop_assert!(both.iter().eq(wanted.range(from..).map(|(bin, sum)| (*bin, *sum + 1))));
        }
    }
}
