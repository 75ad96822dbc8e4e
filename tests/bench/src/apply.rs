//! From `frctl apply` of a new step weight to HAProxy answering with it, on both stores, against one etcd put and one
//! runtime command on the same socket in the same run.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use fm_e2e::{Plan, World, in_force};
use fm_harness::etcd::Etcd;
use fm_store::{Store, Txn};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::record::{Record, quantile};

const ROUNDS: u16 = 100;
/// Long enough for what follows from a change to be stored too.
const BETWEEN: Duration = Duration::from_millis(150);

pub(crate) async fn measure(record: &mut Record) -> Result<()> {
    let etcd = Etcd::start().await?;
    for (name, url) in [("embedded", None), ("etcd", Some(etcd.url()))] {
        let mut world = World::new(url.as_deref()).await?;
        let outcome = one_store(&mut world, &etcd.url()).await;
        world.end().await;
        let (ours, baseline) = outcome?;
        record.add(
            &format!("apply_to_weight_p99_{name}"),
            quantile(&ours, 0.99),
            "ms",
            Some(quantile(&baseline, 0.99)),
            "<= 3x",
        )?;
        record.add(
            &format!("apply_to_weight_p50_{name}"),
            quantile(&ours, 0.5),
            "ms",
            Some(quantile(&baseline, 0.5)),
            "for the record",
        )?;
    }
    Ok(())
}

async fn one_store(world: &mut World, etcd: &str) -> Result<(Vec<f64>, Vec<f64>)> {
    let plan = |weight: f64| Plan {
        steps: format!("[{{ weight: {weight}, hold: 1h }}]"),
        ..Plan::default()
    };
    world.first(&plan(1.0)).await?;
    world.apply(&plan(1.0), "v2").await?;
    world
        .wait(&plan(1.0), "the canary to have its weight", 60, |view| {
            in_force(view) == Some(1.0)
        })
        .await?;
    let socket = admin_socket(&world.stack.haproxy_folder())?;
    let map = world.stack.haproxy_folder().join("maps/split.map");
    let map = if map.exists() {
        map
    } else {
        find(&world.stack.haproxy_folder(), "split.map")?
    };
    let store = fm_store::etcd::connect(fm_store::etcd::Options {
        endpoints: vec![etcd.to_owned()],
        ..Default::default()
    })
    .await?;
    let (mut ours, mut baseline) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        // Each weight is new, so that seeing it means that this very apply is in force.
        let points = 200 + round;
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("shop.yaml");
        std::fs::write(
            &file,
            world.manifest(&plan(f64::from(points) / 100.0), "v2"),
        )?;
        let started = Instant::now();
        let (at, of) = (socket.clone(), map.clone());
        let seen = tokio::task::spawn_blocking(move || see(&at, &of, points, started));
        let output = world
            .stack
            .frctl(&["apply", "-f", &file.to_string_lossy()])
            .await?;
        if !output.status.success() {
            bail!("frctl apply: {}", String::from_utf8_lossy(&output.stderr));
        }
        ours.push(seen.await??);
        baseline.push(put_and_command(&*store, &socket, &map).await?);
        // What follows from a change (reports, events) belongs to it and not to the next.
        tokio::time::sleep(BETWEEN).await;
    }
    Ok((ours, baseline))
}

/// Milliseconds until the split map holds this weight; asks over one connection, so that asking costs little.
fn see(socket: &Path, map: &Path, points: u16, started: Instant) -> Result<f64> {
    let wanted = format!("|{points}|");
    let question = format!("show map {}\n", map.display());
    let mut stream = std::os::unix::net::UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"prompt\n")?;
    answer(&mut stream)?;
    loop {
        stream.write_all(question.as_bytes())?;
        if answer(&mut stream)?.contains(&wanted) {
            return Ok(started.elapsed().as_secs_f64() * 1000.0);
        }
        if started.elapsed() > Duration::from_secs(20) {
            bail!("HAProxy never answered with a weight of {points} basis points");
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// What HAProxy answers up to its next prompt.
fn answer(stream: &mut std::os::unix::net::UnixStream) -> Result<String> {
    let (mut text, mut chunk) = (Vec::new(), [0; 4096]);
    while !text.ends_with(b"\n> ") {
        let read = stream.read(&mut chunk)?;
        if read == 0 {
            bail!("HAProxy closed its socket");
        }
        text.extend_from_slice(&chunk[..read]);
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Milliseconds for one put into etcd and one command on HAProxy's socket, one after the other.
async fn put_and_command(store: &dyn Store, socket: &Path, map: &Path) -> Result<f64> {
    let started = Instant::now();
    store
        .commit(Txn::new().put("/bench/put", vec![b'x'; 4096]))
        .await?;
    ask(socket, &format!("set map {} bench 1\n", map.display())).await?;
    Ok(started.elapsed().as_secs_f64() * 1000.0)
}

async fn ask(socket: &Path, command: &str) -> Result<String> {
    let mut stream = UnixStream::connect(socket)
        .await
        .with_context(|| format!("HAProxy's socket {}", socket.display()))?;
    stream.write_all(command.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

fn admin_socket(folder: &Path) -> Result<PathBuf> {
    find(folder, "admin.sock")
}

fn find(folder: &Path, name: &str) -> Result<PathBuf> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)?.flatten() {
            if entry.file_name() == name {
                return Ok(entry.path());
            }
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    bail!("no {name} below {}", folder.display())
}
