//! Addresses of webhooks and metrics: whom they name must be one that can be asked.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::problem::{Problem, shown};
use crate::release::ReleaseSpec;

const ALLOWED: &str =
    "a host name, an IPv4 address or an IPv6 address in brackets, and a port from 1 to 65535";

/// What is wrong with hosts and ports; the rest of an address was looked at before.
pub(super) fn check(spec: &ReleaseSpec) -> Vec<Problem> {
    let mut all = Vec::new();
    for (index, hook) in spec.webhooks.iter().enumerate() {
        all.push((format!("spec.webhooks[{index}].url"), &hook.url));
    }
    for (index, metric) in spec.analysis.metrics.iter().enumerate() {
        let path = format!("spec.analysis.metrics[{index}]");
        let addresses = [
            (
                "prometheus.address",
                metric.prometheus.as_ref().map(|s| &s.address),
            ),
            ("influx.address", metric.influx.as_ref().map(|s| &s.address)),
            ("web.url", metric.web.as_ref().map(|s| &s.url)),
        ];
        for (field, address) in addresses {
            all.extend(address.map(|address| (format!("{path}.{field}"), address)));
        }
    }
    let wrong = all.into_iter().filter_map(|(path, address)| {
        let wrong = nobody(address)?;
        Some(Problem::new(path, format!("this is no address: {wrong}")).allowed(ALLOWED))
    });
    wrong.collect()
}

/// Why an address names nobody.
fn nobody(address: &str) -> Option<String> {
    let (_, rest) = address.split_once("://")?;
    let whom = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (host, port) = match whom.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        Some(_) | None => (whom, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let port_fits = |port: &str| digits(port) && port.parse::<u16>().is_ok_and(|port| port > 0);
    let inside = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    if let Some(inside) = inside {
        if inside.parse::<Ipv6Addr>().is_err() {
            return Some(format!("{} is no IPv6 address", shown(inside)));
        }
    } else if host.contains(':') {
        return Some("an IPv6 address stands in brackets".to_owned());
    } else if let Some(wrong) = no_name(host) {
        return Some(wrong);
    }
    let port = port.filter(|port| !port_fits(port))?;
    Some(format!("{} is no port", shown(port)))
}

/// Why a text is neither a host name nor an IPv4 address.
fn no_name(host: &str) -> Option<String> {
    let name = host.strip_suffix('.').unwrap_or(host);
    let last = name.rsplit('.').next().unwrap_or_default();
    // Whoever reads an address takes a name that ends in a number for a number.
    let number = last.starts_with(|c: char| c.is_ascii_digit())
        && (last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x"));
    if number {
        return name
            .parse::<Ipv4Addr>()
            .is_err()
            .then(|| format!("{} is no IPv4 address", shown(host)));
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let label = |label: &str| (1..=63).contains(&label.len()) && label.chars().all(fits);
    let named = name.len() <= 253 && name.split('.').all(label);
    (!named).then(|| format!("{} is no host name", shown(host)))
}

#[cfg(test)]
mod tests {
    use super::nobody;

    #[test]
    fn whom_an_address_names_can_be_asked() {
        for good in [
            "http://prometheus:9090",
            "https://ci.example.com/hooks?x=a:b",
            "http://shop_db.internal./",
            "http://10.0.0.25:80/",
            "http://[::1]:8080/x",
            "http://[fd00::7]",
            "http://a1.2b/",
            "HTTP://A:1",
        ] {
            assert_eq!(nobody(good), None, "{good}");
        }
        for bad in [
            "http://10.0.0.256/",
            "http://10.1/",
            "http://010.0.0.1/",
            "http://0x7f/",
            "http://1.2.3.4.5/",
            "http://[x/",
            "http://[x]/",
            "http://x]/",
            "http://[::1/",
            "http://a:b:80/",
            "http://::1/",
            "http://a:+80/",
            "http://a:0/",
            "http://a:99999/",
            "http://a:/",
            "http://a..b/",
            "http://./",
            "http://:80/",
        ] {
            assert!(nobody(bad).is_some(), "{bad}");
        }
    }
}
