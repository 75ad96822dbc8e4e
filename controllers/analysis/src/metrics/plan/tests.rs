use fm_api::criteria::Analysis;
use fm_api::criteria::metrics::{
    Compare, DelaySpan, ErrorLimit, IntervalSpan, PrometheusSource, Worse,
};
use fm_api::keys::RevisionId;
use fm_api::quantity::Span;
use fm_api::target::StepNow;
use proptest::prelude::*;
use rstest::rstest;

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second)
}

fn metric() -> Metric {
    Metric {
        name: "checkout".into(),
        prometheus: Some(PrometheusSource::default()),
        min: Some(0.2),
        ..Metric::default()
    }
}

fn target(since: Option<i64>, step: Option<(u32, i64)>) -> AnalysisTarget {
    AnalysisTarget {
        since: since.map(at),
        step: step.map(|(number, since)| StepNow {
            number,
            since: at(since),
        }),
        ..AnalysisTarget::new(
            &RevisionId::new("bbbb"),
            &RevisionId::new("aaaa"),
            "0badcafe",
            &Analysis::default(),
        )
    }
}

fn after(metric: &Metric, answers: impl IntoIterator<Item = Answer>) -> State {
    let mut state = State::default();
    for (second, answer) in (0..).zip(answers) {
        state.begin(at(second));
        state.fold(metric, answer);
    }
    state
}

fn good() -> Answer {
    Answer::Value(0.31)
}
fn bad() -> Answer {
    Answer::Value(0.1)
}
fn error() -> Answer {
    Answer::Error("down".into())
}
fn nothing() -> Answer {
    Answer::NoData("no series".into())
}

#[rstest]
#[case::within(Answer::Value(0.2), Outcome::Success)]
#[case::beyond(Answer::Value(0.19), Outcome::Failure)]
#[case::nan(Answer::Value(f64::NAN), Outcome::NoData)]
#[case::infinite(Answer::Value(f64::INFINITY), Outcome::NoData)]
#[case::infinitely_little(Answer::Value(f64::NEG_INFINITY), Outcome::NoData)]
#[case::empty(nothing(), Outcome::NoData)]
#[case::down(error(), Outcome::Error)]
#[case::two_values(Answer::Pair { canary: 1.0, stable: 1.0 }, Outcome::Error)]
#[case::doubtful(Answer::Inconclusive("75".into()), Outcome::Inconclusive)]
#[case::cut_short(Answer::Terminated, Outcome::Terminated)]
fn each_answer_comes_to_one_outcome(#[case] answer: Answer, #[case] wanted: Outcome) {
    let state = after(&metric(), [answer]);
    assert_eq!(state.measurements[0].outcome, wanted);
    let success = state.standing(&metric()) == Standing::Passing;
    assert_eq!(success, wanted == Outcome::Success);
}

#[test]
fn between_two_bounds_is_doubt() {
    let wide = Metric {
        fail_below: Some(0.1),
        max: Some(1.0),
        fail_above: Some(2.0),
        ..metric()
    };
    let outcome = |value| after(&wide, [Answer::Value(value)]).measurements[0].outcome;
    let outcomes: Vec<Outcome> = [0.05, 0.1, 0.2, 1.0, 1.5, 2.0, 2.1].map(outcome).into();
    use Outcome::{Failure, Inconclusive, Success};
    assert_eq!(
        outcomes,
        [
            Failure,
            Inconclusive,
            Success,
            Success,
            Inconclusive,
            Inconclusive,
            Failure
        ]
    );
}

#[test]
fn failure_limit_1_tolerates_one_failure_and_the_second_fails() {
    let tolerant = Metric {
        failure_limit: 1,
        ..metric()
    };
    assert_eq!(
        after(&tolerant, [bad()]).standing(&tolerant),
        Standing::Pending
    );
    assert_eq!(
        after(&tolerant, [bad(), good()]).standing(&tolerant),
        Standing::Passing
    );
    let failed = after(&tolerant, [bad(), good(), bad()]);
    assert_eq!(failed.standing(&tolerant), Standing::Failed);
    assert_eq!(
        failed.tell(&tolerant, &target(Some(0), None)).sentence,
        "0.1 is not at least 0.2: 2 failures (1 tolerated)"
    );
    assert_eq!(
        after(&metric(), [bad()]).standing(&metric()),
        Standing::Failed
    );
}

