//! The last words of revisions that failed, kept while they can still be read: Docker forgets a task's log with the task.
//!
//! Owner of `observed/<ns>/<name>/logs/<revision>`. What must never happen: a release that waits for a log.

use std::collections::BTreeMap;
use std::time::Duration;

use fm_api::keys::RevisionId;
use fm_api::log::{KeptLog, LogLine};
use fm_api::observed::SwarmObserved;
use fm_api::target::Target;
use fm_runtime::{ReconcileError, decode};
use fm_store::Txn;

use crate::logs::frames::{Written, harmless};
use crate::logs::{self, Part};
use crate::observe::lock;
use crate::reconcile::{Round, Swarm};
use crate::world::{World, label};

/// A log that is not there by then is not kept.
const PATIENCE: Duration = Duration::from_secs(2);
/// Lines that are kept.
const LINES: usize = 50;
/// Characters of a line that are kept.
const LONGEST: usize = 400;
/// Bytes of all lines together, at the most.
const MOST: usize = 8 * 1024;

impl Swarm {
    /// Reads and keeps the logs of revisions that have failed since theirs were last kept.
    pub(crate) async fn keep_logs(
        &self,
        round: &Round<'_>,
        target: &Target,
        world: &World,
    ) -> Result<(), ReconcileError> {
        let Some(view) = world.releases.get(round.key) else {
            return Ok(());
        };
        let observed = self.stored(round.key);
        for service in &view.services {
            let id = service.revision();
            if service.label(label::UID) != target.uid {
                continue;
            }
            let cause = cause(target, observed.as_ref(), &id);
            let Some(cause) = cause else { continue };
            let known = lock(&round.memory).kept.get(&id).cloned();
            let known = known.or_else(|| self.kept(round, &id).map(|kept| kept_for(&kept)));
            if known.as_ref() == Some(&cause) {
                continue;
            }
            // Once for each cause, also when Docker has nothing to tell.
            lock(&round.memory).kept.insert(id.clone(), cause.clone());
            let part = Part {
                tail: Some(LINES as u32),
                since: None,
            };
            let read = logs::read(&self.docker, &service.id, part, PATIENCE).await;
            let found = match read {
                Ok(found) => found,
                Err(error) => {
                    tracing::info!(release = %round.key, %id, "its log is not kept: {error}");
                    continue;
                }
            };
            let nodes = world.nodes.iter();
            let nodes: BTreeMap<&str, &str> = nodes
                .map(|(id, node)| (id.as_str(), node.hostname.as_str()))
                .collect();
            let number = round.number(&id);
            let log = KeptLog {
                uid: target.uid.clone(),
                at: self.clock.now(),
                failure: cause.failure,
                lines: last(found.lines, &nodes, &id, number),
            };
            self.put_log(round, &id, &log).await?;
        }
        Ok(())
    }

    /// Forgets the logs of revisions that are forgotten themselves.
    pub(crate) async fn forget_logs(&self, round: &Round<'_>) -> Result<(), ReconcileError> {
        let prefix = round.key.observed_logs_prefix();
        for entry in self.cache.list(&prefix) {
            let Some(id) = entry.key.strip_prefix(&prefix).map(RevisionId::new) else {
                continue;
            };
            if self.cache.get(&round.key.revision(&id)).is_none() {
                lock(&round.memory).kept.remove(&id);
                let txn = Txn::new().fenced(round.fence()).delete(entry.key.clone());
                self.store.commit(txn).await?;
            }
        }
        Ok(())
    }

    fn kept(&self, round: &Round<'_>, id: &RevisionId) -> Option<KeptLog> {
        decode(&*self.cache.get(&round.key.observed_log(id))?).ok()
    }

    async fn put_log(
        &self,
        round: &Round<'_>,
        id: &RevisionId,
        log: &KeptLog,
    ) -> Result<(), ReconcileError> {
        let value =
            serde_json::to_vec(log).map_err(|error| ReconcileError::Terminal(error.to_string()))?;
        let txn = Txn::new()
            .fenced(round.fence())
            .put(round.key.observed_log(id), value);
        self.store.commit(txn).await?;
        Ok(())
    }
}

/// Why a log is kept: the last task that failed, or that the revision was taken back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cause {
    failure: Option<String>,
    taken_back: bool,
}

fn cause(target: &Target, observed: Option<&SwarmObserved>, id: &RevisionId) -> Option<Cause> {
    let observed = observed.filter(|observed| observed.uid == target.uid);
    let failures = observed
        .and_then(|observed| observed.revisions.get(id))
        .map_or(&[][..], |seen| &seen.failures);
    let last = failures.iter().rfind(|failure| failure.task.is_some());
    let failure = last.map(|last| {
        let task: String = last
            .task
            .iter()
            .flat_map(|task| task.chars().take(12))
            .collect();
        format!("{} (task {task})", last.message)
    });
    let taken_back = target.failed.contains_key(id);
    (taken_back || failure.is_some()).then_some(Cause {
        failure,
        taken_back,
    })
}

/// What an earlier process kept it for. Whether that was before it was taken back is not known: it is read once more.
fn kept_for(kept: &KeptLog) -> Cause {
    Cause {
        failure: kept.failure.clone(),
        taken_back: false,
    }
}

/// The last lines, within their bounds.
fn last(
    lines: Vec<Written>,
    nodes: &BTreeMap<&str, &str>,
    id: &RevisionId,
    number: u64,
) -> Vec<LogLine> {
    let mut size = 0;
    let mut kept: Vec<LogLine> = Vec::new();
    for line in lines.into_iter().rev().take(LINES) {
        let text = harmless(&line.text, LONGEST);
        size += text.len();
        if size > MOST {
            break;
        }
        kept.push(LogLine {
            at: line.at,
            revision: id.clone(),
            number,
            node: nodes
                .get(line.node.as_str())
                .map_or("", |name| name)
                .to_owned(),
            task: line.task,
            stream: line.stream,
            text,
        });
    }
    kept.reverse();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use fm_api::log::Stream;

    #[test]
    fn the_last_lines_are_kept_and_never_more_than_some_kilobytes() {
        let line = |n: usize, text: &str| Written {
            at: jiff::Timestamp::from_second(n as i64).unwrap(),
            task: "t1".to_owned(),
            node: "n1".to_owned(),
            stream: Stream::Stderr,
            text: format!("{n} {text}"),
        };
        let id = RevisionId::new("0123456789");
        let nodes = BTreeMap::from([("n1", "host-1")]);
        let short = (0..200).map(|n| line(n, "x")).collect();
        let kept = last(short, &nodes, &id, 4);
        assert_eq!(kept.len(), LINES);
        assert_eq!((&*kept[0].text, &*kept[49].text), ("150 x", "199 x"));
        assert_eq!((&*kept[0].node, kept[0].number), ("host-1", 4));
        let long = (0..200).map(|n| line(n, &"y".repeat(9999))).collect();
        let kept = last(long, &nodes, &id, 4);
        assert!(kept.iter().map(|line| line.text.len()).sum::<usize>() <= MOST);
        assert!(kept.len() > 10 && kept.last().unwrap().text.starts_with("199 "));
    }
}
