//! The two text formats of `/metrics`: OpenMetrics for who asks for it, else Prometheus' own. Pure.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use fm_telemetry::histogram::{Histogram, bin, lower_edge};

/// The upper edges of the buckets in seconds: few, as each is a series per revision.
const EDGES: [f64; 11] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Which format is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Prometheus' own.
    Classic,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// What the header `Accept` asks for.
    pub(super) fn asked(accept: Option<&str>) -> Self {
        if accept.is_some_and(|accept| accept.contains("application/openmetrics-text")) {
            Format::OpenMetrics
        } else {
            Format::Classic
        }
    }

    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Format::Classic => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The whole text: what the registry wrote as OpenMetrics, and families written by [`Family`].
    pub(super) fn text(self, registry: &str, more: &str) -> String {
        let registry = registry.trim_end().trim_end_matches("# EOF");
        match self {
            Format::OpenMetrics => format!("{registry}{more}# EOF\n"),
            Format::Classic => format!("{}{more}", classic(registry)),
        }
    }
}

/// Prometheus' own format names a counter's family with `_total`, and knows no units.
fn classic(text: &str) -> String {
    let kind = |line: &str| -> Option<String> {
        let (name, kind) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
        (kind == "counter").then(|| name.to_owned())
    };
    let counters: BTreeSet<String> = text.lines().filter_map(kind).collect();
    let mut out = String::with_capacity(text.len());
    for line in text.lines().filter(|line| !line.starts_with("# UNIT ")) {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some(word), Some(name), Some(rest)) if counters.contains(name) => {
                let _ = writeln!(out, "# {word} {name}_total {rest}");
            }
            _ => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    out
}

/// A family of histograms, written from counts that are there already.
pub(super) struct Family {
    name: &'static str,
    text: String,
}

impl Family {
    pub(super) fn new(name: &'static str, help: &str) -> Self {
        Self {
            name,
            text: format!("# HELP {name} {help}\n# TYPE {name} histogram\n"),
        }
    }

    /// Adds a histogram of milliseconds. A bucket is right to 2.5 %, the width of a bin; the sum too.
    pub(super) fn add(&mut self, labels: &[(&'static str, String)], histogram: &Histogram) {
        // Names, revisions and namespaces hold nothing that would need an escape; other text gets one.
        let labels: Vec<String> = labels
            .iter()
            .map(|(name, value)| format!("{name}=\"{}\"", value.escape_default()))
            .collect();
        let labels = labels.join(",");
        let (name, count) = (self.name, histogram.count());
        for edge in EDGES {
            let beyond = histogram.count_from(bin(edge * 1000.0).saturating_add(1));
            let within = count.saturating_sub(beyond);
            let _ = writeln!(
                self.text,
                "{name}_bucket{{{labels},le=\"{edge:?}\"}} {within}"
            );
        }
        let sum: f64 = histogram
            .iter()
            .map(|(bin, n)| (lower_edge(bin) + lower_edge(bin.saturating_add(1))) / 2e3 * n as f64)
            .sum();
        let _ = writeln!(self.text, "{name}_bucket{{{labels},le=\"+Inf\"}} {count}");
        let _ = writeln!(self.text, "{name}_sum{{{labels}}} {sum}");
        let _ = writeln!(self.text, "{name}_count{{{labels}}} {count}");
    }

    /// The family as text; nothing if nothing was added.
    pub(super) fn text(self) -> String {
        if self.text.lines().count() > 2 {
            self.text
        } else {
            String::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (String, String) {
        let registry = "# HELP a_requests Requests.\n# TYPE a_requests counter\na_requests_total{x=\"1\"} 3\n\
                        # HELP a_up Up.\n# TYPE a_up gauge\na_up 1.0\n# EOF\n";
        let mut latency = Histogram::default();
        for ms in [0.0, 5.0, 6.0, 300.0, 60_000.0] {
            latency.record(ms);
        }
        let mut family = Family::new("a_duration_seconds", "How long.");
        family.add(&[("revision", "r1".to_owned())], &latency);
        (registry.to_owned(), family.text())
    }

    #[test]
    fn buckets_hold_what_is_below_their_edge() {
        let (_, text) = sample();
        for line in [
            "a_duration_seconds_bucket{revision=\"r1\",le=\"0.005\"} 2",
            "a_duration_seconds_bucket{revision=\"r1\",le=\"0.01\"} 3",
            "a_duration_seconds_bucket{revision=\"r1\",le=\"0.25\"} 3",
            "a_duration_seconds_bucket{revision=\"r1\",le=\"0.5\"} 4",
            "a_duration_seconds_bucket{revision=\"r1\",le=\"10.0\"} 4",
            "a_duration_seconds_bucket{revision=\"r1\",le=\"+Inf\"} 5",
            "a_duration_seconds_count{revision=\"r1\"} 5",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is not in\n{text}"
            );
        }
        assert_eq!(Family::new("a", "b").text(), "");
    }

    #[test]
    fn each_reader_gets_the_format_it_asks_for() {
        let (registry, more) = sample();
        let asked = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.2";
        let open = Format::asked(Some(asked)).text(&registry, &more);
        assert!(
            open.contains("# TYPE a_requests counter\n") && open.ends_with("} 5\n# EOF\n"),
            "{open}"
        );
        let classic = Format::asked(Some("*/*")).text(&registry, &more);
        assert!(
            classic.contains("# HELP a_requests_total Requests.\n# TYPE a_requests_total counter\na_requests_total{x=\"1\"} 3\n")
                && classic.contains("# TYPE a_up gauge\n") && !classic.contains("EOF"),
            "{classic}"
        );
    }
}
