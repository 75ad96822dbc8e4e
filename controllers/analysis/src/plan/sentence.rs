//! The sentences of a verdict. Each says what was counted, what it was compared with, and what is needed.

use fm_api::criteria::{Analysis, Guards};
use fm_api::quantity::{Span, Weight};
use fm_api::verdict::Counted;
use jiff::{SignedDuration, Timestamp};

use super::{Situation, rate, requests_needed};
use crate::evidence::{Errors, Evidence, Latency, Lines, Shift};
use crate::pmix;

pub(super) fn errors_harm(criteria: &Analysis, errors: &Errors) -> String {
    format!(
        "canary answers {} badly ({} of {}) against {} of stable ({} of {}): harm is shown, evidence {} of {} needed",
        percent(errors.canary),
        errors.canary.bad,
        errors.canary.requests,
        percent(errors.stable),
        errors.stable.bad,
        errors.stable.requests,
        power(errors.log_e_harm(criteria)),
        power(pmix::threshold(criteria.errors.rollback.alpha)),
    )
}

pub(super) fn client_errors_harm(criteria: &Analysis, shift: &Shift) -> String {
    format!(
        "canary refuses {} of its requests as clients' mistakes, 4xx ({} of {}), against {} of stable ({} of {}): harm is \
         shown, evidence {} of {} needed",
        percent(shift.canary),
        shift.canary.bad,
        shift.canary.requests,
        percent(shift.stable),
        shift.stable.bad,
        shift.stable.requests,
        power(shift.log_e_harm(criteria)),
        power(pmix::threshold(criteria.errors.client_errors.alpha)),
    )
}

pub(super) fn lines_lost(guards: &Guards, lines: Lines) -> String {
    format!(
        "{} % of HAProxy's log lines of the last {} were lost ({}), over the limit of {} %: nothing is promoted meanwhile, and \
         harm still takes it back",
        number(lines.lost_share() * 100.0),
        guards.window.0,
        lines.lost,
        number(guards.max_lost_lines * 100.0),
    )
}

pub(super) fn latency_harm(criteria: &Analysis, latency: &Latency) -> String {
    format!(
        "canary is slower than stable: {} of its answers take over {} of stable's {} quantile, {} of stable's take longer than \
         that quantile itself; harm is shown, evidence {} of {} needed",
        percent(latency.canary),
        number(1.0 + criteria.latency.promote.shift),
        number(criteria.latency.promote.quantile),
        percent(latency.stable),
        power(latency.log_e_harm()),
        power(pmix::threshold(criteria.latency.rollback.alpha)),
    )
}

pub(super) fn guard(guards: &Guards, limit: f64, canary: Counted) -> String {
    format!(
        "canary answered {} badly in the last {} ({} of {}): the limit is {} %",
        percent(canary),
        guards.window.0,
        canary.bad,
        canary.requests,
        number(limit * 100.0),
    )
}

pub(super) fn stable_unhealthy(guards: &Guards, limit: f64, stable: Counted) -> String {
    format!(
        "stable itself answered {} badly in the last {} ({} of {}), over the limit of {} %: nothing is promoted meanwhile",
        percent(stable),
        guards.window.0,
        stable.bad,
        stable.requests,
        number(limit * 100.0),
    )
}

pub(super) fn unseen(problem: &str) -> String {
    format!("requests cannot be counted now, so nothing is concluded: {problem}")
}

pub(super) fn no_traffic(situation: &Situation<'_>, now: Timestamp) -> String {
    let criteria = &situation.target.criteria;
    let needed = requests_needed(criteria, &situation.evidence.errors, situation.weight);
    let needed = needed
        .map(|n| format!("; some {n} without a bad one show that it is as good"))
        .unwrap_or_default();
    let extended = extended(situation, now);
    format!("the canary has had no request yet{needed}{extended}")
}

pub(super) fn no_baseline(weight: Weight) -> String {
    if weight == Weight::FULL {
        "the canary has all the traffic, so there is nothing to compare it with".to_owned()
    } else {
        "stable has had no request to compare with".to_owned()
    }
}

