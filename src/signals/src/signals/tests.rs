use super::*;

fn new(revision: &str, requests: u64) -> BTreeMap<Series, Sample> {
    let series = Series {
        release: "default/shop".into(),
        revision: revision.into(),
        endpoint: None,
    };
    let sample = Sample {
        requests,
        ..Sample::default()
    };
    BTreeMap::from([(series, sample)])
}

fn requests(answer: &Answer) -> Vec<(i64, u64)> {
    (answer.points.iter())
        .map(|((_, at), sample)| (*at, sample.requests))
        .collect()
}

#[test]
fn an_answer_is_the_same_before_and_after_the_file_took_it_in_and_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("signals.redb");
    let signals = Signals::new(path.clone());
    let query = Query {
        since: 1000,
        until: 1060,
        step: Some(20),
        ..Query::default()
    };
    assert_eq!(requests(&signals.query(1060, &query).unwrap()), []);
    assert!(!path.exists(), "without anything to keep there is no file");
    for second in 1000..1060 {
        signals.add(second, new("r1", 2));
    }
    let wanted = [(1000, 40), (1020, 40), (1040, 40)];
    assert_eq!(requests(&signals.query(1060, &query).unwrap()), wanted);
    signals.flush(1030, false).unwrap();
    assert_eq!(requests(&signals.query(1060, &query).unwrap()), wanted);
    signals.flush(i64::MAX, false).unwrap();
    assert_eq!(requests(&signals.query(1060, &query).unwrap()), wanted);
    drop(signals);
    let signals = Signals::new(path);
    assert_eq!(requests(&signals.query(1060, &query).unwrap()), wanted);
    let other = Query {
        release: Some("default/other".into()),
        ..query.clone()
    };
    assert_eq!(requests(&signals.query(1060, &other).unwrap()), []);
}

#[test]
fn the_last_seconds_are_whole_ones() {
    let signals = Signals::default();
    for second in 100..120 {
        signals.add(second, new("r1", 1));
    }
    let last = signals.last(119, 10);
    assert_eq!(last.values().map(|sample| sample.requests).sum::<u64>(), 10);
}
