//! The sentences and stable words of each [`Why`]. No sentence changes by itself with time: times in it are absolute.

use fm_api::rollout::{FailedGate, Held};
use fm_api::status::reasons;
use jiff::Timestamp;

use super::phrases::{clock, day, plain, tasks};
use super::why::{Stable, Why};

impl Why {
    /// The stable, documented word.
    #[must_use]
    pub fn reason(&self) -> String {
        let word = match self {
            Why::Nothing | Why::Deleting { .. } => reasons::DELETING,
            Why::SpecMissing => reasons::SPEC_MISSING,
            Why::InvalidSpec { .. } => reasons::INVALID_SPEC,
            Why::Resolving { .. } => reasons::RESOLVING,
            Why::Unresolved { .. } => reasons::IMAGE_UNRESOLVED,
            Why::NoSlot { .. } => reasons::NO_SLOT,
            Why::StillLeaving { .. } => reasons::STILL_LEAVING,
            Why::Scaling(scaling) if scaling.no_node => reasons::NO_SUITABLE_NODE,
            Why::Scaling(scaling) if scaling.ready >= scaling.needed => reasons::UNHEALTHY,
            Why::Scaling(_) => reasons::SCALING,
            Why::SwarmUnknown { .. } => reasons::SWARM_UNKNOWN,
            Why::NoAgent => reasons::NO_AGENT,
            Why::AgentBehind { .. } => reasons::AGENT_BEHIND,
            Why::AgentGone { .. } => reasons::AGENT_GONE,
            Why::Holding(_) => reasons::HOLDING,
            Why::Evidence(_) => reasons::EVIDENCE,
            Why::Inconclusive { .. } => reasons::INCONCLUSIVE,
            Why::Harm { .. } => reasons::HARM_SHOWN,
            Why::Approval { .. } => reasons::APPROVAL,
            Why::Gate(_) => reasons::GATE,
            Why::Frozen { .. } => reasons::FROZEN,
            Why::Depends { .. } => reasons::DEPENDS,
            Why::Group { .. } => reasons::GROUP,
            Why::TakenBackWithGroup { .. } => reasons::TAKEN_BACK_WITH_GROUP,
            Why::Paused { .. } => reasons::PAUSED,
            Why::Adopted(_) => reasons::ADOPTED_UNHEALTHY,
            Why::Switching { .. } => reasons::SWITCHING,
            Why::TakingBack { .. } | Why::Returning { .. } => reasons::TAKING_BACK,
            Why::StableBroken { .. } => reasons::STABLE_BROKEN,
            Why::BothDown { .. } => reasons::BOTH_DOWN,
            Why::NoReplicas { .. } => reasons::NO_REPLICAS,
            Why::Serving {
                ready: 0, replicas, ..
            } if *replicas > 0 => reasons::UNAVAILABLE,
            Why::Serving { .. } => reasons::SERVING,
            Why::Held { .. } => reasons::HELD,
            Why::Experiment(_) => reasons::EXPERIMENT,
            Why::ExperimentRuns { .. } => reasons::EXPERIMENT_RUNS,
            Why::Preview(_) => reasons::PREVIEW,
            Why::PreviewOver { .. } => reasons::PREVIEW_OVER,
            Why::Behind { .. } => reasons::IRREVERSIBLE,
            Why::FirstFails { reason, .. }
            | Why::Spared { reason, .. }
            | Why::PreviewFails { reason, .. }
            | Why::Failed { reason, .. } => reason,
        };
        word.to_owned()
    }

