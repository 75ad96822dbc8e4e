//! `…/analysis?watch=true`: second by second what both sides of a running rollout did, as analysis counts it, in the form that
//! `frctl analysis replay` reads.
//!
//! Whoever asks has a reader of its own, which looks at the agents' counters like analysis does and keeps nothing. What
//! must never happen: a request in two seconds, or in none between the run's begin and the reader's end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use fm_analysis::evidence::Tally;
use fm_analysis::observe::Readings;
use fm_analysis::recording::Second;
use fm_api::keys::ReleaseKey;
use fm_api::quantity::Weight;
use fm_api::target::{AnalysisTarget, Target};
use fm_api::verdict::{Decision, Reason, Verdict};
use fm_telemetry::Pulled;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::Api;
use super::doors::Shared;
use super::error::ApiError;
use super::extract::{From, Key, Params};
use super::feed::Gone;
use super::stored::decode;
use super::watch::{Sink, WatchQuery};

/// One line a second.
const TICK: Duration = Duration::from_secs(1);
/// Readers that tick at about the same time share one pull.
const SHARED: SignedDuration = SignedDuration::from_millis(200);

/// What a reader is told each second.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    /// When.
    at: Timestamp,
    /// The run; absent: nothing is on trial.
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<String>,
    /// When the canary first had traffic in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Timestamp>,
    /// What both sides did; absent: the canary has no traffic yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    second: Option<Second>,
    /// What analysis concludes of the run so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<Decision>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
}

pub(super) async fn traffic(
    State(api): State<Shared>,
    Key(key): Key,
    Params(query): Params<WatchQuery>,
    From(caller): From,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    // A second that has passed is not kept: there is nothing to resume from.
    query.resume(&headers)?;
    if !query.watch {
        let text = "this can only be watched; allowed: ?watch=true";
        return Err(ApiError::request(text));
    }
    api.must_exist(&key).await?;
    let place = api.watchers.enter(caller)?;
    Ok(Sink::stream(api, place, move |api, sink| async move {
        let mut ticks = tokio::time::interval(TICK);
        let mut reader = Reader::default();
        loop {
            // Late ticks are made up for, so that there is a line for each second.
            ticks.tick().await;
            if let Err(Gone) = reader.tell(&api, &key, &sink).await {
                return Gone;
            }
        }
    }))
}

/// What was last read, for one reader.
#[derive(Default)]
struct Reader {
    run: Option<AnalysisTarget>,
    readings: Readings,
    last: Option<Arc<Pulled>>,
    /// What the canary did before it had traffic in force everywhere, with what stable did meanwhile.
    early: Second,
}

impl Reader {
    async fn tell(&mut self, api: &Api, key: &ReleaseKey, sink: &Sink) -> Result<(), Gone> {
        let now = api.ctx.clock.now();
        let pulled = api.sources.pulls.get(now, SHARED).await;
        // While the store cannot be read, nobody knows what is on trial: the next second will hold this one's requests.
        let Ok(listing) = api.ctx.store.list(&key.target()).await else {
            return Ok(());
        };
        let entry = listing
            .entries
            .iter()
            .find(|entry| entry.key == key.target());
        let target: Option<Target> = entry.and_then(decode);
        let weight = target.as_ref().and_then(|target| target.traffic.as_ref());
        let weight = weight.map_or(Weight::ZERO, |traffic| traffic.weight);
        let wanted = target.and_then(|target| target.analysis);
        let mut told = self.look(&key.to_string(), wanted, weight, &pulled, now);
        self.last = Some(pulled);
        if let Some(run) = &told.run {
            let verdict = verdict(api, key, run).await;
            told.decision = verdict.as_ref().map(|verdict| verdict.decision);
            told.reason = verdict.map(|verdict| verdict.reason);
        }
        sink.put(listing.revision, &told).await
    }

    /// The next second of the run that is on trial, or the last one of a run that has ended.
    fn look(
        &mut self,
        release: &str,
        wanted: Option<AnalysisTarget>,
        weight: Weight,
        pulled: &Pulled,
        at: Timestamp,
    ) -> Told {
        let name = |analysis: &Option<AnalysisTarget>| analysis.as_ref().map(|a| a.run.clone());
        let ended = self.run.is_some() && name(&self.run) != name(&wanted);
        if !ended {
            if self.run.is_none() {
                (self.readings, self.early) = Default::default();
                // The run began since the last look: that is where the counters stood.
                if let (Some(last), Some(analysis)) = (&self.last, &wanted) {
                    self.readings
                        .take(release, analysis, last, false, &BTreeMap::new());
                }
            }
            self.run = wanted;
        }
        let told = Told {
            at,
            run: name(&self.run),
            since: self.run.as_ref().and_then(|analysis| analysis.since),
            second: self.second(release, weight, pulled),
            decision: None,
            reason: None,
        };
        if ended {
            // What decided a run was counted before it ended, perhaps within this second.
            self.run = None;
        }
        told
    }

    /// What was counted since the last look; `None` while the canary has no traffic.
    fn second(&mut self, release: &str, weight: Weight, pulled: &Pulled) -> Option<Second> {
        let analysis = self.run.as_ref()?;
        let seen = self
            .readings
            .take(release, analysis, pulled, false, &BTreeMap::new());
        let early = std::mem::take(&mut self.early);
        let (mut canary, mut stable) = (seen.canary, seen.stable);
        canary.merge(&Tally::from(&early.canary));
        stable.merge(&Tally::from(&early.stable));
        let quiet = canary.counted.requests == 0;
        let second = Second {
            canary: canary.into(),
            stable: stable.into(),
            weight: Some(weight),
            unseen: seen.unseen,
        };
        if analysis.since.is_some() {
            return Some(second);
        }
        // Stable alone says nothing of a canary.
        if !quiet {
            self.early = second;
        }
        None
    }
}

async fn verdict(api: &Api, key: &ReleaseKey, run: &str) -> Option<Verdict> {
    let entry = api.ctx.store.get(&key.verdict()).await.ok()??;
    let verdict: Verdict = decode(&entry)?;
    (verdict.run == run).then_some(verdict)
}
