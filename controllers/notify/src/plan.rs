//! Which events a channel is told, in which words, and when. Pure.
//!
//! What must never happen: more than the limit in its time; something left out that is not counted.

mod trouble;

use std::collections::{BTreeMap, BTreeSet};

use fm_api::criteria::template;
use fm_api::event::{Event, Severity};
use fm_api::quantity::Span;
use jiff::Timestamp;

pub use trouble::{After, Failure, Trouble};

/// More that waits than this is left out, the oldest first: a channel that was away for long is told what is new.
pub const MOST_WAITING: usize = 500;

/// What may stand in a template.
pub const VARIABLES: [&str; 8] = [
    "namespace",
    "release",
    "severity",
    "reason",
    "message",
    "source",
    "at",
    "id",
];

/// What a channel is told.
#[derive(Debug, Clone)]
pub struct Rule {
    /// At least as severe.
    pub severity: Severity,
    /// Only these reasons; empty: all.
    pub reasons: Vec<String>,
    /// Only these namespaces; empty: all.
    pub namespaces: Vec<String>,
    /// The text.
    pub template: String,
    /// At most so many …
    pub limit: u32,
    /// … in this time.
    pub per: Span,
}

impl Rule {
    /// Whether an event is told.
    #[must_use]
    pub fn takes(&self, event: &Event) -> bool {
        let severe = self.severity == Severity::Normal || event.severity == Severity::Warning;
        let listed =
            |list: &[String], text: &str| list.is_empty() || list.iter().any(|t| t == text);
        severe && listed(&self.reasons, &event.reason) && listed(&self.namespaces, &event.namespace)
    }

    /// The text of an event.
    #[must_use]
    pub fn text(&self, event: &Event) -> String {
        self.text_with(event, str::to_owned)
    }

    /// The text of an event for Slack: what others wrote is text there, no mention and no link. The template is ours.
    #[must_use]
    pub fn slack(&self, event: &Event) -> String {
        self.text_with(event, escaped)
    }

    fn text_with(&self, event: &Event, written: impl Fn(&str) -> String) -> String {
        let value = |name: &str| {
            Some(match name {
                "namespace" => event.namespace.clone(),
                "release" => event.name.clone(),
                "severity" => severity(event.severity).to_owned(),
                "reason" => event.reason.clone(),
                "message" => event.message.clone(),
                "source" => event.source.clone(),
                "at" => event.at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
                "id" => event.id.clone(),
                _ => return None,
            })
        };
        let value = |name: &str| value(name).map(|text| written(&text));
        // A template that names something else was refused when the configuration was read.
        template::fill(&self.template, value).unwrap_or_else(|_| written(&event.message))
    }
}

/// What is wrong with a template; `None`: nothing.
#[must_use]
pub fn wrong(text: &str) -> Option<String> {
    let unknown = template::unknown_beside(text, |name| VARIABLES.contains(&name));
    let first = unknown.first()?;
    Some(if first.ends_with("}}") {
        format!("{first} is no variable")
    } else {
        format!("`{first}` is not closed")
    })
}

/// Slack's control characters, as Slack wants them written where they are text.
#[must_use]
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// The word of a severity.
#[must_use]
pub const fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Normal => "normal",
        Severity::Warning => "warning",
    }
}

/// Where an event stands: the store's revision, and its id, since several are stored at once.
pub type Place = (u64, String);

/// How far a channel was told, and how much it may be told now.
#[derive(Debug, Clone)]
pub struct Lane {
    /// Up to where everything was told or left out.
    pub told: Place,
    /// How many may be sent at once now.
    tokens: f64,
    refilled: Timestamp,
    /// Left out since the last summary, by reason.
    left_out: BTreeMap<String, u32>,
    /// Where it began: what has an older id and happened again since was told before.
    began: String,
    /// Events that were told or left out since: when they happen again, they are not told again.
    known: BTreeSet<String>,
}

/// So many events are remembered as told: as many as are kept.
const MOST_KNOWN: usize = 10_000;

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Send this; then everything up to its place is told.
    Send {
        /// The event.
        event: Box<Event>,
        /// Where it stands.
        place: Place,
    },
    /// Send this summary of what was left out.
    Summary(String),
    /// Nothing before then.
    Wait(Option<Timestamp>),
}

