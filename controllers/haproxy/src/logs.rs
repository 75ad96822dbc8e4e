//! What the counting of log lines must know of HAProxy: which backends there are, and how many lines it says it dropped.
//!
//! Owner: nobody but the counters keeps any of it. What must never happen: a turn that fails because of it.

use fm_telemetry::Handle;
use fm_telemetry::backends::Backend;
use fm_telemetry::record::SplitRecord;
use tokio::time::{Duration, Instant};

use crate::audit::Audit;
use crate::maps::{Entries, Map};
use crate::runtime::Client;
use crate::state::Running;

/// How often HAProxy is asked what it dropped.
const EVERY: Duration = Duration::from_secs(10);

/// Between turns.
pub(crate) struct Logs {
    handle: Handle,
    /// The split map that was last told.
    told: Option<Entries>,
    /// What HAProxy's own counters showed; a new worker begins at nothing.
    dropped: u64,
    asked: Option<Instant>,
    audit: Audit,
}

impl Logs {
    pub(crate) fn new(handle: Handle) -> Self {
        Self {
            handle,
            told: None,
            dropped: 0,
            asked: None,
            audit: Audit::default(),
        }
    }

    /// Tells which backends there are, by the split map in force.
    pub(crate) fn follow(&mut self, running: Option<&Running>) {
        let split = running.and_then(|running| running.maps.get(&Map::Split));
        if let Some(split) = split.filter(|split| self.told.as_ref() != Some(*split)) {
            self.handle
                .set_backends(split.values().flat_map(|record| backends(record)));
            self.told = Some(split.clone());
        }
    }

    /// Looks for requests that no line tells of.
    pub(crate) async fn audit(
        &mut self,
        client: &mut Client,
        worker: Option<u32>,
        running: &Running,
    ) {
        self.audit.look(client, worker, running, &self.handle).await;
    }

    /// Asks HAProxy now and then what it dropped. No answer is none: it is asked again.
    pub(crate) async fn ask(&mut self, client: &mut Client) {
        if self.asked.is_some_and(|at| at.elapsed() < EVERY) {
            return;
        }
        self.asked = Some(Instant::now());
        let commands = ["show info".to_owned(), "show events".to_owned()];
        let Ok(answers) = client.run(&commands).await else {
            return;
        };
        let now = answers.iter().map(|text| dropped(text)).sum();
        self.handle
            .dropped(now - if now < self.dropped { 0 } else { self.dropped });
        self.dropped = now;
    }
}

/// A record's backends. One that cannot be read has none.
fn backends(text: &str) -> Vec<(String, Backend)> {
    let Some(record) = SplitRecord::parse(text) else {
        return Vec::new();
    };
    let backend = |canary| Backend {
        record: text.to_owned(),
        canary,
    };
    let canary = record.canary_backend.map(|name| (name, backend(true)));
    let stable = (record.stable_backend, backend(false));
    std::iter::once(stable).chain(canary).collect()
}

/// `DroppedLogs: 7` of `show info`; `fm_log : type=buffer, 7 dropped, …` of `show events`.
fn dropped(text: &str) -> u64 {
    let number = |line: &str| -> Option<u64> {
        if let Some(rest) = line.strip_prefix("DroppedLogs:") {
            return rest.trim().parse().ok();
        }
        let (name, rest) = line.split_once(':')?;
        let (before, _) = rest.split_once(" dropped")?;
        let ours = name.trim() == "fm_log";
        ours.then(|| before.rsplit(' ').next()?.parse().ok())?
    };
    text.lines().filter_map(number).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_of_haproxys_counters_are_read() {
        assert_eq!(
            dropped("Name: HAProxy\nDroppedLogs: 2989\nMaxconn: 1\n"),
            2989
        );
        let events = "Supported events sinks are listed below.\n    stdout     : type=fd, 3 dropped, standard output (fd#1)\n    fm_log     : type=buffer, 17 dropped, fm_log\n";
        assert_eq!(dropped(events), 17);
        assert_eq!(
            dropped("Unknown command. DroppedLogs: x\nDroppedLogs: x"),
            0
        );
    }

    #[test]
    fn a_record_names_one_backend_or_two() {
        let names = |text| backends(text).into_iter().map(|(name, b)| (name, b.canary));
        let both: Vec<_> = names("r|0bad|500|r0_a|r0_b|n/s|aaaa|bbbb|7").collect();
        assert_eq!(
            both,
            [("r0_a".to_owned(), false), ("r0_b".to_owned(), true)]
        );
        assert_eq!(names("r|0bad|500|r0_a|-|n/s|aaaa|-|7").count(), 1);
        assert_eq!(names("nonsense").count(), 0);
    }
}
