//! From a workload to a Docker service spec. Pure.
//!
//! [`template`] renders the workload once; the result is stored with the revision and never rendered again, so that
//! another version of this program changes no running task. [`at_use`] adds what belongs to the service and not to its
//! tasks, and the count of restarts. What must never happen: a change of `at_use` that alters `TaskTemplate`.

use std::collections::BTreeMap;

use fm_api::keys::{ReleaseKey, RevisionId};
use fm_api::quantity::Span;
use fm_api::release::Adopted;
use fm_api::target::RevisionRecord;
use fm_api::workload::{FileReference, Healthcheck, ResourceAmount, Resources, Workload};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::Endpoints;
use crate::world::{label, service_name};

mod details;

/// The label by which `docker stack` knows its services.
pub(crate) const STACK: &str = "com.docker.stack.namespace";

/// Whose service it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Identity<'a> {
    /// The store's name.
    pub(crate) installation: &'a str,
    /// The release.
    pub(crate) key: &'a ReleaseKey,
    /// The release's uid.
    pub(crate) uid: &'a str,
    /// The revision.
    pub(crate) revision: &'a RevisionId,
}

/// The ids of the Swarm objects that a workload names, by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct References {
    /// Secrets.
    pub(crate) secrets: BTreeMap<String, String>,
    /// Configs.
    pub(crate) configs: BTreeMap<String, String>,
}

/// Renders a workload; the error says which name is missing.
pub(crate) fn template(
    identity: Identity<'_>,
    workload: &Workload,
    pinned: &str,
    ports: &[u16],
    references: &References,
    endpoints: Endpoints,
) -> Result<Value, String> {
    let mut task = Map::new();
    task.insert(
        "ContainerSpec".to_owned(),
        container(identity, workload, pinned, references)?,
    );
    put(&mut task, "Resources", resources(&workload.resources));
    let restart = details::restart(&workload.restart);
    task.insert("RestartPolicy".to_owned(), restart);
    put(&mut task, "Placement", placement(workload));
    put(&mut task, "Networks", details::networks(workload));
    put(&mut task, "LogDriver", details::logging(workload));
    let published = match endpoints {
        Endpoints::HostPorts => ports,
        Endpoints::Overlay if ports.is_empty() || !workload.networks.is_empty() => &[],
        Endpoints::Overlay => {
            return Err(
                "routes need a network: HAProxy reaches tasks through their first network here"
                    .to_owned(),
            );
        }
    };
    let published: Vec<Value> = published
        .iter()
        .map(|port| json!({ "Protocol": "tcp", "TargetPort": port, "PublishMode": "host" }))
        .collect();
    // No virtual address: HAProxy chooses the task, and Docker's own balancing would only stand in between.
    let mut endpoint = Map::from_iter([("Mode".to_owned(), json!("dnsrr"))]);
    put(&mut endpoint, "Ports", Value::Array(published));
    let mut service = Map::from_iter([
        ("TaskTemplate".to_owned(), Value::Object(task)),
        ("Mode".to_owned(), json!({ "Replicated": {} })),
        (
            "UpdateConfig".to_owned(),
            update_config(workload.healthcheck.as_ref()),
        ),
        ("EndpointSpec".to_owned(), Value::Object(endpoint)),
    ]);
    put(&mut service, "Labels", json!(workload.service_labels));
    Ok(Value::Object(service))
}

fn container(
    identity: Identity<'_>,
    workload: &Workload,
    pinned: &str,
    references: &References,
) -> Result<Value, String> {
    let mut spec = Map::from_iter([("Image".to_owned(), json!(pinned))]);
    let mut labels = workload.labels.clone();
    let ours = task_labels(identity).map(|(name, value)| (name.to_owned(), value));
    labels.extend(ours);
    put(&mut spec, "Labels", json!(labels));
    put(&mut spec, "Command", json!(workload.command));
    put(&mut spec, "Args", json!(workload.args));
    let env = workload
        .env
        .iter()
        .map(|(name, value)| json!(format!("{name}={value}")));
    put(&mut spec, "Env", env.collect());
    put(&mut spec, "User", json!(workload.user));
    put(
        &mut spec,
        "Mounts",
        workload.mounts.iter().map(details::mount).collect(),
    );
    if let Some(grace) = workload.stop_grace_period {
        spec.insert("StopGracePeriod".to_owned(), json!(nanoseconds(grace)));
    }
    if let Some(check) = &workload.healthcheck {
        spec.insert("Healthcheck".to_owned(), healthcheck(check));
    }
    details::container(&mut spec, workload);
    let key = identity.key;
    let secrets = files(
        key,
        "secret",
        "Secret",
        &workload.secrets,
        &references.secrets,
    )?;
    put(&mut spec, "Secrets", secrets);
    let configs = files(
        key,
        "config",
        "Config",
        &workload.configs,
        &references.configs,
    )?;
    put(&mut spec, "Configs", configs);
    Ok(Value::Object(spec))
}

