//! What a share can be, after so many of so many: an interval that may be looked at after each one. Pure.
//!
//! The confidence sequence of a beta-binomial mixture with Jeffreys' prior. With probability `1 - alpha` the true share lies
//! in it at all times at once, so one may go on until it has said enough.

/// Parameters of the prior: Jeffreys'.
const PRIOR: f64 = 0.5;

/// The shares that `hits` of `all` do not speak against at `alpha`: lower and upper end.
#[must_use]
pub fn bounds(hits: u64, all: u64, alpha: f64) -> (f64, f64) {
    let (k, misses) = (hits.min(all) as f64, all.saturating_sub(hits) as f64);
    let mixture = ln_beta(k + PRIOR, misses + PRIOR) - ln_beta(PRIOR, PRIOR);
    let needed = -alpha.ln();
    // The evidence against a share: least at the share that was seen, and growing to both sides of it.
    let refuted = |p: f64| mixture - times_ln(k, p) - times_ln(misses, 1.0 - p) >= needed;
    let seen = if all == 0 { 0.5 } else { k / (k + misses) };
    let end = |edge: f64| {
        if !refuted(edge) {
            return edge;
        }
        let (mut inside, mut outside) = (seen, edge);
        // Halves until there is no number between them.
        for _ in 0..1100 {
            let middle = f64::midpoint(inside, outside);
            if middle == inside || middle == outside {
                break;
            }
            if refuted(middle) {
                outside = middle;
            } else {
                inside = middle;
            }
        }
        inside
    };
    (end(0.0), end(1.0))
}

/// `k ln p`, and nothing of nothing.
fn times_ln(k: f64, p: f64) -> f64 {
    if k == 0.0 { 0.0 } else { k * p.ln() }
}

fn ln_beta(a: f64, b: f64) -> f64 {
    ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b)
}

/// The logarithm of the gamma function for `x > 0`: shifted up, then Stirling's series.
fn ln_gamma(x: f64) -> f64 {
    let (mut x, mut shift) = (x, 0.0);
    while x < 12.0 {
        shift += x.ln();
        x += 1.0;
    }
    let (inverse, square) = (1.0 / x, 1.0 / (x * x));
    let series = inverse
        * (1.0 / 12.0
            - square
                * (1.0 / 360.0
                    - square * (1.0 / 1260.0 - square * (1.0 / 1680.0 - square / 1188.0))));
    (x - 0.5) * x.ln() - x + 0.5 * std::f64::consts::TAU.ln() + series - shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gamma_is_known_where_it_is_known() {
        let factorial = |n: u32| (1..n).map(f64::from).product::<f64>().ln();
        for n in [1, 2, 3, 5, 11, 12, 13, 40] {
            let error = (ln_gamma(f64::from(n)) - factorial(n)).abs();
            assert!(error < 1e-12 * factorial(n).max(1.0), "{n}: {error}");
        }
        let half = std::f64::consts::PI.sqrt().ln();
        assert!((ln_gamma(0.5) - half).abs() < 1e-13);
    }

    #[test]
    fn the_interval_holds_what_was_seen_and_narrows() {
        let mut width = 2.0;
        for times in [1, 10, 100, 10_000, 1_000_000] {
            let (lower, upper) = bounds(3 * times, 10 * times, 0.05);
            assert!(0.0 < lower && lower < 0.3 && 0.3 < upper && upper < 1.0);
            assert!(upper - lower < width);
            width = upper - lower;
        }
        assert!(width < 0.005, "{width}");
        assert_eq!(bounds(0, 7, 0.05).0, 0.0);
        assert_eq!(bounds(7, 7, 0.05).1, 1.0);
        // More hits than there were cannot be.
        assert_eq!(bounds(9, 7, 0.05), bounds(7, 7, 0.05));
    }
}
