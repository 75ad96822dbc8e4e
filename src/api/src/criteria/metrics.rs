//! Metrics of other systems: thresholds on measured series, and comparisons of a series between canary and stable.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::quantity::{Memory, Span};

/// One series that is measured again and again, and what it must keep to. It has exactly one source.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metric {
    /// Its name, unique in the release.
    pub name: String,
    /// Asks Prometheus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<PrometheusSource>,
    /// Asks InfluxDB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub influx: Option<InfluxSource>,
    /// Asks any address that answers JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub web: Option<WebSource>,
    /// Runs a job on Swarm, once for each measurement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobSource>,
    /// A value below it is a failure, or inconclusive down to `failBelow`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// A value above it is a failure, or inconclusive up to `failAbove`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// A value from here up to `min` is inconclusive; absent: a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fail_below: Option<f64>,
    /// A value from `max` up to here is inconclusive; absent: a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fail_above: Option<f64>,
    /// Compares the series of the canary with that of stable, instead of bounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compare: Option<Compare>,
    /// Time from one measurement to the next.
    #[serde(default)]
    pub interval: IntervalSpan,
    /// How long one measurement may take. Default: 10 s, of a job 2 minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// The largest answer that is read.
    #[serde(default)]
    pub size_limit: SizeLimit,
    /// So many failures are tolerated; the next one fails the metric.
    #[serde(default)]
    pub failure_limit: u32,
    /// So many inconclusive measurements are tolerated; the next one makes the metric inconclusive.
    #[serde(default)]
    pub inconclusive_limit: u32,
    /// So many errors in a row are tolerated; while there are more, the metric is inconclusive.
    #[serde(default)]
    pub consecutive_error_limit: ErrorLimit,
    /// After so many measurements it has concluded; errors do not count. Absent: it is measured as long as the rollout runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub count: Option<u32>,
    /// Time from the first traffic (or the start of its step) to the first measurement.
    #[serde(default)]
    pub initial_delay: DelaySpan,
    /// What it means that there is no value: nothing was found, or what was found is no finite number.
    #[serde(default)]
    pub on_no_data: OnNoData,
    /// It is measured in this step alone, from 1, and the step is not left before it passes. Absent: in the whole rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub step: Option<u32>,
}

span_with_default!(/// An interval; 30 s unless stated.
    IntervalSpan, Span::secs(30));
span_with_default!(/// A delay; none unless stated.
    DelaySpan, Span::ZERO);

/// Bytes of an answer; 1Mi unless stated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct SizeLimit(pub Memory);

impl Default for SizeLimit {
    fn default() -> Self {
        Self(Memory::bytes_of(1 << 20))
    }
}

/// Errors in a row; 4 unless stated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ErrorLimit(pub u32);

impl Default for ErrorLimit {
    fn default() -> Self {
        Self(4)
    }
}

/// A query that Prometheus answers with one number.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PrometheusSource {
    /// Where it is: `http://prometheus:9090`, with a path if it has one.
    pub address: String,
    /// The query, in PromQL, with `{{variables}}`. It must give one series.
    pub query: String,
    /// A login of `providers` in frd's configuration; never a secret in the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_ref: Option<String>,
}

/// A query that InfluxDB answers with one number.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InfluxSource {
    /// Where it is: `http://influxdb:8086`.
    pub address: String,
    /// The database.
    pub database: String,
    /// The query, in InfluxQL, with `{{variables}}`. It must give one row with one value.
    pub query: String,
    /// A login of `providers` in frd's configuration; never a secret in the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_ref: Option<String>,
}

/// An address that answers JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WebSource {
    /// The address, with `{{variables}}` in its path and query.
    pub url: String,
    /// How it is asked.
    #[serde(default)]
    pub method: WebMethod,
    /// Headers that are no secret.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 32))]
    pub headers: BTreeMap<String, String>,
    /// What is posted, with `{{variables}}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Where the one number is in the answer, as a JSONPath (RFC 9535).
    #[serde(default = "root")]
    pub json_path: String,
    /// A login of `providers` in frd's configuration; never a secret in the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_ref: Option<String>,
}

fn root() -> String {
    "$".to_owned()
}

