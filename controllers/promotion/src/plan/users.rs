//! What users get now, before anything else that is said of a release: tasks healthy in each HAProxy, HAProxys that answer,
//! tasks that do not die again and again. Told at once, and over only after it was well for a while: nothing flaps.

use fm_api::event::Severity;
use fm_api::keys::RevisionId;
use fm_api::quantity::{Span, Weight};
use fm_api::status::{Impaired, Phase, conditions, reasons};

use super::draft::{Draft, after};
use super::why::Why;
use super::{failing, phrases};

/// An agent that starts again is away for a moment, and its HAProxy goes on: only longer than this is it told.
const AGENTS_START: Span = Span::secs(10);

/// What users do not get as they should now.
struct Wrong {
    reason: &'static str,
    message: String,
}

/// What users do not get, steadily; says in events when it begins and when it is over.
pub(super) fn steady(draft: &mut Draft<'_>) -> Option<Impaired> {
    let old = (draft.world.status.as_ref())
        .filter(|old| old.uid == draft.target.uid)
        .and_then(|old| old.impaired.clone());
    let now = draft.now;
    match (wrong(draft), old) {
        (Some(wrong), old) => {
            if old.is_none() {
                draft.note(Severity::Warning, "ServiceImpaired", wrong.message.clone());
            }
            Some(Impaired {
                reason: wrong.reason.to_owned(),
                message: wrong.message,
                since: old.map_or(now, |old| old.since),
                well_since: None,
            })
        }
        (None, Some(_)) if draft.target.deleting || draft.replicas() == 0 => None,
        (None, Some(old)) => {
            let well = old.well_since.unwrap_or(now);
            let over = after(well, Impaired::STEADY);
            if now >= over {
                let text = format!("all is well since {well}; before: {}", old.message);
                draft.note(Severity::Normal, "ServiceRestored", text);
                return None;
            }
            draft.wake(over);
            Some(Impaired {
                well_since: Some(well),
                ..old
            })
        }
        (None, None) => None,
    }
}

fn wrong(draft: &mut Draft<'_>) -> Option<Wrong> {
    let stable = draft.target.stable.clone()?;
    if draft.target.deleting || draft.replicas() == 0 {
        return None;
    }
    no_agent(draft)
        .or_else(|| no_task(draft, &stable))
        .or_else(|| edges(draft, &stable))
        .or_else(|| haproxys(draft))
        .or_else(|| cut_off(draft))
        .or_else(|| restarts(draft, &stable))
}

/// Nobody sees what users get.
fn no_agent(draft: &mut Draft<'_>) -> Option<Wrong> {
    if !draft.routed() || !draft.world.live.is_empty() {
        return None;
    }
    let old = draft.world.status.as_ref()?.conditions.iter();
    let told = old
        .filter(|one| one.kind == conditions::ROUTED && one.reason == reasons::NO_AGENT)
        .map(|one| one.since)
        .next();
    let until = after(told.unwrap_or(draft.now), AGENTS_START);
    if draft.now < until {
        draft.wake(until);
        return None;
    }
    Some(Wrong {
        reason: reasons::NO_AGENT,
        message: "no HAProxy agent is alive: nobody sees what users get".to_owned(),
    })
}

fn no_task(draft: &Draft<'_>, stable: &RevisionId) -> Option<Wrong> {
    if draft.swarm_problem().is_some() || draft.ready(stable) > 0 || served_by_canary(draft) {
        return None;
    }
    // A service that Swarm does not know yet, as after a change of hands, is not one without tasks.
    draft.service(stable)?;
    let says = failing::says(draft, stable).map_or_else(String::new, |says| format!(" ({says})"));
    let none = match draft.replicas() {
        1 => "its task is not ready".to_owned(),
        more => format!("none of its {more} tasks is ready"),
    };
    Some(Wrong {
        reason: reasons::UNAVAILABLE,
        message: format!("{} does not serve: {none}{says}", draft.name(stable)),
    })
}

/// Whether the canary has all requests and a task that takes them.
fn served_by_canary(draft: &Draft<'_>) -> bool {
    let split = draft.target.traffic.as_ref();
    let full = split.filter(|split| split.weight == Weight::FULL);
    full.and_then(|split| split.canary.as_ref())
        .is_some_and(|canary| draft.ready(canary) > 0)
}

