//! Previews: up beside the shares, reached by their own hosts and headers, and gone in time.

use fm_api::keys::RevisionId;
use fm_api::operation::Verb;
use fm_api::quantity::Span;
use fm_api::release::{OnFailure, Release};
use fm_api::rollout::{Outcome, PreviewTarget};
use fm_api::status::{Phase, reasons};
use fm_api::strategy::{Preview, PreviewMatch, Strategy};
use fm_api::target::Target;
use jiff::Timestamp;

use super::places::ended;
use super::sim::{Sim, release};

/// The usual release as previews of a minute each, at a host of their own and at one that they share.
pub(super) fn preview(image: &str) -> Release {
    let mut release = release(image);
    release.spec.strategy = Strategy {
        preview: Some(Preview {
            ttl: Span::secs(60),
            hosts: vec![
                "{revision}.{name}.example.com".to_owned(),
                "latest.example.com".to_owned(),
            ],
            match_rules: vec![PreviewMatch {
                header: "x-preview".to_owned(),
                value: "{namespace}-{revision}".to_owned(),
            }],
            limit: 3,
        }),
        ..Strategy::default()
    };
    release
}

/// A preview never stands in the split, and none leads anywhere after its time.
pub(super) fn law(new: &Target, now: Timestamp) {
    for (revision, preview) in &new.previews {
        let named = [&new.stable, &new.canary]
            .into_iter()
            .flatten()
            .any(|r| r == revision);
        assert!(!named && new.revisions.contains_key(revision), "{revision}");
        if let Some(split) = &new.traffic {
            assert!(!split.shares().contains_key(revision));
        }
        let shut = preview.hosts.is_empty() && preview.match_rules.is_empty();
        assert!(
            preview.side.is_none() || shut,
            "nothing but a share leads to a side"
        );
        assert!(if new.held.is_some() {
            true
        } else if preview.closed {
            shut
        } else {
            now < preview.until && !new.deleting
        });
    }
    let mut hosts: Vec<_> = new.previews.values().flat_map(|p| &p.hosts).collect();
    let all = hosts.len();
    hosts.sort();
    hosts.dedup();
    assert_eq!(hosts.len(), all, "each host leads to one");
}

fn of<'a>(sim: &'a Sim, image: &str) -> Option<&'a PreviewTarget> {
    let id = revision(sim, image);
    sim.target().previews.get(&id)
}

fn revision(sim: &Sim, image: &str) -> RevisionId {
    let mut records = sim.world.records.values();
    let record = records.find(|record| record.workload.image == image);
    record.unwrap().id.clone()
}

#[test]
fn a_preview_is_up_outside_the_split_until_its_time_is_over_and_retry_brings_it_back() {
    let mut sim = Sim::new(preview("good:1"));
    sim.promote();
    sim.swarm(3);
    sim.promote();
    assert_eq!(sim.status().phase, Phase::Pending);
    sim.settle();
    let id = revision(&sim, "good:1");
    assert_eq!(sim.status().phase, Phase::Healthy);
    assert_eq!(
        (sim.target().stable.as_ref(), sim.target().traffic.as_ref()),
        (None, None)
    );
    assert!(
        sim.target().routes.is_empty(),
        "the routes' hosts are nobody's"
    );
    let shown = &sim.status().previews[0];
    assert!(shown.up);
    assert_eq!(
        shown.hosts,
        [
            format!("{id}.shop.example.com"),
            "latest.example.com".to_owned()
        ]
    );
    assert_eq!(shown.headers, [format!("x-preview: default-{id}")]);
    assert!(
        sim.status().why.contains("until 2026-01-01 12:01:00 UTC"),
        "{}",
        sim.status().why
    );
    sim.pass(59);
    sim.settle();
    assert!(!of(&sim, "good:1").unwrap().closed);
    sim.pass(1);
    sim.promote();
    let closed = of(&sim, "good:1").unwrap();
    assert!(
        closed.closed && closed.hosts.is_empty(),
        "nothing leads to it"
    );
    assert!(
        sim.target().revisions[&id].draining,
        "its connections end first"
    );
    sim.settle();
    assert!(sim.target().revisions.is_empty());
    assert_eq!(
        (sim.status().phase, ended(&sim).0),
        (Phase::Over, Outcome::Over)
    );
    sim.pass(600);
    sim.settle();
    assert!(sim.target().revisions.is_empty(), "not by itself");
    sim.ask(Verb::Retry, false);
    sim.settle();
    assert_eq!(sim.status().phase, Phase::Healthy);
}

