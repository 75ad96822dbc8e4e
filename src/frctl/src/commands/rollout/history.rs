//! `frctl rollout history`: finished rollouts, or everything that is known of one revision.

use fm_api::http::View;
use fm_api::job::{JobObserved, of_revision};
use fm_api::log::KeptLog;
use fm_api::rollout::HistoryEntry;
use fm_api::target::RevisionRecord;
use serde_json::{Map, Value, json};

use crate::cli::{History, Output};
use crate::client::{Client, shown};
use crate::error::{Error, Exit, Result};
use crate::render;
use crate::session::Session;
use crate::term;

pub(super) async fn run(session: &Session, options: &History) -> Result<Exit> {
    let client = session.client()?;
    let release = Client::release(&session.key(&options.name)?);
    let view = client.get(&format!("{release}/view")).await?;
    if let Some(text) = &options.revision {
        let revisions = client.get(&format!("{release}/revisions")).await?;
        return one(session, text, &view, &revisions["items"]);
    }
    let entries = match view.pointer("/target/history") {
        Some(entries) => entries.clone(),
        None => Value::Array(Vec::new()),
    };
    if session.object(&json!({ "items": entries }))? {
        return Ok(Exit::Done);
    }
    let entries: Vec<HistoryEntry> = shown(entries)?;
    if session.output() == Output::Name {
        for entry in entries.iter().rev() {
            term::line(entry.revision.as_str())?;
        }
        return Ok(Exit::Done);
    }
    if entries.is_empty() {
        term::complain("no rollout has ended yet");
        return Ok(Exit::Done);
    }
    let view: View = shown(view)?;
    let look = session.look();
    term::print(&render::history(&entries, &look))?;
    if let Some((title, lines)) = render::last_words(&view, &look) {
        term::print(&format!(
            "\n{}\n{}\n",
            look.paint.bold(&title),
            lines.join("\n")
        ))?;
    }
    Ok(Exit::Done)
}

/// Everything that is known of one revision.
fn one(session: &Session, text: &str, view: &Value, revisions: &Value) -> Result<Exit> {
    let entries = view.pointer("/target/history").and_then(Value::as_array);
    let entries: Vec<&Value> = entries.into_iter().flatten().collect();
    let is = |value: &Value, id: &str| {
        let known = value[id].as_str().unwrap_or_default();
        let begins = text.len() >= 4 && known.starts_with(text);
        text.parse::<u64>()
            .is_ok_and(|number| value["number"] == number)
            || begins
    };
    let record = revisions
        .as_array()
        .into_iter()
        .flatten()
        .find(|record| is(record, "id"));
    let past: Vec<&Value> = entries
        .into_iter()
        .filter(|entry| is(entry, "revision"))
        .collect();
    let id = record
        .and_then(|record| record["id"].as_str())
        .or_else(|| past.last().and_then(|entry| entry["revision"].as_str()));
    let Some(id) = id else {
        return Err(
            Error::new(format!("there is no revision `{}`", text.escape_debug())).hint(
                "`frctl rollout history NAME` lists finished rollouts; older ones are forgotten (spec.historyLimit)",
            ),
        );
    };
    let log = view["logs"].get(id).cloned().unwrap_or_default();
    let jobs = jobs(&view["jobs"], id);
    let all = json!({ "revision": record, "rollouts": past, "jobs": jobs, "log": log });
    if session.object(&all)? {
        return Ok(Exit::Done);
    }
    let jobs = jobs
        .into_iter()
        .map(|(name, job)| Ok((name, shown(job)?)))
        .collect::<Result<Vec<(String, JobObserved)>>>()?;
    let record: Option<RevisionRecord> = record.cloned().map(shown).transpose()?;
    let past: Vec<HistoryEntry> = past
        .into_iter()
        .map(|entry| shown(entry.clone()))
        .collect::<Result<_>>()?;
    let log: Option<KeptLog> = shown(log)?;
    term::print(&render::revision_of_old(
        record.as_ref(),
        &past,
        &jobs,
        log.as_ref(),
        &session.look(),
    )?)?;
    Ok(Exit::Done)
}

/// What became of the revision's jobs, by their names.
fn jobs(all: &Value, id: &str) -> Map<String, Value> {
    let all = all.as_object().into_iter().flatten();
    all.filter_map(|(measurement, job)| {
        let (name, of) = of_revision(measurement)?;
        (of.as_str() == id).then(|| (name.to_owned(), job.clone()))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_revision_has_the_log_of_its_own_job() {
        let all = json!({
            "_beforeTraffic/migrate": { "id": "5", "log": "five" },
            "_beforeTraffic/migrate/4444444444": { "id": "4", "log": "four" },
            "_beforeTraffic/migrate/5555555555": { "id": "5", "log": "five" },
            "smoke/canary": { "id": "m" },
        });
        let four = jobs(&all, "4444444444");
        assert_eq!((four.len(), &four["migrate"]["log"]), (1, &json!("four")));
        assert!(jobs(&all, "3333333333").is_empty());
    }
}
