//! What a service has and a release cannot say: a next revision would not have it, so it is told. Pure.

use serde_json::Value;

/// Adds what of a service's spec is in no field of a workload.
pub(super) fn unsaid(spec: &Value, left: &mut Vec<String>) {
    let task = &spec["TaskTemplate"];
    let container = &task["ContainerSpec"];
    if given(&container["Healthcheck"]["StartInterval"]) {
        left.push("the health check's `StartInterval`: it is checked at its usual interval from the start".to_owned());
    }
    for (what, value) in [
        ("its isolation", &container["Isolation"]),
        (
            "its score when memory runs out (`OomScoreAdj`)",
            &container["OomScoreAdj"],
        ),
        ("its swap", &task["Resources"]["SwapBytes"]),
        ("its swappiness", &task["Resources"]["MemorySwappiness"]),
    ] {
        if given(value) && value != "default" {
            left.push(what.to_owned());
        }
    }
    for line in list(&container["Env"]).filter_map(Value::as_str) {
        if !line.contains('=') {
            left.push(format!(
                "the variable {line} without a value, which takes away the image's own"
            ));
        }
    }
    for network in list(&task["Networks"]).filter(|network| given(&network["DriverOpts"])) {
        let name = network["Target"].as_str().unwrap_or_default();
        left.push(format!("options of the network {name}"));
    }
    for mount in list(&container["Mounts"]) {
        let target = mount["Target"].as_str().unwrap_or_default();
        for (section, field) in [
            ("BindOptions", "NonRecursive"),
            ("BindOptions", "ReadOnlyNonRecursive"),
            ("BindOptions", "ReadOnlyForceRecursive"),
            ("VolumeOptions", "Subpath"),
            ("TmpfsOptions", "Options"),
        ] {
            if given(&mount[section][field]) {
                left.push(format!("`{field}` of the mount at {target}"));
            }
        }
    }
    for file in list(&container["Configs"]).filter(|file| given(&file["Runtime"])) {
        let name = file["ConfigName"].as_str().unwrap_or_default();
        left.push(format!("the config {name}, which is no file"));
    }
    for kind in list(&task["Resources"]["Reservations"]["GenericResources"]) {
        let kind = &kind["NamedResourceSpec"];
        if given(kind) {
            let (name, which) = (&kind["Kind"], &kind["Value"]);
            left.push(format!(
                "the reserved {} {}",
                name.as_str().unwrap_or_default(),
                which.as_str().unwrap_or_default()
            ));
        }
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Whether Docker shows it because somebody set it.
fn given(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(set) => *set,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(_) => true,
    }
}
