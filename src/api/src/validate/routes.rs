//! Routes: what HAProxy can carry, and whose a host and path are.

use std::collections::{BTreeMap, BTreeSet};

use crate::problem::{Problem, shown};
use crate::quantity::Span;
use crate::release::{Release, ReleaseSpec, Route};

use super::meaning::span;

const DAY: Span = Span::secs(86_400);
const MINUTE: Span = Span::secs(60);
const HOUR: Span = Span::secs(3600);
/// Hosts times paths over all routes of a release: each is a line in HAProxy's map.
const MOST_CLAIMS: usize = 1000;

/// A path prefix as it is compared: `/shop/` and `/shop` are one.
#[must_use]
pub fn prefix(path: &str) -> &str {
    match path.trim_end_matches('/') {
        "" => "/",
        prefix => prefix,
    }
}

/// Every host and path prefix that a release claims.
pub fn claims(release: &Release) -> impl Iterator<Item = (&str, &str)> {
    let looks = release.spec.strategy.preview_hosts();
    let preview = release.spec.strategy.preview.as_ref();
    release.spec.routes.iter().flat_map(move |route| {
        let paths = |host| route.paths.iter().map(move |path| (host, prefix(path)));
        // A preview leaves the routes' own hosts to whom they belong, and those it makes of its revisions are its alone.
        let own = route.hosts.iter().filter(move |_| preview.is_none());
        let fixed = preview.map_or(&[][..], |preview| &preview.hosts);
        let fixed = fixed.iter().filter(|host| !host.contains('{'));
        own.chain(looks)
            .chain(fixed)
            .map(String::as_str)
            .flat_map(paths)
    })
}

/// Whether another release has an older claim on one of `release`'s hosts and paths.
///
/// The older `createdAt` wins, then the smaller uid; a release without `createdAt` is younger than all others.
pub fn conflict<'a>(
    release: &Release,
    others: impl Iterator<Item = &'a Release>,
) -> Option<Problem> {
    let mine: BTreeSet<(&str, &str)> = claims(release).collect();
    let older =
        |other: &&Release| other.key() != release.key() && seniority(other) < seniority(release);
    let (other, host, path) = others
        .filter(older)
        .filter_map(|other| {
            let (host, path) = claims(other).find(|claim| mine.contains(claim))?;
            Some((other, host, path))
        })
        .min_by_key(|(other, _, _)| seniority(other))?;
    let problem = Problem::new(
        place(release, host, path),
        format!(
            "{host}{path} already belongs to the release {}",
            other.key()
        ),
    );
    Some(problem.allowed("a host and path that no older release has"))
}

type Seniority<'a> = (
    bool,
    Option<jiff::Timestamp>,
    Option<&'a str>,
    crate::keys::ReleaseKey,
);

fn seniority(release: &Release) -> Seniority<'_> {
    let meta = &release.metadata;
    (
        meta.created_at.is_none(),
        meta.created_at,
        meta.uid.as_deref(),
        release.key(),
    )
}

/// The field that claims this host and path.
fn place(release: &Release, host: &str, path: &str) -> String {
    for (index, route) in release.spec.routes.iter().enumerate() {
        let hosts = route.hosts.iter().position(|claimed| claimed == host);
        let paths = route.paths.iter().any(|claimed| prefix(claimed) == path);
        if let Some(at) = hosts.filter(|_| paths) {
            return format!("spec.routes[{index}].hosts[{at}]");
        }
    }
    let looks = release.spec.strategy.preview_hosts();
    match looks.iter().position(|claimed| claimed == host) {
        Some(at) => format!("spec.strategy.blueGreen.preview.hosts[{at}]"),
        None => "spec.routes".to_owned(),
    }
}

/// Everything that is wrong with the routes of a spec of the right shape.
pub(super) fn problems(found: &mut Vec<Problem>, spec: &ReleaseSpec) {
    let mut claimed: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for (index, route) in spec.routes.iter().enumerate() {
        one(found, index, route);
        for (at, host) in route.hosts.iter().enumerate() {
            for path in &route.paths {
                let Some(before) = claimed.insert((host, prefix(path)), index) else {
                    continue;
                };
                let wrong = if before == index {
                    format!("{host}{} is given twice", prefix(path))
                } else {
                    format!("{host}{} already belongs to routes[{before}]", prefix(path))
                };
                found.push(
                    Problem::new(format!("spec.routes[{index}].hosts[{at}]"), wrong)
                        .allowed("each host and path once"),
                );
            }
        }
    }
    if claimed.len() > MOST_CLAIMS {
        let wrong = format!("the routes make {} pairs of host and path", claimed.len());
        found.push(Problem::new("spec.routes", wrong).allowed(format!("at most {MOST_CLAIMS}")));
    }
}

fn one(found: &mut Vec<Problem>, index: usize, route: &Route) {
    let at = format!("spec.routes[{index}]");
    for (nth, path) in route.paths.iter().enumerate() {
        well_formed(found, format!("{at}.paths[{nth}]"), path);
    }
    if let Some(path) = &route.health_check.path {
        well_formed(found, format!("{at}.healthCheck.path"), path);
    }
    span(
        found,
        format!("{at}.healthCheck.interval"),
        route.health_check.interval,
        Span::millis(100),
        HOUR,
    );
    span(
        found,
        format!("{at}.timeouts.connect"),
        route.timeouts.connect,
        Span::millis(10),
        MINUTE,
    );
    span(
        found,
        format!("{at}.timeouts.server"),
        route.timeouts.server,
        Span::millis(10),
        DAY,
    );
    span(
        found,
        format!("{at}.timeouts.drain"),
        route.timeouts.drain,
        Span::ZERO,
        DAY,
    );
}

/// A prefix that no request can have is a mistake.
pub(super) fn well_formed(found: &mut Vec<Problem>, at: String, path: &str) {
    let mut segments = path.split('/').skip(1).peekable();
    let mut wrong = None;
    while let Some(segment) = segments.next() {
        match segment {
            "" if segments.peek().is_some() => wrong = Some("it has two `/` in a row"),
            "." | ".." => wrong = Some("clients resolve `.` and `..` themselves"),
            _ => {}
        }
    }
    let bytes = path.as_bytes();
    let hex = |i: usize| bytes.get(i).is_some_and(u8::is_ascii_hexdigit);
    if (0..bytes.len()).any(|i| bytes.get(i) == Some(&b'%') && !(hex(i + 1) && hex(i + 2))) {
        wrong = Some("`%` is followed by two hex digits");
    }
    if let Some(wrong) = wrong {
        found.push(
            Problem::new(at, format!("{} is no path: {wrong}", shown(path)))
                .allowed("a path as a request has it"),
        );
    }
}
