//! What the agent does by itself while the store is gone (`onControlLoss`), and what it tells of it afterwards.
//!
//! Owner of what it has done alone. The time counts from when the store was last heard of, and the agent looks again exactly
//! when it is over. Nobody can be told while the store is away: the events are written once it is back, with the times of
//! when it happened. What must never happen: its own change taken for somebody else's.

use std::collections::BTreeMap;

use fm_api::keys::ReleaseKey;
use fm_api::quantity::{Span, Weight};
use fm_api::release::ControlLossAction;
use fm_api::target::Target;
use jiff::Timestamp;

/// What was done alone for one release.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Acted {
    /// Since when the store was gone.
    lost_since: Timestamp,
    /// When the split was changed.
    at: Timestamp,
    /// The canary's share before.
    weight: Weight,
    /// What was asked for.
    after: Span,
}

/// What was done alone.
#[derive(Debug, Default)]
pub(crate) struct Alone {
    acted: BTreeMap<ReleaseKey, Acted>,
}

/// When a release acts, if it is one that does.
fn due(target: &Target, lost_since: Timestamp) -> Option<Timestamp> {
    let loss = &target.on_control_loss;
    let shares = target
        .traffic
        .as_ref()
        .is_some_and(|split| split.canary.is_some() && split.weight > Weight::ZERO);
    let acts = loss.action == ControlLossAction::Stable && shares;
    acts.then(|| lost_since.checked_add(loss.after.to_signed()).ok())?
}

/// The next time after now at which any of these releases acts alone.
pub(crate) fn next_due<'a>(
    targets: impl Iterator<Item = &'a Target>,
    lost_since: Timestamp,
    now: Timestamp,
) -> Option<Timestamp> {
    targets
        .filter_map(|target| due(target, lost_since))
        .filter(|at| *at > now)
        .min()
}

impl Alone {
    /// Whether anything that this agent did alone still stands.
    pub(crate) fn stands(&self) -> bool {
        !self.acted.is_empty()
    }

    /// Notes which releases act alone now: HAProxy has what they ask for.
    pub(crate) fn note<'a>(
        &mut self,
        targets: impl Iterator<Item = (&'a ReleaseKey, &'a Target)>,
        lost_since: Timestamp,
        now: Timestamp,
    ) {
        for (key, target) in targets {
            let over = due(target, lost_since).is_some_and(|at| at <= now);
            if !over || self.acted.contains_key(key) {
                continue;
            }
            let weight = target.traffic.as_ref().map_or(Weight::ZERO, |t| t.weight);
            let acted = Acted {
                lost_since,
                at: now,
                weight,
                after: target.on_control_loss.after,
            };
            self.acted.insert(key.clone(), acted);
        }
    }

    /// The store is back and HAProxy follows it again: what to tell, for each release what was done and that it is over.
    pub(crate) fn tell<'a>(
        &mut self,
        instance: &str,
        target: impl Fn(&ReleaseKey) -> Option<&'a Target>,
        now: Timestamp,
    ) -> Vec<(ReleaseKey, String, String)> {
        let acted = std::mem::take(&mut self.acted);
        acted
            .into_iter()
            .map(|(key, acted)| {
                let (lost, at) = (clock(acted.lost_since), clock(acted.at));
                let done = format!(
                    "{instance} had heard nothing of the store since {lost}, and at {at} took the canary from {} to 0 % by \
                     itself, as onControlLoss asks after {}",
                    acted.weight, acted.after
                );
                let wanted = target(&key)
                    .and_then(|target| target.traffic.as_ref())
                    .map_or(Weight::ZERO, |split| split.weight);
                let ended = format!(
                    "the store is back: {instance} follows it again at {}, and the canary goes from 0 % to {wanted}",
                    clock(now)
                );
                (key, done, ended)
            })
            .collect()
    }
}

fn clock(at: Timestamp) -> String {
    at.strftime("%H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn canary(after: &str) -> Target {
        let mut target = Target {
            uid: "u".to_owned(),
            ..Target::default()
        };
        target.on_control_loss =
            serde_json::from_value(serde_json::json!({ "after": after, "action": "stable" }))
                .unwrap();
        target.traffic = Some(
            serde_json::from_value(serde_json::json!({
                "stable": "aaaaaaaaaa", "canary": "bbbbbbbbbb", "weight": 20, "seed": "s", "generation": 3,
            }))
            .unwrap(),
        );
        target
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    #[test]
    fn it_looks_again_exactly_when_the_time_is_over_and_tells_what_it_did() {
        let key = ReleaseKey::new("default", "shop");
        let (soon, later) = (canary("10s"), canary("5m"));
        let all = || [&soon, &later].into_iter();
        assert_eq!(next_due(all(), at(0), at(4)), Some(at(10)));
        assert_eq!(next_due(all(), at(0), at(10)), Some(at(300)));
        let mut alone = Alone::default();
        alone.note([(&key, &soon)].into_iter(), at(0), at(9));
        assert!(!alone.stands());
        alone.note([(&key, &soon)].into_iter(), at(0), at(10));
        alone.note([(&key, &soon)].into_iter(), at(0), at(11));
        assert!(alone.stands());
        let told = alone.tell("edge-1", |_| Some(&soon), at(60));
        let (of, done, ended) = told.first().unwrap();
        assert_eq!(*of, key);
        let (lost, acted) = (clock(at(0)), clock(at(10)));
        assert!(done.contains(&lost) && done.contains(&acted), "{done}");
        assert!(done.contains("from 20 % to 0 %"), "{done}");
        assert!(ended.contains("from 0 % to 20 %"), "{ended}");
        assert!(!alone.stands(), "it is told once");
    }

    #[test]
    fn without_a_share_or_where_it_holds_nothing_is_done_alone() {
        let mut target = canary("10s");
        target.on_control_loss.action = ControlLossAction::Hold;
        assert_eq!(next_due([&target].into_iter(), at(0), at(1)), None);
        let mut target = canary("10s");
        target.traffic = None;
        assert_eq!(next_due([&target].into_iter(), at(0), at(1)), None);
    }
}
