//! Which jobs to start, to answer for, and to remove. Pure.
//!
//! What must never happen: one request that is run twice at once, or answered by another one's end.

use std::collections::{BTreeMap, BTreeSet};

use fm_api::job::JobRequest;
use jiff::Timestamp;

use crate::world::{Task, TaskState};

/// What the store and Docker show of one release's jobs.
pub(crate) struct Seen<'a> {
    /// The analysis run that the release's target is in, and the gates that are due: a job of anything else is over.
    pub(crate) runs: &'a BTreeSet<String>,
    /// By measurement.
    pub(crate) requests: &'a BTreeMap<String, JobRequest>,
    /// The id of the last request that was answered, by measurement.
    pub(crate) answered: &'a BTreeMap<String, String>,
    /// The release's job services.
    pub(crate) services: &'a [JobService],
    /// Now.
    pub(crate) now: Timestamp,
}

/// A service that runs a job.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct JobService {
    /// Docker's id.
    pub(crate) id: String,
    /// Its name.
    pub(crate) name: String,
    /// `METRIC/SIDE`.
    pub(crate) measurement: String,
    /// The request's id.
    pub(crate) job: String,
    /// Its newest task.
    pub(crate) task: Option<Task>,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Start the job of this measurement.
    Create(String),
    /// Write down how it ended.
    Answer {
        /// The measurement.
        measurement: String,
        /// How it ended.
        end: End,
        /// The service whose log is kept, by place in `services`.
        service: Option<usize>,
    },
    /// Remove a service, by Docker's id.
    Remove(String),
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// With this code.
    Exit(i64),
    /// Without one, in Docker's words.
    Failed(String),
}

/// Plans.
pub(crate) fn plan(seen: &Seen<'_>) -> Vec<Action> {
    let open = |measurement: &str, id: &str| {
        let request = seen.requests.get(measurement);
        request.is_some_and(|r| r.id == id && seen.runs.contains(&r.run))
            && seen.answered.get(measurement).map(String::as_str) != Some(id)
    };
    let wanted = (seen.requests.iter()).filter(|(measurement, r)| open(measurement, &r.id));
    let mut actions: Vec<Action> = wanted
        .filter_map(|(measurement, request)| one(seen, measurement, request))
        .collect();
    let over = (seen.services.iter()).filter(|s| !open(&s.measurement, &s.job));
    actions.extend(over.map(|service| Action::Remove(service.id.clone())));
    actions
}

fn one(seen: &Seen<'_>, measurement: &str, request: &JobRequest) -> Option<Action> {
    let late = seen.now >= request.until;
    let place =
        (seen.services.iter()).position(|s| s.measurement == measurement && s.job == request.id);
    let answer = |end| Action::Answer {
        measurement: measurement.to_owned(),
        end,
        service: place,
    };
    let Some(service) = place.and_then(|place| seen.services.get(place)) else {
        let words = "the job was not started within its time limit".to_owned();
        return Some(if late {
            answer(End::Failed(words))
        } else {
            Action::Create(measurement.to_owned())
        });
    };
    match service.task.as_ref().map(end) {
        Some(Ok(end)) => Some(answer(end)),
        going if late => {
            let words = match going {
                Some(Err(words)) if !words.is_empty() => format!(": {words}"),
                _ => String::new(),
            };
            let words = format!("the job was not over within its time limit{words}");
            Some(answer(End::Failed(words)))
        }
        _ => None,
    }
}

/// How a task ended, or what is said of it while it goes on.
fn end(task: &Task) -> Result<End, &str> {
    let status = &task.status;
    let words = if status.err.is_empty() {
        status.message.as_str()
    } else {
        status.err.as_str()
    };
    let code = status.container_status.as_ref().and_then(|c| c.exit_code);
    match status.state {
        TaskState::Complete => Ok(End::Exit(code.unwrap_or(0))),
        // Any other failure is that no process came to run: its code, if there is one, is Docker's.
        TaskState::Failed if status.err.starts_with("task: non-zero exit") => {
            Ok(code.map_or_else(|| End::Failed(words.to_owned()), End::Exit))
        }
        TaskState::Failed
        | TaskState::Rejected
        | TaskState::Shutdown
        | TaskState::Remove
        | TaskState::Orphaned => Ok(End::Failed(words.to_owned())),
        TaskState::New
        | TaskState::Allocated
        | TaskState::Pending
        | TaskState::Assigned
        | TaskState::Accepted
        | TaskState::Preparing
        | TaskState::Ready
        | TaskState::Starting
        | TaskState::Running
        | TaskState::Unknown => Err(words),
    }
}

#[cfg(test)]
mod tests;
