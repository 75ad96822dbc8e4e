//! Addresses: Docker's, HAProxy's public side, and where counts are read from other machines.

use std::net::SocketAddr;

use fm_haproxy::Bind;
use fm_telemetry::peers::Peers;

use super::{Wrong, absolute};
use crate::config;

/// An address that other machines can be told: they must find it.
pub(super) fn telemetry(listen: Option<String>) -> Result<Option<SocketAddr>, Wrong> {
    let Some(text) = listen else {
        return Ok(None);
    };
    let address = text.parse::<SocketAddr>().ok();
    let fits = |address: &SocketAddr| address.port() != 0 && !address.ip().is_unspecified();
    address.filter(fits).map(Some).ok_or_else(|| {
        Wrong::File(format!(
            "telemetry.listen: `{}` is no address that others find; allowed: ADDRESS:PORT of this machine, such as 10.0.0.2:7480",
            text.escape_debug()
        ))
    })
}

/// The certificate by which other daemons know us, and theirs.
pub(super) fn peers(tls: Option<config::PeerTls>) -> Result<Option<Peers>, Wrong> {
    let read = |tls: config::PeerTls| Peers::read(&tls.crt, &tls.key, &tls.ca);
    let read = tls.map(read).transpose();
    read.map_err(|error| Wrong::File(format!("telemetry.tls: {error}")))
}

pub(super) fn docker(address: Option<String>) -> Result<String, Wrong> {
    let address = address.unwrap_or_else(|| "unix:///var/run/docker.sock".to_owned());
    if address.starts_with("unix://") || address.starts_with("tcp://") {
        Ok(address)
    } else {
        Err(Wrong::Flag(format!(
            "docker: `{address}` is no address; allowed: unix://PATH or tcp://HOST:PORT"
        )))
    }
}

pub(super) fn binds(flags: Vec<String>, file: Vec<config::Bind>) -> Result<Vec<Bind>, Wrong> {
    let binds: Vec<Bind> = if flags.is_empty() {
        file.into_iter()
            .map(|bind| {
                let crt = bind.crt.as_deref().map(absolute).transpose()?;
                Ok(Bind {
                    address: bind.address,
                    crt,
                    alpn: bind.alpn,
                })
            })
            .collect::<Result<_, Wrong>>()?
    } else {
        flags
            .into_iter()
            .map(|address| Bind {
                address,
                crt: None,
                alpn: Vec::new(),
            })
            .collect()
    };
    for bind in &binds {
        let port = bind
            .address
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse::<u16>().ok());
        let safe = bind
            .address
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || ".:[]*-".contains(c));
        if port.is_none_or(|port| port == 0) || !safe {
            return Err(Wrong::Flag(format!(
                "binds: `{}` is no address for HAProxy; allowed: ADDRESS:PORT, *:PORT, [V6]:PORT",
                bind.address
            )));
        }
        if bind.crt.is_none() && !bind.alpn.is_empty() {
            return Err(Wrong::File(format!(
                "binds: `{}` has alpn and no crt",
                bind.address
            )));
        }
    }
    if binds.is_empty() {
        return Ok(vec![Bind {
            address: "127.0.0.1:8080".to_owned(),
            crt: None,
            alpn: Vec::new(),
        }]);
    }
    Ok(binds)
}

/// Proxies before HAProxy whose word on the client is taken.
pub(super) fn trusted(networks: Vec<String>) -> Result<Vec<String>, Wrong> {
    match networks
        .iter()
        .find(|one| !fm_haproxy::names::is_network(one))
    {
        None => Ok(networks),
        Some(bad) => Err(Wrong::File(format!(
            "trustedProxies: `{}` is no network; allowed: an address such as 10.0.0.1, or a network such as 10.0.0.0/8",
            bad.escape_debug()
        ))),
    }
}