/// By them a task is known, also when its service is gone already.
fn task_labels(identity: Identity<'_>) -> [(&'static str, String); 4] {
    [
        (label::NAMESPACE, identity.key.namespace().to_owned()),
        (label::RELEASE, identity.key.name().to_owned()),
        (label::UID, identity.uid.to_owned()),
        (label::REVISION, identity.revision.to_string()),
    ]
}

fn files(
    key: &ReleaseKey,
    what: &str,
    prefix: &str,
    wanted: &[FileReference],
    known: &BTreeMap<String, String>,
) -> Result<Value, String> {
    let render = |file: &FileReference| {
        let shown = file.shown();
        let object = file
            .object(key)
            .ok_or_else(|| format!("the content of {what} `{shown}` was not handed on"))?;
        let id = known.get(&object).ok_or_else(|| match file.source {
            Some(_) => format!("Swarm has no {what} named `{shown}`"),
            None => format!(
                "Swarm has not kept this content of {what} `{shown}` ({object}): apply the manifest again where its \
                 file or variable is"
            ),
        })?;
        let mode = u32::from_str_radix(&file.mode, 8)
            .map_err(|_| format!("{what} `{shown}`: `{}` is no octal mode", file.mode))?;
        Ok(json!({
            format!("{prefix}ID"): id,
            format!("{prefix}Name"): object,
            "File": {
                "Name": file.inside(),
                "UID": file.uid,
                "GID": file.gid,
                "Mode": mode,
            },
        }))
    };
    wanted.iter().map(render).collect()
}

fn healthcheck(check: &Healthcheck) -> Value {
    json!({
        "Test": check.test,
        "Interval": nanoseconds(check.interval),
        "Timeout": nanoseconds(check.timeout),
        "Retries": check.retries,
        "StartPeriod": nanoseconds(check.start_period),
    })
}

fn resources(resources: &Resources) -> Value {
    let mut spec = Map::new();
    put(&mut spec, "Limits", amount(&resources.limits));
    put(&mut spec, "Reservations", amount(&resources.reservations));
    Value::Object(spec)
}

fn amount(amount: &ResourceAmount) -> Value {
    let mut spec = Map::new();
    if let Some(cpus) = amount.cpus {
        // Validation keeps it between 0.001 and 4096, far inside the range of whole numbers.
        spec.insert("NanoCPUs".to_owned(), json!((cpus * 1e9).round() as i64));
    }
    put(
        &mut spec,
        "MemoryBytes",
        json!(amount.memory.map(|m| m.bytes())),
    );
    put(&mut spec, "Pids", json!(amount.pids));
    let generic = amount
        .generic
        .iter()
        .map(|(kind, count)| json!({ "DiscreteResourceSpec": { "Kind": kind, "Value": count } }));
    put(&mut spec, "GenericResources", generic.collect());
    Value::Object(spec)
}

fn placement(workload: &Workload) -> Value {
    let placement = &workload.placement;
    let mut spec = Map::new();
    put(&mut spec, "Constraints", json!(placement.constraints));
    let spread = placement
        .preferences
        .iter()
        .map(|name| json!({ "Spread": { "SpreadDescriptor": name } }));
    put(&mut spec, "Preferences", spread.collect());
    if placement.max_replicas_per_node > 0 {
        let most = json!(placement.max_replicas_per_node);
        spec.insert("MaxReplicas".to_owned(), most);
    }
    Value::Object(spec)
}

/// How a restart replaces tasks. It pauses when a new task fails: a rollback would only undo the restart that is wanted.
fn update_config(check: Option<&Healthcheck>) -> Value {
    // Docker must not call a task good before its health check could have failed.
    let monitor = check.map_or(Span::ZERO, |check| {
        let tries = (check.interval.as_millis() + check.timeout.as_millis())
            .saturating_mul(u64::from(check.retries));
        Span::millis(check.start_period.as_millis().saturating_add(tries))
    });
    json!({
        "Parallelism": 1,
        "Order": "start-first",
        "FailureAction": "pause",
        "Monitor": nanoseconds(monitor).saturating_add(nanoseconds(Span::secs(5))),
    })
}

