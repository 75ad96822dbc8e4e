//! What the sentences of [`super::texts`] are made of: tasks, places, gates, previews, times.

use fm_api::quantity::Weight;
use fm_api::strategy::Kind;
use jiff::Timestamp;

use super::why::{At, GateWait, PreviewUp, Scaling};

impl Scaling {
    pub(super) fn sentence(&self) -> String {
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
            Kind::Canary if !self.mirror.is_zero() => self.mirrors(),
            Kind::Canary => format!("stays at {}", self.share()),
            Kind::BlueGreen if self.tasks.is_some() => "stands whole beside stable".to_owned(),
            Kind::BlueGreen if self.weight == Weight::FULL => {
                "serves everything, and the old revision stands by whole".to_owned()
            }
            Kind::BlueGreen if !self.mirror.is_zero() => {
                format!("stands whole beside stable and {}", self.mirrors())
            }
            Kind::BlueGreen => "stands whole beside stable".to_owned(),
        }
    }

    fn mirrors(&self) -> String {
        format!("is sent copies of {} of the safe requests", self.mirror)
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

    pub(super) fn evidence(&self) -> String {
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

    pub(super) fn inconclusive(&self, sentence: &str) -> String {
        let (stands, said) = (self.stands(), plain(sentence));
        format!("{stands}: the analysis is inconclusive ({said}); promote or abort")
    }

    pub(super) fn harm(&self, sentence: &str) -> String {
        let (stands, said) = (self.stands(), plain(sentence));
        format!("{stands}: harm is shown and does not take it back ({said}); promote or abort")
    }

    pub(super) fn approval(&self, role: Option<&str>) -> String {
        let (stands, then) = (self.stands(), self.then());
        let role = role.map_or_else(String::new, |role| format!(" with the role {role}"));
        format!("{stands} until somebody{role} promotes it, then {then}")
    }

    pub(super) fn holding(&self) -> String {
        let until = self
            .until
            .map_or_else(String::new, |at| format!(" until {}", clock(at)));
        let (stands, word) = match self.kind {
            Kind::Canary if !self.mirror.is_zero() => (self.stands(), "hold"),
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
    pub(super) fn sentence(&self) -> String {
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

impl PreviewUp {
    pub(super) fn sentence(&self) -> String {
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
pub(super) fn day(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// A time of day, to the second.
pub(super) fn clock(at: Timestamp) -> String {
    at.strftime("%H:%M:%S UTC").to_string()
}

pub(super) fn tasks(n: u32) -> &'static str {
    if n == 1 { "task" } else { "tasks" }
}

/// Without the full stop and the white space around it, to stand inside another sentence.
pub(super) fn plain(text: &str) -> &str {
    text.trim().trim_end_matches('.')
}
