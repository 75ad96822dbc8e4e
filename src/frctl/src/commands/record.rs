//! `frctl analysis record`: writes a rollout's traffic down, one line a second, until the rollout's trial is over.

use std::fs::File;
use std::io::{self, Write};

use fm_analysis::recording::Second;
use fm_api::verdict::{Decision, Reason, Verdict};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use crate::cli::Record;
use crate::client::{Client, typed};
use crate::error::{Error, Exit, Result};
use crate::follow::{News, follow, next};
use crate::session::{Session, short};
use crate::term;
use crate::text::{self, clean, count};

/// A run that is older than this when its recording begins has shown more than the recording will.
const YOUNG: SignedDuration = SignedDuration::from_secs(3);

/// What frd tells each second.
#[derive(Debug, Deserialize)]
struct Told {
    at: Timestamp,
    run: Option<String>,
    since: Option<Timestamp>,
    second: Option<Second>,
    decision: Option<Decision>,
    reason: Option<Reason>,
}

pub(super) async fn run(session: &Session, options: &Record) -> Result<Exit> {
    let client = session.client()?;
    let key = session.key(&options.name)?;
    let mut out: Box<dyn Write> = if options.to.as_os_str() == "-" {
        Box::new(io::stdout())
    } else {
        let shown = options.to.display().to_string();
        let file = File::create(&options.to)
            .map_err(|error| Error::new(format!("{shown} cannot be written")).because(error))?;
        Box::new(file)
    };
    let mut news = follow(&client, &format!("{}/analysis", Client::release(&key)));
    let mut recording = Recording::default();
    loop {
        match next(&mut news).await? {
            News::Put(value) => {
                let told: Told = typed(value)?;
                if recording.over(&told) {
                    break;
                }
                if told.run.is_none() && !recording.waits {
                    recording.waits = true;
                    term::complain(&format!(
                        "nothing of {} is on trial: its next rollout is waited for",
                        short(&key)
                    ));
                }
                recording.write(told, &mut out)?;
            }
            News::Delete => break,
            News::Lost(message) => {
                term::complain(&clean(&format!("{message}; frctl goes on trying")))
            }
            News::Back => term::complain("frd is back"),
            News::Refused(error) => return Err(error),
        }
    }
    // The verdict outlasts the run that it speaks of.
    let path = format!("{}/verdict", Client::release(&key));
    if let Ok(value) = client.get(&path).await
        && let Ok(verdict) = typed::<Verdict>(value)
        && Some(&verdict.run) == recording.run.as_ref()
    {
        recording.concluded = Some((verdict.decision, verdict.reason));
    }
    term::complain(&recording.sum());
    Ok(Exit::Done)
}

/// What has been written so far.
#[derive(Debug, Default)]
struct Recording {
    run: Option<String>,
    lines: u64,
    first: Option<Timestamp>,
    concluded: Option<(Decision, Reason)>,
    waits: bool,
}

impl Recording {
    /// Whether this is no more of the run that is recorded.
    fn over(&self, told: &Told) -> bool {
        self.lines > 0 && told.run != self.run
    }

    fn write(&mut self, told: Told, out: &mut impl Write) -> Result<()> {
        self.run = told.run;
        let Some(second) = told.second else {
            return Ok(());
        };
        if let Some(since) = told.since
            && self.lines == 0
            && told.at.duration_since(since) > YOUNG
        {
            let age = text::short(told.at.duration_since(since));
            term::complain(&format!(
                "this rollout has had traffic for {age} already: what it showed until now is not recorded"
            ));
        }
        let first = *self.first.get_or_insert(told.at);
        for _ in 0..missed(told.at.duration_since(first), self.lines) {
            self.line(&unseen(&second), out)?;
        }
        self.line(&second, out)?;
        self.concluded = told.decision.zip(told.reason).or(self.concluded);
        Ok(())
    }

    fn line(&mut self, second: &Second, out: &mut impl Write) -> Result<()> {
        let text = serde_json::to_string(second).map_err(io::Error::from)?;
        let mut text = crate::text::escaped(text);
        text.push('\n');
        // At once: who replays a growing recording sees each second when it is over.
        out.write_all(text.as_bytes())?;
        out.flush()?;
        self.lines += 1;
        Ok(())
    }

    fn sum(&self) -> String {
        let lines = count(self.lines, "second");
        match &self.concluded {
            Some((decision, reason)) => {
                format!(
                    "recorded {lines}; analysis concluded: {} ({})",
                    word(decision),
                    word(reason)
                )
            }
            None => format!("recorded {lines}"),
        }
    }
}

/// How many seconds were never told, when so many lines are written so long after the first. One second may come late.
fn missed(since_first: SignedDuration, lines: u64) -> u64 {
    // A saturating cast: less than nothing is nothing.
    let due = since_first.as_secs_f64().round() as u64;
    let missed = due.saturating_sub(lines);
    if missed < 2 { 0 } else { missed.min(86_400) }
}

/// A second in which nobody could be asked.
fn unseen(after: &Second) -> Second {
    Second {
        weight: after.weight,
        unseen: Some("frd did not answer".to_owned()),
        ..Second::default()
    }
}

/// The word of a conclusion as it is written in JSON.
pub(super) fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => "?".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_that_nobody_told_are_made_up_for() {
        let ms = SignedDuration::from_millis;
        for (since_first, lines, wanted) in [
            (ms(0), 0, 0),
            (ms(1010), 1, 0),
            (ms(1600), 1, 0),
            (ms(5000), 2, 3),
            (ms(2000), 5, 0),
            (ms(-9000), 3, 0),
        ] {
            assert_eq!(missed(since_first, lines), wanted, "{since_first} {lines}");
        }
    }
}
