//! The rarer fields of a workload, in Docker's words. Pure. What is not set is left out, so that it cannot differ.

use fm_api::workload::{Mount, MountKind, Restart, RestartCondition, Workload};
use serde_json::{Map, Value, json};

use super::{nanoseconds, put};

/// What belongs to the container besides the usual.
pub(super) fn container(spec: &mut Map<String, Value>, workload: &Workload) {
    put(spec, "StopSignal", json!(workload.stop_signal));
    put(spec, "Dir", json!(workload.working_dir));
    put(spec, "Hostname", json!(workload.hostname));
    put(spec, "Groups", json!(workload.groups));
    put(spec, "Init", json!(workload.init));
    for (name, set) in [
        ("ReadOnly", workload.read_only),
        ("TTY", workload.tty),
        ("OpenStdin", workload.stdin),
    ] {
        if set {
            spec.insert(name.to_owned(), json!(true));
        }
    }
    put(
        spec,
        "CapabilityAdd",
        capabilities(&workload.capabilities.add),
    );
    put(
        spec,
        "CapabilityDrop",
        capabilities(&workload.capabilities.drop),
    );
    let ulimits = workload.ulimits.iter();
    let ulimits = ulimits
        .map(|(name, limit)| json!({ "Name": name, "Soft": limit.soft, "Hard": limit.hard }));
    put(spec, "Ulimits", ulimits.collect());
    put(spec, "Sysctls", json!(workload.sysctls));
    let mut dns = Map::new();
    put(&mut dns, "Nameservers", json!(workload.dns.servers));
    put(&mut dns, "Search", json!(workload.dns.search));
    put(&mut dns, "Options", json!(workload.dns.options));
    put(spec, "DNSConfig", Value::Object(dns));
    let hosts = workload.hosts.iter();
    let hosts = hosts.map(|(name, address)| json!(format!("{address} {name}")));
    put(spec, "Hosts", hosts.collect());
}

/// Docker shows them with their prefix, however they were given.
fn capabilities(names: &[String]) -> Value {
    let full = |name: &String| match name.as_str() {
        "ALL" => json!("ALL"),
        name if name.starts_with("CAP_") => json!(name),
        name => json!(format!("CAP_{name}")),
    };
    names.iter().map(full).collect()
}

pub(super) fn restart(restart: &Restart) -> Value {
    // `any` is the default: a task that Docker stops because it is unhealthy may end with 0, and must be replaced all
    // the same. So is a delay: Docker's own of five seconds is lost capacity, none at all would let a crash loop burn a
    // processor.
    let condition = match restart.condition {
        RestartCondition::Any => "any",
        RestartCondition::OnFailure => "on-failure",
    };
    let mut spec = Map::from_iter([
        ("Condition".to_owned(), json!(condition)),
        ("Delay".to_owned(), json!(nanoseconds(restart.delay))),
    ]);
    if restart.max_attempts > 0 {
        spec.insert("MaxAttempts".to_owned(), json!(restart.max_attempts));
    }
    if restart.window.as_millis() > 0 {
        spec.insert("Window".to_owned(), json!(nanoseconds(restart.window)));
    }
    Value::Object(spec)
}

pub(super) fn networks(workload: &Workload) -> Value {
    let join = |name: &String| {
        let mut spec = Map::from_iter([("Target".to_owned(), json!(name))]);
        put(&mut spec, "Aliases", json!(workload.aliases));
        Value::Object(spec)
    };
    workload.networks.iter().map(join).collect()
}

pub(super) fn logging(workload: &Workload) -> Value {
    let Some(logging) = &workload.logging else {
        return Value::Null;
    };
    let mut spec = Map::from_iter([("Name".to_owned(), json!(logging.driver))]);
    put(&mut spec, "Options", json!(logging.options));
    Value::Object(spec)
}

pub(super) fn mount(mount: &Mount) -> Value {
    let kind = match mount.kind {
        MountKind::Volume => "volume",
        MountKind::Bind => "bind",
        MountKind::Tmpfs => "tmpfs",
    };
    let mut spec = Map::from_iter([
        ("Type".to_owned(), json!(kind)),
        ("Target".to_owned(), json!(mount.target)),
    ]);
    put(&mut spec, "Source", json!(mount.source));
    if mount.read_only {
        spec.insert("ReadOnly".to_owned(), json!(true));
    }
    let mut bind = Map::new();
    put(&mut bind, "Propagation", json!(mount.propagation));
    put(&mut spec, "BindOptions", Value::Object(bind));
    put(&mut spec, "VolumeOptions", volume(mount));
    let mut memory = Map::new();
    put(
        &mut memory,
        "SizeBytes",
        json!(mount.size.map(|size| size.bytes())),
    );
    let mode = mount.mode.as_deref();
    let mode = mode.and_then(|mode| u32::from_str_radix(mode, 8).ok());
    put(&mut memory, "Mode", json!(mode));
    put(&mut spec, "TmpfsOptions", Value::Object(memory));
    Value::Object(spec)
}

fn volume(mount: &Mount) -> Value {
    let options = &mount.volume;
    let mut spec = Map::new();
    if options.no_copy {
        spec.insert("NoCopy".to_owned(), json!(true));
    }
    put(&mut spec, "Labels", json!(options.labels));
    let mut driver = Map::new();
    put(&mut driver, "Name", json!(options.driver));
    put(&mut driver, "Options", json!(options.options));
    put(&mut spec, "DriverConfig", Value::Object(driver));
    Value::Object(spec)
}
