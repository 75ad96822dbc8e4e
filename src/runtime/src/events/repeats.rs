//! What was said already, and is counted instead of said again. Pure: no clock, no store.
//!
//! The same words of the same release within [`SAME`] are one event with a count. So is what one reason says of a release
//! beyond [`BURST`] and one each [`REFILL`], whatever its words: a loop that names another number each time is a loop.
//! What must never happen: memory or writes that grow with how often something is said.

use std::collections::HashMap;
use std::time::Duration;

use fm_api::event::{Event, Severity};
use fm_api::keys::ReleaseKey;
use jiff::Timestamp;
use tokio::time::Instant;

/// Said again within this time, it is the same event.
const SAME: Duration = Duration::from_secs(600);
/// How many events one reason may make of one release at once …
const BURST: f64 = 60.0;
/// … and how long until it may make one more.
const REFILL: Duration = Duration::from_secs(30);
/// The first pause before a count is written, and the longest: each is twice the one before.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// How many events are remembered. Beyond, what was said longest ago is told anew.
const MOST: usize = 4096;

/// What follows the words of an event that stands for several.
const ALIKE: &str = " (the latest of many such)";

/// An event before it has an id.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) at: Timestamp,
    pub(super) key: Option<ReleaseKey>,
    pub(super) severity: Severity,
    pub(super) reason: String,
    pub(super) message: String,
}

type Kind = (Option<ReleaseKey>, Severity, String);

#[derive(Debug, Default)]
pub(super) struct Repeats {
    known: HashMap<(Kind, String), Known>,
    kinds: HashMap<Kind, Bucket>,
}

#[derive(Debug)]
struct Known {
    event: Event,
    seen: Instant,
    /// When it is to be written; `None`: the store has it as it is.
    due: Option<Instant>,
    pause: Duration,
    /// Whether the store ever took it.
    stored: bool,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
    /// The words of its latest event, which take in what goes beyond.
    latest: String,
}

impl Repeats {
    /// Takes in what is told; `event` makes it an event of its own.
    pub(super) fn say(&mut self, told: Told, now: Instant, event: impl FnOnce(&Told) -> Event) {
        let kind = (told.key.clone(), told.severity, told.reason.clone());
        let what = (kind.clone(), told.message.clone());
        if let Some(known) = self.known.get_mut(&what)
            && known.is_fresh(now)
        {
            known.again(told.at, now);
            return;
        }
        let bucket = self.kinds.entry(kind.clone()).or_insert_with(|| Bucket {
            tokens: BURST,
            at: now,
            latest: String::new(),
        });
        if !bucket.take(now) {
            let latest = (kind, bucket.latest.clone());
            if let Some(known) = self.known.get_mut(&latest) {
                known.event.message = told.message + ALIKE;
                known.pause = PAUSES.1;
                known.again(told.at, now);
                return;
            }
        }
        bucket.latest.clone_from(&told.message);
        let event = event(&told);
        self.make_room(now);
        let known = Known {
            event,
            seen: now,
            due: Some(now),
            pause: PAUSES.0,
            stored: false,
        };
        self.known.insert(what, known);
    }

    /// Forgets what is no longer the same when it is said again, and the oldest where that is not enough.
    fn make_room(&mut self, now: Instant) {
        if self.known.len() < MOST {
            return;
        }
        self.known.retain(|_, known| known.is_fresh(now));
        self.kinds.retain(|_, bucket| !bucket.is_full(now));
        // Many at once, so that not each that follows pays for it.
        if self.known.len() >= MOST {
            let mut seen: Vec<Instant> = self.known.values().map(|known| known.seen).collect();
            let (_, middle, _) = seen.select_nth_unstable(MOST / 4);
            let middle = *middle;
            self.known.retain(|_, known| known.seen > middle);
        }
        if self.kinds.len() >= MOST {
            let known = &self.known;
            let lives =
                |kind: &Kind, latest: &String| known.contains_key(&(kind.clone(), latest.clone()));
            self.kinds
                .retain(|kind, bucket| lives(kind, &bucket.latest));
        }
    }

    /// When something is to be written.
    pub(super) fn next(&self) -> Option<Instant> {
        self.known.values().filter_map(|known| known.due).min()
    }

    /// What is to be written by then, the oldest first.
    pub(super) fn due(&self, by: Instant) -> Vec<Event> {
        let due = self.known.values();
        let due = due.filter(|known| known.due.is_some_and(|due| due <= by));
        let mut events: Vec<Event> = due.map(|known| known.event.clone()).collect();
        events.sort_by(|a, b| a.id.cmp(&b.id));
        events
    }

    /// Everything that the store does not have as it is.
    pub(super) fn rest(&self) -> Vec<Event> {
        let end = self.known.values().filter_map(|known| known.due).max();
        end.map(|end| self.due(end)).unwrap_or_default()
    }

    /// The store has this now.
    pub(super) fn written(&mut self, event: &Event, now: Instant) {
        let Some(known) = self.known.values_mut().find(|k| k.event.id == event.id) else {
            return;
        };
        known.stored = true;
        known.due = (known.event != *event).then(|| now + known.pause);
        if event.count > 1 {
            known.pause = (known.pause * 2).min(PAUSES.1);
        }
    }

    /// The store did not take this. Returns whether it is lost: a count that is late is not.
    pub(super) fn failed(&mut self, event: &Event, now: Instant) -> bool {
        let stored = |known: &Known| known.event.id == event.id && known.stored;
        if let Some(known) = self.known.values_mut().find(|known| stored(known)) {
            known.due = Some(now + PAUSES.1);
            return false;
        }
        self.known.retain(|_, known| known.event.id != event.id);
        true
    }
}

