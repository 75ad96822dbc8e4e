//! A hold: for a while nothing is repaired, promoted or moved, because somebody said so.
//!
//! What must never happen: a hold that nobody sees, that lasts for ever, or that keeps an abort or a deletion from going on.

use fm_api::event::Severity;
use fm_api::operation::Operation;
use fm_api::quantity::Span;
use fm_api::rollout::{Held, Stage};
use fm_api::verdict::Decision;

use super::draft::{Draft, after};
use super::experiment;
use super::why::Why;

/// Where nothing else is said.
const AN_HOUR: Span = Span::secs(3600);

/// Ends a hold whose time is over.
pub(super) fn expire(draft: &mut Draft<'_>) {
    let now = draft.now;
    if draft
        .target
        .held
        .as_ref()
        .is_some_and(|held| now >= held.until)
    {
        draft.target.held = None;
        draft.note(
            Severity::Normal,
            "HoldEnded",
            "the time of the hold is over".to_owned(),
        );
    }
}

/// Somebody asks for one, or for a longer or shorter one.
pub(super) fn begin(draft: &mut Draft<'_>, operation: &Operation, by: String) -> String {
    let until = after(draft.now, operation.period.unwrap_or(AN_HOUR));
    let at = draft.target.held.as_ref().map_or(draft.now, |held| held.at);
    draft.target.held = Some(Held {
        at,
        until,
        by,
        why: operation.why.clone(),
    });
    let until = until.strftime("%Y-%m-%d %H:%M:%S UTC");
    format!("nothing is repaired, promoted or moved until {until}")
}

/// Somebody ends it.
pub(super) fn end(draft: &mut Draft<'_>) -> String {
    match draft.target.held.take() {
        Some(_) => "it goes on".to_owned(),
        None => "it was not held".to_owned(),
    }
}

/// Whether it is held, and is not on its way back to stable.
pub(super) fn holds(draft: &Draft<'_>) -> bool {
    let back = draft
        .target
        .rollout
        .as_ref()
        .is_some_and(|r| r.stage == Stage::RollingBack);
    draft.target.held.is_some() && !back
}

/// What people are told meanwhile.
pub(super) fn why(draft: &mut Draft<'_>) -> Option<Why> {
    let held = draft.target.held.clone()?;
    draft.wake(held.until);
    let harm = draft
        .verdict()
        .filter(|verdict| verdict.decision == Decision::Rollback);
    let harm = harm.map(|verdict| verdict.sentence.clone());
    Some(Why::Held {
        harm: harm.or_else(|| experiment::harm(draft)),
        held,
    })
}
