//! What a running rollout must pass is loosened only by who might pass it.

use fm_api::freeze::Overriding;
use fm_api::gates::{GateVerdict, When};
use fm_api::operation::Verb;
use fm_api::release::{Approval, Release, Step};
use fm_api::status::{Phase, conditions, reasons};
use proptest::prelude::*;

use super::gates::{frozen_now, hook, job};
use super::sim::{Sim, release};

fn steps(release: &mut Release) -> &mut Vec<Step> {
    &mut release.spec.strategy.canary.as_mut().unwrap().steps
}

fn ops() -> Option<Approval> {
    Some(Approval::Role("ops".to_owned()))
}

/// The second revision is on trial; its manifest asks for this.
fn trial(change: impl FnOnce(&mut Release)) -> Sim {
    let mut sim = Sim::serving(release("good:1"));
    sim.apply(|release| {
        release.spec.workload.image = "good:2".to_owned();
        release.spec.analysis.disabled = true;
        change(release);
    });
    sim.settle();
    sim.pass(30);
    sim.settle();
    sim
}

fn go_on(sim: &mut Sim) {
    for _ in 0..6 {
        sim.pass(30);
        sim.settle();
    }
}

fn kept(sim: &Sim) -> Option<String> {
    let mut all = sim.status().conditions.iter();
    let condition = all.find(|c| c.kind == conditions::RULES_KEPT)?;
    Some(condition.message.clone())
}

#[test]
fn a_roles_approval_is_not_taken_away_by_a_manifest() {
    let shapes: [fn(&mut Vec<Step>); 6] = [
        |steps| steps[0].approval = None,
        |steps| steps[0].approval = Some(Approval::Manual),
        |steps| steps[0].approval = Some(Approval::Role("dba".to_owned())),
        |steps| drop(steps.remove(0)),
        |steps| steps.truncate(1),
        |steps| {
            steps.clear();
            let weights = [5, 30, 60].map(|weight| serde_json::json!({ "weight": weight }));
            steps.extend(weights.map(|step| serde_json::from_value::<Step>(step).unwrap()));
        },
    ];
    for (number, shape) in shapes.into_iter().enumerate() {
        let mut sim = trial(|release| steps(release)[0].approval = ops());
        assert_eq!(sim.status().reason, reasons::APPROVAL, "{number}");
        sim.apply(|release| {
            steps(release)[0].approval = None;
            shape(steps(release));
            release.metadata.changed_roles = vec!["dba".to_owned()];
        });
        for _ in 0..3 {
            go_on(&mut sim);
            // What everybody may pass is passed; a role that she has not is not.
            sim.ask(Verb::Promote, false);
            sim.world
                .operations
                .iter_mut()
                .for_each(|op| op.roles = vec!["dba".to_owned()]);
            go_on(&mut sim);
            assert!(sim.weight() <= 1000, "{number}: {}", sim.weight());
        }
        assert!(
            sim.target().rollout.is_some(),
            "{number}: {}",
            sim.status().why
        );
        let asks = sim.release.spec.strategy.canary.as_ref().unwrap().steps[0]
            .approval
            .clone();
        if asks != ops() && number != 4 {
            let said = kept(&sim).unwrap();
            assert!(
                said.contains("the approval of the role ops at 10 %"),
                "{said}"
            );
            assert!(sim.told("RulesKept") && sim.status().why.contains("not for this rollout"));
        }
        sim.ask(Verb::Promote, true);
        let all = vec!["ops".to_owned(), "dba".to_owned()];
        sim.world
            .operations
            .iter_mut()
            .for_each(|op| op.roles.clone_from(&all));
        go_on(&mut sim);
        assert_eq!(
            sim.status().phase,
            Phase::Healthy,
            "{number}: {}",
            sim.status().why
        );
        assert!(sim.target().stable == sim.target().wanted && kept(&sim).is_none());
        // The next rollout is the new manifest's alone.
        sim.apply(|release| {
            steps(release)
                .iter_mut()
                .for_each(|step| step.approval = None);
            release.spec.workload.image = "good:3".to_owned();
        });
        go_on(&mut sim);
        assert_eq!(
            sim.status().phase,
            Phase::Healthy,
            "{number}: {}",
            sim.status().why
        );
    }
}

#[test]
fn who_has_the_role_may_take_it_away_and_what_everybody_may_pass_everybody_may() {
    for (approval, roles) in [
        (ops(), vec!["ops".to_owned()]),
        (Some(Approval::Manual), vec![]),
    ] {
        let mut sim = trial(|release| steps(release)[0].approval = approval);
        assert_eq!(sim.status().reason, reasons::APPROVAL);
        sim.apply(|release| {
            steps(release)[0].approval = None;
            release.metadata.changed_roles = roles;
        });
        go_on(&mut sim);
        assert_eq!(sim.status().phase, Phase::Healthy, "{}", sim.status().why);
    }
}

