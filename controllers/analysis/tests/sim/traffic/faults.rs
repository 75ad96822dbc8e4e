//! Faults that are not the canary's alone, and faults of another kind than errors by number.

use super::{BASE, Kind, Load, Second, answers};

/// Nothing answers well on either side in these seconds; afterwards the canary answers so many badly.
pub(crate) fn outage(load: Load, (from, until): (i64, i64), after: f64) -> Kind {
    Box::new(move |random, second| {
        let (canary, stable) = load.split(random);
        let out = (from..until).contains(&second);
        let own = if second >= until { after } else { BASE };
        let rate = |rate: f64| if out { 1.0 } else { rate };
        Second {
            canary: answers(random, canary, rate(own)),
            stable: (stable.into_iter())
                .map(|n| answers(random, n, rate(BASE)))
                .collect(),
        }
    })
}

/// The first of stable's tasks answers so many badly, its siblings few; the canary more than they do, and less than it.
pub(crate) fn bad_task(load: Load, bad: f64, canarys: f64) -> Kind {
    Box::new(move |random, second| {
        let (canary, stable) = load.split(random);
        let own = if second > 0 { canarys } else { BASE };
        Second {
            canary: answers(random, canary, own),
            stable: (stable.into_iter().enumerate())
                .map(|(task, n)| answers(random, n, if task == 0 { bad } else { BASE }))
                .collect(),
        }
    })
}

/// The canary refuses this share of its requests as clients' mistakes, stable that one.
pub(crate) fn refusals(load: Load, canarys: f64, stables: f64) -> Kind {
    Box::new(move |random, _| {
        let (canary, stable) = load.split(random);
        let mut answer = |n, refused| {
            let mut did = answers(random, n, BASE);
            did.client_errors = Some(random.binomial(n - did.counted.bad, refused));
            did
        };
        Second {
            canary: answer(canary, canarys),
            stable: stable.into_iter().map(|n| answer(n, stables)).collect(),
        }
    })
}
