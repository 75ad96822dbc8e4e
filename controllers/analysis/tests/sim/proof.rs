//! When a row is proven: the interval of what was found lies on the goal's side.
//!
//! Runs go on in rounds until the confidence sequence of the share has left the goal, or there have been enough of them. It is
//! valid however often it is looked at, so a row is not proven by stopping at a lucky moment, and errs with 5 % at most.

use std::thread;

use fm_analysis::{proportion, quantile};

/// One thing that must be reached.
pub(crate) struct Row {
    /// Which of the list's items.
    pub(crate) item: u8,
    /// What is measured.
    pub(crate) what: String,
    pub(crate) kind: Kind,
}

pub(crate) enum Kind {
    /// Holds or does not: what was found must not exceed so much.
    Exact {
        most: f64,
        find: Box<dyn Fn() -> f64 + Send + Sync>,
    },
    /// A share of runs, of which each is played by its seed: `Some` is when it came to the event.
    Chance {
        goal: Goal,
        unit: &'static str,
        play: Play,
    },
}

pub(crate) type Play = Box<dyn Fn(u64) -> Option<u64> + Send + Sync>;

/// What the runs must come to.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    /// No more than this share comes to the event.
    Rare(f64),
    /// At least this share does.
    Common(f64),
    /// At least this share comes to it within so much.
    Within(f64, u64),
}

/// Whether it is reached.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Shown {
    Met,
    Missed,
    /// The interval still holds the goal.
    Unproven,
}

/// What was found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) shown: Shown,
    /// As people read it.
    pub(crate) found: String,
    pub(crate) goal: String,
    pub(crate) runs: u64,
}

/// Plays so many runs at least, and at most.
pub(crate) fn prove(row: &Row, runs: (u64, u64)) -> Found {
    match &row.kind {
        Kind::Exact { most, find } => {
            let found = find();
            let met = found <= *most;
            Found {
                shown: if met { Shown::Met } else { Shown::Missed },
                found: number(found),
                goal: format!("<= {}", number(*most)),
                runs: 1,
            }
        }
        Kind::Chance { goal, unit, play } => chance(*goal, unit, play, runs),
    }
}

fn chance(goal: Goal, unit: &str, play: &Play, (least, most): (u64, u64)) -> Found {
    let mut ends: Vec<Option<u64>> = Vec::new();
    loop {
        let done = ends.len() as u64;
        // A round is as long as all before it, so that few seeds are played in vain.
        ends.extend(many(play, done, done.clamp(least, most - done)));
        let shown = look(goal, &ends);
        if shown != Shown::Unproven || ends.len() as u64 >= most {
            return tell(goal, unit, &ends, shown);
        }
    }
}

/// Plays seeds on all processors. Which thread plays which seed changes nothing.
fn many(play: &Play, done: u64, more: u64) -> Vec<Option<u64>> {
    let threads = thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let part = more.div_ceil(threads);
    thread::scope(|scope| {
        let parts: Vec<_> = (0..threads)
            .map(|thread| (thread * part).min(more)..((thread + 1) * part).min(more))
            .map(|seeds| scope.spawn(move || seeds.map(|n| play(done + n + 1)).collect::<Vec<_>>()))
            .collect();
        parts
            .into_iter()
            .flat_map(|part| part.join().unwrap())
            .collect()
    })
}

fn share(goal: Goal) -> f64 {
    match goal {
        Goal::Rare(share) | Goal::Common(share) | Goal::Within(share, _) => share,
    }
}

fn hits(goal: Goal, ends: &[Option<u64>]) -> u64 {
    let comes = |end: &&Option<u64>| match goal {
        Goal::Rare(_) | Goal::Common(_) => end.is_some(),
        Goal::Within(_, most) => end.is_some_and(|end| end <= most),
    };
    ends.iter().filter(comes).count() as u64
}

fn look(goal: Goal, ends: &[Option<u64>]) -> Shown {
    let (lower, upper) = proportion::bounds(hits(goal, ends), ends.len() as u64, 0.05);
    let wanted = share(goal);
    let (met, missed) = match goal {
        Goal::Rare(_) => (upper <= wanted, lower > wanted),
        Goal::Common(_) | Goal::Within(..) => (lower >= wanted, upper < wanted),
    };
    match (met, missed) {
        (true, _) => Shown::Met,
        (_, true) => Shown::Missed,
        _ => Shown::Unproven,
    }
}

fn tell(goal: Goal, unit: &str, ends: &[Option<u64>], shown: Shown) -> Found {
    let all = ends.len();
    let hits = hits(goal, ends);
    let (lower, upper) = proportion::bounds(hits, all as u64, 0.05);
    let percent = |share: f64| number(100.0 * share);
    let seen = format!(
        "{} % ({} to {})",
        percent(hits as f64 / all as f64),
        percent(lower),
        percent(upper)
    );
    let mut at: Vec<u64> = ends.iter().flatten().copied().collect();
    at.sort_unstable();
    let (found, goal) = match goal {
        Goal::Rare(share) => (seen, format!("<= {} %", percent(share))),
        Goal::Common(share) => (seen, format!(">= {} %", percent(share))),
        Goal::Within(share, most) => {
            let value = quantile::inverted(&at, all, share);
            let value = value.map_or("-".to_owned(), |value| value.to_string());
            (format!("{value} {unit}"), format!("<= {most} {unit}"))
        }
    };
    Found {
        shown,
        found,
        goal,
        runs: all as u64,
    }
}

fn number(value: f64) -> String {
    if value == 0.0 || (0.001..1e6).contains(&value.abs()) {
        let text = format!("{value:.3}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        format!("{value:.1e}")
    }
}
