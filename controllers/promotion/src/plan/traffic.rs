//! The split: how it is written, and whether it is in force.

use fm_api::keys::RevisionId;
use fm_api::observed::HaproxyObserved;
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
    if draft.no_agent() {
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
    if draft.no_agent() {
        return Some(Why::NoAgent);
    }
    let serves = |(_, seen): &(&str, &HaproxyObserved)| seen.traffic.is_some();
    let gone: Vec<String> = draft
        .reported_and_gone()
        .filter(serves)
        .map(|(instance, _)| instance.to_owned())
        .collect();
    (!gone.is_empty()).then_some(Why::AgentGone { agents: gone })
}

/// Whether any live agent has any split in force.
pub(super) fn leads(draft: &Draft<'_>) -> bool {
    draft
        .alive()
        .any(|(_, seen)| seen.is_some_and(|seen| seen.traffic.is_some()))
}
