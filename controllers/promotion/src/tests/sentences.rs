//! The sentences people read.

use std::fmt::Write;

use fm_api::operation::Verb;
use fm_api::release::Approval;
use fm_api::verdict::Decision;

use super::sim::{Sim, release};

/// Writes down what the status says.
fn say(book: &mut String, when: &str, sim: &Sim) {
    let status = sim.status();
    let person = if status.waits_for_person {
        " [a person's move]"
    } else {
        ""
    };
    writeln!(
        book,
        "{when}: {:?} {} - {}{person}",
        status.phase, status.reason, status.why
    )
    .unwrap();
}

#[test]
fn a_canarys_life() {
    let mut book = String::new();
    let mut first = release("shop:1");
    first.spec.strategy.canary.as_mut().unwrap().steps[0].approval = Some(Approval::Manual);
    let mut sim = Sim::new(first);
    sim.promote();
    say(&mut book, "applied", &sim);
    sim.swarm(u32::MAX);
    sim.promote();
    sim.swarm(2);
    sim.haproxy("edge");
    sim.promote();
    say(&mut book, "first tasks", &sim);
    sim.settle();
    say(&mut book, "first serves", &sim);
    sim.image("shop:2");
    sim.promote();
    say(&mut book, "new image", &sim);
    sim.swarm(u32::MAX);
    sim.promote();
    sim.swarm(u32::MAX);
    sim.promote();
    say(&mut book, "ready, not healthy yet", &sim);
    sim.haproxy("edge");
    sim.promote();
    say(&mut book, "weight decided", &sim);
    sim.haproxy("edge");
    sim.promote();
    say(&mut book, "in force", &sim);
    sim.pass(10);
    sim.settle();
    say(&mut book, "hold over", &sim);
    sim.ask(Verb::Promote, false);
    sim.settle();
    say(&mut book, "approved", &sim);
    sim.ask(Verb::Pause, false);
    sim.settle();
    say(&mut book, "paused", &sim);
    sim.ask(Verb::Resume, false);
    sim.pass(20);
    sim.settle();
    say(&mut book, "last hold over", &sim);
    let mut harmed = sim.clone();
    sim.verdict(Decision::Inconclusive);
    sim.settle();
    say(&mut book, "inconclusive", &sim);
    harmed.verdict(Decision::Rollback);
    harmed.promote();
    say(&mut book, "harm", &harmed);
    harmed.settle();
    say(&mut book, "taken back", &harmed);
    insta::assert_snapshot!(book);
}

#[test]
fn what_goes_wrong() {
    let mut book = String::new();
    let mut sim = Sim::serving(release("shop:1"));
    for image in ["crash:1", "stuck:1", "sick:1", "lost:1"] {
        sim.image(image);
        sim.settle();
        say(&mut book, image, &sim);
    }
    sim.spoil();
    sim.settle();
    say(&mut book, "invalid", &sim);
    sim.world.live.clear();
    sim.image("shop:2");
    sim.settle();
    say(&mut book, "no agent", &sim);
    sim.apply(|release| release.metadata.deleted_at = Some(jiff::Timestamp::UNIX_EPOCH));
    sim.promote();
    say(&mut book, "deleted", &sim);
    insta::assert_snapshot!(book);
}