pub(super) fn non_inferior(situation: &Situation<'_>) -> String {
    if situation.target.worker {
        return worker(&situation.target.criteria);
    }
    let errors = &situation.evidence.errors;
    let latency = if situation.evidence.latency.is_some() {
        ", and in response time"
    } else {
        ""
    };
    format!(
        "canary is as good as stable in errors ({} of {} bad against {} of {}){latency}",
        errors.canary.bad, errors.canary.requests, errors.stable.bad, errors.stable.requests,
    )
}

/// What a worker was judged by.
fn worker(criteria: &Analysis) -> String {
    let names: Vec<&str> = criteria.metrics.iter().map(|m| m.name.as_str()).collect();
    let metrics = match names.as_slice() {
        [] => "it runs, and no metric is asked for".to_owned(),
        [one] => format!("its metric {one} passes"),
        all => format!("its metrics {} pass", all.join(", ")),
    };
    let guarded = criteria.guards.max_cpu.is_some() || criteria.guards.max_memory.is_some();
    let guards = if guarded {
        ", and no task uses more of its limits than the guards allow"
    } else {
        ""
    };
    format!("{metrics}{guards}")
}

pub(super) fn suspected(evidence: &Evidence) -> String {
    let by = |what: &str, lately: f64| (lately, what.to_owned());
    let refused = evidence.client_errors.as_ref();
    let slow = evidence.latency.as_ref();
    let all = [
        Some(by("errors", evidence.errors.onset.lately())),
        refused.map(|s| by("4xx", s.onset.lately())),
        slow.map(|l| by("response time", l.lately())),
    ];
    let most = all.into_iter().flatten().max_by(|a, b| a.0.total_cmp(&b.0));
    let (lately, what) = most.unwrap_or_default();
    format!(
        "the last minutes look like harm by {what} ({}), although it is not shown yet: promotion waits until they no longer do",
        power(lately),
    )
}

/// A design effect below this is not worth a word.
const WORTH_A_WORD: f64 = 1.5;

/// What makes evidence count less now, or not at all, and why.
pub(super) fn notes(situation: &Situation<'_>, now: Timestamp) -> Vec<String> {
    let (criteria, evidence) = (&situation.target.criteria, situation.evidence);
    if situation.target.worker {
        return Vec::new();
    }
    let refused = evidence.client_errors.as_ref();
    let slow = evidence.latency.as_ref();
    let (by_errors, by_times) = (
        criteria.errors.design_effect,
        criteria.latency.design_effect,
    );
    let effects = [
        (
            "errors come",
            by_errors,
            Some(evidence.errors.design_effect),
        ),
        ("4xx come", by_errors, refused.map(|s| s.design_effect)),
        ("slow answers come", by_times, slow.map(|l| l.design_effect)),
    ];
    let mut notes = Vec::new();
    for (what, stated, effect) in effects {
        if let Some(effect) = effect.filter(|effect| stated.is_none() && *effect >= WORTH_A_WORD) {
            let times = (effect * 10.0).round() / 10.0;
            notes.push(format!(
                "stable's own {what} in bursts: such evidence counts {times} times less"
            ));
        }
    }
    if evidence.calm.out {
        notes.push("stable has an outage: until it is over, no evidence is gathered".to_owned());
    }
    let warmup = criteria.latency_warmup().to_signed();
    let since = situation
        .target
        .since
        .filter(|_| !criteria.latency.disabled);
    if let Some(left) = since.map(|since| warmup - now.duration_since(since))
        && left.is_positive()
        && slow.is_some()
    {
        notes.push(format!(
            "response times do not count yet, as a new task's caches are cold: another {}",
            seconds(left)
        ));
    }
    notes
}

pub(super) fn holding(left: SignedDuration) -> String {
    format!(
        "the evidence suffices; the steps are held for another {}",
        seconds(left)
    )
}

pub(super) fn baking(worker: bool, bake: Span, left: SignedDuration) -> String {
    format!(
        "the evidence suffices; the canary must {} {bake} in all, another {}",
        if worker { "run for" } else { "serve" },
        seconds(left)
    )
}

