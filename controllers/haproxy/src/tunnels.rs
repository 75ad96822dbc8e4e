//! Upgraded connections (WebSockets above all) of revisions that were taken back: found among HAProxy's streams, and closed.
//!
//! A stream is closed by HAProxy's name for it, which is told a moment before. What must never happen: a request that is
//! only being answered cut off, or a connection of another revision: so both the state and the task's address count.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::desired::Desired;
use crate::master;

/// The addresses of the tasks whose upgraded connections are closed.
#[must_use]
pub(crate) fn to_cut(desired: &Desired) -> BTreeSet<SocketAddr> {
    let slots = desired
        .groups
        .values()
        .flat_map(|group| group.slots.values());
    let addresses = |slot: &crate::desired::SlotTarget| slot.endpoints.clone().unwrap_or_default();
    slots
        .filter(|slot| slot.cut)
        .flat_map(addresses)
        .map(|(_, address)| address)
        .collect()
}

/// Closes what leads to these addresses, in these workers. Tells how many there were.
///
/// # Errors
/// When a worker does not answer.
pub(crate) async fn cut(
    master: &master::Client,
    workers: &[u32],
    addresses: &BTreeSet<SocketAddr>,
) -> Result<usize, master::Error> {
    let mut count = 0;
    for worker in workers {
        let streams = master.in_worker(*worker, "show sess all").await?;
        for stream in upgraded(&streams, addresses) {
            count += 1;
            // It may have ended by itself meanwhile: the next look tells.
            let command = format!("shutdown session {stream}");
            master.in_worker(*worker, &command).await?;
        }
    }
    Ok(count)
}

/// HAProxy's names of the streams that are tunnels to one of these addresses, from `show sess all`.
fn upgraded<'a>(text: &'a str, addresses: &BTreeSet<SocketAddr>) -> Vec<&'a str> {
    let mut found = Vec::new();
    let (mut name, mut tunnel, mut ours) = ("", false, false);
    for line in text.lines().chain(["0x0: "]) {
        if let Some(next) = line.strip_prefix("0x").and_then(|_| line.split(':').next()) {
            if tunnel && ours {
                found.push(name);
            }
            (name, tunnel, ours) = (next, false, false);
        } else if line.trim_start().starts_with("server=") {
            let address = line.split("addr=").nth(1).and_then(address);
            ours = address.is_some_and(|address| addresses.contains(&address));
        } else if line.trim_start().starts_with("txn=") {
            tunnel = line.contains("rsp.st=MSG_TUNNEL");
        }
    }
    found
}

fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.trim().rsplit_once(':')?;
    Some(SocketAddr::new(ip.parse().ok()?, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    // As HAProxy 2.6 writes it, shortened.
    const STREAMS: &str = "0x562676f5a8e0: [23/Nov/2026:04:40:58.134747] id=0 proto=tcpv4 source=127.0.0.1:47834\n\
        \x20 backend=r0123456789_a (id=3 mode=http) addr=127.0.0.1:39368\n\
        \x20 server=t1 (id=1) addr=127.0.0.1:18555\n\
        \x20 txn=0x5626 flags=0x8000 meth=1 status=101 req.st=MSG_TUNNEL rsp.st=MSG_TUNNEL req.f=0xcc rsp.f=0xcc\n\
        0x562677076240: [23/Nov/2026:04:40:58.439225] id=2 proto=unix_stream source=unix:1\n\
        \x20 backend=<NONE> (id=-1 mode=-)\n  server=<NONE> (id=-1)\n\
        0x7fcf88041fd0: [23/Nov/2026:04:40:58.138835] id=1 proto=tcpv4 source=127.0.0.1:47842\n\
        \x20 server=t1 (id=1) addr=127.0.0.1:18555\n\
        \x20 txn=0x7fcf flags=0x3000 meth=1 status=-1 req.st=MSG_DONE rsp.st=MSG_RPBEFORE req.f=0x4c rsp.f=0x00\n\
        0x7fcf88041fff: [23/Nov/2026:04:40:58.138835] id=1 proto=tcpv4 source=127.0.0.1:47842\n\
        \x20 server=t2 (id=2) addr=127.0.0.1:18556\n\
        \x20 txn=0x7fcf flags=0x8000 meth=1 status=101 req.st=MSG_TUNNEL rsp.st=MSG_TUNNEL req.f=0xcc rsp.f=0xcc\n\n";

    #[test]
    fn tunnels_to_a_task_are_found_and_nothing_else() {
        let to = |address: &str| BTreeSet::from([address.parse().unwrap()]);
        assert_eq!(
            upgraded(STREAMS, &to("127.0.0.1:18555")),
            ["0x562676f5a8e0"]
        );
        assert_eq!(
            upgraded(STREAMS, &to("127.0.0.1:18556")),
            ["0x7fcf88041fff"]
        );
        assert!(upgraded(STREAMS, &to("10.0.0.1:18556")).is_empty());
        assert!(upgraded("", &to("127.0.0.1:18555")).is_empty());
    }
}
