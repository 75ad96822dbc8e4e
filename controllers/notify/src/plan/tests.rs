use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn event(reason: &str, severity: Severity) -> Event {
    Event {
        id: "01".to_owned(),
        at: at(0),
        namespace: "prod".to_owned(),
        name: "shop".to_owned(),
        severity,
        reason: reason.to_owned(),
        message: "it serves".to_owned(),
        source: "promotion".to_owned(),
        count: 1,
        last_at: None,
    }
}

fn rule() -> Rule {
    Rule {
        severity: Severity::Normal,
        reasons: Vec::new(),
        namespaces: Vec::new(),
        template: "{{namespace}}/{{release}} {{reason}}: {{message}}".to_owned(),
        limit: 2,
        per: Span::secs(10),
    }
}

#[test]
fn an_event_is_chosen_by_severity_reason_and_namespace() {
    let good = event("Promoted", Severity::Normal);
    let bad = event("RolledBack", Severity::Warning);
    let mut rule = rule();
    assert!(rule.takes(&good) && rule.takes(&bad));
    rule.severity = Severity::Warning;
    assert!(!rule.takes(&good) && rule.takes(&bad));
    rule.reasons = vec!["CrashLoop".to_owned()];
    assert!(!rule.takes(&bad));
    rule.reasons.push("RolledBack".to_owned());
    rule.namespaces = vec!["test".to_owned()];
    assert!(!rule.takes(&bad));
    assert_eq!(rule.text(&bad), "prod/shop RolledBack: it serves");
}

#[test]
fn what_others_wrote_is_no_mention_and_no_link_for_slack() {
    let mut event = event("Failed", Severity::Warning);
    event.message = "<!channel> & <https://a.example|b>".to_owned();
    let mut rule = rule();
    rule.template = "<!here> {{message}}".to_owned();
    assert_eq!(
        rule.slack(&event),
        "<!here> &lt;!channel&gt; &amp; &lt;https://a.example|b&gt;"
    );
    assert_eq!(
        rule.text(&event),
        "<!here> <!channel> & <https://a.example|b>"
    );
}

#[test]
fn a_template_that_does_not_render_is_refused() {
    assert_eq!(wrong("{{reason}} at {{ at }}"), None);
    assert_eq!(wrong("{{reson}}").unwrap(), "{{reson}} is no variable");
    assert_eq!(wrong("{{reason").unwrap(), "`{{reason` is not closed");
}

#[test]
fn beyond_the_limit_events_are_counted_and_told_as_one() {
    let rule = rule();
    let events: Vec<(u64, Event)> = (1..=7)
        .map(|n| {
            (
                n,
                event(
                    if n < 5 { "StepReached" } else { "Promoted" },
                    Severity::Normal,
                ),
            )
        })
        .collect();
    let mut lane = Lane::after((1, "01".to_owned()), &rule, at(0));
    let mut sent = Vec::new();
    let mut now = 0;
    loop {
        let step = lane.next(&rule, &events, at(now));
        match &step {
            Step::Wait(None) => break,
            Step::Wait(Some(until)) => {
                now = until.as_second() - at(0).as_second() + 1;
                continue;
            }
            Step::Send { place, .. } => sent.push(place.0.to_string()),
            Step::Summary(text) => sent.push(text.clone()),
        }
        lane.done(&step);
    }
    assert_eq!(
        sent,
        ["2", "3", "4 more were left out: 3 Promoted, 1 StepReached"]
    );
    assert_eq!(lane.told.0, 7);
}

#[test]
fn several_that_were_stored_at_once_are_all_told() {
    let rule = rule();
    let mut events = vec![
        (4, event("A", Severity::Normal)),
        (4, event("B", Severity::Normal)),
    ];
    events[1].1.id = "02".to_owned();
    let mut lane = Lane::after((3, String::new()), &rule, at(0));
    for reason in ["A", "B"] {
        let step = lane.next(&rule, &events, at(0));
        assert!(
            matches!(&step, Step::Send { event, .. } if event.reason == reason),
            "{step:?}"
        );
        lane.done(&step);
    }
    assert_eq!(lane.next(&rule, &events, at(0)), Step::Wait(None));
}

#[test]
fn what_was_before_is_not_told_and_what_failed_is_told_again() {
    let rule = rule();
    let events = [
        (3, event("A", Severity::Normal)),
        (9, event("B", Severity::Normal)),
    ];
    let mut lane = Lane::after((5, String::new()), &rule, at(0));
    let first = lane.next(&rule, &events, at(0));
    assert_eq!(lane.next(&rule, &events, at(0)), first, "not done yet");
    lane.done(&first);
    assert_eq!(lane.next(&rule, &events, at(0)), Step::Wait(None));
}

#[test]
fn a_channel_that_was_away_for_long_is_told_what_is_new() {
    let mut rule = rule();
    rule.limit = 10_000;
    let many = u64::try_from(MOST_WAITING).unwrap() + 100;
    let events: Vec<_> = (1..=many)
        .map(|n| (n, event("A", Severity::Normal)))
        .collect();
    let mut lane = Lane::after((0, String::new()), &rule, at(0));
    let step = lane.next(&rule, &events, at(0));
    assert!(
        matches!(&step, Step::Summary(text) if text.starts_with("100 more")),
        "{step:?}"
    );
    lane.done(&step);
    assert!(matches!(
        lane.next(&rule, &events, at(0)),
        Step::Send {
            place: (101, _),
            ..
        }
    ));
}

#[test]
fn of_a_channel_that_is_away_only_what_is_new_waits_and_the_rest_is_counted() {
    let rule = Rule {
        limit: 10,
        ..rule()
    };
    let events: Vec<(u64, Event)> = (1..=5)
        .map(|n| {
            let event = Event {
                at: at(60 * n as i64),
                ..event("Promoted", Severity::Normal)
            };
            (n, event)
        })
        .collect();
    let mut lane = Lane::after((0, String::new()), &rule, at(0));
    assert_eq!(lane.give_up(&rule, &events, at(30)), 0);
    assert_eq!(lane.give_up(&rule, &events, at(180)), 3);
    assert_eq!(lane.give_up(&rule, &events, at(180)), 0, "none twice");
    let told = lane.next(&rule, &events, at(800));
    assert!(
        matches!(&told, Step::Summary(text) if text.starts_with("3 more were left out")),
        "{told:?}"
    );
    lane.done(&told);
    let next = lane.next(&rule, &events, at(800));
    assert!(
        matches!(&next, Step::Send { place, .. } if place.0 == 4),
        "{next:?}"
    );
}

#[test]
fn what_happens_again_is_told_once() {
    let rule = Rule {
        limit: 100,
        ..rule()
    };
    let known = |id: &str, count: u32| Event {
        id: id.to_owned(),
        count,
        ..event("TaskFailed", Severity::Warning)
    };
    let mut lane = Lane::after((1, "05".to_owned()), &rule, at(0));
    // The first was told before this life; the other two were not, and one of them repeats before it is told.
    let events = [
        (2, known("04", 9)),
        (3, known("06", 1)),
        (4, known("07", 2)),
    ];
    for wanted in ["06", "07"] {
        let step = lane.next(&rule, &events, at(0));
        let Step::Send { event, .. } = &step else {
            panic!("{step:?}");
        };
        assert_eq!(event.id, wanted);
        lane.done(&step);
    }
    let again = [(5, known("06", 2)), (6, known("07", 3))];
    assert_eq!(lane.next(&rule, &again, at(0)), Step::Wait(None));
}
