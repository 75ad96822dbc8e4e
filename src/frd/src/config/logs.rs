//! `logs:` — further ways by which HAProxy's log arrives, and where its lines are sent on to. Each entry is checked where it
//! stands, so that its error has a line.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use fm_telemetry::intake::{Forward, Input, MAX_INPUTS, Source, Tls};
use fm_telemetry::outflow::{Destination, Trust, system_authorities};
use fm_telemetry::proof::{MAX_SECRET, MIN_SECRET, Proof};
use serde::Deserialize;

use super::Secret;

/// Where logs arrive besides the default, and where they are sent on to.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Logs {
    pub(crate) receive: Vec<Receive>,
    pub(crate) forward: Vec<SendOn>,
}

/// Where lines are sent on to, by Forward.
#[derive(Debug, Deserialize)]
#[serde(try_from = "SendOnWritten")]
pub(crate) struct SendOn {
    to: String,
    tag: String,
    shared_key: Option<Secret>,
    tls: Option<Authorities>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SendOnWritten {
    to: String,
    tag: Option<String>,
    shared_key: Option<Secret>,
    tls: Option<Authorities>,
}

/// Whom the connection trusts: a PEM file, the system's by default; and the name in the certificate, the host's by default.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Authorities {
    ca: Option<PathBuf>,
    name: Option<String>,
}

impl TryFrom<SendOnWritten> for SendOn {
    type Error = String;

    fn try_from(written: SendOnWritten) -> Result<Self, String> {
        let (host, port) = written.to.rsplit_once(':').unwrap_or_default();
        let legal = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
        let port = port.parse::<u16>().unwrap_or(0);
        if host.is_empty() || port == 0 || !host.chars().all(legal) {
            let to = &written.to;
            return Err(format!(
                "logs.forward.to: `{to}` is no address; allowed: HOST:PORT"
            ));
        }
        let tag = written.tag.unwrap_or_else(|| "haproxy".to_owned());
        if tag.is_empty() || tag.len() > 200 || tag.chars().any(|c| c.is_whitespace()) {
            return Err(format!(
                "logs.forward.tag: `{tag}` is no tag; allowed: up to 200 characters without blanks"
            ));
        }
        Ok(Self {
            to: written.to,
            tag,
            shared_key: written.shared_key,
            tls: written.tls,
        })
    }
}

/// The same with keys and certificates, ready for use.
#[derive(Debug, Clone, Default)]
pub struct Ways {
    /// Where HAProxy's log arrives besides the default.
    pub receive: Vec<Source>,
    /// Where its lines are sent on to.
    pub forward: Vec<Destination>,
}

/// One receiver.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Written")]
pub(crate) enum Receive {
    /// `udp://…`, `tcp://…`, `unix:/…`, and what each line there begins with.
    Syslog(Input, Option<Secret>),
    /// Forward's address, key and certificate.
    Forward(SocketAddr, Option<Secret>, Option<Certificate>),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    syslog: Option<String>,
    forward: Option<String>,
    shared_key: Option<Secret>,
    secret: Option<Secret>,
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
            (Some(syslog), None) => {
                self::syslog(&syslog).map(|input| Receive::Syslog(input, written.secret))
            }
            (None, Some(_)) if written.secret.is_some() => {
                Err("logs.receive: secret belongs to syslog; forward has sharedKey".to_owned())
            }
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
        let below = |path: &mut PathBuf| *path = folder.join(&*path);
        let secret = |secret: &mut Option<Secret>| {
            if let Some(file) = secret.as_mut().and_then(|secret| secret.file.as_mut()) {
                below(file);
            }
        };
        for receive in &mut self.receive {
            match receive {
                Receive::Syslog(_, proof) => secret(proof),
                Receive::Forward(_, key, tls) => {
                    secret(key);
                    if let Some(tls) = tls {
                        below(&mut tls.crt);
                        below(&mut tls.key);
                    }
                }
            }
        }
        for forward in &mut self.forward {
            secret(&mut forward.shared_key);
            let ca = forward.tls.as_mut().and_then(|tls| tls.ca.as_mut());
            ca.into_iter().for_each(below);
        }
    }

    /// Reads keys and certificates. `instance` is what we are called; `counts`: the haproxy controller runs here.
    pub(crate) fn open(self, instance: &str, counts: bool) -> Result<Ways, String> {
        let idle = self.receive.is_empty() && self.forward.is_empty();
        if !(counts || idle) {
            return Err(
                "logs: lines are counted by the haproxy controller, which does not run here; allowed: \
                 `controllers` with haproxy, or no `logs`"
                    .to_owned(),
            );
        }
        if self.receive.len() > MAX_INPUTS {
            return Err(format!("logs.receive: at most {MAX_INPUTS} are allowed"));
        }
        let receive = self.receive.into_iter().enumerate();
        let forward = self.forward.into_iter().enumerate();
        Ok(Ways {
            receive: receive
                .map(|(at, receive)| {
                    input(receive).map_err(|error| format!("logs.receive[{at}].{error}"))
                })
                .collect::<Result<_, _>>()?,
            forward: forward
                .map(|(at, forward)| {
                    destination(forward, instance)
                        .map_err(|error| format!("logs.forward[{at}].{error}"))
                })
                .collect::<Result<_, _>>()?,
        })
    }
}

fn input(receive: Receive) -> Result<Source, String> {
    match receive {
        Receive::Syslog(input, secret) => {
            let proof = secret.map(proof).transpose();
            Ok(Source {
                input,
                proof: proof.map_err(|error| format!("secret: {error}"))?,
            })
        }
        Receive::Forward(address, secret, tls) => {
            let shared_key = secret.map(key).transpose();
            let tls = tls.map(|tls| Tls::read(&tls.crt, &tls.key)).transpose();
            Ok(Source::from(Input::Forward(Forward {
                address,
                shared_key: shared_key.map_err(|error| format!("sharedKey: {error}"))?,
                tls: tls.map_err(|error| format!("tls: {error}"))?,
            })))
        }
    }
}

fn destination(forward: SendOn, instance: &str) -> Result<Destination, String> {
    let trust = |tls: Authorities| {
        let ca = tls.ca.unwrap_or_else(system_authorities);
        Trust::read(&ca, tls.name.as_deref())
    };
    let shared_key = forward.shared_key.map(key).transpose();
    let tls = forward.tls.map(trust).transpose();
    Ok(Destination {
        to: forward.to,
        tag: forward.tag,
        shared_key: shared_key.map_err(|error| format!("sharedKey: {error}"))?,
        tls: tls.map_err(|error| format!("tls: {error}"))?,
        instance: instance.to_owned(),
    })
}

fn proof(secret: Secret) -> Result<Proof, String> {
    let text = String::from_utf8(key(secret)?).unwrap_or_default();
    Proof::new(text.trim()).ok_or_else(|| {
        format!(
            "it is none; allowed: {MIN_SECRET} to {MAX_SECRET} letters, digits and `-_.+/=`, such as \
             `openssl rand -hex 16` gives"
        )
    })
}

fn key(secret: Secret) -> Result<Vec<u8>, String> {
    let place = crate::settings::secret("", secret.file, secret.env)?;
    Ok(place.read_now()?.into_bytes())
}
