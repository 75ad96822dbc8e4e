use std::sync::Arc;

use fm_api::criteria::Analysis;
use fm_api::keys::ReleaseKey;
use fm_api::observed::{Endpoint, FailureKind, HaproxyRevision, SwarmRevision, TaskFailure};
use fm_api::quantity::{Span, Weight};
use fm_api::target::{AnalysisTarget, Slot, Target, Traffic};
use fm_api::verdict::{Decision, Verdict};
use fm_telemetry::counters::{Counters, Snapshot};
use fm_telemetry::{Pulled, SourceError};
use proptest::prelude::*;

use super::*;
use crate::run::{Identity, Run};

const CANARY: &str = "bbbb";
const STABLE: &str = "aaaa";

fn at(second: u64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second as i64)
}

fn kind(text: &str) -> Kind {
    text.parse().unwrap()
}

/// Some edges, what they have counted, and one run that looks at them.
struct World {
    target: Target,
    edges: Vec<(Counters, Counters)>,
    /// Edges that cannot be asked now.
    silent: Vec<bool>,
    views: Views,
    run: Run,
    second: u64,
    verdict: Verdict,
}

impl World {
    fn of(edges: usize) -> Self {
        let (stable, canary) = (RevisionId::new(STABLE), RevisionId::new(CANARY));
        let mut target: Target = serde_json::from_value(serde_json::json!({
            "uid": "u", "generation": 1, "specGeneration": 1,
        }))
        .unwrap();
        target.traffic = Some(Traffic {
            stable: stable.clone(),
            canary: Some(canary.clone()),
            weight: Weight::percent(20),
            mirror: Weight::ZERO,
            seed: "0badcafe".into(),
            generation: 1,
        });
        let analysis = AnalysisTarget {
            run: "run".into(),
            canary,
            stable,
            criteria: Analysis::default(),
            criteria_hash: "hash".into(),
            worker: false,
            request_timeout: Span::secs(30),
            last_hold: Span::secs(60),
            since: Some(at(0)),
            awaiting_since: None,
            step: None,
        };
        let identity = Identity::of(&target, &analysis, None);
        let mut run = Run::new(identity, (&target, &analysis), None, at(0));
        let verdict = run.begin(&target, &analysis, at(0));
        target.analysis = Some(analysis);
        let mut world = Self {
            target,
            edges: vec![Default::default(); edges],
            silent: vec![false; edges],
            views: Views::default(),
            run,
            second: 0,
            verdict,
        };
        world.look();
        world
    }

    fn ask(&mut self, edge: usize, side: &str, how: &str, count: u64) {
        let (canary, stable) = &mut self.edges[edge];
        let counters = if side == CANARY { canary } else { stable };
        let kind = kind(how);
        counters.requests += count;
        counters.bad += if kind.is_bad() { count } else { 0 };
        counters.outcomes.add(kind, count);
    }

    /// A second of good traffic at an edge.
    fn well(&mut self, edge: usize) {
        self.ask(edge, CANARY, "200/answered/-", 20);
        self.ask(edge, STABLE, "200/answered/-", 80);
    }

    fn look(&mut self) -> Decision {
        let answers = self.edges.iter().zip(&self.silent).enumerate();
        let answers = answers.map(|(n, ((canary, stable), silent))| {
            let instance = format!("edge-{n}");
            if *silent {
                let message = "no answer".into();
                return Err(SourceError { instance, message });
            }
            let sides = [(CANARY, canary), (STABLE, stable)];
            let sides = sides.map(|(name, counters)| (name.to_owned(), counters.clone()));
            Ok(Snapshot {
                instance,
                epoch: "1".into(),
                releases: BTreeMap::from([("default/shop".to_owned(), BTreeMap::from(sides))]),
                ..Snapshot::default()
            })
        });
        let pulled = Pulled {
            at: at(self.second),
            answers: answers.collect(),
            usage: Arc::default(),
        };
        let key = ReleaseKey::new("default", "shop");
        let analysis = self.target.analysis.as_ref().unwrap();
        let asks = self.run.asks(&key, analysis, &pulled);
        let nobody = Views::default();
        let views = if asks { &self.views } else { &nobody };
        let now = at(self.second);
        let news = self.run.count(&key, analysis, &pulled, views, now);
        if let Some(verdict) = self.run.tick(&self.target, analysis, now) {
            self.verdict = verdict;
        } else if news {
            self.verdict = self.run.between(&self.target, analysis, now);
        }
        self.second += 1;
        self.verdict.decision
    }

