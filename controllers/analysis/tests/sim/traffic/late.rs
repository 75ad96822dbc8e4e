//! Harm that does not begin with the rollout.

use super::super::random::times;
use super::{BASE, Kind, Load, Second, answers};

/// From this second on the canary answers so many badly.
pub(crate) fn errors(load: Load, from: i64, rate: f64) -> Kind {
    Box::new(move |random, second| {
        let (canary, stable) = load.split(random);
        let bad = if second >= from { rate } else { BASE };
        Second {
            canary: answers(random, canary, bad),
            stable: stable
                .into_iter()
                .map(|n| answers(random, n, BASE))
                .collect(),
        }
    })
}

/// The same in steps: the share is that of the last step that has begun.
pub(crate) fn in_steps(load: Load, steps: &'static [(i64, f64)], from: i64, rate: f64) -> Kind {
    Box::new(move |random, second| {
        let begun = steps.iter().rev().find(|(begins, _)| second > *begins);
        let share = begun.map_or(load.share, |(_, share)| *share);
        errors(Load { share, ..load }, from, rate)(random, second)
    })
}

/// From this second on the canary's median response time is another. No answer is bad.
pub(crate) fn slower(load: Load, from: i64, (canarys, stables): (u32, u32)) -> Kind {
    Box::new(move |random, second| {
        let (canary, stable) = load.split(random);
        let mut did = Second {
            canary: answers(random, canary, 0.0),
            stable: stable
                .into_iter()
                .map(|n| answers(random, n, 0.0))
                .collect(),
        };
        let median = if second >= from { canarys } else { stables };
        let good = |side: &fm_analysis::evidence::Tally| side.counted.requests - side.counted.bad;
        did.canary.latency = Some(random.times(good(&did.canary), times(median)));
        for task in &mut did.stable {
            task.latency = Some(random.times(good(task), times(stables)));
        }
        did
    })
}
