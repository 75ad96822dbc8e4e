//! `frctl metrics`: what was kept, for other programs; and the rules for Prometheus.

use std::io::Write;
use std::path::Path;

use fm_api::signals::{Golden, SignalList, SignalPoint};

use super::parquet;
use crate::cli::{Export, Format, Metrics};
use crate::client::{Client, shown};
use crate::error::{Error, Exit, Result};
use crate::session::{Session, json, yaml};
use crate::term;

/// The recording and alerting rules, as they are tested.
const RULES: &str = include_str!("../../rules/fridaymorning.rules.yml");

/// What is known of a point, or not.
type Number = fn(&Golden) -> Option<f64>;

/// The columns of numbers that may be unknown.
pub(super) const NUMBERS: [(&str, Number); 13] = [
    ("rps", |signals| Some(signals.rps)),
    ("error_rate", |signals| signals.error_rate),
    ("p50_ms", |signals| signals.p50_ms),
    ("p95_ms", |signals| signals.p95_ms),
    ("p99_ms", |signals| signals.p99_ms),
    ("cpu_mean", |signals| signals.cpu.map(|share| share.mean)),
    ("cpu_max", |signals| signals.cpu.map(|share| share.max)),
    ("memory_mean", |signals| {
        signals.memory.map(|share| share.mean)
    }),
    ("memory_max", |signals| {
        signals.memory.map(|share| share.max)
    }),
    ("cpus_mean", |signals| signals.cpus.map(|used| used.mean)),
    ("cpus_max", |signals| signals.cpus.map(|used| used.max)),
    ("memory_bytes_mean", |signals| {
        signals.memory_bytes.map(|used| used.mean)
    }),
    ("memory_bytes_max", |signals| {
        signals.memory_bytes.map(|used| used.max)
    }),
];

/// The columns before them.
const FIRST: &str = "at,namespace,release,revision,endpoint,step_seconds,requests,bad";

pub(super) async fn run(session: &Session, command: &Metrics) -> Result<Exit> {
    match command {
        Metrics::Rules => term::print(RULES)?,
        Metrics::Export(options) => export(session, options).await?,
    }
    Ok(Exit::Done)
}

async fn export(session: &Session, options: &Export) -> Result<()> {
    let path = match &options.name {
        Some(name) => format!("{}/signals?", Client::release(&session.key(name)?)),
        None if options.all_namespaces => "/v1/signals?".to_owned(),
        // The key's check keeps the namespace from being anything but a name.
        None => {
            let key = session.key("x")?;
            format!("/v1/signals?namespace={}&", key.namespace())
        }
    };
    let mut query = format!("since={}", plain(&options.since)?);
    for (name, value) in [("until", &options.until), ("step", &options.step)] {
        if let Some(value) = value {
            query.push_str(&format!("&{name}={}", plain(value)?));
        }
    }
    if options.tasks {
        query.push_str("&endpoints=true");
    }
    let format = options.format.or(session.asked()).unwrap_or(Format::Csv);
    if matches!(format, Format::Table | Format::Wide | Format::Name) {
        return Err(Error::new("an export is for programs")
            .hint("allowed: -o csv, jsonl, json, yaml or parquet; `frctl top` is for people")
            .exit(Exit::Usage));
    }
    if format == Format::Parquet && options.out.is_none() && term::size().is_some() {
        return Err(Error::new("a Parquet file is nothing for a terminal")
            .hint("write it into a file with --out FILE")
            .exit(Exit::Usage));
    }
    let client = session.client()?;
    let list: SignalList = shown(client.get(&format!("{path}{query}")).await?)?;
    let bytes = match format {
        Format::Jsonl => lines(&list)?.into_bytes(),
        Format::Json => (json(&list)? + "\n").into_bytes(),
        Format::Yaml => yaml(&list)?.into_bytes(),
        Format::Parquet => parquet::file(&list)
            .map_err(|error| Error::new("this cannot be written as Parquet").because(error))?,
        Format::Csv | Format::Table | Format::Wide | Format::Name => csv(&list).into_bytes(),
    };
    match &options.out {
        None => term::bytes(&bytes),
        Some(path) => write(path, &bytes),
    }
}

