//! The client of HAProxy's runtime socket. Owner of one connection, kept open in prompt mode.
//!
//! What must never happen: a value that runs as a second command. Commands with `;`, a line break, `\` or `<<` are
//! refused; payloads are sent only with commands of ours, and hold no empty line.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// How long HAProxy may take for one round of commands.
const LIMIT: Duration = Duration::from_secs(2);
/// Commands that are sent before answers are read: few enough for both directions' buffers.
const AT_ONCE: usize = 50;
/// What ends each answer in prompt mode.
const PROMPT: &str = "\n> ";

/// Why HAProxy did not answer, or not as asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The socket cannot be reached, or broke.
    #[error("HAProxy's socket {path} does not answer: {message}")]
    Socket {
        /// The socket.
        path: String,
        /// What went wrong.
        message: String,
    },
    /// HAProxy refused a command.
    #[error("HAProxy refused `{command}`: {answer}")]
    Refused {
        /// The command.
        command: String,
        /// HAProxy's words.
        answer: String,
    },
    /// The command holds characters that could make it another.
    #[error("`{0}` is no safe command")]
    Unsafe(String),
}

/// The client.
#[derive(Debug)]
pub(crate) struct Client {
    path: PathBuf,
    stream: Option<UnixStream>,
}

impl Client {
    /// For the socket at this path; it connects when it is first used.
    #[must_use]
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            stream: None,
        }
    }

    /// Forgets the connection: after a reload it would lead to the old worker.
    pub(crate) fn reconnect(&mut self) {
        self.stream = None;
    }

    /// Runs commands in order and returns their answers, trimmed.
    ///
    /// # Errors
    /// When the socket does not answer. Commands sent before may have run.
    pub(crate) async fn run(&mut self, commands: &[String]) -> Result<Vec<String>, Error> {
        if let Some(bad) = commands.iter().find(|command| !is_safe(command)) {
            return Err(Error::Unsafe((*bad).clone()));
        }
        let mut answers = Vec::with_capacity(commands.len());
        for round in commands.chunks(AT_ONCE) {
            let mut text = round.join("\n");
            text.push('\n');
            answers.extend(self.round(&text, round.len()).await?);
        }
        Ok(answers)
    }

    /// Runs one command with a payload, from which empty lines are taken out: they would end it.
    ///
    /// # Errors
    /// When the socket does not answer.
    pub(crate) async fn run_with(&mut self, command: &str, payload: &str) -> Result<String, Error> {
        if !is_safe(command) {
            return Err(Error::Unsafe(command.to_owned()));
        }
        let lines: Vec<&str> = payload
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        let text = format!("{command} <<\n{}\n\n", lines.join("\n"));
        let mut answers = self.round(&text, 1).await?;
        Ok(answers.pop().unwrap_or_default())
    }

    async fn round(&mut self, text: &str, count: usize) -> Result<Vec<String>, Error> {
        let done = match tokio::time::timeout(LIMIT, self.exchange(text, count)).await {
            Ok(done) => done,
            Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut)),
        };
        done.map_err(|error| {
            // What is left unread would be taken for the next answer.
            self.stream = None;
            Error::Socket {
                path: self.path.display().to_string(),
                message: error.to_string(),
            }
        })
    }

    async fn exchange(&mut self, text: &str, count: usize) -> std::io::Result<Vec<String>> {
        if self.stream.is_none() {
            let mut stream = UnixStream::connect(&self.path).await?;
            stream.write_all(b"prompt\n").await?;
            read_answers(&mut stream, 1).await?;
            self.stream = Some(stream);
        }
        let Some(stream) = self.stream.as_mut() else {
            return Err(std::io::ErrorKind::NotConnected.into());
        };
        stream.write_all(text.as_bytes()).await?;
        read_answers(stream, count).await
    }
}

/// Whether a command is one command.
fn is_safe(command: &str) -> bool {
    !command.contains([';', '\n', '\r', '\\', '\0']) && !command.contains("<<")
}

async fn read_answers(stream: &mut UnixStream, count: usize) -> std::io::Result<Vec<String>> {
    let mut text = Vec::new();
    let mut seen = 0;
    let mut chunk = vec![0; 64 * 1024];
    loop {
        let read = stream.read(&mut chunk).await?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        // A prompt may be cut by the end of a chunk: look again from a little before.
        let from = text.len().saturating_sub(PROMPT.len() - 1);
        let tail_had = from;
        text.extend_from_slice(&chunk[..read]);
        seen += text[tail_had..]
            .windows(PROMPT.len())
            .filter(|window| *window == PROMPT.as_bytes())
            .count();
        if seen >= count && text.ends_with(PROMPT.as_bytes()) {
            break;
        }
    }
    let text = String::from_utf8_lossy(&text);
    let mut answers: Vec<String> = text
        .split(PROMPT)
        .map(|part| part.trim().to_owned())
        .collect();
    // After the last prompt stands nothing.
    answers.pop();
    answers.truncate(count);
    if answers.len() == count {
        Ok(answers)
    } else {
        Err(std::io::ErrorKind::InvalidData.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_never_becomes_a_second_command() {
        assert!(is_safe("set map /run/x/split.map r0 c|s|1|a|b|n/s|r|r|1"));
        for bad in ["a;b", "a\nb", "a\\;b", "add map x <<", "a\rb"] {
            assert!(!is_safe(bad), "{bad:?}");
        }
    }
}
