//! What one side did, of what was counted: by the manifest's own definition of a bad request.

use fm_api::criteria::bad::{Answer, BadRequests, Ended, Outcome};
use fm_api::verdict::Counted;
use fm_telemetry::counters::Counters;
use fm_telemetry::histogram::Histogram;
use fm_telemetry::outcomes::{End, Kind, Outcomes};

use crate::reach;

/// What one side did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tally {
    /// All requests, and the bad ones.
    pub counted: Counted,
    /// Clients' mistakes among those that are not bad; absent: nobody counts them.
    pub client_errors: Option<u64>,
    /// Response times of good requests; absent: nobody measures them.
    pub latency: Option<Histogram>,
}

impl Tally {
    /// Adds what it did at another time.
    pub fn merge(&mut self, other: &Tally) {
        self.counted.requests += other.counted.requests;
        self.counted.bad += other.counted.bad;
        if let Some(errors) = other.client_errors {
            *self.client_errors.get_or_insert_default() += errors;
        }
        if let Some(latency) = &other.latency {
            self.latency.get_or_insert_default().merge(latency);
        }
    }
}

impl Tally {
    /// Takes away what it did at a time that is over.
    pub fn take_away(&mut self, other: &Tally) {
        self.counted.requests = self.counted.requests.saturating_sub(other.counted.requests);
        self.counted.bad = self.counted.bad.saturating_sub(other.counted.bad);
        if let (Some(mine), Some(theirs)) = (&mut self.client_errors, other.client_errors) {
            *mine = mine.saturating_sub(theirs);
        }
        if let (Some(mine), Some(theirs)) = (&mut self.latency, &other.latency) {
            mine.take_away(theirs);
        }
    }

    /// Of the mirrored requests that one agent counted: how they ended, and nothing of their times, for the two sides' copies
    /// do not come by the same way.
    #[must_use]
    pub fn of_mirrored(counters: &Counters, bad: &BadRequests) -> Self {
        let (counted, refused) = sums(&counters.mirrored, bad);
        Self {
            counted,
            client_errors: Some(refused),
            latency: None,
        }
    }

    /// Of what one agent counted, by this definition of bad.
    ///
    /// A difference against a reading that an earlier version stored knows no kinds: then the counters' own definition stands.
    #[must_use]
    pub fn of(counters: Counters, bad: &BadRequests) -> Self {
        let (mut counted, mut refused) = sums(&counters.outcomes, bad);
        if counters.outcomes.is_empty() {
            let [_, _, _, _, fours, _] = counters.classes;
            counted = Counted {
                requests: counters.requests,
                bad: counters.bad.min(counters.requests),
            };
            refused = fours.min(counted.requests - counted.bad);
        }
        Self {
            counted,
            client_errors: Some(refused),
            latency: Some(counters.latency),
        }
    }
}

impl Tally {
    /// The same without those of these requests that no task answered.
    #[must_use]
    pub fn without_unanswered(mut self, outcomes: &Outcomes, bad: &BadRequests) -> Self {
        let mut unanswered = Outcomes::default();
        for (kind, count) in outcomes
            .kinds()
            .filter(|(kind, _)| reach::unanswered(*kind))
        {
            unanswered.add(kind, count);
        }
        let (counted, refused) = sums(&unanswered, bad);
        self.take_away(&Tally {
            counted,
            client_errors: Some(refused),
            latency: None,
        });
        self
    }
}

/// All requests and the bad ones, and clients' mistakes among the others.
fn sums(outcomes: &Outcomes, bad: &BadRequests) -> (Counted, u64) {
    let (mut counted, mut refused) = (Counted::default(), 0);
    for (kind, count) in outcomes.kinds() {
        match outcome(kind, bad) {
            Outcome::Nobodys => continue,
            Outcome::Good => {}
            Outcome::Bad => counted.bad += count,
            Outcome::ClientError => refused += count,
        }
        counted.requests += count;
    }
    (counted, refused)
}

fn outcome(kind: Kind, bad: &BadRequests) -> Outcome {
    let ended = match kind.end {
        // Stable answered for the canary: whatever it said, the canary did not.
        End::Fallback => return Outcome::Bad,
        End::Answered => Ended::Well,
        End::Server => Ended::ByServer(kind.state),
        End::Proxy => Ended::ByProxy(kind.state),
        End::Client => Ended::ByClient,
    };
    bad.outcome(Answer {
        status: kind.status,
        ended,
        grpc: kind.grpc,
    })
}
