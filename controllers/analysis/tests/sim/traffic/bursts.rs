//! Errors in bursts.

use super::{BASE, Kind, Load, Second, answers};

/// Bursts of 1 to so many seconds in which a share of a task's answers is bad, each task by itself; all errors come so.
/// The canary is one task.
pub(crate) fn bursts(load: Load, longest: u64, rate: f64) -> Kind {
    let mut left = vec![0_u64; load.tasks as usize + 1];
    let mean = (longest + 1) as f64 / 2.0;
    let part = BASE / rate;
    let begins = part / (mean * (1.0 - part));
    Box::new(move |random, _| {
        let mut rates = Vec::new();
        for left in &mut left {
            *left = match *left {
                0 if random.unit() < begins => 1 + (random.unit() * longest as f64) as u64,
                left => left.saturating_sub(1),
            };
            rates.push(if *left > 0 { rate } else { 0.0 });
        }
        let (canary, stable) = load.split(random);
        let own = rates.pop().unwrap_or_default();
        Second {
            canary: answers(random, canary, own),
            stable: (stable.into_iter().zip(rates))
                .map(|(n, rate)| answers(random, n, rate))
                .collect(),
        }
    })
}
