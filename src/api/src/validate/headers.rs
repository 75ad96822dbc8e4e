//! Headers that a manifest must not set: they are secrets, the request's own, or cannot be sent.

use std::collections::BTreeMap;

use crate::problem::{Problem, join};
use crate::release::ReleaseSpec;

/// Whoever reads the manifest would read them.
const SECRET: [&str; 5] = [
    "authorization",
    "cookie",
    "private-token",
    "proxy-authorization",
    "x-api-key",
];
/// A second one would make another request of it.
const OWN: [&str; 6] = [
    "connection",
    "content-length",
    "content-type",
    "host",
    "te",
    "transfer-encoding",
];

/// What is wrong with the headers of webhooks and metrics.
pub(super) fn check(spec: &ReleaseSpec) -> Vec<Problem> {
    let mut found = Vec::new();
    for (index, hook) in spec.webhooks.iter().enumerate() {
        each(
            &mut found,
            &format!("spec.webhooks[{index}].headers"),
            &hook.headers,
        );
    }
    for (index, metric) in spec.analysis.metrics.iter().enumerate() {
        if let Some(web) = &metric.web {
            each(
                &mut found,
                &format!("spec.analysis.metrics[{index}].web.headers"),
                &web.headers,
            );
        }
    }
    found
}

fn each(found: &mut Vec<Problem>, path: &str, headers: &BTreeMap<String, String>) {
    for (name, value) in headers {
        let plain = name.to_ascii_lowercase();
        let (wrong, allowed) = if SECRET.contains(&plain.as_str()) {
            (
                "whoever may read the manifest would know this secret",
                "`authRef`: a login of `providers` in frd's configuration",
            )
        } else if OWN.contains(&plain.as_str()) || plain.starts_with("webhook-") {
            ("every request has its own", "other headers")
        } else if !value.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            (
                "a header holds letters, digits and signs of ASCII alone",
                "a value in ASCII; anything else encoded, as percents for example",
            )
        } else {
            continue;
        };
        let mut path = path.to_owned();
        join(&mut path, name);
        found.push(Problem::new(path, wrong).allowed(allowed));
    }
}
