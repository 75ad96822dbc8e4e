//! When the canary's values are compared with stable's, and what a look concludes. Pure.
//!
//! Looks come at `minSamples` values of each side, at twice as many, and so on. The k-th look may err with `alpha / 2^k`, so
//! that all of them together err with `alpha` at most, however often they are made.

use fm_api::criteria::metrics::{Compare, Worse};
use fm_api::measured::Comparison;

use super::mann_whitney;

/// More values of each side than this are not kept; the look at them is the last.
pub const MOST: u32 = 320;

/// What a look shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// The canary is worse by more than the tolerance, and by more than a negligible effect.
    Worse,
    /// The canary is not worse than the tolerance.
    Good,
    /// Neither.
    Neither,
}

/// How many values of each side the look after so many looks needs.
#[must_use]
pub fn needed(compare: &Compare, looks: u32) -> u32 {
    compare
        .min_samples
        .saturating_mul(1_u32.checked_shl(looks).unwrap_or(u32::MAX))
}

/// Looks at the pairs: canary, stable.
#[must_use]
pub fn look(compare: &Compare, look: u32, pairs: &[(f64, f64)]) -> Option<(Shown, Comparison)> {
    let sign = match compare.worse {
        Worse::Higher => 1.0,
        Worse::Lower => -1.0,
    };
    let canary: Vec<f64> = pairs.iter().map(|(canary, _)| *canary).collect();
    let stable: Vec<f64> = pairs.iter().map(|(_, stable)| *stable).collect();
    let allowed: Vec<f64> = canary
        .iter()
        .map(|value| even(sign * value - compare.tolerance))
        .collect();
    let against: Vec<f64> = stable.iter().map(|value| even(sign * value)).collect();
    let test = mann_whitney::test(&allowed, &against)?;
    let alpha = compare.alpha / 2_f64.powi(i32::try_from(look).unwrap_or(i32::MAX));
    let shown = if test.p_greater <= alpha && test.delta >= compare.effect {
        Shown::Worse
    } else if test.p_less <= alpha {
        Shown::Good
    } else {
        Shown::Neither
    };
    let comparison = Comparison {
        look,
        samples: u32::try_from(pairs.len()).unwrap_or(u32::MAX),
        p_harm: test.p_greater,
        p_good: test.p_less,
        alpha,
        exact: test.exact,
        shift: mann_whitney::shift(&canary, &stable)?,
        effect: test.delta,
    };
    Some((shown, comparison))
}

/// To twelve digits: 0.3 less a tolerance of 0.1 must tie with 0.2.
fn even(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let digits = 11 - value.abs().log10().floor() as i32;
    let scale = 10_f64.powi(digits.clamp(-300, 300));
    let rounded = (value * scale).round() / scale;
    if rounded.is_finite() { rounded } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(worse: Worse) -> Compare {
        Compare {
            tolerance: 0.1,
            worse,
            alpha: 0.05,
            effect: 0.147,
            min_samples: 10,
        }
    }

    fn pairs(n: u32, by: f64) -> Vec<(f64, f64)> {
        (0..n)
            .map(|k| {
                let noise = f64::from(k % 7) * 0.01;
                (1.0 + noise + by, 1.0 + f64::from((k * 3) % 7) * 0.01)
            })
            .collect()
    }

    #[test]
    fn worse_good_and_neither_are_told_apart_in_both_directions() {
        for (worse, by, wanted) in [
            (Worse::Higher, 0.5, Shown::Worse),
            (Worse::Higher, 0.1, Shown::Neither),
            (Worse::Higher, 0.0, Shown::Good),
            (Worse::Higher, -0.5, Shown::Good),
            (Worse::Lower, -0.5, Shown::Worse),
            (Worse::Lower, 0.0, Shown::Good),
            (Worse::Lower, 0.5, Shown::Good),
        ] {
            let (shown, comparison) = look(&compare(worse), 1, &pairs(10, by)).unwrap();
            assert_eq!(shown, wanted, "{worse:?} {by}: {comparison:?}");
            assert!((comparison.shift - by).abs() < 0.02, "{comparison:?}");
        }
    }

    #[test]
    fn a_shift_of_exactly_the_tolerance_is_a_tie() {
        let same = vec![(0.3, 0.2); 10];
        let (shown, comparison) = look(&compare(Worse::Higher), 1, &same).unwrap();
        assert_eq!((shown, comparison.effect), (Shown::Neither, 0.0));
    }

    #[test]
    fn looks_double_and_share_alpha() {
        let compare = compare(Worse::Higher);
        assert_eq!([0, 1, 2].map(|looks| needed(&compare, looks)), [10, 20, 40]);
        let spent: f64 = (1..=6)
            .map(|k| look(&compare, k, &pairs(10, 0.0)).unwrap().1.alpha)
            .sum();
        assert!(spent < compare.alpha);
        assert_eq!(needed(&compare, 200), u32::MAX);
    }

    #[test]
    fn little_effect_is_no_harm_however_sure() {
        let pairs: Vec<(f64, f64)> = (0..320)
            .map(|k| (f64::from(k) + 12.0, f64::from(k)))
            .collect();
        let (shown, comparison) = look(
            &Compare {
                tolerance: 0.5,
                effect: 0.147,
                ..compare(Worse::Higher)
            },
            1,
            &pairs,
        )
        .unwrap();
        assert!(
            comparison.effect > 0.0 && comparison.effect < 0.147,
            "{comparison:?}"
        );
        assert_ne!(shown, Shown::Worse);
    }
}
