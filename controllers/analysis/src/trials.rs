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

use crate::run::{Identity, Run};
use crate::{Analyst, act};

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
        // Once a look is enough, however many begin in it.
        let mut tidy = false;
        let mut runs = BTreeMap::new();
        let mut next: Option<Duration> = None;
        for (name, analysis) in &judged {
            let identity = Identity::of(target, analysis, fence);
            let mut run = match known.remove(*name).filter(|run| run.is(&identity)) {
                Some(run) => run,
                None => {
                    if !std::mem::replace(&mut tidy, true) {
                        let sides = experiment.sides.iter().map(|side| side.name.as_str());
                        let sides: Vec<&str> = sides.collect();
                        act::forget_trials(&self.ctx, fence, key, &sides).await?;
                    }
                    self.resumed(&key.trial(name), identity, (target, analysis))
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

    async fn look_at_trial(
        &self,
        (key, name): (&ReleaseKey, &str),
        fence: Option<&Fence>,
        target: &Target,
        analysis: &AnalysisTarget,
        run: &mut Run,
    ) -> Result<(), StoreError> {
        let now = self.ctx.clock.now();
        let pulled = self.pull(key, (target, analysis), run, now).await;
        if pulled.is_none() {
            return Ok(());
        }
        let mut verdict = match run.tick(target, analysis, now) {
            Some(verdict) => verdict,
            None if run.told() => return Ok(()),
            None => run.begin(target, analysis, now),
        };
        verdict.sentence = of_sides(&verdict.sentence);
        let at = (key, key.trial(name));
        let revision = self.store(at, fence, run, &verdict).await?;
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
