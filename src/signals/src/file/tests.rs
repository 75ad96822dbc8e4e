use super::*;

fn series(revision: &str) -> Series {
    Series {
        release: "default/shop".into(),
        revision: revision.into(),
        endpoint: None,
    }
}

fn second(at: i64, revision: &str, requests: u64) -> Second {
    let mut sample = Sample {
        requests,
        bad: 1,
        ..Sample::default()
    };
    sample.latency.record(20.0);
    (at, BTreeMap::from([(series(revision), sample)]))
}

fn total(file: &File, rung: usize) -> (u64, u64, u64) {
    let mut sum = Sample::default();
    let mut rows = 0;
    file.read(
        rung,
        (i64::MIN, i64::MAX),
        |_| true,
        |_, _, sample| {
            rows += 1;
            sum.merge(&sample);
            true
        },
    )
    .unwrap();
    (rows, sum.requests, sum.latency.count())
}

#[test]
fn every_rung_holds_the_same_requests_and_so_it_is_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("signals.redb");
    let mut file = File::open(&path, Bounds::default()).unwrap();
    let seconds: Vec<Second> = (0..600).map(|s| second(6000 + s, "r1", 10)).collect();
    for batch in seconds.chunks(77) {
        file.write(batch).unwrap();
    }
    drop(file);
    let mut file = File::open(&path, Bounds::default()).unwrap();
    file.write(&[second(6600, "r1", 10)]).unwrap();
    let rows: Vec<_> = (0..LADDER.len()).map(|rung| total(&file, rung)).collect();
    assert_eq!(
        rows,
        [
            (601, 6010, 601),
            (61, 6010, 601),
            (11, 6010, 601),
            (2, 6010, 601)
        ]
    );
    assert_eq!(file.size(), (1, 675));
}

#[test]
fn each_rung_forgets_in_its_time_and_a_series_without_rows_goes() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = File::open(&folder.path().join("signals.redb"), Bounds::default()).unwrap();
    file.write(&[second(0, "r1", 10)]).unwrap();
    let left = |file: &File| {
        (0..LADDER.len())
            .filter(|rung| total(file, *rung).0 > 0)
            .count()
    };
    for (now, wanted) in [
        (3600, 4),
        (3601, 3),
        (6 * 3600 + 1, 2),
        (2 * 86_400 + 1, 1),
        (30 * 86_400, 1),
        (30 * 86_400 + 1, 0),
    ] {
        file.prune(now).unwrap();
        assert_eq!(left(&file), wanted, "{now}");
    }
    assert_eq!(file.size(), (0, 0));
}

#[test]
fn series_and_rows_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let bounds = Bounds {
        series: 2,
        rows: 100,
    };
    let mut file = File::open(&folder.path().join("signals.redb"), bounds).unwrap();
    for (revision, refused) in [("r1", 0), ("r2", 0), ("r3", 1)] {
        let written = file.write(&[second(1000, revision, 1)]).unwrap();
        assert_eq!(written, Written { refused }, "{revision}");
    }
    let seconds: Vec<Second> = (1001..1400).map(|at| second(at, "r1", 1)).collect();
    file.write(&seconds).unwrap();
    file.prune(1400).unwrap();
    assert!(file.size().1 <= 100, "{:?}", file.size());
    let mut newest = 0;
    file.read(
        0,
        (i64::MIN, i64::MAX),
        |_| true,
        |_, at, _| {
            newest = newest.max(at);
            true
        },
    )
    .unwrap();
    assert_eq!(newest, 1399, "the oldest go first");
}

#[test]
fn tasks_give_way_before_revisions_do() {
    let folder = tempfile::tempdir().unwrap();
    let bounds = Bounds {
        series: 5,
        rows: 150,
    };
    let mut file = File::open(&folder.path().join("signals.redb"), bounds).unwrap();
    let sample = Sample {
        requests: 1,
        ..Sample::default()
    };
    let of = |task: Option<u32>| Series {
        endpoint: task.map(|task| format!("task{task}")),
        ..series("r1")
    };
    let all: BTreeMap<Series, Sample> = (0..5)
        .map(|task| (of(Some(task)), sample.clone()))
        .collect();
    let mut written = file.write(&[(1000, all)]).unwrap();
    assert_eq!(written, Written { refused: 1 }, "a place is left");
    for at in 1001..1100 {
        let both = [None, Some(1)].map(|task| (of(task), sample.clone()));
        written = file.write(&[(at, both.into())]).unwrap();
    }
    assert_eq!(written, Written { refused: 0 });
    file.prune(1100).unwrap();
    let rows = |task: Option<u32>| {
        let mut rows = 0;
        let wanted = of(task);
        let count = |_: &Series, _, _| {
            rows += 1;
            true
        };
        file.read(0, (i64::MIN, i64::MAX), |series| *series == wanted, count)
            .unwrap();
        rows
    };
    assert_eq!(rows(None), 99, "the revision keeps all");
    assert!(rows(Some(1)) < 60, "{}", rows(Some(1)));
}

#[test]
fn a_broken_file_is_put_aside() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("signals.redb");
    std::fs::write(
        &path,
        b"this is no database, but long enough to be looked at",
    )
    .unwrap();
    let mut file = File::open(&path, Bounds::default()).unwrap();
    file.write(&[second(1000, "r1", 1)]).unwrap();
    assert!(folder.path().join("signals.redb.broken").exists());
}
