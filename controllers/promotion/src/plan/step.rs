//! The order of things: deletion, then intake, then people's words, then the rollout, then what leaves.

use fm_api::event::Severity;
use fm_api::keys::RevisionId;
use fm_api::operation::Verb;
use fm_api::status::Status;
use fm_api::target::{RevisionRecord, Target};
use jiff::Timestamp;

use super::draft::Draft;
use super::why::Why;
use super::world::World;
use super::{
    adoption, delete, experiment, gates, hold, intake, operations, preview, removal, rollout,
    status, users,
};

/// What is to be written, in one transaction, and when to look again.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The target, where it changes.
    pub target: Option<Target>,
    /// Nothing is left: target, status and revisions go.
    pub remove: bool,
    /// Revisions to record; each is new.
    pub records: Vec<RevisionRecord>,
    /// Revisions whose record nobody needs any more.
    pub forget: Vec<RevisionId>,
    /// The status, where there is anything to say one of.
    pub status: Option<Status>,
    /// Operations to remove.
    pub answered: Vec<String>,
    /// What happened, for people.
    pub events: Vec<Notice>,
    /// Look again then, whatever happens.
    pub next_look: Option<Timestamp>,
    /// Why it goes no further now.
    pub why: Why,
}

/// Something that happened, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Whether somebody should look.
    pub severity: Severity,
    /// The stable word.
    pub reason: String,
    /// One sentence.
    pub message: String,
}

/// What is wanted of the release now.
#[must_use]
pub fn step(world: &World, now: Timestamp) -> Plan {
    let Some(before) = begin(world) else {
        return nothing(world);
    };
    let mut draft = Draft::new(world, before, now);
    adoption::remember(&mut draft);
    let (why, remove) = if delete::wanted(&draft) {
        delete::step(&mut draft)
    } else {
        (decide(&mut draft), false)
    };
    draft.wake_for_words();
    finish(draft, why, remove)
}

/// The target to start from; `None` where there is none and nothing to make one of.
fn begin(world: &World) -> Option<Target> {
    if let Some(target) = &world.target {
        return Some(target.clone());
    }
    let spec = world.spec.as_ref().filter(|spec| !spec.deleted)?;
    Some(Target {
        uid: spec.uid.clone(),
        ..Target::default()
    })
}

/// No target and nothing to make one of: what is left over goes.
fn nothing(world: &World) -> Plan {
    let left = world.status.is_some() || !world.records.is_empty();
    Plan {
        target: None,
        remove: left,
        records: Vec::new(),
        forget: Vec::new(),
        status: None,
        answered: world.operations.iter().map(|op| op.id.clone()).collect(),
        events: Vec::new(),
        next_look: None,
        why: Why::Nothing,
    }
}

fn decide(draft: &mut Draft<'_>) -> Why {
    hold::expire(draft);
    // A hold comes before what was applied beside it: nothing of that acts until it ends.
    let first = draft
        .world
        .operations
        .iter()
        .any(|op| op.verb == Verb::Hold);
    if first {
        operations::answer(draft);
    }
    let held = draft.target.held.is_some();
    let mut intake = if held { None } else { intake::step(draft) };
    if !first {
        operations::answer(draft);
    }
    let asked = !draft.world.operations.is_empty();
    if draft.target.held.is_none() && (held || asked) {
        // Somebody ended the hold just now: what was applied meanwhile is taken in. Or kept from beginning what is resolved.
        intake = intake::step(draft);
    }
    if draft.settings().is_none() {
        return intake.unwrap_or(Why::SpecMissing);
    }
    if hold::holds(draft) {
        return hold::why(draft).unwrap_or(Why::Nothing);
    }
    let rollout = settle(draft);
    if let Some(why) = hold::why(draft)
        && hold::holds(draft)
    {
        return why;
    }
    match intake {
        Some(why @ (Why::InvalidSpec { .. } | Why::SpecMissing)) => why,
        Some(why) if draft.target.rollout.is_none() => why,
        Some(_) | None => rollout,
    }
}

/// What leaves may make room for what waits, so both are looked at until neither moves.
fn settle(draft: &mut Draft<'_>) -> Why {
    loop {
        let before = draft.target.clone();
        if draft.target.held.is_none() {
            preview::tend(draft);
        }
        let why = rollout::run(draft);
        if hold::holds(draft) {
            return why;
        }
        let moved = draft.target.clone();
        removal::step(draft);
        // Last, for it begins when a rollout has ended and when what was there before is gone.
        if draft.target.held.is_none() {
            experiment::tend(draft);
        }
        // Each round ends a rollout or removes a revision, and begins none twice.
        if draft.target == moved || draft.target == before {
            return why;
        }
    }
}

fn finish(mut draft: Draft<'_>, why: Why, remove: bool) -> Plan {
    gates::tidy(&mut draft);
    let forget = removal::forget(&mut draft);
    let world = draft.world;
    let impaired = users::steady(&mut draft);
    let status = (!remove).then(|| status::derive(&draft, &why, impaired));
    // A release whose spec was never usable has no target.
    let real = world.target.is_some() || draft.target.settings.is_some();
    let changed = !remove && real && world.target.as_ref() != Some(&draft.target);
    if changed {
        draft.target.generation = draft.next;
    }
    Plan {
        next_look: draft.next_look(),
        remove,
        records: draft.records.into_values().collect(),
        forget,
        status,
        answered: draft.answered,
        events: draft.notices,
        target: changed.then_some(draft.target),
        why,
    }
}
