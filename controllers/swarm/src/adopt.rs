//! A running service, read as a workload: what a release would say of it. Networks stand there by their names already: who
//! reads the service resolves their ids.
//!
//! Nothing is changed here. The first revision runs the service as it is; what is read here is what the next one is made
//! from, so what it cannot say is told.

use fm_api::release::Adopted;
use fm_api::workload::Workload;
use serde_json::{Map, Value, json};

mod unsaid;

use crate::docker::{Docker, DockerError};
use crate::render::STACK;
use crate::world::{Service, label};

/// A service that may be adopted.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Which it is.
    pub adopted: Adopted,
    /// The stack that owns it.
    pub stack: Option<String>,
    /// Tasks.
    pub replicas: u32,
    /// Container ports that are published on the task's own node: by them HAProxy reaches each task.
    pub host_ports: Vec<u16>,
    /// Container ports that Swarm's own balancing publishes.
    pub ingress_ports: Vec<u16>,
    /// What runs.
    pub workload: Workload,
    /// What a next revision would not have.
    pub left: Vec<String>,
}

/// Why a service cannot be adopted.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// It is not there.
    #[error("there is no service {0}")]
    Missing(String),
    /// It cannot be a release's.
    #[error("{0}")]
    Refused(String),
    /// Docker does not answer.
    #[error("{0}")]
    Docker(String),
}

/// Reads services.
#[derive(Clone)]
pub struct Services {
    docker: Docker,
}

impl Services {
    /// Of the Docker at this address.
    ///
    /// # Errors
    /// When the address cannot be read.
    pub fn new(docker: &str) -> Result<Self, AdoptError> {
        let docker = Docker::new(docker).map_err(|error| AdoptError::Docker(error.to_string()))?;
        Ok(Self { docker })
    }

    /// The service of this name or id, as a release would say it.
    ///
    /// # Errors
    /// When it is not there, or cannot be a release's.
    pub async fn candidate(&self, name: &str) -> Result<Candidate, AdoptError> {
        match self.docker.service(name).await {
            Ok(Some(service)) => candidate(&service),
            Ok(None) => Err(AdoptError::Missing(name.to_owned())),
            Err(DockerError::Missing(_)) => Err(AdoptError::Missing(name.to_owned())),
            Err(error) => Err(AdoptError::Docker(format!(
                "Docker does not tell of it: {error}"
            ))),
        }
    }
}

fn candidate(service: &Service) -> Result<Candidate, AdoptError> {
    let refused = |words: String| Err(AdoptError::Refused(words));
    let name = &service.name;
    if !service.label(label::MANAGED_BY).is_empty() {
        return refused(format!(
            "{name} belongs to release {}/{} already",
            service.label(label::NAMESPACE),
            service.label(label::RELEASE)
        ));
    }
    let Some(replicas) = service.replicas else {
        return refused(format!(
            "{name} is not replicated: a release has a number of tasks, and no other mode"
        ));
    };
    let mut left = Vec::new();
    let workload = workload(&service.spec, &mut left);
    let mut workload: Workload = serde_json::from_value(workload).map_err(|error| {
        AdoptError::Refused(format!("{name} has what a release cannot say: {error}"))
    })?;
    found_by(name, &mut workload);
    let ports = |mode: &str| published(&service.spec, mode);
    Ok(Candidate {
        adopted: Adopted {
            id: service.id.clone(),
            name: name.clone(),
        },
        stack: service.labels.get(STACK).cloned(),
        replicas,
        host_ports: ports("host"),
        ingress_ports: ports("ingress"),
        workload,
        left,
    })
}

/// In its networks a service is found by its own name: the next revision has another service, and goes on being found.
fn found_by(name: &str, workload: &mut Workload) {
    let known = workload.aliases.iter().any(|alias| alias == name);
    let fits = name.ends_with(|c: char| c.is_ascii_alphanumeric());
    if !workload.networks.is_empty() && !known && fits {
        workload.aliases.push(name.to_owned());
    }
}

fn published(spec: &Value, mode: &str) -> Vec<u16> {
    let ports = spec["EndpointSpec"]["Ports"].as_array();
    let ports = ports.into_iter().flatten();
    let of_mode = ports.filter(|port| port["PublishMode"].as_str().unwrap_or("ingress") == mode);
    of_mode
        .filter_map(|port| u16::try_from(port["TargetPort"].as_u64()?).ok())
        .collect()
}

