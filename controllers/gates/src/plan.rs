//! What to ask, what to run, and what was answered. Pure.
//!
//! What must never happen: a yes that nobody said, or one question asked twice at once.

use std::collections::{BTreeMap, BTreeSet};

use fm_api::criteria::template;
use fm_api::gates::{Due, GateAnswer, GateVerdict, GatesObserved, Webhook};
use fm_api::job::{JobObserved, JobRequest};
use fm_api::keys::{ReleaseKey, RevisionId};
use fm_api::quantity::Span;
use fm_api::target::RevisionRecord;
use jiff::Timestamp;

use crate::observe::Requests;

/// The first pause after a failure; each further one is twice as long.
const FIRST_PAUSE: Span = Span::secs(1);
/// The longest.
const LONGEST_PAUSE: Span = Span::secs(60);
/// So much of a job's log is read.
const LOG: u64 = 1 << 20;
/// No more of what a gate said is told.
const SAID: usize = 400;

/// Everything known of one release's gates.
#[derive(Debug, Default)]
pub struct Seen {
    /// The target's uid; empty: there is none.
    pub uid: String,
    /// What is due.
    pub due: Vec<Due>,
    /// What was answered before.
    pub old: GatesObserved,
    /// Whether that is stored.
    pub stored: bool,
    /// Jobs that are asked for.
    pub requests: Requests,
    /// What became of jobs, by the question's id.
    pub jobs: BTreeMap<String, JobObserved>,
    /// The revisions of the jobs.
    pub records: BTreeMap<RevisionId, RevisionRecord>,
    /// Calls that have ended, by the question's id: what was answered.
    pub ended: BTreeMap<String, Result<String, String>>,
    /// Calls that are under way.
    pub calling: BTreeSet<String>,
}

/// What is to be done.
#[derive(Debug, Default)]
pub struct Plan {
    /// What is to be written; absent: it goes.
    pub observed: Option<GatesObserved>,
    /// Webhooks to call now, each with the number of the attempt.
    pub asks: Vec<(Due, Webhook, u32)>,
    /// Jobs to have run.
    pub jobs: Vec<Due>,
    /// Keys of jobs that are wanted no more.
    pub withdrawn: Vec<String>,
    /// When to look again.
    pub next: Option<Timestamp>,
}

/// Plans.
#[must_use]
pub fn plan(seen: &Seen, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let mut observed = GatesObserved {
        uid: seen.uid.clone(),
        answers: BTreeMap::new(),
    };
    let mut wanted = BTreeSet::new();
    for due in &seen.due {
        let old = seen.old.answers.get(&due.id);
        let answer = match (&due.webhook, &due.job) {
            (Some(hook), _) => webhook(&mut plan, seen, due, hook, old, now),
            (None, Some(_)) => run(&mut plan, seen, due, old, &mut wanted),
            (None, None) => None,
        };
        observed
            .answers
            .extend(answer.map(|answer| (due.id.clone(), answer)));
    }
    let requests = seen.requests.keys();
    let left = requests.filter(|key| !wanted.iter().any(|name: &String| key.ends_with(name)));
    plan.withdrawn = left.cloned().collect();
    plan.observed = (!observed.answers.is_empty()).then_some(observed);
    plan
}

fn webhook(
    plan: &mut Plan,
    seen: &Seen,
    due: &Due,
    hook: &Webhook,
    old: Option<&GateAnswer>,
    now: Timestamp,
) -> Option<GateAnswer> {
    let over = old.is_some_and(|old| old.verdict != GateVerdict::Open);
    if over {
        return old.cloned();
    }
    if let Some(ended) = seen.ended.get(&due.id) {
        let answer = answered(hook, old, ended, now);
        plan.next = earliest(plan.next, answer.next);
        return Some(answer);
    }
    if seen.calling.contains(&due.id) {
        return old.cloned();
    }
    match old.and_then(|old| old.next) {
        Some(at) if now < at => plan.next = earliest(plan.next, Some(at)),
        Some(_) | None => {
            let attempt = old.map_or(0, |old| old.attempts) + 1;
            plan.asks.push((due.clone(), hook.clone(), attempt));
        }
    }
    old.cloned()
}

fn earliest(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    a.into_iter().chain(b).min()
}