#[test]
fn an_error_never_uses_up_count_and_never_passes() {
    let counted = Metric {
        count: Some(3),
        ..metric()
    };
    let state = after(
        &counted,
        [
            good(),
            error(),
            good(),
            error(),
            nothing(),
            Answer::Terminated,
        ],
    );
    assert_eq!((state.counted, state.concluded), (2, None));
    assert_eq!(state.standing(&counted), Standing::Pending);
    let state = after(&counted, [good(), error(), good(), nothing(), good()]);
    assert_eq!(state.concluded, Some(Standing::Passing));
}

#[test]
fn errors_in_a_row_beyond_the_limit_are_inconclusive_until_there_is_an_answer() {
    let limited = Metric {
        consecutive_error_limit: ErrorLimit(2),
        ..metric()
    };
    let mut state = after(&limited, [good(), error(), error()]);
    assert_eq!(
        state.standing(&limited),
        Standing::Pending,
        "what is not seen now does not pass"
    );
    state.begin(at(9));
    state.fold(&limited, error());
    assert_eq!(state.standing(&limited), Standing::Inconclusive);
    state.begin(at(10));
    state.fold(&limited, good());
    assert_eq!(state.standing(&limited), Standing::Passing);
    assert_eq!(state.errors, 3);
}

#[rstest]
#[case::hold(OnNoData::Hold, Standing::Pending)]
#[case::pass(OnNoData::Pass, Standing::Passing)]
#[case::fail(OnNoData::Fail, Standing::Failed)]
fn no_data_is_what_the_manifest_says(#[case] on_no_data: OnNoData, #[case] wanted: Standing) {
    let metric = Metric {
        on_no_data,
        ..metric()
    };
    let state = after(&metric, [nothing()]);
    assert_eq!(
        (state.standing(&metric), state.no_data, state.successes),
        (wanted, 1, 0)
    );
}

#[test]
fn tolerated_failures_alone_are_no_success() {
    let once = Metric {
        count: Some(1),
        failure_limit: 1,
        ..metric()
    };
    assert_eq!(
        after(&once, [bad()]).standing(&once),
        Standing::Inconclusive
    );
    assert_eq!(after(&once, [good()]).standing(&once), Standing::Passing);
}

#[test]
fn doubts_beyond_the_limit_are_inconclusive_for_good() {
    let doubt = || Answer::Inconclusive("exit code 75".into());
    let limited = Metric {
        inconclusive_limit: 1,
        ..metric()
    };
    assert_eq!(
        after(&limited, [doubt()]).standing(&limited),
        Standing::Pending
    );
    assert_eq!(
        after(&limited, [doubt(), doubt(), good()]).concluded,
        Some(Standing::Inconclusive)
    );
}

#[test]
fn a_measurement_is_due_after_the_delay_then_at_each_interval_and_never_twice_at_once() {
    let delayed = Metric {
        initial_delay: DelaySpan(Span::secs(5)),
        interval: IntervalSpan(Span::secs(10)),
        ..metric()
    };
    let mut state = State::default();
    assert_eq!(
        due_at(&delayed, &state, &target(None, None)),
        None,
        "no traffic yet"
    );
    assert_eq!(
        due_at(&delayed, &state, &target(Some(100), None)),
        Some(at(105))
    );
    state.begin(at(106));
    assert_eq!(
        due_at(&delayed, &state, &target(Some(100), None)),
        None,
        "one runs"
    );
    state.fold(&delayed, good());
    assert_eq!(
        due_at(&delayed, &state, &target(Some(100), None)),
        Some(at(116))
    );
    state.concluded = Some(Standing::Passing);
    assert_eq!(due_at(&delayed, &state, &target(Some(100), None)), None);
}

#[test]
fn a_metric_of_one_step_is_measured_in_that_step_alone() {
    let second = Metric {
        step: Some(2),
        ..metric()
    };
    let due = |step| due_at(&second, &State::default(), &target(Some(0), step));
    assert_eq!(due(Some((1, 0))), None);
    assert_eq!(due(Some((2, 60))), Some(at(60)));
    assert_eq!(due(Some((3, 90))), None);
}

