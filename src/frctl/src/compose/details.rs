//! The rarer fields of a service.

use serde_json::{Map, Value, json};

use super::fields::text;
use super::reading::Bare;
use super::service::Service;

impl Service<'_> {
    pub(super) fn details(&mut self) {
        for (from, to) in [
            ("working_dir", "workingDir"),
            ("hostname", "hostname"),
            ("stop_signal", "stopSignal"),
        ] {
            let given = self.rest.remove(from);
            if let Some(value) = self.word(from, given.as_ref()) {
                self.put(to, json!(value));
            }
        }
        for (from, to) in [
            ("init", "init"),
            ("read_only", "readOnly"),
            ("tty", "tty"),
            ("stdin_open", "stdin"),
        ] {
            let given = self.rest.remove(from);
            if let Some(value) = self.truth(from, given.as_ref()) {
                self.put(to, json!(value));
            }
        }
        let given = self.rest.remove("group_add");
        let groups = self.texts("group_add", given);
        self.put("groups", json!(groups));
        let mut capabilities = Map::new();
        for (from, to) in [("cap_add", "add"), ("cap_drop", "drop")] {
            let given = self.rest.remove(from);
            let given = self.texts(from, given);
            if !given.is_empty() {
                let upper = given.iter().map(|name| name.to_uppercase());
                capabilities.insert(to.to_owned(), upper.collect());
            }
        }
        self.put("capabilities", Value::Object(capabilities));
        self.ulimits();
        if let Some(value) = self.rest.remove("sysctls") {
            let all = self.pairs("sysctls", &value, Bare::Left);
            self.put("sysctls", json!(all));
        }
        let mut dns = Map::new();
        for (from, to) in [
            ("dns", "servers"),
            ("dns_search", "search"),
            ("dns_opt", "options"),
        ] {
            let given = self.rest.remove(from);
            let given = self.texts(from, given);
            if !given.is_empty() {
                dns.insert(to.to_owned(), json!(given));
            }
        }
        self.put("dns", Value::Object(dns));
        self.hosts();
        self.logging();
    }

    fn ulimits(&mut self) {
        let given = self.rest.remove("ulimits");
        let Some(all) = self.mapping("ulimits", given) else {
            return;
        };
        let whole = |value: &Value| text(value)?.parse::<i64>().ok();
        let mut ours = Map::new();
        for (name, value) in &all {
            let both = whole(value).map(|both| (both, both));
            let each = || Some((whole(value.get("soft")?)?, whole(value.get("hard")?)?));
            match both.or_else(each) {
                Some((soft, hard)) => {
                    ours.insert(name.clone(), json!({ "soft": soft, "hard": hard }));
                }
                None => self.unusable(&format!("ulimits.{name}"), value),
            }
            if let Some(fields) = value.as_object() {
                self.others(&format!("ulimits.{name}"), fields, &["soft", "hard"]);
            }
        }
        self.put("ulimits", Value::Object(ours));
    }

    fn hosts(&mut self) {
        let mut hosts = Map::new();
        let mut add = |name: &str, address: &str| {
            let address = address.trim_matches(['[', ']']);
            hosts.insert(name.to_owned(), json!(address));
        };
        match self.rest.remove("extra_hosts") {
            Some(Value::Object(map)) => {
                for (name, value) in &map {
                    let place = format!("extra_hosts.{name}");
                    if let Some(address) = self.word(&place, Some(value)) {
                        add(name, &address);
                    }
                }
            }
            None | Some(Value::Null) => {}
            given @ Some(_) => {
                for line in self.texts("extra_hosts", given) {
                    match line.split_once(['=', ':']) {
                        Some((name, address)) => add(name, address),
                        None => self.note(
                            "extra_hosts",
                            &format!("`{line}` has no address and was left out"),
                        ),
                    }
                }
            }
        }
        self.put("hosts", Value::Object(hosts));
    }

    fn logging(&mut self) {
        let given = self.rest.remove("logging");
        let Some(logging) = self.mapping("logging", given) else {
            return;
        };
        let Some(driver) = logging.get("driver").and_then(text) else {
            self.note("logging", "names no driver, and is not carried over");
            return;
        };
        let options = logging.get("options").cloned().unwrap_or_default();
        let options = self.pairs("logging.options", &options, Bare::Left);
        let mut ours = json!({ "driver": driver });
        if !options.is_empty() {
            ours["options"] = Value::Object(options);
        }
        self.others("logging", &logging, &["driver", "options"]);
        self.put("logging", ours);
    }
}
