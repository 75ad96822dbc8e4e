//! InfluxDB's line protocol. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use fm_api::signals::Share;
use fm_signals::{Sample, Series};

use super::queue::Batch;
use crate::api::signals::golden;

/// The measurement.
const NAME: &str = "fridaymorning";

/// One point for each series: what it did in the `span` seconds that begin at `at`.
pub(super) fn batch(
    counted: &BTreeMap<Series, Sample>,
    at: i64,
    span: i64,
    labels: &BTreeMap<String, String>,
) -> Batch {
    let mut text = String::new();
    for (series, sample) in counted {
        text.push_str(NAME);
        let (namespace, release) = series.release.split_once('/').unwrap_or_default();
        let endpoint = series.endpoint.as_deref().unwrap_or_default();
        let own = [
            ("namespace", namespace),
            ("release", release),
            ("revision", &series.revision),
            ("endpoint", endpoint),
        ];
        let more = labels
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in more.chain(own).filter(|(_, value)| !value.is_empty()) {
            let _ = write!(text, ",{}={}", escaped(name), escaped(value));
        }
        let signals = golden(sample, span);
        let _ = write!(
            text,
            " requests={}i,bad={}i,rps={}",
            signals.requests, signals.bad, signals.rps
        );
        let mean = |share: Option<Share>| share.map(|share| share.mean);
        let max = |share: Option<Share>| share.map(|share| share.max);
        for (name, value) in [
            ("error_rate", signals.error_rate),
            ("p50_ms", signals.p50_ms),
            ("p95_ms", signals.p95_ms),
            ("p99_ms", signals.p99_ms),
            ("cpu_mean", mean(signals.cpu)),
            ("cpu_max", max(signals.cpu)),
            ("memory_mean", mean(signals.memory)),
            ("memory_max", max(signals.memory)),
            ("cpus", mean(signals.cpus)),
            ("memory_bytes", mean(signals.memory_bytes)),
        ] {
            // The protocol has no word for what is no number.
            if let Some(value) = value.filter(|value| value.is_finite()) {
                let _ = write!(text, ",{name}={value}");
            }
        }
        let _ = writeln!(text, " {at}");
    }
    Batch {
        points: counted.len() as u64,
        body: text.into_bytes(),
    }
}

/// Tags: spaces, commas and equal signs are escaped; a line's end cannot be.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            ' ' | ',' | '=' => out.extend(['\\', c]),
            // A backslash at the end would escape what follows.
            '\\' => out.push('/'),
            c if c.is_control() => out.push('_'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_has_tags_fields_and_its_time_and_nothing_forges_another() {
        let series = |endpoint: Option<&str>| Series {
            release: "default/shop".into(),
            revision: "r1".into(),
            endpoint: endpoint.map(str::to_owned),
        };
        let mut sample = Sample {
            requests: 4,
            bad: 1,
            ..Sample::default()
        };
        let counted = BTreeMap::from([
            (series(None), sample.clone()),
            (series(Some("[::1]:80")), Sample::default()),
        ]);
        let labels = BTreeMap::from([("cluster".to_owned(), "a b,c=d\n\\".to_owned())]);
        let batch = batch(&counted, 1_700_000_000, 10, &labels);
        assert_eq!(batch.points, 2);
        assert_eq!(
            String::from_utf8(batch.body).unwrap(),
            "fridaymorning,cluster=a\\ b\\,c\\=d_/,namespace=default,release=shop,revision=r1 requests=4i,bad=1i,rps=0.4,error_rate=0.25 1700000000\n\
             fridaymorning,cluster=a\\ b\\,c\\=d_/,namespace=default,release=shop,revision=r1,endpoint=[::1]:80 requests=0i,bad=0i,rps=0 1700000000\n"
        );
        sample.latency.record(20.0);
        let one = BTreeMap::from([(series(None), sample)]);
        let text = String::from_utf8(super::batch(&one, 0, 10, &BTreeMap::new()).body).unwrap();
        assert!(text.contains(",p50_ms=") && !text.contains("NaN"), "{text}");
    }
}