/// The whole file or none of it: readers of the old one never see half of the new one.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let beside = path.with_extension(format!("{}.part", std::process::id()));
    let written = std::fs::File::create(&beside)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .and_then(|()| std::fs::rename(&beside, path));
    written.map_err(|error| {
        let _ = std::fs::remove_file(&beside);
        Error::new(format!("{} cannot be written", path.display())).because(error)
    })
}

/// A time or a span as it goes into an address.
fn plain(text: &str) -> Result<String> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | ':' | '.' | '+');
    if text.is_empty() || !text.chars().all(fine) {
        return Err(Error::new(format!("`{}` is no time", text.escape_debug()))
            .hint(
                "write how long ago, such as 90s, 1h or 7d, or a time such as 2026-11-22T18:00:00Z",
            )
            .exit(Exit::Usage));
    }
    Ok(text.replace('+', "%2B"))
}

fn csv(list: &SignalList) -> String {
    let mut text = FIRST.to_owned();
    for (name, _) in NUMBERS {
        text.push(',');
        text.push_str(name);
    }
    text.push('\n');
    for point in &list.items {
        text.push_str(&row(point, list.step_seconds));
        text.push('\n');
    }
    text
}

/// Names, revisions and addresses hold no comma and no quote; what does all the same is quoted.
fn row(point: &SignalPoint, step: i64) -> String {
    let signals = &point.signals;
    let mut cells = vec![
        point.at.to_string(),
        quoted(&point.namespace),
        quoted(&point.name),
        quoted(&point.revision),
        quoted(point.endpoint.as_deref().unwrap_or_default()),
        step.to_string(),
        signals.requests.to_string(),
        signals.bad.to_string(),
    ];
    let known = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
    cells.extend(NUMBERS.iter().map(|(_, number)| known(number(signals))));
    cells.join(",")
}

fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

fn lines(list: &SignalList) -> Result<String> {
    let mut text = String::new();
    for point in &list.items {
        let line = serde_json::to_string(point)
            .map_err(|error| Error::new("this cannot be written as JSON").because(error))?;
        text.push_str(&line);
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use fm_api::signals::Share;

    use super::*;

    fn list() -> SignalList {
        SignalList {
            step_seconds: 10,
            items: vec![SignalPoint {
                at: "2026-11-22T18:45:10Z".parse().unwrap(),
                namespace: "default".into(),
                name: "shop".into(),
                revision: "r\"1,".into(),
                endpoint: None,
                signals: Golden {
                    requests: 4,
                    bad: 1,
                    rps: 0.4,
                    error_rate: Some(0.25),
                    cpu: Some(Share {
                        mean: 0.5,
                        max: 0.75,
                    }),
                    ..Golden::default()
                },
            }],
        }
    }

    #[test]
    fn a_row_has_as_many_cells_as_the_head_and_what_is_unknown_is_empty() {
        let wanted =
            "2026-11-22T18:45:10Z,default,shop,\"r\"\"1,\",,10,4,1,0.4,0.25,,,,0.5,0.75,,,,,,";
        let text = csv(&list());
        let (head, rest) = text.split_once('\n').unwrap();
        assert_eq!(rest, format!("{wanted}\n"));
        assert_eq!(head.split(',').count(), 21);
        assert!(
            head.starts_with("at,namespace,") && head.ends_with(",memory_bytes_max"),
            "{head}"
        );
    }

    #[test]
    fn a_line_is_an_object_that_reads_back() {
        let text = lines(&list()).unwrap();
        let back: SignalPoint = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!((back, text.lines().count()), (list().items[0].clone(), 1));
    }

    #[test]
    fn nothing_but_a_time_gets_into_the_address() {
        assert_eq!(
            plain("2026-11-22T18:00:00+01:00").unwrap(),
            "2026-11-22T18:00:00%2B01:00"
        );
        assert!(plain("1h&name=x").is_err() && plain("").is_err());
    }

    #[test]
    fn a_file_is_written_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.csv");
        write(&path, b"a\n").unwrap();
        write(&path, b"b\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "b\n");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(write(&folder.path().join("no/out"), b"x").is_err());
    }
}