pub(super) fn deadline(situation: &Situation<'_>, deadline: Span, now: Timestamp) -> String {
    format!(
        "inconclusive: twice the deadline of {deadline} has passed; {}",
        gathering(situation, now)
    )
}

/// That the deadline was extended, from the first one on.
fn extended(situation: &Situation<'_>, now: Timestamp) -> String {
    let deadline = situation.target.criteria.deadline.0.to_signed();
    let waited = (situation.target.awaiting_since).map(|since| now.duration_since(since));
    match waited.map(|waited| (waited, deadline + deadline - waited)) {
        Some((waited, left)) if waited >= deadline && left.is_positive() => {
            format!(
                "; the deadline has passed and was extended once, for another {}",
                seconds(left)
            )
        }
        _ => String::new(),
    }
}

/// How long so many canary requests take at the rate seen so far.
fn at_this_rate(situation: &Situation<'_>, requests: u64, now: Timestamp) -> String {
    let seen = situation.evidence.errors.canary.requests;
    let since = situation
        .target
        .since
        .map(|since| now.duration_since(since).as_secs_f64());
    match since {
        Some(since) if since >= 10.0 && seen > 0 => {
            let needed = since * requests as f64 / seen as f64;
            format!(", {} at its rate so far", about(needed))
        }
        _ => String::new(),
    }
}

/// A span for people: in seconds, minutes, hours or days, whichever is short.
fn about(seconds: f64) -> String {
    match seconds {
        s if s < 100.0 => format!("{s:.0} s"),
        s if s < 6_000.0 => format!("{:.0} minutes", s / 60.0),
        s if s < 172_800.0 => format!("{:.0} hours", s / 3_600.0),
        s => format!("{:.0} days", s / 86_400.0),
    }
}

pub(super) fn gathering(situation: &Situation<'_>, now: Timestamp) -> String {
    let (criteria, evidence) = (&situation.target.criteria, situation.evidence);
    let errors = &evidence.errors;
    let mut missing = Vec::new();
    if situation.target.worker {
        let pending = situation.joint.pending.as_deref();
        let pending = pending.unwrap_or("nothing is missing but time");
        return format!("no harm is shown; {pending}{}", extended(situation, now));
    }
    if !errors.non_inferior {
        let more = requests_needed(criteria, errors, situation.weight)
            .map(|n| {
                let time = at_this_rate(situation, n, now);
                format!(", some {n} more canary requests if none is bad{time}")
            })
            .unwrap_or_default();
        missing.push(format!(
            "errors {} of {}{more}",
            power(errors.log_e_ni(criteria)),
            power(pmix::threshold(criteria.errors.promote.alpha)),
        ));
    }
    if let Some(latency) = evidence.latency.as_ref().filter(|l| !l.non_inferior) {
        missing.push(format!(
            "response time {} of {}",
            power(latency.log_e_ni(criteria)),
            power(pmix::threshold(criteria.latency.promote.alpha)),
        ));
    }
    if let Some(metric) = &situation.joint.pending {
        missing.push(metric.clone());
    }
    format!(
        "no harm is shown ({} of {} bad against {} of {} of stable); evidence that the canary is as good is still missing: {}{}",
        errors.canary.bad,
        errors.canary.requests,
        errors.stable.bad,
        errors.stable.requests,
        missing.join("; "),
        extended(situation, now),
    )
}

fn percent(counted: Counted) -> String {
    format!("{:.1} %", rate(counted) * 100.0)
}

/// Evidence as a power of e, as it would overflow written out.
fn power(log: f64) -> String {
    // No minus before a zero.
    let rounded = (log * 10.0).round() / 10.0 + 0.0;
    format!("e^{rounded:.1}")
}

fn number(value: f64) -> String {
    let rounded = (value * 1000.0).round() / 1000.0;
    format!("{rounded}")
}

fn seconds(left: SignedDuration) -> String {
    Span::secs(u64::try_from(left.as_millis()).unwrap_or(0).div_ceil(1000)).to_string()
}
