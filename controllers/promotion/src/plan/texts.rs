//! The sentences and stable words of each [`Why`]. No sentence changes by itself with time: times in it are absolute.

use fm_api::quantity::Weight;
use fm_api::rollout::Held;
use fm_api::status::reasons;
use fm_api::strategy::Kind;
use jiff::Timestamp;

use super::why::{At, GateWait, PreviewUp, Scaling, Why};

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
            Why::Approval { .. } => reasons::APPROVAL,
            Why::Gate(_) => reasons::GATE,
            Why::Frozen { .. } => reasons::FROZEN,
            Why::Depends { .. } => reasons::DEPENDS,
            Why::Group { .. } => reasons::GROUP,
            Why::TakenBackWithGroup { .. } => reasons::TAKEN_BACK_WITH_GROUP,
            Why::Paused { .. } => reasons::PAUSED,
            Why::Switching { .. } => reasons::SWITCHING,
            Why::TakingBack { .. } | Why::Returning { .. } => reasons::TAKING_BACK,
            Why::StableBroken { .. } => reasons::STABLE_BROKEN,
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
            | Why::Approval { .. }
            | Why::Paused { .. }
            | Why::FirstFails { .. }
            | Why::StableBroken { .. }
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
            | Why::Approval { .. }
            | Why::Paused { .. }
            | Why::InvalidSpec { .. }
            | Why::SpecMissing
            | Why::FirstFails { .. }
            | Why::PreviewFails { .. }
            | Why::Held { .. }
            | Why::Behind { .. }
            | Why::TakenBackWithGroup { .. }
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
            | Why::Gate(_)
            | Why::Frozen { .. }
            | Why::Depends { .. }
            | Why::Group { .. }
            | Why::Switching { .. }
            | Why::TakingBack { .. }
            | Why::Returning { .. }
            | Why::StableBroken { .. }
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
                format!("the HAProxy agent {} {AGENT_GONE}", agents.join(", "))
            }
            Why::Holding(at) => at.holding(),
            Why::Evidence(at) => at.evidence(),
            Why::Inconclusive { at, sentence } => at.inconclusive(sentence),
            Why::Approval { at, role } => at.approval(role.as_deref()),
            Why::Gate(gate) => gate.sentence(),
            Why::Depends { waits } => format!("waits for {}", all_of(waits)),
            Why::Group { ready, waits } => {
                let stands = if *ready { "it is ready, and " } else { "" };
                format!("{stands}waits for its group: for {}", all_of(waits))
            }
            Why::TakenBackWithGroup { revision, why } => format!(
                "stable serves; {revision} was taken back {}; it begins again with that one",
                plain(why)
            ),
            Why::Frozen {
                until,
                message,
                role,
            } => sentence_of_freeze(*until, message.as_deref(), role.as_deref()),
            Why::Paused { by, why } => paused(by.as_deref(), why),
            Why::FirstFails { why, .. } => format!("{FIRST_FAILS}: {}", plain(why)),
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
            Why::Serving {
                revision,
                ready,
                replicas,
            } => {
                format!(
                    "{revision} serves with {ready} of {replicas} {}",
                    tasks(*replicas)
                )
            }
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
                ..
            } => failed(revision, why, *stable),
            Why::Behind { revision, job } => format!(
                "stable serves; {revision} is older than what the job {job} has done for good, and does not begin by \
                 itself"
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
    "has gone and its HAProxy may still serve; shares do not rise until it is back";
const FIRST_FAILS: &str = "the first revision does not come up and is kept trying";

fn invalid(problems: &[String]) -> String {
    let problems = problems.join("; ");
    format!("the stored spec cannot be used ({problems}); what ran before goes on")
}

fn unresolved(image: &str, error: &str, transient: bool) -> String {
    let next = if transient {
        "it is tried again"
    } else {
        "apply one that exists"
    };
    format!(
        "the image {image} cannot be resolved: {}; {next}",
        plain(error)
    )
}

fn blind(problem: &str) -> String {
    format!(
        "Swarm cannot be seen ({}); everything stays as it is",
        plain(problem)
    )
}

fn paused(by: Option<&str>, why: &str) -> String {
    match by {
        Some(by) => format!("paused by {by}: {}", plain(why)),
        None => format!("stopped by a rule: {}; resume or abort", plain(why)),
    }
}

fn broken(why: &str, canary: u32) -> String {
    format!(
        "it should be taken back ({}), but stable has no ready task and the canary has {canary}: \
         the canary is kept until stable serves",
        plain(why)
    )
}

fn failed(revision: &str, why: &str, stable: bool) -> String {
    let serves = if stable { "stable serves; " } else { "" };
    format!(
        "{serves}{revision} was taken back and is not tried again by itself: {}",
        plain(why)
    )
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
    /// The canary's part: of the requests, or a worker's tasks.
    fn share(&self) -> String {
        match self.tasks {
            Some((some, all)) => format!("{some} of {all} {}", tasks(all)),
            None => self.weight.to_string(),
        }
    }

    /// Where it stands.
    fn stands(&self) -> String {
        match self.kind {
            Kind::Canary => format!("stays at {}", self.share()),
            Kind::BlueGreen if self.tasks.is_some() => "stands whole beside stable".to_owned(),
            Kind::BlueGreen if self.weight == Weight::FULL => {
                "serves everything, and the old revision stands by whole".to_owned()
            }
            Kind::BlueGreen => "stands whole beside stable".to_owned(),
        }
    }

    /// What comes after this step.
    fn then(&self) -> String {
        match self.kind {
            Kind::Canary if self.step < self.steps => {
                format!("step {} of {}", self.step + 1, self.steps)
            }
            Kind::Canary if self.tasks.is_some() => "all tasks".to_owned(),
            Kind::Canary => "all traffic".to_owned(),
            Kind::BlueGreen if self.weight == Weight::FULL => "it is stable".to_owned(),
            Kind::BlueGreen => "the switch".to_owned(),
        }
    }

    fn evidence(&self) -> String {
        let (stands, then) = (self.stands(), self.then());
        match self.kind {
            Kind::Canary => {
                format!("{stands}: the hold is over, evidence is still missing, then {then}")
            }
            Kind::BlueGreen => {
                format!("{stands}: its metrics have not all passed yet, then {then}")
            }
        }
    }

    fn inconclusive(&self, sentence: &str) -> String {
        let (stands, said) = (self.stands(), plain(sentence));
        format!("{stands}: the analysis is inconclusive ({said}); promote or abort")
    }

    fn approval(&self, role: Option<&str>) -> String {
        let (stands, then) = (self.stands(), self.then());
        let role = role.map_or_else(String::new, |role| format!(" with the role {role}"));
        format!("{stands} until somebody{role} promotes it, then {then}")
    }

    fn holding(&self) -> String {
        let until = self
            .until
            .map_or_else(String::new, |at| format!(" until {}", clock(at)));
        let (stands, word) = match self.kind {
            Kind::Canary => (format!("holds at {}", self.share()), "hold"),
            Kind::BlueGreen if self.weight == Weight::FULL => (self.stands(), "watch"),
            Kind::BlueGreen => (self.stands(), "hold"),
        };
        format!(
            "{stands}{until} ({word} {}), then {}",
            self.hold,
            self.then()
        )
    }
}

impl GateWait {
    fn sentence(&self) -> String {
        let title = &self.title;
        let says = match (&self.said, self.confirms) {
            (Some(said), true) => format!(", which does not say yes yet ({})", plain(said)),
            (Some(said), false) => format!(", which failed so far ({})", plain(said)),
            (None, true) => " to say yes".to_owned(),
            (None, false) => String::new(),
        };
        let next = self.next.map_or_else(String::new, |at| {
            format!("; it is asked again at {}", clock(at))
        });
        let until = self
            .until
            .map_or_else(String::new, |at| format!("; it is given up at {}", day(at)));
        format!("waits for {title}{says}{next}{until}")
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

impl PreviewUp {
    fn sentence(&self) -> String {
        let leads = if self.leads.is_empty() {
            String::new()
        } else {
            format!(" at {}", self.leads.join(", "))
        };
        let others = match self.others {
            0 => String::new(),
            1 => "; one other is there, too".to_owned(),
            more => format!("; {more} others are there, too"),
        };
        format!(
            "the preview of {} is up{leads} with {} of {} {} until {}{others}",
            self.revision,
            self.ready,
            self.replicas,
            tasks(self.replicas),
            day(self.until)
        )
    }
}

/// A day and its time, to the second.
fn day(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
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
