//! Recorded traffic, decided offline by the code that decides online, to tune criteria.
//!
//! One line of input a second. Time is the lines': the first is one second after the canary's first request. Nothing is
//! flushed at the end, and once decided the verdict stays, while the evidence goes on. Steps are held for the sum of their holds.

mod metric;

use fm_api::keys::RevisionId;
use fm_api::quantity::{Span, Weight};
use fm_api::release::Release;
use fm_api::strategy::Course;
use fm_api::target::AnalysisTarget;
use fm_api::verdict::{Counted, Decision, Reason};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::evidence::Tally;
use crate::judge::{Findings, Judge, Tick};
use crate::metrics::plan::Answer;
use crate::metrics::standings::Standings;
use crate::recording::Second;

/// What a line concludes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Output {
    /// The line's number, from 1.
    pub tick: u64,
    /// Natural logarithm of the evidence for harm by errors.
    pub log_e_harm: f64,
    /// Natural logarithm of the evidence for non-inferiority by errors.
    pub log_e_ni: f64,
    /// Lower end of the 95 % confidence sequence for the error rates' difference, canary minus stable.
    pub lower: f64,
    /// Upper end of it.
    pub upper: f64,
    /// The conclusion.
    pub verdict: Decision,
    /// Why.
    pub reason: Reason,
    /// One sentence for people.
    pub sentence: String,
}

/// Why a line cannot be decided.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct ReplayError {
    /// The line's number, from 1.
    pub line: u64,
    /// What is wrong, and what is allowed.
    pub message: String,
}

/// Decides recorded traffic line by line.
#[derive(Debug, Clone)]
pub struct Replay {
    target: AnalysisTarget,
    hold_until: Timestamp,
    judge: Judge,
    line: u64,
    /// The share that the last line of traffic told.
    weight: Option<Weight>,
    /// The share that the last line of traffic had.
    share: Weight,
    metrics: Standings,
    last: Output,
}

impl Replay {
    /// With a release's criteria, its defaults filled in.
    #[must_use]
    pub fn new(release: &Release) -> Self {
        let (target, hold_until) = target(release);
        let mut judge = Judge::new(Findings::default(), Timestamp::UNIX_EPOCH);
        judge.sticky = release.spec.affinity.is_some();
        Self {
            target,
            hold_until,
            judge,
            line: 0,
            weight: None,
            share: Weight::from_basis_points(1),
            metrics: Standings::default(),
            last: Output {
                tick: 0,
                log_e_harm: 0.0,
                log_e_ni: 0.0,
                lower: -1.0,
                upper: 1.0,
                verdict: Decision::Wait,
                reason: Reason::NoTraffic,
                sentence: "the canary has had no request yet".to_owned(),
            },
        }
    }

