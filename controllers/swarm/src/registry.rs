//! What a registry says of an image: who is asked, with which login, and what an answer means for people.
//!
//! What must never happen: a login sent to another server than its own; an answer that a person must act on told as if it
//! came right by itself; a failure told without the image's name.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base64::Engine;
use serde_json::{Value, json};

use crate::RegistryLogin;
use crate::docker::{Docker, DockerError, LocalImage};

/// A registry may be slow.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// Why an image, or what it needs, is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// What is wrong, and what next.
    pub(crate) words: String,
    /// It may come right without anybody doing anything.
    pub(crate) transient: bool,
    /// The image is not there any more, or never was.
    pub(crate) gone: bool,
}

impl Failure {
    /// Somebody must do something.
    pub(crate) fn lasting(words: impl Into<String>) -> Failure {
        Failure {
            words: words.into(),
            transient: false,
            gone: false,
        }
    }
}

impl From<DockerError> for Failure {
    fn from(error: DockerError) -> Failure {
        Failure {
            transient: matches!(error, DockerError::Silent(_)),
            words: error.to_string(),
            gone: false,
        }
    }
}

/// Where images come from.
#[derive(Clone)]
pub(crate) struct Images {
    pub(crate) docker: Docker,
    pub(crate) logins: BTreeMap<String, RegistryLogin>,
}

impl Images {
    /// The image as tasks are told it: by digest or id. One of this machine comes first, unless `anew` asks what its registry
    /// says today.
    pub(crate) async fn pin(
        &self,
        reference: &str,
        auth: Option<&str>,
        anew: bool,
    ) -> Result<String, Failure> {
        let login = self.login(reference, auth)?;
        let local = self.docker.local_image(reference).await?;
        let pinned = local.as_ref().map(|image| pin_local(reference, image));
        match pinned {
            // What was built here, no registry knows.
            Some(pinned) if !anew || !pinned.contains('@') || reference.contains('@') => {
                return Ok(pinned);
            }
            Some(_) | None => {}
        }
        if reference.starts_with("sha256:") {
            return Err(Failure {
                words: format!(
                    "No such image: {reference}; this machine does not have it, and an id is in no registry: load it again, \
                     or name another image"
                ),
                transient: false,
                gone: true,
            });
        }
        match self.docker.registry_digest(reference, login).await {
            Ok(digest) => Ok(format!("{}@{digest}", repository(reference))),
            Err(error) => Err(told(reference, auth, &error)),
        }
    }

    fn login(
        &self,
        reference: &str,
        auth: Option<&str>,
    ) -> Result<Option<&RegistryLogin>, Failure> {
        let Some(name) = auth else {
            return Ok(None);
        };
        let Some(login) = self.logins.get(name) else {
            let known: Vec<&str> = self.logins.keys().map(String::as_str).collect();
            return Err(Failure::lasting(format!(
                "registryAuth `{name}` is not in frd's configuration; it has: {}",
                if known.is_empty() {
                    "none".to_owned()
                } else {
                    known.join(", ")
                }
            )));
        };
        login.check(reference).map_err(|why| {
            Failure::lasting(format!(
                "the login `{name}` is sent to its own server alone: {why}; name a login of that server, or none"
            ))
        })?;
        Ok(Some(login))
    }
}

/// What kind of no it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum No {
    /// It wants a login, or does not know this one.
    Login,
    /// This login may not have it.
    Denied,
    /// There is no such image.
    Gone,
    /// Too many questions.
    Busy,
    /// The registry itself is in trouble.
    Down,
    /// No answer in time.
    Late,
    /// Its certificate is not trusted.
    Certificate,
    /// It speaks HTTP.
    Plain,
    /// It is not reached.
    Away,
    /// The reference cannot be read.
    Reference,
    /// Anything else.
    Other,
}

/// By Docker's and the registries' words: the statuses they come with say less.
const WORDS: [(No, &[&str]); 10] = [
    (No::Certificate, &["x509", "tls: "]),
    (No::Plain, &["server gave http response to https client"]),
    (
        No::Busy,
        &["toomanyrequests", "too many requests", "429", "rate limit"],
    ),
    (
        No::Login,
        &[
            "no basic auth credentials",
            "unauthorized",
            "authentication required",
            "401",
        ],
    ),
    (
        No::Gone,
        &[
            "manifest unknown",
            "no such manifest",
            "not found",
            "name unknown",
            "404",
        ],
    ),
    (No::Denied, &["denied", "forbidden", "403"]),
    (
        No::Down,
        &[
            "service unavailable",
            "bad gateway",
            "gateway timeout",
            "internal server error",
            "unexpected http status: 5",
            "503",
        ],
    ),
    (
        No::Late,
        &[
            "did not answer within",
            "deadline exceeded",
            "client.timeout",
            "tls handshake timeout",
            "timeout error",
            "awaiting headers",
        ],
    ),
    (
        No::Away,
        &[
            "no such host",
            "connection refused",
            "i/o timeout",
            "no route to host",
            "network is unreachable",
            "connection reset",
            "server misbehaving",
            "eof",
        ],
    ),
    (No::Reference, &["invalid reference"]),
];

fn kind(words: &str) -> No {
    let words = words.to_ascii_lowercase();
    // An address or a digest may hold any of them.
    let plain: String = words
        .split_whitespace()
        .filter(|word| !word.contains('/') && !word.contains("sha256"))
        .collect::<Vec<_>>()
        .join(" ");
    let mut all = plain.split(|c: char| !c.is_ascii_alphanumeric());
    let all: BTreeSet<&str> = all.by_ref().collect();
    let has = |part: &&str| match part.bytes().all(|b| b.is_ascii_alphanumeric()) {
        true => all.contains(*part),
        false => plain.contains(*part),
    };
    let known = WORDS.iter().find(|(_, parts)| parts.iter().any(has));
    known.map_or(No::Other, |(no, _)| *no)
}

