//! The HTTP client for other systems, with their logins.
//!
//! What must never happen: a secret in a log line, an error or a verdict; a secret sent to another host than was asked for; an
//! answer beyond its limit kept in memory; a redirect followed to another host.

mod sign;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::OnceLock;

use fm_api::criteria::metrics::origin;
use reqwest::header::{HeaderName, HeaderValue};
use reqwest::redirect::Policy;

pub use reqwest::Url;
pub use sign::sign;

/// No more redirects than this are followed, all on one host.
const REDIRECTS: usize = 5;
/// No longer secret is read.
const LONGEST_SECRET: u64 = 64 * 1024;

/// Who may be asked, and with which logins.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// By the name that manifests use.
    pub logins: BTreeMap<String, Login>,
    /// The only origins that may be asked, as [`origin`] writes them; absent: all.
    pub allowed: Option<BTreeSet<String>>,
}

/// A login.
#[derive(Debug, Clone, Default)]
pub struct Login {
    /// What is shown to the server.
    pub credential: Option<Credential>,
    /// The only certificate authorities that are trusted, in PEM; absent: the system's.
    pub ca: Option<Vec<u8>>,
    /// The only origins it is sent to; empty: none, unless there is nothing to be kept from others.
    pub origins: BTreeSet<String>,
    /// What signs the calls of webhooks.
    pub signing_key: Option<Secret>,
}

impl Login {
    /// Whether it may be used with this origin.
    ///
    /// # Errors
    /// When it is for others: their names, and this one's.
    pub fn check(&self, name: &str, origin: &str) -> Result<(), String> {
        // A certificate authority alone is no secret.
        let secret = self.credential.is_some() || self.signing_key.is_some();
        if self.origins.contains(origin) || (!secret && self.origins.is_empty()) {
            return Ok(());
        }
        let known: Vec<&str> = self.origins.iter().map(String::as_str).collect();
        let known = if known.is_empty() {
            "no address: `addresses` in frd's configuration names them".to_owned()
        } else {
            format!("{} only", known.join(", "))
        };
        Err(format!(
            "the login `{name}` is for {known}; it is not sent to {origin}"
        ))
    }
}

/// What is shown to a server. It holds where the secret is, never the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// `Authorization: Bearer …`.
    Bearer(Secret),
    /// `Authorization: Basic …`.
    Basic {
        /// The user.
        username: String,
        /// The password.
        password: Secret,
    },
    /// Any header.
    Header {
        /// Its name.
        name: String,
        /// Its value.
        value: Secret,
    },
}

/// Where a secret is. It is read anew for each use, so that a renewed one is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Secret {
    /// In a file.
    File(PathBuf),
    /// In an environment variable.
    Env(String),
}

impl Secret {
    /// Reads it, without holding up anybody else.
    ///
    /// # Errors
    /// When it is not there; the text never holds it.
    pub async fn read(&self) -> Result<String, String> {
        let secret = self.clone();
        tokio::task::spawn_blocking(move || secret.read_now())
            .await
            .map_err(|error| error.to_string())?
    }

    /// Reads it at once.
    ///
    /// # Errors
    /// When it is not there; the text never holds it.
    pub fn read_now(&self) -> Result<String, String> {
        let text = match self {
            Secret::File(path) => {
                let shown = path.display();
                let wrong = |error: std::io::Error| format!("{shown}: {error}");
                let size = std::fs::metadata(path).map_err(wrong)?.len();
                if size > LONGEST_SECRET {
                    return Err(format!("{shown}: {size} bytes are no secret"));
                }
                std::fs::read_to_string(path).map_err(wrong)?
            }
            Secret::Env(name) => {
                std::env::var(name).map_err(|_| format!("the environment has no {name}"))?
            }
        };
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            return Err("the secret is empty".to_owned());
        }
        Ok(text.to_owned())
    }
}

/// One request.
pub struct Request<'a> {
    /// Where.
    pub url: Url,
    /// Posted with this content type; absent: GET.
    pub body: Option<(&'static str, String)>,
    /// Headers that are no secret.
    pub headers: Option<&'a BTreeMap<String, String>>,
    /// The login, by its name.
    pub auth_ref: Option<&'a str>,
    /// The most of the answer that is read, in bytes.
    pub limit: u64,
}

/// The client.
pub struct Client {
    access: Access,
    /// Which setting says who may be asked.
    setting: &'static str,
    /// By login; the empty name is none. Made when it is first needed: the system's certificates take memory.
    clients: BTreeMap<String, OnceLock<Result<reqwest::Client, String>>>,
}

impl Client {
    /// For these; `setting` is what their allowed addresses are called in frd's configuration.
    #[must_use]
    pub fn new(access: Access, setting: &'static str) -> Self {
        let names = access.logins.keys().cloned().chain([String::new()]);
        Self {
            clients: names.map(|name| (name, OnceLock::new())).collect(),
            access,
            setting,
        }
    }

    /// The login of this name.
    #[must_use]
    pub fn login(&self, name: &str) -> Option<&Login> {
        self.access.logins.get(name)
    }