    /// Canary's requests that counted, and the bad ones among them.
    fn counted(&self) -> (u64, u64) {
        let counted = self.verdict.metrics[0].canary;
        (counted.requests, counted.bad)
    }

    fn healthy(&mut self, edge: usize, revision: &str, healthy: u32) {
        let seen = self.views.edges.entry(format!("edge-{edge}")).or_default();
        let servers = HaproxyRevision {
            slot: Slot::B,
            servers: 1,
            healthy,
            draining: 0,
            open: 0,
            down: Vec::new(),
        };
        seen.revisions.insert(RevisionId::new(revision), servers);
    }

    fn swarm(&mut self, ready: usize, died: Option<u64>) {
        let failure = |second| TaskFailure {
            kind: FailureKind::Crashed,
            message: "task: non-zero exit (1)".into(),
            task: None,
            exit_code: Some(1),
            at: at(second),
        };
        let endpoint = Endpoint {
            task: "t".into(),
            node: "n".into(),
            addresses: BTreeMap::new(),
        };
        let seen = SwarmRevision {
            ready: vec![endpoint; ready],
            failures: died.map(failure).into_iter().collect(),
            ..SwarmRevision::default()
        };
        let seen = BTreeMap::from([(RevisionId::new(CANARY), seen)]);
        self.views.swarm = Some(SwarmObserved {
            revisions: seen,
            ..SwarmObserved::default()
        });
    }

    /// Seconds until the canary is taken back.
    fn until_harm(&mut self, mut second: impl FnMut(&mut World)) -> u64 {
        for taken in 1..60 {
            second(self);
            if self.look() == Decision::Rollback {
                return taken;
            }
        }
        panic!("no harm is found: {}", self.verdict.sentence);
    }
}

/// What an edge that is cut off from the canary sees of it: answers that never come, no connection, then only stable.
fn cut(world: &mut World, edge: usize, second: u64) {
    match second {
        0 => world.ask(edge, CANARY, "504/server/-/sH", 5),
        1 | 2 => world.ask(edge, CANARY, "503/server/-/SC", 10),
        3 => world.ask(edge, CANARY, "425/server/-/SH", 15),
        _ => {}
    }
    if second > 0 {
        world.ask(edge, CANARY, "0/fallback/-", 20);
    }
    world.ask(edge, STABLE, "200/answered/-", 100);
}

#[test]
fn an_edge_that_is_cut_off_takes_no_healthy_canary_back() {
    for unreadable in [false, true] {
        let mut world = World::of(2);
        for _ in 0..20 {
            world.well(0);
            world.well(1);
            world.look();
        }
        assert_eq!(world.counted(), (800, 0));
        for second in 0..20 {
            world.well(0);
            cut(&mut world, 1, second);
            // Its counters may not be read either, and come all at once when it is back.
            world.silent[1] = unreadable;
            let decision = world.look();
            assert_eq!(decision, Decision::Wait, "{}", world.verdict.sentence);
            if second > 6 && !unreadable {
                let told = &world.verdict.cut_off["edge-1"];
                assert!(
                    told.contains("edge-1 does not reach the tasks of the canary, and edge-0 does"),
                    "{told}"
                );
                assert!(
                    world.verdict.sentence.contains("edge-1"),
                    "{}",
                    world.verdict.sentence
                );
            }
        }
        world.silent[1] = false;
        for _ in 0..30 {
            world.well(0);
            world.well(1);
            assert_ne!(
                world.look(),
                Decision::Rollback,
                "{}",
                world.verdict.sentence
            );
        }
        assert!(
            world.verdict.cut_off.is_empty(),
            "{:?}",
            world.verdict.cut_off
        );
        assert_eq!(world.counted(), (20 * 40 + 20 * 20 + 30 * 40, 0));
    }
}

