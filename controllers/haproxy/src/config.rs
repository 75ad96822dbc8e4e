//! The text of HAProxy's configuration. Pure.
//!
//! Owner: the agent; nobody else writes the file. What must never happen: a user's string in it, except header names
//! and health check paths that pass the strict patterns of [`crate::names`]. Everything that changes often lies in the
//! maps and in the addresses of servers, which need no reload; the rest is the *structure*, known by its hash.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use fm_api::quantity::Span;
use fm_api::target::Slot;

use crate::desired::{self, Desired, Group};
use crate::maps::Map;
use crate::mirror;
use crate::names::{self, Host};
use crate::state::{Admin, Server};

macro_rules! line {
    ($out:expr, $($text:tt)*) => {{
        // Writing to a string cannot fail.
        let _ = writeln!($out, $($text)*);
    }};
}

mod binds;
mod mirrored;
mod relay;

pub(crate) use binds::JAIL;
pub(crate) use binds::certificate_trial;
pub use binds::{Bind, Certificates, Jail, Settings};

/// How long a node may acknowledge nothing until its connections are given up: a node that is gone is known by the silence of
/// its kernel, however long its tasks may take for an answer.
const GONE_AFTER: &str = "3s";

/// The servers of each backend as they are written.
pub type Layout = BTreeMap<String, Vec<Server>>;

const HEAD: &str = include_str!("haproxy.cfg.head");
const RULES_END: &str = include_str!("haproxy.cfg.rules");

/// The hash of everything that only a reload changes.
#[must_use]
pub fn structure(settings: &Settings, desired: &Desired, sizes: &BTreeMap<String, u32>) -> String {
    let text = render(settings, desired, sizes, &Layout::new(), "");
    let wild = crate::maps::suffixes(desired).join(" ");
    names::hash10(&[&text, &wild])
}

/// The whole configuration.
#[must_use]
pub fn render(
    settings: &Settings,
    desired: &Desired,
    sizes: &BTreeMap<String, u32>,
    layout: &Layout,
    structure: &str,
) -> String {
    let longest = desired.groups.values().map(|g| g.server).max();
    let mut out = HEAD
        .replace("@MAXCONN@", &settings.maxconn.to_string())
        .replace("@HARDSTOP@", &hard_stop(longest).as_millis().to_string())
        .replace("@RIGHTS@", &settings.rights())
        .replace("@ADMIN@", &settings.admin_socket)
        .replace(
            "@STRUCTURE@",
            if structure.is_empty() { "-" } else { structure },
        )
        .replace("@LOG@", &settings.log.to_string());
    frontend(&mut out, settings, desired);
    nowhere(&mut out);
    let mut found = String::new();
    lookups(&mut found, settings, desired);
    let longest = hard_stop(longest).as_millis();
    out.push_str(&relay::sections(settings, &found, longest));
    if desired.mirrors {
        out.push_str(&mirrored::sections(settings));
    }
    for (id, group) in &desired.groups {
        let size = sizes.get(id).copied().unwrap_or_else(|| group.fresh_size());
        for slot in Slot::ALL {
            let name = desired::backend(id, slot);
            backend(&mut out, group, &name, size, layout);
            if let Some(backup) = relay::backup(settings, group, slot) {
                line!(out, "{backup}");
            }
        }
    }
    let proof = settings.proof.as_ref();
    let proof = proof.map_or_else(String::new, |proof| format!("{} ", proof.secret()));
    out.replace("@PROOF@", &proof)
}

/// Old workers may finish their requests after a reload, but not for ever.
fn hard_stop(longest: Option<Span>) -> Span {
    let least = Span::secs(60);
    longest.map_or(least, |span| {
        Span::millis(span.as_millis().saturating_add(5000)).max(least)
    })
}

fn frontend(out: &mut String, settings: &Settings, desired: &Desired) {
    line!(out, "frontend fm");
    // A request may pass three of our frontends: what the public one takes in must find room in the others.
    line!(out, "  maxconn {}", settings.maxconn / 3);
    binds::lines(out, &settings.binds);
    if desired.mirrors {
        let (dir, file) = (&settings.dir, mirror::SPOE_FILE);
        line!(out, "  filter spoe engine mirror config {dir}/{file}");
    }
    // Ours alone to say, whether anything is mirrored now or not.
    line!(out, "  http-request del-header {}", mirror::MARK);
    binds::client(out, &settings.trusted);
    lookups(out, settings, desired);
    looks(out, settings, desired);
    buckets(out, settings, desired);
    sides(out, settings, desired);
    // A pair's number stands in the line only where there are any.
    let (number, pair) = (
        r#""p":%pid"#,
        if desired.mirrors { mirrored::PAIR } else { "" },
    );
    out.push_str(&RULES_END.replace(number, &format!("{pair}{number}")));
}

