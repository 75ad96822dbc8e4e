//! A small reader and writer of Docker's API, for what the library does not carry faithfully.
//!
//! Tasks (their networks), services read back, and services posted exactly as they were rendered. Each request has a
//! time limit. What must never happen: a login in a log line or an error.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::{TcpStream, UnixStream};

use crate::docker::DockerError;
use crate::read::RawDistribution;

/// The API version that every engine since 20.10 speaks.
const VERSION: &str = "/v1.41";
/// More than ten thousand tasks need; an answer beyond it is refused rather than kept in memory.
const MOST: usize = 256 << 20;

/// Where Docker listens.
#[derive(Debug, Clone)]
enum Address {
    Unix(PathBuf),
    Tcp(String),
}

/// The client. One connection for each request: on a local socket that costs microseconds.
#[derive(Debug, Clone)]
pub(crate) struct Raw {
    address: Address,
    limit: Duration,
}

impl Raw {
    /// A client of `unix:///path` or `tcp://host:port`.
    pub(crate) fn new(docker: &str, limit: Duration) -> Result<Raw, DockerError> {
        let address = if let Some(path) = docker.strip_prefix("unix://") {
            Address::Unix(PathBuf::from(path))
        } else if let Some(host) = docker
            .strip_prefix("tcp://")
            .or_else(|| docker.strip_prefix("http://"))
        {
            Address::Tcp(host.trim_end_matches('/').to_owned())
        } else {
            return Err(DockerError::Silent(format!(
                "`{docker}` is no address of Docker: write unix:///path or tcp://host:port"
            )));
        };
        Ok(Raw { address, limit })
    }

    /// Reads something.
    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        filters: Option<&serde_json::Value>,
    ) -> Result<T, DockerError> {
        let path = match filters {
            Some(filters) => format!("{path}?filters={}", escape(&filters.to_string())),
            None => path.to_owned(),
        };
        let body = self.send("GET", &path, None, None, MOST).await?;
        serde_json::from_slice(&body)
            .map_err(|error| DockerError::Silent(format!("Docker's answer to {path}: {error}")))
    }

    /// What a registry says of an image, with a login in Docker's header format if there is one.
    pub(crate) async fn inspect(
        &self,
        reference: &str,
        login: Option<&str>,
    ) -> Result<RawDistribution, DockerError> {
        let path = format!("/distribution/{reference}/json");
        let body = self.send("GET", &path, None, login, MOST).await?;
        serde_json::from_slice(&body)
            .map_err(|error| DockerError::Silent(format!("Docker's answer to {path}: {error}")))
    }

    /// Reads bytes, no more than so many.
    pub(crate) async fn bytes(&self, path: &str, most: usize) -> Result<Bytes, DockerError> {
        self.send("GET", path, None, None, most).await
    }

    /// Posts something, with a registry login in Docker's header format if there is one.
    pub(crate) async fn post(
        &self,
        path: &str,
        body: &serde_json::Value,
        login: Option<&str>,
    ) -> Result<Bytes, DockerError> {
        let body = Some(body.to_string().into_bytes());
        self.send("POST", path, body, login, MOST).await
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        body: Option<Vec<u8>>,
        login: Option<&str>,
        most: usize,
    ) -> Result<Bytes, DockerError> {
        tokio::time::timeout(self.limit, self.exchange(method, path, body, login, most))
            .await
            .unwrap_or_else(|_| {
                Err(DockerError::Silent(format!(
                    "Docker did not answer within {} s",
                    self.limit.as_secs()
                )))
            })
    }

    async fn exchange(
        &self,
        method: &str,
        path: &str,
        body: Option<Vec<u8>>,
        login: Option<&str>,
        most: usize,
    ) -> Result<Bytes, DockerError> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{VERSION}{path}"))
            .header("host", "docker");
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        if let Some(login) = login {
            request = request.header("x-registry-auth", login);
        }
        let request = request
            .body(Full::new(Bytes::from(body.unwrap_or_default())))
            .map_err(silent)?;
        let answer = self.answer(request).await?;
        let status = answer.status().as_u16();
        let body = read(answer.into_body(), most).await?;
        if (200..300).contains(&status) {
            return Ok(body);
        }
        Err(DockerError::from_answer(status, &words(&body)))
    }

    /// Asks for something that may never end; its beginning has the time limit.
    pub(crate) async fn stream(&self, path: &str) -> Result<Incoming, DockerError> {
        let request = Request::builder()
            .uri(format!("{VERSION}{path}"))
            .header("host", "docker")
            .body(Full::new(Bytes::new()))
            .map_err(silent)?;
        let asked = tokio::time::timeout(self.limit, self.answer(request)).await;
        let answer = asked.unwrap_or_else(|_| {
            Err(DockerError::Silent(format!(
                "Docker did not answer within {} s",
                self.limit.as_secs()
            )))
        })?;
        let status = answer.status().as_u16();
        if (200..300).contains(&status) {
            return Ok(answer.into_body());
        }
        let body = read(answer.into_body(), 64 << 10).await?;
        Err(DockerError::from_answer(status, &words(&body)))
    }

    async fn answer(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<hyper::Response<Incoming>, DockerError> {
        match &self.address {
            Address::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(|error| {
                    DockerError::Silent(format!("Docker at {}: {error}", path.display()))
                })?;
                converse(stream, request).await
            }
            Address::Tcp(host) => {
                let stream = TcpStream::connect(host)
                    .await
                    .map_err(|error| DockerError::Silent(format!("Docker at {host}: {error}")))?;
                converse(stream, request).await
            }
        }
    }
}

async fn read(body: Incoming, most: usize) -> Result<Bytes, DockerError> {
    let body = Limited::new(body, most).collect().await;
    let body = body.map_err(|error| DockerError::Silent(format!("Docker's answer: {error}")))?;
    Ok(body.to_bytes())
}

async fn converse<S>(
    stream: S,
    request: Request<Full<Bytes>>,
) -> Result<hyper::Response<Incoming>, DockerError>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(silent)?;
    // It ends when the answer was read or the caller gave up, because the sender is dropped then.
    tokio::spawn(connection);
    sender.send_request(request).await.map_err(silent)
}

fn silent(error: impl std::fmt::Display) -> DockerError {
    DockerError::Silent(format!("Docker: {error}"))
}

/// Docker's own words in an error's body.
fn words(body: &[u8]) -> String {
    serde_json::from_slice::<serde_json::Value>(body)
        .ok()
        .and_then(|value| value.get("message")?.as_str().map(str::to_owned))
        .unwrap_or_else(|| String::from_utf8_lossy(body).trim().to_owned())
}

/// Percent-encoding of everything but what is safe in a query.
pub(crate) fn escape(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}