#[test]
fn a_canary_that_dies_at_every_edge_goes_as_soon_as_with_one() {
    let dead = |world: &mut World| {
        for edge in 0..world.edges.len() {
            cut(world, edge, 9);
        }
    };
    let mut taken = Vec::new();
    for edges in [1, 2, 5] {
        let mut world = World::of(edges);
        for _ in 0..20 {
            (0..edges).for_each(|edge| world.well(edge));
            world.look();
        }
        taken.push(world.until_harm(dead));
    }
    assert!(taken.iter().all(|taken| *taken <= 2), "{taken:?}");
}

#[test]
fn who_has_no_requests_sees_it_by_its_checks_and_swarm_sees_it_too() {
    let ways: [fn(&mut World); 3] = [
        |world| world.healthy(0, CANARY, 0),
        |world| world.swarm(0, None),
        |world| world.swarm(1, Some(18)),
    ];
    for (way, see) in ways.iter().enumerate() {
        let mut world = World::of(2);
        world.healthy(0, CANARY, 1);
        world.swarm(1, None);
        for _ in 0..20 {
            world.well(1);
            world.look();
        }
        see(&mut world);
        let taken = world.until_harm(|world| cut(world, 1, 9));
        assert!(taken <= 3, "{way}: {taken}");
    }
    // What only checks tell takes some seconds more, and then it is the edge.
    let mut world = World::of(2);
    world.healthy(0, CANARY, 1);
    world.swarm(1, None);
    for second in 0..30 {
        cut(&mut world, 1, second);
        assert_eq!(world.look(), Decision::Wait, "{}", world.verdict.sentence);
    }
    assert_eq!(world.counted(), (0, 0));
    assert!(world.verdict.cut_off.contains_key("edge-1"));
}

#[test]
fn a_single_edge_is_believed_where_it_reaches_stable() {
    let mut world = World::of(1);
    let both = |world: &mut World| {
        world.ask(0, CANARY, "503/server/-/SC", 20);
        world.ask(0, STABLE, "503/server/-/SC", 80);
    };
    for _ in 0..20 {
        world.well(0);
        world.look();
    }
    for second in 0..20 {
        both(&mut world);
        assert_eq!(world.look(), Decision::Wait, "{}", world.verdict.sentence);
        if second > 4 {
            assert!(world.verdict.cut_off["edge-0"].contains("neither side"));
        }
    }
    assert_eq!(world.counted(), (400, 0));
    assert!(world.until_harm(|world| cut(world, 0, 9)) <= 3);
}

#[test]
fn what_a_task_answered_itself_counts_wherever_the_edge_stands() {
    let mut world = World::of(2);
    for second in 0..10 {
        world.well(0);
        cut(&mut world, 1, second);
        world.look();
    }
    assert_eq!(world.counted().1, 0);
    let taken = world.until_harm(|world| {
        world.well(0);
        world.ask(1, CANARY, "500/answered/-", 20);
        world.ask(1, CANARY, "0/fallback/-", 5);
        world.ask(1, STABLE, "200/answered/-", 80);
    });
    assert!(taken <= 3, "{taken}");
}

