//! A Compose file as releases: what can be carried over, and a note on everything that cannot. Pure.
//!
//! What must never happen: a field that is left out without a note.

mod deploy;
mod details;
mod fields;
mod merge;
mod reading;
mod service;
mod storage;
mod variables;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// What does not stand in the file.
pub(crate) struct Options<'a> {
    /// The releases' namespace.
    pub(crate) namespace: &'a str,
    /// The stack's name: networks, volumes, configs and secrets without a name of their own have it before theirs.
    pub(crate) stack: &'a str,
    /// Services with ports are reached at `SERVICE.DOMAIN`.
    pub(crate) domain: &'a str,
    /// The variables that the file may use.
    pub(crate) variables: &'a dyn Fn(&str) -> Option<String>,
    /// The text of a file that this one names, or why there is none.
    pub(crate) files: &'a dyn Fn(&str) -> Result<String, String>,
}

/// What became of a file.
#[derive(Debug, Default)]
pub(crate) struct Imported {
    /// Manifests, as they are written.
    pub(crate) releases: Vec<Value>,
    /// What was not carried over, or must be seen to, each with its place.
    pub(crate) notes: Vec<String>,
    /// Something is missing without which they cannot be applied.
    pub(crate) unfinished: bool,
}

/// The releases that a Compose file's services come to.
///
/// # Errors
/// When it is no Compose file.
pub(crate) fn import(text: &str, options: &Options<'_>) -> Result<Imported, String> {
    let mut yaml = serde_saphyr::Options::default();
    // `mode: 0440` is octal to Compose.
    yaml.legacy_octal_numbers = true;
    // And `yes` is a text where a text may stand.
    yaml.strict_booleans = true;
    let mut file: Value = serde_saphyr::from_str_with_options(text, yaml)
        .map_err(|error| format!("it cannot be read: {error}"))?;
    let mut notes = Vec::new();
    let mut unfinished = variables::fill(&mut file, options, &mut notes);
    merge::keys(&mut file);
    merge::extends(&mut file, &mut notes);
    let Some(file) = file.as_object() else {
        return Err("it is no mapping".to_owned());
    };
    let Some(services) = file.get("services").and_then(Value::as_object) else {
        return Err("it has no `services`".to_owned());
    };
    let names = Names::of(file, options.stack);
    let mut releases = Vec::new();
    let mut called: BTreeMap<String, &str> = BTreeMap::new();
    for (name, service) in services {
        match service.as_object() {
            Some(service) => {
                let mut made = service::Service::new(name, service, &names, options);
                made.call(&mut called);
                releases.extend(made.release());
                unfinished |= made.unfinished;
                notes.append(&mut made.notes);
            }
            None => notes.push(format!(
                "services.{name}: it is no mapping and was left out"
            )),
        }
    }
    for key in file.keys() {
        let known = [
            "services", "networks", "volumes", "configs", "secrets", "version", "name",
        ];
        if !known.contains(&key.as_str()) && !key.starts_with("x-") {
            notes.push(format!("{key}: is not carried over"));
        }
    }
    notes.extend(names.notes(file));
    notes.sort();
    notes.dedup();
    Ok(Imported {
        releases,
        notes,
        unfinished,
    })
}

/// The real names of networks, volumes, configs and secrets.
struct Names {
    real: BTreeMap<(&'static str, String), String>,
    /// Configs and secrets whose content the file names: how.
    own: BTreeMap<(&'static str, String), (&'static str, Value)>,
    /// How volumes are made.
    made: BTreeMap<String, Value>,
    stack: String,
}

const KINDS: [&str; 4] = ["networks", "volumes", "configs", "secrets"];

/// Where the content of a config or secret is: how Compose says it, and how a manifest does.
const OWN: [(&str, &str); 3] = [
    ("file", "file"),
    ("environment", "env"),
    ("content", "content"),
];

/// The fields of a network, volume, config or secret that are used, or of which is said who must see to them.
fn known(kind: &str) -> &'static [&'static str] {
    match kind {
        "networks" => &["name", "external"],
        "volumes" => &["name", "external", "driver", "driver_opts", "labels"],
        _ => &["name", "external", "file", "environment", "content"],
    }
}

