//! Quantiles of values that are all at hand. Pure.

/// The least value that a share `q` of the values does not exceed: the inverse of the empirical distribution, always one of them.
///
/// The values must be sorted. There are `all` of them; those that are not at hand are greater than any that is.
/// `None`: it is none of those at hand.
#[must_use]
pub fn inverted<T: Copy>(sorted: &[T], all: usize, q: f64) -> Option<T> {
    // A saturating cast; and 0.07 of a hundred is the seventh, whatever floats say.
    let rank = (q.clamp(0.0, 1.0) * all as f64 - 1e-9).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

/// The same, but between two neighbours in proportion: what is called type 7.
///
/// The values must be sorted. `None` where there are none.
#[must_use]
pub fn linear(sorted: &[f64], q: f64) -> Option<f64> {
    let place = q.clamp(0.0, 1.0) * sorted.len().checked_sub(1)? as f64;
    let (below, part) = (place.floor() as usize, place.fract());
    let low = *sorted.get(below)?;
    let high = sorted.get(below + 1).copied().unwrap_or(low);
    Some(low + (high - low) * part)
}