/// How an address is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WebMethod {
    /// GET.
    #[default]
    #[serde(rename = "GET")]
    Get,
    /// POST.
    #[serde(rename = "POST")]
    Post,
}

/// A program that runs once, as a job on Swarm.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JobSource {
    /// The image.
    pub image: String,
    /// A name of `registryAuth` in frd's configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry_auth: Option<String>,
    /// Replaces the image's entry point, with `{{variables}}`.
    #[serde(default)]
    pub command: Vec<String>,
    /// The arguments, with `{{variables}}`.
    #[serde(default)]
    pub args: Vec<String>,
    /// The environment, with `{{variables}}` in its values.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 256))]
    pub env: BTreeMap<String, String>,
    /// Swarm networks that it joins.
    #[serde(default)]
    pub networks: Vec<String>,
    /// Where the one number is in the last line of its output, as a JSONPath. It must then exit with 0. Absent: the exit code is the value, and 0 is a success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json_path: Option<String>,
    /// Exit codes that are inconclusive.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub inconclusive_exit_codes: Vec<u8>,
}

/// A comparison of the canary's values with stable's, by the Mann-Whitney test: one value of each side at every interval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Compare {
    /// How much worse than stable's values the canary's may be, in the series' own unit. It passes when it is shown to be less worse than that, and fails when it is shown to be worse than that.
    pub tolerance: f64,
    /// What is worse.
    #[serde(default)]
    pub worse: Worse,
    /// Chance of failing a canary within the tolerance, and of passing one beyond it. It is shared among the looks: a half, a quarter, …
    #[serde(default = "Compare::alpha")]
    #[schemars(range(min = 1e-6, max = 0.5))]
    pub alpha: f64,
    /// The least effect, beyond the tolerance, that fails: Cliff's delta, from 0 (none) to 1 (every value of the canary is worse than every one of stable).
    #[serde(default = "Compare::effect")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub effect: f64,
    /// Values of each side at the first look; each further look has twice as many.
    #[serde(default = "Compare::min_samples")]
    #[schemars(range(min = 4, max = 100))]
    pub min_samples: u32,
}

impl Compare {
    /// The default chance of a wrong conclusion.
    #[must_use]
    pub const fn alpha() -> f64 {
        0.05
    }
    /// The default least effect: below it Cliff's delta is called negligible.
    #[must_use]
    pub const fn effect() -> f64 {
        0.147
    }
    /// The default number of values at the first look.
    #[must_use]
    pub const fn min_samples() -> u32 {
        10
    }
}

/// What is worse.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Worse {
    /// Higher values.
    #[default]
    Higher,
    /// Lower values.
    Lower,
}

/// What it means that there is no value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnNoData {
    /// Nothing: it does not count, and the last promotion waits for a value.
    #[default]
    Hold,
    /// It counts as a success.
    Pass,
    /// It counts as a failure.
    Fail,
}

impl Metric {
    /// How long one measurement may take.
    #[must_use]
    pub fn time_limit(&self) -> Span {
        let default = if self.job.is_some() { 120 } else { 10 };
        self.timeout.unwrap_or(Span::secs(default))
    }

    /// Everything in it that may hold variables: the path of each field, and its text.
    #[must_use]
    pub fn templated(&self) -> Vec<(String, &str)> {
        let mut texts = Vec::new();
        if let Some(source) = &self.prometheus {
            texts.push(("prometheus.query".to_owned(), source.query.as_str()));
        }
        if let Some(source) = &self.influx {
            texts.push(("influx.query".to_owned(), source.query.as_str()));
        }
        if let Some(source) = &self.web {
            texts.push(("web.url".to_owned(), source.url.as_str()));
            let body = source.body.as_deref();
            texts.extend(body.map(|body| ("web.body".to_owned(), body)));
        }
        if let Some(source) = &self.job {
            let list = |name: &str, items: &'_ [String]| -> Vec<String> {
                (0..items.len())
                    .map(|index| format!("job.{name}[{index}]"))
                    .collect()
            };
            let command = list("command", &source.command)
                .into_iter()
                .zip(&source.command);
            let args = list("args", &source.args).into_iter().zip(&source.args);
            let all = command
                .chain(args)
                .map(|(path, text)| (path, text.as_str()));
            texts.extend(all);
            texts.extend(
                source
                    .env
                    .iter()
                    .map(|(name, text)| (format!("job.env.{name}"), text.as_str())),
            );
        }
        texts
    }
}

