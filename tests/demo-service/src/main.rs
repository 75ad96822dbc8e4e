//! A small HTTP service for demonstrations and tests, made to be the only file of a `FROM scratch` image.
//!
//! Its behaviour is set by its environment, so that one image can play every version:
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `VERSION` | answered in the body and in `x-version` | `v1` |
//! | `ERROR_RATE` | share of requests answered 500 on purpose, 0 to 1, marked `x-demo-error: 1` | 0 |
//! | `LATENCY_MS` | time before each answer | 0 |
//! | `CRASH` | exit code at start, after saying why on standard error | none |
//! | `UNHEALTHY_AFTER_MS` | `/healthz` answers 500 from then on | never |
//! | `BURN_CPUS` | threads that burn processor time from the start | 0 |
//! | `HOLD_MIB` | memory that is taken and written to at the start | 0 |
//! | `BAD_SLOT` | the only task of a service that has the faults above, by `SLOT` | all |
//! | `SLOT` | which task this is; give it `{{.Task.Slot}}` | none |
//! | `SHOW` | a file whose first line is answered in `x-file` | none |
//! | `PORT` | where it listens | 8080 |
//!
//! `app say COUNT TEXT` only prints a text so often, `{n}` in it numbered, for tests of what reads containers' logs.
//! `app health` asks the running service for `/healthz` and exits 0 or 1: a health check for an image without a shell.
//! A WebSocket handshake with the sample key of RFC 6455 is accepted, and then every byte comes back as it was sent.
//! On SIGTERM it takes no new connections, finishes the requests it has, and exits 0.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// What the environment asked for, and what is going on.
struct Service {
    version: String,
    /// The first line of the file that it was told to show, as a header.
    shown: String,
    /// Of 10,000 requests, how many are answered 500.
    errors_per_10_000: u64,
    latency: Duration,
    unhealthy_after: Option<Duration>,
    started: Instant,
    requests: AtomicU64,
    open: AtomicUsize,
    stopping: AtomicBool,
}

fn setting<T: FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

fn main() -> ExitCode {
    let port: u16 = setting("PORT").unwrap_or(8080);
    if std::env::args().nth(1).as_deref() == Some("health") {
        return health(port);
    }
    if std::env::args().nth(1).as_deref() == Some("say") {
        return say();
    }
    if let Some(code) = setting::<u8>("CRASH") {
        eprintln!("cannot start: told to crash with exit code {code}");
        return ExitCode::from(code);
    }
    let bad = setting::<String>("BAD_SLOT").is_none_or(|bad| Some(bad) == setting("SLOT"));
    if bad {
        burden();
    }
    let service = Arc::new(Service {
        shown: shown(),
        version: std::env::var("VERSION").unwrap_or_else(|_| "v1".to_owned()),
        errors_per_10_000: (setting::<f64>("ERROR_RATE")
            .filter(|_| bad)
            .unwrap_or(0.0)
            .clamp(0.0, 1.0)
            * 10_000.0) as u64,
        latency: Duration::from_millis(setting("LATENCY_MS").filter(|_| bad).unwrap_or(0)),
        unhealthy_after: setting("UNHEALTHY_AFTER_MS").map(Duration::from_millis),
        started: Instant::now(),
        requests: AtomicU64::new(0),
        open: AtomicUsize::new(0),
        stopping: AtomicBool::new(false),
    });
    eprintln!("{} serves on port {port}", service.version);
    match serve(port, &service) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cannot serve on port {port}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn shown() -> String {
    let Some(path) = setting::<String>("SHOW") else {
        return String::new();
    };
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| error.to_string());
    format!("x-file: {}\r\n", text.lines().next().unwrap_or_default())
}

/// Takes the processor time and the memory that it was told to.
fn burden() {
    for _ in 0..setting("BURN_CPUS").unwrap_or(0) {
        std::thread::spawn(|| {
            loop {
                std::hint::spin_loop();
            }
        });
    }
    let mib: usize = setting("HOLD_MIB").unwrap_or(0);
    // Written to, or the kernel would give it only in name; never given back.
    std::mem::forget(std::hint::black_box(vec![1_u8; mib << 20]));
}

/// Prints lines.
fn say() -> ExitCode {
    let mut arguments = std::env::args().skip(2);
    let count = arguments.next().and_then(|count| count.parse().ok());
    let text = arguments.next().unwrap_or_default();
    let mut out = std::io::stdout().lock();
    for n in 0..count.unwrap_or(1u64) {
        if writeln!(out, "{}", text.replace("{n}", &n.to_string())).is_err() {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Asks the service beside us for its health.
fn health(port: u16) -> ExitCode {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.starts_with("HTTP/1.1 200 "))
    };
    match ask() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) | Err(_) => ExitCode::FAILURE,
    }
}

