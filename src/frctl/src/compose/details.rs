//! The rarer fields of a service.

use serde_json::{Map, Value, json};

use super::fields::{pairs, text};
use super::service::{Service, list};

impl Service<'_> {
    pub(super) fn details(&mut self) {
        for (from, to) in [
            ("working_dir", "workingDir"),
            ("hostname", "hostname"),
            ("stop_signal", "stopSignal"),
        ] {
            if let Some(value) = self.rest.remove(from).as_ref().and_then(text) {
                self.put(to, json!(value));
            }
        }
        for (from, to) in [
            ("init", "init"),
            ("read_only", "readOnly"),
            ("tty", "tty"),
            ("stdin_open", "stdin"),
        ] {
            if let Some(value) = self.rest.remove(from).filter(Value::is_boolean) {
                self.put(to, value);
            }
        }
        self.texts("group_add", "groups");
        let mut capabilities = Map::new();
        for (from, to) in [("cap_add", "add"), ("cap_drop", "drop")] {
            let given: Vec<String> = list(self.rest.remove(from))
                .iter()
                .filter_map(text)
                .collect();
            if !given.is_empty() {
                let upper = given.iter().map(|name| name.to_uppercase());
                capabilities.insert(to.to_owned(), upper.collect());
            }
        }
        self.put("capabilities", Value::Object(capabilities));
        self.ulimits();
        if let Some(value) = self.rest.remove("sysctls") {
            let all = pairs(&value, |_| ());
            self.put("sysctls", json!(all));
        }
        let mut dns = Map::new();
        for (from, to) in [
            ("dns", "servers"),
            ("dns_search", "search"),
            ("dns_opt", "options"),
        ] {
            let given: Vec<String> = list(self.rest.remove(from))
                .iter()
                .filter_map(text)
                .collect();
            if !given.is_empty() {
                dns.insert(to.to_owned(), json!(given));
            }
        }
        self.put("dns", Value::Object(dns));
        self.hosts();
        self.logging();
    }

    fn texts(&mut self, from: &str, to: &str) {
        let given: Vec<String> = list(self.rest.remove(from))
            .iter()
            .filter_map(text)
            .collect();
        self.put(to, json!(given));
    }

    fn ulimits(&mut self) {
        let Some(Value::Object(all)) = self.rest.remove("ulimits") else {
            return;
        };
        let limit = |value: &Value| match value.as_i64() {
            Some(both) => json!({ "soft": both, "hard": both }),
            None => json!({ "soft": value["soft"], "hard": value["hard"] }),
        };
        let ours: Map<String, Value> = all
            .iter()
            .map(|(name, value)| (name.clone(), limit(value)))
            .collect();
        self.put("ulimits", Value::Object(ours));
    }

    fn hosts(&mut self) {
        let mut hosts = Map::new();
        match self.rest.remove("extra_hosts") {
            Some(Value::Object(map)) => hosts = map,
            Some(Value::Array(items)) => {
                for line in items.iter().filter_map(text) {
                    if let Some((name, address)) = line.split_once(['=', ':']) {
                        hosts.insert(name.to_owned(), json!(address.trim_matches(['[', ']'])));
                    }
                }
            }
            Some(_) | None => {}
        }
        self.put("hosts", Value::Object(hosts));
    }

    fn logging(&mut self) {
        let Some(Value::Object(logging)) = self.rest.remove("logging") else {
            return;
        };
        let Some(driver) = logging.get("driver").and_then(text) else {
            self.note("logging", "names no driver, and is not carried over");
            return;
        };
        let options = logging.get("options").map(|value| pairs(value, |_| ()));
        let mut ours = json!({ "driver": driver });
        if let Some(options) = options.filter(|options| !options.is_empty()) {
            ours["options"] = Value::Object(options);
        }
        self.put("logging", ours);
    }
}
