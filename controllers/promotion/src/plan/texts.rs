//! The sentences and stable words of each [`Why`]. No sentence changes by itself with time: times in it are absolute.

use fm_api::status::reasons;
use jiff::Timestamp;

use super::why::{At, Scaling, Why};

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
            Why::Approval(_) => reasons::APPROVAL,
            Why::Paused { .. } => reasons::PAUSED,
            Why::Switching { .. } => reasons::SWITCHING,
            Why::TakingBack { .. } => reasons::TAKING_BACK,
            Why::StableBroken { .. } => reasons::STABLE_BROKEN,
            Why::Serving {
                ready: 0, replicas, ..
            } if *replicas > 0 => reasons::UNAVAILABLE,
            Why::Serving { .. } => reasons::SERVING,
            Why::FirstFails { reason, .. } | Why::Failed { reason, .. } => reason,
        };
        word.to_owned()
    }

    /// Until when, if that is known.
    #[must_use]
    pub fn until(&self) -> Option<Timestamp> {
        match self {
            Why::Holding(at) => at.until,
            Why::Scaling(scaling) => scaling.deadline,
            Why::Switching { cause, .. } | Why::TakingBack { cause, .. } => cause.until(),
            Why::Nothing
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
            | Why::Approval(_)
            | Why::Paused { .. }
            | Why::FirstFails { .. }
            | Why::StableBroken { .. }
            | Why::Serving { .. }
            | Why::Failed { .. }
            | Why::Deleting { .. } => None,
        }
    }

    /// Whether the next move is a person's.
    #[must_use]
    pub fn waits_for_person(&self) -> bool {
        match self {
            Why::Inconclusive { .. }
            | Why::Approval(_)
            | Why::Paused { .. }
            | Why::InvalidSpec { .. }
            | Why::SpecMissing
            | Why::FirstFails { .. }
            | Why::Failed { .. } => true,
            Why::Unresolved { transient, .. } => !transient,
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
            | Why::Switching { .. }
            | Why::TakingBack { .. }
            | Why::StableBroken { .. }
            | Why::Serving { .. }
            | Why::Deleting { .. } => false,
        }
    }

    /// One sentence for people.
    #[must_use]
    pub fn sentence(&self) -> String {
        match self {
            Why::Nothing => "nothing is left of it".to_owned(),
            Why::SpecMissing => "its spec is gone from the store although nobody deleted the release; what runs goes on until it is applied again".to_owned(),
            Why::InvalidSpec { problems } => format!(
                "the stored spec cannot be used ({}); what ran before goes on",
                problems.join("; ")
            ),
            Why::Resolving { image } => format!("the image {image} is being resolved"),
            Why::Unresolved {
                image,
                error,
                transient,
            } => {
                let next = if *transient { "it is tried again" } else { "apply one that exists" };
                format!("the image {image} cannot be resolved: {}; {next}", plain(error))
            }
            Why::NoSlot { revision } => format!(
                "{revision} waits for a place in HAProxy: earlier revisions of this release still drain"
            ),
            Why::StillLeaving { revision } => {
                format!("{revision} waits until its earlier tasks are gone")
            }
            Why::Scaling(scaling) => scaling.sentence(),
            Why::SwarmUnknown { problem } => {
                format!("Swarm cannot be seen ({}); everything stays as it is", plain(problem))
            }
            Why::NoAgent => {
                "no HAProxy agent is alive; shares stay as they are until one is".to_owned()
            }
            Why::AgentBehind { agents, weight } => {
                format!("waits for {} to put {weight} in force", agents.join(", "))
            }
            Why::AgentGone { agents } => format!(
                "the HAProxy agent {} has gone and its HAProxy may still serve; shares do not rise until it is back",
                agents.join(", ")
            ),
            Why::Holding(at) => at.holding(),
            Why::Evidence(at) => format!("stays at {}: the hold is over, evidence is still missing, then {}", at.weight, at.then()),
            Why::Inconclusive { at, sentence } => format!(
                "stays at {}: the analysis is inconclusive ({}); promote or abort",
                at.weight, plain(sentence)
            ),
            Why::Approval(at) => format!(
                "stays at {} until somebody promotes it, then {}",
                at.weight,
                at.then()
            ),
            Why::Paused { by: Some(by), why } => format!("paused by {by}: {}", plain(why)),
            Why::Paused { by: None, why } => {
                format!("stopped by a rule: {}; resume or abort", plain(why))
            }
            Why::FirstFails { why, .. } => {
                format!("the first revision does not come up and is kept trying: {}", plain(why))
            }
            Why::Switching { revision, cause } => {
                format!("{revision} is stable now: {}", cause.sentence())
            }
            Why::TakingBack { why, cause } => {
                format!("stable takes everything back ({}): {}", plain(why), cause.sentence())
            }
            Why::StableBroken { why, canary } => format!(
                "it should be taken back ({}), but stable has no ready task and the canary has {canary}: the canary is kept until stable serves",
                plain(why)
            ),
            Why::Serving {
                revision,
                ready,
                replicas,
            } => format!("{revision} serves with {ready} of {replicas} {}", tasks(*replicas)),
            Why::Failed { revision, why, .. } => format!(
                "stable serves; {revision} was taken back and is not tried again by itself: {}",
                plain(why)
            ),
            Why::Deleting { waits } => format!("is being taken down: {waits}"),
        }
    }
}

impl Scaling {
    fn sentence(&self) -> String {
        let Scaling {
            revision,
            needed,
            ready,
            ..
        } = self;
        let state = match self.healthy {
            Some(healthy) if ready >= needed => {
                format!(
                    "{healthy} of {needed} {} of {revision} healthy in HAProxy",
                    tasks(*needed)
                )
            }
            Some(_) | None => format!("{ready} of {needed} {} of {revision} ready", tasks(*needed)),
        };
        let says = self
            .says
            .as_ref()
            .map_or_else(String::new, |says| format!(" ({})", plain(says)));
        let deadline = self.deadline.map_or_else(String::new, |at| {
            format!("; without progress it fails at {}", clock(at))
        });
        format!("{state}{says}{deadline}")
    }
}

impl At {
    /// What comes after this step.
    fn then(&self) -> String {
        if self.step < self.steps {
            format!("step {} of {}", self.step + 1, self.steps)
        } else {
            "all traffic".to_owned()
        }
    }

    fn holding(&self) -> String {
        let until = self
            .until
            .map_or_else(String::new, |at| format!(" until {}", clock(at)));
        format!(
            "holds at {}{until} (hold {}), then {}",
            self.weight,
            self.hold,
            self.then()
        )
    }
}

/// A time of day, to the second.
pub(super) fn clock(at: Timestamp) -> String {
    at.strftime("%H:%M:%S UTC").to_string()
}

fn tasks(n: u32) -> &'static str {
    if n == 1 { "task" } else { "tasks" }
}

/// Without the full stop and the white space around it, to stand inside another sentence.
fn plain(text: &str) -> &str {
    text.trim().trim_end_matches('.')
}