/// A registry's no, for people: what, whether somebody is needed, and what to do.
fn told(reference: &str, auth: Option<&str>, error: &DockerError) -> Failure {
    let server = fm_api::image::registry(reference).unwrap_or_default();
    let said = error.to_string();
    let no = match error {
        // Docker's own words for "not there".
        DockerError::Missing(_) if kind(&said) == No::Other => No::Gone,
        DockerError::Missing(_)
        | DockerError::Silent(_)
        | DockerError::Stale(_)
        | DockerError::Refused(_) => kind(&said),
    };
    let again = "it is asked again after a pause, and nobody is needed yet";
    let words = match (no, auth) {
        (No::Login, None) => format!(
            "the registry {server} gives it only to who logs in, or does not have it: check the name, or name a login of \
             `registryAuth` in frd.yaml with workload.registryAuth"
        ),
        (No::Login, Some(name)) => format!(
            "the registry {server} does not take the login `{name}`: renew its password, and restart frd"
        ),
        (No::Denied, None) => format!(
            "the registry {server} refuses it without a login, or has no such image: check the name, or name a login with \
             workload.registryAuth"
        ),
        (No::Denied, Some(name)) => {
            format!(
                "the registry {server} does not let the login `{name}` have it: let it, or name another"
            )
        }
        (No::Gone, _) => format!(
            "the registry {server} has no such image: push it and say `frctl set image` once more, or name one that exists"
        ),
        (No::Busy, _) => format!("the registry {server} is asked too often; {again}"),
        (No::Down, _) => format!("the registry {server} is in trouble; {again}"),
        (No::Late, _) => format!(
            "the registry {server} gave Docker no answer within {} s; {again}",
            LIMIT.as_secs()
        ),
        (No::Certificate, _) => format!(
            "Docker does not trust the certificate of the registry {server}: give its authority to Docker \
             (/etc/docker/certs.d/{server}/ca.crt) on each node"
        ),
        (No::Plain, _) => format!(
            "the registry {server} speaks HTTP and not HTTPS: give it a certificate, or list it under \
             `insecure-registries` of Docker on each node"
        ),
        (No::Away, _) => format!("Docker does not reach the registry {server}; {again}"),
        (No::Reference, _) => "Docker cannot read this reference: correct it".to_owned(),
        (No::Other, _) => format!("the registry {server} cannot give it; {again}"),
    };
    let transient = match no {
        No::Busy | No::Down | No::Late | No::Away | No::Other => true,
        No::Login | No::Denied | No::Gone | No::Certificate | No::Plain | No::Reference => false,
    };
    Failure {
        words: format!("it is not on this machine, and {words} ({})", said.trim()),
        transient,
        gone: no == No::Gone,
    }
}

/// The digest under which the image's registry knows it, or the image's id if no registry does. Tasks with either of them
/// do not ask a registry when the image is there, which costs seconds with a name that nobody resolves.
pub(crate) fn pin_local(reference: &str, image: &LocalImage) -> String {
    let wanted = familiar(repository(reference));
    let digest = image.digests.iter().find(|digest| {
        digest
            .split_once('@')
            .is_some_and(|(name, _)| familiar(name) == wanted)
    });
    digest.unwrap_or(&image.id).clone()
}

/// `registry:5000/team/shop:1.4@sha256:…` without tag and digest.
fn repository(reference: &str) -> &str {
    let name = reference.split('@').next().unwrap_or(reference);
    match name.rsplit_once(':') {
        // A colon before the last slash is the registry's port.
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    }
}

/// Docker shows names of its own registry shortened.
fn familiar(name: &str) -> &str {
    let short = name
        .strip_prefix("index.docker.io/")
        .or_else(|| name.strip_prefix("docker.io/"))
        .unwrap_or(name);
    short.strip_prefix("library/").unwrap_or(short)
}

/// The image of a service's spec.
pub(crate) fn image(spec: &Value) -> &str {
    let image = &spec["TaskTemplate"]["ContainerSpec"]["Image"];
    image.as_str().unwrap_or_default()
}

/// The login that goes with an image, as Docker's header wants it: none for an id, which no registry knows, and never that of
/// another server.
pub(crate) fn header(
    login: Option<&RegistryLogin>,
    image: &str,
) -> Result<Option<String>, DockerError> {
    let Some(login) = login.filter(|_| fm_api::image::registry(image).is_some()) else {
        return Ok(None);
    };
    if let Err(why) = login.check(image) {
        let words = format!("the login is not sent: {why}");
        return Err(DockerError::Refused(words));
    }
    let text = json!({
        "username": login.username,
        "password": login.password,
        "serveraddress": login.server,
    });
    let text = base64::engine::general_purpose::URL_SAFE.encode(text.to_string());
    Ok(Some(text))
}

/// Docker's words without the values of environment variables: a template that it cannot fill in stands in them.
pub(crate) fn without_values(words: &str, spec: &Value) -> String {
    if let Some((before, _)) = words.split_once("expanding env failed") {
        return format!(
            "{before}expanding env failed: the value of an environment variable is no template that Swarm can fill in"
        );
    }
    let variables = spec["TaskTemplate"]["ContainerSpec"]["Env"].as_array();
    let pairs = variables.into_iter().flatten().filter_map(Value::as_str);
    let mut words = words.to_owned();
    for (name, value) in pairs.filter_map(|pair| pair.split_once('=')) {
        // What is shorter stands in every sentence.
        if value.len() >= 4 && words.contains(value) {
            words = words.replace(value, &format!("[the value of {name}]"));
        }
    }
    words
}

#[cfg(test)]
mod tests;