    /// Asks; gives the answer's status and body.
    ///
    /// # Errors
    /// When it may not be asked, or does not answer as it should.
    pub async fn send(&self, request: Request<'_>) -> Result<(u16, Vec<u8>), String> {
        let to = origin(request.url.as_str())?;
        if self
            .access
            .allowed
            .as_ref()
            .is_some_and(|allowed| !allowed.contains(&to))
        {
            return Err(format!(
                "{to} is not among the addresses that frd may ask ({})",
                self.setting
            ));
        }
        let name = request.auth_ref.unwrap_or_default();
        let cell = self
            .clients
            .get(name)
            .ok_or_else(|| format!("frd's configuration has no provider `{name}`"))?;
        let login = self.access.logins.get(name);
        if let Some(login) = login {
            login.check(name, &to)?;
        }
        let client = cell
            .get_or_init(|| build(login))
            .as_ref()
            .map_err(Clone::clone)?;
        let mut asked = match request.body {
            Some((kind, body)) => client
                .post(request.url)
                .header("content-type", kind)
                .body(body),
            None => client.get(request.url),
        };
        asked = asked.header("accept", "application/json");
        for (name, value) in request.headers.into_iter().flatten() {
            asked = asked.header(name, value);
        }
        if let Some(credential) = login.and_then(|login| login.credential.as_ref()) {
            asked = show(asked, credential, "Bearer").await?;
        }
        let mut answer = asked.send().await.map_err(|error| words(&error))?;
        let status = answer.status().as_u16();
        let too_large = || format!("the answer is larger than {} bytes", request.limit);
        if answer
            .content_length()
            .is_some_and(|length| length > request.limit)
        {
            return Err(too_large());
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| words(&error))? {
            if (body.len() + chunk.len()) as u64 > request.limit {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok((status, body))
    }
}

/// A client that trusts whom the login names, and follows no redirect to another host.
///
/// # Errors
/// When the certificate authority cannot be read.
pub fn build(login: Option<&Login>) -> Result<reqwest::Client, String> {
    // An earlier one of the process is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let policy = Policy::custom(|attempt| {
        let here = origin(attempt.url().as_str());
        let first = attempt.previous().first().map(|url| origin(url.as_str()));
        if first != Some(here) {
            attempt.error("it redirects to another address, which is not followed")
        } else if attempt.previous().len() > REDIRECTS {
            attempt.error("it redirects again and again")
        } else {
            attempt.follow()
        }
    });
    let mut builder = reqwest::Client::builder()
        .redirect(policy)
        .no_proxy()
        .referer(false)
        .pool_max_idle_per_host(1)
        .user_agent(concat!("fridaymorning/", env!("CARGO_PKG_VERSION")));
    if let Some(ca) = login.and_then(|login| login.ca.as_ref()) {
        let authorities = reqwest::Certificate::from_pem_bundle(ca)
            .map_err(|error| format!("the certificate authority cannot be read: {error}"))?;
        builder = builder.tls_certs_only(authorities);
    }
    builder.build().map_err(|error| words(&error))
}

/// Shows a login with a request. `scheme` is how a bearer is announced: `Bearer`, or `Token` where a system calls it so.
///
/// # Errors
/// When the secret cannot be read; the text never holds it.
pub async fn show(
    request: reqwest::RequestBuilder,
    credential: &Credential,
    scheme: &str,
) -> Result<reqwest::RequestBuilder, String> {
    let hidden = |text: &str| {
        let mut value = HeaderValue::from_str(text)
            .map_err(|_| "the secret holds characters that no header may hold".to_owned())?;
        value.set_sensitive(true);
        Ok::<_, String>(value)
    };
    Ok(match credential {
        Credential::Bearer(token) => request.header(
            "authorization",
            hidden(&format!("{scheme} {}", token.read().await?))?,
        ),
        Credential::Basic { username, password } => {
            request.basic_auth(username, Some(password.read().await?))
        }
        Credential::Header { name, value } => {
            let name: HeaderName = name
                .parse()
                .map_err(|_| format!("`{name}` is no name of a header"))?;
            request.header(name, hidden(&value.read().await?)?)
        }
    })
}

/// What went wrong, down to its cause, without the address: the reader knows it.
#[must_use]
pub fn words(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    let kind = if error.is_connect() {
        "no connection"
    } else if error.is_redirect() {
        "redirected"
    } else if error.is_body() || error.is_decode() {
        "the answer broke off"
    } else {
        "no answer"
    };
    let cause = cause.to_string();
    if cause.starts_with("error ") {
        kind.to_owned()
    } else {
        format!("{kind}: {cause}")
    }
}

/// The start of a body, for people.
#[must_use]
pub fn start(body: &[u8]) -> String {
    String::from_utf8_lossy(body.get(..120).unwrap_or(body))
        .trim()
        .to_owned()
}

/// Reads an address that a manifest gave.
///
/// # Errors
/// Why it is none.
pub fn url(address: &str) -> Result<Url, String> {
    origin(address)?;
    Url::parse(address).map_err(|error| format!("this is no address: {error}"))
}

/// Pairs as a form.
#[must_use]
pub fn form(pairs: &[(&str, &str)]) -> String {
    // The address is only there to carry them.
    Url::parse_with_params("http://form", pairs)
        .ok()
        .and_then(|url| url.query().map(str::to_owned))
        .unwrap_or_default()
}
