//! What an installation lets manifests ask for: the rules of `policy` in `frd.yaml`. Pure.
//!
//! Whoever may apply a manifest decides what runs on every node. A mount of `/`, a capability such as `SYS_ADMIN` or the
//! host's own network is root there. What must never happen: a rule that is read in one way before a release is stored, and
//! in another before its service starts.

use std::net::IpAddr;

use serde::Deserialize;

use crate::criteria::metrics::origin;
use crate::image;
use crate::problem::{Problem, shown};
use crate::release::ReleaseSpec;
use crate::workload::{Mount, MountKind, Workload};

/// How every problem that these rules make begins.
pub const RULE: &str = "the rule `policy.";
/// Allows everything.
const ANY: &str = "*";

/// What Docker gives every container anyway: to add it again gives nothing.
const USUAL: [&str; 14] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// The rules. Each is a list of what is allowed, with `*` for any text; a rule that is not there has its safe default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Policy {
    /// Folders of the nodes that may be mounted, with all that is below them; by default none.
    pub mounts: Option<Vec<String>>,
    /// Capabilities that may be added; by default those that Docker gives every container.
    pub capabilities: Option<Vec<String>>,
    /// Networks; by default all but the nodes' own (`host`).
    pub networks: Option<Vec<String>>,
    /// Servers that images may come from; by default all.
    pub registries: Option<Vec<String>>,
    /// Placement constraints; by default all.
    pub constraints: Option<Vec<String>>,
    /// Addresses that metrics and webhooks may be asked at; by default all but those that only a node itself has
    /// (169.254.0.0/16, fe80::/10), where clouds keep their keys.
    pub addresses: Option<Vec<String>>,
}

impl Policy {
    /// Nothing is refused.
    #[must_use]
    pub fn open() -> Self {
        let any = || Some(vec![ANY.to_owned()]);
        Self {
            mounts: any(),
            capabilities: any(),
            networks: any(),
            registries: any(),
            constraints: any(),
            addresses: any(),
        }
    }

    /// What a release may not ask for, by field.
    #[must_use]
    pub fn problems(&self, spec: &ReleaseSpec) -> Vec<Problem> {
        let mut problems = self.workload(&spec.workload);
        let candidates = spec.experiment.iter().flat_map(|all| &all.candidates);
        for (at, candidate) in candidates.enumerate() {
            let path = format!("spec.experiment.candidates[{at}].image");
            let image = candidate.image.as_deref();
            problems.extend(image.and_then(|image| self.image(&path, image)));
        }
        for (at, job) in spec.before_traffic.iter().enumerate() {
            let path = format!("spec.beforeTraffic[{at}].image");
            let image = job.image.as_deref();
            problems.extend(image.and_then(|image| self.image(&path, image)));
        }
        for (at, metric) in spec.analysis.metrics.iter().enumerate() {
            let path = format!("spec.analysis.metrics[{at}]");
            if let Some(job) = &metric.job {
                problems.extend(self.job(&format!("{path}.job"), &job.image, &job.networks));
            }
            let prometheus = metric
                .prometheus
                .iter()
                .map(|s| ("prometheus.address", &s.address));
            let influx = metric.influx.iter().map(|s| ("influx.address", &s.address));
            let web = metric.web.iter().map(|s| ("web.url", &s.url));
            let asked = prometheus.chain(influx).chain(web);
            problems.extend(
                asked.filter_map(|(field, address)| {
                    self.address(&format!("{path}.{field}"), address)
                }),
            );
        }
        for (at, hook) in spec.webhooks.iter().enumerate() {
            problems.extend(self.address(&format!("spec.webhooks[{at}].url"), &hook.url));
        }
        problems
    }

