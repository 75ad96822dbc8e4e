//! How an agent is set up, and what is refused before anything is touched.

use std::path::PathBuf;

use crate::names;

/// How an agent is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// The agent's name: one for each HAProxy.
    pub instance: String,
    /// The folder of configuration, maps and sockets; absolute.
    pub dir: PathBuf,
    /// Whose HAProxy it is.
    pub mode: Mode,
    /// Where requests come in.
    pub binds: Vec<Bind>,
    /// Networks of proxies before HAProxy, whose word on the client is taken: addresses or CIDR.
    pub trusted_proxies: Vec<String>,
    /// Where this agent's counters are served: `unix:/path` or `https://host:port`.
    pub telemetry_address: String,
    /// Say what would be done, and do nothing.
    pub observe_only: bool,
}

/// Whose HAProxy it is.
#[derive(Debug, Clone)]
pub enum Mode {
    /// The agent starts it and keeps it alive.
    Owned {
        /// The program.
        binary: PathBuf,
    },
    /// Somebody else starts it, with the configuration in the agent's folder, `-W` and a master socket.
    External {
        /// Its master socket.
        master: PathBuf,
        /// Its runtime socket, which the configuration will name.
        admin: PathBuf,
        /// The program, if it is at hand: asked about a configuration before a reload.
        binary: Option<PathBuf>,
        /// Where it sends its log if it cannot reach a socket in the agent's folder.
        log: Option<std::net::SocketAddr>,
    },
}

/// Where requests come in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bind {
    /// `host:port`, `*:port` or `:port`.
    pub address: String,
    /// A PEM file with certificate and key, or a folder of them: TLS.
    pub crt: Option<PathBuf>,
    /// Protocols offered under TLS; empty: `h2` and `http/1.1`.
    pub alpn: Vec<String>,
}

/// Why an agent cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The set-up is wrong.
    #[error("{0}")]
    Options(String),
    /// The folder cannot be used.
    #[error("{path} cannot be used: {message}")]
    Folder {
        /// The folder.
        path: String,
        /// What went wrong.
        message: String,
    },
    /// No receiver for HAProxy's log.
    #[error("the log receiver cannot listen: {0}")]
    Receiver(std::io::Error),
}

impl Options {
    /// Checks what the operator chose, because it stands in the configuration.
    ///
    /// # Errors
    /// With the first thing that is wrong, and what is allowed.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let wrong = |text: String| Err(Error::Options(text));
        if !names::is_word(&self.instance) {
            return wrong(format!(
                "instance `{}`: allowed are letters, digits, `.`, `_`, `-`",
                self.instance
            ));
        }
        if !names::is_file_path(&self.dir.to_string_lossy()) {
            return wrong(format!(
                "HAProxy's folder `{}`: allowed is an absolute path without white space or quotes",
                self.dir.display()
            ));
        }
        for bind in &self.binds {
            if !is_address(&bind.address) {
                return wrong(format!(
                    "bind `{}`: allowed is HOST:PORT, *:PORT or :PORT",
                    bind.address
                ));
            }
            if let Some(crt) = bind
                .crt
                .as_ref()
                .filter(|crt| !names::is_file_path(&crt.to_string_lossy()))
            {
                return wrong(format!(
                    "crt `{}`: allowed is an absolute path without white space or quotes",
                    crt.display()
                ));
            }
            if let Some(bad) = bind
                .alpn
                .iter()
                .find(|name| !matches!(name.as_str(), "h2" | "http/1.1" | "http/1.0"))
            {
                return wrong(format!("alpn `{bad}`: allowed are h2, http/1.1, http/1.0"));
            }
        }
        if let Some(bad) = self
            .trusted_proxies
            .iter()
            .find(|one| !names::is_network(one))
        {
            return wrong(format!(
                "trustedProxies: `{bad}` is no network; allowed: an address such as 10.0.0.1, or a network such as 10.0.0.0/8"
            ));
        }
        if self.binds.is_empty() {
            return wrong("no bind: requests need a place to come in".to_owned());
        }
        Ok(())
    }

    /// The master socket.
    #[must_use]
    pub(crate) fn master(&self) -> PathBuf {
        match &self.mode {
            Mode::Owned { .. } => self.dir.join("master.sock"),
            Mode::External { master, .. } => master.clone(),
        }
    }

    /// The runtime socket.
    #[must_use]
    pub(crate) fn admin(&self) -> PathBuf {
        match &self.mode {
            Mode::Owned { .. } => self.dir.join("admin.sock"),
            Mode::External { admin, .. } => admin.clone(),
        }
    }

    /// HAProxy's program, if it is at hand.
    #[must_use]
    pub(crate) fn binary(&self) -> Option<PathBuf> {
        match &self.mode {
            Mode::Owned { binary } => Some(binary.clone()),
            Mode::External { binary, .. } => binary.clone(),
        }
    }
}

fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    let host_ok = host.is_empty()
        || host == "*"
        || host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b".-:[]".contains(&b));
    host_ok && port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// Connections at once that the limit of file descriptors leaves room for; `haproxy -c` does not check it.
#[must_use]
pub(crate) fn max_connections() -> u32 {
    let limit = std::fs::read_to_string("/proc/self/limits")
        .ok()
        .and_then(|text| {
            let line = text
                .lines()
                .find(|line| line.starts_with("Max open files"))?
                .to_owned();
            // Soft limit, then hard limit: HAProxy raises its own to the hard one.
            line.split_ascii_whitespace().nth(4)?.parse::<u32>().ok()
        })
        .unwrap_or(4096);
    // Two descriptors a connection, and room for checks, listeners and logs. Those between our own frontends count as well.
    (limit.saturating_sub(1000) / 2).clamp(300, 60_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_host_and_port() {
        for good in ["127.0.0.1:80", ":8080", "*:443", "[::1]:80"] {
            assert!(is_address(good), "{good}");
        }
        for bad in ["80", "a b:80", "x:0", "x:99999", "x:80 ssl", "/tmp/sock"] {
            assert!(!is_address(bad), "{bad}");
        }
    }
}