/// The workload as JSON; what it cannot say goes to `left`.
fn workload(spec: &Value, left: &mut Vec<String>) -> Value {
    let task = &spec["TaskTemplate"];
    let container = &task["ContainerSpec"];
    let mut out = Map::new();
    let image = container["Image"].as_str().unwrap_or_default();
    // With a tag the digest is what runs now, and not what is meant.
    let image = match image.split_once('@') {
        Some((name, _))
            if name
                .rsplit('/')
                .next()
                .is_some_and(|last| last.contains(':')) =>
        {
            name
        }
        _ => image,
    };
    out.insert("image".to_owned(), json!(image));
    for (from, to) in [
        ("Command", "command"),
        ("Args", "args"),
        ("User", "user"),
        ("Dir", "workingDir"),
        ("Hostname", "hostname"),
        ("Groups", "groups"),
        ("Init", "init"),
        ("ReadOnly", "readOnly"),
        ("TTY", "tty"),
        ("OpenStdin", "stdin"),
        ("StopSignal", "stopSignal"),
        ("Sysctls", "sysctls"),
    ] {
        set(&mut out, to, container[from].clone());
    }
    set(&mut out, "env", environment(&container["Env"]));
    set(&mut out, "labels", labels(&container["Labels"]));
    set(&mut out, "serviceLabels", labels(&spec["Labels"]));
    set(
        &mut out,
        "stopGracePeriod",
        span(&container["StopGracePeriod"]),
    );
    set(
        &mut out,
        "capabilities",
        pairs(
            container,
            &[("CapabilityAdd", "add"), ("CapabilityDrop", "drop")],
        ),
    );
    set(
        &mut out,
        "dns",
        pairs(
            &container["DNSConfig"],
            &[
                ("Nameservers", "servers"),
                ("Search", "search"),
                ("Options", "options"),
            ],
        ),
    );
    set(&mut out, "hosts", hosts(&container["Hosts"]));
    set(&mut out, "ulimits", ulimits(&container["Ulimits"]));
    set(
        &mut out,
        "healthcheck",
        healthcheck(&container["Healthcheck"]),
    );
    set(&mut out, "mounts", mounts(&container["Mounts"]));
    set(
        &mut out,
        "secrets",
        files(&container["Secrets"], "SecretName"),
    );
    set(
        &mut out,
        "configs",
        files(&container["Configs"], "ConfigName"),
    );
    set(&mut out, "resources", resources(&task["Resources"]));
    set(&mut out, "placement", placement(&task["Placement"]));
    networks(&mut out, &task["Networks"]);
    set(
        &mut out,
        "logging",
        pairs(
            &task["LogDriver"],
            &[("Name", "driver"), ("Options", "options")],
        ),
    );
    set(&mut out, "restart", restart(&task["RestartPolicy"], left));
    unsaid::unsaid(spec, left);
    for (what, there) in [
        ("privileges", &container["Privileges"]),
        ("rollback configuration", &spec["RollbackConfig"]),
        (
            "update configuration (the strategy takes its place)",
            &spec["UpdateConfig"],
        ),
    ] {
        if there.as_object().is_some_and(|fields| !fields.is_empty()) {
            left.push(what.to_owned());
        }
    }
    for port in published(spec, "ingress") {
        left.push(format!(
            "port {port}, published by Swarm's own balancing: HAProxy takes its place"
        ));
    }
    Value::Object(out)
}

fn set(out: &mut Map<String, Value>, name: &str, value: Value) {
    let empty = match &value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    };
    if !empty {
        out.insert(name.to_owned(), value);
    }
}

