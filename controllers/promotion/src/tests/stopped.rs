//! A rollout that a rule or a gate has stopped: each has a way forward, and harm keeps its word.

use fm_api::gates::{BeforeTraffic, GateAnswer, GateVerdict, GatesObserved, Webhook, When};
use fm_api::operation::Verb;
use fm_api::release::OnFailure;
use fm_api::rollout::Outcome;
use fm_api::status::{Phase, reasons};
use fm_api::verdict::Decision;
use serde_json::json;

use super::gates::{hook, job};
use super::places::ended;
use super::sim::{Sim, release};

pub(super) fn smoke() -> BeforeTraffic {
    let job = json!({ "name": "smoke", "image": "shop-smoke:3", "withTasks": true });
    serde_json::from_value(job).unwrap()
}

/// The answer to each gate by its name; the others say yes. Everybody acts until nothing is asked any more.
pub(super) fn answered(sim: &mut Sim, answers: &[(&str, GateVerdict)]) {
    for _ in 0..10 {
        let before = sim.target().clone();
        sim.gates(GateVerdict::Yes);
        let seen = sim.world.gates.as_mut().unwrap();
        tell(seen, &before.due, answers);
        sim.settle();
        if *sim.target() == before {
            return;
        }
    }
}

fn tell(seen: &mut GatesObserved, due: &[fm_api::gates::Due], answers: &[(&str, GateVerdict)]) {
    for due in due {
        if let Some((_, verdict)) = answers.iter().find(|(name, _)| *name == due.name()) {
            let said = "exit code 3".to_owned();
            let answer = seen.answers.get_mut(&due.id).unwrap();
            *answer = GateAnswer {
                verdict: *verdict,
                said,
                ..answer.clone()
            };
        }
    }
}

/// A migration has run, and the test after it fails.
pub(super) fn by_a_job() -> Sim {
    let mut sim = Sim::serving(release("good:1"));
    sim.apply(|release| {
        release.spec.workload.image = "good:2".to_owned();
        release.spec.before_traffic = vec![job(false), smoke()];
    });
    sim.settle();
    answered(&mut sim, &[("smoke", GateVerdict::No)]);
    assert_eq!(sim.status().phase, Phase::Paused, "{}", sim.status().why);
    sim
}

/// A webhook fails under `onFailure: pause`.
pub(super) fn by_a_webhook() -> Sim {
    let mut sim = Sim::serving(release("good:1"));
    sim.apply(|release| {
        release.spec.workload.image = "good:2".to_owned();
        release.spec.on_failure = OnFailure::Pause;
        let second = Webhook {
            step: Some(2),
            ..hook(When::BeforeStep)
        };
        release.spec.webhooks = vec![hook(When::ConfirmStep), second];
    });
    sim.settle();
    answered(&mut sim, &[]);
    sim.pass(10);
    sim.settle();
    answered(&mut sim, &[("beforestep", GateVerdict::No)]);
    assert_eq!(sim.status().phase, Phase::Paused, "{}", sim.status().why);
    sim
}

/// Harm is shown under `onFailure: pause`.
pub(super) fn by_harm() -> Sim {
    let mut first = release("good:1");
    first.spec.on_failure = OnFailure::Pause;
    let mut sim = Sim::serving(first);
    sim.image("good:2");
    sim.settle();
    sim.verdict(Decision::Rollback);
    sim.settle();
    sim
}

/// Harm is shown, somebody went on, and it stands at its last step.
pub(super) fn in_spite_of_harm() -> Sim {
    let mut sim = by_harm();
    sim.ask(Verb::Resume, false);
    sim.settle();
    for seconds in [10, 20] {
        sim.pass(seconds);
        sim.settle();
    }
    assert_eq!(sim.weight(), 5000);
    sim
}

fn said(sim: &Sim) -> (bool, String) {
    let answer = sim.status().last_operation.clone().unwrap();
    (answer.accepted, answer.message)
}

fn asked(sim: &mut Sim, verb: Verb, full: bool) -> (bool, String) {
    sim.ask(verb, full);
    sim.promote();
    said(sim)
}

