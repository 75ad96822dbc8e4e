use std::sync::Arc;

use fm_telemetry::counters::Snapshot;

use super::*;

/// Draws that are the same in every run.
struct Draws(u64);

impl Draws {
    fn unit(&mut self) -> f64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn binomial(&mut self, n: u64, p: f64) -> u64 {
        (0..n).map(|_| u64::from(self.unit() < p)).sum()
    }

    fn normal(&mut self) -> f64 {
        let sum: f64 = (0..12).map(|_| self.unit()).sum();
        sum - 6.0
    }
}

/// Ten tasks of one revision behind one HAProxy, ten seconds a batch.
struct World {
    draws: Draws,
    watch: Watch,
    counted: BTreeMap<SocketAddr, Endpoint>,
    second: i64,
}

/// How a task behaves: its rate of bad answers, and its median response time.
type Task = (f64, f64);

fn address(task: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 30_000 + task as u16))
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            draws: Draws(seed),
            watch: Watch::default(),
            counted: BTreeMap::new(),
            second: 0,
        }
    }

    fn batch(&mut self, tasks: &[Task], requests: u64) -> Vec<(usize, OutlierBy)> {
        for (task, (bad, ms)) in tasks.iter().enumerate() {
            let counted = self.counted.entry(address(task)).or_default();
            let bad = self.draws.binomial(requests, *bad);
            counted.requests += requests;
            counted.bad += bad;
            for _ in 0..(requests - bad) * u64::from(*ms > 0.0) {
                counted
                    .latency
                    .record(ms * (0.4 * self.draws.normal()).exp());
            }
        }
        let of = |value| BTreeMap::from([("r1".to_owned(), value)]);
        let snapshot = Snapshot {
            instance: "edge".into(),
            epoch: "1".into(),
            endpoints: BTreeMap::from([("default/shop".to_owned(), of(self.counted.clone()))]),
            ..Snapshot::default()
        };
        self.second += 10;
        let now = Timestamp::from_second(self.second).unwrap();
        let pulled = Pulled {
            at: now,
            answers: vec![Ok(snapshot)],
            usage: Arc::default(),
        };
        assert_eq!(self.watch.due_in(now), SignedDuration::ZERO);
        self.watch.take("default/shop", &pulled, now);
        let place = |found: &Finding| (usize::from(found.address.port() - 30_000), found.by);
        self.watch.findings().iter().map(place).collect()
    }
}

const GOOD: Task = (0.005, 50.0);

#[test]
fn the_one_bad_replica_of_ten_is_named_and_no_other_until_it_is_well_again() {
    for (bad, by, most, why) in [
        ((1.0, 50.0), OutlierBy::Errors, 2, "answers nothing well"),
        ((0.2, 50.0), OutlierBy::Errors, 3, "20 % errors"),
        ((0.05, 50.0), OutlierBy::Errors, 30, "5 % errors"),
        ((0.005, 100.0), OutlierBy::Latency, 6, "twice as slow"),
        ((0.005, 250.0), OutlierBy::Latency, 3, "five times as slow"),
    ] {
        let mut world = World::new(7);
        let mut tasks = vec![GOOD; 10];
        for _ in 0..30 {
            assert_eq!(world.batch(&tasks, 100), [], "{why}: all are well");
        }
        tasks[3] = bad;
        let named = (1..=most).find(|_| !world.batch(&tasks, 100).is_empty());
        assert!(named.is_some(), "{why}: nobody was named in {most} batches");
        for _ in 0..20 {
            assert_eq!(world.batch(&tasks, 100), [(3, by)], "{why}");
        }
        tasks[3] = GOOD;
        let well = (1..=20).find(|_| world.batch(&tasks, 100).is_empty());
        assert!(
            well.is_some_and(|batches| batches >= CLEAR / 3),
            "{why}: {well:?}"
        );
    }
}

