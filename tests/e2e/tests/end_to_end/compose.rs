//! A stack's services moved in: imported from a Compose file with every field that people use, and run by Docker as they say.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use fm_e2e::World;
use fm_harness::{run, unique};
use serde_json::{Value, json};

fn compose(image: &str, network: &str, key: &str) -> String {
    format!(
        r#"services:
  web:
    image: {image}
    entrypoint: ["/app"]
    command: ["--quiet"]
    environment: {{ COLOUR: green, PORT: 8080 }}
    user: "1000:1001"
    group_add: ["1002"]
    working_dir: /work
    hostname: "web-{{{{.Task.Slot}}}}"
    init: true
    read_only: true
    tty: true
    stdin_open: true
    stop_signal: SIGTERM
    stop_grace_period: 3s
    cap_drop: [ALL]
    cap_add: [NET_BIND_SERVICE]
    ulimits: {{ nofile: {{ soft: 2000, hard: 4000 }}, nproc: 512 }}
    sysctls: {{ net.ipv4.ip_unprivileged_port_start: 80 }}
    dns: [10.0.0.53]
    dns_search: [example.com]
    dns_opt: ["ndots:2"]
    extra_hosts: ["db.internal:10.0.0.7"]
    labels: {{ com.example.team: edge }}
    networks: {{ back: {{ aliases: [shop-web] }} }}
    logging: {{ driver: json-file, options: {{ max-size: "1m" }} }}
    tmpfs: /run/app
    healthcheck: {{ test: ["CMD", "/app", "health"], interval: 1s, timeout: 1s, retries: 5, start_period: 10s }}
    volumes:
      - {{ type: volume, source: data, target: /data, read_only: true, volume: {{ nocopy: true }} }}
      - {{ type: tmpfs, target: /scratch, tmpfs: {{ size: 1048576, mode: 0700 }} }}
      - {{ type: bind, source: /usr, target: /host, read_only: true }}
    configs: [{{ source: conf, target: /etc/app.conf, mode: 0440 }}]
    secrets: [{{ source: key, target: app.key, uid: "1000", gid: "1001", mode: 0400 }}]
    deploy:
      replicas: 1
      labels: {{ tier: front }}
      restart_policy: {{ condition: any, delay: 1s, window: 30s }}
      resources:
        limits: {{ cpus: "0.25", memory: 64M, pids: 100 }}
        reservations: {{ cpus: "0.01", memory: 8M }}
      placement: {{ constraints: ["node.role == manager"], preferences: [{{ spread: node.labels.zone }}], max_replicas_per_node: 5 }}
configs: {{ conf: {{ content: "listen 80" }} }}
secrets: {{ key: {{ file: {key} }} }}
networks: {{ back: {{ external: true, name: {network} }} }}
volumes: {{ data: {{ driver: local, labels: {{ kept: "no" }} }} }}
"#
    )
}