    /// Until when, if that is known.
    #[must_use]
    pub fn until(&self) -> Option<Timestamp> {
        match self {
            Why::Holding(at) => at.until,
            Why::Preview(up) => Some(up.until),
            Why::Experiment(up) => up.until,
            Why::ExperimentRuns { until, .. } => *until,
            Why::Held { held, .. } => Some(held.until),
            Why::Returning { until, .. } => Some(*until),
            Why::Scaling(scaling) => scaling.deadline,
            Why::Gate(gate) => gate.until,
            Why::Frozen { until, .. } => Some(*until),
            Why::Switching { cause, .. } | Why::TakingBack { cause, .. } => cause.until(),
            Why::Nothing
            | Why::Depends { .. }
            | Why::Group { .. }
            | Why::TakenBackWithGroup { .. }
            | Why::Evidence(_)
            | Why::SpecMissing
            | Why::InvalidSpec { .. }
            | Why::Resolving { .. }
            | Why::Unresolved { .. }
            | Why::NoSlot { .. }
            | Why::StillLeaving { .. }
            | Why::SwarmUnknown { .. }
            | Why::NoAgent
            | Why::AgentBehind { .. }
            | Why::AgentGone { .. }
            | Why::Inconclusive { .. }
            | Why::Harm { .. }
            | Why::Spared { .. }
            | Why::Approval { .. }
            | Why::Paused { .. }
            | Why::FirstFails { .. }
            | Why::Adopted(_)
            | Why::StableBroken { .. }
            | Why::BothDown { .. }
            | Why::NoReplicas { .. }
            | Why::Serving { .. }
            | Why::PreviewOver { .. }
            | Why::PreviewFails { .. }
            | Why::Failed { .. }
            | Why::Behind { .. }
            | Why::Deleting { .. } => None,
        }
    }

    /// Whether the next move is a person's.
    #[must_use]
    pub fn waits_for_person(&self) -> bool {
        match self {
            Why::Inconclusive { .. }
            | Why::Harm { .. }
            | Why::Spared { .. }
            | Why::Approval { .. }
            | Why::Paused { .. }
            | Why::InvalidSpec { .. }
            | Why::SpecMissing
            | Why::FirstFails { .. }
            | Why::PreviewFails { .. }
            | Why::Held { .. }
            | Why::NoReplicas { .. }
            | Why::Behind { .. }
            | Why::TakenBackWithGroup { .. }
            | Why::Failed { .. } => true,
            Why::Unresolved { transient, .. } => !transient,
            Why::Adopted(adopted) => adopted.overdue,
            Why::Nothing
            | Why::Resolving { .. }
            | Why::NoSlot { .. }
            | Why::StillLeaving { .. }
            | Why::Scaling(_)
            | Why::SwarmUnknown { .. }
            | Why::NoAgent
            | Why::AgentBehind { .. }
            | Why::AgentGone { .. }
            | Why::Holding(_)
            | Why::Evidence(_)
            | Why::Gate(_)
            | Why::Frozen { .. }
            | Why::Depends { .. }
            | Why::Group { .. }
            | Why::Switching { .. }
            | Why::TakingBack { .. }
            | Why::Returning { .. }
            | Why::StableBroken { .. }
            | Why::BothDown { .. }
            | Why::Serving { .. }
            | Why::Preview(_)
            | Why::Experiment(_)
            | Why::ExperimentRuns { .. }
            | Why::PreviewOver { .. }
            | Why::Deleting { .. } => false,
        }
    }

