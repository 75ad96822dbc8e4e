//! What deciding costs: a thousand running analyses, each a second further, and the memory of each.
//!
//! No system takes part: the traffic is made up, seeded, and given to the analysis as an agent's counters. Time is the
//! processor's, of this thread, so that other work on the machine does not count.

use anyhow::{Context, Result, ensure};
use fm_analysis::reach::Views;
use fm_analysis::run::{Identity, Run};
use fm_api::criteria::Analysis;
use fm_api::keys::{ReleaseKey, RevisionId};
use fm_api::quantity::{Span, Weight};
use fm_api::target::{AnalysisTarget, Target, Traffic};
use fm_telemetry::Pulled;
use fm_telemetry::counters::{Counters, Snapshot};
use fm_telemetry::outcomes::{End, Kind};
use jiff::{SignedDuration, Timestamp};

use crate::record::{Record, quantile};

const RELEASES: usize = 1000;
/// Enough that windows and histograms are full.
const WARM: u64 = 70;
const MEASURED: u64 = 30;

/// One release under analysis.
struct One {
    key: ReleaseKey,
    target: Target,
    analysis: AnalysisTarget,
    run: Run,
}

/// Measures, where each release has so many canary requests a second and nineteen times as many of stable.
pub(crate) fn measure(record: &mut Record) -> Result<()> {
    for (name, canary, goal) in [
        ("decide_1000_releases", 1, "<= 5 ms"),
        ("decide_1000_releases_busy", 10, "for the record"),
    ] {
        let before = resident()?;
        let mut world = World::new()?;
        let traffic = resident()?;
        let mut millis = Vec::new();
        let mut verdicts = 0;
        for second in 1..=WARM + MEASURED {
            world.serve(canary);
            let begun = processor()?;
            let written = world.decide(second)?;
            let took = (processor()? - begun) / 1e6;
            if second > WARM {
                millis.push(took);
                verdicts += written;
            }
        }
        let closed = verdicts as f64 / MEASURED as f64;
        eprintln!("  {name}: {closed:.0} verdicts a second, as bytes for the store");
        record.add(name, quantile(&millis, 0.5), "ms", None, goal)?;
        let memory = (resident()? - traffic) / RELEASES as f64;
        ensure!(traffic >= before && memory > 0.0, "nothing was measured");
        let name = name.replace("decide_1000_releases", "memory_per_release_analysed");
        record.add(&name, memory / 1024.0, "KiB", None, "<= 64 KiB")?;
    }
    Ok(())
}

struct World {
    pulled: Pulled,
    releases: Vec<One>,
    drawn: u64,
}

impl World {
    fn new() -> Result<Self> {
        let mut snapshot = Snapshot {
            instance: "edge".into(),
            epoch: "1".into(),
            ..Snapshot::default()
        };
        let releases = (0..RELEASES).map(|n| {
            let key = ReleaseKey::new("default", &format!("shop-{n}"));
            let revisions = ["canary", "stable"].map(|side| (side.to_owned(), Counters::default()));
            snapshot.releases.insert(key.to_string(), revisions.into());
            one(key)
        });
        let releases = releases.collect::<Result<_>>()?;
        Ok(Self {
            pulled: Pulled {
                at: at(0),
                answers: vec![Ok(snapshot)],
                usage: std::sync::Arc::default(),
            },
            releases,
            drawn: 1,
        })
    }

    /// A second of traffic for all.
    fn serve(&mut self, canary: u64) {
        let Some(Ok(snapshot)) = self.pulled.answers.first_mut() else {
            return;
        };
        for revisions in snapshot.releases.values_mut() {
            for (side, counters) in revisions {
                let requests = if side == "canary" {
                    canary
                } else {
                    19 * canary
                };
                for _ in 0..requests {
                    one_request(counters, &mut self.drawn);
                }
                snapshot.log.lines += requests;
            }
        }
    }

    /// Everything that is done for a second, up to the bytes that the store is given. How many verdicts there were.
    fn decide(&mut self, second: u64) -> Result<usize> {
        let now = at(second);
        let mut written = 0;
        for one in &mut self.releases {
            let views = Views::default();
            one.run
                .count(&one.key, &one.analysis, &self.pulled, &views, now);
            if let Some(verdict) = one.run.tick(&one.target, &one.analysis, now) {
                let bytes = one.run.stored(&verdict)?;
                ensure!(bytes.len() > 100, "an empty verdict");
                written += 1;
            }
        }
        Ok(written)
    }
}

fn at(second: u64) -> Timestamp {
    let since = SignedDuration::from_secs(i64::try_from(second).unwrap_or(i64::MAX));
    Timestamp::UNIX_EPOCH + since
}

fn one(key: ReleaseKey) -> Result<One> {
    let revision = |name: &str| RevisionId::new(name);
    let analysis = AnalysisTarget {
        run: "run".into(),
        canary: revision("canary"),
        stable: revision("stable"),
        criteria: Analysis::default(),
        worker: false,
        criteria_hash: "hash".into(),
        request_timeout: Span::secs(30),
        last_hold: Span::secs(60),
        since: Some(at(0)),
        awaiting_since: None,
        step: None,
    };
    let mut target: Target = serde_json::from_value(serde_json::json!({
        "uid": "u", "generation": 1, "specGeneration": 1,
    }))?;
    target.traffic = Some(Traffic {
        stable: revision("stable"),
        canary: Some(revision("canary")),
        weight: Weight::percent(5),
        mirror: Weight::ZERO,
        seed: "0badcafe".into(),
        generation: 1,
    });
    target.analysis = Some(analysis.clone());
    let identity = Identity::of(&target, &analysis, None);
    Ok(One {
        run: Run::new(identity, (&target, &analysis), None, at(0)),
        key,
        target,
        analysis,
    })
}

/// An answer, good but for one in 200, some 50 ms after its request, four times longer at most.
fn one_request(counters: &mut Counters, drawn: &mut u64) {
    *drawn = drawn
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    let draw = |shift: u32| ((*drawn >> shift) & 0xff) as f64 / 255.0;
    let bad = *drawn >> 40 & 0xff == 0;
    let status = match *drawn >> 48 & 0x1f {
        _ if bad => 500,
        0 => 404,
        1 => 304,
        _ => 200,
    };
    let kind = Kind {
        status,
        end: End::Answered,
        grpc: None,
        state: None,
    };
    counters.requests += 1;
    counters.bad += u64::from(bad);
    counters.outcomes.add(kind, 1);
    if !bad {
        // Near enough to what services do: most are close to the middle, a few take much longer.
        let spread = draw(8) + draw(16) + draw(24) + draw(32) - 2.0;
        counters.latency.record((50.0 * spread.exp()).floor());
    }
}

/// Nanoseconds that this thread has had of a processor.
fn processor() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let first = text
        .split_whitespace()
        .next()
        .context("schedstat is empty")?;
    Ok(first.parse()?)
}

/// Bytes of this process that are in memory.
fn resident() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/self/statm")?;
    let pages = text.split_whitespace().nth(1).context("statm is empty")?;
    Ok(pages.parse::<f64>()? * 4096.0)
}