/// The file of a map, as the configuration names it.
fn map_file(settings: &Settings, map: Map) -> String {
    format!("{}/maps/{}", settings.dir, map.file())
}

/// Host and path to the split record: as few steps as the kinds of hosts in use allow. A host that one group serves
/// whole is found in one step; `txn.g` is the group where that was not enough.
fn lookups(out: &mut String, settings: &Settings, desired: &Desired) {
    let routes = map_file(settings, Map::Routes);
    let split = map_file(settings, Map::Split);
    let host = "req.hdr(host),field(1,:),lower";
    let kinds = kinds(desired);
    let mut keys: Vec<String> = Vec::new();
    let mut unless = "";
    if kinds.exact {
        let hosts = map_file(settings, Map::Hosts);
        line!(
            out,
            "  http-request set-var(txn.rec) {host},map_str({hosts}),map_str({split})"
        );
        unless = " if !{ var(txn.rec) -m found }";
    }
    if kinds.exact || !(kinds.below || kinds.any) {
        keys.push(format!("%[{host}]%[path]/"));
    }
    if kinds.below {
        let wild = map_file(settings, Map::Wild);
        keys.push(format!("*%[{host},map_end({wild})]%[path]/"));
    }
    if kinds.any {
        keys.push("*%[path]/".to_owned());
    }
    for (index, key) in keys.iter().enumerate() {
        let more = match (index, unless) {
            (0, _) => unless.to_owned(),
            (_, "") => " if !{ var(txn.g) -m found }".to_owned(),
            (_, unless) => format!("{unless} !{{ var(txn.g) -m found }}"),
        };
        line!(out, "  http-request set-var-fmt(txn.hp) {key}{more}");
        line!(
            out,
            "  http-request set-var(txn.g) var(txn.hp),map_beg({routes}){more}"
        );
    }
    line!(
        out,
        "  http-request set-var(txn.rec) var(txn.g),map_str({split}){unless}"
    );
}

/// Headers that lead to previews: the record is the preview's, whatever the host alone leads to.
fn looks(out: &mut String, settings: &Settings, desired: &Desired) {
    let map = map_file(settings, Map::Looks);
    let any = desired.looks.keys().any(|look| look.host == Host::Any);
    for header in &desired.look_headers {
        let found = format!("{{ req.fhdr({header}) -m found }}");
        let mut hosts = vec![("%[req.hdr(host),field(1,:),lower]", "")];
        if any {
            hosts.push(("*", " !{ var(txn.pg) -m found }"));
        }
        for (host, unless) in hosts {
            line!(
                out,
                "  http-request set-var-fmt(txn.pk) {header}|%[req.fhdr({header})]|{host}%[path]/ if {found}{unless}"
            );
            line!(
                out,
                "  http-request set-var(txn.pg) var(txn.pk),map_beg({map}) if {found}{unless}"
            );
        }
    }
    if !desired.look_headers.is_empty() {
        let split = map_file(settings, Map::Split);
        line!(
            out,
            "  http-request set-var(txn.rec) var(txn.pg),map_str({split}) if {{ var(txn.pg) -m found }}"
        );
    }
}

struct Kinds {
    exact: bool,
    below: bool,
    any: bool,
}

fn kinds(desired: &Desired) -> Kinds {
    let has = |test: fn(&Host) -> bool| desired.routes.keys().any(|(host, _)| test(host));
    Kinds {
        exact: has(|host| matches!(host, Host::Exact(_))),
        below: has(|host| matches!(host, Host::Below(_))),
        any: has(|host| matches!(host, Host::Any)),
    }
}

