//! Speaks HTTP with frd, over its unix socket or over https. No state but the connection.

use std::error::Error as StdError;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fm_api::http::{ApplyResult, ErrorBody, ErrorKind, ListBody};
use fm_api::keys::ReleaseKey;
use fm_api::problem::Problem;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::text;

/// No answer of frd is longer: lists come in pages.
const MOST: usize = 64 << 20;
/// Objects of one page of a list.
const PAGE: usize = 250;

/// Where frd listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// A socket of this machine.
    Unix(PathBuf),
    /// Another machine.
    Https(String),
}

impl Address {
    /// Reads `unix:PATH` or `https://…`.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let unix = text.strip_prefix("unix:");
        if let Some(path) = unix.map(|path| path.strip_prefix("//").unwrap_or(path)) {
            if !path.is_empty() {
                return Ok(Address::Unix(PathBuf::from(path)));
            }
        } else if text.len() > "https://".len() && text.starts_with("https://") {
            return Ok(Address::Https(text.trim_end_matches('/').to_owned()));
        } else if text.starts_with("http://") {
            return Err(Error::new(format!(
                "`{text}` is not encrypted, and frd has no such door"
            ))
            .hint("write https://HOST, or unix:PATH on frd's own machine")
            .exit(crate::error::Exit::Usage));
        }
        Err(Error::new(format!("`{text}` is no address of frd"))
            .hint("write --server unix:PATH or --server https://HOST:PORT")
            .exit(crate::error::Exit::Usage))
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::Https(url) => f.write_str(url),
        }
    }
}

/// A connection to frd.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    address: Address,
}

/// An answer that is no success, with every problem that was named.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// What goes to people when the problems are not shown one by one.
    pub(crate) error: Error,
    /// Each field that is wrong.
    pub(crate) problems: Vec<Problem>,
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        refusal.error
    }
}

impl Client {
    /// A client of the frd at `address`; connects with the first request.
    pub(crate) fn new(address: Address) -> Result<Self> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("frctl/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(5));
        let base = match &address {
            Address::Unix(path) => {
                // No certificates are read for a socket: a machine without any must be able to speak to its own frd.
                builder = builder
                    .unix_socket(path.as_path())
                    .tls_certs_only([])
                    .no_proxy();
                "http://frd".to_owned()
            }
            Address::Https(url) => url.clone(),
        };
        let http = builder
            .build()
            .map_err(|error| Error::new("the HTTP client cannot start").because(error))?;
        Ok(Self {
            http,
            base,
            address,
        })
    }

    /// The path of a release, below which its parts lie.
    pub(crate) fn release(key: &ReleaseKey) -> String {
        format!("/v1/namespaces/{}/releases/{}", key.namespace(), key.name())
    }

