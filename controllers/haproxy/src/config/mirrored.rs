//! What the configuration has where requests are mirrored. Pure.

use std::fmt::Write as _;

use super::Settings;

const SECTIONS: &str = include_str!("../haproxy.cfg.mirror");
/// What an original and its copy share in the log.
pub(super) const PAIR: &str = r#""mi":%[var(txn.mid,-1)],"#;

/// Where HAProxy tells the agent of requests, and where it takes copies.
pub(super) fn sections(settings: &Settings) -> String {
    settings.sockets(SECTIONS)
}

/// Safe requests without a body that stable answers by the split: of those below the record's tenth field the agent is told, and
/// where it takes one the canary is asked as well. Where it does not answer within 20 ms the request goes on without.
pub(super) fn rules(out: &mut String) {
    line!(
        out,
        "  http-request set-var(txn.mi) var(txn.rec),field(10,|)"
    );
    line!(
        out,
        "  http-request set-var(txn.cp) bool(true) if {{ var(txn.mi) -m len gt 0 }} !{{ var(txn.sd) -m found }} {{ method GET HEAD OPTIONS }} !{{ req.fhdr(upgrade) -m found }} !{{ req.fhdr(transfer-encoding) -m found }} !{{ req.hdr_val(content-length) gt 0 }} {{ rand(10000),sub(txn.mi) lt 0 }} {{ nbsrv(be_mirror) gt 0 }}"
    );
    line!(
        out,
        "  http-request set-var-fmt(txn.mid) %[rand(2147483647)] if {{ var(txn.cp) -m found }}"
    );
    line!(
        out,
        "  http-request send-spoe-group mirror copies if {{ var(txn.cp) -m found }}"
    );
    line!(
        out,
        "  http-request set-var(txn.sd) str(o) if {{ var(txn.fm.taken) -m found }}"
    );
}
