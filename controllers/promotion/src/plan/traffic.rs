//! The split: how it is written, and whether it is in force.

use fm_api::keys::RevisionId;
use fm_api::quantity::Weight;
use fm_api::target::Traffic;

use super::draft::Draft;
use super::why::Why;

/// Writes the split. One that is equal stays as it is, with its generation.
pub(super) fn set(
    draft: &mut Draft<'_>,
    stable: &RevisionId,
    canary: Option<&RevisionId>,
    weight: Weight,
) {
    mirror(draft, stable, canary, weight, Weight::ZERO);
}

/// The same, with so much of what stable answers sent to the canary as well.
pub(super) fn mirror(
    draft: &mut Draft<'_>,
    stable: &RevisionId,
    canary: Option<&RevisionId>,
    weight: Weight,
    mirror: Weight,
) {
    if !draft.routed() {
        draft.target.traffic = None;
        return;
    }
    let old = draft.target.traffic.as_ref();
    let rollout = draft.target.rollout.as_ref();
    // A split without a canary keeps the seed: nothing of it is asked then, and the record need not change.
    let seed = match (rollout, canary, old) {
        (Some(rollout), Some(_), _) | (Some(rollout), None, None) => rollout.seed.clone(),
        (Some(_) | None, _, Some(old)) => old.seed.clone(),
        (None, _, None) => format!("{:08x}", draft.world.fresh_seed),
    };
    let new = Traffic {
        stable: stable.clone(),
        canary: canary.cloned(),
        weight,
        mirror,
        seed,
        generation: old.map_or(0, |old| old.generation),
    };
    if old != Some(&new) {
        draft.target.traffic = Some(Traffic {
            generation: draft.next,
            ..new
        });
    }
}

/// What keeps the split from being in force on every live agent, if anything.
pub(super) fn not_in_force(draft: &Draft<'_>) -> Option<Why> {
    let wanted = draft.target.traffic.as_ref()?;
    if draft.world.live.is_empty() {
        return Some(Why::NoAgent);
    }
    let behind: Vec<String> = draft
        .live()
        .filter_map(|(instance, seen)| match seen {
            None => Some(format!("{instance} (has not reported)")),
            Some(seen) => match &seen.problem {
                Some(problem) => Some(format!("{instance} ({problem})")),
                None => (!seen.traffic.as_ref().is_some_and(|split| wanted.is(split)))
                    .then(|| instance.to_owned()),
            },
        })
        .collect();
    (!behind.is_empty()).then_some(Why::AgentBehind {
        agents: behind,
        weight: wanted.weight,
    })
}

/// What forbids any rise: no live agent, or one that has gone while its HAProxy may still serve.
pub(super) fn frozen(draft: &Draft<'_>) -> Option<Why> {
    if !draft.routed() {
        return None;
    }
    if draft.world.live.is_empty() {
        return Some(Why::NoAgent);
    }
    let gone: Vec<String> = draft
        .gone()
        .map(|(instance, _)| instance.to_owned())
        .collect();
    (!gone.is_empty()).then_some(Why::AgentGone { agents: gone })
}

/// Whether any live agent has a split in force that names this revision, or any split at all.
pub(super) fn leads(draft: &Draft<'_>, revision: Option<&RevisionId>) -> bool {
    let mut splits = draft.live().filter_map(|(_, seen)| seen?.traffic.as_ref());
    splits.any(|split| {
        revision.is_none_or(|revision| {
            split.stable == *revision || split.canary.as_ref() == Some(revision)
        })
    })
}

/// Whether any HAProxy that we know of may still send requests to this revision.
pub(super) fn may_serve(draft: &Draft<'_>, revision: &RevisionId) -> bool {
    let live = leads(draft, Some(revision));
    // Where the agent has gone, HAProxy itself falls back from a canary, but from nothing else.
    let gone = draft
        .gone()
        .filter_map(|(_, seen)| seen.traffic.as_ref())
        .any(|split| split.stable == *revision);
    live || gone || not_in_force(draft).is_some()
}
