//! A steady load over keep-alive connections, and what came of every single request. Nothing is tried again.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// One request's fate.
#[derive(Debug, Clone)]
pub struct Sample {
    /// When it was sent.
    pub sent: Instant,
    /// When its answer was there.
    pub done: Instant,
    /// What came.
    pub outcome: Outcome,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The service answered as this version; `error` when it failed on purpose.
    Answered {
        /// The version that answered.
        version: Arc<str>,
        /// Whether it was an error that the service makes on purpose.
        error: bool,
    },
    /// No answer of the service: the platform failed the client.
    Failed(Arc<str>),
}

/// A running load.
pub struct Load {
    samples: Arc<Mutex<Vec<Sample>>>,
    rate: Arc<AtomicU32>,
    task: tokio::task::JoinHandle<()>,
}

/// Sums over a stretch of time.
#[derive(Debug, Clone, Default)]
pub struct Sums {
    /// All requests.
    pub sent: u64,
    /// Answers by version.
    pub versions: BTreeMap<String, u64>,
    /// Errors that the service made on purpose.
    pub app_errors: u64,
    /// What the platform failed, by what was seen.
    pub failed: BTreeMap<String, u64>,
}

impl Sums {
    /// How many requests the platform failed.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failed.values().sum()
    }
    /// Which share of the answers came from this version, 0 to 1.
    #[must_use]
    pub fn share(&self, version: &str) -> f64 {
        let all: u64 = self.versions.values().sum();
        self.versions.get(version).copied().unwrap_or(0) as f64 / all.max(1) as f64
    }
    /// How many requests were answered.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.versions.values().sum()
    }
}

impl Load {
    /// Prepares `connections` keep-alive connections to `host` at `port`; nothing is sent before [`Load::rate`] is set.
    #[must_use]
    pub fn new(port: u16, host: &str, connections: usize) -> Self {
        let samples = Arc::new(Mutex::new(Vec::new()));
        let rate = Arc::new(AtomicU32::new(0));
        let (give, take) = mpsc::channel::<Instant>(4096);
        let take = Arc::new(tokio::sync::Mutex::new(take));
        for _ in 0..connections {
            tokio::spawn(worker(
                port,
                host.to_owned(),
                Arc::clone(&take),
                Arc::clone(&samples),
            ));
        }
        let wanted = Arc::clone(&rate);
        let task = tokio::spawn(async move {
            let mut due = Instant::now();
            loop {
                let rate = wanted.load(Ordering::Relaxed);
                if rate == 0 {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    due = Instant::now();
                    continue;
                }
                due += Duration::from_secs(1) / rate;
                tokio::time::sleep_until(due.into()).await;
                // A full queue means that nothing answers; the requests in it tell.
                let _ = give.try_send(Instant::now());
            }
        });
        Self {
            samples,
            rate,
            task,
        }
    }

    /// The same, sending `rate` requests a second at once.
    #[must_use]
    pub fn start(port: u16, host: &str, rate: u32, connections: usize) -> Self {
        let load = Self::new(port, host, connections);
        load.rate(rate);
        load
    }

    /// Sends so many requests a second from now on.
    pub fn rate(&self, rate: u32) {
        self.rate.store(rate, Ordering::Relaxed);
    }

    /// What came of the requests sent between two instants.
    #[must_use]
    pub fn between(&self, from: Instant, to: Instant) -> Sums {
        let mut sums = Sums::default();
        for sample in self
            .samples
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .filter(|sample| sample.sent >= from && sample.sent < to)
        {
            sums.sent += 1;
            match &sample.outcome {
                Outcome::Answered { version, error } => {
                    *sums.versions.entry(version.to_string()).or_default() += 1;
                    sums.app_errors += u64::from(*error);
                }
                Outcome::Failed(what) => *sums.failed.entry(what.to_string()).or_default() += 1,
            }
        }
        sums
    }

    /// What came of all requests so far.
    #[must_use]
    pub fn all(&self) -> Sums {
        let from = self
            .samples
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .first()
            .map_or_else(Instant::now, |sample| sample.sent);
        self.between(from - Duration::from_secs(60), Instant::now())
    }

    /// The samples for which this holds, in the order in which they ended.
    #[must_use]
    pub fn samples(&self, keep: impl Fn(&Sample) -> bool) -> Vec<Sample> {
        self.samples
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .filter(|sample| keep(sample))
            .cloned()
            .collect()
    }

    /// Stops sending and waits for what is under way.
    pub async fn stop(&self) {
        self.rate(0);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn worker(
    port: u16,
    host: String,
    take: Arc<tokio::sync::Mutex<mpsc::Receiver<Instant>>>,
    samples: Arc<Mutex<Vec<Sample>>>,
) {
    let mut connection = None;
    loop {
        let Some(sent) = take.lock().await.recv().await else {
            return;
        };
        let outcome = match tokio::time::timeout(
            Duration::from_secs(30),
            request(&mut connection, port, &host),
        )
        .await
        {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => {
                connection = None;
                Outcome::Failed(format!("{error:#}").into())
            }
            Err(_) => {
                connection = None;
                Outcome::Failed("no answer in 30 s".into())
            }
        };
        samples
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Sample {
                sent,
                done: Instant::now(),
                outcome,
            });
    }
}

async fn request(
    kept: &mut Option<BufReader<TcpStream>>,
    port: u16,
    host: &str,
) -> Result<Outcome> {
    let mut stream = match kept.take() {
        Some(stream) => stream,
        None => {
            let stream = TcpStream::connect(("127.0.0.1", port))
                .await
                .map_err(|error| anyhow::anyhow!("cannot connect: {}", error.kind()))?;
            stream.set_nodelay(true)?;
            BufReader::new(stream)
        }
    };
    stream
        .get_mut()
        .write_all(format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n").as_bytes())
        .await
        .context("cannot send")?;
    let (mut status, mut version, mut error, mut length, mut close) =
        (String::new(), None, false, None, false);
    let mut line = String::new();
    loop {
        line.clear();
        if stream
            .read_line(&mut line)
            .await
            .context("connection broken")?
            == 0
        {
            bail!("connection closed without an answer");
        }
        let text = line.trim_end();
        if text.is_empty() {
            break;
        }
        if status.is_empty() {
            text.clone_into(&mut status);
        } else if let Some((name, value)) = text.split_once(':') {
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "x-version" => version = Some(Arc::from(value)),
                "x-demo-error" => error = true,
                "content-length" => length = value.parse::<u64>().ok(),
                "connection" => close = value.eq_ignore_ascii_case("close"),
                _ => {}
            }
        }
    }
    let mut sink = tokio::io::sink();
    match length {
        Some(length) => {
            let read = tokio::io::copy(&mut (&mut stream).take(length), &mut sink).await?;
            if read < length {
                bail!("answer cut short");
            }
        }
        None => {
            close = true;
            tokio::io::copy(&mut stream, &mut sink).await?;
        }
    }
    let code = status
        .split_ascii_whitespace()
        .nth(1)
        .unwrap_or("none")
        .to_owned();
    if !close {
        *kept = Some(stream);
    }
    match version {
        Some(version) if code == "200" || error => Ok(Outcome::Answered { version, error }),
        _ => Ok(Outcome::Failed(
            format!("answered {code} by the platform").into(),
        )),
    }
}