/// Docker's own words for a container.
const CONTAINER: &[(&str, &str)] = &[
    ("/Config/User", r#""1000:1001""#),
    ("/Config/WorkingDir", r#""/work""#),
    ("/Config/Hostname", r#""web-1""#),
    ("/Config/Tty", "true"),
    ("/Config/OpenStdin", "true"),
    ("/Config/StopSignal", r#""SIGTERM""#),
    ("/Config/Entrypoint", r#"["/app"]"#),
    ("/Config/Cmd", r#"["--quiet"]"#),
    ("/Config/Labels/com.example.team", r#""edge""#),
    ("/Config/Healthcheck/Test", r#"["CMD","/app","health"]"#),
    ("/Config/Healthcheck/StartPeriod", "10000000000"),
    ("/HostConfig/Init", "true"),
    ("/HostConfig/ReadonlyRootfs", "true"),
    ("/HostConfig/GroupAdd", r#"["1002"]"#),
    ("/HostConfig/CapDrop", r#"["ALL"]"#),
    ("/HostConfig/Dns", r#"["10.0.0.53"]"#),
    ("/HostConfig/DnsSearch", r#"["example.com"]"#),
    ("/HostConfig/DnsOptions", r#"["ndots:2"]"#),
    ("/HostConfig/ExtraHosts", r#"["db.internal:10.0.0.7"]"#),
    ("/HostConfig/LogConfig/Type", r#""json-file""#),
    ("/HostConfig/LogConfig/Config/max-size", r#""1m""#),
    ("/HostConfig/PidsLimit", "100"),
    ("/HostConfig/Memory", "67108864"),
    ("/HostConfig/NanoCpus", "250000000"),
    (
        "/HostConfig/Sysctls/net.ipv4.ip_unprivileged_port_start",
        r#""80""#,
    ),
];

/// And for a service.
const SERVICE: &[(&str, &str)] = &[
    ("/Spec/Labels/tier", r#""front""#),
    (
        "/Spec/TaskTemplate/Placement/Constraints",
        r#"["node.role == manager"]"#,
    ),
    ("/Spec/TaskTemplate/Placement/MaxReplicas", "5"),
    (
        "/Spec/TaskTemplate/Placement/Preferences/0/Spread/SpreadDescriptor",
        r#""node.labels.zone""#,
    ),
    (
        "/Spec/TaskTemplate/Resources/Reservations/MemoryBytes",
        "8388608",
    ),
    ("/Spec/TaskTemplate/RestartPolicy/Delay", "1000000000"),
    ("/Spec/TaskTemplate/RestartPolicy/Window", "30000000000"),
    (
        "/Spec/TaskTemplate/ContainerSpec/StopGracePeriod",
        "3000000000",
    ),
    (
        "/Spec/TaskTemplate/ContainerSpec/Secrets/0/File",
        r#"{"Name":"app.key","UID":"1000","GID":"1001","Mode":256}"#,
    ),
    (
        "/Spec/TaskTemplate/ContainerSpec/Configs/0/File/Mode",
        "288",
    ),
];

fn check(of: &Value, expected: &[(&str, &str)]) -> Result<()> {
    for (place, value) in expected {
        let value: Value = serde_json::from_str(value)?;
        // A label's name has dots, never a slash.
        assert_eq!(of.pointer(place), Some(&value), "{place}");
    }
    Ok(())
}

async fn inspected(kind: &str, id: &str) -> Result<Value> {
    let text = run("docker", &[kind, "inspect", id]).await?;
    let mut all: Vec<Value> = serde_json::from_str(&text)?;
    all.pop().context("nothing")
}

/// A network and a volume, which releases use and do not remove.
struct Made(String);

impl Made {
    fn stack(&self) -> String {
        format!("e2e-{}", self.0)
    }
    fn network(&self) -> String {
        format!("e2e-{}-back", self.0)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        let (network, volume) = (self.network(), format!("{}_data", self.stack()));
        for what in [["network", "rm", &network], ["volume", "rm", &volume]] {
            // A container that ends at this moment holds it a little longer.
            for _ in 0..40 {
                let removed = Command::new("docker").args(what).output();
                if removed.is_ok_and(|output| output.status.success()) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(500));
            }
        }
    }
}

#[tokio::test]
async fn a_compose_file_with_every_field_runs_as_it_says() -> Result<()> {
    // Goes after the world does, also when something fails.
    let made = Made(unique());
    let (stack, network) = (made.stack(), made.network());
    run(
        "docker",
        &["network", "create", "--driver", "overlay", &network],
    )
    .await?;
    let rules = tempfile::tempdir()?;
    let file = rules.path().join("frd.yaml");
    std::fs::write(&file, "policy: { mounts: [/usr] }\n")?;
    let file = file.to_str().context("a path that is no text")?;
    let mut world = World::with(None, &["--config", file]).await?;
    let namespace = world.namespace.clone();
    let folder = world.stack.folder().to_owned();
    let key = folder.join("key");
    std::fs::write(&key, "secret")?;
    let image = format!("{}:v1", world.repository);
    let file = folder.join("compose.yaml");
    std::fs::write(&file, compose(&image, &network, &key.to_string_lossy()))?;

    let (code, text) = world
        .frctl(&["import", &file.to_string_lossy(), "--stack", &stack])
        .await?;
    assert_eq!(code, 0, "{text}");
    assert!(!text.contains("carried over"), "nothing was lost: {text}");
    let manifests = folder.join("manifests");
    std::fs::create_dir(&manifests)?;
    std::fs::write(manifests.join("web.yaml"), &text)?;
    std::fs::write(
        manifests.join("other.yaml"),
        "kind: Service\nmetadata: { name: web }\n",
    )?;
    world.stack.apply(&namespace, &text).await?;
    let ready = |view: &Value| view["status"]["phase"] == "healthy";
    let limit = Duration::from_secs(60);
    let wait = world
        .stack
        .wait(&namespace, "web", "it to run", limit, ready);
    let view = wait.await?;

    let stable = view["status"]["stable"]["revision"]
        .as_str()
        .context("no revision")?;
    let service = &view["swarm"]["revisions"][stable]["service"];
    let service = service.as_str().context("no service")?;
    let of = format!("label=com.docker.swarm.service.name={service}");
    let container = run("docker", &["ps", "-q", "--filter", &of]).await?;
    let container = inspected("container", container.trim()).await?;
    check(&container, CONTAINER)?;
    let service = inspected("service", service).await?;
    check(&service, SERVICE)?;
    let names = service["Spec"]["TaskTemplate"]["Networks"].to_string();
    assert!(names.contains("shop-web"), "{names}");
    let added = container["HostConfig"]["CapAdd"].to_string();
    assert!(added.contains("NET_BIND_SERVICE"), "{added}");
    let limits = container["HostConfig"]["Ulimits"].to_string();
    assert!(
        limits.contains(r#""Hard":4000"#) && limits.contains(r#""Soft":2000"#),
        "{limits}"
    );
    let environment = container["Config"]["Env"].to_string();
    assert!(environment.contains("COLOUR=green"), "{environment}");
    let mounts = container["HostConfig"]["Mounts"]
        .as_array()
        .context("no mounts")?;
    let mount = |target: &str| mounts.iter().find(|mount| mount["Target"] == target);
    let memory = mount("/scratch").context("no /scratch")?;
    assert_eq!(
        memory["TmpfsOptions"],
        json!({ "SizeBytes": 1_048_576, "Mode": 0o700 })
    );
    let volume = mount("/data").context("no /data")?;
    assert_eq!(
        (&volume["Source"], &volume["ReadOnly"]),
        (&json!(format!("{stack}_data")), &json!(true))
    );
    assert_eq!(volume["VolumeOptions"]["NoCopy"], true, "{volume}");
    assert_eq!(volume["VolumeOptions"]["Labels"]["kept"], "no", "{volume}");
    assert!(
        mount("/host").is_some() && mount("/run/app").is_some(),
        "{mounts:?}"
    );

    let manifests = manifests.to_string_lossy();
    let (code, text) = world.frctl(&["delete", "-f", &manifests, "--wait"]).await?;
    assert_eq!(code, 1, "{text}");
    let own = format!("release {namespace}/web deleted");
    assert!(text.contains(&own), "{text}");
    assert!(
        text.contains("other.yaml:1:1"),
        "what is no release deletes nothing: {text}"
    );
    world.end().await;
    Ok(())
}