#[test]
fn a_job_that_failed_after_one_that_is_not_reversible_runs_again_with_a_retry() {
    let mut sim = by_a_job();
    insta::assert_snapshot!(sim.status().why, @"stopped by a gate: the job smoke (beforeTraffic) failed: exit code 3; the job migrate is not reversible, so it is not taken back by itself (`rollout abort --force` does it); retry or abort");
    let before = sim.rollout().clone();
    for (verb, full) in [
        (Verb::Resume, false),
        (Verb::Promote, true),
        (Verb::Promote, false),
    ] {
        let (accepted, message) = asked(&mut sim, verb, full);
        assert!(!accepted && message.contains("retry"), "{message}");
        let now = sim.rollout();
        assert_eq!(
            (now.overruled, now.full, &now.paused),
            (false, false, &before.paused)
        );
    }
    let old = sim.target().due[0].id.clone();
    let answer = asked(&mut sim, Verb::Retry, false);
    assert_eq!(answer, (true, "the job smoke runs again".to_owned()));
    let due = &sim.target().due;
    assert_eq!((due.len(), due[0].name()), (1, "smoke"));
    assert_ne!(due[0].id, old, "the old answer stands under the old id");
    assert!(sim.rollout().paused.is_none());
    let word = sim.rollout().words.last().map(|word| word.asked.clone());
    assert_eq!(
        word.as_deref(),
        Some("retry"),
        "it is kept with the rollout that it is said of"
    );
    answered(&mut sim, &[]);
    assert_eq!(sim.weight(), 1000, "{}", sim.status().why);
    assert!(!sim.rollout().overruled, "harm still counts");
}

#[test]
fn a_job_that_failed_again_stops_it_again_and_what_had_said_yes_is_not_asked_again() {
    let mut sim = by_a_job();
    asked(&mut sim, Verb::Retry, false);
    sim.settle();
    answered(&mut sim, &[("smoke", GateVerdict::No)]);
    assert_eq!(sim.status().phase, Phase::Paused);
    let ran = sim.target().ran.values().next().unwrap();
    assert_eq!(ran.jobs, ["migrate"]);

    let mut sim = by_a_webhook();
    asked(&mut sim, Verb::Retry, false);
    sim.settle();
    let due = &sim.target().due;
    assert_eq!((due.len(), due[0].name()), (1, "beforestep"), "{due:?}");
    answered(&mut sim, &[]);
    assert_eq!(sim.weight(), 5000);
}

#[test]
fn whoever_goes_on_without_a_webhook_is_still_taken_care_of() {
    let mut sim = by_a_webhook();
    insta::assert_snapshot!(sim.status().why, @"stopped by a gate: the webhook beforestep (beforeStep 2 of 2) failed: exit code 3; retry, resume without it, or abort");
    let mut full = sim.clone();
    let (accepted, message) = asked(&mut full, Verb::Promote, true);
    assert!(accepted && !message.contains("no more"), "{message}");
    full.settle();
    assert_eq!(ended(&full).0, Outcome::Promoted);
    let mut resumed = sim.clone();
    let (accepted, message) = asked(&mut resumed, Verb::Resume, false);
    assert!(accepted && !message.contains("no more"), "{message}");
    resumed.settle();
    assert_eq!(resumed.weight(), 5000, "{}", resumed.status().why);
    resumed.verdict(Decision::Rollback);
    resumed.settle();
    assert_eq!(resumed.status().phase, Phase::Paused, "harm still counts");
    sim.verdict(Decision::Rollback);
    sim.settle();
    assert!(
        sim.status().why.contains("resume or abort"),
        "harm is what a person decides on first: {}",
        sim.status().why
    );
}

#[test]
fn who_went_on_in_spite_of_harm_is_called_where_evidence_will_not_come() {
    let mut sim = in_spite_of_harm();
    let status = sim.status();
    assert_eq!(
        (
            status.phase,
            status.reason.as_str(),
            status.waits_for_person
        ),
        (Phase::Paused, reasons::HARM_SHOWN, true)
    );
    insta::assert_snapshot!(status.why, @"stays at 50 %: harm is shown and does not take it back (the canary answered 20 of 100 requests badly, stable 1 of 900 (ErrorsHarm)); promote or abort");
    let mut aborted = sim.clone();
    aborted.ask(Verb::Abort, false);
    aborted.settle();
    assert_eq!(ended(&aborted).0, Outcome::Aborted);
    let answer = asked(&mut sim, Verb::Promote, false);
    assert_eq!(answer, (true, "it goes on in spite of the harm".to_owned()));
    sim.settle();
    assert_eq!(ended(&sim).0, Outcome::Promoted);
}

