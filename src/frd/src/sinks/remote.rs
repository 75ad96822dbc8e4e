//! Prometheus' remote write, version 1: what `/metrics` says, as protobuf in a Snappy block. Pure.
//!
//! The same names as for a scrape, so that the same rules and dashboards read them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use prost::Message;

use super::queue::Batch;

#[derive(Clone, PartialEq, Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Point>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Point {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

/// Everything of a text in Prometheus' own format, at this time.
pub(super) fn batch(text: &str, now: Timestamp, labels: &BTreeMap<String, String>) -> Batch {
    let series = |line: &str| {
        let (name, own, value) = parse(line)?;
        let mut all = labels.clone();
        all.extend(own);
        all.insert("__name__".to_owned(), name.to_owned());
        // The protocol wants them sorted by name, which they are.
        let labels = all.into_iter().map(|(name, value)| Label { name, value });
        Some(TimeSeries {
            labels: labels.collect(),
            samples: vec![Point {
                value,
                timestamp: now.as_millisecond(),
            }],
        })
    };
    let request = WriteRequest {
        timeseries: text.lines().filter_map(series).collect(),
    };
    let plain = request.encode_to_vec();
    let points = request.timeseries.len() as u64;
    match snap::raw::Encoder::new().compress_vec(&plain) {
        Ok(body) => Batch { body, points },
        // Only beyond 4 GB.
        Err(_) => Batch::default(),
    }
}

/// Name, labels and value of a line; `None` for comments.
fn parse(line: &str) -> Option<(&str, BTreeMap<String, String>, f64)> {
    if line.starts_with('#') {
        return None;
    }
    let (series, value) = line.rsplit_once(' ')?;
    let value = match value {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        number => number.parse().ok()?,
    };
    let Some((name, rest)) = series.split_once('{') else {
        return Some((series, BTreeMap::new(), value));
    };
    let mut rest = rest.strip_suffix('}')?;
    let mut labels = BTreeMap::new();
    while !rest.is_empty() {
        let (label, after) = rest.split_once("=\"")?;
        let (text, after) = quoted(after)?;
        labels.insert(label.to_owned(), text);
        rest = after.strip_prefix(',').unwrap_or(after);
    }
    Some((name, labels, value))
}

/// A value up to its closing quote, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((out, text.get(at + 1..)?)),
            '\\' => out.push(match chars.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            c => out.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_of_the_text_arrives_with_its_labels_sorted() {
        let text = "# HELP a_total A.\n# TYPE a_total counter\na_total{release=\"shop\",class=\"2xx\"} 3\n\
                    up 1.5\nb_bucket{le=\"+Inf\",x=\"a\\\"b\\\\c\\nd,e=f}\"} +Inf\nbroken{ 1\n";
        let labels = BTreeMap::from([("job".to_owned(), "frd".to_owned())]);
        let now = Timestamp::from_millisecond(1_700_000_000_123).unwrap();
        let batch = batch(text, now, &labels);
        assert_eq!(batch.points, 3);
        let plain = snap::raw::Decoder::new()
            .decompress_vec(&batch.body)
            .unwrap();
        let request = WriteRequest::decode(plain.as_slice()).unwrap();
        let shown: Vec<String> = (request.timeseries.iter())
            .map(|series| {
                let labels = series.labels.iter();
                let labels: Vec<String> =
                    labels.map(|l| format!("{}={}", l.name, l.value)).collect();
                assert_eq!(series.samples[0].timestamp, 1_700_000_000_123);
                format!("{} {}", labels.join(","), series.samples[0].value)
            })
            .collect();
        assert_eq!(
            shown,
            [
                "__name__=a_total,class=2xx,job=frd,release=shop 3",
                "__name__=up,job=frd 1.5",
                "__name__=b_bucket,job=frd,le=+Inf,x=a\"b\\c\nd,e=f} inf",
            ]
        );
    }
}
