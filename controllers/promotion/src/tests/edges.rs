//! Edges that are gone: what they may still lead to stays on every way out, and nothing else waits for them but a rise.

use fm_api::operation::Verb;
use fm_api::quantity::Span;
use fm_api::status::{Phase, conditions, reasons};
use fm_api::target::Slot;
use fm_api::verdict::Decision;

use super::places::at_first_step;
use super::sim::{Sim, release};

/// Stable and a canary at its first step, on two edges.
fn on_two_edges() -> Sim {
    let mut sim = Sim::serving(release("good:1"));
    sim.world.live.insert("edge-2".to_owned());
    sim.settle();
    sim.image("good:2");
    sim.settle();
    assert_eq!(sim.weight(), 1000);
    sim
}

fn services(sim: &Sim) -> usize {
    sim.target().revisions.len()
}

/// Long enough for everything that would go to be gone.
fn long(sim: &mut Sim) {
    for _ in 0..20 {
        sim.pass(300);
        sim.settle();
    }
}

fn forget(sim: &mut Sim, edge: &str) {
    sim.world.haproxy.remove(edge);
}

/// What is said while an edge keeps tasks: which, since when, and what ends it.
fn says_what_it_waits_for(sim: &Sim, edge: &str) {
    let status = sim.status();
    let command = format!("frctl edge forget {edge}");
    assert!(status.why.contains(&command), "{}", status.why);
    let gone = &status.edges_gone;
    assert_eq!(gone.len(), 1, "{gone:?}");
    assert_eq!((gone[0].name.as_str(), gone[0].keeps.len()), (edge, 1));
    let condition = status
        .conditions
        .iter()
        .find(|one| one.kind == conditions::EDGE_GONE)
        .unwrap();
    assert_eq!(condition.status, Some(true));
    assert!(condition.message.contains("since") && condition.message.contains(&command));
}

/// Law 12: on every way out of a canary its share falls at once, and its tasks stay for the edge that is gone.
#[test]
fn a_canary_that_is_taken_back_keeps_its_tasks_while_a_gone_edge_may_lead_to_them() {
    let ways: [(&str, fn(&mut Sim)); 3] = [
        ("rollback", |sim| sim.verdict(Decision::Rollback)),
        ("abort", |sim| drop(sim.ask(Verb::Abort, false))),
        ("replaced", |sim| sim.image("good:1")),
    ];
    for (way, out) in ways {
        let mut sim = on_two_edges();
        sim.world.live.remove("edge-2");
        sim.settle();
        let since = sim.now;
        out(&mut sim);
        sim.settle();
        assert_eq!(sim.weight(), 0, "{way}: nothing keeps a share from falling");
        assert!(
            sim.target().rollout.is_none(),
            "{way}: the rollout has ended"
        );
        long(&mut sim);
        assert_eq!(services(&sim), 2, "{way}");
        says_what_it_waits_for(&sim, "edge-2");
        assert_eq!(sim.status().edges_gone[0].since, since, "{way}");
        // A report that shows another split lets them go, and so does a person's word.
        let mut back = sim.clone();
        back.world.live.insert("edge-2".to_owned());
        long(&mut back);
        assert_eq!(services(&back), 1, "{way}: it came back");
        assert!(back.status().edges_gone.is_empty());
        forget(&mut sim, "edge-2");
        long(&mut sim);
        assert_eq!(services(&sim), 1, "{way}: it was forgotten");
        assert!(!sim.status().why.contains("edge-2"), "{}", sim.status().why);
    }
}

#[test]
fn a_promotions_old_revision_stays_for_an_edge_that_went_before_it_had_the_new_one() {
    let mut sim = on_two_edges();
    sim.ask(Verb::Promote, true);
    sim.promote();
    for _ in 0..6 {
        sim.swarm(u32::MAX);
        sim.haproxy("edge");
        if sim.target().canary.is_some() {
            sim.haproxy("edge-2");
        }
        sim.promote();
    }
    assert_eq!(sim.target().canary, None, "{}", sim.status().why);
    sim.world.live.remove("edge-2");
    long(&mut sim);
    assert_eq!(
        services(&sim),
        2,
        "its HAProxy may still lead to the old one"
    );
    says_what_it_waits_for(&sim, "edge-2");
    forget(&mut sim, "edge-2");
    long(&mut sim);
    assert_eq!(services(&sim), 1);
}