    /// What tasks may not have.
    #[must_use]
    pub fn workload(&self, workload: &Workload) -> Vec<Problem> {
        let mut problems: Vec<Problem> = (self.image("spec.workload.image", &workload.image))
            .into_iter()
            .collect();
        let mounts = workload.mounts.iter().enumerate();
        problems.extend(mounts.filter_map(|(at, mount)| self.mount(at, mount)));
        for (at, name) in workload.capabilities.add.iter().enumerate() {
            let upper = name.to_ascii_uppercase();
            let plain = upper.strip_prefix("CAP_").unwrap_or(&upper);
            let usual = USUAL.map(str::to_owned).to_vec();
            let list = self.capabilities.as_ref().unwrap_or(&usual);
            let fits = |rule: &String| {
                let rule = rule.to_ascii_uppercase();
                let rule = rule.strip_prefix("CAP_").unwrap_or(&rule);
                // All of them is no name that a pattern of names could mean.
                rule == ANY || (plain != "ALL" && matches(rule, plain)) || rule == plain
            };
            if !list.iter().any(fits) {
                let path = format!("spec.workload.capabilities.add[{at}]");
                problems.push(refused(&path, "capabilities", &shown(name), list));
            }
        }
        problems.extend(self.networks("spec.workload.networks", &workload.networks));
        for (at, constraint) in workload.placement.constraints.iter().enumerate() {
            let plain: String = constraint.split_whitespace().collect();
            let fits = |rule: &String| {
                let rule: String = rule.split_whitespace().collect();
                matches(&rule, &plain)
            };
            if let Some(list) = &self.constraints
                && !list.iter().any(fits)
            {
                let path = format!("spec.workload.placement.constraints[{at}]");
                problems.push(refused(&path, "constraints", &shown(constraint), list));
            }
        }
        problems
    }

    /// What a program that runs once may not have; `path` is its field.
    #[must_use]
    pub fn job(&self, path: &str, image: &str, networks: &[String]) -> Vec<Problem> {
        let image = self.image(&format!("{path}.image"), image);
        let networks = self.networks(&format!("{path}.networks"), networks);
        image.into_iter().chain(networks).collect()
    }

    fn networks(&self, path: &str, names: &[String]) -> Vec<Problem> {
        let wrong = |name: &String| match &self.networks {
            Some(list) => !list.iter().any(|rule| matches(rule, name)),
            None => name == "host",
        };
        let all_but = ["every network but `host`".to_owned()];
        let list = self.networks.as_deref().unwrap_or(&all_but);
        let each = names.iter().enumerate().filter(|(_, name)| wrong(name));
        each.map(|(at, name)| refused(&format!("{path}[{at}]"), "networks", &shown(name), list))
            .collect()
    }

    fn image(&self, path: &str, reference: &str) -> Option<Problem> {
        let list = self.registries.as_ref()?;
        let server = image::registry(reference);
        let fits = |rule: &String| {
            let named = image::server(rule);
            let server = server.as_deref().unwrap_or_default();
            rule == ANY || named.is_ok_and(|named| named == server) || matches(rule, server)
        };
        let what = server
            .clone()
            .unwrap_or_else(|| "an image id, which names no server".to_owned());
        (!list.iter().any(fits)).then(|| refused(path, "registries", &what, list))
    }

    fn mount(&self, at: usize, mount: &Mount) -> Option<Problem> {
        let none = Vec::new();
        let list = self.mounts.as_ref().unwrap_or(&none);
        let (field, what) = match mount.kind {
            MountKind::Tmpfs => return None,
            MountKind::Bind => ("source", mount.source.clone().unwrap_or_default()),
            MountKind::Volume => ("volume", of_the_node(mount)?),
        };
        // What Swarm fills in may be any text, also one that leads elsewhere.
        let filled = what.contains("{{");
        let fits = |rule: &String| rule == ANY || (!filled && is_below(&what, rule));
        let path = format!("spec.workload.mounts[{at}].{field}");
        (!list.iter().any(fits)).then(|| refused(&path, "mounts", &shown(&what), list))
    }

    fn address(&self, path: &str, address: &str) -> Option<Problem> {
        // Validation has refused what is no address.
        let asked = origin(address).ok()?;
        let Some(list) = &self.addresses else {
            let all_but = ["every address but link-local ones".to_owned()];
            return is_link_local(&asked).then(|| refused(path, "addresses", &asked, &all_but));
        };
        let fits = |rule: &String| {
            let named = origin(rule).unwrap_or_else(|_| rule.clone());
            rule == ANY || matches(&named, &asked)
        };
        (!list.iter().any(fits)).then(|| refused(path, "addresses", &asked, list))
    }
}

