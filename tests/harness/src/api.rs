//! A small reader of frd's API over its unix socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// frd's API.
#[derive(Debug, Clone)]
pub struct Api {
    socket: PathBuf,
}

impl Api {
    /// The API behind this socket.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
        }
    }

    /// Asks for a path and gives the JSON that is answered.
    ///
    /// # Errors
    /// When nobody answers, or with anything but 2xx.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.ask("GET", path, None).await
    }

    /// Sends JSON to a path and gives the JSON that is answered.
    ///
    /// # Errors
    /// When nobody answers, or with anything but 2xx; the text holds the answer.
    pub async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        tokio::time::timeout(Duration::from_secs(10), self.exchange(method, path, body))
            .await
            .context("frd did not answer in 10 s")?
    }

    async fn exchange(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let mut stream = UnixStream::connect(&self.socket)
            .await
            .with_context(|| format!("nobody answers at {}", self.socket.display()))?;
        let body = body.map(Value::to_string).unwrap_or_default();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: frd\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        let text = String::from_utf8_lossy(&answer);
        let (head, body) = text
            .split_once("\r\n\r\n")
            .context("frd broke the connection")?;
        let chunked = head
            .lines()
            .any(|line| line.eq_ignore_ascii_case("transfer-encoding: chunked"));
        let body = if chunked {
            unchunk(body)
        } else {
            body.to_owned()
        };
        if head
            .split_ascii_whitespace()
            .nth(1)
            .is_none_or(|status| !status.starts_with('2'))
        {
            bail!(
                "{method} {path}: {} {body}",
                head.lines().next().unwrap_or("")
            );
        }
        serde_json::from_str(&body).with_context(|| format!("{method} {path}: no JSON: {body}"))
    }

    /// The whole picture of one release; `Null` while there is none.
    pub async fn view(&self, namespace: &str, name: &str) -> Value {
        self.get(&format!("/v1/namespaces/{namespace}/releases/{name}/view"))
            .await
            .unwrap_or(Value::Null)
    }
}

fn unchunk(mut text: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = text.split_once("\r\n") {
        let Some(size) = usize::from_str_radix(size.trim(), 16)
            .ok()
            .filter(|size| *size > 0)
        else {
            break;
        };
        let Some(chunk) = rest.get(..size) else { break };
        whole.push_str(chunk);
        text = rest[size..].trim_start_matches("\r\n");
    }
    whole
}