impl Lane {
    /// Begins after this place.
    #[must_use]
    pub fn after(told: Place, rule: &Rule, now: Timestamp) -> Self {
        Self {
            began: told.1.clone(),
            known: BTreeSet::new(),
            told,
            tokens: f64::from(rule.limit),
            refilled: now,
            left_out: BTreeMap::new(),
        }
    }

    /// What to do next with these events, in the order of the store.
    pub fn next(&mut self, rule: &Rule, events: &[(u64, Event)], now: Timestamp) -> Step {
        let rate = f64::from(rule.limit) / rule.per.as_secs_f64();
        let passed = now.duration_since(self.refilled).as_secs_f64().max(0.0);
        self.tokens = (self.tokens + passed * rate).min(f64::from(rule.limit));
        self.refilled = now;
        let waiting: Vec<&(u64, Event)> = events
            .iter()
            .filter(|(revision, event)| self.waits(rule, *revision, event))
            .collect();
        let excess = waiting.len().saturating_sub(MOST_WAITING);
        for (revision, event) in waiting.iter().take(excess) {
            self.leave_out(*revision, event);
        }
        if self.tokens < 1.0 {
            // What cannot be told in its time is counted, and told as one.
            for (revision, event) in waiting.iter().skip(excess) {
                self.leave_out(*revision, event);
            }
            if self.left_out.is_empty() {
                return Step::Wait(None);
            }
            let missing = Span::millis((((1.0 - self.tokens) / rate) * 1000.0).ceil() as u64 + 1);
            return Step::Wait(now.checked_add(missing.to_signed()).ok());
        }
        if !self.left_out.is_empty() {
            return Step::Summary(self.summary());
        }
        match waiting.get(excess) {
            None => Step::Wait(None),
            Some((revision, event)) => Step::Send {
                event: Box::new(event.clone()),
                place: (*revision, event.id.clone()),
            },
        }
    }

    /// Gives up everything that happened before then: it was tried for long enough, and is counted for the next summary.
    /// Returns how many.
    pub fn give_up(&mut self, rule: &Rule, events: &[(u64, Event)], before: Timestamp) -> usize {
        let waiting = events
            .iter()
            .filter(|(revision, event)| self.waits(rule, *revision, event));
        let old: Vec<&(u64, Event)> = waiting
            .take_while(|(_, event)| event.at <= before)
            .collect();
        for (revision, event) in &old {
            self.leave_out(*revision, event);
        }
        old.len()
    }

    /// Whether the event is still to be told. One that happened again has another place, and is told once.
    fn waits(&self, rule: &Rule, revision: u64, event: &Event) -> bool {
        let before = event.count > 1 && (event.id <= self.began || self.known.contains(&event.id));
        (revision, &event.id) > (self.told.0, &self.told.1) && !before && rule.takes(event)
    }

    fn know(&mut self, id: &str) {
        self.known.insert(id.to_owned());
        if self.known.len() > MOST_KNOWN {
            self.known.pop_first();
        }
    }

    fn leave_out(&mut self, revision: u64, event: &Event) {
        self.know(&event.id);
        let place = (revision, event.id.clone());
        if place > self.told {
            self.told = place;
        }
        *self.left_out.entry(event.reason.clone()).or_default() += 1;
    }

    fn summary(&self) -> String {
        let all: u32 = self.left_out.values().sum();
        let each = self.left_out.iter();
        let each: Vec<String> = each
            .map(|(reason, count)| format!("{count} {reason}"))
            .collect();
        format!("{all} more were left out: {}", each.join(", "))
    }

    /// It was sent, or given up.
    pub fn done(&mut self, step: &Step) {
        self.tokens -= 1.0;
        match step {
            Step::Send { place, .. } => {
                self.know(&place.1);
                self.told = place.clone();
            }
            Step::Summary(_) => self.left_out.clear(),
            Step::Wait(_) => {}
        }
    }
}

#[cfg(test)]
mod tests;