fn refused(path: &str, rule: &str, what: &str, list: &[String]) -> Problem {
    let allowed = if list.is_empty() {
        "none".to_owned()
    } else {
        list.join(", ")
    };
    let wrong = format!("{RULE}{rule}` of frd.yaml refuses {what}");
    Problem::new(path, wrong).allowed(allowed)
}

/// The folder of the node behind a volume, or that it may be anything; `None`: it is a volume like any other.
fn of_the_node(mount: &Mount) -> Option<String> {
    let volume = &mount.volume;
    if let Some(driver) = volume.driver.as_deref().filter(|driver| *driver != "local") {
        return Some(format!("the volume driver {driver}"));
    }
    let option = |name: &str| {
        volume
            .options
            .get(name)
            .map(String::as_str)
            .unwrap_or_default()
    };
    match option("type") {
        "tmpfs" | "nfs" | "nfs4" | "cifs" => None,
        _ if volume.options.is_empty() => None,
        "none" | "bind" | "" => Some(option("device").to_owned()),
        other => Some(format!("a volume of the type {other}")),
    }
}

/// Whether a path is this folder or below it. What leads out of it again is not.
fn is_below(path: &str, folder: &str) -> bool {
    let parts = |text: &str| -> Option<Vec<String>> {
        let rest = text.strip_prefix('/')?;
        let parts: Vec<String> = rest
            .split('/')
            .filter(|part| !part.is_empty() && *part != ".")
            .map(str::to_owned)
            .collect();
        (!parts.iter().any(|part| part == "..")).then_some(parts)
    };
    match (parts(path), parts(folder)) {
        (Some(path), Some(folder)) => path.starts_with(&folder),
        _ => false,
    }
}

fn is_link_local(origin: &str) -> bool {
    let host = origin.split_once("://").map_or(origin, |(_, rest)| rest);
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => address.is_link_local(),
        Ok(IpAddr::V6(address)) => {
            let mapped = address.to_ipv4_mapped();
            mapped.is_some_and(|v4| v4.is_link_local()) || address.is_unicast_link_local()
        }
        Err(_) => false,
    }
}