#[test]
fn of_two_replicas_the_bad_one_is_named_and_a_single_one_has_no_siblings() {
    let mut world = World::new(3);
    for _ in 0..30 {
        world.batch(&[GOOD, GOOD], 50);
    }
    for _ in 0..30 {
        world.batch(&[GOOD, (0.3, 200.0)], 50);
    }
    let found = world.watch.findings();
    let named: Vec<_> = found
        .iter()
        .map(|found| (found.address, found.by))
        .collect();
    assert_eq!(
        named,
        [
            (address(1), OutlierBy::Errors),
            (address(1), OutlierBy::Latency)
        ]
    );
    let text = found[0].sentence("task t1 on worker-1", "revision 3");
    assert!(
        text.contains("task t1 on worker-1 answers ")
            && text.contains("the other task of revision 3"),
        "{text}"
    );
    let text = found[1].sentence("task t1", "revision 3");
    assert!(text.contains("of its answers take over "), "{text}");

    let mut alone = World::new(3);
    for _ in 0..60 {
        assert_eq!(alone.batch(&[(0.5, 50.0)], 50), []);
    }
}

#[test]
fn an_outage_of_all_of_them_a_quiet_task_and_a_slow_hour_accuse_nobody() {
    let mut world = World::new(11);
    for (tasks, requests) in [
        (vec![GOOD; 10], 100),
        (vec![(0.9, 50.0); 10], 100),
        (vec![(0.02, 400.0); 10], 300),
        (vec![GOOD; 10], 2),
    ] {
        for _ in 0..30 {
            assert_eq!(world.batch(&tasks, requests), []);
        }
    }
    // A task that has gone is no outlier, and no memory.
    world.counted.remove(&address(9));
    for _ in 0..10 {
        world.batch(&[GOOD; 9], 50);
    }
    assert_eq!(world.watch.revisions["r1"].tasks.len(), 9);
}

#[test]
fn a_few_milliseconds_accuse_nobody() {
    let mut world = World::new(13);
    let mut tasks = vec![(0.0, 1.0); 4];
    tasks[2].1 = 3.0;
    for _ in 0..60 {
        assert_eq!(world.batch(&tasks, 50), []);
    }
}

#[test]
fn what_was_named_before_a_restart_stays_until_it_is_well() {
    let mut world = World::new(5);
    let named = ("r1".to_owned(), address(2), OutlierBy::Errors);
    world.watch.resume([named]);
    for batch in 1..30 {
        let found = world.batch(&[GOOD; 4], 50);
        assert_eq!(found.is_empty(), batch >= CLEAR, "{batch}: {found:?}");
    }
}

/// The promise itself, at a scale that can be simulated: at the very edge of what is tolerated, a detector takes on average
/// at least `c` batches to reach `c`.
#[test]
fn a_task_at_the_edge_of_the_tolerance_is_accused_less_than_once_in_c_batches() {
    const C: f64 = 60.0;
    let mut draws = Draws(1);
    for (stable, n_c, n_s) in [(0.005, 20, 180), (0.05, 5, 45), (0.0, 30, 30)] {
        let edge = RATIO * stable + MARGIN;
        let (runs, mut batches) = (120, 0u32);
        for _ in 0..runs {
            let mut detector = Detector::default();
            for _ in 0..2_000 {
                batches += 1;
                let counts = Counts {
                    x: draws.binomial(n_c, edge),
                    y: draws.binomial(n_s, stable),
                    n_c,
                    n_s,
                };
                if detector.add(RATIO, MARGIN, counts) >= C.ln() {
                    break;
                }
            }
        }
        let mean = f64::from(batches) / f64::from(runs);
        assert!(mean >= C, "{mean} batches at {stable}");
    }
}

#[test]
fn ten_healthy_tasks_are_left_alone_for_days() {
    let mut world = World::new(42);
    // Unequal, but within the tolerance: one of them is half as bad again as the others.
    let mut tasks = vec![(0.01, 0.0); 10];
    tasks[0].0 = 0.015;
    for batch in 0..2 * 8_640 {
        let found = world.batch(&tasks, 10);
        assert_eq!(found, [], "after {} s", batch * 10);
    }
}
