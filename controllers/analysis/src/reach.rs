//! Whether an edge reaches the tasks at all: what one edge alone cannot reach says something about that edge.
//!
//! A request that no task answered (no connection, no server left, no answer) counts against a revision only where somebody
//! else sees its tasks down too: another edge's requests or checks, or Swarm. Until that is known, what the edge has counted
//! is left with it for some seconds, as if it had not been asked yet. What no task answered at an edge that is cut off counts
//! for nobody; what a task answered always counts. With a single edge its own way to the other side is asked: where it gets
//! answers from there, the edge is well.
//!
//! Pure: time is an argument. Owner: analysis' memory; after a restart what was left is read again.
//! What must never happen: a canary that dies at every edge and is not blamed, or one that answers badly and is not.

use std::collections::{BTreeMap, VecDeque};

use fm_api::keys::RevisionId;
use fm_api::observed::{HaproxyObserved, SwarmObserved};
use fm_telemetry::outcomes::{End, Kind, Outcomes};
use jiff::{SignedDuration, Timestamp};

/// So long other edges must go on getting answers, until one that gets none is cut off.
const TRAFFIC_TELLS: SignedDuration = SignedDuration::from_secs(3);
/// The same where only the others' checks tell, which take their time.
const CHECKS_TELL: SignedDuration = SignedDuration::from_secs(6);
/// What other edges got lately.
const LATELY: SignedDuration = SignedDuration::from_secs(5);
/// So long without such a request, and the edge reaches the tasks again.
const OVER: SignedDuration = SignedDuration::from_secs(10);
/// Another edge sees the same where its share of unanswered requests is at least this part of the edge's own.
const SAME: f64 = 0.25;
/// Fewer failed connections than this part of the requests left without an answer are no sign of an edge that is cut off.
const FEW: u64 = 4;
/// So few requests are not worth a word.
const TOLD: u64 = 5;
/// A task that Docker says has ended so shortly before explains requests without an answer.
const DIED: SignedDuration = SignedDuration::from_secs(15);

/// Both sides of a comparison.
pub const SIDES: [&str; 2] = ["the canary", "stable"];

/// What others see of the tasks.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Views {
    /// What each edge's HAProxy finds.
    pub edges: BTreeMap<String, HaproxyObserved>,
    /// What Swarm shows.
    pub swarm: Option<SwarmObserved>,
}

/// One side's requests at one edge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asked {
    /// A task answered, whatever it said.
    pub answered: u64,
    /// No task could be reached.
    pub unreached: u64,
    /// A connection there was, or it is not known, and no whole answer.
    pub unanswered: u64,
}

/// Both sides' requests at one edge: the canary's, stable's.
pub type Both = [Asked; 2];

/// How an edge's counters are taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// As they are.
    Whole,
    /// Not yet.
    Later,
    /// Without what no task answered, of these sides.
    Without([bool; 2]),
}

/// What is known of each edge, in one run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reach(BTreeMap<String, Edge>);

#[derive(Debug, Clone, Default, PartialEq)]
struct Edge {
    /// Since when it is not known.
    doubt: Option<Timestamp>,
    cut: [Option<Cut>; 2],
    recent: VecDeque<(Timestamp, Both)>,
}

#[derive(Debug, Clone, PartialEq)]
struct Cut {
    last: Timestamp,
    requests: u64,
    /// Who gets through; empty: nobody was there to ask.
    others: Vec<String>,
}

/// What is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Look<'a> {
    /// What each edge has counted since that was taken in last.
    pub asked: &'a BTreeMap<String, Both>,
    /// The canary and stable.
    pub revisions: [&'a RevisionId; 2],
    /// What others see.
    pub views: &'a Views,
    /// Whether there is an edge that cannot be asked now.
    pub silent: bool,
    /// Now.
    pub now: Timestamp,
}

/// What is concluded of one side at one edge.
enum Finding {
    Counts,
    Unknown,
    CutOff(Vec<String>),
}

/// Whether no task answered such a request.
#[must_use]
pub fn unanswered(kind: Kind) -> bool {
    match kind.end {
        End::Fallback | End::Server => true,
        End::Proxy => own_trouble(kind),
        End::Answered | End::Client => false,
    }
}

