//! Who is in, and who has to make room. A connection on which nothing is asked is worth less than a new one: the one that
//! has been idle for longest goes, so that whoever has something to ask is heard.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use super::{Caller, Turned};

/// The connections of one door.
pub(super) struct Crowd {
    most: usize,
    per_caller: usize,
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    /// Counts entries and moments: of two numbers the smaller was first.
    last: u64,
    seats: HashMap<u64, Seat>,
    by_caller: HashMap<Caller, usize>,
}

struct Seat {
    caller: Caller,
    /// Answers that are being made or written.
    busy: usize,
    asked: bool,
    idle_since: u64,
    leave: CancellationToken,
}

impl Crowd {
    pub(super) fn new(most: usize, per_caller: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            per_caller,
            inside: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more; where there is none, an idle connection makes room. `scarce`: the process runs out of descriptors.
    pub(super) fn enter(self: &Arc<Self>, caller: Caller, scarce: bool) -> Result<Guest, Turned> {
        let mut inside = self.lock();
        let theirs = inside.by_caller.get(&caller).copied().unwrap_or_default();
        if theirs >= self.per_caller {
            if !inside.make_room(Some(caller)) {
                return Err(Turned::Caller(self.per_caller));
            }
        } else if scarce {
            // The room that is made is felt by the next one only.
            inside.make_room(None);
            return Err(Turned::Descriptors);
        } else if inside.seats.len() >= self.most && !inside.make_room(None) {
            return Err(Turned::Door(self.most));
        }
        inside.last += 1;
        let number = inside.last;
        let leave = CancellationToken::new();
        let seat = Seat {
            caller,
            busy: 0,
            asked: false,
            idle_since: number,
            leave: leave.clone(),
        };
        inside.seats.insert(number, seat);
        *inside.by_caller.entry(caller).or_default() += 1;
        Ok(Guest {
            crowd: Arc::clone(self),
            number,
            caller,
            leave,
        })
    }
}

impl Inside {
    fn make_room(&mut self, of: Option<Caller>) -> bool {
        let idle = self
            .seats
            .iter()
            .filter(|(_, seat)| seat.busy == 0 && of.is_none_or(|caller| seat.caller == caller));
        let longest = idle.min_by_key(|(_, seat)| seat.idle_since);
        let Some(number) = longest.map(|(number, _)| *number) else {
            return false;
        };
        if let Some(seat) = self.remove(number) {
            seat.leave.cancel();
            super::turned_away::count("made-room");
        }
        true
    }

    fn remove(&mut self, number: u64) -> Option<Seat> {
        let seat = self.seats.remove(&number)?;
        if let Some(count) = self.by_caller.get_mut(&seat.caller) {
            *count -= 1;
            if *count == 0 {
                self.by_caller.remove(&seat.caller);
            }
        }
        Some(seat)
    }
}

/// A connection that is in. Dropped, its place is free.
pub(super) struct Guest {
    crowd: Arc<Crowd>,
    number: u64,
    caller: Caller,
    leave: CancellationToken,
}

impl Guest {
    pub(super) const fn caller(&self) -> Caller {
        self.caller
    }

    /// Cancelled when it has to make room.
    pub(super) fn leave(&self) -> CancellationToken {
        self.leave.clone()
    }

    pub(super) fn never_asked(&self) -> bool {
        // One that was sent away while it asked has no seat any more, and is answered.
        self.crowd
            .lock()
            .seats
            .get(&self.number)
            .is_none_or(|seat| !seat.asked)
    }

    /// An answer begins.
    pub(super) fn busy(self: &Arc<Self>) -> Busy {
        if let Some(seat) = self.crowd.lock().seats.get_mut(&self.number) {
            seat.busy += 1;
            seat.asked = true;
        }
        Busy(Arc::clone(self))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.crowd.lock().remove(self.number);
    }
}

/// An answer that is being made or written.
pub(super) struct Busy(Arc<Guest>);

impl Drop for Busy {
    fn drop(&mut self) {
        let mut inside = self.0.crowd.lock();
        inside.last += 1;
        let now = inside.last;
        if let Some(seat) = inside.seats.get_mut(&self.0.number) {
            seat.busy -= 1;
            seat.idle_since = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: Caller = Caller::User(1);
    const BOB: Caller = Caller::User(2);

    #[test]
    fn the_longest_idle_one_makes_room_and_a_busy_one_never() {
        let crowd = Crowd::new(3, 2);
        let first = Arc::new(crowd.enter(ANN, false).unwrap());
        let second = Arc::new(crowd.enter(ANN, false).unwrap());
        let answer = first.busy();
        let _third = crowd.enter(ANN, false).unwrap();
        assert!(second.leave.is_cancelled() && !first.leave.is_cancelled());
        drop(answer);
        let _fourth = crowd.enter(ANN, false).unwrap();
        assert!(!first.leave.is_cancelled(), "it was busy a moment ago");
    }

    #[test]
    fn nobody_is_let_in_beyond_the_limits_while_all_are_busy() {
        let crowd = Crowd::new(3, 2);
        let guests: Vec<_> = [ANN, ANN, BOB]
            .map(|caller| Arc::new(crowd.enter(caller, false).unwrap()))
            .into();
        let answers: Vec<_> = guests.iter().map(Guest::busy).collect();
        assert_eq!(crowd.enter(ANN, false).err(), Some(Turned::Caller(2)));
        assert_eq!(crowd.enter(BOB, false).err(), Some(Turned::Door(3)));
        drop((answers, guests));
        assert!(crowd.lock().seats.is_empty() && crowd.lock().by_caller.is_empty());
        assert_eq!(crowd.enter(BOB, true).err(), Some(Turned::Descriptors));
    }
}