#[test]
fn what_harm_does_is_told_as_it_is() {
    let mut book = String::new();
    let mut say = |when: &str, mut sim: Sim, verb, full| {
        let (_, message) = asked(&mut sim, verb, full);
        book.push_str(&format!("{when}: {message}\n"));
    };
    let second = |change: fn(&mut fm_api::release::Release)| {
        let mut sim = Sim::serving(release("good:1"));
        sim.apply(|release| {
            release.spec.workload.image = "good:2".to_owned();
            change(release);
        });
        sim.settle();
        answered(&mut sim, &[]);
        sim
    };
    say("pause", second(|_| {}), Verb::Pause, false);
    let pauses = second(|release| release.spec.on_failure = OnFailure::Pause);
    say(
        "pause, onFailure: pause",
        pauses.clone(),
        Verb::Pause,
        false,
    );
    let migrated = second(|release| release.spec.before_traffic = vec![job(false)]);
    say("pause, migrated", migrated, Verb::Pause, false);
    let blind = second(|release| release.spec.analysis.disabled = true);
    say("full, no analysis", blind, Verb::Promote, true);
    say("resume after harm", by_harm(), Verb::Resume, false);
    say("full after harm", by_harm(), Verb::Promote, true);
    say("pause after that", in_spite_of_harm(), Verb::Pause, false);
    let mut paused = second(|_| {});
    paused.ask(Verb::Pause, false);
    paused.settle();
    say("resume", paused, Verb::Resume, false);
    insta::assert_snapshot!(book, @r#"
pause: it stays where it is; harm still takes it back
pause, onFailure: pause: it stays where it is; harm does not take it back by itself (onFailure: pause)
pause, migrated: it stays where it is; harm does not take it back by itself, for the job migrate is not reversible
full, no analysis: every wait is passed; capacity is still waited for, and nothing looks for harm, for the analysis is off
resume after harm: it goes on; harm takes it back no more
full after harm: every wait is passed; capacity is still waited for, and harm takes it back no more
pause after that: it stays where it is; harm takes it back no more
resume: it goes on
"#);
}

#[test]
fn a_first_revision_that_a_gate_stops_says_so_and_its_job_runs_again_alone() {
    let mut first = release("good:1");
    first.spec.before_traffic = vec![job(true)];
    let mut sim = Sim::new(first);
    sim.settle();
    sim.gates(GateVerdict::No);
    sim.settle();
    insta::assert_snapshot!(sim.status().why, @"the first revision goes no further: the job migrate (beforeTraffic) failed: HTTP 403: not yet; retry, or apply another");
    let answer = asked(&mut sim, Verb::Retry, false);
    insta::assert_snapshot!(answer.1, @"the job migrate (beforeTraffic) runs again");
    assert_eq!(sim.target().due.len(), 1, "{:?}", sim.target().due);
    let restarts = sim.target().revisions.values().map(|r| r.restarts);
    assert_eq!(restarts.max(), Some(0));
    sim.settle();
    sim.gates(GateVerdict::Yes);
    sim.settle();
    assert_eq!(sim.status().phase, Phase::Healthy);
}

#[test]
fn a_canary_that_is_all_that_serves_is_stable_at_somebodys_word() {
    let mut sim = super::places::broken_stable();
    insta::assert_snapshot!(sim.status().why, @"is well since 12:00:00 UTC, and was not before (users get what the canary alone can answer, and 503: no task of revision 1 (good:1) is healthy in HAProxy (edge: no server)); healthy again once it was well for 30s; it should be taken back (aborted by bob), but stable has no ready task and the canary has 1: the canary is kept until stable serves; retry makes it stable instead");
    let canary = sim.target().canary.clone();
    let (accepted, message) = asked(&mut sim, Verb::Promote, false);
    assert!(!accepted && message.contains("retry"), "{message}");
    let (accepted, message) = asked(&mut sim, Verb::Retry, false);
    assert!(accepted);
    insta::assert_snapshot!(message, @"revision 2 (good:2) is stable now: it is all that serves");
    sim.settle();
    assert_eq!(sim.target().stable, canary, "{}", sim.status().why);
    sim.pass(30);
    sim.settle();
    assert_eq!(sim.status().phase, Phase::Healthy);
}

#[test]
fn tasks_that_do_not_come_up_and_are_not_taken_back_for_it_call_a_person() {
    let mut first = release("good:1");
    first.spec.on_failure = OnFailure::Pause;
    let mut sim = Sim::serving(first);
    sim.image("crash:1");
    sim.settle();
    assert_eq!(sim.status().phase, Phase::Paused);
    sim.ask(Verb::Resume, false);
    sim.settle();
    let status = sim.status();
    assert_eq!(
        (
            status.phase,
            status.reason.as_str(),
            status.waits_for_person
        ),
        (Phase::Paused, reasons::CRASH_LOOP, true)
    );
    insta::assert_snapshot!(status.why, @"its tasks do not come up, and it is not taken back for that (3 tasks failed before it ever served; Docker says: task: non-zero exit (3)); abort, or apply another");
}
