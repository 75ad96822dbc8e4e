//! The rendered spec is a stored format: what these snapshots show must not change for what is already stored.

use fm_api::workload::Placement;
use serde_json::json;

use super::*;

fn full() -> Workload {
    serde_json::from_value(json!({
        "image": "shop:1.4.2",
        "registryAuth": "main",
        "command": ["/app"],
        "args": ["serve", "--fast"],
        "env": { "LOG_LEVEL": "info", "A": "b=c" },
        "user": "1000:1000",
        "labels": { "team": "shop" },
        "networks": ["backend", "metrics"],
        "mounts": [
            { "type": "volume", "source": "data", "target": "/data" },
            { "type": "bind", "source": "/etc/ssl", "target": "/etc/ssl", "readOnly": true },
            { "type": "tmpfs", "target": "/tmp" },
        ],
        "secrets": [{ "source": "db-password", "uid": "10", "gid": "20", "mode": "0400" }],
        "configs": [{ "source": "shop.toml", "target": "/etc/shop.toml" }],
        "resources": { "limits": { "cpus": 0.5, "memory": "256Mi" }, "reservations": { "cpus": 0.1, "memory": "64Mi" } },
        "healthcheck": { "test": ["CMD", "/app", "health"], "interval": "2s", "timeout": "1s", "retries": 3, "startPeriod": "60s" },
        "placement": { "constraints": ["node.role == worker"], "preferences": ["node.labels.zone"], "maxReplicasPerNode": 2 },
        "stopGracePeriod": "40s",
    }))
    .unwrap()
}

fn render(workload: &Workload, ports: &[u16], endpoints: Endpoints) -> Result<Value, String> {
    let key = ReleaseKey::new("default", "shop");
    let revision = RevisionId::new("0123456789");
    let identity = Identity {
        installation: "store1",
        key: &key,
        uid: "u1",
        revision: &revision,
    };
    let references = References {
        secrets: BTreeMap::from([("db-password".to_owned(), "secret1".to_owned())]),
        configs: BTreeMap::from([("shop.toml".to_owned(), "config1".to_owned())]),
    };
    let template = template(
        identity,
        workload,
        "sha256:aa",
        ports,
        &references,
        endpoints,
    )?;
    Ok(at_use(identity, &template, 4, 1))
}

#[test]
fn every_field_of_a_workload_is_in_the_spec() {
    let spec = render(&full(), &[8080, 9090], Endpoints::HostPorts).unwrap();
    insta::assert_json_snapshot!("full", spec);
}

#[test]
fn what_is_not_said_is_left_to_docker() {
    let workload: Workload = serde_json::from_value(json!({ "image": "shop:1" })).unwrap();
    let spec = render(&workload, &[], Endpoints::HostPorts).unwrap();
    insta::assert_json_snapshot!("least", spec);
}

#[test]
fn a_missing_secret_or_config_is_named() {
    let mut workload = full();
    workload.secrets[0].source = Some("gone".to_owned());
    let error = render(&workload, &[], Endpoints::HostPorts).unwrap_err();
    assert_eq!(error, "Swarm has no secret named `gone`");
    let mut workload = full();
    workload.configs[0].source = Some("gone".to_owned());
    let error = render(&workload, &[], Endpoints::HostPorts).unwrap_err();
    assert_eq!(error, "Swarm has no config named `gone`");
}

#[test]
fn an_overlay_publishes_no_ports_and_needs_a_network() {
    let spec = render(&full(), &[8080], Endpoints::Overlay).unwrap();
    assert_eq!(spec["EndpointSpec"], json!({ "Mode": "dnsrr" }));
    let mut alone = full();
    alone.networks.clear();
    assert!(render(&alone, &[8080], Endpoints::Overlay).is_err());
}

#[test]
fn scaling_and_relabelling_change_no_task_and_a_restart_changes_only_the_count() {
    let key = ReleaseKey::new("default", "shop");
    let revision = RevisionId::new("0123456789");
    let of = |installation: &'static str, replicas: u32, restarts: u32| {
        let identity = Identity {
            installation,
            key: &key,
            uid: "u1",
            revision: &revision,
        };
        at_use(
            identity,
            &json!({ "TaskTemplate": { "X": 1 } }),
            replicas,
            restarts,
        )
    };
    assert_eq!(of("a", 1, 0)["TaskTemplate"], of("b", 9, 0)["TaskTemplate"]);
    let hash = |spec: &Value| spec["Labels"][label::SPEC_HASH].clone();
    assert_eq!(hash(&of("a", 1, 0)), hash(&of("a", 9, 0)));
    assert_ne!(hash(&of("a", 1, 0)), hash(&of("a", 1, 1)));
    assert_eq!(
        of("a", 1, 3)["TaskTemplate"],
        json!({ "X": 1, "ForceUpdate": 3 })
    );
}

#[test]
fn the_hash_does_not_depend_on_the_order_of_fields() {
    let a: Value = serde_json::from_str(r#"{"a":1,"b":[{"c":2,"d":3}]}"#).unwrap();
    let b: Value = serde_json::from_str(r#"{"b":[{"d":3,"c":2}],"a":1}"#).unwrap();
    assert_eq!(hash(&a), hash(&b));
}

#[test]
fn docker_watches_a_restarted_task_until_its_health_check_could_have_failed() {
    let config = update_config(full().healthcheck.as_ref());
    // 60 s start period, three times 2 s and 1 s, and five seconds more.
    assert_eq!(config["Monitor"], json!(74_000_000_000_i64));
    assert_eq!(Placement::default().max_replicas_per_node, 0);
}
