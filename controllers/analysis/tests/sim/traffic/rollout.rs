//! What becomes of a rollout, second by second, through the code that decides online.

use fm_analysis::evidence::Tally;
use fm_analysis::history::History;
use fm_analysis::judge::{Findings, Judge, Tick};
use fm_api::criteria::Analysis;
use fm_api::quantity::{Span, Weight};
use fm_api::verdict::Decision;
use fm_telemetry::endpoints::Endpoint;

use super::super::canary::{at, target};
use super::super::random::Random;
use super::{Kind, Load};

/// How a rollout is played.
#[derive(Clone)]
pub(crate) struct Rollout {
    pub(crate) criteria: Analysis,
    pub(crate) load: Load,
    /// Clients are kept on a side.
    pub(crate) sticky: bool,
    /// Seconds of stable's traffic that were seen before it.
    pub(crate) before: i64,
    /// Seconds for which its steps are held.
    pub(crate) hold: u64,
    /// It is given up after so many seconds.
    pub(crate) seconds: u64,
}

/// How it ended, and after how many seconds.
pub(crate) type End = (Decision, u64);

impl Rollout {
    pub(crate) fn new(load: Load, hold: u64, seconds: u64) -> Self {
        Self {
            criteria: Analysis::default(),
            load,
            sticky: false,
            before: 0,
            hold,
            seconds,
        }
    }

    /// After an hour in which stable was seen.
    pub(crate) fn with_history(self) -> Self {
        Self {
            before: 3600,
            ..self
        }
    }

    pub(crate) fn sticky(self) -> Self {
        Self {
            sticky: true,
            ..self
        }
    }

    /// Plays it to its end.
    pub(crate) fn play(&self, seed: u64, mut kind: Kind) -> End {
        let mut random = Random::new(seed);
        let mut judge = Judge::new(Findings::default(), at(0));
        judge.sticky = self.sticky;
        if self.before > 0 {
            let history = self.history(&mut random, &mut kind);
            judge.findings.evidence.clusters = history.seed(&self.criteria);
        }
        let mut target = target(&self.criteria);
        target.last_hold = Span::secs(self.hold);
        for second in 1..=self.seconds {
            let did = kind(&mut random, second as i64);
            let mut stable = Tally::default();
            did.stable.iter().for_each(|task| stable.merge(task));
            judge.count(&did.canary, &stable, at(second));
            if !judge.due(at(second)) {
                continue;
            }
            let tick = Tick {
                target: &target,
                weight: Weight::from_basis_points((self.load.share * 10_000.0) as u16),
                unseen: None,
                hold_until: Some(at(self.hold)),
                now: at(second),
            };
            judge.absorb(&tick);
            let harm = judge.findings.harm.is_some();
            if harm || (second >= self.hold && judge.non_inferior()) {
                let decision = judge.plan(&tick).decision;
                if decision != Decision::Wait {
                    return (decision, second);
                }
            }
        }
        (Decision::Wait, self.seconds)
    }

    fn history(&self, random: &mut Random, kind: &mut Kind) -> History<usize> {
        let mut history = History::default();
        for batch in (-self.before / 10)..0 {
            let mut tasks: Vec<Endpoint> = Vec::new();
            let (mut all, mut refused) = (0, None);
            for second in 0..10 {
                let did = kind(random, batch * 10 + second);
                tasks.resize_with(did.stable.len(), Endpoint::default);
                for (task, did) in tasks.iter_mut().zip(did.stable) {
                    task.merge(&Endpoint {
                        requests: did.counted.requests,
                        bad: did.counted.bad,
                        latency: did.latency.unwrap_or_default(),
                    });
                    all += did.counted.requests;
                    if let Some(more) = did.client_errors {
                        *refused.get_or_insert(0) += more;
                    }
                }
            }
            let refused = refused.map(|refused| (all, refused));
            history.take(tasks.iter().enumerate(), refused, 10_000);
        }
        history
    }
}