fn serve(port: u16, service: &Arc<Service>) -> std::io::Result<()> {
    let listener = TcpListener::bind(("0.0.0.0", port))?;
    let mut signals = signal_hook::iterator::Signals::new([
        signal_hook::consts::SIGTERM,
        signal_hook::consts::SIGINT,
    ])?;
    let stopping = Arc::clone(service);
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            stopping.stopping.store(true, Ordering::SeqCst);
            // Those who wait between two requests of one connection are given a moment; then nobody is waited for.
            let deadline = Instant::now() + Duration::from_secs(5);
            while stopping.open.load(Ordering::SeqCst) > 0 && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(10));
            }
            std::process::exit(0);
        }
    });
    for stream in listener.incoming() {
        if service.stopping.load(Ordering::SeqCst) {
            return Ok(());
        }
        let service = Arc::clone(service);
        if let Ok(stream) = stream {
            std::thread::spawn(move || {
                // A connection that breaks is the client's affair.
                let _ = connection(&stream, &service);
            });
        }
    }
    Ok(())
}

/// Answers the requests of one connection, one after the other.
fn connection(stream: &TcpStream, service: &Service) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        loop {
            let before = head.len();
            if reader
                .by_ref()
                .take(16 * 1024)
                .read_until(b'\n', &mut head)?
                == 0
                || head.len() > 64 * 1024
            {
                return Ok(());
            }
            if &head[before..] == b"\r\n" {
                break;
            }
        }
        service.open.fetch_add(1, Ordering::SeqCst);
        let outcome = answer(
            stream,
            &mut reader,
            &String::from_utf8_lossy(&head),
            service,
        );
        service.open.fetch_sub(1, Ordering::SeqCst);
        if !outcome? {
            return Ok(());
        }
    }
}

/// Accepts the handshake, and sends back what comes until the client has enough.
fn echo(mut stream: &TcpStream, reader: &mut impl Read, version: &str) -> std::io::Result<bool> {
    let accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\nx-version: {version}\r\nsec-websocket-accept: {accept}\r\n\r\n"
    );
    stream.write_all(answer.as_bytes())?;
    let mut some = [0; 1024];
    loop {
        let read = reader.read(&mut some)?;
        if read == 0 {
            return Ok(false);
        }
        stream.write_all(some.get(..read).unwrap_or_default())?;
    }
}

/// Answers one request; says whether the connection stays open.
fn answer(
    mut stream: &TcpStream,
    reader: &mut impl Read,
    head: &str,
    service: &Service,
) -> std::io::Result<bool> {
    let header = |name: &str| {
        head.lines().skip(1).find_map(|line| {
            line.split_once(':')
                .filter(|(key, _)| key.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.trim())
        })
    };
    let length: u64 = header("content-length")
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    std::io::copy(&mut reader.take(length), &mut std::io::sink())?;
    if header("sec-websocket-key") == Some("dGhlIHNhbXBsZSBub25jZQ==") {
        return echo(stream, reader, &service.version);
    }
    let mut words = head.split_ascii_whitespace();
    let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or("/"));

    let (status, mark) = if path == "/healthz" {
        let sick = service
            .unhealthy_after
            .is_some_and(|after| service.started.elapsed() >= after);
        (
            if sick {
                "500 Internal Server Error"
            } else {
                "200 OK"
            },
            "",
        )
    } else {
        std::thread::sleep(service.latency);
        // Spread evenly, the same in every run: request n fails where n * rate passes a whole number.
        let n = service.requests.fetch_add(1, Ordering::Relaxed);
        let fails =
            (n + 1) * service.errors_per_10_000 / 10_000 > n * service.errors_per_10_000 / 10_000;
        if fails {
            ("500 Internal Server Error", "x-demo-error: 1\r\n")
        } else {
            ("200 OK", "")
        }
    };
    let close = service.stopping.load(Ordering::SeqCst)
        || header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    let body = format!("{}\n", service.version);
    let shown = if method == "HEAD" { "" } else { &body };
    let connection = if close { "connection: close\r\n" } else { "" };
    stream.write_all(
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: text/plain\r\nx-version: {}\r\n{}{mark}{connection}content-length: {}\r\n\r\n{shown}",
            service.version,
            service.shown,
            body.len(),
        )
        .as_bytes(),
    )?;
    Ok(!close)
}
