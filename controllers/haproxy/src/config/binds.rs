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
    /// Networks of proxies before this one, whose word on the client is taken.
    pub trusted: Vec<String>,
    /// Where HAProxy's workers are shut in, and as whom they run; `None`: they keep what they were started with.
    pub jail: Option<Jail>,
    /// Connections at once, from the limit of file descriptors.
    pub maxconn: u32,
}

/// As whom HAProxy's workers run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Jail {
    /// The user's number.
    pub uid: u32,
    /// The group's.
    pub gid: u32,
}

/// The folder that is the whole world of a shut-in worker, below the agent's: it holds the sockets that workers connect to.
pub(crate) const JAIL: &str = "jail";

impl Settings {
    /// What `global` says of it.
    pub(super) fn rights(&self) -> String {
        self.jail.map_or_else(String::new, |jail| {
            format!(
                "\n  uid {}\n  gid {}\n  chroot {}/{JAIL}",
                jail.uid, jail.gid, self.dir
            )
        })
    }

    /// A text that names sockets by which workers reach each other, or us: `@AT@`, where they are bound before workers are shut
    /// in; `@MODE@`, to whom they are open; `@TO@`, where they are found afterwards.
    pub(super) fn sockets(&self, text: &str) -> String {
        let (at, mode, to) = match self.jail {
            Some(jail) => (
                format!("{}/{JAIL}", self.dir),
                format!("uid {} mode 600", jail.uid),
                String::new(),
            ),
            None => (self.dir.clone(), "mode 600".to_owned(), self.dir.clone()),
        };
        text.replace("@AT@", &at)
            .replace("@MODE@", &mode)
            .replace("@TO@", &to)
            .replace("@DIR@", &self.dir)
    }
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

/// What a client may not say of itself: where it comes from, and by which protocol. Of a proxy that is trusted it is kept.
const SAID_OF_CLIENTS: [&str; 6] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-real-ip",
];

/// The rules by which tasks learn who the client is. `txn.tls`: it came by TLS.
pub(super) fn client(out: &mut String, trusted: &[String]) {
    let unless = match trusted {
        [] => String::new(),
        some => {
            let networks = some.join(" ");
            line!(
                out,
                "  http-request set-var(txn.px) bool(true) if {{ src {networks} }}"
            );
            " if !{ var(txn.px) -m found }".to_owned()
        }
    };
    for name in SAID_OF_CLIENTS {
        line!(out, "  http-request del-header {name}{unless}");
    }
    let said = "{ req.hdr(x-forwarded-proto) -m found }";
    line!(
        out,
        "  http-request set-header X-Forwarded-Proto http if !{said} !{{ ssl_fc }}"
    );
    line!(
        out,
        "  http-request set-header X-Forwarded-Proto https if !{said} {{ ssl_fc }}"
    );
}

/// The address by which a client is known again.
pub(super) fn source(out: &mut String, trusted: &[String]) {
    let hashed = "{ var(txn.rec) -m beg h }";
    line!(out, "  http-request set-var(txn.u) src if {hashed}");
    if !trusted.is_empty() {
        line!(
            out,
            "  http-request set-var(txn.u) req.hdr_ip(x-forwarded-for,-1) if {hashed} {{ var(txn.px) -m found }} {{ req.hdr(x-forwarded-for) -m found }}"
        );
    }
}

/// The cookie by which a client is known again; where it came by TLS, it never goes back in the clear.
pub(super) fn cookie(out: &mut String) {
    let (new, tls) = ("{ var(txn.new) -m found }", "{ var(txn.tls) -m found }");
    line!(
        out,
        "  http-request set-var(txn.tls) bool(true) if {new} {{ req.hdr(x-forwarded-proto) -m str https }}"
    );
    let text = "fm_uid=%[var(txn.new)]; Path=/; Max-Age=31536000; HttpOnly; SameSite=Lax";
    line!(
        out,
        "  http-after-response add-header Set-Cookie \"{text}\" if {new} !{tls}"
    );
    line!(
        out,
        "  http-after-response add-header Set-Cookie \"{text}; Secure\" if {new} {tls}"
    );
}