/// What one more answer comes to.
fn answered(
    hook: &Webhook,
    old: Option<&GateAnswer>,
    ended: &Result<String, String>,
    now: Timestamp,
) -> GateAnswer {
    let attempts = old.map_or(0, |old| old.attempts).saturating_add(1);
    let (verdict, said) = match ended {
        Ok(said) => (GateVerdict::Yes, said),
        Err(said) if hook.when.confirms() || attempts <= hook.retries => (GateVerdict::Open, said),
        Err(said) => (GateVerdict::No, said),
    };
    let pause = if hook.when.confirms() {
        hook.interval
    } else {
        let doubled = FIRST_PAUSE.as_millis() << attempts.saturating_sub(1).min(10);
        Span::millis(doubled).min(LONGEST_PAUSE)
    };
    let next = now.checked_add(pause.to_signed()).ok();
    let tries = match attempts {
        1 => String::new(),
        more if verdict == GateVerdict::No => format!(", asked {more} times"),
        _ => String::new(),
    };
    GateAnswer {
        verdict,
        attempts,
        said: format!("{}{tries}", said.chars().take(SAID).collect::<String>()),
        at: now,
        next: next.filter(|_| verdict == GateVerdict::Open),
    }
}

fn run(
    plan: &mut Plan,
    seen: &Seen,
    due: &Due,
    old: Option<&GateAnswer>,
    wanted: &mut BTreeSet<String>,
) -> Option<GateAnswer> {
    if old.is_some_and(|old| old.verdict != GateVerdict::Open) {
        return old.cloned();
    }
    let id = job_id(due);
    if let Some(ended) = seen.jobs.get(&due.id).filter(|ended| ended.id == id) {
        return Some(job_ended(ended, due));
    }
    let name = format!("/{}", due.measurement());
    let asked = (seen.requests.iter())
        .any(|(key, known)| key.ends_with(&name) && known.as_ref() == Some(&id));
    wanted.insert(name);
    if !asked && seen.records.contains_key(&due.about.revision) {
        plan.jobs.push(due.clone());
    }
    None
}

/// Of this one run: a job that is asked for anew is another.
fn job_id(due: &Due) -> String {
    format!("{}-{:x}", due.id, due.since.as_millisecond())
}

fn job_ended(ended: &JobObserved, due: &Due) -> GateAnswer {
    let last = ended.log.lines().rev().find(|line| !line.trim().is_empty());
    let last = last.map_or_else(String::new, |line| format!(": {}", line.trim()));
    let (verdict, said) = match (ended.exit_code, &ended.failure) {
        (Some(0), None) => (GateVerdict::Yes, "it ended well".to_owned()),
        (Some(code), None) => (GateVerdict::No, format!("exit code {code}{last}")),
        (_, Some(failure)) => (GateVerdict::No, format!("{failure}{last}")),
        (None, None) => (GateVerdict::No, "it came to no end".to_owned()),
    };
    GateAnswer {
        verdict,
        attempts: 1,
        said: said.chars().take(SAID).collect(),
        at: ended.at.unwrap_or(due.since),
        next: None,
    }
}

/// The request that the swarm controller runs; `None` where the revision is not known.
#[must_use]
pub fn request(key: &ReleaseKey, due: &Due, record: &RevisionRecord) -> Option<JobRequest> {
    let job = due.job.as_ref()?;
    // Validation refuses variables that do not exist.
    let fill = |text: &String| {
        template::fill(text, |name| due.about.variable(key, name)).unwrap_or_else(|_| text.clone())
    };
    let until = due.since.checked_add(job.timeout.to_signed());
    let own = job.registry_auth.is_none() && job.image.is_none();
    Some(JobRequest {
        id: job_id(due),
        run: due.id.clone(),
        revision: Some(record.id.clone()),
        image: job
            .image
            .clone()
            .unwrap_or_else(|| record.image.pinned.clone()),
        registry_auth: if own {
            record.workload.registry_auth.clone()
        } else {
            job.registry_auth.clone()
        },
        command: job.command.iter().map(fill).collect(),
        args: job.args.iter().map(fill).collect(),
        env: (job.env.iter())
            .map(|(name, text)| (name.clone(), fill(text)))
            .collect(),
        networks: Vec::new(),
        like: Some(record.service.clone()),
        limit: LOG,
        until: until.unwrap_or(Timestamp::MAX),
    })
}

#[cfg(test)]
mod tests;
