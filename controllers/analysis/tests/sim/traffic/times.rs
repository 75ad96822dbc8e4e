//! Response times that are not those of one steady distribution.

use fm_telemetry::histogram::{Histogram, bin};

use super::super::random::{Random, times};
use super::{BASE, Kind, Load, Second, answers};

/// A share of the answers comes from a cache after 5 ms, the others after 100 ms.
pub(crate) fn two_modes(load: Load, hits: f64) -> Kind {
    let answer = move |random: &mut Random, requests: u64| {
        let mut did = answers(random, requests, BASE);
        let good = requests - did.counted.bad;
        let quick = random.binomial(good, hits);
        let mut histogram = Histogram::default();
        histogram.add(bin(5.0), quick);
        histogram.add(bin(100.0), good - quick);
        did.latency = Some(histogram);
        did
    };
    Box::new(move |random, _| {
        let (canary, stable) = load.split(random);
        Second {
            canary: answer(random, canary),
            stable: stable.into_iter().map(|n| answer(random, n)).collect(),
        }
    })
}

/// The logarithm of each side's response times wanders: AR(1) from second to second, with this standard deviation in the long run.
pub(crate) fn wandering(load: Load, phi: f64, deviation: f64) -> Kind {
    let (mut canarys, mut stables) = (0.0, 0.0);
    let step = deviation * (1.0 - phi * phi).sqrt();
    Box::new(move |random, _| {
        for side in [&mut canarys, &mut stables] {
            *side = phi * *side + step * random.normal();
        }
        let (canary, stable) = load.split(random);
        Second {
            canary: timed(random, canary, canarys),
            stable: (stable.into_iter())
                .map(|n| timed(random, n, stables))
                .collect(),
        }
    })
}

/// The canary takes so many times as long until this second.
pub(crate) fn cold(load: Load, until: i64, longer: f64) -> Kind {
    Box::new(move |random, second| {
        let log = if second <= until { longer.ln() } else { 0.0 };
        let (canary, stable) = load.split(random);
        Second {
            canary: timed(random, canary, log),
            stable: stable.into_iter().map(|n| timed(random, n, 0.0)).collect(),
        }
    })
}

fn timed(random: &mut Random, requests: u64, log: f64) -> fm_analysis::evidence::Tally {
    let mut did = answers(random, requests, BASE);
    let good = requests - did.counted.bad;
    did.latency = Some(random.times_longer(good, times(50), log));
    did
}
