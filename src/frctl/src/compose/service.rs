//! One service of a Compose file as a release.

use std::collections::BTreeMap;

use fm_api::quantity::Span;
use fm_api::validate;
use serde_json::{Map, Value, json};

use super::fields::{pairs, port, text, words};
use super::{Names, Options};

/// What is left out, and why: the reason is worth more than the fact.
const REASONS: &[(&str, &str)] = &[
    ("build", "images are built before they are released"),
    (
        "depends_on",
        "nothing is started in an order; a task is ready when its health check passes",
    ),
    ("restart", "Swarm starts every task again"),
    ("container_name", "every task has a name of its own"),
    ("expose", "a route names the port that it leads to"),
    (
        "deploy.update_config",
        "the strategy says how a new version comes",
    ),
    (
        "deploy.rollback_config",
        "the strategy says how it goes back",
    ),
    ("deploy.endpoint_mode", "HAProxy reaches each task itself"),
    ("privileged", "Swarm has no privileged services"),
    ("devices", "Swarm gives services no devices"),
    ("links", "services find each other by name in a network"),
];

/// Characters of a release's name.
const LONGEST_NAME: usize = 26;

/// A service on its way.
pub(super) struct Service<'a> {
    name: &'a str,
    pub(super) rest: Map<String, Value>,
    pub(super) names: &'a Names,
    pub(super) options: &'a Options<'a>,
    pub(super) workload: Map<String, Value>,
    /// What is not carried over.
    pub(super) notes: Vec<String>,
    /// It must be mended before it can be applied.
    pub(super) unfinished: bool,
    /// The release's name.
    called: String,
}

impl<'a> Service<'a> {
    pub(super) fn new(
        name: &'a str,
        fields: &Map<String, Value>,
        names: &'a Names,
        options: &'a Options<'a>,
    ) -> Self {
        Self {
            name,
            rest: fields.clone(),
            names,
            options,
            workload: Map::new(),
            notes: Vec::new(),
            unfinished: false,
            called: release_name(name),
        }
    }

    /// A name that no other service of the file has come to.
    pub(super) fn call(&mut self, called: &mut BTreeMap<String, &'a str>) {
        let plain = self.called.clone();
        let mut number = 1;
        while let Some(other) = called.get(&self.called) {
            let what = format!(
                "its release would be called {}, as that of services.{other}",
                self.called
            );
            number += 1;
            let end = format!("-{number}");
            let start: String = plain.chars().take(LONGEST_NAME - end.len()).collect();
            self.called = format!("{}{end}", start.trim_end_matches('-'));
            self.notes.push(format!(
                "services.{}: {what}; it is {} now",
                self.name, self.called
            ));
        }
        called.insert(self.called.clone(), self.name);
    }

    pub(super) fn note(&mut self, field: &str, what: &str) {
        let name = self.name;
        self.notes.push(format!("services.{name}.{field}: {what}"));
    }

    /// The release, unless there is no image.
    pub(super) fn release(&mut self) -> Option<Value> {
        let Some(image) = self.rest.remove("image").as_ref().and_then(text) else {
            self.note("image", "there is none, so the service was left out");
            return None;
        };
        let mode = self
            .rest
            .get("deploy")
            .and_then(|deploy| deploy.get("mode"));
        if let Some(mode) = mode.and_then(text).filter(|mode| mode != "replicated") {
            self.note("deploy.mode", &format!("a release has a number of tasks; with `{mode}` the service was left out, and stays a stack's"));
            return None;
        }
        self.workload.insert("image".to_owned(), json!(image));
        self.process();
        self.storage();
        self.health();
        self.details();
        let replicas = self.deploy();
        let routes = self.routes();
        self.leftovers();
        let name = self.called.clone();
        let mut spec = json!({ "replicas": replicas, "workload": self.workload });
        if routes.is_empty() {
            spec["strategy"] =
                json!({ "canary": { "steps": [{ "replicas": "50%", "hold": "2m" }] } });
        } else {
            spec["routes"] = json!(routes);
            spec["strategy"] = json!({ "canary": {
                "steps": [
                    { "weight": 5, "hold": "2m" },
                    { "weight": 25, "hold": "5m" },
                    { "weight": 50, "hold": "5m" },
                ],
                "keepPrevious": "30m",
            } });
        }
        let release = json!({
            "apiVersion": fm_api::release::API_VERSION,
            "kind": fm_api::release::KIND,
            "metadata": { "namespace": self.options.namespace, "name": name },
            "spec": spec,
        });
        if let Err(problems) = validate::written(&release) {
            self.unfinished = true;
            for problem in problems {
                self.notes
                    .push(format!("release {name}: must be mended: {problem}"));
            }
        }
        Some(release)
    }