#[test]
fn what_is_kept_and_said_is_bounded() {
    let noisy = (0..1000).map(|_| Answer::Error("x\u{1b}[2J".repeat(1000)));
    let state = after(&metric(), noisy);
    assert_eq!((state.measurements.len(), state.errors), (KEPT, 1000));
    let message = state.measurements[0].message.clone().unwrap();
    assert!(message.chars().count() <= MESSAGE && !message.contains('\u{1b}'));
}

fn comparing() -> Metric {
    Metric {
        min: None,
        compare: Some(Compare {
            tolerance: 0.1,
            worse: Worse::Higher,
            alpha: 0.05,
            effect: 0.147,
            min_samples: 8,
        }),
        ..metric()
    }
}

fn pairs(n: i32, by: f64) -> impl Iterator<Item = Answer> {
    (0..n).map(move |k| {
        let noise = f64::from(k % 5) * 0.01;
        Answer::Pair {
            canary: 1.0 + noise + by,
            stable: 1.0 + f64::from(k % 3) * 0.01,
        }
    })
}

#[test]
fn a_comparison_concludes_at_its_looks_alone() {
    let compared = comparing();
    assert_eq!(
        after(&compared, pairs(7, 1.0)).standing(&compared),
        Standing::Pending
    );
    let worse = after(&compared, pairs(8, 1.0));
    assert_eq!(worse.standing(&compared), Standing::Failed);
    assert!((worse.comparison.as_ref().unwrap().shift - 1.0).abs() < 0.05);
    assert_eq!(
        after(&compared, pairs(8, 0.0)).standing(&compared),
        Standing::Passing
    );
    let neither = after(
        &Metric {
            count: Some(16),
            ..compared.clone()
        },
        pairs(16, 0.1),
    );
    assert_eq!(neither.concluded, Some(Standing::Inconclusive));
    let errors = std::iter::repeat_n(error(), 4).chain(std::iter::repeat_n(nothing(), 4));
    let state = after(&compared, pairs(7, 0.0).chain(errors));
    assert_eq!(
        (state.pairs.len(), state.standing(&compared)),
        (7, Standing::Pending)
    );
    assert_eq!(after(&compared, [good()]).errors, 1, "one value is no pair");
}

fn any_answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        any::<f64>().prop_map(Answer::Value),
        (0.0..1.0).prop_map(Answer::Value),
        Just(nothing()),
        Just(error()),
        Just(Answer::Inconclusive("?".into())),
        Just(Answer::Terminated),
        (any::<f64>(), any::<f64>()).prop_map(|(canary, stable)| Answer::Pair { canary, stable }),
    ]
}

proptest! {
    #[test]
    fn whatever_is_answered_the_laws_hold(
        answers in prop::collection::vec(any_answer(), 0..60),
        failure_limit in 0u32..3,
        count in prop::option::of(1u32..10),
    ) {
        let metric = Metric { failure_limit, count, ..metric() };
        let state = after(&metric, answers.clone());
        let successes = answers.iter().filter(|a| matches!(a, Answer::Value(v) if v.is_finite() && *v >= 0.2)).count();
        if state.standing(&metric) == Standing::Passing {
            prop_assert!(successes > 0, "nothing but a success passes");
            prop_assert!(state.failures <= failure_limit);
        }
        prop_assert!(state.measurements.len() <= KEPT);
        // It comes back from the store as it was.
        let text = serde_json::to_string(&state).unwrap();
        prop_assert_eq!(serde_json::from_str::<State>(&text).unwrap(), state);
    }

    #[test]
    fn a_conclusion_is_final(answers in prop::collection::vec(any_answer(), 1..40)) {
        let metric = metric();
        let mut state = State::default();
        let mut concluded = None;
        for answer in answers {
            if due_at(&metric, &state, &target(Some(0), None)).is_none() {
                prop_assert!(state.concluded.is_some());
                break;
            }
            state.begin(at(1));
            state.fold(&metric, answer);
            prop_assert!(concluded.is_none());
            concluded = state.concluded;
        }
    }
}
