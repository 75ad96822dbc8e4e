//! What stands below `deploy`.

use fm_api::quantity::{Memory, Span};
use serde_json::{Map, Value, json};

use super::fields::{memory, text};
use super::service::{Service, list};

/// Processors, or bytes.
fn amount(value: &Value) -> f64 {
    let bytes = value.as_str().and_then(|text| text.parse::<Memory>().ok());
    bytes.map_or_else(
        || value.as_f64().unwrap_or(0.0),
        |memory| memory.bytes() as f64,
    )
}

fn generic(value: Option<&Value>) -> Map<String, Value> {
    let one = |one: &Value| {
        let one = one.get("discrete_resource_spec")?;
        Some((text(one.get("kind")?)?, json!(one.get("value")?.as_u64()?)))
    };
    list(value.cloned()).iter().filter_map(one).collect()
}

/// A whole number, also where it is written as text.
fn number(value: &Value) -> Option<u64> {
    text(value)?.parse().ok()
}

impl Service<'_> {
    /// Everything below `deploy`; gives the number of tasks.
    pub(super) fn deploy(&mut self) -> u64 {
        let Some(Value::Object(mut deploy)) = self.rest.remove("deploy") else {
            return 1;
        };
        let replicas = match deploy.remove("replicas") {
            None | Some(Value::Null) => 1,
            Some(given) => number(&given).unwrap_or_else(|| {
                self.note(
                    "deploy.replicas",
                    &format!("{given} is no number of tasks; it is 1 now"),
                );
                1
            }),
        };
        if let Some(Value::Object(resources)) = deploy.remove("resources") {
            let mut ours = Map::new();
            for side in ["limits", "reservations"] {
                let Some(Value::Object(given)) = resources.get(side) else {
                    continue;
                };
                let mut amount = Map::new();
                let parsed = |field: &str, value: &Value| match field {
                    "cpus" => text(value)?.parse::<f64>().ok().map(|cpus| json!(cpus)),
                    "memory" => memory(value).map(|memory| json!(memory)),
                    _ => number(value)
                        .filter(|pids| *pids > 0)
                        .map(|pids| json!(pids)),
                };
                for field in ["cpus", "memory", "pids"] {
                    let Some(value) = given.get(field) else {
                        continue;
                    };
                    match parsed(field, value) {
                        Some(value) => drop(amount.insert(field.to_owned(), value)),
                        None => self.note(
                            &format!("deploy.resources.{side}.{field}"),
                            &format!("{value} cannot be used, and is not carried over"),
                        ),
                    }
                }
                let generic = generic(given.get("generic_resources"));
                if !generic.is_empty() {
                    amount.insert("generic".to_owned(), json!(generic));
                }
                let known = ["cpus", "memory", "pids", "generic_resources"];
                for other in given.keys().filter(|key| !known.contains(&key.as_str())) {
                    self.note(
                        &format!("deploy.resources.{side}.{other}"),
                        "is not carried over",
                    );
                }
                ours.insert(side.to_owned(), json!(amount));
            }
            self.within_limits(&mut ours);
            self.put("resources", json!(ours));
        }
        if let Some(Value::Object(placement)) = deploy.remove("placement") {
            let spread = list(placement.get("preferences").cloned());
            let preferences: Vec<String> = spread
                .iter()
                .filter_map(|one| text(one.get("spread")?))
                .collect();
            let mut ours = Map::new();
            let constraints = list(placement.get("constraints").cloned());
            ours.insert("constraints".to_owned(), json!(constraints));
            ours.insert("preferences".to_owned(), json!(preferences));
            if let Some(most) = placement
                .get("max_replicas_per_node")
                .and_then(Value::as_u64)
            {
                ours.insert("maxReplicasPerNode".to_owned(), json!(most));
            }
            self.put("placement", json!(ours));
        }
        if let Some(value) = deploy.remove("labels") {
            let all = super::fields::pairs(&value, |_| ());
            self.put("serviceLabels", json!(all));
        }
        if let Some(policy) = deploy.remove("restart_policy") {
            self.restart(&policy);
        }
        if deploy.get("mode") == Some(&json!("replicated")) {
            deploy.remove("mode");
        }
        for field in deploy.keys() {
            self.left_out(&format!("deploy.{field}"));
        }
        replicas
    }

    /// What is reserved beyond the limit is never used.
    fn within_limits(&mut self, resources: &mut Map<String, Value>) {
        let Some(limits) = resources.get("limits").cloned() else {
            return;
        };
        let Some(reserved) = resources
            .get_mut("reservations")
            .and_then(Value::as_object_mut)
        else {
            return;
        };
        let mut lowered = Vec::new();
        for field in ["cpus", "memory"] {
            let (Some(most), Some(given)) = (limits.get(field), reserved.get(field)) else {
                continue;
            };
            if amount(given) > amount(most) {
                lowered.push(field);
                reserved.insert(field.to_owned(), most.clone());
            }
        }
        for field in lowered {
            self.note(
                &format!("deploy.resources.reservations.{field}"),
                "more than the limit was reserved; the limit is, now",
            );
        }
    }

    fn restart(&mut self, policy: &Value) {
        let mut ours = Map::new();
        match policy.get("condition").and_then(text).as_deref() {
            None | Some("any") => {}
            // A task that Docker stops as unhealthy may end well, and would not be replaced.
            Some("on-failure") => self.note("deploy.restart_policy.condition", "tasks are replaced however they end; `restart: { condition: onFailure }` says otherwise"),
            Some(other) => self.note("deploy.restart_policy.condition", &format!("`{other}`: tasks of a release are always replaced")),
        }
        for (from, to) in [("delay", "delay"), ("window", "window")] {
            let value = policy.get(from).and_then(text);
            if let Some(value) = value.and_then(|value| value.parse::<Span>().ok()) {
                ours.insert(to.to_owned(), json!(value.to_string()));
            }
        }
        if policy.get("max_attempts").is_some() {
            self.note(
                "deploy.restart_policy.max_attempts",
                "is not carried over: a task that is not replaced is capacity that is missing",
            );
            if ours.remove("window").is_some() {
                self.note(
                    "deploy.restart_policy.window",
                    "is not carried over: it says when attempts count, and there is no end of them",
                );
            }
        }
        self.put("restart", json!(ours));
    }
}
