//! Volumes, configs and secrets of a service.

use serde_json::{Map, Value, json};

use super::fields::{self, text};
use super::reading::Bare;
use super::service::{Service, list};

const LEFT: &str = "is not carried over";

/// A mode in octal digits: a number has been read already.
fn octal(mode: &Value) -> String {
    match mode.as_u64() {
        Some(number) => format!("0{number:o}"),
        None => text(mode).unwrap_or_default(),
    }
}

impl Service<'_> {
    pub(super) fn storage(&mut self) {
        let mut mounts = Vec::new();
        for value in list(self.rest.remove("volumes")) {
            mounts.extend(self.mount(&value));
        }
        let given = self.rest.remove("tmpfs");
        for short in self.texts("tmpfs", given) {
            mounts.push(self.in_memory(&short));
        }
        self.put("mounts", json!(mounts));
        for kind in ["configs", "secrets"] {
            let all = list(self.rest.remove(kind));
            let files: Vec<Value> = all.iter().filter_map(|one| self.file(kind, one)).collect();
            self.put(kind, json!(files));
        }
    }

    /// `/run:size=64m,mode=755`, as a mount.
    fn in_memory(&mut self, short: &str) -> Value {
        let (path, options) = short.split_once(':').unwrap_or((short, ""));
        let mut mount = json!({ "type": "tmpfs", "target": path });
        for option in options.split(',').filter(|option| !option.is_empty()) {
            let size = option.strip_prefix("size=");
            let size = size.and_then(|size| fields::memory(&json!(size)));
            match (size, option.strip_prefix("mode=")) {
                (Some(size), _) => mount["size"] = json!(size),
                (None, Some(mode)) => mount["mode"] = json!(octal(&json!(mode))),
                (None, None) => self.note("tmpfs", &format!("{path}: `{option}` {LEFT}")),
            }
        }
        mount
    }

    fn mount(&mut self, value: &Value) -> Option<Value> {
        let mut long = match (value.as_object(), text(value)) {
            (Some(long), _) => long.clone(),
            (None, Some(short)) => self.long(&short)?,
            (None, None) => {
                self.unusable("volumes", value);
                return None;
            }
        };
        let mut take = |field: &str| long.remove(field).as_ref().and_then(text);
        let (kind, source) = (take("type").unwrap_or_default(), take("source"));
        let Some(target) = take("target") else {
            self.unusable("volumes", value);
            return None;
        };
        let read_only = long.remove("read_only");
        let read_only = self.truth(&format!("volumes.{target}.read_only"), read_only.as_ref());
        let read_only = read_only == Some(true);
        let real = |name: &String| self.names.real("volumes", name);
        let path = match (kind.as_str(), &source) {
            ("bind", Some(path)) if !path.starts_with('/') => {
                let what = format!("`{path}` is a path beside this file: nodes do not have it");
                self.note("volumes", &what);
                return None;
            }
            ("volume", name) => name.as_ref().map(real),
            ("bind" | "tmpfs", path) => path.clone(),
            (other, _) => {
                self.note("volumes", &format!("type {other} is not in this version"));
                return None;
            }
        };
        let mut mount = json!({ "type": kind, "target": target });
        if let Some(path) = &path {
            mount["source"] = json!(path);
        }
        if read_only {
            mount["readOnly"] = json!(true);
        } else if let Some(path) = path.filter(|_| kind != "tmpfs") {
            mount["shared"] = json!(true);
            self.note("volumes", &format!("{path} is written, and during a rollout by tasks of two revisions at once: the manifest says `shared: true`; make sure that the program is made for that, or leave the service in the stack"));
        }
        self.memory_options(&mut mount, &mut long);
        let made = source.filter(|_| kind == "volume");
        self.volume_options(&mut mount, &mut long, made.as_deref());
        let given = long.remove("bind");
        if let Some(mut bind) = self.mapping("volumes.bind", given) {
            let propagation = bind.remove("propagation");
            let place = "volumes.bind.propagation";
            if let Some(propagation) = self.word(place, propagation.as_ref()) {
                mount["propagation"] = json!(propagation);
            }
            self.rest_of("bind", &bind);
        }
        for field in long.keys() {
            self.note("volumes", &format!("{target}: `{field}` {LEFT}"));
        }
        Some(mount)
    }

    /// `data:/data:ro,nocopy` in its long form.
    fn long(&mut self, short: &str) -> Option<Map<String, Value>> {
        let parts: Vec<&str> = short.split(':').collect();
        let (source, target, words) = match parts.as_slice() {
            [target] => (None, *target, ""),
            [source, target] => (Some(*source), *target, ""),
            [source, target, words] => (Some(*source), *target, *words),
            [] | [_, _, _, _, ..] => {
                self.unusable("volumes", &json!(short));
                return None;
            }
        };
        let path = source.is_some_and(|source| source.starts_with(['/', '.', '~']));
        let mut long = json!({ "type": if path { "bind" } else { "volume" }, "target": target });
        if let Some(source) = source {
            long["source"] = json!(source);
        }
        for word in words.split(',').filter(|word| !word.is_empty()) {
            match word {
                "rw" => {}
                "ro" => long["read_only"] = json!(true),
                "nocopy" => long["volume"] = json!({ "nocopy": true }),
                "shared" | "slave" | "private" | "rshared" | "rslave" | "rprivate" => {
                    long["bind"] = json!({ "propagation": word });
                }
                other => self.note("volumes", &format!("{target}: `{other}` {LEFT}")),
            }
        }
        long.as_object().cloned()
    }

    fn memory_options(&mut self, mount: &mut Value, long: &mut Map<String, Value>) {
        let given = long.remove("tmpfs");
        let Some(mut memory) = self.mapping("volumes.tmpfs", given) else {
            return;
        };
        let size = memory.remove("size");
        if let Some(size) = self.memory("volumes.tmpfs.size", size.as_ref()) {
            mount["size"] = json!(size);
        }
        if let Some(mode) = memory.remove("mode") {
            mount["mode"] = json!(octal(&mode));
        }
        self.rest_of("tmpfs", &memory);
    }

    /// What the mount says, and how the file says that the volume is made.
    fn volume_options(
        &mut self,
        mount: &mut Value,
        long: &mut Map<String, Value>,
        name: Option<&str>,
    ) {
        let mut options = Map::new();
        let given = long.remove("volume");
        if let Some(mut volume) = self.mapping("volumes.volume", given) {
            let empty = volume.remove("nocopy");
            if self.truth("volumes.volume.nocopy", empty.as_ref()) == Some(true) {
                options.insert("noCopy".to_owned(), json!(true));
            }
            self.rest_of("volume", &volume);
        }
        let made = name.and_then(|name| self.names.made.get(name));
        for (theirs, ours, bare) in [
            ("driver_opts", "options", Bare::Left),
            ("labels", "labels", Bare::Empty),
        ] {
            let given = made.and_then(|made| made.get(theirs)).cloned();
            let given = self.pairs(
                &format!("volumes.{theirs}"),
                &given.unwrap_or_default(),
                bare,
            );
            if !given.is_empty() {
                options.insert(ours.to_owned(), json!(given));
            }
        }
        let driver = made.and_then(|made| made.get("driver")).and_then(text);
        if let Some(driver) = driver.filter(|driver| driver != "local") {
            options.insert("driver".to_owned(), json!(driver));
        }
        if !options.is_empty() {
            mount["volume"] = json!(options);
        }
    }

    fn rest_of(&mut self, section: &str, left: &Map<String, Value>) {
        for field in left.keys() {
            self.note("volumes", &format!("`{section}.{field}` {LEFT}"));
        }
    }

    fn file(&mut self, kind: &'static str, value: &Value) -> Option<Value> {
        let Some(long) = value.as_object() else {
            let name = self.word(kind, Some(value))?;
            return Some(self.origin(kind, &name));
        };
        let Some(name) = long.get("source").and_then(text) else {
            self.unusable(kind, value);
            return None;
        };
        let mut file = self.origin(kind, &name);
        for field in ["target", "uid", "gid"] {
            if let Some(value) = self.word(&format!("{kind}.{name}.{field}"), long.get(field)) {
                file[field] = json!(value);
            }
        }
        if let Some(mode) = long.get("mode").filter(|mode| !mode.is_null()) {
            file["mode"] = json!(octal(mode));
        }
        let known = ["source", "target", "uid", "gid", "mode"];
        self.others(&format!("{kind}.{name}"), long, &known);
        Some(file)
    }

    /// Where its content comes from. The stack shows it under its short name.
    fn origin(&mut self, kind: &'static str, name: &str) -> Value {
        match self.names.own.get(&(kind, name.to_owned())) {
            Some((way, value)) => {
                let mut file = json!({ "name": name });
                let (way, value) = (*way, value.clone());
                let origin = self.word(&format!("{kind}.{name}"), Some(&value));
                file[way] = json!(origin.unwrap_or_default());
                file
            }
            None => {
                if !self.names.knows(kind, name) {
                    let what = format!(
                        "`{name}` is not defined in the file: the {} must exist in Swarm",
                        kind.trim_end_matches('s')
                    );
                    self.note(kind, &what);
                }
                json!({ "source": self.names.real(kind, name), "target": name })
            }
        }
    }
}
