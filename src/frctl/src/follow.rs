//! Follows frd's server-sent events, and connects again when the connection is lost. Never ends by itself while the
//! server is merely away.

use std::time::Duration;

use futures_util::StreamExt;
use reqwest::Method;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::client::{Client, Refusal};
use crate::error::{Error, Result};

/// The longest message: the picture of one release.
const MOST: usize = 16 << 20;

/// Something new.
#[derive(Debug)]
pub(crate) enum News {
    /// The object as it is now.
    Put(Value),
    /// The object is gone.
    Delete,
    /// The connection is lost; frctl goes on trying.
    Lost(String),
    /// The connection is there again.
    Back,
    /// The server refuses: trying again will not help.
    Refused(Error),
}

/// Follows `path`, which has a query already or none, from now on. Ends when the receiver is dropped.
pub(crate) fn follow(client: &Client, path: &str) -> mpsc::Receiver<News> {
    let (sender, receiver) = mpsc::channel(64);
    let separator = if path.contains('?') { '&' } else { '?' };
    let path = format!("{path}{separator}watch=true");
    let client = client.clone();
    tokio::spawn(async move {
        let mut last = None;
        let mut lost = false;
        loop {
            let ended = stream(&client, &path, &mut last, &mut lost, &sender).await;
            let message = match ended {
                Ended::Receiver => return,
                Ended::Refused(error) => {
                    let _ = sender.send(News::Refused(error)).await;
                    return;
                }
                // A server that ends a stream orderly (a restart, an old revision) is no loss yet.
                Ended::Orderly => {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    continue;
                }
                Ended::Lost(message) => message,
            };
            if !lost && sender.send(News::Lost(message)).await.is_err() {
                return;
            }
            lost = true;
            tokio::time::sleep(Duration::from_secs(1)).await;
            if sender.is_closed() {
                return;
            }
        }
    });
    receiver
}

enum Ended {
    Receiver,
    Orderly,
    Refused(Error),
    Lost(String),
}

/// One connection, until it ends.
async fn stream(
    client: &Client,
    path: &str,
    last: &mut Option<String>,
    lost: &mut bool,
    sender: &mpsc::Sender<News>,
) -> Ended {
    let mut request = client
        .request(Method::GET, path)
        .header("accept", "text/event-stream");
    if let Some(id) = last.as_deref() {
        request = request.header("last-event-id", id);
    }
    let response = match tokio::time::timeout(Duration::from_secs(10), request.send()).await {
        Err(_) => return Ended::Lost("frd does not answer in time".to_owned()),
        Ok(Err(error)) => {
            let Refusal { error, .. } = client.unreachable(error);
            return Ended::Lost(error.to_string());
        }
        Ok(Ok(response)) => response,
    };
    if !response.status().is_success() {
        return refused(response, last).await;
    }
    if std::mem::take(lost) && sender.send(News::Back).await.is_err() {
        return Ended::Receiver;
    }
    let mut parser = Parser::default();
    let mut bytes = response.bytes_stream();
    loop {
        // A heartbeat comes every ten seconds: three missing ones are a dead connection.
        let chunk = match tokio::time::timeout(Duration::from_secs(35), bytes.next()).await {
            Err(_) => return Ended::Lost("frd has gone silent".to_owned()),
            Ok(None) => return Ended::Orderly,
            Ok(Some(Err(_))) => return Ended::Lost("the connection to frd broke".to_owned()),
            Ok(Some(Ok(chunk))) => chunk,
        };
        let Some(messages) = parser.push(&chunk) else {
            let words = "the server sends more at once than frd does";
            return Ended::Refused(Error::new(words).hint("is this address frd's?"));
        };
        for message in messages {
            if let Some(id) = &message.id {
                *last = Some(id.clone());
            }
            let news = match (message.event.as_str(), serde_json::from_str(&message.data)) {
                ("delete", _) => News::Delete,
                ("put", Ok(value)) => News::Put(value),
                // Kinds of event that this version does not know are none of its business.
                _ => continue,
            };
            if sender.send(news).await.is_err() {
                return Ended::Receiver;
            }
        }
    }
}

async fn refused(response: reqwest::Response, last: &mut Option<String>) -> Ended {
    let status = response.status();
    // The revision to resume from may be forgotten: then begin anew.
    if status == reqwest::StatusCode::GONE && last.take().is_some() {
        return Ended::Orderly;
    }
    let body = crate::client::words(response).await;
    let Refusal { error, .. } = crate::client::refusal(status, &body);
    if status.is_server_error() {
        return Ended::Lost(error.to_string());
    }
    Ended::Refused(error)
}

/// One server-sent event.
#[derive(Debug, Default, PartialEq, Eq)]
struct Message {
    event: String,
    id: Option<String>,
    data: String,
}

/// Reads server-sent events from pieces of any size.
#[derive(Debug, Default)]
struct Parser {
    line: Vec<u8>,
    message: Message,
    some: bool,
}

impl Parser {
    /// The messages that are complete; `None`: one is longer than any of frd's.
    fn push(&mut self, bytes: &[u8]) -> Option<Vec<Message>> {
        let mut done = Vec::new();
        for byte in bytes {
            if *byte != b'\n' {
                if self.line.len() + self.message.data.len() >= MOST {
                    return None;
                }
                self.line.push(*byte);
                continue;
            }
            let line = std::mem::take(&mut self.line);
            let line = String::from_utf8_lossy(&line).into_owned();
            self.line_ended(line.trim_end_matches('\r'), &mut done);
        }
        Some(done)
    }

    fn line_ended(&mut self, line: &str, done: &mut Vec<Message>) {
        if line.is_empty() {
            let message = std::mem::take(&mut self.message);
            if std::mem::take(&mut self.some) {
                done.push(message);
            }
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.message.event),
            "id" => self.message.id = Some(value.to_owned()),
            "data" => {
                if self.some {
                    self.message.data.push('\n');
                }
                self.message.data.push_str(value);
                self.some = true;
            }
            // Comments (heartbeats) have an empty field.
            _ => {}
        }
    }
}

/// The next news, or an error once the following has ended.
pub(crate) async fn next(receiver: &mut mpsc::Receiver<News>) -> Result<News> {
    receiver
        .recv()
        .await
        .ok_or_else(|| Error::new("following frd's changes has ended"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_end_is_not_kept() {
        let mut parser = Parser::default();
        let piece = vec![b'x'; 1 << 20];
        assert!((0..16).all(|_| parser.push(&piece).is_some()));
        assert!(parser.push(&piece).is_none());
        let mut parser = Parser::default();
        let line = [b"data: ".as_slice(), &piece, b"\n"].concat();
        assert!((0..16).any(|_| parser.push(&line).is_none()));
    }

    #[test]
    fn events_come_whole_from_pieces_of_any_size() {
        let text = b": heartbeat\n\nevent: put\r\nid: 7\ndata: {\"a\":\ndata: 1}\n\nevent: delete\ndata:\n\n";
        for size in 1..text.len() {
            let mut parser = Parser::default();
            let messages: Vec<Message> = text
                .chunks(size)
                .flat_map(|piece| parser.push(piece).unwrap())
                .collect();
            assert_eq!(
                messages,
                [
                    Message {
                        event: "put".to_owned(),
                        id: Some("7".to_owned()),
                        data: "{\"a\":\n1}".to_owned()
                    },
                    Message {
                        event: "delete".to_owned(),
                        id: None,
                        data: String::new()
                    },
                ]
            );
        }
    }
}
