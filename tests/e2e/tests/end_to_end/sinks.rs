//! Signals in a real InfluxDB and a real Prometheus, also after they were away.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use fm_e2e::{Plan, World};
use fm_harness::{free_port, run, until};
use serde_json::Value;
use tokio::process::{Child, Command};

const PASSWORD: &str = "only-for-this-test";

fn start(program: &str, arguments: &[&str], folder: &Path) -> Result<Child> {
    let log = std::fs::File::create(folder.join(format!("{program}.log")))?;
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {program}"))
}

fn influxd(folder: &Path, port: u16, other: u16) -> Result<Child> {
    let file = folder.join("influxdb.conf");
    let at = folder.display();
    std::fs::write(
        &file,
        format!(
            "reporting-disabled = true\nbind-address = \"127.0.0.1:{other}\"\n[meta]\ndir = \"{at}/meta\"\n[data]\ndir = \"{at}/tsm\"\nwal-dir = \"{at}/wal\"\n[http]\nbind-address = \"127.0.0.1:{port}\"\nauth-enabled = true\n[monitor]\nstore-enabled = false\n"
        ),
    )?;
    start("influxd", &["-config", &file.display().to_string()], folder)
}

async fn influx(port: u16, query: &str) -> Result<Value> {
    let address = format!("http://127.0.0.1:{port}/query");
    let login = format!("frd:{PASSWORD}");
    let query = format!("q={query}");
    let arguments = [
        "-sS",
        "--fail",
        "-u",
        &login,
        "--data-urlencode",
        "db=fm",
        "--data-urlencode",
        &query,
        &address,
    ];
    Ok(serde_json::from_str(&run("curl", &arguments).await?)?)
}

/// Requests of revisions in the database, and the number of spans that hold any.
async fn kept(port: u16) -> Option<(f64, usize)> {
    let query = "SELECT sum(requests) FROM fridaymorning WHERE endpoint = '' AND cluster = 'here' GROUP BY time(1s) fill(none)";
    let answer = influx(port, query).await.ok()?;
    let rows = answer["results"][0]["series"][0]["values"]
        .as_array()?
        .clone();
    let spans = rows
        .iter()
        .filter(|row| row[1].as_f64() > Some(0.0))
        .count();
    Some((rows.iter().filter_map(|row| row[1].as_f64()).sum(), spans))
}

async fn metric(world: &World, name: &str, sink: &str) -> Option<f64> {
    let socket = world.stack.socket().display().to_string();
    let arguments = [
        "-sS",
        "--fail",
        "--unix-socket",
        &socket,
        "http://frd/metrics",
    ];
    let text = run("curl", &arguments).await.ok()?;
    let wanted = format!("fridaymorning_sink_points_{name}{{sink=\"{sink}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&wanted))?;
    line.parse().ok()
}

#[tokio::test]
async fn signals_reach_influxdb_and_prometheus_also_after_they_were_away() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (tsdb, other, prometheus) = (free_port()?, free_port()?, free_port()?);
    std::fs::write(folder.path().join("password"), format!("{PASSWORD}\n"))?;
    std::fs::write(folder.path().join("prometheus.yml"), "global: {}\n")?;
    std::fs::write(
        folder.path().join("frd.yaml"),
        format!(
            "providers:\n  tsdb: {{ basic: {{ username: frd, file: password }} }}\nsinks:\n  - influx: {{ address: 'http://127.0.0.1:{tsdb}', database: fm }}\n    authRef: tsdb\n    interval: 1s\n    labels: {{ cluster: here }}\n  - remoteWrite: {{ address: 'http://127.0.0.1:{prometheus}/api/v1/write' }}\n    name: prometheus\n    interval: 1s\n    labels: {{ cluster: here }}\n"
        ),
    )?;
    let mut database = influxd(folder.path(), tsdb, other)?;
    let user = format!("q=CREATE USER frd WITH PASSWORD '{PASSWORD}' WITH ALL PRIVILEGES");
    let address = format!("http://127.0.0.1:{tsdb}/query");
    until("InfluxDB", Duration::from_secs(30), || async {
        run(
            "curl",
            &["-sS", "--fail", "--data-urlencode", &user, &address],
        )
        .await
        .ok()
    })
    .await?;
    influx(tsdb, "CREATE DATABASE fm").await?;
    let listen = format!("--web.listen-address=127.0.0.1:{prometheus}");
    let (config, storage) = (at("prometheus.yml"), at("prometheus"));
    let arguments = [
        "--web.enable-remote-write-receiver",
        &listen,
        &format!("--config.file={config}"),
        &format!("--storage.tsdb.path={storage}"),
    ];
    let mut receiver = start("prometheus", &arguments, folder.path())?;

    let mut world = World::with(None, &["--config", &at("frd.yaml")]).await?;
    let plan = Plan {
        replicas: 1,
        ..Plan::default()
    };
    world.first(&plan).await?;
    let load = world.load(&plan, 50);
    until("requests in InfluxDB", Duration::from_secs(30), || async {
        kept(tsdb).await.filter(|(requests, _)| *requests > 50.0)
    })
    .await?;
    let ask = format!(
        "http://127.0.0.1:{prometheus}/api/v1/query?query=sum(fridaymorning_requests_total%7Bcluster%3D%22here%22%2Cclass%3D%222xx%22%7D)"
    );
    until(
        "requests in Prometheus",
        Duration::from_secs(30),
        || async {
            let answer: Value =
                serde_json::from_str(&run("curl", &["-sS", &ask]).await.ok()?).ok()?;
            let value: f64 = answer["data"]["result"][0]["value"][1]
                .as_str()?
                .parse()
                .ok()?;
            (value > 50.0).then_some(())
        },
    )
    .await?;

    // Away: everything goes on, and what waited is written in the end.
    database.kill().await?;
    receiver.kill().await?;
    until("points to wait", Duration::from_secs(20), || async {
        let waiting = metric(&world, "waiting", "influx 127.0.0.1").await?;
        let other = metric(&world, "waiting", "prometheus").await?;
        (waiting > 4.0 && other > 4.0).then_some(())
    })
    .await?;
    let served = load.samples(|_| true).len();
    let _database = influxd(folder.path(), tsdb, other)?;
    let _receiver = start("prometheus", &arguments, folder.path())?;
    until(
        "nothing to wait any more",
        Duration::from_secs(60),
        || async {
            let mut waiting = 0.0;
            for sink in ["influx 127.0.0.1", "prometheus"] {
                waiting += metric(&world, "waiting", sink).await?;
            }
            (waiting < 40.0).then_some(())
        },
    )
    .await?;
    until(
        "what waited in InfluxDB",
        Duration::from_secs(30),
        || async {
            kept(tsdb)
                .await
                .filter(|(requests, _)| *requests >= served as f64 * 0.98)
        },
    )
    .await?;
    for sink in ["influx 127.0.0.1", "prometheus"] {
        assert_eq!(
            metric(&world, "lost_total", sink).await,
            Some(0.0),
            "{sink}"
        );
        assert!(
            metric(&world, "written_total", sink).await > Some(5.0),
            "{sink}"
        );
    }
    load.stop().await;
    world.end().await;
    Ok(())
}
