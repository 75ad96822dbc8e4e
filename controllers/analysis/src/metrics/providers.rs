//! Makes measurements: asks the source that a metric names, for one side or for both.

use std::sync::Arc;

use async_trait::async_trait;
use fm_api::criteria::metrics::Metric;
use fm_api::criteria::template;
use fm_api::keys::ReleaseKey;
use fm_api::target::{AnalysisTarget, StepNow};
use fm_store::Fence;
use jiff::Timestamp;

use super::http::{Access, Client};
use super::job::{self, Jobs};
use super::plan::Answer;
use super::{influx, prometheus, web};

/// Makes a measurement. It may take its time: the caller sets the limit.
#[async_trait]
pub trait Measure: Send + Sync {
    /// Makes it.
    async fn measure(&self, question: Question) -> Answer;
}

/// What is to be measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// Of which release.
    pub release: ReleaseKey,
    /// The metric.
    pub metric: Metric,
    /// The canary's revision.
    pub canary: String,
    /// Stable's revision.
    pub stable: String,
    /// The run.
    pub run: String,
    /// The step in force.
    pub step: Option<StepNow>,
    /// Now.
    pub now: Timestamp,
    /// The leadership under which it is asked: what is written for it is fenced by it.
    pub fence: Option<Fence>,
}

impl Question {
    /// Of a metric of a run.
    #[must_use]
    pub fn new(
        release: &ReleaseKey,
        target: &AnalysisTarget,
        metric: &Metric,
        fence: Option<&Fence>,
        now: Timestamp,
    ) -> Self {
        Self {
            release: release.clone(),
            metric: metric.clone(),
            canary: target.canary.to_string(),
            stable: target.stable.to_string(),
            run: target.run.clone(),
            step: target.step,
            now,
            fence: fence.cloned(),
        }
    }

    fn variable(&self, side: &str, name: &str) -> Option<String> {
        Some(match name {
            "revision" => side.to_owned(),
            "canary" => self.canary.clone(),
            "stable" => self.stable.clone(),
            "namespace" => self.release.namespace().to_owned(),
            "release" => self.release.name().to_owned(),
            "step" => self.step?.number.to_string(),
            "stepStart" => self.step?.since.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            "stepStartUnix" => self.step?.since.as_second().to_string(),
            "stepSeconds" => self
                .now
                .duration_since(self.step?.since)
                .as_secs()
                .max(1)
                .to_string(),
            _ => return None,
        })
    }
}

/// One side of a question: texts filled in with its revision.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) question: &'a Question,
    pub(super) side: &'a str,
}

impl Asked<'_> {
    pub(super) fn fill(&self, text: &str) -> Result<String, Answer> {
        template::fill(text, |name| self.question.variable(self.side, name))
            .map_err(|name| Answer::Error(format!("there is no value for {{{{{name}}}}} yet")))
    }

    pub(super) fn limit(&self) -> u64 {
        self.question.metric.size_limit.0.bytes()
    }
}

/// Asks the real systems.
pub struct Providers {
    client: Client,
    jobs: Option<Arc<dyn Jobs>>,
}

impl Providers {
    /// With these logins; without `jobs` there is nobody to run one.
    #[must_use]
    pub fn new(access: Access, jobs: Option<Arc<dyn Jobs>>) -> Self {
        Self {
            client: Client::new(access, "metricAddresses"),
            jobs,
        }
    }

    async fn ask(&self, question: &Question, side: &str) -> Answer {
        let asked = Asked { question, side };
        let metric = &question.metric;
        let answer = if let Some(source) = &metric.prometheus {
            prometheus::ask(&self.client, source, asked).await
        } else if let Some(source) = &metric.influx {
            influx::ask(&self.client, source, asked).await
        } else if let Some(source) = &metric.web {
            web::ask(&self.client, source, asked).await
        } else if let Some(source) = &metric.job {
            match &self.jobs {
                Some(jobs) => job::ask(jobs.as_ref(), source, asked).await,
                None => Err(Answer::Error("this frd runs no jobs".to_owned())),
            }
        } else {
            Err(Answer::Error("the metric has no source".to_owned()))
        };
        answer.unwrap_or_else(|problem| problem)
    }
}

#[async_trait]
impl Measure for Providers {
    async fn measure(&self, question: Question) -> Answer {
        if question.metric.compare.is_none() {
            return self.ask(&question, &question.canary).await;
        }
        let (canary, stable) = tokio::join!(
            self.ask(&question, &question.canary),
            self.ask(&question, &question.stable)
        );
        both(canary, stable)
    }
}

/// Both sides' answers as one: the worst word of the two counts.
pub(crate) fn both(canary: Answer, stable: Answer) -> Answer {
    let say = |side: &str, what: String| format!("{side}: {what}");
    match (canary, stable) {
        (Answer::Value(canary), Answer::Value(stable)) => Answer::Pair { canary, stable },
        (Answer::Error(why), _) => Answer::Error(say("canary", why)),
        (_, Answer::Error(why)) => Answer::Error(say("stable", why)),
        (Answer::Terminated, _) | (_, Answer::Terminated) => Answer::Terminated,
        (Answer::NoData(what), _) => Answer::NoData(say("canary", what)),
        (_, Answer::NoData(what)) => Answer::NoData(say("stable", what)),
        (Answer::Inconclusive(why), _) => Answer::NoData(say("canary", why)),
        (_, Answer::Inconclusive(why)) => Answer::NoData(say("stable", why)),
        (Answer::Pair { .. }, _) | (_, Answer::Pair { .. }) => {
            Answer::Error("two values of one side".to_owned())
        }
    }
}

/// Nobody to ask: every measurement is an error.
pub struct Nobody;

#[async_trait]
impl Measure for Nobody {
    async fn measure(&self, _: Question) -> Answer {
        Answer::Error("nobody is set up to measure".to_owned())
    }
}
