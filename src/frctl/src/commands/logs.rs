//! `frctl logs`: what a release's tasks write.

use fm_api::log::LogLine;
use futures_util::StreamExt;
use reqwest::Method;

use crate::cli::{Logs, Output};
use crate::client::{Client, refusal};
use crate::error::{Error, Exit, Result};
use crate::render::log_line;
use crate::session::Session;
use crate::term;
use crate::text::Look;

/// A line of the answer is no longer; frd cuts lines far shorter.
const MOST: usize = 1 << 20;

pub(super) async fn run(session: &Session, options: &Logs) -> Result<Exit> {
    let client = session.client()?;
    let path = path(&session.key(&options.name)?, options);
    let asked = client.request(Method::GET, &path).send();
    let response = asked
        .await
        .map_err(|error| client.unreachable(error).error)?;
    let status = response.status();
    if !status.is_success() {
        let body = response.bytes().await.unwrap_or_default();
        return Err(refusal(status, &body).error);
    }
    let incomplete = response
        .headers()
        .get("x-incomplete")
        .is_some_and(|value| value == "true");
    let look = session.look();
    let mut bytes = response.bytes_stream();
    let mut waiting: Vec<u8> = Vec::new();
    let mut any = false;
    while let Some(chunk) = bytes.next().await {
        let chunk = chunk.map_err(|_| Error::new("the connection to frd broke"))?;
        waiting.extend_from_slice(&chunk);
        let whole = waiting.iter().rposition(|byte| *byte == b'\n');
        let rest = waiting.split_off(whole.map_or(0, |end| end + 1));
        for line in waiting
            .split(|byte| *byte == b'\n')
            .filter(|l| !l.is_empty())
        {
            one(session, line, options.timestamps, &look)?;
            any = true;
        }
        waiting = rest;
        if waiting.len() > MOST {
            return Err(Error::new("frd's answer is not what frctl expects"));
        }
    }
    if incomplete {
        term::complain(
            "not everything is shown: a node did not answer in time, or it was too much; --tail and --since ask for less",
        );
    } else if !any {
        term::complain("nothing was written, or no task is there");
    }
    Ok(Exit::Done)
}

fn path(key: &fm_api::keys::ReleaseKey, options: &Logs) -> String {
    let mut path = format!("{}/logs?tail={}", Client::release(key), options.tail);
    if options.follow {
        path.push_str("&follow=true");
    }
    if options.canary {
        path.push_str("&side=canary");
    }
    if options.stable {
        path.push_str("&side=stable");
    }
    for (name, value) in [("revision", &options.revision), ("since", &options.since)] {
        if let Some(value) = value {
            path.push_str(&format!("&{name}={}", escaped(value)));
        }
    }
    path
}

/// As a query takes it.
fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

fn one(session: &Session, line: &[u8], timestamps: bool, look: &Look) -> Result<()> {
    match session.output() {
        Output::Json => return term::line(&String::from_utf8_lossy(line)),
        Output::Yaml => {
            let value: serde_json::Value = serde_json::from_slice(line).unwrap_or_default();
            return term::print(&format!("---\n{}", crate::session::yaml(&value)?));
        }
        Output::Table | Output::Wide | Output::Name => {}
    }
    let line: LogLine = serde_json::from_slice(line)
        .map_err(|error| Error::new("frd's answer is not what frctl expects").because(error))?;
    term::line(&log_line(
        &line,
        timestamps,
        session.output() == Output::Wide,
        look,
    ))
}
