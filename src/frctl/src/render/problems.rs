//! What needs somebody: for the one on call, who has no time to read of what is well. Pure.

use fm_api::cluster::ClusterProblem;
use fm_api::http::View;
use fm_api::status::{Condition, Phase, Status, conditions};
use jiff::SignedDuration;

use super::{NO_STATUS, canary_at, person, phase};
use crate::text::{Look, wrap};

/// A condition that fails for less is on its way: a step that is taken, an agent that is told.
const PATIENCE: SignedDuration = SignedDuration::from_secs(60);

/// Whether a release needs somebody: it waits for a person, it was taken back, or something has failed for a minute.
pub(crate) fn is_problem(view: &View, look: &Look) -> bool {
    let Some(status) = &view.status else {
        let applied = view.release.as_ref().and_then(|r| r.metadata.created_at);
        return applied.is_none_or(|at| look.now.duration_since(at) > PATIENCE);
    };
    let stuck = match status.phase {
        Phase::Paused | Phase::RollingBack | Phase::Degraded | Phase::Invalid => true,
        Phase::Pending | Phase::Progressing | Phase::Healthy | Phase::Over | Phase::Deleting => {
            false
        }
    };
    stuck || status.waits_for_person || failing(status, look).is_some()
}

/// The condition that has failed the longest.
fn failing<'a>(status: &'a Status, look: &Look) -> Option<&'a Condition> {
    // What is trouble where it does not hold, and where it does.
    let matters = [
        (conditions::VALID, false),
        (conditions::AVAILABLE, false),
        (conditions::ROUTED, false),
        (conditions::OBSERVED, false),
        (conditions::DRIFTED, true),
        (conditions::EDGE_GONE, true),
    ];
    status
        .conditions
        .iter()
        .filter(|condition| {
            let bad = |(kind, bad): &(&str, bool)| {
                condition.kind == *kind && condition.status == Some(*bad)
            };
            matters.iter().any(bad) && look.now.duration_since(condition.since) > PATIENCE
        })
        .min_by_key(|condition| condition.since)
}

/// Since when, what share, why, and the next command, of each.
pub(crate) fn problems(views: &[View], look: &Look) -> String {
    let mut out = String::new();
    for view in views {
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(&one(view, look));
    }
    out
}

/// What is wrong with the whole: before any release, for it may be why they stand still.
pub(crate) fn cluster(problems: &[ClusterProblem], look: &Look) -> String {
    let each = problems.iter().map(|problem| {
        let name = format!("{} {}", problem.subject.word(), problem.name);
        let mut out = look.paint.bold(&name);
        if let Some(since) = problem.since {
            out.push_str(&format!(
                "  since {} ({})",
                look.clock(since),
                look.age(since)
            ));
        }
        out.push('\n');
        for text in [problem.message.clone(), format!("next: {}", problem.next)] {
            for line in wrap(&text, look.columns().saturating_sub(2)) {
                out.push_str(&format!("  {line}\n"));
            }
        }
        out
    });
    each.collect::<Vec<String>>().join("\n")
}

fn one(view: &View, look: &Look) -> String {
    let name = format!("{}/{}", view.namespace, view.name);
    let bold = look.paint.bold(&name);
    let Some(status) = &view.status else {
        return format!("{bold}  Unknown\n  {NO_STATUS}\n  next: `frctl doctor`\n");
    };
    let failing = failing(status, look);
    let since = failing.map_or(status.since, |condition| condition.since.min(status.since));
    let mut out = format!(
        "{bold}  {}  since {} ({})",
        phase(status.phase, look.paint),
        look.clock(since),
        look.age(since)
    );
    if status.canary.is_some() {
        out.push_str(&format!("  canary at {}", canary_at(status)));
    }
    out.push('\n');
    let mut say = |text: &str| {
        for line in wrap(text, look.columns().saturating_sub(2)) {
            out.push_str(&format!("  {line}\n"));
        }
    };
    say(&status.why);
    if let Some(condition) = failing
        && !status.why.contains(&condition.message)
    {
        say(&condition.message);
    }
    for side in [&status.canary, &status.stable].into_iter().flatten() {
        if let Some(words) = &side.last_failure
            && !status.why.contains(words.as_str())
        {
            say(&format!("Docker says of {}: {words}", side.image));
        }
    }
    say(&next(view, status));
    out
}

/// The next command.
fn next(view: &View, status: &Status) -> String {
    let what = match status.phase {
        Phase::Paused | Phase::Degraded => person(view, status),
        Phase::Pending
        | Phase::Progressing
        | Phase::RollingBack
        | Phase::Healthy
        | Phase::Deleting
        | Phase::Over
        | Phase::Invalid => {
            if status.waits_for_person {
                person(view, status)
            } else {
                format!("`frctl describe {}/{}`", view.namespace, view.name)
            }
        }
    };
    let what = what.strip_prefix("waits for you: ").unwrap_or(&what);
    format!("next: {what}")
}
