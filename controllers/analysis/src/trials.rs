//! Experiments: one run for each candidate, against the baseline and never against stable.
//!
//! A trial is a run like a canary's, with a verdict of its own; other systems are not asked. What must never happen: one
//! candidate's evidence counted for another.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

use fm_api::keys::ReleaseKey;
use fm_api::target::{AnalysisTarget, Target};
use fm_runtime::ReconcileError;
use fm_store::{Fence, StoreError};
use jiff::SignedDuration;

use crate::run::{Identity, Run};
use crate::{Analyst, SHARED, act, next_tick};

impl Analyst {
    /// Looks at each candidate of the experiment that runs; when to look again.
    pub(crate) async fn trials(
        &self,
        key: &ReleaseKey,
        target: &Target,
        fence: Option<&Fence>,
    ) -> Result<Option<Duration>, ReconcileError> {
        let mut known = self.take_trials(key);
        let experiment = target.experimenting().filter(|_| !target.deleting);
        let Some(experiment) = experiment else {
            return Ok(None);
        };
        let judged: Vec<(&str, &AnalysisTarget)> = experiment.trials().collect();
        let mut runs = BTreeMap::new();
        let mut next: Option<Duration> = None;
        for (name, analysis) in &judged {
            let identity = Identity::of(target, analysis, fence);
            let mut run = match known.remove(*name).filter(|run| run.is(&identity)) {
                Some(run) => run,
                None => {
                    let sides: Vec<&str> =
                        experiment.sides.iter().map(|s| s.name.as_str()).collect();
                    act::forget_trials(&self.ctx, fence, key, &sides).await?;
                    self.load_trial((key, name), identity, target, analysis)
                        .await?
                }
            };
            // What is not kept is loaded again from the store, which knows best.
            self.look_at_trial((key, name), fence, target, analysis, &mut run)
                .await?;
            let wait = run.next_tick.duration_since(self.ctx.clock.now());
            let wait = Duration::try_from(wait).unwrap_or_default();
            next = Some(next.map_or(wait, |next| next.min(wait)));
            runs.insert((*name).to_owned(), run);
        }
        let mut all = self.trials.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(key.clone(), runs);
        Ok(next)
    }

    /// Takes what is remembered of a release's trials.
    pub(crate) fn take_trials(&self, key: &ReleaseKey) -> BTreeMap<String, Run> {
        let mut all = self.trials.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(key).unwrap_or_default()
    }

    async fn load_trial(
        &self,
        (key, name): (&ReleaseKey, &str),
        identity: Identity,
        target: &Target,
        analysis: &AnalysisTarget,
    ) -> Result<Run, StoreError> {
        let (verdict, revision) = act::load(&self.ctx, &key.trial(name)).await?;
        let now = self.ctx.clock.now();
        let resumed = verdict
            .zip(revision)
            .and_then(|(verdict, at)| Run::resume(identity.clone(), &verdict, at, now));
        Ok(resumed.unwrap_or_else(|| Run::new(identity, (target, analysis), revision, now)))
    }

    async fn look_at_trial(
        &self,
        (key, name): (&ReleaseKey, &str),
        fence: Option<&Fence>,
        target: &Target,
        analysis: &AnalysisTarget,
        run: &mut Run,
    ) -> Result<(), StoreError> {
        let now = self.ctx.clock.now();
        let shifted = run.shifted(target, analysis);
        if now < run.next_tick && !shifted {
            return Ok(());
        }
        let age = if shifted {
            SignedDuration::ZERO
        } else {
            SHARED
        };
        let pulled = self.pulls.get(now, age).await;
        run.count(key, analysis, &pulled, now);
        run.next_tick = next_tick(run.next_tick, now);
        let mut verdict = match run.tick(target, analysis, now) {
            Some(verdict) => verdict,
            None if run.told() => return Ok(()),
            None => run.begin(target, analysis, now),
        };
        verdict.sentence = of_sides(&verdict.sentence);
        let stored = run.stored(&verdict);
        let stored = stored.map_err(|error| StoreError::Refused(error.to_string()))?;
        let at = (key, key.trial(name));
        let revision = act::write(&self.ctx, fence, at, stored, run.revision).await?;
        run.wrote(&verdict, revision);
        Ok(())
    }
}

/// The sides of a trial are called a candidate and the baseline: stable is neither.
fn of_sides(sentence: &str) -> String {
    let words = sentence.replace("stable", "the baseline");
    words.replace("canary", "candidate")
}

#[cfg(test)]
mod tests {
    use super::of_sides;

    #[test]
    fn a_sentence_on_a_candidate_does_not_speak_of_stable() {
        let told = "canary answers 50.0 % badly (12 of 24) against 0.0 % of stable (0 of 47)";
        assert_eq!(
            of_sides(told),
            "candidate answers 50.0 % badly (12 of 24) against 0.0 % of the baseline (0 of 47)"
        );
    }
}
