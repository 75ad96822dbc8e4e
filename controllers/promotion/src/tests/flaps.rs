//! An image applied again and again, faster than anything comes up: stable goes on, nothing piles up, the last one ends
//! where it would have ended alone.

use fm_api::quantity::Span;
use fm_api::release::{OnNewRevision, Release};
use fm_api::status::Phase;
use fm_api::target::Slot;
use proptest::prelude::*;

use super::chaos::strategy;
use super::sim::Sim;

/// What happens between two images.
#[derive(Debug, Clone)]
struct Beat {
    image: usize,
    seconds: u64,
    swarm: bool,
    agents: bool,
    open: bool,
}

fn beat() -> impl Strategy<Value = Beat> {
    let times = (0..40_usize, 0..3_u64);
    (times, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |((image, seconds), swarm, agents, open)| Beat {
            image,
            seconds,
            swarm,
            agents,
            open,
        },
    )
}

fn flapping(kind: u8, routed: bool, policy: OnNewRevision) -> Release {
    let mut release = strategy(kind, "good:first");
    if !routed {
        release.spec.routes.clear();
    }
    release.spec.analysis.disabled = true;
    release.spec.on_new_revision = policy;
    release.spec.keep_failed = Span::secs(3600);
    if let Some(canary) = &mut release.spec.strategy.canary {
        canary.keep_previous = Span::secs(3600);
    }
    release
}

/// Stable has all its tasks and requests; what has tasks is bounded, and so is what is remembered.
fn goes_on(sim: &Sim, most: usize) {
    let target = sim.target();
    assert!(target.revisions.len() <= most, "{:?}", target.revisions);
    assert!(target.history.len() <= 10 && sim.world.records.len() <= 10 + 2 * most);
    let Some(stable) = &target.stable else {
        return;
    };
    assert_eq!(target.revisions[stable].replicas, 4);
    let seen = sim.world.swarm.as_ref().unwrap();
    let ready = seen
        .revisions
        .get(stable)
        .map_or(0, |seen| seen.ready.len());
    assert_eq!(ready, 4, "stable is starved: {:?}", sim.status());
    if let Some(split) = &target.traffic {
        assert_eq!(&split.stable, stable);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn images_that_flap_never_starve_stable_nor_pile_up_and_the_last_one_is_rolled_out(
        beats in proptest::collection::vec(beat(), 20..120),
        kind in 0..3_u8,
        routed in any::<bool>(),
        policy in prop_oneof![Just(OnNewRevision::Replace), Just(OnNewRevision::Queue), Just(OnNewRevision::Reject)],
    ) {
        // A preview without routes leads nowhere: validation refuses it.
        let routed = routed || kind == 2;
        let release = flapping(kind, routed, policy);
        let mut sim = if kind == 2 { Sim::new(release) } else { Sim::serving(release) };
        // As many previews as may be up, and as many again that still drain.
        let most = if kind == 2 { 6 } else { Slot::ALL.len() };
        for beat in &beats {
            sim.image(&format!("good:{}", beat.image));
            sim.open = u32::from(beat.open);
            sim.promote();
            if beat.swarm {
                sim.swarm(u32::MAX);
            }
            sim.promote();
            if beat.agents {
                sim.agents();
            }
            sim.promote();
            sim.pass(beat.seconds);
            if sim.world.swarm.is_some() {
                goes_on(&sim, most);
            }
        }
        sim.open = 0;
        sim.run(200);
        goes_on(&sim, most);
        let last = format!("good:{}", beats.last().unwrap().image);
        let id = sim.target().wanted.clone().unwrap();
        prop_assert_eq!(&sim.world.records[&id].workload.image, &last);
        let target = sim.target();
        let there = if kind == 2 {
            sim.status().phase == Phase::Over || target.previews.contains_key(&id)
        } else {
            target.stable.as_ref() == Some(&id) && target.rollout.is_none()
        };
        prop_assert!(there, "{:?}", sim.status());
    }
}