/// HAProxy itself had no memory, socket or port left for it.
fn own_trouble(kind: Kind) -> bool {
    matches!(kind.state, Some([b'R' | b'I', _]))
}

impl Asked {
    /// Of requests by how they ended.
    #[must_use]
    pub fn of(outcomes: &Outcomes) -> Self {
        let mut asked = Self::default();
        for (kind, count) in outcomes.kinds() {
            // In the phase `C` there was no connection yet.
            let connecting = matches!(kind.state, Some([_, b'C']));
            match (unanswered(kind), kind.end) {
                (false, _) => asked.answered += count,
                (true, End::Fallback | End::Proxy) => asked.unreached += count,
                (true, _) if connecting => asked.unreached += count,
                (true, _) => asked.unanswered += count,
            }
        }
        asked
    }

    fn without(self) -> u64 {
        self.unreached + self.unanswered
    }

    fn share(self) -> f64 {
        let without = self.without() as f64;
        if without > 0.0 {
            without / (without + self.answered as f64)
        } else {
            0.0
        }
    }

    fn add(&mut self, more: Asked) {
        self.answered += more.answered;
        self.unreached += more.unreached;
        self.unanswered += more.unanswered;
    }
}

impl Reach {
    /// Whether the views of others are needed for what was asked since it was taken in last.
    #[must_use]
    pub fn asks(&self, asked: &BTreeMap<String, Both>) -> bool {
        (asked.values().flatten()).any(|side| side.without() > 0)
            || self.0.values().any(|edge| edge.doubt.is_some())
    }

    /// How each edge's counters are taken in.
    pub fn look(&mut self, look: &Look<'_>) -> BTreeMap<String, Take> {
        if !look.silent {
            self.0
                .retain(|instance, _| look.asked.contains_key(instance));
        }
        for (instance, both) in look.asked {
            let edge = self.0.entry(instance.clone()).or_default();
            if both.iter().all(|side| side.without() == 0) {
                edge.doubt = None;
            } else {
                edge.doubt.get_or_insert(look.now);
            }
            for cut in &mut edge.cut {
                let over = |cut: &Cut| look.now.duration_since(cut.last) >= OVER;
                if cut.as_ref().is_some_and(over) {
                    *cut = None;
                }
            }
        }
        let all = look.asked.iter().map(|(instance, both)| {
            let found = [0, 1].map(|side| self.find(look, instance, side));
            (instance, both, found)
        });
        let all: Vec<_> = all.collect();
        all.into_iter()
            .map(|(instance, both, found)| {
                let edge = self.0.entry(instance.clone()).or_default();
                (instance.clone(), edge.conclude(*both, found, look.now))
            })
            .collect()
    }

    /// What is known of each edge that is cut off.
    #[must_use]
    pub fn says(&self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        for (instance, edge) in &self.0 {
            let sides = edge.cut.iter().zip(SIDES);
            let told = sides
                .filter_map(|(cut, side)| Some((cut.as_ref()?, side)))
                .filter(|(cut, _)| cut.requests >= TOLD)
                .map(|(cut, side)| cut.sentence(instance, side));
            let told: Vec<String> = told.collect();
            if !told.is_empty() {
                all.insert(instance.clone(), told.join("; "));
            }
        }
        all
    }

    /// Which edges are cut off, and from which side.
    #[must_use]
    pub fn cut_off(&self) -> Vec<(String, [bool; 2])> {
        let told = |cut: &Option<Cut>| cut.as_ref().is_some_and(|cut| cut.requests >= TOLD);
        let cut = |edge: &Edge| [0, 1].map(|side| edge.cut.get(side).is_some_and(told));
        let all = self
            .0
            .iter()
            .map(|(instance, edge)| (instance.clone(), cut(edge)));
        all.filter(|(_, sides)| *sides != [false, false]).collect()
    }