/// Edges whose HAProxy finds no task healthy of what it gives requests to.
fn edges(draft: &Draft<'_>, stable: &RevisionId) -> Option<Wrong> {
    let mut of_canary = true;
    let mut down = Vec::new();
    let mut seen_at_all = 0;
    for (instance, seen) in draft.live() {
        let Some(seen) = seen.filter(|seen| seen.problem.is_none()) else {
            continue;
        };
        let Some(split) = &seen.traffic else { continue };
        seen_at_all += 1;
        let healthy = |id: &RevisionId| seen.revisions.get(id).map_or(0, |one| one.healthy);
        let canary = split.canary.as_ref().map_or(0, healthy);
        if healthy(&split.stable) > 0 || (split.weight == Weight::FULL && canary > 0) {
            continue;
        }
        of_canary &= canary > 0;
        let words = seen.revisions.get(&split.stable).map(|one| &one.down);
        let words = words.filter(|words| !words.is_empty());
        let words = words.map_or_else(|| "no server".to_owned(), |words| words.join(", "));
        down.push(format!("{instance}: {words}"));
    }
    if down.is_empty() {
        return None;
    }
    let who = match (of_canary, down.len() == seen_at_all) {
        // HAProxy asks the other revision where one has no server left.
        (true, _) => "the canary answers for stable".to_owned(),
        (false, true) => "users get 503".to_owned(),
        (false, false) => format!("users of {} of {seen_at_all} edges get 503", down.len()),
    };
    Some(Wrong {
        reason: match of_canary {
            true => reasons::UNAVAILABLE,
            false => reasons::USERS_GET_503,
        },
        message: format!(
            "{who}: no task of {} is healthy in HAProxy ({})",
            draft.name(stable),
            down.join("; ")
        ),
    })
}

/// HAProxys that do not answer, or cannot take what they are told.
fn haproxys(draft: &Draft<'_>) -> Option<Wrong> {
    if !draft.routed() {
        return None;
    }
    let silent: Vec<String> = draft
        .live()
        .filter_map(|(instance, seen)| {
            let own = draft.world.troubles.get(instance);
            let problem = own.or_else(|| seen?.problem.as_ref())?;
            Some(format!("{instance}: {problem}"))
        })
        .collect();
    (!silent.is_empty()).then(|| Wrong {
        reason: reasons::HAPROXY_DOWN,
        message: format!("a HAProxy is in trouble ({})", silent.join("; ")),
    })
}

/// Edges that analysis finds cut off from tasks that others reach.
fn cut_off(draft: &Draft<'_>) -> Option<Wrong> {
    let says = &draft.verdict()?.cut_off;
    let all: Vec<&str> = says.values().map(String::as_str).collect();
    (!all.is_empty()).then(|| Wrong {
        reason: reasons::EDGE_CUT_OFF,
        message: all.join("; "),
    })
}

fn restarts(draft: &mut Draft<'_>, stable: &RevisionId) -> Option<Wrong> {
    let says = failing::restart_loop(draft, stable)?;
    Some(Wrong {
        reason: reasons::RESTART_LOOP,
        message: format!("tasks of {} {says}", draft.name(stable)),
    })
}

/// What is said first of all.
pub(super) struct Said {
    pub(super) phase: Phase,
    pub(super) reason: String,
    pub(super) why: String,
}

/// What users do not get comes before anything else that is said.
pub(super) fn said(
    draft: &Draft<'_>,
    why: &Why,
    phase: Phase,
    impaired: Option<&Impaired>,
) -> Said {
    let Some(impaired) = impaired else {
        return Said {
            phase,
            reason: why.reason(),
            why: why.sentence(),
        };
    };
    let first = match impaired.well_since {
        None => impaired.message.clone(),
        Some(well) => format!(
            "is well since {}, and was not before ({}); healthy again once it was well for {}",
            phrases::clock(well),
            phrases::plain(&impaired.message),
            Impaired::STEADY
        ),
    };
    let serves = matches!(why, Why::Serving { .. });
    let degrades = match phase {
        Phase::Healthy | Phase::Progressing | Phase::Pending => draft.target.stable.is_some(),
        Phase::Paused
        | Phase::RollingBack
        | Phase::Degraded
        | Phase::Deleting
        | Phase::Invalid
        | Phase::Over => false,
    };
    let rest = why.without_stable().sentence();
    Said {
        phase: if degrades { Phase::Degraded } else { phase },
        reason: if degrades || serves {
            impaired.reason.clone()
        } else {
            why.reason()
        },
        why: if serves {
            first
        } else {
            format!("{first}; {rest}")
        },
    }
}