/// Reads a JSONPath.
///
/// # Errors
/// Why it is none.
pub fn json_path(text: &str) -> Result<serde_json_path::JsonPath, String> {
    serde_json_path::JsonPath::parse(text).map_err(|error| error.to_string())
}

/// Whether a query in InfluxQL only reads: InfluxDB 1 does whatever it is told, by GET too.
///
/// # Errors
/// What it must be instead.
pub fn reads_only(query: &str) -> Result<(), &'static str> {
    const ALLOWED: &str = "only one SELECT without INTO is asked";
    let (mut plain, mut quote) = (String::new(), None);
    let mut letters = query.chars();
    while let Some(letter) = letters.next() {
        match quote {
            Some(_) if letter == '\\' => drop(letters.next()),
            Some(end) if letter == end => quote = None,
            Some(_) => {}
            None if matches!(letter, '\'' | '"') => {
                quote = Some(letter);
                // What was quoted is one word of no meaning.
                plain.push('_');
            }
            None => plain.push(letter.to_ascii_lowercase()),
        }
    }
    // A comment could hide what comes after it from us, or from InfluxDB.
    let hidden = plain.contains("--") || plain.contains("/*");
    let plain = plain.trim().trim_end_matches(';');
    let mut words = plain.split(|c: char| !(c.is_alphanumeric() || c == '_'));
    let select = words.next() == Some("select");
    if !select || words.any(|word| word == "into") || plain.contains(';') || hidden {
        return Err(ALLOWED);
    }
    Ok(())
}

/// Reads an address of a provider: its scheme, host and port, in lower case.
///
/// # Errors
/// Why it is none.
pub fn origin(address: &str) -> Result<String, String> {
    let (scheme, rest) = address.split_once("://").ok_or("it has no scheme")?;
    let scheme = scheme.to_ascii_lowercase();
    if scheme != "http" && scheme != "https" {
        return Err(format!("the scheme {scheme:?} is not spoken here"));
    }
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host.contains('@') {
        return Err(
            "it holds a login, but a manifest never holds secrets: name a provider with authRef"
                .to_owned(),
        );
    }
    if host.contains("{{") {
        return Err("its host has a variable: only its path and query may".to_owned());
    }
    if address.contains('#') {
        return Err("it has a fragment".to_owned());
    }
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    let safe = |c: char| c.is_ascii_alphanumeric() || ".-_[]:".contains(c);
    if name.is_empty() || !name.chars().all(safe) {
        return Err("it has no host".to_owned());
    }
    if port.is_some_and(|port| !port.parse::<u16>().is_ok_and(|port| port > 0)) {
        return Err("its port is none".to_owned());
    }
    if address.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("it holds spaces or control characters".to_owned());
    }
    let default = if scheme == "http" { "80" } else { "443" };
    Ok(format!(
        "{scheme}://{}:{}",
        name.to_ascii_lowercase(),
        port.unwrap_or(default)
    ))
}

#[cfg(test)]
mod tests {
    use super::reads_only;

    #[test]
    fn a_query_that_changes_something_is_told_from_one_that_reads() {
        for reads in [
            "SELECT mean(x) FROM y WHERE revision = 'a; DROP'",
            " select \"into\" from y; ",
            "SELECT x FROM y WHERE z = 'it\\'s; into'",
        ] {
            assert_eq!(reads_only(reads), Ok(()), "{reads}");
        }
        for other in [
            "DROP DATABASE x",
            "",
            "SELECT x FROM y; DROP DATABASE x",
            "SELECT x INTO z FROM y",
            "SELECT x into\nz FROM y",
            "SELECT x FROM y -- '\n; DROP DATABASE x",
            "SELECT x /* ' */ INTO z FROM y",
            "SHOW DATABASES",
            "selection",
        ] {
            assert!(reads_only(other).is_err(), "{other}");
        }
    }
}
