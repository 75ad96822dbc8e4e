//! Volumes, configs and secrets of a service.

use serde_json::{Map, Value, json};

use super::fields::text;
use super::service::{Service, list};

impl Service<'_> {
    pub(super) fn storage(&mut self) {
        let mut mounts = Vec::new();
        for value in list(self.rest.remove("volumes")) {
            mounts.extend(self.mount(&value));
        }
        for target in list(self.rest.remove("tmpfs")).iter().filter_map(text) {
            // `/run:size=64m` has options behind the path.
            let path = target.split(':').next().unwrap_or_default();
            mounts.push(json!({ "type": "tmpfs", "target": path }));
        }
        self.put("mounts", json!(mounts));
        for kind in ["configs", "secrets"] {
            let all = list(self.rest.remove(kind));
            let files: Vec<Value> = all.iter().filter_map(|one| self.file(kind, one)).collect();
            self.put(kind, json!(files));
        }
    }

    fn mount(&mut self, value: &Value) -> Option<Value> {
        let long = match value.as_object() {
            Some(long) => long.clone(),
            None => {
                let short = text(value)?;
                let parts: Vec<&str> = short.split(':').collect();
                let (source, target, mode) = match parts.as_slice() {
                    [target] => (None, *target, ""),
                    [source, target] => (Some(*source), *target, ""),
                    [source, target, mode, ..] => (Some(*source), *target, *mode),
                    [] => return None,
                };
                let path = source.is_some_and(|source| source.starts_with(['/', '.', '~']));
                let read_only = mode.split(',').any(|word| word == "ro");
                let mut long = Map::new();
                long.insert("type".into(), json!(if path { "bind" } else { "volume" }));
                long.insert("source".into(), json!(source));
                long.insert("target".into(), json!(target));
                long.insert("read_only".into(), json!(read_only));
                long
            }
        };
        let get = |field: &str| long.get(field).and_then(text);
        let (kind, source) = (get("type").unwrap_or_default(), get("source"));
        let target = get("target")?;
        let source = match (kind.as_str(), source) {
            ("bind", Some(path)) if !path.starts_with('/') => {
                let what = format!("`{path}` is a path beside this file: nodes do not have it");
                self.note("volumes", &what);
                return None;
            }
            ("volume", None) => None,
            ("volume", Some(name)) => Some(self.names.real("volumes", &name)),
            ("bind" | "tmpfs", source) => source,
            (other, _) => {
                self.note("volumes", &format!("type {other} is not in this version"));
                return None;
            }
        };
        let mut mount = json!({ "type": kind, "target": target });
        if let Some(source) = &source {
            mount["source"] = json!(source);
        }
        if long.get("read_only") == Some(&json!(true)) {
            mount["readOnly"] = json!(true);
        } else if let Some(source) = source.filter(|_| kind != "tmpfs") {
            mount["shared"] = json!(true);
            self.note("volumes", &format!("{source} is written, and during a rollout by tasks of two revisions at once: the manifest says `shared: true`; make sure that the program is made for that, or leave the service in the stack"));
        }
        if let Some(size) = long
            .get("tmpfs")
            .and_then(|memory| super::fields::memory(memory.get("size")?))
        {
            mount["size"] = json!(size);
        }
        if long.get("volume").and_then(|volume| volume.get("nocopy")) == Some(&json!(true)) {
            mount["volume"] = json!({ "noCopy": true });
        }
        let propagation = long
            .get("bind")
            .and_then(|bind| text(bind.get("propagation")?));
        if let Some(propagation) = propagation {
            mount["propagation"] = json!(propagation);
        }
        Some(mount)
    }

    fn file(&self, kind: &'static str, value: &Value) -> Option<Value> {
        let Some(long) = value.as_object() else {
            let name = text(value)?;
            return Some(self.origin(kind, &name));
        };
        let get = |field: &str| long.get(field).and_then(text);
        let name = get("source")?;
        let mut file = self.origin(kind, &name);
        if let Some(target) = get("target") {
            file["target"] = json!(target);
        }
        for field in ["uid", "gid"] {
            if let Some(value) = get(field) {
                file[field] = json!(value);
            }
        }
        if let Some(mode) = long.get("mode") {
            let mode = match mode.as_u64() {
                Some(number) => format!("0{number:o}"),
                None => text(mode).unwrap_or_default(),
            };
            file["mode"] = json!(mode);
        }
        Some(file)
    }

    /// Where its content comes from. The stack shows it under its short name.
    fn origin(&self, kind: &'static str, name: &str) -> Value {
        match self.names.own.get(&(kind, name.to_owned())) {
            Some((way, value)) => {
                let mut file = json!({ "name": name });
                file[*way] = json!(text(value).unwrap_or_default());
                file
            }
            None => json!({ "source": self.names.real(kind, name), "target": name }),
        }
    }
}
