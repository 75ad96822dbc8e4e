//! Lines of logs, and what is left of revisions: their record, how their rollouts ended, and the last lines of those that failed.

use fm_api::http::View;
use fm_api::job::JobObserved;
use fm_api::log::{KeptLog, LogLine, Stream};
use fm_api::rollout::{HistoryEntry, Outcome, Word};
use fm_api::target::RevisionRecord;

use super::history;
use crate::error::Result;
use crate::text::{Look, clean, wrap};

/// Characters of a task's id that are shown, as Docker shows them.
const ID: usize = 12;
/// Lines that are shown where they stand among other things.
const FEW: usize = 10;

/// A line for people: whose it is, then what it says.
pub(crate) fn log_line(line: &LogLine, timestamps: bool, wide: bool, look: &Look) -> String {
    let task: String = clean(&line.task).chars().take(ID).collect();
    let mut whose = format!("#{} {task}", line.number);
    if wide {
        whose.push_str(&format!(" {}", clean(&line.node)));
    }
    if timestamps {
        whose = format!("{} {whose}", line.at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ"));
    }
    let text = clean(&line.text);
    let whose = match line.stream {
        Stream::Stdout => look.paint.cyan(&whose),
        Stream::Stderr => look.paint.yellow(&whose),
    };
    format!("{whose} | {text}")
}

/// The last lines of the rollout that failed last, if its log was kept.
pub(crate) fn last_words(view: &View, look: &Look) -> Option<(String, Vec<String>)> {
    let target = view.target.as_ref();
    let mut failed = target.into_iter().flat_map(|target| {
        let ended = target.history.iter().rev();
        ended.filter(|entry| match entry.outcome {
            Outcome::RolledBack | Outcome::Aborted | Outcome::Failed => true,
            Outcome::Promoted | Outcome::Replaced | Outcome::Over => false,
        })
    });
    let of_history = failed.find_map(|entry| {
        let log = view.logs.get(&entry.revision)?;
        Some((entry.revision.clone(), log))
    });
    // A first revision that never came up is in no history.
    let newest = || {
        let logs = view.logs.iter();
        let newest = logs.max_by_key(|(_, log)| log.at);
        newest.map(|(id, log)| (id.clone(), log))
    };
    let (id, log) = of_history.or_else(newest)?;
    let number = log.lines.first().map(|line| format!("#{} ", line.number));
    let title = format!(
        "Last lines of {}{id}, as they were kept",
        number.unwrap_or_default()
    );
    Some((title, kept(log, FEW, look)))
}

/// Everything that is known of an earlier revision.
pub(crate) fn revision_of_old(
    record: Option<&RevisionRecord>,
    past: &[HistoryEntry],
    jobs: &[(String, JobObserved)],
    log: Option<&KeptLog>,
    look: &Look,
) -> Result<String> {
    let mut out = String::new();
    if let Some(record) = record {
        let by = record.created_by.as_deref().unwrap_or("somebody");
        out.push_str(&format!(
            "revision {} ({}), asked for by {by} at {}, generation {}\nruns {}\n",
            record.number,
            record.id,
            look.clock(record.created_at),
            record.generation,
            record.image.pinned
        ));
    }
    if !past.is_empty() {
        out.push('\n');
        out.push_str(&history(past, look));
        for entry in past {
            let lines = wrap(&clean(&entry.why), look.columns());
            out.push_str(&format!("\n{}: {}\n", entry.reason, lines.join("\n")));
            for word in entry.words.iter().chain(&entry.afterwards) {
                let lines = wrap(&said(word, look), look.columns());
                out.push_str(&format!("{}\n", lines.join("\n")));
            }
        }
    }
    if let Some(record) = record {
        out.push_str(&format!("\n{}\n", look.paint.bold("Workload")));
        out.push_str(&crate::session::yaml(&record.workload)?);
    }
    if !jobs.is_empty() {
        out.push_str(&format!("\n{}\n", look.paint.bold("Jobs")));
    }
    for line in jobs
        .iter()
        .flat_map(|(name, job)| super::describe::ended(name, job, look))
    {
        out.push_str(&format!("{}\n", line.trim_end()));
    }
    if let Some(log) = log {
        out.push_str(&format!("\n{}\n", look.paint.bold("Last lines")));
        for line in kept(log, usize::MAX, look) {
            out.push_str(&line);
            out.push('\n');
        }
    }
    Ok(out)
}

/// `10:31:02 promote by ann (looks good): approved`.
fn said(word: &Word, look: &Look) -> String {
    let why = word.why.as_ref();
    let why = why.map_or_else(String::new, |why| format!(" ({})", clean(why)));
    let (at, asked) = (look.clock(word.at), clean(&word.asked));
    format!(
        "{at} {asked} by {}{why}: {}",
        clean(&word.by),
        clean(&word.answer)
    )
}

fn kept(log: &KeptLog, most: usize, look: &Look) -> Vec<String> {
    let failure = log.failure.as_ref();
    let mut lines: Vec<String> = failure
        .map(|failure| format!("Docker says: {}", clean(failure)))
        .into_iter()
        .collect();
    if log.lines.is_empty() {
        lines.push("its tasks wrote nothing".to_owned());
    }
    let from = log.lines.len().saturating_sub(most);
    let last = log.lines.iter().skip(from);
    lines.extend(last.map(|line| log_line(line, true, false, look)));
    lines
}
