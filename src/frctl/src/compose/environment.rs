//! A service's variables: those of its files, its own, and those of the shell, as `docker stack` reads them.

use serde_json::{Map, Value, json};

use super::fields::{self, text};
use super::service::{Service, list};

impl Service<'_> {
    pub(super) fn environment(&mut self) {
        let mut all = self.env_files();
        let Some(value) = self.rest.remove("environment") else {
            return self.put("env", json!(all));
        };
        let mut bare = Vec::new();
        let own = fields::pairs(&value, |name| bare.push(name.to_owned()));
        all.extend(own);
        for name in bare {
            if name.is_empty() || name.contains(['{', '[', '"']) {
                self.no_text("environment", &name);
                continue;
            }
            // One that the shell does not have is not set at all, whatever a file says of it.
            match (self.options.variables)(&name) {
                Some(value) => {
                    all.insert(name, json!(value));
                }
                None => {
                    all.remove(&name);
                    self.note(
                        "environment",
                        &format!("`{name}` has no value here, and is not set"),
                    );
                }
            }
        }
        self.put("env", json!(all));
    }

    /// The variables of the files that it names. Every line is taken as it stands: quotes and `#` belong to the value.
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
                Ok(text) => self.env_file(&path, &text, &mut all),
            }
            if let Some(long) = file.as_object() {
                self.others("env_file", long, &["path", "required"]);
            }
        }
        all
    }

    fn env_file(&mut self, path: &str, text: &str, all: &mut Map<String, Value>) {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut quoted = false;
        for line in text.lines().map(str::trim_start) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, value) = match line.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (line, (self.options.variables)(line)),
            };
            if name.is_empty() || name.contains(char::is_whitespace) {
                let what = format!("{path}: `{name}` is no name of a variable and was left out");
                self.note("env_file", &what);
                continue;
            }
            let Some(value) = value else {
                self.note(
                    "env_file",
                    &format!("{path}: `{name}` has no value and was left out"),
                );
                continue;
            };
            quoted |= value.starts_with(['"', '\'']) || value.contains(" #");
            all.insert(name.to_owned(), json!(value));
        }
        self.note("env_file", &format!("{path}: its variables stand in the manifest now; what of them is secret belongs into `secrets`"));
        if quoted {
            let what = format!(
                "{path}: it is read as `docker stack` does: quotes, and what follows a `#`, belong to the value (Compose itself takes them off)"
            );
            self.note("env_file", &what);
        }
    }
}
