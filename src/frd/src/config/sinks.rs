//! `sinks:` — where signals are written to. Each entry is checked where it stands, so that its error has a line.

use std::collections::BTreeMap;

use fm_api::criteria::metrics::origin;
use fm_api::quantity::Span;
use reqwest::Url;
use serde::Deserialize;

use crate::sinks::Kind;

/// Seconds between two points, if nothing is said.
const INTERVAL: u32 = 10;

/// One sink.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Written")]
pub(crate) struct Sink {
    pub(crate) name: Option<String>,
    pub(crate) kind: Kind,
    pub(crate) url: Url,
    /// Of the logins below `providers`.
    pub(crate) auth_ref: Option<String>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) interval: u32,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    name: Option<String>,
    influx: Option<Influx>,
    remote_write: Option<RemoteWrite>,
    auth_ref: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    interval: Option<Span>,
}

/// A database of InfluxDB 1, or an organisation's bucket of InfluxDB 2.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Influx {
    address: String,
    database: Option<String>,
    retention_policy: Option<String>,
    org: Option<String>,
    bucket: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RemoteWrite {
    address: String,
}

impl TryFrom<Written> for Sink {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let (kind, url) = match (written.influx, written.remote_write) {
            (Some(influx), None) => (Kind::Influx, influx.url()?),
            (None, Some(remote)) => {
                let url = url("sinks.remoteWrite.address", &remote.address)?;
                (Kind::RemoteWrite, url)
            }
            _ => return Err("sinks: each entry has either influx or remoteWrite".to_owned()),
        };
        if let Some(wrong) = written.labels.keys().find(|name| !is_name(name)) {
            return Err(format!(
                "sinks.labels: `{}` is no name; allowed: a letter, then letters, digits and _",
                wrong.escape_debug()
            ));
        }
        Ok(Self {
            name: written.name,
            kind,
            url,
            auth_ref: written.auth_ref,
            labels: written.labels,
            interval: interval(written.interval)?,
        })
    }
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_alphabetic());
    first && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn interval(asked: Option<Span>) -> Result<u32, String> {
    let Some(ms) = asked.map(Span::as_millis) else {
        return Ok(INTERVAL);
    };
    let whole = (1_000..=20_000).contains(&ms) && ms % 1_000 == 0;
    let seconds = u32::try_from(ms / 1_000).ok().filter(|_| whole);
    seconds.ok_or_else(|| "sinks.interval: allowed: whole seconds from 1s to 20s".to_owned())
}

impl Influx {
    fn url(self) -> Result<Url, String> {
        let mut url = url("sinks.influx.address", &self.address)?;
        let base = url.path().trim_end_matches('/').to_owned();
        let (path, pairs) = match (&self.database, &self.org, &self.bucket) {
            (Some(database), None, None) => {
                let policy = self
                    .retention_policy
                    .as_deref()
                    .map(|policy| ("rp", policy));
                let pairs = [("db", database.as_str())].into_iter().chain(policy);
                ("write", pairs.collect::<Vec<_>>())
            }
            (None, Some(org), Some(bucket)) if self.retention_policy.is_none() => {
                let pairs = vec![("org", org.as_str()), ("bucket", bucket.as_str())];
                ("api/v2/write", pairs)
            }
            _ => {
                return Err(
                    "sinks.influx: allowed: database (and retentionPolicy) for version 1, or org and bucket for version 2"
                        .to_owned(),
                );
            }
        };
        url.set_path(&format!("{base}/{path}"));
        url.query_pairs_mut()
            .extend_pairs(pairs)
            .append_pair("precision", "s");
        Ok(url)
    }
}

fn url(field: &str, address: &str) -> Result<Url, String> {
    let wrong = |why: String| format!("{field}: `{}` is no address: {why}", address.escape_debug());
    origin(address).map_err(wrong)?;
    Url::parse(address).map_err(|error| wrong(error.to_string()))
}
