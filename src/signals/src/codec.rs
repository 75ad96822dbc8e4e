//! A sample as bytes: numbers of seven bits a byte, the histogram as steps between bins. A typical second takes 30 bytes.
//!
//! The first byte is the version; what cannot be read is no sample, never a wrong one.

use fm_telemetry::counters::Histogram;

use crate::model::{Gauge, Sample, Saturation, Use};

const VERSION: u8 = 1;

/// As bytes.
pub(crate) fn encode(sample: &Sample) -> Vec<u8> {
    let mut out = vec![VERSION];
    number(&mut out, sample.requests);
    number(&mut out, sample.bad);
    number(&mut out, sample.latency.iter().count() as u64);
    let mut last = 0;
    for (bin, count) in sample.latency.iter() {
        number(&mut out, u64::from(bin - last));
        number(&mut out, count);
        last = bin;
    }
    if let Some(saturation) = sample.saturation {
        for used in [saturation.cpu, saturation.memory] {
            for gauge in [used.used, used.share] {
                number(&mut out, gauge.count);
                number(&mut out, gauge.sum);
                number(&mut out, gauge.max);
            }
        }
    }
    out
}

/// From bytes; `None` if they are none of ours.
pub(crate) fn decode(bytes: &[u8]) -> Option<Sample> {
    let (&VERSION, mut rest) = bytes.split_first()? else {
        return None;
    };
    let rest = &mut rest;
    let (requests, bad) = (read(rest)?, read(rest)?);
    let mut bins = Vec::new();
    let mut bin = 0u16;
    for _ in 0..read(rest)?.min(u64::from(u16::MAX)) {
        bin = bin.checked_add(u16::try_from(read(rest)?).ok()?)?;
        bins.push((bin, read(rest)?));
    }
    let saturation = if rest.is_empty() {
        None
    } else {
        Some(Saturation {
            cpu: used(rest)?,
            memory: used(rest)?,
        })
    };
    rest.is_empty().then(|| Sample {
        requests,
        bad,
        latency: Histogram::from_bins(bins),
        saturation,
    })
}

fn used(rest: &mut &[u8]) -> Option<Use> {
    Some(Use {
        used: gauge(rest)?,
        share: gauge(rest)?,
    })
}

fn gauge(rest: &mut &[u8]) -> Option<Gauge> {
    Some(Gauge {
        count: read(rest)?,
        sum: read(rest)?,
        max: read(rest)?,
    })
}

fn number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn read(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, left) = rest.split_first()?;
        *rest = left;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    prop_compose! {
        fn gauges()(count in 0u64..1000, sum in any::<u64>(), max in any::<u64>()) -> Gauge {
            Gauge { count, sum, max }
        }
    }

    prop_compose! {
        fn uses()(used in gauges(), share in gauges()) -> Use {
            Use { used, share }
        }
    }

    proptest! {
        #[test]
        fn a_sample_survives(
            requests in any::<u64>(), bad in any::<u64>(),
            bins in proptest::collection::btree_map(any::<u16>(), 1..u64::MAX, 0..20),
            saturation in proptest::option::of((uses(), uses())),
        ) {
            let sample = Sample {
                requests, bad, latency: Histogram::from_bins(bins),
                saturation: saturation.map(|(cpu, memory)| Saturation { cpu, memory }),
            };
            prop_assert_eq!(decode(&encode(&sample)), Some(sample));
        }

        #[test]
        fn any_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode(&bytes);
        }
    }

    #[test]
    fn what_is_cut_short_is_no_sample() {
        let mut latency = Histogram::default();
        latency.record(20.0);
        let whole = encode(&Sample {
            requests: 300,
            bad: 1,
            latency,
            saturation: None,
        });
        for end in 0..whole.len() {
            assert_eq!(decode(&whole[..end]), None, "{end}");
        }
    }
}