impl Names {
    fn of(file: &Map<String, Value>, stack: &str) -> Self {
        let mut real = BTreeMap::new();
        let mut own = BTreeMap::new();
        let volumes = file.get("volumes").and_then(Value::as_object);
        let made = volumes.cloned().unwrap_or_default().into_iter().collect();
        for kind in KINDS {
            for (name, one) in file
                .get(kind)
                .and_then(Value::as_object)
                .into_iter()
                .flatten()
            {
                let given = one.get("name").or_else(|| one.get("external")?.get("name"));
                let external = one.get("external").is_some_and(|e| e != &json!(false));
                let found = match (given.and_then(Value::as_str), external) {
                    (Some(given), _) => given.to_owned(),
                    (None, true) => name.clone(),
                    (None, false) => format!("{stack}_{name}"),
                };
                real.insert((kind, name.clone()), found);
                for (theirs, ours) in OWN {
                    if let Some(value) = one
                        .get(theirs)
                        .filter(|_| kind == "configs" || kind == "secrets")
                    {
                        own.insert((kind, name.clone()), (ours, value.clone()));
                    }
                }
            }
        }
        Self {
            real,
            own,
            made,
            stack: stack.to_owned(),
        }
    }

    fn knows(&self, kind: &'static str, name: &str) -> bool {
        self.real.contains_key(&(kind, name.to_owned()))
    }

    fn real(&self, kind: &'static str, name: &str) -> String {
        let known = self.real.get(&(kind, name.to_owned()));
        known
            .cloned()
            .unwrap_or_else(|| format!("{}_{name}", self.stack))
    }

    /// Objects that a stack makes and a release only uses.
    fn notes(&self, file: &Map<String, Value>) -> Vec<String> {
        let mut notes = Vec::new();
        for ((kind, name), real) in &self.real {
            let one = file.get(*kind).and_then(|all| all.get(name));
            let external = one
                .and_then(|one| one.get("external"))
                .is_some_and(|external| external != &json!(false));
            // Configs and secrets with a content of their own are the release's own.
            let own = one.is_some_and(|one| OWN.iter().any(|(way, _)| one.get(way).is_some()));
            let what = kind.trim_end_matches('s');
            let fields = one.and_then(Value::as_object).into_iter().flatten();
            for (field, _) in fields {
                if !known(kind).contains(&field.as_str()) && !field.starts_with("x-") {
                    notes.push(format!(
                        "{kind}.{name}.{field}: is not carried over: a release does not say how a {what} is made"
                    ));
                }
            }
            if !external && !own && *kind != "volumes" {
                notes.push(format!(
                    "{kind}.{name}: the {what} {real} must exist in Swarm (`docker {what} create`); releases use it and do not make it"
                ));
            }
        }
        notes
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn imported(name: &str) -> Imported {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compose");
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        let files = |name: &str| {
            std::fs::read_to_string(folder.join(name)).map_err(|error| error.to_string())
        };
        let options = Options {
            namespace: "default",
            stack: "shop",
            domain: "example.com",
            variables: &|_| None,
            files: &files,
        };
        import(&text, &options).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    #[test]
    fn whatever_is_written_is_valid_and_can_be_applied() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compose");
        let mut seen = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let name = entry.unwrap().file_name().to_string_lossy().into_owned();
            if !name.ends_with(".yaml") {
                continue;
            }
            for release in imported(&name).releases {
                // As a user would: through the text.
                let text = crate::session::yaml(&release).unwrap();
                for document in fm_api::manifest::read(&name, text.as_bytes()) {
                    document.unwrap_or_else(|problems| panic!("{name}: {problems:?}\n{text}"));
                    seen += 1;
                }
            }
        }
        assert!(seen >= 14, "{seen}");
    }

