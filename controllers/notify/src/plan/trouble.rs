//! What to do when a channel does not take what it is told. Pure.

use std::time::Duration;

/// The first pause after a failure; each further one is twice as long, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// So often an event is tried that the other side refuses: it would be refused again, and others wait behind it.
const REFUSALS: u32 = 3;

/// Why something was not told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The other side answered that it does not take it.
    Refused(String),
    /// It may be told later.
    Away(String),
}

/// What to do after one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum After {
    /// The next one.
    Next {
        /// This one was never taken.
        lost: bool,
    },
    /// The same once more.
    Again {
        /// After this pause.
        pause: Duration,
        /// Nothing was wrong before.
        first: bool,
    },
}

/// What is wrong with a channel. The pauses grow as long as it is, whichever event is tried.
#[derive(Debug, Clone, Default)]
pub struct Trouble {
    failures: u32,
    refused: Option<(String, u32)>,
}

impl Trouble {
    /// What to do after an attempt to tell the event with this id.
    pub fn after(&mut self, id: &str, failure: Option<&Failure>) -> After {
        match failure {
            None => {
                *self = Self::default();
                return After::Next { lost: false };
            }
            Some(Failure::Refused(_)) => {
                let before = self.refused.take().filter(|(of, _)| of == id);
                let times = before.map_or(1, |(_, times)| times + 1);
                if times >= REFUSALS {
                    self.failures = 0;
                    return After::Next { lost: true };
                }
                self.refused = Some((id.to_owned(), times));
            }
            Some(Failure::Away(_)) => {}
        }
        let first = self.failures == 0;
        let pause = FIRST_PAUSE * 2_u32.pow(self.failures.min(10));
        self.failures = self.failures.saturating_add(1);
        After::Again {
            pause: pause.min(LONGEST_PAUSE),
            first,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_is_given_up_soon_and_what_is_away_is_asked_less_and_less_often() {
        let mut trouble = Trouble::default();
        let refused = Failure::Refused("HTTP 400".to_owned());
        let away = Failure::Away("connection refused".to_owned());
        let pause = |after: After| match after {
            After::Again { pause, .. } => pause.as_secs(),
            After::Next { .. } => 0,
        };
        assert_eq!(pause(trouble.after("a", Some(&refused))), 1);
        assert_eq!(pause(trouble.after("a", Some(&refused))), 2);
        let third = trouble.after("a", Some(&refused));
        assert_eq!(third, After::Next { lost: true }, "the next one's turn");
        let pauses: Vec<u64> = ["b", "b", "b", "b", "b", "c", "c", "c"]
            .into_iter()
            .map(|id| pause(trouble.after(id, Some(&away))))
            .collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60], "none begins anew");
        assert_eq!(trouble.after("c", None), After::Next { lost: false });
        let again = trouble.after("d", Some(&away));
        assert_eq!(
            again,
            After::Again {
                pause: Duration::from_secs(1),
                first: true
            }
        );
    }
}