/// Whether a text is like a pattern, in which `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut left) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        let Some((_, after)) = left.split_once(part) else {
            return false;
        };
        left = after;
    }
    left.ends_with(last)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::validate;

    fn release(change: impl FnOnce(&mut Value)) -> ReleaseSpec {
        let mut value = json!({
            "apiVersion": "fridaymorning.dev/v1", "kind": "Release", "metadata": { "name": "shop" },
            "spec": {
                "workload": { "image": "registry.example.com/shop:1" },
                "strategy": { "canary": { "steps": [{ "weight": 10 }] } },
            },
        });
        change(&mut value["spec"]);
        validate::json(&value)
            .unwrap_or_else(|wrong| panic!("{wrong:?}"))
            .spec
    }

    fn workload(field: &str, value: Value) -> ReleaseSpec {
        release(|spec| spec["workload"][field] = value)
    }

    fn paths(policy: &Policy, spec: &ReleaseSpec) -> Vec<String> {
        policy
            .problems(spec)
            .into_iter()
            .map(|problem| problem.path)
            .collect()
    }

    fn bind(source: &str) -> Value {
        json!([{ "type": "bind", "source": source, "target": "/x", "readOnly": true }])
    }

    fn volume(options: Value) -> Value {
        json!([{ "source": "v", "target": "/x", "shared": true, "volume": { "options": options } }])
    }

    #[test]
    fn what_makes_somebody_root_on_a_node_is_refused_unless_the_file_allows_it() {
        let safe = Policy::default();
        let metadata =
            json!([{ "name": "a", "when": "beforeStep", "url": "http://169.254.169.254/" }]);
        for (spec, path) in [
            (
                workload("mounts", bind("/")),
                "spec.workload.mounts[0].source",
            ),
            (
                workload("mounts", bind("/var/run/docker.sock")),
                "spec.workload.mounts[0].source",
            ),
            (
                workload(
                    "mounts",
                    volume(json!({ "type": "none", "o": "bind", "device": "/" })),
                ),
                "spec.workload.mounts[0].volume",
            ),
            (
                workload(
                    "mounts",
                    volume(json!({ "type": "overlay", "o": "lowerdir=/", "device": "overlay" })),
                ),
                "spec.workload.mounts[0].volume",
            ),
            (
                workload("capabilities", json!({ "add": ["ALL"] })),
                "spec.workload.capabilities.add[0]",
            ),
            (
                workload("capabilities", json!({ "add": ["CHOWN", "SYS_ADMIN"] })),
                "spec.workload.capabilities.add[1]",
            ),
            (
                workload("networks", json!(["host"])),
                "spec.workload.networks[0]",
            ),
            (
                release(|spec| spec["webhooks"] = metadata),
                "spec.webhooks[0].url",
            ),
        ] {
            assert_eq!(paths(&safe, &spec), [path]);
            assert!(paths(&Policy::open(), &spec).is_empty(), "{path}");
            let said = safe.problems(&spec)[0].to_string();
            assert!(
                said.contains("the rule `policy.") && said.contains("; allowed: "),
                "{said}"
            );
        }
        for spec in [
            workload(
                "mounts",
                json!([{ "type": "tmpfs", "target": "/x" }, { "source": "data", "target": "/y", "shared": true }]),
            ),
            workload(
                "mounts",
                volume(json!({ "type": "nfs", "device": ":/export", "o": "addr=10.0.0.1" })),
            ),
            workload(
                "capabilities",
                json!({ "add": ["NET_BIND_SERVICE"], "drop": ["ALL"] }),
            ),
            workload("networks", json!(["backend"])),
        ] {
            assert_eq!(paths(&safe, &spec), Vec::<String>::new());
        }
    }

    #[test]
    fn each_rule_is_a_list_of_what_is_allowed() {
        let policy: Policy = serde_json::from_value(json!({
            "mounts": ["/srv/shop"], "capabilities": ["cap_net_admin"], "networks": ["shop-*"],
            "registries": ["registry.example.com", "*.example.org"], "constraints": ["node.labels.team == shop"],
            "addresses": ["https://prometheus:9090", "http://*.ci.example.com:80"],
        }))
        .unwrap();
        let hook = |url: &str| {
            let hook = json!([{ "name": "a", "when": "beforeStep", "url": url }]);
            release(|spec| spec["webhooks"] = hook)
        };
        let metric = |url: &str| {
            let metric = json!({ "metrics": [{ "name": "m", "max": 1, "web": { "url": url } }] });
            release(|spec| spec["analysis"] = metric)
        };
        let place = |text: &str| workload("placement", json!({ "constraints": [text] }));
        for (spec, fits) in [
            (workload("mounts", bind("/srv/shop/data")), true),
            (workload("mounts", bind("/srv/shop")), true),
            (workload("mounts", bind("/srv/shopping")), false),
            (workload("mounts", bind("/srv")), false),
            (
                workload("capabilities", json!({ "add": ["NET_ADMIN"] })),
                true,
            ),
            (workload("capabilities", json!({ "add": ["CHOWN"] })), false),
            (workload("networks", json!(["shop-back"])), true),
            (workload("networks", json!(["back"])), false),
            (workload("image", json!("a.example.org/x:1")), true),
            (workload("image", json!("shop:1")), false),
            (
                workload("image", json!(format!("sha256:{}", "a".repeat(64)))),
                false,
            ),
            (place("node.labels.team==shop"), true),
            (place("node.role == manager"), false),
            (hook("http://one.ci.example.com/x"), true),
            (hook("http://evil.example.net/x"), false),
            (metric("https://Prometheus:9090/x"), true),
            (metric("http://prometheus:9090/x"), false),
        ] {
            assert_eq!(
                paths(&policy, &spec).is_empty(),
                fits,
                "{:?}",
                policy.problems(&spec)
            );
        }
        assert!(
            !is_below("/srv/shop/../../etc", "/srv/shop")
                && is_below("/srv//shop/./x", "/srv/shop/")
        );
        assert!(serde_json::from_value::<Policy>(json!({ "mount": [] })).is_err());
    }
}
