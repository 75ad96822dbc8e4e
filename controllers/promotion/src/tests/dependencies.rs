//! Releases that wait for others.

use fm_api::keys::{ReleaseKey, RevisionId};
use fm_api::rollout::Failed;
use fm_api::status::{Phase, reasons};
use fm_api::target::{Resolve, Target};

use super::sim::{Sim, release};
use crate::plan::Other;

fn upstream(change: impl FnOnce(&mut Target)) -> Other {
    let (old, new) = (RevisionId::new("aaaaaaaaaa"), RevisionId::new("bbbbbbbbbb"));
    let mut target = Target {
        spec_generation: 2,
        stable: Some(old),
        wanted: Some(new),
        ..Target::default()
    };
    change(&mut target);
    Other {
        key: ReleaseKey::new("default", "api"),
        generation: Some(2),
        invalid: false,
        target: Some(target),
    }
}

fn settled(target: &mut Target) {
    target.stable.clone_from(&target.wanted);
}

/// The first revision serves; the second one is asked for, and this other release is waited for.
fn second(other: Other) -> Sim {
    let mut sim = Sim::serving(release("good:1"));
    sim.world.upstreams = vec![other];
    sim.apply(|release| {
        release.spec.workload.image = "good:2".to_owned();
        release.spec.analysis.disabled = true;
    });
    sim.settle();
    sim
}

#[test]
fn a_preview_serves_what_its_manifest_says_as_long_as_it_is_up() {
    let mut seen = Sim::new(super::previews::preview("good:7"));
    let other = |seen: &Sim| Other {
        key: ReleaseKey::new("default", "api"),
        generation: Some(1),
        invalid: false,
        target: seen.world.target.clone(),
    };
    seen.promote();
    seen.swarm(0);
    seen.promote();
    let mut sim = second(other(&seen));
    assert_eq!(
        sim.status().reason,
        reasons::DEPENDS,
        "{}",
        sim.status().why
    );
    seen.settle();
    sim.world.upstreams = vec![other(&seen)];
    sim.settle();
    assert!(sim.target().rollout.is_some(), "{}", sim.status().why);
}

#[test]
fn a_rollout_begins_once_what_it_depends_on_serves_what_its_manifest_says() {
    let failed = |target: &mut Target| {
        let failed = Failed {
            at: "2026-01-01T00:00:00Z".parse().unwrap(),
            reason: "CrashLoop".to_owned(),
            why: "it crashes".to_owned(),
            unbegun: false,
        };
        let wanted = target.wanted.clone().unwrap();
        target.failed.insert(wanted, failed);
    };
    let gone = Other {
        generation: None,
        ..upstream(settled)
    };
    let unseen = Other {
        generation: Some(3),
        ..upstream(settled)
    };
    for (other, wanted) in [
        (upstream(|_| {}), "to serve its revision bbbbbbbbbb"),
        (
            upstream(failed),
            "whose revision bbbbbbbbbb was taken back or failed",
        ),
        (
            upstream(|target| target.wanted = None),
            "whose image is being resolved",
        ),
        // What serves is what the manifest asked for before.
        (
            upstream(|target| {
                settled(target);
                target.resolve = Some(Resolve {
                    generation: 2,
                    workload: release("good:2").spec.workload,
                    ports: Vec::new(),
                    side: None,
                    pull: false,
                    adopt: None,
                    aborted: None,
                });
            }),
            "whose image is being resolved",
        ),
        (gone, "which is not there"),
        (unseen, "whose change was not looked at yet"),
    ] {
        let mut sim = second(other);
        let status = sim.status();
        assert!(sim.target().rollout.is_none(), "{wanted}");
        assert_eq!(status.phase, Phase::Progressing, "{wanted}");
        assert_eq!(status.reason, reasons::DEPENDS, "{wanted}");
        assert!(
            status.why.starts_with("waits for default/api"),
            "{}",
            status.why
        );
        assert!(status.why.contains(wanted), "{}", status.why);

        sim.world.upstreams = vec![upstream(settled)];
        sim.settle();
        assert!(sim.target().rollout.is_some(), "{wanted}");
        // A rollout that runs goes on, whatever happens there.
        sim.world.upstreams = vec![upstream(|_| {})];
        sim.settle();
        assert!(sim.target().rollout.is_some(), "{wanted}");
    }
}