#[test]
fn an_approval_under_the_one_switch_stays_too() {
    let mut sim = trial(|release| {
        release.spec.strategy.canary = None;
        let both = serde_json::json!({ "approval": { "role": "ops" }, "watch": "10s" });
        release.spec.strategy.blue_green = Some(serde_json::from_value(both).unwrap());
    });
    assert_eq!(
        sim.status().reason,
        reasons::APPROVAL,
        "{}",
        sim.status().why
    );
    sim.apply(|release| release.spec.strategy.blue_green.as_mut().unwrap().approval = None);
    go_on(&mut sim);
    assert_eq!(
        (sim.weight(), sim.status().reason.as_str()),
        (0, reasons::APPROVAL)
    );
}

#[test]
fn gates_and_windows_of_the_running_rollout_stay_and_new_ones_count_at_once() {
    let mut sim = trial(|release| {
        release.spec.webhooks = vec![hook(When::BeforePromotion)];
        release.spec.before_traffic = vec![job(true)];
    });
    assert_eq!(sim.target().due[0].word(), "beforeTraffic");
    sim.apply(|release| {
        release.spec.before_traffic.clear();
        release.spec.webhooks[0].url = "http://yes.example.com/".to_owned();
        let mut window = frozen_now();
        window.to = Some("2026-01-01T13:00".to_owned());
        release.spec.freeze = vec![window];
    });
    sim.gates(GateVerdict::Open);
    go_on(&mut sim);
    assert_eq!(
        sim.status().reason,
        reasons::FROZEN,
        "a new window counts at once"
    );
    sim.apply(|release| release.spec.freeze.clear());
    go_on(&mut sim);
    assert_eq!(sim.status().reason, reasons::FROZEN, "{}", sim.status().why);
    let said = kept(&sim).unwrap();
    for word in [
        "the job migrate",
        "the webhook beforepromotion",
        "freeze window \"inventory\"",
    ] {
        assert!(said.contains(word), "{said}");
    }
    sim.pass(3600);
    sim.settle();
    assert_eq!(
        (sim.target().due[0].word(), sim.weight()),
        ("beforeTraffic", 0)
    );
    sim.gates(GateVerdict::Yes);
    go_on(&mut sim);
    let due = sim.target().due[0].webhook.as_ref().unwrap();
    assert_eq!(due.url, hook(When::BeforePromotion).url);
    sim.gates(GateVerdict::Yes);
    go_on(&mut sim);
    assert_eq!(sim.status().phase, Phase::Healthy, "{}", sim.status().why);
}

#[test]
fn a_window_is_opened_by_a_manifest_of_who_may_override_it() {
    let mut window = frozen_now();
    window.overriding = Some(Overriding {
        role: "ops".to_owned(),
    });
    for roles in [vec![], vec!["ops".to_owned()]] {
        let mut sim = trial(|release| release.spec.freeze = vec![window.clone()]);
        assert_eq!(sim.status().reason, reasons::FROZEN);
        sim.apply(|release| {
            release.spec.freeze.clear();
            release.metadata.changed_roles.clone_from(&roles);
        });
        sim.pass(60);
        sim.settle();
        assert_eq!(
            sim.status().reason == reasons::FROZEN,
            roles.is_empty(),
            "{}",
            sim.status().why
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever is applied by people without the role, and whatever they promote: no share beyond that of the approval.
    #[test]
    fn no_manifest_leads_past_a_roles_approval(
        at in 0_usize..2,
        manifests in proptest::collection::vec(
            proptest::collection::btree_map(1_u16..100, 0_u8..3, 1..5), 1..4),
        full in any::<bool>(),
    ) {
        let mut sim = trial(|release| steps(release)[at].approval = ops());
        let most = sim.rollout().plan.steps[at].weight.basis_points();
        for manifest in manifests {
            sim.apply(|release| {
                *steps(release) = manifest.iter().map(|(weight, approval)| {
                    let mut step: Step =
                        serde_json::from_value(serde_json::json!({ "weight": weight })).unwrap();
                    step.approval = match approval {
                        0 => None,
                        1 => Some(Approval::Manual),
                        _ => ops(),
                    };
                    step
                }).collect();
            });
            sim.ask(Verb::Promote, full);
            go_on(&mut sim);
            sim.ask(Verb::Promote, false);
            go_on(&mut sim);
            prop_assert!(sim.target().rollout.is_some(), "{}", sim.status().why);
            prop_assert!(sim.weight() <= most, "{} > {most}: {}", sim.weight(), sim.status().why);
        }
    }
}
