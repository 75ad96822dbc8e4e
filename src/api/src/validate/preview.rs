//! Previews: what leads to them must be able to, and lead to nothing else.

use crate::problem::{Problem, shown};
use crate::quantity::Span;
use crate::release::Release;
use crate::strategy::{Preview, filled};

use super::meaning::{MONTH, span};

/// As long as every revision is.
const REVISION: &str = "0123456789";

/// Everything that is wrong with a preview of the right shape.
pub(super) fn problems(found: &mut Vec<Problem>, preview: &Preview, release: &Release) {
    let (spec, path) = (&release.spec, "spec.strategy.preview");
    let least = Span::secs(1);
    span(found, format!("{path}.ttl"), preview.ttl, least, MONTH);
    let leads = !(preview.hosts.is_empty() && preview.match_rules.is_empty());
    if leads && spec.routes.is_empty() {
        found.push(
            Problem::new(path, "there are no routes, so nothing can lead to it")
                .allowed("no `hosts` and no `match`, or routes"),
        );
    }
    if !leads && !spec.routes.is_empty() {
        found.push(
            Problem::new(
                path,
                "nothing leads to it: there is neither a host nor a header",
            )
            .allowed("`hosts`, or `match`, or a worker without routes"),
        );
    }
    for (index, template) in preview.hosts.iter().enumerate() {
        host(found, format!("{path}.hosts[{index}]"), template, release);
    }
    matches(found, preview, release);
    if !spec.analysis.metrics.is_empty() {
        found.push(
            Problem::new(
                "spec.analysis.metrics",
                "a preview is not judged: it gets no share of the requests",
            )
            .allowed("`[]`, or another strategy"),
        );
    }
}

fn host(found: &mut Vec<Problem>, at: String, template: &str, release: &Release) {
    let (meta, spec) = (&release.metadata, &release.spec);
    let host = filled(template, Some(REVISION), &meta.namespace, &meta.name);
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && !label.contains(['{', '}'])
    };
    if host.len() > 253 || !host.split('.').all(label) {
        found.push(
            Problem::new(
                at,
                format!("{} is no host name once it is filled in", shown(&host)),
            )
            .allowed("labels of 1 to 63 letters, digits and `-`, with dots between them"),
        );
    } else if spec.routes.iter().any(|route| route.hosts.contains(&host)) {
        found.push(
            Problem::new(
                at,
                format!("{host} is a host of the routes: it would be no preview"),
            )
            .allowed("a host name of its own"),
        );
    }
}

fn matches(found: &mut Vec<Problem>, preview: &Preview, release: &Release) {
    if preview.match_rules.is_empty() {
        return;
    }
    let wild = |host: &String| host.starts_with("*.");
    for (index, route) in release.spec.routes.iter().enumerate() {
        if route.hosts.iter().any(wild) {
            found.push(
                Problem::new(
                    format!("spec.routes[{index}].hosts"),
                    "a header leads to a preview at whole host names, or at `*`, only",
                )
                .allowed("host names without `*.`"),
            );
        }
    }
}
