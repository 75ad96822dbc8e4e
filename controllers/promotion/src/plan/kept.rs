//! What stays although it was taken away: for an edge that is gone, and of rules that a running rollout must pass.

use fm_api::status::{Condition, conditions};

use super::draft::Draft;
use super::{edges, status};

/// Why it goes no further; and what stays for an edge that is gone, where that is not said yet.
pub(super) fn sentence(draft: &Draft<'_>, said: String) -> String {
    let kept = edges::kept(draft).filter(|_| !draft.target.deleting);
    let said = kept.map_or(said.clone(), |kept| format!("{said}; {kept}"));
    let rollout = draft.target.rollout.as_ref();
    match rollout.and_then(|rollout| rollout.still_kept().told()) {
        Some(told) => {
            format!("{said}; the manifest asks for less by now, but not for this rollout: {told}")
        }
        None => said,
    }
}

/// What the rollout must pass although the manifest asks for less by now; no condition while there is nothing of the kind.
pub(super) fn condition(draft: &Draft<'_>) -> Option<Condition> {
    let told = draft.target.rollout.as_ref()?.still_kept().told()?;
    let text =
        format!("the manifest asks for less by now, and this rollout must still pass {told}");
    let kind = conditions::RULES_KEPT;
    Some(status::condition(
        draft,
        kind,
        Some(true),
        "ManifestAsksForLess",
        text,
    ))
}