    /// One sentence for people.
    #[must_use]
    pub fn sentence(&self) -> String {
        match self {
            Why::Nothing => "nothing is left of it".to_owned(),
            Why::SpecMissing => SPEC_MISSING.to_owned(),
            Why::NoAgent => NO_AGENT.to_owned(),
            Why::InvalidSpec { problems } => invalid(problems),
            Why::Resolving { image } => format!("the image {image} is being resolved"),
            Why::Unresolved {
                image,
                error,
                transient,
            } => unresolved(image, error, *transient),
            Why::NoSlot { revision } => format!("{revision} {NO_SLOT}"),
            Why::StillLeaving { revision } => {
                format!("{revision} waits until its earlier tasks are gone")
            }
            Why::Scaling(scaling) => scaling.sentence(),
            Why::SwarmUnknown { problem } => blind(problem),
            Why::AgentBehind { agents, weight } => {
                format!("waits for {} to put {weight} in force", agents.join(", "))
            }
            Why::AgentGone { agents } => {
                let first = agents.first().map_or("NAME", String::as_str);
                format!(
                    "the HAProxy agent {} {AGENT_GONE}; {}",
                    agents.join(", "),
                    super::edges::ends(first)
                )
            }
            Why::Holding(at) => at.holding(),
            Why::Evidence(at) => at.evidence(),
            Why::Inconclusive { at, sentence } => at.inconclusive(sentence),
            Why::Harm { at, sentence } => at.harm(sentence),
            Why::Spared { why, .. } => format!(
                "its tasks do not come up, and it is not taken back for that ({}); abort, or apply another",
                plain(why)
            ),
            Why::Approval { at, role } => at.approval(role.as_deref()),
            Why::Gate(gate) => gate.sentence(),
            Why::Depends { waits } => format!("waits for {}", all_of(waits)),
            Why::Group { ready, waits } => {
                let stands = if *ready { "it is ready, and " } else { "" };
                format!("{stands}waits for its group: for {}", all_of(waits))
            }
            Why::TakenBackWithGroup {
                revision,
                why,
                stable,
            } => format!(
                "{}{revision} was taken back {}; it begins again with that one",
                first(stable.as_ref()),
                plain(why)
            ),
            Why::Frozen {
                until,
                message,
                role,
            } => sentence_of_freeze(*until, message.as_deref(), role.as_deref()),
            Why::Paused { by, why, gate } => paused(by.as_deref(), why, gate.as_ref()),
            Why::FirstFails { why, asked, .. } => first_fails(why, *asked),
            Why::Adopted(adopted) => adopted.sentence(),
            Why::Switching { revision, cause } => {
                format!("{revision} is stable now: {}", cause.sentence())
            }
            Why::TakingBack { why, cause } => {
                format!(
                    "stable takes everything back ({}): {}",
                    plain(why),
                    cause.sentence()
                )
            }
            Why::Returning { why, weight, until } => {
                format!(
                    "gives its share back until {} and has {weight} still ({})",
                    clock(*until),
                    plain(why)
                )
            }
            Why::StableBroken { why, canary } => broken(why, *canary),
            Why::BothDown { stable, says } => both_down(stable, says.as_deref()),
            Why::NoReplicas { revision } => format!(
                "{revision} waits: `replicas` is 0, so no task of it can show that it works; scale it up, or `rollout promote --full` makes it stable untried"
            ),
            Why::Serving {
                revision,
                ready,
                replicas,
            } => serving(revision, *ready, *replicas),
            Why::Held { held, harm } => sentence_of_hold(held, harm.as_deref()),
            Why::Preview(up) => up.sentence(),
            Why::Experiment(up) => up.sentence(),
            Why::ExperimentRuns { revision, until } => {
                let at_most = until.map(|at| format!(", at {} at the latest", clock(at)));
                format!(
                    "{revision} begins once the experiment has ended{}; abort ends it now",
                    at_most.unwrap_or_default()
                )
            }
            Why::PreviewOver { revision, at } => {
                format!(
                    "the preview of {revision} is over since {}; retry brings it back",
                    day(*at)
                )
            }
            Why::PreviewFails { revision, why, .. } => {
                format!(
                    "the preview of {revision} does not come up and is kept trying: {}",
                    plain(why)
                )
            }
            Why::Failed {
                revision,
                why,
                stable,
                unbegun,
                ..
            } => failed(revision, why, stable.as_ref(), *unbegun),
            Why::Behind {
                revision,
                job,
                stable,
            } => format!(
                "{}{revision} is older than what the job {job} has done for good, and does not begin by itself",
                first(stable.as_ref())
            ),
            Why::Deleting { waits } => format!("is being taken down: {waits}"),
        }
    }
}

fn all_of(waits: &[String]) -> String {
    waits.join(", and for ")
}

const SPEC_MISSING: &str = "its spec is gone from the store although nobody deleted the release; \
                            what runs goes on until it is applied again";
const NO_AGENT: &str = "no HAProxy agent is alive; shares stay as they are until one is";
const NO_SLOT: &str = "waits for a place in HAProxy: earlier revisions of this release still drain";
const AGENT_GONE: &str =
    "is gone and its HAProxy may still serve; shares do not rise until it is back";

