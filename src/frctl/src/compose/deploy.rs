//! What stands below `deploy`.

use fm_api::quantity::Memory;
use serde_json::{Map, Value, json};

use super::fields::{memory, number, text};
use super::reading::Bare;
use super::service::{Service, list};

/// Processors, or bytes.
fn amount(value: &Value) -> f64 {
    let bytes = value.as_str().and_then(|text| text.parse::<Memory>().ok());
    bytes.map_or_else(
        || value.as_f64().unwrap_or(0.0),
        |memory| memory.bytes() as f64,
    )
}

/// `{ discrete_resource_spec: { kind: gpu, value: 1 } }`.
fn generic(one: &Value) -> Option<(String, Value)> {
    let one = one.get("discrete_resource_spec")?;
    Some((
        text(one.get("kind")?)?,
        json!(one.get("value").and_then(number)?),
    ))
}

impl Service<'_> {
    /// Everything below `deploy`; gives the number of tasks.
    pub(super) fn deploy(&mut self) -> u64 {
        let given = self.rest.remove("deploy");
        let Some(mut deploy) = self.mapping("deploy", given) else {
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
        let resources = deploy.remove("resources");
        if let Some(resources) = self.mapping("deploy.resources", resources) {
            self.resources(&resources);
        }
        let placement = deploy.remove("placement");
        if let Some(placement) = self.mapping("deploy.placement", placement) {
            self.placement(&placement);
        }
        if let Some(value) = deploy.remove("labels") {
            let all = self.pairs("deploy.labels", &value, Bare::Empty);
            self.put("serviceLabels", json!(all));
        }
        let policy = deploy.remove("restart_policy");
        if let Some(policy) = self.mapping("deploy.restart_policy", policy) {
            self.restart(&policy);
        }
        if deploy.get("mode") == Some(&json!("replicated")) {
            deploy.remove("mode");
        }
        self.others("deploy", &deploy, &[]);
        replicas
    }

    fn resources(&mut self, resources: &Map<String, Value>) {
        let mut ours = Map::new();
        for side in ["limits", "reservations"] {
            let place = format!("deploy.resources.{side}");
            let Some(given) = self.mapping(&place, resources.get(side).cloned()) else {
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
                    None => self.unusable(&format!("{place}.{field}"), value),
                }
            }
            let mut others = Map::new();
            for one in list(given.get("generic_resources").cloned()) {
                match generic(&one) {
                    Some((kind, value)) => drop(others.insert(kind, value)),
                    None => self.unusable(&format!("{place}.generic_resources"), &one),
                }
            }
            if !others.is_empty() {
                amount.insert("generic".to_owned(), json!(others));
            }
            let known = ["cpus", "memory", "pids", "generic_resources"];
            self.others(&place, &given, &known);
            ours.insert(side.to_owned(), json!(amount));
        }
        self.others("deploy.resources", resources, &["limits", "reservations"]);
        self.within_limits(&mut ours);
        self.put("resources", json!(ours));
    }

    fn placement(&mut self, placement: &Map<String, Value>) {
        let place = "deploy.placement";
        let mut preferences = Vec::new();
        for one in list(placement.get("preferences").cloned()) {
            match one.get("spread").and_then(text) {
                Some(label) => preferences.push(label),
                None => self.unusable(&format!("{place}.preferences"), &one),
            }
        }
        let given = placement.get("constraints").cloned();
        let constraints = self.texts(&format!("{place}.constraints"), given);
        let mut ours = Map::new();
        ours.insert("constraints".to_owned(), json!(constraints));
        ours.insert("preferences".to_owned(), json!(preferences));
        let most = "max_replicas_per_node";
        if let Some(most) = self.number(&format!("{place}.{most}"), placement.get(most)) {
            ours.insert("maxReplicasPerNode".to_owned(), json!(most));
        }
        self.others(place, placement, &["preferences", "constraints", most]);
        self.put("placement", json!(ours));
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

    fn restart(&mut self, policy: &Map<String, Value>) {
        let place = "deploy.restart_policy";
        let mut ours = Map::new();
        let condition = self.word(&format!("{place}.condition"), policy.get("condition"));
        match condition.as_deref() {
            None | Some("any") => {}
            // A task that Docker stops as unhealthy may end well, and would not be replaced.
            Some("on-failure") => self.note("deploy.restart_policy.condition", "tasks are replaced however they end; `restart: { condition: onFailure }` says otherwise"),
            Some(other) => self.note("deploy.restart_policy.condition", &format!("`{other}`: tasks of a release are always replaced")),
        }
        for field in ["delay", "window"] {
            if let Some(span) = self.duration(&format!("{place}.{field}"), policy.get(field)) {
                ours.insert(field.to_owned(), json!(span.to_string()));
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
        let known = ["condition", "delay", "window", "max_attempts"];
        self.others(place, policy, &known);
        self.put("restart", json!(ours));
    }
}