/// It had the new split in force before it went: nothing leads to the old revision.
#[test]
fn an_edge_that_has_the_new_split_keeps_nothing() {
    let mut sim = on_two_edges();
    sim.apply(|release| {
        if let Some(canary) = &mut release.spec.strategy.canary {
            canary.keep_previous = Span::secs(600);
        }
    });
    sim.settle();
    sim.ask(Verb::Promote, true);
    sim.settle();
    assert_eq!(sim.status().phase, Phase::Healthy);
    sim.world.live.remove("edge-2");
    long(&mut sim);
    assert_eq!(services(&sim), 1);
    assert!(sim.status().edges_gone[0].keeps.is_empty());
    assert_eq!(sim.status().phase, Phase::Healthy);
}

/// A split that was wanted, perhaps taken in, and never reported: nobody knows.
#[test]
fn an_edge_that_went_before_it_reported_a_split_may_lead_where_that_split_did() {
    let mut sim = Sim::serving(release("good:1"));
    sim.world.live.insert("edge-2".to_owned());
    sim.settle();
    sim.image("good:2");
    sim.promote();
    while sim.weight() == 0 {
        sim.swarm(u32::MAX);
        sim.agents();
        sim.promote();
    }
    let reported = sim.world.haproxy["edge-2"].traffic.as_ref().unwrap();
    assert_eq!(reported.canary, None);
    sim.world.live.remove("edge-2");
    sim.ask(Verb::Abort, false);
    long(&mut sim);
    assert_eq!(services(&sim), 2);
    says_what_it_waits_for(&sim, "edge-2");
}

#[test]
fn a_deleted_release_keeps_its_tasks_for_a_gone_edge_and_names_the_way_out() {
    let mut sim = on_two_edges();
    sim.world.live.remove("edge-2");
    let now = sim.now;
    sim.apply(|release| release.metadata.deleted_at = Some(now));
    long(&mut sim);
    assert_eq!(services(&sim), 2);
    let why = &sim.status().why;
    assert!(why.contains("`frctl edge forget edge-2`"), "{why}");
    forget(&mut sim, "edge-2");
    long(&mut sim);
    assert!(sim.world.target.is_none());
}

#[test]
fn a_draining_edge_is_waited_for_by_no_rise_and_keeps_tasks_only_while_it_lives() {
    let mut sim = on_two_edges();
    sim.world.draining.insert("edge-2".to_owned());
    sim.ask(Verb::Promote, true);
    for _ in 0..8 {
        sim.promote();
        sim.swarm(u32::MAX);
        sim.haproxy("edge");
    }
    assert_eq!(sim.target().canary, None, "{}", sim.status().why);
    for _ in 0..20 {
        sim.pass(300);
        sim.promote();
        sim.swarm(u32::MAX);
        sim.haproxy("edge");
    }
    assert_eq!(services(&sim), 2, "it still leads to the old one");
    sim.world.live.remove("edge-2");
    long(&mut sim);
    assert_eq!(services(&sim), 1);
    assert!(sim.status().edges_gone.is_empty());
    sim.image("good:3");
    sim.settle();
    assert_eq!(sim.weight(), 1000, "{}", sim.status().why);
}

/// The places in HAProxy are three: what a gone edge keeps leaves one, and then it is said what is waited for.
#[test]
fn a_gone_edge_leaves_a_place_for_the_next_canary_and_is_named_where_none_is_left() {
    let mut sim = on_two_edges();
    sim.world.live.remove("edge-2");
    sim.ask(Verb::Abort, false);
    sim.settle();
    sim.image("good:3");
    sim.settle();
    assert!(sim.target().canary.is_some());
    assert_eq!(sim.status().reason, reasons::AGENT_GONE);
    let used = sim.target().revisions.values().filter_map(|r| r.slot);
    assert_eq!(used.collect::<Vec<Slot>>().len(), 3);
    says_what_it_waits_for(&sim, "edge-2");
}

#[test]
fn a_way_back_without_any_live_edge_names_the_one_that_may_still_serve_the_canary() {
    let mut sim = at_first_step();
    sim.world.live.clear();
    sim.verdict(Decision::Rollback);
    sim.settle();
    let status = sim.status();
    assert_eq!(status.phase, Phase::RollingBack);
    assert!(status.why.contains("edge forget edge"), "{}", status.why);
}