fn invalid(problems: &[String]) -> String {
    let problems = problems.join("; ");
    format!("the stored spec cannot be used ({problems}); what ran before goes on")
}

fn unresolved(image: &str, error: &str, transient: bool) -> String {
    // What somebody must do stands in the error.
    let next = if transient { "; it is tried again" } else { "" };
    format!("{image} cannot begin: {}{next}", plain(error))
}

fn blind(problem: &str) -> String {
    format!(
        "Swarm cannot be seen ({}); everything stays as it is",
        plain(problem)
    )
}

fn paused(by: Option<&str>, why: &str, gate: Option<&FailedGate>) -> String {
    let why = plain(why);
    match (by, gate) {
        (Some(by), _) => format!("paused by {by}: {why}"),
        (None, None) => format!("stopped by a rule: {why}; resume or abort"),
        // Nobody's word passes a job.
        (None, Some(gate)) if gate.job => format!("stopped by a gate: {why}; retry or abort"),
        (None, Some(_)) => format!("stopped by a gate: {why}; retry, resume without it, or abort"),
    }
}

fn first_fails(why: &str, asked: bool) -> String {
    let why = plain(why);
    if asked {
        format!("the first revision goes no further: {why}; retry, or apply another")
    } else {
        format!("the first revision does not come up and is kept trying: {why}")
    }
}

fn broken(why: &str, canary: u32) -> String {
    format!(
        "it should be taken back ({}), but stable has no ready task and the canary has {canary}: \
         the canary is kept until stable serves; retry makes it stable instead",
        plain(why)
    )
}

fn both_down(stable: &str, says: Option<&str>) -> String {
    let says = says.map_or_else(String::new, |says| format!(" ({})", plain(says)));
    format!(
        "neither {stable} nor the canary serves{says}: the canary is not blamed for what broke both; \
         it goes on when stable has served for 30s, or abort"
    )
}

fn failed(revision: &str, why: &str, stable: Option<&Stable>, unbegun: bool) -> String {
    let (first, why) = (first(stable), plain(why));
    if unbegun {
        return format!("{first}{revision} is not begun: {why}; retry begins it");
    }
    format!("{first}{revision} was taken back and is not tried again by itself: {why}")
}

fn serving(revision: &str, ready: u32, replicas: u32) -> String {
    if ready == 0 && replicas > 0 {
        return format!("{revision} does not serve: {}", none_of(replicas));
    }
    format!(
        "{revision} serves with {ready} of {replicas} {}",
        tasks(replicas)
    )
}

/// What comes before anything about another revision: how stable does.
fn first(stable: Option<&Stable>) -> String {
    match stable {
        None => String::new(),
        Some(Stable { ready, replicas }) if ready >= replicas => "stable serves; ".to_owned(),
        Some(Stable { ready: 0, replicas }) => {
            format!("stable does not serve: {}; ", none_of(*replicas))
        }
        Some(Stable { ready, replicas }) => {
            format!("stable serves with {ready} of {replicas} tasks; ")
        }
    }
}

fn none_of(replicas: u32) -> String {
    match replicas {
        1 => "its task is not ready".to_owned(),
        more => format!("none of its {more} tasks is ready"),
    }
}

fn sentence_of_freeze(until: Timestamp, message: Option<&str>, role: Option<&str>) -> String {
    let why = message.map_or_else(String::new, |why| format!(" ({})", plain(why)));
    let role = role.map_or_else(String::new, |role| {
        format!("; who has the role {role} may override it")
    });
    format!(
        "frozen until {}{why}: no share rises and nothing is promoted{role}",
        day(until)
    )
}

fn sentence_of_hold(held: &Held, harm: Option<&str>) -> String {
    let why = held.why.as_ref();
    let why = why.map_or_else(String::new, |why| format!(" ({})", plain(why)));
    let harm = harm.map_or_else(String::new, |harm| {
        format!("; harm is shown: {}", plain(harm))
    });
    format!(
        "held by {}{why}: nothing is repaired, promoted or moved until {}{harm}",
        held.by,
        day(held.until)
    )
}