    #[test]
    fn what_cannot_be_used_or_must_be_set_is_named() {
        let made = imported("12-odd.yaml");
        let names: Vec<&str> = made
            .releases
            .iter()
            .filter_map(|release| release["metadata"]["name"].as_str())
            .collect();
        assert_eq!(
            names,
            [
                "a-b",
                "a-b-2",
                "very-long-service-name-num",
                "very-long-service-name-n-2"
            ]
        );
        let notes = made.notes.join("\n");
        for said in [
            "services.a_b: its release would be called a-b, as that of services.a-b; it is a-b-2 now",
            "services.a-b.deploy.replicas: -1 is no number of tasks",
            "services.a-b.deploy.resources.limits.cpus: \"many\" cannot be used",
            "services.a-b.configs: `nope` is not defined in the file: the config must exist in Swarm",
            "services.a-b.deploy.restart_policy.window: is not carried over",
            "$TAG: the variable must be set: say which",
        ] {
            assert!(notes.contains(said), "{said}: {notes}");
        }
        assert!(made.unfinished);
        let second = &made.releases[1]["spec"];
        assert_eq!(second["replicas"], 3);
        assert_eq!(second["workload"]["image"], "b:1");
        assert!(!imported("06-minimal.yaml").unfinished);
    }

    #[test]
    fn nothing_is_left_out_in_silence() {
        let made = imported("13-silent.yaml");
        let web = |one: &&Value| one["metadata"]["name"] == "web";
        let workload = &made.releases.iter().find(web).unwrap()["spec"]["workload"];
        for (field, wanted) in [
            // A text is nobody's to change, and a plain number with a nought before it is octal to Compose.
            (
                "/configs/0/content",
                json!("chmod:\n  mode: 0644\nmode: 0444\n"),
            ),
            ("/configs/1/name", json!("page")),
            ("/configs/1/target", json!("/etc/page")),
            ("/configs/1/uid", json!("5")),
            ("/env/MODE", json!("420")),
            ("/env/ON", json!("yes")),
            ("/env/TWO", json!("2")),
            ("/tty", json!(true)),
            ("/readOnly", json!(true)),
            ("/hosts", json!({ "db": "10.0.0.7" })),
            (
                "/ulimits",
                json!({ "nofile": { "soft": 100, "hard": 100 } }),
            ),
            ("/labels", json!({ "plain": "" })),
            ("/serviceLabels", json!({ "plain": "", "a": "b" })),
            ("/stopGracePeriod", json!("1s500ms")),
            ("/healthcheck/interval", json!("30s")),
            ("/healthcheck/retries", json!(3)),
            ("/restart/delay", json!("1s500ms")),
            ("/placement/maxReplicasPerNode", json!(2)),
            ("/mounts/0/readOnly", json!(true)),
            ("/mounts/0/volume/labels", json!({ "plain": "" })),
        ] {
            assert_eq!(workload.pointer(field), Some(&wanted), "{field}");
        }
        let notes = made.notes.join("\n");
        for said in [
            "services.web.ports.name: is not",
            "services.web.configs: {\"target\":\"/x\"} cannot be used",
            "services.web.init: \"often\"",
            "services.web.sysctls: `a` has no value",
            "services.web.extra_hosts: `nobody` has no address",
            "services.web.group_add: {\"a\":1}",
            "services.web.ulimits.nproc: {\"soft\":1}",
            "services.web.entrypoint: it is empty",
            "services.web.healthcheck.retries: \"x\"",
            "services.web.healthcheck.start_interval: is not",
            "services.web.logging.format: is not",
            "services.web.tmpfs: {\"a\":1}",
            "services.web.volumes: \"a:/b:ro:z\"",
            "services.web.volumes.volume.nocopy: \"maybe\"",
            "services.web.volumes.driver_opts: `o` has no value",
            "services.web.deploy.restart_policy.window: \"long\"",
            "services.web.deploy.restart_policy.priority: is not",
            "services.web.deploy.placement.preferences: {\"spreadd\":\"x\"}",
            "services.web.deploy.resources.reservations.generic_resources: {\"kind\":\"gpu\"}",
            "services.web.deploy.resources.requests: is not",
            "services.bare.deploy: \"often\"",
            "services.bare.logging: \"none\"",
            "configs.page.template_driver: is not",
            "secrets.key.driver: is not",
            "secrets.key.labels: is not",
            "networks.default.driver_opts: is not",
        ] {
            assert!(notes.contains(said), "{said}: {notes}");
        }
        assert!(!notes.contains("x-own"), "{notes}");
        assert!(!made.unfinished, "{notes}");
    }