    /// Why not everything that was counted is taken in now, if so.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let says = self.says();
        if !says.is_empty() {
            return Some(says.into_values().collect::<Vec<_>>().join("; "));
        }
        let doubtful = self.0.iter().filter(|(_, edge)| edge.doubt.is_some());
        let names: Vec<&str> = doubtful.map(|(instance, _)| instance.as_str()).collect();
        (!names.is_empty()).then(|| {
            format!(
                "requests at {} got no answer, and it is not known yet whether that is the tasks or the edge",
                names.join(", ")
            )
        })
    }

    fn find(&self, look: &Look<'_>, instance: &str, side: usize) -> Finding {
        let mine = look.asked(instance, side);
        let (Some(edge), Some(revision)) = (self.0.get(instance), look.revisions.get(side)) else {
            return Finding::Counts;
        };
        let Some(since) = edge.doubt.filter(|_| mine.without() > 0) else {
            return Finding::Counts;
        };
        let known = edge.cut.get(side).and_then(Option::as_ref);
        if look.views.down(revision, since) || self.seen_elsewhere(look, instance, side) {
            return Finding::Counts;
        }
        // It gets answers from the tasks, and connections to them: what they leave without an answer is theirs.
        let connected = mine.unreached * FEW < mine.unanswered || mine.unreached == 0;
        if known.is_none() && connected && mine.answered > 0 {
            return Finding::Counts;
        }
        let waited = look.now.duration_since(since);
        if look.others(instance).next().is_none() {
            return match known.filter(|_| look.silent) {
                Some(cut) => Finding::CutOff(cut.others.clone()),
                None if look.silent && waited < CHECKS_TELL => Finding::Unknown,
                None => self.alone(look, instance, side),
            };
        }
        let (through, enough) = self.who_gets_through(look, instance, side);
        if known.is_none() && waited < enough {
            return Finding::Unknown;
        }
        // Where a connection there was each time, the edge gets through, and the tasks do not answer.
        let shut = !connected || look.views.healthy(instance, revision) == Some(0);
        if !through.is_empty() && (shut || known.is_some()) {
            return Finding::CutOff(through);
        }
        Finding::Counts
    }

    /// Whether another edge sees the same: by its requests, or by its checks.
    fn seen_elsewhere(&self, look: &Look<'_>, instance: &str, side: usize) -> bool {
        let mine = look.asked(instance, side).share() * SAME;
        let Some(revision) = look.revisions.get(side) else {
            return false;
        };
        look.others(instance).any(|other| {
            let mut lately = look.asked(other, side);
            for (_, both) in self.0.get(other).into_iter().flat_map(|edge| &edge.recent) {
                lately.add(both.get(side).copied().unwrap_or_default());
            }
            (lately.without() > 0 && lately.share() >= mine)
                || look.views.healthy(other, revision) == Some(0)
        })
    }

    /// The other edges that get answers from the tasks, or whose checks find them healthy, and how long that must last to tell.
    fn who_gets_through(
        &self,
        look: &Look<'_>,
        instance: &str,
        side: usize,
    ) -> (Vec<String>, SignedDuration) {
        let edge = self.0.get(instance);
        let known = edge.is_some_and(|edge| edge.cut.get(side).is_some_and(Option::is_some));
        let since = match edge.and_then(|edge| edge.doubt) {
            Some(since) if !known => since,
            Some(_) | None => look.now - LATELY,
        };
        let answers = |other: &&String| {
            let recent = self.0.get(*other).into_iter().flat_map(|edge| &edge.recent);
            let answered = |both: &Both| both.get(side).is_some_and(|asked| asked.answered > 0);
            recent
                .filter(|(at, _)| *at > since)
                .any(|(_, both)| answered(both))
        };
        let through: Vec<String> = look.others(instance).filter(answers).cloned().collect();
        if !through.is_empty() {
            return (through, TRAFFIC_TELLS);
        }
        let healthy = |other: &&String| {
            let revision = look.revisions.get(side);
            let healthy = revision.and_then(|revision| look.views.healthy(other, revision));
            healthy.is_some_and(|tasks| tasks > 0)
        };
        let through = look.others(instance).filter(healthy).cloned();
        (through.collect(), CHECKS_TELL)
    }

    /// One edge and nobody else: whether it gets through to the other side.
    fn alone(&self, look: &Look<'_>, instance: &str, side: usize) -> Finding {
        let (mine, other) = (look.asked(instance, side), look.asked(instance, 1 - side));
        if mine.unreached == 0 {
            return Finding::Counts;
        }
        let reaches = if other == Asked::default() {
            let other = look.revisions.get(1 - side);
            other.and_then(|other| look.views.healthy(instance, other)) != Some(0)
        } else {
            other.share() < mine.share() * SAME
        };
        let edge = self.0.get(instance);
        let known = edge.is_some_and(|edge| edge.cut.get(side).is_some_and(Option::is_some));
        let since = edge.and_then(|edge| edge.doubt);
        let waited = since.map_or(SignedDuration::ZERO, |since| look.now.duration_since(since));
        match (reaches, known || waited >= TRAFFIC_TELLS) {
            (true, _) => Finding::Counts,
            (false, false) => Finding::Unknown,
            (false, true) => Finding::CutOff(Vec::new()),
        }
    }
}