/// The bucket, and the canary's side when it lies below the weight. Field 3 of the record is the weight, 2 the seed.
fn buckets(out: &mut String, settings: &Settings, desired: &Desired) {
    line!(out, "  http-request set-var(txn.w) var(txn.rec),field(3,|)");
    let (cookie, source) = (
        desired.affinity.contains(&'c'),
        desired.affinity.contains(&'h'),
    );
    if cookie {
        line!(
            out,
            "  http-request set-var(txn.u) req.cook(fm_uid),bytes(0,64) if {{ var(txn.rec) -m beg c }}"
        );
        line!(
            out,
            "  http-request set-var(txn.new) uuid() if {{ var(txn.rec) -m beg c }} !{{ var(txn.u) -m len gt 0 }}"
        );
        line!(
            out,
            "  http-request set-var(txn.u) var(txn.new) if {{ var(txn.new) -m found }}"
        );
    }
    if source {
        binds::source(out, &settings.trusted);
    }
    if cookie || source {
        line!(
            out,
            "  http-request set-var(txn.seed) var(txn.rec),field(2,|) if {{ var(txn.u) -m found }}"
        );
        line!(
            out,
            "  http-request set-var(txn.sd) str(c) if {{ var(txn.u),concat(:,txn.seed),xxh32(0),mod(10000),sub(txn.w) lt 0 }}"
        );
    }
    line!(
        out,
        "  http-request set-var(txn.sd) str(c) if {{ var(txn.rec) -m beg r }} {{ rand(10000),sub(txn.w) lt 0 }}"
    );
    if cookie {
        binds::cookie(out);
    }
}

/// Forced requests, and the backends: field 4 is stable's, 5 the canary's, 6 the release.
fn sides(out: &mut String, settings: &Settings, desired: &Desired) {
    let forced = forced(out, settings, desired);
    ranges(out, settings, desired, forced);
    if desired.has_previews() {
        line!(
            out,
            "  http-request set-var(txn.sd) str(m) if {{ var(txn.rec) -m beg p }}"
        );
    }
    if desired.mirrors {
        mirrored::rules(out);
    }
    relay::rules(out);
}

/// Experiments: the bucket's range gives the request the record of a side, which is then its record as a canary's is.
/// The ranges are looked at from the last one down, so the lowest that the bucket fits stays. Rules of `match` come first.
fn ranges(out: &mut String, settings: &Settings, desired: &Desired, forced: bool) {
    if desired.ranges == 0 {
        return;
    }
    let (map, split) = (
        map_file(settings, Map::Experiments),
        map_file(settings, Map::Split),
    );
    let none = desired::NO_RULE;
    let free = if forced {
        format!(" if {{ var(txn.f) -m int {none} }}")
    } else {
        String::new()
    };
    line!(
        out,
        "  http-request set-var(txn.e) var(txn.rec),field(4,|),map_str({map}){free}"
    );
    let found = "{ var(txn.e) -m found }";
    line!(out, "  http-request set-var(txn.b) rand(10000) if {found}");
    if !desired.affinity.is_empty() {
        line!(
            out,
            "  http-request set-var(txn.b) var(txn.u),concat(:,txn.seed),xxh32(0),mod(10000) if {found} {{ var(txn.u) -m found }}"
        );
    }
    for index in (0..desired.ranges).rev() {
        let (end, side) = (2 * index + 1, 2 * index + 2);
        line!(
            out,
            "  http-request set-var(txn.eh) var(txn.e),field({end},|) if {found}"
        );
        line!(
            out,
            "  http-request set-var(txn.ei) var(txn.e),field({side},|) if {found} {{ var(txn.b),sub(txn.eh) lt 0 }}"
        );
    }
    line!(
        out,
        "  http-request set-var(txn.er) var(txn.ei),map_str({split}) if {{ var(txn.ei) -m found }}"
    );
    let sided = "{ var(txn.er) -m found }";
    line!(out, "  http-request set-var(txn.sd) str(c) if {sided}");
    line!(
        out,
        "  http-request set-var(txn.rec) var(txn.er) if {sided}"
    );
}

