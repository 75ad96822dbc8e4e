//! Events: what was done or found is said once, not at every look.

use std::collections::BTreeMap;

use fm_api::event::Severity;
use fm_api::observed::{SwarmObserved, TaskFailure};

use crate::act::describe;
use crate::observe::lock;
use crate::plan::{Plan, Post, Why};
use crate::reconcile::{Round, Swarm};

impl Swarm {
    /// Whether the service was seen at the last look: what we remove ourselves is not observed any more.
    pub(crate) fn was_there(&self, round: &Round<'_>, post: &Post) -> bool {
        let uid = round.target.as_ref().map(|target| &target.uid);
        let before = self.previous(round).filter(|seen| Some(&seen.uid) == uid);
        before.is_some_and(|seen| {
            let service = seen.revisions.get(&post.revision);
            service.is_some_and(|service| !service.service_id.is_empty())
        })
    }

    /// Says, once each, why nothing is done where something could be.
    pub(crate) async fn tell(&self, round: &Round<'_>, plan: &Plan) {
        let mut now: BTreeMap<String, (&'static str, String)> = BTreeMap::new();
        for why in &plan.why {
            match why {
                Why::Drifted { name, found } => {
                    let text = format!(
                        "service {name} was changed by somebody else and is left so: {}",
                        found.join("; ")
                    );
                    now.insert(format!("drift {name}"), ("DriftFound", text));
                }
                Why::NameTaken { name, .. } => {
                    let text = format!("service {name} is not ours and is left untouched");
                    now.insert(format!("taken {name}"), ("NameTaken", text));
                }
                Why::NoRecord(_) | Why::StoreUnknown | Why::NamesakeGoes(_) => {}
            }
        }
        if self.options.observe_only {
            for action in &plan.actions {
                let (_, reason, message) = describe(action, false);
                let text = format!("only observing; would have: {message}");
                now.insert(format!("{reason} {message}"), ("WouldAct", text));
            }
        }
        let fresh: Vec<(&'static str, String)> = {
            let mut memory = lock(&round.memory);
            let fresh = now
                .iter()
                .filter(|(about, (_, text))| memory.told.get(*about) != Some(text))
                .map(|(_, said)| said.clone())
                .collect();
            memory.told = now
                .into_iter()
                .map(|(about, (_, text))| (about, text))
                .collect();
            fresh
        };
        for (reason, text) in fresh {
            tracing::warn!(release = %round.key, reason, "{text}");
            self.recorder
                .record(Some(round.key), Severity::Warning, reason, text)
                .await;
        }
    }

    /// Says which tasks failed since the last report.
    pub(crate) async fn tell_failures(
        &self,
        round: &Round<'_>,
        previous: Option<&SwarmObserved>,
        observed: &SwarmObserved,
    ) {
        for (id, seen) in &observed.revisions {
            let before = previous.and_then(|p| p.revisions.get(id));
            let known = |failure: &TaskFailure| {
                before.is_some_and(|before| before.failures.contains(failure))
            };
            for failure in seen
                .failures
                .iter()
                .filter(|f| f.task.is_some() && !known(f))
            {
                let text = format!("revision {id}: {}", failure.message);
                self.recorder
                    .record(Some(round.key), Severity::Warning, "TaskFailed", text)
                    .await;
            }
        }
    }
}