impl Look<'_> {
    fn asked(&self, instance: &str, side: usize) -> Asked {
        let both = self.asked.get(instance).and_then(|both| both.get(side));
        both.copied().unwrap_or_default()
    }

    fn others(&self, instance: &str) -> impl Iterator<Item = &String> {
        self.asked.keys().filter(move |other| *other != instance)
    }
}

impl Edge {
    fn conclude(&mut self, both: Both, found: [Finding; 2], now: Timestamp) -> Take {
        if found.iter().any(|one| matches!(one, Finding::Unknown)) {
            return Take::Later;
        }
        self.doubt = None;
        self.recent.push_back((now, both));
        while let Some((at, _)) = self.recent.front()
            && now.duration_since(*at) > LATELY
        {
            self.recent.pop_front();
        }
        let sides = found.into_iter().zip(both).zip(&mut self.cut);
        let mut without = sides.map(|((finding, asked), cut)| match finding {
            Finding::CutOff(others) => {
                let known = cut.get_or_insert_with(|| Cut::new(now));
                if asked.unreached > 0 {
                    known.last = now;
                }
                known.requests += asked.without();
                known.others = others;
                true
            }
            Finding::Counts if asked.without() > 0 => {
                *cut = None;
                false
            }
            Finding::Counts | Finding::Unknown => false,
        });
        let without = [(); 2].map(|()| without.next().unwrap_or(false));
        match without {
            [false, false] => Take::Whole,
            sides => Take::Without(sides),
        }
    }
}

impl Views {
    /// Tasks of a revision that an edge's HAProxy finds healthy, where it says so.
    fn healthy(&self, instance: &str, revision: &RevisionId) -> Option<u32> {
        let seen = self.edges.get(instance)?;
        let known = seen.revisions.get(revision);
        known.filter(|_| seen.problem.is_none()).map(|s| s.healthy)
    }

    /// Whether Swarm sees the revision's tasks down: none is ready, or one has died just now.
    fn down(&self, revision: &RevisionId, since: Timestamp) -> bool {
        let swarm = self.swarm.as_ref().filter(|seen| seen.problem.is_none());
        let Some(seen) = swarm.and_then(|seen| seen.revisions.get(revision)) else {
            return false;
        };
        let died = |at: Timestamp| since.duration_since(at) <= DIED;
        seen.ready.is_empty() || seen.failures.last().is_some_and(|last| died(last.at))
    }
}

impl Cut {
    fn new(now: Timestamp) -> Self {
        Self {
            last: now,
            requests: 0,
            others: Vec::new(),
        }
    }

    fn sentence(&self, instance: &str, side: &str) -> String {
        let requests = match self.requests {
            1 => "1 request that got no answer there counts".to_owned(),
            more => format!("{more} requests that got no answer there count"),
        };
        match self.others.first() {
            Some(other) => format!(
                "the HAProxy of {instance} does not reach the tasks of {side}, and {other} does: look at the network of {instance}; \
                 {requests} against nobody"
            ),
            None => format!(
                "the HAProxy of {instance} reaches the tasks of neither side: look at the network of {instance}; {requests} against nobody"
            ),
        }
    }
}

#[cfg(test)]
mod tests;