    /// Decides the next line.
    ///
    /// # Errors
    /// When the line is not one of recorded traffic.
    pub fn line(&mut self, text: &str) -> Result<Output, ReplayError> {
        self.line += 1;
        let seconds = SignedDuration::from_secs(i64::try_from(self.line).unwrap_or(i64::MAX));
        let now = Timestamp::UNIX_EPOCH
            .checked_add(seconds)
            .unwrap_or(Timestamp::MAX);
        let wrong = |message| ReplayError {
            line: self.line,
            message,
        };
        let line = read(text, &self.target).map_err(wrong)?;
        let measured = matches!(line, Line::Measured { .. });
        let (mut unseen, mut shifted) = (None, false);
        match line {
            Line::Traffic(second) => {
                let (canary, stable) = (Tally::from(&second.canary), Tally::from(&second.stable));
                let came = || share(canary.counted, stable.counted);
                self.share = second.weight.unwrap_or_else(came);
                // Online a batch ends when the shares change; recorded traffic that does not tell them goes by time and counts.
                let told = std::mem::replace(&mut self.weight, second.weight);
                shifted = told.zip(second.weight).is_some_and(|(a, b)| a != b);
                self.judge.count(&canary, &stable, now);
                unseen = second.unseen;
            }
            Line::Measured { metric, answer } => {
                self.metrics.replay(&self.target, &metric, answer, now);
            }
        }
        // Also before the first measurement: what is not measured yet is waited for.
        self.judge.joint = self.metrics.joint(&self.target);
        let tick = Tick {
            target: &self.target,
            weight: self.share,
            unseen: unseen.as_deref(),
            hold_until: Some(self.hold_until),
            now,
        };
        let closed = if shifted {
            Some(self.judge.close(&tick))
        } else {
            self.judge.tick(&tick)
        };
        // As online: a measurement may change the verdict between two batches.
        let between = || measured.then(|| self.judge.plan(&tick));
        let plan = closed.map(|(_, plan)| plan).or_else(between);
        self.last.tick = self.line;
        if let Some(plan) = plan {
            if let Some(errors) = plan.metrics.first() {
                self.last.log_e_harm = errors.log_e_harm;
                self.last.log_e_ni = errors.log_e_ni;
                self.last.lower = errors.lower;
                self.last.upper = errors.upper;
            }
            if self.last.verdict == Decision::Wait {
                self.last.verdict = plan.decision;
                self.last.reason = plan.why;
                self.last.sentence = plan.sentence;
            }
        }
        Ok(self.last.clone())
    }
}

/// What is judged when a canary's first request comes at the beginning of time and nobody but the steps' holds is waited
/// for; and until when those last.
pub(crate) fn target(release: &Release) -> (AnalysisTarget, Timestamp) {
    let spec = &release.spec;
    let course = Course::of(&spec.strategy);
    let steps = course.as_ref().map(|course| course.steps.as_slice());
    let mut holds = steps.unwrap_or_default().iter().map(|step| step.hold);
    let held = holds
        .clone()
        .map(Span::as_millis)
        .fold(0, u64::saturating_add);
    let begin = Timestamp::UNIX_EPOCH;
    let held = SignedDuration::from_millis(i64::try_from(held).unwrap_or(i64::MAX));
    let hold_until = begin.checked_add(held).unwrap_or(Timestamp::MAX);
    let revision = RevisionId::new("recorded");
    let target = AnalysisTarget {
        run: String::new(),
        canary: revision.clone(),
        stable: revision,
        criteria: spec.analysis.clone(),
        criteria_hash: String::new(),
        // Recorded requests count whatever the manifest says of routes; without either there are metrics to go by.
        worker: spec.routes.is_empty() && !spec.analysis.metrics.is_empty(),
        request_timeout: spec.request_timeout(),
        last_hold: holds.next_back().unwrap_or(Span::ZERO),
        since: Some(begin),
        awaiting_since: Some(hold_until),
        step: None,
    };
    (target, hold_until)
}

/// Recorded traffic does not say which share was wanted; what came stands for it.
fn share(canary: Counted, stable: Counted) -> Weight {
    if stable.requests == 0 && canary.requests > 0 {
        return Weight::FULL;
    }
    let all = canary.requests.saturating_add(stable.requests).max(1);
    let points = canary.requests as f64 / all as f64 * 10_000.0;
    // However small the share: both sides serve.
    Weight::from_basis_points(points.round().clamp(1.0, 9_999.0) as u16)
}

/// What a line holds.
enum Line {
    Traffic(Second),
    Measured { metric: String, answer: Answer },
}

fn read(text: &str, target: &AnalysisTarget) -> Result<Line, String> {
    // A line of a metric has no sides, so it is refused as traffic; then it is told apart.
    Second::read(text).map(Line::Traffic).or_else(|message| {
        let value: Option<serde_json::Value> = serde_json::from_str(text).ok();
        match value.filter(|value| value.get("metric").is_some()) {
            Some(value) => metric::read(value, &target.criteria.metrics)
                .map(|(metric, answer)| Line::Measured { metric, answer }),
            None => Err(message),
        }
    })
}