/// The spec to post: a stored template with name, labels, replicas and restarts.
pub(crate) fn at_use(
    identity: Identity<'_>,
    template: &Value,
    replicas: u32,
    restarts: u32,
) -> Value {
    let mut spec = template.clone();
    spec["Name"] = json!(service_name(identity.key, identity.revision));
    spec["TaskTemplate"]["ForceUpdate"] = json!(restarts);
    if !spec["Labels"].is_object() {
        spec["Labels"] = json!({});
    }
    for (name, value) in [
        (label::MANAGED_BY, identity.installation),
        (label::NAMESPACE, identity.key.namespace()),
        (label::RELEASE, identity.key.name()),
        (label::UID, identity.uid),
        (label::REVISION, identity.revision.as_str()),
        (label::RESTARTS, &restarts.to_string()),
    ] {
        spec["Labels"][name] = json!(value);
    }
    // Replicas are no part of the hash: scaling is no other spec.
    let hash = hash(&spec);
    spec["Labels"][label::SPEC_HASH] = json!(hash);
    spec["Labels"][label::REPLICAS] = json!(replicas.to_string());
    spec["Mode"]["Replicated"]["Replicas"] = json!(replicas);
    spec
}

/// The spec to post of a revision whose service may have been there before. It keeps its name, its tasks and its labels;
/// that of a stack goes, because `docker stack` would take it for its own.
pub(crate) fn adopted_spec(
    identity: Identity<'_>,
    record: &RevisionRecord,
    adopted: Option<&Adopted>,
    (replicas, restarts): (u32, u32),
) -> Value {
    let mut template = record.service.clone();
    if let Some(labels) = template["Labels"].as_object_mut() {
        labels.remove(STACK);
    }
    // Without the service that was there it gets one of ours.
    let Some(adopted) = adopted else {
        if record.adopted.is_some() {
            let container = &mut template["TaskTemplate"]["ContainerSpec"];
            for (name, value) in task_labels(identity) {
                container["Labels"][name] = json!(value);
            }
        }
        return at_use(identity, &template, replicas, restarts);
    };
    template["Labels"][label::ADOPTED] = json!(adopted.id);
    let begun = template["TaskTemplate"]["ForceUpdate"]
        .as_u64()
        .unwrap_or(0);
    let begun = u32::try_from(begun).unwrap_or(0);
    let mut spec = at_use(identity, &template, replicas, restarts);
    let force = json!(begun.saturating_add(restarts));
    spec["TaskTemplate"]["ForceUpdate"] = force;
    spec["Name"] = json!(adopted.name);
    spec
}

/// The spec of a service that is given back: as it runs, without our labels, and with those that it had.
pub(crate) fn given_back(
    identity: Identity<'_>,
    record: &RevisionRecord,
    adopted: Option<&Adopted>,
    wanted: (u32, u32),
) -> Value {
    let mut spec = adopted_spec(identity, record, adopted, wanted);
    spec["Labels"] = match &record.service["Labels"] {
        Value::Object(labels) => Value::Object(labels.clone()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            json!({})
        }
    };
    spec
}

/// Sixteen hex digits that depend on the content alone, not on the order of fields.
fn hash(spec: &Value) -> String {
    let mut text = String::new();
    canonical(spec, &mut text);
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(8).map(|b| format!("{b:02x}")).collect()
}

fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<&String, &Value> = map.iter().collect();
            for (name, value) in sorted {
                out.push_str(&format!("{{{name:?}:"));
                canonical(value, out);
                out.push('}');
            }
        }
        Value::Array(items) => {
            for item in items {
                out.push('[');
                canonical(item, out);
                out.push(']');
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            out.push_str(&value.to_string());
        }
    }
}

/// Puts a field unless it is empty: what is left out cannot differ from what Docker leaves out.
fn put(map: &mut Map<String, Value>, name: &str, value: Value) {
    let empty = match &value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    };
    if !empty {
        map.insert(name.to_owned(), value);
    }
}

fn nanoseconds(span: Span) -> i64 {
    i64::try_from(span.as_millis())
        .unwrap_or(i64::MAX)
        .saturating_mul(1_000_000)
}

#[cfg(test)]
#[path = "render_tests.rs"]
mod tests;