fn pairs(from: &Value, names: &[(&str, &str)]) -> Value {
    let mut out = Map::new();
    for (there, here) in names {
        set(&mut out, here, from[*there].clone());
    }
    Value::Object(out)
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn environment(value: &Value) -> Value {
    let pair = |text: &Value| {
        let text = text.as_str()?;
        let (name, value) = text.split_once('=')?;
        Some((name.to_owned(), json!(value)))
    };
    Value::Object(list(value).filter_map(pair).collect())
}

/// Labels of `docker stack` are its own affair.
fn labels(value: &Value) -> Value {
    let all = value.as_object().into_iter().flatten();
    let kept = all.filter(|(name, _)| {
        !name.starts_with("com.docker.stack.") && !name.starts_with("fridaymorning.")
    });
    Value::Object(
        kept.map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
    )
}

fn span(nanoseconds: &Value) -> Value {
    match nanoseconds.as_u64() {
        Some(value) => json!(format!("{}ms", value / 1_000_000)),
        None => Value::Null,
    }
}

fn hosts(value: &Value) -> Value {
    let pair = |line: &Value| {
        let (address, names) = line.as_str()?.split_once(char::is_whitespace)?;
        let names = names
            .split_whitespace()
            .map(|name| (name.to_owned(), json!(address)));
        Some(names.collect::<Vec<_>>())
    };
    Value::Object(list(value).filter_map(pair).flatten().collect())
}

fn ulimits(value: &Value) -> Value {
    let one = |limit: &Value| {
        let name = limit["Name"].as_str()?.to_owned();
        Some((
            name,
            json!({ "soft": limit["Soft"], "hard": limit["Hard"] }),
        ))
    };
    Value::Object(list(value).filter_map(one).collect())
}

fn healthcheck(value: &Value) -> Value {
    if list(&value["Test"]).next().is_none() {
        return Value::Null;
    }
    let mut out = Map::from_iter([("test".to_owned(), value["Test"].clone())]);
    for (from, to) in [
        ("Interval", "interval"),
        ("Timeout", "timeout"),
        ("StartPeriod", "startPeriod"),
    ] {
        // Docker's own default, where the image says nothing else.
        let given = value[from].as_u64().filter(|given| *given > 0);
        let default = (to != "startPeriod").then_some(30_000_000_000);
        set(&mut out, to, span(&json!(given.or(default))));
    }
    let retries = value["Retries"].as_u64().filter(|retries| *retries > 0);
    set(&mut out, "retries", json!(retries));
    Value::Object(out)
}

fn mounts(value: &Value) -> Value {
    let one = |mount: &Value| {
        let mut out = Map::new();
        set(
            &mut out,
            "type",
            json!(mount["Type"].as_str().unwrap_or("volume")),
        );
        set(&mut out, "source", mount["Source"].clone());
        set(&mut out, "target", mount["Target"].clone());
        set(&mut out, "readOnly", mount["ReadOnly"].clone());
        set(
            &mut out,
            "propagation",
            mount["BindOptions"]["Propagation"].clone(),
        );
        let options = &mount["VolumeOptions"];
        let mut volume = Map::new();
        set(&mut volume, "noCopy", options["NoCopy"].clone());
        set(
            &mut volume,
            "driver",
            options["DriverConfig"]["Name"].clone(),
        );
        set(
            &mut volume,
            "options",
            options["DriverConfig"]["Options"].clone(),
        );
        set(&mut volume, "labels", labels(&options["Labels"]));
        set(&mut out, "volume", Value::Object(volume));
        let memory = &mount["TmpfsOptions"];
        set(
            &mut out,
            "size",
            json!(memory["SizeBytes"].as_u64().map(|size| size.to_string())),
        );
        set(
            &mut out,
            "mode",
            json!(memory["Mode"].as_u64().map(|mode| format!("{mode:o}"))),
        );
        Value::Object(out)
    };
    list(value).map(one).collect()
}

fn files(value: &Value, name: &str) -> Value {
    let one = |file: &Value| {
        let mut out = Map::new();
        set(&mut out, "source", file[name].clone());
        let inside = &file["File"];
        set(&mut out, "target", inside["Name"].clone());
        set(&mut out, "uid", inside["UID"].clone());
        set(&mut out, "gid", inside["GID"].clone());
        set(
            &mut out,
            "mode",
            json!(inside["Mode"].as_u64().map(|mode| format!("{mode:04o}"))),
        );
        Value::Object(out)
    };
    // A config of the engine itself is no file.
    let files = list(value).filter(|file| file["Runtime"].is_null());
    files.map(one).collect()
}

fn resources(value: &Value) -> Value {
    let amount = |side: &Value| {
        let mut out = Map::new();
        let cpus = side["NanoCPUs"].as_f64().filter(|cpus| *cpus > 0.0);
        set(&mut out, "cpus", json!(cpus.map(|cpus| cpus / 1e9)));
        let memory = side["MemoryBytes"].as_u64().filter(|bytes| *bytes > 0);
        set(
            &mut out,
            "memory",
            json!(memory.map(|bytes| bytes.to_string())),
        );
        set(
            &mut out,
            "pids",
            json!(side["Pids"].as_u64().filter(|pids| *pids > 0)),
        );
        let kinds = list(&side["GenericResources"]).filter_map(|kind| {
            let kind = &kind["DiscreteResourceSpec"];
            Some((kind["Kind"].as_str()?.to_owned(), kind["Value"].clone()))
        });
        set(&mut out, "generic", Value::Object(kinds.collect()));
        Value::Object(out)
    };
    let mut out = Map::new();
    set(&mut out, "limits", amount(&value["Limits"]));
    set(&mut out, "reservations", amount(&value["Reservations"]));
    Value::Object(out)
}

fn placement(value: &Value) -> Value {
    let mut out = Map::new();
    set(&mut out, "constraints", value["Constraints"].clone());
    let spread = list(&value["Preferences"]).map(|one| one["Spread"]["SpreadDescriptor"].clone());
    set(&mut out, "preferences", spread.collect());
    let most = value["MaxReplicas"].as_u64().filter(|most| *most > 0);
    set(&mut out, "maxReplicasPerNode", json!(most));
    Value::Object(out)
}

fn networks(out: &mut Map<String, Value>, value: &Value) {
    let names = list(value).map(|network| network["Target"].clone());
    set(out, "networks", names.collect());
    let mut aliases: Vec<Value> = Vec::new();
    for alias in list(value).flat_map(|network| list(&network["Aliases"])) {
        if !aliases.contains(alias) {
            aliases.push(alias.clone());
        }
    }
    set(out, "aliases", Value::Array(aliases));
}

fn restart(value: &Value, left: &mut Vec<String>) -> Value {
    let mut out = Map::new();
    match value["Condition"].as_str() {
        Some("on-failure") => {
            out.insert("condition".to_owned(), json!("onFailure"));
        }
        Some("none") => left.push(
            "the restart condition `none`: a task of a release is replaced however it ends"
                .to_owned(),
        ),
        Some(_) | None => {}
    }
    set(&mut out, "delay", span(&value["Delay"]));
    let attempts = value["MaxAttempts"].as_u64().filter(|most| *most > 0);
    set(&mut out, "maxAttempts", json!(attempts));
    if attempts.is_some() {
        set(&mut out, "window", span(&value["Window"]));
    }
    Value::Object(out)
}

#[cfg(test)]
mod tests;