impl Known {
    fn is_fresh(&self, now: Instant) -> bool {
        now.duration_since(self.seen) < SAME || self.due.is_some()
    }

    fn again(&mut self, at: Timestamp, now: Instant) {
        self.event.count = self.event.count.saturating_add(1);
        self.event.last_at = Some(at.max(self.event.at));
        self.seen = now;
        self.due = self.due.or(Some(now + self.pause));
    }
}

impl Bucket {
    fn take(&mut self, now: Instant) -> bool {
        self.tokens = self.filled(now);
        self.at = now;
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }

    fn filled(&self, now: Instant) -> f64 {
        let passed = now.duration_since(self.at).as_secs_f64();
        (self.tokens + passed / REFILL.as_secs_f64()).min(BURST)
    }

    fn is_full(&self, now: Instant) -> bool {
        self.filled(now) >= BURST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(name: &str, message: &str) -> Told {
        Told {
            at: Timestamp::UNIX_EPOCH,
            key: Some(ReleaseKey::new("default", name)),
            severity: Severity::Warning,
            reason: "TaskFailed".to_owned(),
            message: message.to_owned(),
        }
    }

    /// Events with numbers for ids.
    struct World {
        repeats: Repeats,
        now: Instant,
        made: usize,
        writes: usize,
        stored: std::collections::BTreeMap<String, Event>,
    }

    impl World {
        fn new() -> Self {
            Self {
                repeats: Repeats::default(),
                now: Instant::now(),
                made: 0,
                writes: 0,
                stored: std::collections::BTreeMap::new(),
            }
        }

        fn say(&mut self, told: Told) {
            let made = &mut self.made;
            self.repeats.say(told, self.now, |told| {
                *made += 1;
                Event {
                    id: format!("{made:06}"),
                    at: told.at,
                    namespace: "default".to_owned(),
                    name: told.key.as_ref().unwrap().name().to_owned(),
                    severity: told.severity,
                    reason: told.reason.clone(),
                    message: told.message.clone(),
                    source: "swarm".to_owned(),
                    count: 1,
                    last_at: None,
                }
            });
            self.store();
        }

        fn store(&mut self) {
            for event in self.repeats.due(self.now) {
                self.repeats.written(&event, self.now);
                self.stored.insert(event.id.clone(), event);
                self.writes += 1;
            }
        }

        fn pass(&mut self, time: Duration) {
            self.now += time;
            self.store();
        }
    }

    #[test]
    fn a_loop_of_the_same_words_is_one_event_and_few_writes() {
        let mut world = World::new();
        for _ in 0..24 * 3600 {
            world.say(told("shop", "revision 1: task: non-zero exit (137)"));
            world.pass(Duration::from_secs(1));
        }
        world.pass(Duration::from_secs(30));
        let all: Vec<_> = world.stored.values().map(|event| event.count).collect();
        assert_eq!(all, [24 * 3600]);
        assert!(world.writes < 3000, "{}", world.writes);
    }

    #[test]
    fn a_loop_of_other_words_each_time_is_bounded_and_all_of_it_is_counted() {
        let mut world = World::new();
        for number in 0..10_000 {
            world.say(told("shop", &format!("attempt {number}")));
            world.pass(Duration::from_millis(100));
        }
        world.say(told("other", "attempt 1"));
        world.pass(Duration::from_secs(30));
        let counts: u32 = world.stored.values().map(|event| event.count).sum();
        assert_eq!(counts, 10_001);
        assert!(world.stored.len() < 60 + 40, "{}", world.stored.len());
        assert!(world.writes < 250, "{}", world.writes);
        let last = world.stored.values().rfind(|event| event.name == "shop");
        assert_eq!(
            last.unwrap().message,
            "attempt 9999 (the latest of many such)"
        );
    }

    #[test]
    fn what_is_said_again_after_long_is_news() {
        let mut world = World::new();
        for _ in 0..3 {
            world.say(told("shop", "it failed"));
            world.pass(SAME);
        }
        assert_eq!(world.stored.len(), 3);
    }

    #[test]
    fn memory_is_bounded_whatever_is_said() {
        let mut world = World::new();
        for number in 0..MOST * 2 {
            world.say(told(&format!("r{number}"), "it failed"));
            world.now += Duration::from_millis(1);
        }
        assert!(world.repeats.known.len() <= MOST);
        assert!(world.repeats.kinds.len() <= MOST + 1);
        assert_eq!(world.stored.len(), MOST * 2);
    }

    #[test]
    fn a_count_that_the_store_does_not_take_is_late_and_a_first_is_lost() {
        let mut world = World::new();
        world.say(told("shop", "it failed"));
        world.say(told("shop", "it failed"));
        world.now += PAUSES.0;
        let due = world.repeats.due(world.now);
        assert_eq!(due[0].count, 2);
        assert!(!world.repeats.failed(&due[0], world.now));
        world.pass(PAUSES.1);
        assert_eq!(world.stored.values().next().unwrap().count, 2);
        let now = world.now;
        let other = Event {
            id: "x".to_owned(),
            ..due[0].clone()
        };
        world
            .repeats
            .say(told("shop", "other"), now, |_| other.clone());
        assert!(world.repeats.failed(&other, now));
        assert_eq!(world.repeats.next(), None);
    }
}
