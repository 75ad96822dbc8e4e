//! `frctl logs`: what a release's tasks write.

use std::collections::BTreeMap;
use std::time::Duration;

use fm_api::keys::ReleaseKey;
use fm_api::log::{LogLine, Stream};
use futures_util::StreamExt;
use jiff::{SignedDuration, Timestamp};
use reqwest::{Method, Response, StatusCode};

use crate::cli::{Logs, Output};
use crate::client::{Client, refusal};
use crate::error::{Error, Exit, Result};
use crate::render::log_line;
use crate::session::Session;
use crate::term;
use crate::text::Look;

/// A line of the answer is no longer; frd cuts lines far shorter.
const MOST: usize = 1 << 20;
/// As many lines of each task as frd gives at once.
const MOST_TAIL: u32 = 10_000;

pub(super) async fn run(session: &Session, options: &Logs) -> Result<Exit> {
    let client = session.client()?;
    let key = session.key(&options.name)?;
    let mut shown = Shown::new(session, options.timestamps);
    let asked = client.request(Method::GET, &path(&key, options, None));
    let response = asked.send().await;
    let mut response = response.map_err(|error| client.unreachable(error).error)?;
    let status = response.status();
    if !status.is_success() {
        let body = crate::client::words(response).await;
        return Err(refusal(status, &body).error);
    }
    let incomplete = response
        .headers()
        .get("x-incomplete")
        .is_some_and(|value| value == "true");
    loop {
        let broke = shown.all(response).await?;
        if !options.follow {
            if broke {
                return Err(Error::new(BROKE));
            }
            break;
        }
        match again(&client, &key, options, &mut shown, broke).await? {
            Some(next) => response = next,
            None => return Ok(Exit::Done),
        }
    }
    if incomplete {
        term::complain(
            "not everything is shown: a node did not answer in time, or it was too much; --tail and --since ask for less",
        );
    } else if !shown.any {
        term::complain("nothing was written, or no task is there");
    }
    Ok(Exit::Done)
}

/// Asks until frd answers again, for what came since the last line; `None`: the release is gone.
async fn again(
    client: &Client,
    key: &ReleaseKey,
    options: &Logs,
    shown: &mut Shown<'_>,
    broke: bool,
) -> Result<Option<Response>> {
    let mut said = broke;
    if said {
        term::complain(&format!("{BROKE}; trying again…"));
    }
    shown.before.clone_from(&shown.last);
    let path = path(key, options, shown.since());
    loop {
        tokio::time::sleep(AGAIN).await;
        match client.request(Method::GET, &path).send().await {
            Ok(response) if response.status().is_success() => {
                if said {
                    term::complain("frd answers again");
                }
                return Ok(Some(response));
            }
            Ok(response) if response.status() == StatusCode::NOT_FOUND => return Ok(None),
            Ok(response)
                if matches!(
                    response.status(),
                    StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
                ) =>
            {
                let status = response.status();
                let body = crate::client::words(response).await;
                return Err(refusal(status, &body).error);
            }
            // It is starting, or the side that is asked for has nobody just now.
            Ok(_) | Err(_) => {
                if !std::mem::replace(&mut said, true) {
                    term::complain(&format!("{BROKE}; trying again…"));
                }
            }
        }
    }
}

const BROKE: &str = "the connection to frd broke";
/// How soon frd is asked again after that.
const AGAIN: Duration = Duration::from_millis(500);
/// What tasks wrote is not handed on in the order of time: so much of what was shown last is read again.
const OVERLAP: SignedDuration = SignedDuration::from_secs(10);

/// What was shown.
struct Shown<'a> {
    session: &'a Session,
    timestamps: bool,
    look: Look,
    any: bool,
    /// The time of each task's last line, of each output.
    last: BTreeMap<(String, Stream), Timestamp>,
    /// The same when frd was last asked: what is not newer was shown.
    before: BTreeMap<(String, Stream), Timestamp>,
}

impl<'a> Shown<'a> {
    fn new(session: &'a Session, timestamps: bool) -> Self {
        Self {
            session,
            timestamps,
            look: session.look(),
            any: false,
            last: BTreeMap::new(),
            before: BTreeMap::new(),
        }
    }

    /// Shows an answer to its end; gives whether the connection broke before.
    async fn all(&mut self, response: Response) -> Result<bool> {
        let mut bytes = response.bytes_stream();
        let mut waiting: Vec<u8> = Vec::new();
        while let Some(chunk) = bytes.next().await {
            let Ok(chunk) = chunk else {
                return Ok(true);
            };
            waiting.extend_from_slice(&chunk);
            let whole = waiting.iter().rposition(|byte| *byte == b'\n');
            let rest = waiting.split_off(whole.map_or(0, |end| end + 1));
            for line in waiting
                .split(|byte| *byte == b'\n')
                .filter(|l| !l.is_empty())
            {
                self.one(line)?;
            }
            waiting = rest;
            if waiting.len() > MOST {
                return Err(Error::new(UNEXPECTED));
            }
        }
        Ok(false)
    }

    fn one(&mut self, text: &[u8]) -> Result<()> {
        let line: LogLine =
            serde_json::from_slice(text).map_err(|error| Error::new(UNEXPECTED).because(error))?;
        let output = (line.task.clone(), line.stream);
        if self
            .before
            .get(&output)
            .is_some_and(|shown| line.at <= *shown)
        {
            return Ok(());
        }
        self.any = true;
        self.last.insert(output, line.at);
        match self.session.output() {
            Output::Json => term::line(&String::from_utf8_lossy(text)),
            Output::Yaml => {
                let value: serde_json::Value = serde_json::from_slice(text).unwrap_or_default();
                term::print(&format!("---\n{}", crate::session::yaml(&value)?))
            }
            Output::Table | Output::Wide | Output::Name => {
                let wide = self.session.output() == Output::Wide;
                term::line(&log_line(&line, self.timestamps, wide, &self.look))
            }
        }
    }

    /// From when on it is read again.
    fn since(&self) -> Option<Timestamp> {
        self.last.values().max()?.checked_sub(OVERLAP).ok()
    }
}

const UNEXPECTED: &str = "frd's answer is not what frctl expects";

/// What to ask for; with a time: everything that came since then.
fn path(key: &ReleaseKey, options: &Logs, again: Option<Timestamp>) -> String {
    let tail = again.map_or(options.tail, |_| MOST_TAIL);
    let mut path = format!("{}/logs?tail={tail}", Client::release(key));
    if options.follow {
        path.push_str("&follow=true");
    }
    if options.canary {
        path.push_str("&side=canary");
    }
    if options.stable {
        path.push_str("&side=stable");
    }
    let since = again.map(|at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    let since = since.or_else(|| options.since.clone());
    for (name, value) in [("revision", &options.revision), ("since", &since)] {
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