    #[test]
    fn what_a_service_says_is_carried_over_and_the_rest_is_named() {
        let made = imported("01-shop.yaml");
        let web = made
            .releases
            .iter()
            .find(|r| r["metadata"]["name"] == "web")
            .unwrap();
        let workload = &web["spec"]["workload"];
        assert_eq!(web["spec"]["replicas"], 4);
        assert_eq!(workload["image"], "registry.example.com/shop/web:1.4.2");
        assert_eq!(
            workload["configs"][0],
            json!({ "name": "nginx", "file": "./nginx.conf", "target": "/etc/nginx/nginx.conf", "mode": "0440" })
        );
        assert_eq!(
            workload["secrets"][0],
            json!({ "source": "db_password", "target": "db_password" })
        );
        assert_eq!(workload["secrets"][1]["mode"], "0400");
        assert_eq!(
            workload["resources"]["reservations"],
            json!({ "cpus": 0.5, "memory": "512Mi" })
        );
        assert_eq!(workload["aliases"], json!(["shop", "web"]));
        assert_eq!(workload["networks"], json!(["shop_back", "shop_front"]));
        assert_eq!(workload["logging"]["options"]["max-size"], "10m");
        assert_eq!(workload["serviceLabels"]["traefik.enable"], "true");
        assert_eq!(workload["restart"]["delay"], "5s");
        assert_eq!(
            web["spec"]["routes"],
            json!([{ "hosts": ["web.example.com"], "port": 80 }])
        );
        let notes = made.notes.join("\n");
        for said in [
            "9090/udp",
            "update_config",
            "more than the limit was reserved",
            "max_attempts",
            "shop_front must exist",
        ] {
            assert!(notes.contains(said), "{said}: {notes}");
        }
        let made = imported("04-extends.yaml");
        let named = |name: &str| {
            made.releases
                .iter()
                .find(|r| r["metadata"]["name"] == name)
                .unwrap()["spec"]["workload"]
                .clone()
        };
        let (api, jobs) = (named("api"), named("jobs"));
        assert_eq!(
            api["env"],
            json!({ "A": "1", "B": "2", "COMMON": "yes", "QUOTED": "a b" })
        );
        assert_eq!(
            api["ulimits"]["nproc"],
            json!({ "soft": 65535, "hard": 65535 })
        );
        assert_eq!(jobs["command"], json!(["/bin/jobs", "--all"]));
        assert_eq!(jobs["hosts"]["v6.internal"], "::1");
        assert_eq!(
            jobs["capabilities"],
            json!({ "add": ["NET_BIND_SERVICE"], "drop": ["ALL"] })
        );
        let mut mounts = imported("11-mounts.yaml");
        assert_eq!(
            mounts.releases.remove(0)["spec"]["workload"]["mounts"],
            json!([
                { "type": "bind", "source": "/", "target": "/host", "readOnly": true, "propagation": "rslave" },
                { "type": "volume", "source": "shop_data", "target": "/data", "readOnly": true,
                    "volume": { "noCopy": true, "driver": "nfs", "options": { "share": "a:/b" }, "labels": { "kept": "yes" } } },
                { "type": "tmpfs", "target": "/scratch", "size": "1024Ki", "mode": "0700" },
                { "type": "volume", "source": "shop_data", "target": "/more", "readOnly": true,
                    "volume": { "noCopy": true, "driver": "nfs", "options": { "share": "a:/b" }, "labels": { "kept": "yes" } } },
                { "type": "bind", "source": "/etc", "target": "/etc2", "readOnly": true },
                { "type": "tmpfs", "target": "/run", "size": "64Mi", "mode": "755" },
                { "type": "tmpfs", "target": "/tmp" },
            ])
        );
        let left = mounts.notes.join("\n");
        for said in [
            "/data: `z`",
            "volume.subpath",
            "/more: `consistency`",
            "bind.create_host_path",
            "/tmp: `noexec`",
        ] {
            assert!(left.contains(said), "{said}: {left}");
        }
        let left = imported("03-global.yaml");
        assert_eq!(left.releases.len(), 1);
        assert!(
            left.notes.iter().any(|note| note.contains("`global`")),
            "{:?}",
            left.notes
        );
        let own = imported("09-inline.yaml").releases.remove(0);
        assert_eq!(
            own["spec"]["workload"]["configs"][0]["content"],
            "listen 80\nupstream ${HOST}\n"
        );
    }
}