/// Requests that a match rule sends to a side: of the words found the lowest decides. Tells whether there are any rules.
fn forced(out: &mut String, settings: &Settings, desired: &Desired) -> bool {
    let none = desired::NO_RULE;
    let (words, paths) = (
        map_file(settings, Map::Force),
        map_file(settings, Map::ForcePaths),
    );
    let header = |name: &String| (format!("h|{name}|"), format!("req.fhdr({name})"));
    let cookie = |name: &String| (format!("c|{name}|"), format!("req.cook({name})"));
    let looked_at = desired.headers.iter().map(header);
    let mut looked_at: Vec<_> = looked_at
        .chain(desired.cookies.iter().map(cookie))
        .collect();
    if !desired.force_paths.is_empty() {
        looked_at.push(("p|".to_owned(), "path".to_owned()));
    }
    if looked_at.is_empty() {
        return false;
    }
    line!(out, "  http-request set-var(txn.f) int({none})");
    for (kind, fetch) in looked_at {
        let found = format!("{{ {fetch} -m found }}");
        let (tail, find) = match fetch.as_str() {
            "path" => ("/", format!("map_beg_int({paths},{none})")),
            _ => ("", format!("map_str_int({words},{none})")),
        };
        line!(
            out,
            "  http-request set-var-fmt(txn.k) %[var(txn.rec),field(6,|)]|{kind}%[{fetch}]{tail} if {found}"
        );
        line!(
            out,
            "  http-request set-var(txn.fn) var(txn.k),{find} if {found}"
        );
        line!(
            out,
            "  http-request set-var(txn.f) var(txn.fn) if {found} {{ var(txn.fn),sub(txn.f) lt 0 }}"
        );
    }
    line!(
        out,
        "  http-request set-var(txn.sd) str(m) if {{ var(txn.f) -m int lt {none} }} {{ var(txn.f),mod(2) eq 0 }} !{{ var(txn.rec),field(5,|) -m str -- - }}"
    );
    line!(
        out,
        "  http-request set-var(txn.sd) str(n) if {{ var(txn.f) -m int lt {none} }} {{ var(txn.f),mod(2) eq 1 }}"
    );
    true
}

/// Requests without a record: 404 without a route, 503 with one.
fn nowhere(out: &mut String) {
    line!(out, "\nbackend {}", desired::NOWHERE);
    line!(
        out,
        "  http-request return status 503 content-type text/plain string \"no revision ready\\n\" if {{ var(txn.g) -m found }} || {{ var(txn.rec) -m found }}"
    );
    line!(
        out,
        "  http-request return status 404 content-type text/plain string \"no route\\n\""
    );
}

fn backend(out: &mut String, group: &Group, name: &str, size: u32, layout: &Layout) {
    line!(out, "\nbackend {name}");
    line!(out, "  balance roundrobin");
    line!(
        out,
        "  timeout connect {}ms",
        group.connect.as_millis().max(1)
    );
    line!(
        out,
        "  timeout server {}ms",
        group.server.as_millis().max(1)
    );
    line!(
        out,
        "  timeout check {}ms",
        group.connect.as_millis().clamp(1, 5000)
    );
    if let Some(path) = &group.check_path {
        line!(out, "  option httpchk");
        line!(
            out,
            "  http-check send meth GET uri {path} ver HTTP/1.1 hdr Host localhost hdr Connection close hdr User-Agent haproxy-check"
        );
        line!(out, "  http-check expect status 200-399");
    }
    let interval = group.interval.as_millis().clamp(100, 3_600_000);
    let (fast, down) = (interval.min(100), interval.min(250));
    // A connection that a request could not get has the server checked at once.
    line!(
        out,
        "  default-server inter {interval}ms fastinter {fast}ms downinter {down}ms rise 1 fall 2 pool-purge-delay 5s observe layer4 error-limit 1 on-error sudden-death"
    );
    let servers = layout.get(name);
    for index in 0..size {
        let server = servers.and_then(|all| all.get(index as usize));
        let (address, state) = written(server);
        // HAProxy 2.6 does not take `tcp-ut` over from `default-server`.
        line!(
            out,
            "  server t{} {address} check tcp-ut {GONE_AFTER}{state}",
            index + 1
        );
    }
}

/// A server that was not found healthy is written as disabled: a fresh HAProxy would believe it healthy.
fn written(server: Option<&Server>) -> (String, &'static str) {
    match server {
        Some(Server {
            address: Some(address),
            admin: Admin::Ready,
            up,
            ..
        }) => (address.to_string(), if *up { "" } else { " disabled" }),
        Some(_) | None => ("127.0.0.1:1".to_owned(), " disabled"),
    }
}