#[test]
fn tasks_that_take_requests_and_do_not_answer_them_are_no_edges_fault() {
    // Only one edge has such requests: nobody else can see it, and a connection there was each time.
    for gets in [0, 5] {
        let mut world = World::of(2);
        world.healthy(0, CANARY, 1);
        world.healthy(1, CANARY, 1);
        let taken = world.until_harm(|world| {
            world.well(0);
            world.ask(1, CANARY, "502/server/-/SH", 15);
            world.ask(1, CANARY, "200/answered/-", gets);
            world.ask(1, STABLE, "200/answered/-", 80);
        });
        assert!(taken <= 6, "{gets}: {taken}");
    }
}

#[test]
fn stable_is_not_blamed_either_nor_for_a_haproxy_without_a_socket() {
    for how in ["0/fallback/-", "503/server/-/SC", "503/proxy/-/RC"] {
        let mut world = World::of(2);
        for _ in 0..15 {
            world.well(0);
            world.ask(1, CANARY, "200/answered/-", 20);
            world.ask(1, STABLE, how, 80);
            world.look();
        }
        let stable = world.verdict.metrics[0].stable;
        assert_eq!(stable.bad, 0, "{how}");
        let told = &world.verdict.cut_off["edge-1"];
        assert!(told.contains("the tasks of stable"), "{told}");
    }
}

#[test]
fn a_connection_that_fails_now_and_then_is_not_worth_a_word() {
    let mut world = World::of(2);
    for second in 0..40 {
        world.well(0);
        world.well(1);
        let failed = u64::from(second % 10 == 5);
        world.ask(1, CANARY, "503/server/-/SC", failed);
        world.look();
        assert!(world.verdict.cut_off.is_empty());
    }
    assert_eq!(world.counted().1, 0);
}

#[test]
fn it_is_believed_again_once_it_reaches_them() {
    let mut world = World::of(2);
    for second in 0..10 {
        world.well(0);
        cut(&mut world, 1, second);
        world.look();
    }
    assert!(!world.verdict.cut_off.is_empty());
    let before = world.counted();
    for _ in 0..12 {
        world.well(0);
        world.well(1);
        world.look();
    }
    assert!(world.verdict.cut_off.is_empty());
    assert_eq!(world.counted(), (before.0 + 12 * 40, 0));
    // The other edge cannot be asked for a moment: it is still not alone.
    cut(&mut world, 1, 9);
    world.silent[0] = true;
    world.look();
    world.silent[0] = false;
    for second in 1..10 {
        world.well(0);
        cut(&mut world, 1, second);
        assert_ne!(world.look(), Decision::Rollback);
    }
    assert_eq!(world.counted().1, 0);
}

/// One second at one edge: is it cut off, and how many errors does the canary answer there?
type Second = [(bool, u64); 3];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Three edges of which at most one is cut off at a time, whichever and whenever: what tasks answered counts to the request
    /// once it is over, and nothing that no task answered.
    #[test]
    fn laws(script in proptest::collection::vec((0usize..4, [0u64..2, 0u64..2, 0u64..2]), 1..12)) {
        let mut world = World::of(3);
        let (mut answered, mut errors) = (0, 0);
        let seconds = script.iter().flat_map(|(cut, errors)| {
            let one: Second = [0, 1, 2].map(|edge| (*cut == edge, errors[edge]));
            // Each lasts for some seconds, and is over before the next one.
            std::iter::repeat_n(one, 4).chain(std::iter::repeat_n([(false, 0); 3], 12))
        });
        for second in seconds {
            for (edge, (cut, bad)) in second.into_iter().enumerate() {
                if cut {
                    world.ask(edge, CANARY, "0/fallback/-", 20);
                    world.ask(edge, STABLE, "200/answered/-", 80);
                } else {
                    world.well(edge);
                    world.ask(edge, CANARY, "500/answered/-", bad);
                    answered += 20 + bad;
                    errors += bad;
                }
            }
            world.look();
        }
        // Batches close once in ten seconds at the latest.
        for _ in 0..12 {
            world.look();
        }
        prop_assert_eq!(world.counted(), (answered, errors));
    }
}