    pub(super) fn put(&mut self, field: &str, value: Value) {
        let empty = match &value {
            Value::Array(items) => items.is_empty(),
            Value::Object(map) => map.is_empty(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
        };
        if !empty {
            self.workload.insert(field.to_owned(), value);
        }
    }

    fn process(&mut self) {
        for (from, to) in [("entrypoint", "command"), ("command", "args")] {
            if let Some(value) = self.rest.remove(from) {
                self.put(to, json!(words(&value)));
            }
        }
        if self.rest.contains_key("env_file") {
            self.rest.entry("environment").or_insert_with(|| json!({}));
        }
        for (from, to) in [("environment", "env"), ("labels", "labels")] {
            let Some(value) = self.rest.remove(from) else {
                continue;
            };
            let mut missing = Vec::new();
            let given = pairs(&value, |name| missing.push(name.to_owned()));
            let mut all = if from == "environment" {
                self.env_files()
            } else {
                Map::new()
            };
            all.extend(given);
            for name in missing {
                self.note(from, &format!("`{name}` has no value and was left out"));
            }
            self.put(to, json!(all));
        }
        if let Some(user) = self.rest.remove("user").as_ref().and_then(text) {
            self.put("user", json!(user));
        }
        if let Some(grace) = self.rest.remove("stop_grace_period") {
            self.span("stop_grace_period", &grace, "stopGracePeriod");
        }
        self.networks();
    }

    /// In a stack a service is found by its name: its tasks go on being so.
    fn networks(&mut self) {
        let mut aliases = vec![self.name.to_owned()];
        let given = self.rest.remove("networks");
        let networks: Vec<String> = match given {
            Some(Value::Object(map)) => {
                for (name, one) in &map {
                    let fields = one.as_object().into_iter().flatten();
                    for (field, value) in fields {
                        if field == "aliases" {
                            aliases.extend(list(Some(value.clone())).iter().filter_map(text));
                        } else {
                            self.note(&format!("networks.{name}.{field}"), "is not carried over");
                        }
                    }
                }
                map.keys().cloned().collect()
            }
            Some(Value::Array(items)) => items.iter().filter_map(text).collect(),
            // Every service of a stack is in its default network.
            Some(_) | None => vec!["default".to_owned()],
        };
        let real: Vec<String> = networks
            .iter()
            .map(|name| self.names.real("networks", name))
            .collect();
        let default = self.names.real("networks", "default");
        if real.contains(&default) {
            self.note(
                "networks",
                &format!(
                    "the network {default} must exist in Swarm: a stack's goes with the stack"
                ),
            );
        }
        aliases.sort();
        aliases.dedup();
        self.put("aliases", json!(aliases));
        self.put("networks", json!(real));
    }

    /// The variables of the files that it names.
    fn env_files(&mut self) -> Map<String, Value> {
        let mut all = Map::new();
        for file in list(self.rest.remove("env_file")) {
            let path = file
                .get("path")
                .or(Some(&file))
                .and_then(text)
                .unwrap_or_default();
            match (self.options.files)(&path) {
                Err(_) if file.get("required") == Some(&json!(false)) => {}
                Err(why) => self.note(
                    "env_file",
                    &format!("{path}: {why}; its variables are missing"),
                ),
                Ok(text) => {
                    let lines = text.lines().map(str::trim);
                    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
                    let pairs =
                        lines.filter_map(|line| line.trim_start_matches("export ").split_once('='));
                    for (name, value) in pairs {
                        let value = value.trim().trim_matches(['"', '\'']);
                        all.insert(name.trim().to_owned(), json!(value));
                    }
                    self.note("env_file", &format!("{path}: its variables stand in the manifest now; what of them is secret belongs into `secrets`"));
                }
            }
        }
        all
    }

    fn span(&mut self, field: &str, value: &Value, to: &str) {
        match text(value).map(|text| text.parse::<Span>()) {
            Some(Ok(span)) => self.put(to, json!(span.to_string())),
            Some(Err(_)) | None => self.note(field, "is no duration that is understood"),
        }
    }

    fn health(&mut self) {
        let Some(Value::Object(check)) = self.rest.remove("healthcheck") else {
            return;
        };
        if check.get("disable") == Some(&json!(true)) {
            self.put("healthcheck", json!({ "test": ["NONE"] }));
            return;
        }
        let test = match check.get("test") {
            Some(Value::String(line)) => vec!["CMD-SHELL".to_owned(), line.clone()],
            Some(list) => words(list),
            None => {
                self.note(
                    "healthcheck",
                    "without a `test` it is the image's, and its times are not carried over",
                );
                return;
            }
        };
        // Docker's own defaults, which Compose means where it says nothing.
        let get = |field: &str, default: &str| {
            check
                .get(field)
                .and_then(text)
                .unwrap_or_else(|| default.to_owned())
        };
        let retries = get("retries", "3").parse::<u32>().unwrap_or(3);
        self.put(
            "healthcheck",
            json!({
                "test": test, "interval": get("interval", "30s"), "timeout": get("timeout", "30s"),
                "retries": retries, "startPeriod": get("start_period", "0s"),
            }),
        );
        if check.contains_key("start_interval") {
            self.note("healthcheck.start_interval", "is not carried over");
        }
    }

    fn routes(&mut self) -> Vec<Value> {
        let mut targets: Vec<u16> = Vec::new();
        for value in list(self.rest.remove("ports")) {
            match port(&value) {
                Some((target, protocol)) if protocol == "tcp" => {
                    if !targets.contains(&target) {
                        targets.push(target);
                    }
                }
                Some((target, protocol)) => {
                    self.note(
                        "ports",
                        &format!("{target}/{protocol}: HAProxy routes HTTP only"),
                    );
                }
                None => self.note(
                    "ports",
                    &format!("{value} is not understood: one port at a time"),
                ),
            }
        }
        let (service, domain) = (self.called.clone(), self.options.domain);
        let mut routes = Vec::new();
        for (index, target) in targets.iter().enumerate() {
            let host = match index {
                0 => format!("{service}.{domain}"),
                _ => format!("{service}-{target}.{domain}"),
            };
            self.note("ports", &format!("port {target} is reached at {host}, by HAProxy's own port; change the host to yours"));
            routes.push(json!({ "hosts": [host], "port": target }));
        }
        routes
    }

    fn leftovers(&mut self) {
        let fields: Vec<String> = self
            .rest
            .keys()
            .filter(|key| !key.starts_with("x-"))
            .cloned()
            .collect();
        for field in fields {
            self.left_out(&field);
        }
    }

    pub(super) fn left_out(&mut self, field: &str) {
        let why = REASONS.iter().find(|(known, _)| *known == field);
        match why {
            Some((_, why)) => self.note(field, &format!("is not carried over: {why}")),
            None => self.note(field, "is not carried over"),
        }
    }
}

/// A service's name as releases have it.
fn release_name(service: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    let name: String = service.chars().map(plain).take(LONGEST_NAME).collect();
    name.trim_matches('-').to_owned()
}

/// A list, or one value as a list of one.
pub(super) fn list(value: Option<Value>) -> Vec<Value> {
    match value {
        Some(Value::Array(items)) => items,
        Some(Value::Null) | None => Vec::new(),
        Some(one) => vec![one],
    }
}