    /// A request without a time limit of its own.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    /// Sends a request and reads the JSON of the answer.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Value, Refusal> {
        let response = request
            .timeout(Duration::from_secs(30))
            .send()
            .await
            .map_err(|error| self.unreachable(error))?;
        let status = response.status();
        let body = self.read(response).await?;
        if status.is_success() {
            return Ok(serde_json::from_slice(&body).map_err(unexpected)?);
        }
        Err(refusal(status, &body))
    }

    /// The body, if it is of a length that frd's answers have.
    pub(crate) async fn read(&self, response: reqwest::Response) -> Result<Vec<u8>> {
        read(response)
            .await
            .map_err(|error| error.told(&self.address))
    }

    /// GET, as it comes.
    pub(crate) async fn get(&self, path: &str) -> Result<Value> {
        Ok(self.send(self.request(Method::GET, path)).await?)
    }

    /// Every object of a list, read page by page.
    pub(crate) async fn list(&self, path: &str) -> Result<Vec<Value>> {
        let separator = if path.contains('?') { '&' } else { '?' };
        let first = format!("{path}{separator}limit={PAGE}");
        let mut next = first.clone();
        let mut all = Vec::new();
        loop {
            let page: ListBody<Value> = typed(self.get(&next).await?)?;
            let some = !page.items.is_empty();
            all.extend(page.items);
            match page.more {
                Some(more) if some => next = format!("{first}&continue={}", encoded(&more)),
                Some(_) | None => return Ok(all),
            }
        }
    }

    /// GET, for people: without control characters.
    pub(crate) async fn shown<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        shown(self.get(path).await?)
    }

    /// POST of a JSON body.
    pub(crate) async fn post(&self, path: &str, body: &impl Serialize) -> Result<Value> {
        Ok(self
            .send(self.request(Method::POST, path).json(body))
            .await?)
    }

    /// The query by which a reason is told with a release; none without one.
    pub(crate) fn why(why: Option<&str>) -> String {
        why.map_or_else(String::new, |why| format!("?why={}", encoded(why)))
    }

    /// Stores a release, as it was written or typed; with a generation only if that is the stored one's.
    pub(crate) async fn put(
        &self,
        key: &ReleaseKey,
        release: &impl Serialize,
        query: &str,
        generation: Option<u64>,
    ) -> Result<ApplyResult, Refusal> {
        let path = format!("{}{query}", Self::release(key));
        let mut request = self.request(Method::PUT, &path).json(release);
        if let Some(generation) = generation {
            request = request.header("if-match", generation.to_string());
        }
        Ok(typed(self.send(request).await?)?)
    }

    /// Why frd could not be reached, and what to do.
    pub(crate) fn unreachable(&self, error: reqwest::Error) -> Refusal {
        Refusal {
            error: unreachable(&self.address, error),
            problems: Vec::new(),
        }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Refusal {
            error,
            problems: Vec::new(),
        }
    }
}

/// Why a body was not read.
enum Unread {
    /// It is too long to be frd's.
    TooLong,
    /// The connection broke.
    Broke(reqwest::Error),
}

impl Unread {
    fn told(self, address: &Address) -> Error {
        match self {
            Unread::TooLong => {
                let most = MOST >> 20;
                Error::new(format!(
                    "the answer is longer than {most} MiB, and was not read"
                ))
                .hint("is this address frd's? `frctl doctor` looks closer")
            }
            Unread::Broke(error) => unreachable(address, error),
        }
    }
}

