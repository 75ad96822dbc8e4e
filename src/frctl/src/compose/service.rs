//! One service of a Compose file as a release.

use std::collections::BTreeMap;

use fm_api::validate;
use serde_json::{Map, Value, json};

use super::fields::{port, text, words};
use super::reading::Bare;
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
            let Some(value) = self.rest.remove(from).filter(|value| !value.is_null()) else {
                continue;
            };
            let given = match &value {
                Value::Array(_) => self.texts(from, Some(value.clone())),
                Value::String(line) => words(line),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
                    self.unusable(from, &value);
                    continue;
                }
            };
            if given.is_empty() {
                self.note(from, "it is empty, and is the image's own now");
            }
            self.put(to, json!(given));
        }
        if self.rest.contains_key("env_file") {
            self.rest.entry("environment").or_insert_with(|| json!({}));
        }
        if let Some(value) = self.rest.remove("environment") {
            let mut all = self.env_files();
            all.extend(self.pairs("environment", &value, Bare::Left));
            self.put("env", json!(all));
        }
        if let Some(value) = self.rest.remove("labels") {
            let all = self.pairs("labels", &value, Bare::Empty);
            self.put("labels", json!(all));
        }
        let user = self.rest.remove("user");
        if let Some(user) = self.word("user", user.as_ref()) {
            self.put("user", json!(user));
        }
        let grace = self.rest.remove("stop_grace_period");
        if let Some(grace) = self.duration("stop_grace_period", grace.as_ref()) {
            self.put("stopGracePeriod", json!(grace.to_string()));
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
                        let place = format!("networks.{name}.{field}");
                        if field == "aliases" {
                            aliases.extend(self.texts(&place, Some(value.clone())));
                        } else {
                            self.note(&place, "is not carried over");
                        }
                    }
                }
                map.keys().cloned().collect()
            }
            Some(Value::Array(items)) => self.texts("networks", Some(Value::Array(items))),
            // Every service of a stack is in its default network.
            Some(Value::Null) | None => vec!["default".to_owned()],
            Some(other) => {
                self.unusable("networks", &other);
                vec!["default".to_owned()]
            }
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
                    for line in lines.map(|line| line.trim_start_matches("export ")) {
                        let Some((name, value)) = line.split_once('=') else {
                            self.note(
                                "env_file",
                                &format!("{path}: `{line}` has no value and was left out"),
                            );
                            continue;
                        };
                        let value = value.trim().trim_matches(['"', '\'']);
                        all.insert(name.trim().to_owned(), json!(value));
                    }
                    self.note("env_file", &format!("{path}: its variables stand in the manifest now; what of them is secret belongs into `secrets`"));
                }
            }
            if let Some(long) = file.as_object() {
                self.others("env_file", long, &["path", "required"]);
            }
        }
        all
    }

    fn health(&mut self) {
        let given = self.rest.remove("healthcheck");
        let Some(check) = self.mapping("healthcheck", given) else {
            return;
        };
        if self.truth("healthcheck.disable", check.get("disable")) == Some(true) {
            self.put("healthcheck", json!({ "test": ["NONE"] }));
            return;
        }
        let test = match check.get("test") {
            Some(Value::String(line)) => vec!["CMD-SHELL".to_owned(), line.clone()],
            Some(list) => self.texts("healthcheck.test", Some(list.clone())),
            None => {
                self.note(
                    "healthcheck",
                    "without a `test` it is the image's, and its times are not carried over",
                );
                return;
            }
        };
        let mut ours = json!({ "test": test });
        // Docker's own defaults, which Compose means where it says nothing.
        for (from, to, default) in [
            ("interval", "interval", "30s"),
            ("timeout", "timeout", "30s"),
            ("start_period", "startPeriod", "0s"),
        ] {
            let given = self.duration(&format!("healthcheck.{from}"), check.get(from));
            ours[to] = json!(given.map_or_else(|| default.to_owned(), |span| span.to_string()));
        }
        let retries = self.number("healthcheck.retries", check.get("retries"));
        ours["retries"] = json!(retries.filter(|retries| *retries > 0).unwrap_or(3));
        self.put("healthcheck", ours);
        let known = [
            "test",
            "disable",
            "interval",
            "timeout",
            "start_period",
            "retries",
        ];
        self.others("healthcheck", &check, &known);
    }

    fn routes(&mut self) -> Vec<Value> {
        let mut targets: Vec<u16> = Vec::new();
        for value in list(self.rest.remove("ports")) {
            if let Some(long) = value.as_object() {
                let known = ["target", "published", "protocol", "mode", "host_ip"];
                self.others("ports", long, &known);
            }
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
