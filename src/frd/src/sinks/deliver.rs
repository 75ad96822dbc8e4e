//! Writes what waits for a sink, one batch after the other.
//!
//! A sink that is away is tried again, with pauses that grow; what it refuses is lost, counted, and told once a minute.

use std::time::{Duration, Instant};

use fm_analysis::metrics::http;
use fm_runtime::Context;

use super::queue::{Batch, Queue};
use super::{Kind, Sink};

const LIMIT: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const TELL_EVERY: Duration = Duration::from_secs(60);
/// Bytes of a refusal that are shown.
const SHOWN: usize = 300;

/// What came of a batch.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Written,
    /// It may be written another time.
    Away(String),
    /// It never will.
    Refused(String),
}

/// Writes until shutdown.
pub(super) async fn deliver(ctx: &Context, sink: &Sink, queue: &Queue) {
    let mut pause = FIRST_PAUSE;
    let mut told: Option<Instant> = None;
    let mut away = false;
    let client = tokio::sync::OnceCell::new();
    loop {
        let batch = tokio::select! {
            () = ctx.shutdown.cancelled() => return,
            batch = queue.take() => batch,
        };
        let sent = tokio::time::timeout(LIMIT, send(&client, sink, &batch)).await;
        let sent = sent.unwrap_or_else(|_| Outcome::Away("no answer in 10 s".to_owned()));
        let may_tell = told.is_none_or(|at| at.elapsed() >= TELL_EVERY);
        match sent {
            Outcome::Written => {
                queue.done(batch.points, true);
                if away {
                    tracing::info!(sink = sink.name, "it takes points again");
                }
                (pause, away) = (FIRST_PAUSE, false);
            }
            Outcome::Refused(why) => {
                queue.done(batch.points, false);
                if may_tell {
                    let lost = queue.counts().lost;
                    tracing::warn!(sink = sink.name, lost, "points are refused: {why}");
                    told = Some(Instant::now());
                }
            }
            Outcome::Away(why) => {
                queue.put_back(batch);
                if may_tell {
                    let waiting = queue.counts().waiting;
                    tracing::warn!(sink = sink.name, waiting, "it takes no points now: {why}");
                    told = Some(Instant::now());
                }
                away = true;
                tokio::select! {
                    () = ctx.shutdown.cancelled() => return,
                    () = tokio::time::sleep(pause) => {}
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

async fn send(
    client: &tokio::sync::OnceCell<reqwest::Client>,
    sink: &Sink,
    batch: &Batch,
) -> Outcome {
    // Made when it is first needed: the system's certificates take memory.
    let made = client
        .get_or_try_init(|| async { http::build(sink.login.as_ref()) })
        .await;
    let client = match made {
        Ok(client) => client,
        Err(error) => return Outcome::Away(error),
    };
    let mut request = client.post(sink.url.clone()).body(batch.body.clone());
    request = match sink.kind {
        Kind::Influx => request.header("content-type", "text/plain; charset=utf-8"),
        Kind::RemoteWrite => request
            .header("content-type", "application/x-protobuf")
            .header("content-encoding", "snappy")
            .header("x-prometheus-remote-write-version", "0.1.0"),
    };
    if let Some(credential) = sink
        .login
        .as_ref()
        .and_then(|login| login.credential.as_ref())
    {
        let scheme = match sink.kind {
            Kind::Influx => "Token",
            Kind::RemoteWrite => "Bearer",
        };
        request = match http::show(request, credential, scheme).await {
            Ok(request) => request,
            Err(error) => return Outcome::Away(error),
        };
    }
    match request.send().await {
        Ok(answer) => {
            let status = answer.status().as_u16();
            let words = beginning(answer).await;
            outcome(status, &words)
        }
        Err(error) => Outcome::Away(http::words(&error)),
    }
}

fn outcome(status: u16, words: &str) -> Outcome {
    let said = format!("it answers {status}: {words}");
    match status {
        200..=299 => Outcome::Written,
        // A wrong login may be put right in its file; a database may be made.
        401 | 403 | 404 | 408 | 425 | 429 | 500.. => Outcome::Away(said),
        _ => Outcome::Refused(said),
    }
}

async fn beginning(mut answer: reqwest::Response) -> String {
    let mut body = Vec::new();
    while body.len() < SHOWN {
        match answer.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) | Err(_) => break,
        }
    }
    let shown = body.get(..SHOWN).unwrap_or(&body);
    String::from_utf8_lossy(shown)
        .trim()
        .escape_debug()
        .to_string()
}

#[cfg(test)]
mod tests {
    use fm_analysis::metrics::{Credential, Login, Secret};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[test]
    fn what_may_still_be_written_waits_and_what_never_will_is_lost() {
        for (status, wanted) in [
            (204, "Written"),
            (200, "Written"),
            (400, "Refused"),
            (413, "Refused"),
            (301, "Refused"),
            (401, "Away"),
            (404, "Away"),
            (429, "Away"),
            (500, "Away"),
            (503, "Away"),
        ] {
            let name = format!("{:?}", outcome(status, "why"));
            assert!(name.starts_with(wanted), "{status}: {name}");
        }
    }

    /// Answers requests one after the other, with these statuses; gives what was sent.
    async fn server(statuses: &'static [u16]) -> (String, tokio::task::JoinHandle<Vec<String>>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let task = tokio::spawn(async move {
            let mut requests = Vec::new();
            for status in statuses {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = vec![0; 4096];
                let mut length = 0;
                while !request[..length].ends_with(b"42\n") {
                    length += stream.read(&mut request[length..]).await.unwrap();
                }
                let answer = format!(
                    "HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
                requests.push(String::from_utf8_lossy(&request[..length]).into_owned());
            }
            requests
        });
        (address, task)
    }

    #[tokio::test]
    async fn a_token_is_shown_as_its_system_calls_it_and_a_batch_is_tried_again() {
        let (address, server) = server(&[503, 204]).await;
        let secret = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(secret.path(), "s3cret\n").unwrap();
        let sink = Sink {
            name: "tsdb".into(),
            kind: Kind::Influx,
            url: format!("{address}/api/v2/write?org=a&bucket=b")
                .parse()
                .unwrap(),
            login: Some(Login {
                credential: Some(Credential::Bearer(Secret::File(secret.path().to_owned()))),
                ..Login::default()
            }),
            labels: Default::default(),
            interval: 1,
        };
        let client = tokio::sync::OnceCell::new();
        let batch = Batch {
            body: b"a b=1i 42\n".to_vec(),
            points: 1,
        };
        let first = send(&client, &sink, &batch).await;
        assert!(matches!(first, Outcome::Away(_)), "{first:?}");
        assert_eq!(send(&client, &sink, &batch).await, Outcome::Written);
        for request in server.await.unwrap() {
            assert!(
                request.starts_with("POST /api/v2/write?org=a&bucket=b HTTP/1.1\r\n"),
                "{request}"
            );
            let shown = request.to_ascii_lowercase();
            assert!(
                shown.contains("\r\nauthorization: token s3cret\r\n"),
                "{request}"
            );
            assert!(request.ends_with("\r\n\r\na b=1i 42\n"), "{request}");
        }
        let nobody = send(&client, &sink, &batch).await;
        assert!(matches!(nobody, Outcome::Away(_)), "{nobody:?}");
    }
}
