//! What the configuration has so that no request is lost in silence, and none is offered twice that a task may have seen. Pure.
//!
//! ```text
//! stable by the split, and safe to repeat ───────────────────────────────> stable's servers
//! the canary by the split, and safe ──> be_relay ───────┬──> fm_relay ───> the canary's servers
//!                                                       └ no answer ─────> stable's servers
//! anything else ──> be_relay_once, each on a connection of its own ──────> the servers meant
//! a backend whose servers are all down ──> its backup ──> fm_other ──────> the other revision's servers
//! ```
//!
//! HAProxy 2.6 closes without an answer and without a log line where a server does so, on all but a connection's first request;
//! over HTTP/2 it even tells the client that the request was not processed. So requests that may not be repeated go over a
//! connection of their own between two of our own proxies, where each is the first. A safe request meant for the canary passes
//! two proxies as well, because only so stable can be asked when the canary closed without an answer; these connections are
//! kept, which costs half as much. Safe requests to stable, which are most, go straight: HAProxy asks again by itself. What it
//! drops on kept connections is found in its counters ([`crate::audit`]).

use std::fmt::Write as _;

use fm_api::target::Slot;

use super::Settings;
use crate::desired::Group;

const SECTIONS: &str = include_str!("../haproxy.cfg.relay");
const BACKEND: &str = include_str!("../haproxy.cfg.relay.backend");
/// Where a side of an experiment without servers leads: it has no slot of the split.
const SIDE: char = 'x';

/// The rules of the public frontend that send a request the longer way, and how its line is told apart: `h`, handed on.
pub(super) fn rules(out: &mut String) {
    let safe = "method GET HEAD OPTIONS";
    line!(out, "  http-request disable-l7-retry unless {{ {safe} }}");
    line!(
        out,
        "  http-request set-var(txn.rl) str(c) if {{ var(txn.sd) -m str c }} || {{ var(txn.sd) -m str m }} {{ var(txn.rec),field(5,|),nbsrv gt 0 }}"
    );
    line!(
        out,
        "  http-request set-var(txn.rl) str(s) if !{{ var(txn.rl) -m found }} {{ var(txn.rec) -m found }} !{{ {safe} }}"
    );
    let relayed = "{ var(txn.rl) -m found }";
    // Those that a rule forced stand outside the test: HAProxy's counters could not tell them apart.
    line!(
        out,
        "  http-request set-var(txn.kept) bool(true) if {{ var(txn.sd) -m str c }} {{ {safe} }}"
    );
    line!(
        out,
        "  http-request set-header x-fm-relay %[var(txn.sd,s)]:%[var(txn.rec)] if {relayed}"
    );
    line!(out, "  http-request set-var(txn.sd) str(h) if {relayed}");
    line!(
        out,
        "  use_backend be_relay if {{ var(txn.kept) -m found }}"
    );
    line!(out, "  use_backend be_relay_once if {relayed}");
}

/// The proxies behind the public frontend. `lookups`: the rules that find a request's record. `longest`: the longest time that an
/// answer of any release may take.
pub(super) fn sections(settings: &Settings, lookups: &str, longest: u64) -> String {
    let letters = Slot::ALL.map(Slot::letter).into_iter().chain([SIDE]);
    let others: Vec<String> = letters
        .map(|letter| format!("  bind unix@@AT@/other-{letter}.sock @MODE@ name {letter}"))
        .collect();
    let text = SECTIONS
        .replace("@RELAY@", BACKEND.trim_end())
        .replace("@OTHERS@", &others.join("\n"))
        .replace("@LOOKUPS@", lookups.trim_end())
        .replace("@LONGEST@", &longest.to_string());
    settings.sockets(&text)
}

/// The server of a slot's backend that is asked where no other can be.
pub(super) fn backup(settings: &Settings, group: &Group, slot: Slot) -> Option<String> {
    let letter = match (&group.preview, group.side) {
        (None, _) => slot.letter(),
        (Some(_), true) => SIDE,
        // Nobody else may answer for a preview.
        (Some(_), false) => return None,
    };
    Some(settings.sockets(&format!(
        "  server other unix@@TO@/other-{letter}.sock backup"
    )))
}