#[test]
fn several_are_up_at_once_a_shared_host_leads_to_the_newest_and_the_limit_holds() {
    let mut sim = Sim::new(preview("good:1"));
    sim.settle();
    sim.pass(1);
    sim.image("stuck:2");
    sim.settle();
    let latest = "latest.example.com".to_owned();
    assert!(
        of(&sim, "good:1").unwrap().hosts.contains(&latest),
        "the newer is not up"
    );
    sim.pass(1);
    sim.image("good:3");
    sim.settle();
    assert!(of(&sim, "good:3").unwrap().hosts.contains(&latest));
    assert_eq!(
        of(&sim, "good:1").unwrap().hosts.len(),
        1,
        "its own is left"
    );
    sim.pass(1);
    sim.image("good:4");
    sim.settle();
    assert!(
        of(&sim, "good:1").is_none(),
        "three at most, the oldest goes"
    );
    assert!(of(&sim, "good:3").is_some() && of(&sim, "good:4").is_some());
    sim.pass(58);
    sim.settle();
    assert!(
        of(&sim, "stuck:2").is_none() && of(&sim, "good:3").is_some(),
        "each has its own time"
    );
}

#[test]
fn a_preview_with_a_fixed_host_takes_its_predecessors_place_once_it_is_up() {
    let mut sim = Sim::new(preview("good:1"));
    sim.apply(|release| {
        let preview = release.spec.strategy.preview.as_mut().unwrap();
        preview.hosts = vec!["latest.example.com".to_owned()];
        preview.match_rules.clear();
    });
    sim.settle();
    sim.pass(1);
    sim.image("good:2");
    sim.promote();
    sim.swarm(3);
    sim.promote();
    assert!(!of(&sim, "good:1").unwrap().closed && of(&sim, "good:2").unwrap().hosts.is_empty());
    sim.settle();
    assert!(of(&sim, "good:1").is_none());
    assert_eq!(of(&sim, "good:2").unwrap().hosts.len(), 1);
}

#[test]
fn one_that_does_not_come_up_goes_with_dockers_words_unless_the_manifest_says_pause() {
    let mut sim = Sim::new(preview("crash:1"));
    sim.run(3);
    assert_eq!(
        (sim.status().phase, ended(&sim).0),
        (Phase::Degraded, Outcome::Failed)
    );
    assert!(
        sim.status().why.contains("non-zero exit (3)"),
        "{}",
        sim.status().why
    );
    assert!(!sim.status().why.contains("stable"), "there is none");
    assert!(sim.target().revisions.is_empty());
    let mut sim = Sim::new(preview("crash:1"));
    sim.apply(|release| release.spec.on_failure = OnFailure::Pause);
    sim.settle();
    assert_eq!(sim.status().reason, reasons::CRASH_LOOP);
    assert_eq!(sim.target().revisions.len(), 1, "kept to be looked at");
}

#[test]
fn abort_takes_a_preview_down_at_once_and_delete_all_of_them() {
    let mut sim = Sim::new(preview("good:1"));
    sim.settle();
    sim.image("good:2");
    sim.settle();
    sim.ask(Verb::Abort, false);
    sim.settle();
    assert!(of(&sim, "good:2").is_none() && of(&sim, "good:1").is_some());
    assert_eq!(sim.status().phase, Phase::Degraded);
    sim.apply(|release| release.metadata.deleted_at = Some(jiff::Timestamp::UNIX_EPOCH));
    sim.promote();
    let target = sim.target();
    assert!(
        target
            .previews
            .values()
            .all(|preview| preview.hosts.is_empty())
    );
    sim.run(5);
    assert!(sim.world.target.is_none(), "{:?}", sim.status());
}

#[test]
fn stable_goes_on_beside_previews_and_a_preview_may_become_a_canary() {
    let mut sim = Sim::serving(release("good:1"));
    let stable = sim.target().stable.clone();
    sim.apply(|release| {
        release.spec.strategy = preview("any").spec.strategy;
        release.spec.workload.image = "good:2".to_owned();
    });
    sim.settle();
    assert_eq!((&sim.target().stable, sim.weight()), (&stable, 0));
    assert_eq!(sim.target().traffic.as_ref().unwrap().canary, None);
    assert!(of(&sim, "good:2").unwrap().came_up);
    assert_eq!(sim.status().previews.len(), 1);
    sim.apply(|spec| spec.spec.strategy = release("any").spec.strategy);
    sim.settle();
    assert_eq!(sim.weight(), 1000, "the same revision, step by step");
    assert!(sim.target().previews.is_empty());
}

#[test]
fn time_in_which_nothing_can_be_seen_fails_no_preview() {
    let mut sim = Sim::new(preview("good:1"));
    sim.apply(|release| release.spec.strategy.preview.as_mut().unwrap().ttl = Span::secs(7200));
    sim.promote();
    sim.swarm(0);
    sim.promote();
    sim.swarm(2);
    sim.promote();
    sim.world.swarm.as_mut().unwrap().problem = Some("the Docker socket does not answer".into());
    sim.promote();
    sim.pass(3000);
    sim.promote();
    sim.swarm(2);
    sim.promote();
    assert!(!of(&sim, "good:1").unwrap().closed);
    sim.pass(601);
    sim.promote();
    assert!(of(&sim, "good:1").unwrap().closed, "{:?}", sim.status());
}
