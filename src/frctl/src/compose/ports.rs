//! Published ports as routes. HAProxy routes HTTP, and to everybody.

use serde_json::{Value, json};

use super::fields::{port, text};
use super::service::{Service, list};

impl Service<'_> {
    pub(super) fn routes(&mut self) -> Vec<Value> {
        let mut targets: Vec<u16> = Vec::new();
        for value in list(self.rest.remove("ports")) {
            if let Some(long) = value.as_object() {
                let known = ["target", "published", "protocol", "mode", "host_ip"];
                self.others("ports", long, &known);
            }
            match port(&value) {
                Some((target, protocol)) if protocol == "tcp" => {
                    if is_loopback(&value) {
                        self.note("ports", &format!("port {target} is published on this machine alone, so it gets no route: a route is public"));
                    } else if !targets.contains(&target) {
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
            self.note("ports", &format!("port {target} is reached at {host}, by HAProxy's own port; change the host to yours. HAProxy routes HTTP only: take the route out if it speaks anything else"));
            routes.push(json!({ "hosts": [host], "port": target }));
        }
        routes
    }
}

/// Whether a port is published to this machine alone.
fn is_loopback(value: &Value) -> bool {
    let address = match value.get("host_ip").and_then(text) {
        Some(address) => address,
        None => {
            let short = text(value).unwrap_or_default();
            let short = short.split('/').next().unwrap_or_default().to_owned();
            match short
                .strip_prefix('[')
                .and_then(|rest| rest.split_once(']'))
            {
                Some((address, _)) => address.to_owned(),
                None => {
                    let mut parts = short.rsplitn(3, ':');
                    parts.nth(2).unwrap_or_default().to_owned()
                }
            }
        }
    };
    let plain = address.trim_matches(['[', ']']);
    let parsed = plain.parse::<std::net::IpAddr>();
    plain == "localhost" || parsed.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_of_this_machine_alone_is_told_from_a_public_one() {
        for private in [
            json!("127.0.0.1:5432:5432"),
            json!("127.0.0.9::80/tcp"),
            json!("[::1]:80:80"),
            json!("::1:80:80"),
            json!("localhost:80:80"),
            json!({ "target": 80, "published": 8080, "host_ip": "127.0.0.1" }),
        ] {
            assert!(is_loopback(&private), "{private}");
        }
        for public in [
            json!("80"),
            json!(80),
            json!("8080:80"),
            json!("0.0.0.0:80:80"),
            json!("10.0.0.1:80:80"),
            json!({ "target": 80, "published": 8080 }),
        ] {
            assert!(!is_loopback(&public), "{public}");
        }
    }
}
