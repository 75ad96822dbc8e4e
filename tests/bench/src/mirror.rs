//! What mirroring costs each request: HAProxy's processor for one, where a manifest mirrors nothing, where one does and nothing is
//! copied now, and where a tenth is; in turns, by `wrk`. And `frd`'s processor for each copy.

use anyhow::{Context, Result};
use fm_e2e::{Plan, World, runs};

use crate::proxy::{ticks, wrk};
use crate::record::{Record, quantile};

const ROUNDS: usize = 5;
/// The hosts: a release without a mirror, one that mirrors next to nothing, and one that mirrors a tenth.
const HOSTS: [(&str, &str); 2] = [("shop.example.com", "0.01"), ("tenth.example.com", "10")];

fn plan(name: &str, host: &str, steps: String) -> Plan {
    Plan {
        name: name.into(),
        host: host.into(),
        replicas: 1,
        steps,
        analysis: "{ disabled: true }".into(),
        ..Plan::default()
    }
}

pub(crate) async fn measure(record: &mut Record) -> Result<()> {
    let (mut plain, mut mirrors) = (World::new(None).await?, World::new(None).await?);
    let outcome = measure_in(&mut plain, &mut mirrors, record).await;
    plain.end().await;
    mirrors.end().await;
    outcome
}

async fn measure_in(plain: &mut World, mirrors: &mut World, record: &mut Record) -> Result<()> {
    plain
        .first(&plan("shop", HOSTS[0].0, "[{ weight: 50 }]".into()))
        .await?;
    for (name, (host, share)) in ["shop", "tenth"].into_iter().zip(HOSTS) {
        let plan = plan(
            name,
            host,
            format!("[{{ mirror: {share}, hold: 1h }}, {{ weight: 50 }}]"),
        );
        mirrors.first(&plan).await?;
        mirrors.apply(&plan, "v2").await?;
        mirrors
            .wait(&plan, "copies to be sent", 60, |view| {
                runs(&view["status"]["canary"], "v2") && view["status"]["reason"] == "Holding"
            })
            .await?;
    }
    let folder = tempfile::tempdir()?;
    let script = |host: &str| -> Result<_> {
        let file = folder.path().join(host);
        std::fs::write(&file, include_str!("users.lua").replace(HOSTS[0].0, host))?;
        Ok(file)
    };
    let (shop, tenth) = (script(HOSTS[0].0)?, script(HOSTS[1].0)?);
    let pid = |world: &World| {
        world
            .stack
            .haproxy_pids()
            .last()
            .copied()
            .context("no HAProxy")
    };
    let ways = [
        (plain.stack.port(), pid(plain)?, &shop),
        (mirrors.stack.port(), pid(mirrors)?, &shop),
        (mirrors.stack.port(), pid(mirrors)?, &tenth),
    ];
    let frd = mirrors.stack.frd_pid().context("no frd")?;
    let (mut costs, mut agent) = ([const { Vec::new() }; 3], Vec::new());
    for _ in 0..ROUNDS {
        for (place, (port, pid, script)) in ways.iter().enumerate() {
            let before = (ticks(*pid)?, ticks(frd)?);
            let requests = wrk(*port, script).await? * 5.0;
            costs[place].push((ticks(*pid)? - before.0) * 10_000.0 / requests);
            if place == 2 {
                agent.push((ticks(frd)? - before.1) * 10_000.0 / requests);
            }
        }
    }
    let [plain, ready, tenth] = costs.map(|all| quantile(&all, 0.5));
    record.add(
        "mirror_ready_cpu_per_request",
        ready,
        "us",
        Some(plain),
        "for the record",
    )?;
    record.add(
        "mirror_tenth_cpu_per_request",
        tenth,
        "us",
        Some(plain),
        "for the record",
    )?;
    let name = "mirror_tenth_frd_cpu_per_request";
    record.add(name, quantile(&agent, 0.5), "us", None, "for the record")
}
