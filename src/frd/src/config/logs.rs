//! `logs:` — further ways by which HAProxy's log arrives. Each entry is checked where it stands, so that its error has a line.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use fm_telemetry::intake::{Forward, Input, Tls};
use serde::Deserialize;

use super::Secret;

/// Where logs arrive besides the default.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Logs {
    pub(crate) receive: Vec<Receive>,
}

/// One receiver.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Written")]
pub(crate) enum Receive {
    /// `udp://…`, `tcp://…`, `unix:/…`.
    Syslog(Input),
    /// Forward's address, key and certificate.
    Forward(SocketAddr, Option<Secret>, Option<Certificate>),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    syslog: Option<String>,
    forward: Option<String>,
    shared_key: Option<Secret>,
    tls: Option<Certificate>,
}

/// A certificate and its key, both PEM files.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Certificate {
    crt: PathBuf,
    key: PathBuf,
}

impl TryFrom<Written> for Receive {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        match (written.syslog, written.forward) {
            (Some(_), None) if written.shared_key.is_some() || written.tls.is_some() => {
                Err("logs.receive: sharedKey and tls belong to forward, not to syslog".to_owned())
            }
            (Some(syslog), None) => self::syslog(&syslog).map(Receive::Syslog),
            (None, Some(forward)) => {
                let address = address("forward", &forward, "ADDRESS:PORT")?;
                Ok(Receive::Forward(address, written.shared_key, written.tls))
            }
            _ => Err("logs.receive: each entry has either syslog or forward".to_owned()),
        }
    }
}

fn syslog(text: &str) -> Result<Input, String> {
    const ALLOWED: &str = "udp://ADDRESS:PORT, tcp://ADDRESS:PORT, unix:/PATH";
    if let Some(rest) = text.strip_prefix("udp://") {
        return address("syslog", rest, ALLOWED).map(Input::Udp);
    }
    if let Some(rest) = text.strip_prefix("tcp://") {
        return address("syslog", rest, ALLOWED).map(Input::Tcp);
    }
    match text.strip_prefix("unix:").map(Path::new) {
        Some(path) if path.is_absolute() => Ok(Input::Unix(path.to_owned())),
        _ => Err(format!(
            "logs.receive.syslog: `{text}` is no place to listen; allowed: {ALLOWED}"
        )),
    }
}

fn address(field: &str, text: &str, allowed: &str) -> Result<SocketAddr, String> {
    (text.parse().ok())
        .filter(|address: &SocketAddr| address.port() != 0)
        .ok_or_else(|| format!("logs.receive.{field}: `{text}` is no address; allowed: {allowed}"))
}

impl Logs {
    /// Paths that are not absolute are below the file's folder.
    pub(crate) fn resolve(&mut self, folder: &Path) {
        for receive in &mut self.receive {
            if let Receive::Forward(_, secret, tls) = receive {
                if let Some(file) = secret.as_mut().and_then(|secret| secret.file.as_mut()) {
                    *file = folder.join(&*file);
                }
                if let Some(tls) = tls {
                    tls.crt = folder.join(&tls.crt);
                    tls.key = folder.join(&tls.key);
                }
            }
        }
    }

    /// Reads keys and certificates.
    pub(crate) fn open(self) -> Result<Vec<Input>, String> {
        let open = |(at, receive)| match receive {
            Receive::Syslog(input) => Ok(input),
            Receive::Forward(address, secret, tls) => {
                let named =
                    |field: &str, error: String| format!("logs.receive[{at}].{field}: {error}");
                let shared_key = secret.map(key).transpose();
                let tls = tls.map(|tls| Tls::read(&tls.crt, &tls.key)).transpose();
                Ok(Input::Forward(Forward {
                    address,
                    shared_key: shared_key.map_err(|error| named("sharedKey", error))?,
                    tls: tls.map_err(|error| named("tls", error.to_string()))?,
                }))
            }
        };
        self.receive.into_iter().enumerate().map(open).collect()
    }
}

fn key(secret: Secret) -> Result<Vec<u8>, String> {
    let text = match (secret.file, secret.env) {
        (Some(file), None) => std::fs::read_to_string(&file)
            .map_err(|error| format!("{}: {error}", file.display()))?,
        (None, Some(name)) => std::env::var(&name).map_err(|error| format!("${name}: {error}"))?,
        _ => return Err("allowed: either file or env".to_owned()),
    };
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err("the key is empty".to_owned()),
        key => Ok(key.as_bytes().to_vec()),
    }
}
