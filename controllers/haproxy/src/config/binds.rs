//! What of the configuration does not come from releases: folder, addresses, certificates, limits. Pure.

use std::fmt::Write as _;

use fm_telemetry::proof::Proof;

/// What does not come from releases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The folder of configuration, maps and sockets.
    pub dir: String,
    /// The runtime socket.
    pub admin_socket: String,
    /// Where requests come in.
    pub binds: Vec<Bind>,
    /// Where the log goes.
    pub log: fm_telemetry::Address,
    /// What each line of it begins with, so that nobody else can tell of requests.
    pub proof: Option<Proof>,
    /// Connections at once, from the limit of file descriptors.
    pub maxconn: u32,
}

/// Where requests come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// `host:port`, `*:port` or `:port`.
    pub address: String,
    /// TLS, with these certificates.
    pub crt: Option<Certificates>,
    /// Protocols offered under TLS.
    pub alpn: Vec<String>,
}

/// Which certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Certificates {
    /// A PEM file or a folder of them, which HAProxy reads itself.
    Path(String),
    /// Copies that were found good.
    List {
        /// The file that lists them.
        path: String,
        /// Another one needs a reload.
        version: String,
    },
}

/// A configuration that tells whether HAProxy takes the certificates of a list.
#[must_use]
pub(crate) fn certificate_trial(list: &str) -> String {
    format!(
        "defaults\n  mode http\n  timeout connect 1s\n  timeout client 1s\n  timeout server 1s\n\
         frontend trial\n  bind 127.0.0.1:1 ssl crt-list {list}\n  http-request return status 200\n"
    )
}

/// The addresses of the public frontend.
pub(super) fn lines(out: &mut String, binds: &[Bind]) {
    for bind in binds {
        let mut tls = String::new();
        if let Some(crt) = &bind.crt {
            let alpn = if bind.alpn.is_empty() {
                "h2,http/1.1".to_owned()
            } else {
                bind.alpn.join(",")
            };
            let named = match crt {
                Certificates::Path(path) => format!("crt {path}"),
                Certificates::List { path, version } => {
                    line!(out, "  # certificates {version}");
                    format!("crt-list {path}")
                }
            };
            tls = format!(" ssl {named} alpn {alpn} ssl-min-ver TLSv1.2");
        }
        line!(out, "  bind {}{tls}", bind.address);
    }
}