async fn read(mut response: reqwest::Response) -> Result<Vec<u8>, Unread> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(Unread::Broke)? {
        if body.len() + chunk.len() > MOST {
            return Err(Unread::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The body of a refusal; one that cannot be read says nothing.
pub(crate) async fn words(response: reqwest::Response) -> Vec<u8> {
    read(response).await.unwrap_or_default()
}

/// Text as it may stand in a query.
pub(crate) fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// A typed object of what came, as it came.
pub(crate) fn typed<T: DeserializeOwned>(value: Value) -> Result<T> {
    serde_json::from_value(value).map_err(unexpected)
}

fn unexpected(error: serde_json::Error) -> Error {
    Error::new("frd's answer is not what frctl expects")
        .hint("`frctl version` shows whether the two are of different age")
        .because(error)
}

/// A typed object of what came, for people: without control characters.
pub(crate) fn shown<T: DeserializeOwned>(mut value: Value) -> Result<T> {
    text::clean_json(&mut value);
    typed(value)
}

pub(crate) fn refusal(status: StatusCode, body: &[u8]) -> Refusal {
    let Ok(ErrorBody { error }) = serde_json::from_slice(body) else {
        return Error::new(format!("the server answers {status}"))
            .hint("is this address frd's? `frctl doctor` looks closer")
            .into();
    };
    let problems: Vec<Problem> = error
        .problems
        .iter()
        .map(|problem| {
            let mut shown = Problem::new(text::clean(&problem.path), text::clean(&problem.message));
            shown.allowed = problem.allowed.as_deref().map(text::clean);
            shown
        })
        .collect();
    let mut failure = Error::new(text::clean(&error.message)).kind(error.kind);
    if let Some(hint) = advice(error.kind, &error.message) {
        failure = failure.hint(hint);
    }
    Refusal {
        error: failure,
        problems,
    }
}

fn advice(kind: ErrorKind, message: &str) -> Option<&'static str> {
    match kind {
        ErrorKind::NotFound => message
            .starts_with("there is no release")
            .then_some("`frctl get -A` lists every release"),
        ErrorKind::Unavailable => Some("`frctl doctor` says which part of frd is not well"),
        ErrorKind::Internal => Some("frd's log says more; please report it"),
        ErrorKind::Invalid | ErrorKind::Conflict | ErrorKind::Refused => None,
    }
}

/// The operating system's error below an HTTP error, if there is one.
pub(crate) fn io_kind(error: &(dyn StdError + 'static)) -> Option<io::ErrorKind> {
    let mut next = Some(error);
    let mut found = None;
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            found = Some(io.kind());
        }
        next = error.source();
    }
    found
}

fn unreachable(address: &Address, error: reqwest::Error) -> Error {
    let kind = io_kind(&error);
    let timeout = error.is_timeout();
    let (message, hint) = match (address, kind) {
        (_, _) if timeout => (
            format!("frd at {address} does not answer in time"),
            "`frctl doctor` looks closer".to_owned(),
        ),
        (Address::Unix(path), Some(io::ErrorKind::NotFound)) => {
            (format!("there is no frd at {address}"), absent(path))
        }
        (Address::Unix(path), Some(io::ErrorKind::PermissionDenied)) => (
            format!("you may not use frd's socket {}", path.display()),
            "its owner and group may: `frctl doctor` names them; or use sudo".to_owned(),
        ),
        (Address::Unix(_), Some(io::ErrorKind::ConnectionRefused)) => (
            format!("nobody listens at {address} any more"),
            "frd has ended: start it again, and look at its log".to_owned(),
        ),
        _ => (
            format!("frd at {address} cannot be reached"),
            "`frctl doctor` looks closer".to_owned(),
        ),
    };
    Error::new(message)
        .hint(hint)
        .kind(ErrorKind::Unavailable)
        .because(Plain(error.without_url()))
}

fn absent(path: &Path) -> String {
    format!(
        "start frd (`frd --listen unix:{}`), or name its socket with --server or FRCTL_SERVER",
        path.display()
    )
}

/// reqwest's own sentence (`error sending request`) says nothing that its source does not say better.
#[derive(Debug)]
struct Plain(reqwest::Error);

impl std::fmt::Display for Plain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut deepest: &dyn StdError = &self.0;
        while let Some(below) = deepest.source() {
            deepest = below;
        }
        std::fmt::Display::fmt(deepest, f)
    }
}

impl StdError for Plain {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_sockets_or_https() {
        assert_eq!(
            Address::parse("unix:/run/x.sock").unwrap(),
            Address::Unix("/run/x.sock".into())
        );
        assert_eq!(
            Address::parse("unix:///run/x.sock").unwrap(),
            Address::Unix("/run/x.sock".into())
        );
        assert_eq!(
            Address::parse("https://frd.example.com/").unwrap(),
            Address::Https("https://frd.example.com".into())
        );
        for text in [
            "",
            "unix:",
            "unix://",
            "https://",
            "http://x",
            "/run/x.sock",
        ] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_reason_is_one_value_of_the_query() {
        assert_eq!(Client::why(None), "");
        assert_eq!(
            Client::why(Some("a & b=é+\n")),
            "?why=a%20%26%20b%3D%C3%A9%2B%0A"
        );
    }

    #[test]
    fn an_answer_of_somebody_else_is_told_apart() {
        let refusal = refusal(StatusCode::BAD_GATEWAY, b"<html>");
        assert_eq!(
            refusal.error.to_string(),
            "the server answers 502 Bad Gateway"
        );
    }
}
