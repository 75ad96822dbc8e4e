//! Small HTTP services, and small clients of them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// What a service does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Answers.
    Answer,
    /// Closes the connection without an answer.
    Close,
    /// The same, but only where the method is POST.
    ClosePosts,
    /// Resets the connection.
    Reset,
    /// Closes in the middle of an answer.
    Half,
    /// Never answers.
    Hang,
}

/// A service that answers with its name, and counts.
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    pub(crate) hits: Arc<AtomicU64>,
    last: Arc<Mutex<String>>,
    task: tokio::task::JoinHandle<()>,
    stop: CancellationToken,
}

impl Service {
    pub(crate) async fn named(name: &'static str) -> Self {
        Self::slow(name, Duration::ZERO).await
    }

    /// Answers after a pause.
    pub(crate) async fn slow(name: &'static str, pause: Duration) -> Self {
        Self::new(name, pause, Manner::Answer).await
    }

    /// Does this with each request.
    pub(crate) async fn ill(name: &'static str, manner: Manner) -> Self {
        Self::new(name, Duration::ZERO, manner).await
    }

    async fn new(name: &'static str, pause: Duration, manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let hits = Arc::new(AtomicU64::new(0));
        let (counter, stop) = (hits.clone(), CancellationToken::new());
        let last = Arc::new(Mutex::new(String::new()));
        let heads = last.clone();
        let token = stop.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (counter, token) = (counter.clone(), token.clone());
                let heads = heads.clone();
                tokio::spawn(async move {
                    tokio::select! {
                        _ = serve(stream, name, (pause, manner), &counter, &heads) => {}
                        () = token.cancelled() => {}
                    }
                });
            }
        });
        Self {
            address,
            hits,
            last,
            task,
            stop,
        }
    }

    pub(crate) fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    /// The last request's first line and headers.
    pub(crate) fn last(&self) -> String {
        self.last.lock().unwrap().clone()
    }

    /// Dies at once, connections and all.
    pub(crate) fn kill(&self) {
        self.task.abort();
        self.stop.cancel();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn serve(
    mut stream: TcpStream,
    name: &str,
    (pause, manner): (Duration, Manner),
    counter: &AtomicU64,
    last: &Mutex<String>,
) -> std::io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        while !buffer.windows(4).any(|window| window == b"\r\n\r\n") {
            let mut chunk = [0; 4096];
            let read = stream.read(&mut chunk).await?;
            if read == 0 {
                return Ok(());
            }
            buffer.extend_from_slice(&chunk[..read]);
        }
        let text = String::from_utf8_lossy(&buffer).into_owned();
        buffer.clear();
        let check = text.contains("haproxy-check");
        if !check {
            counter.fetch_add(1, Ordering::Relaxed);
            last.lock().unwrap().clone_from(&text);
            tokio::time::sleep(pause).await;
            match manner {
                Manner::ClosePosts if !text.starts_with("POST") => {}
                Manner::Answer => {}
                Manner::Close | Manner::ClosePosts => return Ok(()),
                Manner::Reset => return stream.set_zero_linger(),
                Manner::Half => {
                    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf";
                    return stream.write_all(head).await;
                }
                Manner::Hang => std::future::pending::<()>().await,
            }
        }
        let status = if check && name == "sick" {
            "500 Sick"
        } else {
            "200 OK"
        };
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{name}",
            name.len()
        );
        stream.write_all(answer.as_bytes()).await?;
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn cookie(&self) -> Option<String> {
        let line = self
            .head
            .lines()
            .find(|line| line.to_lowercase().starts_with("set-cookie: fm_uid="))?;
        let value = line.split_once('=')?.1;
        Some(value.split(';').next()?.to_owned())
    }
}

pub(crate) async fn get(
    port: u16,
    host: &str,
    path: &str,
    headers: &str,
) -> std::io::Result<Answer> {
    let mut client = Client::connect(port).await?;
    client.get(host, path, headers).await
}

/// A client that keeps its connection.
pub(crate) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub(crate) async fn connect(port: u16) -> std::io::Result<Self> {
        Ok(Self {
            stream: TcpStream::connect(("127.0.0.1", port)).await?,
            buffer: Vec::new(),
        })
    }

    pub(crate) async fn get(
        &mut self,
        host: &str,
        path: &str,
        headers: &str,
    ) -> std::io::Result<Answer> {
        self.ask("GET", host, path, headers).await
    }

    /// Any method whose answer has a body.
    pub(crate) async fn ask(
        &mut self,
        method: &str,
        host: &str,
        path: &str,
        headers: &str,
    ) -> std::io::Result<Answer> {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n");
        self.stream.write_all(request.as_bytes()).await?;
        let end = loop {
            if let Some(at) = self
                .buffer
                .windows(4)
                .position(|window| window == b"\r\n\r\n")
            {
                break at + 4;
            }
            self.fill().await?;
        };
        let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
        let length = head
            .lines()
            .find_map(|line| {
                line.to_lowercase()
                    .strip_prefix("content-length: ")?
                    .trim()
                    .parse::<usize>()
                    .ok()
            })
            .unwrap_or(0);
        while self.buffer.len() < end + length {
            self.fill().await?;
        }
        let body = String::from_utf8_lossy(&self.buffer[end..end + length]).into_owned();
        self.buffer.drain(..end + length);
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|text| text.parse().ok())
            .unwrap_or(0);
        Ok(Answer { status, head, body })
    }

    /// Whether HAProxy said that it will close the connection.
    pub(crate) fn closes(answer: &Answer) -> bool {
        answer.head.to_lowercase().contains("connection: close")
    }

    async fn fill(&mut self) -> std::io::Result<()> {
        let mut chunk = [0; 4096];
        let read = self.stream.read(&mut chunk).await?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        self.buffer.extend_from_slice(&chunk[..read]);
        Ok(())
    }
}

/// Keeps requests going until it is told to stop; returns how many there were and what went wrong.
pub(crate) struct Load {
    stop: CancellationToken,
    tasks: Vec<tokio::task::JoinHandle<(u64, Vec<String>)>>,
}

impl Load {
    pub(crate) fn start(port: u16, host: &'static str, clients: usize) -> Self {
        let stop = CancellationToken::new();
        let tasks = (0..clients)
            .map(|_| tokio::spawn(load(port, host, stop.clone())))
            .collect();
        Self { stop, tasks }
    }

    pub(crate) async fn end(self) -> (u64, Vec<String>) {
        self.stop.cancel();
        let (mut count, mut wrong) = (0, Vec::new());
        for task in self.tasks {
            let (some, bad) = task.await.unwrap();
            count += some;
            wrong.extend(bad);
        }
        (count, wrong)
    }
}

async fn load(port: u16, host: &str, stop: CancellationToken) -> (u64, Vec<String>) {
    let (mut count, mut wrong) = (0, Vec::new());
    let mut client = None;
    while !stop.is_cancelled() && wrong.len() < 20 {
        let open = match client.take() {
            Some(open) => Ok(open),
            None => Client::connect(port).await,
        };
        let done = async {
            let mut open: Client = open?;
            let answer = open.get(host, "/load", "").await?;
            std::io::Result::Ok((open, answer))
        };
        match done.await {
            Ok((open, answer)) => {
                if answer.status != 200 {
                    wrong.push(format!("{answer:?}"));
                }
                client = (!Client::closes(&answer)).then_some(open);
            }
            Err(error) => wrong.push(error.to_string()),
        }
        count += 1;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    (count, wrong)
}
